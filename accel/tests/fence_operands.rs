//! SFENCE.VMA, SINVAL.VMA, HFENCE and HINVAL with every choice of operands: what was changed before the fence is what
//! is used after it, for loads and for fetches, for pages of every size, in every mode.
//!
//! Privileged spec, "Supervisor Memory-Management Fence Instruction", "Hypervisor Memory-Management Fence Instructions",
//! "Svinval", "Svnapot".

mod guest;

use accel::testing::Registers as _;
use accel::{HartState, Mode};
use arch::csr;
use arch::pte::{G, N, U};
use guest::hyper::*;
use guest::*;

/// The page under test; any size is aligned here. Its contents begin at OFFSET: a number, and a function that returns
/// it.
const BIG: u64 = 0x1_4000_0000;
const OFFSET: u64 = 0x100;
/// What the page leads to, in RAM or in the guest's memory.
const FIRST: u64 = 0x20_0000;
const SECOND: u64 = 0;
/// Code of U-mode, and where it is.
const USER_VA: u64 = 0x60_0000;
const USER: u64 = 0x6_0000;
/// All memory once more, for the kernel to change its tables.
const ALIAS: u64 = 0x2_0000_0000;

const ASID: u64 = 1;
const VMID: u64 = 1;

/// Sizes of pages: level, bits of the entry, how many entries there are.
const SIZES: [(u32, u64, u64); 4] = [(0, 0, 1), (0, N | 8 << 10, 16), (1, 0, 1), (2, 0, 1)];

fn contents(g: &Guest, base: u64, number: u64) {
    let mut a = Asm::at(RAM + base + OFFSET + 8);
    g.write64(RAM + base + OFFSET, number);
    a.i(Op::Addi, 22, 0, number as i32).i(Op::Jalr, 0, 1, 0);
    g.load(&a);
}

/// Old and new entry of a page of this size; a gigabyte has nowhere else to go, and vanishes.
fn entries(base: u64, (level, bits, _): (u32, u64, u64), flags: u64) -> [u64; 2] {
    let of = |at: u64| leaf(base + at, flags) | bits;
    if level == 2 { [of(SECOND), 0] } else { [of(FIRST), of(SECOND)] }
}

/// The numbers that are read before and after: of FIRST, of SECOND, or none.
const NUMBERS: [u64; 2] = [11, 22];
fn expected((level, ..): (u32, u64, u64)) -> [u64; 2] {
    if level == 2 { [NUMBERS[1], 0] } else { NUMBERS }
}

/// Loads the number, and calls the function that returns it: x10 and x22.
fn look(a: &mut Asm) {
    a.i(Op::Addi, 10, 0, 0).i(Op::Addi, 22, 0, 0).i(Op::Ld, 10, 8, 0).i(Op::Jalr, 1, 8, 8);
}

/// The supervisor lets its user look, whose ECALL or fault comes back here; x12 is where the user's code is.
fn let_user_look(a: &mut Asm) {
    let back = a.here() + 8 * 4 + 4 + 4 + 4;
    a.li(5, back).csrw(csr::STVEC, 5).csrw(csr::SEPC, 12).plain(Op::Sret);
    assert_eq!(a.here(), back);
}

/// Looks, replaces the entries from x6 on by x7, fences and looks again.
fn program(a: &mut Asm, user: bool, entries: u64, fence: &[u32]) {
    let look = |a: &mut Asm| if user { let_user_look(a) } else { look(a) };
    look(a);
    a.r(Op::Add, 13, 10, 0).r(Op::Add, 14, 22, 0);
    (0..entries).for_each(|i| drop(a.s(Op::Sd, 7, 6, 8 * i as i32)));
    fence.iter().for_each(|w| drop(a.word(*w)));
    // A fault leaves the program.
    a.i(Op::Addi, 15, 0, 0).i(Op::Addi, 16, 0, 0).i(Op::Addi, 10, 0, 0);
    look(a);
    a.r(Op::Add, 15, 10, 0).r(Op::Add, 16, 22, 0).ecall();
}

fn drop<T>(_: T) {}

/// Every choice of operands; whether an ASID or VMID is among them.
fn fences(plain: Op, fine: Op, address: u8, space: u8) -> Vec<(Vec<u32>, bool)> {
    let operands = [(0, 0), (address, 0), (0, space), (address, space)];
    let plain = operands.map(|(rs1, rs2)| (vec![word(plain, 0, rs1, rs2, 0)], rs2 != 0));
    let around = |w| vec![word(Op::SfenceWInval, 0, 0, 0, 0), w, word(Op::SfenceInvalIr, 0, 0, 0, 0)];
    let fine = operands.map(|(rs1, rs2)| (around(word(fine, 0, rs1, rs2, 0)), rs2 != 0));
    plain.into_iter().chain(fine).collect()
}

