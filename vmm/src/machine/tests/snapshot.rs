//! Machines that are saved and go on elsewhere.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use accel::GuestBus;
use vm_memory::Bytes;

use super::monitor::{Leaving, Person, connect, with_person};
use super::*;
use crate::files::AtomicFile;
use crate::snapshot::{Disk, MachineState, Pages, Progress, Saver, Scope, save_mapped};

/// A machine that is switched on, and whose harts stand.
pub fn machine(words: &[&str]) -> Machine {
    let mut config = config(words);
    let mock = Mock::default();
    take_irqchip(&mut config, &mock).unwrap();
    let mut machine = Machine::new(config, &mock).unwrap();
    machine.power_on().unwrap();
    machine.board.clock.pause();
    machine
}

/// All but what goes on by itself: the wall clock.
pub fn state(machine: &Machine) -> MachineState {
    machine.board.stop();
    let mut state = machine.machine_state(true).unwrap();
    state.devices.retain(|name, _| !name.starts_with("goldfish_rtc"));
    state
}

fn ram(machine: &Machine) -> Vec<u8> {
    let mut bytes = vec![0; machine.config.ram_size as usize];
    machine.board.ram.read_slice(&mut bytes, vm_memory::GuestAddress(RAM_BASE)).unwrap();
    bytes
}

pub fn save(machine: &Machine, path: &Path) {
    machine.board.stop();
    let disks = Disk::kept(&machine.kept.disks, Scope::All);
    let mut saver = Saver::new(AtomicFile::new(path).unwrap(), &machine.identity(), &disks).unwrap();
    for (number, disk) in disks.iter().enumerate() {
        saver.disk(number, disk, None, &|_| false).unwrap();
    }
    saver.all(&machine.board.ram, &|_| false).unwrap();
    saver.state(&machine.machine_state(true).unwrap()).unwrap();
    let (file, summary) = saver.finish().unwrap();
    file.commit().unwrap();
    assert_eq!(summary.bytes, std::fs::metadata(path).unwrap().len());
}

pub fn load(machine: &mut Machine, path: &Path, pages: Pages) -> Result<(), String> {
    let text = |error| crate::error_chain(&error);
    machine.board.stop();
    let file = File::open(path).unwrap();
    let loaded = machine.loader().file(&file, pages).map_err(text)?;
    machine.restore(loaded.state).map_err(text)?;
    if loaded.has_images { machine.loader().images(&file).map_err(text) } else { Ok(()) }
}

/// Accesses of all kinds to all chips.
pub fn shake(machine: &Machine, seed: u64, accesses: usize) {
    for step in garbage(seed, accesses) {
        let _ = match step {
            Step::Load { gpa, len } => machine.board.bus.read(gpa, &mut vec![0; len]),
            Step::Store { gpa, data } => machine.board.bus.write(gpa, &data),
            other => panic!("{other:?}"),
        };
    }
}

/// Hosts on which the tests are emulated as a rule, and slow.
const EMULATED: bool = cfg!(target_arch = "riscv64");

/// Devices without a state: what they do is done at once.
const STATELESS: [&str; 2] = ["riscv.sifive.test", "riscv.aclint.swi"];

