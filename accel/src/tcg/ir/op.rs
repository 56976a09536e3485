//! The operations of the intermediate representation.
//!
//! Three-address code over the guest's registers: an operand is a guest register, a temporary or a constant.
//! One guest instruction becomes one or a few operations, each preceded by an [`Op::Insn`] mark, and every
//! operation takes effect in order: at a faulting operation the guest's registers are exactly those before
//! its instruction, so traps are precise without any bookkeeping.
//!
//! Addresses of code are offsets from the virtual page in which the block stands, never absolute, so one
//! translation serves every mapping of its physical page.

use crate::tcg::csr::{CsrOp, Gate, Live, StateField};
use crate::tcg::helpers::crypto::scalar as crypto;
use crate::tcg::helpers::softfloat::{FpOp, Rm};

/// A source operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Val {
    /// Guest integer register; `X(0)` reads zero.
    X(u8),
    /// Temporary of the block, see [`TEMPS`].
    T(u8),
    /// Constant.
    C(i64),
}

/// Where a result goes; never `X(0)` (the builder drops such results).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dst {
    X(u8),
    T(u8),
}

impl From<Dst> for Val {
    fn from(d: Dst) -> Val {
        match d {
            Dst::X(r) => Val::X(r),
            Dst::T(t) => Val::T(t),
        }
    }
}

/// Number of temporaries a block may use. Temporaries do not live past the instruction that set them.
pub const TEMPS: usize = 4;

/// Width of a memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    B,
    H,
    W,
    D,
}

impl Width {
    /// In order.
    pub const ALL: [Width; 4] = [Width::B, Width::H, Width::W, Width::D];

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Width::B => 1,
            Width::H => 2,
            Width::W => 4,
            Width::D => 8,
        }
    }

    /// Extends the low `bytes()` of `v` to 64 bits.
    pub const fn extend(self, v: u64, signed: bool) -> u64 {
        match (self, signed) {
            (Width::B, true) => v as i8 as u64,
            (Width::H, true) => v as i16 as u64,
            (Width::W, true) => v as i32 as u64,
            (Width::B, false) => v as u8 as u64,
            (Width::H, false) => v as u16 as u64,
            (Width::W, false) => v as u32 as u64,
            (Width::D, _) => v,
        }
    }
}

/// Comparison of two 64-bit values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    Eq,
    Ne,
    Lt,
    Ge,
    Ltu,
    Geu,
}

impl Cond {
    /// The condition that holds where this one does not.
    pub const fn inverse(self) -> Self {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Lt => Cond::Ge,
            Cond::Ge => Cond::Lt,
            Cond::Ltu => Cond::Geu,
            Cond::Geu => Cond::Ltu,
        }
    }

    pub const fn eval(self, a: u64, b: u64) -> bool {
        match self {
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Lt => (a as i64) < b as i64,
            Cond::Ge => a as i64 >= b as i64,
            Cond::Ltu => a < b,
            Cond::Geu => a >= b,
        }
    }
}

