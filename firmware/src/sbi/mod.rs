//! The built-in SBI: what answers S-mode `ecall`s when no M-mode firmware runs below the guest.
//!
//! One file an extension, each ending in one [`Extension`] row; [`EXTENSIONS`] lists the rows and
//! [`handle`] searches it. The machine stands behind [`SbiHost`]; what the calling vCPU itself has to do
//! (stop, suspend, reset the machine) leaves as an [`SbiOutcome`].
//!
//! Specification: RISC-V Supervisor Binary Interface 3.0, for XLEN = 64.

use std::ops::RangeInclusive;

mod base;
mod dbcn;
mod dbtr;
mod fwft;
mod host;
mod hsm;
mod ipi;
mod legacy;
#[cfg(test)]
mod mock;
pub mod pmu;
mod rfence;
mod srst;
pub mod sse;
mod state;
mod susp;
mod time;

pub use base::{IMPLEMENTATION_ID, IMPLEMENTATION_VERSION, SPEC_VERSION};
pub use host::{ConsoleError, Fence, GuestFault, HartStatus, MachineIds, SbiError, SbiHost};
pub use hsm::HartStates;
pub use pmu::PmuHarts;
pub use state::{HartData, SavedSbi, State, UnfitSbi};

/// An S-mode `ecall`, with the registers that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SbiRequest {
    /// The calling hart.
    pub hart: u32,
    /// a7: extension id.
    pub eid: u64,
    /// a6: function id; ignored by the legacy extensions.
    pub fid: u64,
    /// a0 to a5.
    pub args: [u64; 6],
}

impl SbiRequest {
    /// Legacy calls return in a0 only and preserve a1 (spec, "Legacy Extensions").
    pub fn is_legacy(&self) -> bool {
        self.eid <= 0x0f
    }
}

/// Where a hart enters S-mode: `pc = address`, a0 = its id, a1 = `opaque`, `satp` = 0, `sstatus.SIE` = 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Guest physical address.
    pub address: u64,
    pub opaque: u64,
}

/// `reset_type` of SRST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetKind {
    Shutdown,
    ColdReboot,
    WarmReboot,
}

/// `reset_reason` of SRST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    NoReason,
    SystemFailure,
}

/// What the calling hart does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbiOutcome {
    /// Continue after the `ecall` with a0 = `error` and, unless the call [is legacy](SbiRequest::is_legacy),
    /// a1 = `value`.
    Return { error: i64, value: u64 },
    /// The hart stops until another one starts it (HSM).
    HartStop,
    /// The hart sleeps until an interrupt is pending and enabled in `sie`, or a software event is to be taken. Then it enters at `resume`, or,
    /// if that is `None` (retentive), continues after the `ecall` with success.
    HartSuspend { resume: Option<Entry> },
    /// The machine goes down or starts again.
    Reset { kind: ResetKind, reason: ResetReason },
    /// Suspend to RAM: every other hart is stopped. On a wake event the calling hart enters at `resume`.
    SystemSuspend { resume: Entry },
    /// A software event was handled: the hart goes back to what it interrupted (SSE).
    EventReturn { interrupted: sse::Interrupted },
    /// A legacy call named memory that the guest cannot read: the trap is the guest's, with `sepc` at the
    /// `ecall` itself.
    GuestFault(GuestFault),
}

impl SbiOutcome {
    /// Success with `value` in a1.
    pub const fn success(value: u64) -> Self {
        Self::Return { error: 0, value }
    }

    /// `error` in a0.
    pub const fn error(error: SbiError) -> Self {
        Self::Return { error: error as i64, value: 0 }
    }
}

impl From<Result<u64, SbiError>> for SbiOutcome {
    fn from(result: Result<u64, SbiError>) -> Self {
        result.map_or_else(Self::error, Self::success)
    }
}

/// One SBI extension.
pub struct Extension {
    /// As the specification names it.
    pub name: &'static str,
    /// The extension ids it answers.
    pub eids: RangeInclusive<u64>,
    /// What `sbi_probe_extension` returns for it: 0 if this machine cannot serve it.
    pub probe: fn(&dyn SbiHost) -> u64,
    pub handle: fn(&SbiRequest, &dyn SbiHost) -> SbiOutcome,
}

