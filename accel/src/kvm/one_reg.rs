//! The numbers of KVM's registers (`KVM_GET_ONE_REG`), and how registers are reached.
//!
//! Nothing here needs a RISC-V host. A number is an architecture, a size, a type, a subtype and an index
//! (Linux, Documentation/virt/kvm/api.rst, "RISC-V registers", and arch/riscv/include/uapi/asm/kvm.h).

use std::io;

/// A register by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegId(pub u64);

const RISCV: u64 = 0x80 << 56;
const SIZE_SHIFT: u32 = 52;
const TYPE_SHIFT: u32 = 24;
const SUBTYPE_SHIFT: u32 = 16;
/// log2 of the bytes of a register.
const U32: u32 = 2;
const U64: u32 = 3;

/// Types.
const CONFIG: u64 = 1;
const CORE: u64 = 2;
const CSR: u64 = 3;
const TIMER: u64 = 4;
const FP_F: u64 = 5;
const FP_D: u64 = 6;
const ISA_EXT: u64 = 7;
const SBI_EXT: u64 = 8;
const VECTOR: u64 = 9;
const SBI_STATE: u64 = 10;

const fn id(size: u32, kind: u64, subtype: u64, index: u64) -> RegId {
    RegId(RISCV | (size as u64) << SIZE_SHIFT | kind << TYPE_SHIFT | subtype << SUBTYPE_SHIFT | index)
}

/// Of the harts themselves, fixed once one has run. The first is `misa`'s letters.
pub const MISA: RegId = id(U64, CONFIG, 0, 0);
pub const ZICBOM_BLOCK: RegId = id(U64, CONFIG, 0, 1);
pub const MVENDORID: RegId = id(U64, CONFIG, 0, 2);
pub const MARCHID: RegId = id(U64, CONFIG, 0, 3);
pub const MIMPID: RegId = id(U64, CONFIG, 0, 4);
pub const ZICBOZ_BLOCK: RegId = id(U64, CONFIG, 0, 5);
/// The encoding of `satp.MODE` of the largest mode.
pub const SATP_MODE: RegId = id(U64, CONFIG, 0, 6);
pub const ZICBOP_BLOCK: RegId = id(U64, CONFIG, 0, 7);

pub const PC: RegId = id(U64, CORE, 0, 0);
/// 1 in S-mode, 0 in U-mode.
pub const MODE: RegId = id(U64, CORE, 0, 32);

/// x`n`, for `n` from 1 to 31.
pub const fn x(n: usize) -> RegId {
    assert!(n >= 1 && n < 32);
    id(U64, CORE, 0, n as u64)
}

/// A CSR that KVM always has, by its place in the kernel's list.
pub const fn csr(index: u64) -> RegId {
    id(U64, CSR, 0, index)
}

/// `sie`.
pub const SIE: RegId = csr(1);
/// `sscratch`.
pub const SSCRATCH: RegId = csr(3);
/// `satp`.
pub const SATP: RegId = csr(8);

/// A CSR of Ssaia: siselect, iprio1, iprio2, then the upper halves that only 32-bit harts have: sieh, siph, iprio1h,
/// iprio2h.
pub const fn csr_aia(index: u64) -> RegId {
    id(U64, CSR, 1, index)
}

/// `sstateen0`.
pub const SSTATEEN0: RegId = id(U64, CSR, 2, 0);

/// Ticks of `time` a second.
pub const FREQUENCY: RegId = id(U64, TIMER, 0, 0);
/// `time` of the whole machine.
pub const TIME: RegId = id(U64, TIMER, 0, 1);
pub const TIMER_COMPARE: RegId = id(U64, TIMER, 0, 2);
/// 1 where the timer is armed, else 0.
pub const TIMER_STATE: RegId = id(U64, TIMER, 0, 3);

/// f`n` of harts with D, and of harts that only have F.
pub const fn f_double(n: usize) -> RegId {
    id(U64, FP_D, 0, n as u64)
}

pub const fn f_single(n: usize) -> RegId {
    id(U32, FP_F, 0, n as u64)
}

pub const FCSR_DOUBLE: RegId = id(U32, FP_D, 0, 32);
pub const FCSR_SINGLE: RegId = id(U32, FP_F, 0, 32);

/// An extension by KVM's number: 1 where the hart has it.
pub const fn isa_extension(number: usize) -> RegId {
    id(U64, ISA_EXT, 0, number as u64)
}

/// An SBI extension by KVM's number: 1 where the kernel answers its calls or hands them on.
pub const fn sbi_extension(number: usize) -> RegId {
    id(U64, SBI_EXT, 0, number as u64)
}

/// Guest physical address of the steal-time area (SBI STA), all ones for none; the second is for 32-bit harts.
pub const STEAL_TIME: RegId = id(U64, SBI_STATE, 0, 0);
pub const STEAL_TIME_HIGH: RegId = id(U64, SBI_STATE, 0, 1);

/// A feature of SBI FWFT by KVM's place of it: whether calls may use it, whether it is locked, and its value.
pub const fn feature_enable(place: u64) -> RegId {
    id(U64, SBI_STATE, 1, 3 * place)
}

pub const fn feature_lock(place: u64) -> RegId {
    id(U64, SBI_STATE, 1, 3 * place + 1)
}