#[test]
fn every_device_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let drive = format!("file={}", disk.display());
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let m_mode = ["-bios", "none", "-kernel", kernel.to_str().unwrap()];
    let devices: &[&str] = &[
        "-drive",
        &drive,
        "-device",
        "virtio-rng-device",
        "-nic",
        "user",
        "-device",
        "virtio-serial-device",
        "-chardev",
        "null,id=n",
        "-device",
        "virtserialport,chardev=n,nr=3,name=x",
    ];
    let boards: [&[&str]; 8] = [
        &[],
        &["-global", "virtio-mmio.force-legacy=on"],
        &["-M", "virt,aia=aplic"],
        &["-M", "virt,aia=aplic-imsic,aia-guests=3"],
        &m_mode,
        &[&m_mode[..], &["-M", "virt,aclint=on"]].concat(),
        &[&m_mode[..], &["-M", "virt,aia=aplic"]].concat(),
        &[&m_mode[..], &["-M", "virt,aia=aplic-imsic,aia-guests=1,htif=on", "-semihosting"]].concat(),
    ];
    let path = dir.path().join("snapshot");
    let mut seen = std::collections::BTreeSet::new();
    for (round, board) in boards.into_iter().enumerate() {
        let words = [&["-nodefaults", "-m", "16M", "-smp", "2"], devices, board].concat();
        // One writer an image.
        let (before, memory) = {
            let from = machine(&words);
            shake(&from, 0x9e37_79b9_7f4a_7c15 + round as u64, 20_000);
            from.board.clock.set(123_456_789);
            save(&from, &path);
            for (base, device) in from.board.bus.iter() {
                let empty = device.name().starts_with("virtio-mmio.") && device.name() >= "virtio-mmio.4";
                let stateless = STATELESS.contains(&device.name());
                let mut id = [0; 4];
                let _ = from.board.bus.read(base + 8, &mut id);
                let has = device.save_state().is_some();
                let shared = device.name() == "riscv.aplic" && base != map::APLIC_M.base;
                assert!(has || stateless || shared || empty || id == [0; 4], "{} has no state", device.name());
                seen.extend(has.then(|| device.name().to_owned()));
            }
            (state(&from), ram(&from))
        };
        let mut to = machine(&words);
        assert_ne!(state(&to), before, "round {round}: there is something to bring back");
        load(&mut to, &path, Pages::Copy).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(state(&to), before, "round {round}");
        assert!(ram(&to) == memory, "round {round}: RAM");
    }
    let chips = ["riscv.sifive.plic", "riscv.aplic", "riscv.imsic", "riscv.sifive.clint", "riscv.aclint.mtimer"];
    for chip in [&chips[..], &["riscv.aclint.swi", "goldfish_rtc", "serial", "virt.flash0"]].concat() {
        assert!(seen.contains(chip), "{chip} was not there: {seen:?}");
    }
}

#[test]
fn damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    let words = ["-nodefaults", "-m", "6M"];
    let from = machine(&words);
    save(&from, &good);
    let bytes = std::fs::read(&good).unwrap();
    let mut to = machine(&words);
    shake(&to, 5, 20_000);
    let before = state(&to);
    let mut refused = |bytes: &[u8], what: &str| {
        std::fs::write(&bad, bytes).unwrap();
        let error = load(&mut to, &bad, Pages::Check).expect_err(what);
        assert!(!error.contains('\n'), "{error}");
        error
    };
    // Every boundary of sections, and what is around it.
    let mut at = 32;
    let mut boundaries = vec![0, 31, 32];
    while at < bytes.len() {
        at += 92 + u64::from_le_bytes(bytes[at + 72..at + 80].try_into().unwrap()) as usize;
        boundaries.extend([at - 1, at, at + 1]);
    }
    assert_eq!(boundaries.pop(), Some(bytes.len() + 1));
    assert_eq!(boundaries.pop(), Some(bytes.len()));
    for cut in boundaries {
        assert!(refused(&bytes[..cut], "a cut").contains("cut off"));
    }
    assert!(refused(&[&bytes[..], &[0]].concat(), "a byte more").contains("behind its end"));
    for at in (0..bytes.len()).step_by(if EMULATED { 601 } else { 61 }) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped, "a flip");
    }
    assert!(state(&to) == before, "nothing has changed");
}

#[test]
fn other_machines_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    save(&machine(&["-nodefaults", "-m", "6M", "-smp", "2"]), &path);
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, [0x13; 64]).unwrap();
    let refused = |words: &[&str]| {
        let mut to = machine(&[&["-nodefaults"], words].concat());
        load(&mut to, &path, Pages::Copy).unwrap_err()
    };
    let same = ["-m", "6M", "-smp", "2"];
    assert_eq!(refused(&["-m", "8M", "-smp", "2"]), "bytes of RAM: the snapshot has 6291456, this machine has 8388608");
    assert_eq!(refused(&["-m", "6M", "-smp", "3"]), "number of harts: the snapshot has 2, this machine has 3");
    let other = |words: &[&str]| refused(&[&same, words].concat());
    assert_eq!(other(&["-M", "spike", "-kernel", kernel.to_str().unwrap()]).split(':').next(), Some("machine type"));
    assert!(other(&["-M", "virt,aia=aplic"]).contains("interrupt controller: the snapshot has 'plic'"));
    assert!(other(&["-M", "virt,timebase=1000000"]).contains("has 10000000, this machine has 1000000"));
    let isa = other(&["-cpu", "rv64,v=off,zba=off"]);
    assert!(isa.contains("ISA: only the snapshot has zba; only this machine has nothing else"), "{isa}");
    assert!(other(&["-device", "virtio-rng-device"]).contains("virtio devices: the snapshot has [], this machine has"));
}

