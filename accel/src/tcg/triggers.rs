//! Triggers (Sdtrig): which of them match what the hart does, and what they set off.
//!
//! A trigger that fires raises a breakpoint exception; there is no debug mode. Address matches fire before the
//! instruction takes effect. A fetch is matched by the address of the instruction, a load or store by the addresses of
//! all its bytes.
//!
//! A handler is not interrupted by a trigger of its own mode before it has saved what it needs: triggers neither match
//! nor fire in M-mode while `mstatus.MIE` is 0, and likewise in S- and VS-mode where breakpoints are delegated to them.
//! That is the first of the two solutions that the specification recommends; the other one, `tcontrol`, excludes
//! delegation.
//!
//! A hart whose triggers are off pays nothing. What the armed ones could match in the current mode is worked out when
//! they are written and when the mode changes ([`Armed`]). Loads and stores to pages in their reach never enter the TLB,
//! so that they come to the slow path, which asks; code there does not run in blocks but one instruction at a time in
//! the interpreter, and so does all code whose instructions are counted.
//!
//! Debug spec, "Sdtrig (ISA Extension)".

use arch::cause::Exception;
use arch::csr::{hgatp, icount, itrigger, mcontrol6, mstatus, satp, tdata1, textra, xcause};

use super::exec;
use super::hart::Hart;
use super::trap::{self, Trap};
use crate::{HartState, Mode, TRIGGERS, TriggerState};

/// The type of a trigger.
pub fn kind(tdata1: u64) -> u64 {
    tdata1 >> tdata1::TYPE_SHIFT
}

/// The size of accesses in bytes that an address match is limited to, 0 for any; `None` for one that there is not.
pub fn size_of(tdata1: u64) -> Option<u64> {
    [Some(0), Some(1), Some(2), Some(4), None, Some(8), Some(16), None]
        [((tdata1 & mcontrol6::SIZE) >> mcontrol6::SIZE_SHIFT) as usize]
}

/// Whether a trigger is enabled in a mode.
fn enabled(tdata1: u64, mode: Mode, virt: bool) -> bool {
    let [m, s, u, vs, vu] = match kind(tdata1) {
        tdata1::MCONTROL6 => [mcontrol6::M, mcontrol6::S, mcontrol6::U, mcontrol6::VS, mcontrol6::VU],
        tdata1::ICOUNT => [icount::M, icount::S, icount::U, icount::VS, icount::VU],
        tdata1::ITRIGGER | tdata1::ETRIGGER => [itrigger::M, itrigger::S, itrigger::U, itrigger::VS, itrigger::VU],
        _ => return false,
    };
    let bit = match (mode, virt) {
        (Mode::Machine, _) => m,
        (Mode::Supervisor, false) => s,
        (Mode::Supervisor, true) => vs,
        (Mode::User, false) => u,
        (Mode::User, true) => vu,
    };
    tdata1 & bit != 0
}

/// Whether triggers match and fire at all in the current mode.
fn may_fire(s: &HartState) -> bool {
    let c = &s.csr;
    let breakpoint = Exception::Breakpoint.bit();
    match (s.mode, s.virt) {
        (Mode::Machine, _) => c.mstatus & mstatus::MIE != 0 && !c.nmi_masked,
        (Mode::Supervisor, false) => c.medeleg & breakpoint == 0 || c.mstatus & mstatus::SIE != 0,
        (Mode::Supervisor, true) => c.medeleg & c.hedeleg & breakpoint == 0 || c.vsstatus & mstatus::SIE != 0,
        (Mode::User, _) => true,
    }
}

