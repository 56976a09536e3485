//! Vector instructions from the specification's text: what random programs meet rarely or cannot tell.

mod guest;

use accel::HartState;
use arch::csr::mstatus;
use arch::ext::{Ext, IsaConfig};
use guest::*;

/// Behind the last byte of RAM nothing answers.
const TOP: u64 = RAM + SIZE as u64;
const VILL: u64 = 1 << 63;

/// Causes.
const BREAKPOINT: u64 = 3;
const LOAD_FAULT: u64 = 5;
const STORE_FAULT: u64 = 7;

/// The word of a vector instruction: its row with these operands in their places; unmasked if `vm`.
fn v(op: Op, vd: u8, vs1: u8, vs2: u8, vm: bool) -> u32 {
    let pattern = &op.row().pattern;
    let operands = u32::from(vd) << 7 | u32::from(vs1) << 15 | u32::from(vs2) << 20 | u32::from(vm) << 25;
    pattern.bits | operands & !pattern.mask
}

/// A hart's vector state before a program.
#[derive(Clone, Copy)]
struct Start {
    vtype: u64,
    vl: u64,
    vstart: u64,
    vs: u64,
}

impl Start {
    fn new(vtype: u64, vl: u64) -> Self {
        Self { vtype, vl, vstart: 0, vs: mstatus::DIRTY }
    }
}

