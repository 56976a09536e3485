//! Snapshots with names, while others look on.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::json;
use vm_memory::{Bytes, GuestAddress};

use super::gdb::Client;
use super::monitor::{PATIENCE, Person, with_person, with_prepared};
use super::qmp::Program;
use super::*;
use crate::snapshot::Pages;

/// A machine with a folder for snapshots, at whose sockets others are. Its threads for snapshots wait to be let begin.
pub struct Held {
    dir: tempfile::TempDir,
    pub words: Vec<String>,
}

/// Where threads wait until they may begin, one after the other; or all when it is gone.
pub struct Gate {
    begin: Sender<()>,
    pub came: Arc<AtomicUsize>,
}

impl Gate {
    pub fn new() -> (Self, Arc<dyn Fn() + Send + Sync>) {
        let (begin, begins) = channel();
        let (begins, came) = (Mutex::new(begins), Arc::<AtomicUsize>::default());
        let gate = Self { begin, came: Arc::clone(&came) };
        let wait = move || {
            came.fetch_add(1, Ordering::SeqCst);
            let _ = begins.lock().unwrap().recv();
        };
        (gate, Arc::new(wait))
    }

    pub fn open(&self) {
        self.begin.send(()).unwrap();
    }

    /// Waits for the thread of this number, from 1.
    pub fn wait_for(&self, number: usize) {
        while self.came.load(Ordering::SeqCst) < number {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Held {
    pub fn new(words: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let board = format!("virt,snapshots={}", dir.path().display());
        let words = ["-m", "6M", "-M", &board].iter().chain(words).map(|word| (*word).to_owned()).collect();
        Self { dir, words }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Another monitor, or the gdb server, and where it is.
    pub fn also(&mut self, option: &str) -> PathBuf {
        let path = self.path(&option[1..]);
        self.words.extend([option.to_owned(), format!("unix:{},server=on,wait=off", path.display())]);
        path
    }

    /// A disk that the guest writes to, `d0`.
    pub fn disk(&mut self) -> PathBuf {
        let disk = self.path("disk");
        std::fs::write(&disk, [7; 8192]).unwrap();
        let drive = format!("file={},if=none,id=d0", disk.display());
        self.words.extend(["-drive".into(), drive, "-device".into(), "virtio-blk-device,drive=d0".into()]);
        disk
    }

    pub fn run(&self, option: &str, somebody: impl FnOnce(&Path, Gate) + Send) -> Ending {
        let (gate, wait) = Gate::new();
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        let prepare = |machine: &mut Machine| machine.tasks.gate = Some(wait);
        with_prepared(option, &words, Mock::default(), prepare, |path, _| somebody(path, gate)).0
    }

    /// What is in the folder of what a save may leave there.
    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains("vireo")).collect();
        names.sort();
        names
    }
}

pub fn say(p: &mut Person, command: &str) {
    p.0.write_all(format!("{command}\n").as_bytes()).unwrap();
}

/// The answer to a command that was said before, without its echo.
pub fn end(p: &mut Person) -> String {
    let answer = p.answer().replace("\r\n", "\n");
    answer.split_once('\n').expect("the command is echoed").1.to_owned()
}

pub fn is(state: &str) -> String {
    format!("VM status: {state}\n")
}

#[test]
fn named_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let board = format!("virt,snapshots={}", dir.path().display());
    with_person(&["-m", "6M", "-M", &board], |mut p, _| {
        assert_eq!(p.ask("info snapshots"), "There is no snapshot available.\n");
        assert_eq!(p.ask("savevm one"), "");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        let listed = p.ask("info snapshots");
        let words: Vec<_> = listed.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!((&words[..2], words[3], words.len()), (&["--", "one"][..], "KiB", 8), "{listed}");
        assert!(words[6].starts_with("0000:00:0") && words[7] == "--", "{listed}");
        assert_eq!(p.ask("loadvm one"), "");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert!(p.ask("loadvm two").contains("Error: cannot load 'two': No such file"));
        assert!(p.ask("savevm ../two").contains("is no name of a snapshot"));
        let file = dir.path().join("one.vireo");
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let answer = p.ask("loadvm one");
        assert!(answer.starts_with("Error: cannot load 'one': ") && answer.contains("damaged"), "{answer}");
        assert_eq!(p.ask("info status"), "VM status: running\n");
        assert_eq!(p.ask("delvm one"), "");
        assert!(p.ask("delvm one").contains("cannot delete"));
        p.0.write_all(b"q\n").unwrap();
    });
    with_person(&["-m", "6M"], |mut p, _| {
        assert!(p.ask("savevm one").contains("-machine snapshots="));
        p.0.write_all(b"q\n").unwrap();
    });
}

/// Whoever has asked waits, and nobody else: others look, and steer what becomes of the guest then.
#[test]
fn others_are_served_meanwhile() {
    let mut held = Held::new(&[]);
    held.disk();
    let other = held.also("-monitor");
    held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        // What is asked for meanwhile, and what the guest does then.
        for (asked, then) in [("info version", "running"), ("stop", "paused"), ("cont", "running"), ("stop", "paused")]
        {
            say(&mut p, "savevm one");
            while o.ask("info status") != is("paused (save-vm)") {}
            assert_eq!(held.files().iter().filter(|name| name.ends_with(".part")).count(), 1);
            let files = ["migrate file:/nonexistent/x", "dump-guest-memory /nonexistent/x", "block_resize d0 4096"];
            for command in [&files[..], &["savevm two", "loadvm one", "delvm one", "accel interp"]].concat() {
                let answer = o.ask(command);
                let reason = "the machine is being saved as 'one'\n";
                let missing = "Error: cannot load 'one': No such file";
                assert!(answer.ends_with(reason) || answer.starts_with(missing), "{command}: {answer}");
            }
            assert!(!o.ask(asked).contains("Error"));
            assert_eq!(o.ask("info status"), is("paused (save-vm)"));
            gate.open();
            assert_eq!(end(&mut p), "");
            assert_eq!(o.ask("info status"), is(then));
            assert_eq!(held.files(), ["one.vireo"]);
        }
        // Once more, by what is in its way.
        for (asked, then) in [("info version", "paused"), ("cont", "running"), ("stop", "paused"), ("cont", "running")]
        {
            say(&mut p, "loadvm one");
            while o.ask("info status") != is("paused (restore-vm)") {}
            assert!(o.ask("loadvm one").ends_with("Error: the machine is going back to 'one'\n"));
            assert!(o.ask("delvm one").ends_with("Error: the machine is going back to 'one'\n"));
            gate.open();
            assert!(!o.ask(asked).contains("Error"));
            assert_eq!(o.ask("info status"), is("paused (restore-vm)"));
            gate.open();
            assert_eq!(end(&mut p), "");
            assert_eq!(o.ask("info status"), is(then));
        }
        say(&mut p, "quit");
    });
}