pub const fn feature_value(place: u64) -> RegId {
    id(U64, SBI_STATE, 1, 3 * place + 2)
}

pub const VSTART: RegId = id(U64, VECTOR, 0, 0);
pub const VL: RegId = id(U64, VECTOR, 0, 1);
pub const VTYPE: RegId = id(U64, VECTOR, 0, 2);
pub const VCSR: RegId = id(U64, VECTOR, 0, 3);
pub const VLENB: RegId = id(U64, VECTOR, 0, 4);

/// v`n` of harts whose vector registers have `vlenb` bytes, a power of two.
pub const fn v(n: usize, vlenb: usize) -> RegId {
    id(vlenb.trailing_zeros(), VECTOR, 0, 6 + n as u64)
}

impl RegId {
    /// Bytes of the register.
    pub const fn size(self) -> usize {
        1 << (self.0 >> SIZE_SHIFT & 15)
    }

    const fn kind(self) -> u64 {
        self.0 >> TYPE_SHIFT & 0xff
    }

    const fn subtype(self) -> u64 {
        self.0 >> SUBTYPE_SHIFT & 0xff
    }

    const fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// KVM's number of the ISA extension, if it is one's switch.
    pub fn isa_number(self) -> Option<usize> {
        (self.kind() == ISA_EXT && self.subtype() == 0).then_some(self.index())
    }

    /// KVM's number of the SBI extension, if it is one's switch.
    pub fn sbi_number(self) -> Option<usize> {
        (self.kind() == SBI_EXT && self.subtype() == 0).then_some(self.index())
    }

    /// Whether it is one of f0 to f31 and fcsr of harts that only have F. KVM lists them beside those of D, of which
    /// they are pieces.
    pub fn is_single(self) -> bool {
        self.kind() == FP_F && self.index() <= 32
    }

    /// Whether it is one of v0 to v31, of whatever size.
    pub fn is_vector(self) -> bool {
        self.kind() == VECTOR && (6..38).contains(&self.index())
    }

    fn error(self, e: &io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("register {:#x}: {e}", self.0))
    }
}

/// A vCPU's registers.
pub trait OneReg {
    /// Reads a register into `data`, which has just its size. `ENOENT` where the vCPU has no such register, or `EINVAL`
    /// where the kernel knows none of its kind.
    fn read(&self, id: RegId, data: &mut [u8]) -> io::Result<()>;
    /// Writes a register from `data`, which has just its size.
    fn write(&self, id: RegId, data: &[u8]) -> io::Result<()>;

    /// Every register that the vCPU has.
    fn list(&self) -> io::Result<Vec<RegId>>;

    /// A register of up to 64 bits; `None` where there is no such register, which kernels say in two ways.
    fn find(&self, id: RegId) -> io::Result<Option<u64>> {
        let mut data = [0; 8];
        match self.read(id, &mut data[..id.size()]) {
            Ok(()) => Ok(Some(u64::from_le_bytes(data))),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(None),
            Err(e) => Err(id.error(&e)),
        }
    }

    /// As [`find`](Self::find), of a register that has to be there.
    fn get(&self, id: RegId) -> io::Result<u64> {
        self.find(id)?.ok_or_else(|| id.error(&io::Error::from_raw_os_error(libc::ENOENT)))
    }

    fn set(&self, id: RegId, value: u64) -> io::Result<()> {
        self.write(id, &value.to_le_bytes()[..id.size()]).map_err(|e| id.error(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(PC.0, 0x8030_0000_0200_0000);
        assert_eq!(x(31).0, 0x8030_0000_0200_001f);
        assert_eq!(MODE.0, 0x8030_0000_0200_0020);
        assert_eq!(csr(8).0, 0x8030_0000_0300_0008, "satp");
        assert_eq!(csr_aia(0).0, 0x8030_0000_0301_0000, "siselect");
        assert_eq!(SSTATEEN0.0, 0x8030_0000_0302_0000);
        assert_eq!(TIME.0, 0x8030_0000_0400_0001);
        assert_eq!(FCSR_DOUBLE.0, 0x8020_0000_0600_0020);
        assert_eq!(f_single(3).0, 0x8020_0000_0500_0003);
        assert_eq!(isa_extension(15).0, 0x8030_0000_0700_000f);
        assert_eq!(sbi_extension(9).0, 0x8030_0000_0800_0009);
        assert_eq!(STEAL_TIME_HIGH.0, 0x8030_0000_0a00_0001);
        assert_eq!(feature_value(1).0, 0x8030_0000_0a01_0005, "pointer masking");
        assert_eq!((isa_extension(15).isa_number(), sbi_extension(9).isa_number()), (Some(15), None));
        assert_eq!((sbi_extension(9).sbi_number(), RegId(0x8030_0000_0801_0000).sbi_number()), (Some(9), None));
        assert!(f_single(31).is_single() && FCSR_SINGLE.is_single() && !f_double(0).is_single());
        assert!(v(31, 64).is_vector() && !VLENB.is_vector() && !RegId(0x8040_0000_0900_0026).is_vector());
        assert_eq!(v(0, 16).0, 0x8040_0000_0900_0006, "128 bits");
        assert_eq!((v(0, 32).size(), PC.size(), FCSR_DOUBLE.size()), (32, 8, 4));
    }
}
