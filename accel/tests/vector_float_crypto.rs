//! Vector floating point and cryptography: what the specification's text says of the edges, in every mode.

mod guest;

use accel::HartState;
use accel::tcg::TcgOptions;
use arch::csr::{self, mstatus};
use arch::ext::{Ext, IsaConfig};
use guest::*;

/// The bit that a masked instruction has clear; the assembler writes it clear.
const UNMASKED: u32 = 1 << 25;

/// Flags of `fcsr`.
const NX: u64 = 1;
const DZ: u64 = 8;
const NV: u64 = 16;

/// All there is, VLEN = 128.
fn all() -> IsaConfig {
    IsaConfig {
        vlen: 128,
        ..isa_with(&[Ext::V, Ext::Zvfh, Ext::Zvfbfwma, Ext::Zvkng, Ext::Zvksg, Ext::Zvbc, Ext::Zvbb])
    }
}

/// `op vd, vs2, vs1`, not masked. The third register may be a scalar or part of the encoding.
fn v(op: Op, vd: u8, vs2: u8, vs1: u8) -> u32 {
    let row = op.row();
    let field = |field| row.pattern.pieces.iter().any(|piece| piece.field == field);
    let vs2 = if field(arch::isa::Field::Rs2) { vs2 } else { 0 };
    let vs1 = if field(arch::isa::Field::Rs1) { vs1 } else { 0 };
    let word = word(op, vd, vs1, vs2, 0);
    if row.operands.ends_with("vm") { word | UNMASKED } else { word }
}

/// `op vd, vs2, imm`.
fn vi(op: Op, vd: u8, vs2: u8, imm: i32) -> u32 {
    word(op, vd, 0, vs2, imm)
}

/// M-mode with vectors and floating point on, `vtype` set and `vl` = `vl`.
fn start(g: &Guest, vtype: u64, vl: u64) -> HartState {
    let mut s = g.machine(0, CODE, STOP);
    s.csr.mstatus |= csr::mstatus::FS | csr::mstatus::VS;
    (s.csr.vtype, s.csr.vl) = (vtype, vl);
    s
}

/// Runs the words from the state in every mode.
fn each_mode(isa: &IsaConfig, words: &[u32], state: impl Fn(&Guest) -> HartState, check: impl Fn(&str, &HartState)) {
    for (name, options) in modes() {
        check(name, &run(isa, options, words, &state));
    }
}

fn run(isa: &IsaConfig, options: TcgOptions, words: &[u32], state: impl Fn(&Guest) -> HartState) -> HartState {
    let mut g = Guest::with_isa(options, 1, isa.clone());
    g.stop_code(STOP);
    let mut a = Asm::at(CODE);
    words.iter().for_each(|word| {
        a.word(*word);
    });
    a.j(0, STOP);
    g.load(&a);
    let start = state(&g);
    g.run(&start)
}

/// Whether the interpreter and generated code take the word as an illegal instruction.
fn is_illegal(isa: &IsaConfig, word: u32, state: impl Fn(&Guest) -> HartState) -> bool {
    let causes = [false, true].map(|jit| {
        let end = run(isa, TcgOptions { jit, ..TcgOptions::default() }, &[word], &state);
        if end.csr.mcause != 0 {
            assert_eq!((end.csr.mcause, end.csr.mtval, end.csr.mepc), (ILLEGAL, u64::from(word), CODE), "{word:#x}");
        }
        end.csr.mcause
    });
    assert_eq!(causes[0], causes[1], "{word:#x}");
    causes[0] == ILLEGAL
}

/// Writes 32-bit elements from the start of register `reg`.
fn put32(s: &mut HartState, vlenb: usize, reg: usize, elements: &[u32]) {
    for (i, element) in elements.iter().enumerate() {
        let at = reg * vlenb + 4 * i;
        s.v.0[at..at + 4].copy_from_slice(&element.to_le_bytes());
    }
}

fn get32(s: &HartState, vlenb: usize, reg: usize, i: usize) -> u32 {
    let at = reg * vlenb + 4 * i;
    u32::from_le_bytes(s.v.0[at..at + 4].try_into().unwrap())
}

const ONE: u32 = 0x3f80_0000;
const THREE: u32 = 0x4040_0000;
const SNAN: u32 = 0x7f80_0001;
const QNAN: u32 = 0x7fc0_0000;

