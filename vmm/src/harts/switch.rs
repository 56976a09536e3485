//! Another vCPU takes the place of a hart's, with its state: what a machine does that goes on under another engine.
//!
//! First every new vCPU gets its hart's state ([`Harts::prepare`]); one that does not take it is no harm. Then all take
//! their places ([`Harts::replace`]), which cannot fail any more.

use std::sync::Arc;

use accel::{AccelError, Vcpu, Vm};
use firmware::sbi::HartStatus;

use super::Harts;
use super::saved::SavedHart;
use super::vcpu_thread::Asleep;

/// What runs a hart.
pub struct Processor {
    pub vcpu: Box<dyn Vcpu>,
    /// The machine that the vCPU is of.
    pub vm: Arc<dyn Vm>,
}

/// A vCPU that has a hart's state, and what is known of the hart besides.
pub struct Ready {
    processor: Processor,
    saved: SavedHart,
    /// Breakpoints that do not stop it.
    pub missed: Vec<u64>,
}

impl Harts {
    /// Gives the state of a hart to a vCPU of another machine, on the hart's thread. The harts are stopped, and stay so
    /// until [`Harts::replace`].
    ///
    /// # Errors
    /// The hart's thread has failed, or one of the engines does not give or take something. Nothing has changed.
    pub fn prepare(&self, hart: u32, processor: Processor) -> Result<Ready, String> {
        let mut saved = self.save(hart)?;
        if processor.vm.starts_harts() {
            saved.give_to_engine(hart, &self.isa);
        }
        let (state, debug) = (saved.state.clone(), self.gate().debug[hart as usize].clone());
        let take = move |mut processor: Processor| -> Result<_, AccelError> {
            processor.vcpu.try_set_state(&state)?;
            let missed = processor.vcpu.set_debug(&debug)?;
            Ok((processor, missed))
        };
        let taken = self.at(hart, move |_| take(processor))?;
        let (processor, missed) = taken.map_err(|error| crate::error_chain(&error))?;
        Ok(Ready { processor, saved, missed })
    }

    /// Puts the vCPUs of all harts in their places, by hart id. Returns those that were there, of which nobody knows any
    /// more.
    pub fn replace(&self, all: Vec<Ready>) -> Vec<Processor> {
        if let Some(ready) = all.first() {
            self.gate().vm = Arc::clone(&ready.processor.vm);
        }
        let mut old = Vec::new();
        for (hart, ready) in (0..).zip(all) {
            let Ready { processor, saved, .. } = ready;
            self.wires.rebind(hart, processor.vcpu.handle());
            // The thread of a hart that has failed has nothing to replace; the machine ends.
            old.extend(self.at(hart, move |there| std::mem::replace(there, processor)));
            self.wires.set_sbi_timer(hart, saved.sbi_timer);
            self.gate().asleep[hart as usize] = saved.asleep.map(Asleep::from);
            self.states.set(hart, HartStatus::from_id(saved.status).unwrap_or(HartStatus::Stopped));
        }
        old
    }
}
