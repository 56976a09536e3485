//! Faults of instructions that KVM leaves to us and that nothing answers. KVM has no call for such a trap, so that it is
//! made here, as the specification has the hart take it: a load or store access fault at the instruction, with its
//! virtual address; an illegal instruction, with its encoding. Accesses to devices that the kernel does not hand on are such
//! faults, too.
//!
//! Privileged spec, "Supervisor Cause Register (scause)".

use arch::ext::IsaConfig;
use arch::isa::{Decoder, Insn, insn_len};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::debug::Tables;
use crate::tcg::mmu::walk::{Access, Regime, translate};
use crate::tcg::tinst::displacement;
use crate::tcg::trap::{Trap, take_trap};
use crate::{GuestRam, HartState};

/// Puts the hart, which stands at a load or store that nothing answers, into its trap handler.
pub fn take(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam, access: Access) {
    // The address is the instruction's; where that cannot be read any more (another hart has changed it), none is told.
    let va = address(s, isa, ram).unwrap_or(0);
    let epc = s.pc;
    take_trap(s, isa, access.access_fault(va), epc);
}

/// The same for an instruction that names a CSR that there is not.
pub fn take_illegal(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam) {
    let (trap, epc) = (Trap::illegal(instruction_at(s, isa, ram, s.pc).unwrap_or(0)), s.pc);
    take_trap(s, isa, trap, epc);
}

/// The same for a fetch, if the pc leads to where there is no RAM. Whether it does.
pub fn take_fetch(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam) -> bool {
    let nowhere = |va| match place(s, isa, ram, va) {
        Some(pa) => !ram.address_in_range(GuestAddress(pa)),
        None => false,
    };
    // The second half of an instruction may be the one that is missing; `epc` is the instruction's.
    let Some(va) = [s.pc, s.pc.wrapping_add(2)].into_iter().find(|va| nowhere(*va)) else { return false };
    let epc = s.pc;
    take_trap(s, isa, Access::Fetch.access_fault(va), epc);
    true
}

/// The same for an access to a device that the kernel cannot take apart: an atomic one, one of floating-point or vector
/// registers, one that is not aligned. Whether the instruction at the pc is a load or store at all.
pub fn take_access(s: &mut HartState, isa: &IsaConfig, ram: &GuestRam) -> bool {
    let Some(raw) = instruction_at(s, isa, ram, s.pc) else { return false };
    let Some(insn) = Decoder::new(isa).decode(raw) else { return false };
    let Some(access) = access(&insn) else { return false };
    // Which element of a vector it was is not known, and then none is told.
    let va = if is_vector(&insn) { 0 } else { s.x[usize::from(insn.rs1)].wrapping_add(displacement(&insn, raw)) };
    let epc = s.pc;
    take_trap(s, isa, access.access_fault(va), epc);
    true
}

/// What the instruction does to memory, by its major opcode.
fn access(insn: &Insn) -> Option<Access> {
    let bits = insn.op.row().pattern.bits;
    match bits & 0x7f {
        // LOAD, LOAD-FP, STORE and STORE-FP.
        0x03 | 0x07 => Some(Access::Load),
        0x23 | 0x27 => Some(Access::Store),
        // AMO: LR and the loads with acquire order only load.
        0x2f if matches!(bits >> 27, 0b00010 | 0b00110) => Some(Access::Load),
        0x2f => Some(Access::Store),
        // MISC-MEM: the cache-block operations.
        0x0f if bits >> 12 & 7 == 2 => Some(Access::Store),
        _ => None,
    }
}

/// Of the widths that LOAD-FP and STORE-FP have, 1 to 4 are scalar.
fn is_vector(insn: &Insn) -> bool {
    let bits = insn.op.row().pattern.bits;
    matches!(bits & 0x7f, 0x07 | 0x27) && !(1..=4).contains(&(bits >> 12 & 7))
}

/// Where `va` is in physical memory, for execution.
fn place(s: &HartState, isa: &IsaConfig, ram: &GuestRam, va: u64) -> Option<u64> {
    let regime = Regime { dry: true, ..Regime::fetch(s, isa) };
    Some(translate(&regime, &Tables(ram), va, Access::Fetch).ok()?.pa)
}

/// The virtual address of the load or store at the pc.
fn address(s: &HartState, isa: &IsaConfig, ram: &GuestRam) -> Option<u64> {
    let raw = instruction_at(s, isa, ram, s.pc)?;
    let insn = Decoder::new(isa).decode(raw)?;
    Some(s.x[usize::from(insn.rs1)].wrapping_add(displacement(&insn, raw)))
}

/// The instruction at a virtual address.
pub fn instruction_at(s: &HartState, isa: &IsaConfig, ram: &GuestRam, va: u64) -> Option<u32> {
    let half = |va| ram.read_obj::<u16>(GuestAddress(place(s, isa, ram, va)?)).ok();
    let low = half(va)?;
    let high = if insn_len(low) == 4 { half(va.wrapping_add(2))? } else { 0 };
    Some(u32::from(low) | u32::from(high) << 16)
}

#[cfg(test)]
mod tests {
    use arch::csr::{mstatus, satp};
    use arch::pte;

    use super::*;
    use crate::Mode;
    use crate::tcg::csr::reset_supervisor;

