//! Compares, additions and subtractions with carry, merges and moves.

use super::elem::{Elem, by_sew, mask_bit};
use super::shape::{Group, Second, Shape};
use super::{Call, Stop, functions};
use crate::tcg::hart::Hart;

/// The operand beside vs2 of an instruction.
#[derive(Clone, Copy)]
enum Other {
    Vector,
    Scalar(u64),
}

impl Other {
    /// `'v'`, `'x'` or `'i'`, as the mnemonic's suffix has it.
    fn of(form: char, c: &Call) -> Self {
        match form {
            'v' => Self::Vector,
            'x' => Self::Scalar(c.x1),
            _ => Self::Scalar(c.simm()),
        }
    }

    /// Its group, or that of vs2 in its place.
    fn group(self, s: &Shape, c: &Call) -> Result<Group, Stop> {
        s.same(if matches!(self, Self::Vector) { c.vs1() } else { c.vs2() })
    }
}

trait Comparison {
    fn eval<T: Elem>(a: T, b: T) -> bool;
}

macro_rules! comparisons {
    ($($name:ident |$a:ident, $b:ident| $e:expr;)*) => { $(
        struct $name;
        impl Comparison for $name {
            #[inline(always)]
            fn eval<T: Elem>($a: T, $b: T) -> bool {
                $e
            }
        }
    )* };
}

comparisons! {
    Eq |a, b| a == b;
    Ne |a, b| a != b;
    Ltu |a, b| a < b;
    Lt |a, b| a.signed() < b.signed();
    Leu |a, b| a <= b;
    Le |a, b| a.signed() <= b.signed();
    Gtu |a, b| a > b;
    Gt |a, b| a.signed() > b.signed();
}

fn compare<O: Comparison, const FORM: char>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let other = Other::of(FORM, &c);
    let sources = [s.same(c.vs2())?, other.group(&s, &c)?];
    s.destination(&Group::mask(c.vd()), &sources)?;
    s.sources(&c, &sources)?;
    by_sew!(s.sew, T => s.write_mask(&mut h.s.v, &c, true, |v, i| {
        let b = match other {
            Other::Vector => s.get::<T>(v, c.vs1(), i),
            Other::Scalar(x) => T::low(x),
        };
        O::eval::<T>(s.get(v, c.vs2(), i), b)
    }));
    Ok(0)
}

/// `a + b + carry` or `a - b - carry`, and what it carries or borrows.
#[inline(always)]
fn with_carry<T: Elem, const SUB: bool>(a: T, b: T, carry: bool) -> (T, bool) {
    let (a, b, carry) = (u128::from(a.zext()), u128::from(b.zext()), u128::from(carry));
    let r = if SUB { a.wrapping_sub(b).wrapping_sub(carry) } else { a + b + carry };
    (T::low(r as u64), r >> T::BITS != 0)
}

/// The same instruction on all elements: where v0 is an operand, it is no mask.
fn all_elements(c: &Call) -> Call {
    Call { raw: c.raw | 1 << 25, ..*c }
}

fn carry<const SUB: bool, const FORM: char>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let other = Other::of(FORM, &c);
    let d = s.same(c.vd())?;
    s.check(&c, d, &[s.same(c.vs2())?, other.group(&s, &c)?])?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &all_elements(&c), d, |v, i| {
        let b = match other {
            Other::Vector => s.get::<T>(v, c.vs1(), i),
            Other::Scalar(x) => T::low(x),
        };
        with_carry::<T, SUB>(s.get(v, c.vs2(), i), b, mask_bit(v, s.vlenb, 0, i)).0
    }));
    Ok(0)
}

/// The carry alone; it comes in only if `vm` is clear.
fn carry_out<const SUB: bool, const FORM: char>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let other = Other::of(FORM, &c);
    let sources = [s.same(c.vs2())?, other.group(&s, &c)?];
    s.destination(&Group::mask(c.vd()), &sources)?;
    s.sources(&c, &sources)?;
    by_sew!(s.sew, T => s.write_mask(&mut h.s.v, &c, false, |v, i| {
        let b = match other {
            Other::Vector => s.get::<T>(v, c.vs1(), i),
            Other::Scalar(x) => T::low(x),
        };
        let carry = !c.unmasked() && mask_bit(v, s.vlenb, 0, i);
        with_carry::<T, SUB>(s.get(v, c.vs2(), i), b, carry).1
    }));
    Ok(0)
}