/// A reset that somebody wants is done behind it.
#[test]
fn a_reset_waits_for_the_end() {
    let mut held = Held::new(&[]);
    let qmp = held.also("-qmp");
    held.run("-monitor", |path, gate| {
        let (mut p, mut q) = (Person::at(path), Program::at(&qmp));
        say(&mut p, "savevm one");
        assert_eq!(q.hear()["event"], "STOP");
        say(&mut p, "system_reset");
        let mut o = q.human("system_reset");
        assert_eq!(o, "");
        assert_eq!(q.ask("query-status"), json!({ "status": "save-vm", "running": false }));
        gate.open();
        assert_eq!(end(&mut p), "");
        assert_eq!(q.hear()["event"], "RESUME");
        assert_eq!(q.hear()["event"], "RESET");
        o = end(&mut p);
        assert_eq!(o, "");
        say(&mut p, "quit");
    });
}

/// How it ends, of a machine that nobody runs.
pub fn ended(machine: &mut Machine, ticket: &Ticket) -> Result<(), String> {
    loop {
        machine.look_after_task();
        if let Some(end) = ticket.end() {
            break end;
        }
    }
}

/// Of a save that is given up the earlier snapshot stays, and nothing else.
#[test]
fn an_end_gives_a_save_up() {
    let held = Held::new(&["-nodefaults"]);
    let words: Vec<_> = held.words.iter().map(String::as_str).collect();
    let mut machine = Machine::new(config(&words), &Mock::default()).unwrap();
    for mapped in [false, true] {
        machine.set_capability(Capability::MappedRam, mapped);
        machine.tasks.gate = None;
        let saved = machine.save_snapshot("one").unwrap();
        assert_eq!(ended(&mut machine, &saved), Ok(()));
        let before = std::fs::read(held.path("one.vireo")).unwrap();
        machine.board.ram.write_slice(&[7; 5000], GuestAddress(RAM_BASE + 5000)).unwrap();
        let (gate, wait) = Gate::new();
        machine.tasks.gate = Some(wait);
        let saved = machine.save_snapshot("one").unwrap();
        machine.cancel_task(&saved).unwrap();
        assert_eq!(held.files().len(), 2);
        drop(gate);
        machine.abandon_task();
        assert_eq!(held.files(), ["one.vireo"]);
        assert!(std::fs::read(held.path("one.vireo")).unwrap() == before);
        // It stood before.
        machine.go_back_to(RunState::Prelaunch);
    }
}

