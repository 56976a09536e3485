//! Machines whose guests go to the translator while a debugger or the log needs it, and back.

use std::path::Path;

use accel::Accel;
use accel::mock::Refusal;
use accel::trace::TraceItems;

use super::gdb::{Client, text};
use super::monitor::{Person, connect, started, with_prepared};
use super::snapshot::machine;
use super::*;
use crate::machine::build::engine_named;
use crate::machine::debug_switch::Engines;

/// A program that counts in memory, and where.
const PROGRAM: [u32; 4] = [
    0x0000_0317, // auipc t1, 0
    0x0012_8293, // loop: addi t0, t0, 1
    0x0253_3023, // sd t0, 32(t1)
    0xff9f_f06f, // j loop
];
const STORE: u64 = ENTRY + 8;
const COUNTER: u64 = ENTRY + 32;

const SWITCHING: [&str; 2] = ["-accel", "kvm,debug-switch=on"];

/// The engines of these tests: the mock stands for KVM.
fn engines(name: &str, config: &MachineConfig) -> Result<Box<dyn Accel>, String> {
    match name {
        "mock" => Ok(Box::new(Mock::default().that_refuses(Refusal::Watchpoints))),
        _ => engine_named(name, config),
    }
}

fn without_stops(name: &str, config: &MachineConfig) -> Result<Box<dyn Accel>, String> {
    match name {
        "mock" => Ok(Box::new(Mock::default().that_refuses(Refusal::Stops))),
        _ => engine_named(name, config),
    }
}

fn no_engines(name: &str, _: &MachineConfig) -> Result<Box<dyn Accel>, String> {
    Err(format!("there is no {name} today"))
}

fn no_way_back(name: &str, config: &MachineConfig) -> Result<Box<dyn Accel>, String> {
    if name == "mock" { no_engines(name, config) } else { engines(name, config) }
}

/// Runs a machine with that program, with gdb and somebody at the monitor.
fn with_both(words: &[&str], refuses: Refusal, engines: Engines, both: impl FnOnce(&Path, &Path) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let (kernel, monitor) = (dir.path().join("kernel"), dir.path().join("monitor"));
    std::fs::write(&kernel, PROGRAM.map(u32::to_le_bytes).concat()).unwrap();
    let device = format!("unix:{},server=on,wait=off", monitor.display());
    let words = [&["-kernel", kernel.to_str().unwrap(), "-monitor", &device], words].concat();
    let (mock, prepare) =
        (Mock::default().that_refuses(refuses), |machine: &mut Machine| machine.away.engines = engines);
    with_prepared("-gdb", &words, mock, prepare, |gdb, mock| {
        started(mock, 1);
        both(gdb, &monitor);
    });
}

/// What gdb shows on its console, and the packet behind that.
fn told(gdb: &mut Client) -> (String, String) {
    let mut said = String::new();
    loop {
        let answer = gdb.answer();
        // A packet for the console is `O` and digits; `OK` is none.
        match answer.strip_prefix('O').filter(|rest| *rest != "K") {
            Some(hex) => said += &text(hex),
            None => return (said, answer),
        }
    }
}

fn goes_on(gdb: &mut Client) -> (String, String) {
    gdb.packet(b"vCont;c");
    told(gdb)
}

fn value(digits: &str) -> u64 {
    u64::from_str_radix(digits, 16).unwrap().swap_bytes()
}

/// Without the time, which is another one each time.
fn first_part(said: &str) -> &str {
    said.split_once("; downtime: ").map_or(said, |(first, _)| first)
}

const THERE: &str = "the guest went from mock to tcg for a watchpoint";
const BACK: &str = "the guest went from tcg to mock again";