/// The bytes of a register.
fn register(s: &HartState, vlenb: usize, n: usize) -> &[u8] {
    &s.v.0[n * vlenb..(n + 1) * vlenb]
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs the program, which ends in EBREAK if nothing stops it before, in a few modes from a state in which byte `i` of
/// the vector registers is `i`, a0 an address and a1 a number.
fn each(
    isa: &IsaConfig,
    start: Start,
    a0: u64,
    a1: u64,
    program: impl Fn(&mut Asm),
    check: impl Fn(&str, &Guest, &HartState),
) {
    // The interpreter, generated code, and that with one instruction a block.
    for (name, options) in modes().into_iter().take(3) {
        let mut g = Guest::with_isa(options, 1, isa.clone());
        g.stop_code(STOP);
        let mut a = Asm::at(CODE);
        program(&mut a);
        a.plain(Op::Ebreak);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.csr.mstatus |= start.vs << mstatus::VS_SHIFT;
        (s.csr.vtype, s.csr.vl, s.csr.vstart) = (start.vtype, start.vl, start.vstart);
        s.x[10] = a0;
        s.x[11] = a1;
        for (i, byte) in s.v.0[..32 * isa.vlen as usize / 8].iter_mut().enumerate() {
            *byte = i as u8;
        }
        let last_page: Vec<u8> = (0..4096).map(|i| i as u8 ^ 0x5a).collect();
        g.write(TOP - 4096, &last_page);
        let end = g.run(&s);
        check(name, &g, &end);
    }
}

/// The exception that one instruction raises; a breakpoint if none.
fn cause_of(isa: &IsaConfig, start: Start, word: u32) -> u64 {
    let cause = std::cell::Cell::new(None);
    each(
        isa,
        start,
        RAM + 0x10_0000,
        1,
        |a| _ = a.word(word),
        |name, _, s| {
            if s.csr.mcause == ILLEGAL {
                assert_eq!((s.csr.mtval, s.csr.mepc), (u64::from(word), CODE), "{name}");
                assert_eq!((s.csr.vl, s.csr.vtype, s.csr.vstart), (start.vl, start.vtype, start.vstart), "{name}");
            }
            assert!(cause.replace(Some(s.csr.mcause)).is_none_or(|other| other == s.csr.mcause), "{name}");
        },
    );
    cause.get().expect("some mode ran")
}

fn full() -> IsaConfig {
    IsaConfig { vlen: 128, ..isa_with(&[Ext::V]) }
}

#[test]
fn vs_off_makes_instructions_and_csrs_illegal() {
    let isa = full();
    let off = Start { vs: mstatus::OFF, ..Start::new(E8, 16) };
    let mut words = vec![
        v(Op::Vsetvli, 5, 0, 0, false),
        v(Op::VaddVv, 1, 2, 3, true),
        v(Op::Vle8V, 1, 10, 0, true),
        v(Op::Vl1re8V, 1, 10, 0, true),
        v(Op::VmvXS, 5, 0, 2, true),
    ];
    words.extend([0x008, 0x009, 0x00a, 0x00f, 0xc20, 0xc21, 0xc22].map(|n: u32| n << 20 | 0x22f3));
    for word in words {
        assert_eq!(cause_of(&isa, off, word), ILLEGAL, "{word:#x}");
        assert_eq!(cause_of(&isa, Start::new(E8, 16), word), BREAKPOINT, "{word:#x}");
    }
}

#[test]
fn whatever_writes_vector_state_makes_it_dirty_and_nothing_else_does() {
    let clean = Start { vs: mstatus::CLEAN, ..Start::new(E8, 16) };
    let dirty = |word: u32| {
        let dirty = std::cell::Cell::new(false);
        each(
            &full(),
            clean,
            RAM + 0x10_0000,
            1,
            |a| _ = a.word(word),
            |_, _, s| {
                dirty.set(s.csr.mstatus & mstatus::VS == mstatus::VS);
            },
        );
        dirty.get()
    };
    assert!(dirty(v(Op::Vsetivli, 5, 3, 0, false)));
    assert!(dirty(v(Op::VaddVv, 1, 2, 3, true)));
    assert!(dirty(0x0090_d073), "csrwi vxsat");
    assert!(!dirty(0xc200_22f3), "csrr vl");
    // Illegal: register 1 begins no group of two.
    each(
        &full(),
        Start { vtype: M2, ..clean },
        0,
        0,
        |a| _ = a.word(v(Op::VaddVv, 1, 2, 4, true)),
        |name, _, s| {
            assert_eq!(
                (s.csr.mcause, s.csr.mstatus & mstatus::VS),
                (ILLEGAL, mstatus::CLEAN << mstatus::VS_SHIFT),
                "{name}"
            );
        },
    );
}

#[test]
fn vill_allows_configuration_and_whole_registers_alone() {
    let vill = Start::new(VILL, 0);
    let isa = full();
    for (word, legal) in [
        (v(Op::VaddVv, 1, 2, 3, true), false),
        (v(Op::VmandMm, 1, 2, 3, true), false),
        (v(Op::VmvXS, 5, 0, 2, true), false),
        (v(Op::Vmv1rV, 1, 0, 2, true), false),
        (v(Op::VlmV, 1, 10, 0, true), false),
        (v(Op::Vle8V, 1, 10, 0, true), false),
        (v(Op::Vl2re16V, 2, 10, 0, true), true),
        (v(Op::Vs8rV, 8, 10, 0, true), true),
        (v(Op::Vsetivli, 5, 3, 0, false), true),
    ] {
        assert_eq!(cause_of(&isa, vill, word), if legal { BREAKPOINT } else { ILLEGAL }, "{word:#x}");
    }
}

#[test]
fn vl_follows_avl_and_vlmax() {
    // vtype, AVL, vl; VLEN is 128.
    for (vtype, avl, vl) in [
        (E8, 16, 16),
        (E8, 17, 16),
        (E8, u64::MAX, 16),
        (E8, 0, 0),
        (E8 | M8, 127, 127),
        (E64, 5, 2),
        (E32 | MF2, 9, 2),
        (E16 | 5, 1, 0),
        (E64 | MF2, 1, 0),
        (4, 1, 0),
        (4 << 3, 1, 0),
        (E8 | 1 << 8, 1, 0),
        (E8 | VILL, 1, 0),
    ] {
        let legal = vl != 0 || avl == 0;
        each(
            &full(),
            Start::new(E8, 3),
            vtype,
            avl,
            |a| _ = a.word(v(Op::Vsetvl, 12, 11, 10, false)),
            |name, _, s| {
                assert_eq!((s.csr.vl, s.x[12]), (vl, vl), "{name} {vtype:#x} {avl}");
                assert_eq!(s.csr.vtype, if legal { vtype } else { VILL }, "{name} {vtype:#x}");
            },
        );
    }
}

#[test]
fn x0_as_avl_is_the_most_or_what_it_was() {
    let e16 = u32::try_from(E16).unwrap() << 20;
    // rd is not x0: VLMAX.
    each(
        &full(),
        Start::new(E8, 3),
        0,
        0,
        |a| _ = a.word(v(Op::Vsetvli, 12, 0, 0, false) | e16),
        |name, _, s| {
            assert_eq!((s.csr.vl, s.x[12], s.csr.vtype), (8, 8, E16), "{name}");
        },
    );
    let keep = v(Op::Vsetvli, 0, 0, 0, false) | (M2 as u32) << 20 | e16;
    each(
        &full(),
        Start { vstart: 2, ..Start::new(E8, 3) },
        0,
        0,
        |a| _ = a.word(keep),
        |name, _, s| {
            assert_eq!((s.csr.vl, s.csr.vtype, s.csr.vstart), (3, E16 | M2, 0), "{name}");
        },
    );
}

#[test]
fn options_decide_what_the_specification_leaves_open() {
    let mut isa = full();
    (isa.rvv.vl_half_avl, isa.rvv.vsetvl_x0_vill) = (true, true);
    each(
        &isa,
        Start::new(E8, 3),
        E8,
        25,
        |a| _ = a.word(v(Op::Vsetvl, 12, 11, 10, false)),
        |name, _, s| {
            assert_eq!(s.csr.vl, 13, "{name}");
        },
    );
    let keep = v(Op::Vsetvli, 0, 0, 0, false);
    each(
        &isa,
        Start::new(E8, 3),
        0,
        0,
        |a| _ = a.word(keep | (M2 as u32) << 20),
        |name, _, s| {
            assert_eq!((s.csr.vl, s.csr.vtype), (0, VILL), "{name}");
        },
    );
    each(
        &isa,
        Start::new(E8, 3),
        0,
        0,
        |a| _ = a.word(keep | ((E16 | M2) as u32) << 20),
        |name, _, s| {
            assert_eq!((s.csr.vl, s.csr.vtype), (3, E16 | M2), "{name}: VLMAX is the same");
        },
    );
    isa.rvv.ta_all_1s = true;
    each(
        &isa,
        Start::new(E8 | 1 << 6, 3),
        0,
        0,
        |a| _ = a.word(v(Op::VidV, 8, 0, 0, true)),
        |name, _, s| {
            assert_eq!(register(s, 16, 8)[..5], [0, 1, 2, 0xff, 0xff], "{name}");
            assert_eq!(register(s, 16, 9)[0], 9 * 16, "{name}");
        },
    );
}

#[test]
fn a_load_that_faults_names_its_element_and_goes_on_from_it() {
    // Three words before the end of RAM.
    let word = v(Op::Vle32V, 8, 10, 0, true);
    each(
        &full(),
        Start::new(E32 | M2, 8),
        TOP - 12,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.csr.mepc), (LOAD_FAULT, TOP, CODE), "{name}");
            assert_eq!((s.csr.vstart, s.csr.vl), (3, 8), "{name}");
            assert_eq!(words(register(s, 16, 8))[3], 0x8f8e_8d8c, "{name}: the element is as it was");
            assert_eq!(register(s, 16, 8)[0], 0xf4 ^ 0x5a, "{name}");
        },
    );
    // From element 3 on, all before it are left alone.
    let start = Start { vstart: 3, ..Start::new(E32 | M2, 8) };
    each(
        &full(),
        start,
        TOP - 4096,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.vstart), (BREAKPOINT, 0), "{name}");
            assert_eq!(words(register(s, 16, 8))[..3], [0x8382_8180, 0x8786_8584, 0x8b8a_8988], "{name}");
            assert_eq!(register(s, 16, 8)[12], 12 ^ 0x5a, "{name}");
            assert_eq!(register(s, 16, 9)[15], 31 ^ 0x5a, "{name}");
        },
    );
}

