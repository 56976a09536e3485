//! Vectors where modes, page tables and triggers have a say: VS of both status registers, loads and stores that go on
//! after a fault in their middle, fault-only-first loads.
//!
//! Privileged spec, "Extension Context Status in `mstatus` Register", "Virtual Supervisor Status (`vsstatus`) Register";
//! V spec, "Exception Handling", "Unit-stride Fault-Only-First Loads".

mod guest;

use accel::{HartState, Mode, TriggerState};
use arch::csr::{self, hstatus, mcontrol6, mstatus};
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::pte::U;
use guest::hyper::*;
use guest::*;

const VLENB: usize = 16;
const ECALL_VS: u64 = 10;
/// A page that the guest has, and one behind it that something is wrong with.
const NEXT: u64 = VA + 0x1000;

fn vectors() -> IsaConfig {
    let isa = hyper::isa();
    let more = ExtSet::of(&[Ext::V, Ext::Sdtrig]);
    IsaConfig { exts: isa.exts.union(&more).closure(), vlen: 8 * VLENB as u32, ..isa }
}

/// The word of a vector instruction: its row with these operands in their places; unmasked if `vm`.
fn v(op: Op, vd: u8, vs1: u8, vs2: u8, vm: bool) -> u32 {
    let pattern = &op.row().pattern;
    let operands = u32::from(vd) << 7 | u32::from(vs1) << 15 | u32::from(vs2) << 20 | u32::from(vm) << 25;
    pattern.bits | operands & !pattern.mask
}

/// `n` elements of four bytes of the group that begins at v8.
fn elements(s: &HartState, n: usize) -> Vec<u32> {
    let bytes = &s.v.0[8 * VLENB..8 * VLENB + 4 * n];
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn vs_of(status: u64) -> u64 {
    (status & mstatus::VS) >> mstatus::VS_SHIFT
}

#[test]
fn vectors_need_both_fields_and_make_both_dirty() {
    let load = v(Op::Vle32V, 8, 8, 0, true);
    let read_vl = word(Op::Csrrs, 5, 0, 0, i32::from(csr::VL));
    let write_vstart = word(Op::Csrrw, 0, 0, 0, i32::from(csr::VSTART));
    // Whether each makes the state dirty.
    let insns = [
        (word(Op::Vsetvli, 5, 0, 0, E32 as i32), true),
        (v(Op::VaddVv, 8, 9, 10, true), true),
        (load, true),
        // It clears vstart.
        (v(Op::Vse32V, 8, 8, 0, true), true),
        (read_vl, false),
        (write_vstart, true),
    ];
    for (name, options) in modes().into_iter().take(3) {
        let mut g = guest_of(options, vectors());
        for (mode, virt) in
            [(Mode::Supervisor, false), (Mode::User, false), (Mode::Supervisor, true), (Mode::User, true)]
        {
            for (insn, dirties) in insns {
                let mut a = Asm::at(CODE);
                a.word(insn).ecall();
                g.load(&a);
                for (m, vs) in (0..16).map(|n| (n / 4, n % 4)) {
                    let mut s = start(&g, mode, virt);
                    (s.csr.vtype, s.csr.vl, s.x[8]) = (E32, 4, PAGE_A);
                    s.csr.mstatus |= m << mstatus::VS_SHIFT;
                    s.csr.vsstatus |= vs << mstatus::VS_SHIFT;
                    s.csr.medeleg = 0;
                    let end = g.run(&s);
                    let at = format!("{name} {mode:?} {virt} {insn:#x} {m} {vs}");
                    let seen = (vs_of(end.csr.mstatus), vs_of(end.csr.vsstatus));
                    if m == 0 || virt && vs == 0 {
                        assert_eq!((end.csr.mcause, end.csr.mtval), (ILLEGAL, insn.into()), "{at}");
                        assert_eq!(seen, (m, vs), "{at}");
                        continue;
                    }
                    assert_ne!(end.csr.mcause, ILLEGAL, "{at}");
                    let least = |before: u64, counts: bool| if dirties && counts { 3 } else { before };
                    assert_eq!(seen.0, least(m, true), "{at}");
                    assert_eq!(seen.1, least(vs, virt), "{at}");
                }
            }
        }
    }
}

/// A hypervisor's handler: keeps what the first trap reported in x22 to x26, mends what x20 and x21 say and returns;
/// ends at an ECALL.
fn mending_handler(g: &Guest) {
    let mut a = Asm::at(HS_STOP);
    a.csrr(5, csr::SCAUSE).i(Op::Addi, 6, 0, ECALL_VS as i32);
    let mend = a.forward(Op::Bne, 5, 6);
    a.ecall();
    a.bind(mend);
    a.csrr(22, csr::SCAUSE).csrr(23, csr::STVAL).csrr(24, csr::HTVAL).csrr(25, csr::HTINST).csrr(26, csr::VSTART);
    a.i(Op::Addi, 27, 27, 1).s(Op::Sd, 20, 21, 0).r(Op::HfenceGvma, 0, 0, 0).plain(Op::Sret);
    g.load(&a);
}

/// Loads and stores of a guest whose second page the hypervisor provides when it is asked for.
#[test]
fn an_access_goes_on_after_a_guest_page_fault() {
    // Address of element 0, the instruction, its cause, where it faults and at which element.
    let unit = v(Op::Vle32V, 8, 8, 0, true);
    let strided = v(Op::Vlse32V, 8, 8, 9, true);
    let store = v(Op::Vse32V, 8, 8, 0, true);
    let segments = v(Op::Vlseg2e32V, 8, 8, 0, true);
    let whole = v(Op::Vl2re32V, 8, 8, 0, true);
    for (insn, first, cause, fault, element) in [
        (unit, NEXT - 12, 21, NEXT, 3),
        // An element across the pages: the part in the second one faults.
        (unit, NEXT - 14, 21, NEXT, 3),
        (strided, NEXT - 24, 21, NEXT, 2),
        (store, NEXT - 20, 23, NEXT, 5),
        (segments, NEXT - 12, 21, NEXT, 1),
        (whole, NEXT - 4, 21, NEXT, 1),
    ] {
        for (name, options) in modes() {
            let mut g = guest_of(options, vectors());
            let (mut s, mut st) = in_guest(&g, |a| drop(a.word(insn).ecall()));
            mending_handler(&g);
            st.vs_map(&g, NEXT, PAGE_B - RAM, RWX);
            let slot = st.g_map(&g, PAGE_B - RAM, 0, 0);
            g.write64(slot, 0);
            let bytes: Vec<u8> = (0..8192).map(|i| (i % 251) as u8).collect();
            g.write(PAGE_A, &bytes);
            (s.x[20], s.x[21], s.x[8], s.x[9]) = (leaf(PAGE_B, RWX | U), slot, first, 12);
            s.csr.mstatus |= mstatus::VS;
            s.csr.vsstatus |= 1 << mstatus::VS_SHIFT;
            (s.csr.vtype, s.csr.vl) = (E32 | M2, 8);
            (0..8 * VLENB).for_each(|i| s.v.0[8 * VLENB + i] = 0x80 | i as u8);
            let before = elements(&s, 8);
            let end = g.run(&s);
            let at = format!("{name} {insn:#x} {first:#x}");
            assert_eq!(end.x[22..28], [cause, fault, (fault - VA + PAGE_A - RAM) >> 2, 0, element, 1], "{at}");
            assert_eq!((end.csr.vstart, end.csr.vl, end.csr.scause), (0, 8, ECALL_VS), "{at}");
            assert_eq!(vs_of(end.csr.vsstatus), 3, "{at}");
            let word_at = |va: u64| {
                let i = (va - VA) as usize;
                u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap())
            };
            let n = if insn == segments { 4 } else { 8 };
            let place = |i: u64| match insn {
                _ if insn == strided => first + 12 * i,
                _ if insn == segments => first + 8 * i,
                _ => first + 4 * i,
            };
            if insn == store {
                let stored: Vec<u32> = (0..8)
                    .map(|i| {
                        let at = first - VA + PAGE_A + 4 * i;
                        (g.read64(at & !7) >> (8 * (at & 7))) as u32
                    })
                    .collect();
                assert_eq!(stored, before, "{at}");
            } else {
                let loaded: Vec<u32> = (0..n as u64).map(|i| word_at(place(i))).collect();
                assert_eq!(elements(&end, n), loaded, "{at}");
            }
        }
    }
}

