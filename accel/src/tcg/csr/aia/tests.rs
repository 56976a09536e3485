//! The AIA at the hart, sentence by sentence, with interrupt files that only remember.

use std::collections::HashMap;
use std::sync::Mutex;

use super::super::testing::Env as Plain;
use super::super::{CsrOp, csr_op, read, reset_supervisor, write};
use super::*;
use crate::Imsic;
use crate::tcg::trap::{Target, take_trap};
use arch::csr::{mstatus, xcause};

/// Interrupt files that only remember: registers as written, and the top as told.
#[derive(Default)]
struct Files {
    registers: Mutex<HashMap<(InterruptFile, u8), u64>>,
    tops: Mutex<HashMap<InterruptFile, u64>>,
}

impl Imsic for Files {
    fn access(&self, hart: u32, file: InterruptFile, register: u8, clear: u64, set: u64) -> u64 {
        assert_eq!(hart, 3);
        let mut registers = self.registers.lock().unwrap();
        let value = registers.entry((file, register)).or_default();
        let old = *value;
        *value = old & !clear | set;
        old
    }

    fn top(&self, hart: u32, file: InterruptFile, claim: bool) -> u64 {
        assert_eq!(hart, 3);
        let mut tops = self.tops.lock().unwrap();
        let top = tops.entry(file).or_default();
        if claim { std::mem::take(top) } else { *top }
    }
}

struct Env {
    plain: Plain,
    files: Files,
}

impl CsrEnv for Env {
    fn isa(&self) -> &IsaConfig {
        &self.plain.isa
    }
    fn time(&self) -> u64 {
        0
    }
    fn counters_changed(&mut self, _: u32) {}
    fn lines(&self) -> u64 {
        self.plain.lines
    }
    fn hgeip(&self) -> u64 {
        self.plain.hgeip
    }
    fn stimecmp_changed(&mut self) {}
    fn imsic(&self) -> Option<&dyn Imsic> {
        self.plain.isa.imsic.then_some(&self.files)
    }
}

/// A hart with the AIA and the hypervisor extension; `guests` interrupt files besides, or no IMSIC at all.
fn env(guests: Option<u8>) -> Env {
    let mut plain = Plain::default();
    [Ext::Smaia, Ext::Ssaia, Ext::H].iter().for_each(|ext| plain.isa.exts.insert(*ext));
    plain.isa.imsic = guests.is_some();
    plain.isa.geilen = guests.unwrap_or(0);
    Env { plain, files: Files::default() }
}

impl Env {
    fn hart(&self) -> HartState {
        self.plain.hart()
    }

    /// The file signals an identity.
    fn signal(&self, file: InterruptFile, identity: u64) {
        self.files.registers.lock().unwrap().insert((file, 0x70), 1);
        self.files.tops.lock().unwrap().insert(file, identity << 16 | identity);
    }
}

fn at(mut s: HartState, mode: Mode, virt: bool) -> HartState {
    (s.mode, s.virt) = (mode, virt);
    s
}

fn held(env: &mut Env, s: &mut HartState, n: u16, v: u64) -> u64 {
    write(s, env, n, v).unwrap();
    read(s, env, n).unwrap()
}

#[test]
fn selects_have_the_width_of_what_is_there() {
    let mut e = env(Some(1));
    let mut s = e.hart();
    for n in [csr::MISELECT, csr::SISELECT, csr::VSISELECT] {
        assert_eq!(held(&mut e, &mut s, n, u64::MAX), 0x1ff, "{n:#x}");
    }
}

#[test]
fn windows_reach_the_files_of_their_level() {
    use InterruptFile::*;
    let mut e = env(Some(2));
    let mut s = e.hart();
    s.csr.hstatus |= 2 << 12;
    let windows = [
        (csr::MISELECT, csr::MIREG, Machine),
        (csr::SISELECT, csr::SIREG, Supervisor),
        (csr::VSISELECT, csr::VSIREG, Guest(2)),
    ];
    for (i, (select, alias, file)) in windows.into_iter().enumerate() {
        for register in [0x70, 0x71, 0x72, 0x7f, 0x80, 0xbe, 0xc0, 0xfe] {
            write(&mut s, &mut e, select, register).unwrap();
            csr_op(&mut s, &mut e, alias, CsrOp::Rs, 6 + i as u64, true).unwrap();
            let old = csr_op(&mut s, &mut e, alias, CsrOp::Rc, 2, true).unwrap().0;
            assert_eq!(old, 6 + i as u64);
            let value = e.files.registers.lock().unwrap()[&(file, register as u8)];
            assert_eq!(value, (6 + i as u64) & !2);
            assert_eq!(read(&s, &e, alias), Ok(value));
        }
    }
}

