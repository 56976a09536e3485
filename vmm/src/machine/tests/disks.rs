//! Snapshots of machines that write to disks.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ::devices::backend::block::Image;

use serde_json::{Value, json};

use super::monitor::with_person;
use super::qmp::with_program;
use super::snapshot::{load, machine, save};
use super::*;
use crate::snapshot::{Disk, Pages, Saver, Scope, Tracked};

/// Several chunks, and no whole number of clusters or blocks.
const SIZE: usize = (7 << 20) + 1536;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An image with a pattern.
    fn image(&self, name: &str, size: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, pattern(size)).unwrap();
        path
    }
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i / 4096 % 200 + 1) as u8).collect()
}

/// A machine with a disk `d`.
fn with_disk(image: &Path, options: &str) -> Machine {
    let drive = format!("file={},id=d{options}", image.display());
    machine(&["-nodefaults", "-m", "6M", "-drive", &drive])
}

fn image(machine: &Machine) -> &Image {
    &machine.kept.disks[0].image
}

fn contents(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; image.len() as usize];
    image.read(0, &mut bytes).unwrap();
    bytes
}

/// Writes here and there, and zeroes.
fn scribble(image: &Image, seed: u64, writes: u64) {
    let mut random = Xorshift(seed);
    for n in 0..writes {
        let at = random.next() % (image.len() / 512) * 512;
        let len = (512 * (1 + random.next() % 300)).min(image.len() - at);
        match random.next() % 4 {
            0 => image.zero(at..at + len).unwrap(),
            _ => image.put(at, &vec![(seed + n) as u8; len as usize]).unwrap(),
        }
    }
}

/// Both monitors change a disk's size, and what cannot be is said.
#[test]
fn disks_are_resized() {
    let dir = tempfile::tempdir().unwrap();
    let drive = |name: &str, options: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, [7; 8192]).unwrap();
        (format!("file={},if=none,id={name}{options}", file.display()), format!("virtio-blk-device,drive={name}"))
    };
    let all = [drive("d0", ""), drive("ro", ",readonly=on"), drive("over", ",snapshot=on"), drive("idle", "")];
    let mut words = vec!["-m", "6M"];
    for (drive, device) in &all {
        words.extend(["-drive", drive]);
        if !drive.contains("idle") {
            words.extend(["-device", device]);
        }
    }
    with_program(&words, |mut p, _| {
        let resize = |arguments: Value| json!({ "execute": "block_resize", "arguments": arguments });
        assert_eq!(p.send(resize(json!({ "device": "d0", "size": 1 << 20 }))), json!({ "return": {} }));
        let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert_eq!(size("d0"), 1 << 20);
        let blocks = p.ask("query-block");
        assert_eq!(blocks[0]["inserted"]["image"]["virtual-size"], 1 << 20);
        let mut no = |arguments: Value| {
            let answer = p.send(resize(arguments));
            answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        assert_eq!(no(json!({ "device": "d0", "size": 1000 })), "size 1000 is not a multiple of 512 bytes");
        assert_eq!(no(json!({ "device": "d0", "size": -512 })), "Parameter 'size' expects a >0 size");
        assert_eq!(no(json!({ "node-name": "zz", "size": 512 })), "Cannot find device='' nor node-name='zz'");
        assert_eq!(no(json!({ "device": "ro", "size": 512 })), "drive 'ro' cannot be resized: it is read-only");
        assert_eq!(no(json!({ "device": "idle", "size": 512 })), "drive 'idle' cannot be resized: it is no disk's");
        let over = no(json!({ "node-name": "over", "size": 512 }));
        assert!(over.starts_with("drive 'over' cannot be resized: with snapshot=on"), "{over}");
        let large = no(json!({ "device": "d0", "size": i64::MAX - 511 }));
        assert!(large.starts_with("drive 'd0' cannot be resized: "), "{large}");
        assert_eq!((size("d0"), size("ro"), size("over"), size("idle")), (1 << 20, 8192, 8192, 8192));
        assert_eq!(p.human("block_resize d0 4K"), "");
        assert_eq!(std::fs::read(dir.path().join("d0")).unwrap(), [7; 4096]);
        assert_eq!(p.human("block_resize d0 1"), "");
        assert_eq!(size("d0"), 1 << 20);
        assert!(p.human("block_resize d0 1x").starts_with("Error: size '1x' must be a size"));
        assert!(p.human("block_resize zz 1").starts_with("Error: there is no drive 'zz'"));
        p.quit();
    });
    // The image of a guest that is elsewhere is, too.
    let (drive, device) = &all[0];
    with_program(&["-m", "6M", "-incoming", "defer", "-drive", drive, "-device", device], |mut p, _| {
        assert!(p.human("block_resize d0 4K").contains("the guest is not here"));
        assert_eq!(std::fs::metadata(dir.path().join("d0")).unwrap().len(), 1 << 20);
        p.quit();
    });
}

