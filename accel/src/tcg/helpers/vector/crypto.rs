//! Block ciphers and hash functions (Zvkg, Zvkned, Zvknh, Zvksed, Zvksh): rounds on groups of elements.
//!
//! Vector cryptography, "Element Groups" and "Instruction Constraints": `vl` and `vstart` are multiples of a group's
//! elements, and a register group holds at least one whole group, even if `vl` is zero. There are no masks.

use super::elem::{Elem, get, set};
use super::shape::{Shape, group_len, require};
use super::{Call, Stop, functions};
use crate::VectorRegs;
use crate::tcg::hart::Hart;
use crate::tcg::helpers::crypto::{aes, ghash, sha2::sha256, sha2::sha512, sm3, sm4};

/// Where the group of vs2 for a group of vd stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// In the same place: the `.vv` forms.
    Same,
    /// vs2 is one group for all of vd: the `.vs` forms.
    First,
}

/// Checks what all these instructions have in common; `elements` make a group.
fn groups(h: &Hart, elements: usize) -> Result<Shape, Stop> {
    let s = Shape::of(h)?;
    let whole = s.vl.is_multiple_of(elements) && s.vstart.is_multiple_of(elements);
    require(whole && s.vlmax() >= elements)?;
    Ok(s)
}

/// As [`groups`], with elements of 32 bits.
fn words(h: &Hart, elements: usize) -> Result<Shape, Stop> {
    let s = groups(h, elements)?;
    require(s.sew == 2)?;
    Ok(s)
}

/// Checks that vd and vs2 name register groups.
pub fn registers(s: &Shape, c: &Call, from: From) -> Result<(), Stop> {
    let d = s.same(c.vd())?;
    match from {
        From::Same => s.same(c.vs2()).map(|_| ()),
        From::First => {
            // A scalar group of 128 bits takes a register, or several short ones. vd may not overlap it.
            let len = 16usize.div_ceil(s.vlenb);
            let apart = c.vs2() + len <= d.reg || d.reg + group_len(d.emul) <= c.vs2();
            require(c.vs2().is_multiple_of(len) && apart)
        }
    }
}

fn load<T: Elem, const N: usize>(v: &VectorRegs, at: usize) -> [T; N] {
    std::array::from_fn(|i| get(v, at + i * T::BYTES))
}

/// Replaces each group of vd by `f` of it, of the group of vs2, and of that in the same place of vs1. Where vs1 is no
/// register operand the last means nothing.
fn each<T: Elem, const N: usize>(
    h: &mut Hart,
    c: &Call,
    s: &Shape,
    from: From,
    f: impl Fn([T; N], [T; N], [T; N]) -> [T; N],
) -> Result<u64, Stop> {
    let v = &mut h.s.v;
    for i in (s.vstart..s.vl).step_by(N) {
        let second = if from == From::Same { i } else { 0 };
        // Without vs1 the field may name the last register, and a group from there would be outside.
        let first = s.at::<T>(c.vs1(), i).min(v.0.len() - N * T::BYTES);
        let at = s.at::<T>(c.vd(), i);
        let group = f(load(v, at), load(v, s.at::<T>(c.vs2(), second)), load(v, first));
        for (j, element) in group.into_iter().enumerate() {
            set(v, at + j * T::BYTES, element);
        }
    }
    s.tail(v, s.same(c.vd())?);
    Ok(0)
}

/// A round of a cipher: state in vd, key in vs2.
fn cipher<const SCALAR: bool>(h: &mut Hart, c: Call, round: fn([u32; 4], [u32; 4]) -> [u32; 4]) -> Result<u64, Stop> {
    let from = if SCALAR { From::First } else { From::Same };
    let s = words(h, 4)?;
    registers(&s, &c, from)?;
    each(h, &c, &s, from, |state, key, _| round(state, key))
}

/// A step of a key expansion: keys in vs2, and for AES-256 in vd too.
fn expand_key(h: &mut Hart, c: Call, step: fn(u8, [u32; 4], [u32; 4]) -> [u32; 4]) -> Result<u64, Stop> {
    let s = words(h, 4)?;
    registers(&s, &c, From::Same)?;
    each(h, &c, &s, From::Same, |previous, current, _| step(c.uimm() as u8, previous, current))
}

fn multiply(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    let block = |w: [u32; 4]| w.iter().rev().fold(0u128, |block, word| block << 32 | u128::from(*word));
    let product = ghash::multiply(block(a), block(b));
    std::array::from_fn(|i| (product >> (32 * i)) as u32)
}

