//! A hart that a debugger stops: breakpoints in memory, and single steps by means of them.
//!
//! The kernel only makes exits of breakpoint exceptions, all of the guest's (`KVM_SET_GUEST_DEBUG`, Linux,
//! Documentation/virt/kvm/api.rst). Whose one is, is told by where it is: of the debugger, of a step, or in the guest's own
//! code, and then the guest gets its exception here. A breakpoint is found wherever the guest has mapped the page that it
//! stands in; the debugger only hears of it at the address that it has set.

use std::io;
use std::sync::Arc;

use arch::cause::Exception;

use super::one_reg::{self as reg, OneReg};
use super::sleep::Look;
use super::stage::{Place, Stage};
use super::step::{self, Plan};
use super::vcpu::{KvmVcpu, Registers};
use super::{NAME, ioctl, state};
use crate::debug::{DebugConfig, DebugStop, physical_address};
use crate::tcg::trap::{Trap, take_trap};
use crate::{AccelError, HartState, MpState, VcpuExit};

/// What stops a hart, and how far it is.
pub struct Debugged {
    stage: Arc<Stage>,
    config: DebugConfig,
    /// The kernel makes exits of breakpoint exceptions.
    exits: bool,
    /// The hart is at a breakpoint that is not its own, and steps over it.
    steps_over: bool,
    /// Where the step that is under way began.
    from: Option<u64>,
    /// The hart is alone, and in a step.
    alone: bool,
    /// It has come to the step's end.
    ended: bool,
}

impl Debugged {
    pub fn new(stage: Arc<Stage>) -> Self {
        let config = DebugConfig::default();
        Self { stage, config, exits: false, steps_over: false, from: None, alone: false, ended: false }
    }
}

fn unsupported(what: impl Into<String>) -> AccelError {
    AccelError::Unsupported { name: NAME, what: what.into() }
}

impl KvmVcpu {
    /// As [`Vcpu::set_debug`](crate::Vcpu::set_debug).
    pub(super) fn debug(&mut self, config: &DebugConfig) -> Result<Vec<u64>, AccelError> {
        self.debugged = Debugged { exits: self.debugged.exits, ..Debugged::new(Arc::clone(&self.debugged.stage)) };
        self.debugged.stage.want(self.hart, None);
        if *config == DebugConfig::default() {
            return Ok(Vec::new());
        }
        if !config.watchpoints.is_empty() {
            return Err(unsupported(
                "watchpoints: KVM has none for RISC-V, and what a hart loads and stores leaves no trace",
            ));
        }
        if config.hold_interrupts && !config.single_step {
            return Err(unsupported("harts that go on without interrupts"));
        }
        self.debugged.stage.possible.clone().map_err(unsupported)?;
        let s = self.finish().and_then(|()| self.load());
        let s = s.map_err(|e| self.error("look for the places of breakpoints", e))?;
        let (mut places, mut nowhere) = (Vec::new(), Vec::new());
        for va in &config.breakpoints {
            // The registers of a hart that was not started yet say nothing.
            let place = if s.mp == MpState::Stopped { None } else { self.place(&s, *va) };
            match place {
                Some(place) => places.push(place),
                None => nowhere.push(*va),
            }
        }
        self.debugged.config = config.clone();
        self.debugged.stage.want(self.hart, Some(places));
        Ok(nowhere)
    }

    /// Where a breakpoint at a virtual address of the hart has to stand.
    fn place(&self, s: &HartState, va: u64) -> Option<Place> {
        let (isa, ram) = (&self.config.isa, &self.config.ram);
        Place::at(physical_address(s, isa, ram, va)?, isa, ram)
    }

    /// Runs until something needs the caller.
    pub(super) fn run_in_turn(&mut self) -> Result<VcpuExit, AccelError> {
        let on = self.debugged.stage.is_debugged();
        if on != self.debugged.exits {
            ioctl::debug_guest(&self.fd, on).map_err(|e| self.error("ask KVM for the breakpoints", e))?;
            self.debugged.exits = on;
        }
        loop {
            let exit = if !on {
                self.enter_at_time()?
            } else if self.wants_step()? {
                self.step()?
            } else {
                self.run_with_others()?
            };
            if let Some(exit) = exit {
                return Ok(exit);
            }
        }
    }

    fn enter_at_time(&mut self) -> Result<Option<VcpuExit>, AccelError> {
        self.follow_clock().map_err(|e| self.error("set the time", e))?;
        self.enter()
    }

    /// Waits for `ready`; `false` after a kick.
    fn wait(&mut self, ready: impl Fn(&Stage) -> bool) -> bool {
        let (sleepers, stage) = (Arc::clone(&self.shared.sleepers), Arc::clone(&self.debugged.stage));
        sleepers.sleep(|| match self.take_kick() {
            true => Look::Over(false),
            false if ready(&stage) => Look::Over(true),
            false => Look::Sleep(None),
        })
    }

