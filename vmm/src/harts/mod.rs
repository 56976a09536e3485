//! The harts of a machine: one thread each, and the gate at which they stand while the machine is stopped.
//!
//! [`Harts`] is the machine's handle on all of them. A thread is either in the guest or at the gate; the gate
//! lets it through while the machine runs and the hart is started. Stopping is an order that every thread
//! sees after the kick that follows it, so nobody waits for a guest. What others want of a stopped vCPU
//! ([`Harts::on`]) its own thread does, at the gate: KVM's vCPUs belong to the thread that runs them.
//!
//! Locks: `gate` only, never while a guest runs, a device is called or a vCPU does what it was asked for.

mod saved;
mod switch;
mod vcpu_thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use accel::debug::DebugConfig;
use accel::{AccelError, HartSet, HartState, RemoteFence, Vcpu, Vm};
use arch::ext::IsaConfig;
use firmware::sbi::{HartStates, HartStatus, State};
use rustix::thread::sched_setaffinity;

use crate::affinity::CpuSets;
use crate::board::memory;
use crate::board::wires::HartWires;
use crate::control::{Control, Request};
use crate::sbi_host::SbiMachine;
pub use saved::SavedHart;
pub use switch::{Processor, Ready};
use vcpu_thread::{Asleep, VcpuThread};

/// What a hart's thread does at the gate for somebody else.
type Job = Box<dyn FnOnce(&mut Processor) + Send>;

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
    /// By hart at the gate: what it sleeps for.
    asleep: Vec<Option<Asleep>>,
    /// By hart: what somebody waits for.
    job: Vec<Option<Job>>,
    /// By hart: the host's number for its thread, once that runs.
    threads: Vec<Option<i32>>,
    /// Harts that stay at the gate while others run.
    held: Vec<bool>,
    /// Harts whose thread has ended.
    gone: Vec<bool>,
    /// By hart: what a debugger wants of it.
    debug: Vec<DebugConfig>,
    /// The machine on the engine that runs it now.
    vm: Arc<dyn Vm>,
}

/// What a thread finds at the gate.
enum Passage {
    /// Into the guest, from a new state if there is one; or back to sleep.
    Guest(Option<Box<HartState>>, Option<Asleep>),
    /// Something to do first, with the new state if there is one.
    Job(Option<Box<HartState>>, Job),
    End,
}

/// All vCPU threads of a machine.
pub struct Harts {
    /// A copy of the gate's order, to be looked at without the lock.
    order: AtomicU8,
    gate: Mutex<Gate>,
    /// The order, `load`, `job`, `threads` or `inside` changed.
    changed: Condvar,
    /// HSM states; with M-mode below the guest all are started.
    pub states: HartStates,
    /// What the SBI remembers of the harts.
    pub sbi: State,
    isa: IsaConfig,
    wires: Arc<HartWires>,
}

impl Harts {
    /// Stopped, without threads.
    pub fn new(harts: u32, isa: &IsaConfig, wires: Arc<HartWires>, vm: Arc<dyn Vm>) -> Self {
        let gate = Gate {
            order: Order::Stop,
            inside: 0,
            load: (0..harts).map(|_| None).collect(),
            asleep: (0..harts).map(|_| None).collect(),
            job: (0..harts).map(|_| None).collect(),
            threads: vec![None; harts as usize],
            held: vec![false; harts as usize],
            gone: vec![false; harts as usize],
            debug: vec![DebugConfig::default(); harts as usize],
            vm,
        };
        Self {
            order: AtomicU8::new(Order::Stop as u8),
            gate: Mutex::new(gate),
            changed: Condvar::new(),
            states: HartStates::new(harts),
            sbi: State::new(harts, isa),
            isa: isa.clone(),
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
            self.wires.kick_all();
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

    /// Which harts stay where they are when the others run again. The harts are stopped.
    pub fn hold(&self, is_held: impl Fn(u32) -> bool) {
        for (hart, held) in (0..).zip(&mut self.gate().held) {
            *held = is_held(hart);
        }
    }

    /// Power-on: only hart 0 is started, and starts that were under way are forgotten. The harts are stopped.
    pub fn reset(&self) {
        self.states.reset(0);
        self.sbi.reset_all();
        let mut gate = self.gate();
        gate.load.iter_mut().for_each(|load| *load = None);
        gate.asleep.iter_mut().for_each(|asleep| *asleep = None);
    }

    /// The hart starts from here the next time it passes the gate.
    pub fn load(&self, hart: u32, state: HartState) {
        self.gate().load[hart as usize] = Some(Box::new(state));
        self.changed.notify_all();
    }

    /// Has a hart's thread do something with its vCPU and waits for the answer. The harts are stopped, and one thread
    /// asks at a time.
    ///
    /// # Errors
    /// The hart's thread has failed.
    pub fn on<R: Send + 'static>(
        &self,
        hart: u32,
        f: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static,
    ) -> Result<R, String> {
        self.at(hart, |processor| f(&mut *processor.vcpu))
    }

    /// The same with all that runs the hart.
    fn at<R: Send + 'static>(
        &self,
        hart: u32,
        f: impl FnOnce(&mut Processor) -> R + Send + 'static,
    ) -> Result<R, String> {
        let failed = || format!("hart {hart} has failed");
        let (answer, answered) = mpsc::sync_channel(1);
        {
            let mut gate = self.gate();
            debug_assert_ne!(gate.order, Order::Run, "a vCPU is asked while it may be in the guest");
            if gate.gone[hart as usize] {
                return Err(failed());
            }
            gate.job[hart as usize] = Some(Box::new(move |processor| {
                // Who asked may have given up only by a panic of its own.
                let _ = answer.send(f(processor));
            }));
        }
        self.changed.notify_all();
        // A thread that fails in the job drops its end.
        answered.recv().map_err(|_| failed())
    }