fn save_to_map(machine: &Machine, path: &Path) {
    machine.board.stop();
    let mut file = crate::files::AtomicFile::new(path).unwrap();
    let disks = Disk::kept(&machine.kept.disks, Scope::All);
    let state = machine.machine_state(true).unwrap();
    crate::snapshot::save_mapped(
        file.file(),
        &machine.identity(),
        &state,
        &machine.board.ram,
        &disks,
        &crate::snapshot::Progress::default(),
        &|_| false,
    )
    .unwrap();
    file.commit().unwrap();
}

#[test]
fn what_was_written_to_a_temporary_disk_comes_along() {
    let dir = Folder::new();
    let base = dir.image("base", SIZE);
    let from = with_disk(&base, ",snapshot=on");
    scribble(image(&from), 11, 40);
    image(&from).zero(3 << 20..5 << 20).unwrap();
    image(&from).put(image(&from).len() - 512, &[0x77; 512]).unwrap();
    let held = contents(image(&from));
    let (plain, mapped) = (dir.path("plain"), dir.path("mapped"));
    save(&from, &plain);
    save_to_map(&from, &mapped);
    let mut clones: Vec<_> = (0..3).map(|_| with_disk(&base, ",snapshot=on")).collect();
    load(&mut clones[0], &plain, Pages::Copy).unwrap();
    load(&mut clones[1], &mapped, Pages::Copy).unwrap();
    load(&mut clones[2], &mapped, Pages::Map).unwrap();
    for clone in &clones {
        assert!(contents(image(clone)) == held);
        // What is zero takes no room, here as there.
        let (Image::Overlay(there), Image::Overlay(here)) = (image(&from), image(clone)) else { panic!() };
        assert_eq!(here.present().bytes(), there.present().bytes());
    }
    // Each has its own from now on.
    scribble(image(&clones[1]), 5, 10);
    assert!(contents(image(&clones[2])) == held && contents(image(&from)) == held);
    assert!(std::fs::read(&base).unwrap() == pattern(SIZE), "the image is as it was");
    // Back to it, from something else.
    load(&mut clones[1], &plain, Pages::Copy).unwrap();
    assert!(contents(image(&clones[1])) == held);
}

#[test]
fn a_snapshot_without_changes_takes_them_away() {
    let dir = Folder::new();
    let base = dir.image("base", SIZE);
    let path = dir.path("snapshot");
    save(&with_disk(&base, ",readonly=on"), &path);
    let mut to = with_disk(&base, ",snapshot=on");
    scribble(image(&to), 3, 10);
    load(&mut to, &path, Pages::Copy).unwrap();
    let mut held = pattern(SIZE);
    held.resize(image(&to).len() as usize, 0);
    assert!(contents(image(&to)) == held);
}

#[test]
fn an_image_goes_back_to_what_it_was() {
    for options in ["", ",cache=none", ",cache=directsync,aio=threads", ",discard=unmap", ",cache=unsafe"] {
        let dir = Folder::new();
        let disk = dir.path("disk");
        // A hole, data, a hole, and a last sector that is no whole one.
        let file = File::create(&disk).unwrap();
        file.set_len(9 * 1024 * 1024 + 100).unwrap();
        file.write_all_at(&pattern(1 << 20), 3 << 20).unwrap();
        file.write_all_at(&[0x55; 90], 9 * 1024 * 1024).unwrap();
        let before = std::fs::read(&disk).unwrap();
        let blocks = std::fs::metadata(&disk).unwrap().blocks();
        let drive = format!("file={},id=d{options}", disk.display());
        let words = config(&["-nodefaults", "-m", "6M", "-drive", &drive]);
        // Not every file system has direct I/O.
        let Ok(mut machine) = Machine::new(words, &Mock::default()) else {
            assert!(options.contains("none") || options.contains("direct"), "{options}");
            continue;
        };
        machine.power_on().unwrap();
        let path = dir.path("snapshot");
        save(&machine, &path);
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20, "holes and RAM take no room");
        scribble(image(&machine), 17, 60);
        assert!(std::fs::read(&disk).unwrap()[..before.len()] != before[..]);
        load(&mut machine, &path, Pages::Check).unwrap();
        let mut after = std::fs::read(&disk).unwrap();
        assert!(after.drain(before.len()..).all(|byte| byte == 0));
        assert!(after == before, "{options}");
        let now = std::fs::metadata(&disk).unwrap().blocks();
        assert!(now <= blocks + 16, "{options}: {now} blocks of {blocks}");
    }
}

