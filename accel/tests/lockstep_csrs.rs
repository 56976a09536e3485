//! Random programs of CSR instructions, traps and returns: the interpreter of the IR against generated code in every
//! forced mode. What of it runs inline, and what by a call, must not be told apart, counters included.

mod guest;

use accel::tcg::TcgOptions;
use accel::testing::{Rng, number};
use accel::{HartState, Mode};
use arch::csr;
use arch::ext::Ext;
use guest::{Asm, CODE, Guest, Op, RAM, forced_modes};

const HANDLER: u64 = RAM + 0x8000;
/// Ends the program.
const DONE: u64 = RAM + 0x9000;

/// `beq x26, x0, 8`.
const SKIP_IF_X26_IS_0: u32 = 0x000d_0463;

/// `fadd.d f1, f2, f3` and `fmv.x.d x1, f2`.
const FADD_D: u32 = 0x0231_70d3;
const FMV_X_D: u32 = 0xe201_00d3;

/// Registers of all kinds: plain words, windows, counters, what needs an extension, what does not exist.
const NUMBERS: &[u16] = &[
    csr::SSCRATCH,
    csr::SSCRATCH,
    csr::SEPC,
    csr::SCAUSE,
    csr::STVAL,
    csr::SSTATUS,
    csr::SSTATUS,
    csr::SSTATUS,
    csr::SIE,
    csr::SIP,
    csr::SATP,
    csr::SCOUNTEREN,
    csr::SENVCFG,
    csr::CYCLE,
    csr::INSTRET,
    csr::INSTRET,
    csr::FFLAGS,
    csr::FRM,
    csr::FCSR,
    csr::VXRM,
    csr::MSCRATCH,
    csr::MEPC,
    csr::MCAUSE,
    csr::MTVAL,
    csr::MSTATUS,
    csr::MCOUNTEREN,
    csr::MCOUNTINHIBIT,
    csr::MINSTRET,
    csr::MCYCLE,
    csr::MINSTRETCFG,
    csr::HSTATUS,
    csr::VSSTATUS,
    csr::VSSCRATCH,
    csr::VSEPC,
    csr::MSTATEEN0,
    0x123,
];

fn csr_insn(rng: &mut Rng, a: &mut Asm) {
    let n = NUMBERS[rng.below(NUMBERS.len() as u64) as usize];
    let ops = [Op::Csrrw, Op::Csrrs, Op::Csrrc, Op::Csrrwi, Op::Csrrsi, Op::Csrrci];
    let op = ops[rng.below(6) as usize];
    // Small registers, so that the same one is often source and destination.
    let (rd, rs1) = (rng.below(4) as u8 + 8 * (rng.below(3) as u8), rng.below(4) as u8 + 8 * (rng.below(3) as u8));
    a.i(op, rd, rs1, i32::from(n));
}

/// The handler counts a trap in x29 and goes on behind the instruction, in the mode that trapped; the 40th ends the
/// program.
fn handler(m: &Guest) {
    let mut a = Asm::at(HANDLER);
    a.i(Op::Addi, 29, 29, 1).i(Op::Addi, 28, 0, 40);
    let more = a.forward(Op::Bltu, 29, 28);
    a.j(0, DONE);
    a.bind(more);
    a.csrr(28, csr::MEPC).i(Op::Addi, 28, 28, 4).csrw(csr::MEPC, 28).plain(Op::Mret);
    m.load(&a);
    m.stop_code(DONE);
}

