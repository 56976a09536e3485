//! What makes a changed mapping, permission or mode count: SFENCE.VMA with each choice of operands, `satp`, SUM, MXR,
//! MPRV, A and D bits, PMP; and fences and kicks between threads under load.

mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use accel::tcg::TcgOptions;
use accel::testing::Registers as _;
use accel::{HartSet, RemoteFence, VcpuExit};
use arch::csr;
use arch::pte::{A, D, G, R, U, W, X};
use guest::*;

const TABLES: u64 = RAM + 0x10_0000;
const VA: u64 = 0x40_0000;
/// Two pages that hold 1 and 2.
const ONE: u64 = RAM + 0x5_0000;
const TWO: u64 = RAM + 0x5_1000;

/// S-mode with Sv39, and the two pages.
fn with_pages(options: TcgOptions) -> (Guest, Paging) {
    let (g, p) = paged(options, TABLES);
    g.write64(ONE, 1);
    g.write64(TWO, 2);
    (g, p)
}

/// Reads VA into x10, stores the entry x7 to x6, executes `fence`, reads VA into x11.
fn around(fence: impl Fn(&mut Asm)) -> Asm {
    let mut a = Asm::at(CODE);
    a.i(Op::Ld, 10, 8, 0).s(Op::Sd, 7, 6, 0);
    fence(&mut a);
    a.i(Op::Ld, 11, 8, 0).ecall();
    a
}

#[test]
fn every_choice_of_operands_drops_a_page() {
    for (name, options) in modes() {
        // x9 = the address, x12 = the ASID; the page is global or not, small or large.
        for (rs1, rs2) in [(0, 0), (9, 0), (0, 12), (9, 12)] {
            for (flags, level) in [(RWX, 0), (RWX | G, 0), (RWX, 1), (RWX | G, 1)] {
                if flags & G != 0 && rs2 != 0 {
                    // With an ASID, global translations may stay.
                    continue;
                }
                let (mut g, mut p) = with_pages(options.clone());
                let (first, second) = if level == 0 { (ONE, TWO) } else { (RAM, RAM + 0x20_0000) };
                g.write64(RAM + 0x20_0000, 22);
                g.write64(RAM, 11);
                let slot = p.map(&g, VA, first, flags, level);
                g.load(&around(|a| {
                    a.sfence(rs1, rs2);
                }));
                let mut s = g.paged(&p, CODE);
                (s.x[6], s.x[7], s.x[8], s.x[9], s.x[12]) = (slot, leaf(second, flags), VA, VA + 0x18, 1);
                if level == 1 {
                    // Any address of the superpage will do.
                    s.x[9] = VA + 0x12_3000;
                }
                let end = g.run(&s);
                let expected = if level == 0 { (1, 2) } else { (11, 22) };
                assert_eq!((end.x[10], end.x[11]), expected, "{name} {rs1} {rs2} {flags:#x} {level}");
            }
        }
    }
}

/// What follows a fence for the page that it stands in is the code of the new page.
#[test]
fn a_fence_for_the_page_of_the_code() {
    let no_tlb = TcgOptions { tlb_entries: 0, ..TcgOptions::default() };
    for (name, options) in modes().into_iter().chain([("no TLB", no_tlb)]) {
        for (level, first, second, named) in
            [(0, ONE, TWO, VA + 0x18), (1, RAM + 0x20_0000, RAM + 0x40_0000, VA + 0x12_3000)]
        {
            let (mut g, mut p) = with_pages(options.clone());
            let slot = p.map(&g, VA, first, RWX, level);
            for (at, n) in [(first, 1), (second, 2)] {
                let mut a = Asm::at(at);
                a.s(Op::Sd, 7, 6, 0).sfence(9, 0).i(Op::Addi, 10, 0, n).ecall();
                g.load(&a);
            }
            let mut s = g.paged(&p, VA);
            (s.x[6], s.x[7], s.x[9]) = (slot, leaf(second, RWX), named);
            assert_eq!(g.run(&s).x[10], 2, "{name} {level}");
        }
    }
}

/// PMP lets S-mode read all of memory, tables included, and write nothing.
#[test]
fn what_may_be_read_need_not_be_written() {
    for (name, options) in modes() {
        let (mut g, mut p) = with_pages(options);
        p.map(&g, VA, ONE, RWX, 0);
        p.map(&g, VA + 0x1000, TWO, RWX, 0);
        let mut a = Asm::at(CODE);
        a.i(Op::Ld, 10, 8, 0);
        let store = a.here();
        a.s(Op::Sd, 0, 9, 0).ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.csr.pmp.cfg[0], s.csr.pmp.addr[0]) = (0x1d, u64::MAX >> 10);
        (s.x[8], s.x[9]) = (VA, VA + 0x1000);
        let end = g.run(&s);
        let fault = (end.csr.scause, end.csr.sepc, end.csr.stval);
        assert_eq!((end.x[10], fault, g.read64(TWO)), (1, (7, store, VA + 0x1000), 2), "{name}");
    }
}

