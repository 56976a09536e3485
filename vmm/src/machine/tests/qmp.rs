//! Machines with a program at their monitor: sessions, and commands that write files and move machines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::monitor::{connect, with_socket};
use super::*;

/// A program at a QMP socket.
pub struct Program(pub BufReader<UnixStream>);

impl Program {
    /// Connects as soon as the machine listens, and negotiates.
    pub fn at(path: &Path) -> Self {
        let mut program = Self::unnegotiated(path);
        assert_eq!(program.ask("qmp_capabilities"), json!({}));
        program
    }

    pub fn unnegotiated(path: &Path) -> Self {
        let mut program = Self(BufReader::new(connect(path)));
        let greeting = program.hear();
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64(), "{greeting}");
        assert_eq!(greeting["QMP"]["capabilities"], json!([]));
        program
    }

    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(text.as_ref()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).expect("the monitor answers"), 0, "the monitor hung up");
        assert!(line.ends_with("\r\n"), "{line}");
        line
    }

    /// The next line, without the time of an event.
    pub fn hear(&mut self) -> Value {
        let line = self.line();
        let mut value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        if value.get("event").is_some() {
            let at = value.as_object_mut().unwrap().remove("timestamp").expect("events have a time");
            assert!(at["seconds"].as_u64() > Some(1 << 30) && at["microseconds"].as_u64() < Some(1_000_000), "{at}");
        }
        value
    }

    pub fn hears(&mut self, values: impl IntoIterator<Item = Value>) {
        for value in values {
            assert_eq!(self.hear(), value);
        }
    }

    /// The answer to a request.
    pub fn send(&mut self, request: Value) -> Value {
        self.say(request.to_string());
        self.hear()
    }

    /// What a command returns.
    pub fn ask(&mut self, command: &str) -> Value {
        let answer = self.send(json!({ "execute": command }));
        answer.get("return").unwrap_or_else(|| panic!("{command}: {answer}")).clone()
    }

    pub fn human(&mut self, line: &str) -> String {
        let answer = self.send(json!({ "execute": "human-monitor-command", "arguments": { "command-line": line } }));
        answer["return"].as_str().expect("a text").to_owned()
    }

    pub fn quit(&mut self) {
        self.say(r#"{"execute":"quit"}"#);
        self.hears([event("SHUTDOWN", false, "host-qmp-quit"), done()]);
    }
}

pub fn done() -> Value {
    json!({ "return": {} })
}

pub fn event(name: &str, guest: bool, reason: &str) -> Value {
    json!({ "event": name, "data": { "guest": guest, "reason": reason } })
}

pub fn plain(name: &str) -> Value {
    json!({ "event": name })
}

pub fn error(class: &str, desc: &str) -> Value {
    json!({ "error": { "class": class, "desc": desc } })
}

/// Runs a machine with a program at its QMP socket.
pub fn with_path(words: &[&str], mock: Mock, client: impl FnOnce(&Path, &Mock) + Send) -> (Ending, Mock) {
    with_socket("-qmp", words, mock, client)
}

