//! Registers as gdb knows them: their numbers, and where they are in a hart's state.

use std::num::NonZeroUsize;

use accel::{HartState, Mode};
use arch::ext::{Ext, IsaConfig};
use gdbstub::arch::{Arch, RegId, Registers};

/// gdb's numbers of the first floating-point register, of CSR 0, of the privilege mode and of v0.
const F0: usize = 33;
const CSR0: usize = 65;
const PRIV: usize = CSR0 + 0x1000;
const V0: usize = PRIV + 1;

/// RISC-V of 64 bits, little-endian.
pub enum Riscv {}

impl Arch for Riscv {
    type Usize = u64;
    type Registers = Core;
    /// The length of the instruction, which makes no difference here.
    type BreakpointKind = usize;
    type RegId = Register;
}

/// What gdb reads at once; it asks for all others by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Core {
    pub x: [u64; 32],
    pub pc: u64,
}

impl Registers for Core {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pc
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let all = self.x.iter().chain([&self.pc]);
        all.flat_map(|value| value.to_le_bytes()).for_each(|byte| write_byte(Some(byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        if bytes.len() != 33 * 8 {
            return Err(());
        }
        let all = self.x.iter_mut().chain([&mut self.pc]);
        for (value, bytes) in all.zip(bytes.chunks_exact(8)) {
            *value = number(bytes).ok_or(())?;
        }
        Ok(())
    }
}

/// A register by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    X(u8),
    Pc,
    F(u8),
    Csr(u16),
    /// The privilege mode, which is in no register that software reads.
    Priv,
    V(u8),
}

impl Register {
    pub fn number(self) -> usize {
        match self {
            Self::X(n) => usize::from(n),
            Self::Pc => 32,
            Self::F(n) => F0 + usize::from(n),
            Self::Csr(n) => CSR0 + usize::from(n),
            Self::Priv => PRIV,
            Self::V(n) => V0 + usize::from(n),
        }
    }

    /// The value in `state`, little-endian; `None` for CSRs, which only the engine knows, and for what the hart does not have.
    pub fn read(self, state: &HartState, isa: &IsaConfig) -> Option<Vec<u8>> {
        Some(match self {
            Self::X(n) => state.x[usize::from(n)].to_le_bytes().to_vec(),
            Self::Pc => state.pc.to_le_bytes().to_vec(),
            Self::F(n) => state.f[usize::from(n)].to_le_bytes()[..float_size(isa)?].to_vec(),
            Self::Csr(_) => return None,
            Self::Priv => (state.mode as u64).to_le_bytes().to_vec(),
            Self::V(n) => {
                let size = vector_size(isa)?;
                state.v.0[usize::from(n) * size..][..size].to_vec()
            }
        })
    }

    /// Puts `value` into `state`; whether that is possible. x0 stays zero.
    #[must_use]
    pub fn write(self, state: &mut HartState, isa: &IsaConfig, value: &[u8]) -> bool {
        match self {
            Self::X(n) => number(value).map(|v| state.x[usize::from(n)] = if n == 0 { 0 } else { v }).is_some(),
            Self::Pc => number(value).map(|v| state.pc = v).is_some(),
            Self::F(n) if Some(value.len()) == float_size(isa) => {
                // A value that is shorter than its register is boxed in ones.
                let mut bytes = [0xff; 8];
                bytes[..value.len()].copy_from_slice(value);
                state.f[usize::from(n)] = u64::from_le_bytes(bytes);
                true
            }
            Self::Priv => match number(value) {
                Some(0) => set_mode(state, Mode::User),
                Some(1) => set_mode(state, Mode::Supervisor),
                Some(3) => set_mode(state, Mode::Machine),
                _ => false,
            },
            Self::V(n) if Some(value.len()) == vector_size(isa) => {
                state.v.0[usize::from(n) * value.len()..][..value.len()].copy_from_slice(value);
                true
            }
            Self::F(_) | Self::V(_) | Self::Csr(_) => false,
        }
    }
}

fn set_mode(state: &mut HartState, mode: Mode) -> bool {
    state.mode = mode;
    state.virt &= mode != Mode::Machine;
    true
}

impl RegId for Register {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let register = match id {
            0..=31 => Self::X(id as u8),
            32 => Self::Pc,
            F0..CSR0 => Self::F((id - F0) as u8),
            CSR0..PRIV => Self::Csr((id - CSR0) as u16),
            PRIV => Self::Priv,
            _ if (V0..V0 + 32).contains(&id) => Self::V((id - V0) as u8),
            _ => return None,
        };
        Some((register, None))
    }

    fn to_raw_id(&self) -> Option<usize> {
        Some(self.number())
    }
}

/// Eight bytes as a number.
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Bytes of a floating-point register; `None` without any.
pub fn float_size(isa: &IsaConfig) -> Option<usize> {
    if isa.has(Ext::D) { Some(8) } else { isa.has(Ext::F).then_some(4) }
}

/// Bytes of a vector register; `None` without any.
pub fn vector_size(isa: &IsaConfig) -> Option<usize> {
    isa.has(Ext::Zve32x).then_some(isa.vlen as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_there_and_back() {
        for id in 0..V0 + 40 {
            let register = Register::from_raw_id(id).map(|(register, _)| register);
            assert_eq!(register.is_some(), id < V0 + 32, "{id}");
            assert!(register.is_none_or(|r| r.number() == id), "{id}: {register:?}");
        }
        assert_eq!((PRIV, V0), (4161, 4162));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut isa = IsaConfig::default();
        let mut state = HartState::default();
        isa.exts.remove(Ext::V);
        isa.exts.remove(Ext::Zve32x);
        // Without vectors there are no such registers.
        assert_eq!((Register::V(0).read(&state, &isa), Register::V(0).write(&mut state, &isa, &[])), (None, false));
        isa.exts.insert(Ext::Zve32x);
        isa.vlen = 256;
        let vector = [7; 32];
        let all = [(Register::X(5), &[1; 8][..]), (Register::Pc, &[2; 8]), (Register::F(31), &[3; 8])];
        for (register, value) in all {
            assert!(register.write(&mut state, &isa, value));
            assert_eq!(register.read(&state, &isa).as_deref(), Some(value), "{register:?}");
            assert!(!register.write(&mut state, &isa, &value[1..]), "{register:?}");
        }
        assert!(Register::V(31).write(&mut state, &isa, &vector));
        assert_eq!(Register::V(31).read(&state, &isa).as_deref(), Some(&vector[..]));
        assert_eq!(Register::V(30).read(&state, &isa), Some(vec![0; 32]));
        assert!(!Register::V(31).write(&mut state, &isa, &vector[1..]));
        assert!(Register::X(0).write(&mut state, &isa, &[1; 8]));
        assert_eq!(state.x[0], 0);
        assert!(Register::Priv.write(&mut state, &isa, &1u64.to_le_bytes()));
        assert_eq!(state.mode, Mode::Supervisor);
        assert!(!Register::Priv.write(&mut state, &isa, &2u64.to_le_bytes()));
    }
}
