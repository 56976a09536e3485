//! Base extension (spec chapter "Base Extension"): version, identity, probing.

use sbi_spec::base as spec;

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest, find};

/// The specification this implementation follows: 3.0.
pub const SPEC_VERSION: u64 = 3 << 24;

/// `VREO` in ASCII. The specification's table assigns small numbers only and reserves no experimental range;
/// this one is far outside of what it gives out.
pub const IMPLEMENTATION_ID: u64 = 0x5652_454f;

/// Major, minor and patch of this crate, eight bits each.
pub const IMPLEMENTATION_VERSION: u64 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
    | number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut value, mut i) = (0, 0);
    while i < bytes.len() {
        value = value * 10 + (bytes[i] - b'0') as u64;
        i += 1;
    }
    value
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    let value = match call.fid as usize {
        _ if call.fid > u64::from(u32::MAX) => return SbiOutcome::error(SbiError::NotSupported),
        spec::GET_SBI_SPEC_VERSION => SPEC_VERSION,
        spec::GET_SBI_IMPL_ID => IMPLEMENTATION_ID,
        spec::GET_SBI_IMPL_VERSION => IMPLEMENTATION_VERSION,
        spec::PROBE_EXTENSION => find(call.args[0], host).map_or(0, |e| (e.probe)(host)),
        spec::GET_MVENDORID => host.machine_ids().mvendorid,
        spec::GET_MARCHID => host.machine_ids().marchid,
        spec::GET_MIMPID => host.machine_ids().mimpid,
        _ => return SbiOutcome::error(SbiError::NotSupported),
    };
    SbiOutcome::success(value)
}

pub const EXTENSION: Extension =
    Extension { name: "Base", eids: spec::EID_BASE as u64..=spec::EID_BASE as u64, probe: |_| 1, handle };

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, call, value_of};
    use super::*;
    use crate::sbi::handle;

    #[test]
    fn versions_and_ids() {
        let host = MockHost::new(1);
        assert_eq!(value_of(handle(&call(0x10, 0, &[]), &host)), 0x0300_0000);
        assert_eq!(value_of(handle(&call(0x10, 1, &[]), &host)), IMPLEMENTATION_ID);
        assert_eq!(value_of(handle(&call(0x10, 2, &[]), &host)), IMPLEMENTATION_VERSION);
        assert_eq!(value_of(handle(&call(0x10, 4, &[]), &host)), 0x11);
        assert_eq!(value_of(handle(&call(0x10, 5, &[]), &host)), 0x22);
        assert_eq!(value_of(handle(&call(0x10, 6, &[]), &host)), 0x33);
        assert_eq!(number("120"), 120);
    }

    #[test]
    fn probe_tells_what_is_there() {
        let host = MockHost::new(1);
        let probe = |eid| value_of(handle(&call(0x10, 3, &[eid]), &host));
        for eid in
            [0, 1, 8, 0x10, 0x5449_4d45, 0x0073_5049, 0x5246_4e43, 0x0048_534d, 0x5352_5354, 0x4442_434e, 0x4657_4654]
        {
            assert_eq!(probe(eid), 1, "eid {eid:#x}");
        }
        assert_eq!(probe(0x5355_5350), 1);
        assert_eq!(probe(0x0050_4d55), 1);
        for eid in [9, 0x0f, u64::MAX] {
            assert_eq!(probe(eid), 0, "eid {eid:#x}");
        }
    }
}
