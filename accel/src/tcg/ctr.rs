//! Control-transfer records (Smctr, Ssctr): which transfers are recorded, and how.
//!
//! While the current mode is enabled and nothing has frozen the records, the hart runs blocks whose jumps and branches
//! call [`Hart::transfer`] first; traps and returns from them are told here by who performs them. A hart that does not
//! record runs other blocks and pays nothing.
//!
//! Of what the specification leaves open: all depths, filters and RAS emulation are there; cycles are not counted and
//! branches are never mispredicted.
//!
//! Privileged spec, "Smctr".

use arch::cause::{Exception, Interrupt};
use arch::csr::{ctrctl as ctl, sctrstatus, xcause};
use arch::ext::Ext;
use arch::isa::{Insn, Op};

use super::hart::Hart;
use super::trap::Trap;
use crate::{CtrEntry, CtrState, HartState, Mode};

/// What `ctrdata.TYPE` says; the numbers are those of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Exception = 1,
    Interrupt = 2,
    TrapReturn = 3,
    NotTaken = 4,
    Taken = 5,
    IndirectCall = 8,
    DirectCall = 9,
    IndirectJump = 10,
    DirectJump = 11,
    CoroutineSwap = 12,
    Return = 13,
    OtherIndirect = 14,
    OtherDirect = 15,
}

/// Privilege and V of one side of a transfer.
type Place = (Mode, bool);

/// The control register that counts while a mode executes.
fn control(s: &HartState, (_, virt): Place) -> u64 {
    if virt { s.csr.ctr.vsctrctl } else { s.csr.ctr.mctrctl }
}

/// Whether transfers in a mode are recorded.
fn enabled(s: &HartState, at: Place) -> bool {
    let bit = match at.0 {
        Mode::Machine => ctl::M,
        Mode::Supervisor => ctl::S,
        Mode::User => ctl::U,
    };
    control(s, at) & bit != 0
}

fn frozen(s: &HartState) -> bool {
    s.csr.ctr.status & sctrstatus::FROZEN != 0
}

/// Whether the registers ask for nothing at all; this is what is looked at first at every trap.
#[inline]
pub fn is_off(s: &HartState) -> bool {
    s.csr.ctr.mctrctl | s.csr.ctr.vsctrctl == 0
}

/// Whether what the hart executes now is recorded.
pub fn recording(s: &HartState) -> bool {
    !is_off(s) && enabled(s, (s.mode, s.virt)) && !frozen(s)
}

/// The control register whose filters count for a transfer: a guest's, if either side is one and the other is not.
fn filters(s: &HartState, from: Place, to: Place) -> u64 {
    control(s, (from.0, from.1 || to.1))
}

/// Whether `control` lets a kind be recorded; the bits of all kinds lie in a row, and only that of branches that are
/// not taken enables.
fn passes(control: u64, kind: Kind) -> bool {
    let bit = control >> (32 + kind as u32) & 1 != 0;
    bit == (kind == Kind::NotTaken)
}

impl CtrState {
    /// Records that the registers let software see.
    pub fn depth(&self) -> u64 {
        16 << self.depth
    }

    fn step(&mut self, by: u64) {
        let pointer = self.status.wrapping_add(by) & (self.depth() - 1);
        self.status = self.status & !sctrstatus::WRPTR | pointer;
    }

    fn newest(&mut self) -> &mut CtrEntry {
        let depth = self.depth();
        &mut self.entries[((self.status & sctrstatus::WRPTR).wrapping_sub(1) & (depth - 1)) as usize]
    }

    fn push(&mut self, source: u64, target: u64, kind: Kind) {
        self.step(1);
        *self.newest() = CtrEntry { source: source & !1 | 1, target: target & !1, data: kind as u64 };
    }
}

/// Records a jump or branch of the current mode.
fn record_jump(s: &mut HartState, source: u64, target: u64, kind: Kind) {
    let control = control(s, (s.mode, s.virt));
    let ctr = &mut s.csr.ctr;
    if control & ctl::RASEMU == 0 {
        if passes(control, kind) {
            ctr.push(source, target, kind);
        }
        return;
    }
    match kind {
        Kind::IndirectCall | Kind::DirectCall => ctr.push(source, target, kind),
        Kind::CoroutineSwap => {
            ctr.step(u64::MAX);
            ctr.push(source, target, kind);
        }
        Kind::Return => {
            ctr.newest().source &= !1;
            ctr.step(u64::MAX);
        }
        _ => {}
    }
}

