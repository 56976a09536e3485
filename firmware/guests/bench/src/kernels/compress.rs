//! A compressor of the LZ77 family, and its decompressor: text of words is packed, unpacked and compared.
//!
//! The format: a byte below 128 is that many and one more plain bytes, which follow; from 128 on it is a copy of
//! `byte - 128 + 4` bytes from a distance, whose two bytes follow, low first.

use super::{Kernel, Random, take};

const LEN: usize = 16 << 10;
const PACKED_MAX: usize = LEN + LEN / 64;
const TABLE: usize = 4096;
const MEMORY: usize = 2 * LEN + PACKED_MAX + 2 * TABLE + 64;

const COPY_MIN: usize = 4;
const COPY_MAX: usize = COPY_MIN + 127;
const PLAIN_MAX: usize = 128;

const WORDS: &[&[u8]] = &[
    b"the ",
    b"hart ",
    b"reads ",
    b"a ",
    b"page ",
    b"table ",
    b"and ",
    b"then ",
    b"translates ",
    b"its ",
    b"address ",
    b"into ",
    b"another, ",
    b"which ",
    b"is ",
    b"kept.\n",
];

/// Words in a random order, with a number now and then.
fn write_text(text: &mut [u8]) {
    let mut random = Random(4);
    let mut at = 0;
    while at < text.len() {
        let digits = [b'0' + random.below(10) as u8, b'0' + random.below(10) as u8, b' '];
        let word = if random.below(8) == 0 { &digits[..] } else { WORDS[random.below(WORDS.len() as u32) as usize] };
        let len = word.len().min(text.len() - at);
        text[at..at + len].copy_from_slice(&word[..len]);
        at += len;
    }
}

/// Where bytes are put.
struct Out<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn put(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn plain(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PLAIN_MAX) {
            self.put(piece.len() as u8 - 1);
            piece.iter().for_each(|b| self.put(*b));
        }
    }
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `table` holds, by hash of four bytes, where they were last, plus one. Returns how many bytes came out.
pub fn pack(text: &[u8], table: &mut [u16], packed: &mut [u8]) -> usize {
    table.fill(0);
    let mut out = Out { bytes: packed, len: 0 };
    let (mut at, mut plain) = (0, 0);
    while at + COPY_MIN <= text.len() {
        let key = four(text, at);
        let slot = (key.wrapping_mul(0x9e37_79b1) >> 20) as usize;
        let before = usize::from(core::mem::replace(&mut table[slot], at as u16 + 1));
        if before == 0 || four(text, before - 1) != key {
            at += 1;
            continue;
        }
        let from = before - 1;
        let longest = COPY_MAX.min(text.len() - at);
        let len = (COPY_MIN..longest).find(|i| text[from + i] != text[at + i]).unwrap_or(longest);
        out.plain(&text[plain..at]);
        out.put(128 + (len - COPY_MIN) as u8);
        let distance = (at - from) as u16;
        distance.to_le_bytes().into_iter().for_each(|b| out.put(b));
        at += len;
        plain = at;
    }
    out.plain(&text[plain..]);
    out.len
}

/// Returns how many bytes came out.
pub fn unpack(packed: &[u8], text: &mut [u8]) -> usize {
    let (mut at, mut len) = (0, 0);
    while at < packed.len() {
        let token = usize::from(packed[at]);
        if token < 128 {
            let count = token + 1;
            text[len..len + count].copy_from_slice(&packed[at + 1..at + 1 + count]);
            at += 1 + count;
            len += count;
        } else {
            let distance = usize::from(u16::from_le_bytes([packed[at + 1], packed[at + 2]]));
            let count = token - 128 + COPY_MIN;
            // Byte by byte: what is copied may overlap what it makes.
            for i in len..len + count {
                text[i] = text[i - distance];
            }
            at += 3;
            len += count;
        }
    }
    len
}

/// How long the packed text is, and whether it unpacks to what it was.
fn run(mut memory: &mut [u64]) -> u64 {
    let text = take::<u8>(&mut memory, LEN);
    let back = take::<u8>(&mut memory, LEN);
    let packed = take::<u8>(&mut memory, PACKED_MAX);
    let table = take::<u16>(&mut memory, TABLE);
    write_text(text);
    let packed_len = pack(text, table, packed);
    let back_len = unpack(&packed[..packed_len], back);
    (packed_len as u64) << 1 | u64::from(back_len == LEN && text == back)
}

pub const KERNEL: Kernel = Kernel {
    name: "compress",
    unit: "byte",
    per: LEN as u64,
    what: "16 KiB of text are made, packed (LZ77), unpacked and compared",
    bytes: MEMORY,
    run,
    want: 0x2086 << 1 | 1,
};