#[test]
fn sections_that_do_not_fit_are_refused_and_change_nothing() {
    let from = machine(&["-nodefaults", "-m", "6M", "-smp", "2", "-device", "virtio-rng-device"]);
    shake(&from, 7, 20_000);
    let good = state(&from);
    let mut to = machine(&["-nodefaults", "-m", "6M", "-smp", "2", "-device", "virtio-rng-device"]);
    let before = state(&to);
    for name in good.devices.keys() {
        let mut bad = good.clone();
        let device = bad.devices.get_mut(name).unwrap();
        device.version = 99;
        let error = crate::error_chain(&to.restore(bad.clone()).unwrap_err());
        assert!(error.starts_with(name.as_str()) && error.contains("version 99"), "{error}");
        for byte in (0..bad.devices[name].bytes.len().min(400)).step_by(if EMULATED { 50 } else { 5 }) {
            let device = bad.devices.get_mut(name).unwrap();
            device.version = good.devices[name].version;
            device.bytes.clone_from(&good.devices[name].bytes);
            device.bytes[byte] ^= 0x41;
            // Some values may be others; none may do harm.
            if to.restore(bad.clone()).is_ok() {
                shake(&to, byte as u64, 300);
                to.board.stop();
                to.restore(before.clone()).unwrap();
            }
        }
    }
    assert_eq!(state(&to), before);
}

#[test]
fn ram_is_mapped_and_stays_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let words = ["-nodefaults", "-m", "8M"];
    let from = machine(&words);
    shake(&from, 3, 20_000);
    from.board.stop();
    let mut file = AtomicFile::new(&path).unwrap();
    save_mapped(
        file.file(),
        &from.identity(),
        &from.machine_state(true).unwrap(),
        &from.board.ram,
        &[],
        &Progress::default(),
        &|_| false,
    )
    .unwrap();
    file.commit().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut clones = [machine(&words), machine(&words), machine(&words)];
    load(&mut clones[0], &path, Pages::Copy).unwrap();
    for clone in &mut clones[1..] {
        load(clone, &path, Pages::Map).unwrap();
    }
    for clone in &clones {
        assert!(ram(clone) == ram(&from) && state(clone) == state(&from));
    }
    let at = vm_memory::GuestAddress(RAM_BASE + 0x3000);
    clones[1].board.ram.write_obj(0x1234_5678_u64, at).unwrap();
    assert_ne!(clones[2].board.ram.read_obj::<u64>(at).unwrap(), 0x1234_5678);
    assert!(std::fs::read(&path).unwrap() == bytes, "the file is as it was");
    // A flip in a page is seen where pages are looked at.
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.write_all_at(&[0x5a], (64 << 10) + (3 << 20) + 17).unwrap();
    let mut other = machine(&words);
    let error = load(&mut other, &path, Pages::Copy).unwrap_err();
    assert!(error.contains("RAM at 0x80200000 is damaged"), "{error}");
    for len in [100, 64 << 10, bytes.len() as u64 / 2, bytes.len() as u64 - 1] {
        file.set_len(len).unwrap();
        load(&mut other, &path, Pages::Map).unwrap_err();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
    // The other layout cannot be mapped.
    let plain = dir.path().join("plain");
    save(&from, &plain);
    assert!(load(&mut other, &plain, Pages::Map).unwrap_err().contains("mapped-ram on"));
}

