//! Where a debugger stops a hart: breakpoints, watchpoints and single steps.
//!
//! A hart without a debugger pays nothing, and one with a debugger that wants nothing does not, either. As for triggers,
//! code in a page with a breakpoint does not run in blocks but one instruction at a time, and so does all code of a hart
//! that is stepped; pages with watchpoints never enter the TLB. The places where triggers are asked ask here as well.

use crate::debug::{DebugConfig, DebugStop, WatchKind, Watchpoint};
use crate::tcg::hart::{Exit, Hart};
use crate::tcg::trap::Trap;
use crate::tcg::triggers::Touch;

/// The cause of a "trap" that is none: [`Hart::raise`] leaves the block before the instruction, for the debugger.
pub const STOP: u64 = u64::MAX;

/// What a debugger wants of a hart.
#[derive(Debug, Default)]
pub struct Stops {
    on: bool,
    single_step: bool,
    hold_interrupts: bool,
    /// The instruction that a single step is about was executed, or is under way.
    stepped: bool,
    /// In order.
    breakpoints: Vec<u64>,
    watchpoints: Vec<Watchpoint>,
    /// What happens now is not the guest's access: the host reads and writes for it.
    pub muted: bool,
    /// Why the hart leaves with [`Exit::Debug`].
    reason: Option<DebugStop>,
}

impl Stops {
    pub fn new(config: &DebugConfig) -> Self {
        let DebugConfig { single_step, mut breakpoints, watchpoints, hold_interrupts } = config.clone();
        breakpoints.sort_unstable();
        let on = single_step || hold_interrupts || !breakpoints.is_empty() || !watchpoints.is_empty();
        Self { on, single_step, hold_interrupts, breakpoints, watchpoints, ..Self::default() }
    }

    /// Whether there is anything to stop at.
    #[inline(always)]
    pub fn are_set(&self) -> bool {
        self.on
    }

    pub fn steps(&self) -> bool {
        self.single_step
    }

    pub fn hold_interrupts(&self) -> bool {
        self.hold_interrupts
    }

    /// Whether code in the page of `pc` runs one instruction at a time.
    pub fn watches_code(&self, pc: u64) -> bool {
        let next = self.breakpoints.partition_point(|b| *b < pc & !0xfff);
        self.single_step || self.breakpoints.get(next).is_some_and(|b| *b <= pc | 0xfff)
    }

    /// Whether the hart stops before the instruction at `pc`, which is executed next if it does not.
    pub fn stop_at(&mut self, pc: u64) -> bool {
        self.reason = match self.single_step {
            true => std::mem::replace(&mut self.stepped, true).then_some(DebugStop::Step),
            false => self.breakpoints.binary_search(&pc).is_ok().then_some(DebugStop::Breakpoint),
        };
        self.reason.is_some()
    }

    pub fn watches_any_data(&self) -> bool {
        !self.watchpoints.is_empty()
    }

    /// Whether loads and stores to the page of `va` have to be looked at.
    pub fn watches_data(&self, va: u64) -> bool {
        self.watchpoints.iter().any(|w| w.start <= va | 0xfff && last(w) >= va & !0xfff)
    }

    /// Whether the hart stops before it accesses `len` bytes at `va`.
    fn stop_for(&mut self, va: u64, len: u64, touch: Touch) -> bool {
        let wanted = |w: &&Watchpoint| match (w.kind, touch) {
            (WatchKind::Access, _) | (_, Touch::Update) => true,
            (WatchKind::Read, touch) => touch == Touch::Load,
            (WatchKind::Write, touch) => touch != Touch::Load,
        };
        // An access may wrap around the end of the address space; a watchpoint does not.
        let first = |w: &Watchpoint| (0..len).map(|i| va.wrapping_add(i)).find(|at| (w.start..=last(w)).contains(at));
        let hit = self.watchpoints.iter().filter(wanted).find_map(|w| Some((first(w)?, w.kind)));
        self.reason = hit.map(|(address, kind)| DebugStop::Watchpoint { address, kind });
        self.reason.is_some()
    }

