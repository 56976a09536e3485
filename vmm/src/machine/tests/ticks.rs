//! A guest that counts its timer interrupts and those of another hart, while it goes from engine to engine: one that was
//! lost would be the last.

use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};

use super::*;

/// What each hart writes: interrupts of its timer, of the other hart, too early ones, and rounds of its loop.
const COUNTS: u64 = map::RAM_BASE + (4 << 20);
const LINE: u64 = 64;
const ECALL: u32 = 0x73;
const SRET: u32 = 0x1020_0073;

fn i(opcode: u32, funct: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode
}

fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x13, 0, rd, rs1, imm)
}

fn add(rd: u32, rs1: u32, rs2: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | rd << 7 | 0x33
}

fn lui(rd: u32, value: u32) -> u32 {
    value & !0xfff | rd << 7 | 0x37
}

fn sd(rs2: u32, rs1: u32, at: u32) -> u32 {
    at >> 5 << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (at & 31) << 7 | 0x23
}

fn csrw(csr: u16, rs: u32) -> u32 {
    i(0x73, 1, 0, rs, csr.into())
}

fn csrr(rd: u32, csr: u16) -> u32 {
    i(0x73, 2, rd, 0, csr.into())
}

/// A branch over so many words: beq 0, bne 1, bgeu 7.
fn branch(funct: u32, rs1: u32, rs2: u32, words: i32) -> u32 {
    let by = (4 * words) as u32;
    (by >> 12 & 1) << 31
        | (by >> 5 & 63) << 25
        | rs2 << 20
        | rs1 << 15
        | funct << 12
        | (by >> 1 & 15) << 8
        | (by >> 11 & 1) << 7
        | 0x63
}

/// The guest: x18 to x23 are what [`COUNTS`] has and what hart 0 has sent, x19 is the next deadline.
fn program() -> Vec<u8> {
    use arch::csr::{SCAUSE, SIE, SIP, SSTATUS, STIMECMP, STVEC, TIME};
    const PERIOD: i32 = 2000;
    let handler = [
        csrr(28, SCAUSE),
        i(0x13, 7, 28, 28, 0xff),
        addi(29, 0, 1),
        branch(0, 28, 29, 8),
        csrr(28, TIME),
        branch(7, 28, 19, 2),
        addi(22, 22, 1),
        addi(18, 18, 1),
        add(19, 19, 25),
        csrw(STIMECMP, 19),
        SRET,
        i(0x73, 7, 0, 2, SIP.into()),
        addi(20, 20, 1),
        SRET,
    ];
    // Hart 0 starts hart 1 behind this.
    let head = [
        lui(17, 0x48_5000),
        addi(17, 17, 0x34d),
        addi(16, 0, 0),
        addi(10, 0, 1),
        // The address of the words behind these.
        11 << 7 | 0x17,
        addi(11, 11, 4 * 4),
        addi(12, 0, 0),
        ECALL,
    ];
    let start = [
        add(8, 0, 10),
        // The handler is at the image's end: its address is put in below.
        9 << 7 | 0x17,
        addi(9, 9, 0),
        csrw(STVEC, 9),
        lui(24, COUNTS as u32),
        // lui extends the sign.
        i(0x13, 1, 24, 24, 32),
        i(0x13, 5, 24, 24, 32),
        i(0x13, 1, 5, 8, 6),
        add(24, 24, 5),
        addi(25, 0, PERIOD),
        csrr(19, TIME),
        add(19, 19, 25),
        csrw(STIMECMP, 19),
        addi(5, 0, 0x22),
        csrw(SIE, 5),
        i(0x73, 6, 0, 2, SSTATUS.into()),
    ];
    let body = [
        addi(23, 23, 1),
        sd(18, 24, 0),
        sd(20, 24, 8),
        sd(22, 24, 16),
        sd(23, 24, 24),
        branch(1, 8, 0, -5),
        // Hart 0: the next one when hart 1 has counted the last.
        i(0x03, 3, 5, 24, LINE as i32 + 8),
        branch(1, 5, 21, -7),
        addi(21, 21, 1),
        lui(17, 0x73_5000),
        addi(17, 17, 0x049),
        addi(16, 0, 0),
        addi(10, 0, 1),
        addi(11, 0, 1),
        ECALL,
        branch(0, 0, 0, -15),
    ];
    let mut words = [&head[..], &start, &body, &handler].concat();
    let auipc = head.len() + 1;
    words[auipc + 1] = addi(9, 9, 4 * (head.len() + start.len() + body.len() - auipc) as i32);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn no_interrupt_is_lost_between_engines() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("kernel");
    std::fs::write(&kernel, program()).unwrap();
    let words = ["-nodefaults", "-m", "16M", "-smp", "2", "-accel", "tcg", "-kernel", kernel.to_str().unwrap()];
    let config = config(&words);
    let engine = choose_engine(&config).unwrap();
    let mut machine = Machine::new(config, &*engine).unwrap();
    machine.power_on().unwrap();
    machine.start();
    let ram = Arc::clone(&machine.board.ram);
    let counts = || -> [[u64; 4]; 2] {
        let read = |at| ram.read_obj(GuestAddress(at)).unwrap();
        [0, 1].map(|hart| [0, 1, 2, 3].map(|n| read(COUNTS + LINE * hart + 8 * n)))
    };
    for n in 0..60 {
        let before = counts();
        let watchdog = Instant::now() + Duration::from_secs(120);
        // Both timers, the other hart's interrupts, and both loops.
        let wanted = |now: &[[u64; 4]; 2]| {
            (0..2).all(|hart| now[hart][0] > before[hart][0] + 2 && now[hart][3] > before[hart][3])
                && now[1][1] > before[1][1] + 2
        };
        while !wanted(&counts()) {
            assert!(Instant::now() < watchdog, "in round {n} interrupts stay away: {before:?}, {:?}", counts());
            std::thread::yield_now();
        }
        if n % 7 == 6 {
            machine.stop(RunState::Paused);
        }
        let time = machine.board.clock.now();
        machine.switch_engine(if n % 2 == 0 { "interp" } else { "tcg" }).unwrap().unwrap();
        assert!(machine.board.clock.now() >= time);
        machine.cont().unwrap();
    }
    machine.stop(RunState::Paused);
    let now = counts();
    assert_eq!([now[0][2], now[1][2], now[0][1]], [0; 3], "too early, or from nobody: {now:?}");
}
