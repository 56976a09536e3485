//! CPU models: what `-cpu` names, and how its options change them.

mod host;
mod options;
mod profile;
mod rules;

pub use host::on_host;
pub use options::{CpuError, PROPERTIES, Property, parse};
pub use profile::{PROFILES, Profile};

use crate::ext::{EXTENSIONS, Ext, ExtSet, IsaConfig, SatpMode, VectorChoices};
use Ext::*;
use profile::{RVA22S64, RVA22U64, RVA23S64, RVA23U64};

/// The model when `-cpu` is not given.
pub const DEFAULT: &str = "rv64";

/// The model of engines whose harts are the host's.
pub const HOST: &str = "host";

/// A CPU model.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub name: &'static str,
    /// One line for `-cpu help`.
    pub doc: &'static str,
    exts: Exts,
    /// The largest mode.
    pub satp_mode: SatpMode,
    pub pmp_entries: u8,
}

/// Which extensions a model has, besides those that these imply.
#[derive(Debug, Clone, Copy)]
enum Exts {
    /// These.
    List(&'static [Ext]),
    /// What a profile makes mandatory.
    Of(&'static Profile),
    /// All that the engines have, but for these.
    AllBut(&'static [Ext]),
}

/// All models, the default first.
pub static MODELS: &[Model] = &[
    Model {
        name: "rv64",
        doc: "64-bit hart with what a Linux distribution uses (default)",
        exts: Exts::List(&[
            I,
            M,
            A,
            F,
            D,
            C,
            H,
            Zic64b,
            Zicbom,
            Zicbop,
            Zicboz,
            Ziccamoa,
            Ziccif,
            Zicclsm,
            Ziccrse,
            Zicond,
            Zicntr,
            Zicsr,
            Zifencei,
            Zihintntl,
            Zihintpause,
            Zihpm,
            Za64rs,
            Zawrs,
            Zfa,
            Zcb,
            Zba,
            Zbb,
            Zbc,
            Zbs,
            S,
            U,
            Sdtrig,
            Shcounterenw,
            Shgatpa,
            Shtvala,
            Shvsatpa,
            Shvstvala,
            Shvstvecd,
            Ssccptr,
            Sscounterenw,
            Ssstrict,
            Sstc,
            Sstvala,
            Sstvecd,
            Ssu64xl,
            Svadu,
            Svinval,
            Svnapot,
            Svpbmt,
            Svvptc,
        ]),
        satp_mode: SatpMode::Sv57,
        pmp_entries: 16,
    },
    Model {
        name: "rv64i",
        doc: "the base integer ISA alone, to add extensions to",
        exts: Exts::List(&[I]),
        satp_mode: SatpMode::Bare,
        pmp_entries: 0,
    },
    Model {
        name: "max",
        doc: "everything this program can emulate",
        // A hart that sets accessed and dirty bits itself is not one that faults; 64 bytes are also at most 128. Floating
        // point in integer registers excludes F, Zcmp and Zcmt have the encodings of Zcd. Software that does not know of
        // Smrnmi or Smdbltrp does not run where they are: they change what happens from reset on.
        exts: Exts::AllBut(&[Svade, Za128rs, Zfinx, Zdinx, Zhinx, Zhinxmin, Zcmp, Zcmt, Smrnmi, Smdbltrp]),
        satp_mode: SatpMode::Sv57,
        pmp_entries: 16,
    },
    Model {
        name: "rva22u64",
        doc: "profile RVA22U64, with machine and user mode",
        exts: Exts::Of(&RVA22U64),
        satp_mode: SatpMode::Bare,
        pmp_entries: 16,
    },
    Model {
        name: "rva22s64",
        doc: "profile RVA22S64",
        exts: Exts::Of(&RVA22S64),
        satp_mode: SatpMode::Sv39,
        pmp_entries: 16,
    },
    Model {
        name: "rva23u64",
        doc: "profile RVA23U64, with machine and user mode",
        exts: Exts::Of(&RVA23U64),
        satp_mode: SatpMode::Bare,
        pmp_entries: 16,
    },
    Model {
        name: "rva23s64",
        doc: "profile RVA23S64",
        exts: Exts::Of(&RVA23S64),
        satp_mode: SatpMode::Sv39,
        pmp_entries: 16,
    },
];

/// The model called `name`.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

impl Model {
    /// The extensions the model names, without those they imply.
    pub fn exts(&self) -> ExtSet {
        match self.exts {
            Exts::List(list) => ExtSet::of(list),
            Exts::Of(profile) => profile.exts(),
            Exts::AllBut(without) => {
                EXTENSIONS.iter().map(|row| row.ext).filter(|ext| ext.is_ready() && !without.contains(ext)).collect()
            }
        }
    }

    /// What the model needs and the engines lack, in canonical order.
    pub fn missing(&self) -> Vec<Ext> {
        self.exts().closure().iter().filter(|ext| !ext.is_ready()).collect()
    }

    /// The ISA of the model as it is, [missing](Self::missing) extensions included.
    pub fn config(&self) -> IsaConfig {
        IsaConfig {
            exts: self.exts().closure(),
            satp_mode: self.satp_mode,
            pmp_entries: self.pmp_entries,
            rnmi_interrupt_vector: 0,
            rnmi_exception_vector: 0,
            // mhpmcounter3 to 18.
            pmu_counters: 0x7_fff8,
            vlen: 128,
            rvv: VectorChoices::default(),
            cbom_block: 64,
            cboz_block: 64,
            cbop_block: 64,
            imsic: false,
            geilen: 0,
            mvendorid: 0,
            marchid: 0,
            mimpid: 0,
            short_isa_string: false,
            model: self.name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_model_is_complete() {
        let model = find(DEFAULT).unwrap();
        assert_eq!(model.missing(), []);
        let isa = model.config();
        assert_eq!(isa.misa(), 0x8000_0000_0014_11ad);
        assert_eq!(
            isa.isa_string(),
            "rv64imafdch_zic64b_zicbom_zicbop_zicboz_ziccamoa_ziccif_zicclsm_ziccrse_zicntr_zicond_zicsr_zifencei_\
             zihintntl_zihintpause_zihpm_zmmul_za64rs_zaamo_zalrsc_zawrs_zfa_zca_zcb_zcd_zba_zbb_zbc_zbs_\
             sdtrig_shcounterenw_shgatpa_shtvala_shvsatpa_shvstvala_shvstvecd_ssccptr_sscounterenw_ssstrict_sstc_sstvala_sstvecd_ssu64xl_svadu_svinval_svnapot_svpbmt_svvptc"
        );
        assert_eq!(isa.mmu_type(), "riscv,sv57");
    }

    #[test]
    fn max_has_all_of_the_default() {
        let (max, default) = (find("max").unwrap(), find(DEFAULT).unwrap());
        assert_eq!(max.missing(), []);
        assert!(default.exts().closure().difference(&max.exts().closure()).is_empty());
    }

    #[test]
    fn a_profile_names_what_is_missing() {
        let missing = find("rva23s64").unwrap().missing();
        assert!(!missing.iter().any(|ext| ext.is_ready()) && !missing.contains(&Zicond));
    }
}
