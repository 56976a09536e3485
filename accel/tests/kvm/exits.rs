//! What leaves a hart: devices, accesses that nothing answers, CSRs that the kernel hands on, and SBI.

use accel::testing::Registers as _;
use accel::{HartState, ShutdownReason, VcpuExit};
use arch::csr;
use arch::ext::Ext;

use crate::guest::{Asm, CODE, ILLEGAL, Op};
use crate::machine::{DEVICE, Machine, NOWHERE, end, finish, finish_with};

/// Traps lead here, where the program ends.
const HANDLER: u64 = CODE + 0x2000;

fn with_handler(m: &Machine) -> HartState {
    let mut a = Asm::at(HANDLER);
    end(&mut a);
    m.load(&a);
    let mut s = m.start(0);
    s.csr.stvec = HANDLER;
    s
}

/// Every size of load and store, with its extension.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn loads_and_stores_of_a_device_are_whole() {
    let mut m = Machine::new(1);
    const SIZES: [(Op, Op); 7] = [
        (Op::Lb, Op::Sb),
        (Op::Lbu, Op::Sb),
        (Op::Lh, Op::Sh),
        (Op::Lhu, Op::Sh),
        (Op::Lw, Op::Sw),
        (Op::Lwu, Op::Sw),
        (Op::Ld, Op::Sd),
    ];
    m.program(|a| {
        a.li(13, DEVICE).li(14, 0x8182_8384_8586_8788);
        for (n, (load, store)) in (0..).zip(SIZES) {
            a.i(load, 20 + n, 13, 8).s(store, 14, 13, 16 + i32::from(n) * 8);
        }
    });
    // The first loads give a byte with its upper bit set.
    m.device.loads.store(0x80, std::sync::atomic::Ordering::SeqCst);
    let start = m.start(0);
    m.harts[0].set_state(&start);
    let s = finish(&mut m.guest.harts[0]);
    // The kernel extends the sign of loads of devices since some version; before, upper bits are zero.
    assert_eq!(s.x[20] & 0xff, 0x80);
    assert_eq!(s.x[21..27], [0x81, 0x82, 0x83, 0x84, 0x85, 0x86]);
    let stored = [0x88, 0x88, 0x8788, 0x8788, 0x8586_8788, 0x8586_8788, 0x8182_8384_8586_8788];
    let expected: Vec<_> = (0u64..).zip(stored).map(|(n, v)| (DEVICE + 16 + 8 * n, v)).collect();
    assert_eq!(m.device.stores(), expected);
}

