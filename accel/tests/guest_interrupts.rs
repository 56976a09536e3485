//! Interrupts on their way to a hypervisor and its guest: guest external interrupts, the two ways to a virtual one, and
//! the order in which they are taken.
//!
//! Privileged spec, "Hypervisor Guest External Interrupt Registers (`hgeip` and `hgeie`)", "Hypervisor Interrupt
//! (`hvip`, `hip`, and `hie`) Registers".

mod guest;

use accel::Mode;
use arch::csr::{self, hstatus, mip, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use guest::hyper::*;
use guest::*;

const INT: u64 = 1 << 63;
const SGEIP: u64 = 1 << 12;
const VSEI: u64 = 10;
const SGEI: u64 = 12;

fn model() -> IsaConfig {
    let isa = hyper::isa();
    let more = ExtSet::of(&[Ext::Sscofpmf, Ext::Ssaia]);
    IsaConfig { exts: isa.exts.union(&more).closure(), geilen: 3, ..isa }
}

fn vgein(file: u64) -> u64 {
    file << hstatus::VGEIN_SHIFT
}

#[test]
fn the_enables_and_the_choice_of_a_file_are_two_things() {
    for (name, options) in modes() {
        let mut g = guest_of(options, model());
        g.stop_code(STOP);
        for lines in 0..8u64 {
            for file in 1..4 {
                g.harts[0].handle().set_guest_irq(file, lines >> (file - 1) & 1 != 0);
            }
            // Bit 0 is no interrupt, and there is no fourth.
            g.harts[0].handle().set_guest_irq(4, true);
            for hgeie in 0..8u64 {
                let mut a = Asm::at(CODE);
                a.csrw(csr::HGEIE, 8).csrr(10, csr::HGEIE).csrr(11, csr::HGEIP);
                for file in 0..4 {
                    a.csrc(csr::HSTATUS, 9).li(5, vgein(file)).csrs(csr::HSTATUS, 5).csrr(20 + file as u8, csr::HIP);
                }
                a.word(0);
                g.load(&a);
                let mut s = start(&g, Mode::Machine, false);
                (s.x[8], s.x[9]) = (hgeie << 1 | 0x71, hstatus::VGEIN);
                let end = g.run(&s);
                let at = format!("{name} {lines:#b} {hgeie:#b}");
                assert_eq!((end.csr.mcause, end.x[10], end.x[11]), (ILLEGAL, hgeie << 1, lines << 1), "{at}");
                let summary = if lines & hgeie != 0 { SGEIP } else { 0 };
                for (file, hip) in (0..4).zip(&end.x[20..24]) {
                    let chosen = if lines << 1 >> file & 1 != 0 { mip::VSEIP } else { 0 };
                    assert_eq!(*hip, summary | chosen, "{at} {file}");
                }
            }
        }
    }
}

/// Where a guest external interrupt goes: to HS-mode as such, or to VS-level as an external interrupt.
#[test]
fn a_guest_external_interrupt_takes_the_guest_away_or_reaches_it() {
    // VGEIN, hgeie, hideleg, enabled, scause and vscause.
    let all = mip::VS_INTERRUPTS;
    for (file, hgeie, hideleg, enabled, hs, vs) in [
        (2, 0, all, SGEIP | mip::VSEIP, 10, INT | 9),
        (2, 1 << 2, 0, SGEIP, INT | SGEI, 0),
        (1, 1 << 2, all, SGEIP | mip::VSEIP, INT | SGEI, 0),
        (2, 0, 0, mip::VSEIP, INT | VSEI, 0),
        // Both: HS-mode's own comes first, also where the guest's is the same.
        (2, 1 << 2, all, SGEIP | mip::VSEIP, INT | SGEI, 0),
        (2, 1 << 2, 0, SGEIP | mip::VSEIP, INT | SGEI, 0),
    ] {
        for early in [true, false] {
            for (name, options) in modes() {
                let mut g = guest_of(options, model());
                let (mut s, _) = in_guest(&g, |a| {
                    let here = a.here();
                    a.nop().j(0, here);
                });
                s.csr.hstatus |= vgein(file);
                (s.csr.hgeie, s.csr.hideleg, s.csr.mie) = (hgeie, hideleg, enabled);
                s.csr.vsstatus |= mstatus::SIE;
                let handle = g.harts[0].handle();
                if early {
                    handle.set_guest_irq(2, true);
                }
                let end = std::thread::scope(|scope| {
                    if !early {
                        // While the guest runs, or before: the outcome is the same.
                        scope.spawn(move || handle.set_guest_irq(2, true));
                    }
                    g.run(&s)
                });
                let at = format!("{name} {file} {hgeie:#x} {hideleg:#x} {early}");
                assert_eq!((end.csr.scause, end.csr.vscause), (hs, vs), "{at}");
                if hs & INT != 0 {
                    assert_eq!((end.csr.stval, end.csr.htval, end.csr.htinst), (0, 0, 0), "{at}");
                }
            }
        }
    }
}

/// The order among all that go to HS-mode, and among a guest's.
#[test]
fn the_default_order() {
    let external = [mip::SEIP, mip::SSIP, mip::STIP, SGEIP, mip::VSEIP, mip::VSSIP, mip::VSTIP, mip::LCOFIP];
    let guests = [(mip::VSEIP, 9), (mip::VSSIP, 1), (mip::VSTIP, 5), (mip::LCOFIP, 13)];
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, model());
        let mut a = Asm::at(CODE);
        let here = a.here();
        a.j(0, here);
        g.load(&a);
        g.harts[0].handle().set_guest_irq(3, true);
        let everything = |mode, virt| {
            let mut s = start(&g, mode, virt);
            s.csr.menvcfg &= !csr::envcfg::STCE;
            s.csr.mip = mip::SEIP | mip::SSIP | mip::STIP | mip::LCOFIP;
            (s.csr.hvip, s.csr.hgeie) = (mip::VS_INTERRUPTS, 1 << 3);
            s.csr.mideleg |= mip::LCOFIP;
            s
        };
        let hs = (0..external.len()).map(|n| {
            let mut s = everything(Mode::User, false);
            s.csr.mie = external[n..].iter().fold(0, |all, bit| all | bit);
            (n, s)
        });
        let hs: Vec<_> = hs.collect();
        let vs: Vec<_> = (0..guests.len())
            .map(|n| {
                let mut s = everything(Mode::Supervisor, true);
                s.csr.vsstatus |= mstatus::SIE;
                s.csr.hideleg = mip::VS_INTERRUPTS | mip::LCOFIP;
                s.csr.mie = guests[n..].iter().fold(0, |all, (bit, _)| all | bit);
                (n, s)
            })
            .collect();
        for (n, s) in hs {
            let end = g.run(&s);
            let code = u64::from(external[n].trailing_zeros());
            assert_eq!((end.csr.scause, end.csr.sepc), (INT | code, CODE), "{name} {n}");
        }
        for (n, s) in vs {
            let end = g.run(&s);
            assert_eq!((end.csr.vscause, end.csr.scause), (INT | guests[n].1, 10), "{name} {n}");
        }
    }
}