#[test]
fn another_asid_is_another_address_space() {
    for (name, options) in modes() {
        let (mut g, mut p) = with_pages(options);
        let mut q = Paging::new(TABLES + 0x4_0000);
        for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
            q.map(&g, pa, pa, RWX | G, 0);
        }
        p.map(&g, VA, ONE, RWX, 0);
        q.map(&g, VA, TWO, RWX, 0);
        let mut a = Asm::at(CODE);
        for rd in 10..20 {
            a.csrw(csr::SATP, 6).i(Op::Ld, rd, 8, 0).r(Op::Xor, 6, 6, 7);
        }
        // Bare: the same address is a physical one, where nothing is.
        a.csrw(csr::SATP, 0).i(Op::Ld, 20, 8, 0).ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.x[6], s.x[7], s.x[8]) = (p.satp(1), p.satp(1) ^ q.satp(2), VA);
        let end = g.run(&s);
        assert_eq!(end.x[10..20], [1, 2, 1, 2, 1, 2, 1, 2, 1, 2], "{name}");
        assert_eq!((end.csr.scause, end.csr.stval), (5, VA), "{name}");
    }
}

#[test]
fn sum_and_mxr_count_from_the_next_access_on() {
    for (name, options) in modes() {
        let (mut g, mut p) = with_pages(options);
        p.map(&g, VA, ONE, R | W | U | A | D, 0);
        p.map(&g, VA + 0x1000, TWO, X | A, 0);
        let mut a = Asm::at(CODE);
        // Twice each: the second time everything is in the TLB.
        for _ in 0..2 {
            a.csrs(csr::SSTATUS, 6).i(Op::Ld, 10, 8, 0).s(Op::Sd, 10, 8, 8).csrc(csr::SSTATUS, 6);
            a.csrs(csr::SSTATUS, 7).i(Op::Ld, 11, 9, 0).csrc(csr::SSTATUS, 7);
        }
        let test = a.here();
        a.i(Op::Ld, 12, 8, 0).ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.x[6], s.x[7], s.x[8], s.x[9]) = (1 << 18, 1 << 19, VA, VA + 0x1000);
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[11]), (1, 2), "{name}");
        assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (13, test, VA), "{name}");
        // MXR off again faults as well.
        let mut b = Asm::at(test);
        b.i(Op::Ld, 12, 9, 0).ecall();
        g.load(&b);
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (13, test, VA + 0x1000), "{name}");
    }
}

#[test]
fn mprv_borrows_the_mode_of_mpp() {
    for (name, options) in modes() {
        let (mut g, mut p) = with_pages(options);
        g.stop_code(STOP);
        p.map(&g, VA, ONE, R | W | U | A | D, 0);
        p.map(&g, VA + 0x1000, TWO, R | W | A | D, 0);
        let mut a = Asm::at(CODE);
        for _ in 0..2 {
            // As U: the first page; as S: the second; as M: physical.
            a.csrc(csr::MSTATUS, 5).csrs(csr::MSTATUS, 6).i(Op::Ld, 10, 8, 0).csrc(csr::MSTATUS, 6);
            a.csrs(csr::MSTATUS, 7).csrs(csr::MSTATUS, 6).i(Op::Ld, 11, 9, 0).csrc(csr::MSTATUS, 6);
            a.i(Op::Ld, 13, 14, 0);
        }
        // As S, without SUM, the first faults.
        a.csrs(csr::MSTATUS, 6).i(Op::Ld, 12, 8, 0);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        s.csr.satp = p.satp(1);
        (s.x[5], s.x[6], s.x[7], s.x[8], s.x[9], s.x[14]) = (3 << 11, 1 << 17, 1 << 11, VA, VA + 0x1000, TWO);
        // The stop code stores to the device through MPRV: let it be mapped there.
        p.map(&g, END, END, RWX, 0);
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[11], end.x[13]), (1, 2, 2), "{name}");
        assert_eq!((end.csr.mcause, end.csr.mtval), (13, VA), "{name}");
    }
}

