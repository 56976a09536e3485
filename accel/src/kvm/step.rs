//! A single step of a hart that cannot do one: KVM has none for RISC-V. What can come behind the instruction is worked out
//! here, for breakpoints that end the step.
//!
//! Instructions that go elsewhere are executed here instead, so that there is one way out of each that is left: to the
//! next one, or into the trap handler. Those that wait are done at once.

use arch::cause::Exception;
use arch::csr::{self, tvec};
use arch::ext::IsaConfig;
use arch::isa::{Decoder, Insn, Op};

use super::fault::instruction_at;
use super::state::SUPERVISOR;
use crate::tcg::trap::{Trap, ecall_cause, sret, take_trap};
use crate::{GuestRam, HartState, Mode};

/// How an instruction is stepped over.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// It was executed here: the pc, x registers, the mode, `sie` and what traps write may have changed.
    Done,
    /// It has to run. Then the hart is at one of these virtual addresses.
    Run {
        ends: Vec<u64>,
        /// `sie` is to be zero meanwhile, which no instruction sees.
        mask: bool,
    },
}

/// The instructions that may stand between LR and SC (unprivileged specification, "Eventual Success of
/// Store-Conditional Instructions"), both included.
const SEQUENCE: usize = 16;

/// Interrupts that a guest of KVM may get: software, timer, external, and of counters.
const INTERRUPTS: [u64; 4] = [1, 5, 9, 13];

/// Plans one step of the hart, or does it. The memory is the guest's own: no breakpoints stand in it.
pub fn plan(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam, hold_interrupts: bool) -> Plan {
    let decoder = Decoder::new(isa);
    let raw = instruction_at(s, isa, ram, s.pc);
    let insn = raw.and_then(|raw| decoder.decode(raw));
    if let Some(insn) = &insn
        && execute(s, isa, insn, hold_interrupts)
    {
        return Plan::Done;
    }
    let mut ends = match (&insn, raw) {
        (Some(insn), _) if matches!(insn.op, Op::LrW | Op::LrD) => behind_sequence(s, isa, ram, &decoder, insn.len),
        (Some(insn), _) => vec![s.pc.wrapping_add(insn.len.into())],
        (None, Some(raw)) => vec![s.pc.wrapping_add(arch::isa::insn_len(raw as u16).into())],
        // It cannot be fetched.
        (None, None) => vec![],
    };
    let mask = hold_interrupts && !needs_sie(s, insn.as_ref());
    let handler = s.csr.stvec & tvec::BASE;
    ends.push(handler);
    if !mask && s.csr.stvec & tvec::MODE == tvec::VECTORED {
        ends.extend(INTERRUPTS.map(|cause| handler.wrapping_add(4 * cause)));
    }
    // Where it begins there can be no end. A handler whose first instruction traps has none.
    ends.retain(|end| *end != s.pc);
    Plan::Run { ends, mask }
}

/// Executes what goes elsewhere, waits, or has to do with `sie` while that may not be seen. Whether it did.
fn execute(s: &mut HartState, isa: &IsaConfig, insn: &Insn, hold_interrupts: bool) -> bool {
    let (pc, supervisor) = (s.pc, s.mode == Mode::Supervisor);
    let next = pc.wrapping_add(insn.len.into());
    let target = pc.wrapping_add_signed(insn.imm.into());
    let (a, b) = (s.x[usize::from(insn.rs1)], s.x[usize::from(insn.rs2)]);
    let taken = match insn.op {
        Op::Beq => a == b,
        Op::Bne => a != b,
        Op::Blt => (a as i64) < b as i64,
        Op::Bge => a as i64 >= b as i64,
        Op::Bltu => a < b,
        Op::Bgeu => a >= b,
        Op::Jal => true,
        Op::Jalr => {
            s.pc = a.wrapping_add_signed(insn.imm.into()) & !1;
            set(s, insn.rd, next);
            return true;
        }
        Op::Sret if supervisor => return sret(s).is_ok(),
        Op::Ebreak => {
            take_trap(s, isa, Trap::of(Exception::Breakpoint, pc), pc);
            return true;
        }
        Op::Ecall if !supervisor => {
            let trap = Trap::new(ecall_cause(s), 0);
            take_trap(s, isa, trap, pc);
            return true;
        }
        Op::Wfi if supervisor => false,
        Op::WrsNto | Op::WrsSto => false,
        _ if supervisor && hold_interrupts && csr_of(insn) == Some(csr::SIE) => {
            let old = s.csr.mie & SUPERVISOR;
            let operand = if is_immediate(insn.op) { insn.rs1.into() } else { a };
            let new = match insn.op {
                Op::Csrrw | Op::Csrrwi => operand,
                Op::Csrrs | Op::Csrrsi => old | operand,
                _ => old & !operand,
            };
            s.csr.mie = s.csr.mie & !SUPERVISOR | new & SUPERVISOR;
            set(s, insn.rd, old);
            false
        }
        _ => return false,
    };
    if insn.op == Op::Jal {
        set(s, insn.rd, next);
    }
    s.pc = if taken { target } else { next };
    true
}