/// Runs a machine on the translator; somebody is at its console and its monitor, which has to let it go on: what a guest
/// says to nobody is lost.
fn with_guest<T: Send>(
    dir: &Path,
    words: &[&str],
    user: impl FnOnce(&mut UnixStream, &mut Person) -> T + Send,
) -> (Result<Ending, String>, T) {
    let (console, monitor) = (dir.join("console"), dir.join("monitor"));
    let place = |path: &Path| format!("unix:{},server=on,wait=off", path.display());
    let (serial, steer) = (place(&console), place(&monitor));
    let words = [&["-S", "-nodefaults", "-serial", &serial, "-monitor", &steer, "-accel", "tcg"], words].concat();
    let config = config(&words);
    let engine = choose_engine(&config).unwrap();
    let machine = Machine::new(config, &*engine).unwrap();
    thread::scope(|s| {
        let control = Arc::clone(&machine.control);
        let user = s.spawn(move || {
            let _leaving = Leaving(control);
            user(&mut connect(&console), &mut Person::at(&monitor))
        });
        let ending = machine.run().map_err(|e| crate::error_chain(&e));
        (ending, user.join().unwrap())
    })
}

/// The guest comes, and goes on.
fn arrives(monitor: &mut Person) {
    while monitor.ask("info status").contains("inmigrate") {
        thread::sleep(Duration::from_millis(1));
    }
    monitor.ask("cont");
}

/// Whether a guest that ran goes on when it is here, is said by whoever spoke last before.
#[test]
fn a_guest_that_comes_goes_on_or_not_as_it_was_said_before() {
    let dir = tempfile::tempdir().unwrap();
    let from = format!("file:{}", dir.path().join("snapshot").display());
    with_guest(dir.path(), &["-m", "64M"], |console, monitor| {
        monitor.ask("cont");
        hear(console, "vireo> ");
        assert!(monitor.ask(&format!("migrate {from}")).contains("completed"));
    })
    .0
    .unwrap();
    // The machine has -S.
    for (said, then) in
        [(&[][..], "paused"), (&["cont"], "running"), (&["cont", "stop"], "paused"), (&["stop", "cont"], "running")]
    {
        with_guest(dir.path(), &["-m", "64M", "-incoming", "defer"], |_, monitor| {
            for word in said {
                assert_eq!(monitor.ask(word), "", "{said:?}");
                assert_eq!(monitor.ask("info status"), "VM status: paused (inmigrate)\n");
            }
            assert_eq!(monitor.ask(&format!("migrate_incoming {from}")), "");
            while monitor.ask("info status").contains("inmigrate") {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(monitor.ask("info status"), format!("VM status: {then}\n"), "{said:?}");
        })
        .0
        .unwrap();
    }
}

/// What comes up to `end`.
fn hear(console: &mut UnixStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_ne!(console.read(&mut byte).expect("the guest speaks"), 0, "the console hung up");
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

const TESTS: &str = "selftest\n";
const DONE: &str = " skipped";

/// A guest that is moved in the middle of what it does says the same as one that is not.
#[test]
fn a_guest_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let boards: [&[&str]; 3] =
        [&["-smp", "3", "-m", "64M"], &["-M", "virt,aia=aplic-imsic", "-m", "64M"], &["-cpu", "max", "-m", "64M"]];
    for board in boards {
        let (_, whole) = with_guest(dir.path(), board, |console, monitor| {
            monitor.ask("cont");
            hear(console, "vireo> ");
            console.write_all(TESTS.as_bytes()).unwrap();
            hear(console, DONE)
        });
        for middle in ["PASS integer", "PASS timer", "PASS sbi"] {
            let path = dir.path().join("snapshot");
            let (_, mut begun) = with_guest(dir.path(), board, |console, monitor| {
                monitor.ask("cont");
                hear(console, "vireo> ");
                console.write_all(TESTS.as_bytes()).unwrap();
                let mut said = hear(console, middle);
                let answer = monitor.ask(&format!("migrate file:{}", path.display()));
                assert!(answer.contains("Migration status: completed") && answer.contains("downtime: "), "{answer}");
                assert_eq!(monitor.ask("info status"), "VM status: paused (postmigrate)\n");
                // What it has said meanwhile.
                console.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                let mut rest = Vec::new();
                let _ = console.read_to_end(&mut rest);
                said.push_str(&String::from_utf8_lossy(&rest));
                said
            });
            let incoming = format!("file:{}", path.display());
            let words = [board, &["-incoming", &incoming]].concat();
            // A guest that is quicker than the monitor has said all of it, and more.
            let done = begun.find(DONE).map(|at| begun.truncate(at + DONE.len())).is_some();
            let (_, ended) = with_guest(dir.path(), &words, |console, monitor| {
                arrives(monitor);
                if done { String::new() } else { hear(console, DONE) }
            });
            assert_eq!(begun + &ended, whole, "{board:?} {middle}");
        }
    }
}

/// Over a socket, while the guest runs; a machine that does not take it leaves it where it is.
#[test]
fn a_guest_moves_to_another_program() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let socket = dirs[0].path().join("way");
    let way = format!("unix:{}", socket.display());
    let words = ["-m", "64M", "-smp", "2"];
    thread::scope(|s| {
        let (path, theirs) = (dirs[1].path(), way.clone());
        let there = s.spawn(move || {
            let wrong = run_on(&["-nodefaults", "-m", "32M", "-smp", "2", "-incoming", &theirs], vec![]);
            let error = wrong.0.unwrap_err();
            assert!(error.contains("bytes of RAM: the snapshot has 67108864, this machine has 33554432"), "{error}");
            let words = [&words[..], &["-incoming", "defer"]].concat();
            with_guest(path, &words, |console, monitor| {
                assert_eq!(monitor.ask("info status"), "VM status: paused (inmigrate)\n");
                assert_eq!(monitor.ask("cont"), "", "it is to go on when it is here");
                assert_eq!(monitor.ask(&format!("migrate_incoming {theirs}")), "");
                arrives(monitor);
                console.write_all(TESTS.as_bytes()).unwrap();
                hear(console, DONE)
            })
            .1
        });
        let (_, ()) = with_guest(dirs[0].path(), &words, |console, monitor| {
            monitor.ask("cont");
            hear(console, "vireo> ");
            let listening = || {
                while !socket.exists() {
                    thread::sleep(Duration::from_millis(1));
                }
            };
            listening();
            let answer = monitor.ask(&format!("migrate {way}"));
            assert!(answer.contains("does not take it") || answer.contains("cannot write"), "{answer}");
            assert_eq!(monitor.ask("info status"), "VM status: running\n");
            console.write_all(b"info\n").unwrap();
            hear(console, "vireo> ");
            listening();
            let answer = monitor.ask(&format!("migrate {way}"));
            assert!(answer.contains("completed"), "{answer}");
        });
        assert!(there.join().unwrap().contains(" 0 failed"));
    });
}