#[test]
fn a_write_of_topei_claims() {
    let mut e = env(Some(1));
    let mut s = e.hart();
    s.csr.hstatus |= 1 << 12;
    for (n, file) in [
        (csr::MTOPEI, InterruptFile::Machine),
        (csr::STOPEI, InterruptFile::Supervisor),
        (csr::VSTOPEI, InterruptFile::Guest(1)),
    ] {
        e.signal(file, 9);
        assert_eq!(read(&s, &e, n), Ok(9 << 16 | 9));
        assert_eq!(csr_op(&mut s, &mut e, n, CsrOp::Rs, 0, true).unwrap().0, 9 << 16 | 9);
        assert_eq!(read(&s, &e, n), Ok(0));
    }
}

/// "When *iselect is a number in a reserved range, attempts to access *ireg will typically raise an illegal
/// instruction exception", and with 64 bits a register every second one is missing.
#[test]
fn numbers_that_select_nothing_are_illegal() {
    let mut e = env(Some(1));
    let mut s = e.hart();
    for (select, alias) in [(csr::MISELECT, csr::MIREG), (csr::SISELECT, csr::SIREG)] {
        for number in 0..0x200 {
            write(&mut s, &mut e, select, number).unwrap();
            let there = match number {
                0x30..=0x3f | 0x80..=0xff => number % 2 == 0,
                0x70..=0x7f => true,
                _ => false,
            };
            assert_eq!(read(&s, &e, alias).is_ok(), there, "{number:#x}");
        }
    }
}

#[test]
fn without_an_imsic_there_are_no_files() {
    let mut e = env(None);
    let mut s = e.hart();
    for n in [csr::MTOPEI, csr::STOPEI, csr::VSTOPEI] {
        assert_eq!(read(&s, &e, n), Err(Illegal));
    }
    write(&mut s, &mut e, csr::MISELECT, 0x70).unwrap();
    assert_eq!(read(&s, &e, csr::MIREG), Err(Illegal));
    write(&mut s, &mut e, csr::MISELECT, 0x30).unwrap();
    assert_eq!(held(&mut e, &mut s, csr::MIREG, u64::MAX), 0, "priorities are all the default ones");
    let guest = at(s, Mode::Supervisor, true);
    assert_eq!(read(&guest, &e, csr::STOPEI), Err(Denied::Virtual));
}

/// "Virtual instruction exception is raised for attempts from VS-mode or VU-mode to directly access vsireg, or
/// attempts from VU-mode to access sireg", and what follows it there.
#[test]
fn a_guest_is_told_what_it_cannot_reach() {
    let e = env(Some(1));
    let with = |vsiselect, vgein: u64, mode| {
        let mut s = e.hart();
        // What HS-mode's own window shows must not matter.
        (s.csr.siselect, s.csr.vsiselect) = (0x70, vsiselect);
        s.csr.hstatus |= vgein << 12;
        at(s, mode, true)
    };
    for select in [0, 0x30, 0x70, 0x100] {
        assert_eq!(read(&with(select, 1, Mode::Supervisor), &e, csr::VSIREG), Err(Denied::Virtual));
        assert_eq!(read(&with(select, 1, Mode::User), &e, csr::VSIREG), Err(Denied::Virtual));
        assert_eq!(read(&with(select, 1, Mode::User), &e, csr::SIREG), Err(Denied::Virtual));
    }
    let sireg = |select, vgein| read(&with(select, vgein, Mode::Supervisor), &e, csr::SIREG);
    assert_eq!(sireg(0x70, 1), Ok(0));
    for inaccessible in [(0x30, 1), (0x31, 1), (0x81, 1), (0x70, 0), (0x70, 2), (0xff, 0)] {
        assert_eq!(sireg(inaccessible.0, inaccessible.1), Err(Denied::Virtual), "{inaccessible:x?}");
    }
    for reserved in [0, 0x2f, 0x60, 0x6f, 0x100, 0x1ff] {
        assert_eq!(sireg(reserved, 1), Err(Illegal), "{reserved:#x}");
    }
    // The same from HS-mode is illegal.
    for (select, vgein) in [(0x30, 1), (0x81, 1), (0x70, 0), (0x70, 2), (0x100, 1)] {
        let s = at(with(select, vgein, Mode::Supervisor), Mode::Supervisor, false);
        assert_eq!(read(&s, &e, csr::VSIREG), Err(Illegal), "{select:#x} {vgein}");
    }
    assert_eq!(read(&with(0, 0, Mode::Supervisor), &e, csr::STOPEI), Err(Denied::Virtual));
    assert_eq!(read(&with(0, 1, Mode::Supervisor), &e, csr::STOPEI), Ok(0));
    assert_eq!(read(&at(with(0, 0, Mode::User), Mode::Supervisor, false), &e, csr::VSTOPEI), Err(Illegal));
}