/// Whether the contexts are those that `tdata3` binds a trigger to; `virt` of the mode that is looked at.
fn in_context(s: &HartState, tdata3: u64, virt: bool) -> bool {
    use textra::*;
    let c = &s.csr;
    let select = (tdata3 & MHSELECT) >> MHSELECT_SHIFT;
    let value = (tdata3 & MHVALUE) >> MHVALUE_SHIFT;
    let wide = value << 1 | select >> 2;
    let host = match select {
        4 => c.mcontext & (MHVALUE >> MHVALUE_SHIFT) == value,
        1 | 5 => c.mcontext == wide,
        2 | 6 => (c.hgatp & hgatp::VMID) >> hgatp::VMID_SHIFT == wide,
        _ => true,
    };
    let value = (tdata3 & SVALUE) >> SVALUE_SHIFT;
    let supervisor = match tdata3 & SSELECT {
        1 => {
            let ignored = (0..5).filter(|i| tdata3 >> SBYTEMASK_SHIFT >> i & 1 != 0);
            let ignored = ignored.fold(0, |mask, i| mask | 0xff << (8 * i));
            (c.scontext ^ value) & !ignored == 0
        }
        2 => {
            let space = if virt { c.vsatp } else { c.satp };
            (space & satp::ASID) >> satp::ASID_SHIFT == value & (satp::ASID >> satp::ASID_SHIFT)
        }
        _ => true,
    };
    host && supervisor
}

/// Whether a trigger may match what the current mode does.
fn active(s: &HartState, t: &TriggerState) -> bool {
    enabled(t.tdata1, s.mode, s.virt) && may_fire(s) && in_context(s, t.tdata3, s.virt)
}

/// What a data access is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    Load,
    Store,
    /// An AMO: both.
    Update,
    /// An operation on a cache block: a store of no size.
    Block,
}

impl Touch {
    fn wanted(self, tdata1: u64) -> bool {
        let fields = match self {
            Self::Load => mcontrol6::LOAD,
            Self::Store | Self::Block => mcontrol6::STORE,
            Self::Update => mcontrol6::LOAD | mcontrol6::STORE,
        };
        tdata1 & fields != 0
    }
}

/// What an instruction is about to do.
pub struct Event<'a> {
    pub pc: u64,
    /// Its length, if it could be fetched.
    pub len: &'a dyn Fn() -> Option<u64>,
    /// Address, bytes and kind of an access; without one it is about to execute.
    pub data: Option<(u64, u64, Touch)>,
}

/// Triggers that fire, a bit each, and the address that made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    pub triggers: u8,
    pub address: u64,
}

/// The address matches that fire. Those of a chain fire if all match; one that waits for a fetch then also matches while
/// its instruction accesses memory.
pub fn fired(s: &HartState, event: &Event) -> Option<Fired> {
    let mut fired: Option<Fired> = None;
    let mut first = 0;
    while first < TRIGGERS {
        let chains = |i: usize| {
            let t = &s.csr.triggers[i];
            i + 1 < TRIGGERS && kind(t.tdata1) == tdata1::MCONTROL6 && t.tdata1 & mcontrol6::CHAIN != 0
        };
        let mut last = first;
        while chains(last) {
            last += 1;
        }
        if let Some(address) = chain_matches(s, first, last, event) {
            let all = (first..=last).fold(0, |bits, i| bits | 1 << i);
            let before = fired.unwrap_or(Fired { triggers: 0, address });
            fired = Some(Fired { triggers: before.triggers | all, ..before });
        }
        first = last + 1;
    }
    fired
}

/// The address that all triggers of a chain match, or the first of several.
fn chain_matches(s: &HartState, first: usize, last: usize, event: &Event) -> Option<u64> {
    let mut by_data = None;
    for t in &s.csr.triggers[first..=last] {
        if kind(t.tdata1) != tdata1::MCONTROL6 || !active(s, t) {
            return None;
        }
        match event.data.and_then(|(va, len, touch)| matched_data(t, va, len, touch)) {
            Some(address) => by_data = by_data.or(Some(address)),
            None if event.data.is_some() && first == last => return None,
            None if matches_fetch(t, event) => {}
            None => return None,
        }
    }
    match event.data {
        Some(_) => by_data,
        None => Some(event.pc),
    }
}