fn set(s: &mut HartState, rd: u8, value: u64) {
    if rd != 0 {
        s.x[usize::from(rd)] = value;
    }
}

fn is_immediate(op: Op) -> bool {
    matches!(op, Op::Csrrwi | Op::Csrrsi | Op::Csrrci)
}

/// The CSR that an instruction names.
fn csr_of(insn: &Insn) -> Option<u16> {
    let is_csr = is_immediate(insn.op) || matches!(insn.op, Op::Csrrw | Op::Csrrs | Op::Csrrc);
    is_csr.then_some(insn.imm as u16)
}

/// Whether the instruction would be another one with `sie` zero: one that reads what is pending and enabled, and calls of SBI
/// that wait for it. Calls are made with interrupts off, mostly, and then none comes between.
fn needs_sie(s: &HartState, insn: Option<&Insn>) -> bool {
    let off = s.mode == Mode::Supervisor && s.csr.mstatus & csr::mstatus::SIE == 0;
    insn.is_some_and(|insn| csr_of(insn) == Some(csr::STOPI) || insn.op == Op::Ecall && off)
}

/// Where a sequence from LR to SC leads, at the pc. A stop in between would take the reservation away, and the sequence
/// would begin anew for ever. An LR without an SC is an instruction as any other.
fn behind_sequence(s: &HartState, isa: &IsaConfig, ram: &GuestRam, decoder: &Decoder, len: u8) -> Vec<u64> {
    let (mut at, mut leads) = (s.pc, Vec::new());
    for _ in 0..SEQUENCE {
        let insn = instruction_at(s, isa, ram, at).and_then(|raw| decoder.decode(raw));
        let Some(insn) = insn else { break };
        let next = at.wrapping_add(insn.len.into());
        match insn.op {
            Op::Beq | Op::Bne | Op::Blt | Op::Bge | Op::Bltu | Op::Bgeu => {
                leads.push(at.wrapping_add_signed(insn.imm.into()));
            }
            Op::ScW | Op::ScD => {
                leads.retain(|to| !(s.pc..next).contains(to));
                leads.push(next);
                return leads;
            }
            Op::Jal | Op::Jalr | Op::Sret | Op::Ecall | Op::Ebreak => break,
            _ => {}
        }
        at = next;
    }
    vec![s.pc.wrapping_add(len.into())]
}

#[cfg(test)]
mod tests {
    use arch::csr::{mstatus, satp};
    use arch::ext::Ext;
    use arch::isa::{Operands, encode};
    use arch::pte;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::tcg::csr::reset_supervisor;

    const RAM: u64 = 0x8000_0000;
    const PC: u64 = RAM + 0x1000;
    const HANDLER: u64 = RAM + 0x2000;

    fn word(op: Op, rd: u8, rs1: u8, rs2: u8, imm: i32) -> u32 {
        encode(op, &Operands { rd, rs1, rs2, imm, ..Operands::default() }).unwrap()
    }

    /// A hart in S-mode at these instructions.
    struct Hart {
        s: HartState,
        isa: IsaConfig,
        ram: GuestRam,
    }