pub fn with_program(words: &[&str], program: impl FnOnce(Program, &Mock) + Send) -> (Ending, Mock) {
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

pub fn reboot() -> Step {
    store32(map::FINISHER.base, 0x7777)
}

#[test]
fn lines_for_humans_run() {
    with_program(&["-smp", "2"], |mut p, _| {
        assert_eq!(p.human("info status"), "VM status: running\r\n");
        assert!(p.human("frob").starts_with("Error: unknown command"));
        let on = |index: i64| {
            let arguments = json!({ "command-line": "info cpus", "cpu-index": index });
            json!({ "execute": "human-monitor-command", "arguments": arguments })
        };
        let cpus = p.send(on(1));
        assert!(cpus["return"].as_str().unwrap().contains("* hart 1"), "{cpus}");
        let bad = error("GenericError", "Parameter 'cpu-index' expects a CPU number");
        assert_eq!((p.send(on(2)), p.send(on(-1))), (bad.clone(), bad));
        // What a line causes is told first, too.
        let line = |line: &str| {
            json!({ "execute": "human-monitor-command", "arguments": { "command-line": line } }).to_string()
        };
        p.say(line("stop"));
        p.hears([plain("STOP"), json!({ "return": "" })]);
        p.say(line("system_reset"));
        p.hears([event("RESET", false, "host-qmp-system-reset"), json!({ "return": "" })]);
        p.quit();
    });
}

#[test]
fn what_is_wrong_is_answered() {
    with_program(&[], |mut p, _| {
        let generic = |desc: &str| error("GenericError", desc);
        assert_eq!(p.send(json!([])), generic("QMP input must be a JSON object"));
        assert_eq!(p.send(json!({})), generic("QMP input lacks member 'execute'"));
        assert_eq!(p.send(json!({ "execute": 3 })), generic("QMP input member 'execute' must be a string"));
        let odd = json!({ "execute": "stop", "frob": 3 });
        assert_eq!(p.send(odd), generic("QMP input member 'frob' is unexpected"));
        let oob = json!({ "exec-oob": "query-status" });
        assert_eq!(p.send(oob), generic("QMP input member 'exec-oob' is unexpected"));
        let odd = json!({ "execute": "stop", "arguments": 3 });
        assert_eq!(p.send(odd), generic("QMP input member 'arguments' must be an object"));
        let odd = json!({ "execute": "stop", "arguments": { "x": 1 } });
        assert_eq!(p.send(odd), generic("Parameter 'x' is unexpected"));
        let unknown = json!({ "execute": "frob", "id": { "a": [1, 2.5, null] } });
        let answer = p.send(unknown);
        let desc = "The command frob has not been found";
        assert_eq!(answer["error"], json!({ "class": "CommandNotFound", "desc": desc }));
        assert_eq!(answer["id"], json!({ "a": [1, 2.5, null] }));
        for (odd, desc) in [
            (json!({}), "Parameter 'command-line' is missing"),
            (json!({ "command-line": 5 }), "Invalid parameter type for 'command-line', expected: string"),
            (json!({ "command-line": "x", "y": 1 }), "Parameter 'y' is unexpected"),
        ] {
            assert_eq!(p.send(json!({ "execute": "human-monitor-command", "arguments": odd })), generic(desc));
        }
        // An id is answered as it came, whatever it is.
        for id in ["12345678901234567890123", "-9223372036854775809", "1.10", r#"["\u00e9",1e3]"#] {
            p.say(format!("{{\"execute\":\"query-name\",\"id\":{id}}}"));
            assert_eq!(p.line(), format!("{{\"return\":{{}},\"id\":{id}}}\r\n"));
        }
        p.say(r#"{"execute":"stop","execute":"quit"}"#);
        let answer = p.hear();
        assert!(answer["error"]["desc"].as_str().unwrap().starts_with("JSON parse error, duplicate key"), "{answer}");
        // Requests may share a line and span several.
        p.say("{'execute':'query-name','id':1}{\"execute\":\n\t\"query-name\",\r\n\"id\":2\n}");
        p.hears([json!({ "return": {}, "id": 1 }), json!({ "return": {}, "id": 2 })]);
        // Floods of nonsense are answered one by one, and overlong ones once.
        p.say("]".repeat(1000));
        (0..1000).for_each(|_| assert_eq!(p.hear()["error"]["class"], "GenericError"));
        p.say(format!("{{\"execute\":\"{}\"}}\n", "x".repeat(2 << 20)));
        assert_eq!(p.hear()["error"]["class"], "GenericError");
        p.say(b"{\"execute\": \xff{\"execute\":\"query-name\"}");
        assert_eq!(p.hear()["error"]["class"], "GenericError");
        p.hears([json!({ "return": {} })]);
        p.quit();
    });
}

#[test]
fn pretty_answers_span_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pretty");
    let option = format!("unix:{},server=on,wait=off", path.display());
    with_program(&["-qmp-pretty", &option], |mut p, _| {
        let mut pretty = BufReader::new(connect(&path));
        let mut answer = || {
            let mut text = String::new();
            while !text.ends_with("\n}\r\n") && !text.ends_with("{}\r\n") {
                assert_ne!(pretty.read_line(&mut text).unwrap(), 0);
            }
            text
        };
        assert!(answer().starts_with("{\n    \"QMP\": {\n        \"capabilities\""));
        p.quit();
    });
}

#[test]
fn memory_goes_into_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory");
    with_program(&[], |mut p, _| {
        let mut save = |command: &str, val: u64, size: u64, path: &Path| {
            let arguments = json!({ "val": val, "size": size, "filename": path });
            p.send(json!({ "execute": command, "arguments": arguments }))
        };
        for command in ["memsave", "pmemsave"] {
            // The demo guest's first bytes, from the last two of the page before on.
            assert_eq!(save(command, ENTRY - 2, 8192, &file), done());
            let bytes = std::fs::read(&file).unwrap();
            assert_eq!(bytes.len(), 8192);
            assert_eq!((&bytes[..2], &bytes[2..34]), (&[0, 0][..], &firmware::demo::DEMO[..32]));
        }
        let failed = |answer: Value, what: &str| {
            assert_eq!(answer["error"]["class"], "GenericError", "{answer}");
            assert!(answer["error"]["desc"].as_str().unwrap().contains(what), "{answer}");
        };
        failed(save("pmemsave", 0x4000_0000, 8, &file), "nothing answers at physical address 0x40000000");
        failed(save("pmemsave", u64::MAX, 8, &file), "do not fit");
        failed(save("pmemsave", ENTRY, 8, Path::new("/nonexistent/file")), "cannot write '/nonexistent/file'");
        // RAM ends in the middle.
        failed(save("pmemsave", 0x8000_0000, 0x1000_0000, &file), "nothing answers at physical address 0x88000000");
        failed(save("memsave", 0x4000_0000, 8, &file), "nothing answers at physical address 0x40000000");
        // What was there before is still there.
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 8192);
        // Addresses come with a sign, too.
        let negative = json!({ "val": -0x1000, "size": 8, "filename": file });
        let answer = p.send(json!({ "execute": "memsave", "arguments": negative }));
        failed(answer, "nothing answers at physical address 0xfffffffffffff000");
        let odd = json!({ "val": "x", "size": 8, "filename": "x" });
        failed(p.send(json!({ "execute": "pmemsave", "arguments": odd })), "Parameter 'val' expects uint64");
        p.quit();
    });
}