fn matches_fetch(t: &TriggerState, event: &Event) -> bool {
    let sized = || match size_of(t.tdata1) {
        Some(0) => true,
        size => size == (event.len)(),
    };
    t.tdata1 & mcontrol6::EXECUTE != 0 && matched(t, event.pc, 1).is_some() && sized()
}

fn matched_data(t: &TriggerState, va: u64, len: u64, touch: Touch) -> Option<u64> {
    let size = size_of(t.tdata1)?;
    let sized = size == 0 || size == len && touch != Touch::Block;
    if touch.wanted(t.tdata1) && sized { matched(t, va, len) } else { None }
}

/// The first of the `len` addresses from `va` on that matches, if any does.
fn matched(t: &TriggerState, va: u64, len: u64) -> Option<u64> {
    use mcontrol6::*;
    let kind = (t.tdata1 & MATCH) >> MATCH_SHIFT;
    let found = (0..len).map(|i| va.wrapping_add(i)).find(|&v| compare(kind & !NOT, t.tdata2, v));
    match kind & NOT {
        0 => found,
        _ if found.is_some() => None,
        _ => Some(va),
    }
}

fn compare(kind: u64, tdata2: u64, v: u64) -> bool {
    use mcontrol6::*;
    let (low, mask) = (tdata2 & 0xffff_ffff, tdata2 >> 32);
    match kind {
        NAPOT => (v ^ tdata2) & !napot_mask(tdata2) == 0,
        GE => v >= tdata2,
        LT => v < tdata2,
        MASK_LOW => v & mask == low,
        MASK_HIGH => v >> 32 & mask == low,
        _ => v == tdata2,
    }
}

/// The bits of an address that a range of a power of two does not compare: up to the lowest zero of `tdata2`.
fn napot_mask(tdata2: u64) -> u64 {
    tdata2 ^ tdata2.wrapping_add(1)
}

/// First and last address that an address match could match; too much where it is no range.
fn reach(t: &TriggerState) -> Reach {
    use mcontrol6::*;
    let (first, last) = match (t.tdata1 & MATCH) >> MATCH_SHIFT {
        EQUAL => (t.tdata2, t.tdata2),
        NAPOT => (t.tdata2 & !napot_mask(t.tdata2), t.tdata2 | napot_mask(t.tdata2)),
        GE => (t.tdata2, u64::MAX),
        LT => (0, t.tdata2.checked_sub(1)?),
        _ => (0, u64::MAX),
    };
    Some((first, last))
}

/// A range of addresses, ends included.
type Reach = Option<(u64, u64)>;

fn touches(reach: &[Reach; TRIGGERS], first: u64, last: u64) -> bool {
    reach.iter().flatten().any(|&(from, to)| first <= to && last >= from)
}

/// What triggers could match in the current mode; whether they do is for others to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Armed {
    /// Instructions, one by one.
    every: bool,
    /// Traps.
    traps: bool,
    fetches: [Reach; TRIGGERS],
    accesses: [Reach; TRIGGERS],
}

impl Armed {
    pub fn of(s: &HartState) -> Self {
        let mut armed = Self::default();
        if !are_set(s) {
            return armed;
        }
        for (i, t) in s.csr.triggers.iter().enumerate().filter(|(_, t)| enabled(t.tdata1, s.mode, s.virt)) {
            let address = kind(t.tdata1) == tdata1::MCONTROL6;
            armed.every |= kind(t.tdata1) == tdata1::ICOUNT && t.tdata1 & (icount::COUNT | icount::PENDING) != 0;
            armed.traps |= !address;
            if address && t.tdata1 & mcontrol6::EXECUTE != 0 {
                armed.fetches[i] = reach(t);
            }
            if address && t.tdata1 & (mcontrol6::LOAD | mcontrol6::STORE) != 0 {
                armed.accesses[i] = reach(t);
            }
        }
        armed
    }

    /// Whether traps have to be looked at.
    pub fn traps(&self) -> bool {
        self.traps
    }

    /// Whether code in the page of `pc` runs one instruction at a time.
    pub fn watches_code(&self, pc: u64) -> bool {
        self.every || touches(&self.fetches, pc & !0xfff, pc | 0xfff)
    }