#[test]
fn floating_point_needs_fs_and_a_legal_frm_even_where_nothing_rounds() {
    let isa = all();
    let words = [
        v(Op::VfaddVv, 8, 9, 10),
        v(Op::VfmvVF, 8, 0, 1),
        v(Op::VfmvFS, 8, 9, 0),
        v(Op::VfmvSF, 8, 0, 1),
        v(Op::VfclassV, 8, 9, 0),
        v(Op::VfsgnjVv, 8, 9, 10),
        v(Op::VfmergeVfm, 8, 9, 1),
        v(Op::Vfslide1upVf, 8, 9, 1),
        v(Op::VmfeqVv, 8, 9, 10),
        v(Op::VfcvtRtzXFV, 8, 9, 0),
        v(Op::VfredminVs, 8, 9, 10),
    ];
    for word in words {
        assert!(!is_illegal(&isa, word, |g| start(g, E32, 4)), "{word:#x}");
        for off in [csr::mstatus::FS, csr::mstatus::VS] {
            let state = |g: &Guest| {
                let mut s = start(g, E32, 4);
                s.csr.mstatus &= !off;
                s
            };
            assert!(is_illegal(&isa, word, state), "{word:#x} without {off:#x}");
        }
        for frm in 0..8 {
            let state = |g: &Guest| {
                let mut s = start(g, E32, 4);
                s.csr.fcsr = frm << 5;
                s
            };
            assert_eq!(is_illegal(&isa, word, state), frm > 4, "{word:#x} with frm {frm}");
        }
        assert!(is_illegal(&isa, word, |g| start(g, csr_vill(), 0)), "{word:#x} with vill");
    }
    // Cryptography needs vectors alone.
    let state = |g: &Guest| {
        let mut s = start(g, E32, 4);
        s.csr.mstatus &= !csr::mstatus::FS;
        s.csr.fcsr = 7 << 5;
        s
    };
    assert!(!is_illegal(&isa, v(Op::VaesemVv, 8, 9, 0), state));
}

fn csr_vill() -> u64 {
    1 << 63
}

#[test]
fn element_widths_are_those_of_the_extensions() {
    const WIDTHS: [u64; 4] = [E8, E16, E32, E64];
    let legal = |isa: &IsaConfig, op| WIDTHS.map(|sew| !is_illegal(isa, v(op, 8, 16, 0), |g| start(g, sew, 1)));
    let single = IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve32f]) };
    let wide_integers = IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve64f]) };
    let conversions = IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve64f, Ext::Zvfhmin]) };
    let bf16 = IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve32f, Ext::Zvfbfmin]) };
    let full = all();
    for (op, expected) in [
        (Op::VfaddVv, [[false, false, true, false], [false, false, true, false], [false, true, true, true]]),
        // To and from twice SEW.
        (Op::VfwaddVv, [[false; 4], [false; 4], [false, true, true, false]]),
        (Op::VfwcvtFFV, [[false; 4], [false, true, false, false], [false, true, true, false]]),
        (Op::VfncvtFFW, [[false; 4], [false, true, false, false], [false, true, true, false]]),
        (Op::VfncvtRodFFW, [[false; 4], [false; 4], [false, true, true, false]]),
        // Integers become floats of twice their width.
        (Op::VfwcvtFXV, [[false, true, false, false], [false, true, false, false], [true, true, true, false]]),
        (Op::VfncvtXFW, [[false, true, false, false], [false, true, false, false], [true, true, true, false]]),
        (Op::VfncvtFXW, [[false; 4], [false, false, true, false], [false, true, true, false]]),
    ] {
        for (isa, expected) in [&single, &conversions, &full].into_iter().zip(expected) {
            assert_eq!(legal(isa, op), expected, "{op:?} {}", isa.isa_string());
        }
    }
    assert_eq!(legal(&wide_integers, Op::VfncvtFFW), [false; 4]);
    assert_eq!(legal(&bf16, Op::Vfncvtbf16FFW), [false, true, false, false]);
    assert_eq!(legal(&bf16, Op::VfwcvtFFV), [false; 4]);
    assert_eq!(legal(&full, Op::Vfwmaccbf16Vv), [false, true, false, false]);
}