#[test]
fn accessed_and_dirty_bits() {
    for (name, options) in modes() {
        for hardware in [false, true] {
            let (mut g, mut p) = with_pages(options.clone());
            let slot = p.map(&g, VA, ONE, R | W, 0);
            let mut a = Asm::at(CODE);
            a.i(Op::Ld, 10, 8, 0).i(Op::Ld, 11, 6, 0).s(Op::Sd, 10, 8, 8).i(Op::Ld, 12, 6, 0).ecall();
            g.load(&a);
            let mut s = g.paged(&p, CODE);
            (s.x[6], s.x[8]) = (slot, VA);
            s.csr.menvcfg = s.csr.menvcfg & !(1 << 61) | u64::from(hardware) << 61;
            let clean = leaf(ONE, R | W);
            if hardware {
                let end = g.run(&s);
                assert_eq!((end.x[11], end.x[12]), (clean | A, clean | A | D), "{name}");
                continue;
            }
            let end = g.run(&s);
            assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (13, CODE, VA), "{name}");
            g.write64(slot, clean | A);
            let end = g.run(&s);
            // The load has filled the TLB; the store still asks.
            assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (15, CODE + 8, VA + 8), "{name}");
            assert_eq!(g.read64(slot), clean | A);
        }
    }
}

#[test]
fn pmp_changes_count_at_once() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        g.stop_code(STOP);
        g.write64(ONE, 1);
        let mut a = Asm::at(CODE);
        // M-mode, with a locked entry for the page (NAPOT, 4 KiB): read and write, then read only.
        a.i(Op::Ld, 10, 8, 0).s(Op::Sd, 10, 8, 8).csrw(csr::PMPADDR0, 6).csrw(csr::PMPCFG0, 7);
        a.i(Op::Ld, 11, 8, 8);
        let store = a.here();
        a.s(Op::Sd, 0, 8, 8);
        g.load(&a);
        let mut s = g.machine(0, CODE, STOP);
        (s.x[6], s.x[7], s.x[8]) = (ONE >> 2 | 0x1ff, 0x99, ONE);
        let end = g.run(&s);
        assert_eq!((end.x[11], end.csr.mcause, end.csr.mepc, end.csr.mtval), (1, 7, store, ONE + 8), "{name}");
    }
}

/// An entry of 8 bytes inside the page: each access is judged by itself.
#[test]
fn pmp_within_a_page() {
    for (name, options) in modes() {
        for (offset, load, ok) in [
            (0x100, Op::Ld, true),
            (0x108, Op::Ld, false),
            (0x10f, Op::Lb, false),
            (0x104, Op::Ld, false),
            (0x110, Op::Ld, true),
        ] {
            let mut g = Guest::new(options.clone(), 1);
            g.stop_code(STOP);
            let mut a = Asm::at(CODE);
            a.i(load, 10, 8, 0).csrr(30, csr::MINSTRET).s(Op::Sd, 0, 31, 0);
            let here = a.here();
            a.j(0, here);
            g.load(&a);
            let mut s = g.machine(0, CODE, STOP);
            s.csr.pmp.cfg[0] = 0x98;
            s.csr.pmp.addr[0] = (ONE + 0x108) >> 2;
            s.csr.pmp.cfg[1] = 0x1f;
            s.csr.pmp.addr[1] = u64::MAX >> 10;
            s.x[8] = ONE + offset;
            let end = g.run(&s);
            let cause = if ok { (0, 0) } else { (5, ONE + offset) };
            assert_eq!((end.csr.mcause, end.csr.mtval), cause, "{name} {offset:#x}");
        }
    }
}

/// Harts that fence each other all the time come to an end.
#[test]
fn harts_that_fence_each_other_do_not_hang() {
    let mut g = Guest::new(Default::default(), 3);
    let mut a = Asm::at(CODE);
    let again = a.here();
    a.ecall().i(Op::Addi, 9, 0, 50);
    let inner = a.here();
    a.i(Op::Addi, 9, 9, -1).b(Op::Bne, 9, 0, inner).j(0, again);
    g.load(&a);
    let vm = Arc::clone(&g.vm);
    let states: Vec<_> = (0..3).map(|h| g.supervisor(h, CODE)).collect();
    std::thread::scope(|scope| {
        for (id, (hart, state)) in g.harts.iter_mut().zip(&states).enumerate() {
            let vm = Arc::clone(&vm);
            scope.spawn(move || {
                hart.set_state(state);
                for n in 0..2000u64 {
                    let Ok(VcpuExit::Sbi(call)) = hart.run() else { panic!("an SBI call was expected") };
                    let all = HartSet((0..3).filter(|&h| n % 5 == 0 || h != id as u32).collect());
                    let fence = match n % 4 {
                        0 => RemoteFence::Instruction,
                        1 => RemoteFence::Address { start: 0, size: u64::MAX, asid: None },
                        2 => RemoteFence::Address { start: u64::MAX - 0x2fff, size: 0x3000, asid: Some(n) },
                        _ => RemoteFence::Address { start: n << 12, size: 8, asid: None },
                    };
                    vm.remote_fence(&all, fence);
                    hart.finish_sbi(&call, 0, 0).unwrap();
                }
            });
        }
    });
}