macro_rules! ops {
    ($(#[$m:meta])* $name:ident ($($arg:ident),*) { $($op:ident => $body:expr,)* }) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($op,)* }
        impl $name {
            /// Every operation, for tests that sweep them.
            pub const ALL: &'static [$name] = &[$($name::$op,)*];
            /// The meaning of the operation: what the interpreter does and what a backend must match.
            #[inline]
            pub const fn eval(self, $($arg: u64),*) -> u64 {
                match self { $($name::$op => $body,)* }
            }
        }
    };
}

const fn w(v: u32) -> u64 {
    v as i32 as u64
}

const fn clmul(a: u64, b: u64) -> u128 {
    let mut r = 0u128;
    let mut i = 0;
    while i < 64 {
        // No branch on the operand: Zkt promises that time does not tell it.
        r ^= ((a as u128) << i) & ((b >> i & 1) as u128).wrapping_neg();
        i += 1;
    }
    r
}

const fn div(a: i64, b: i64) -> u64 {
    if b == 0 { u64::MAX } else { a.wrapping_div(b) as u64 }
}

const fn divu(a: u64, b: u64) -> u64 {
    match a.checked_div(b) {
        Some(q) => q,
        None => u64::MAX,
    }
}

const fn divuw(a: u32, b: u32) -> u64 {
    match a.checked_div(b) {
        Some(q) => w(q),
        None => u64::MAX,
    }
}

const fn rem(a: i64, b: i64) -> u64 {
    if b == 0 { a as u64 } else { a.wrapping_rem(b) as u64 }
}

const fn divw(a: i32, b: i32) -> u64 {
    if b == 0 { u64::MAX } else { a.wrapping_div(b) as u64 }
}

const fn remw(a: i32, b: i32) -> u64 {
    if b == 0 { a as u64 } else { a.wrapping_rem(b) as u64 }
}

const fn orc_b(a: u64) -> u64 {
    let mut r = 0;
    let mut i = 0;
    while i < 64 {
        if a >> i & 0xff != 0 {
            r |= 0xff << i;
        }
        i += 8;
    }
    r
}

/// Each element of `indices` is replaced by the element of `table` it names, or zero if there is none.
const fn xperm(table: u64, indices: u64, width: u32) -> u64 {
    let mask = (1 << width) - 1;
    let mut r = 0;
    let mut at = 0;
    while at < 64 {
        let from = (indices >> at & mask) * width as u64;
        if from < 64 {
            r |= (table >> from & mask) << at;
        }
        at += width;
    }
    r
}

ops! {
    /// Operations of two operands; a `W` suffix works on 32 bits and sign-extends the result.
    BinOp(a, b) {
        Add => a.wrapping_add(b),
        Sub => a.wrapping_sub(b),
        And => a & b,
        Or => a | b,
        Xor => a ^ b,
        Andn => a & !b,
        Orn => a | !b,
        Xnor => !(a ^ b),
        Sll => a << (b & 63),
        Srl => a >> (b & 63),
        Sra => ((a as i64) >> (b & 63)) as u64,
        Rol => a.rotate_left(b as u32 & 63),
        Ror => a.rotate_right(b as u32 & 63),
        AddW => w((a as u32).wrapping_add(b as u32)),
        SubW => w((a as u32).wrapping_sub(b as u32)),
        SllW => w((a as u32) << (b & 31)),
        SrlW => w((a as u32) >> (b & 31)),
        SraW => ((a as i32) >> (b & 31)) as u64,
        RolW => w((a as u32).rotate_left(b as u32 & 31)),
        RorW => w((a as u32).rotate_right(b as u32 & 31)),
        FunnelW => (a as u32 as u64) >> (b & 31) | a << (32 - (b & 31)),
        Slt => ((a as i64) < b as i64) as u64,
        Sltu => (a < b) as u64,
        Mul => a.wrapping_mul(b),
        Mulh => ((a as i64 as i128 * b as i64 as i128) >> 64) as u64,
        Mulhu => ((a as u128 * b as u128) >> 64) as u64,
        Mulhsu => ((a as i64 as i128).wrapping_mul(b as i128) >> 64) as u64,
        MulW => w((a as u32).wrapping_mul(b as u32)),
        Div => div(a as i64, b as i64),
        Divu => divu(a, b),
        Rem => rem(a as i64, b as i64),
        Remu => if b == 0 { a } else { a % b },
        DivW => divw(a as i32, b as i32),
        DivuW => divuw(a as u32, b as u32),
        RemW => remw(a as i32, b as i32),
        RemuW => if b as u32 == 0 { w(a as u32) } else { w(a as u32 % b as u32) },
        Min => if (a as i64) < b as i64 { a } else { b },
        Max => if a as i64 > b as i64 { a } else { b },
        Minu => if a < b { a } else { b },
        Maxu => if a > b { a } else { b },
        Sh1add => (a << 1).wrapping_add(b),
        Sh2add => (a << 2).wrapping_add(b),
        Sh3add => (a << 3).wrapping_add(b),
        AddUw => (a as u32 as u64).wrapping_add(b),
        Sh1addUw => ((a as u32 as u64) << 1).wrapping_add(b),
        Sh2addUw => ((a as u32 as u64) << 2).wrapping_add(b),
        Sh3addUw => ((a as u32 as u64) << 3).wrapping_add(b),
        SllUw => (a as u32 as u64) << (b & 63),
        Bset => a | 1 << (b & 63),
        Bclr => a & !(1 << (b & 63)),
        Binv => a ^ 1 << (b & 63),
        Bext => a >> (b & 63) & 1,
        Clmul => clmul(a, b) as u64,
        Clmulh => (clmul(a, b) >> 64) as u64,
        Clmulr => (clmul(a, b) >> 63) as u64,
        CzeroEqz => if b == 0 { 0 } else { a },
        CzeroNez => if b != 0 { 0 } else { a },
        Pack => a as u32 as u64 | b << 32,
        PackH => a & 0xff | (b & 0xff) << 8,
        PackW => w(a as u32 & 0xffff | (b as u32) << 16),
        Xperm4 => xperm(a, b, 4),
        Xperm8 => xperm(a, b, 8),
        Aes64Es => crypto::aes64_encrypt_final(a, b),
        Aes64Esm => crypto::aes64_encrypt_middle(a, b),
        Aes64Ds => crypto::aes64_decrypt_final(a, b),
        Aes64Dsm => crypto::aes64_decrypt_middle(a, b),
        Aes64Ks1 => crypto::aes64_key_1(a, b),
        Aes64Ks2 => crypto::aes64_key_2(a, b),
        Sm4Ed0 => crypto::sm4_round(a, b, 0),
        Sm4Ed1 => crypto::sm4_round(a, b, 1),
        Sm4Ed2 => crypto::sm4_round(a, b, 2),
        Sm4Ed3 => crypto::sm4_round(a, b, 3),
        Sm4Ks0 => crypto::sm4_key(a, b, 0),
        Sm4Ks1 => crypto::sm4_key(a, b, 1),
        Sm4Ks2 => crypto::sm4_key(a, b, 2),
        Sm4Ks3 => crypto::sm4_key(a, b, 3),
    }
}

ops! {
    /// Operations of one operand.
    UnOp(a) {
        SextB => a as i8 as u64,
        SextH => a as i16 as u64,
        SextW => a as i32 as u64,
        ZextB => a as u8 as u64,
        ZextH => a as u16 as u64,
        ZextW => a as u32 as u64,
        Not => !a,
        Clz => a.leading_zeros() as u64,
        ClzW => (a as u32).leading_zeros() as u64,
        Ctz => a.trailing_zeros() as u64,
        CtzW => (a as u32).trailing_zeros() as u64,
        Cpop => a.count_ones() as u64,
        CpopW => (a as u32).count_ones() as u64,
        Rev8 => a.swap_bytes(),
        OrcB => orc_b(a),
        Brev8 => a.reverse_bits().swap_bytes(),
        Aes64Im => crypto::aes64_inverse_mix(a),
        Sm3P0 => crypto::sm3_p0(a),
        Sm3P1 => crypto::sm3_p1(a),
    }
}

ops! {
    /// What an AMO stores, from the old value `a` and the register `b`, both already extended to its width.
    AmoOp(a, b) {
        Swap => b,
        Add => a.wrapping_add(b),
        And => a & b,
        Or => a | b,
        Xor => a ^ b,
        Min => if (a as i64) < b as i64 { a } else { b },
        Max => if a as i64 > b as i64 { a } else { b },
        Minu => if a < b { a } else { b },
        Maxu => if a > b { a } else { b },
    }
}

/// Work that is done by a Rust function on the hart, see `helpers`. May trap or leave the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Helper {
    /// `csr | kind << 12 | write << 16`, source value -> old value. Kind: 0 rw, 1 rs, 2 rc. For `satp` the number of the
    /// block's physical page stands above, from bit 20.
    Csr,
    /// The same for `sstatus` in M- and HS-mode of a hart that has it: nothing can deny it.
    Status,
    Ecall,
    Ebreak,
    Mret,
    Mnret,
    Sret,
    Wfi,
    /// rs1 value, rs2 value, `rs1 | rs2 << 5 | 1 << 10` (if it is SINVAL.VMA) `| physical page of the block`.
    SfenceVma,
    /// HFENCE.VVMA and HFENCE.GVMA: rs1 value, rs2 value, `1` if rs1 is not x0 | `2` if rs2 is not x0 | instruction
    /// bits << 2.
    HfenceVvma,
    HfenceGvma,
    /// HLV and HLVX: address, what kind of load, instruction bits.
    HyperLoad,
    /// HSV: address, value, `bytes | instruction bits << 4`.
    HyperStore,
    /// Legality of the fences of Svinval that do nothing else.
    SfenceInval,
    FenceI,
    /// Raises illegal instruction; argument: the instruction's bits.
    Illegal,
    /// address, kind (0 inval, 1 clean, 2 flush), instruction bits.
    CboManage,
    /// address, unused, instruction bits.
    CboZero,
    /// WRS.NTO / WRS.STO: may wait for the reservation set to be written.
    Wrs,
    /// Value of rs1, value of rs2, instruction bits: records the jump or branch that follows.
    Transfer,
    Sctrclr,
    /// At the start of a block: leaves it to the interpreter if a counter may overflow in it.
    CheckLimit,
    /// Offset from the page: raises instruction-address-misaligned for a jump there.
    MisalignedJump,
    /// Address: the same if it is not a multiple of four.
    CheckJump,
    /// Address: compare-and-swap of 16 bytes. Temporaries 0 and 1 hold the expected value and get the old one, 2 and 3
    /// hold the new one.
    CompareAndSwap16,
    /// Target address: jumps there, where a landing pad is expected (Zicfilp).
    JumpToPad,
    /// SSPUSH: link register.
    ShadowPush,
    /// SSPOPCHK: link register.
    ShadowPop,
    /// SSRDP.
    ShadowPointer,
    /// SSAMOSWAP: address, source, instruction bits | 1 << 32 for a doubleword.
    ShadowSwap,
    /// Failed checks (see [`fp_check`]), unused, instruction bits: makes FS dirty, traps, or leaves the operation to
    /// the interpreter.
    FpCheck,
    /// Leaves the instruction to the interpreter. Only generated code asks for it.
    Interpret,
    /// At the start of a block: shows it in the log. Argument: the address of its host code, 0 if there is none.
    Trace,
}