#[test]
fn priorities_can_be_set_of_what_can_be_enabled() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    let array = |e: &mut Env, s: &mut HartState, select, alias| {
        [0u64, 2, 4, 6, 8, 10, 12, 14].map(|k| {
            write(s, e, select, 0x30 + k).unwrap();
            held(e, s, alias, u64::MAX)
        })
    };
    let machine = array(&mut e, &mut s, csr::MISELECT, csr::MIREG);
    // SSI MSI; STI MTI; SEI, but not MEI, nor what is always delegated.
    assert_eq!(machine, [0xff00_ff00_ff00_ff00, 0xff00, 0, 0, 0, 0, 0, 0]);
    let supervisor = array(&mut e, &mut s, csr::SISELECT, csr::SIREG);
    // SSI VSSI, STI VSTI; VSEI SGEI and the local ones, but not SEI.
    assert_eq!(supervisor[0], 0x00ff_ff00_00ff_ff00);
    assert_eq!(supervisor[1], 0xffff_ffff_ffff_0000 & !0xff00_0000);
    assert_eq!(supervisor[2..], [u64::MAX; 6]);
    assert_eq!(s.csr.miprio, machine);
}

#[test]
fn mvien_has_software_external_and_local_interrupts() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    assert_eq!(held(&mut e, &mut s, csr::MVIEN, u64::MAX), !0x1fff | 0x202);
    assert_eq!(held(&mut e, &mut s, csr::HVIEN, u64::MAX), !0x1fff);
    assert_eq!(held(&mut e, &mut s, csr::HVICTL, u64::MAX), 0x4fff_03ff);
    assert_eq!(held(&mut e, &mut s, csr::HVIPRIO1, u64::MAX), 0xffff_ff00_ff00_ff00);
    assert_eq!(held(&mut e, &mut s, csr::HVIPRIO2, u64::MAX), u64::MAX);
}

#[test]
fn mvip_is_mip_where_mvien_does_not_part_them() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    // Aliases of SSIP, STIP and the software-writable SEIP.
    assert_eq!(held(&mut e, &mut s, csr::MVIP, 0x222), 0x222);
    assert_eq!(read(&s, &e, csr::MIP), Ok(0x222));
    write(&mut s, &mut e, csr::MIP, 0).unwrap();
    assert_eq!(read(&s, &e, csr::MVIP), Ok(0));
    // STIP is read-only zero while the comparator has it.
    s.csr.menvcfg |= envcfg::STCE;
    assert_eq!(held(&mut e, &mut s, csr::MVIP, 0x20), 0);
    // With their bits of mvien they are their own.
    write(&mut s, &mut e, csr::MVIEN, 0x202).unwrap();
    assert_eq!(held(&mut e, &mut s, csr::MVIP, 0x202), 0x202);
    assert_eq!(read(&s, &e, csr::MIP), Ok(0));
    write(&mut s, &mut e, csr::MIP, 0x200).unwrap();
    write(&mut s, &mut e, csr::MVIP, 0).unwrap();
    write(&mut s, &mut e, csr::MIP, 0x200).unwrap();
    assert_eq!(read(&s, &e, csr::MVIP), Ok(0), "SEIP of mip is read-only now");
    e.plain.lines = mip::SEIP;
    assert_eq!(read(&s, &e, csr::MIP), Ok(0x200), "and is the signal");
    // Changing bit 9 of mvien does not change that of mvip.
    write(&mut s, &mut e, csr::MVIP, 0x200).unwrap();
    write(&mut s, &mut e, csr::MVIEN, 0).unwrap();
    e.plain.lines = 0;
    assert_eq!([csr::MVIP, csr::MIP].map(|n| read(&s, &e, n)), [Ok(0x200); 2]);
}

