//! The hash function SM3 (GB/T 32905-2016): rounds and message expansion. Words are in the standard's order of bytes;
//! the vector instructions swap them on the way in and out.

/// The permutation of the compression.
pub const fn p0(x: u32) -> u32 {
    x ^ x.rotate_left(9) ^ x.rotate_left(17)
}

/// The permutation of the message expansion.
pub const fn p1(x: u32) -> u32 {
    x ^ x.rotate_left(15) ^ x.rotate_left(23)
}

/// Words 16 to 23 of the message from words 0 to 7 and 8 to 15.
pub const fn expand(w0_7: [u32; 8], w8_15: [u32; 8]) -> [u32; 8] {
    let mut w = [0; 24];
    let mut i = 0;
    while i < 8 {
        w[i] = w0_7[i];
        w[i + 8] = w8_15[i];
        i += 1;
    }
    let mut next = [0; 8];
    let mut j = 16;
    while j < 24 {
        w[j] = p1(w[j - 16] ^ w[j - 9] ^ w[j - 3].rotate_left(15)) ^ w[j - 13].rotate_left(7) ^ w[j - 6];
        next[j - 16] = w[j];
        j += 1;
    }
    next
}

/// Rounds `2 * pair` and the one after it of the state `[a, b, c, d, e, f, g, h]`. Of the words of the message, 0 and 1
/// are those of the two rounds, 4 and 5 those four further on. `pair` is below 32.
pub const fn compress(state: [u32; 8], words: [u32; 8], pair: u32) -> [u32; 8] {
    let once = round(state, words[0], words[4], 2 * pair);
    round(once, words[1], words[5], 2 * pair + 1)
}

const fn round([a, b, c, d, e, f, g, h]: [u32; 8], w: u32, ahead: u32, j: u32) -> [u32; 8] {
    let early = j < 16;
    let constant: u32 = if early { 0x79cc_4519 } else { 0x7a87_9d8a };
    let turned = a.rotate_left(12);
    let ss1 = turned.wrapping_add(e).wrapping_add(constant.rotate_left(j % 32)).rotate_left(7);
    let ff = if early { a ^ b ^ c } else { a & b | a & c | b & c };
    let gg = if early { e ^ f ^ g } else { e & f | !e & g };
    let tt1 = ff.wrapping_add(d).wrapping_add(ss1 ^ turned).wrapping_add(w ^ ahead);
    let tt2 = gg.wrapping_add(h).wrapping_add(ss1).wrapping_add(w);
    [tt1, a, b.rotate_left(9), c, p0(tt2), e, f.rotate_left(19), g]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard's first example.
    #[test]
    fn hash_of_abc() {
        let start =
            [0x7380_166f, 0x4914_b2b9, 0x1724_42d7, 0xda8a_0600, 0xa96f_30bc, 0x1631_38aa, 0xe38d_ee4d, 0xb0fb_0e4e];
        let mut w = vec![0u32; 16];
        (w[0], w[15]) = (0x6162_6380, 24);
        while w.len() < 72 {
            let at = |first: usize| std::array::from_fn(|i| w[first + i]);
            let next = expand(at(w.len() - 16), at(w.len() - 8));
            w.extend(next);
        }
        let mut state = start;
        for pair in 0..32 {
            let words = std::array::from_fn(|i| w[2 * pair + i]);
            state = compress(state, words, pair as u32);
        }
        let hash: [u32; 8] = std::array::from_fn(|i| state[i] ^ start[i]);
        let want =
            [0x66c7_f0f4, 0x62ee_edd9, 0xd1f2_d46b, 0xdc10_e4e2, 0x4167_c487, 0x5cf2_f7a2, 0x297d_a02b, 0x8f4b_a8e0];
        assert_eq!(hash, want);
    }
}