/// A machine that runs stands while its memory is written, and goes on.
#[test]
fn memory_is_dumped_for_debuggers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("core");
    with_program(&["-m", "64M", "-smp", "2"], |mut p, _| {
        assert_eq!(p.ask("query-dump"), json!({ "status": "none", "completed": 0, "total": 0 }));
        let dump = |more: Value| {
            let mut arguments = json!({ "paging": false, "protocol": format!("file:{}", file.display()) });
            arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "execute": "dump-guest-memory", "arguments": arguments })
        };
        let completed = |total: u64| json!({ "status": "completed", "completed": total, "total": total });
        let told = |result: Value| json!({ "event": "DUMP_COMPLETED", "data": { "result": result } });
        p.say(dump(json!({ "detach": true, "format": "elf" })).to_string());
        p.hears([plain("STOP"), done(), told(completed(64 << 20)), plain("RESUME")]);
        assert_eq!(p.ask("query-dump"), completed(64 << 20));
        let core = std::fs::read(&file).unwrap();
        // The notes of two harts come before the memory, which is the last segment.
        let memory = &core[core.len() - (64 << 20)..];
        let entry = (ENTRY - 0x8000_0000) as usize;
        assert_eq!(&memory[entry..entry + 32], &firmware::demo::DEMO[..32]);
        assert_eq!(core.windows(4).take(4096).filter(|bytes| bytes == b"CORE").count(), 2);
        assert_eq!(p.ask("query-status")["status"], "running");

        p.say(r#"{"execute":"stop"}"#);
        p.hears([plain("STOP"), done()]);
        p.say(dump(json!({ "begin": ENTRY, "length": 16 })).to_string());
        p.hears([told(completed(16)), done()]);
        let core = std::fs::read(&file).unwrap();
        assert_eq!(&core[core.len() - 16..], &firmware::demo::DEMO[..16]);
        let mut no = |more: Value| {
            let answer = p.send(dump(more));
            answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        assert!(no(json!({ "paging": true })).contains("'paging' is not possible"));
        assert!(no(json!({ "protocol": "fd:3" })).contains("'fd:'"));
        assert!(no(json!({ "protocol": "core" })).contains("must start with 'file:'"));
        assert_eq!(no(json!({ "begin": 0 })), "Parameter 'length' is missing");
        assert_eq!(no(json!({ "length": 1 })), "Parameter 'begin' is missing");
        assert_eq!(no(json!({ "begin": 0, "length": 4096 })), "dump: no guest memory to dump");
        let format = "Parameter 'format' does not accept value 'kdump-zlib'";
        assert_eq!(no(json!({ "format": "kdump-zlib" })), format);
        assert_eq!(std::fs::read(&file).unwrap(), core, "what was there is there");
        let why = no(json!({ "protocol": "file:/nonexistent/core" }));
        assert!(why.starts_with("cannot write '/nonexistent/core': "), "{why}");
        assert_eq!(p.ask("query-dump"), completed(16), "nothing was begun");
        let line = |p: &mut Program, line: &str| {
            let arguments = json!({ "command-line": line });
            p.say(json!({ "execute": "human-monitor-command", "arguments": arguments }).to_string());
            p.hear()
        };
        let file = file.display();
        assert_eq!(line(&mut p, &format!("dump-guest-memory {file} 0x80000000 4096")), told(completed(4096)));
        assert_eq!(p.hear(), json!({ "return": "" }));
        assert_eq!(line(&mut p, &format!("dump-guest-memory -d {file} 0x80000000 8192")), json!({ "return": "" }));
        assert_eq!(p.hear(), told(completed(8192)));
        let odd = line(&mut p, &format!("dump-guest-memory -z {file}"));
        assert_eq!(odd["return"], "Error: '-z': only -d is known; the file is ELF\r\n");
        p.quit();
    });
}