fn merge<const FORM: char>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let other = Other::of(FORM, &c);
    let d = s.same(c.vd())?;
    s.check(&c, d, &[s.same(c.vs2())?, other.group(&s, &c)?])?;
    by_sew!(s.sew, T => s.write::<T>(&mut h.s.v, &all_elements(&c), d, |v, i| match other {
        _ if !mask_bit(v, s.vlenb, 0, i) => s.get(v, c.vs2(), i),
        Other::Vector => s.get(v, c.vs1(), i),
        Other::Scalar(x) => T::low(x),
    }));
    Ok(0)
}

/// The bits of vs2 are zero, and v0 is not read.
fn splat<const FORM: char>(h: &mut Hart, c: Call) -> Result<u64, Stop> {
    let s = Shape::of(h)?;
    let other = Other::of(FORM, &c);
    let d = s.same(c.vd())?;
    if let Other::Vector = other {
        s.same(c.vs1())?;
    }
    s.masked_destination(&c, &d)?;
    by_sew!(s.sew, T N => {
        let second = match other {
            Other::Vector => Second::Vector,
            Other::Scalar(x) => Second::Scalar(T::low(x)),
        };
        s.map::<T, N>(&mut h.s.v, &c, second, |_, _, b| b);
    });
    Ok(0)
}

functions! {
    VmseqVv => compare::<Eq, 'v'>,
    VmseqVx => compare::<Eq, 'x'>,
    VmseqVi => compare::<Eq, 'i'>,
    VmsneVv => compare::<Ne, 'v'>,
    VmsneVx => compare::<Ne, 'x'>,
    VmsneVi => compare::<Ne, 'i'>,
    VmsltuVv => compare::<Ltu, 'v'>,
    VmsltuVx => compare::<Ltu, 'x'>,
    VmsltVv => compare::<Lt, 'v'>,
    VmsltVx => compare::<Lt, 'x'>,
    VmsleuVv => compare::<Leu, 'v'>,
    VmsleuVx => compare::<Leu, 'x'>,
    VmsleuVi => compare::<Leu, 'i'>,
    VmsleVv => compare::<Le, 'v'>,
    VmsleVx => compare::<Le, 'x'>,
    VmsleVi => compare::<Le, 'i'>,
    VmsgtuVx => compare::<Gtu, 'x'>,
    VmsgtuVi => compare::<Gtu, 'i'>,
    VmsgtVx => compare::<Gt, 'x'>,
    VmsgtVi => compare::<Gt, 'i'>,
    VadcVvm => carry::<false, 'v'>,
    VadcVxm => carry::<false, 'x'>,
    VadcVim => carry::<false, 'i'>,
    VsbcVvm => carry::<true, 'v'>,
    VsbcVxm => carry::<true, 'x'>,
    VmadcVvm => carry_out::<false, 'v'>,
    VmadcVxm => carry_out::<false, 'x'>,
    VmadcVim => carry_out::<false, 'i'>,
    VmadcVv => carry_out::<false, 'v'>,
    VmadcVx => carry_out::<false, 'x'>,
    VmadcVi => carry_out::<false, 'i'>,
    VmsbcVvm => carry_out::<true, 'v'>,
    VmsbcVxm => carry_out::<true, 'x'>,
    VmsbcVv => carry_out::<true, 'v'>,
    VmsbcVx => carry_out::<true, 'x'>,
    VmergeVvm => merge::<'v'>,
    VmergeVxm => merge::<'x'>,
    VmergeVim => merge::<'i'>,
    VmvVV => splat::<'v'>,
    VmvVX => splat::<'x'>,
    VmvVI => splat::<'i'>,
}
