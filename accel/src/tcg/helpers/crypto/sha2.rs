//! SHA-2 (FIPS 180-4): the functions of SHA-256 and SHA-512, rounds and message schedule.

macro_rules! sha2 {
    ($(#[$doc:meta])* $name:ident $word:ident
        sigma0 ($a0:literal $a1:literal $a2:literal) sigma1 ($b0:literal $b1:literal $b2:literal)
        sum0 ($c0:literal $c1:literal $c2:literal) sum1 ($d0:literal $d1:literal $d2:literal)
    ) => {
        $(#[$doc])*
        pub mod $name {
            pub type Word = $word;

            /// The message schedule's function of the word 15 back: two rotations and a shift.
            pub const fn sigma0(x: Word) -> Word {
                x.rotate_right($a0) ^ x.rotate_right($a1) ^ x >> $a2
            }

            /// The message schedule's function of the word 2 back.
            pub const fn sigma1(x: Word) -> Word {
                x.rotate_right($b0) ^ x.rotate_right($b1) ^ x >> $b2
            }

            /// The compression's function of `a`.
            pub const fn sum0(x: Word) -> Word {
                x.rotate_right($c0) ^ x.rotate_right($c1) ^ x.rotate_right($c2)
            }

            /// The compression's function of `e`.
            pub const fn sum1(x: Word) -> Word {
                x.rotate_right($d0) ^ x.rotate_right($d1) ^ x.rotate_right($d2)
            }

            /// Words 16 to 19 of the message schedule from words 0 to 3, words 4 and 9 to 11, and words 12 to 15,
            /// of which 13 does not count.
            pub const fn schedule(w0_3: [Word; 4], w4_11: [Word; 4], w12_15: [Word; 4]) -> [Word; 4] {
                let [w0, w1, w2, w3] = w0_3;
                let [w4, w9, w10, w11] = w4_11;
                let [w12, _, w14, w15] = w12_15;
                let w16 = expand(w14, w9, w1, w0);
                let w17 = expand(w15, w10, w2, w1);
                let w18 = expand(w16, w11, w3, w2);
                let w19 = expand(w17, w12, w4, w3);
                [w16, w17, w18, w19]
            }

            const fn expand(back2: Word, back7: Word, back15: Word, back16: Word) -> Word {
                sigma1(back2).wrapping_add(back7).wrapping_add(sigma0(back15)).wrapping_add(back16)
            }

            /// Two rounds with the two words of the message schedule, constants added. State and result are in pairs:
            /// `feba` is `[f, e, b, a]`, `hgdc` `[h, g, d, c]`; the new `feba` is returned, the new `hgdc` is the old
            /// `feba`.
            pub const fn compress(feba: [Word; 4], hgdc: [Word; 4], words: [Word; 2]) -> [Word; 4] {
                let once = round(feba, hgdc, words[0]);
                // After one round b, c, d are the former a, b, c, and so are f, g, h.
                let [f, e, b, a] = feba;
                let [_, g, _, c] = hgdc;
                let [e2, a2] = round([e, once[0], a, once[1]], [g, f, c, b], words[1]);
                [once[0], e2, once[1], a2]
            }

            /// The new e and a.
            const fn round([f, e, b, a]: [Word; 4], [h, g, d, c]: [Word; 4], w: Word) -> [Word; 2] {
                let choice = e & f ^ !e & g;
                let majority = a & b ^ a & c ^ b & c;
                let t1 = h.wrapping_add(sum1(e)).wrapping_add(choice).wrapping_add(w);
                let t2 = sum0(a).wrapping_add(majority);
                [d.wrapping_add(t1), t1.wrapping_add(t2)]
            }
        }
    };
}

sha2! {
    /// SHA-256, and with other initial values SHA-224.
    sha256 u32 sigma0 (7 18 3) sigma1 (17 19 10) sum0 (2 13 22) sum1 (6 11 25)
}

sha2! {
    /// SHA-512 and its truncated forms.
    sha512 u64 sigma0 (1 8 7) sigma1 (19 61 6) sum0 (28 34 39) sum1 (14 18 41)
}

#[cfg(test)]
mod tests {
    /// The first `bits` bits after the point of the root of order `order` of each of the first primes, by bisection
    /// on integers: where the constants of the standard come from.
    fn constants(count: usize, order: u32, bits: u32) -> Vec<u64> {
        let primes = (2u64..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0));
        primes.take(count).map(|prime| root(prime, order, bits)).collect()
    }

    fn root(prime: u64, order: u32, bits: u32) -> u64 {
        let (mut low, mut high) = (0u128, 32u128 << bits);
        while high - low > 1 {
            let middle = (low + high) / 2;
            if power_at_most(middle, order, prime, bits) { low = middle } else { high = middle }
        }
        (low & ((1u128 << bits) - 1)) as u64
    }

    /// Whether middle^order <= prime * 2^(bits * order), with 32-bit limbs.
    fn power_at_most(middle: u128, order: u32, prime: u64, bits: u32) -> bool {
        let limbs = |v: u128| (0..4).map(|i| (v >> (32 * i)) as u32).collect::<Vec<_>>();
        let multiply = |a: &[u32], b: &[u32]| {
            let mut product = vec![0u32; a.len() + b.len()];
            for (i, x) in a.iter().enumerate() {
                let mut carry = 0u64;
                for (j, y) in b.iter().enumerate() {
                    let sum = u64::from(*x) * u64::from(*y) + u64::from(product[i + j]) + carry;
                    (product[i + j], carry) = (sum as u32, sum >> 32);
                }
                product[i + b.len()] = carry as u32;
            }
            product
        };
        let base = limbs(middle);
        let power = (1..order).fold(base.clone(), |power, _| multiply(&power, &base));
        let mut bound = vec![0u32; power.len() + 4];
        let (limb, shift) = ((bits * order / 32) as usize, bits * order % 32);
        for (i, part) in limbs(u128::from(prime) << shift).into_iter().enumerate() {
            bound[limb + i] = part;
        }
        power.iter().chain(&[0; 4]).rev().cmp(bound.iter().rev()).is_le()
    }

    macro_rules! hash_of_abc {
        ($sha:ident, $rounds:literal, $bytes:literal) => {{
            use super::$sha::{Word, compress, schedule};
            let (bits, k) = (8 * $bytes, constants($rounds, 3, 8 * $bytes));
            let h: Vec<Word> = constants(8, 2, bits).into_iter().map(|h| h as Word).collect();
            let mut block = [0u8; 16 * $bytes];
            block[..4].copy_from_slice(b"abc\x80");
            block[16 * $bytes - 1] = 24;
            let mut w: Vec<Word> =
                block.chunks(bits as usize / 8).map(|b| Word::from_be_bytes(b.try_into().unwrap())).collect();
            while w.len() < $rounds {
                let at = |i: usize| w[w.len() - 16 + i];
                let next =
                    schedule([at(0), at(1), at(2), at(3)], [at(4), at(9), at(10), at(11)], [at(12), 0, at(14), at(15)]);
                w.extend(next);
            }
            let (mut feba, mut hgdc) = ([h[5], h[4], h[1], h[0]], [h[7], h[6], h[3], h[2]]);
            for i in (0..$rounds).step_by(2) {
                let words = [0, 1].map(|n| w[i + n].wrapping_add(k[i + n] as Word));
                (feba, hgdc) = (compress(feba, hgdc, words), feba);
            }
            let state = [feba[3], feba[2], hgdc[3], hgdc[2], feba[1], feba[0], hgdc[1], hgdc[0]];
            state.iter().zip(h).map(|(s, h)| s.wrapping_add(h)).collect::<Vec<Word>>()
        }};
    }

    /// The examples of FIPS 180.
    #[test]
    fn sha256_of_abc() {
        let want =
            [0xba78_16bf, 0x8f01_cfea, 0x4141_40de, 0x5dae_2223, 0xb003_61a3, 0x9617_7a9c, 0xb410_ff61, 0xf200_15ad];
        assert_eq!(hash_of_abc!(sha256, 64, 4), want);
    }

    #[test]
    fn sha512_of_abc() {
        let want = [
            0xddaf_35a1_9361_7aba,
            0xcc41_7349_ae20_4131,
            0x12e6_fa4e_89a9_7ea2,
            0x0a9e_eee6_4b55_d39a,
            0x2192_992a_274f_c1a8,
            0x36ba_3c23_a3fe_ebbd,
            0x454d_4423_643c_e80e,
            0x2a9a_c94f_a54c_a49f,
        ];
        assert_eq!(hash_of_abc!(sha512, 80, 8), want);
    }
}
