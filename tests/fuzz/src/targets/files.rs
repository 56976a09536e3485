//! Files that a guest is booted from.

use std::io::Write;

use devices::GuestRam;
use firmware::boot::{Bios, BootPlan, BootRequest, KernelSource};
use firmware::fdt::{self, DeviceTree, Node};
use vm_memory::GuestAddress;

use super::{choice, one_line};
use crate::{Run, Target};

pub const TREE: Target =
    Target { name: "device-tree", rounds: 6000, seeds: tree_seeds, words: TREE_WORDS, open: || Box::new(tree) };
pub const KERNEL: Target =
    Target { name: "kernel", rounds: 3000, seeds: kernel_seeds, words: KERNEL_WORDS, open: kernel };

const TREE_WORDS: &[&[u8]] = &[
    b"\xd0\x0d\xfe\xed",
    b"\0\0\0\x01",
    b"\0\0\0\x02",
    b"\0\0\0\x03",
    b"\0\0\0\x04",
    b"\0\0\0\x09",
    b"\0\0\0\x11",
    b"\0\0\0\x10",
    b"chosen\0\0",
    b"rng-seed\0",
    b"a/b\0",
    b"\xff\xff\xff\xfc",
];

fn tree_seeds() -> Vec<Vec<u8>> {
    let cpu = Node::new("cpu@0").with("reg", &0u32).with("riscv,isa", "rv64imafdc").with("status", "okay");
    let cpus = Node::new("cpus").with("#address-cells", &1u32).with_child(cpu);
    let mut root = Node::new("").with("#address-cells", &2u32).with("compatible", "riscv-virtio").with_child(cpus);
    root.ensure("/chosen").set_bytes("rng-seed", vec![7; 32]);
    root.ensure("/soc/serial@10000000").set("interrupts", &10u32);
    let tree = DeviceTree { root, reservations: vec![(0x8000_0000, 0x1000)], boot_hart: 0 };
    let small = DeviceTree::default();
    let mut deep = Node::new("n");
    for _ in 0..40 {
        deep = Node::new("n").with_child(deep);
    }
    let deep = DeviceTree { root: Node::new("").with_child(deep), ..DeviceTree::default() };
    [tree, small, deep].map(|tree| tree.to_dtb().expect("a blob")).to_vec()
}

fn tree(blob: &[u8]) {
    let in_chosen = fdt::value_in(blob, "/chosen", "rng-seed");
    if let Ok(Some(place)) = &in_chosen {
        assert!(blob.get(place.clone()).is_some(), "{place:?}");
    }
    match DeviceTree::parse(blob) {
        Err(error) => one_line(&vmm::error_chain(&error)),
        // What was read is written, or there is a reason; and read again it is the same.
        Ok(tree) => match tree.to_dtb() {
            Err(error) => one_line(&vmm::error_chain(&error)),
            Ok(again) => {
                assert_eq!(DeviceTree::parse(&again).expect("what was written is read"), tree);
                tree.to_dts().expect("a text");
            }
        },
    }
}

const KERNEL_WORDS: &[&[u8]] = &[
    b"\x7fELF",
    b"\x02\x01\x01",
    b"\xf3\x00",
    b"MZ",
    b"zimg",
    b"gzip",
    b"zstd22",
    b"RISCV\0\0\0",
    b"RSC\x05",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\x38\x00",
    b"\x40\x00",
    b"\x00\x00\x20\x80\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
];

/// An ELF file with one segment and a symbol.
fn elf() -> Vec<u8> {
    let mut file = Vec::new();
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for value in [2, 243] {
        half(&mut file, value);
    }
    word(&mut file, 1);
    // Entry, program headers, section headers.
    for value in [0x8020_0000, 64, 256] {
        long(&mut file, value);
    }
    word(&mut file, 5);
    for value in [64, 56, 1, 64, 4, 1] {
        half(&mut file, value);
    }
    // PT_LOAD, R-X: 16 bytes from 0x80, and as many zeros.
    word(&mut file, 1);
    word(&mut file, 5);
    for value in [0x80, 0x8020_0000, 0x8020_0000, 16, 32, 4096] {
        long(&mut file, value);
    }
    file.resize(0x80, 0);
    file.extend([0x13, 0, 0, 0].repeat(4));
    // At 0x90 names, at 0xb0 two symbols.
    file.extend(b"\0.shstrtab\0tohost\0.symtab\0");
    file.resize(0xb0 + 24, 0);
    word(&mut file, 11);
    file.extend([0x11, 0, 1, 0]);
    long(&mut file, 0x8020_0008);
    long(&mut file, 8);
    file.resize(256, 0);
    let mut section = |name: u32, kind: u32, at: u64, len: u64, link: u32, entry: u64| {
        word(&mut file, name);
        word(&mut file, kind);
        for value in [0, 0, at, len] {
            long(&mut file, value);
        }
        word(&mut file, link);
        word(&mut file, 1);
        long(&mut file, 1);
        long(&mut file, entry);
    };
    section(0, 0, 0, 0, 0, 0);
    section(1, 3, 0x90, 27, 0, 0);
    section(18, 2, 0xb0, 48, 1, 24);
    section(1, 1, 0x80, 16, 0, 0);
    file
}

/// An `Image` of the kernel's.
fn image() -> Vec<u8> {
    let mut file = vec![0x13, 0, 0, 0, 0x13, 0, 0, 0];
    for value in [0x20_0000u64, 0x1000, 0] {
        file.extend(value.to_le_bytes());
    }
    file.extend(2u32.to_le_bytes());
    file.extend([0; 12]);
    file.extend(b"RISCV\0\0\0RSC\x05");
    file.extend([0; 4]);
    file.resize(512, 0x13);
    file
}

/// A gzip file in which nothing is compressed.
fn gzip(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("a short file");
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01".to_vec();
    file.extend(len.to_le_bytes().into_iter().chain((!len).to_le_bytes()));
    file.extend(data);
    file.extend(crc32fast::hash(data).to_le_bytes());
    file.extend(u32::from(len).to_le_bytes());
    file
}

fn kernel_seeds() -> Vec<Vec<u8>> {
    let files = [elf(), image(), gzip(&image()), gzip(&elf()), vec![0x13; 64]];
    files.iter().flat_map(|file| [0, 1].map(|way| [&[way], &file[..]].concat())).collect()
}

fn kernel() -> Run {
    const BASE: u64 = 0x8000_0000;
    const SIZE: u64 = 8 << 20;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ram: GuestRam = GuestRam::from_ranges(&[(GuestAddress(BASE), SIZE as usize)]).expect("memory");
    Box::new(move |input| {
        let (way, bytes) = choice(input);
        let path = folder.path().join("file");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("room on the disk");
        let kernel = (way & 1 == 0).then(|| KernelSource::File(path.clone()));
        let bios = if way & 1 == 0 { Bios::Builtin } else { Bios::File(path) };
        let request = BootRequest { ram: BASE..BASE + SIZE, bios, kernel, initrd: None, flash: None, symbols: true };
        match BootPlan::new(&request, &mut |_, _| Ok(DeviceTree::default())) {
            Err(error) => one_line(&vmm::error_chain(&error)),
            Ok(plan) => plan.load(&ram).expect("what was planned fits"),
        }
    })
}
