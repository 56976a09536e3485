//! System reset extension (spec chapter "System Reset Extension").

use sbi_spec::srst as spec;

use super::{Extension, ResetKind, ResetReason, SbiError, SbiHost, SbiOutcome, SbiRequest};

fn handle(call: &SbiRequest, _host: &dyn SbiHost) -> SbiOutcome {
    if call.fid != spec::SYSTEM_RESET as u64 {
        return SbiOutcome::error(SbiError::NotSupported);
    }
    // Both parameters are 32 bits wide: whatever is above is not part of them.
    let kind = match call.args[0] as u32 {
        spec::RESET_TYPE_SHUTDOWN => ResetKind::Shutdown,
        spec::RESET_TYPE_COLD_REBOOT => ResetKind::ColdReboot,
        spec::RESET_TYPE_WARM_REBOOT => ResetKind::WarmReboot,
        _ => return SbiOutcome::error(SbiError::InvalidParam),
    };
    let reason = match call.args[1] as u32 {
        spec::RESET_REASON_NO_REASON => ResetReason::NoReason,
        spec::RESET_REASON_SYSTEM_FAILURE => ResetReason::SystemFailure,
        _ => return SbiOutcome::error(SbiError::InvalidParam),
    };
    SbiOutcome::Reset { kind, reason }
}

pub const EXTENSION: Extension =
    Extension { name: "SRST", eids: spec::EID_SRST as u64..=spec::EID_SRST as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, call};
    use super::*;
    use crate::sbi::handle;

    #[test]
    fn kinds_and_reasons() {
        let host = MockHost::new(1);
        let reset = |kind, reason| handle(&call(0x5352_5354, 0, &[kind, reason]), &host);
        let is = |kind, reason| SbiOutcome::Reset { kind, reason };
        assert_eq!(reset(0, 0), is(ResetKind::Shutdown, ResetReason::NoReason));
        assert_eq!(reset(0, 1), is(ResetKind::Shutdown, ResetReason::SystemFailure));
        assert_eq!(reset(1, 0), is(ResetKind::ColdReboot, ResetReason::NoReason));
        assert_eq!(reset(0xffff_ffff_0000_0002, 1 << 32), is(ResetKind::WarmReboot, ResetReason::NoReason));
        for (kind, reason) in [(3, 0), (0xf000_0000, 0), (0, 2), (1, 0xe000_0000)] {
            assert_eq!(reset(kind, reason), SbiOutcome::error(SbiError::InvalidParam), "{kind:#x} {reason:#x}");
        }
    }
}