#[test]
fn an_extension_that_is_off_is_illegal() {
    let v_alone = IsaConfig { vlen: 128, ..isa_with(&[Ext::V]) };
    for op in [
        Op::Vfwmaccbf16Vv,
        Op::Vfncvtbf16FFW,
        Op::VandnVv,
        Op::VclzV,
        Op::VclmulVv,
        Op::VghshVv,
        Op::VaesemVv,
        Op::Vsha2msVv,
        Op::Vsm3meVv,
        Op::Vsm4rVv,
    ] {
        assert!(is_illegal(&v_alone, v(op, 8, 10, 12), |g| start(g, if op == Op::VclmulVv { E64 } else { E32 }, 0)));
    }
    let zvkb = IsaConfig { vlen: 128, ..isa_with(&[Ext::Zve32x, Ext::Zvkb]) };
    assert!(!is_illegal(&zvkb, v(Op::Vbrev8V, 8, 9, 0), |g| start(g, E32, 4)));
    assert!(is_illegal(&zvkb, v(Op::VbrevV, 8, 9, 0), |g| start(g, E32, 4)));
    assert!(is_illegal(&zvkb, v(Op::VfaddVv, 8, 9, 10), |g| start(g, E32, 4)));
}

/// Flags raised by vector elements and by scalar instructions around them end up in one register.
#[test]
fn flags_accumulate_with_those_of_scalar_instructions() {
    let words = [
        // f3 = 1 / 3, inexact, in generated code by a host instruction.
        word(Op::FdivS, 3, 1, 2, 0),
        // 1 / 0 in an element.
        v(Op::VfdivVv, 8, 9, 10),
        word(Op::FmulS, 3, 1, 2, 0),
        word(Op::Csrrs, 5, 0, 0, csr::FCSR.into()),
    ];
    let state = |g: &Guest| {
        let mut s = start(g, E32, 1);
        (s.f[1], s.f[2]) = (!0 << 32 | u64::from(ONE), !0 << 32 | u64::from(THREE));
        put32(&mut s, 16, 9, &[ONE]);
        s
    };
    each_mode(&all(), &words, state, |name, end| {
        assert_eq!((end.csr.mcause, end.x[5]), (0, NX | DZ), "{name}");
        assert_eq!(get32(end, 16, 8, 0), 0x7f80_0000, "{name}");
    });
}

#[test]
fn flags_make_the_floating_point_state_dirty() {
    for (dividend, fs) in [(ONE, 3), (0, 3)] {
        let state = |g: &Guest| {
            let mut s = start(g, E32, 1);
            s.csr.mstatus = s.csr.mstatus & !csr::mstatus::FS | 2 << csr::mstatus::FS_SHIFT;
            put32(&mut s, 16, 9, &[dividend]);
            s
        };
        each_mode(&all(), &[v(Op::VfdivVv, 8, 9, 10)], state, |name, end| {
            assert_eq!(end.csr.mstatus >> csr::mstatus::FS_SHIFT & 3, fs, "{name}");
        });
    }
}

/// "Inactive elements do not set FP exception flags", nor do those of the tail.
#[test]
fn only_active_elements_raise_flags() {
    let masked = v(Op::VfaddVv, 8, 9, 10) & !UNMASKED;
    let state = |g: &Guest| {
        let mut s = start(g, E32, 3);
        put32(&mut s, 16, 0, &[0b0101]);
        put32(&mut s, 16, 9, &[ONE, SNAN, ONE, SNAN]);
        put32(&mut s, 16, 10, &[ONE; 4]);
        put32(&mut s, 16, 8, &[7; 4]);
        s
    };
    each_mode(&all(), &[masked], state, |name, end| {
        let elements: Vec<u32> = (0..4).map(|i| get32(end, 16, 8, i)).collect();
        assert_eq!(elements, [0x4000_0000, 7, 0x4000_0000, 7], "{name}");
        assert_eq!(end.csr.fcsr, 0, "{name}");
    });
}

