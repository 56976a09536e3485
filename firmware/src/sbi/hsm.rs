//! Hart state management (spec chapter "Hart State Management Extension"), and the table of hart states that
//! a machine keeps for it.

use std::sync::atomic::{AtomicU8, Ordering};

use sbi_spec::hsm as spec;

use super::sse;
use super::{Entry, Extension, HartStatus, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// A guest's hart id, if there is such a hart.
fn hart_id(id: u64, host: &dyn SbiHost) -> Result<u32, SbiError> {
    u32::try_from(id).ok().filter(|hart| *hart < host.hart_count()).ok_or(SbiError::InvalidParam)
}

fn start(call: &SbiRequest, host: &dyn SbiHost) -> Result<SbiOutcome, SbiError> {
    let [id, address, opaque, ..] = call.args;
    let hart = hart_id(id, host)?;
    if host.hart_status(hart) != HartStatus::Stopped {
        return Err(SbiError::AlreadyAvailable);
    }
    if !host.is_executable(address) {
        return Err(SbiError::InvalidAddress);
    }
    host.hart_start(hart, address, opaque)?;
    Ok(SbiOutcome::success(0))
}

fn suspend(call: &SbiRequest, host: &dyn SbiHost) -> Result<SbiOutcome, SbiError> {
    let [suspend_type, address, opaque, ..] = call.args;
    match suspend_type as u32 {
        spec::suspend_type::RETENTIVE => Ok(SbiOutcome::HartSuspend { resume: None }),
        spec::suspend_type::NON_RETENTIVE if !host.is_executable(address) => Err(SbiError::InvalidAddress),
        spec::suspend_type::NON_RETENTIVE => Ok(SbiOutcome::HartSuspend { resume: Some(Entry { address, opaque }) }),
        _ => Err(SbiError::InvalidParam),
    }
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    const START: u64 = spec::HART_START as u64;
    const STOP: u64 = spec::HART_STOP as u64;
    const GET_STATUS: u64 = spec::HART_GET_STATUS as u64;
    const SUSPEND: u64 = spec::HART_SUSPEND as u64;
    let outcome = match call.fid {
        START => start(call, host),
        STOP => {
            sse::hart_stops(call.hart, host);
            Ok(SbiOutcome::HartStop)
        }
        GET_STATUS => hart_id(call.args[0], host).map(|hart| SbiOutcome::success(host.hart_status(hart) as u64)),
        SUSPEND => suspend(call, host),
        _ => Err(SbiError::NotSupported),
    };
    outcome.unwrap_or_else(SbiOutcome::error)
}

pub const EXTENSION: Extension =
    Extension { name: "HSM", eids: spec::EID_HSM as u64..=spec::EID_HSM as u64, probe: |_| 1, handle };

/// The HSM state of every hart of a machine, shared by their threads.
///
/// Only [`HartStates::begin_start`] races (two harts may start the same third one); every other transition is
/// made by the hart's own thread.
#[derive(Debug)]
pub struct HartStates(Box<[AtomicU8]>);

impl HartStates {
    /// All stopped.
    pub fn new(harts: u32) -> Self {
        Self((0..harts).map(|_| AtomicU8::new(HartStatus::Stopped as u8)).collect())
    }

    pub fn get(&self, hart: u32) -> HartStatus {
        HartStatus::from_id(self.0[hart as usize].load(Ordering::Acquire)).unwrap_or(HartStatus::Stopped)
    }

    pub fn set(&self, hart: u32, status: HartStatus) {
        self.0[hart as usize].store(status as u8, Ordering::Release);
    }

    /// Stopped to start-pending, or [`SbiError::AlreadyAvailable`]. The winner then hands the entry address to
    /// the hart's thread, which sets [`HartStatus::Started`] when it is there.
    pub fn begin_start(&self, hart: u32) -> Result<(), SbiError> {
        self.0[hart as usize]
            .compare_exchange(
                HartStatus::Stopped as u8,
                HartStatus::StartPending as u8,
                Ordering::AcqRel,
                Ordering::Acquire,
            )
            .map(drop)
            .map_err(|_| SbiError::AlreadyAvailable)
    }

    /// Power-on: all stopped, then `boot` started.
    pub fn reset(&self, boot: u32) {
        (0..self.0.len() as u32).for_each(|hart| self.set(hart, HartStatus::Stopped));
        self.set(boot, HartStatus::Started);
    }
}

#[cfg(test)]
mod tests {
    use super::super::mock::{Event, MockHost, RAM, call, call_from, value_of};
    use super::*;
    use crate::sbi::handle;

    const EID: u64 = 0x0048_534d;

    fn error(outcome: SbiOutcome) -> i64 {
        match outcome {
            SbiOutcome::Return { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn start_stop_and_status() {
        let host = MockHost::new(2);
        let status = |hart| value_of(handle(&call(EID, 2, &[hart]), &host));
        assert_eq!((status(0), status(1)), (0, 1));
        assert_eq!(error(handle(&call(EID, 0, &[1, RAM.start + 4, 9]), &host)), 0);
        assert_eq!(host.events(), [Event::Start(1, RAM.start + 4, 9)]);
        assert_eq!(status(1), 2);
        assert_eq!(error(handle(&call(EID, 0, &[1, RAM.start, 9]), &host)), SbiError::AlreadyAvailable as i64);
        assert_eq!(handle(&call_from(1, EID, 1, &[]), &host), SbiOutcome::HartStop);
    }

    #[test]
    fn bad_harts_and_addresses() {
        let host = MockHost::new(2);
        for id in [2, 1 << 32, u64::MAX] {
            assert_eq!(error(handle(&call(EID, 0, &[id, RAM.start]), &host)), SbiError::InvalidParam as i64);
            assert_eq!(error(handle(&call(EID, 2, &[id]), &host)), SbiError::InvalidParam as i64);
        }
        for address in [0, RAM.start - 2, RAM.end, u64::MAX] {
            let outcome = handle(&call(EID, 0, &[1, address]), &host);
            assert_eq!(error(outcome), SbiError::InvalidAddress as i64, "{address:#x}");
        }
        assert_eq!(host.events(), []);
    }

    #[test]
    fn suspend_types() {
        let host = MockHost::new(1);
        let suspend = |kind, address| handle(&call(EID, 3, &[kind, address, 5]), &host);
        assert_eq!(suspend(0, 0), SbiOutcome::HartSuspend { resume: None });
        let resume = Some(Entry { address: RAM.start, opaque: 5 });
        assert_eq!(suspend(0x8000_0000, RAM.start), SbiOutcome::HartSuspend { resume });
        assert_eq!(suspend(0xffff_ffff_8000_0000, RAM.start), SbiOutcome::HartSuspend { resume });
        assert_eq!(error(suspend(0x8000_0000, 0)), SbiError::InvalidAddress as i64);
        for kind in [1, 0x1000_0000, 0x8000_0001, 0x9000_0000] {
            assert_eq!(error(suspend(kind, RAM.start)), SbiError::InvalidParam as i64, "{kind:#x}");
        }
    }

    #[test]
    fn one_of_many_starters_wins() {
        let states = HartStates::new(2);
        states.reset(0);
        assert_eq!((states.get(0), states.get(1)), (HartStatus::Started, HartStatus::Stopped));
        let wins = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| states.begin_start(1).is_ok())).collect();
            threads.into_iter().map(|t| t.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(wins, 1);
        assert_eq!(states.get(1), HartStatus::StartPending);
    }
}
