//! All architectural state of a hart, plain: the one exchange format between engines.
//!
//! `repr(C)` because generated code addresses the fields by their offsets.

/// Privilege mode, encoded as in `mstatus.MPP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Mode {
    User = 0,
    Supervisor = 1,
    #[default]
    Machine = 3,
}

/// Whether a hart executes, as SBI HSM and KVM's MP state see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MpState {
    #[default]
    Runnable = 0,
    Stopped = 1,
}

/// Physical memory protection registers (privileged spec, "Physical Memory Protection").
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(C)]
pub struct PmpState {
    /// One byte an entry: L, A, X, W, R.
    pub cfg: [u8; 64],
    /// Bits 55:2 of the address.
    pub addr: [u64; 64],
}

impl Default for PmpState {
    fn default() -> Self {
        Self { cfg: [0; 64], addr: [0; 64] }
    }
}

/// The CSRs that hold state of their own. Views (`sstatus`, `sip`, `fflags` ...) are not stored.
/// Counters are the values at the moment the state was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
}

/// A hart as a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[repr(C)]
pub struct HartState {
    /// x0 is always zero.
    pub x: [u64; 32],
    /// NaN-boxed as the `D` extension says.
    pub f: [u64; 32],
    pub pc: u64,
    pub mode: Mode,
    pub mp: MpState,
    pub csr: CsrState,
}