/// An interrupt goes from hart to hart, each of which fences both before it passes it on, while another thread fences
/// them all the time. None is lost, none comes twice, asleep or awake: there are as many as were sent.
#[test]
fn an_interrupt_is_passed_on_through_a_storm_of_fences() {
    const HOPS: u64 = 6000;
    const SSIP: u64 = 2;
    for (name, wfi) in [("asleep", true), ("awake", false)] {
        let mut g = Guest::new(Default::default(), 2);
        let mut a = Asm::at(CODE);
        let again = a.here();
        if wfi {
            a.plain(Op::Wfi);
        }
        a.csrr(10, csr::SIP).i(Op::Andi, 10, 10, SSIP as i32).b(Op::Beq, 10, 0, again);
        a.csrc(csr::SIP, 10).ecall().j(0, again);
        g.load(&a);
        let states = [0, 1].map(|h| {
            let mut s = g.supervisor(h, CODE);
            s.csr.mie |= SSIP;
            s
        });
        let handles: Vec<_> = g.harts.iter().map(|h| h.handle()).collect();
        let (hops, vm) = (AtomicU64::new(0), Arc::clone(&g.vm));
        let fence = |n: u64| {
            let all = HartSet(vec![0, 1]);
            let fence = match n % 3 {
                0 => RemoteFence::Instruction,
                1 => RemoteFence::Address { start: 0, size: u64::MAX, asid: None },
                _ => RemoteFence::Address { start: n << 12, size: 4096, asid: Some(n & 3) },
            };
            vm.remote_fence(&all, fence);
        };
        std::thread::scope(|scope| {
            for (id, (hart, state)) in g.harts.iter_mut().zip(&states).enumerate() {
                let (hops, handles, fence) = (&hops, &handles, &fence);
                scope.spawn(move || {
                    hart.set_state(state);
                    loop {
                        match hart.run().unwrap() {
                            VcpuExit::Sbi(call) => {
                                let n = hops.fetch_add(1, Ordering::SeqCst);
                                assert_eq!(n % 2, id as u64, "{name}: an interrupt came twice");
                                if n + 1 >= HOPS {
                                    handles.iter().for_each(|h| h.kick());
                                }
                                fence(n);
                                hart.finish_sbi(&call, 0, 0).unwrap();
                                if n + 1 < HOPS {
                                    handles[1 - id].raise_ssip();
                                }
                            }
                            VcpuExit::Kicked => return,
                            other => panic!("{name}: {other:?}"),
                        }
                    }
                });
            }
            scope.spawn(|| {
                let mut n = 0;
                while hops.load(Ordering::SeqCst) < HOPS {
                    fence(n);
                    n += 1;
                }
            });
            handles[0].raise_ssip();
        });
        assert_eq!(hops.into_inner(), HOPS, "{name}");
    }
}

/// A remote fence returns only when no old translation is used any more: the page is taken away, and what the hart
/// stores through its old mapping must not appear after the fence.
#[test]
fn after_a_remote_fence_the_old_page_is_left_alone() {
    for (name, options) in modes() {
        let (mut g, mut p) = with_pages(options);
        let slot = p.map(&g, VA, ONE, RWX, 0);
        let mut a = Asm::at(CODE);
        let again = a.here();
        a.i(Op::Addi, 10, 10, 1).s(Op::Sd, 10, 8, 0).i(Op::Ld, 11, 9, 0).b(Op::Beq, 11, 0, again).ecall();
        g.load(&a);
        let stop = RAM + 0x6_0000;
        let mut s = g.paged(&p, CODE);
        (s.x[8], s.x[9]) = (VA, stop);
        g.harts[0].set_state(&s);
        let (ram, vm) = (g.ram.clone(), Arc::clone(&g.vm));
        std::thread::scope(|scope| {
            let hart = scope.spawn(|| g.harts[0].run());
            use vm_memory::{Bytes, GuestAddress};
            for n in 0..100 {
                let (old, new) = if n % 2 == 0 { (ONE, TWO) } else { (TWO, ONE) };
                // Let it store at least once by the old mapping.
                ram.write_obj(0u64, GuestAddress(old)).unwrap();
                while ram.read_obj::<u64>(GuestAddress(old)).unwrap() == 0 {
                    std::thread::yield_now();
                }
                ram.write_obj(leaf(new, RWX), GuestAddress(slot)).unwrap();
                vm.remote_fence(&HartSet(vec![0]), RemoteFence::Address { start: VA, size: 4096, asid: None });
                ram.write_obj(u64::MAX, GuestAddress(old)).unwrap();
                for _ in 0..20 {
                    std::hint::spin_loop();
                }
                assert_eq!(ram.read_obj::<u64>(GuestAddress(old)).unwrap(), u64::MAX, "{name} {n}");
            }
            ram.write_obj(1u64, GuestAddress(stop)).unwrap();
            assert!(matches!(hart.join().unwrap(), Ok(VcpuExit::Sbi(_))));
        });
    }
}

