//! Legacy extensions 0x00 to 0x08 (spec chapter "Legacy Extensions"): deprecated, still used by small kernels
//! and early consoles. They return in a0 only.

use sbi_spec::legacy as spec;

use super::{Extension, Fence, GuestFault, ResetKind, ResetReason, SbiError, SbiHost, SbiOutcome, SbiRequest, rfence};

/// The harts of a bit vector in guest virtual memory. Bits beyond the last hart are ignored. A null pointer
/// means every hart: the specification is silent, firmware in the field reads it so.
fn harts_at(call: &SbiRequest, host: &dyn SbiHost) -> Result<Vec<u32>, GuestFault> {
    let count = host.hart_count();
    let pointer = call.args[0];
    if pointer == 0 {
        return Ok((0..count).collect());
    }
    let mut harts = Vec::new();
    for word in 0..count.div_ceil(u64::BITS) {
        let mut bytes = [0; 8];
        host.read_virtual(call.hart, pointer.wrapping_add(u64::from(word) * 8), &mut bytes)?;
        let mask = u64::from_le_bytes(bytes);
        harts.extend((0..u64::BITS).filter(|bit| mask >> bit & 1 != 0).map(|bit| word * u64::BITS + bit));
    }
    harts.retain(|hart| *hart < count);
    Ok(harts)
}

/// Does `act` with the harts that a0 points to.
fn for_harts(call: &SbiRequest, host: &dyn SbiHost, act: impl FnOnce(&[u32])) -> SbiOutcome {
    match harts_at(call, host) {
        Ok(harts) => {
            act(&harts);
            SbiOutcome::success(0)
        }
        Err(fault) => SbiOutcome::GuestFault(fault),
    }
}

fn remote_sfence(call: &SbiRequest, host: &dyn SbiHost, asid: Option<u64>) -> SbiOutcome {
    match rfence::address_fence(call.args[1], call.args[2], asid) {
        Ok(Some(fence)) => for_harts(call, host, |harts| host.remote_fence(harts, fence)),
        Ok(None) => SbiOutcome::success(0),
        Err(error) => SbiOutcome::error(error),
    }
}

fn getchar(host: &dyn SbiHost) -> SbiOutcome {
    let mut byte = [0];
    match host.console_read(&mut byte) {
        Ok(1) => SbiOutcome::Return { error: i64::from(byte[0]), value: 0 },
        _ => SbiOutcome::Return { error: -1, value: 0 },
    }
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    match call.eid as usize {
        spec::LEGACY_SET_TIMER => {
            host.set_timer(call.hart, call.args[0]);
            SbiOutcome::success(0)
        }
        spec::LEGACY_CONSOLE_PUTCHAR => {
            host.console_write_byte(call.args[0] as u8).map(|()| 0).map_err(|_| SbiError::Failed).into()
        }
        spec::LEGACY_CONSOLE_GETCHAR => getchar(host),
        spec::LEGACY_CLEAR_IPI => SbiOutcome::Return { error: i64::from(host.clear_ipi(call.hart)), value: 0 },
        spec::LEGACY_SEND_IPI => for_harts(call, host, |harts| harts.iter().for_each(|hart| host.send_ipi(*hart))),
        spec::LEGACY_REMOTE_FENCE_I => for_harts(call, host, |harts| host.remote_fence(harts, Fence::Instruction)),
        spec::LEGACY_REMOTE_SFENCE_VMA => remote_sfence(call, host, None),
        spec::LEGACY_REMOTE_SFENCE_VMA_ASID => remote_sfence(call, host, Some(call.args[3])),
        spec::LEGACY_SHUTDOWN => SbiOutcome::Reset { kind: ResetKind::Shutdown, reason: ResetReason::NoReason },
        _ => SbiOutcome::error(SbiError::NotSupported),
    }
}

pub const EXTENSION: Extension = Extension {
    name: "legacy",
    eids: spec::LEGACY_SET_TIMER as u64..=spec::LEGACY_SHUTDOWN as u64,
    probe: |_| 1,
    handle,
};

#[cfg(test)]
mod tests {
    use super::super::mock::{Event, MockHost, RAM, VIRTUAL_OFFSET, call, call_from};
    use super::*;
    use crate::sbi::handle;

    fn a0(outcome: SbiOutcome) -> i64 {
        match outcome {
            SbiOutcome::Return { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn console_and_timer_ignore_the_function_id() {
        let host = MockHost::new(1);
        assert_eq!(a0(handle(&call(1, 0xdead, &[u64::from(b'v')]), &host)), 0);
        assert_eq!(host.output(), b"v");
        assert_eq!(a0(handle(&call(2, 0, &[]), &host)), -1);
        host.type_in(&[0xff]);
        assert_eq!(a0(handle(&call(2, 0, &[]), &host)), 0xff);
        assert_eq!(a0(handle(&call(0, 7, &[123]), &host)), 0);
        assert_eq!(host.events(), [Event::Timer(0, 123)]);
    }

    #[test]
    fn masks_come_from_virtual_memory() {
        let host = MockHost::new(66);
        assert!(host.write_guest(RAM.start, &5u64.to_le_bytes()));
        assert!(host.write_guest(RAM.start + 8, &0xffu64.to_le_bytes()));
        let mask = RAM.start + VIRTUAL_OFFSET;
        assert_eq!(a0(handle(&call(4, 0, &[mask]), &host)), 0);
        assert_eq!(host.events(), [Event::Ipi(0), Event::Ipi(2), Event::Ipi(64), Event::Ipi(65)]);
        assert_eq!(a0(handle(&call(7, 0, &[mask, 0x1000, 0x1000, 3]), &host)), 0);
        let fence = Fence::Address { start: 0x1000, size: 0x1000, asid: Some(3) };
        assert_eq!(host.events().last(), Some(&Event::Fence(vec![0, 2, 64, 65], fence)));
        assert_eq!(a0(handle(&call(5, 0, &[0]), &host)), 0);
        assert_eq!(host.events().last(), Some(&Event::Fence((0..66).collect(), Fence::Instruction)));
    }

    #[test]
    fn an_unreadable_mask_is_the_guests_fault() {
        let host = MockHost::new(2);
        for eid in [4, 5, 6, 7] {
            let outcome = handle(&call(eid, 0, &[0x1000]), &host);
            assert_eq!(outcome, SbiOutcome::GuestFault(GuestFault { cause: 13, tval: 0x1000 }), "eid {eid}");
        }
        assert_eq!(host.events(), []);
    }

    #[test]
    fn clear_ipi_and_shutdown() {
        let host = MockHost::new(2);
        host.send_ipi(1);
        assert_eq!(a0(handle(&call_from(1, 3, 0, &[]), &host)), 1);
        assert_eq!(a0(handle(&call_from(1, 3, 0, &[]), &host)), 0);
        let shutdown = SbiOutcome::Reset { kind: ResetKind::Shutdown, reason: ResetReason::NoReason };
        assert_eq!(handle(&call(8, 0, &[]), &host), shutdown);
    }
}
