//! One thread a hart: runs its vCPU, answers what leaves it, and stands at the gate while the machine is stopped.
//!
//! [`Harts`] is the machine's handle on all of them. A thread is either in the guest or at the gate; the gate
//! lets it through while the machine runs and the hart is started. Stopping is an order that every thread
//! sees after the kick that follows it, so nobody waits for a guest.
//!
//! Locks: `gate` only, never while a guest runs or a device is called.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use accel::tcg::firmware as firmware_state;
use accel::{HartState, SbiCall, ShutdownReason, Vcpu, VcpuExit};
use arch::cause::Exception;
use arch::csr::{mip, mstatus, xcause};
use arch::ext::IsaConfig;
use firmware::sbi::sse::Signal;
use firmware::sbi::{Entry, HartStates, HartStatus, ResetKind, ResetReason, SbiOutcome, SbiRequest, State};
use rustix::thread::sched_setaffinity;

use crate::affinity::CpuSets;
use crate::board::memory;
use crate::board::wires::HartWires;
use crate::control::{Control, Request};
use crate::sbi_host::{SbiCallHost, SbiMachine};

/// What the threads are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Order {
    Stop = 0,
    Run = 1,
    Quit = 2,
}

/// Where threads wait.
struct Gate {
    order: Order,
    /// Threads that are past the gate.
    inside: u32,
    /// By hart: the state to start from, put there by a reset or by HSM.
    load: Vec<Option<Box<HartState>>>,
}

/// All vCPU threads of a machine.
pub struct Harts {
    /// A copy of the gate's order, to be looked at without the lock.
    order: AtomicU8,
    gate: Mutex<Gate>,
    /// The order, `load` or `inside` changed.
    changed: Condvar,
    /// HSM states; with M-mode below the guest all are started.
    pub states: HartStates,
    /// What the SBI remembers of the harts.
    pub sbi: State,
    wires: Arc<HartWires>,
}