/// The trap that an access of nowhere is: scause, and that nothing else happened.
fn trap_of(op: Op, cause: u64) {
    let mut m = Machine::new(1);
    m.program(|a| {
        a.li(13, NOWHERE).li(14, 7);
        match op {
            Op::Sd => a.s(op, 14, 13, 8),
            Op::Jalr => a.i(op, 1, 13, 0),
            Op::AmoaddD => a.amo(op, 14, 14, 13, 0),
            _ => a.i(op, 14, 13, 8),
        };
        a.li(14, 1);
    });
    let start = with_handler(&m);
    m.harts[0].set_state(&start);
    let s = finish(&mut m.guest.harts[0]);
    let fetch = op == Op::Jalr;
    let (epc, tval) = match op {
        Op::Jalr => (NOWHERE, NOWHERE),
        Op::AmoaddD => (CODE + 64, NOWHERE),
        _ => (CODE + 64, NOWHERE + 8),
    };
    assert_eq!((s.csr.scause, s.csr.sepc, s.csr.stval), (cause, epc, tval), "{op:?}");
    assert_eq!(s.x[14], 7, "{op:?}");
    assert_eq!(s.x[1], if fetch { CODE + 68 } else { 0 });
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn accesses_of_nowhere_are_faults() {
    trap_of(Op::Ld, 5);
    trap_of(Op::Sd, 7);
    trap_of(Op::Jalr, 1);
    // The kernel makes no exit of it.
    trap_of(Op::AmoaddD, 7);
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_entropy_source_has_entropy() {
    let mut m = Machine::new(1);
    if !m.isa.has(Ext::Zkr) {
        println!("this host has no Zkr");
        return;
    }
    m.program(|a| {
        a.i(Op::Csrrw, 20, 0, i32::from(csr::SEED)).i(Op::Csrrw, 21, 0, i32::from(csr::SEED));
    });
    let start = with_handler(&m);
    m.harts[0].set_state(&start);
    let s = finish(&mut m.guest.harts[0]);
    // OPST is ES16 and the reserved bits are zero.
    assert_eq!([s.x[20] >> 16, s.x[21] >> 16], [0x8000, 0x8000], "{:#x}", s.csr.scause);
}

/// A CSR of an interrupt file on a machine that has none.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_csr_that_is_nowhere_is_illegal() {
    let mut m = Machine::new(1);
    m.program(|a| {
        a.li(14, 7).i(Op::Csrrw, 14, 0, i32::from(csr::STOPEI)).li(14, 1);
    });
    let start = with_handler(&m);
    m.harts[0].set_state(&start);
    let s = finish(&mut m.guest.harts[0]);
    assert_eq!((s.csr.scause, s.csr.sepc, s.csr.stval, s.x[14]), (ILLEGAL, CODE + 32, 0x15c0_1773, 7));
}

const DBCN: u64 = 0x4442_434e;

/// A call: extension, function and arguments.
fn call(a: &mut Asm, eid: u64, fid: u64, args: &[u64]) {
    a.li(17, eid).li(16, fid);
    (10..).zip(args).for_each(|(n, v)| {
        a.li(n, *v);
    });
    a.ecall();
}

/// The errors and values of calls, one after the other, and those that were handed on, which are answered with -2 and 99.
fn answers(m: &mut Machine, calls: &[(u64, u64, &[u64])]) -> (Vec<(i64, u64)>, Vec<u64>) {
    const RESULTS: u64 = CODE + 0x8000;
    m.program(|a| {
        a.li(20, RESULTS);
        for (eid, fid, args) in calls {
            call(a, *eid, *fid, args);
            a.s(Op::Sd, 10, 20, 0).s(Op::Sd, 11, 20, 8).i(Op::Addi, 20, 20, 16);
        }
    });
    let start = m.start(0);
    m.harts[0].set_state(&start);
    let mut handed_on = Vec::new();
    finish_with(&mut m.guest.harts[0], |call| {
        handed_on.push(call.eid);
        (-2, 99)
    });
    let result = |n: u64| (m.read64(RESULTS + 16 * n) as i64, m.read64(RESULTS + 16 * n + 8));
    ((0..calls.len() as u64).map(result).collect(), handed_on)
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn sbi_is_the_kernels_or_ours() {
    const PROBE: u64 = 3;
    const VENDOR: u64 = 0x0900_0000;
    const EXPERIMENTAL: u64 = 0x0800_0000;
    let probe = |eid| [eid];
    let mut m = Machine::with(1, |isa| (isa.mvendorid, isa.marchid, isa.mimpid) = (0x123, 0x456, 0x789));
    // Older kernels have no system suspend to hand on.
    let susp = m.harts[0].host_registers().expect("a list").iter().any(|r| r.id == 0x8030_0000_0800_000b);
    let calls: &[(u64, u64, &[u64])] = &[
        (DBCN, 2, &[65]),
        (1, 0, &[66, 1234]),
        (2, 0, &[0, 1234]),
        (0x10, PROBE, &probe(DBCN)),
        (0x10, PROBE, &probe(0x5355_5350)),
        (0x10, PROBE, &probe(0x53_5441)),
        (0x10, PROBE, &probe(0x48_534d)),
        (0x10, PROBE, &probe(0x1234_5678)),
        (0x10, PROBE, &probe(VENDOR + 1)),
        (0x1234_5678, 0, &[]),
        (VENDOR + 1, 0, &[]),
        (EXPERIMENTAL + 1, 0, &[]),
        (0x10, 4, &[]),
        (0x10, 5, &[]),
        (0x10, 6, &[]),
    ];
    let (results, handed_on) = answers(&mut m, calls);
    let value = |n: usize| (results[n].0, results[n].1 != 0);
    assert_eq!(results[0], (-2, 99), "DBCN");
    // Kernels may be built without; then they answer themselves.
    let legacy = handed_on.contains(&1);
    let a1 = if legacy { 1234 } else { 0 };
    assert_eq!(results[1..3], [(-2, a1), (-2, a1)], "the legacy console, whose a1 stays");
    assert_eq!([3, 5, 6].map(value), [(0, true); 3], "DBCN, STA and HSM are there");
    assert_eq!(value(4), (0, susp), "SUSP");
    assert_eq!(results[12..], [(0, 0x123), (0, 0x456), (0, 0x789)], "who made the hart");
    assert_eq!(value(7), (0, false));
    assert_eq!(results[8], (-2, 99), "probes of vendors' extensions are handed on");
    assert_eq!([9, 10, 11].map(|n: usize| results[n].0), [-2; 3], "not supported");
    let expected = if legacy { vec![DBCN, 1, 2, 0x10] } else { vec![DBCN, 0x10] };
    assert_eq!(handed_on, expected, "what is off does not leave the kernel");
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_registers_may_be_read_before_a_call_is_answered() {
    let mut m = Machine::new(1);
    m.program(|a| call(a, DBCN, 2, &[65, 1, 2]));
    let start = m.start(0);
    let v = &mut m.guest.harts[0];
    v.set_state(&start);
    let VcpuExit::Sbi(c) = v.run().expect("the engine runs") else { panic!("no call") };
    assert_eq!((c.eid, c.fid, c.args[..3].to_vec()), (DBCN, 2, vec![65, 1, 2]));
    let s = v.state();
    assert_eq!(s.pc, CODE + 5 * 32 + 4, "behind the call");
    v.set_state(&s);
    v.finish_sbi(&c, -3, 42).unwrap();
    let s = finish(v);
    assert_eq!((s.x[10] as i64, s.x[11]), (-3, 42));
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn the_system_reset_leaves_with_its_reason() {
    const SRST: u64 = 0x5352_5354;
    let all = [
        (0, 0, VcpuExit::Shutdown(ShutdownReason::Guest)),
        (0, 1, VcpuExit::Shutdown(ShutdownReason::Failure)),
        (1, 0, VcpuExit::Reset),
        (2, 0, VcpuExit::Reset),
    ];
    let mut m = Machine::new(1);
    for (kind, reason, expected) in all {
        m.program(|a| call(a, SRST, 0, &[kind, reason]));
        let start = m.start(0);
        // The same vCPU, which the kernel has stopped, starts anew.
        m.harts[0].set_state(&start);
        assert_eq!(m.harts[0].run().expect("the engine runs"), expected, "{kind} {reason}");
    }
    m.program(|a| {
        a.li(20, 5);
    });
    let start = m.start(0);
    m.harts[0].set_state(&start);
    assert_eq!(finish(&mut m.guest.harts[0]).x[20], 5);
}

/// SBI's steal time: where it is kept is part of the state, and the kernel of the next machine goes on there.
#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn steal_time_moves_along() {
    const STA: u64 = 0x53_5441;
    const AREA: u64 = CODE + 0x9000;
    let mut first = Machine::new(1);
    let (results, _) = answers(&mut first, &[(0x10, 3, &[STA]), (STA, 0, &[AREA, 0, 0])]);
    if results[0].1 == 0 {
        println!("this host's kernel has no steal time");
        return;
    }
    assert_eq!(results[1].0, 0);
    let state = first.harts[0].state();
    assert_eq!(state.sbi.steal_time, AREA);

    let mut second = Machine::new(1);
    second.program(|a| {
        a.li(20, 5);
    });
    let fresh = second.start(0);
    let moved = HartState { pc: fresh.pc, ..state };
    second.harts[0].set_state(&moved);
    assert_eq!(finish(&mut second.guest.harts[0]).sbi.steal_time, AREA);
    // The sequence is even between two updates, of which there was one at least.
    let sequence = second.read64(AREA) as u32;
    assert!(sequence != 0 && sequence.is_multiple_of(2), "{sequence}");
    // A fresh hart has none.
    second.harts[0].set_state(&fresh);
    assert_eq!(second.harts[0].state().sbi.steal_time, u64::MAX);
}
