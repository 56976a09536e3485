//! Snapshots: truncated, with flipped bits, of other versions and machines, and with right checksums over wrong contents.
//!
//! An input is a snapshot without the pages of RAM that are mapped; its first byte says whether checksums are made right.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use devices::GuestRam;
use devices::backend::block::{BlockOptions, open_image};
use vm_memory::{Bytes, GuestAddress};
use vmm::snapshot::{Disk, GO, Identity, Loader, Pages, Saver};

use super::{caged, choice, one_line};
use crate::guest::{self, Guest, Visitor};
use crate::{Run, Target};

const HEADER: usize = 32;
const HEAD: usize = 92;
const RAM_BASE: u64 = 0x8000_0000;
const RAM_SIZE: usize = 6 << 20;

const WORDS: &[&[u8]] = &[
    b"VIREOSNP",
    b"machine\0",
    b"run\0",
    b"sbi\0",
    b"hart.0\0",
    b"hart.1\0",
    b"hart.7\0",
    b"ram\0",
    b"ram-map\0",
    b"disks\0",
    b"disk\0",
    b"Contents",
    b"Changes",
    b"end\0",
    b"serial@10000000\0",
    b"riscv.sifive.plic@c000000\0",
    b"goldfish_rtc@101000\0",
    // CBOR: the longest array, map, text and bytes; nested arrays; null; a float; a number below zero.
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff",
    b"\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81",
    b"\x9f",
    b"\xf6",
    b"\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x1b\x00\x00\x00\x00\x80\x60\x00\x00",
    b"state",
    b"running",
    b"slots",
];

pub const READER: Target = Target { name: "snapshot", rounds: 3000, seeds, words: WORDS, open: reader };
pub const LOAD: Target = Target { name: "snapshot-load", rounds: 150, seeds, words: WORDS, open: load };
pub const INCOMING: Target = Target { name: "snapshot-incoming", rounds: 120, seeds, words: WORDS, open: incoming };

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Where the first section is.
fn sections(snapshot: &[u8]) -> usize {
    number(snapshot, 16).map_or(0, |at| at as usize)
}

/// Bytes of each disk of the reader's: no whole number of blocks.
const DISK: usize = (3 << 20) + 512;

/// One disk that is written to, and one whose changes are temporary.
fn disks(folder: &Path) -> Vec<Disk> {
    let disk = |id: &str, snapshot| {
        let path = folder.join(id);
        std::fs::write(&path, vec![7; DISK]).expect("room on the disk");
        let options = BlockOptions { locking: false, snapshot, ..BlockOptions::default() };
        Disk { id: id.to_owned(), image: open_image(&path, &options).expect("an image").1 }
    };
    vec![disk("d", false), disk("t", true)]
}

/// A snapshot with the contents of disks in front of its state.
fn with_disks(folder: &Path, saved: &[u8]) -> Vec<u8> {
    let disks = disks(folder);
    for disk in &disks {
        disk.image.zero(8192..DISK as u64 / 2).expect("room on the disk");
        disk.image.put(4096 * 300, &[9; 5000]).expect("room on the disk");
    }
    let (config, mut all) = (guest::config(&guest::words(folder, &[])), Vec::new());
    let mut saver = Saver::new(&mut all, &Identity::of(&config, "tcg", 10_000_000), &disks).expect("memory");
    for (number, disk) in disks.iter().enumerate() {
        saver.disk(number, disk, None, &|_| false).expect("an image that is read");
    }
    saver.finish().expect("memory");
    // Without the end, and the identity of what follows.
    let (ours, theirs) = (parts(&all), parts(saved));
    let end = ours.last().map_or(0, |(_, place)| place.start);
    let rest = theirs.first().map_or(0, |(_, place)| place.end);
    repaired([&all[..end], &saved[rest..]].concat())
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut all = Vec::new();
    for mapped in [false, true] {
        let saved = Guest::saved(folder.path(), mapped);
        if !mapped {
            let disks = with_disks(folder.path(), &saved);
            all.extend([0, 1, 2, 3, 5, 7].map(|way| [&[way], &disks[..]].concat()));
        }
        // The pages that are mapped are the target's.
        let collapsed = [&saved[..HEADER], &saved[sections(&saved)..]].concat();
        all.extend([0, 1, 2, 3].map(|way| [&[way], &collapsed[..]].concat()));
    }
    all
}

/// Names and places of the sections, as far as they are whole.
fn parts(snapshot: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    let mut all = Vec::new();
    let mut at = HEADER;
    while let Some(len) = number(snapshot, at + 72)
        && let Some(end) = usize::try_from(len).ok().and_then(|len| len.checked_add(at + HEAD))
        && end <= snapshot.len()
    {
        let name: Vec<u8> = snapshot[at..at + 64].iter().copied().take_while(|byte| *byte != 0).collect();
        all.push((String::from_utf8_lossy(&name).into_owned(), at..end));
        at = end;
    }
    all
}

/// The same with right numbers and checksums: what is wrong goes deeper.
fn repaired(mut snapshot: Vec<u8>) -> Vec<u8> {
    let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    if snapshot.len() >= HEADER {
        let header = sum(&snapshot[..28]);
        snapshot[28..HEADER].copy_from_slice(&header);
    }
    for (i, (_, place)) in (0u32..).zip(parts(&snapshot)) {
        let section = &mut snapshot[place];
        let body = sum(&section[HEAD..]);
        section[68..72].copy_from_slice(&body);
        section[80..84].copy_from_slice(&i.to_le_bytes());
        let head = sum(&section[..88]);
        section[88..HEAD].copy_from_slice(&head);
    }
    snapshot
}

