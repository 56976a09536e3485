//! IPI extension (spec chapter "IPI Extension").

use sbi_spec::spi as spec;

use super::pmu::FirmwareEvent;
use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest, harts_of_mask};

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    if call.fid != spec::SEND_IPI as u64 {
        return SbiOutcome::error(SbiError::NotSupported);
    }
    harts_of_mask(call.args[0], call.args[1], host)
        .map(|harts| {
            for hart in harts {
                host.send_ipi(hart);
                if hart != call.hart {
                    host.state().pmu.count(call.hart, FirmwareEvent::IpiSent);
                    host.state().pmu.count(hart, FirmwareEvent::IpiReceived);
                }
            }
            0
        })
        .into()
}

pub const EXTENSION: Extension =
    Extension { name: "sPI", eids: spec::EID_SPI as u64..=spec::EID_SPI as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{Event, MockHost, call};
    use crate::sbi::{SbiError, SbiOutcome, handle};

    const EID: u64 = 0x0073_5049;

    #[test]
    fn ipis_reach_the_named_harts() {
        let host = MockHost::new(4);
        assert_eq!(handle(&call(EID, 0, &[0b11, 2]), &host), SbiOutcome::success(0));
        assert_eq!(host.events(), [Event::Ipi(2), Event::Ipi(3)]);
        assert_eq!(handle(&call(EID, 0, &[0, u64::MAX]), &host), SbiOutcome::success(0));
        assert_eq!(host.events()[2..], [Event::Ipi(0), Event::Ipi(1), Event::Ipi(2), Event::Ipi(3)]);
    }

    #[test]
    fn one_bad_hart_and_nobody_is_interrupted() {
        let host = MockHost::new(4);
        assert_eq!(handle(&call(EID, 0, &[0b111, 2]), &host), SbiOutcome::error(SbiError::InvalidParam));
        assert_eq!(host.events(), []);
    }
}