/// VGHSH.VV and, without vs1, VGMUL.VV.
fn galois<const ADD: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = words(h, 4)?;
    registers(&s, &c, From::Same)?;
    if ADD {
        s.same(c.vs1())?;
    }
    each(h, &c, &s, From::Same, |y, key, x| {
        let sum = std::array::from_fn(|i| y[i] ^ if ADD { x[i] } else { 0 });
        multiply(sum, key)
    })
}

type Sha2<W> = fn([W; 4], [W; 4], [W; 4]) -> [W; 4];

/// SHA-256 with elements of 32 bits, and if the hart has it SHA-512 with elements of 64. vd may not overlap a source.
fn sha2(h: &mut Hart, c: Call, short: Sha2<u32>, long: Sha2<u64>) -> Result<u64, Stop> {
    let s = groups(h, 4)?;
    require(s.sew == 2 || s.sew == 3 && h.vector.sha512)?;
    registers(&s, &c, From::Same)?;
    s.same(c.vs1())?;
    // Groups of one length are the same or apart.
    require(c.vd() != c.vs2() && c.vd() != c.vs1())?;
    match s.sew {
        2 => each(h, &c, &s, From::Same, short),
        _ => each(h, &c, &s, From::Same, long),
    }
}

/// The words of the message in the group of vs1 for two rounds: the lower or the upper half.
fn halves<W: Copy, const HIGH: bool>(w: [W; 4]) -> [W; 2] {
    if HIGH { [w[2], w[3]] } else { [w[0], w[1]] }
}

fn compress<const HIGH: bool>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    sha2(
        h,
        c,
        |d, a, w| sha256::compress(a, d, halves::<u32, HIGH>(w)),
        |d, a, w| sha512::compress(a, d, halves::<u64, HIGH>(w)),
    )
}

/// SM3 has its words in the order of bytes opposite to a register's.
fn swapped(words: [u32; 8]) -> [u32; 8] {
    words.map(u32::swap_bytes)
}

/// VSM3ME.VV. vd may not overlap vs2.
fn sm3_expand(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = words(h, 8)?;
    registers(&s, &c, From::Same)?;
    s.same(c.vs1())?;
    require(c.vd() != c.vs2())?;
    each(h, &c, &s, From::Same, |_, w8_15, w0_7| swapped(sm3::expand(swapped(w0_7), swapped(w8_15))))
}

/// VSM3C.VI. vd may not overlap vs2.
fn sm3_compress(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = words(h, 8)?;
    registers(&s, &c, From::Same)?;
    require(c.vd() != c.vs2())?;
    let pair = c.uimm() as u32;
    each(h, &c, &s, From::Same, |state, words, _| swapped(sm3::compress(swapped(state), swapped(words), pair)))
}

functions! {
    VghshVv => galois::<true>,
    VgmulVv => galois::<false>,

    VaesdmVv => |h, c| cipher::<false>(h, c, aes::decrypt_middle),
    VaesdmVs => |h, c| cipher::<true>(h, c, aes::decrypt_middle),
    VaesdfVv => |h, c| cipher::<false>(h, c, aes::decrypt_final),
    VaesdfVs => |h, c| cipher::<true>(h, c, aes::decrypt_final),
    VaesemVv => |h, c| cipher::<false>(h, c, aes::encrypt_middle),
    VaesemVs => |h, c| cipher::<true>(h, c, aes::encrypt_middle),
    VaesefVv => |h, c| cipher::<false>(h, c, aes::encrypt_final),
    VaesefVs => |h, c| cipher::<true>(h, c, aes::encrypt_final),
    VaeszVs => |h, c| cipher::<true>(h, c, aes::add_round_key),
    Vaeskf1Vi => |h, c| expand_key(h, c, |round, _, current| aes::expand_key_128(round, current)),
    Vaeskf2Vi => |h, c| expand_key(h, c, aes::expand_key_256),

    Vsha2msVv => |h, c| sha2(h, c, sha256::schedule, sha512::schedule),
    Vsha2chVv => compress::<true>,
    Vsha2clVv => compress::<false>,

    Vsm3meVv => sm3_expand,
    Vsm3cVi => sm3_compress,
    Vsm4kVi => |h, c| expand_key(h, c, |group, _, keys| sm4::expand_key(group.into(), keys)),
    Vsm4rVv => |h, c| cipher::<false>(h, c, sm4::rounds),
    Vsm4rVs => |h, c| cipher::<true>(h, c, sm4::rounds),
}