/// x8 = the page's contents, x9 = a fence's address, x17 = its ASID or VMID.
fn registers(s: &mut HartState) {
    (s.x[8], s.x[9], s.x[12], s.x[17]) = (BIG + OFFSET, BIG + OFFSET, USER_VA, ASID);
}

fn user_code(g: &Guest) {
    let mut a = Asm::at(RAM + USER);
    look(&mut a);
    a.ecall();
    g.load(&a);
}

#[test]
fn supervisors_fences() {
    for (name, options) in modes() {
        for size in SIZES {
            for (flags, user) in [(RWX, false), (RWX | G, false), (RWX | U, true), (RWX | U | G, true)] {
                let mut g = Guest::with_isa(options.clone(), 1, isa());
                let mut p = Paging::new(RAM + 0x10_0000);
                p.map(&g, RAM, RAM, RWX, 1);
                p.map(&g, USER_VA, RAM + USER, RWX | U, 0);
                user_code(&g);
                [(FIRST, NUMBERS[0]), (SECOND, NUMBERS[1])].into_iter().for_each(|(at, n)| contents(&g, at, n));
                let slot = p.slot(&g, BIG, size.0);
                for (fence, narrow) in fences(Op::SfenceVma, Op::SinvalVma, 9, 17) {
                    let [old, new] = entries(RAM, size, flags);
                    (0..size.2).for_each(|i| g.write64(slot + 8 * i, old));
                    let mut a = Asm::at(CODE);
                    program(&mut a, user, size.2, &fence);
                    g.load(&a);
                    let mut stop = Asm::at(STOP);
                    stop.ecall();
                    g.load(&stop);
                    let mut s = g.supervisor(0, CODE);
                    (s.csr.satp, s.csr.stvec) = (p.satp(ASID), STOP);
                    registers(&mut s);
                    (s.x[6], s.x[7]) = (slot, new);
                    let end = g.run(&s);
                    check(&format!("{name} {size:?} {flags:#x} {fence:x?}"), &end, size, narrow && flags & G != 0);
                }
            }
        }
    }
}

#[test]
fn a_guests_fences() {
    for (name, options) in modes() {
        for size in SIZES {
            for (flags, user) in [(RWX, false), (RWX | G, false), (RWX | U, true), (RWX | U | G, true)] {
                let mut g = guest(options.clone());
                let mut st = Stages::new(&g, TABLES);
                for big in [0, 0x20_0000] {
                    let slot = st.vs_slot(&g, ALIAS + big, 1);
                    g.write64(slot, leaf(big, RWX));
                }
                st.vs_map(&g, USER_VA, USER, RWX | U);
                user_code(&g);
                [(FIRST, NUMBERS[0]), (SECOND, NUMBERS[1])].into_iter().for_each(|(at, n)| contents(&g, at, n));
                let slot = st.vs_slot(&g, BIG, size.0);
                for (fence, narrow) in fences(Op::SfenceVma, Op::SinvalVma, 9, 17) {
                    let [old, new] = entries(0, size, flags);
                    (0..size.2).for_each(|i| g.write64(slot + 8 * i, old));
                    let mut a = Asm::at(CODE);
                    program(&mut a, user, size.2, &fence);
                    g.load(&a);
                    let mut s = start(&g, Mode::Supervisor, true);
                    st.enter(&mut s, ASID, VMID);
                    s.csr.hedeleg = 0xb1ff;
                    registers(&mut s);
                    (s.x[6], s.x[7]) = (ALIAS + slot - RAM, new);
                    let end = g.run(&s);
                    check(&format!("{name} {size:?} {flags:#x} {fence:x?}"), &end, size, narrow && flags & G != 0);
                }
            }
        }
    }
}

/// What was seen before and after; the old page `may_stay` where a fence names an address space and the page is in all.
fn check(at: &str, s: &HartState, size: (u32, u64, u64), may_stay: bool) {
    let [before, after] = expected(size);
    assert_eq!((s.x[13], s.x[14]), (before, before), "{at}");
    for seen in [s.x[15], s.x[16]] {
        assert!(seen == after || may_stay && seen == before, "{at}: {seen}");
    }
}