    pub fn watches_any_code(&self) -> bool {
        self.every || touches(&self.fetches, 0, u64::MAX)
    }

    /// Whether loads and stores anywhere have to be looked at.
    pub fn watches_any_data(&self) -> bool {
        touches(&self.accesses, 0, u64::MAX)
    }

    /// Whether loads and stores to the page of `va` have to be looked at.
    pub fn watches_data(&self, va: u64) -> bool {
        touches(&self.accesses, va & !0xfff, va | 0xfff)
    }
}

/// Whether any trigger is set up, whatever mode it is for.
#[inline]
pub fn are_set(s: &HartState) -> bool {
    !s.csr.triggers.iter().all(|t| matches!(kind(t.tdata1), 0 | tdata1::DISABLED))
}

/// The instruction counts that count what the current mode does now, a bit each.
pub fn counting(s: &HartState) -> u8 {
    let counts = |t: &TriggerState| kind(t.tdata1) == tdata1::ICOUNT && active(s, t);
    s.csr.triggers.iter().enumerate().filter(|(_, t)| counts(t)).fold(0, |bits, (i, _)| bits | 1 << i)
}

/// Counts down; who arrives at zero fires before the next instruction.
#[inline]
pub fn count(s: &mut HartState, triggers: u8) {
    if triggers == 0 {
        return;
    }
    for (_, t) in s.csr.triggers.iter_mut().enumerate().filter(|(i, _)| triggers >> i & 1 != 0) {
        match (t.tdata1 & icount::COUNT) >> icount::COUNT_SHIFT {
            0 => {}
            1 => t.tdata1 = t.tdata1 & !icount::COUNT | icount::PENDING,
            _ => t.tdata1 -= 1 << icount::COUNT_SHIFT,
        }
    }
}

/// Whether a count fires before the next instruction; then it is not pending any more.
fn take_pending(s: &mut HartState) -> bool {
    let counts = counting(s);
    let mut fires = false;
    for (i, t) in s.csr.triggers.iter_mut().enumerate() {
        if counts >> i & 1 != 0 && t.tdata1 & icount::PENDING != 0 {
            t.tdata1 = t.tdata1 & !icount::PENDING | icount::HIT;
            fires = true;
        }
    }
    fires
}

/// Whether a trigger fires before the first instruction of the handler of a trap that was just taken from a mode.
fn take_trapped(s: &mut HartState, (mode, virt): (Mode, bool)) -> bool {
    // The cause as the handler sees it; triggers do not fire in a handler of M-mode.
    let cause = match (s.mode, s.virt) {
        (Mode::Supervisor, false) => s.csr.scause,
        (Mode::Supervisor, true) => s.csr.vscause,
        _ => return false,
    };
    let wanted = if cause & xcause::INTERRUPT != 0 { tdata1::ITRIGGER } else { tdata1::ETRIGGER };
    let code = cause & xcause::CODE;
    let mut fires = false;
    for i in 0..TRIGGERS {
        let t = s.csr.triggers[i];
        let matches = kind(t.tdata1) == wanted && code < 64 && t.tdata2 >> code & 1 != 0;
        if matches && enabled(t.tdata1, mode, virt) && may_fire(s) && in_context(s, t.tdata3, virt) {
            s.csr.triggers[i].tdata1 |= itrigger::HIT;
            fires = true;
        }
    }
    fires
}

fn breakpoint(address: u64) -> Trap {
    Trap::of(Exception::Breakpoint, address)
}

/// The exception of a trigger that no address sets off.
const fn breakpoint_nowhere() -> Trap {
    Trap { no_address: true, ..Trap::of(Exception::Breakpoint, 0) }
}

impl Hart {
    fn fire(&mut self, fired: Fired) -> Trap {
        for (i, t) in self.s.csr.triggers.iter_mut().enumerate() {
            if fired.triggers >> i & 1 != 0 {
                t.tdata1 |= mcontrol6::HIT0;
            }
        }
        breakpoint(fired.address)
    }