/// Where the guest goes on without the file that it wrote to.
#[test]
fn contents_go_to_a_temporary_disk_as_well() {
    let dir = Folder::new();
    let (disk, base, path) = (dir.image("disk", SIZE), dir.path("base"), dir.path("snapshot"));
    let from = with_disk(&disk, "");
    image(&from).zero(1 << 20..3 << 20).unwrap();
    let held = contents(image(&from));
    save(&from, &path);
    std::fs::write(&base, vec![9; SIZE]).unwrap();
    let mut to = with_disk(&base, ",snapshot=on");
    load(&mut to, &path, Pages::Copy).unwrap();
    assert!(contents(image(&to)) == held);
    assert!(std::fs::read(&base).unwrap() == [9; SIZE]);
}

#[test]
fn other_disks_are_refused() {
    let dir = Folder::new();
    let (disk, other) = (dir.image("disk", SIZE), dir.image("other", SIZE));
    let (small, path, contents) = (dir.image("small", SIZE - 1024), dir.path("snapshot"), dir.path("contents"));
    File::options().write(true).open(&other).unwrap().write_all_at(b"another table", 1 << 20).unwrap();
    let from = with_disk(&disk, ",snapshot=on");
    scribble(image(&from), 5, 4);
    save(&from, &path);
    drop(from);
    save(&with_disk(&disk, ""), &contents);
    let refused = |path: &Path, words: &[&str]| {
        let words = [&["-nodefaults", "-m", "6M"], words].concat();
        let mut to = machine(&words);
        let error = load(&mut to, path, Pages::Copy).unwrap_err();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    let drive = |file: &Path, rest: &str| format!("file={},{rest}", file.display());
    let error = refused(&path, &["-drive", &drive(&small, "id=d,snapshot=on")]);
    assert_eq!(error, "drive 'd': the snapshot has 7341568 bytes, the image here has 7340544");
    let error = refused(&path, &["-drive", &drive(&other, "id=d,snapshot=on")]);
    assert_eq!(error, "drive 'd': the image here has other contents than the one it was saved with");
    let error = refused(&path, &["-drive", &drive(&disk, "id=d")]);
    assert_eq!(error, "drive 'd': it had snapshot=on when it was saved, and has not here");
    for words in ["id=e,snapshot=on", "id=d,readonly=on"] {
        let error = refused(&path, &["-drive", &drive(&disk, words)]);
        assert!(error.starts_with("drive 'd': ") && error.contains("no drive here that"), "{error}");
    }
    let error = refused(&contents, &["-drive", &drive(&small, "id=d")]);
    assert_eq!(error, "drive 'd': the snapshot has 7341568 bytes, the image here has 7340544");
    assert!(std::fs::read(&disk).unwrap() == pattern(SIZE));
    assert!(std::fs::read(&small).unwrap() == pattern(SIZE - 1024));
    // Contents are put back after all of the file was looked at: a stream is gone by then.
    let to = with_disk(&disk, "");
    let error = crate::error_chain(&to.loader().stream(File::open(&contents).unwrap()).unwrap_err());
    assert!(error.contains("from files only"), "{error}");
}

#[test]
fn damaged_disks_are_refused_and_change_nothing() {
    let dir = Folder::new();
    let (disk, base) = (dir.image("disk", 3 << 20), dir.image("base", 3 << 20));
    let drives = [format!("file={},id=d", disk.display()), format!("file={},id=t,snapshot=on", base.display())];
    let mut machine = machine(&["-nodefaults", "-m", "6M", "-drive", &drives[0], "-drive", &drives[1]]);
    let disks: Vec<_> = machine.kept.disks.iter().map(|disk| disk.image.clone()).collect();
    disks.iter().for_each(|image| scribble(image, 3, 20));
    let (good, bad) = (dir.path("good"), dir.path("bad"));
    save(&machine, &good);
    let bytes = std::fs::read(&good).unwrap();
    disks.iter().for_each(|image| scribble(image, 4, 20));
    let held = disks.iter().map(contents).collect::<Vec<_>>();
    let refused = |bytes: &[u8]| {
        std::fs::write(&bad, bytes).unwrap();
        let file = File::open(&bad).unwrap();
        crate::error_chain(&machine.loader().file(&file, Pages::Check).unwrap_err())
    };
    for cut in (0..bytes.len()).step_by(bytes.len() / 50) {
        assert!(refused(&bytes[..cut]).contains("cut off"));
    }
    for at in (0..bytes.len()).step_by(bytes.len() / 200) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
    }
    assert!(disks.iter().map(contents).collect::<Vec<_>>() == held);
    load(&mut machine, &good, Pages::Copy).unwrap();
    assert!(disks.iter().map(contents).collect::<Vec<_>>() != held);
}

