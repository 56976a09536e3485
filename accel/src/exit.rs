//! Why a vCPU came back from [`Vcpu::run`](crate::Vcpu::run).

use crate::debug::DebugStop;

/// An SBI call (`ecall` from S or VS mode) that the engine does not answer itself.
///
/// `pc` is already past the `ecall`; the caller writes a0 and a1 with
/// [`Vcpu::finish_sbi`](crate::Vcpu::finish_sbi).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SbiCall {
    /// a7: extension id.
    pub eid: u64,
    /// a6: function id.
    pub fid: u64,
    /// a0 to a5.
    pub args: [u64; 6],
}

/// Why the machine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The guest asked for it.
    Guest,
    /// The guest reported that it failed.
    Failure,
}

/// What leaves `run()`. MMIO and in-kernel or in-translator work never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VcpuExit {
    /// Answer the call, then run again.
    Sbi(SbiCall),
    /// The engine saw a reset request.
    Reset,
    /// The engine saw a shutdown request.
    Shutdown(ShutdownReason),
    /// The hart met a trap that it was not ready for, and is in the critical-error state (Smdbltrp): `cause` as in
    /// `mcause`, at `pc`.
    CriticalError { cause: u64, pc: u64 },
    /// A trap went to M-mode, which nobody handles there ([`VmConfig::machine_traps`](crate::VmConfig::machine_traps));
    /// the registers tell which.
    MachineTrap,
    /// Somebody called [`VcpuHandle::kick`](crate::VcpuHandle::kick).
    Kicked,
    /// What [`Vcpu::set_debug`](crate::Vcpu::set_debug) asked for has come about.
    Debug(DebugStop),
}
