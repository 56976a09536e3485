//! AES (FIPS 197): substitution, rounds and key expansion.
//!
//! A state is four columns; byte `r` of column `c` is the standard's `s[r, c]`, so a state in memory is the standard's
//! sequence of bytes.

/// A block: the state, or a round key.
pub type Block = [u32; 4];

/// Doubles in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
const fn double(a: u8) -> u8 {
    a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 }
}

/// SubBytes of every byte: the inverse in GF(2^8), then an affine transformation.
pub static SBOX: [u8; 256] = SBOXES.0;
/// InvSubBytes of every byte.
pub static INVERSE_SBOX: [u8; 256] = SBOXES.1;

const SBOXES: ([u8; 256], [u8; 256]) = {
    let (mut forward, mut backward) = ([0; 256], [0; 256]);
    // 3 generates the multiplicative group and 0xf6 is its inverse: p * q = 1 all the way round.
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p = p ^ double(p);
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        q ^= if q & 0x80 != 0 { 9 } else { 0 };
        let s = q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4) ^ 0x63;
        forward[p as usize] = s;
        backward[s as usize] = p;
        if p == 1 {
            break;
        }
    }
    // Zero has no inverse and counts as its own.
    forward[0] = 0x63;
    backward[0x63] = 0;
    (forward, backward)
};

const fn substitute(table: &[u8; 256], word: u32) -> u32 {
    let b = word.to_le_bytes();
    u32::from_le_bytes([table[b[0] as usize], table[b[1] as usize], table[b[2] as usize], table[b[3] as usize]])
}

/// SubWord: SubBytes of four bytes.
pub const fn sub_word(word: u32) -> u32 {
    substitute(&SBOXES.0, word)
}

/// InvSubBytes of four bytes.
pub const fn inverse_sub_word(word: u32) -> u32 {
    substitute(&SBOXES.1, word)
}

/// Doubles each byte of a word in GF(2^8).
const fn double_word(w: u32) -> u32 {
    ((w & 0x7f7f_7f7f) << 1) ^ ((w >> 7 & 0x0101_0101) * 0x1b)
}

/// MixColumns of one column: byte i becomes 2 a[i] + 3 a[i+1] + a[i+2] + a[i+3].
pub const fn mix_column(w: u32) -> u32 {
    let sum = w ^ w.rotate_right(8);
    double_word(sum) ^ w.rotate_right(8) ^ sum.rotate_right(16)
}

/// InvMixColumns of one column.
pub const fn inverse_mix_column(w: u32) -> u32 {
    // The matrix is that of MixColumns times 4 a[i] + a[i] + 4 a[i+2].
    let four = double_word(double_word(w ^ w.rotate_right(16)));
    mix_column(w ^ four)
}

/// SubBytes and ShiftRows.
const fn substitute_and_shift(s: Block) -> Block {
    let s = [sub_word(s[0]), sub_word(s[1]), sub_word(s[2]), sub_word(s[3])];
    gather(s, [0, 1, 2, 3])
}

/// InvShiftRows and InvSubBytes.
const fn inverse_substitute_and_shift(s: Block) -> Block {
    let s = [inverse_sub_word(s[0]), inverse_sub_word(s[1]), inverse_sub_word(s[2]), inverse_sub_word(s[3])];
    gather(s, [0, 3, 2, 1])
}

/// Row r of column c comes from column c + shift[r].
const fn gather(s: Block, shift: [usize; 4]) -> Block {
    let mut out = [0; 4];
    let mut c = 0;
    while c < 4 {
        let mut r = 0;
        while r < 4 {
            out[c] |= s[(c + shift[r]) % 4] & 0xff << (8 * r);
            r += 1;
        }
        c += 1;
    }
    out
}

const fn xor(a: Block, b: Block) -> Block {
    [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]]
}

/// AddRoundKey, all that round zero is.
pub const fn add_round_key(state: Block, key: Block) -> Block {
    xor(state, key)
}

pub const fn encrypt_final(state: Block, key: Block) -> Block {
    xor(substitute_and_shift(state), key)
}

pub const fn encrypt_middle(state: Block, key: Block) -> Block {
    let s = substitute_and_shift(state);
    xor([mix_column(s[0]), mix_column(s[1]), mix_column(s[2]), mix_column(s[3])], key)
}

pub const fn decrypt_final(state: Block, key: Block) -> Block {
    xor(inverse_substitute_and_shift(state), key)
}

/// The key is added before InvMixColumns.
pub const fn decrypt_middle(state: Block, key: Block) -> Block {
    let s = decrypt_final(state, key);
    [inverse_mix_column(s[0]), inverse_mix_column(s[1]), inverse_mix_column(s[2]), inverse_mix_column(s[3])]
}

