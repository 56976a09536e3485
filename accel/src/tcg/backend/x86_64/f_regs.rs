//! Which f registers are in XMM registers while a block runs.
//!
//! f registers live in memory between blocks, so that integer code and calls to Rust know nothing of this. Within a
//! block the f registers it uses most have an XMM register each: read once, written back where the block is left or
//! calls Rust, which is mostly in stubs. A block that jumps to itself keeps them from one round to the next: what it
//! uses is loaded before its first instruction, and the jump leads behind that ([`FRegs::head`]).
//!
//! Invariant: an f register that is not in [`FState::dirty`] is as the guest sees it in memory. What code finds where
//! it comes from several places is one [`FState`], made so by [`Backend::f_become`].

use super::asm::{Alu, Cc, Rm, Xmm};
use super::emit_mem::upper;
use super::*;
use crate::tcg::helpers::softfloat::{Fmt, FpKind};
use crate::tcg::ir::{FDst, FVal, Width};
use crate::tcg::region::Region;

/// The XMM registers for f registers: the first, and how many. Those below are scratch.
const FIRST: u8 = 4;
const COUNT: usize = 12;
/// As many where vector instructions without AVX-512 need the others.
const COUNT_BESIDE_VECTORS: usize = 6;

/// What is known of the f registers at a place in a block, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FState {
    /// In their XMM registers.
    held: u32,
    /// There only: memory is older.
    dirty: u32,
    /// NaN-boxed single-precision values, wherever they are.
    boxed: u32,
    /// Of their XMM registers only the low 32 bits count, the box is not there. They are boxed.
    narrow: u32,
}

/// The f registers of a block.
#[derive(Debug, Default)]
pub(super) struct FRegs {
    /// The XMM register of each, 0 for none.
    map: [u8; 32],
    pub now: FState,
    /// Where and with what a jump to the block itself goes on.
    pub head: Option<(FState, u64)>,
}

impl FState {
    /// The register is known to hold a single with its box.
    pub fn is_boxed(&self, r: u8) -> bool {
        self.boxed >> r & 1 != 0
    }

    /// Some value is in an XMM register.
    pub fn uses_host(&self) -> bool {
        (self.held | self.dirty) != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// A value of single precision is read: it has to be boxed.
    Single,
    Read,
    Write,
}

/// Calls `f` for the f registers that `op` accesses in generated code, sources first.
fn accesses(op: &Op, mut f: impl FnMut(u8, Access)) {
    match *op {
        Op::LoadF { fd, .. } => f(fd, Access::Write),
        Op::StoreF { fs, .. } => f(fs, Access::Read),
        Op::Fp { op, d, a, b, c, .. } if matches!(op.fmt, Fmt::S | Fmt::D) => {
            let single = match op.kind {
                FpKind::FromS => true,
                FpKind::FromD | FpKind::FromH | FpKind::FromBf16 | FpKind::MvToX => false,
                _ => op.fmt == Fmt::S,
            };
            for v in [a, b, c] {
                if let FVal::F(r) = v {
                    f(r, if single { Access::Single } else { Access::Read });
                }
            }
            if let FDst::F(r) = d {
                f(r, Access::Write);
            }
        }
        _ => {}
    }
}

/// One past the last jump of `block` to itself, if generated code goes round without calls.
fn round(block: &IrBlock) -> Option<usize> {
    let back = |op: &Op| match *op {
        Op::Jump { target } | Op::BranchIf { target, .. } => target.offset == i64::from(block.start),
        _ => false,
    };
    let end = block.ops.iter().rposition(back)? + 1;
    let calls = |op: &Op| matches!(op, Op::Call { .. } | Op::Vector { .. });
    (!block.ops[..end].iter().any(calls)).then_some(end)
}

impl Backend {
    /// At the start of the code of `block`. Unless `held`, f registers stay in memory.
    pub(super) fn f_begin(&mut self, block: &IrBlock, held: bool) {
        self.f = FRegs::default();
        if !held {
            return;
        }
        let mut uses = [0u16; 32];
        block.ops.iter().for_each(|op| accesses(op, |r, _| uses[usize::from(r)] += 1));
        if uses == [0; 32] {
            return;
        }
        let round = round(block);
        if let Some(end) = round {
            uses = [0; 32];
            block.ops[..end].iter().for_each(|op| accesses(op, |r, _| uses[usize::from(r)] += 1));
        }
        // Outside of a loop a register that is accessed once is as well off in memory.
        let least = if round.is_some() { 1 } else { 2 };
        let mut order: Vec<u8> = (0..32).filter(|&r| uses[usize::from(r)] >= least).collect();
        order.sort_by_key(|&r| std::cmp::Reverse(uses[usize::from(r)]));
        order.truncate(self.f_room(block.ops.iter().any(|op| matches!(op, Op::Vector { .. }))));
        for (&r, x) in order.iter().zip(FIRST..) {
            self.f.map[usize::from(r)] = x;
        }
        if let Some(end) = round {
            self.f_preload(block, end);
        }
    }

