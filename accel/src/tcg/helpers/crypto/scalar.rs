//! The instructions of scalar cryptography (Zkn, Zks on RV64), on values of integer registers.
//!
//! A register holds two columns of an AES state, the first in its low half; an instruction with two operands gets all
//! four and returns the first two of the result. The others come from the same instruction with the operands exchanged,
//! since ShiftRows does not care which column is the first.

use super::aes::{self, Block};
use super::{sm3, sm4};

const fn state(a: u64, b: u64) -> Block {
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

const fn extend(word: u32) -> u64 {
    word as i32 as u64
}

/// AES64ES.
pub const fn aes64_encrypt_final(a: u64, b: u64) -> u64 {
    let s = aes::encrypt_final(state(a, b), [0; 4]);
    pair(s[0], s[1])
}

/// AES64ESM.
pub const fn aes64_encrypt_middle(a: u64, b: u64) -> u64 {
    let s = aes::encrypt_middle(state(a, b), [0; 4]);
    pair(s[0], s[1])
}

/// AES64DS.
pub const fn aes64_decrypt_final(a: u64, b: u64) -> u64 {
    let s = aes::decrypt_final(state(a, b), [0; 4]);
    pair(s[0], s[1])
}

/// AES64DSM.
pub const fn aes64_decrypt_middle(a: u64, b: u64) -> u64 {
    let s = aes::decrypt_middle(state(a, b), [0; 4]);
    pair(s[0], s[1])
}

/// AES64IM.
pub const fn aes64_inverse_mix(a: u64) -> u64 {
    pair(aes::inverse_mix_column(a as u32), aes::inverse_mix_column((a >> 32) as u32))
}

/// The constant of AES64KS1I, which rotates the word too; 10 is for the rounds that do neither.
pub const fn aes64_round_constant(round: u64) -> Option<u8> {
    if round < 10 { Some(aes::RCON[round as usize]) } else { None }
}

/// AES64KS1I; `round` is 0 to 10.
pub const fn aes64_key_1(a: u64, round: u64) -> u64 {
    let word = (a >> 32) as u32;
    let word = match aes64_round_constant(round) {
        Some(constant) => aes::sub_word(word.rotate_right(8)) ^ constant as u32,
        None => aes::sub_word(word),
    };
    pair(word, word)
}

/// AES64KS2.
pub const fn aes64_key_2(a: u64, b: u64) -> u64 {
    let low = (a >> 32) as u32 ^ b as u32;
    pair(low, low ^ (b >> 32) as u32)
}

/// SM3P0.
pub const fn sm3_p0(a: u64) -> u64 {
    extend(sm3::p0(a as u32))
}

/// SM3P1.
pub const fn sm3_p1(a: u64) -> u64 {
    extend(sm3::p1(a as u32))
}

/// Byte `at` of `b` substituted, as a word of its own.
const fn sm4_substitute(b: u64, at: u32) -> u32 {
    sm4::SUBSTITUTION[(b >> (8 * at) & 0xff) as usize] as u32
}

/// SM4ED: the part of byte `at` in a round. The standard's words are big-endian, the registers are not.
pub const fn sm4_round(a: u64, b: u64, at: u32) -> u64 {
    let mixed = sm4::mix(sm4_substitute(b, at).swap_bytes()).swap_bytes();
    extend(mixed.rotate_left(8 * at) ^ a as u32)
}

/// SM4KS: the same of the key expansion.
pub const fn sm4_key(a: u64, b: u64, at: u32) -> u64 {
    let mixed = sm4::mix_key(sm4_substitute(b, at).swap_bytes()).swap_bytes();
    extend(mixed.rotate_left(8 * at) ^ a as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(hex: u128) -> (u64, u64) {
        let b = hex.to_be_bytes();
        let half = |at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
        (half(0), half(8))
    }

    /// FIPS 197, appendix C.1, with the key schedule by AES64KS1I and AES64KS2 and both directions by two instructions
    /// a round.
    #[test]
    fn aes_128_example() {
        let mut keys = vec![halves(0x000102030405060708090a0b0c0d0e0f)];
        for round in 0..10 {
            let (k0, k1) = keys[keys.len() - 1];
            let seed = aes64_key_1(k1, round);
            let k0 = aes64_key_2(seed, k0);
            keys.push((k0, aes64_key_2(k0, k1)));
        }
        assert_eq!(keys[10], halves(0x13111d7fe3944a17f307a78b4d2b30c5));
        let plain = halves(0x00112233445566778899aabbccddeeff);
        let (mut a, mut b) = (plain.0 ^ keys[0].0, plain.1 ^ keys[0].1);
        for (k0, k1) in &keys[1..10] {
            (a, b) = (aes64_encrypt_middle(a, b) ^ k0, aes64_encrypt_middle(b, a) ^ k1);
        }
        (a, b) = (aes64_encrypt_final(a, b) ^ keys[10].0, aes64_encrypt_final(b, a) ^ keys[10].1);
        assert_eq!((a, b), halves(0x69c4e0d86a7b0430d8cdb78070b4c55a));
        // The equivalent inverse cipher: its round keys go through AES64IM.
        (a, b) = (a ^ keys[10].0, b ^ keys[10].1);
        for (k0, k1) in keys[1..10].iter().rev() {
            let (k0, k1) = (aes64_inverse_mix(*k0), aes64_inverse_mix(*k1));
            (a, b) = (aes64_decrypt_middle(a, b) ^ k0, aes64_decrypt_middle(b, a) ^ k1);
        }
        (a, b) = (aes64_decrypt_final(a, b) ^ keys[0].0, aes64_decrypt_final(b, a) ^ keys[0].1);
        assert_eq!((a, b), plain);
    }

    /// The four bytes of a word together are a round of the standard.
    #[test]
    fn four_bytes_make_a_round_of_sm4() {
        for w in [0x0123_4567u32, 0x89ab_cdef, 0xffff_0000, 0x8000_0001] {
            let mut round = 0;
            let mut key = 0;
            for at in 0..4 {
                round = sm4_round(round, w.swap_bytes().into(), at);
                key = sm4_key(key, w.swap_bytes().into(), at);
            }
            assert_eq!(round, extend(sm4::mix(sm4::sub_word(w)).swap_bytes()));
            assert_eq!(key, extend(sm4::mix_key(sm4::sub_word(w)).swap_bytes()));
        }
    }
}