impl Harts {
    /// Stopped, without threads.
    pub fn new(harts: u32, isa: &IsaConfig, wires: Arc<HartWires>) -> Self {
        let gate = Gate { order: Order::Stop, inside: 0, load: (0..harts).map(|_| None).collect() };
        Self {
            order: AtomicU8::new(Order::Stop as u8),
            gate: Mutex::new(gate),
            changed: Condvar::new(),
            states: HartStates::new(harts),
            sbi: State::new(harts, isa),
            wires,
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, order: Order) {
        let mut gate = self.gate();
        // Nobody comes back from quitting.
        if gate.order != Order::Quit {
            gate.order = order;
            self.order.store(order as u8, Ordering::SeqCst);
        }
        drop(gate);
        self.changed.notify_all();
        if order != Order::Run {
            self.wires.handles().iter().for_each(|h| h.kick());
        }
    }

    /// Whether threads should come back from the guest.
    pub fn is_stopping(&self) -> bool {
        self.order.load(Ordering::SeqCst) != Order::Run as u8
    }

    /// Asks every hart to leave the guest; does not wait. Any thread.
    pub fn ask_stop(&self) {
        self.give(Order::Stop);
    }

    /// Stops every hart and waits until none is in the guest. Not from a vCPU thread.
    pub fn stop(&self) {
        self.give(Order::Stop);
        let gate = self.gate();
        drop(self.changed.wait_while(gate, |g| g.inside > 0).unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the harts that are started run.
    pub fn run(&self) {
        self.give(Order::Run);
    }

    /// Power-on: only hart 0 is started, and starts that were under way are forgotten. The harts are stopped.
    pub fn reset(&self) {
        self.states.reset(0);
        self.sbi.reset_all();
        self.gate().load.iter_mut().for_each(|load| *load = None);
    }

    /// The hart starts from here the next time it passes the gate.
    pub fn load(&self, hart: u32, state: HartState) {
        self.gate().load[hart as usize] = Some(Box::new(state));
        self.changed.notify_all();
    }

    /// Waits until hart `hart` may run; its new state if it has one. `None`: the thread ends.
    fn pass(&self, hart: u32) -> Option<Option<Box<HartState>>> {
        let mut gate = self.gate();
        loop {
            let loaded = gate.load[hart as usize].is_some();
            let started = !matches!(self.states.get(hart), HartStatus::Stopped | HartStatus::StartPending);
            match gate.order {
                Order::Quit => return None,
                Order::Run if loaded || started => {
                    gate.inside += 1;
                    return Some(gate.load[hart as usize].take());
                }
                _ => gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn back(&self) {
        self.gate().inside -= 1;
        self.changed.notify_all();
    }
}

/// The threads, to be joined at the end.
pub struct Threads {
    harts: Arc<Harts>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts a thread for each vCPU, by hart id, on its CPUs of the host; they wait at the gate. The first has the page at
    /// `early` made meanwhile, which is loaded next.
    pub fn spawn(
        harts: &Arc<Harts>,
        vcpus: Vec<Box<dyn Vcpu>>,
        sbi: &Arc<SbiMachine>,
        control: &Arc<Control>,
        cpus: &CpuSets,
        early: Option<u64>,
    ) -> std::io::Result<Self> {
        let mut threads = Self { harts: Arc::clone(harts), threads: Vec::new() };
        for (hart, vcpu) in (0u32..).zip(vcpus) {
            let (harts, sbi, control) = (Arc::clone(harts), Arc::clone(sbi), Arc::clone(control));
            let cpus = cpus.get(&hart).copied();
            let body = move || {
                if let Some(Err(error)) = cpus.map(|cpus| sched_setaffinity(None, &cpus)) {
                    control.request(Request::Failure(format!("cannot run hart {hart} on its CPUs: {error}")));
                }
                if let Some(address) = early.filter(|_| hart == 0) {
                    memory::touch(&sbi.ram, address);
                }
                let mut thread = VcpuThread {
                    hart,
                    vcpu,
                    harts: Arc::clone(&harts),
                    sbi,
                    control: Arc::clone(&control),
                    asleep: None,
                };
                // The panic hook has told the user already; the machine cannot go on without this hart.
                if catch_unwind(AssertUnwindSafe(|| thread.run())).is_err() {
                    harts.back();
                    control.request(Request::Failure(format!("the thread of hart {hart} failed")));
                }
            };
            threads.threads.push(std::thread::Builder::new().name(format!("vcpu{hart}")).spawn(body)?);
        }
        Ok(threads)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.harts.give(Order::Quit);
        for thread in self.threads.drain(..) {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// A hart that sleeps by its own wish: SBI's suspend.
struct Asleep {
    /// Where it wakes; `None`: behind the call.
    resume: Option<Entry>,
    call: SbiCall,
}

struct VcpuThread {
    hart: u32,
    vcpu: Box<dyn Vcpu>,
    harts: Arc<Harts>,
    sbi: Arc<SbiMachine>,
    control: Arc<Control>,
    asleep: Option<Asleep>,
}

/// Whether a thread stays in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
}

impl VcpuThread {
    fn run(&mut self) {
        while let Some(load) = self.harts.pass(self.hart) {
            if let Some(state) = load {
                tracing::debug!(hart = self.hart, pc = format_args!("{:#x}", state.pc), "hart starts");
                self.vcpu.set_state(&state);
                self.asleep = None;
                self.harts.states.set(self.hart, HartStatus::Started);
            }
            while self.step() == Next::Stay {}
            self.harts.back();
        }
    }

    /// Once into the guest and out again.
    fn step(&mut self) -> Next {
        if let Some(asleep) = self.asleep.take() {
            return self.sleep(asleep);
        }
        self.take_event();
        let next = match self.vcpu.run() {
            Ok(VcpuExit::Sbi(call)) => self.sbi_call(&call),
            Ok(VcpuExit::Reset) => self.ask(Request::Reset),
            Ok(VcpuExit::Shutdown(ShutdownReason::Guest)) => self.ask(Request::PowerOff(0)),
            Ok(VcpuExit::Shutdown(ShutdownReason::Failure)) => self.ask(Request::PowerOff(1)),
            Ok(VcpuExit::CriticalError { cause, pc }) => self.ask(Request::Failure(format!(
                "hart {} is in the critical-error state: a trap with cause {cause:#x} at {pc:#x} while MDT is set",
                self.hart
            ))),
            Ok(VcpuExit::MachineTrap) => self.machine_trap(),
            Ok(VcpuExit::Kicked | VcpuExit::Debug) => Next::Stay,
            Err(error) => {
                self.ask(Request::Failure(format!("hart {} cannot go on: {}", self.hart, crate::error_chain(&error))))
            }
        };
        if self.harts.is_stopping() { Next::Leave } else { next }
    }

    /// The machine does what is asked once this thread is at the gate.
    fn ask(&self, request: Request) -> Next {
        self.control.request(request);
        Next::Leave
    }

    fn sbi_call(&mut self, call: &SbiCall) -> Next {
        let request = SbiRequest { hart: self.hart, eid: call.eid, fid: call.fid, args: call.args };
        let outcome = firmware::sbi::handle(&request, &SbiCallHost::new(&self.sbi, self.hart, &mut *self.vcpu));
        tracing::trace!(target: "firmware::sbi", hart = self.hart, ?call, ?outcome);
        match outcome {
            SbiOutcome::Return { error, value } => self.vcpu.finish_sbi(call, error, value),
            SbiOutcome::HartStop => {
                self.harts.states.set(self.hart, HartStatus::Stopped);
                return Next::Leave;
            }
            SbiOutcome::HartSuspend { resume } => self.fall_asleep(resume, call),
            SbiOutcome::SystemSuspend { resume } => self.fall_asleep(Some(resume), call),
            SbiOutcome::Reset { kind, reason } => {
                return self.ask(match (kind, reason) {
                    (ResetKind::Shutdown, ResetReason::NoReason) => Request::PowerOff(0),
                    (ResetKind::Shutdown, ResetReason::SystemFailure) => Request::PowerOff(1),
                    (ResetKind::ColdReboot | ResetKind::WarmReboot, _) => Request::Reset,
                });
            }
            SbiOutcome::EventReturn { interrupted } => {
                self.vcpu.change(&mut |state| firmware_state::leave_event(state, &self.sbi.isa, interrupted));
            }
            SbiOutcome::GuestFault(fault) => {
                let mut state = self.vcpu.state();
                let ecall = state.pc.wrapping_sub(4);
                let trap = accel::tcg::trap::Trap::new(fault.cause, fault.tval);
                accel::tcg::trap::take_trap(&mut state, &self.sbi.isa, trap, ecall);
                self.vcpu.set_state(&state);
            }
        }
        Next::Stay
    }

    /// A trap that M-mode firmware would take. What it has no use for is the supervisor's.
    fn machine_trap(&mut self) -> Next {
        const OVERFLOW: u64 = xcause::INTERRUPT | mip::LCOFIP.trailing_zeros() as u64;
        const DOUBLE_TRAP: u64 = Exception::DoubleTrap.code();
        let csr = self.vcpu.state().csr;
        let events = &self.harts.sbi.events;
        match csr.mcause {
            OVERFLOW => {
                events.signal(self.hart, Signal::CounterOverflow);
                self.vcpu.change(&mut |state| {
                    state.csr.mip &= !mip::LCOFIP;
                    firmware_state::go_back(state);
                });
            }
            // A guest's is for its hypervisor.
            DOUBLE_TRAP if csr.mstatus & mstatus::MPV == 0 => {
                if !events.signal(self.hart, Signal::DoubleTrap) {
                    return self.ask(Request::Failure(format!(
                        "hart {} met a double trap: a trap with cause {:#x} at {:#x} while sstatus.SDT is set",
                        self.hart, csr.mtval2, csr.mepc
                    )));
                }
                self.vcpu.change(&mut firmware_state::go_back);
            }
            _ => self.vcpu.change(&mut |state| firmware_state::pass_on(state, &self.sbi.isa)),
        }
        Next::Stay
    }

    /// Enters the handler of the software event that the hart has to take, if there is one.
    fn take_event(&mut self) {
        let events = &self.harts.sbi.events;
        if events.is_wanted(self.hart) {
            events.deliver(self.hart, |entry, arg| {
                let mut interrupted = Default::default();
                self.vcpu.change(&mut |state| interrupted = firmware_state::enter_event(state, entry, arg));
                interrupted
            });
        }
    }

    fn fall_asleep(&mut self, resume: Option<Entry>, call: &SbiCall) {
        self.harts.states.set(self.hart, HartStatus::Suspended);
        self.asleep = Some(Asleep { resume, call: *call });
    }

    /// Waits for an interrupt that `sie` enables, or for a software event; a stopped machine's harts go on sleeping when it runs again.
    fn sleep(&mut self, asleep: Asleep) -> Next {
        let woken = self.vcpu.wait_for_interrupt() || self.harts.sbi.events.is_wanted(self.hart);
        if self.harts.is_stopping() {
            self.asleep = Some(asleep);
            return Next::Leave;
        }
        if !woken {
            self.asleep = Some(asleep);
            return Next::Stay;
        }
        match asleep.resume {
            None => self.vcpu.finish_sbi(&asleep.call, 0, 0),
            Some(entry) => {
                // `sie` and what else the hart had set up for itself stays as it is (HSM, "Hart suspend").
                let mut state = self.vcpu.state();
                self.sbi.enter_supervisor(&mut state, self.hart, entry);
                self.vcpu.set_state(&state);
            }
        }
        self.harts.states.set(self.hart, HartStatus::Started);
        Next::Stay
    }
}
