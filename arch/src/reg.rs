//! Names of the integer and floating-point registers (psABI).

/// x0 to x31.
pub const X: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2",
    "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// f0 to f31.
pub const F: [&str; 32] = [
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
];

/// Registers of the calling convention that are spoken of by name.
pub const ZERO: u8 = 0;
pub const RA: u8 = 1;
pub const SP: u8 = 2;
pub const GP: u8 = 3;
pub const TP: u8 = 4;
pub const A0: u8 = 10;
pub const A1: u8 = 11;
pub const A2: u8 = 12;
pub const A6: u8 = 16;
pub const A7: u8 = 17;

/// The integer register called `name`: `a0`, `x10`, or `fp` for `s0`.
pub fn x_by_name(name: &str) -> Option<u8> {
    if name == "fp" {
        return Some(8);
    }
    by_name(&X, 'x', name)
}

/// The floating-point register called `name`: `fa0` or `f10`.
pub fn f_by_name(name: &str) -> Option<u8> {
    by_name(&F, 'f', name)
}

fn by_name(names: &[&str; 32], prefix: char, name: &str) -> Option<u8> {
    let number = |digits: &str| digits.parse().ok().filter(|number| *number < 32);
    names
        .iter()
        .position(|known| *known == name)
        .map(|number| number as u8)
        .or_else(|| name.strip_prefix(prefix).and_then(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for number in 0..32u8 {
            assert_eq!(x_by_name(X[usize::from(number)]), Some(number));
            assert_eq!(x_by_name(&format!("x{number}")), Some(number));
            assert_eq!(f_by_name(F[usize::from(number)]), Some(number));
        }
        assert_eq!(X[usize::from(A7)], "a7");
        assert_eq!(x_by_name("x32"), None);
        assert_eq!(x_by_name("fa0"), None);
    }
}
