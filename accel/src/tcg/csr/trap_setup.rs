//! Trap vectors and the addresses that traps return to.

use arch::ext::{Ext, IsaConfig};

/// A written `xtvec`, made legal: MODE is direct or vectored; a write of a reserved mode changes nothing.
pub(super) fn tvec(old: u64, v: u64) -> u64 {
    if v & 2 == 0 { v } else { old }
}

/// A written `xepc`, made legal: instructions stand at even addresses, without compressed ones at multiples of four.
pub(super) fn epc(isa: &IsaConfig, v: u64) -> u64 {
    v & if isa.has(Ext::Zca) { !1 } else { !3 }
}
