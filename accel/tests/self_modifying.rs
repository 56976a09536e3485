//! Code that changes: by the hart itself, by another hart, by a device, in the page it runs from.

mod guest;

use accel::testing::Registers as _;
use accel::{HartSet, RemoteFence, VcpuExit};
use guest::*;

/// The code that is changed: `addi a0, x0, n`, `ret`.
const VICTIM: u64 = RAM + 0x2_0000;
const RET: u32 = 0x0000_8067;
/// Where the hart is told that the code has changed, and answers.
const FLAGS: u64 = RAM + 0x3_0000;

fn answer(n: i32) -> u32 {
    word(Op::Addi, 10, 0, 0, n)
}

/// Puts `addi a0, x0, 0; ret` at `at`.
fn put_victim(g: &Guest, at: u64) {
    g.write(at, &answer(0).to_le_bytes());
    g.write(at + 4, &RET.to_le_bytes());
}

/// x5 = the word that answers x6 (below 2048), made in the guest: bits 31:20 are the immediate.
fn make_word(a: &mut Asm) {
    a.i(Op::Slli, 5, 6, 20).r(Op::Add, 5, 5, 7);
}

/// A loop that changes the victim, fences and calls it, many times; x9 counts wrong answers.
fn changes_itself(victim: u64, loop_at: u64) {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(loop_at);
        let start = a.here();
        make_word(&mut a);
        a.s(Op::Sw, 5, 8, 0).plain(Op::FenceI).i(Op::Jalr, 1, 8, 0);
        let right = a.forward(Op::Beq, 10, 6);
        a.i(Op::Addi, 9, 9, 1);
        a.bind(right);
        // A store beside the code changes nothing.
        a.s(Op::Sd, 6, 8, 64).plain(Op::FenceI);
        a.i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 11, start).ecall();
        g.load(&a);
        put_victim(&g, victim);
        let mut s = g.supervisor(0, loop_at);
        (s.x[6], s.x[7], s.x[8], s.x[11]) = (1, u64::from(answer(0)), victim, 500);
        let end = g.run(&s);
        assert_eq!((end.x[6], end.x[9]), (500, 0), "{name}");
    }
}

#[test]
fn a_hart_changes_another_page() {
    changes_itself(VICTIM, CODE);
}

#[test]
fn a_hart_changes_the_page_it_runs_from() {
    changes_itself(CODE + 0x800, CODE);
}

/// What stands right behind the fence is changed, in the block that the fence is in.
#[test]
fn the_rest_of_the_block_is_changed() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        let start = a.here();
        make_word(&mut a);
        a.s(Op::Sw, 5, 8, 0).plain(Op::FenceI);
        let victim = a.here();
        a.word(answer(0));
        let right = a.forward(Op::Beq, 10, 6);
        a.i(Op::Addi, 9, 9, 1);
        a.bind(right);
        // Nothing has changed since then.
        a.plain(Op::FenceI).i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 11, start).ecall();
        g.load(&a);
        let mut s = g.supervisor(0, CODE);
        (s.x[6], s.x[7], s.x[8], s.x[11]) = (1, u64::from(answer(0)), victim, 300);
        let end = g.run(&s);
        assert_eq!((end.x[6], end.x[9]), (300, 0), "{name}");
    }
}

/// The second half alone of an instruction that crosses is changed.
#[test]
fn the_second_half_is_changed() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        let start = a.here();
        // The upper half of `addi a0, x0, n` is n << 4.
        a.i(Op::Slli, 5, 6, 4).s(Op::Sh, 5, 8, 2).plain(Op::FenceI).i(Op::Jalr, 1, 8, 0);
        let right = a.forward(Op::Beq, 10, 6);
        a.i(Op::Addi, 9, 9, 1);
        a.bind(right);
        a.i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 11, start).ecall();
        g.load(&a);
        put_victim(&g, VICTIM + 0xffe);
        let mut s = g.supervisor(0, CODE);
        (s.x[6], s.x[8], s.x[11]) = (1, VICTIM + 0xffe, 200);
        let end = g.run(&s);
        assert_eq!((end.x[6], end.x[9]), (200, 0), "{name}");
    }
}

#[test]
fn a_device_changes_code() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        let mut a = Asm::at(CODE);
        let start = a.here();
        a.i(Op::Jalr, 1, 8, 0).ecall().plain(Op::FenceI).j(0, start);
        g.load(&a);
        put_victim(&g, VICTIM);
        let mut s = g.supervisor(0, CODE);
        s.x[8] = VICTIM;
        assert_eq!(g.run(&s).x[10], 0);
        for n in 1..50 {
            g.write(VICTIM, &answer(n).to_le_bytes());
            assert_eq!(g.resume().x[10], n as u64, "{name}");
        }
    }
}

/// A hart that waits for `FLAGS` to be x6, fences, calls the victim, and answers at `FLAGS` + 64; x9 counts wrong answers.
fn reader() -> Asm {
    let mut a = Asm::at(CODE);
    let start = a.here();
    a.i(Op::Ld, 13, 12, 0).b(Op::Bne, 13, 6, start);
    a.plain(Op::FenceI).i(Op::Jalr, 1, 8, 0);
    let right = a.forward(Op::Beq, 10, 6);
    a.i(Op::Addi, 9, 9, 1);
    a.bind(right);
    a.s(Op::Sd, 6, 12, 64);
    a.i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 11, start).ecall();
    a
}

