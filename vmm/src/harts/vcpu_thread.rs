//! The thread of one hart: runs its vCPU and answers what leaves it.

use std::sync::Arc;

use accel::tcg::firmware as firmware_state;
use accel::{AccelError, HartState, SbiCall, ShutdownReason, VcpuExit};
use arch::cause::Exception;
use arch::csr::{mip, mstatus, xcause};
use firmware::sbi::sse::Signal;
use firmware::sbi::{Entry, HartStatus, ResetKind, ResetReason, SbiOutcome, SbiRequest};

use super::{Harts, Passage, Processor};
use crate::control::{Control, Request};
use crate::monitor::event::Cause;
use crate::sbi_host::{SbiCallHost, SbiMachine, enter_supervisor};

/// A hart that sleeps by its own wish: SBI's suspend.
pub(super) struct Asleep {
    /// Where it wakes; `None`: behind the call.
    pub resume: Option<Entry>,
    pub call: SbiCall,
}

pub(super) struct VcpuThread {
    hart: u32,
    processor: Processor,
    harts: Arc<Harts>,
    sbi: Arc<SbiMachine>,
    control: Arc<Control>,
    asleep: Option<Asleep>,
    /// Past the gate.
    inside: bool,
}

/// Whether a thread stays in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
}

impl VcpuThread {
    pub fn new(
        hart: u32,
        processor: Processor,
        harts: Arc<Harts>,
        sbi: Arc<SbiMachine>,
        control: Arc<Control>,
    ) -> Self {
        Self { hart, processor, harts, sbi, control, asleep: None, inside: false }
    }

    /// Whether the thread is past the gate; for one that has failed.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Until the machine ends.
    pub fn run(&mut self) {
        loop {
            match self.harts.pass(self.hart) {
                Passage::End => return,
                // Who waits for a job that is not done hears of it.
                Passage::Job(load, job) => match self.load(load) {
                    Ok(()) => job(&mut self.processor),
                    Err(error) => drop(self.fail(&error)),
                },
                Passage::Guest(load, asleep) => {
                    self.inside = true;
                    self.asleep = asleep;
                    self.enter(load);
                    self.inside = false;
                    self.harts.back(self.hart, self.asleep.take());
                }
            }
        }
    }

    /// Past the gate until the hart or the machine stops.
    fn enter(&mut self, load: Option<Box<HartState>>) {
        let mut next = self.load(load).map(|()| Next::Stay);
        while let Ok(Next::Stay) = next {
            next = self.step();
        }
        if let Err(error) = next {
            self.fail(&error);
        }
    }

    fn load(&mut self, load: Option<Box<HartState>>) -> Result<(), AccelError> {
        if let Some(state) = load {
            tracing::debug!(hart = self.hart, pc = format_args!("{:#x}", state.pc), "hart starts");
            self.processor.vcpu.try_set_state(&state)?;
            self.asleep = None;
            self.harts.states.set(self.hart, HartStatus::Started);
        }
        Ok(())
    }

    /// The engine has lost the hart: the machine ends.
    fn fail(&self, error: &AccelError) -> Next {
        self.ask(Request::Failure(format!("hart {} cannot go on: {}", self.hart, crate::error_chain(error))))
    }

    /// Once into the guest and out again.
    fn step(&mut self) -> Result<Next, AccelError> {
        if let Some(asleep) = self.asleep.take() {
            return self.sleep(asleep);
        }
        self.take_event()?;
        let next = match self.processor.vcpu.run()? {
            VcpuExit::Sbi(call) => self.sbi_call(&call)?,
            VcpuExit::Reset => self.ask(Request::Reset(Cause::Guest)),
            VcpuExit::Shutdown(ShutdownReason::Guest) => self.ask(Request::PowerOff(0)),
            VcpuExit::Shutdown(ShutdownReason::Failure) => self.ask(Request::PowerOff(1)),
            VcpuExit::CriticalError { cause, pc } => self.ask(Request::Failure(format!(
                "hart {} is in the critical-error state: a trap with cause {cause:#x} at {pc:#x} while MDT is set",
                self.hart
            ))),
            VcpuExit::MachineTrap => self.machine_trap()?,
            VcpuExit::Kicked => Next::Stay,
            VcpuExit::Debug(stop) => self.ask(Request::Debug { hart: self.hart, stop }),
        };
        Ok(if self.harts.is_stopping() { Next::Leave } else { next })
    }

    /// The machine does what is asked once this thread is at the gate.
    fn ask(&self, request: Request) -> Next {
        self.control.request(request);
        Next::Leave
    }