/// What floating-point instructions need of the hart. Not part of a block's mode: kernels change FS at every
/// context switch, and most blocks do not care.
pub mod fp_check {
    /// mstatus.FS is Dirty: f registers or flags may be written.
    pub const DIRTY: u8 = 1;
    /// `frm` is a rounding mode that the host has.
    pub const NATIVE_FRM: u8 = 2;
    /// mstatus.FS is not Off.
    pub const ON: u8 = 4;
    /// `frm` is to nearest, ties to even. Not checked once, but where it matters.
    pub const NEAREST_FRM: u8 = 8;
}

/// What [`Op::ReadGated`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gated {
    Word(StateField, Gate),
    Live(Live),
}

impl Gated {
    pub const fn gate(self) -> Gate {
        match self {
            Gated::Word(_, gate) => gate,
            Gated::Live(live) => live.gate(),
        }
    }
}

/// First argument of [`Helper::Csr`] for the instruction `raw`; its kind comes from the caller, who decoded it.
pub const fn csr_code(kind: CsrOp, write: bool, raw: u32) -> i64 {
    (raw >> 20) as i64 | (kind as i64) << 12 | (write as i64) << 16
}

/// How control leaves a block to a place known at translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Offset of the destination from the block's virtual page, in bytes.
    pub offset: i64,
}

