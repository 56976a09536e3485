//! Code where pages meet: instructions that cross, aliases of one physical page, mappings that change under
//! linked code.

mod guest;

use arch::pte::{G, U};
use guest::*;

const TABLES: u64 = RAM + 0x10_0000;
/// Virtual addresses under test, far from the identity mapping.
const VA: u64 = 0x40_0000;

/// `addi a0, a0, n` as an instruction that crosses from the end of page `first` to that of `second`.
fn put_crossing(g: &Guest, first: u64, second: u64, n: i32) {
    let w = word(Op::Addi, 10, 10, 0, n).to_le_bytes();
    g.write(first + 0xffe, &w[..2]);
    g.write(second, &w[2..]);
    g.write(second + 2, &word(Op::Ecall, 0, 0, 0, 0).to_le_bytes());
}

#[test]
fn a_fault_on_the_second_half_reports_its_page() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options, TABLES);
        p.map(&g, VA, CODE, RWX, 0);
        put_crossing(&g, CODE, CODE + 0x1000, 5);
        let end = g.run(&g.paged(&p, VA + 0xffe));
        assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (12, VA + 0xffe, VA + 0x1000), "{name}");
        assert_eq!(end.x[10], 0, "{name}");
        // The same after some instructions of the page.
        let mut a = Asm::at(CODE + 0xff0);
        a.pad_to(0xffe);
        g.load(&a);
        let end = g.run(&g.paged(&p, VA + 0xff0));
        assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (12, VA + 0xffe, VA + 0x1000), "{name}");
        // Two bytes there are an instruction of their own: the fault is that of the next page.
        g.write(CODE + 0xffe, &1u16.to_le_bytes());
        let end = g.run(&g.paged(&p, VA + 0xffe));
        assert_eq!((end.csr.scause, end.csr.sepc, end.csr.stval), (12, VA + 0x1000, VA + 0x1000), "{name}");
    }
}

#[test]
fn the_second_page_may_be_mapped_elsewhere() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options, TABLES);
        p.map(&g, VA, CODE, RWX, 0);
        let slot = p.map(&g, VA + 0x1000, CODE + 0x1000, RWX, 0);
        put_crossing(&g, CODE, CODE + 0x1000, 5);
        put_crossing(&g, CODE, CODE + 0x3000, 0x123);
        put_crossing(&g, CODE, CODE + 0x1000, 5);
        // A caller that does it, maps the second page elsewhere, fences that page alone, and does it again.
        let mut a = Asm::at(CODE + 0x8000);
        a.i(Op::Jalr, 1, 8, 0).s(Op::Sd, 7, 6, 0).sfence(9, 0).i(Op::Jalr, 1, 8, 0).ecall();
        g.load(&a);
        for target in [CODE + 0x1000, CODE + 0x3000] {
            g.write(target + 2, &word(Op::Jalr, 0, 1, 0, 0).to_le_bytes());
        }
        let mut s = g.paged(&p, CODE + 0x8000);
        (s.x[6], s.x[7], s.x[8], s.x[9]) = (slot, leaf(CODE + 0x3000, RWX), VA + 0xffe, VA + 0x1000);
        let end = g.run(&s);
        assert_eq!(end.x[10], 5 + 0x123, "{name}");
        // Unmapped, it faults.
        g.write64(slot, leaf(CODE + 0x1000, RWX));
        s.x[7] = 0;
        let end = g.run(&s);
        assert_eq!((end.x[10], end.csr.scause, end.csr.stval), (5, 12, VA + 0x1000), "{name}");
    }
}

