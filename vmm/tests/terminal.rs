//! The terminal: raw while a machine runs, and given back however it ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// The program on a pseudo terminal.
struct Session {
    master: File,
    /// Kept open, so that its settings can be read after the program's end.
    terminal: OwnedFd,
    child: Child,
}

impl Session {
    fn start(words: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let io = || terminal.try_clone().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vireo"))
            .args(words)
            .stdin(io())
            .stdout(io())
            .stderr(io())
            .spawn()
            .unwrap();
        Self { master: master.into(), terminal: terminal.into(), child }
    }

    /// Reads until `what` appears; a minute is for the slowest of machines.
    fn wait_for(&mut self, what: &str) {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(what) {
            let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&timeout)).unwrap();
            assert!(ready > 0, "no {what:?} in {:?}", String::from_utf8_lossy(&seen));
            let n = self.master.read(&mut chunk).unwrap();
            seen.extend_from_slice(&chunk[..n]);
        }
    }

    fn type_in(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert!(!self.is_raw(), "the terminal is left in raw mode");
        status
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Only a failed test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prompt(words: &[&str]) -> Session {
    let mut s = Session::start(words);
    s.wait_for("vireo> ");
    assert!(s.is_raw());
    s
}

#[test]
fn ctrl_a_x_ends_the_machine() {
    let mut s = prompt(&[]);
    s.type_in(b"\x01x");
    assert_eq!(s.end().code(), Some(0));
}

#[test]
fn power_off_ends_the_program() {
    let mut s = prompt(&["-nographic"]);
    s.type_in(b"poweroff\r");
    assert_eq!(s.end().code(), Some(0));
}

#[test]
fn signals_end_it_with_the_usual_code() {
    for (signal, code) in [(rustix::process::Signal::TERM, 143), (rustix::process::Signal::INT, 130)] {
        let s = prompt(&[]);
        s.signal(signal);
        assert_eq!(s.end().code(), Some(code));
    }
}

#[test]
fn ctrl_c_is_the_guests_on_a_shared_terminal() {
    let mut s = prompt(&["-serial", "mon:stdio"]);
    s.type_in(b"\x03");
    s.type_in(b"\rpoweroff\r");
    assert_eq!(s.end().code(), Some(0));
}

#[test]
fn a_reboot_keeps_the_console() {
    let mut s = prompt(&["-smp", "2"]);
    for _ in 0..5 {
        s.type_in(b"reboot\r");
        s.wait_for("vireo> ");
    }
    s.type_in(b"\x01x");
    assert_eq!(s.end().code(), Some(0));
}