/// The input as a snapshot.
fn snapshot(way: u8, bytes: &[u8]) -> Vec<u8> {
    if way & 1 == 0 { bytes.to_vec() } else { repaired(bytes.to_vec()) }
}

/// The snapshot as a file: sections are where its header says, if that is no place far away.
fn write(path: &Path, snapshot: &[u8]) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
    let (header, rest) = snapshot.split_at(snapshot.len().min(HEADER));
    let at = number(header, 16).filter(|at| (HEADER as u64..64 << 20).contains(at)).unwrap_or(HEADER as u64);
    file.write_all_at(header, 0).and_then(|()| file.write_all_at(rest, at)).expect("room on the disk");
    file
}

fn reader() -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let saved = Guest::saved(folder.path(), false);
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM_BASE), RAM_SIZE)]).expect("memory");
    let others = ["machine", "run", "sbi", "ram", "end"];
    let is_device = |name: &String| !others.contains(&name.as_str()) && !name.starts_with("hart.");
    let devices = parts(&saved).into_iter().map(|(name, _)| name).filter(is_device).collect();
    let config = guest::config(&guest::words(folder.path(), &[]));
    let here = Identity::of(&config, "tcg", 10_000_000);
    let with_disks = with_disks(folder.path(), &saved);
    let loader = Loader { here, ram: Arc::new(ram), devices, disks: disks(folder.path()), progress: Arc::default() };
    loader.stream(&saved[..]).expect("what was saved is taken");
    let path = folder.path().join("input");
    let taken = loader.file(&write(&path, &with_disks), Pages::Copy).expect("what was saved is taken");
    assert!(taken.has_images, "one disk is an image");
    let contents = move |loader: &Loader| {
        let mut bytes = vec![0; RAM_SIZE];
        loader.ram.read_slice(&mut bytes, GuestAddress(RAM_BASE)).expect("RAM");
        let mut sums = vec![crc32fast::hash(&bytes)];
        let bytes = &mut bytes[..DISK];
        for disk in &loader.disks {
            disk.image.read(0, bytes).expect("an image that is read");
            sums.push(crc32fast::hash(bytes));
        }
        sums
    };
    Box::new(move |input| {
        let _ = &folder;
        let (way, bytes) = choice(input);
        let bytes = snapshot(way, bytes);
        let before = contents(&loader);
        let read = match way >> 1 & 3 {
            0 => loader.stream(&bytes[..]),
            1 => {
                let file = write(&path, &bytes);
                let read = loader.file(&file, Pages::Check);
                assert_eq!(contents(&loader), before, "a look changes nothing");
                if read.is_ok() {
                    loader.images(&file).expect("what was looked at is taken");
                }
                read
            }
            2 => loader.file(&write(&path, &bytes), Pages::Copy),
            _ => loader.file(&write(&path, &bytes), Pages::Map),
        };
        if let Err(error) = read {
            one_line(&vmm::error_chain(&error));
        }
    })
}

/// `loadvm` in a machine that runs.
fn load() -> Run {
    let folder = caged();
    let saved = Guest::saved(folder.path(), false);
    let mut guest = Guest::start(folder.path());
    let (good, bad) = (folder.path().join("good.vireo"), folder.path().join("bad.vireo"));
    std::fs::write(&good, &saved).expect("room on the disk");
    Box::new(move |input| {
        let _ = &folder;
        let (way, bytes) = choice(input);
        drop(write(&bad, &snapshot(way, bytes)));
        match guest.ask("loadvm bad") {
            Some(answer) if !answer.is_empty() => {
                assert!(answer.starts_with("Error: cannot load 'bad': "), "{answer}");
                one_line(answer.trim_end());
                assert!(guest.counts(), "the guest that was not replaced goes on");
            }
            // Another guest came, which may be broken: the machine takes the good one still. Or it ended the machine.
            taken => {
                let there = taken.is_some() && guest.ask("info registers -a").is_some();
                if !there || guest.ask("loadvm good").is_none_or(|answer| !answer.is_empty()) || !guest.counts() {
                    let _ = guest.end();
                    guest = Guest::start(&guest.folder.clone());
                }
            }
        }
    })
}

/// `-incoming` from a file, a mapped file, and a socket.
fn incoming() -> Run {
    let folder = caged();
    Box::new(move |input| {
        let (way, bytes) = choice(input);
        let bytes = snapshot(way, bytes);
        let path = folder.path().join("input");
        let socket = folder.path().join("way");
        let from = match way >> 1 & 3 {
            0 => format!("file:{}", path.display()),
            1 | 2 => format!("file:{},map=on", path.display()),
            _ => format!("unix:{}", socket.display()),
        };
        drop(write(&path, &bytes));
        for name in ["side", "hmp", "qmp", "gdb", "way"] {
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        let words = guest::words(folder.path(), &["-incoming", &from]);
        let machine = thread::Builder::new().name("machine".to_owned()).spawn(move || guest::run(&words));
        let machine = machine.expect("a thread");
        if way >> 1 & 3 == 3 {
            let mut to = loop {
                match UnixStream::connect(&socket) {
                    Ok(to) => break to,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            };
            // A reader that has seen enough hangs up. One that takes it finds that it may go on.
            let _ = to.write_all(&bytes).and_then(|()| to.write_all(GO)).and_then(|()| to.shutdown(Shutdown::Write));
            let _ = to.read_to_end(&mut Vec::new());
        }
        if let Some(visitor) = Visitor::at(&folder.path().join("side"), &machine) {
            visitor.quit_when_it_is_here();
        }
        if let Err(error) = machine.join().expect("the machine's thread does not panic") {
            one_line(&error);
        }
    })
}
