//! Floating-point and vector registers survive the way into another machine, where the guest itself looks at them.

use accel::HartState;
use accel::testing::{Registers as _, Rng};
use arch::csr::{self, mstatus};
use arch::ext::Ext;

use crate::guest::{Asm, CODE, Op};
use crate::machine::{DEVICE, Machine, end, finish};

/// What the guest stores of itself: f0 to f31, fcsr, the vector CSRs, v0 to v31.
const DUMP: u64 = CODE + 0x10_0000;
const VALUES: u64 = CODE + 0x20_0000;
const SECOND: u64 = CODE + 0x4000;

/// Stores a vector register group of eight, whole.
fn whole_store(a: &mut Asm, v: u32, base: u32) {
    a.word(7 << 29 | 1 << 25 | 0x08 << 20 | base << 15 | v << 7 | 0x27);
}

/// Loads such a group.
fn whole_load(a: &mut Asm, v: u32, base: u32) {
    a.word(7 << 29 | 1 << 25 | 0x08 << 20 | base << 15 | v << 7 | 0x07);
}

fn dump(a: &mut Asm, vectors: Option<u64>) {
    a.li(20, DUMP).csrr(21, csr::FCSR).s(Op::Sd, 21, 20, 0);
    (0..32).for_each(|n| {
        a.s(Op::Fsd, n, 20, 8 + 8 * i32::from(n));
    });
    let Some(vlenb) = vectors else { return };
    for (n, number) in (0..).zip([csr::VSTART, csr::VL, csr::VTYPE, csr::VCSR, csr::VLENB]) {
        a.csrr(21, number).s(Op::Sd, 21, 20, 0x200 + 8 * n);
    }
    for n in 0..4 {
        a.li(22, DUMP + 0x400 + 8 * u64::from(n) * vlenb);
        whole_store(a, 8 * n, 22);
    }
}

#[test]
#[ignore = "needs a RISC-V host with KVM"]
fn they_survive_in_another_machine() {
    let mut first = Machine::new(1);
    let vectors = first.isa.has(Ext::V).then(|| u64::from(first.isa.vlen) / 8);
    println!("vlenb {vectors:?}");
    let mut r = Rng(0x1234_5678);
    let values: Vec<u64> = (0..32 + 32 * 16).map(|_| r.next()).collect();
    let program = |m: &Machine| {
        for (n, v) in (0u64..).zip(&values) {
            m.write64(VALUES + 8 * n, *v);
        }
        m.program(|a| {
            a.li(20, VALUES).li(21, 0x4a).csrw(csr::FCSR, 21);
            (0..32).for_each(|n| {
                a.i(Op::Fld, n, 20, 8 * i32::from(n));
            });
            if let Some(vlenb) = vectors {
                for n in 0..4 {
                    a.li(22, VALUES + 0x100 + 8 * u64::from(n) * vlenb);
                    whole_load(a, 8 * n, 22);
                }
                // e16, m2, ta, ma; vl = 5; vcsr = 5; vstart = 3.
                a.li(21, 5).li(22, 0xc9).r(Op::Vsetvl, 0, 21, 22).csrw(csr::VCSR, 21);
                a.li(21, 3).csrw(csr::VSTART, 21);
            }
            // Out of the guest and back, which must not touch them.
            a.li(23, DEVICE).i(Op::Ld, 24, 23, 0);
        });
        let mut a = Asm::at(SECOND);
        dump(&mut a, vectors);
        end(&mut a);
        m.load(&a);
        let mut s = m.start(0);
        s.csr.mstatus |= mstatus::FS;
        if vectors.is_some() {
            s.csr.mstatus |= mstatus::VS;
        }
        s
    };
    let start = program(&first);
    first.harts[0].set_state(&start);
    let s = finish(&mut first.guest.harts[0]);
    check_state(&s, &values, vectors);

    // What the hart of the second machine was before does not show.
    let mut second = Machine::new(1);
    program(&second);
    let mut moved = s.clone();
    moved.pc = SECOND;
    second.harts[0].set_state(&moved);
    let s = finish(&mut second.guest.harts[0]);
    check_state(&s, &values, vectors);
    assert_eq!(second.read64(DUMP) & 0xff, 0x4a, "fcsr");
    let stored: Vec<u64> = (0..32).map(|n| second.read64(DUMP + 8 + 8 * n)).collect();
    assert_eq!(stored, values[..32]);
    if let Some(vlenb) = vectors {
        let csrs: Vec<u64> = (0..5).map(|n| second.read64(DUMP + 0x200 + 8 * n)).collect();
        assert_eq!(csrs, [3, 5, 0xc9, 5, vlenb]);
        // A whole store begins at the element of vstart, three bytes in, and leaves it zero.
        let words = 32 * vlenb / 8;
        let stored: Vec<u64> = (1..words).map(|n| second.read64(DUMP + 0x400 + 8 * n)).collect();
        assert_eq!(stored, values[33..32 + words as usize]);
    }
}

fn check_state(s: &HartState, values: &[u64], vectors: Option<u64>) {
    assert_eq!(s.f[..], values[..32]);
    assert_eq!(s.csr.fcsr, 0x4a);
    let Some(vlenb) = vectors else { return };
    assert_eq!((s.csr.vl, s.csr.vtype, s.csr.vcsr), (5, 0xc9, 5));
    for n in 0..32 * vlenb as usize / 8 {
        let word = u64::from_le_bytes(s.v.0[8 * n..8 * n + 8].try_into().unwrap());
        assert_eq!(word, values[32 + n], "word {n} of the vector registers");
    }
}