#[test]
fn what_cannot_be_is_said() {
    with_person(&["-m", "6M"], |mut p, _| {
        assert!(p.ask("migrate").contains("it takes [-d] PLACE"));
        assert!(
            p.ask("migrate carrier:pigeon").contains("file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT and fd:FD are")
        );
        assert!(p.ask("migrate file:/nonexistent/x").contains("cannot write 'file:/nonexistent/x'"));
        assert!(p.ask("migrate exec:cat >/dev/null; exit 3").contains("exit status: 3"));
        assert!(p.ask("migrate exec:false").contains("'exec:false' failed: exit status: 1"));
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert!(p.ask("migrate_incoming file:x").contains("was not started to wait"));
        p.ask("migrate_set_capability mapped-ram on");
        assert!(p.ask("migrate unix:/x").contains("in files only") || p.ask("migrate unix:/x").contains("connect"));
        p.0.write_all(b"q\n").unwrap();
    });
    let error = run_on(&["-nodefaults", "-incoming", "exec:false"], vec![]).0.unwrap_err();
    assert_eq!(error, "cannot take the guest from 'exec:false': 'exec:false' failed: exit status: 1");
    let words = ["-nodefaults", "-incoming", "file:/nonexistent/x"];
    let error = run_on(&words, vec![]).0.unwrap_err();
    let what = "cannot take the guest from 'file:/nonexistent/x': cannot open 'file:/nonexistent/x': No such file";
    assert!(error.starts_with(what), "{error}");
}