    /// At the entry of a region: chooses registers for all of it, loads them, and returns the state that its nodes find.
    pub(super) fn f_enter_region(&mut self, region: &Region) -> FState {
        self.f = FRegs::default();
        let mut uses = [0u64; 32];
        let (mut single, mut other, mut written, mut vectors) = (0u32, 0u32, 0u32, false);
        region.each(|op, weight| {
            vectors |= matches!(op, Op::Vector { .. });
            let writes_single = match op {
                Op::LoadF { width, .. } => *width == Width::W,
                Op::Fp { op, .. } => op.fmt == Fmt::S,
                _ => false,
            };
            // Also results of operations that are done by calls.
            if let Op::Fp { d: FDst::F(r), .. } = op
                && !writes_single
            {
                other |= 1 << r;
            }
            accesses(op, |r, access| {
                uses[usize::from(r)] += weight;
                match access {
                    Access::Single => single |= 1 << r,
                    Access::Write => {
                        written |= 1 << r;
                        other |= u32::from(!writes_single) << r;
                    }
                    Access::Read => {}
                }
            });
        });
        let mut order: Vec<u8> = (0..32).filter(|&r| uses[usize::from(r)] != 0).collect();
        order.sort_by_key(|&r| std::cmp::Reverse(uses[usize::from(r)]));
        order.truncate(self.f_room(vectors));
        for (&r, x) in order.iter().zip(FIRST..) {
            self.f.map[usize::from(r)] = x;
        }
        for r in 0..32 {
            if let Some(x) = self.f_reg(r) {
                if (single & !other) >> r & 1 != 0 {
                    self.check_box(r);
                }
                self.f_load(x, r);
                self.f.now.held |= 1 << r;
                self.f.now.dirty |= written & 1 << r;
            }
        }
        self.f.now
    }

    /// XMM registers for f registers in code with or without vector instructions.
    fn f_room(&self, vectors: bool) -> usize {
        if vectors && self.vectors.few_f_registers() { COUNT_BESIDE_VECTORS } else { COUNT }
    }

    /// On the way to a place that finds `target`.
    pub(super) fn f_go_on_with(&mut self, target: FState) {
        let mut unknown = target.boxed & !self.f.now.boxed;
        while unknown != 0 {
            self.check_box(unknown.trailing_zeros() as u8);
            unknown &= unknown - 1;
        }
        self.f_become(target);
    }

    /// Loads what the loop uses, and says that jumps to the block may come in behind that.
    fn f_preload(&mut self, block: &IrBlock, end: usize) {
        self.cur = u32::from(block.start);
        let (mut seen, mut single, mut written) = (0u32, 0u32, 0u32);
        for op in &block.ops[..end] {
            accesses(op, |r, access| {
                let bit = 1 << r;
                match access {
                    Access::Single if seen & bit == 0 => single |= bit,
                    Access::Write => written |= bit,
                    _ => {}
                }
                seen |= bit;
            });
        }
        for r in 0..32 {
            if let Some(x) = self.f_reg(r) {
                if single >> r & 1 != 0 {
                    self.check_box(r);
                }
                self.f_load(x, r);
                self.f.now.held |= 1 << r;
                // Whatever the way to here, this covers what the rounds before have written.
                self.f.now.dirty |= written & 1 << r;
            }
        }
        self.f.head = Some((self.f.now, self.asm.here()));
    }

    /// The XMM register of an f register.
    fn f_reg(&self, r: u8) -> Option<Xmm> {
        let x = self.f.map[usize::from(r)];
        (x != 0).then_some(Xmm(x))
    }

    fn f_load(&mut self, x: Xmm, r: u8) {
        self.fmov_load(true, x, f_slot(r));
    }

    /// Puts the box into an XMM register.
    fn widen(&mut self, r: u8, x: Xmm) {
        if self.f.now.narrow >> r & 1 != 0 {
            self.fop(0, 0x56, x, x, f_const(FConst::Box));
            self.f.now.narrow &= !(1 << r);
        }
    }

    fn f_write_back(&mut self, r: u8) {
        if let Some(x) = self.f_reg(r)
            && self.f.now.dirty >> r & 1 != 0
        {
            self.widen(r, x);
            self.fmov_store(true, f_slot(r), x);
            self.f.now.dirty &= !(1 << r);
        }
    }