/// The table "The effects of mideleg and mvien on sip and sie".
#[test]
fn sip_and_sie_by_mideleg_and_mvien() {
    let bit = mip::SSIP;
    for (mideleg, mvien) in [(0, 0), (0, bit), (bit, 0), (bit, bit)] {
        let mut e = env(Some(0));
        let mut s = e.hart();
        write(&mut s, &mut e, csr::MIDELEG, mideleg).unwrap();
        write(&mut s, &mut e, csr::MVIEN, mvien).unwrap();
        write(&mut s, &mut e, csr::SIE, bit).unwrap();
        write(&mut s, &mut e, csr::SIP, bit).unwrap();
        let seen = [csr::SIE, csr::SIP, csr::MIE, csr::MIP, csr::MVIP].map(|n| read(&s, &e, n).unwrap() & bit);
        let wanted = match (mideleg, mvien) {
            (0, 0) => [0; 5],
            (0, _) => [bit, bit, 0, 0, bit],
            // Where mvien parts them, mvip is not mip.
            _ => [bit, bit, bit, bit, if mvien == 0 { bit } else { 0 }],
        };
        assert_eq!(seen, wanted, "{mideleg:#x} {mvien:#x}");
    }
}

#[test]
fn supervisor_mode_loses_its_file_while_external_interrupts_are_filtered() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    s.csr.siselect = 0x70;
    write(&mut s, &mut e, csr::MVIEN, mip::SEIP).unwrap();
    for (mode, allowed) in [(Mode::Machine, true), (Mode::Supervisor, false)] {
        let s = at(s.clone(), mode, false);
        assert_eq!([csr::STOPEI, csr::SIREG].map(|n| read(&s, &e, n).is_ok()), [allowed; 2], "{mode:?}");
    }
    s.csr.siselect = 0x30;
    assert!(read(&at(s, Mode::Supervisor, false), &e, csr::SIREG).is_ok(), "priorities are no part of it");
}

/// The table "The effects of hideleg and hvien on vsip and vsie for major interrupts 13-63".
#[test]
fn vsip_and_vsie_by_hideleg_and_hvien() {
    let bit = 1 << 20;
    for (hideleg, hvien) in [(0, 0), (0, bit), (bit, 0), (bit, bit)] {
        let mut e = env(Some(0));
        let mut s = e.hart();
        write(&mut s, &mut e, csr::HIDELEG, bit).unwrap();
        assert_eq!(read(&s, &e, csr::HIDELEG), Ok(0), "M-mode has not given it");
        write(&mut s, &mut e, csr::MVIEN, bit).unwrap();
        write(&mut s, &mut e, csr::HIDELEG, hideleg).unwrap();
        write(&mut s, &mut e, csr::HVIEN, hvien).unwrap();
        write(&mut s, &mut e, csr::VSIE, bit).unwrap();
        write(&mut s, &mut e, csr::VSIP, bit).unwrap();
        let all = [csr::VSIE, csr::VSIP, csr::SIE, csr::SIP, csr::HVIP];
        let seen = all.map(|n| read(&s, &e, n).unwrap() & bit);
        let wanted = match (hideleg, hvien) {
            (0, 0) => [0; 5],
            (0, _) => [bit, bit, 0, 0, bit],
            _ => [bit, bit, bit, bit, 0],
        };
        assert_eq!(seen, wanted, "{hideleg:#x} {hvien:#x}");
        // What M-mode takes back, the guest loses.
        write(&mut s, &mut e, csr::MVIEN, 0).unwrap();
        assert_eq!(read(&s, &e, csr::HIDELEG), Ok(0));
    }
}

#[test]
fn a_controlled_guest_does_not_touch_what_vstopi_depends_on() {
    let mut e = env(Some(0));
    let mut s = reset_supervisor(&e.plain.isa, 3, 0, 0);
    s.csr.henvcfg = u64::MAX;
    s.csr.hcounteren = u64::MAX;
    write(&mut s, &mut e, csr::HVICTL, hvictl::VTI).unwrap();
    let mut guest = at(s.clone(), Mode::Supervisor, true);
    for n in [csr::SIP, csr::SIE] {
        assert_eq!(read(&guest, &e, n), Err(Denied::Virtual));
        assert_eq!(write(&mut guest, &mut e, n, 0), Err(Denied::Virtual));
    }
    assert!(read(&guest, &e, csr::STIMECMP).is_ok());
    assert_eq!(write(&mut guest, &mut e, csr::STIMECMP, 0), Err(Denied::Virtual));
    for n in [csr::VSIP, csr::VSIE, csr::VSTIMECMP] {
        assert!(write(&mut s, &mut e, n, 0).is_ok(), "the hypervisor may");
    }
    guest.csr.hvictl = 0;
    assert!(write(&mut guest, &mut e, csr::STIMECMP, 0).is_ok());
}