/// Nor half an image: what was begun comes to its end.
#[test]
fn images_become_whole() {
    let mut held = Held::new(&["-nodefaults"]);
    let disk = held.disk();
    let words: Vec<_> = held.words.iter().map(String::as_str).collect();
    let mut machine = Machine::new(config(&words), &Mock::default()).unwrap();
    let saved = machine.save_snapshot("one").unwrap();
    assert_eq!(ended(&mut machine, &saved), Ok(()));
    std::fs::write(&disk, [9; 8192]).unwrap();
    let (gate, wait) = Gate::new();
    machine.tasks.gate = Some(wait);
    machine.load_snapshot("one").unwrap();
    gate.open();
    while gate.came.load(Ordering::SeqCst) < 2 {
        machine.look_after_task();
    }
    // None is begun yet.
    drop(gate);
    machine.abandon_task();
    let contents = std::fs::read(&disk).unwrap();
    assert!(contents == [9; 8192] || contents == [7; 8192]);
    std::fs::write(&disk, [9; 8192]).unwrap();
    let (loader, file) = (machine.loader(), File::open(held.path("one.vireo")).unwrap());
    loader.progress.abandon();
    let refused = crate::error_chain(&loader.file(&file, Pages::Copy).unwrap_err());
    assert!(refused.ends_with("it was cancelled"), "{refused}");
    assert_eq!(std::fs::read(&disk).unwrap(), [9; 8192]);
    loader.images(&file).unwrap();
    assert_eq!(std::fs::read(&disk).unwrap(), [7; 8192]);
}