/// The trap `t` was taken at `epc`, out of `from`; the hart is at its handler.
pub fn record_trap(s: &mut HartState, t: &Trap, epc: u64, from: Place) {
    if is_off(s) {
        return;
    }
    let to = (s.mode, s.virt);
    let interrupt = t.cause & xcause::INTERRUPT != 0;
    let freezes = match (interrupt, t.cause & xcause::CODE) {
        (true, code) if code == Interrupt::CounterOverflow.code() => ctl::LCOFIFRZ,
        (false, code) if code == Exception::Breakpoint.code() => ctl::BPFRZ,
        _ => 0,
    };
    if frozen(s) {
        return;
    }
    if control(s, to) & freezes != 0 {
        s.csr.ctr.status |= sctrstatus::FROZEN;
        return;
    }
    let filters = filters(s, from, to);
    let kind = if interrupt { Kind::Interrupt } else { Kind::Exception };
    let (source_on, target_on) = (enabled(s, from), enabled(s, to));
    let recorded = if filters & ctl::RASEMU != 0 {
        false
    } else if target_on {
        passes(filters, kind)
    } else {
        source_on && external(s, from, to)
    };
    if recorded {
        let pc = s.pc;
        s.csr.ctr.push(if source_on { epc } else { 0 }, if target_on { pc } else { 0 }, kind);
    }
}

/// Whether traps out of an enabled mode into one that is not are recorded: the one and all between have to want it.
fn external(s: &HartState, from: Place, to: Place) -> bool {
    let needs_machine = to.0 == Mode::Machine;
    let needs_supervisor = !to.1 && from != (Mode::Supervisor, false) && from.0 != Mode::Machine;
    let needs_guest = from == (Mode::User, true);
    (!needs_machine || s.csr.ctr.mctrctl & ctl::MTE != 0)
        && (!needs_supervisor || s.csr.ctr.mctrctl & ctl::STE != 0)
        && (!needs_guest || s.csr.ctr.vsctrctl & ctl::STE != 0)
}

/// An xRET at `source` has left `from`.
#[inline]
pub fn record_return(s: &mut HartState, source: u64, from: Place) {
    if !is_off(s) {
        record_enabled_return(s, source, from);
    }
}

#[cold]
fn record_enabled_return(s: &mut HartState, source: u64, from: Place) {
    let to = (s.mode, s.virt);
    let filters = filters(s, from, to);
    if frozen(s) || !enabled(s, from) || filters & ctl::RASEMU != 0 || !passes(filters, Kind::TrapReturn) {
        return;
    }
    let target = if enabled(s, to) { s.pc } else { 0 };
    s.csr.ctr.push(source, target, Kind::TrapReturn);
}

fn is_link(r: u8) -> bool {
    matches!(r, 1 | 5)
}

/// Whether an instruction transfers control within its mode.
pub fn is_transfer(op: Op) -> bool {
    use Op::*;
    matches!(op, Jal | Jalr | Beq | Bne | Blt | Bge | Bltu | Bgeu)
}

/// Where an instruction at `pc` goes from these values of its operands, and as what.
fn outcome(i: &Insn, pc: u64, a: u64, b: u64) -> (u64, Kind) {
    let there = pc.wrapping_add(i.imm as u64);
    let branch = |taken| match taken {
        true => (there, Kind::Taken),
        false => (pc.wrapping_add(u64::from(i.len)), Kind::NotTaken),
    };
    match i.op {
        Op::Beq => branch(a == b),
        Op::Bne => branch(a != b),
        Op::Blt => branch((a as i64) < b as i64),
        Op::Bge => branch(a as i64 >= b as i64),
        Op::Bltu => branch(a < b),
        Op::Bgeu => branch(a >= b),
        Op::Jal => {
            let kind = match i.rd {
                0 => Kind::DirectJump,
                rd if is_link(rd) => Kind::DirectCall,
                _ => Kind::OtherDirect,
            };
            (there, kind)
        }
        _ => {
            let kind = match (i.rd, i.rs1) {
                (rd, rs) if is_link(rd) && is_link(rs) && rd != rs => Kind::CoroutineSwap,
                (rd, _) if is_link(rd) => Kind::IndirectCall,
                (_, rs) if is_link(rs) => Kind::Return,
                (0, _) => Kind::IndirectJump,
                _ => Kind::OtherIndirect,
            };
            (a.wrapping_add(i.imm as u64) & !1, kind)
        }
    }
}