fn pending(s: &HartState, e: &Env) -> Option<u64> {
    interrupts::pending(s, &World::of(s, e)).map(|t| t.cause & xcause::CODE)
}

/// The values of `mtopi` for one pending interrupt and a priority number.
#[test]
fn mtopi_tells_identity_and_priority() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    s.csr.mie = u64::MAX;
    let mut topi = |lines, msi: u8| {
        e.plain.lines = lines;
        s.csr.miprio[0] = u64::from(msi) << 24;
        e.signal(InterruptFile::Machine, 7);
        read(&s, &e, csr::MTOPI).unwrap()
    };
    assert_eq!(topi(0, 5), 0);
    assert_eq!(topi(mip::MSIP, 0), 3 << 16 | 255, "lower than external by default");
    assert_eq!(topi(mip::MSIP, 200), 3 << 16 | 200);
    assert_eq!(topi(mip::MEIP | mip::MSIP, 0), 11 << 16 | 7);
    assert_eq!(topi(mip::MEIP | mip::MSIP, 6), 3 << 16 | 6, "raised above it");
    assert_eq!(topi(mip::MEIP | mip::MSIP, 7), 11 << 16 | 7, "a tie goes by the default order");
    let mut bare = env(None);
    bare.plain.lines = mip::MSIP;
    assert_eq!(read(&s, &bare, csr::MTOPI), Ok(3 << 16 | 1), "without priorities there is one for all");
}

#[test]
fn the_interrupt_taken_is_that_of_topi() {
    let mut e = env(Some(0));
    let mut s = at(e.hart(), Mode::User, false);
    s.csr.mideleg |= 0x222;
    s.csr.mie = u64::MAX;
    e.plain.lines = mip::SEIP | mip::STIP;
    e.signal(InterruptFile::Supervisor, 100);
    assert_eq!(pending(&s, &e), Some(9));
    s.csr.siprio[0] = 99 << 40;
    assert_eq!(pending(&s, &e), Some(5));
    let machine = at(s.clone(), Mode::Machine, false);
    assert_eq!(read(&machine, &e, csr::STOPI), Ok(5 << 16 | 99));
    // Nothing enables S-mode's interrupts while M-mode runs.
    assert_eq!(pending(&machine, &e), None);
    // Interrupts of M-mode come first whatever their number.
    s.csr.mideleg &= !mip::STIP;
    s.csr.siprio[0] = 0;
    assert_eq!(pending(&s, &e), Some(5));
    assert_eq!(read(&machine, &e, csr::MTOPI), Ok(0));
}

/// "In that case, the SEI is assigned a priority number of 256."
#[test]
fn an_external_interrupt_that_no_file_signals_has_the_number_256() {
    let mut e = env(Some(0));
    let mut s = e.hart();
    s.csr.mideleg |= mip::SEIP | mip::STIP;
    s.csr.mie = u64::MAX;
    s.csr.mip = mip::SEIP;
    e.plain.lines = mip::STIP;
    assert_eq!(read(&s, &e, csr::STOPI), Ok(9 << 16 | 255));
    s.csr.siprio[0] = 255 << 40;
    assert_eq!(read(&s, &e, csr::STOPI), Ok(5 << 16 | 255));
}

#[test]
fn a_filtered_interrupt_traps_to_machine_mode_and_what_it_asserts_to_supervisor_mode() {
    let mut e = env(Some(0));
    let mut s = at(e.hart(), Mode::Supervisor, false);
    s.csr.mstatus |= mstatus::SIE;
    s.csr.mvien = mip::SEIP | 1 << 40;
    s.csr.mie = mip::SEIP;
    s.csr.sie_virtual = mip::SEIP | 1 << 40;
    e.plain.lines = mip::SEIP;
    let taken = interrupts::pending(&s, &World::of(&s, &e)).unwrap();
    assert_eq!((taken.cause & 63, taken.target), (9, Some(Target::Machine)));
    e.plain.lines = 0;
    s.csr.mip = mip::SEIP;
    let taken = interrupts::pending(&s, &World::of(&s, &e)).unwrap();
    assert_eq!((taken.cause & 63, taken.target), (9, Some(Target::Supervisor)));
    s.csr.mip = 0;
    assert!(!interrupts::wakes(&s, &World::of(&s, &e)));
    s.csr.mvip = 1 << 40;
    assert!(interrupts::wakes(&s, &World::of(&s, &e)));
    let taken = interrupts::pending(&s, &World::of(&s, &e)).unwrap();
    take_trap(&mut s, &e.plain.isa, taken, 0x1234);
    assert_eq!((s.mode, s.csr.scause, s.csr.sepc), (Mode::Supervisor, xcause::INTERRUPT | 40, 0x1234));
}