    /// Triggers that fire before the instruction at `pc` is fetched.
    pub fn check_fetch(&mut self, pc: u64) -> Result<(), Trap> {
        if take_pending(&mut self.s) {
            return Err(breakpoint_nowhere());
        }
        let len = || exec::encoding(self, pc).map(instruction_len);
        match fired(&self.s, &Event { pc, len: &len, data: None }) {
            Some(fired) => Err(self.fire(fired)),
            None => Ok(()),
        }
    }

    /// Triggers that fire before the current instruction accesses `len` bytes at `va`, which is not masked any more.
    #[inline]
    pub fn check_access(&mut self, va: u64, len: u64, touch: Touch) -> Result<(), Trap> {
        if !self.unwatched && (self.watches_data(va) || self.watches_data(va.wrapping_add(len - 1))) {
            return self.check_watched(va, len, touch);
        }
        Ok(())
    }

    /// Whether loads and stores to the page of `va` have to be looked at, for triggers or a debugger. Only for a hart
    /// that is not `unwatched`.
    #[cold]
    #[inline(never)]
    pub fn watches_data(&self, va: u64) -> bool {
        self.armed.watches_data(va) || self.stops.watches_data(va)
    }

    /// Whether code in the page of `pc` runs one instruction at a time, for triggers or a debugger.
    #[inline(always)]
    pub fn watches_code(&self, pc: u64) -> bool {
        self.code_watched && self.watches_code_page(pc)
    }

    #[cold]
    #[inline(never)]
    fn watches_code_page(&self, pc: u64) -> bool {
        self.armed.watches_code(pc) || self.stops.watches_code(pc)
    }

    #[cold]
    fn check_watched(&mut self, va: u64, len: u64, touch: Touch) -> Result<(), Trap> {
        self.check_watchpoints(va, len, touch)?;
        let pc = self.cur_pc();
        let insn_len = || exec::encoding(self, pc).map(instruction_len);
        match fired(&self.s, &Event { pc, len: &insn_len, data: Some((va, len, touch)) }) {
            Some(fired) => {
                let gva = trap::data_virt(&self.s);
                Err(Trap { gva, ..self.fire(fired) })
            }
            None => Ok(()),
        }
    }

    /// As [`check_access`](Self::check_access), but takes the trap; `None` then.
    pub fn access_or_trap(&mut self, va: u64, len: u64, touch: Touch) -> Option<()> {
        self.check_access(va, len, touch).map_err(|t| self.raise(t)).ok()
    }

    /// The same for an operation on the cache block of `len` bytes around `va`, masked or not.
    pub fn block_or_trap(&mut self, va: u64, len: u64) -> Option<()> {
        let start = self.mask.apply(va) & !(len - 1);
        self.access_or_trap(start, len, Touch::Block)
    }

    /// After a trap was taken from a mode.
    pub fn check_trapped(&mut self, from: (Mode, bool)) {
        if take_trapped(&mut self.s, from) {
            let pc = self.s.pc;
            self.trap(breakpoint_nowhere(), pc);
        }
    }
}

