//! RISC-V profiles: what an application processor has to have. A CPU model and a property of `-cpu` are called like each.
//!
//! RISC-V Profiles ("RVA20", "RVA22") and RVA23 Profile, sections "Mandatory Extensions". Privilege modes and `Sv39`,
//! `Svbare` and `Ss1pNN` are not extensions here: the first are letters, the others are [`Profile::satp_mode`] and what
//! every hart of ours is.

use crate::ext::Ext::{self, *};
use crate::ext::{ExtSet, SatpMode};

/// A profile.
#[derive(Debug)]
pub struct Profile {
    /// Lower case.
    pub name: &'static str,
    /// The one it contains.
    base: Option<&'static Profile>,
    /// What it makes mandatory besides.
    adds: &'static [Ext],
    /// The least that `satp` has to support.
    pub satp_mode: SatpMode,
}

impl Profile {
    /// All that is mandatory, without what that implies.
    pub fn exts(&self) -> ExtSet {
        let base = self.base.map_or(ExtSet::EMPTY, Profile::exts);
        base.union(&ExtSet::of(self.adds))
    }
}

pub(super) static RVA22U64: Profile = Profile {
    name: "rva22u64",
    base: None,
    adds: &[
        I,
        M,
        A,
        F,
        D,
        C,
        B,
        Zic64b,
        Zicbom,
        Zicbop,
        Zicboz,
        Ziccamoa,
        Ziccif,
        Zicclsm,
        Ziccrse,
        Zicntr,
        Zicsr,
        Zihintpause,
        Zihpm,
        Za64rs,
        Zfhmin,
        Zkt,
        U,
    ],
    satp_mode: SatpMode::Bare,
};

/// Ssstrict and Ssu64xl are not mandatory yet: they are how every hart of ours is.
pub(super) static RVA22S64: Profile = Profile {
    name: "rva22s64",
    base: Some(&RVA22U64),
    adds: &[Zifencei, S, Ssccptr, Sscounterenw, Ssstrict, Sstvala, Sstvecd, Ssu64xl, Svade, Svinval, Svpbmt],
    satp_mode: SatpMode::Sv39,
};

/// What RVA23U64 adds to RVA22U64.
macro_rules! rva23u {
    ($($more:ident)*) => {
        &[V, Zicond, Zihintntl, Zimop, Zawrs, Zfa, Zcb, Zcmop, Zvbb, Zvfhmin, Zvkt, Supm $(, $more)*]
    };
}

pub(super) static RVA23U64: Profile =
    Profile { name: "rva23u64", base: Some(&RVA22U64), adds: rva23u!(), satp_mode: SatpMode::Bare };

/// Smstateen and Smnpm are the machine-level sides of Ssstateen and Ssnpm, which software below a supervisor switches
/// them on with.
pub(super) static RVA23S64: Profile = Profile {
    name: "rva23s64",
    base: Some(&RVA22S64),
    adds: rva23u!(H Sha Smnpm Smstateen Sscofpmf Ssnpm Sstc Svnapot),
    satp_mode: SatpMode::Sv39,
};

/// All profiles.
pub static PROFILES: &[&Profile] = &[&RVA22U64, &RVA22S64, &RVA23U64, &RVA23S64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_profile_contains_the_user_profile() {
        let all = |profile: &Profile| profile.exts().closure();
        for (user, supervisor) in [(&RVA22U64, &RVA22S64), (&RVA23U64, &RVA23S64), (&RVA22S64, &RVA23S64)] {
            assert!(all(user).difference(&all(supervisor)).is_empty(), "{}", supervisor.name);
        }
        assert!(all(&RVA23S64).contains(Zve64d) && all(&RVA23S64).contains(Shgatpa));
        assert!(!all(&RVA23U64).contains(S) && !all(&RVA22S64).contains(Sstc));
    }
}
