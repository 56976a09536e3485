//! What the SBI remembers of the harts between calls, but for their HSM states. All of it is plain data behind
//! locks, which are held for one call at most.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::ext::IsaConfig;
use serde::{Deserialize, Serialize};

use super::sse::{self, SoftwareEvents};
use super::{PmuHarts, dbtr, fwft, pmu};

/// What belongs to one hart and is gone when the hart is reset. Only calls of the hart itself touch it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HartData {
    pub features: fwft::Features,
    pub triggers: dbtr::Triggers,
}

/// The memory of the SBI as a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSbi {
    pmu: Vec<pmu::HartState>,
    events: sse::Events,
    harts: Vec<HartData>,
}

/// It is the memory of a machine with other harts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the SBI's state is of a machine with other harts")]
pub struct UnfitSbi;

/// The memory of the SBI.
#[derive(Debug)]
pub struct State {
    /// The counters that the PMU extension hands out.
    pub pmu: PmuHarts,
    /// Software events, which are shared.
    pub events: SoftwareEvents,
    harts: Box<[Mutex<HartData>]>,
}

impl State {
    /// As at power-on.
    pub fn new(harts: u32, isa: &IsaConfig) -> Self {
        Self {
            pmu: PmuHarts::new(harts, isa),
            events: SoftwareEvents::new(harts),
            harts: (0..harts).map(|_| Mutex::default()).collect(),
        }
    }

    /// The data of a valid hart.
    pub fn hart(&self, hart: u32) -> MutexGuard<'_, HartData> {
        self.harts[hart as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hart starts anew, and its CSRs with it.
    pub fn reset(&self, hart: u32) {
        self.pmu.reset(hart);
        self.events.start(hart);
        *self.hart(hart) = HartData::default();
    }

    /// All of it. The harts are stopped.
    pub fn save(&self) -> SavedSbi {
        let harts = (0..self.harts.len() as u32).map(|hart| self.hart(hart).clone()).collect();
        SavedSbi { pmu: self.pmu.save(), events: self.events.save(), harts }
    }

    /// Extensions whose memory is another one than that of `other`, a state of the same machine. The harts are stopped.
    pub fn different(&self, other: &Self) -> Vec<&'static str> {
        let (own, other) = (self.save(), other.save());
        let any =
            |differs: fn(&HartData, &HartData) -> bool| own.harts.iter().zip(&other.harts).any(|(a, b)| differs(a, b));
        let all = [
            ("PMU", own.pmu != other.pmu),
            ("SSE", own.events != other.events),
            ("FWFT", any(|a, b| a.features != b.features)),
            ("DBTR", any(|a, b| a.triggers != b.triggers)),
        ];
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// Takes over what was saved. The harts are stopped.
    ///
    /// # Errors
    /// It is of another machine; then nothing changes.
    pub fn restore(&self, saved: SavedSbi) -> Result<(), UnfitSbi> {
        let SavedSbi { pmu, events, harts } = saved;
        if pmu.len() != self.harts.len() || harts.len() != self.harts.len() || !self.events.fits(&events) {
            return Err(UnfitSbi);
        }
        self.pmu.restore(pmu);
        self.events.restore(events);
        (0..).zip(harts).for_each(|(hart, data)| *self.hart(hart) = data);
        Ok(())
    }

    /// Power-on.
    pub fn reset_all(&self) {
        (0..self.harts.len()).for_each(|hart| self.reset(hart as u32));
        self.events.reset_all();
    }
}
