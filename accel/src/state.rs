//! All architectural state of a hart, plain: the one exchange format between engines.
//!
//! `repr(C)` because generated code addresses the fields by their offsets. A snapshot keeps it by the fields' names.

use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Privilege mode, encoded as in `mstatus.MPP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mode {
    User = 0,
    Supervisor = 1,
    #[default]
    Machine = 3,
}

/// Whether a hart executes, as SBI HSM and KVM's MP state see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum MpState {
    #[default]
    Runnable = 0,
    Stopped = 1,
    /// In the critical-error state (Smdbltrp): it executes nothing until it is reset.
    Failed = 2,
}

/// Physical memory protection registers (privileged spec, "Physical Memory Protection").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct PmpState {
    /// One byte an entry: L, A, X, W, R.
    #[serde(with = "BigArray")]
    pub cfg: [u8; 64],
    /// Bits 55:2 of the address.
    #[serde(with = "BigArray")]
    pub addr: [u64; 64],
}

impl Default for PmpState {
    fn default() -> Self {
        Self { cfg: [0; 64], addr: [0; 64] }
    }
}

/// v0 to v31. Register `n` is the VLEN / 8 bytes from byte `n * VLEN / 8` on, so that the registers of a group are one
/// run of bytes, elements in order and little-endian. There is room for VLEN = [`MAX_VLEN`]; what lies beyond v31 of a
/// smaller VLEN is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C, align(64))]
pub struct VectorRegs(#[serde(with = "BigArray")] pub [u8; 32 * MAX_VLEN / 8]);

/// The longest vector register, in bits.
pub const MAX_VLEN: usize = 1024;

impl Default for VectorRegs {
    fn default() -> Self {
        Self([0; 32 * MAX_VLEN / 8])
    }
}

/// A control-transfer record: `ctrsource`, `ctrtarget` and `ctrdata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct CtrEntry {
    pub source: u64,
    pub target: u64,
    pub data: u64,
}

/// Control-transfer records (privileged spec, "Smctr").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct CtrState {
    pub mctrctl: u64,
    pub vsctrctl: u64,
    /// `sctrstatus`.
    pub status: u64,
    /// `sctrdepth`.
    pub depth: u64,
    /// By place in the buffer, not by age.
    #[serde(with = "BigArray")]
    pub entries: [CtrEntry; 256],
}

impl Default for CtrState {
    fn default() -> Self {
        Self { mctrctl: 0, vsctrctl: 0, status: 0, depth: 0, entries: [CtrEntry::default(); 256] }
    }
}

/// Triggers of a hart that has Sdtrig.
pub const TRIGGERS: usize = 2;

/// A trigger (debug spec, "Sdtrig"); all zero is one that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct TriggerState {
    pub tdata1: u64,
    pub tdata2: u64,
    pub tdata3: u64,
}

/// The CSRs that hold state of their own. Views (`sstatus`, `sip`, `fflags` ...) are not stored.
/// Counters are the values at the moment the state was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct CsrState {
    /// `mhartid`; set at reset, never written by software.
    pub hart_id: u64,
    /// SD is not state: it is computed from FS, VS and XS on a read.
    pub mstatus: u64,
    pub misa: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// The bits that software owns (SSIP, STIP and SEIP as written); lines of chips are OR-ed in on a read.
    pub mip: u64,
    pub mtvec: u64,
    pub mscratch: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub mcounteren: u64,
    pub mcountinhibit: u64,
    pub menvcfg: u64,
    pub mseccfg: u64,
    pub mcycle: u64,
    pub minstret: u64,
    pub mhpmcounter: [u64; 32],
    pub mhpmevent: [u64; 32],
    pub pmp: PmpState,

    pub stvec: u64,
    pub sscratch: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    pub satp: u64,
    pub scounteren: u64,
    pub senvcfg: u64,
    pub stimecmp: u64,

    pub tselect: u64,
    /// `fflags` in bits 4:0, `frm` in bits 7:5.
    pub fcsr: u64,

    // Hypervisor extension (H). `hip`, `hie`, `vsip` and `vsie` are views of `hvip`, `mip` and `mie`.
    pub hstatus: u64,
    pub hedeleg: u64,
    pub hideleg: u64,
    /// The virtual interrupts that the hypervisor asserts. VSSIP of `mip` and `hip` is this VSSIP.
    pub hvip: u64,
    pub hgeie: u64,
    /// As written: fields that `menvcfg` withholds do not count and do not show.
    pub henvcfg: u64,
    pub hcounteren: u64,
    pub htimedelta: u64,
    pub htval: u64,
    pub htinst: u64,
    pub hgatp: u64,
    /// As `mstatus`, without SD.
    pub vsstatus: u64,
    pub vstvec: u64,
    pub vsscratch: u64,
    pub vsepc: u64,
    pub vscause: u64,
    pub vstval: u64,
    pub vsatp: u64,
    pub vstimecmp: u64,
    pub mtval2: u64,
    pub mtinst: u64,

    // Indirect access: Smcsrind, Sscsrind, Smaia, Ssaia.
    pub miselect: u64,
    pub siselect: u64,
    pub vsiselect: u64,

    // Smaia and Ssaia.
    /// Priority numbers of major interrupts that trap to M-mode and to S-mode: iprio0, iprio2 ... iprio14, a byte an
    /// interrupt.
    pub miprio: [u64; 8],
    pub siprio: [u64; 8],
    pub mvien: u64,
    /// The bits of `mvip` that are no alias of `mip`: that of SSIP counts while `mvien` has it.
    pub mvip: u64,
    /// `sie` of the interrupts that `mvien` gives to S-mode.
    pub sie_virtual: u64,
    pub hvien: u64,
    pub hvictl: u64,
    pub hviprio1: u64,
    pub hviprio2: u64,
    /// `vsie` of the interrupts that `hvien` gives to VS-mode.
    pub vsie_virtual: u64,

    // State enables: Smstateen, Ssstateen.
    pub mstateen: [u64; 4],
    pub hstateen: [u64; 4],
    pub sstateen: [u64; 4],

    // Non-maskable interrupts: Smrnmi.
    pub mnscratch: u64,
    pub mnepc: u64,
    pub mncause: u64,
    /// Without NMIE.
    pub mnstatus: u64,
    /// `mnstatus.NMIE` is clear. Never set on a hart without Smrnmi.
    pub nmi_masked: bool,

    // Control-transfer records: Smctr, Ssctr.
    pub ctr: CtrState,

    // Counters: Smcntrpmf.
    pub mcyclecfg: u64,
    pub minstretcfg: u64,

    // Vectors (V, Zve*).
    pub vstart: u64,
    pub vl: u64,
    /// `vill` in bit 63, as the CSR has it; then all other bits are zero.
    pub vtype: u64,
    /// `vxsat` in bit 0, `vxrm` in bits 2:1.
    pub vcsr: u64,

    // Shadow stack (Zicfiss).
    pub ssp: u64,

    // Triggers (Sdtrig). `hcontext` is a view of `mcontext`.
    pub triggers: [TriggerState; TRIGGERS],
    pub mcontext: u64,
    pub scontext: u64,
}