    /// Runs with the breakpoints in place. `None`: another hart steps, or this one has to.
    fn run_with_others(&mut self) -> Result<Option<VcpuExit>, AccelError> {
        if !self.wait(Stage::enter) {
            return Ok(Some(VcpuExit::Kicked));
        }
        let left = loop {
            if self.debugged.stage.is_taken() || self.debugged.steps_over {
                break Ok(None);
            }
            match self.enter_at_time() {
                Ok(None) => {}
                left => break left,
            }
        };
        self.debugged.stage.leave();
        self.shared.sleepers.changed();
        left
    }

    /// A hart that waits to be started has no instruction to step over.
    fn wants_step(&self) -> Result<bool, AccelError> {
        let Debugged { config, steps_over, .. } = &self.debugged;
        Ok((config.single_step || *steps_over) && !self.is_stopped().map_err(|e| self.error("step", e))?)
    }

    fn step(&mut self) -> Result<Option<VcpuExit>, AccelError> {
        let hart = self.hart;
        let left = if self.wait(|stage| stage.be_alone(hart)) {
            self.debugged.alone = true;
            self.step_alone()
        } else {
            Ok(Some(VcpuExit::Kicked))
        };
        self.debugged.alone = false;
        self.debugged.stage.be_one_of_many(hart);
        self.shared.sleepers.changed();
        left
    }

    /// `None`: the step is over, and nobody is to hear of it.
    fn step_alone(&mut self) -> Result<Option<VcpuExit>, AccelError> {
        let failed = |hart: &Self, e| hart.error("step", e);
        let mut s = self.finish().and_then(|()| self.load()).map_err(|e| failed(self, e))?;
        // It may have left in the middle, for an answer or by a kick.
        if self.debugged.from.is_some_and(|from| from != s.pc) {
            return Ok(self.stepped());
        }
        let (from, sie) = (s.pc, s.csr.mie & state::SUPERVISOR);
        let (isa, ram) = (&self.config.isa, &self.config.ram);
        let (ends, mask) = match step::plan(&mut s, isa, ram, self.debugged.config.hold_interrupts) {
            Plan::Done => {
                state::store_step(&Registers(&self.fd), &s).map_err(|e| failed(self, e))?;
                return Ok(self.stepped());
            }
            Plan::Run { ends, mask } => (ends, mask),
        };
        self.debugged.from = Some(from);
        let places = ends.iter().filter_map(|end| self.place(&s, *end)).collect();
        self.debugged.stage.plant_for_step(places);
        let mask_to = |hart: &Self, sie| match mask {
            true => Registers(&hart.fd).set(reg::SIE, sie).map_err(|e| failed(hart, e)),
            false => Ok(()),
        };
        // The kernel's time goes on between steps.
        if self.config.clock.is_paused() {
            let (time, regs) = (self.config.clock.now(), Registers(&self.fd));
            regs.set(reg::TIME, time).map_err(|e| failed(self, e))?;
        }
        mask_to(self, 0)?;
        let left = loop {
            match self.enter_at_time() {
                Ok(None) if self.debugged.ended => break Ok(None),
                Ok(None) => {}
                left => break left,
            }
        };
        mask_to(self, sie)?;
        if std::mem::take(&mut self.debugged.ended) {
            return Ok(self.stepped());
        }
        left
    }

    /// The instruction was executed.
    fn stepped(&mut self) -> Option<VcpuExit> {
        (self.debugged.from, self.debugged.steps_over) = (None, false);
        self.debugged.config.single_step.then_some(VcpuExit::Debug(DebugStop::Step))
    }

    /// The guest has come to a breakpoint. `None`: it, or whoever steps, goes on.
    pub(super) fn met_breakpoint(&mut self) -> io::Result<Option<VcpuExit>> {
        let mut s = self.load()?;
        let (isa, ram) = (&self.config.isa, &self.config.ram);
        let planted = physical_address(&s, isa, ram, s.pc).is_some_and(|pa| self.debugged.stage.is_planted(pa));
        if self.debugged.alone {
            self.debugged.ended = planted;
        } else if self.debugged.config.breakpoints.contains(&s.pc) {
            return Ok(Some(VcpuExit::Debug(DebugStop::Breakpoint)));
        } else {
            self.debugged.steps_over = planted;
        }
        if !planted {
            let pc = s.pc;
            take_trap(&mut s, isa, Trap::of(Exception::Breakpoint, pc), pc);
            state::store_trap(&Registers(&self.fd), &s)?;
        }
        Ok(None)
    }
}