#[test]
fn a_store_that_faults_has_stored_what_is_before() {
    let word = v(Op::Vsse16V, 8, 10, 11, true);
    each(
        &full(),
        Start::new(E16, 8),
        TOP - 12,
        4,
        |a| _ = a.word(word),
        |name, g, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.csr.vstart), (STORE_FAULT, TOP, 3), "{name}");
            assert_eq!(g.read64(TOP - 16) >> 32 & 0xffff, 0x8180, "{name}");
            assert_eq!(g.read64(TOP - 8) & 0xffff, 0x8382, "{name}");
            assert_eq!(g.read64(TOP - 8) >> 32 & 0xffff, 0x8584, "{name}");
        },
    );
}

#[test]
fn a_segment_faults_as_a_whole() {
    // Two fields of 64 bits: the second one of element 1 is beyond RAM.
    let word = v(Op::Vlseg2e64V, 8, 10, 0, true);
    each(
        &full(),
        Start::new(E64, 2),
        TOP - 24,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.csr.vstart), (LOAD_FAULT, TOP, 1), "{name}");
        },
    );
}

#[test]
fn fault_only_first_cuts_vl() {
    let word = v(Op::Vle32ffV, 8, 10, 0, true);
    each(
        &full(),
        Start::new(E32 | M2, 8),
        TOP - 12,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.vl, s.csr.vstart), (BREAKPOINT, 3, 0), "{name}");
        },
    );
    each(
        &full(),
        Start::new(E32 | M2, 8),
        TOP,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.mtval, s.csr.vl, s.csr.vstart), (LOAD_FAULT, TOP, 8, 0), "{name}");
        },
    );
    // A segment is loaded whole or not at all.
    let word = v(Op::Vlseg2e32ffV, 8, 10, 0, true);
    each(
        &full(),
        Start::new(E32, 4),
        TOP - 12,
        0,
        |a| _ = a.word(word),
        |name, _, s| {
            assert_eq!((s.csr.mcause, s.csr.vl), (BREAKPOINT, 1), "{name}");
            assert_eq!(words(register(s, 16, 8))[1], 0x8786_8584, "{name}");
        },
    );
}