#[test]
fn a_ring_buffer_gives_what_the_guest_wrote() {
    let text = "Hé".bytes().map(|byte| store(map::UART.base, &[byte]));
    let mock = Mock::new(vec![vec![text.chain([reboot()]).collect()]]);
    let words = ["-S", "-chardev", "ringbuf,id=r", "-serial", "chardev:r"];
    with_path(&words, mock, |path, _| {
        let mut p = Program::at(path);
        p.say(r#"{"execute":"cont"}"#);
        p.hears([plain("RESUME"), done(), event("RESET", true, "guest-reset")]);
        let mut read = |device: &str, size: u64, format: &str| {
            let arguments = json!({ "device": device, "size": size, "format": format });
            p.send(json!({ "execute": "ringbuf-read", "arguments": arguments }))
        };
        assert_eq!(read("r", 1, "base64"), json!({ "return": "SA==" }));
        assert_eq!(read("r", 100, "utf8"), json!({ "return": "é" }));
        assert_eq!(read("r", 100, "utf8"), json!({ "return": "" }));
        assert_eq!(read("r", 0, "utf8"), error("GenericError", "size must be greater than zero"));
        assert_eq!(read("x", 1, "utf8"), error("GenericError", "Device 'x' not found"));
        let other = read("compat_monitor0", 1, "utf8");
        assert_eq!(other, error("GenericError", "compat_monitor0 is not a ringbuf device"));
        assert_eq!(read("r", 1, "hex"), error("GenericError", "Parameter 'format' does not accept value 'hex'"));
        p.quit();
    });
}

#[test]
fn a_machine_moves() {
    let dir = tempfile::tempdir().unwrap();
    let place = format!("file:{}", dir.path().join("snapshot").display());
    with_program(&["-m", "6M"], |mut p, _| {
        assert_eq!(p.ask("query-migrate"), json!({}));
        let capability = |state| json!([{ "capability": "mapped-ram", "state": state }]);
        let all = |state| json!([{ "capability": "events", "state": false }, capability(state)[0]]);
        assert_eq!(p.ask("query-migrate-capabilities"), all(false));
        let set = |all: Value| json!({ "execute": "migrate-set-capabilities", "arguments": { "capabilities": all } });
        assert_eq!(p.send(set(capability(true))), json!({ "return": {} }));
        assert_eq!(p.ask("query-migrate-capabilities"), all(true));
        assert_eq!(p.send(set(capability(false))), json!({ "return": {} }));
        let other = p.send(set(json!([{ "capability": "rdma-pin-all", "state": true }])));
        assert_eq!(other["error"]["class"], "GenericError");
        let limits = |downtime: u64, bandwidth: u64| json!({ "downtime-limit": downtime, "max-bandwidth": bandwidth });
        let set = |all: Value| json!({ "execute": "migrate-set-parameters", "arguments": all });
        assert_eq!(p.ask("query-migrate-parameters"), limits(300, 0));
        // What libvirt sets for no limit.
        assert_eq!(p.send(set(limits(500, 0x7fff_ffff_fff0_0000))), json!({ "return": {} }));
        for (wrong, why) in [
            (json!({ "downtime-limit": 1, "max-bandwidth": -1 }), "Parameter 'max-bandwidth' expects uint64"),
            (limits(2_000_001, 1), "downtime-limit 2000001: 0 to 2000000 ms are allowed"),
            (json!({ "downtime-limit": 1, "mode": "normal" }), "'mode' is no parameter of moves; downtime-limit and "),
        ] {
            let answer = p.send(set(wrong));
            assert!(answer["error"]["desc"].as_str().unwrap().starts_with(why), "{answer}");
        }
        assert_eq!(p.ask("query-migrate-parameters"), limits(500, 0x7fff_ffff_fff0_0000));
        let to = |uri: &str| json!({ "execute": "migrate", "arguments": { "uri": uri } });
        assert_eq!(p.send(to("carrier:pigeon"))["error"]["class"], "GenericError");
        // Events come in between.
        let mut stopped = false;
        let mut answer = |p: &mut Program, request: Value| loop {
            p.say(request.to_string());
            let heard = loop {
                let heard = p.hear();
                match heard.get("event") {
                    Some(event) => stopped |= event == "STOP",
                    None => break heard,
                }
            };
            if !matches!(heard["return"]["status"].as_str(), Some("setup" | "active" | "device")) {
                break heard["return"].clone();
            }
        };
        assert_eq!(answer(&mut p, to(&place)), json!({}));
        let done = answer(&mut p, json!({ "execute": "query-migrate" }));
        assert_eq!((&done["status"], done["downtime"].is_u64()), (&json!("completed"), true), "{done}");
        let typed: qapi::qmp::MigrationInfo = serde_json::from_value(done).unwrap();
        let ram = typed.ram.unwrap();
        assert_eq!((ram.normal + ram.duplicate, ram.remaining, ram.total), (1536, 0, 6 << 20));
        let status = answer(&mut p, json!({ "execute": "query-status" }));
        assert_eq!(status, json!({ "status": "postmigrate", "running": false }));
        assert!(stopped);
    });
}