#[test]
fn two_address_spaces_may_differ_in_the_second_page() {
    for (name, options) in modes() {
        for (flags, user) in [(RWX, false), (RWX | U, true)] {
            let (mut g, mut p) = paged(options.clone(), TABLES);
            let mut q = Paging::new(TABLES + 0x4_0000);
            for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
                q.map(&g, pa, pa, RWX | G, 0);
            }
            // The first page is the same in both, and global.
            p.map(&g, VA, CODE, flags | G, 0);
            q.map(&g, VA, CODE, flags | G, 0);
            p.map(&g, VA + 0x1000, CODE + 0x1000, flags, 0);
            q.map(&g, VA + 0x1000, CODE + 0x3000, flags, 0);
            put_crossing(&g, CODE, CODE + 0x1000, 5);
            put_crossing(&g, CODE, CODE + 0x3000, 0x123);
            put_crossing(&g, CODE, CODE + 0x1000, 5);
            for target in [CODE + 0x1000, CODE + 0x3000] {
                let last = if user { word(Op::Ecall, 0, 0, 0, 0) } else { word(Op::Jalr, 0, 1, 0, 0) };
                g.write(target + 2, &last.to_le_bytes());
            }
            let mut a = Asm::at(CODE + 0x8000);
            if user {
                // Each trap from U-mode comes back to the next visit.
                for _ in 0..6 {
                    a.word(0x17 | 5 << 7).i(Op::Addi, 5, 5, 24).csrw(arch::csr::STVEC, 5);
                    a.csrw(arch::csr::SEPC, 8).csrw(arch::csr::SATP, 7).plain(Op::Sret);
                    a.r(Op::Xor, 7, 7, 6);
                }
            } else {
                for _ in 0..6 {
                    a.csrw(arch::csr::SATP, 7).i(Op::Jalr, 1, 8, 0).r(Op::Xor, 7, 7, 6);
                }
            }
            a.ecall();
            g.load(&a);
            let mut s = g.paged(&p, CODE + 0x8000);
            (s.x[6], s.x[7], s.x[8]) = (p.satp(1) ^ q.satp(2), p.satp(1), VA + 0xffe);
            let end = g.run(&s);
            assert_eq!(end.x[10], 3 * (5 + 0x123), "{name} {user}");
        }
    }
}

#[test]
fn a_crossing_instruction_may_end_in_a_device() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options, TABLES);
        p.map(&g, VA, CODE, RWX, 0);
        let slot = p.map(&g, VA + 0x1000, ROM, RWX, 0);
        // The second half is 0x0001 there: addi a0, a0, 0 with rs1's upper bit from there, so any that decodes.
        put_crossing(&g, CODE, CODE + 0x1000, 5);
        let mut a = Asm::at(CODE + 0x8000);
        a.i(Op::Jalr, 1, 8, 0).ecall();
        g.load(&a);
        let mut b = Asm::at(CODE + 0x1002);
        b.i(Op::Jalr, 0, 1, 0);
        g.load(&b);
        // In the device only `nop`s follow to its end: the page behind it is not mapped.
        let low = u32::from(u16::from_le_bytes(word(Op::Addi, 10, 10, 0, 5).to_le_bytes()[..2].try_into().unwrap()));
        let decoded = arch::isa::Decoder::new(&g.isa).decode(low | 1 << 16);
        assert!(decoded.is_some_and(|i| i.rd == 10 && i.imm == 0), "{decoded:?}");
        let mut s = g.paged(&p, CODE + 0x8000);
        (s.x[8], s.x[2], s.x[10]) = (VA + 0xffe, 7, 1);
        let first = g.run(&s);
        assert_eq!((first.csr.scause, first.csr.stval), (12, VA + 0x2000), "{name}");
        // Now RAM stands there.
        g.write64(slot, leaf(CODE + 0x1000, RWX));
        let mut a = Asm::at(CODE + 0x8000);
        a.sfence(9, 0).i(Op::Jalr, 1, 8, 0).ecall();
        g.load(&a);
        let mut again = first.clone();
        again.pc = CODE + 0x8000;
        (again.x[9], again.x[10]) = (VA + 0x1000, 1);
        let end = g.run(&again);
        assert_eq!(end.x[10], 6, "{name}");
        assert_eq!(end.pc, CODE + 0x800c, "{name}");
    }
}

#[test]
fn one_physical_page_under_many_addresses() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options, TABLES);
        let places = [VA, VA + 0x5000, 0x7f_ffff_f000 & 0x3f_ffff_f000, 0xffff_ffff_ffff_f000];
        for va in places {
            p.map(&g, va, CODE, RWX, 0);
        }
        // auipc, a call and a branch in the page: all are relative to where the page is entered.
        let mut a = Asm::at(CODE + 0x100);
        a.word(0x17 | 10 << 7).i(Op::Jalr, 0, 1, 0);
        g.load(&a);
        let mut a = Asm::at(CODE + 0x200);
        a.r(Op::Add, 9, 1, 0).j(1, CODE + 0x100).r(Op::Add, 11, 1, 0).r(Op::Add, 1, 9, 0).i(Op::Jalr, 0, 1, 0);
        g.load(&a);
        let mut a = Asm::at(CODE + 0x8000);
        for (i, va) in places.iter().enumerate() {
            a.li(5, va + 0x200).i(Op::Jalr, 1, 5, 0);
            a.r(Op::Add, 12 + 2 * i as u8, 10, 0).r(Op::Add, 13 + 2 * i as u8, 11, 0);
        }
        a.ecall();
        g.load(&a);
        let end = g.run(&g.paged(&p, CODE + 0x8000));
        for (i, va) in places.iter().enumerate() {
            assert_eq!((end.x[12 + 2 * i], end.x[13 + 2 * i]), (va + 0x100, va + 0x208), "{name} {va:#x}");
        }
    }
}

