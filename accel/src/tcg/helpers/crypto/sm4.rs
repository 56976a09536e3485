//! The block cipher SM4 (GB/T 32907-2016): substitution, rounds and key expansion. Words are in the standard's order of
//! bytes within a word.

/// The substitution of every byte.
pub static SBOX: [u8; 256] = SUBSTITUTION;

#[rustfmt::skip]
pub(super) const SUBSTITUTION: [u8; 256] = [
    0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
    0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
    0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
    0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
    0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
    0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
    0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
    0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
    0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
    0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
    0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
    0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
    0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
    0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
    0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
    0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
];

/// The substitution of four bytes.
pub const fn sub_word(word: u32) -> u32 {
    let b = word.to_le_bytes();
    let s = &SUBSTITUTION;
    u32::from_le_bytes([s[b[0] as usize], s[b[1] as usize], s[b[2] as usize], s[b[3] as usize]])
}

/// The linear transformation of a round.
pub const fn mix(s: u32) -> u32 {
    s ^ s.rotate_left(2) ^ s.rotate_left(10) ^ s.rotate_left(18) ^ s.rotate_left(24)
}

/// The linear transformation of the key expansion.
pub const fn mix_key(s: u32) -> u32 {
    s ^ s.rotate_left(13) ^ s.rotate_left(23)
}

/// Four rounds.
pub const fn rounds(x: [u32; 4], keys: [u32; 4]) -> [u32; 4] {
    let [x0, x1, x2, x3] = x;
    let x4 = x0 ^ mix(sub_word(x1 ^ x2 ^ x3 ^ keys[0]));
    let x5 = x1 ^ mix(sub_word(x2 ^ x3 ^ x4 ^ keys[1]));
    let x6 = x2 ^ mix(sub_word(x3 ^ x4 ^ x5 ^ keys[2]));
    let x7 = x3 ^ mix(sub_word(x4 ^ x5 ^ x6 ^ keys[3]));
    [x4, x5, x6, x7]
}

/// The constant of round key `round`: its bytes are the multiples of seven that follow those of the round before.
const fn constant(round: u32) -> u32 {
    let mut word = 0;
    let mut i = 0;
    while i < 4 {
        word = word << 8 | (((4 * round + i) * 7) & 0xff);
        i += 1;
    }
    word
}

/// The four round keys of `group` from the four before them. The low three bits of `group` count.
pub const fn expand_key(group: u32, keys: [u32; 4]) -> [u32; 4] {
    let first = (group & 7) * 4;
    let [k0, k1, k2, k3] = keys;
    let k4 = k0 ^ mix_key(sub_word(k1 ^ k2 ^ k3 ^ constant(first)));
    let k5 = k1 ^ mix_key(sub_word(k2 ^ k3 ^ k4 ^ constant(first + 1)));
    let k6 = k2 ^ mix_key(sub_word(k3 ^ k4 ^ k5 ^ constant(first + 2)));
    let k7 = k3 ^ mix_key(sub_word(k4 ^ k5 ^ k6 ^ constant(first + 3)));
    [k4, k5, k6, k7]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, 0x7654_3210];

    fn round_keys() -> Vec<[u32; 4]> {
        let system = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];
        let mut keys: [u32; 4] = std::array::from_fn(|i| TEXT[i] ^ system[i]);
        let next = |group| {
            keys = expand_key(group, keys);
            keys
        };
        (0..8).map(next).collect()
    }

    fn encrypt(keys: &[[u32; 4]], text: [u32; 4]) -> [u32; 4] {
        let mut x = keys.iter().fold(text, |x, keys| rounds(x, *keys));
        x.reverse();
        x
    }

    /// The standard's two examples, in which the text is its own key: once, and many times over.
    #[test]
    fn examples() {
        let keys = round_keys();
        assert_eq!((keys[0][0], keys[7][3]), (0xf121_86f9, 0x9124_a012));
        assert_eq!(encrypt(&keys, TEXT), [0x681e_df34, 0xd206_965e, 0x86b3_e94f, 0x536e_4246]);
        // Fewer times than the standard's million, enough that every entry of the substitution counts.
        let many = (0..1000).fold(TEXT, |text, _| encrypt(&keys, text));
        let mut backwards = keys;
        backwards.reverse();
        backwards.iter_mut().for_each(|keys| keys.reverse());
        assert_eq!((0..1000).fold(many, |text, _| encrypt(&backwards, text)), TEXT);
    }

    /// The substitution is what the standard's algebraic description says: x -> A (A x + c)^-1 + c over
    /// GF(2)[x] / (x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1).
    #[test]
    fn the_substitution_is_an_inversion_between_affine_maps() {
        fn times(mut a: u32, b: u32) -> u32 {
            let mut product = 0;
            for i in 0..8 {
                if b >> i & 1 != 0 {
                    product ^= a;
                }
                a = a << 1 ^ if a & 0x80 != 0 { 0x1f5 } else { 0 };
            }
            product
        }
        let affine = |x: u32| {
            let rows = (0..8u32).map(|i| ((u32::from(0xa7u8.rotate_left(i)) & x).count_ones() % 2) << i);
            rows.sum::<u32>() ^ 0xd3
        };
        let inverse = |x: u32| (0..256).find(|y| times(x, *y) == 1).unwrap_or(0);
        for x in 0..256 {
            assert_eq!(u32::from(SBOX[x as usize]), affine(inverse(affine(x))), "{x:#x}");
        }
    }
}
