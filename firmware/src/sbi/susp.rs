//! System suspend extension (spec chapter "System Suspend Extension"): suspend to RAM.

use sbi_spec::susp as spec;

use super::{Entry, Extension, HartStatus, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// `SUSPEND_TO_RAM`, the one sleep type there is.
const SUSPEND_TO_RAM: u32 = 0;

fn suspend(call: &SbiRequest, host: &dyn SbiHost) -> Result<SbiOutcome, SbiError> {
    let [sleep_type, address, opaque, ..] = call.args;
    if sleep_type as u32 != SUSPEND_TO_RAM {
        return Err(SbiError::InvalidParam);
    }
    if !host.is_executable(address) {
        return Err(SbiError::InvalidAddress);
    }
    let others = (0..host.hart_count()).filter(|hart| *hart != call.hart);
    if others.into_iter().any(|hart| host.hart_status(hart) != HartStatus::Stopped) {
        return Err(SbiError::Denied);
    }
    Ok(SbiOutcome::SystemSuspend { resume: Entry { address, opaque } })
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    if call.fid != spec::SUSPEND as u64 {
        return SbiOutcome::error(SbiError::NotSupported);
    }
    suspend(call, host).unwrap_or_else(SbiOutcome::error)
}

pub const EXTENSION: Extension =
    Extension { name: "SUSP", eids: spec::EID_SUSP as u64..=spec::EID_SUSP as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, RAM, call_from};
    use super::*;
    use crate::sbi::handle;

    #[test]
    fn only_the_last_running_hart_may_suspend() {
        let host = MockHost::new(3);
        let suspend = || handle(&call_from(1, 0x5355_5350, 0, &[0, RAM.start, 42]), &host);
        assert_eq!(suspend(), SbiOutcome::error(SbiError::Denied), "hart 0 runs");
        host.set_status(0, HartStatus::Stopped);
        host.set_status(1, HartStatus::Started);
        assert_eq!(suspend(), SbiOutcome::SystemSuspend { resume: Entry { address: RAM.start, opaque: 42 } });
        host.set_status(2, HartStatus::Suspended);
        assert_eq!(suspend(), SbiOutcome::error(SbiError::Denied), "a suspended hart is not a stopped one");
    }

    #[test]
    fn bad_types_and_addresses() {
        let host = MockHost::new(1);
        for sleep_type in [1, 0x8000_0000] {
            let outcome = handle(&call_from(0, 0x5355_5350, 0, &[sleep_type, RAM.start]), &host);
            assert_eq!(outcome, SbiOutcome::error(SbiError::InvalidParam), "{sleep_type:#x}");
        }
        let outcome = handle(&call_from(0, 0x5355_5350, 0, &[0, RAM.end]), &host);
        assert_eq!(outcome, SbiOutcome::error(SbiError::InvalidAddress));
    }
}
