//! What becomes of each register that KVM lists: so that one which no row knows is noticed, and not lost.

use arch::ext::{Ext, IsaConfig};

use super::one_reg::{self as reg, RegId};
use super::{isa, sbi, state};
use crate::RegisterRole;

/// What `id` is to this program; `None` if it knows no such register.
pub fn of(id: RegId, config: &IsaConfig) -> Option<RegisterRole> {
    const HARTS: [RegId; 9] = [
        reg::MISA,
        reg::ZICBOM_BLOCK,
        reg::MVENDORID,
        reg::MARCHID,
        reg::MIMPID,
        reg::ZICBOZ_BLOCK,
        reg::SATP_MODE,
        reg::ZICBOP_BLOCK,
        reg::VLENB,
    ];
    if state::holds(id, config) || id == reg::STEAL_TIME {
        return Some(RegisterRole::State);
    }
    if [reg::FREQUENCY, reg::TIME].contains(&id) {
        return Some(RegisterRole::Clock);
    }
    if HARTS.contains(&id) || id.isa_number().is_some_and(|number| number < isa::EXTENSIONS.len()) {
        return Some(RegisterRole::Harts);
    }
    if id.sbi_number().is_some_and(sbi::is_known) {
        return Some(RegisterRole::Sbi);
    }
    for place in 0..sbi::feature_places() {
        if id == reg::feature_enable(place) {
            return Some(RegisterRole::Sbi);
        }
        if [reg::feature_lock(place), reg::feature_value(place)].contains(&id) {
            return Some(RegisterRole::State);
        }
    }
    // Upper halves of 64-bit harts' CSRs, and f registers under a second number.
    let upper = (3..7).any(|index| id == reg::csr_aia(index)) || id == reg::STEAL_TIME_HIGH;
    (upper || id.is_single() && config.has(Ext::D)).then_some(RegisterRole::Redundant)
}

#[cfg(test)]
mod tests {
    use arch::ext::ExtSet;

    use super::*;

    #[test]
    fn each_kind_has_its_role() {
        let base = IsaConfig::default();
        let exts = base.exts.union(&ExtSet::of(&[Ext::V, Ext::Ssaia, Ext::Smstateen])).closure();
        let isa = IsaConfig { exts, vlen: 256, ..base };
        let role = |id| of(id, &isa);
        for id in [
            reg::PC,
            reg::x(31),
            reg::MODE,
            reg::csr(10),
            reg::csr_aia(2),
            reg::SSTATEEN0,
            reg::TIMER_COMPARE,
            reg::TIMER_STATE,
            reg::f_double(31),
            reg::FCSR_DOUBLE,
            reg::VTYPE,
            reg::v(31, 32),
            reg::STEAL_TIME,
            reg::feature_value(2),
        ] {
            assert_eq!(role(id), Some(RegisterRole::State), "{id:x?}");
        }
        assert_eq!(role(reg::TIME), Some(RegisterRole::Clock));
        assert_eq!(role(reg::VLENB), Some(RegisterRole::Harts));
        assert_eq!(role(reg::isa_extension(79)), Some(RegisterRole::Harts));
        assert_eq!(role(reg::sbi_extension(13)), Some(RegisterRole::Sbi));
        assert_eq!(role(reg::csr_aia(6)), Some(RegisterRole::Redundant));
        assert_eq!(role(reg::FCSR_SINGLE), Some(RegisterRole::Redundant));
    }

    #[test]
    fn what_is_new_is_unknown() {
        let isa = IsaConfig::default();
        let unknown = [
            reg::csr(11),
            reg::csr_aia(7),
            reg::isa_extension(80),
            reg::sbi_extension(14),
            reg::feature_value(5),
            RegId(0x8030_0000_0303_0000),
            RegId(0x8030_0000_0b00_0000),
        ];
        for id in unknown {
            assert_eq!(of(id, &isa), None, "{id:x?}");
        }
        assert_eq!(of(reg::v(0, 16), &isa), None, "a hart without vectors has no such register");
    }
}
