//! What programs hear of a machine that stops, goes on, changes and ends.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::monitor::{Leaving, started};
use super::qmp::{Program, done, error, event, plain, reboot, with_path, with_program};
use super::*;

#[test]
fn a_machine_stops_goes_on_and_starts_anew() {
    let (ending, mock) = with_program(&["-smp", "2"], |mut p, mock| {
        started(mock, 1);
        let say = |p: &mut Program, command: &str| p.say(json!({ "execute": command }).to_string());
        say(&mut p, "stop");
        p.hears([plain("STOP"), done()]);
        assert_eq!(p.ask("query-status"), json!({ "status": "paused", "running": false }));
        assert_eq!(p.ask("stop"), json!({}));
        say(&mut p, "cont");
        p.hears([plain("RESUME"), done()]);
        assert_eq!(p.ask("cont"), json!({}));
        say(&mut p, "system_reset");
        p.hears([event("RESET", false, "host-qmp-system-reset"), done()]);
        started(mock, 2);
        say(&mut p, "stop");
        p.hears([plain("STOP"), done()]);
        say(&mut p, "system_reset");
        p.hears([event("RESET", false, "host-qmp-system-reset"), done()]);
        assert_eq!(p.ask("query-status"), json!({ "status": "prelaunch", "running": false }));
        // What stands behind `quit` is not done any more.
        p.say(r#"{"execute":"quit","id":"q"}{"execute":"cont"}"#);
        p.hears([event("SHUTDOWN", false, "host-qmp-quit"), json!({ "return": {}, "id": "q" })]);
    });
    assert_eq!(ending, Ending::Code(0));
    assert_eq!(mock.events(0).len(), 2);
}

#[test]
fn a_guest_s_doings_are_told() {
    let mock = Mock::new(vec![vec![vec![reboot()], vec![power_off(3)]]]);
    let (ending, _) = with_path(&["-S", "-no-shutdown"], mock, |path, _| {
        // One that has not negotiated hears of nothing; another one hears the same.
        let mut p = Program::at(path);
        assert_eq!(p.ask("query-status"), json!({ "status": "prelaunch", "running": false }));
        p.say(r#"{"execute":"cont"}"#);
        p.hears([plain("RESUME"), done()]);
        let guest = |name, reason| event(name, true, reason);
        p.hears([guest("RESET", "guest-reset"), guest("SHUTDOWN", "guest-shutdown"), plain("STOP")]);
        assert_eq!(p.ask("query-status"), json!({ "status": "shutdown", "running": false }));
        let refused = p.send(json!({ "execute": "cont" }));
        assert_eq!(refused["error"]["class"], "GenericError");
        p.say(r#"{"execute":"system_reset"}"#);
        p.hears([event("RESET", false, "host-qmp-system-reset"), done()]);
        assert_eq!(p.ask("query-status"), json!({ "status": "prelaunch", "running": false }));
        p.quit();
    });
    assert_eq!(ending, Ending::Code(0));
}

#[test]
fn the_end_is_told() {
    let end = |words: &[&str], step: Step| {
        let words = [&["-S"], words].concat();
        let mut last = Value::Null;
        with_path(&words, Mock::new(vec![vec![vec![step]]]), |path, _| {
            let mut p = Program::at(path);
            p.say(r#"{"execute":"cont"}"#);
            p.hears([plain("RESUME"), done()]);
            last = p.hear();
            // And nothing more.
            assert_eq!(p.0.read_line(&mut String::new()).unwrap(), 0);
        });
        last
    };
    assert_eq!(end(&[], power_off(0)), event("SHUTDOWN", true, "guest-shutdown"));
    assert_eq!(end(&["-no-reboot"], reboot()), event("SHUTDOWN", true, "guest-reset"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let option = format!("unix:{},server=on,wait=off", path.display());
    let machine = Machine::new(config(&["-nodefaults", "-qmp", &option]), &Mock::default()).unwrap();
    let control = Arc::clone(&machine.control);
    thread::scope(|s| {
        s.spawn(|| {
            let leaving = Leaving(control);
            let mut p = Program::at(&path);
            leaving.0.request(Request::Signal(15));
            p.hears([event("SHUTDOWN", false, "host-signal")]);
        });
        assert_eq!(machine.run().unwrap(), Ending::Signal(15));
    });
}

#[test]
fn every_session_hears_of_events_after_it_has_negotiated() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    let chardev = format!("socket,id=o,path={},server=on,wait=off", other.display());
    with_program(&["-chardev", &chardev, "-mon", "o,mode=control"], |mut p, _| {
        let mut o = Program::unnegotiated(&other);
        p.say(r#"{"execute":"stop"}"#);
        p.hears([plain("STOP"), done()]);
        assert_eq!(o.ask("qmp_capabilities"), json!({}));
        p.say(r#"{"execute":"cont"}"#);
        p.hears([plain("RESUME"), done()]);
        o.hears([plain("RESUME")]);
        p.quit();
        o.hears([event("SHUTDOWN", false, "host-qmp-quit")]);
    });
}

/// Answers and events that nobody reads do not pile up, and nobody else waits for them.
#[test]
fn a_program_that_does_not_read_does_not_stop_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other");
    let chardev = format!("socket,id=o,path={},server=on,wait=off", other.display());
    with_program(&["-chardev", &chardev, "-mon", "o,mode=control"], |mut p, _| {
        let mut sleeper = Program::at(&other);
        sleeper.0.get_mut().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        while sleeper.0.get_mut().write_all(b"{\"execute\":\"query-commands\"}").is_ok() {}
        for _ in 0..2000 {
            p.say(r#"{"execute":"stop"}{"execute":"cont"}"#);
            p.hears([plain("STOP"), done(), plain("RESUME"), done()]);
        }
        // The machine writes out what waits for the sleeper before it ends.
        p.say(r#"{"execute":"quit"}"#);
        let mut heard = Vec::new();
        // The end is an error: its last requests were not taken.
        let _ = sleeper.0.read_to_end(&mut heard);
        let events = String::from_utf8(heard).unwrap().matches("\"STOP\"").count();
        assert!((1..1000).contains(&events), "{events} of 2000");
    });
}

#[test]
fn engines_change_and_programs_hear_of_it() {
    with_program(&["-S"], |mut p, _| {
        let engines = p.ask("__org.vireo_query-accel");
        assert_eq!(engines["accel"], json!("mock"));
        assert_eq!(engines["accels"][1], json!({ "name": "tcg", "available": true }));
        let set = |name: &str| json!({ "execute": "__org.vireo_accel-set", "arguments": { "accel": name } });
        let why = "the guest stays on mock: there is no accelerator 'qemu'; there are kvm, tcg and interp";
        assert_eq!(p.send(set("qemu")), error("GenericError", why));
        let data = json!({ "from": "mock", "to": "interp", "reason": "request", "downtime": 0.0 });
        p.say(set("interp").to_string());
        p.hears([
            json!({ "event": "__ORG.VIREO_ACCEL_CHANGE", "data": data }),
            json!({ "return": { "accel": "interp", "downtime": 0.0 } }),
        ]);
        assert_eq!(p.send(set("interp")), json!({ "return": { "accel": "interp", "downtime": 0.0 } }));
        assert_eq!(p.ask("__org.vireo_query-accel")["accel"], json!("interp"));
        assert_eq!(p.ask("query-kvm")["enabled"], json!(false));
        assert_eq!(p.ask("query-status")["status"], json!("prelaunch"));
        p.quit();
    });
}

/// Both sides of a move hear how it goes, if they want to.
#[test]
fn moves_are_told_to_who_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let (way, there) = (dir.path().join("way"), dir.path().join("there"));
    let status = |name: &str| json!({ "event": "MIGRATION", "data": { "status": name } });
    let wants = json!({ "capabilities": [{ "capability": "events", "state": true }] });
    let wants = json!({ "execute": "migrate-set-capabilities", "arguments": wants });
    let uri = |command: &str, place: &Path| {
        let uri = format!("unix:{}", place.display());
        json!({ "execute": command, "arguments": { "uri": uri } })
    };
    let option = format!("unix:{},server=on,wait=off", there.display());
    let words = ["-nodefaults", "-S", "-m", "6M", "-qmp", &option, "-incoming", "defer"];
    let target = Machine::new(config(&words), &Mock::default()).unwrap();
    let control = Arc::clone(&target.control);
    thread::scope(|s| {
        let user = s.spawn(|| {
            let _leaving = Leaving(control);
            with_program(&["-m", "6M"], |mut p, mock| {
                started(mock, 1);
                let mut t = Program::at(&there);
                for program in [&mut p, &mut t] {
                    assert_eq!(program.send(wants.clone()), done());
                }
                t.say(uri("migrate-incoming", &way).to_string());
                t.hears([status("setup"), done()]);
                // To where nobody is, and given up.
                p.say(uri("migrate", &dir.path().join("nobody")).to_string());
                p.hears([status("setup"), done(), status("failed")]);
                let listener = std::os::unix::net::UnixListener::bind(dir.path().join("silent")).unwrap();
                p.say(uri("migrate", &dir.path().join("silent")).to_string());
                p.hears([status("setup"), done()]);
                let silent = listener.accept().unwrap();
                p.hears([status("active")]);
                let mut rest = Vec::new();
                while rest.last() != Some(&status("device")) {
                    rest.push(p.hear());
                }
                p.say(r#"{"execute":"migrate_cancel"}"#);
                p.hears([status("cancelling"), done()]);
                let mut end = vec![p.hear(), p.hear()];
                end.sort_by_key(|event| event["event"] != "RESUME");
                assert_eq!(end, [plain("RESUME"), status("cancelled")]);
                drop(silent);
                // And done.
                p.say(uri("migrate", &way).to_string());
                p.hears([status("setup"), done(), status("active")]);
                let mut passes = Vec::new();
                while passes.last() != Some(&plain("STOP")) {
                    passes.push(p.hear());
                }
                passes.pop();
                let rounds =
                    (1..=passes.len()).map(|pass| json!({ "event": "MIGRATION_PASS", "data": { "pass": pass } }));
                assert!(passes.iter().cloned().eq(rounds) && !passes.is_empty(), "{passes:?}");
                p.hears([status("device"), status("completed")]);
                t.hears([status("completed")]);
                assert_eq!(t.ask("query-migrate"), json!({ "status": "completed" }));
                t.quit();
                p.quit();
            })
        });
        assert_eq!(target.run().unwrap(), Ending::Code(0));
        user.join().unwrap();
    });
}