/// What is written while it is copied is copied again.
#[test]
fn a_disk_moves_while_it_is_written_to() {
    let dir = Folder::new();
    let base = dir.image("base", 64 << 20);
    let from = with_disk(&base, ",snapshot=on");
    scribble(image(&from), 21, 50);
    let disks = Disk::kept(&from.kept.disks, Scope::Temporary);
    let mut saver = Saver::new(Vec::new(), &from.identity(), &disks).unwrap();
    let tracked = Tracked::start(&disks);
    thread::scope(|scope| {
        let image = image(&from).clone();
        let writer = scope.spawn(move || scribble(&image, 22, 2000));
        let mut all = true;
        while !writer.is_finished() {
            for (number, disk, clusters) in tracked.take(std::mem::take(&mut all)) {
                saver.disk(number, disk, Some(&clusters), &|_| false).unwrap();
            }
        }
    });
    for (number, disk, clusters) in tracked.take(false) {
        saver.disk(number, disk, Some(&clusters), &|_| false).unwrap();
    }
    assert_eq!(tracked.left(), 0);
    saver.all(&from.board.ram, &|_| false).unwrap();
    saver.state(&from.machine_state(true).unwrap()).unwrap();
    let (bytes, _) = saver.finish().unwrap();
    let to = with_disk(&base, ",snapshot=on");
    to.loader().stream(&bytes[..]).unwrap();
    assert!(contents(image(&to)) == contents(image(&from)));
}

/// By the monitor, with a flash bank in a file.
#[test]
fn named_snapshots_have_the_disks() {
    let dir = Folder::new();
    let (disk, flash, snapshots) = (dir.image("disk", SIZE), dir.image("flash", 32 << 20), dir.path("snapshots"));
    std::fs::create_dir(&snapshots).unwrap();
    let board = format!("virt,snapshots={}", snapshots.display());
    let disk_option = format!("file={},id=d", disk.display());
    let flash_option = format!("if=pflash,file={},id=f", flash.display());
    let words = ["-m", "6M", "-bios", "none", "-M", &board, "-drive", &disk_option, "-drive", &flash_option];
    let write = |path: &Path| {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(&[0xee; 5000], 70_000).unwrap();
    };
    with_person(&words, |mut p, _| {
        assert_eq!(p.ask("savevm one"), "");
        let listed = p.ask("info snapshots");
        let line = listed.lines().find(|line| line.contains("one")).unwrap_or_else(|| panic!("{listed}"));
        assert!(line.contains("iB"), "{listed}");
        assert!(std::fs::metadata(snapshots.join("one.vireo")).unwrap().len() > 10_000);
        write(&disk);
        write(&flash);
        assert_eq!(p.ask("loadvm one"), "");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert!(std::fs::read(&disk).unwrap()[..SIZE] == pattern(SIZE)[..]);
        assert!(std::fs::read(&flash).unwrap() == pattern(32 << 20));
        write(&disk);
        p.0.write_all(b"q\n").unwrap();
    });
    // At the start, too.
    let words = [&words[..], &["-loadvm", "one"]].concat();
    with_person(&words, |mut p, _| {
        while p.ask("info status").contains("inmigrate") {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert!(std::fs::read(&disk).unwrap()[..SIZE] == pattern(SIZE)[..]);
        p.0.write_all(b"q\n").unwrap();
    });
    // A move leaves the image where it is.
    write(&disk);
    let held = std::fs::read(&disk).unwrap();
    let moved = dir.path("moved");
    with_person(&words[..words.len() - 2], |mut p, _| {
        assert!(p.ask(&format!("migrate file:{}", moved.display())).contains("completed"));
        p.0.write_all(b"q\n").unwrap();
    });
    let incoming = format!("file:{}", moved.display());
    with_person(&[&words[..words.len() - 2], &["-incoming", &incoming]].concat(), |mut p, _| {
        while p.ask("info status").contains("inmigrate") {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(std::fs::read(&disk).unwrap() == held);
        p.0.write_all(b"q\n").unwrap();
    });
}