#[test]
fn a_watchpoint_takes_the_guest_to_the_translator_and_back() {
    with_both(&SWITCHING, Refusal::Watchpoints, engines, |path, monitor| {
        let mut gdb = Client::at(path);
        let mut person = Person::at(monitor);
        let watch = format!("2,{COUNTER:x},8");
        let mut count = 0;
        for round in 0..3 {
            assert_eq!(gdb.ask(&format!("Z{watch}")), "OK");
            assert_eq!(person.ask("info accel").contains("\n* tcg"), round > 0, "it goes when gdb lets it go on");
            let (said, stop) = goes_on(&mut gdb);
            match round {
                0 => assert_eq!(first_part(&said), THERE),
                _ => assert_eq!(said, ""),
            }
            assert_eq!(stop, format!("T05thread:01;watch:{COUNTER:x};"));
            assert_eq!(value(&gdb.ask("p20")), STORE);
            assert_eq!(value(&gdb.ask("p5")), count + 1, "t0");
            assert_eq!(value(&gdb.ask(&format!("m{COUNTER:x},8"))), count);
            if round == 0 {
                assert_eq!(first_part(person.answer().trim()), THERE);
            }
            // gdb takes it away, steps over the store, and sets it again.
            assert_eq!(gdb.ask(&format!("z{watch}")), "OK");
            let behind = STORE + 4;
            assert_eq!(gdb.ask(&format!("Z0,{behind:x},4")), "OK");
            gdb.packet(if round == 0 { b"vCont;s:1" } else { b"vCont;c:1" });
            assert!(gdb.answer().starts_with("T05thread:01;"));
            assert_eq!((gdb.ask(&format!("z0,{behind:x},4")), value(&gdb.ask("p20"))), ("OK".into(), behind));
            count += 1;
            assert_eq!(value(&gdb.ask(&format!("m{COUNTER:x},8"))), count);
        }
        // Nothing is watched any more.
        gdb.packet(b"vCont;c");
        assert_eq!(first_part(person.answer().trim()), BACK);
        gdb.send(b"\x03");
        let (said, stop) = told(&mut gdb);
        assert_eq!((first_part(&said), stop.starts_with("T02")), (BACK, true));
        assert!(!person.ask("info accel").contains('*'));
        assert_eq!(value(&gdb.ask("p5")), 3, "the mock's harts have the registers");

        // Whoever leaves wants nothing any more.
        gdb.ask(&format!("Z{watch}"));
        assert_eq!(goes_on(&mut gdb).1, format!("T05thread:01;watch:{COUNTER:x};"));
        assert_eq!(first_part(person.answer().trim()), THERE);
        assert_eq!(gdb.ask("D"), "OK");
        assert_eq!(first_part(person.answer().trim()), BACK);
        assert_eq!(person.ask("info status"), "VM status: running\n");
        drop(gdb);
        let mut gdb = Client::at(path);
        gdb.ask(&format!("Z{watch}"));
        assert_eq!(goes_on(&mut gdb).1, format!("T05thread:01;watch:{COUNTER:x};"));
        assert_eq!(first_part(person.answer().trim()), THERE);
        drop(gdb);
        assert_eq!(first_part(person.answer().trim()), BACK);
        assert_eq!(person.ask("info status"), "VM status: paused (debug)\n");
    });
}

#[test]
fn a_users_choice_of_the_engine_stays() {
    with_both(&SWITCHING, Refusal::Watchpoints, engines, |path, monitor| {
        let (mut gdb, mut person) = (Client::at(path), Person::at(monitor));
        for choice in ["tcg", "interp"] {
            gdb.ask(&format!("Z2,{COUNTER:x},8"));
            let hit = format!("T05thread:01;watch:{COUNTER:x};");
            assert_eq!(goes_on(&mut gdb).1, hit);
            assert_eq!(first_part(person.answer().trim()), THERE);
            person.ask(&format!("accel {choice}"));
            gdb.ask(&format!("z2,{COUNTER:x},8"));
            gdb.packet(b"vCont;c");
            assert!(person.ask("info accel").contains(&format!("\n* {choice}")));
            gdb.send(b"\x03");
            assert_eq!(told(&mut gdb).0, "");
            assert!(person.ask("accel mock").starts_with(&format!("the guest went from {choice} to mock; downtime")));
        }
    });
}

#[test]
fn what_is_refused_is_told_and_the_guest_goes_on_where_it_is() {
    let refused = "accelerator 'mock' does not support Watchpoints";
    let message = |words: &[&str], engines| {
        let mut all = String::new();
        with_both(words, Refusal::Watchpoints, engines, |path, monitor| {
            let (mut gdb, mut person) = (Client::at(path), Person::at(monitor));
            gdb.ask(&format!("Z2,{COUNTER:x},8"));
            let (said, stop) = goes_on(&mut gdb);
            assert!(stop.starts_with("T05"), "{stop}");
            assert!(!person.ask("info accel").contains('*'));
            all = said;
        });
        all
    };
    let hint = "with -accel kvm,debug-switch=on the guest goes to tcg for that";
    assert_eq!(message(&[], engines), format!("{refused}; {hint}\n"));
    assert_eq!(message(&SWITCHING, no_engines), format!("{refused}; there is no tcg today\n"));

    with_both(&SWITCHING, Refusal::Watchpoints, no_way_back, |path, monitor| {
        let (mut gdb, mut person) = (Client::at(path), Person::at(monitor));
        gdb.ask(&format!("Z2,{COUNTER:x},8"));
        goes_on(&mut gdb);
        assert_eq!(first_part(person.answer().trim()), THERE);
        gdb.ask(&format!("z2,{COUNTER:x},8"));
        gdb.packet(b"vCont;c");
        assert_eq!(person.answer().trim(), "there is no mock today");
        assert!(person.ask("info accel").contains("\n* tcg"));
        assert_eq!(person.ask("info status"), "VM status: running\n");
        // Once is enough, until something is needed again.
        gdb.send(b"\x03");
        assert_eq!(told(&mut gdb).0, "there is no mock today\n");
        gdb.packet(b"vCont;c");
        gdb.send(b"\x03");
        assert_eq!(told(&mut gdb).0, "");
    });
}

