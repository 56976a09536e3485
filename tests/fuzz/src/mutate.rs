//! Bad inputs from good ones.

use fastrand::Rng;

/// Inputs do not grow beyond this.
const LEN_MAX: usize = 1 << 20;

/// Values at which arithmetic breaks.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX - 4095,
    u64::MAX,
];

/// An input: one of the seeds with up to eight changes. Empty inputs have a turn, too.
pub fn input(random: &mut Rng, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = random.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..1 + random.u8(..8) {
        change(random, &mut bytes, seeds, words);
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn change(random: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
    let len = bytes.len();
    let at = random.usize(..=len);
    match random.u8(..11) {
        0 => bytes.truncate(at),
        1..=3 if at < len => bytes[at] ^= 1 << random.u8(..8),
        4 if at < len => bytes[at] = random.u8(..),
        5 => {
            let size = 1 << random.u8(..4);
            let value = random.choice(EDGES).unwrap_or_default();
            let value = if random.bool() { value.to_le_bytes() } else { value.to_be_bytes() };
            let value = &value[if random.bool() { 0..size } else { 8 - size..8 }];
            bytes.splice(at..len.min(at + size), value.iter().copied());
        }
        6 => {
            // A part goes, or comes twice.
            let end = random.usize(at..=len.min(at + 64));
            let part = bytes[at..end].to_vec();
            match random.bool() {
                true => drop(bytes.drain(at..end)),
                false => drop(bytes.splice(at..at, part)),
            }
        }
        7 => {
            // The rest is another's.
            if let Some(other) = random.choice(seeds) {
                bytes.truncate(at);
                bytes.extend(&other[random.usize(..=other.len())..]);
            }
        }
        8 => drop(bytes.splice(at..at, (0..random.u8(..32)).map(|_| random.u8(..)).collect::<Vec<_>>())),
        _ => {
            if let Some(word) = random.choice(words) {
                let end = if random.bool() { at } else { len.min(at + word.len()) };
                bytes.splice(at..end, word.iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs_and_others_make_others() {
        let seeds = [b"one".to_vec(), vec![0; 300]];
        let all = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..500).map(|_| input(&mut random, &seeds, &[b"word"])).collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        let made: std::collections::BTreeSet<_> = all(3).into_iter().collect();
        assert!(made.len() > 400, "{}", made.len());
        assert!(made.iter().any(|bytes| bytes.windows(4).any(|w| w == b"word")));
    }
}