/// A floating-point operand: registers are raw 64-bit contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FVal {
    F(u8),
    X(u8),
    /// An immediate (index of `fli`) or an unused operand.
    C(u8),
}

/// Destination of a floating-point operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FDst {
    F(u8),
    /// `X(0)` is allowed: the flags still count.
    X(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A guest instruction begins: offset in the block's page, length in bytes.
    Insn {
        offset: u16,
        len: u8,
    },
    Mov {
        d: Dst,
        s: Val,
    },
    Bin {
        op: BinOp,
        d: Dst,
        a: Val,
        b: Val,
    },
    Un {
        op: UnOp,
        d: Dst,
        a: Val,
    },
    /// `d` = `a` shifted by `n`, which nobody reads unless the block is left before `d` is written again; `a` stays as
    /// it is until then, or until nothing can leave any more. Made by [`fold`](super::fold).
    Late {
        op: BinOp,
        d: u8,
        a: u8,
        n: u8,
    },
    /// `d` = virtual address of the page + `offset`.
    PcRel {
        d: Dst,
        offset: i64,
    },
    Load {
        d: Option<Dst>,
        base: Val,
        offset: i32,
        width: Width,
        signed: bool,
    },
    Store {
        base: Val,
        offset: i32,
        src: Val,
        width: Width,
    },
    /// `W` boxes the value.
    LoadF {
        fd: u8,
        base: Val,
        offset: i32,
        width: Width,
    },
    StoreF {
        fs: u8,
        base: Val,
        offset: i32,
        width: Width,
    },
    /// Atomic read-modify-write; misaligned addresses trap (but see Zama16b).
    Amo {
        op: AmoOp,
        width: Width,
        d: Option<Dst>,
        addr: Val,
        src: Val,
    },
    /// A CSR instruction on `fflags`, `frm` or `fcsr`, which is `csr`. FS has been looked at before.
    FpCsr {
        csr: u16,
        kind: CsrOp,
        write: bool,
        d: Option<Dst>,
        src: Val,
        raw: u32,
    },
    /// Atomic compare-and-swap: stores `src` if memory holds `expected`; `d` is what it held, sign-extended.
    Cas {
        width: Width,
        d: Option<Dst>,
        addr: Val,
        expected: Val,
        src: Val,
    },
    /// Traps if the load or store at `addr` that follows must not be misaligned.
    CheckAligned {
        width: Width,
        addr: Val,
        store: bool,
    },
    Lr {
        width: Width,
        d: Option<Dst>,
        addr: Val,
    },
    Sc {
        width: Width,
        d: Option<Dst>,
        addr: Val,
        src: Val,
    },
    /// Orders earlier stores before later loads, as other harts see it, and devices, too, if `devices`; the rest the host's
    /// memory order gives.
    FenceStoreLoad {
        devices: bool,
    },
    /// Before the first floating-point operations of a block: all of `checks` (see [`fp_check`]) have to hold.
    FpCheck {
        checks: u8,
        raw: u32,
    },
    /// `rm` is `None` where `frm` applies.
    Fp {
        op: FpOp,
        rm: Option<Rm>,
        d: FDst,
        a: FVal,
        b: FVal,
        c: FVal,
    },
    /// A vector instruction: `a` and `b` are the values of rs1 and rs2 where it reads them, vector operands are read from
    /// its bits. See `helpers::vector`.
    Vector {
        op: arch::isa::Op,
        raw: u32,
        d: Option<Dst>,
        a: Val,
        b: Val,
    },
    /// A register of the hart's state.
    ReadState {
        d: Dst,
        field: StateField,
    },
    WriteState {
        field: StateField,
        src: Val,
    },
    /// A CSR behind a gate: if it is shut, the instruction `raw` is a call.
    ReadGated {
        d: Dst,
        what: Gated,
        raw: u32,
    },
    /// A CSR instruction on `sstatus` outside of a guest, with the value of its source; by a call where it sets off more
    /// than an inline sequence can do.
    Status {
        d: Option<Dst>,
        kind: CsrOp,
        write: bool,
        src: Val,
        raw: u32,
    },
    Call {
        helper: Helper,
        d: Option<Dst>,
        args: [Val; 3],
    },
    /// Leaves the block if the condition holds; falls through otherwise.
    BranchIf {
        cond: Cond,
        a: Val,
        b: Val,
        target: Target,
    },
    /// A hint, right before the jump that it is about.
    Linkage(Linkage),
    /// Ends the block.
    Jump {
        target: Target,
    },
    /// Ends the block; bit 0 of the address is cleared.
    JumpReg {
        addr: Val,
    },
}

