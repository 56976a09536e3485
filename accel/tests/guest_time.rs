//! A guest's timer (`vstimecmp`, `htimedelta`): when it is pending, who sees it, and whom it wakes.
//!
//! Privileged spec, "Sstc"; hypervisor extension, "Hypervisor Time Delta (`htimedelta`) Register".

mod guest;

use accel::Mode;
use arch::csr::{self, counteren, envcfg, hstatus, mip, mstatus};
use guest::hyper::*;
use guest::*;

/// Guest time that begins so long before its end that the machine never gets there in a test.
const LATE: u64 = 0u64.wrapping_sub(1 << 40);
const FAR: u64 = 1 << 50;

#[test]
fn pending_is_a_comparison_of_guest_time() {
    for (name, options) in modes() {
        // htimedelta, vstimecmp, whether it is pending; comparisons are of unsigned numbers that wrap.
        for (delta, compare, pending) in [
            (0, 0, true),
            (0, FAR, false),
            (0, u64::MAX, false),
            (LATE, FAR, true),
            (LATE, u64::MAX, false),
            (LATE, 0, true),
            (FAR, FAR, true),
            (FAR, FAR + (1 << 45), false),
        ] {
            for hvip in [0, mip::VSTIP] {
                let mut g = guest(options.clone());
                let mut a = Asm::at(CODE);
                // As it is; with STCE of henvcfg off, then of menvcfg; and as it was.
                a.csrw(csr::HTIMEDELTA, 8).csrw(csr::VSTIMECMP, 9).csrw(csr::HVIP, 12);
                a.csrr(20, csr::HIP).csrr(21, csr::MIP);
                a.csrc(csr::HENVCFG, 11).csrr(22, csr::HIP).csrs(csr::HENVCFG, 11).csrr(23, csr::HIP);
                a.csrc(csr::MENVCFG, 11).csrr(24, csr::HIP).csrs(csr::MENVCFG, 11).csrr(25, csr::HIP);
                // The other way round: first the comparator, then the distance.
                a.csrw(csr::HTIMEDELTA, 0).csrw(csr::VSTIMECMP, 10).csrr(26, csr::HIP);
                a.csrw(csr::VSTIMECMP, 9).csrw(csr::HTIMEDELTA, 8).csrr(27, csr::HIP);
                a.word(0);
                g.load(&a);
                g.stop_code(STOP);
                let mut s = start(&g, Mode::Machine, false);
                s.csr.menvcfg |= envcfg::STCE;
                s.csr.henvcfg = envcfg::STCE;
                (s.x[8], s.x[9], s.x[10], s.x[11], s.x[12]) = (delta, compare, u64::MAX, envcfg::STCE, hvip);
                let end = g.run(&s);
                let at = format!("{name} {delta:#x} {compare:#x} {hvip:#x}");
                let both = if pending { mip::VSTIP } else { hvip };
                assert_eq!((end.csr.mcause, end.x[20] & mip::VSTIP, end.x[21] & mip::VSTIP), (2, both, both), "{at}");
                let seen: Vec<_> = end.x[22..28].iter().map(|v| v & mip::VSTIP).collect();
                assert_eq!(seen, [hvip, both, hvip, both, hvip, both], "{at}");
            }
        }
    }
}

/// The guest finds it in its own `sip`, takes it if it has enabled it, and puts it off by its own comparator.
#[test]
fn the_guest_has_it_as_its_own() {
    for (name, options) in modes() {
        for (delegated, enabled) in [(true, true), (true, false), (false, false)] {
            let mut g = guest(options.clone());
            let (mut s, _) = in_guest(&g, |a| {
                a.csrr(10, csr::SIP).csrw(csr::STIMECMP, 9).csrr(11, csr::SIP).csrr(12, csr::STIMECMP).ecall();
            });
            // The guest's handler, reached by the interrupt.
            let mut a = Asm::at(VS_STOP);
            a.csrr(13, csr::SCAUSE).csrr(14, csr::SEPC).csrw(csr::STIMECMP, 9).csrr(15, csr::SIP).ecall();
            g.load(&a);
            s.csr.henvcfg = envcfg::STCE;
            s.csr.hcounteren = counteren::TM;
            (s.csr.htimedelta, s.csr.vstimecmp, s.x[9]) = (LATE, FAR, u64::MAX);
            s.csr.hideleg = if delegated { mip::VS_INTERRUPTS } else { 0 };
            s.csr.mie = if enabled { mip::VSTIP } else { 0 };
            s.csr.vsstatus |= mstatus::SIE;
            let end = g.run(&s);
            let at = format!("{name} {delegated} {enabled}");
            assert_eq!(end.csr.scause, 10, "{at}");
            if enabled {
                assert_eq!((end.x[13], end.x[14], end.x[15]), (1 << 63 | 5, CODE, 0), "{at}");
            } else {
                let shown = if delegated { mip::STIP } else { 0 };
                assert_eq!((end.x[10], end.x[11], end.x[12]), (shown, 0, u64::MAX), "{at}");
            }
            assert_eq!((end.csr.vstimecmp, end.csr.stimecmp), (u64::MAX, u64::MAX), "{at}");
        }
    }
}

/// Not delegated, it is the hypervisor's interrupt 6, which takes the guest away.
#[test]
fn the_hypervisor_takes_what_it_does_not_delegate() {
    for (name, options) in modes() {
        let mut g = guest(options);
        let (mut s, _) = in_guest(&g, |a| {
            let here = a.here();
            a.j(0, here);
        });
        s.csr.henvcfg = envcfg::STCE;
        // A little after the guest's now, whatever the machine's is.
        (s.csr.htimedelta, s.csr.vstimecmp) = (LATE, LATE.wrapping_add(g.clock.now() + 500));
        s.csr.mie = mip::VSTIP;
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.csr.sepc), (1 << 63 | 6, CODE), "{name}");
        assert_ne!(end.csr.hstatus & hstatus::SPV, 0, "{name}");
    }
}

/// A hypervisor that waits wakes up when its guest's timer fires, though no trap is taken while V is 0.
#[test]
fn the_guests_timer_wakes_the_hypervisor() {
    for (name, options) in modes() {
        for delegated in [true, false] {
            let mut g = guest(options.clone());
            let mut a = Asm::at(CODE);
            a.csrr(5, csr::TIME).i(Op::Addi, 5, 5, 500).r(Op::Add, 5, 5, 8).csrw(csr::VSTIMECMP, 5);
            a.plain(Op::Wfi).csrr(10, csr::HIP).ecall();
            g.load(&a);
            let mut s = start(&g, Mode::Supervisor, false);
            s.csr.henvcfg = envcfg::STCE;
            (s.csr.htimedelta, s.x[8]) = (LATE, LATE);
            s.csr.hideleg = if delegated { mip::VSTIP } else { 0 };
            s.csr.mie = mip::VSTIP;
            let end = g.run(&s);
            assert_eq!((end.x[10] & mip::VSTIP, end.csr.scause), (mip::VSTIP, 0), "{name} {delegated}");
        }
    }
}
