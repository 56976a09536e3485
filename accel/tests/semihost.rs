//! Semihosting calls: which breakpoints are calls, what the host sees of the caller, and where the hart goes on.

mod guest;

use std::sync::{Arc, Mutex};

use accel::semihost::{Answer, CallerMemory, SEQUENCE, Semihosting};
use accel::tcg::{Tcg, TcgOptions};
use accel::{HartState, Mode};
use guest::setup::{Extra, Setup};
use guest::{CODE, RAM, modes};
use vm_memory::{Bytes, GuestAddress};

const HANDLER: u64 = RAM + 0x2_0000;
const ECALL: u32 = 0x73;

/// Answers operation N with N + 100, at the second time of asking; keeps what it was asked.
struct Host {
    userspace: bool,
    calls: Mutex<Vec<(u64, u64)>>,
}

impl Semihosting for Host {
    fn userspace(&self) -> bool {
        self.userspace
    }

    fn call(&self, operation: u64, parameter: u64, memory: &mut dyn CallerMemory) -> Answer {
        let mut calls = self.calls.lock().unwrap();
        calls.push((operation, parameter));
        if calls.len() % 2 == 1 {
            return Answer::Again;
        }
        let mut text = [0; 4];
        assert!(memory.read(parameter, &mut text));
        text.reverse();
        assert!(memory.write(parameter, &text));
        assert!(!memory.read(0x10, &mut text), "nothing is there");
        Answer::Done(operation + 100)
    }
}

impl Extra for Host {
    fn semihosting(&self) -> Option<&dyn Semihosting> {
        Some(self)
    }
}

/// Runs `code` at `at` in `mode` with operation 5 and a parameter. The host's calls, the parameter's text and the state
/// at the SBI call that ends it, in S-mode or in its handler.
fn run(
    options: TcgOptions,
    host: Option<bool>,
    mode: Mode,
    at: u64,
    code: &[u32],
) -> (Vec<(u64, u64)>, u32, HartState) {
    let host = host.map(|userspace| Arc::new(Host { userspace, calls: Mutex::default() }));
    let extra = host.clone().map(|host| host as Arc<dyn Extra>);
    let mut g = Setup { extra, ..Setup::default() }.start(&Tcg { options });
    g.write(at, &code.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>());
    g.write(HANDLER, &ECALL.to_le_bytes());
    g.write(RAM, b"abcd");
    let mut state = g.supervisor(0, at);
    (state.mode, state.csr.stvec) = (mode, HANDLER);
    (state.x[10], state.x[11]) = (5, RAM);
    let end = g.run(&state);
    let calls = host.map_or(Vec::new(), |host| host.calls.lock().unwrap().clone());
    (calls, g.ram.read_obj(GuestAddress(RAM)).unwrap(), end)
}

fn sequence() -> Vec<u32> {
    [&SEQUENCE[..], &[ECALL]].concat()
}

#[test]
fn the_host_answers_in_a0() {
    for (name, options) in modes() {
        let (calls, text, s) = run(options, Some(false), Mode::Supervisor, CODE, &sequence());
        assert_eq!(calls, [(5, RAM); 2], "{name}");
        assert_eq!(&text.to_le_bytes(), b"dcba", "{name}");
        assert_eq!((s.x[10], s.x[11], s.pc), (105, RAM, CODE + 16), "{name}");
    }
}

#[test]
fn other_breakpoints_are_breakpoints() {
    let plain = [SEQUENCE[1], ECALL];
    let first = [SEQUENCE[0], SEQUENCE[1], ECALL];
    let last = [0x13, SEQUENCE[1], SEQUENCE[2], ECALL];
    let whole = sequence();
    // (host, mode, where, code)
    let cases: [(Option<bool>, Mode, u64, &[u32]); 6] = [
        (None, Mode::Supervisor, CODE, &whole),
        (Some(false), Mode::User, CODE, &whole),
        (Some(true), Mode::Supervisor, CODE, &plain),
        (Some(true), Mode::Supervisor, CODE, &first),
        (Some(true), Mode::Supervisor, CODE, &last),
        // In two pages.
        (Some(true), Mode::Supervisor, CODE - 4, &whole),
    ];
    for (name, options) in modes() {
        for (i, &(host, mode, at, code)) in cases.iter().enumerate() {
            let (calls, _, s) = run(options.clone(), host, mode, at, code);
            let at = at + 4 * code.iter().position(|w| *w == SEQUENCE[1]).unwrap() as u64;
            assert_eq!((calls.len(), s.csr.scause, s.csr.sepc, s.x[10]), (0, 3, at, 5), "{name}: case {i}");
        }
    }
}

#[test]
fn user_mode_may_call_if_the_host_says_so() {
    for (name, options) in modes() {
        let (calls, _, s) = run(options, Some(true), Mode::User, CODE, &sequence());
        assert_eq!((calls.len(), s.x[10], s.csr.scause), (2, 105, 8), "{name}");
    }
}