#[test]
fn elements_come_from_devices_one_by_one() {
    // The device answers each access with 1, 0, 1, 0 ... from its first byte on.
    each(
        &full(),
        Start::new(E16, 8),
        ROM,
        0,
        |a| _ = a.word(v(Op::Vle16V, 8, 10, 0, true)),
        |name, _, s| {
            assert_eq!(s.csr.mcause, BREAKPOINT, "{name}");
            assert_eq!(register(s, 16, 8), [1, 0].repeat(8), "{name}");
        },
    );
}

#[test]
fn masks_are_loaded_by_the_byte() {
    each(
        &full(),
        Start::new(E8, 11),
        TOP - 4096,
        0,
        |a| _ = a.word(v(Op::VlmV, 8, 10, 0, true)),
        |name, _, s| {
            assert_eq!(register(s, 16, 8)[..3], [0x5a, 0x5b, 0x82], "{name}");
        },
    );
}

#[test]
fn vl_zero_changes_vstart_alone() {
    let start = Start { vstart: 5, ..Start::new(E8, 0) };
    for word in [
        v(Op::VaddVv, 1, 2, 3, true),
        v(Op::VmvSX, 1, 10, 0, true),
        v(Op::VmseqVv, 1, 2, 3, true),
        v(Op::Vle8V, 1, 10, 0, true),
    ] {
        each(
            &full(),
            start,
            TOP,
            0,
            |a| _ = a.word(word),
            |name, _, s| {
                assert_eq!((s.csr.mcause, s.csr.vstart), (BREAKPOINT, 0), "{name} {word:#x}");
                assert_eq!(register(s, 16, 1)[0], 16, "{name} {word:#x}");
            },
        );
    }
    // But these give the answer of an empty vector.
    each(
        &full(),
        Start::new(E8, 0),
        9,
        9,
        |a| _ = a.word(v(Op::VfirstM, 10, 0, 2, true)),
        |name, _, s| {
            assert_eq!(s.x[10], u64::MAX, "{name}");
        },
    );
    each(
        &full(),
        Start::new(E8, 0),
        9,
        9,
        |a| _ = a.word(v(Op::VmvXS, 10, 0, 8, true)),
        |name, _, s| {
            assert_eq!(s.x[10], 0xffff_ffff_ffff_ff80, "{name}");
        },
    );
}