/// The same by a device, while the hart runs and nobody tells it but the flag.
#[test]
fn a_device_changes_code_of_a_hart_that_runs() {
    use vm_memory::{Bytes, GuestAddress};
    const ROUNDS: u64 = 200;
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        g.load(&reader());
        put_victim(&g, VICTIM);
        let mut s = g.supervisor(0, CODE);
        (s.x[6], s.x[8], s.x[11], s.x[12]) = (1, VICTIM, ROUNDS, FLAGS);
        let ram = g.ram.clone();
        let end = std::thread::scope(|scope| {
            scope.spawn(move || {
                for n in 1..ROUNDS {
                    ram.write_slice(&answer(n as i32).to_le_bytes(), GuestAddress(VICTIM)).unwrap();
                    ram.store(n, GuestAddress(FLAGS), std::sync::atomic::Ordering::SeqCst).unwrap();
                    while ram.load::<u64>(GuestAddress(FLAGS + 64), std::sync::atomic::Ordering::SeqCst).unwrap() != n {
                        std::thread::yield_now();
                    }
                }
            });
            g.run(&s)
        });
        assert_eq!((end.x[6], end.x[9]), (ROUNDS, 0), "{name}");
    }
}

/// Hart 1 changes the code and raises a flag; hart 0 sees the flag, executes `fence.i` and must run the new code.
/// Hart 1 goes on storing beside the code all the time, so that it keeps its way to the page.
fn another_hart(options: accel::tcg::TcgOptions, name: &str) {
    const ROUNDS: u64 = 400;
    let mut g = Guest::new(options, 2);
    // The writer: x6 counts up; the word, a barrier, the flag; then it waits for the answer at FLAGS + 64.
    let mut a = Asm::at(CODE + 0x1000);
    let start = a.here();
    make_word(&mut a);
    a.s(Op::Sw, 5, 8, 0).word(0x0330_000f).s(Op::Sd, 6, 12, 0);
    let wait = a.here();
    a.s(Op::Sd, 6, 8, 64).i(Op::Ld, 13, 12, 64).b(Op::Bne, 13, 6, wait);
    a.i(Op::Addi, 6, 6, 1).b(Op::Bne, 6, 11, start).ecall();
    g.load(&a);
    g.load(&reader());
    put_victim(&g, VICTIM);
    let states: Vec<_> = (0..2)
        .map(|hart| {
            let mut s = g.supervisor(hart, CODE + 0x1000 * u64::from(hart));
            (s.x[6], s.x[7], s.x[8], s.x[11], s.x[12]) = (1, u64::from(answer(0)), VICTIM, ROUNDS, FLAGS);
            s
        })
        .collect();
    let ends = g.run_all(&states);
    assert_eq!((ends[0].x[6], ends[0].x[9]), (ROUNDS, 0), "{name}");
}

#[test]
fn another_hart_changes_code() {
    for (name, options) in modes() {
        another_hart(options, name);
    }
}

/// The machine's owner changes code while the hart spins, and fences for it.
#[test]
fn a_remote_fence_makes_new_code_visible() {
    for (name, options) in modes() {
        let mut g = Guest::new(options, 1);
        const FLAG: u64 = RAM + 0x3_0000;
        let mut a = Asm::at(CODE);
        let start = a.here();
        // Calls the victim until the flag says stop; reports the answer.
        a.i(Op::Jalr, 1, 8, 0).s(Op::Sd, 10, 12, 8).i(Op::Ld, 13, 12, 0).b(Op::Beq, 13, 0, start).ecall();
        g.load(&a);
        put_victim(&g, VICTIM);
        let mut s = g.supervisor(0, CODE);
        (s.x[8], s.x[12]) = (VICTIM, FLAG);
        g.harts[0].set_state(&s);
        let (ram, vm) = (g.ram.clone(), std::sync::Arc::clone(&g.vm));
        std::thread::scope(|scope| {
            let hart = scope.spawn(|| g.harts[0].run());
            use vm_memory::{Bytes, GuestAddress};
            for n in 1..20 {
                ram.write_slice(&answer(n).to_le_bytes(), GuestAddress(VICTIM)).unwrap();
                vm.remote_fence(&HartSet(vec![0]), RemoteFence::Instruction);
                // What the hart reports from now on is the new answer, after at most one that was under way.
                loop {
                    let seen: u64 = ram.read_obj(GuestAddress(FLAG + 8)).unwrap();
                    if seen == n as u64 {
                        break;
                    }
                    assert!(seen < n as u64, "{name}");
                    std::thread::yield_now();
                }
            }
            ram.write_slice(&1u64.to_le_bytes(), GuestAddress(FLAG)).unwrap();
            assert!(matches!(hart.join().unwrap(), Ok(VcpuExit::Sbi(_))), "{name}");
        });
    }
}