/// The entry of the page that runs is changed before the fence: until then either page may be fetched from, but
/// once the old mapping is back its code must lead to itself.
#[test]
fn a_jump_is_not_linked_to_another_page() {
    for (name, options) in modes() {
        let (mut g, mut p) = paged(options, TABLES);
        let slot = p.map(&g, VA, CODE, RWX, 0);
        for (page, n) in [(CODE, 1), (CODE + 0x1000, 2)] {
            // Stores the entry in x7, then jumps in the page to what tells which page it is.
            let mut a = Asm::at(page);
            a.s(Op::Sd, 7, 6, 0);
            let j = a.forward(Op::Jal, 0, 0);
            a.pad_to(0x80);
            a.bind(j);
            a.i(Op::Addi, 10, 0, n).i(Op::Jalr, 0, 1, 0);
            g.load(&a);
        }
        let mut a = Asm::at(CODE + 0x8000);
        // With the change under way, then with the old entry back and fenced.
        a.r(Op::Add, 7, 9, 0).i(Op::Jalr, 1, 8, 0).r(Op::Add, 11, 10, 0);
        for kept in [13, 14] {
            a.s(Op::Sd, 12, 6, 0).sfence(0, 0).r(Op::Add, 7, 12, 0);
            a.i(Op::Jalr, 1, 8, 0).r(Op::Add, kept, 10, 0);
        }
        a.ecall();
        g.load(&a);
        let mut s = g.paged(&p, CODE + 0x8000);
        (s.x[6], s.x[8]) = (slot, VA);
        (s.x[9], s.x[12]) = (leaf(CODE + 0x1000, RWX), leaf(CODE, RWX));
        let end = g.run(&s);
        assert!(matches!(end.x[11], 1 | 2), "{name}");
        assert_eq!((end.x[13], end.x[14]), (1, 1), "{name}");
    }
}

/// Code that maps its own page elsewhere goes on there, at once, and in the code it jumps to.
#[test]
fn code_may_map_itself_elsewhere() {
    type Change = fn(&mut Asm);
    let by_store: [(&str, Change); 3] = [
        ("sfence.vma", |a| _ = a.s(Op::Sd, 7, 6, 0).sfence(0, 0)),
        ("sfence.vma of the page", |a| _ = a.s(Op::Sd, 7, 6, 0).sfence(9, 0)),
        ("sfence.vma of the ASID", |a| _ = a.s(Op::Sd, 7, 6, 0).sfence(0, 13)),
    ];
    let by_satp: (&str, Change) = ("satp", |a| _ = a.csrw(arch::csr::SATP, 7));
    for (name, options) in modes() {
        for (what, change) in by_store.into_iter().chain([by_satp]) {
            let (mut g, mut p) = paged(options.clone(), TABLES);
            let slot = p.map(&g, VA, CODE, RWX, 0);
            let mut q = Paging::new(TABLES + 0x4_0000);
            for pa in (RAM..RAM + 0x20_0000).step_by(4096) {
                q.map(&g, pa, pa, RWX | G, 0);
            }
            q.map(&g, VA, CODE + 0x1000, RWX, 0);
            for (page, n) in [(CODE, 1), (CODE + 0x1000, 0x10)] {
                let mut a = Asm::at(page);
                change(&mut a);
                a.i(Op::Addi, 10, 10, n);
                let j = a.forward(Op::Jal, 0, 0);
                a.pad_to(0x80);
                a.bind(j);
                a.i(Op::Addi, 11, 11, n).r(Op::Add, 7, 12, 0).i(Op::Addi, 5, 5, -1).b(Op::Bne, 5, 0, page);
                a.ecall();
                g.load(&a);
            }
            let mut s = g.paged(&p, VA);
            (s.x[5], s.x[6], s.x[9], s.x[13]) = (4, slot, VA + 0x18, 1);
            (s.x[7], s.x[12]) = match what {
                "satp" => (p.satp(1), q.satp(2)),
                _ => (leaf(CODE, RWX), leaf(CODE + 0x1000, RWX)),
            };
            let end = g.run(&s);
            // Once where it began, then elsewhere.
            assert_eq!((end.x[10], end.x[11]), (0x31, 0x31), "{name} {what}");
        }
    }
}