    const RAM: u64 = 0x8000_0000;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 20)]).unwrap()
    }

    #[test]
    fn a_load_of_nowhere_traps_with_its_address() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // ld a0, -8(a1)
        ram.write_obj(0xff85_b503u32, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, RAM + 0x1000, 0);
        (s.x[11], s.csr.stvec) = (0x1000_0008, RAM + 0x2000);
        take(&mut s, &isa, &ram, Access::Load);
        assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, RAM + 0x1000, 5, 0x1000_0000));
        assert_eq!(s.csr.mstatus & mstatus::SPP, mstatus::SPP);
    }

    #[test]
    fn an_unknown_csr_is_an_illegal_instruction() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // csrrw a4, stopei, zero
        ram.write_obj(0x15c0_1773u32, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, RAM + 0x1000, 0);
        s.csr.stvec = RAM + 0x2000;
        take_illegal(&mut s, &isa, &ram);
        assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, RAM + 0x1000, 2, 0x15c0_1773));
    }

    #[test]
    fn a_fetch_of_nowhere_traps_and_others_are_left_alone() {
        let (ram, isa) = (ram(), IsaConfig::default());
        let start = |pc| {
            let mut s = reset_supervisor(&isa, 0, pc, 0);
            s.csr.stvec = RAM + 0x2000;
            s
        };
        for (pc, tval) in [(0x4000_0000, 0x4000_0000), (RAM + (1 << 20) - 2, RAM + (1 << 20))] {
            let mut s = start(pc);
            assert!(take_fetch(&mut s, &isa, &ram));
            assert_eq!((s.pc, s.csr.sepc, s.csr.scause, s.csr.stval), (RAM + 0x2000, pc, 1, tval));
        }
        let mut s = start(RAM + 0x1000);
        assert!(!take_fetch(&mut s, &isa, &ram));
        assert_eq!(s, start(RAM + 0x1000));
    }

    #[test]
    fn accesses_that_cannot_be_taken_apart_are_faults_and_others_are_left_alone() {
        let (ram, isa) = (ram(), arch::model::parse("max").unwrap());
        let start = |raw: u32| {
            ram.write_obj(raw, GuestAddress(RAM + 0x1000)).unwrap();
            let mut s = reset_supervisor(&isa, 0, RAM + 0x1000, 0);
            (s.x[8], s.x[11], s.csr.stvec) = (0x1000_0010, 0x1000_0002, RAM + 0x2000);
            s
        };
        for (raw, cause, tval) in [
            // amoadd.d a0, a0, (a1); lr.w a0, (a1); sc.w a0, a0, (a1); cbo.zero (a1).
            (0x00a5_b52f, 7, 0x1000_0002),
            (0x1005_a52f, 5, 0x1000_0002),
            (0x18a5_a52f, 7, 0x1000_0002),
            (0x0045_a00f, 7, 0x1000_0002),
            // fld fa0, 8(a1); fsw fa0, 8(a1); c.fld fa0, 8(s0).
            (0x0085_b507, 5, 0x1000_000a),
            (0x00a5_a427, 7, 0x1000_000a),
            (0x2408, 5, 0x1000_0018),
            // vle64.v v1, (a1); vse8.v v1, (a1).
            (0x0205_f087, 5, 0),
            (0x0205_80a7, 7, 0),
            // lw a0, 0(a1), not aligned.
            (0x0005_a503, 5, 0x1000_0002),
        ] {
            let mut s = start(raw);
            assert!(take_access(&mut s, &isa, &ram), "{raw:#x}");
            let got = (s.pc, s.csr.sepc, s.csr.scause, s.csr.stval);
            assert_eq!(got, (RAM + 0x2000, RAM + 0x1000, cause, tval), "{raw:#x}");
        }
        // add a0, a0, a1; fence; jalr a1; ecall; what is no instruction.
        for raw in [0x00b5_0533, 0x0ff0_000f, 0x0005_80e7, 0x73, 0xffff_ffff] {
            let mut s = start(raw);
            let before = s.clone();
            assert!(!take_access(&mut s, &isa, &ram), "{raw:#x}");
            assert_eq!(s, before);
        }
    }

    #[test]
    fn the_instruction_is_found_through_the_guests_tables() {
        let (ram, isa) = (ram(), IsaConfig::default());
        // One page of 1 GiB, executable by U-mode, at virtual 0.
        let entry = pte::V | pte::R | pte::W | pte::X | pte::U | pte::A | pte::D | (RAM >> 12) << 10;
        ram.write_obj(entry, GuestAddress(RAM + 0x3000)).unwrap();
        // c.sw a2, 4(a0)
        ram.write_obj(0xc150u16, GuestAddress(RAM + 0x1000)).unwrap();
        let mut s = reset_supervisor(&isa, 0, 0x1000, 0);
        s.mode = Mode::User;
        (s.x[10], s.csr.satp) = (0x7000_0000, 8 << satp::MODE_SHIFT | (RAM + 0x3000) >> 12);
        take(&mut s, &isa, &ram, Access::Store);
        assert_eq!((s.mode, s.csr.scause, s.csr.stval), (Mode::Supervisor, 7, 0x7000_0004));
    }
}