/// What an engine keeps of a hart for SBI where it answers calls itself (KVM); built-in SBI keeps its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
pub struct SbiState {
    /// Guest physical address of the steal-time area (SBI STA), `u64::MAX` for none.
    pub steal_time: u64,
    /// Bit n: feature n of SBI FWFT is locked. Values are fields of `menvcfg` and `medeleg`.
    pub locked_features: u64,
}

impl Default for SbiState {
    fn default() -> Self {
        Self { steal_time: u64::MAX, locked_features: 0 }
    }
}

impl HartState {
    /// Whether a state from elsewhere is one that a hart with this ISA can have, as far as anything here relies on it.
    ///
    /// # Errors
    /// The first register that holds what it cannot hold.
    pub fn check(&self, isa: &arch::ext::IsaConfig) -> Result<(), String> {
        let vlen = u64::from(isa.vlen).clamp(8, MAX_VLEN as u64);
        let limits: [(&str, u64, u64); 7] = [
            ("x0", self.x[0], 0),
            ("tselect", self.csr.tselect, TRIGGERS as u64 - 1),
            ("fcsr", self.csr.fcsr, 0xff),
            ("vl", self.csr.vl, vlmax(self.csr.vtype, vlen).ok_or("vtype means nothing")?),
            ("vstart", self.csr.vstart, vlen - 1),
            ("vcsr", self.csr.vcsr, 7),
            ("sctrdepth", self.csr.ctr.depth, 4),
        ];
        match limits.iter().find(|(_, value, most)| value > most) {
            Some((name, value, most)) => Err(format!("{name} is {value:#x}, at most {most:#x} is allowed")),
            None if self.virt && self.mode == Mode::Machine => Err("V is set in M-mode".to_owned()),
            None => Ok(()),
        }
    }
}

/// The most elements of a vector; 0 with `vill`, nothing for a `vtype` that cannot be.
fn vlmax(vtype: u64, vlen: u64) -> Option<u64> {
    const VILL: u64 = 1 << 63;
    let (sew, lmul) = (8 << (vtype >> 3 & 7), vtype & 7);
    match (vtype, lmul) {
        (VILL, _) => Some(0),
        (0x100.., _) | (_, 4) => None,
        _ if sew > 64 => None,
        (_, 0..4) => Some((vlen << lmul) / sew),
        (_, _) => Some((vlen >> (8 - lmul)) / sew),
    }
}

/// A hart as a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[repr(C)]
pub struct HartState {
    /// x0 is always zero.
    pub x: [u64; 32],
    /// NaN-boxed as the `D` extension says.
    pub f: [u64; 32],
    pub pc: u64,
    pub mode: Mode,
    /// The virtualization mode V: with `mode` S this is VS-mode, with U it is VU-mode. Never set in M-mode.
    pub virt: bool,
    pub mp: MpState,
    pub csr: CsrState,
    /// Vector registers (V, Zve*).
    pub v: VectorRegs,
    /// A landing pad is expected at `pc` (ELP of Zicfilp).
    pub elp: bool,
    pub sbi: SbiState,
}