/// What a guest has asked for is of no use to one that is put in its place; and one that has powered off does not run because
/// a snapshot was refused.
#[test]
fn a_guest_that_goes_back_starts_with_nothing() {
    let held = Held::new(&["-nodefaults"]);
    let words: Vec<_> = held.words.iter().map(String::as_str).collect();
    let mut machine = Machine::new(config(&words), &Mock::default()).unwrap();
    let saved = machine.save_snapshot("one").unwrap();
    assert_eq!(ended(&mut machine, &saved), Ok(()));
    let asked = [Request::PowerOff(0), Request::Reset(Cause::Guest), Request::Reset(Cause::Monitor)];
    let back = machine.load_snapshot("one").unwrap();
    asked.iter().for_each(|request| machine.defer(request.clone()));
    assert_eq!(machine.take_deferred(), []);
    assert_eq!(ended(&mut machine, &back), Ok(()));
    assert_eq!(machine.take_deferred(), asked[2..]);
    assert_eq!(machine.run_state(), RunState::Paused);

    let saved = machine.save_snapshot("one").unwrap();
    asked.iter().for_each(|request| machine.defer(request.clone()));
    assert_eq!(ended(&mut machine, &saved), Ok(()));
    assert_eq!(machine.take_deferred(), asked);

    std::fs::write(held.path("two.vireo"), "no snapshot").unwrap();
    machine.stop(RunState::Shutdown);
    for name in ["two", "one"] {
        let back = machine.load_snapshot(name).unwrap();
        machine.cont().unwrap();
        assert_eq!(ended(&mut machine, &back).is_ok(), name == "one");
        let then = if name == "one" { RunState::Running } else { RunState::Shutdown };
        assert_eq!(machine.run_state(), then);
    }
    // Of one that is only saved nothing else can become.
    machine.stop(RunState::Shutdown);
    let saved = machine.save_snapshot("one").unwrap();
    assert!(machine.cont().unwrap_err().contains("powered off"));
    assert_eq!(ended(&mut machine, &saved), Ok(()));
    assert_eq!(machine.run_state(), RunState::Shutdown);
}

/// However far it is then.
#[test]
fn a_program_may_end_while_it_saves() {
    let mut held = Held::new(&[]);
    let other = held.also("-monitor");
    let ending = held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        say(&mut p, "savevm one");
        gate.wait_for(1);
        say(&mut o, "quit");
    });
    assert_eq!(ending, Ending::Code(0));
    // As a whole, or not at all.
    assert!(held.files().iter().all(|name| name == "one.vireo"), "{:?}", held.files());
}

/// A file that changes between two looks at it leaves a machine that is not whole any more.
#[test]
fn a_load_that_fails_half_way_says_so() {
    let mut held = Held::new(&[]);
    let other = held.also("-monitor");
    held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        gate.open();
        assert_eq!(p.ask("savevm one"), "");
        say(&mut p, "loadvm one");
        gate.open();
        gate.wait_for(3);
        let file = File::options().write(true).open(held.path("one.vireo")).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        // Too late for whoever waits, as a word to him says.
        p.0.write_all(b"\x03").unwrap();
        let late = "Error: it is too late: 'one' is being put into RAM and disks already\r\n";
        let mut said = vec![0; "loadvm one\r\n".len() + late.len()];
        p.0.read_exact(&mut said).unwrap();
        assert!(said.ends_with(late.as_bytes()), "{}", String::from_utf8_lossy(&said));
        assert_eq!(o.ask("info status"), is("paused (restore-vm)"));
        gate.open();
        let answer = p.answer();
        assert!(answer.starts_with("Error: cannot load 'one': it is cut off"), "{answer}");
        assert!(answer.ends_with("; the machine has to be reset, and the snapshot is still there\r\n"), "{answer}");
        assert_eq!(o.ask("info status"), is("paused (internal-error)"));
        // Nobody is to have a guest that is neither of the two.
        let why = "Error: a snapshot was loaded by half: the machine has to be reset first, or to load one\n";
        for command in ["cont", "savevm two", "migrate file:/nowhere/x"] {
            assert_eq!(o.ask(command), why, "{command}");
        }
        // One that is refused changes nothing.
        say(&mut p, "loadvm one");
        gate.open();
        assert!(end(&mut p).starts_with("Error: cannot load 'one': it is cut off"));
        assert_eq!(o.ask("info status"), is("paused (internal-error)"));
        o.ask("system_reset");
        assert_eq!(o.ask("cont"), "");
        assert_eq!(o.ask("info status"), is("running"));
        say(&mut p, "quit");
    });
}

