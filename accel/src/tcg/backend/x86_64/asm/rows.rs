//! Vector and mask instructions, one row each (Intel's manual, volume 2; the columns are the fields of [`Row`]).
//!
//! | Column | |
//! |---|---|
//! | name | the mnemonic; `_V` vector instead of mask or immediate, `_K` into a mask, `_ST` to memory, `_I` by immediate, `_R` `_G` from and to general registers, `_L` 64-bit general register |
//! | prefix, map, opcode | |
//! | W | of the VEX and of the EVEX encoding, `no` if there is none |
//! | lengths | `x` XMM, `y` YMM, `z` ZMM |
//! | digit | what ModRM.reg holds if it is part of the opcode |
//! | operands | where (`r` ModRM.reg, `v` VEX.vvvv, `m` ModRM.rm, `u` the same but no memory, `o` memory alone, `s` memory with vector index, `i` immediate) and what (`V` vector, `H` `Q` `E` half, quarter, eighth of one, `X` XMM, `Y` YMM, `K` mask, `R` 32-bit and `L` 64-bit register) |
//! | memory | `f` a vector or a broadcast element of so many bytes, `h` half a vector likewise, `p` a vector divided by that, `s` so many bytes |
//! | mask | `z` merging or zeroing, `k` merging only, `g` one is needed |
//! | control | `er` static rounding, `sae` suppression of exceptions |

#![allow(dead_code, reason = "what the host can do, whether it is used or not")]

use super::vex::{Class, Control, Masking, Role, Row, Tuple};

macro_rules! prefix {
    (np) => {
        0
    };
    (p66) => {
        1
    };
    (pf3) => {
        2
    };
    (pf2) => {
        3
    };
}

macro_rules! map {
    (m0f) => {
        1
    };
    (m0f38) => {
        2
    };
    (m0f3a) => {
        3
    };
}

macro_rules! w {
    (no) => {
        None
    };
    (w0) => {
        Some(false)
    };
    (w1) => {
        Some(true)
    };
}

macro_rules! lens {
    (x) => {
        1
    };
    (y) => {
        2
    };
    (z) => {
        4
    };
    (xy) => {
        3
    };
    (yz) => {
        6
    };
    (xyz) => {
        7
    };
}

macro_rules! operand {
    (rV) => {
        (Role::Reg, Class::Full)
    };
    (rH) => {
        (Role::Reg, Class::Half)
    };
    (rX) => {
        (Role::Reg, Class::X)
    };
    (rK) => {
        (Role::Reg, Class::K)
    };
    (rR) => {
        (Role::Reg, Class::R32)
    };
    (rL) => {
        (Role::Reg, Class::R64)
    };
    (vV) => {
        (Role::Vvvv, Class::Full)
    };
    (vH) => {
        (Role::Vvvv, Class::Half)
    };
    (vX) => {
        (Role::Vvvv, Class::X)
    };
    (vK) => {
        (Role::Vvvv, Class::K)
    };
    (vL) => {
        (Role::Vvvv, Class::R64)
    };
    (mV) => {
        (Role::Rm(true, true), Class::Full)
    };
    (mH) => {
        (Role::Rm(true, true), Class::Half)
    };
    (mQ) => {
        (Role::Rm(true, true), Class::Quarter)
    };
    (mE) => {
        (Role::Rm(true, true), Class::Eighth)
    };
    (mX) => {
        (Role::Rm(true, true), Class::X)
    };
    (mY) => {
        (Role::Rm(true, true), Class::Y)
    };
    (mK) => {
        (Role::Rm(true, true), Class::K)
    };
    (mR) => {
        (Role::Rm(true, true), Class::R32)
    };
    (mL) => {
        (Role::Rm(true, true), Class::R64)
    };
    (uV) => {
        (Role::Rm(true, false), Class::Full)
    };
    (uH) => {
        (Role::Rm(true, false), Class::Half)
    };
    (uQ) => {
        (Role::Rm(true, false), Class::Quarter)
    };
    (uE) => {
        (Role::Rm(true, false), Class::Eighth)
    };
    (uX) => {
        (Role::Rm(true, false), Class::X)
    };
    (uY) => {
        (Role::Rm(true, false), Class::Y)
    };
    (uK) => {
        (Role::Rm(true, false), Class::K)
    };
    (uR) => {
        (Role::Rm(true, false), Class::R32)
    };
    (uL) => {
        (Role::Rm(true, false), Class::R64)
    };
    (oV) => {
        (Role::Rm(false, true), Class::Full)
    };
    (oH) => {
        (Role::Rm(false, true), Class::Half)
    };
    (oQ) => {
        (Role::Rm(false, true), Class::Quarter)
    };
    (oE) => {
        (Role::Rm(false, true), Class::Eighth)
    };
    (oX) => {
        (Role::Rm(false, true), Class::X)
    };
    (oY) => {
        (Role::Rm(false, true), Class::Y)
    };
    (oK) => {
        (Role::Rm(false, true), Class::K)
    };
    (sV) => {
        (Role::Vsib, Class::Full)
    };
    (sH) => {
        (Role::Vsib, Class::Half)
    };
    (ib) => {
        (Role::Imm, Class::Imm)
    };
    (iV) => {
        (Role::Is4, Class::Full)
    };
}

macro_rules! tuple {
    (f4) => {
        Tuple::Full(4)
    };
    (f8) => {
        Tuple::Full(8)
    };
    (h4) => {
        Tuple::Half(4)
    };
    (p1) => {
        Tuple::Part(1)
    };
    (p2) => {
        Tuple::Part(2)
    };
    (p4) => {
        Tuple::Part(4)
    };
    (p8) => {
        Tuple::Part(8)
    };
    (s1) => {
        Tuple::Fixed(1)
    };
    (s2) => {
        Tuple::Fixed(2)
    };
    (s4) => {
        Tuple::Fixed(4)
    };
    (s8) => {
        Tuple::Fixed(8)
    };
    (s16) => {
        Tuple::Fixed(16)
    };
    (s32) => {
        Tuple::Fixed(32)
    };
}

macro_rules! masking {
    (no) => {
        Masking::No
    };
    (k) => {
        Masking::Only
    };
    (z) => {
        Masking::Any
    };
    (g) => {
        Masking::Needed
    };
}

macro_rules! control {
    (no) => {
        Control::No
    };
    (er) => {
        Control::Rounding
    };
    (sae) => {
        Control::Sae
    };
}

macro_rules! rows {
    ($($name:ident $pp:ident $map:ident $opcode:literal $vex:ident $evex:ident $lens:ident / $digit:literal
        ($($operand:ident)*) $tuple:ident $mask:ident $control:ident;)*) => {
        $(
            pub const $name: &Row = &Row {
                name: stringify!($name),
                pp: prefix!($pp),
                map: map!($map),
                opcode: $opcode,
                vex: w!($vex),
                evex: w!($evex),
                lens: lens!($lens),
                digit: $digit,
                operands: &[$(operand!($operand)),*],
                tuple: tuple!($tuple),
                masking: masking!($mask),
                control: control!($control),
            };
        )*
        /// Every row, for tests that sweep them.
        #[cfg(test)]
        pub const ALL: &[&Row] = &[$($name),*];
    };
}

