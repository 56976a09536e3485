//! One row an instruction: operation, extensions, assembler text, bit pattern.
//!
//! `FaddS F "fadd.s fd,fs1,fs2,rm" "0000000 rs2 rs1 rm rd 1010011"` makes the operation [`Op::FaddS`], which a hart has
//! with the extension `F`. `Zbb | Zbkb` means either, `Zcb & Zbb` both. Patterns are explained in `pattern.rs`;
//! operands of the text are named as in the pattern, `fd`, `fs1`.. being the same fields as floating-point registers.
//!
//! Each file holds the rows of one part of the specification. A full-size file is a macro that passes its rows on to
//! the next file's, so that one `enum` can be made of all.

/// Makes [`Op`] and the table of full-size rows.
macro_rules! define_ops {
    ([] $($op:ident $($($ext:ident)&+)|+, $asm:literal $bits:literal)*) => {
        /// An operation: what a full-size instruction does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Op {
            $(#[doc = concat!("`", $asm, "`")] $op,)*
        }

        impl Op {
            pub const ALL: &[Op] = &[$(Op::$op),*];
            pub const COUNT: usize = Self::ALL.len();
        }

        /// The row of `op` is at `op as usize`.
        pub(super) const FULL: &[RowText] = &[
            $(RowText { op: Op::$op, exts: &[$(&[$(Ext::$ext),+]),+], asm: $asm, bits: $bits },)*
        ];
    };
}

/// Rows that stand for operations of full-size rows: hints and compressed instructions.
macro_rules! rows {
    ($($op:ident $($($ext:ident)&+)|+, $asm:literal $bits:literal)*) => {
        &[$(RowText { op: Op::$op, exts: &[$(&[$(Ext::$ext),+]),+], asm: $asm, bits: $bits },)*]
    };
}

#[macro_use]
mod i;
#[macro_use]
mod m;
#[macro_use]
mod a;
#[macro_use]
mod f;
#[macro_use]
mod d;
#[macro_use]
mod zfh;
#[macro_use]
pub(super) mod zfa;
#[macro_use]
mod b;
#[macro_use]
mod k;
#[macro_use]
mod zicond;
#[macro_use]
mod zimop;
#[macro_use]
mod zicbo;
#[macro_use]
mod zicsr;
#[macro_use]
mod privileged;
#[macro_use]
mod v_config;
#[macro_use]
mod v_mem;
#[macro_use]
mod v_int;
#[macro_use]
mod v_fixed;
#[macro_use]
mod v_mask;
#[macro_use]
mod v_perm;
#[macro_use]
mod v_float;
#[macro_use]
mod zvk;
#[macro_use]
mod h;

pub(super) mod c;
pub(super) mod hint;

use super::table::RowText;
use crate::ext::Ext;

i_rows! {
    [m_rows a_rows f_rows d_rows zfh_rows zfa_rows b_rows k_rows
    zicond_rows zimop_rows zicbo_rows zicsr_rows privileged_rows h_rows
    v_config_rows v_mem_rows v_int_rows v_fixed_rows v_mask_rows v_perm_rows v_float_rows zvk_rows define_ops]
}
