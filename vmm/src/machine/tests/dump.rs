//! Dumps of the guest's memory, while others look on.

use std::io::Write;

use serde_json::json;

use super::monitor::Person;
use super::named::{Gate, Held, end, ended, is, say};
use super::qmp::Program;
use super::*;
use crate::machine::DumpState;

fn status(state: &str, completed: u64) -> serde_json::Value {
    json!({ "status": state, "completed": completed, "total": 6 << 20 })
}

/// Whoever has asked waits, and nobody else: others look, and steer what becomes of the guest then.
#[test]
fn others_are_served_meanwhile() {
    let mut held = Held::new(&[]);
    held.disk();
    let other = held.also("-monitor");
    let core = held.path("core");
    held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        assert_eq!(o.ask("info dump"), "Status: none\n");
        let dump = format!("dump-guest-memory {}", core.display());
        for (asked, then) in [("info version", "running"), ("stop", "paused"), ("cont", "running")] {
            say(&mut p, &dump);
            while o.ask("info status") != is("paused (save-vm)") {}
            assert_eq!(o.ask("info dump"), "Status: active\nFinished: 0.00 %\n");
            let files = ["migrate file:/nonexistent/x", "dump-guest-memory /nonexistent/x", "block_resize d0 4096"];
            for command in [&files[..], &["savevm two", "loadvm two", "accel interp"]].concat() {
                let (answer, reason) = (o.ask(command), format!("memory is being dumped to '{}'\n", core.display()));
                assert!(answer.ends_with(&reason), "{command}: {answer}");
            }
            assert!(!o.ask(asked).contains("Error"));
            assert_eq!(o.ask("info status"), is("paused (save-vm)"));
            gate.open();
            assert_eq!(end(&mut p), "");
            assert_eq!(o.ask("info status"), is(then));
            assert_eq!(o.ask("info dump"), "Status: completed\n");
            assert!(std::fs::metadata(&core).unwrap().len() > 6 << 20);
        }
        // `-d` waits for nothing.
        assert_eq!(p.ask(&format!("dump-guest-memory -d {}", core.display())), "");
        assert_eq!(p.ask("info dump"), "Status: active\nFinished: 0.00 %\n");
        gate.open();
        while p.ask("info dump") != "Status: completed\n" {}
        say(&mut p, "quit");
    });
}

/// A program's answer comes at the end, or at once.
#[test]
fn programs_wait_or_hear_an_event() {
    let mut held = Held::new(&[]);
    let other = held.also("-qmp");
    held.run("-qmp", |path, gate| {
        let (mut p, mut o) = (Program::at(path), Program::at(&other));
        let dump = |detach: bool, path: &str| {
            let arguments = json!({ "paging": false, "protocol": format!("file:{path}"), "detach": detach });
            json!({ "execute": "dump-guest-memory", "arguments": arguments, "id": 7 }).to_string()
        };
        std::fs::create_dir(held.path("folder")).unwrap();
        let file = held.path("folder/core").display().to_string();
        for detach in [false, true] {
            p.say(dump(detach, &file));
            assert_eq!(p.hear()["event"], "STOP");
            if detach {
                assert_eq!(p.hear(), json!({ "return": {}, "id": 7 }));
            }
            assert_eq!(o.hear()["event"], "STOP");
            assert_eq!(o.ask("query-status"), json!({ "status": "save-vm", "running": false }));
            assert_eq!(o.ask("query-dump"), status("active", 0));
            // It is written, and has no place to go to.
            gate.wait_for(1 + usize::from(detach));
            std::fs::rename(held.path("folder"), held.path("away")).unwrap();
            gate.open();
            for q in [&mut p, &mut o] {
                let event = q.hear();
                let why = event["data"]["error"].as_str().unwrap_or_else(|| panic!("{event}"));
                assert!(why.starts_with(&format!("cannot dump memory to '{file}': cannot write it: ")), "{why}");
                assert_eq!(event["data"]["result"], status("failed", 6 << 20));
                assert_eq!(q.hear()["event"], "RESUME");
            }
            if !detach {
                let answer = p.hear();
                assert!(answer["error"]["desc"].as_str().unwrap().contains("No such file"), "{answer}");
                assert_eq!(answer["id"], 7);
            }
            std::fs::rename(held.path("away"), held.path("folder")).unwrap();
        }
        p.quit();
    });
}

/// Ctrl-C gives up, and so does the program's end: what was there stays, and nothing else.
#[test]
fn half_a_dump_is_none() {
    let mut held = Held::new(&[]);
    let other = held.also("-monitor");
    let core = held.path("vireo-core");
    std::fs::write(&core, "old").unwrap();
    held.run("-monitor", |path, gate| {
        let (mut p, mut o) = (Person::at(path), Person::at(&other));
        let dump = format!("dump-guest-memory {}", core.display());
        say(&mut p, &dump);
        gate.wait_for(1);
        assert_eq!(held.files().len(), 2);
        p.0.write_all(b"\x03").unwrap();
        // Who is asked later is heard later.
        o.ask("info status");
        gate.open();
        assert_eq!(end(&mut p), format!("Error: cannot dump memory to '{}': it was cancelled\n", core.display()));
        assert_eq!(o.ask("info dump"), "Status: failed\n");
        assert_eq!(o.ask("info status"), is("running"));
        assert_eq!(held.files(), ["vireo-core"]);
        say(&mut p, &dump);
        gate.wait_for(2);
        say(&mut o, "quit");
    });
    assert_eq!(held.files(), ["vireo-core"]);
    assert_eq!(std::fs::read(&core).unwrap(), b"old");
}

/// A guest that may live elsewhere, which has its disk, does not go on behind a dump.
#[test]
fn a_guest_whose_disk_is_taken_does_not_go_on() {
    let mut held = Held::new(&["-nodefaults"]);
    held.disk();
    let words: Vec<_> = held.words.iter().map(String::as_str).collect();
    let mut machine = Machine::new(config(&words), &Mock::default()).unwrap();
    machine.locks.release();
    machine.run_state = RunState::PostMigrate;
    let elsewhere = Machine::new(config(&words), &Mock::default()).unwrap();
    let (gate, wait) = Gate::new();
    machine.tasks.gate = Some(wait);
    let dump = machine.dump_memory(&held.path("core"), None).unwrap();
    assert_eq!(machine.dump_status().unwrap().state, DumpState::Active);
    assert!(machine.cont().unwrap_err().contains("disk"));
    gate.open();
    assert_eq!(ended(&mut machine, &dump), Ok(()));
    assert_eq!(machine.run_state(), RunState::PostMigrate);
    drop(elsewhere);
    let dump = machine.dump_memory(&held.path("core"), None).unwrap();
    machine.cont().unwrap();
    gate.open();
    assert_eq!(ended(&mut machine, &dump), Ok(()));
    assert_eq!(machine.run_state(), RunState::Running);
}