/// The numbers in a value.
fn numbers<'a>(value: &'a mut ciborium::Value, found: &mut Vec<&'a mut ciborium::Value>) {
    match value {
        ciborium::Value::Array(all) => all.iter_mut().for_each(|v| numbers(v, found)),
        ciborium::Value::Map(all) => all.iter_mut().for_each(|(_, v)| numbers(v, found)),
        ciborium::Value::Integer(_) => found.push(value),
        _ => {}
    }
}

/// Registers that no guest could have written: they are refused, or the hart lives with them.
#[test]
fn harts_of_any_state_do_no_harm() {
    let config = config(&["-nodefaults", "-accel", "tcg", "-cpu", "max", "-m", "16M"]);
    let engine = choose_engine(&config).unwrap();
    let mut machine = Machine::new(config, &*engine).unwrap();
    machine.power_on().unwrap();
    machine.start();
    thread::sleep(Duration::from_millis(30));
    machine.stop(RunState::Paused);
    let good = machine.machine_state(true).unwrap();
    let mut hart = Vec::new();
    ciborium::into_writer(&good.harts[0], &mut hart).unwrap();
    let mut random = Xorshift(0x1234_5678_9abc_def1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..400 {
        let mut value: ciborium::Value = ciborium::from_reader(&hart[..]).unwrap();
        let mut found = Vec::new();
        numbers(&mut value, &mut found);
        // Most are vector registers and records, which are the last.
        let few = found.len().min(600);
        for _ in 0..1 + random.next() % 3 {
            let new = match random.next() % 4 {
                0 => u64::MAX,
                1 => random.next() % 256,
                2 => 1 << (random.next() % 64),
                _ => random.next(),
            };
            *found[random.next() as usize % few] = new.into();
        }
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        let mut state = good.clone();
        match ciborium::from_reader(&bytes[..]) {
            Ok(saved) => state.harts[0] = saved,
            Err(_) => {
                refused += 1;
                continue;
            }
        }
        match machine.restore(state) {
            Err(_) => refused += 1,
            Ok(()) => {
                taken += 1;
                machine.start();
                thread::sleep(Duration::from_millis(2));
                machine.stop(RunState::Paused);
                let _ = machine.control.take();
                assert!(machine.hart_state(0).is_ok(), "{value:?}");
            }
        }
    }
    assert!(taken > 100 && refused > 10, "{taken} taken, {refused} refused");
}

/// What the guest's console, its boot and the translator have done is there to be seen.
#[test]
fn the_machine_shows_its_work() {
    let dir = tempfile::tempdir().unwrap();
    with_guest(dir.path(), &["-m", "64M", "-smp", "2"], |console, monitor| {
        monitor.ask("cont");
        hear(console, "vireo> ");
        console.write_all(b"info\n").unwrap();
        hear(console, "vireo> ");
        let irqs = monitor.ask("info irq");
        let serial = irqs.lines().find(|line| line.contains(" serial ")).unwrap_or_else(|| panic!("{irqs}"));
        let words: Vec<&str> = serial.split_whitespace().collect();
        assert_eq!(words[..2], ["10", "serial"]);
        assert!(words[3].parse::<u64>().unwrap() > 0, "{irqs}");
        assert!(irqs.contains("\n    11  goldfish_rtc          0             0\n"), "{irqs}");
        let roms = monitor.ask("info roms");
        assert!(roms.contains("addr=0000000080200000 size=0x") && roms.contains("name=\"device tree\"\n"), "{roms}");
        let jit = monitor.ask("info jit");
        assert!(jit.starts_with("hart 0\n  instructions retired") && jit.contains("\nhart 1\n"), "{jit}");
        if cfg!(target_arch = "x86_64") {
            let translated = jit.lines().find(|line| line.contains("blocks translated")).unwrap();
            assert_ne!(translated.split_whitespace().nth(2), Some("0"), "{jit}");
        }
        monitor.0.write_all(b"q\n").unwrap();
    })
    .0
    .unwrap();
}