fn drop<T>(_: T) {}

/// The guest's own page faults reach its own handler, with the element in `vstart`, and nothing of it goes to HS-mode.
#[test]
fn a_guests_own_fault_in_the_middle() {
    for (name, options) in modes() {
        let mut g = guest_of(options, vectors());
        let (mut s, _) = in_guest(&g, |a| drop(a.word(v(Op::Vle32V, 8, 8, 0, true)).ecall()));
        let mut a = Asm::at(VS_STOP);
        a.csrr(22, csr::SCAUSE).csrr(23, csr::STVAL).csrr(26, csr::VSTART).ecall();
        g.load(&a);
        s.csr.mstatus |= mstatus::VS;
        s.csr.vsstatus |= mstatus::VS;
        (s.csr.vtype, s.csr.vl, s.x[8]) = (E32 | M2, 8, NEXT - 12);
        s.csr.hedeleg = 1 << 13;
        let end = g.run(&s);
        assert_eq!((end.x[22], end.x[23], end.x[26]), (13, NEXT, 3), "{name}");
        assert_eq!((end.csr.scause, end.csr.htval, end.csr.htinst), (ECALL_VS, 0, 0), "{name}");
        assert_ne!(end.csr.hstatus & hstatus::SPV, 0, "{name}");
    }
}

/// What a fault-only-first load did.
#[derive(Debug, PartialEq)]
enum First {
    /// It trapped with this cause, at this address.
    Trap(u64, u64),
    /// It ended with this `vl`.
    Cut(u64),
}

