//! Timer extension (spec chapter "Timer Extension").

use sbi_spec::time as spec;

use super::pmu::FirmwareEvent;
use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    if call.fid != spec::SET_TIMER as u64 {
        return SbiOutcome::error(SbiError::NotSupported);
    }
    host.set_timer(call.hart, call.args[0]);
    host.state().pmu.count(call.hart, FirmwareEvent::SetTimer);
    SbiOutcome::success(0)
}

pub const EXTENSION: Extension =
    Extension { name: "TIME", eids: spec::EID_TIME as u64..=spec::EID_TIME as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{Event, MockHost, call_from};
    use crate::sbi::{SbiOutcome, handle};

    #[test]
    fn set_timer_is_for_the_caller() {
        let host = MockHost::new(3);
        let outcome = handle(&call_from(2, 0x5449_4d45, 0, &[u64::MAX - 1]), &host);
        assert_eq!(outcome, SbiOutcome::success(0));
        assert_eq!(host.events(), [Event::Timer(2, u64::MAX - 1)]);
    }
}