fn program(rng: &mut Rng, m: &Guest) -> (Asm, HartState) {
    let mut a = Asm::at(CODE);
    for _ in 0..4 + rng.below(40) {
        match rng.below(12) {
            0 => a.i(Op::Addi, 1, 1, 3),
            1 => a.plain([Op::Ebreak, Op::Ecall, Op::FenceI][rng.below(3) as usize]),
            // A few times in all: it may lead back.
            3 => a.i(Op::Addi, 27, 27, 1).i(Op::Sltiu, 26, 27, 8).word(SKIP_IF_X26_IS_0).plain(Op::Sret),
            2 => a.sfence(0, 0),
            // They need FS, and make it dirty or leave it alone.
            4 => a.word([FADD_D, FMV_X_D][rng.below(2) as usize]),
            _ => {
                csr_insn(rng, &mut a);
                &mut a
            }
        };
    }
    for _ in 0..60 {
        a.plain(Op::Ebreak);
    }
    let mut s = m.machine(0, CODE, HANDLER);
    for r in 1..26 {
        s.f[r] = rng.corner();
        s.x[r] = match rng.below(3) {
            0 => rng.corner(),
            1 => 1 << rng.below(64),
            _ => rng.below(0x400_0000),
        };
    }
    s.x[31] = guest::END;
    s.mode = [Mode::User, Mode::Supervisor, Mode::Supervisor, Mode::Machine][rng.below(4) as usize];
    s.virt = s.mode != Mode::Machine && rng.below(4) == 0;
    s.csr.mstatus |= rng.next() & (csr::mstatus::FS | csr::mstatus::VS | csr::mstatus::TVM | csr::mstatus::SIE);
    s.csr.vsstatus |= rng.next() & (csr::mstatus::FS | csr::mstatus::VS);
    (s.csr.mcounteren, s.csr.scounteren, s.csr.hcounteren) = (rng.below(8), rng.below(8), rng.below(8));
    // An interrupt that is pending, and taken when its enable is set.
    s.csr.mip = rng.next() & 2;
    (s.csr.mie, s.csr.mideleg) = (rng.next() & 2, s.csr.mideleg | rng.next() & 2);
    s.csr.stvec = HANDLER;
    // Returns lead into the program.
    s.x[27] = 0;
    (s.csr.sepc, s.csr.vsepc) = (CODE + 4 * rng.below(60), CODE + 4 * rng.below(60));
    s.csr.mstateen = [rng.next() & (1 << 63 | 1 << 62), 0, 0, 0];
    (a, s)
}

/// The lines of the registers that differ.
fn difference(a: &HartState, b: &HartState) -> String {
    let lines = |s: &HartState| format!("{:#x?}", s.csr).lines().map(str::to_owned).collect::<Vec<_>>();
    let pairs = lines(a).into_iter().zip(lines(b));
    pairs.filter(|(a, b)| a != b).map(|(a, b)| format!("\n{a} / {b}")).collect()
}

/// `VIREO_LOCKSTEP_ROUNDS` programs, 1,500 unless told, from the seed `VIREO_LOCKSTEP_SEED` on.
#[test]
fn generated_code_does_what_the_interpreter_does() {
    let (rounds, first) = (number("VIREO_LOCKSTEP_ROUNDS", 1_500), number("VIREO_LOCKSTEP_SEED", 1));
    let mut isa = arch::model::find("max").expect("a model that the program has").config();
    // Traps in trap handlers end the program only where these are not.
    [Ext::Smdbltrp, Ext::Smrnmi].into_iter().for_each(|ext| isa.exts.remove(ext));
    let mut reference = Guest::with_isa(TcgOptions { jit: false, ..TcgOptions::default() }, 1, isa.clone());
    let mut others: Vec<_> =
        forced_modes().into_iter().map(|(name, options)| (name, Guest::with_isa(options, 1, isa.clone()))).collect();
    let mut traps = 0;
    for seed in first..first + rounds {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (code, start) = program(&mut rng, &reference);
        let run = |m: &mut Guest| {
            handler(m);
            m.load(&code);
            let mut end = m.run(&start);
            // How long it stays in the stop code is not told; x30 is what was retired before.
            (end.csr.mcycle, end.csr.minstret) = (0, 0);
            end
        };
        let expected = run(&mut reference);
        traps += expected.x[29];
        for (name, m) in &mut others {
            let got = run(m);
            let listing: Vec<String> = code
                .code
                .chunks(4)
                .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
                .map(|w| format!("{w:08x}"))
                .collect();
            let what = format!("{name}, seed {seed}, {:?}: {listing:?}", (start.mode, start.virt));
            assert_eq!((got.pc, got.x), (expected.pc, expected.x), "{what}");
            assert!(got == expected, "{what}: {}", difference(&expected, &got));
        }
    }
    // Programs that all end at once, or never trap, would prove nothing.
    assert!(traps > rounds, "{traps} traps in {rounds} programs");
}