#[test]
fn breakpoints_that_an_engine_has_not_are_the_translators() {
    // Where nothing is mapped, for the mock.
    with_both(&SWITCHING, Refusal::Watchpoints, engines, |path, monitor| {
        let (mut gdb, mut person) = (Client::at(path), Person::at(monitor));
        assert_eq!((gdb.ask("Z1,1,4"), gdb.ask(&format!("Z1,{STORE:x},4"))), ("OK".into(), "OK".into()));
        let (said, stop) = goes_on(&mut gdb);
        assert_eq!(first_part(&said), "the guest went from mock to tcg for a breakpoint where nothing is mapped");
        assert!(stop.starts_with("T05thread:01;"), "{stop}");
        person.answer();
        assert_eq!(value(&gdb.ask("p20")), STORE);
        gdb.ask("z1,1,4");
        gdb.packet(b"vCont;c");
        assert_eq!(first_part(person.answer().trim()), BACK, "the other one is everybody's");
    });
    // Anywhere.
    with_both(&SWITCHING, Refusal::Stops, without_stops, |path, monitor| {
        let (mut gdb, mut person) = (Client::at(path), Person::at(monitor));
        gdb.packet(b"vCont;s:1");
        let (said, stop) = told(&mut gdb);
        assert_eq!(first_part(&said), "the guest went from mock to tcg for a debugger");
        assert_eq!(stop, "T05thread:01;");
        person.answer();
        for _ in 0..2 {
            gdb.ask(&format!("Z0,{STORE:x},4"));
            let (said, stop) = goes_on(&mut gdb);
            assert_eq!((said.as_str(), stop.starts_with("T05")), ("", true));
            gdb.ask(&format!("z0,{STORE:x},4"));
        }
        gdb.packet(b"vCont;c");
        assert_eq!(first_part(person.answer().trim()), BACK);
    });
}

#[test]
fn the_log_takes_the_guest_to_the_translator_and_back() {
    let mut machine = machine(&[&["-nodefaults", "-m", "16M"][..], &SWITCHING].concat());
    machine.away.engines = engines;
    machine.start_log(TraceItems::empty()).unwrap();
    assert_eq!(machine.engine(), "mock");
    machine.start_log(TraceItems::EXEC).unwrap();
    assert!(machine.is_away() && machine.engine() == "tcg");
    assert_eq!(first_part(&machine.untold()[0].news().unwrap()), "the guest went from mock to tcg for the log");
    // A debugger needs it as well.
    machine.debugger_needs(Some(Need::Watchpoint));
    machine.config.log.items = TraceItems::empty();
    assert!(!machine.go_back() && machine.engine() == "tcg");
    assert!(machine.debugger_needs(None) && machine.engine() == "mock" && !machine.is_away());
    assert!(!machine.debugger_needs(None));

    let mut fixed = super::snapshot::machine(&["-nodefaults", "-m", "16M"]);
    let why = "mock does not log code; with -accel kvm,debug-switch=on the guest goes to tcg for that";
    assert_eq!(fixed.start_log(TraceItems::EXEC), Err(why.into()));
}

/// Programs hear why.
#[test]
fn qmp_tells_the_reason() {
    use std::io::{BufRead, BufReader, Write};
    let prepare = |machine: &mut Machine| machine.away.engines = engines;
    let mock = Mock::default().that_refuses(Refusal::Watchpoints);
    let dir = tempfile::tempdir().unwrap();
    let qmp = dir.path().join("qmp");
    let device = format!("unix:{},server=on,wait=off", qmp.display());
    with_prepared("-gdb", &[&SWITCHING[..], &["-qmp", &device]].concat(), mock, prepare, |path, mock| {
        started(mock, 1);
        let mut program = connect(&qmp);
        program.write_all(b"{\"execute\":\"qmp_capabilities\"}").unwrap();
        let mut lines = BufReader::new(program).lines().map(Result::unwrap);
        assert!(lines.by_ref().any(|line| line.contains("\"return\"")));
        let mut gdb = Client::at(path);
        gdb.ask("Z2,0,1");
        gdb.packet(b"vCont;c");
        let mut reason = || {
            let line = lines.find(|line| line.contains("__ORG.VIREO_ACCEL_CHANGE")).unwrap();
            line.split_once("\"reason\"").unwrap().1.trim_start_matches([':', ' ']).split_once('"').unwrap().1[..4]
                .to_owned()
        };
        assert_eq!(reason(), "watc");
        gdb.send(b"\x03");
        gdb.ask("D");
        assert_eq!(reason(), "over");
    });
}