/// Ctrl-C gives up what one waits for.
#[test]
fn whoever_waits_may_give_up() {
    let mut held = Held::new(&[]);
    let other = held.also("-monitor");
    held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        gate.open();
        assert_eq!(p.ask("savevm one"), "");
        for (n, command, what) in [(2, "savevm two", "save 'two'"), (3, "loadvm one", "load 'one'")] {
            say(&mut p, command);
            gate.wait_for(n);
            p.0.write_all(b"\x03help info\n").unwrap();
            // What stands behind it is heard at the end. Who is asked later is heard later.
            o.ask("info status");
            gate.open();
            let answer = end(&mut p);
            assert_eq!(answer, format!("Error: cannot {what}: it was cancelled\n"));
            assert!(p.answer().starts_with("help info"));
            assert_eq!(p.ask("info status"), is("running"));
        }
        assert_eq!(held.files(), ["one.vireo"]);
        say(&mut p, "quit");
    });
}

/// On a terminal a line tells how far it is, to those who have waited for a while.
#[test]
fn a_terminal_shows_how_far_it_is() {
    let mut held = Held::new(&[]);
    let link = held.path("terminal");
    held.words.extend(["-chardev".into(), format!("pty,id=t,path={}", link.display()), "-mon".into(), "t".into()]);
    held.run("-monitor", |path, gate| {
        let mut p = Person::at(path);
        let mut terminal = File::options().read(true).write(true).open(&link).unwrap();
        let hear = |terminal: &mut File, text: &str| {
            let mut heard = Vec::new();
            while !heard.ends_with(text.as_bytes()) {
                let mut byte = [0];
                terminal.read_exact(&mut byte).unwrap();
                heard.push(byte[0]);
            }
        };
        hear(&mut terminal, "(vireo) ");
        terminal.write_all(b"savevm one\r").unwrap();
        hear(&mut terminal, "\r\nsaving 'one': 0 %");
        assert_eq!(p.ask("info status"), is("paused (save-vm)"));
        gate.open();
        hear(&mut terminal, "\r\x1b[K(vireo) ");
        assert_eq!(p.ask("info status"), is("running"));
        say(&mut p, "quit");
    });
}

/// gdb waits for what it asks the monitor, writes nothing meanwhile, and hears nothing of a machine that goes on.
#[test]
fn gdb_sees_a_machine_that_is_saved() {
    let mut held = Held::new(&[]);
    let (other, qmp) = (held.also("-monitor"), held.also("-qmp"));
    held.run("-gdb", |path, gate| {
        let (mut gdb, mut o) = (Client::at(path), Person::at(&other));
        let mut q = Program::at(&qmp);
        let write = format!("M{ENTRY:x},1:00");
        assert_eq!(gdb.ask(&write), "OK");
        say(&mut o, "savevm one");
        gate.wait_for(1);
        assert_eq!(gdb.ask(&write), "E01");
        assert_eq!(gdb.status(), is("paused (save-vm)"));
        gate.open();
        assert_eq!(end(&mut o), "");
        assert_eq!(gdb.ask(&write), "OK");
        assert_eq!(gdb.status(), is("paused (debug)"));
        gate.open();
        assert_eq!(gdb.monitor("savevm two"), "");
        assert_eq!(gdb.status(), is("paused (debug)"));
        // It goes on, is saved, and is stopped meanwhile.
        for stops in [false, true] {
            let before = gate.came.load(Ordering::SeqCst);
            gdb.packet(b"c");
            while o.ask("info status") != is("running") {}
            say(&mut o, "savevm one");
            gate.wait_for(before + 1);
            if stops {
                q.say(r#"{"execute":"stop"}"#);
                while q.hear().get("return").is_none() {}
            }
            gate.open();
            assert_eq!(end(&mut o), "");
            if stops {
                assert!(gdb.answer().starts_with("T02"));
                break;
            }
            // The thanks for `c`, and nothing else.
            gdb.0.read_exact(&mut [0]).unwrap();
            gdb.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert_eq!(gdb.0.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            gdb.0.set_read_timeout(Some(PATIENCE)).unwrap();
            gdb.send(b"\x03");
            assert!(gdb.answer().starts_with("T02"));
        }
        say(&mut o, "quit");
    });
}