/// Every kick ends a run: the kicker waits for each of its kicks to be answered.
#[test]
fn no_kick_is_lost() {
    for (name, wfi) in [("spinning", false), ("sleeping", true)] {
        let mut g = Guest::new(Default::default(), 1);
        let mut a = Asm::at(CODE);
        let again = a.here();
        if wfi {
            a.plain(Op::Wfi);
        }
        a.j(0, again);
        g.load(&a);
        let s = g.supervisor(0, CODE);
        g.harts[0].set_state(&s);
        const KICKS: u64 = 5000;
        let answered = AtomicU64::new(0);
        let h = g.harts[0].handle();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..KICKS {
                    assert_eq!(g.harts[0].run().unwrap(), VcpuExit::Kicked, "{name}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
            for n in 1..=KICKS {
                h.kick();
                while answered.load(Ordering::SeqCst) < n {
                    std::thread::yield_now();
                }
            }
        });
        assert_eq!(answered.into_inner(), KICKS, "{name}");
    }
}

/// More address spaces of U-mode than a hart keeps, visited round and round, with changes to one of them.
#[test]
fn more_address_spaces_than_are_kept() {
    const SPACES: u64 = 20;
    for (name, options) in modes() {
        let (mut g, p) = with_pages(options);
        let satps = RAM + 0x7_0000;
        let mut slot = 0;
        for n in 0..SPACES {
            let mut q = Paging::new(RAM + 0x14_0000 + n * 0x4000);
            // The kernel's gigabyte is the same in all.
            let shared = 8 * arch::pte::index(RAM, 2);
            g.write64(q.root + shared, g.read64(p.root + shared));
            slot = q.map(&g, VA, RAM + 0x5_0000 + 0x1000 * n, RWX | U, 0);
            q.map(&g, VA + 0x1000, CODE + 0x3000, RWX | U, 0);
            g.write64(RAM + 0x5_0000 + 0x1000 * n, 1 << n);
            g.write64(satps + 8 * n, q.satp(n + 1));
        }
        // U-mode reads its page and comes back.
        let mut a = Asm::at(CODE + 0x3000);
        a.i(Op::Ld, 10, 8, 0).ecall();
        g.load(&a);
        // x6 walks over the address spaces, x11 adds up what they read, x9 counts rounds.
        let mut a = Asm::at(CODE);
        let round = a.here();
        a.r(Op::Add, 6, 13, 0);
        let next = a.here();
        a.i(Op::Ld, 5, 6, 0).csrw(csr::SATP, 5).csrw(csr::SEPC, 12);
        a.word(0x17 | 5 << 7).i(Op::Addi, 5, 5, 16).csrw(csr::STVEC, 5).plain(Op::Sret);
        a.r(Op::Add, 11, 11, 10).i(Op::Addi, 6, 6, 8).b(Op::Bne, 6, 14, next);
        // After each round the last one reads another page, by a fence for its ASID and address.
        a.s(Op::Sd, 15, 16, 0).sfence(8, 17);
        a.i(Op::Addi, 9, 9, -1).b(Op::Bne, 9, 0, round);
        a.ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE);
        (s.x[8], s.x[9], s.x[12], s.x[13], s.x[14]) = (VA, 3, VA + 0x1000, satps, satps + 8 * SPACES);
        (s.x[15], s.x[16], s.x[17]) = (leaf(RAM + 0x5_0000, RWX | U), slot, SPACES);
        let end = g.run(&s);
        let sum = (1 << SPACES) - 1;
        assert_eq!(end.x[11], 3 * sum - 2 * (1 << (SPACES - 1)) + 2, "{name}");
    }
}