#[test]
fn vstart_is_zero_for_what_cannot_be_resumed() {
    let start = Start { vstart: 1, ..Start::new(E8, 16) };
    for word in [
        v(Op::VredsumVs, 1, 2, 3, true),
        v(Op::VcpopM, 5, 0, 3, true),
        v(Op::VfirstM, 5, 0, 3, true),
        v(Op::VmsbfM, 1, 0, 3, true),
        v(Op::ViotaM, 1, 0, 3, true),
        v(Op::VcompressVm, 1, 2, 3, true),
    ] {
        assert_eq!(cause_of(&full(), start, word), ILLEGAL, "{word:#x}");
        assert_eq!(cause_of(&full(), Start::new(E8, 16), word), BREAKPOINT, "{word:#x}");
    }
}

#[test]
fn register_groups_obey_the_rules() {
    let (e8, e16) = (Start::new(E8, 4), Start::new(E16, 4));
    let m2 = Start::new(E8 | M2, 4);
    let m4 = Start::new(E8 | M4, 4);
    let mf2 = Start::new(E8 | MF2, 4);
    for (what, start, word, legal) in [
        ("aligned", m2, v(Op::VaddVv, 2, 4, 6, true), true),
        ("vd is not", m2, v(Op::VaddVv, 3, 4, 6, true), false),
        ("vs1 is not", m2, v(Op::VaddVv, 2, 5, 6, true), false),
        ("vs2 is not", m2, v(Op::VaddVv, 2, 4, 7, true), false),
        ("masked into v0", e8, v(Op::VaddVv, 0, 4, 6, false), false),
        ("unmasked into v0", e8, v(Op::VaddVv, 0, 4, 6, true), true),
        ("a mask into v0", e8, v(Op::VmseqVv, 0, 4, 6, false), true),
        ("a scalar into v0", e8, v(Op::VredsumVs, 0, 4, 6, false), true),
        ("wide, apart", e8, v(Op::VwaddVv, 2, 4, 6, true), true),
        ("wide, vd is odd", e8, v(Op::VwaddVv, 3, 4, 6, true), false),
        ("wide, source in the upper half", e8, v(Op::VwaddVv, 2, 3, 6, true), true),
        ("wide, source in the lower half", e8, v(Op::VwaddVv, 2, 2, 6, true), false),
        ("wide, a fraction in the upper half", mf2, v(Op::VwaddVv, 2, 2, 6, true), false),
        ("wide, more than eight registers", Start::new(E8 | M8, 4), v(Op::VwaddVv, 8, 16, 24, true), false),
        ("wide, 128 bits", Start::new(E64, 2), v(Op::VwaddVv, 2, 4, 6, true), false),
        ("narrow, into the lower half", e8, v(Op::VnsrlWv, 2, 4, 2, true), true),
        ("narrow, into the upper half", e8, v(Op::VnsrlWv, 3, 4, 2, true), false),
        ("compare, into the first of a group", m4, v(Op::VmseqVv, 4, 4, 8, true), true),
        ("compare, into another", m4, v(Op::VmseqVv, 5, 4, 8, true), false),
        ("two widths of one source", e8, v(Op::VwaddWv, 4, 6, 6, true), false),
        ("the mask is also data", e8, v(Op::VaddVv, 4, 0, 6, false), false),
        ("gather over its source", e8, v(Op::VrgatherVv, 4, 6, 4, true), false),
        ("slide up over its source", e8, v(Op::VslideupVx, 4, 10, 4, true), false),
        ("slide down over its source", e8, v(Op::VslidedownVx, 4, 10, 4, true), true),
        ("extension by more than there is", e8, v(Op::VzextVf2, 4, 0, 6, true), false),
        ("extension", e16, v(Op::VzextVf2, 4, 0, 6, true), true),
        ("a segment of eight", e8, v(Op::Vlseg8e8V, 24, 10, 0, true), true),
        ("a segment beyond v31", e8, v(Op::Vlseg8e8V, 25, 10, 0, true), false),
        ("a segment of more than eight registers", m2, v(Op::Vlseg5e8V, 8, 10, 0, true), false),
        ("EMUL of sixteen", m2, v(Op::Vle64V, 8, 10, 0, true), false),
        ("EMUL of a sixteenth", Start::new(E64, 2), v(Op::Vle8V, 9, 10, 0, true), true),
        ("whole registers, aligned", m4, v(Op::Vl2re8V, 10, 10, 0, true), true),
        ("whole registers, not", m4, v(Op::Vl2re8V, 11, 10, 0, true), false),
        ("moved registers, not", e8, v(Op::Vmv4rV, 8, 0, 6, true), false),
    ] {
        assert_eq!(cause_of(&full(), start, word), if legal { BREAKPOINT } else { ILLEGAL }, "{what}");
    }
}