/// A sum without active elements copies the scalar, a signalling NaN too; with `vl` = 0 nothing is written.
#[test]
fn reductions_of_nothing() {
    let masked = |op| v(op, 8, 9, 10) & !UNMASKED;
    for op in [Op::VfredosumVs, Op::VfredusumVs, Op::VfredminVs, Op::VfredmaxVs] {
        for (vl, expected) in [(4, SNAN), (0, 7)] {
            let state = |g: &Guest| {
                let mut s = start(g, E32, vl);
                put32(&mut s, 16, 9, &[SNAN; 4]);
                put32(&mut s, 16, 10, &[SNAN]);
                put32(&mut s, 16, 8, &[7; 4]);
                s
            };
            each_mode(&all(), &[masked(op)], state, |name, end| {
                assert_eq!((get32(end, 16, 8, 0), get32(end, 16, 8, 1)), (expected, 7), "{name} {op:?}");
                assert_eq!(end.csr.fcsr, 0, "{name} {op:?}");
            });
        }
    }
    // With one element it is an addition.
    let state = |g: &Guest| {
        let mut s = start(g, E32, 1);
        put32(&mut s, 16, 10, &[SNAN]);
        s
    };
    each_mode(&all(), &[v(Op::VfredosumVs, 8, 9, 10)], state, |name, end| {
        assert_eq!((get32(end, 16, 8, 0), end.csr.fcsr), (QNAN, NV), "{name}");
    });
    let nonzero_vstart = |g: &Guest| {
        let mut s = start(g, E32, 4);
        s.csr.vstart = 1;
        s
    };
    assert!(is_illegal(&all(), v(Op::VfredosumVs, 8, 9, 10), nonzero_vstart));
}

#[test]
fn scalars_move_whatever_vl_is() {
    let state = |g: &Guest| {
        let mut s = start(g, E16, 0);
        put32(&mut s, 16, 9, &[0x1234_5678]);
        put32(&mut s, 16, 8, &[7; 4]);
        s.f[1] = !0 << 16 | 0x3c00;
        s
    };
    each_mode(&all(), &[v(Op::VfmvFS, 2, 9, 0), v(Op::VfmvSF, 8, 0, 1)], state, |name, end| {
        assert_eq!(end.f[2], !0 << 16 | 0x5678, "{name}");
        // With vl = 0 there is no element 0 to write.
        assert_eq!(get32(end, 16, 8, 0), 7, "{name}");
    });
}

/// A scalar that is not NaN-boxed for the element's width is the canonical NaN.
#[test]
fn scalars_have_to_be_boxed() {
    let state = |g: &Guest| {
        let mut s = start(g, E32, 4);
        s.f[1] = u64::from(ONE);
        s
    };
    each_mode(&all(), &[v(Op::VfmvVF, 8, 0, 1)], state, |name, end| {
        assert!((0..4).all(|i| get32(end, 16, 8, i) == QNAN), "{name}");
    });
}

/// Nor is a scalar known to be boxed once a function had it: the first of these makes the status dirty, by a function.
#[test]
fn scalars_may_go_to_a_function_without_their_box() {
    let state = |g: &Guest| {
        let mut s = start(g, E32, 4);
        s.csr.mstatus = s.csr.mstatus & !mstatus::FS | 1 << 13;
        s.f[1] = u64::from(ONE);
        put32(&mut s, 16, 4, &[ONE; 4]);
        s
    };
    for op in [Op::VfaddVf, Op::VfmvVF, Op::VfmaxVf] {
        let words = [Op::VfaddVf, Op::VfaddVf, op].into_iter().zip(8..).map(|(op, vd)| match op {
            Op::VfmvVF => v(op, vd, 0, 1),
            _ => v(op, vd, 4, 1),
        });
        each_mode(&all(), &words.collect::<Vec<_>>(), state, |name, end| {
            for reg in [8, 9] {
                assert!((0..4).all(|i| get32(end, 16, reg, i) == QNAN), "{name}, v{reg}");
            }
            let last = if op == Op::VfmaxVf { ONE } else { QNAN };
            assert!((0..4).all(|i| get32(end, 16, 10, i) == last), "{name}, {op:?}");
        });
    }
}