    /// The machine on the engine that runs it now.
    pub fn vm(&self) -> Arc<dyn Vm> {
        Arc::clone(&self.gate().vm)
    }

    /// [`Vcpu::set_debug`] of a hart, also for a vCPU that takes the place of this one.
    pub fn set_debug(&self, hart: u32, config: DebugConfig) -> Result<Result<Vec<u64>, AccelError>, String> {
        self.gate().debug[hart as usize] = config.clone();
        self.on(hart, move |vcpu| vcpu.set_debug(&config))
    }

    /// All harts see code that was written to memory. The harts are stopped.
    pub fn fence_code(&self) {
        let (vm, harts) = {
            let gate = self.gate();
            (Arc::clone(&gate.vm), (0..gate.held.len() as u32).collect())
        };
        vm.remote_fence(&HartSet(harts), RemoteFence::Instruction);
    }

    /// The host's number for the thread of a hart. Waits for a thread that is just being started.
    pub fn thread_id(&self, hart: u32) -> i32 {
        let hart = hart as usize;
        let gate = self.changed.wait_while(self.gate(), |gate| gate.threads[hart].is_none());
        gate.unwrap_or_else(PoisonError::into_inner).threads[hart].expect("waited for it")
    }

    /// The thread of hart `hart` is this one.
    fn enlist(&self, hart: u32) {
        self.gate().threads[hart as usize] = Some(rustix::thread::gettid().as_raw_nonzero().get());
        self.changed.notify_all();
    }

    /// Waits until hart `hart` may run or is wanted for something else.
    fn pass(&self, hart: u32) -> Passage {
        let i = hart as usize;
        let mut gate = self.gate();
        loop {
            if let Some(job) = gate.job[i].take() {
                return Passage::Job(gate.load[i].take(), job);
            }
            let loaded = gate.load[i].is_some();
            let started = !matches!(self.states.get(hart), HartStatus::Stopped | HartStatus::StartPending);
            match gate.order {
                Order::Quit => return Passage::End,
                Order::Run if (loaded || started) && !gate.held[i] => {
                    gate.inside += 1;
                    return Passage::Guest(gate.load[i].take(), gate.asleep[i].take());
                }
                _ => gate = self.changed.wait(gate).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Hart `hart` is at the gate again.
    fn back(&self, hart: u32, asleep: Option<Asleep>) {
        let mut gate = self.gate();
        gate.inside -= 1;
        gate.asleep[hart as usize] = asleep;
        drop(gate);
        self.changed.notify_all();
    }

    /// The thread of hart `hart` ends; nobody may wait for it.
    fn leave(&self, hart: u32, was_inside: bool) {
        let mut gate = self.gate();
        gate.inside -= u32::from(was_inside);
        gate.gone[hart as usize] = true;
        gate.job[hart as usize] = None;
        drop(gate);
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
            let processor = Processor { vcpu, vm: harts.vm() };
            let (harts, sbi, control) = (Arc::clone(harts), Arc::clone(sbi), Arc::clone(control));
            let cpus = cpus.get(&hart).copied();
            let body = move || {
                harts.enlist(hart);
                if let Some(Err(error)) = cpus.map(|cpus| sched_setaffinity(None, &cpus)) {
                    control.request(Request::Failure(format!("cannot run hart {hart} on its CPUs: {error}")));
                }
                if let Some(address) = early.filter(|_| hart == 0) {
                    memory::touch(&sbi.ram, address);
                }
                let mut thread = VcpuThread::new(hart, processor, Arc::clone(&harts), sbi, Arc::clone(&control));
                // The panic hook has told the user already; the machine cannot go on without this hart.
                let failed = catch_unwind(AssertUnwindSafe(|| thread.run())).is_err();
                harts.leave(hart, thread.is_inside());
                if failed {
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