    fn sbi_call(&mut self, call: &SbiCall) -> Result<Next, AccelError> {
        let request = SbiRequest { hart: self.hart, eid: call.eid, fid: call.fid, args: call.args };
        let host = SbiCallHost::new(&self.sbi, self.hart, &mut self.processor);
        let outcome = firmware::sbi::handle(&request, &host);
        host.finish()?;
        tracing::trace!(target: "firmware::sbi", hart = self.hart, ?call, ?outcome);
        match outcome {
            SbiOutcome::Return { error, value } => self.processor.vcpu.finish_sbi(call, error, value)?,
            SbiOutcome::HartStop => {
                self.harts.states.set(self.hart, HartStatus::Stopped);
                return Ok(Next::Leave);
            }
            SbiOutcome::HartSuspend { resume } => self.fall_asleep(resume, call),
            SbiOutcome::SystemSuspend { resume } => self.fall_asleep(Some(resume), call),
            SbiOutcome::Reset { kind, reason } => {
                return Ok(self.ask(match (kind, reason) {
                    (ResetKind::Shutdown, ResetReason::NoReason) => Request::PowerOff(0),
                    (ResetKind::Shutdown, ResetReason::SystemFailure) => Request::PowerOff(1),
                    (ResetKind::ColdReboot | ResetKind::WarmReboot, _) => Request::Reset(Cause::Guest),
                }));
            }
            SbiOutcome::EventReturn { interrupted } => {
                self.processor
                    .vcpu
                    .try_change(&mut |state| firmware_state::leave_event(state, &self.sbi.isa, interrupted))?;
            }
            SbiOutcome::GuestFault(fault) => {
                let mut state = self.processor.vcpu.try_state()?;
                let ecall = state.pc.wrapping_sub(4);
                let trap = accel::tcg::trap::Trap::new(fault.cause, fault.tval);
                accel::tcg::trap::take_trap(&mut state, &self.sbi.isa, trap, ecall);
                self.processor.vcpu.try_set_state(&state)?;
            }
        }
        Ok(Next::Stay)
    }

    /// A trap that M-mode firmware would take. What it has no use for is the supervisor's.
    fn machine_trap(&mut self) -> Result<Next, AccelError> {
        const OVERFLOW: u64 = xcause::INTERRUPT | mip::LCOFIP.trailing_zeros() as u64;
        const DOUBLE_TRAP: u64 = Exception::DoubleTrap.code();
        let csr = self.processor.vcpu.try_state()?.csr;
        let events = &self.harts.sbi.events;
        match csr.mcause {
            OVERFLOW => {
                events.signal(self.hart, Signal::CounterOverflow);
                self.processor.vcpu.try_change(&mut |state| {
                    state.csr.mip &= !mip::LCOFIP;
                    firmware_state::go_back(state);
                })?;
            }
            // A guest's is for its hypervisor.
            DOUBLE_TRAP if csr.mstatus & mstatus::MPV == 0 => {
                if !events.signal(self.hart, Signal::DoubleTrap) {
                    return Ok(self.ask(Request::Failure(format!(
                        "hart {} met a double trap: a trap with cause {:#x} at {:#x} while sstatus.SDT is set",
                        self.hart, csr.mtval2, csr.mepc
                    ))));
                }
                self.processor.vcpu.try_change(&mut firmware_state::go_back)?;
            }
            _ => self.processor.vcpu.try_change(&mut |state| firmware_state::pass_on(state, &self.sbi.isa))?,
        }
        Ok(Next::Stay)
    }

    /// Enters the handler of the software event that the hart has to take, if there is one.
    fn take_event(&mut self) -> Result<(), AccelError> {
        let events = &self.harts.sbi.events;
        let mut done = Ok(());
        if events.is_wanted(self.hart) {
            events.deliver(self.hart, |entry, arg| {
                let mut interrupted = Default::default();
                let enter = &mut |state: &mut HartState| interrupted = firmware_state::enter_event(state, entry, arg);
                done = self.processor.vcpu.try_change(enter);
                interrupted
            });
        }
        done
    }

    fn fall_asleep(&mut self, resume: Option<Entry>, call: &SbiCall) {
        self.harts.states.set(self.hart, HartStatus::Suspended);
        self.asleep = Some(Asleep { resume, call: *call });
    }

    /// Waits for an interrupt that `sie` enables, or for a software event; a stopped machine's harts go on sleeping when it runs again.
    fn sleep(&mut self, asleep: Asleep) -> Result<Next, AccelError> {
        let woken = self.processor.vcpu.wait_for_interrupt() || self.harts.sbi.events.is_wanted(self.hart);
        if self.harts.is_stopping() {
            self.asleep = Some(asleep);
            return Ok(Next::Leave);
        }
        if !woken {
            self.asleep = Some(asleep);
            return Ok(Next::Stay);
        }
        match asleep.resume {
            None => self.processor.vcpu.finish_sbi(&asleep.call, 0, 0)?,
            Some(entry) => {
                // `sie` and what else the hart had set up for itself stays as it is (HSM, "Hart suspend").
                let mut state = self.processor.vcpu.try_state()?;
                enter_supervisor(&mut state, self.hart, entry);
                self.processor.vcpu.try_set_state(&state)?;
            }
        }
        self.harts.states.set(self.hart, HartStatus::Started);
        Ok(Next::Stay)
    }
}