    /// Every f register is in memory from here on; leaves general registers and flags alone.
    pub(super) fn f_sync(&mut self) {
        let mut dirty = self.f.now.dirty;
        while dirty != 0 {
            self.f_write_back(dirty.trailing_zeros() as u8);
            dirty &= dirty - 1;
        }
    }

    /// As [`Backend::f_sync`], and XMM registers are free.
    pub(super) fn f_forget(&mut self) {
        self.f_sync();
        (self.f.now.held, self.f.now.narrow) = (0, 0);
    }

    /// Something else may have written f registers, after [`Backend::f_forget`].
    pub(super) fn f_clobbered(&mut self) {
        self.f.now = FState::default();
    }

    /// Brings the registers from the state known here to `target`.
    pub(super) fn f_become(&mut self, target: FState) {
        if !self.f.now.uses_host() && !target.uses_host() {
            self.f.now = target;
            return;
        }
        for r in 0..32 {
            let Some(x) = self.f_reg(r) else { continue };
            let bit = 1 << r;
            if target.dirty & bit == 0 {
                self.f_write_back(r);
            }
            if target.held & bit != 0 {
                if self.f.now.held & bit == 0 {
                    self.f_load(x, r);
                } else if target.narrow & bit == 0 {
                    self.widen(r, x);
                }
            }
        }
        self.f.now = target;
    }

    /// Goes on at the start of the block if it can be done with what is known here, by the state there.
    pub(super) fn f_jump_to_head(&mut self) -> Option<u64> {
        let (head, at) = self.f.head?;
        if head.boxed & !self.f.now.boxed != 0 {
            return None;
        }
        self.f_become(head);
        Some(at)
    }

    /// An f register as an operand of 64 bits.
    pub(super) fn f_read(&mut self, r: u8) -> Rm {
        let Some(x) = self.f_reg(r) else { return f_slot(r).into() };
        if self.f.now.held >> r & 1 == 0 {
            self.f_load(x, r);
            self.f.now.held |= 1 << r;
        }
        self.widen(r, x);
        x.into()
    }

    /// An f register as an operand of single precision. One that is not boxed leaves the instruction to the interpreter.
    pub(super) fn f_read_single(&mut self, r: u8) -> Rm {
        self.check_box(r);
        match self.f_reg(r) {
            Some(x) if self.f.now.held >> r & 1 != 0 => x.into(),
            Some(_) => self.f_read(r),
            None => f_slot(r).into(),
        }
    }

    /// Where the low 32 bits, or all 64, of an f register are to be had without loading it.
    pub(super) fn f_bits(&mut self, r: u8, double: bool) -> Rm {
        match self.f_reg(r) {
            Some(_) if self.f.now.held >> r & 1 != 0 && double => self.f_read(r),
            Some(x) if self.f.now.held >> r & 1 != 0 => x.into(),
            _ => f_slot(r).into(),
        }
    }

    /// Whether the operand has its box, where it is known to be boxed.
    pub(super) fn f_is_narrow(&self, r: u8) -> bool {
        self.f.now.narrow >> r & 1 != 0
    }

    /// A single-precision operand that is not boxed leaves the instruction to the interpreter.
    pub(super) fn check_box(&mut self, r: u8) {
        if self.f.now.boxed >> r & 1 != 0 {
            return;
        }
        self.f_write_back(r);
        self.asm.alu_imm(Alu::Cmp, false, upper(f_slot(r)), -1);
        let from = self.asm.jcc_forward(Cc::Ne);
        self.stub(from, StubKind::Interpret);
        self.f.now.boxed |= 1 << r;
    }

    /// Where to compute the new value of an f register: its own XMM register, else XMM0.
    pub(super) fn f_target(&self, r: u8) -> Xmm {
        self.f_reg(r).unwrap_or(Xmm(0))
    }

    /// An f register = `x`, a double or a single with or without its box.
    pub(super) fn f_written(&mut self, r: u8, x: Xmm, double: bool, narrow: bool) {
        let bit = 1 << r;
        let now = &mut self.f.now;
        (now.boxed, now.narrow) = (now.boxed & !bit, now.narrow & !bit);
        if !double {
            now.boxed |= bit;
        }
        match self.f_reg(r) {
            Some(own) => {
                let now = &mut self.f.now;
                (now.held, now.dirty) = (now.held | bit, now.dirty | bit);
                if narrow {
                    now.narrow |= bit;
                }
                if own != x {
                    self.fmov(own, x);
                }
            }
            None => {
                if narrow {
                    self.fop(0, 0x56, x, x, f_const(FConst::Box));
                }
                self.fmov_store(true, f_slot(r), x);
            }
        }
    }