/// Every extension there is; their ids do not overlap.
pub static EXTENSIONS: &[Extension] = &[
    legacy::EXTENSION,
    base::EXTENSION,
    time::EXTENSION,
    ipi::EXTENSION,
    rfence::EXTENSION,
    hsm::EXTENSION,
    srst::EXTENSION,
    dbcn::EXTENSION,
    susp::EXTENSION,
    pmu::EXTENSION,
    fwft::EXTENSION,
    dbtr::EXTENSION,
    sse::EXTENSION,
];

/// The extension that answers `eid`, if it is there on this machine.
fn find(eid: u64, host: &dyn SbiHost) -> Option<&'static Extension> {
    EXTENSIONS.iter().find(|e| e.eids.contains(&eid)).filter(|e| (e.probe)(host) != 0)
}

/// Answers an SBI call. Never blocks, but for console output that the host holds back.
pub fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    match find(call.eid, host) {
        Some(extension) => {
            let outcome = (extension.handle)(call, host);
            if outcome == SbiOutcome::error(SbiError::NotSupported) {
                tracing::debug!(hart = call.hart, eid = call.eid, fid = call.fid, "SBI call that is not supported");
            }
            outcome
        }
        None => {
            tracing::debug!(hart = call.hart, eid = call.eid, fid = call.fid, "SBI call to an unknown extension");
            SbiOutcome::error(SbiError::NotSupported)
        }
    }
}

/// The harts that a `hart_mask`, `hart_mask_base` pair names (spec, "Hart list parameter").
fn harts_of_mask(mask: u64, base: u64, host: &dyn SbiHost) -> Result<Vec<u32>, SbiError> {
    let count = host.hart_count();
    if base == u64::MAX {
        return Ok((0..count).collect());
    }
    // The base need not be a hart itself, unless bit 0 selects it.
    let hart = |bit| base.checked_add(u64::from(bit)).filter(|hart| *hart < u64::from(count));
    (0..u64::BITS)
        .filter(|bit| mask >> bit & 1 != 0)
        .map(|bit| hart(bit).map(|hart| hart as u32).ok_or(SbiError::InvalidParam))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::mock::{MockHost, call};
    use super::*;

    #[test]
    fn rows_do_not_overlap_and_have_names() {
        for (i, a) in EXTENSIONS.iter().enumerate() {
            assert!(!a.name.is_empty() && a.eids.start() <= a.eids.end());
            for b in &EXTENSIONS[i + 1..] {
                let apart = a.eids.end() < b.eids.start() || b.eids.end() < a.eids.start();
                assert!(apart, "{} and {} claim the same ids", a.name, b.name);
                assert_ne!(a.name, b.name);
            }
        }
    }

    #[test]
    fn unknown_extensions_and_functions_are_not_supported() {
        let host = MockHost::new(2);
        let unsupported = SbiOutcome::error(SbiError::NotSupported);
        for eid in [0x09, 0x0f, 0x11, 0x504d54, 0x0a00_0000, u64::MAX, 0x1_0000_0010] {
            assert_eq!(handle(&call(eid, 0, &[]), &host), unsupported, "eid {eid:#x}");
        }
        for e in EXTENSIONS.iter().filter(|e| *e.eids.start() >= 0x10) {
            for fid in [99, u64::MAX, 1 << 32] {
                assert_eq!(handle(&call(*e.eids.start(), fid, &[]), &host), unsupported, "{} {fid:#x}", e.name);
            }
        }
    }

    #[test]
    fn hart_masks() {
        let host = MockHost::new(70);
        assert_eq!(harts_of_mask(0b101, 1, &host), Ok(vec![1, 3]));
        assert_eq!(harts_of_mask(0, 69, &host), Ok(vec![]));
        assert_eq!(harts_of_mask(1 << 63, 6, &host), Ok(vec![69]));
        assert_eq!(harts_of_mask(1 << 63, 7, &host), Err(SbiError::InvalidParam));
        assert_eq!(harts_of_mask(0, 70, &host), Ok(vec![]), "a base that no bit selects need not be there");
        assert_eq!(harts_of_mask(0, u64::MAX - 1, &host), Ok(vec![]));
        assert_eq!(harts_of_mask(1, 70, &host), Err(SbiError::InvalidParam));
        assert_eq!(harts_of_mask(1, 1 << 32, &host), Err(SbiError::InvalidParam));
        assert_eq!(harts_of_mask(1, u64::MAX - 1, &host), Err(SbiError::InvalidParam));
        assert_eq!(harts_of_mask(0, u64::MAX, &host).map(|h| h.len()), Ok(70));
    }
}
