//! The registers of a vCPU: each of the kernel's list has a role, and those that are state go in and come out.

use std::collections::BTreeMap;

use accel::testing::{Registers as _, Rng};
use accel::{HartState, HostRegister, Mode, MpState, RegisterRole, Vcpu};
use arch::csr::{envcfg, mstatus};
use arch::ext::{Ext, IsaConfig};

use crate::guest::{Asm, Op};
use crate::machine::{Machine, finish, kicks, meanwhile};

fn registers(v: &mut Box<dyn Vcpu>) -> BTreeMap<u64, HostRegister> {
    v.host_registers().expect("a list").into_iter().map(|r| (r.id, r)).collect()
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn every_register_of_the_kernel_is_known() {
    let mut m = Machine::new(1);
    let all = registers(&mut m.harts[0]);
    let count = |role| all.values().filter(|r| r.role == role).count();
    println!(
        "{} registers: {} of state, {} of the clock, {} of harts, {} of SBI, {} redundant",
        all.len(),
        count(Some(RegisterRole::State)),
        count(Some(RegisterRole::Clock)),
        count(Some(RegisterRole::Harts)),
        count(Some(RegisterRole::Sbi)),
        count(Some(RegisterRole::Redundant))
    );
    let unknown: Vec<_> = all.values().filter(|r| r.role.is_none()).map(|r| format!("{:#x}", r.id)).collect();
    assert_eq!(unknown, Vec::<String>::new());
    assert!(count(Some(RegisterRole::State)) > 33 + 11 + 2, "core registers, CSRs, timer");
}

/// What no row holds stands still, too: the time aside, which goes on.
fn compare(before: &BTreeMap<u64, HostRegister>, after: &BTreeMap<u64, HostRegister>) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (id, old) in before.iter().filter(|(_, r)| r.role != Some(RegisterRole::Clock)) {
        assert_eq!(old, &after[id], "register {id:#x}");
    }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_round_trip_leaves_every_register() {
    let mut m = Machine::new(1);
    let v = &mut m.guest.harts[0];
    let fresh = v.state();
    v.set_state(&fresh);
    let before = registers(v);
    let state = v.state();
    v.set_state(&state);
    compare(&before, &registers(v));
    assert_eq!(v.state(), state);
}

/// A state that a hart of this ISA can be in.
fn random(isa: &IsaConfig, base: &HartState, r: &mut Rng) -> HartState {
    let mut s = base.clone();
    s.pc = r.next() & !1;
    (1..32).for_each(|n| s.x[n] = r.next());
    s.mode = if r.next() & 1 == 0 { Mode::User } else { Mode::Supervisor };
    s.mp = if r.next() & 3 == 0 { MpState::Stopped } else { MpState::Runnable };
    let c = &mut s.csr;
    let status = mstatus::SIE | mstatus::SPIE | mstatus::SPP | mstatus::SUM | mstatus::MXR | mstatus::FS;
    c.mstatus = c.mstatus & !status | r.next() & status;
    let interrupts = 1 << 1 | 1 << 5 | 1 << 9;
    c.mie = c.mie & !interrupts | r.next() & interrupts;
    c.mip = c.mip & !2 | r.next() & 2;
    c.stvec = r.next() & !3 | r.next() & 1;
    (c.sscratch, c.sepc, c.scause, c.stval) = (r.next(), r.next() & !1, 1 << 63 | r.next() & 15, r.next());
    c.satp = if r.next() & 1 == 0 { 0 } else { 8 << 60 | r.next() & 0xfff_ffff };
    (c.scounteren, c.senvcfg) = (r.next() & 7, r.next() & (envcfg::FIOM | envcfg::CBCFE));
    // Deadlines that are far, and none.
    c.stimecmp = if r.next() & 1 == 0 { u64::MAX } else { r.next() | 1 << 62 };
    if isa.has(Ext::D) {
        s.f.iter_mut().for_each(|f| *f = r.next());
        c.fcsr = r.next() & 0xff & !0x80;
    }
    if isa.has(Ext::V) {
        let bytes = 4 * isa.vlen as usize;
        s.v.0[..bytes].iter_mut().for_each(|byte| *byte = r.next() as u8);
        let sew = r.next() & 3;
        c.vtype = sew << 3 | r.next() & 0xc0;
        c.vl = r.next() % (u64::from(isa.vlen) / (8 << sew) + 1);
        (c.vstart, c.vcsr) = (r.next() % 16, r.next() & 7);
    }
    if isa.has(Ext::Ssaia) {
        c.siselect = 0x30 + (r.next() & 14);
        c.siprio[0] = r.next() & 0x0000_ff00_0000_ff00;
        c.siprio[1] = r.next() & 0xffff_ff00_0000_0000;
        c.siprio[2] = r.next();
    }
    if isa.has(Ext::Smstateen) {
        c.sstateen[0] = r.next() & 2;
    }
    s
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn any_state_goes_in_and_comes_out() {
    let mut m = Machine::new(1);
    let isa = m.isa.clone();
    let mut r = Rng(0x9e37_79b9_7f4a_7c15);
    let base = m.start(0);
    let v = &mut m.guest.harts[0];
    v.set_state(&base);
    let base = v.state();
    for round in 0..200 {
        let state = random(&isa, &base, &mut r);
        v.set_state(&state);
        let back = v.state();
        assert_eq!(back.csr, state.csr, "round {round}");
        assert_eq!(back, state, "round {round}");
    }
}

/// A sum in x10 over x11 rounds of arithmetic on most registers. The program stops every 2048 rounds.
fn mix(a: &mut Asm) {
    a.li(11, 400_000);
    let top = a.here();
    for n in 12..30 {
        a.r(Op::Xor, 10, 10, n).r(Op::Add, n, n, 10).i(Op::Slli, 9, n, 7).r(Op::Sub, 10, 10, 9);
    }
    a.i(Op::Andi, 9, 11, 2047);
    let on = a.forward(Op::Bne, 9, 0);
    a.s(Op::Sd, 0, 31, 0);
    a.bind(on);
    a.i(Op::Addi, 11, 11, -1).b(Op::Bne, 11, 0, top);
}

/// Runs [`mix`], with a look at the hart wherever it stops.
fn run(v: &mut Box<dyn Vcpu>, start: &HartState, mut look: impl FnMut(&mut Box<dyn Vcpu>)) -> HartState {
    v.set_state(start);
    loop {
        let s = finish(v);
        // The end is a jump to itself.
        if s.x[11] == 0 && s.x[1] == 1 {
            return s;
        }
        look(v);
    }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn a_round_trip_in_the_middle_changes_no_result() {
    let mut m = Machine::new(1);
    m.program(|a| {
        mix(a);
        a.li(1, 1);
    });
    let mut start = m.start(0);
    (12..30).for_each(|n| start.x[n] = n as u64 * 0x1234_5678_9abc_def1);
    let v = &mut m.guest.harts[0];
    let undisturbed = run(v, &start, |_| {});

    let mut trips = 0;
    // So many and no more: a look takes longer than the time between kicks, and the guest would never go on.
    let kick = kicks(v.handle(), 1, 500, 500);
    let result = meanwhile(vec![kick], || {
        run(v, &start, |v| {
            let before = registers(v);
            let state = v.state();
            v.set_state(&HartState::default());
            v.set_state(&state);
            compare(&before, &registers(v));
            trips += 1;
        })
    });
    println!("{trips} round trips");
    assert_eq!(result.x, undisturbed.x);
    assert!(trips >= 400_000 / 2048, "as often as the program stops by itself");
}
