//! Machines with a program at their monitor.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use super::monitor::{Leaving, connect, started};
use super::*;

/// A program at a QMP socket.
struct Program(BufReader<UnixStream>);

impl Program {
    /// Connects as soon as the machine listens, and negotiates.
    fn at(path: &Path) -> Self {
        let mut program = Self::unnegotiated(path);
        assert_eq!(program.ask("qmp_capabilities"), json!({}));
        program
    }

    fn unnegotiated(path: &Path) -> Self {
        let mut program = Self(BufReader::new(connect(path)));
        let greeting = program.hear();
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64(), "{greeting}");
        assert_eq!(greeting["QMP"]["capabilities"], json!([]));
        program
    }

    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    /// The next line, without the time of an event.
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).expect("the monitor answers"), 0, "the monitor hung up");
        assert!(line.ends_with("\r\n"), "{line}");
        let mut value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        if value.get("event").is_some() {
            let at = value.as_object_mut().unwrap().remove("timestamp").expect("events have a time");
            assert!(at["seconds"].as_u64() > Some(1 << 30) && at["microseconds"].as_u64() < Some(1_000_000), "{at}");
        }
        value
    }

    fn hears(&mut self, values: impl IntoIterator<Item = Value>) {
        for value in values {
            assert_eq!(self.hear(), value);
        }
    }

    /// The answer to a request.
    fn send(&mut self, request: Value) -> Value {
        self.say(request.to_string());
        self.hear()
    }

    /// What a command returns.
    fn ask(&mut self, command: &str) -> Value {
        let answer = self.send(json!({ "execute": command }));
        answer.get("return").unwrap_or_else(|| panic!("{command}: {answer}")).clone()
    }

    fn human(&mut self, line: &str) -> String {
        let answer = self.send(json!({ "execute": "human-monitor-command", "arguments": { "command-line": line } }));
        answer["return"].as_str().expect("a text").to_owned()
    }

    fn quit(&mut self) {
        self.say(r#"{"execute":"quit"}"#);
        self.hears([event("SHUTDOWN", false, "host-qmp-quit"), done()]);
    }
}

fn done() -> Value {
    json!({ "return": {} })
}

fn event(name: &str, guest: bool, reason: &str) -> Value {
    json!({ "event": name, "data": { "guest": guest, "reason": reason } })
}

fn plain(name: &str) -> Value {
    json!({ "event": name })
}

fn error(class: &str, desc: &str) -> Value {
    json!({ "error": { "class": class, "desc": desc } })
}

/// Runs a machine with a program at its QMP socket.
fn with_path(words: &[&str], mock: Mock, client: impl FnOnce(&Path, &Mock) + Send) -> (Ending, Mock) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let option = format!("unix:{},server=on,wait=off", path.display());
    let words = [&["-nodefaults", "-qmp", &option], words].concat();
    let machine = Machine::new(config(&words), &mock).unwrap();
    let ending = thread::scope(|s| {
        let (path, mock, control) = (&path, &mock, Arc::clone(&machine.control));
        s.spawn(move || {
            let _leaving = Leaving(control);
            client(path, mock);
        });
        machine.run().unwrap()
    });
    (ending, mock)
}

fn with_program(words: &[&str], program: impl FnOnce(Program, &Mock) + Send) -> (Ending, Mock) {
    with_path(words, Mock::default(), |path, mock| program(Program::at(path), mock))
}

#[test]
fn a_session_begins_with_capabilities() {
    with_path(&[], Mock::default(), |path, _| {
        let mut p = Program::unnegotiated(path);
        let early = error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
        assert_eq!(p.send(json!({ "execute": "stop" })), early);
        assert_eq!(p.send(json!({ "execute": "frob" })), early);
        let oob = json!({ "execute": "qmp_capabilities", "arguments": { "enable": ["oob"] }, "id": 1 });
        let refused =
            json!({ "id": 1, "error": { "class": "GenericError", "desc": "Capability 'oob' is not available" } });
        assert_eq!(p.send(oob), refused);
        assert_eq!(p.ask("qmp_capabilities"), json!({}));
        let late = error("CommandNotFound", "Capabilities negotiation is already complete, command ignored");
        assert_eq!(p.send(json!({ "execute": "qmp_capabilities" })), late);
        assert_eq!(p.ask("query-status"), json!({ "status": "running", "running": true }));
        // Half a request does not outlive its session, and the next one begins anew.
        p.say("{\"execute\":\"stop\"");
        drop(p);
        let mut p = Program::unnegotiated(path);
        assert_eq!(p.send(json!({ "execute": "stop" })), early);
        p.ask("qmp_capabilities");
        p.quit();
    });
}

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