/// The candidates of `vstopi`, one after the other.
#[test]
fn vstopi_chooses_among_controller_enables_and_hypervisor() {
    let e = env(Some(1));
    let mut s = e.hart();
    s.csr.mideleg |= mip::VS_INTERRUPTS;
    s.csr.hideleg = mip::VS_INTERRUPTS;
    s.csr.mie = u64::MAX;
    s.csr.hvictl = hvictl::IPRIOM;
    let vstopi = |s: &HartState, e: &Env| read(s, e, csr::VSTOPI).unwrap();
    assert_eq!(vstopi(&s, &e), 0);
    // Timer and software interrupt by the default order and by hviprio1.
    s.csr.hvip = mip::VSTIP | mip::VSSIP;
    assert_eq!(vstopi(&s, &e), 1 << 16 | 255);
    s.csr.hviprio1 = 30 << 24 | 31 << 8;
    assert_eq!(vstopi(&s, &e), 5 << 16 | 30);
    // An external interrupt without a file, then one from a file.
    s.csr.hvip |= mip::VSEIP;
    assert_eq!(vstopi(&s, &e), 5 << 16 | 30);
    s.csr.hviprio1 = 0;
    assert_eq!(vstopi(&s, &e), 9 << 16 | 255);
    s.csr.hvictl = hvictl::IPRIOM | 9 << 16 | 77;
    assert_eq!(vstopi(&s, &e), 9 << 16 | 77, "its priority by the hypervisor");
    s.csr.hstatus |= 1 << 12;
    e.signal(InterruptFile::Guest(1), 12);
    assert_eq!(vstopi(&s, &e), 9 << 16 | 12);
    s.csr.hvictl &= !hvictl::IPRIOM;
    assert_eq!(vstopi(&s, &e), 9 << 16 | 1);
    // An interrupt that the hypervisor names is always there; others than external ones are not looked at.
    for (dpr, iprio, wanted) in [
        (0, 12, 45 << 16 | 12),
        (hvictl::DPR, 12, 9 << 16 | 12),
        (hvictl::DPR, 11, 45 << 16 | 11),
        (0, 0, 45 << 16),
        (hvictl::DPR, 0, 9 << 16 | 12),
    ] {
        s.csr.hvictl = hvictl::VTI | hvictl::IPRIOM | dpr | 45 << 16 | iprio;
        assert_eq!(vstopi(&s, &e), wanted, "{dpr:#x} {iprio}");
    }
    s.csr.hvip = 0;
    assert_eq!(vstopi(&s, &e), 45 << 16 | 255, "DPR: the lowest");
    s.csr.hvictl = hvictl::VTI | 9 << 16;
    s.csr.hvip = mip::VSTIP;
    assert_eq!(vstopi(&s, &e), 0, "IID 9 means none");
}

#[test]
fn an_injected_interrupt_traps_to_the_guest_with_its_own_number() {
    let e = env(Some(0));
    let mut s = at(e.hart(), Mode::Supervisor, true);
    s.csr.vsstatus |= mstatus::SIE;
    s.csr.vstvec = 0x8000_0001;
    s.csr.hvictl = hvictl::VTI | 10 << 16;
    let taken = interrupts::pending(&s, &World::of(&s, &e)).unwrap();
    take_trap(&mut s, &e.plain.isa, taken, 0x4444);
    assert_eq!((s.virt, s.csr.vscause, s.csr.vsepc), (true, xcause::INTERRUPT | 10, 0x4444));
    assert_eq!(s.pc, 0x8000_0000 + 40);
    assert_eq!(pending(&s, &e), None, "VS-mode has its interrupts off now");
    assert!(interrupts::wakes(&at(s, Mode::Machine, false), &World::of(&e.hart(), &e)), "yet one is pending");
}