    /// Generated code has written an f register in memory.
    pub(super) fn f_stored(&mut self, r: u8, double: bool) {
        let (bit, now) = (1 << r, &mut self.f.now);
        debug_assert!(now.held & bit == 0);
        now.boxed = if double { now.boxed & !bit } else { now.boxed | bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcg::HostSimd;
    use crate::tcg::helpers::softfloat::{FpOp, Rm};
    use crate::tcg::helpers::vector::VectorUnit;
    use crate::tcg::ir::{BinOp, Cond, Target, Width};

    fn block(ops: impl IntoIterator<Item = Op>) -> IrBlock {
        let mut b = IrBlock::default();
        for op in ops {
            b.ops.extend([Op::Insn { offset: b.end, len: 4 }, op]);
            (b.insns, b.end) = (b.insns + 1, b.end + 4);
        }
        b
    }

    fn fp(kind: FpKind, fmt: Fmt, rm: Option<Rm>, d: FDst, sources: [u8; 3]) -> Op {
        let operand = |n: usize| if n < kind.operands() { FVal::F(sources[n]) } else { FVal::C(0) };
        let [a, b, c] = [0, 1, 2].map(operand);
        Op::Fp { op: FpOp::new(kind, fmt), rm, d, a, b, c }
    }

    fn with_backend<T>(f: impl FnOnce(&mut Backend, &mut CodeCache) -> T) -> T {
        let mut code = CodeCache::new(1 << 20).unwrap();
        let isa = arch::model::parse("max").unwrap();
        let mut backend = Backend::new(&mut code, true, VectorUnit::of(&isa), HostSimd::Avx512).unwrap();
        f(&mut backend, &mut code)
    }

    #[test]
    fn any_block_fits() {
        let load = |r| Op::LoadF { fd: r, base: Val::X(10), offset: 0, width: Width::W };
        let convert = |n: u8| fp(FpKind::ToWu, Fmt::S, Some(Rm::Rne), FDst::X(11), [n % 12; 3]);
        let fuse = |n: u8| fp(FpKind::Madd, Fmt::S, Some(Rm::Rne), FDst::F(n % 12), [n % 7, n % 11, n % 5]);
        let end = Op::Jump { target: Target { offset: 4096 } };
        with_backend(|backend, code| {
            for op in [&convert as &dyn Fn(u8) -> Op, &fuse, &|n| load(n % 12)] {
                let start = (0..12).flat_map(|r| [load(r), fp(FpKind::Add, Fmt::S, None, FDst::F(r), [r; 3])]);
                let ops = start.chain((24..63).map(op)).chain([end]);
                assert!(backend.compile(&block(ops), false, code).len() <= MAX_BLOCK_BYTES);
            }
        });
    }

    #[test]
    fn a_loop_keeps_its_registers() {
        let ops = [
            fp(FpKind::Add, Fmt::D, None, FDst::F(1), [1, 2, 0]),
            Op::Bin { op: BinOp::Add, d: Dst::X(10), a: Val::X(10), b: Val::C(-1) },
            Op::BranchIf { cond: Cond::Ne, a: Val::X(10), b: Val::C(0), target: Target { offset: 0 } },
            Op::Jump { target: Target { offset: 2048 } },
        ];
        with_backend(|backend, code| {
            let (base, bytes) = (code.arena.cursor(), backend.compile(&block(ops), false, code).to_vec());
            let decoder = iced_x86::Decoder::with_ip(64, &bytes, base, iced_x86::DecoderOptions::NONE);
            let all: Vec<_> = decoder.into_iter().collect();
            let back = all.iter().filter(|i| i.near_branch64() >= base && i.near_branch64() < i.ip());
            let head = back.map(iced_x86::Instruction::near_branch64).min().expect("it goes round");
            let loads = |from: u64, to: u64| {
                let moves = |i: &&iced_x86::Instruction| {
                    matches!(i.mnemonic(), iced_x86::Mnemonic::Movsd | iced_x86::Mnemonic::Vmovsd)
                };
                all.iter().filter(|i| (from..to).contains(&i.ip())).filter(moves).count()
            };
            assert_eq!(loads(base, head), 2);
            let branch = all
                .iter()
                .find(|i| i.ip() >= head && i.is_jcc_short_or_near() && i.mnemonic() != iced_x86::Mnemonic::Jp);
            assert_eq!(loads(head, branch.expect("the way out").ip()), 0);
        });
    }
}