/// The round constants of the key expansion, that of round 1 first.
pub const RCON: [u8; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

/// RotWord: the first byte goes last.
const fn rotate_word(w: u32) -> u32 {
    w.rotate_right(8)
}

/// The words of the next round key: each is the one before it and the old one, the first with `seed` before it.
const fn chain(seed: u32, old: Block) -> Block {
    let w0 = seed ^ old[0];
    let w1 = w0 ^ old[1];
    let w2 = w1 ^ old[2];
    [w0, w1, w2, w2 ^ old[3]]
}

/// A round of the AES-128 key expansion: round key number `round` from the one before it. The low four bits of `round`
/// count; those outside 1 to 10 have bit 3 inverted, as VAESKF1 says.
pub const fn expand_key_128(round: u8, current: Block) -> Block {
    let mut round = round & 0xf;
    if round == 0 || round > 10 {
        round ^= 8;
    }
    chain(sub_word(rotate_word(current[3])) ^ RCON[round as usize - 1] as u32, current)
}

/// A round of the AES-256 key expansion: round key number `round` from the two before it. The low four bits of `round`
/// count; those outside 2 to 14 have bit 3 inverted, as VAESKF2 says.
pub const fn expand_key_256(round: u8, previous: Block, current: Block) -> Block {
    let mut round = round & 0xf;
    if round < 2 || round > 14 {
        round ^= 8;
    }
    let seed = match round & 1 {
        1 => sub_word(current[3]),
        _ => sub_word(rotate_word(current[3])) ^ RCON[round as usize / 2 - 1] as u32,
    };
    chain(seed, previous)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(hex: u128) -> Block {
        let b = hex.to_be_bytes();
        std::array::from_fn(|i| u32::from_le_bytes(b[4 * i..][..4].try_into().unwrap()))
    }

    const PLAIN: u128 = 0x00112233445566778899aabbccddeeff;

    /// Encrypts and decrypts with a key schedule of any length.
    fn both_ways(keys: &[Block], cipher: u128) {
        let last = keys.len() - 1;
        let mut s = add_round_key(block(PLAIN), keys[0]);
        for key in &keys[1..last] {
            s = encrypt_middle(s, *key);
        }
        s = encrypt_final(s, keys[last]);
        assert_eq!(s, block(cipher));
        s = add_round_key(s, keys[last]);
        for key in keys[1..last].iter().rev() {
            s = decrypt_middle(s, *key);
        }
        assert_eq!(decrypt_final(s, keys[0]), block(PLAIN));
    }

    /// FIPS 197, appendix C.1.
    #[test]
    fn aes_128_example() {
        let mut keys = vec![block(0x000102030405060708090a0b0c0d0e0f)];
        for round in 1..=10 {
            keys.push(expand_key_128(round, keys[keys.len() - 1]));
        }
        assert_eq!(keys[10], block(0x13111d7fe3944a17f307a78b4d2b30c5));
        both_ways(&keys, 0x69c4e0d86a7b0430d8cdb78070b4c55a);
    }

    /// FIPS 197, appendix C.3.
    #[test]
    fn aes_256_example() {
        let mut keys = vec![block(0x000102030405060708090a0b0c0d0e0f), block(0x101112131415161718191a1b1c1d1e1f)];
        for round in 2..=14 {
            keys.push(expand_key_256(round, keys[keys.len() - 2], keys[keys.len() - 1]));
        }
        assert_eq!(keys[14], block(0x24fc79ccbf0979e9371ac23c6d68de36));
        both_ways(&keys, 0x8ea2b7ca516745bfeafc49904b496089);
    }

    #[test]
    fn round_numbers_out_of_range_have_bit_3_inverted() {
        let key = block(PLAIN);
        for (given, meant) in [(0, 8), (11, 3), (12, 4), (13, 5), (14, 6), (15, 7), (17, 1)] {
            assert_eq!(expand_key_128(given, key), expand_key_128(meant, key));
        }
        for (given, meant) in [(0, 8), (1, 9), (15, 7), (18, 2)] {
            assert_eq!(expand_key_256(given, key, key), expand_key_256(meant, key, key));
        }
    }

    #[test]
    fn substitution_is_a_permutation_and_mixing_has_an_inverse() {
        for i in 0..=255u8 {
            assert_eq!(INVERSE_SBOX[usize::from(SBOX[usize::from(i)])], i);
            let w = u32::from(i).wrapping_mul(0x0103_0509);
            assert_eq!(inverse_mix_column(mix_column(w)), w);
        }
        assert_eq!((SBOX[0x53], SBOX[0xff]), (0xed, 0x16));
        assert_eq!(mix_column(0x455313db), 0xbca14d8e);
    }
}
