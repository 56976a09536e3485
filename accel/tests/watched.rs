//! RAM that the bus watches: no kind of write to such a page escapes it, and others are not reported.

mod guest;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use accel::tcg::{Tcg, TcgOptions};
use guest::setup::{Extra, Setup};
use guest::{Asm, CODE, Guest, Op, RAM, modes};

const WATCHED: u64 = RAM + 0x3000;
const TABLE: u64 = RAM + 0x10_0000;

/// What the bus hears.
#[derive(Default)]
struct Watcher {
    stored: Mutex<Vec<(u64, u64)>>,
    settled: AtomicU64,
    /// How often it asks to be called again.
    again: AtomicU64,
}

impl Extra for Watcher {
    fn watched(&self) -> Vec<u64> {
        vec![WATCHED + 0x123]
    }

    fn stored(&self, gpa: u64, len: u64) {
        self.stored.lock().unwrap().push((gpa, len));
    }

    fn settle(&self) -> bool {
        self.settled.fetch_add(1, Ordering::SeqCst);
        let left = self.again.load(Ordering::SeqCst);
        self.again.store(left.saturating_sub(1), Ordering::SeqCst);
        left > 0
    }
}

struct Bench {
    guest: Guest,
    watcher: Arc<Watcher>,
}

impl Bench {
    fn new(options: TcgOptions) -> Self {
        let watcher = Arc::new(Watcher::default());
        let isa = arch::model::find("max").unwrap().config();
        let extra = Some(Arc::clone(&watcher) as _);
        let guest = Setup { isa, extra, ..Setup::default() }.start(&Tcg { options });
        Self { guest, watcher }
    }

    /// Runs a program in S-mode, x10 the place in the watched page; what was stored, and how often it settled.
    fn run(&mut self, at: u64, satp: u64, program: impl Fn(&mut Asm)) -> (Vec<(u64, u64)>, u64) {
        let mut a = Asm::at(CODE);
        program(&mut a);
        // A backward jump: the poll comes at latest here.
        a.li(7, 3);
        let top = a.here();
        a.i(Op::Addi, 7, 7, -1);
        a.b(Op::Bne, 7, 0, top);
        a.ecall();
        self.guest.load(&a);
        let mut state = self.guest.supervisor(0, CODE);
        (state.x[10], state.x[11], state.csr.satp) = (at, 0x55, satp);
        self.watcher.stored.lock().unwrap().clear();
        self.watcher.settled.store(0, Ordering::SeqCst);
        self.guest.run(&state);
        let stored = std::mem::take(&mut *self.watcher.stored.lock().unwrap());
        (stored, self.watcher.settled.load(Ordering::SeqCst))
    }
}

#[test]
fn stores_are_reported_at_once_and_others_at_the_next_poll() {
    for (name, options) in modes() {
        let mut b = Bench::new(options);
        // Twice: the second store must not find a way around.
        let (stored, settled) = b.run(WATCHED + 8, 0, |a| {
            a.s(Op::Sd, 11, 10, 0).s(Op::Sw, 11, 10, 4).s(Op::Sd, 11, 10, 0);
        });
        assert_eq!(stored, [(WATCHED + 8, 8), (WATCHED + 12, 4), (WATCHED + 8, 8)], "{name}");
        assert!(settled >= 1, "{name}");
        for (what, op) in [("amo", Op::AmoaddD), ("amoswap", Op::AmoswapW)] {
            let (_, settled) = b.run(WATCHED + 8, 0, |a| {
                a.amo(op, 5, 11, 10, 0);
            });
            assert!(settled >= 1, "{name}: {what}");
        }
        let (_, settled) = b.run(WATCHED + 8, 0, |a| {
            a.amo(Op::LrD, 5, 0, 10, 0).amo(Op::ScD, 6, 11, 10, 0);
        });
        assert!(settled >= 1, "{name}: sc");
        let (_, settled) = b.run(WATCHED, 0, |a| {
            a.r(Op::CboZero, 0, 10, 0);
        });
        assert!(settled >= 1, "{name}: cbo.zero");
        let (_, settled) = b.run(WATCHED - 4, 0, |a| {
            a.s(Op::Sd, 11, 10, 0);
        });
        assert!(settled >= 1, "{name}: a store that ends in the page");
        let (stored, settled) = b.run(WATCHED + 0x1000, 0, |a| {
            a.s(Op::Sd, 11, 10, 0).s(Op::Sd, 11, 10, -8);
            a.i(Op::Ld, 5, 10, -8);
        });
        assert_eq!((stored.len(), settled > 0), (1, true), "{name}: {stored:?}");
        let (stored, settled) = b.run(WATCHED + 0x2000, 0, |a| {
            a.s(Op::Sd, 11, 10, 0).i(Op::Ld, 5, 10, 0);
        });
        assert_eq!((stored.len(), settled), (0, 0), "{name}: another page");
    }
}

#[test]
fn a_watched_page_is_watched_by_any_address() {
    for (name, options) in modes() {
        let mut b = Bench::new(options);
        // Sv39: the first gigabyte leads to RAM, as does RAM itself.
        let flags = 0xcf;
        b.guest.write64(TABLE, RAM >> 2 | flags);
        b.guest.write64(TABLE + 16, RAM >> 2 | flags);
        let (stored, _) = b.run(WATCHED - RAM, 8 << 60 | TABLE >> 12, |a| {
            a.s(Op::Sd, 11, 10, 0);
        });
        assert_eq!(stored, [(WATCHED, 8)], "{name}");
    }
}

#[test]
fn the_bus_is_asked_again_as_long_as_it_wants() {
    for (name, options) in modes() {
        let mut b = Bench::new(options);
        b.watcher.again.store(5, Ordering::SeqCst);
        let (_, settled) = b.run(WATCHED, 0, |a| {
            a.s(Op::Sd, 11, 10, 0).li(8, 50);
            let top = a.here();
            a.i(Op::Addi, 8, 8, -1);
            a.b(Op::Bne, 8, 0, top);
        });
        assert_eq!(settled, 6, "{name}");
    }
}