/// HFENCE.VVMA and HINVAL.VVMA after a change of the first stage, HFENCE.GVMA and HINVAL.GVMA after one of the second.
#[test]
fn a_hypervisors_fences() {
    for (name, options) in modes() {
        for second in [false, true] {
            for size in SIZES {
                let mut g = guest(options.clone());
                let mut st = Stages::new(&g, TABLES);
                [(FIRST, NUMBERS[0]), (SECOND, NUMBERS[1])].into_iter().for_each(|(at, n)| contents(&g, at, n));
                let slot = if second {
                    st.vs_map(&g, BIG, BIG, RWX);
                    st.g.slot(&g, BIG, size.0)
                } else {
                    st.vs_slot(&g, BIG, size.0)
                };
                let mut a = Asm::at(CODE);
                look(&mut a);
                a.ecall();
                g.load(&a);
                let all = if second {
                    fences(Op::HfenceGvma, Op::HinvalGvma, 18, 17)
                } else {
                    fences(Op::HfenceVvma, Op::HinvalVvma, 9, 17)
                };
                for bare in if second { vec![false, true] } else { vec![false] } {
                    for (fence, _) in &all {
                        let [old, new] = if second { entries(RAM, size, RWX | U) } else { entries(0, size, RWX) };
                        (0..size.2).for_each(|i| g.write64(slot + 8 * i, old));
                        let mut a = Asm::at(RAM + 0x2_0000);
                        visit_guest(&mut a);
                        a.r(Op::Add, 13, 10, 0).r(Op::Add, 14, 22, 0);
                        (0..size.2).for_each(|i| drop(a.s(Op::Sd, 7, 6, 8 * i as i32)));
                        fence.iter().for_each(|w| drop(a.word(*w)));
                        visit_guest(&mut a);
                        a.r(Op::Add, 15, 10, 0).r(Op::Add, 16, 22, 0).ecall();
                        g.load(&a);
                        let mut s = start(&g, Mode::Supervisor, false);
                        st.enter(&mut s, ASID, VMID);
                        s.pc = RAM + 0x2_0000;
                        if bare {
                            // The guest's code then is at its physical address.
                            let gpa = st.g.slot(&g, CODE, 2);
                            g.write64(gpa, leaf(RAM, RWX | U));
                            s.csr.vsatp = 0;
                        }
                        registers(&mut s);
                        (s.x[6], s.x[7], s.x[18]) = (slot, new, (BIG + OFFSET) >> 2);
                        let end = g.run(&s);
                        check(&format!("{name} {second} {size:?} {bare} {fence:x?}"), &end, size, false);
                    }
                }
            }
        }
    }
}

/// An entry that becomes valid is seen without a fence (Svvptc): what is not there is never remembered.
#[test]
fn a_page_that_appears_needs_no_fence() {
    for (name, options) in modes() {
        for stage in 0..3 {
            let mut g = guest(options.clone());
            let mut st = Stages::new(&g, TABLES);
            let mut p = Paging::new(RAM + 0x10_0000);
            p.map(&g, RAM, RAM, RWX, 1);
            contents(&g, FIRST, NUMBERS[0]);
            // In HS-mode, and in either stage of a guest.
            let (slot, entry) = match stage {
                0 => (p.slot(&g, BIG, 0), leaf(RAM + FIRST, RWX)),
                1 => (st.vs_slot(&g, BIG, 0), leaf(FIRST, RWX)),
                _ => {
                    st.vs_map(&g, BIG, BIG, RWX);
                    (st.g.slot(&g, BIG, 0), leaf(RAM + FIRST, RWX | U))
                }
            };
            // The handler maps the page and returns to the access; the fetch that follows goes through as well.
            let mut a = Asm::at(HS_STOP);
            a.csrr(5, csr::SCAUSE).i(Op::Addi, 16, 0, 10);
            let map = a.forward(Op::Bne, 5, 16);
            a.ecall();
            a.bind(map);
            a.i(Op::Addi, 27, 27, 1).s(Op::Sd, 7, 6, 0).plain(Op::Sret);
            g.load(&a);
            let mut a = Asm::at(CODE);
            look(&mut a);
            a.ecall();
            g.load(&a);
            let mut s = start(&g, Mode::Supervisor, stage != 0);
            st.enter(&mut s, ASID, VMID);
            s.csr.satp = if stage == 0 { p.satp(ASID) } else { 0 };
            registers(&mut s);
            (s.x[6], s.x[7]) = (slot, entry);
            let end = g.run(&s);
            assert_eq!((end.x[10], end.x[22], end.x[27]), (NUMBERS[0], NUMBERS[0], 1), "{name} {stage}");
        }
    }
}

