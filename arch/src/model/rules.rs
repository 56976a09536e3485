//! What an ISA cannot be: extensions that exclude each other, and those that need more than other extensions. What an
//! extension implies is in its row of the table.

use super::CpuError;
use super::Profile;
use crate::ext::Ext::{self, *};
use crate::ext::{IsaConfig, SatpMode};

/// Pairs that no hart has both of, and the specification's reason.
const CONFLICTS: &[(Ext, Ext, &str)] = &[
    (Zfinx, F, "floating point is either in f or in x registers"),
    (Zcmp, Zcd, "they use the same encodings"),
    (Zcmt, Zcd, "they use the same encodings"),
];

/// Extensions of RV32.
const RV32_ONLY: &[Ext] = &[Zilsd, Zclsd];

/// Extensions that act through PMP entries.
pub(super) const NEED_PMP: &[Ext] = &[Smepmp, Smpmpmt];

/// Checks a finished ISA.
pub(super) fn check(isa: &IsaConfig, profiles: &[&'static Profile]) -> Result<(), CpuError> {
    if let Some(ext) = RV32_ONLY.iter().find(|ext| isa.has(**ext)) {
        return Err(CpuError::Needs { ext: *ext, what: "a 32-bit hart, the harts are 64-bit" });
    }
    if let Some(&(ext, other, reason)) = CONFLICTS.iter().find(|(a, b, _)| isa.has(*a) && isa.has(*b)) {
        return Err(CpuError::Conflict { ext, other, reason });
    }
    if isa.has(H) && isa.satp_mode < SatpMode::Sv39 {
        return Err(CpuError::Needs { ext: H, what: "sv39, which is off" });
    }
    if let Some(ext) = NEED_PMP.iter().find(|ext| isa.has(**ext) && isa.pmp_entries == 0) {
        return Err(CpuError::Needs { ext: *ext, what: "PMP entries, and there are none (pmp=)" });
    }
    for profile in profiles {
        // The first cause: not what is off because a part of it is.
        let is_cause = |ext: &Ext| !isa.has(*ext) && ext.row().implies.iter().all(|part| isa.has(*part));
        if let Some(needs) = profile.exts().closure().iter().find(is_cause) {
            return Err(CpuError::Profile { profile: profile.name, needs: needs.name() });
        }
        if isa.satp_mode < profile.satp_mode {
            return Err(CpuError::Profile { profile: profile.name, needs: profile.satp_mode.name() });
        }
    }
    Ok(())
}
