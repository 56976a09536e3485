//! RFENCE extension (spec chapter "RFENCE Extension"). The hypervisor fences answer "not supported" where harts have
//! no H extension.

use arch::ext::Ext;
use sbi_spec::rfnc as spec;

use super::pmu::FirmwareEvent;
use super::{Extension, Fence, SbiError, SbiHost, SbiOutcome, SbiRequest, harts_of_mask};

/// What a `start_addr`, `size` pair asks for, everything as `(0, u64::MAX)`; `None` if the range is empty.
fn range(start: u64, size: u64) -> Result<Option<(u64, u64)>, SbiError> {
    if (start == 0 && size == 0) || size == u64::MAX {
        return Ok(Some((0, u64::MAX)));
    }
    let Some(last) = size.checked_sub(1) else { return Ok(None) };
    start.checked_add(last).ok_or(SbiError::InvalidAddress)?;
    Ok(Some((start, size)))
}

/// The fence of supervisor addresses that a range asks for; `None` if it is empty.
pub(super) fn address_fence(start: u64, size: u64, asid: Option<u64>) -> Result<Option<Fence>, SbiError> {
    Ok(range(start, size)?.map(|(start, size)| Fence::Address { start, size, asid }))
}

/// Tells the firmware counters of a fence; one that a hart asks of itself is nobody's.
fn count(own: u32, harts: &[u32], fence: Fence, host: &dyn SbiHost) {
    let (sent, received) = match fence {
        Fence::Instruction => (FirmwareEvent::FenceISent, FirmwareEvent::FenceIReceived),
        Fence::Address { asid: None, .. } => (FirmwareEvent::SfenceVmaSent, FirmwareEvent::SfenceVmaReceived),
        Fence::Address { .. } => (FirmwareEvent::SfenceVmaAsidSent, FirmwareEvent::SfenceVmaAsidReceived),
        Fence::GuestStage { vmid: None } => (FirmwareEvent::HfenceGvmaSent, FirmwareEvent::HfenceGvmaReceived),
        Fence::GuestStage { .. } => (FirmwareEvent::HfenceGvmaVmidSent, FirmwareEvent::HfenceGvmaVmidReceived),
        Fence::GuestAddress { asid: None, .. } => (FirmwareEvent::HfenceVvmaSent, FirmwareEvent::HfenceVvmaReceived),
        Fence::GuestAddress { .. } => (FirmwareEvent::HfenceVvmaAsidSent, FirmwareEvent::HfenceVvmaAsidReceived),
    };
    for hart in harts.iter().filter(|hart| **hart != own) {
        host.state().pmu.count(own, sent);
        host.state().pmu.count(*hart, received);
    }
}

fn fence(call: &SbiRequest, fence: Option<Fence>, host: &dyn SbiHost) -> Result<u64, SbiError> {
    let harts = harts_of_mask(call.args[0], call.args[1], host)?;
    if let Some(fence) = fence.filter(|_| !harts.is_empty()) {
        host.remote_fence(&harts, fence);
        count(call.hart, &harts, fence, host);
    }
    Ok(0)
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    const FENCE_I: u64 = spec::REMOTE_FENCE_I as u64;
    const SFENCE: u64 = spec::REMOTE_SFENCE_VMA as u64;
    const SFENCE_ASID: u64 = spec::REMOTE_SFENCE_VMA_ASID as u64;
    const GVMA_VMID: u64 = spec::REMOTE_HFENCE_GVMA_VMID as u64;
    const GVMA: u64 = spec::REMOTE_HFENCE_GVMA as u64;
    const VVMA_ASID: u64 = spec::REMOTE_HFENCE_VVMA_ASID as u64;
    const VVMA: u64 = spec::REMOTE_HFENCE_VVMA as u64;
    let [_, _, start, size, asid, _] = call.args;
    let guest_stage = |vmid| Ok(range(start, size)?.map(|_| Fence::GuestStage { vmid }));
    let guest = |asid| Ok(range(start, size)?.map(|(start, size)| Fence::GuestAddress { start, size, asid }));
    let what = match call.fid {
        GVMA_VMID | GVMA | VVMA_ASID | VVMA if !host.isa().has(Ext::H) => Err(SbiError::NotSupported),
        GVMA_VMID => guest_stage(Some(asid)),
        GVMA => guest_stage(None),
        VVMA_ASID => guest(Some(asid)),
        VVMA => guest(None),
        FENCE_I => Ok(Some(Fence::Instruction)),
        SFENCE => address_fence(start, size, None),
        SFENCE_ASID => address_fence(start, size, Some(asid)),
        _ => Err(SbiError::NotSupported),
    };
    what.and_then(|what| fence(call, what, host)).into()
}