fn instruction_len(raw: u32) -> u64 {
    arch::isa::insn_len(raw as u16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::csr;
    use arch::ext::{Ext, IsaConfig};
    use mcontrol6::*;

    const AT: u64 = 0x8000_1234;

    fn hart(triggers: [TriggerState; TRIGGERS]) -> HartState {
        let mut isa = IsaConfig::default();
        isa.exts.insert(Ext::Sdtrig);
        let mut s = csr::reset(&isa, 0);
        (s.mode, s.csr.triggers) = (Mode::User, triggers);
        s
    }

    fn trigger(fields: u64, tdata2: u64) -> TriggerState {
        TriggerState { tdata1: tdata1::MCONTROL6 << tdata1::TYPE_SHIFT | U | fields, tdata2, tdata3: 0 }
    }

    const OFF: TriggerState = TriggerState { tdata1: 15 << 60, tdata2: 0, tdata3: 0 };

    fn on_access(s: &HartState, va: u64, len: u64, touch: Touch) -> Option<u64> {
        fired(s, &Event { pc: AT, len: &|| Some(4), data: Some((va, len, touch)) }).map(|f| f.address)
    }

    fn on_fetch(s: &HartState, pc: u64, len: Option<u64>) -> Option<u64> {
        fired(s, &Event { pc, len: &|| len, data: None }).map(|f| f.address)
    }

    fn matching(kind: u64) -> u64 {
        kind << MATCH_SHIFT
    }

    #[test]
    fn every_kind_of_match_and_its_opposite() {
        // Kind, tdata2, addresses that match, addresses that do not.
        let rows: [(u64, u64, &[u64], &[u64]); 6] = [
            (EQUAL, AT, &[AT], &[AT - 1, AT + 1, AT | 1 << 63]),
            (NAPOT, 0x10ff, &[0x1000, 0x11ff], &[0xfff, 0x1200, 0x1_0000_1000]),
            (GE, AT, &[AT, u64::MAX], &[AT - 1, 0]),
            (LT, AT, &[0, AT - 1], &[AT, u64::MAX]),
            (MASK_LOW, 0xff00 << 32 | 0x1200, &[0x1200, 0xffff_ffff_0000_12ff], &[0x1300]),
            (MASK_HIGH, 0xf << 32 | 0x5, &[0x5_0000_0000, 0xff5_1234_5678], &[0x6_0000_0000, 5]),
        ];
        for (kind, tdata2, inside, outside) in rows {
            let t = trigger(matching(kind) | LOAD, tdata2);
            let not = trigger(matching(kind | NOT) | LOAD, tdata2);
            for (addresses, matches) in [(inside, true), (outside, false)] {
                for &v in addresses {
                    assert_eq!(on_access(&hart([t, OFF]), v, 1, Touch::Load), matches.then_some(v), "{kind} {v:#x}");
                    assert_eq!(
                        on_access(&hart([OFF, not]), v, 1, Touch::Load),
                        (!matches).then_some(v),
                        "{kind} {v:#x}"
                    );
                    let within = reach(&t).is_some_and(|(first, last)| first <= v && v <= last);
                    assert!(within || !matches, "{kind} {v:#x}");
                }
            }
        }
    }

    #[test]
    fn all_bytes_of_an_access_are_compared_and_one_of_a_fetch() {
        let s = hart([trigger(LOAD | EXECUTE, AT + 2), OFF]);
        assert_eq!(on_access(&s, AT, 4, Touch::Load), Some(AT + 2));
        assert_eq!(on_access(&s, AT, 2, Touch::Load), None);
        assert_eq!(on_fetch(&s, AT, Some(4)), None);
        let s = hart([trigger(matching(EQUAL | NOT) | LOAD, AT + 2), OFF]);
        assert_eq!(on_access(&s, AT, 4, Touch::Load), None);
        assert_eq!(on_access(&s, AT + 3, 4, Touch::Load), Some(AT + 3));
    }

    #[test]
    fn accesses_are_told_apart() {
        for (field, touched) in [
            (LOAD, [true, false, true, false]),
            (STORE, [false, true, true, true]),
            (LOAD | STORE, [true; 4]),
            (EXECUTE, [false; 4]),
        ] {
            let s = hart([trigger(field, AT), OFF]);
            let found =
                [Touch::Load, Touch::Store, Touch::Update, Touch::Block].map(|t| on_access(&s, AT, 8, t).is_some());
            assert_eq!(found, touched, "{field:#x}");
            assert_eq!(on_fetch(&s, AT, None).is_some(), field == EXECUTE);
        }
    }

    #[test]
    fn sizes_are_compared() {
        for (size, bytes) in [(1, 1), (2, 2), (3, 4), (5, 8), (6, 16)] {
            let s = hart([trigger(STORE | EXECUTE | size << SIZE_SHIFT, AT), OFF]);
            for len in [1, 2, 4, 8, 16] {
                assert_eq!(on_access(&s, AT, len, Touch::Store).is_some(), len == bytes);
            }
            for len in [Some(2), Some(4), None] {
                assert_eq!(on_fetch(&s, AT, len).is_some(), len == Some(bytes));
            }
            assert_eq!(on_access(&s, AT, bytes, Touch::Block), None);
        }
    }

    #[test]
    fn a_chain_matches_where_all_do() {
        let range = |last: u64| [trigger(matching(GE) | STORE | CHAIN, AT), trigger(matching(LT) | STORE, last)];
        let s = hart(range(AT + 8));
        for (va, inside) in [(AT - 1, false), (AT, true), (AT + 7, true), (AT + 8, false)] {
            assert_eq!(on_access(&s, va, 1, Touch::Store), inside.then_some(va));
        }
        let all = fired(&s, &Event { pc: 0, len: &|| None, data: Some((AT, 1, Touch::Store)) }).unwrap();
        assert_eq!(all.triggers, 3);
        // One that is off or not of this mode keeps the chain from matching.
        let mut s = hart(range(AT + 8));
        s.csr.triggers[0].tdata1 &= !U;
        assert_eq!(on_access(&s, AT, 1, Touch::Store), None);
        // An instruction and what it accesses.
        let s = hart([trigger(EXECUTE | CHAIN, AT), trigger(LOAD, 0x100)]);
        assert_eq!(on_access(&s, 0x100, 1, Touch::Load), Some(0x100));
        assert_eq!(on_fetch(&s, AT, None), None);
        let s = hart([trigger(EXECUTE | CHAIN, AT + 4), trigger(LOAD, 0x100)]);
        assert_eq!(on_access(&s, 0x100, 1, Touch::Load), None);
    }

    #[test]
    fn triggers_of_one_moment_fire_together() {
        let s = hart([trigger(LOAD, AT), trigger(LOAD, AT + 1)]);
        let all = fired(&s, &Event { pc: 0, len: &|| None, data: Some((AT, 4, Touch::Load)) }).unwrap();
        assert_eq!(all, Fired { triggers: 3, address: AT });
    }

    const MODES: [(Mode, bool, u64); 5] = [
        (Mode::Machine, false, M),
        (Mode::Supervisor, false, S),
        (Mode::User, false, U),
        (Mode::Supervisor, true, VS),
        (Mode::User, true, VU),
    ];

    #[test]
    fn modes_have_their_bits() {
        for (mode, virt, _) in MODES {
            for (_, _, bit) in MODES {
                let mut s = hart([trigger(EXECUTE, AT), OFF]);
                s.csr.triggers[0].tdata1 = s.csr.triggers[0].tdata1 & !U | bit;
                (s.mode, s.virt) = (mode, virt);
                s.csr.mstatus |= mstatus::MIE;
                let own = MODES.contains(&(mode, virt, bit));
                assert_eq!(on_fetch(&s, AT, None).is_some(), own, "{mode:?} {virt}");
                assert_eq!(Armed::of(&s).watches_code(AT), own);
            }
        }
    }

    #[test]
    fn handlers_are_left_alone() {
        let fires = |mode, virt, set: &dyn Fn(&mut HartState)| {
            let mut s = hart([trigger(EXECUTE | M | S | VS, AT), OFF]);
            (s.mode, s.virt) = (mode, virt);
            set(&mut s);
            on_fetch(&s, AT, None).is_some()
        };
        assert!(!fires(Mode::Machine, false, &|_| {}));
        assert!(fires(Mode::Machine, false, &|s| s.csr.mstatus |= mstatus::MIE));
        assert!(fires(Mode::Supervisor, false, &|_| {}), "the handler is M-mode's");
        assert!(!fires(Mode::Supervisor, false, &|s| s.csr.medeleg = 8));
        assert!(fires(Mode::Supervisor, false, &|s| (s.csr.medeleg, s.csr.mstatus) = (8, mstatus::SIE)));
        assert!(fires(Mode::Supervisor, true, &|s| s.csr.medeleg = 8), "the handler is the hypervisor's");
        assert!(!fires(Mode::Supervisor, true, &|s| (s.csr.medeleg, s.csr.hedeleg) = (8, 8)));
        assert!(fires(Mode::Supervisor, true, &|s| {
            (s.csr.medeleg, s.csr.hedeleg, s.csr.vsstatus) = (8, 8, mstatus::SIE);
        }));
        assert!(fires(Mode::User, false, &|s| s.csr.medeleg = 8));
    }

    #[test]
    fn contexts_bind_triggers() {
        use textra::*;
        let mut s = hart([OFF; 2]);
        (s.csr.mcontext, s.csr.scontext) = (0x1abc, 0x1_2345_6789);
        s.csr.hgatp = 0x155 << hgatp::VMID_SHIFT;
        (s.csr.satp, s.csr.vsatp) = (7 << satp::ASID_SHIFT, 9 << satp::ASID_SHIFT);
        let sv = |v: u64| v << SVALUE_SHIFT;
        let mh = |select: u64, v: u64| select << MHSELECT_SHIFT | v << MHVALUE_SHIFT;
        for (tdata3, virt, bound) in [
            (sv(1), false, true),
            (1 | sv(0x1_2345_6789), false, true),
            (1 | sv(0x1_2345_6788), false, false),
            (1 | sv(0x1_2345_6788) | 1 << SBYTEMASK_SHIFT, false, true),
            (1 | sv(0x0_2345_6789) | 1 << SBYTEMASK_SHIFT, false, false),
            (1 | sv(0x0_2345_6789) | 16 << SBYTEMASK_SHIFT, false, true),
            (2 | sv(7), false, true),
            (2 | sv(7), true, false),
            (2 | sv(9), true, true),
            (mh(4, 0x1abc), false, true),
            (mh(4, 0x1abd), false, false),
            (mh(1, 0xd5e), false, true),
            (mh(5, 0xd5e), false, false),
            (mh(6, 0xaa), true, true),
            (mh(2, 0xaa), true, false),
            (mh(6, 0xaa) | 2 | sv(7), true, false),
        ] {
            assert_eq!(in_context(&s, tdata3, virt), bound, "{tdata3:#x}");
        }
    }

    #[test]
    fn a_count_becomes_pending_at_zero_and_stays_there() {
        let count_of = |s: &HartState| (s.csr.triggers[1].tdata1 & icount::COUNT) >> icount::COUNT_SHIFT;
        let mut s = hart([OFF; 2]);
        s.csr.triggers[1].tdata1 = tdata1::ICOUNT << 60 | icount::U | 2 << icount::COUNT_SHIFT;
        assert_eq!(counting(&s), 2);
        for (left, pending) in [(1, false), (0, true), (0, true)] {
            assert!(Armed::of(&s).watches_code(0));
            count(&mut s, 2);
            assert_eq!((count_of(&s), s.csr.triggers[1].tdata1 & icount::PENDING != 0), (left, pending));
        }
        // It waits for a mode that it is enabled in.
        s.mode = Mode::Supervisor;
        assert!(!take_pending(&mut s));
        s.mode = Mode::User;
        assert!(take_pending(&mut s) && !take_pending(&mut s));
        assert_ne!(s.csr.triggers[1].tdata1 & icount::HIT, 0);
        assert!(!Armed::of(&s).watches_code(0));
    }

    #[test]
    fn only_pages_in_reach_are_watched() {
        let armed = Armed::of(&hart([trigger(EXECUTE, AT), trigger(matching(LT) | STORE, 0x3000)]));
        for (address, code, data) in [(AT ^ 0xff, true, false), (AT + 0x1000, false, false), (0x2fff, false, true)] {
            assert_eq!((armed.watches_code(address), armed.watches_data(address)), (code, data), "{address:#x}");
        }
        assert!(!armed.watches_data(0x3000));
        assert_eq!(Armed::of(&hart([OFF; 2])), Armed::default());
    }
}
