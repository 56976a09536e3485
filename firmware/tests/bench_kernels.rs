//! The benchmark guest's computations, on the host: the results that the guest must have are those of another machine,
//! and where there is one, of a published value.

#[path = "../guests/bench/src/kernels/mod.rs"]
mod kernels;

use kernels::{Kernel, bytecode, compress, copy, crc, float, hash, mix, queens, sieve, sort};

const ALL: &[&Kernel] = &[
    &sort::KERNEL,
    &hash::KERNEL,
    &sieve::KERNEL,
    &crc::KERNEL,
    &compress::KERNEL,
    &copy::KERNEL,
    &bytecode::KERNEL,
    &queens::KERNEL,
    &mix::KERNEL,
    &float::N_BODY,
    &float::GEMM_F64,
    &float::GEMM_F32,
    &float::MANDELBROT,
    &float::POLYNOMIALS,
    &float::CONVERSIONS_KERNEL,
    &float::DIVISIONS_KERNEL,
];

#[test]
fn results_are_the_hosts() {
    for kernel in ALL {
        // Whatever is in the memory before.
        for filler in [0, u64::MAX, 0x5555_aaaa_1234_fedc] {
            let mut memory = vec![filler; kernel.bytes / 8];
            let got = (kernel.run)(&mut memory);
            assert!(got == kernel.want, "{}: {got:#x}, want {:#x}", kernel.name, kernel.want);
            assert_eq!(kernel.repeat(&mut memory, 2), kernel.want, "{} again", kernel.name);
        }
        assert!(kernel.per > 0 && ["op", "byte", "flop"].contains(&kernel.unit), "{}: {}", kernel.name, kernel.what);
    }
}

#[test]
fn a_wrong_result_is_kept() {
    let wrong = Kernel { want: 91, ..queens::KERNEL };
    assert_eq!(wrong.repeat(&mut [], 3), 92);
}

#[test]
fn hashes_and_checksums_are_the_published_ones() {
    let abc = [0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223, 0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad];
    assert_eq!(hash::sha256(b"abc"), abc);
    let two_blocks = hash::sha256(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq");
    assert_eq!(two_blocks[..2], [0x248d6a61, 0xd20638b8]);
    assert_eq!(crc::crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn quicksort_sorts_what_is_awkward() {
    let mut random = kernels::Random(9);
    for len in [0, 1, 2, 15, 16, 17, 18, 1000] {
        let same = vec![7; len];
        let up: Vec<u32> = (0..len as u32).collect();
        let down: Vec<u32> = up.iter().rev().copied().collect();
        let few: Vec<u32> = up.iter().map(|_| random.below(3)).collect();
        let any: Vec<u32> = up.iter().map(|_| random.next()).collect();
        for mut data in [same, up, down, few, any] {
            let mut want = data.clone();
            want.sort_unstable();
            sort::quicksort(&mut data);
            assert_eq!(data, want);
        }
    }
}

#[test]
fn what_is_packed_unpacks() {
    let mut random = kernels::Random(10);
    let noise: Vec<u8> = (0..5000).map(|_| random.next() as u8).collect();
    let texts: [&[u8]; 6] =
        [b"", b"a", b"abcabcabcabcabcabc", &[0; 4000], &noise, &[noise.clone(), noise.clone()].concat()];
    for text in texts {
        let mut packed = vec![0; text.len() + text.len() / 64 + 64];
        let len = compress::pack(text, &mut [0; 4096], &mut packed);
        let mut back = vec![0; text.len()];
        assert_eq!(compress::unpack(&packed[..len], &mut back), text.len());
        assert_eq!(back, text);
    }
}