pub const EXTENSION: Extension =
    Extension { name: "RFENCE", eids: spec::EID_RFNC as u64..=spec::EID_RFNC as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{Event, MockHost, call};
    use super::*;
    use crate::sbi::handle;

    const EID: u64 = 0x5246_4e43;
    const OK: SbiOutcome = SbiOutcome::success(0);

    #[test]
    fn fences_carry_their_range_and_asid() {
        let host = MockHost::new(3);
        assert_eq!(handle(&call(EID, 0, &[0b110, 0]), &host), OK);
        assert_eq!(handle(&call(EID, 1, &[1, 0, 0x1000, 0x2000]), &host), OK);
        assert_eq!(handle(&call(EID, 2, &[1, 1, 0, 0, 7]), &host), OK);
        assert_eq!(handle(&call(EID, 1, &[0, u64::MAX, 0x5000, u64::MAX]), &host), OK);
        let all = |asid| Fence::Address { start: 0, size: u64::MAX, asid };
        assert_eq!(
            host.events(),
            [
                Event::Fence(vec![1, 2], Fence::Instruction),
                Event::Fence(vec![0], Fence::Address { start: 0x1000, size: 0x2000, asid: None }),
                Event::Fence(vec![1], all(Some(7))),
                Event::Fence(vec![0, 1, 2], all(None)),
            ]
        );
    }

    #[test]
    fn odd_ranges() {
        let host = MockHost::new(1);
        let top = u64::MAX - 0xfff;
        assert_eq!(handle(&call(EID, 1, &[1, 0, top, 0x1000]), &host), OK, "a range may end at the top");
        assert_eq!(
            handle(&call(EID, 1, &[1, 0, top, 0x1001]), &host),
            SbiOutcome::error(SbiError::InvalidAddress),
            "but not wrap"
        );
        assert_eq!(handle(&call(EID, 1, &[1, 0, 0x1000, 0]), &host), OK, "an empty range is nothing to do");
        assert_eq!(handle(&call(EID, 1, &[0, 0, 0, 0]), &host), OK, "an empty mask is nothing to do");
        assert_eq!(host.events().len(), 1);
    }

    #[test]
    fn hypervisor_fences_name_a_machine_or_an_address_space() {
        let host = MockHost::new(2);
        for (fid, fence) in [
            (3, Fence::GuestStage { vmid: Some(9) }),
            (4, Fence::GuestStage { vmid: None }),
            (5, Fence::GuestAddress { start: 0x4000, size: 0x2000, asid: Some(9) }),
            (6, Fence::GuestAddress { start: 0x4000, size: 0x2000, asid: None }),
        ] {
            assert_eq!(handle(&call(EID, fid, &[0b11, 0, 0x4000, 0x2000, 9]), &host), OK, "fid {fid}");
            assert_eq!(host.events().last(), Some(&Event::Fence(vec![0, 1], fence)), "fid {fid}");
        }
        assert_eq!(handle(&call(EID, 7, &[1, 0, 0, 0]), &host), SbiOutcome::error(SbiError::NotSupported));
    }

    #[test]
    fn bad_harts_and_hypervisor_fences_are_refused() {
        let mut host = MockHost::new(2);
        host.isa.exts.remove(Ext::H);
        assert_eq!(handle(&call(EID, 0, &[0b100, 0]), &host), SbiOutcome::error(SbiError::InvalidParam));
        for fid in 3..=7 {
            let outcome = handle(&call(EID, fid, &[1, 0, 0, 0]), &host);
            assert_eq!(outcome, SbiOutcome::error(SbiError::NotSupported), "fid {fid}");
        }
        assert_eq!(host.events(), []);
    }
}
