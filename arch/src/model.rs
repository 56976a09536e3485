//! CPU models: what `-cpu` names.

use crate::ext::{Ext, ExtSet, IsaConfig, SatpMode};

/// The model when `-cpu` is not given.
pub const DEFAULT: &str = "rv64";

/// A CPU model.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub name: &'static str,
    /// One line for `-cpu help`.
    pub doc: &'static str,
    /// What the model names; what these imply comes with them.
    pub exts: &'static [Ext],
    pub satp_mode: SatpMode,
    pub pmp_entries: u8,
}

use Ext::*;

pub static MODELS: &[Model] = &[Model {
    name: "rv64",
    doc: "generic 64-bit hart with everything a Linux distribution uses",
    exts: &[
        I,
        M,
        A,
        F,
        D,
        C,
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
    ],
    satp_mode: SatpMode::Sv57,
    pmp_entries: 16,
}];

pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

impl Model {
    pub fn config(&self) -> IsaConfig {
        IsaConfig {
            exts: ExtSet::of(self.exts).closure(),
            satp_mode: self.satp_mode,
            pmp_entries: self.pmp_entries,
            vlen: 128,
            cbom_block: 64,
            cboz_block: 64,
            cbop_block: 64,
            mvendorid: 0,
            marchid: 0,
            mimpid: 0,
            model: self.name.into(),
        }
    }
}
