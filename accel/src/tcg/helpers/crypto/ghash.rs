//! GHASH (NIST SP 800-38D): multiplication in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1.
//!
//! A block as it stands in a register, its first byte least significant, has the lowest coefficient in the most
//! significant bit of the first byte.

/// Reverses the bits of each byte: coefficient i becomes bit i.
const fn reverse_in_bytes(v: u128) -> u128 {
    v.reverse_bits().swap_bytes()
}

/// The product of two blocks.
pub const fn multiply(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (reverse_in_bytes(a), reverse_in_bytes(b));
    let mut product = 0;
    let mut i = 0;
    // Without branches on the operands: this may be a key.
    while i < 128 {
        product ^= b & (a & 1).wrapping_neg();
        a >>= 1;
        b = b << 1 ^ 0x87 & (b >> 127).wrapping_neg();
        i += 1;
    }
    reverse_in_bytes(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The GCM specification's test case 2.
    #[test]
    fn the_hash_of_one_block() {
        let block = u128::swap_bytes;
        let h = block(0x66e94bd4ef8a2c3b884cfa59ca342b2e);
        let cipher = block(0x0388dace60b6a392f328c2b971b2fe78);
        let x1 = multiply(cipher, h);
        assert_eq!(x1, block(0x5e2ec746917062882c85b0685353deb7));
        assert_eq!(multiply(x1 ^ block(0x80), h), block(0xf38cbb1ad69223dcc3457ae5b6b0f885));
    }

    #[test]
    fn one_is_the_first_bit_of_the_first_byte() {
        let v = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;
        assert_eq!(multiply(v, 0x80), v);
        assert_eq!(multiply(0x80, v), v);
        assert_eq!(multiply(0, v), 0);
    }
}