/// Address spaces of a guest take turns without a fence, global pages with them.
#[test]
fn a_guests_address_spaces() {
    for (name, options) in modes() {
        for user in [false, true] {
            let mut g = guest(options.clone());
            [(FIRST, NUMBERS[0]), (SECOND, NUMBERS[1])].into_iter().for_each(|(at, n)| contents(&g, at, n));
            let mut spaces = [TABLES, TABLES + 0x4_0000].map(|root| Stages::new(&g, root));
            let flags = if user { RWX | U } else { RWX };
            user_code(&g);
            for (st, base) in spaces.iter_mut().zip([FIRST, SECOND]) {
                st.vs_map(&g, BIG, base, flags);
                st.vs_map(&g, CODE, CODE - RAM, RWX | G);
                st.vs_map(&g, USER_VA, USER, RWX | U);
            }
            let mut s = start(&g, Mode::Supervisor, true);
            spaces[0].enter(&mut s, 1, VMID);
            let first = s.csr.vsatp;
            let hgatp = s.csr.hgatp;
            spaces[1].enter(&mut s, 2, VMID);
            let second = s.csr.vsatp;
            (s.csr.vsatp, s.csr.hgatp, s.csr.hedeleg) = (first, hgatp, 0xb1ff);
            let mut a = Asm::at(CODE);
            a.i(Op::Addi, 18, 0, 0);
            for _ in 0..6 {
                if user {
                    let_user_look(&mut a)
                } else {
                    look(&mut a)
                };
                // A digit for each of the two.
                for seen in [10, 22] {
                    a.i(Op::Slli, 18, 18, 5).r(Op::Add, 18, 18, seen);
                }
                a.csrr(5, csr::SATP).r(Op::Xor, 5, 5, 19).csrw(csr::SATP, 5);
            }
            a.ecall();
            g.load(&a);
            registers(&mut s);
            s.x[19] = first ^ second;
            let end = g.run(&s);
            let expected = [0, 0, 1, 1].repeat(3).into_iter().fold(0, |all, n| all << 5 | NUMBERS[n]);
            assert_eq!(end.x[18], expected, "{name} {user}");
        }
    }
}

/// A fence that another hart asks for returns when the guest uses the old page no more.
#[test]
fn remote_fences_of_guests() {
    use accel::{HartSet, RemoteFence};
    use std::sync::Arc;
    use vm_memory::{Bytes, GuestAddress};
    const STOP_FLAG: u64 = 0x3_0000;
    let vmid = VMID;
    let asid = Some(ASID);
    let page = |asid| RemoteFence::GuestAddress { start: BIG, size: 0x1000, asid, vmid };
    let cases = [
        (false, page(asid)),
        (false, page(None)),
        (false, RemoteFence::GuestAddress { start: 0, size: 0, asid, vmid }),
        (false, RemoteFence::GuestAddress { start: BIG - 0x3000, size: 0x8000, asid: None, vmid }),
        (false, RemoteFence::GuestAddress { start: 0, size: u64::MAX, asid, vmid }),
        (true, RemoteFence::GuestStage { vmid: Some(vmid) }),
        (true, RemoteFence::GuestStage { vmid: None }),
    ];
    for (name, options) in modes().into_iter().take(3) {
        for (second, fence) in &cases {
            let mut g = guest(options.clone());
            let mut st = Stages::new(&g, TABLES);
            st.vs_map(&g, VA, STOP_FLAG, RWX);
            let (slot, base, flags) = if *second {
                st.vs_map(&g, BIG, BIG, RWX);
                (st.g.map(&g, BIG, RAM + FIRST, RWX | U, 0), RAM, RWX | U)
            } else {
                (st.vs_map(&g, BIG, FIRST, RWX), 0, RWX)
            };
            let mut a = Asm::at(CODE);
            let again = a.here();
            a.i(Op::Addi, 10, 10, 1).s(Op::Sd, 10, 8, 0).i(Op::Ld, 11, 9, 0).b(Op::Beq, 11, 0, again).ecall();
            g.load(&a);
            g.write64(RAM + STOP_FLAG, 0);
            let mut s = start(&g, Mode::Supervisor, true);
            st.enter(&mut s, ASID, VMID);
            (s.x[8], s.x[9]) = (BIG, VA);
            g.harts[0].set_state(&s);
            let (ram, vm) = (g.ram.clone(), Arc::clone(&g.vm));
            std::thread::scope(|scope| {
                let hart = scope.spawn(|| g.harts[0].run());
                for n in 0..6u64 {
                    let (old, new) = if n % 2 == 0 { (FIRST, 0x5_0000) } else { (0x5_0000, FIRST) };
                    let at = GuestAddress(RAM + old);
                    ram.write_obj(0u64, at).unwrap();
                    while ram.read_obj::<u64>(at).unwrap() == 0 {
                        std::thread::yield_now();
                    }
                    ram.write_obj(leaf(base + new, flags), GuestAddress(slot)).unwrap();
                    vm.remote_fence(&HartSet(vec![0]), *fence);
                    ram.write_obj(u64::MAX, at).unwrap();
                    (0..20).for_each(|_| std::hint::spin_loop());
                    assert_eq!(ram.read_obj::<u64>(at).unwrap(), u64::MAX, "{name} {fence:?} {n}");
                }
                ram.write_obj(1u64, GuestAddress(RAM + STOP_FLAG)).unwrap();
                assert!(hart.join().unwrap().is_ok());
            });
        }
    }
}