    impl Hart {
        fn at(code: &[u32]) -> Self {
            let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 16)]).unwrap();
            let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
            ram.write_slice(&bytes, GuestAddress(PC)).unwrap();
            let isa = arch::model::parse("max").unwrap();
            let mut s = reset_supervisor(&isa, 0, PC, 0);
            s.csr.stvec = HANDLER;
            Self { s, isa, ram }
        }

        fn plan(&mut self, hold: bool) -> Plan {
            plan(&mut self.s, &self.isa, &self.ram, hold)
        }

        /// Where it may be behind a step that has to run.
        fn ends(&mut self) -> Vec<u64> {
            match self.plan(true) {
                Plan::Run { ends, .. } => ends,
                Plan::Done => panic!("executed at {:#x}", self.s.pc),
            }
        }
    }

    fn run(ends: &[u64], mask: bool) -> Plan {
        Plan::Run { ends: ends.to_vec(), mask }
    }

    #[test]
    fn most_instructions_lead_to_the_next_or_into_the_handler() {
        // add; c.nop; ld; fence.i; one that is reserved; a CSR; a call of SBI.
        let nowhere = 0x0000_00ff;
        for raw in
            [word(Op::Add, 1, 2, 3, 0), word(Op::Ld, 1, 2, 0, 8), 0x100f, nowhere, word(Op::Csrrw, 1, 2, 0, 0x100)]
        {
            assert_eq!(Hart::at(&[raw]).ends(), [PC + 4, HANDLER], "{raw:#x}");
        }
        assert_eq!(Hart::at(&[1]).ends(), [PC + 2, HANDLER]);
        assert_eq!(Hart::at(&[word(Op::Ecall, 0, 0, 0, 0)]).ends(), [PC + 4, HANDLER]);
        // Past the end of RAM nothing can be fetched.
        let mut h = Hart::at(&[]);
        h.s.pc = RAM + (1 << 16);
        assert_eq!(h.ends(), [HANDLER]);
        // The handler's first instruction.
        h.s.pc = HANDLER;
        assert_eq!(h.ends(), [HANDLER + 2]);
    }

    #[test]
    fn interrupts_that_are_not_held_may_come() {
        let mut h = Hart::at(&[word(Op::Add, 1, 2, 3, 0)]);
        assert_eq!((h.plan(true), h.plan(false)), (run(&[PC + 4, HANDLER], true), run(&[PC + 4, HANDLER], false)));
        h.s.csr.stvec |= tvec::VECTORED;
        assert_eq!(h.plan(true), run(&[PC + 4, HANDLER], true));
        let vectors = [4, 20, 36, 52].map(|offset| HANDLER + offset);
        assert_eq!(h.plan(false), run(&[&[PC + 4, HANDLER], &vectors[..]].concat(), false));
    }

    #[test]
    fn branches_and_jumps_are_executed() {
        type Case = (u32, [u64; 2], u64, u64);
        let minus = -1i64 as u64;
        let cases: [Case; 12] = [
            (word(Op::Beq, 0, 5, 6, 64), [7, 7], PC + 64, 0),
            (word(Op::Beq, 0, 5, 6, 64), [7, 8], PC + 4, 0),
            (word(Op::Bne, 0, 5, 6, -64), [7, 8], PC - 64, 0),
            (word(Op::Blt, 0, 5, 6, 64), [minus, 0], PC + 64, 0),
            (word(Op::Bge, 0, 5, 6, 64), [minus, 0], PC + 4, 0),
            (word(Op::Bltu, 0, 5, 6, 64), [minus, 0], PC + 4, 0),
            (word(Op::Bgeu, 0, 5, 6, 64), [minus, 0], PC + 64, 0),
            (word(Op::Jal, 1, 0, 0, -64), [0, 0], PC - 64, PC + 4),
            // To itself.
            (word(Op::Jal, 0, 0, 0, 0), [0, 0], PC, 0),
            (word(Op::Jalr, 1, 5, 0, -3), [PC + 8, 0], PC + 4, PC + 4),
            // c.jr t0; c.jalr t0.
            (0x8282, [PC + 9, 0], PC + 8, 0),
            (0x9282, [PC + 8, 0], PC + 8, PC + 2),
        ];
        for (raw, [a, b], pc, link) in cases {
            let mut h = Hart::at(&[raw]);
            (h.s.x[5], h.s.x[6]) = (a, b);
            assert_eq!(h.plan(true), Plan::Done, "{raw:#x}");
            assert_eq!((h.s.pc, h.s.x[1], h.s.x[0]), (pc, link, 0), "{raw:#x}");
        }
        // The link register is the base, too.
        let mut h = Hart::at(&[word(Op::Jalr, 5, 5, 0, 0)]);
        h.s.x[5] = PC + 100;
        assert_eq!((h.plan(true), h.s.pc, h.s.x[5]), (Plan::Done, PC + 100, PC + 4));
    }

    #[test]
    fn what_waits_is_done_at_once_and_traps_are_taken() {
        let mut h = Hart::at(&[word(Op::Wfi, 0, 0, 0, 0)]);
        assert_eq!((h.plan(true), h.s.pc), (Plan::Done, PC + 4));
        let mut h = Hart::at(&[word(Op::WrsNto, 0, 0, 0, 0)]);
        assert_eq!((h.plan(true), h.s.pc), (Plan::Done, PC + 4));

        let mut h = Hart::at(&[word(Op::Ebreak, 0, 0, 0, 0)]);
        h.s.csr.mstatus |= mstatus::SIE;
        h.s.csr.stvec |= tvec::VECTORED;
        assert_eq!(h.plan(true), Plan::Done);
        let c = &h.s.csr;
        assert_eq!((h.s.pc, c.sepc, c.scause, c.stval), (HANDLER, PC, 3, PC));
        assert_eq!(c.mstatus & (mstatus::SIE | mstatus::SPIE | mstatus::SPP), mstatus::SPIE | mstatus::SPP);

        let mut h = Hart::at(&[word(Op::Sret, 0, 0, 0, 0)]);
        h.s.csr.sepc = PC;
        h.s.csr.mstatus |= mstatus::SPIE;
        assert_eq!((h.plan(true), h.s.pc, h.s.mode), (Plan::Done, PC, Mode::User));
        assert_ne!(h.s.csr.mstatus & mstatus::SIE, 0);
    }

    #[test]
    fn programs_of_u_mode_are_found_by_their_tables() {
        let user = |raw| {
            let mut h = Hart::at(&[raw]);
            let entry = pte::V | pte::R | pte::W | pte::X | pte::U | pte::A | pte::D | (RAM >> 12) << 10;
            h.ram.write_obj(entry, GuestAddress(RAM + 0x3000)).unwrap();
            (h.s.mode, h.s.pc) = (Mode::User, 0x1000);
            h.s.csr.satp = 8 << satp::MODE_SHIFT | (RAM + 0x3000) >> 12;
            h
        };
        let mut h = user(word(Op::Ecall, 0, 0, 0, 0));
        assert_eq!(h.plan(true), Plan::Done);
        assert_eq!((h.s.pc, h.s.mode, h.s.csr.scause, h.s.csr.sepc), (HANDLER, Mode::Supervisor, 8, 0x1000));
        // Neither is its own to execute.
        for op in [Op::Wfi, Op::Sret] {
            assert_eq!(user(word(op, 0, 0, 0, 0)).plan(true), run(&[0x1004, HANDLER], true));
        }
        assert_eq!(user(word(Op::Csrrs, 1, 0, 0, csr::SIE.into())).plan(true), run(&[0x1004, HANDLER], true));
    }

    #[test]
    fn no_instruction_sees_the_masked_interrupts() {
        let sie = i32::from(csr::SIE);
        for (op, rs1, x5, old, new) in [
            (Op::Csrrw, 5, 0x220, 0x22, 0x220),
            (Op::Csrrs, 5, u64::MAX, 0x22, SUPERVISOR),
            (Op::Csrrs, 0, 0, 0x22, 0x22),
            (Op::Csrrc, 5, 0x20, 0x22, 0x2),
            (Op::Csrrwi, 2, 0, 0x22, 0x2),
            (Op::Csrrsi, 2, 0, 0x20, 0x22),
            (Op::Csrrci, 2, 0, 0x22, 0x20),
        ] {
            let mut h = Hart::at(&[word(op, 1, rs1, 0, sie)]);
            (h.s.csr.mie, h.s.x[5]) = (old | 8, x5);
            assert_eq!(h.plan(true), Plan::Done);
            assert_eq!((h.s.x[1], h.s.csr.mie, h.s.pc), (old, new | 8, PC + 4), "{op:?}");
        }
        assert_eq!(Hart::at(&[word(Op::Csrrs, 1, 0, 0, sie)]).plan(false), run(&[PC + 4, HANDLER], false));
        let mut h = Hart::at(&[word(Op::Csrrs, 1, 0, 0, csr::STOPI.into())]);
        assert_eq!(h.plan(true), run(&[PC + 4, HANDLER], false));
        // A call may wait, and is made with interrupts off.
        let mut h = Hart::at(&[word(Op::Ecall, 0, 0, 0, 0)]);
        assert_eq!(h.plan(true), run(&[PC + 4, HANDLER], false));
        h.s.csr.mstatus |= mstatus::SIE;
        assert_eq!(h.plan(true), run(&[PC + 4, HANDLER], true));
    }

    #[test]
    fn a_sequence_of_lr_and_sc_is_one_step() {
        let (lr, sc) = (word(Op::LrW, 1, 10, 0, 0), word(Op::ScW, 3, 10, 2, 0));
        // As a compare-and-swap is written: out if another value is there, again if the store failed.
        let mut h = Hart::at(&[lr, word(Op::Bne, 0, 1, 4, 16), sc, word(Op::Bne, 0, 3, 0, -12)]);
        assert_eq!(h.ends(), [PC + 20, PC + 12, HANDLER]);
        // Branches within lead nowhere else.
        let mut h = Hart::at(&[lr, word(Op::Beq, 0, 1, 4, 8), word(Op::Addi, 2, 2, 0, 1), sc]);
        assert_eq!(h.ends(), [PC + 16, HANDLER]);
        // No SC, one behind a jump, and one too far away.
        assert_eq!(Hart::at(&[lr]).ends(), [PC + 4, HANDLER]);
        assert_eq!(Hart::at(&[lr, word(Op::Jal, 0, 0, 0, 8), sc]).ends(), [PC + 4, HANDLER]);
        let nop = word(Op::Addi, 0, 0, 0, 0);
        let far = |nops| [&[lr][..], &vec![nop; nops], &[sc]].concat();
        assert_eq!(Hart::at(&far(14)).ends(), [PC + 64, HANDLER]);
        assert_eq!(Hart::at(&far(15)).ends(), [PC + 4, HANDLER]);
        assert!(Hart::at(&[]).isa.has(Ext::Zalrsc));
    }
}