/// What a jump is in the convention of the link registers (unprivileged spec, "Return-address stack prediction hints").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linkage {
    /// The address behind it is in this register.
    Call(u8),
    Return,
}

impl Linkage {
    /// That of a jump through `rs1` (0 for a direct one) that links in `rd`.
    pub const fn of(rd: u8, rs1: u8) -> Option<Self> {
        const fn links(r: u8) -> bool {
            r == 1 || r == 5
        }
        match (links(rd), links(rs1)) {
            // Through one link register and with the other, as coroutines do, it is both.
            (true, true) if rd != rs1 => None,
            (true, _) => Some(Linkage::Call(rd)),
            (false, true) => Some(Linkage::Return),
            (false, false) => None,
        }
    }
}

impl Op {
    /// Whether it touches neither memory nor the floating-point state, and calls nothing: marks, arithmetic of integers, and
    /// branches out of the block.
    pub fn is_arithmetic(&self) -> bool {
        matches!(
            self,
            Self::Insn { .. }
                | Self::Mov { .. }
                | Self::Bin { .. }
                | Self::Un { .. }
                | Self::Late { .. }
                | Self::PcRel { .. }
                | Self::BranchIf { .. }
        )
    }

    /// The same, or a load, a store, or floating point: what most loops consist of.
    pub fn is_plain(&self) -> bool {
        self.is_arithmetic()
            || matches!(
                self,
                Self::Load { .. }
                    | Self::Store { .. }
                    | Self::LoadF { .. }
                    | Self::StoreF { .. }
                    | Self::FpCheck { .. }
                    | Self::Fp { .. }
            )
    }

    /// Whether nothing can follow.
    pub fn ends_block(&self) -> bool {
        match self {
            Op::Jump { .. } | Op::JumpReg { .. } => true,
            Op::Call { helper, .. } => helper.ends_block(),
            _ => false,
        }
    }
}

impl Helper {
    /// Helpers after which control never comes back into the block.
    pub fn ends_block(self) -> bool {
        matches!(
            self,
            Helper::Ecall
                | Helper::Ebreak
                | Helper::Mret
                | Helper::Mnret
                | Helper::Sret
                | Helper::Wfi
                | Helper::Illegal
                | Helper::MisalignedJump
                | Helper::JumpToPad
        )
    }
}