#[test]
fn fault_only_first_traps_for_element_zero_alone() {
    use First::*;
    let unit = |vm| v(Op::Vle32ffV, 8, 8, 0, vm);
    let pairs = |vm| v(Op::Vlseg2e32ffV, 8, 8, 0, vm);
    let triples = |vm| v(Op::Vlseg3e32ffV, 8, 8, 0, vm);
    // Instruction, address, mask, vstart, outcome. Everything from NEXT on faults.
    let cases = [
        (unit(true), NEXT - 32, 0, 0, Cut(8)),
        (unit(true), NEXT - 12, 0, 0, Cut(3)),
        (unit(true), NEXT - 4, 0, 0, Cut(1)),
        (unit(true), NEXT, 0, 0, Trap(0, NEXT)),
        (unit(true), NEXT - 2, 0, 0, Trap(0, NEXT)),
        (unit(true), NEXT - 6, 0, 0, Cut(1)),
        // The first field of a segment, or any other of them.
        (pairs(true), NEXT - 4, 0, 0, Trap(0, NEXT)),
        (pairs(true), NEXT - 8, 0, 0, Cut(1)),
        (pairs(true), NEXT - 12, 0, 0, Cut(1)),
        (triples(true), NEXT - 8, 0, 0, Trap(0, NEXT)),
        (triples(true), NEXT - 20, 0, 0, Cut(1)),
        (triples(true), NEXT - 24, 0, 0, Cut(2)),
        // Element 0 is not active: none that is traps.
        (unit(false), NEXT, 0b1111_1110, 0, Cut(1)),
        (unit(false), NEXT, 0b1111_0000, 0, Cut(4)),
        (unit(false), NEXT, 0, 0, Cut(8)),
        (unit(false), NEXT - 4, 0b0000_0101, 0, Cut(2)),
        (pairs(false), NEXT - 4, 0b0000_0010, 0, Cut(1)),
        // Nor if the load begins behind it.
        (unit(true), NEXT - 8, 0, 2, Cut(2)),
        (unit(true), NEXT - 8, 0, 8, Cut(8)),
    ];
    for in_second in [false, true] {
        for (n, (insn, address, mask, vstart, outcome)) in cases.iter().enumerate() {
            for (name, options) in modes().into_iter().take(5) {
                let mut g = guest_of(options, vectors());
                let (mut s, mut st) = in_guest(&g, |a| drop(a.word(*insn).ecall()));
                if in_second {
                    st.vs_map(&g, NEXT, 0x1_0000_0000, RWX);
                }
                s.csr.mstatus |= mstatus::VS;
                s.csr.vsstatus |= 1 << mstatus::VS_SHIFT;
                (s.csr.vtype, s.csr.vl, s.csr.vstart, s.x[8]) = (E32 | M2, 8, *vstart, *address);
                s.v.0[0] = *mask;
                let end = g.run(&s);
                let at = format!("{name} {in_second}: case {n}");
                match outcome {
                    Trap(_, address) => {
                        let cause = if in_second { 21 } else { 13 };
                        assert_eq!((end.csr.scause, end.csr.stval, end.csr.vl), (cause, *address, 8), "{at}");
                        let gpa = if in_second { 0x1_0000_0000 >> 2 } else { 0 };
                        assert_eq!((end.csr.htval, end.csr.htinst, end.csr.vstart), (gpa, 0, 0), "{at}");
                    }
                    Cut(vl) => {
                        assert_eq!((end.csr.scause, end.csr.vl, end.csr.vstart), (ECALL_VS, *vl, 0), "{at}");
                        assert_eq!(vs_of(end.csr.vsstatus), 3, "{at}");
                    }
                }
            }
        }
    }
}

/// A trigger on an element behind the first is no exception either, and has not fired.
#[test]
fn fault_only_first_meets_a_trigger() {
    use mcontrol6::{HIT0, LOAD, VS};
    let tdata1 = 6 << 60 | LOAD | VS;
    for (op, at, vl) in [
        (Op::Vle32ffV, 0, None),
        (Op::Vle32ffV, 8, Some(2)),
        (Op::Vlseg2e32ffV, 4, None),
        (Op::Vlseg2e32ffV, 12, Some(1)),
    ] {
        for (name, options) in modes() {
            let mut g = guest_of(options, vectors());
            let (mut s, _) = in_guest(&g, |a| drop(a.word(v(op, 8, 8, 0, true)).ecall()));
            s.csr.mstatus |= mstatus::VS;
            s.csr.vsstatus |= mstatus::VS;
            (s.csr.vtype, s.csr.vl, s.x[8]) = (E32, 4, VA);
            s.csr.triggers[0] = TriggerState { tdata1, tdata2: VA + at, tdata3: 0 };
            let end = g.run(&s);
            let fired = end.csr.triggers[0].tdata1 == tdata1 | HIT0;
            match vl {
                None => {
                    let seen = (end.csr.scause, end.csr.stval, end.csr.vl, fired);
                    assert_eq!(seen, (3, VA + at, 4, true), "{name} {op:?} {at}");
                }
                Some(vl) => {
                    assert_eq!((end.csr.scause, end.csr.vl, fired), (ECALL_VS, vl, false), "{name} {op:?} {at}");
                }
            }
        }
    }
}
