//! What the SBI remembers of the harts between calls, but for their HSM states. All of it is plain data behind
//! locks, which are held for one call at most.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arch::ext::IsaConfig;

use super::sse::SoftwareEvents;
use super::{PmuHarts, dbtr, fwft};

/// What belongs to one hart and is gone when the hart is reset. Only calls of the hart itself touch it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HartData {
    pub features: fwft::Features,
    pub triggers: dbtr::Triggers,
}

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

    /// Power-on.
    pub fn reset_all(&self) {
        (0..self.harts.len()).for_each(|hart| self.reset(hart as u32));
        self.events.reset_all();
    }
}
