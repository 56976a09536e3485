//! What the SBI needs of the machine it serves. Implemented by the VMM.

use arch::ext::IsaConfig;

use super::State;

/// Standard SBI errors that this implementation returns (spec, "Standard SBI Errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum SbiError {
    Failed = -1,
    NotSupported = -2,
    InvalidParam = -3,
    Denied = -4,
    InvalidAddress = -5,
    AlreadyAvailable = -6,
    AlreadyStarted = -7,
    AlreadyStopped = -8,
    NoShmem = -9,
    InvalidState = -10,
    BadRange = -11,
    DeniedLocked = -14,
}

/// HSM state of a hart (spec, "HSM Hart States"); the discriminant is the state id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HartStatus {
    Started = 0,
    Stopped = 1,
    StartPending = 2,
    StopPending = 3,
    Suspended = 4,
    SuspendPending = 5,
    ResumePending = 6,
}

impl HartStatus {
    /// The state with this id.
    pub fn from_id(id: u8) -> Option<Self> {
        use HartStatus::*;
        [Started, Stopped, StartPending, StopPending, Suspended, SuspendPending, ResumePending]
            .get(usize::from(id))
            .copied()
    }
}

/// A fence asked of other harts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// `fence.i`.
    Instruction,
    /// `sfence.vma` over `start .. start + size` bytes of virtual addresses; `size == u64::MAX` is the whole
    /// address space (and `start` is 0). `asid` is what the guest passed, unmasked.
    Address { start: u64, size: u64, asid: Option<u64> },
    /// `hfence.gvma` for the virtual machine `vmid`, or all. The range of guest physical addresses is not kept: a
    /// fence for all of them is one for each.
    GuestStage { vmid: Option<u64> },
    /// `hfence.vvma` for the virtual machine of the calling hart's `hgatp`, over guest virtual addresses as for
    /// `Address`.
    GuestAddress { start: u64, size: u64, asid: Option<u64> },
}

/// What the `mvendorid`, `marchid` and `mimpid` CSRs read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MachineIds {
    pub mvendorid: u64,
    pub marchid: u64,
    pub mimpid: u64,
}

/// The console's other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleError;

/// A trap taken while reading guest virtual memory for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestFault {
    /// `scause`.
    pub cause: u64,
    /// `stval`: the faulting virtual address.
    pub tval: u64,
}

/// The machine, as the SBI sees it. Called from vCPU threads, concurrently; no method may wait for another
/// hart to leave the guest, except [`SbiHost::remote_fence`].
pub trait SbiHost {
    /// Hart ids are `0..hart_count()`.
    fn hart_count(&self) -> u32;
    /// What `sbi_get_mvendorid` and its likes answer.
    fn machine_ids(&self) -> MachineIds;
    /// The ISA of every hart.
    fn isa(&self) -> &IsaConfig;

    /// `hart` is valid.
    fn hart_status(&self, hart: u32) -> HartStatus;
    /// Starts a stopped hart in S-mode with pc = `address`, a0 = `hart`, a1 = `opaque`, `satp` and
    /// `sstatus.SIE` zero. The check that it is stopped and the start are one atomic step: of two callers one
    /// gets [`SbiError::AlreadyAvailable`]. `hart` and `address` are valid.
    fn hart_start(&self, hart: u32, address: u64, opaque: u64) -> Result<(), SbiError>;
    /// Whether a hart may execute at this guest physical address.
    fn is_executable(&self, address: u64) -> bool;

    /// Makes `sip.SSIP` pending on a valid hart.
    fn send_ipi(&self, hart: u32);
    /// Clears `sip.SSIP` of the calling hart; says whether it was pending.
    fn clear_ipi(&self, hart: u32) -> bool;
    /// Returns when every hart of `harts` has performed the fence, or will before its next instruction. The
    /// caller may be among them.
    fn remote_fence(&self, harts: &[u32], fence: Fence);
    /// STIP of `hart` is low until `time >= deadline` (ticks of the `time` CSR), then high; `u64::MAX` disarms.
    /// Where the hart has Sstc this sets `stimecmp`.
    fn set_timer(&self, hart: u32, deadline: u64);

    /// Makes a hart come out of the guest, or of its sleep, to look at its software events.
    fn wake(&self, hart: u32);
    /// What the SBI remembers of the harts.
    fn state(&self) -> &State;
    /// Reads a CSR of the calling hart as M-mode would; zero if the hart does not have it.
    fn read_csr(&self, number: u16) -> u64;
    /// Writes a CSR of the calling hart as M-mode would; nothing happens if the hart does not have it.
    fn write_csr(&self, number: u16, value: u64);

    /// Writes bytes without blocking; says how many were taken (0 if the console is busy).
    fn console_write(&self, bytes: &[u8]) -> Result<usize, ConsoleError>;
    /// Writes one byte and may block while the console is busy.
    fn console_write_byte(&self, byte: u8) -> Result<(), ConsoleError>;
    /// Reads at most `buf.len()` waiting bytes without blocking; says how many.
    fn console_read(&self, buf: &mut [u8]) -> Result<usize, ConsoleError>;

    /// Whether all of `len` bytes at guest physical `address` are RAM. The end does not overflow.
    fn is_ram(&self, address: u64, len: u64) -> bool;
    /// Reads RAM; the range was checked with [`SbiHost::is_ram`]. `false` if it cannot be read after all.
    fn read_guest(&self, address: u64, buf: &mut [u8]) -> bool;
    /// Writes RAM, as [`SbiHost::read_guest`].
    fn write_guest(&self, address: u64, bytes: &[u8]) -> bool;
    /// Reads guest virtual memory as an S-mode load of `hart` would.
    fn read_virtual(&self, hart: u32, address: u64, buf: &mut [u8]) -> Result<(), GuestFault>;
}
