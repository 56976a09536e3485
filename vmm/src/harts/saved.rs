//! Harts as a snapshot keeps them: their registers, and what the program knows of them besides.

use accel::{AccelError, HartState, MpState, SbiCall};
use arch::ext::{Ext, IsaConfig};
use firmware::sbi::{Entry, HartStatus};
use serde::{Deserialize, Serialize};

use super::Harts;
use super::vcpu_thread::Asleep;
use crate::sbi_host::enter_supervisor;

/// SBI's extension of hart state management.
const HSM: u64 = 0x48_534d;

/// A hart of a stopped machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHart {
    pub(super) state: Box<HartState>,
    /// The id of its HSM state.
    pub(super) status: u8,
    /// Where it starts, if it has been told to and has not run since.
    start: Option<Box<HartState>>,
    pub(super) asleep: Option<Sleep>,
    /// Deadline of the SBI's timer in ticks, where that is none of the hart's registers.
    pub(super) sbi_timer: u64,
}

/// A call of SBI's suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sleep {
    /// Address and argument.
    resume: Option<(u64, u64)>,
    eid: u64,
    fid: u64,
    args: [u64; 6],
}

impl From<&Asleep> for Sleep {
    fn from(asleep: &Asleep) -> Self {
        let SbiCall { eid, fid, args } = asleep.call;
        Self { resume: asleep.resume.map(|entry| (entry.address, entry.opaque)), eid, fid, args }
    }
}

impl From<Sleep> for Asleep {
    fn from(Sleep { resume, eid, fid, args }: Sleep) -> Self {
        let resume = resume.map(|(address, opaque)| Entry { address, opaque });
        Self { resume, call: SbiCall { eid, fid, args } }
    }
}

impl SavedHart {
    /// Whether a state from elsewhere is one that a hart can have.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, isa: &IsaConfig) -> Result<(), String> {
        let status =
            HartStatus::from_id(self.status).ok_or_else(|| format!("there is no hart state {}", self.status))?;
        if (status == HartStatus::Suspended) != self.asleep.is_some() {
            return Err("its suspension is half there".to_owned());
        }
        if status == HartStatus::StartPending && self.start.is_none() {
            return Err("it is about to start, and nothing says where".to_owned());
        }
        self.state.check(isa)?;
        self.start.as_ref().map_or(Ok(()), |start| start.check(isa))
    }

    /// An engine that starts and stops harts itself keeps of them in its registers what is kept beside them otherwise.
    fn take_from_engine(&mut self, isa: &IsaConfig) {
        if self.state.mp == MpState::Stopped {
            (self.state.mp, self.status) = (MpState::Runnable, HartStatus::Stopped as u8);
        }
        if !isa.has(Ext::Sstc) {
            self.sbi_timer = std::mem::replace(&mut self.state.csr.stimecmp, u64::MAX);
        }
    }

    /// The same for such an engine.
    pub(super) fn give_to_engine(&mut self, hart: u32, isa: &IsaConfig) {
        if let Some(start) = self.start.take() {
            (self.state, self.asleep, self.status) = (start, None, HartStatus::Started as u8);
        }
        // The interrupt that ends a hart's suspension may be such an engine's own, of which nobody hears: the hart wakes
        // for none, which it has to be ready for. While the system is suspended there are none of these.
        if let Some(Sleep { resume, .. }) = self.asleep.take_if(|asleep| asleep.eid == HSM) {
            match resume {
                None => (self.state.x[10], self.state.x[11]) = (0, 0),
                Some((address, opaque)) => enter_supervisor(&mut self.state, hart, Entry { address, opaque }),
            }
            self.status = HartStatus::Started as u8;
        }
        if self.status == HartStatus::Stopped as u8 {
            (self.state.mp, self.status) = (MpState::Stopped, HartStatus::Started as u8);
        }
        if !isa.has(Ext::Sstc) {
            self.state.csr.stimecmp = std::mem::replace(&mut self.sbi_timer, u64::MAX);
        }
    }
}

impl Harts {
    /// All of a hart. The harts are stopped.
    ///
    /// # Errors
    /// The hart's thread has failed, or the engine does not give its registers.
    pub fn save(&self, hart: u32) -> Result<SavedHart, String> {
        let text = |error: AccelError| crate::error_chain(&error);
        let state = self.on(hart, |vcpu| vcpu.try_state().map(Box::new));
        let state = state?.map_err(text)?;
        let gate = self.gate();
        let i = hart as usize;
        let mut saved = SavedHart {
            state,
            status: self.states.get(hart) as u8,
            start: gate.load[i].clone(),
            asleep: gate.asleep[i].as_ref().map(Sleep::from),
            sbi_timer: self.wires.sbi_timer(hart),
        };
        if gate.vm.starts_harts() {
            saved.take_from_engine(&self.isa);
        }
        Ok(saved)
    }

    /// Takes over what was saved and has been checked. The harts are stopped.
    ///
    /// # Errors
    /// The hart's thread has failed, or the engine does not take its registers.
    pub fn restore(&self, hart: u32, mut saved: SavedHart) -> Result<(), String> {
        if self.vm().starts_harts() {
            saved.give_to_engine(hart, &self.isa);
        }
        let SavedHart { state, status, start, asleep, sbi_timer } = saved;
        self.wires.set_sbi_timer(hart, sbi_timer);
        let done = self.on(hart, move |vcpu| vcpu.try_set_state(&state));
        done?.map_err(|error| crate::error_chain(&error))?;
        let mut gate = self.gate();
        gate.load[hart as usize] = start;
        gate.asleep[hart as usize] = asleep.map(Asleep::from);
        self.states.set(hart, HartStatus::from_id(status).unwrap_or(HartStatus::Stopped));
        Ok(())
    }
}
