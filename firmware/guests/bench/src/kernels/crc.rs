//! CRC-32 (IEEE 802.3, reflected), a byte at a time by a table.

use super::{Kernel, Random, take};

const LEN: usize = 16 << 10;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut c, mut bit) = (i as u32, 0);
        while bit < 8 {
            c = if c & 1 != 0 { 0xedb8_8320 ^ c >> 1 } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |c, b| TABLE[usize::from(c as u8 ^ b)] ^ c >> 8)
}

fn run(mut memory: &mut [u64]) -> u64 {
    let data = take::<u8>(&mut memory, LEN);
    let mut random = Random(1);
    for four in data.as_chunks_mut::<4>().0 {
        *four = random.next().to_le_bytes();
    }
    u64::from(crc32(data))
}

pub const KERNEL: Kernel = Kernel {
    name: "crc",
    unit: "byte",
    per: LEN as u64,
    what: "CRC-32 by a table of 16 KiB that are made anew",
    bytes: LEN,
    run,
    want: 0xa84e_b274,
};