/// HS-mode's interrupts are not masked by what the guest has in its `vsstatus` and `vsie`; the guest's are not taken
/// in HS-mode.
#[test]
fn each_level_has_its_own_enables() {
    for (name, options) in modes().into_iter().take(3) {
        for (mode, virt, sie, vsie, taken) in [
            (Mode::Supervisor, true, false, false, Some(INT | 1)),
            (Mode::Supervisor, true, true, true, Some(INT | 1)),
            (Mode::User, true, false, false, Some(INT | 1)),
            (Mode::Supervisor, false, false, true, None),
            (Mode::Supervisor, false, true, true, Some(INT | 1)),
        ] {
            let mut g = guest_of(options.clone(), model());
            let mut a = Asm::at(CODE);
            a.nop().ecall();
            g.load(&a);
            let mut s = start(&g, mode, virt);
            (s.csr.mip, s.csr.hvip) = (mip::SSIP, mip::VSSIP);
            (s.csr.mie, s.csr.hideleg) = (mip::SSIP | mip::VSSIP, mip::VS_INTERRUPTS);
            let on = |on: bool| if on { mstatus::SIE } else { 0 };
            s.csr.mstatus |= on(sie);
            s.csr.vsstatus |= on(vsie);
            let end = g.run(&s);
            let at = format!("{name} {mode:?} {virt} {sie} {vsie}");
            // HS-mode's ECALL ends the program without a trap.
            assert_eq!((end.csr.scause, end.csr.vscause), (taken.unwrap_or(0), 0), "{at}");
        }
    }
}