#[test]
fn subsets_have_their_widths() {
    let wide = Start::new(E64, 2);
    let narrow = Start::new(E32, 2);
    let (z32, z64) =
        (IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve32x]) }, IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve64x]) });
    assert_eq!(cause_of(&z32, narrow, v(Op::Vle64V, 8, 10, 0, true)), ILLEGAL);
    assert_eq!(cause_of(&z64, narrow, v(Op::Vle64V, 8, 10, 0, true)), BREAKPOINT);
    assert_eq!(cause_of(&z32, narrow, v(Op::VwaddVv, 8, 10, 12, true)), ILLEGAL);
    for (isa, cause) in [(&z64, ILLEGAL), (&full(), BREAKPOINT)] {
        assert_eq!(cause_of(isa, wide, v(Op::VmulhVv, 8, 10, 12, true)), cause);
        assert_eq!(cause_of(isa, wide, v(Op::VsmulVv, 8, 10, 12, true)), cause);
        assert_eq!(cause_of(isa, wide, v(Op::VmulVv, 8, 10, 12, true)), BREAKPOINT);
    }
    each(
        &z32,
        Start::new(E8, 3),
        E64,
        1,
        |a| _ = a.word(v(Op::Vsetvl, 12, 11, 10, false)),
        |name, _, s| {
            assert_eq!(s.csr.vtype, VILL, "{name}");
        },
    );
}

#[test]
fn fixed_point_rounds_by_vxrm() {
    // Element 0 of v3 is 0x30: the averages with the scalar, by rounding mode.
    for (scalar, averages) in [(0x35, [0x33, 0x32, 0x32, 0x33]), (0x33, [0x32, 0x32, 0x31, 0x31]), (0x32, [0x31; 4])] {
        for (vxrm, average) in averages.into_iter().enumerate() {
            let program = |a: &mut Asm| {
                a.csrw(arch::csr::VXRM, 11);
                a.word(v(Op::VaadduVx, 1, 10, 3, true));
            };
            each(&full(), Start::new(E8, 1), scalar, vxrm as u64, program, |name, _, s| {
                assert_eq!(register(s, 16, 1)[0], average, "{name} {scalar:#x} {vxrm}");
            });
        }
    }
}

#[test]
fn saturation_is_sticky() {
    each(
        &full(),
        Start::new(E8, 16),
        0xf0,
        0,
        |a| _ = a.word(v(Op::VsadduVx, 1, 10, 0, true)).word(v(Op::VsadduVx, 2, 11, 0, true)),
        |name, _, s| {
            // v0 is 0 to 15: nothing saturates below 16.
            assert_eq!(s.csr.vcsr & 1, 0, "{name}");
        },
    );
    each(
        &full(),
        Start::new(E8, 16),
        0xf8,
        0,
        |a| _ = a.word(v(Op::VsadduVx, 1, 10, 0, true)).word(v(Op::VsadduVx, 2, 11, 0, true)),
        |name, _, s| {
            assert_eq!((s.csr.vcsr & 1, register(s, 16, 1)[7], register(s, 16, 1)[8]), (1, 0xff, 0xff), "{name}");
        },
    );
}