#[test]
fn groups_of_elements_want_whole_groups() {
    let isa = all();
    let at = |vtype, vl, vstart| {
        move |g: &Guest| {
            let mut s = start(g, vtype, vl);
            s.csr.vstart = vstart;
            s
        }
    };
    let aes = v(Op::VaesemVv, 8, 10, 0);
    for (vtype, vl, vstart, legal) in [
        (E32, 4, 0, true),
        (E32, 0, 0, true),
        (E32 | M2, 8, 4, true),
        (E32, 3, 0, false),
        (E32 | M2, 8, 2, false),
        (E16, 4, 0, false),
        (E64, 4, 0, false),
        // LMUL * VLEN < EGW, "even if vl=0".
        (E32 | MF2, 0, 0, false),
    ] {
        assert_eq!(!is_illegal(&isa, aes, at(vtype, vl, vstart)), legal, "{vtype:#x} vl {vl} vstart {vstart}");
    }
    // 256 bits: two registers of 128.
    for (word, vtype) in [(v(Op::Vsm3meVv, 8, 10, 12), E32), (v(Op::Vsha2msVv, 8, 10, 12), E64)] {
        assert!(is_illegal(&isa, word, at(vtype, 0, 0)), "{word:#x}");
        assert!(!is_illegal(&isa, word, at(vtype | M2, 0, 0)), "{word:#x}");
    }
    assert!(is_illegal(&isa, v(Op::Vsm3meVv, 8, 10, 12), at(E32 | M2, 4, 0)), "SM3 has groups of eight");
    // Half of a register of 256 bits holds a group of 128, also for SHA-2.
    let long = IsaConfig { vlen: 256, ..isa.clone() };
    for op in [Op::VaesemVv, Op::Vsha2msVv] {
        assert!(!is_illegal(&long, v(op, 8, 10, 12), at(E32 | MF2, 4, 0)), "{op:?}");
    }
    // SHA-512 is Zvknhb's.
    let sha256 = self::IsaConfig { vlen: 256, ..isa_with(&[Ext::V, Ext::Zvknha]) };
    assert!(!is_illegal(&sha256, v(Op::Vsha2chVv, 8, 10, 12), at(E32, 4, 0)));
    assert!(is_illegal(&sha256, v(Op::Vsha2chVv, 8, 10, 12), at(E64, 4, 0)));
}

#[test]
fn registers_that_may_not_overlap() {
    let isa = all();
    let m2 = |g: &Guest| start(g, E32 | M2, 8);
    for (word, legal) in [
        // The scalar group of a .vs form is one register, and of any number.
        (v(Op::VaesemVs, 8, 11, 0), true),
        (v(Op::VaesemVs, 8, 9, 0), false),
        (v(Op::VaesemVs, 8, 8, 0), false),
        (v(Op::VaeszVs, 8, 9, 0), false),
        (v(Op::Vsm4rVs, 8, 8, 0), false),
        (v(Op::VaesemVv, 8, 8, 0), true),
        (v(Op::VaesemVv, 8, 9, 0), false),
        (vi(Op::Vaeskf1Vi, 8, 8, 1), true),
        (v(Op::Vsha2clVv, 8, 8, 10), false),
        (v(Op::Vsha2clVv, 8, 10, 8), false),
        (v(Op::Vsha2clVv, 8, 10, 10), true),
        (v(Op::Vsm3meVv, 8, 8, 10), false),
        (v(Op::Vsm3meVv, 8, 10, 8), true),
        (vi(Op::Vsm3cVi, 8, 8, 0), false),
        (v(Op::VghshVv, 8, 8, 8), true),
    ] {
        assert_eq!(!is_illegal(&isa, word, m2), legal, "{word:#x}");
    }
}

/// FIPS 197, appendix B: a block encrypted by vector instructions, the key schedule included.
#[test]
fn a_block_of_aes_128() {
    let mut words = vec![v(Op::VaeszVs, 8, 16, 0)];
    for round in 1..=10u8 {
        words.push(vi(Op::Vaeskf1Vi, 16, 16, round.into()));
        words.push(v(if round < 10 { Op::VaesemVs } else { Op::VaesefVs }, 8, 16, 0));
    }
    let block = |hex: u128| hex.to_be_bytes();
    let state = |g: &Guest| {
        let mut s = start(g, E32, 4);
        s.v.0[8 * 16..9 * 16].copy_from_slice(&block(0x3243f6a8885a308d313198a2e0370734));
        s.v.0[16 * 16..17 * 16].copy_from_slice(&block(0x2b7e151628aed2a6abf7158809cf4f3c));
        s
    };
    each_mode(&all(), &words, state, |name, end| {
        assert_eq!(end.csr.mcause, 0, "{name}");
        assert_eq!(end.v.0[8 * 16..9 * 16], block(0x3925841d02dc09fbdc118597196a0b32), "{name}");
    });
}