impl Hart {
    /// The current instruction, `raw`, is about to transfer control; `a` and `b` are its operands.
    pub fn transfer(&mut self, raw: u32, a: u64, b: u64) {
        let pc = self.cur_pc();
        if let Some(insn) = self.vm.decoder.decode(raw) {
            let (target, kind) = outcome(&insn, pc, a, b);
            if target & 2 != 0 && !self.vm.isa.has(Ext::Zca) {
                // It traps, and transfers control to the handler alone.
                return;
            }
            record_jump(&mut self.s, pc, target, kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch::ext::IsaConfig;
    use arch::isa::{Decoder, Operands, encode};

    fn insn(op: Op, rd: u8, rs1: u8, imm: i32) -> Insn {
        let raw = encode(op, &Operands { rd, rs1, imm, ..Operands::default() }).unwrap();
        Decoder::new(&IsaConfig::default()).decode(raw).unwrap()
    }

    #[test]
    fn jumps_are_of_the_kinds_of_their_registers() {
        use Kind::*;
        for (rd, rs, kind) in [
            (1, 10, IndirectCall),
            (5, 10, IndirectCall),
            (1, 1, IndirectCall),
            (5, 5, IndirectCall),
            (1, 5, CoroutineSwap),
            (5, 1, CoroutineSwap),
            (0, 10, IndirectJump),
            (0, 1, Return),
            (0, 5, Return),
            (7, 1, Return),
            (7, 10, OtherIndirect),
        ] {
            assert_eq!(outcome(&insn(Op::Jalr, rd, rs, 9), 0x100, 0x2000, 0), (0x2008, kind), "jalr x{rd}, x{rs}");
        }
        for (rd, kind) in [(0, DirectJump), (1, DirectCall), (5, DirectCall), (7, OtherDirect)] {
            assert_eq!(outcome(&insn(Op::Jal, rd, 0, -16), 0x100, 0, 0), (0xf0, kind));
        }
        for (a, b, taken) in [(1u64, 1u64, false), (u64::MAX, 1, true), (1, u64::MAX, false)] {
            let (target, kind) = outcome(&insn(Op::Blt, 0, 1, 64), 0x100, a, b);
            assert_eq!((target, kind), if taken { (0x140, Taken) } else { (0x104, NotTaken) });
        }
    }

    fn hart(mctrctl: u64, vsctrctl: u64, at: Place) -> HartState {
        let mut s = HartState { mode: at.0, virt: at.1, pc: 0x8000, ..HartState::default() };
        (s.csr.ctr.mctrctl, s.csr.ctr.vsctrctl) = (mctrctl, vsctrctl);
        s
    }

    const U: Place = (Mode::User, false);
    const S: Place = (Mode::Supervisor, false);
    const M: Place = (Mode::Machine, false);
    const VU: Place = (Mode::User, true);
    const VS: Place = (Mode::Supervisor, true);

    /// Source and target of the record of a trap at 0x100, if there is one.
    fn trap(mctrctl: u64, vsctrctl: u64, from: Place, to: Place) -> Option<(u64, u64)> {
        let mut s = hart(mctrctl, vsctrctl, to);
        record_trap(&mut s, &Trap::illegal(0), 0x100, from);
        let entry = s.csr.ctr.entries[0];
        (s.csr.ctr.status == 1).then_some((entry.source, entry.target))
    }

    #[test]
    fn traps_between_modes() {
        assert_eq!(trap(ctl::U | ctl::S, 0, U, S), Some((0x101, 0x8000)));
        assert_eq!(trap(ctl::S, 0, U, S), Some((1, 0x8000)), "from where nothing is recorded");
        assert_eq!(trap(ctl::U, 0, U, S), None, "external");
        assert_eq!(trap(0, 0, U, S), None);
        assert_eq!(trap(ctl::U | ctl::S | ctl::EXCINH, 0, U, S), None);
        assert_eq!(trap(ctl::U | ctl::S | ctl::INTRINH, 0, U, S), Some((0x101, 0x8000)));
        assert_eq!(trap(ctl::U | ctl::S | ctl::RASEMU, 0, U, S), None);
        // Between a guest and those above, the guest's filters count.
        assert_eq!(trap(ctl::S | ctl::EXCINH, ctl::U, VU, S), Some((0x101, 0x8000)));
        assert_eq!(trap(ctl::S, ctl::U | ctl::EXCINH, VU, S), None);
    }

    #[test]
    fn external_traps_need_all_levels_on_the_way() {
        use ctl::{MTE, STE};
        for (from, to, on, m_needs, vs_needs) in [
            (U, S, ctl::U, STE, 0),
            (U, M, ctl::U, MTE | STE, 0),
            (S, M, ctl::S, MTE, 0),
            (VU, VS, 0, 0, STE),
            (VU, S, 0, STE, STE),
            (VU, M, 0, MTE | STE, STE),
            (VS, S, 0, STE, 0),
            (VS, M, 0, MTE | STE, 0),
        ] {
            let guest = if from.1 { if from.0 == Mode::User { ctl::U } else { ctl::S } } else { 0 };
            for set in 0..8u64 {
                let m = if set & 1 != 0 { MTE } else { 0 } | if set & 2 != 0 { STE } else { 0 };
                let vs = if set & 4 != 0 { STE } else { 0 };
                let wanted = m & m_needs == m_needs && vs & vs_needs == vs_needs;
                // EXCINH does not count here.
                let got = trap(on | m | ctl::EXCINH, guest | vs | ctl::EXCINH, from, to);
                assert_eq!(got, wanted.then_some((0x101, 0)), "{from:?} {to:?} {set}");
            }
        }
    }

    #[test]
    fn returns_between_modes() {
        let back = |mctrctl, from, to| {
            let mut s = hart(mctrctl, 0, to);
            record_return(&mut s, 0x100, from);
            let entry = s.csr.ctr.entries[0];
            (s.csr.ctr.status == 1).then_some((entry.source, entry.target, entry.data))
        };
        assert_eq!(back(ctl::U | ctl::S, S, U), Some((0x101, 0x8000, 3)));
        assert_eq!(back(ctl::S, S, U), Some((0x101, 0, 3)));
        assert_eq!(back(ctl::U, S, U), None);
        assert_eq!(back(ctl::U | ctl::S | ctl::TRETINH, S, U), None);
    }

    #[test]
    fn overflows_and_breakpoints_freeze() {
        for (cause, bit) in [(1 << 63 | 13, ctl::LCOFIFRZ), (3, ctl::BPFRZ)] {
            let take = |mctrctl, vsctrctl, to| {
                let mut s = hart(mctrctl, vsctrctl, to);
                record_trap(&mut s, &Trap::new(cause, 0), 0x100, if to == VS { VU } else { U });
                s.csr.ctr.status
            };
            assert_eq!(take(ctl::U | ctl::S | bit, 0, S), sctrstatus::FROZEN);
            assert_eq!(take(bit, 0, S), sctrstatus::FROZEN, "whatever is recorded");
            assert_eq!(take(ctl::U | ctl::S, 0, S), 1);
            assert_eq!(take(0, ctl::U | ctl::S | bit, VS), sctrstatus::FROZEN);
            assert_eq!(take(bit, ctl::U | ctl::S, VS), 1, "a guest's own control counts");
        }
        let mut s = hart(ctl::U | ctl::S, 0, S);
        s.csr.ctr.status = sctrstatus::FROZEN;
        record_trap(&mut s, &Trap::illegal(0), 0x100, U);
        assert!(!recording(&s));
        assert_eq!(s.csr.ctr.status, sctrstatus::FROZEN);
    }

    #[test]
    fn records_wrap_at_the_depth() {
        let mut s = hart(ctl::S, 0, S);
        for n in 0..17u64 {
            record_jump(&mut s, n << 4, 2, Kind::DirectJump);
        }
        assert_eq!(s.csr.ctr.status, 1);
        assert_eq!(s.csr.ctr.entries[0].source, 0x101);
        assert_eq!(s.csr.ctr.entries[1].source, 0x11);
    }

    #[test]
    fn ras_emulation_keeps_calls_that_have_not_returned() {
        let mut s = hart(ctl::S | ctl::RASEMU, 0, S);
        let mut go = |pc, kind| {
            record_jump(&mut s, pc, 0x40, kind);
            (s.csr.ctr.status, s.csr.ctr.newest().source)
        };
        assert_eq!(go(0x10, Kind::DirectCall), (1, 0x11));
        assert_eq!(go(0x20, Kind::Taken), (1, 0x11));
        assert_eq!(go(0x30, Kind::IndirectCall), (2, 0x31));
        assert_eq!(go(0x40, Kind::CoroutineSwap), (2, 0x41));
        assert_eq!(go(0x50, Kind::Return), (1, 0x11));
        assert_eq!(go(0x60, Kind::Return).0, 0);
        assert_eq!(s.csr.ctr.entries[0].source & 1, 0);
        record_jump(&mut s, 0x70, 0, Kind::Return);
        assert_eq!(s.csr.ctr.status, 15);
    }
}
