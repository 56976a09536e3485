//! Where a debugger stops a hart: breakpoints and single steps.
//!
//! A hart without a debugger pays nothing. As for triggers, code in a page with a breakpoint does not run in blocks but one
//! instruction at a time, and so does all code of a hart that is stepped; each of them passes the run loop, which asks.

use crate::debug::{DebugConfig, DebugStop};

/// What a debugger wants of a hart.
#[derive(Debug, Default)]
pub struct Stops {
    on: bool,
    single_step: bool,
    /// The instruction that a single step is about was executed, or is under way.
    stepped: bool,
    /// In order.
    breakpoints: Vec<u64>,
}

impl Stops {
    pub fn new(config: &DebugConfig) -> Self {
        let mut breakpoints = config.breakpoints.clone();
        breakpoints.sort_unstable();
        let on = config.single_step || !breakpoints.is_empty();
        Self { on, single_step: config.single_step, stepped: false, breakpoints }
    }

    /// Whether there is anything to stop at.
    #[inline(always)]
    pub fn are_set(&self) -> bool {
        self.on
    }

    /// Whether code in the page of `pc` runs one instruction at a time.
    #[inline(always)]
    pub fn watch_code(&self, pc: u64) -> bool {
        self.on && self.watch_page(pc)
    }

    #[cold]
    fn watch_page(&self, pc: u64) -> bool {
        let next = self.breakpoints.partition_point(|b| *b < pc & !0xfff);
        self.single_step || self.breakpoints.get(next).is_some_and(|b| *b <= pc | 0xfff)
    }

    /// Why the hart stops before the instruction at `pc`, which is executed next if it does not.
    #[cold]
    pub fn before(&mut self, pc: u64) -> Option<DebugStop> {
        if self.single_step {
            return std::mem::replace(&mut self.stepped, true).then_some(DebugStop::Step);
        }
        self.breakpoints.binary_search(&pc).is_ok().then_some(DebugStop::Breakpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_with_breakpoints_are_watched() {
        let stops = Stops::new(&DebugConfig { single_step: false, breakpoints: vec![0x5002, 0x1ffe, 0x1000] });
        for (pc, watched) in
            [(0xffe, false), (0x1000, true), (0x1ffc, true), (0x2000, false), (0x5ff0, true), (!1, false)]
        {
            assert_eq!(stops.watch_code(pc), watched, "{pc:#x}");
        }
        assert!(!Stops::default().are_set() && !Stops::default().watch_code(0));
        assert!(Stops::new(&DebugConfig { single_step: true, breakpoints: vec![] }).watch_code(!1));
    }

    #[test]
    fn a_step_is_one_instruction_whatever_stands_there() {
        let mut stops = Stops::new(&DebugConfig { single_step: true, breakpoints: vec![0x1000] });
        assert_eq!((stops.before(0x1000), stops.before(0x1004)), (None, Some(DebugStop::Step)));
        let mut stops = Stops::new(&DebugConfig { single_step: false, breakpoints: vec![0x1000] });
        assert_eq!((stops.before(0xffc), stops.before(0x1000)), (None, Some(DebugStop::Breakpoint)));
        assert_eq!(stops.before(0x1000), Some(DebugStop::Breakpoint));
    }
}