    /// Why the hart has left with [`Exit::Debug`].
    pub fn take_reason(&mut self) -> DebugStop {
        self.reason.take().expect("a hart that leaves for a debugger has a reason")
    }
}

fn last(w: &Watchpoint) -> u64 {
    w.start.saturating_add(w.len.saturating_sub(1))
}

impl Hart {
    /// Watchpoints that stop the hart before the current instruction accesses `len` bytes at `va`.
    pub fn check_watchpoints(&mut self, va: u64, len: u64, touch: Touch) -> Result<(), Trap> {
        if self.stops.watchpoints.is_empty() || self.stops.muted || !self.stops.stop_for(va, len, touch) {
            return Ok(());
        }
        Err(Trap::new(STOP, va))
    }

    /// Leaves the block before the current instruction, for the debugger.
    #[cold]
    pub fn stop_before(&mut self) {
        self.s.pc = self.cur_pc();
        self.leave_before();
        self.exit = Exit::Debug;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(change: impl FnOnce(&mut DebugConfig)) -> Stops {
        let mut config = DebugConfig::default();
        change(&mut config);
        Stops::new(&config)
    }

    #[test]
    fn pages_with_breakpoints_are_watched() {
        let some = stops(|c| c.breakpoints = vec![0x5002, 0x1ffe, 0x1000]);
        for (pc, watched) in
            [(0xffe, false), (0x1000, true), (0x1ffc, true), (0x2000, false), (0x5ff0, true), (!1, false)]
        {
            assert_eq!(some.watches_code(pc), watched, "{pc:#x}");
        }
        assert!(!Stops::default().are_set() && !Stops::default().watches_code(0));
        assert!(stops(|c| c.single_step = true).watches_code(!1));
    }

    #[test]
    fn a_step_is_one_instruction_whatever_stands_there() {
        let mut step = stops(|c| (c.single_step, c.breakpoints) = (true, vec![0x1000]));
        assert!(!step.stop_at(0x1000) && step.stop_at(0x1004));
        assert_eq!(step.take_reason(), DebugStop::Step);
        let mut breakpoint = stops(|c| c.breakpoints = vec![0x1000]);
        for _ in 0..2 {
            assert!(!breakpoint.stop_at(0xffc) && breakpoint.stop_at(0x1000));
            assert_eq!(breakpoint.take_reason(), DebugStop::Breakpoint);
        }
    }

    #[test]
    fn watchpoints_match_the_bytes_and_the_kind_of_an_access() {
        use Touch::*;
        use WatchKind::*;
        let watch = |start, len, kind| Watchpoint { start, len, kind };
        let mut s =
            stops(|c| c.watchpoints = vec![watch(0x1ffe, 4, Write), watch(0x3000, 1, Read), watch(!7, 8, Access)]);
        let rows = [
            (0x1ffd, 1, Store, None),
            (0x1ffd, 2, Store, Some((0x1ffe, Write))),
            (0x1ffe, 8, Load, None),
            (0x2001, 8, Update, Some((0x2001, Write))),
            (0x2002, 8, Store, None),
            (0x1fc0, 64, Block, Some((0x1ffe, Write))),
            (0x2ff9, 8, Load, Some((0x3000, Read))),
            (0x2ff9, 8, Store, None),
            (!3, 8, Load, Some((!3, Access))),
            (!0, 1, Store, Some((!0, Access))),
            (0, 8, Store, None),
        ];
        for (va, len, touch, hit) in rows {
            let stopped = s.stop_for(va, len, touch).then(|| s.take_reason());
            assert_eq!(
                stopped,
                hit.map(|(address, kind)| DebugStop::Watchpoint { address, kind }),
                "{va:#x} {touch:?}"
            );
        }
        for (va, watched) in
            [(0x1000, true), (0x2fff, true), (0x3fff, true), (0x4000, false), (0, false), (!0xfff, true)]
        {
            assert_eq!(s.watches_data(va), watched, "{va:#x}");
        }
    }
}