rows! {
    // Floating-point arithmetic.
    VADDPS            np  m0f   0x58 w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VADDPD            p66 m0f   0x58 w0 w1 xyz /0 (rV vV mV)    f8  z  er;
    VADDSS            pf3 m0f   0x58 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VADDSD            pf2 m0f   0x58 w0 w1 x   /0 (rX vX mX)    s8  z  er;
    VMULPS            np  m0f   0x59 w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VMULPD            p66 m0f   0x59 w0 w1 xyz /0 (rV vV mV)    f8  z  er;
    VMULSS            pf3 m0f   0x59 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VMULSD            pf2 m0f   0x59 w0 w1 x   /0 (rX vX mX)    s8  z  er;
    VSUBPS            np  m0f   0x5c w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VSUBPD            p66 m0f   0x5c w0 w1 xyz /0 (rV vV mV)    f8  z  er;
    VSUBSS            pf3 m0f   0x5c w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VSUBSD            pf2 m0f   0x5c w0 w1 x   /0 (rX vX mX)    s8  z  er;
    VMINPS            np  m0f   0x5d w0 w0 xyz /0 (rV vV mV)    f4  z  sae;
    VMINPD            p66 m0f   0x5d w0 w1 xyz /0 (rV vV mV)    f8  z  sae;
    VMINSS            pf3 m0f   0x5d w0 w0 x   /0 (rX vX mX)    s4  z  sae;
    VMINSD            pf2 m0f   0x5d w0 w1 x   /0 (rX vX mX)    s8  z  sae;
    VDIVPS            np  m0f   0x5e w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VDIVPD            p66 m0f   0x5e w0 w1 xyz /0 (rV vV mV)    f8  z  er;
    VDIVSS            pf3 m0f   0x5e w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VDIVSD            pf2 m0f   0x5e w0 w1 x   /0 (rX vX mX)    s8  z  er;
    VMAXPS            np  m0f   0x5f w0 w0 xyz /0 (rV vV mV)    f4  z  sae;
    VMAXPD            p66 m0f   0x5f w0 w1 xyz /0 (rV vV mV)    f8  z  sae;
    VMAXSS            pf3 m0f   0x5f w0 w0 x   /0 (rX vX mX)    s4  z  sae;
    VMAXSD            pf2 m0f   0x5f w0 w1 x   /0 (rX vX mX)    s8  z  sae;
    VSQRTPS           np  m0f   0x51 w0 w0 xyz /0 (rV mV)       f4  z  er;
    VSQRTPD           p66 m0f   0x51 w0 w1 xyz /0 (rV mV)       f8  z  er;
    VSQRTSS           pf3 m0f   0x51 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VSQRTSD           pf2 m0f   0x51 w0 w1 x   /0 (rX vX mX)    s8  z  er;

    // Fused multiply-add: the digits name the operands of the product and the addend.
    VFMADD132PS       p66 m0f38 0x98 w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMADD132PD       p66 m0f38 0x98 w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMADD132SS       p66 m0f38 0x99 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMADD132SD       p66 m0f38 0x99 w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFMADD213PS       p66 m0f38 0xa8 w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMADD213PD       p66 m0f38 0xa8 w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMADD213SS       p66 m0f38 0xa9 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMADD213SD       p66 m0f38 0xa9 w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFMADD231PS       p66 m0f38 0xb8 w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMADD231PD       p66 m0f38 0xb8 w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMADD231SS       p66 m0f38 0xb9 w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMADD231SD       p66 m0f38 0xb9 w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFMSUB132PS       p66 m0f38 0x9a w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMSUB132PD       p66 m0f38 0x9a w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMSUB132SS       p66 m0f38 0x9b w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMSUB132SD       p66 m0f38 0x9b w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFMSUB213PS       p66 m0f38 0xaa w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMSUB213PD       p66 m0f38 0xaa w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMSUB213SS       p66 m0f38 0xab w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMSUB213SD       p66 m0f38 0xab w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFMSUB231PS       p66 m0f38 0xba w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFMSUB231PD       p66 m0f38 0xba w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFMSUB231SS       p66 m0f38 0xbb w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFMSUB231SD       p66 m0f38 0xbb w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMADD132PS      p66 m0f38 0x9c w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMADD132PD      p66 m0f38 0x9c w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMADD132SS      p66 m0f38 0x9d w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMADD132SD      p66 m0f38 0x9d w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMADD213PS      p66 m0f38 0xac w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMADD213PD      p66 m0f38 0xac w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMADD213SS      p66 m0f38 0xad w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMADD213SD      p66 m0f38 0xad w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMADD231PS      p66 m0f38 0xbc w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMADD231PD      p66 m0f38 0xbc w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMADD231SS      p66 m0f38 0xbd w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMADD231SD      p66 m0f38 0xbd w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMSUB132PS      p66 m0f38 0x9e w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMSUB132PD      p66 m0f38 0x9e w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMSUB132SS      p66 m0f38 0x9f w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMSUB132SD      p66 m0f38 0x9f w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMSUB213PS      p66 m0f38 0xae w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMSUB213PD      p66 m0f38 0xae w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMSUB213SS      p66 m0f38 0xaf w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMSUB213SD      p66 m0f38 0xaf w1 w1 x   /0 (rX vX mX)    s8  z  er;
    VFNMSUB231PS      p66 m0f38 0xbe w0 w0 xyz /0 (rV vV mV)    f4  z  er;
    VFNMSUB231PD      p66 m0f38 0xbe w1 w1 xyz /0 (rV vV mV)    f8  z  er;
    VFNMSUB231SS      p66 m0f38 0xbf w0 w0 x   /0 (rX vX mX)    s4  z  er;
    VFNMSUB231SD      p66 m0f38 0xbf w1 w1 x   /0 (rX vX mX)    s8  z  er;

    // Floating-point logic and shuffles.
    VANDPS            np  m0f   0x54 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VANDPD            p66 m0f   0x54 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VANDNPS           np  m0f   0x55 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VANDNPD           p66 m0f   0x55 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VORPS             np  m0f   0x56 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VORPD             p66 m0f   0x56 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VXORPS            np  m0f   0x57 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VXORPD            p66 m0f   0x57 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VUNPCKLPS         np  m0f   0x14 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VUNPCKLPD         p66 m0f   0x14 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VUNPCKHPS         np  m0f   0x15 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VUNPCKHPD         p66 m0f   0x15 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VSHUFPS           np  m0f   0xc6 w0 w0 xyz /0 (rV vV mV ib) f4  z  no;
    VSHUFPD           p66 m0f   0xc6 w0 w1 xyz /0 (rV vV mV ib) f8  z  no;

    // Floating-point comparison: into a vector (VEX), into a mask (EVEX), into the flags.
    VCMPPS_V          np  m0f   0xc2 w0 no xy  /0 (rV vV mV ib) f4  no no;
    VCMPPS_K          np  m0f   0xc2 no w0 xyz /0 (rK vV mV ib) f4  k  sae;
    VCMPPD_V          p66 m0f   0xc2 w0 no xy  /0 (rV vV mV ib) f8  no no;
    VCMPPD_K          p66 m0f   0xc2 no w1 xyz /0 (rK vV mV ib) f8  k  sae;
    VCMPSS_V          pf3 m0f   0xc2 w0 no x   /0 (rX vX mX ib) s4  no no;
    VCMPSS_K          pf3 m0f   0xc2 no w0 x   /0 (rK vX mX ib) s4  k  sae;
    VCMPSD_V          pf2 m0f   0xc2 w0 no x   /0 (rX vX mX ib) s8  no no;
    VCMPSD_K          pf2 m0f   0xc2 no w1 x   /0 (rK vX mX ib) s8  k  sae;
    VUCOMISS          np  m0f   0x2e w0 w0 x   /0 (rX mX)       s4  no sae;
    VUCOMISD          p66 m0f   0x2e w0 w1 x   /0 (rX mX)       s8  no sae;
    VCOMISS           np  m0f   0x2f w0 w0 x   /0 (rX mX)       s4  no sae;
    VCOMISD           p66 m0f   0x2f w0 w1 x   /0 (rX mX)       s8  no sae;
    VFPCLASSPS        p66 m0f3a 0x66 no w0 xyz /0 (rK mV ib)    f4  k  no;
    VFIXUPIMMPS       p66 m0f3a 0x54 no w0 xyz /0 (rV vV mV ib) f4  z  sae;
    VRANGEPS          p66 m0f3a 0x50 no w0 xyz /0 (rV vV mV ib) f4  z  sae;
    VRNDSCALEPS       p66 m0f3a 0x08 no w0 xyz /0 (rV mV ib)    f4  z  sae;
    VGETEXPPS         p66 m0f38 0x42 no w0 xyz /0 (rV mV)       f4  z  sae;
    VGETMANTPS        p66 m0f3a 0x26 no w0 xyz /0 (rV mV ib)    f4  z  sae;
    VSCALEFPS         p66 m0f38 0x2c no w0 xyz /0 (rV vV mV)    f4  z  er;
    VROUNDPS          p66 m0f3a 0x08 w0 no xy  /0 (rV mV ib)    f4  no no;
    VFPCLASSPD        p66 m0f3a 0x66 no w1 xyz /0 (rK mV ib)    f8  k  no;
    VFIXUPIMMPD       p66 m0f3a 0x54 no w1 xyz /0 (rV vV mV ib) f8  z  sae;
    VRANGEPD          p66 m0f3a 0x50 no w1 xyz /0 (rV vV mV ib) f8  z  sae;
    VRNDSCALEPD       p66 m0f3a 0x09 no w1 xyz /0 (rV mV ib)    f8  z  sae;
    VGETEXPPD         p66 m0f38 0x42 no w1 xyz /0 (rV mV)       f8  z  sae;
    VGETMANTPD        p66 m0f3a 0x26 no w1 xyz /0 (rV mV ib)    f8  z  sae;
    VSCALEFPD         p66 m0f38 0x2c no w1 xyz /0 (rV vV mV)    f8  z  er;
    VROUNDPD          p66 m0f3a 0x09 w0 no xy  /0 (rV mV ib)    f8  no no;
    VFPCLASSSS        p66 m0f3a 0x67 no w0 x   /0 (rK mX ib)    s4  k  no;
    VFIXUPIMMSS       p66 m0f3a 0x55 no w0 x   /0 (rX vX mX ib) s4  z  sae;
    VRNDSCALESS       p66 m0f3a 0x0a no w0 x   /0 (rX vX mX ib) s4  z  sae;
    VROUNDSS          p66 m0f3a 0x0a w0 no x   /0 (rX vX mX ib) s4  no no;
    VFPCLASSSD        p66 m0f3a 0x67 no w1 x   /0 (rK mX ib)    s8  k  no;
    VFIXUPIMMSD       p66 m0f3a 0x55 no w1 x   /0 (rX vX mX ib) s8  z  sae;
    VRNDSCALESD       p66 m0f3a 0x0b no w1 x   /0 (rX vX mX ib) s8  z  sae;
    VROUNDSD          p66 m0f3a 0x0b w0 no x   /0 (rX vX mX ib) s8  no no;

    // Conversions.
    VCVTDQ2PS         np  m0f   0x5b w0 w0 xyz /0 (rV mV)       f4  z  er;
    VCVTPS2DQ         p66 m0f   0x5b w0 w0 xyz /0 (rV mV)       f4  z  er;
    VCVTTPS2DQ        pf3 m0f   0x5b w0 w0 xyz /0 (rV mV)       f4  z  sae;
    VCVTDQ2PD         pf3 m0f   0xe6 w0 w0 xyz /0 (rV mH)       h4  z  no;
    VCVTPD2DQ         pf2 m0f   0xe6 w0 w1 xyz /0 (rH mV)       f8  z  er;
    VCVTTPD2DQ        p66 m0f   0xe6 w0 w1 xyz /0 (rH mV)       f8  z  sae;
    VCVTPS2PD         np  m0f   0x5a w0 w0 xyz /0 (rV mH)       h4  z  sae;
    VCVTPD2PS         p66 m0f   0x5a w0 w1 xyz /0 (rH mV)       f8  z  er;
    VCVTPH2PS         p66 m0f38 0x13 w0 w0 xyz /0 (rV mH)       p2  z  sae;
    VCVTPS2PH         p66 m0f3a 0x1d w0 w0 xyz /0 (uH rV ib)    p2  z  sae;
    VCVTPS2PH_ST      p66 m0f3a 0x1d w0 w0 xyz /0 (oH rV ib)    p2  k  no;
    VCVTPS2UDQ        np  m0f   0x79 no w0 xyz /0 (rV mV)       f4  z  er;
    VCVTTPS2UDQ       np  m0f   0x78 no w0 xyz /0 (rV mV)       f4  z  sae;
    VCVTPD2UDQ        np  m0f   0x79 no w1 xyz /0 (rH mV)       f8  z  er;
    VCVTTPD2UDQ       np  m0f   0x78 no w1 xyz /0 (rH mV)       f8  z  sae;
    VCVTPS2QQ         p66 m0f   0x7b no w0 xyz /0 (rV mH)       h4  z  er;
    VCVTTPS2QQ        p66 m0f   0x7a no w0 xyz /0 (rV mH)       h4  z  sae;
    VCVTPS2UQQ        p66 m0f   0x79 no w0 xyz /0 (rV mH)       h4  z  er;
    VCVTTPS2UQQ       p66 m0f   0x78 no w0 xyz /0 (rV mH)       h4  z  sae;
    VCVTPD2QQ         p66 m0f   0x7b no w1 xyz /0 (rV mV)       f8  z  er;
    VCVTTPD2QQ        p66 m0f   0x7a no w1 xyz /0 (rV mV)       f8  z  sae;
    VCVTPD2UQQ        p66 m0f   0x79 no w1 xyz /0 (rV mV)       f8  z  er;
    VCVTTPD2UQQ       p66 m0f   0x78 no w1 xyz /0 (rV mV)       f8  z  sae;
    VCVTUDQ2PS        pf2 m0f   0x7a no w0 xyz /0 (rV mV)       f4  z  er;
    VCVTUDQ2PD        pf3 m0f   0x7a no w0 xyz /0 (rV mH)       h4  z  no;
    VCVTQQ2PD         pf3 m0f   0xe6 no w1 xyz /0 (rV mV)       f8  z  er;
    VCVTUQQ2PD        pf3 m0f   0x7a no w1 xyz /0 (rV mV)       f8  z  er;
    VCVTQQ2PS         np  m0f   0x5b no w1 xyz /0 (rH mV)       f8  z  er;
    VCVTUQQ2PS        pf2 m0f   0x7a no w1 xyz /0 (rH mV)       f8  z  er;
    VCVTSS2SD         pf3 m0f   0x5a w0 w0 x   /0 (rX vX mX)    s4  z  sae;
    VCVTSD2SS         pf2 m0f   0x5a w0 w1 x   /0 (rX vX mX)    s8  z  er;
    VCVTSI2SS         pf3 m0f   0x2a w0 w0 x   /0 (rX vX mR)    s4  no er;
    VCVTUSI2SS        pf3 m0f   0x7b no w0 x   /0 (rX vX mR)    s4  no er;
    VCVTSS2SI         pf3 m0f   0x2d w0 w0 x   /0 (rR mX)       s4  no er;
    VCVTTSS2SI        pf3 m0f   0x2c w0 w0 x   /0 (rR mX)       s4  no sae;
    VCVTSS2USI        pf3 m0f   0x79 no w0 x   /0 (rR mX)       s4  no er;
    VCVTTSS2USI       pf3 m0f   0x78 no w0 x   /0 (rR mX)       s4  no sae;
    VCVTSI2SS_L       pf3 m0f   0x2a w1 w1 x   /0 (rX vX mL)    s8  no er;
    VCVTUSI2SS_L      pf3 m0f   0x7b no w1 x   /0 (rX vX mL)    s8  no er;
    VCVTSS2SI_L       pf3 m0f   0x2d w1 w1 x   /0 (rL mX)       s4  no er;
    VCVTTSS2SI_L      pf3 m0f   0x2c w1 w1 x   /0 (rL mX)       s4  no sae;
    VCVTSS2USI_L      pf3 m0f   0x79 no w1 x   /0 (rL mX)       s4  no er;
    VCVTTSS2USI_L     pf3 m0f   0x78 no w1 x   /0 (rL mX)       s4  no sae;
    VCVTSI2SD         pf2 m0f   0x2a w0 w0 x   /0 (rX vX mR)    s4  no no;
    VCVTUSI2SD        pf2 m0f   0x7b no w0 x   /0 (rX vX mR)    s4  no no;
    VCVTSD2SI         pf2 m0f   0x2d w0 w0 x   /0 (rR mX)       s8  no er;
    VCVTTSD2SI        pf2 m0f   0x2c w0 w0 x   /0 (rR mX)       s8  no sae;
    VCVTSD2USI        pf2 m0f   0x79 no w0 x   /0 (rR mX)       s8  no er;
    VCVTTSD2USI       pf2 m0f   0x78 no w0 x   /0 (rR mX)       s8  no sae;
    VCVTSI2SD_L       pf2 m0f   0x2a w1 w1 x   /0 (rX vX mL)    s8  no er;
    VCVTUSI2SD_L      pf2 m0f   0x7b no w1 x   /0 (rX vX mL)    s8  no er;
    VCVTSD2SI_L       pf2 m0f   0x2d w1 w1 x   /0 (rL mX)       s8  no er;
    VCVTTSD2SI_L      pf2 m0f   0x2c w1 w1 x   /0 (rL mX)       s8  no sae;
    VCVTSD2USI_L      pf2 m0f   0x79 no w1 x   /0 (rL mX)       s8  no er;
    VCVTTSD2USI_L     pf2 m0f   0x78 no w1 x   /0 (rL mX)       s8  no sae;

    // Moves of vectors.
    VMOVUPS           np  m0f   0x10 w0 w0 xyz /0 (rV mV)       p1  z  no;
    VMOVUPS_ST        np  m0f   0x11 w0 w0 xyz /0 (oV rV)       p1  k  no;
    VMOVUPD           p66 m0f   0x10 w0 w1 xyz /0 (rV mV)       p1  z  no;
    VMOVUPD_ST        p66 m0f   0x11 w0 w1 xyz /0 (oV rV)       p1  k  no;
    VMOVAPS           np  m0f   0x28 w0 w0 xyz /0 (rV mV)       p1  z  no;
    VMOVAPS_ST        np  m0f   0x29 w0 w0 xyz /0 (oV rV)       p1  k  no;
    VMOVAPD           p66 m0f   0x28 w0 w1 xyz /0 (rV mV)       p1  z  no;
    VMOVAPD_ST        p66 m0f   0x29 w0 w1 xyz /0 (oV rV)       p1  k  no;
    VMOVDQU           pf3 m0f   0x6f w0 no xy  /0 (rV mV)       p1  no no;
    VMOVDQU_ST        pf3 m0f   0x7f w0 no xy  /0 (oV rV)       p1  no no;
    VMOVDQA           p66 m0f   0x6f w0 no xy  /0 (rV mV)       p1  no no;
    VMOVDQA_ST        p66 m0f   0x7f w0 no xy  /0 (oV rV)       p1  no no;
    VMOVDQU8          pf2 m0f   0x6f no w0 xyz /0 (rV mV)       p1  z  no;
    VMOVDQU8_ST       pf2 m0f   0x7f no w0 xyz /0 (oV rV)       p1  k  no;
    VMOVDQU16         pf2 m0f   0x6f no w1 xyz /0 (rV mV)       p1  z  no;
    VMOVDQU16_ST      pf2 m0f   0x7f no w1 xyz /0 (oV rV)       p1  k  no;
    VMOVDQU32         pf3 m0f   0x6f no w0 xyz /0 (rV mV)       p1  z  no;
    VMOVDQU32_ST      pf3 m0f   0x7f no w0 xyz /0 (oV rV)       p1  k  no;
    VMOVDQU64         pf3 m0f   0x6f no w1 xyz /0 (rV mV)       p1  z  no;
    VMOVDQU64_ST      pf3 m0f   0x7f no w1 xyz /0 (oV rV)       p1  k  no;
    VMOVDQA32         p66 m0f   0x6f no w0 xyz /0 (rV mV)       p1  z  no;
    VMOVDQA32_ST      p66 m0f   0x7f no w0 xyz /0 (oV rV)       p1  k  no;
    VMOVDQA64         p66 m0f   0x6f no w1 xyz /0 (rV mV)       p1  z  no;
    VMOVDQA64_ST      p66 m0f   0x7f no w1 xyz /0 (oV rV)       p1  k  no;

    // Moves of elements.
    VMOVSS            pf3 m0f   0x10 w0 w0 x   /0 (rX oX)       s4  z  no;
    VMOVSS_ST         pf3 m0f   0x11 w0 w0 x   /0 (oX rX)       s4  k  no;
    VMOVSS_R          pf3 m0f   0x10 w0 w0 x   /0 (rX vX uX)    s4  z  no;
    VMOVSD            pf2 m0f   0x10 w0 w1 x   /0 (rX oX)       s8  z  no;
    VMOVSD_ST         pf2 m0f   0x11 w0 w1 x   /0 (oX rX)       s8  k  no;
    VMOVSD_R          pf2 m0f   0x10 w0 w1 x   /0 (rX vX uX)    s8  z  no;
    VMOVD             p66 m0f   0x6e w0 w0 x   /0 (rX mR)       s4  no no;
    VMOVD_ST          p66 m0f   0x7e w0 w0 x   /0 (mR rX)       s4  no no;
    VMOVQ             p66 m0f   0x6e w1 w1 x   /0 (rX mL)       s8  no no;
    VMOVQ_ST          p66 m0f   0x7e w1 w1 x   /0 (mL rX)       s8  no no;
    VMOVQ_X           pf3 m0f   0x7e w0 w1 x   /0 (rX mX)       s8  no no;
    VMOVHLPS          np  m0f   0x12 w0 w0 x   /0 (rX vX uX)    s8  no no;
    VMOVLHPS          np  m0f   0x16 w0 w0 x   /0 (rX vX uX)    s8  no no;
    VMOVSHDUP         pf3 m0f   0x16 w0 w0 xyz /0 (rV mV)       p1  z  no;
    VMOVSLDUP         pf3 m0f   0x12 w0 w0 xyz /0 (rV mV)       p1  z  no;
    VMOVMSKPS         np  m0f   0x50 w0 no xy  /0 (rR uV)       p1  no no;
    VMOVMSKPD         p66 m0f   0x50 w0 no xy  /0 (rR uV)       p1  no no;
    VPMOVMSKB         p66 m0f   0xd7 w0 no xy  /0 (rR uV)       p1  no no;
    VPEXTRB           p66 m0f3a 0x14 w0 w0 x   /0 (mR rX ib)    s1  no no;
    VPEXTRW           p66 m0f3a 0x15 w0 w0 x   /0 (mR rX ib)    s2  no no;
    VPEXTRD           p66 m0f3a 0x16 w0 w0 x   /0 (mR rX ib)    s4  no no;
    VPEXTRQ           p66 m0f3a 0x16 w1 w1 x   /0 (mL rX ib)    s8  no no;
    VPINSRB           p66 m0f3a 0x20 w0 w0 x   /0 (rX vX mR ib) s1  no no;
    VPINSRW           p66 m0f   0xc4 w0 w0 x   /0 (rX vX mR ib) s2  no no;
    VPINSRD           p66 m0f3a 0x22 w0 w0 x   /0 (rX vX mR ib) s4  no no;
    VPINSRQ           p66 m0f3a 0x22 w1 w1 x   /0 (rX vX mL ib) s8  no no;

    // Masked moves and blends of AVX2: a vector is the mask.
    VMASKMOVPS        p66 m0f38 0x2c w0 no xy  /0 (rV vV oV)    p1  no no;
    VMASKMOVPS_ST     p66 m0f38 0x2e w0 no xy  /0 (oV vV rV)    p1  no no;
    VMASKMOVPD        p66 m0f38 0x2d w0 no xy  /0 (rV vV oV)    p1  no no;
    VMASKMOVPD_ST     p66 m0f38 0x2f w0 no xy  /0 (oV vV rV)    p1  no no;
    VPMASKMOVD        p66 m0f38 0x8c w0 no xy  /0 (rV vV oV)    p1  no no;
    VPMASKMOVD_ST     p66 m0f38 0x8e w0 no xy  /0 (oV vV rV)    p1  no no;
    VPMASKMOVQ        p66 m0f38 0x8c w1 no xy  /0 (rV vV oV)    p1  no no;
    VPMASKMOVQ_ST     p66 m0f38 0x8e w1 no xy  /0 (oV vV rV)    p1  no no;
    VBLENDVPS         p66 m0f3a 0x4a w0 no xy  /0 (rV vV mV iV) p1  no no;
    VBLENDVPD         p66 m0f3a 0x4b w0 no xy  /0 (rV vV mV iV) p1  no no;
    VPBLENDVB         p66 m0f3a 0x4c w0 no xy  /0 (rV vV mV iV) p1  no no;
    VPBLENDD          p66 m0f3a 0x02 w0 no xy  /0 (rV vV mV ib) p1  no no;
    VPBLENDW          p66 m0f3a 0x0e w0 no xy  /0 (rV vV mV ib) p1  no no;
    VBLENDPS          p66 m0f3a 0x0c w0 no xy  /0 (rV vV mV ib) p1  no no;
    VBLENDPD          p66 m0f3a 0x0d w0 no xy  /0 (rV vV mV ib) p1  no no;
    VPTEST            p66 m0f38 0x17 w0 no xy  /0 (rV mV)       p1  no no;

    // Blends by opmask.
    VBLENDMPS         p66 m0f38 0x65 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VBLENDMPD         p66 m0f38 0x65 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPBLENDMB         p66 m0f38 0x66 no w0 xyz /0 (rV vV mV)    p1  z  no;
    VPBLENDMW         p66 m0f38 0x66 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPBLENDMD         p66 m0f38 0x64 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPBLENDMQ         p66 m0f38 0x64 no w1 xyz /0 (rV vV mV)    f8  z  no;

    // Integer arithmetic.
    VPADDB            p66 m0f   0xfc w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPADDW            p66 m0f   0xfd w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPADDD            p66 m0f   0xfe w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPADDQ            p66 m0f   0xd4 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSUBB            p66 m0f   0xf8 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBW            p66 m0f   0xf9 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBD            p66 m0f   0xfa w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSUBQ            p66 m0f   0xfb w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPADDSB           p66 m0f   0xec w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPADDSW           p66 m0f   0xed w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPADDUSB          p66 m0f   0xdc w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPADDUSW          p66 m0f   0xdd w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBSB           p66 m0f   0xe8 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBSW           p66 m0f   0xe9 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBUSB          p66 m0f   0xd8 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSUBUSW          p66 m0f   0xd9 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPAVGB            p66 m0f   0xe0 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPAVGW            p66 m0f   0xe3 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMULLW           p66 m0f   0xd5 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMULHW           p66 m0f   0xe5 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMULHUW          p66 m0f   0xe4 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMADDWD          p66 m0f   0xf5 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMULHRSW         p66 m0f38 0x0b w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMADDUBSW        p66 m0f38 0x04 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMULLD           p66 m0f38 0x40 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPMULLQ           p66 m0f38 0x40 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMULDQ           p66 m0f38 0x28 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMULUDQ          p66 m0f   0xf4 w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMADD52LUQ       p66 m0f38 0xb4 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMADD52HUQ       p66 m0f38 0xb5 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSADBW           p66 m0f   0xf6 w0 w0 xyz /0 (rV vV mV)    p1  no no;
    VPMINSB           p66 m0f38 0x38 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMINSW           p66 m0f   0xea w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMINSD           p66 m0f38 0x39 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPMINSQ           p66 m0f38 0x39 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMINUB           p66 m0f   0xda w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMINUW           p66 m0f38 0x3a w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMINUD           p66 m0f38 0x3b w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPMINUQ           p66 m0f38 0x3b no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMAXSB           p66 m0f38 0x3c w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMAXSW           p66 m0f   0xee w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMAXSD           p66 m0f38 0x3d w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPMAXSQ           p66 m0f38 0x3d no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPMAXUB           p66 m0f   0xde w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMAXUW           p66 m0f38 0x3e w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPMAXUD           p66 m0f38 0x3f w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPMAXUQ           p66 m0f38 0x3f no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPABSB            p66 m0f38 0x1c w0 w0 xyz /0 (rV mV)       p1  z  no;
    VPABSW            p66 m0f38 0x1d w0 w0 xyz /0 (rV mV)       p1  z  no;
    VPABSD            p66 m0f38 0x1e w0 w0 xyz /0 (rV mV)       f4  z  no;
    VPABSQ            p66 m0f38 0x1f no w1 xyz /0 (rV mV)       f8  z  no;
    VPSIGNB           p66 m0f38 0x08 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPSIGNW           p66 m0f38 0x09 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPSIGND           p66 m0f38 0x0a w0 no xy  /0 (rV vV mV)    p1  no no;

    // Integer logic.
    VPAND             p66 m0f   0xdb w0 no xy  /0 (rV vV mV)    p1  no no;
    VPANDD            p66 m0f   0xdb no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPANDQ            p66 m0f   0xdb no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPANDN            p66 m0f   0xdf w0 no xy  /0 (rV vV mV)    p1  no no;
    VPANDND           p66 m0f   0xdf no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPANDNQ           p66 m0f   0xdf no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPOR              p66 m0f   0xeb w0 no xy  /0 (rV vV mV)    p1  no no;
    VPORD             p66 m0f   0xeb no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPORQ             p66 m0f   0xeb no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPXOR             p66 m0f   0xef w0 no xy  /0 (rV vV mV)    p1  no no;
    VPXORD            p66 m0f   0xef no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPXORQ            p66 m0f   0xef no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPTERNLOGD        p66 m0f3a 0x25 no w0 xyz /0 (rV vV mV ib) f4  z  no;
    VPTERNLOGQ        p66 m0f3a 0x25 no w1 xyz /0 (rV vV mV ib) f8  z  no;

    // Integer comparison: into a vector (VEX) or a mask (EVEX).
    VPCMPEQB_V        p66 m0f   0x74 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPCMPEQB_K        p66 m0f   0x74 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPCMPEQW_V        p66 m0f   0x75 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPCMPEQW_K        p66 m0f   0x75 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPCMPEQD_V        p66 m0f   0x76 w0 no xy  /0 (rV vV mV)    f4  no no;
    VPCMPEQD_K        p66 m0f   0x76 no w0 xyz /0 (rK vV mV)    f4  k  no;
    VPCMPEQQ_V        p66 m0f38 0x29 w0 no xy  /0 (rV vV mV)    f8  no no;
    VPCMPEQQ_K        p66 m0f38 0x29 no w1 xyz /0 (rK vV mV)    f8  k  no;
    VPCMPGTB_V        p66 m0f   0x64 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPCMPGTB_K        p66 m0f   0x64 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPCMPGTW_V        p66 m0f   0x65 w0 no xy  /0 (rV vV mV)    p1  no no;
    VPCMPGTW_K        p66 m0f   0x65 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPCMPGTD_V        p66 m0f   0x66 w0 no xy  /0 (rV vV mV)    f4  no no;
    VPCMPGTD_K        p66 m0f   0x66 no w0 xyz /0 (rK vV mV)    f4  k  no;
    VPCMPGTQ_V        p66 m0f38 0x37 w0 no xy  /0 (rV vV mV)    f8  no no;
    VPCMPGTQ_K        p66 m0f38 0x37 no w1 xyz /0 (rK vV mV)    f8  k  no;
    VPCMPB            p66 m0f3a 0x3f no w0 xyz /0 (rK vV mV ib) p1  k  no;
    VPCMPW            p66 m0f3a 0x3f no w1 xyz /0 (rK vV mV ib) p1  k  no;
    VPCMPUB           p66 m0f3a 0x3e no w0 xyz /0 (rK vV mV ib) p1  k  no;
    VPCMPUW           p66 m0f3a 0x3e no w1 xyz /0 (rK vV mV ib) p1  k  no;
    VPCMPD            p66 m0f3a 0x1f no w0 xyz /0 (rK vV mV ib) f4  k  no;
    VPCMPQ            p66 m0f3a 0x1f no w1 xyz /0 (rK vV mV ib) f8  k  no;
    VPCMPUD           p66 m0f3a 0x1e no w0 xyz /0 (rK vV mV ib) f4  k  no;
    VPCMPUQ           p66 m0f3a 0x1e no w1 xyz /0 (rK vV mV ib) f8  k  no;
    VPTESTMB          p66 m0f38 0x26 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPTESTMW          p66 m0f38 0x26 no w1 xyz /0 (rK vV mV)    p1  k  no;
    VPTESTMD          p66 m0f38 0x27 no w0 xyz /0 (rK vV mV)    f4  k  no;
    VPTESTMQ          p66 m0f38 0x27 no w1 xyz /0 (rK vV mV)    f8  k  no;
    VPTESTNMB         pf3 m0f38 0x26 no w0 xyz /0 (rK vV mV)    p1  k  no;
    VPTESTNMW         pf3 m0f38 0x26 no w1 xyz /0 (rK vV mV)    p1  k  no;
    VPTESTNMD         pf3 m0f38 0x27 no w0 xyz /0 (rK vV mV)    f4  k  no;
    VPTESTNMQ         pf3 m0f38 0x27 no w1 xyz /0 (rK vV mV)    f8  k  no;

    // Shifts: by an XMM register, by an immediate, by elements.
    VPSLLW            p66 m0f   0xf1 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSLLD            p66 m0f   0xf2 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSLLQ            p66 m0f   0xf3 w0 w1 xyz /0 (rV vV mX)    s16 z  no;
    VPSRLW            p66 m0f   0xd1 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSRLD            p66 m0f   0xd2 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSRLQ            p66 m0f   0xd3 w0 w1 xyz /0 (rV vV mX)    s16 z  no;
    VPSRAW            p66 m0f   0xe1 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSRAD            p66 m0f   0xe2 w0 w0 xyz /0 (rV vV mX)    s16 z  no;
    VPSRAQ            p66 m0f   0xe2 no w1 xyz /0 (rV vV mX)    s16 z  no;
    VPSLLW_I          p66 m0f   0x71 w0 w0 xyz /6 (vV uV ib)    p1  z  no;
    VPSLLD_I          p66 m0f   0x72 w0 w0 xyz /6 (vV uV ib)    f4  z  no;
    VPSLLQ_I          p66 m0f   0x73 w0 w1 xyz /6 (vV uV ib)    f8  z  no;
    VPSRLW_I          p66 m0f   0x71 w0 w0 xyz /2 (vV uV ib)    p1  z  no;
    VPSRLD_I          p66 m0f   0x72 w0 w0 xyz /2 (vV uV ib)    f4  z  no;
    VPSRLQ_I          p66 m0f   0x73 w0 w1 xyz /2 (vV uV ib)    f8  z  no;
    VPSRAW_I          p66 m0f   0x71 w0 w0 xyz /4 (vV uV ib)    p1  z  no;
    VPSRAD_I          p66 m0f   0x72 w0 w0 xyz /4 (vV uV ib)    f4  z  no;
    VPSRAQ_I          p66 m0f   0x72 no w1 xyz /4 (vV uV ib)    f8  z  no;
    VPROLD_I          p66 m0f   0x72 no w0 xyz /1 (vV uV ib)    f4  z  no;
    VPROLQ_I          p66 m0f   0x72 no w1 xyz /1 (vV uV ib)    f8  z  no;
    VPRORD_I          p66 m0f   0x72 no w0 xyz /0 (vV uV ib)    f4  z  no;
    VPRORQ_I          p66 m0f   0x72 no w1 xyz /0 (vV uV ib)    f8  z  no;
    VPSLLDQ           p66 m0f   0x73 w0 w0 xyz /7 (vV uV ib)    p1  no no;
    VPSRLDQ           p66 m0f   0x73 w0 w0 xyz /3 (vV uV ib)    p1  no no;
    VPSLLVD           p66 m0f38 0x47 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSLLVQ           p66 m0f38 0x47 w1 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSRLVD           p66 m0f38 0x45 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSRLVQ           p66 m0f38 0x45 w1 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSRAVD           p66 m0f38 0x46 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSRAVQ           p66 m0f38 0x46 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSLLVW           p66 m0f38 0x12 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPSRLVW           p66 m0f38 0x10 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPSRAVW           p66 m0f38 0x11 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPROLVD           p66 m0f38 0x15 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPROLVQ           p66 m0f38 0x15 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPRORVD           p66 m0f38 0x14 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPRORVQ           p66 m0f38 0x14 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSHLDVW          p66 m0f38 0x70 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPSHLDVD          p66 m0f38 0x71 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSHLDVQ          p66 m0f38 0x71 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSHRDVW          p66 m0f38 0x72 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPSHRDVD          p66 m0f38 0x73 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPSHRDVQ          p66 m0f38 0x73 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPSHLDW           p66 m0f3a 0x70 no w1 xyz /0 (rV vV mV ib) p1  z  no;
    VPSHLDD           p66 m0f3a 0x71 no w0 xyz /0 (rV vV mV ib) f4  z  no;
    VPSHLDQ           p66 m0f3a 0x71 no w1 xyz /0 (rV vV mV ib) f8  z  no;
    VPSHRDW           p66 m0f3a 0x72 no w1 xyz /0 (rV vV mV ib) p1  z  no;
    VPSHRDD           p66 m0f3a 0x73 no w0 xyz /0 (rV vV mV ib) f4  z  no;
    VPSHRDQ           p66 m0f3a 0x73 no w1 xyz /0 (rV vV mV ib) f8  z  no;
    VPMULTISHIFTQB    p66 m0f38 0x83 no w1 xyz /0 (rV vV mV)    f8  z  no;

    // Shuffles and permutations.
    VPSHUFB           p66 m0f38 0x00 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPSHUFD           p66 m0f   0x70 w0 w0 xyz /0 (rV mV ib)    f4  z  no;
    VPSHUFHW          pf3 m0f   0x70 w0 w0 xyz /0 (rV mV ib)    p1  z  no;
    VPSHUFLW          pf2 m0f   0x70 w0 w0 xyz /0 (rV mV ib)    p1  z  no;
    VPERMB            p66 m0f38 0x8d no w0 xyz /0 (rV vV mV)    p1  z  no;
    VPERMW            p66 m0f38 0x8d no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPERMD            p66 m0f38 0x36 w0 w0 yz  /0 (rV vV mV)    f4  z  no;
    VPERMPS           p66 m0f38 0x16 w0 w0 yz  /0 (rV vV mV)    f4  z  no;
    VPERMQ_V          p66 m0f38 0x36 no w1 yz  /0 (rV vV mV)    f8  z  no;
    VPERMPD_V         p66 m0f38 0x16 no w1 yz  /0 (rV vV mV)    f8  z  no;
    VPERMQ            p66 m0f3a 0x00 w1 w1 yz  /0 (rV mV ib)    f8  z  no;
    VPERMPD           p66 m0f3a 0x01 w1 w1 yz  /0 (rV mV ib)    f8  z  no;
    VPERMI2B          p66 m0f38 0x75 no w0 xyz /0 (rV vV mV)    p1  z  no;
    VPERMI2W          p66 m0f38 0x75 no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPERMI2D          p66 m0f38 0x76 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPERMI2Q          p66 m0f38 0x76 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPERMI2PS         p66 m0f38 0x77 no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPERMI2PD         p66 m0f38 0x77 no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPERMT2B          p66 m0f38 0x7d no w0 xyz /0 (rV vV mV)    p1  z  no;
    VPERMT2W          p66 m0f38 0x7d no w1 xyz /0 (rV vV mV)    p1  z  no;
    VPERMT2D          p66 m0f38 0x7e no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPERMT2Q          p66 m0f38 0x7e no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPERMT2PS         p66 m0f38 0x7f no w0 xyz /0 (rV vV mV)    f4  z  no;
    VPERMT2PD         p66 m0f38 0x7f no w1 xyz /0 (rV vV mV)    f8  z  no;
    VPERMILPS         p66 m0f3a 0x04 w0 w0 xyz /0 (rV mV ib)    f4  z  no;
    VPERMILPD         p66 m0f3a 0x05 w0 w1 xyz /0 (rV mV ib)    f8  z  no;
    VPERM2I128        p66 m0f3a 0x46 w0 no y   /0 (rV vV mV ib) p1  no no;
    VPERM2F128        p66 m0f3a 0x06 w0 no y   /0 (rV vV mV ib) p1  no no;
    VPALIGNR          p66 m0f3a 0x0f w0 w0 xyz /0 (rV vV mV ib) p1  z  no;
    VALIGND           p66 m0f3a 0x03 no w0 xyz /0 (rV vV mV ib) f4  z  no;
    VALIGNQ           p66 m0f3a 0x03 no w1 xyz /0 (rV vV mV ib) f8  z  no;
    VPUNPCKLBW        p66 m0f   0x60 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPUNPCKLWD        p66 m0f   0x61 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPUNPCKLDQ        p66 m0f   0x62 w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPUNPCKLQDQ       p66 m0f   0x6c w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPUNPCKHBW        p66 m0f   0x68 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPUNPCKHWD        p66 m0f   0x69 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPUNPCKHDQ        p66 m0f   0x6a w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPUNPCKHQDQ       p66 m0f   0x6d w0 w1 xyz /0 (rV vV mV)    f8  z  no;
    VPACKSSWB         p66 m0f   0x63 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPACKSSDW         p66 m0f   0x6b w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPACKUSWB         p66 m0f   0x67 w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPACKUSDW         p66 m0f38 0x2b w0 w0 xyz /0 (rV vV mV)    f4  z  no;
    VPCOMPRESSB       p66 m0f38 0x63 no w0 xyz /0 (uV rV)       s1  z  no;
    VPCOMPRESSB_ST    p66 m0f38 0x63 no w0 xyz /0 (oV rV)       s1  k  no;
    VPCOMPRESSW       p66 m0f38 0x63 no w1 xyz /0 (uV rV)       s2  z  no;
    VPCOMPRESSW_ST    p66 m0f38 0x63 no w1 xyz /0 (oV rV)       s2  k  no;
    VPCOMPRESSD       p66 m0f38 0x8b no w0 xyz /0 (uV rV)       s4  z  no;
    VPCOMPRESSD_ST    p66 m0f38 0x8b no w0 xyz /0 (oV rV)       s4  k  no;
    VPCOMPRESSQ       p66 m0f38 0x8b no w1 xyz /0 (uV rV)       s8  z  no;
    VPCOMPRESSQ_ST    p66 m0f38 0x8b no w1 xyz /0 (oV rV)       s8  k  no;
    VPEXPANDB         p66 m0f38 0x62 no w0 xyz /0 (rV mV)       s1  z  no;
    VPEXPANDW         p66 m0f38 0x62 no w1 xyz /0 (rV mV)       s2  z  no;
    VPEXPANDD         p66 m0f38 0x89 no w0 xyz /0 (rV mV)       s4  z  no;
    VPEXPANDQ         p66 m0f38 0x89 no w1 xyz /0 (rV mV)       s8  z  no;

    // Broadcasts.
    VPBROADCASTB      p66 m0f38 0x78 w0 w0 xyz /0 (rV mX)       s1  z  no;
    VPBROADCASTW      p66 m0f38 0x79 w0 w0 xyz /0 (rV mX)       s2  z  no;
    VPBROADCASTD      p66 m0f38 0x58 w0 w0 xyz /0 (rV mX)       s4  z  no;
    VPBROADCASTQ      p66 m0f38 0x59 w0 w1 xyz /0 (rV mX)       s8  z  no;
    VPBROADCASTB_R    p66 m0f38 0x7a no w0 xyz /0 (rV uR)       p1  z  no;
    VPBROADCASTW_R    p66 m0f38 0x7b no w0 xyz /0 (rV uR)       p1  z  no;
    VPBROADCASTD_R    p66 m0f38 0x7c no w0 xyz /0 (rV uR)       p1  z  no;
    VPBROADCASTQ_R    p66 m0f38 0x7c no w1 xyz /0 (rV uL)       p1  z  no;
    VBROADCASTSS      p66 m0f38 0x18 w0 w0 xyz /0 (rV mX)       s4  z  no;
    VBROADCASTSD      p66 m0f38 0x19 w0 w1 yz  /0 (rV mX)       s8  z  no;
    VBROADCASTI128    p66 m0f38 0x5a w0 no y   /0 (rV oX)       s16 no no;
    VBROADCASTI32X4   p66 m0f38 0x5a no w0 yz  /0 (rV oX)       s16 z  no;
    VBROADCASTI64X2   p66 m0f38 0x5a no w1 yz  /0 (rV oX)       s16 z  no;
    VBROADCASTI32X8   p66 m0f38 0x5b no w0 z   /0 (rV oX)       s32 z  no;
    VBROADCASTI64X4   p66 m0f38 0x5b no w1 z   /0 (rV oX)       s32 z  no;

    // Lanes.
    VEXTRACTI128      p66 m0f3a 0x39 w0 no y   /0 (mX rV ib)    s16 no no;
    VINSERTI128       p66 m0f3a 0x38 w0 no y   /0 (rV vV mX ib) s16 no no;
    VEXTRACTF128      p66 m0f3a 0x19 w0 no y   /0 (mX rV ib)    s16 no no;
    VINSERTF128       p66 m0f3a 0x18 w0 no y   /0 (rV vV mX ib) s16 no no;
    VEXTRACTI32X4     p66 m0f3a 0x39 no w0 yz  /0 (uX rV ib)    s16 z  no;
    VEXTRACTI32X4_ST  p66 m0f3a 0x39 no w0 yz  /0 (oX rV ib)    s16 k  no;
    VINSERTI32X4      p66 m0f3a 0x38 no w0 yz  /0 (rV vV mX ib) s16 z  no;
    VEXTRACTI64X2     p66 m0f3a 0x39 no w1 yz  /0 (uX rV ib)    s16 z  no;
    VEXTRACTI64X2_ST  p66 m0f3a 0x39 no w1 yz  /0 (oX rV ib)    s16 k  no;
    VINSERTI64X2      p66 m0f3a 0x38 no w1 yz  /0 (rV vV mX ib) s16 z  no;
    VEXTRACTI32X8     p66 m0f3a 0x3b no w0 z   /0 (uY rV ib)    s32 z  no;
    VEXTRACTI32X8_ST  p66 m0f3a 0x3b no w0 z   /0 (oY rV ib)    s32 k  no;
    VINSERTI32X8      p66 m0f3a 0x3a no w0 z   /0 (rV vV mY ib) s32 z  no;
    VEXTRACTI64X4     p66 m0f3a 0x3b no w1 z   /0 (uY rV ib)    s32 z  no;
    VEXTRACTI64X4_ST  p66 m0f3a 0x3b no w1 z   /0 (oY rV ib)    s32 k  no;
    VINSERTI64X4      p66 m0f3a 0x3a no w1 z   /0 (rV vV mY ib) s32 z  no;
    VSHUFI32X4        p66 m0f3a 0x43 no w0 yz  /0 (rV vV mV ib) f4  z  no;
    VSHUFI64X2        p66 m0f3a 0x43 no w1 yz  /0 (rV vV mV ib) f8  z  no;

    // Widening.
    VPMOVSXBW         p66 m0f38 0x20 w0 w0 xyz /0 (rV mH)       p2  z  no;
    VPMOVSXBD         p66 m0f38 0x21 w0 w0 xyz /0 (rV mQ)       p4  z  no;
    VPMOVSXBQ         p66 m0f38 0x22 w0 w0 xyz /0 (rV mE)       p8  z  no;
    VPMOVSXWD         p66 m0f38 0x23 w0 w0 xyz /0 (rV mH)       p2  z  no;
    VPMOVSXWQ         p66 m0f38 0x24 w0 w0 xyz /0 (rV mQ)       p4  z  no;
    VPMOVSXDQ         p66 m0f38 0x25 w0 w0 xyz /0 (rV mH)       p2  z  no;
    VPMOVZXBW         p66 m0f38 0x30 w0 w0 xyz /0 (rV mH)       p2  z  no;
    VPMOVZXBD         p66 m0f38 0x31 w0 w0 xyz /0 (rV mQ)       p4  z  no;
    VPMOVZXBQ         p66 m0f38 0x32 w0 w0 xyz /0 (rV mE)       p8  z  no;
    VPMOVZXWD         p66 m0f38 0x33 w0 w0 xyz /0 (rV mH)       p2  z  no;
    VPMOVZXWQ         p66 m0f38 0x34 w0 w0 xyz /0 (rV mQ)       p4  z  no;
    VPMOVZXDQ         p66 m0f38 0x35 w0 w0 xyz /0 (rV mH)       p2  z  no;

    // Narrowing: truncating, saturating, saturating without sign.
    VPMOVWB           pf3 m0f38 0x30 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVWB_ST        pf3 m0f38 0x30 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVDB           pf3 m0f38 0x31 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVDB_ST        pf3 m0f38 0x31 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVQB           pf3 m0f38 0x32 no w0 xyz /0 (uE rV)       p8  z  no;
    VPMOVQB_ST        pf3 m0f38 0x32 no w0 xyz /0 (oE rV)       p8  k  no;
    VPMOVDW           pf3 m0f38 0x33 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVDW_ST        pf3 m0f38 0x33 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVQW           pf3 m0f38 0x34 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVQW_ST        pf3 m0f38 0x34 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVQD           pf3 m0f38 0x35 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVQD_ST        pf3 m0f38 0x35 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVSWB          pf3 m0f38 0x20 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVSWB_ST       pf3 m0f38 0x20 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVSDB          pf3 m0f38 0x21 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVSDB_ST       pf3 m0f38 0x21 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVSQB          pf3 m0f38 0x22 no w0 xyz /0 (uE rV)       p8  z  no;
    VPMOVSQB_ST       pf3 m0f38 0x22 no w0 xyz /0 (oE rV)       p8  k  no;
    VPMOVSDW          pf3 m0f38 0x23 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVSDW_ST       pf3 m0f38 0x23 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVSQW          pf3 m0f38 0x24 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVSQW_ST       pf3 m0f38 0x24 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVSQD          pf3 m0f38 0x25 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVSQD_ST       pf3 m0f38 0x25 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVUSWB         pf3 m0f38 0x10 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVUSWB_ST      pf3 m0f38 0x10 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVUSDB         pf3 m0f38 0x11 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVUSDB_ST      pf3 m0f38 0x11 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVUSQB         pf3 m0f38 0x12 no w0 xyz /0 (uE rV)       p8  z  no;
    VPMOVUSQB_ST      pf3 m0f38 0x12 no w0 xyz /0 (oE rV)       p8  k  no;
    VPMOVUSDW         pf3 m0f38 0x13 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVUSDW_ST      pf3 m0f38 0x13 no w0 xyz /0 (oH rV)       p2  k  no;
    VPMOVUSQW         pf3 m0f38 0x14 no w0 xyz /0 (uQ rV)       p4  z  no;
    VPMOVUSQW_ST      pf3 m0f38 0x14 no w0 xyz /0 (oQ rV)       p4  k  no;
    VPMOVUSQD         pf3 m0f38 0x15 no w0 xyz /0 (uH rV)       p2  z  no;
    VPMOVUSQD_ST      pf3 m0f38 0x15 no w0 xyz /0 (oH rV)       p2  k  no;

    // Bits, and the field of AES.
    VPOPCNTB          p66 m0f38 0x54 no w0 xyz /0 (rV mV)       p1  z  no;
    VPOPCNTW          p66 m0f38 0x54 no w1 xyz /0 (rV mV)       p1  z  no;
    VPOPCNTD          p66 m0f38 0x55 no w0 xyz /0 (rV mV)       f4  z  no;
    VPOPCNTQ          p66 m0f38 0x55 no w1 xyz /0 (rV mV)       f8  z  no;
    VPLZCNTD          p66 m0f38 0x44 no w0 xyz /0 (rV mV)       f4  z  no;
    VPLZCNTQ          p66 m0f38 0x44 no w1 xyz /0 (rV mV)       f8  z  no;
    VPCONFLICTD       p66 m0f38 0xc4 no w0 xyz /0 (rV mV)       f4  z  no;
    VPCONFLICTQ       p66 m0f38 0xc4 no w1 xyz /0 (rV mV)       f8  z  no;
    VPSHUFBITQMB      p66 m0f38 0x8f no w0 xyz /0 (rK vV mV)    p1  k  no;
    VGF2P8AFFINEQB    p66 m0f3a 0xce w1 w1 xyz /0 (rV vV mV ib) f8  z  no;
    VGF2P8AFFINEINVQB p66 m0f3a 0xcf w1 w1 xyz /0 (rV vV mV ib) f8  z  no;
    VGF2P8MULB        p66 m0f38 0xcf w0 w0 xyz /0 (rV vV mV)    p1  z  no;
    VPCLMULQDQ        p66 m0f3a 0x44 w0 w0 xyz /0 (rV vV mV ib) p1  no no;
    VAESENC           p66 m0f38 0xdc w0 w0 xyz /0 (rV vV mV)    p1  no no;
    VAESENCLAST       p66 m0f38 0xdd w0 w0 xyz /0 (rV vV mV)    p1  no no;
    VAESDEC           p66 m0f38 0xde w0 w0 xyz /0 (rV vV mV)    p1  no no;
    VAESDECLAST       p66 m0f38 0xdf w0 w0 xyz /0 (rV vV mV)    p1  no no;

    // Gathers and scatters; those of AVX2 have a vector for a mask, and clear it.
    VPGATHERDD        p66 m0f38 0x90 no w0 xyz /0 (rV sV)       s4  g  no;
    VPGATHERDD_V      p66 m0f38 0x90 w0 no xy  /0 (rV sV vV)    s4  no no;
    VPGATHERDQ        p66 m0f38 0x90 no w1 xyz /0 (rV sH)       s8  g  no;
    VPGATHERDQ_V      p66 m0f38 0x90 w1 no xy  /0 (rV sH vV)    s8  no no;
    VPGATHERQD        p66 m0f38 0x91 no w0 xyz /0 (rH sV)       s4  g  no;
    VPGATHERQD_V      p66 m0f38 0x91 w0 no xy  /0 (rH sV vH)    s4  no no;
    VPGATHERQQ        p66 m0f38 0x91 no w1 xyz /0 (rV sV)       s8  g  no;
    VPGATHERQQ_V      p66 m0f38 0x91 w1 no xy  /0 (rV sV vV)    s8  no no;
    VGATHERDPS        p66 m0f38 0x92 no w0 xyz /0 (rV sV)       s4  g  no;
    VGATHERDPS_V      p66 m0f38 0x92 w0 no xy  /0 (rV sV vV)    s4  no no;
    VGATHERDPD        p66 m0f38 0x92 no w1 xyz /0 (rV sH)       s8  g  no;
    VGATHERDPD_V      p66 m0f38 0x92 w1 no xy  /0 (rV sH vV)    s8  no no;
    VGATHERQPS        p66 m0f38 0x93 no w0 xyz /0 (rH sV)       s4  g  no;
    VGATHERQPS_V      p66 m0f38 0x93 w0 no xy  /0 (rH sV vH)    s4  no no;
    VGATHERQPD        p66 m0f38 0x93 no w1 xyz /0 (rV sV)       s8  g  no;
    VGATHERQPD_V      p66 m0f38 0x93 w1 no xy  /0 (rV sV vV)    s8  no no;
    VPSCATTERDD       p66 m0f38 0xa0 no w0 xyz /0 (sV rV)       s4  g  no;
    VPSCATTERDQ       p66 m0f38 0xa0 no w1 xyz /0 (sH rV)       s8  g  no;
    VPSCATTERQD       p66 m0f38 0xa1 no w0 xyz /0 (sV rH)       s4  g  no;
    VPSCATTERQQ       p66 m0f38 0xa1 no w1 xyz /0 (sV rV)       s8  g  no;

    // Opmask registers.
    KANDB             p66 m0f   0x41 w0 no y   /0 (rK vK uK)    p1  no no;
    KANDW             np  m0f   0x41 w0 no y   /0 (rK vK uK)    p1  no no;
    KANDD             p66 m0f   0x41 w1 no y   /0 (rK vK uK)    p1  no no;
    KANDQ             np  m0f   0x41 w1 no y   /0 (rK vK uK)    p1  no no;
    KANDNB            p66 m0f   0x42 w0 no y   /0 (rK vK uK)    p1  no no;
    KANDNW            np  m0f   0x42 w0 no y   /0 (rK vK uK)    p1  no no;
    KANDND            p66 m0f   0x42 w1 no y   /0 (rK vK uK)    p1  no no;
    KANDNQ            np  m0f   0x42 w1 no y   /0 (rK vK uK)    p1  no no;
    KORB              p66 m0f   0x45 w0 no y   /0 (rK vK uK)    p1  no no;
    KORW              np  m0f   0x45 w0 no y   /0 (rK vK uK)    p1  no no;
    KORD              p66 m0f   0x45 w1 no y   /0 (rK vK uK)    p1  no no;
    KORQ              np  m0f   0x45 w1 no y   /0 (rK vK uK)    p1  no no;
    KXNORB            p66 m0f   0x46 w0 no y   /0 (rK vK uK)    p1  no no;
    KXNORW            np  m0f   0x46 w0 no y   /0 (rK vK uK)    p1  no no;
    KXNORD            p66 m0f   0x46 w1 no y   /0 (rK vK uK)    p1  no no;
    KXNORQ            np  m0f   0x46 w1 no y   /0 (rK vK uK)    p1  no no;
    KXORB             p66 m0f   0x47 w0 no y   /0 (rK vK uK)    p1  no no;
    KXORW             np  m0f   0x47 w0 no y   /0 (rK vK uK)    p1  no no;
    KXORD             p66 m0f   0x47 w1 no y   /0 (rK vK uK)    p1  no no;
    KXORQ             np  m0f   0x47 w1 no y   /0 (rK vK uK)    p1  no no;
    KADDB             p66 m0f   0x4a w0 no y   /0 (rK vK uK)    p1  no no;
    KADDW             np  m0f   0x4a w0 no y   /0 (rK vK uK)    p1  no no;
    KADDD             p66 m0f   0x4a w1 no y   /0 (rK vK uK)    p1  no no;
    KADDQ             np  m0f   0x4a w1 no y   /0 (rK vK uK)    p1  no no;
    KUNPCKBW          p66 m0f   0x4b w0 no y   /0 (rK vK uK)    p1  no no;
    KUNPCKWD          np  m0f   0x4b w0 no y   /0 (rK vK uK)    p1  no no;
    KUNPCKDQ          np  m0f   0x4b w1 no y   /0 (rK vK uK)    p1  no no;
    KNOTB             p66 m0f   0x44 w0 no x   /0 (rK uK)       p1  no no;
    KNOTW             np  m0f   0x44 w0 no x   /0 (rK uK)       p1  no no;
    KNOTD             p66 m0f   0x44 w1 no x   /0 (rK uK)       p1  no no;
    KNOTQ             np  m0f   0x44 w1 no x   /0 (rK uK)       p1  no no;
    KORTESTB          p66 m0f   0x98 w0 no x   /0 (rK uK)       p1  no no;
    KORTESTW          np  m0f   0x98 w0 no x   /0 (rK uK)       p1  no no;
    KORTESTD          p66 m0f   0x98 w1 no x   /0 (rK uK)       p1  no no;
    KORTESTQ          np  m0f   0x98 w1 no x   /0 (rK uK)       p1  no no;
    KTESTB            p66 m0f   0x99 w0 no x   /0 (rK uK)       p1  no no;
    KTESTW            np  m0f   0x99 w0 no x   /0 (rK uK)       p1  no no;
    KTESTD            p66 m0f   0x99 w1 no x   /0 (rK uK)       p1  no no;
    KTESTQ            np  m0f   0x99 w1 no x   /0 (rK uK)       p1  no no;
    KMOVB             p66 m0f   0x90 w0 no x   /0 (rK mK)       s1  no no;
    KMOVB_ST          p66 m0f   0x91 w0 no x   /0 (oK rK)       s1  no no;
    KMOVW             np  m0f   0x90 w0 no x   /0 (rK mK)       s2  no no;
    KMOVW_ST          np  m0f   0x91 w0 no x   /0 (oK rK)       s2  no no;
    KMOVD             p66 m0f   0x90 w1 no x   /0 (rK mK)       s4  no no;
    KMOVD_ST          p66 m0f   0x91 w1 no x   /0 (oK rK)       s4  no no;
    KMOVQ             np  m0f   0x90 w1 no x   /0 (rK mK)       s8  no no;
    KMOVQ_ST          np  m0f   0x91 w1 no x   /0 (oK rK)       s8  no no;
    KMOVB_R           p66 m0f   0x92 w0 no x   /0 (rK uR)       p1  no no;
    KMOVB_G           p66 m0f   0x93 w0 no x   /0 (rR uK)       p1  no no;
    KMOVW_R           np  m0f   0x92 w0 no x   /0 (rK uR)       p1  no no;
    KMOVW_G           np  m0f   0x93 w0 no x   /0 (rR uK)       p1  no no;
    KMOVD_R           pf2 m0f   0x92 w0 no x   /0 (rK uR)       p1  no no;
    KMOVD_G           pf2 m0f   0x93 w0 no x   /0 (rR uK)       p1  no no;
    KMOVQ_R           pf2 m0f   0x92 w1 no x   /0 (rK uL)       p1  no no;
    KMOVQ_G           pf2 m0f   0x93 w1 no x   /0 (rL uK)       p1  no no;
    KSHIFTRB          p66 m0f3a 0x30 w0 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTRW          p66 m0f3a 0x30 w1 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTRD          p66 m0f3a 0x31 w0 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTRQ          p66 m0f3a 0x31 w1 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTLB          p66 m0f3a 0x32 w0 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTLW          p66 m0f3a 0x32 w1 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTLD          p66 m0f3a 0x33 w0 no x   /0 (rK uK ib)    p1  no no;
    KSHIFTLQ          p66 m0f3a 0x33 w1 no x   /0 (rK uK ib)    p1  no no;

    // Between masks and vectors.
    VPMOVM2B          pf3 m0f38 0x28 no w0 xyz /0 (rV uK)       p1  no no;
    VPMOVB2M          pf3 m0f38 0x29 no w0 xyz /0 (rK uV)       p1  no no;
    VPMOVM2W          pf3 m0f38 0x28 no w1 xyz /0 (rV uK)       p1  no no;
    VPMOVW2M          pf3 m0f38 0x29 no w1 xyz /0 (rK uV)       p1  no no;
    VPMOVM2D          pf3 m0f38 0x38 no w0 xyz /0 (rV uK)       p1  no no;
    VPMOVD2M          pf3 m0f38 0x39 no w0 xyz /0 (rK uV)       p1  no no;
    VPMOVM2Q          pf3 m0f38 0x38 no w1 xyz /0 (rV uK)       p1  no no;
    VPMOVQ2M          pf3 m0f38 0x39 no w1 xyz /0 (rK uV)       p1  no no;

    // General registers.
    PDEP              pf2 m0f38 0xf5 w1 no x   /0 (rL vL mL)    s8  no no;
    PEXT              pf3 m0f38 0xf5 w1 no x   /0 (rL vL mL)    s8  no no;
    BZHI              np  m0f38 0xf5 w1 no x   /0 (rL mL vL)    s8  no no;
    ANDN              np  m0f38 0xf2 w1 no x   /0 (rL vL mL)    s8  no no;
}
