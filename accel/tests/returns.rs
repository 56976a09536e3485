//! Calls and returns that do not pair: generated code foretells returns by a stack of its own.

mod guest;

use guest::*;

/// Another page than that of [`CODE`].
const FAR: u64 = CODE + 0x3000;

fn start(g: &Guest, pc: u64) -> accel::HartState {
    let mut stop = Asm::at(STOP);
    stop.ecall();
    g.load(&stop);
    let mut s = g.supervisor(0, pc);
    s.csr.stvec = STOP;
    s.x[2] = RAM + 0x80_0000;
    s.x[10] = 0;
    s
}

/// Counts x11 down by calling itself, adding it to x10 on the way back.
fn sums(at: u64, itself: impl Fn(&mut Asm)) -> Asm {
    let mut a = Asm::at(at);
    let end = a.forward(Op::Beq, 11, 0);
    a.i(Op::Addi, 2, 2, -16).s(Op::Sd, 1, 2, 0).s(Op::Sd, 11, 2, 8).i(Op::Addi, 11, 11, -1);
    itself(&mut a);
    a.i(Op::Ld, 1, 2, 0).i(Op::Ld, 11, 2, 8).i(Op::Addi, 2, 2, 16).r(Op::Add, 10, 10, 11);
    a.bind(end).i(Op::Jalr, 0, 1, 0);
    a
}

#[test]
fn calls_may_be_nested_deeper_than_the_stack() {
    for (name, options) in modes() {
        for (at, direct) in [(CODE + 0x800, true), (CODE + 0x800, false), (FAR, true), (FAR, false)] {
            let mut g = Guest::new(options.clone(), 1);
            g.load(&sums(at, |a| {
                if direct {
                    a.j(1, at)
                } else {
                    a.i(Op::Jalr, 1, 9, 0)
                };
            }));
            let mut a = Asm::at(CODE);
            a.i(Op::Addi, 11, 0, 1500).j(1, at).i(Op::Addi, 11, 0, 3).j(1, at).ecall();
            g.load(&a);
            let mut s = start(&g, CODE);
            s.x[9] = at;
            let end = g.run(&s);
            assert_eq!(end.x[10], 1500 * 1501 / 2 + 6, "{name}, at {at:#x}, direct: {direct}");
        }
    }
}

#[test]
fn a_return_may_lead_anywhere() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        // Returns twice: behind its own call and behind the call before.
        let mut f = Asm::at(FAR);
        f.r(Op::Add, 18, 1, 0).j(5, FAR + 0x100).i(Op::Addi, 10, 10, 1).i(Op::Jalr, 0, 18, 0);
        g.load(&f);
        // Returns by x5 to where it was called from, or, every other time, over the heads of all.
        let mut inner = Asm::at(FAR + 0x100);
        inner.i(Op::Xori, 12, 12, 1);
        let leave = inner.forward(Op::Beq, 12, 0);
        inner.i(Op::Jalr, 0, 5, 0).bind(leave).i(Op::Addi, 10, 10, 64).i(Op::Jalr, 0, 1, 0);
        g.load(&inner);
        let mut a = Asm::at(CODE);
        a.i(Op::Addi, 14, 0, 1000);
        let again = a.here();
        a.j(1, FAR).j(1, FAR).i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, again).ecall();
        g.load(&a);
        let s = start(&g, CODE);
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[14]), (1000 * 65, 0), "{name}");
    }
}

#[test]
fn a_return_finds_the_code_that_is_there_by_then() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        // Writes x15 behind the call that it returns to.
        let mut f = Asm::at(FAR);
        f.s(Op::Sw, 15, 1, 0).plain(Op::FenceI).i(Op::Jalr, 0, 1, 0);
        g.load(&f);
        let mut a = Asm::at(CODE);
        for n in [1, 2, 3] {
            a.li(15, u64::from(word(Op::Addi, 10, 10, 0, n)));
            a.j(1, CODE + 0x800);
        }
        a.ecall();
        g.load(&a);
        let mut call = Asm::at(CODE + 0x800);
        call.r(Op::Add, 19, 1, 0).j(1, FAR).nop().i(Op::Jalr, 0, 19, 0);
        g.load(&call);
        let s = start(&g, CODE);
        assert_eq!(g.run(&s).x[10], 6, "{name}");
    }
}

/// The page of a caller is mapped elsewhere while the function it called runs.
#[test]
fn a_return_goes_by_the_translation_of_its_time() {
    const VA: u64 = 0x40_0000;
    const CALLERS: [u64; 2] = [RAM + 0x20_0000, RAM + 0x20_1000];
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut p = Paging::new(RAM + 0x10_0000);
        p.map(&g, RAM, RAM, RWX, 1);
        let slot = p.map(&g, VA, CALLERS[0], RWX, 0);
        // Swaps x7 and x9, the two leaf entries, and returns to the page that is mapped then.
        let mut f = Asm::at(FAR);
        f.s(Op::Sd, 9, 8, 0).sfence(12, 0).r(Op::Add, 13, 9, 0).r(Op::Add, 9, 7, 0).r(Op::Add, 7, 13, 0);
        f.i(Op::Jalr, 0, 1, 0);
        g.load(&f);
        for (caller, add) in CALLERS.iter().zip([1, 100]) {
            let mut a = Asm::at(*caller);
            a.i(Op::Jalr, 1, 11, 0).i(Op::Addi, 10, 10, add).i(Op::Addi, 14, 14, -1);
            // As a branch from VA; the code does not depend on where it stands.
            a.b(Op::Bne, 14, 0, *caller).i(Op::Jalr, 0, 15, 0);
            g.load(&a);
        }
        let mut s = start(&g, VA);
        s.csr.satp = p.satp(1);
        (s.x[7], s.x[8], s.x[9], s.x[12]) = (leaf(CALLERS[0], RWX), slot, leaf(CALLERS[1], RWX), VA);
        (s.x[11], s.x[14], s.x[15]) = (FAR, 40, STOP);
        assert_eq!(g.run(&s).x[10], 20 * 101, "{name}");
    }
}

/// The address space changes while a function runs, with and without a fence: it returns to the same address, where there is
/// other code by then, or none.
#[test]
fn a_return_goes_by_the_address_space_of_its_time() {
    const VA: u64 = 0x40_0000;
    const ALONE: u64 = VA + 0x5000;
    const CALLERS: [u64; 3] = [RAM + 0x20_0000, RAM + 0x20_1000, RAM + 0x20_2000];
    // The fence before the return: none, of all, of an address space, of the page.
    for (fence, (name, options)) in [None, Some((0, 0)), Some((0, 16)), Some((12, 0))]
        .into_iter()
        .flat_map(|f| modes().into_iter().map(move |m| (f, m)))
    {
        let mut g = Guest::new(options, 1);
        let mut spaces = [RAM + 0x10_0000, RAM + 0x11_0000].map(Paging::new);
        for (p, caller) in spaces.iter_mut().zip(CALLERS) {
            p.map(&g, RAM, RAM, RWX | arch::pte::G, 1);
            p.map(&g, VA, caller, RWX, 0);
        }
        spaces[0].map(&g, ALONE, CALLERS[2], RWX, 0);
        // Goes to the address space of x9, the old one being there next, and returns.
        let mut f = Asm::at(FAR);
        f.csrrw(9, arch::csr::SATP, 9);
        if let Some((va, asid)) = fence {
            f.sfence(va, asid);
        }
        f.i(Op::Jalr, 0, 1, 0);
        g.load(&f);
        for (caller, add) in CALLERS.iter().zip([1, 100]) {
            let mut a = Asm::at(*caller);
            a.i(Op::Jalr, 1, 11, 0).i(Op::Addi, 10, 10, add).i(Op::Addi, 14, 14, -1);
            // As a branch from VA; the code does not depend on where it stands.
            a.b(Op::Bne, 14, 0, *caller).i(Op::Jalr, 0, 15, 0);
            g.load(&a);
        }
        // Stays in its address space but for the last time.
        let mut a = Asm::at(CALLERS[2]);
        let over = a.forward(Op::Bne, 14, 19);
        a.i(Op::Addi, 9, 18, 0).bind(over).i(Op::Jalr, 1, 11, 0).i(Op::Addi, 10, 10, 1).i(Op::Addi, 14, 14, -1);
        a.j(0, CALLERS[2]);
        g.load(&a);
        let satps = [spaces[0].satp(1), spaces[1].satp(2)];
        let mut s = start(&g, VA);
        (s.csr.satp, s.x[9], s.x[11], s.x[12], s.x[14], s.x[15]) = (satps[0], satps[1], FAR, VA, 40, STOP);
        s.x[16] = 2;
        assert_eq!(g.run(&s).x[10], 20 * 101, "{name}, fence {fence:?}");
        s.pc = ALONE;
        (s.x[9], s.x[12], s.x[18], s.x[19]) = (satps[0], ALONE, satps[1], 1);
        let end = g.run(&s);
        assert_eq!((end.csr.scause, end.csr.sepc, end.x[10]), (12, ALONE + 12, 39), "{name}, fence {fence:?}");
    }
}

/// A trap comes in the middle of a function; its handler calls functions, too, and goes back.
#[test]
fn traps_may_come_between_a_call_and_its_return() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut f = Asm::at(FAR);
        f.i(Op::Addi, 10, 10, 1).plain(Op::Ebreak).i(Op::Jalr, 0, 1, 0);
        g.load(&f);
        let mut leaf = Asm::at(FAR + 0x100);
        leaf.i(Op::Addi, 10, 10, 16).i(Op::Jalr, 0, 1, 0);
        g.load(&leaf);
        let handler = FAR + 0x200;
        let mut h = Asm::at(handler);
        h.r(Op::Add, 18, 1, 0).j(1, FAR + 0x100).r(Op::Add, 1, 18, 0);
        h.csrr(5, 0x141).i(Op::Addi, 5, 5, 4).csrw(0x141, 5).plain(Op::Sret);
        g.load(&h);
        let mut a = Asm::at(CODE);
        a.i(Op::Addi, 14, 0, 500);
        let again = a.here();
        a.j(1, FAR).j(1, FAR).i(Op::Addi, 14, 14, -1).b(Op::Bne, 14, 0, again);
        a.ecall();
        g.load(&a);
        let mut s = start(&g, CODE);
        s.csr.stvec = handler;
        s.csr.mstatus |= 1 << 8;
        s.csr.medeleg |= 1 << 3;
        let end = g.run(&s);
        assert_eq!((end.x[10], end.x[14]), (1000 * 17, 0), "{name}");
    }
}
