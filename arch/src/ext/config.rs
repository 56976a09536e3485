//! A hart's ISA as chosen by `-cpu`: extensions and the parameters the specification leaves open.

use super::{Ext, ExtSet};
use crate::model;

/// The largest translation mode of `satp`; smaller ones are supported with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SatpMode {
    Bare,
    Sv39,
    Sv48,
    Sv57,
}

impl SatpMode {
    /// Encoding of `satp.MODE`.
    pub const fn encoding(self) -> u64 {
        match self {
            Self::Bare => 0,
            Self::Sv39 => 8,
            Self::Sv48 => 9,
            Self::Sv57 => 10,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Sv39 => "sv39",
            Self::Sv48 => "sv48",
            Self::Sv57 => "sv57",
        }
    }
}

/// What the vector specification leaves to an implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VectorChoices {
    /// Agnostic tail elements become all ones; else they keep their values.
    pub ta_all_1s: bool,
    /// The same of agnostic masked-off elements.
    pub ma_all_1s: bool,
    /// `vl` is half of AVL, rounded up, where AVL is between VLMAX and twice that; else VLMAX.
    pub vl_half_avl: bool,
    /// `vsetvli x0, x0` and `vsetvl x0, x0` that would change VLMAX, which is reserved, set `vill`; else `vl` becomes at
    /// most VLMAX.
    pub vsetvl_x0_vill: bool,
}

/// A hart's ISA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsaConfig {
    /// Closed under implication.
    pub exts: ExtSet,
    /// The largest supported mode.
    pub satp_mode: SatpMode,
    /// 0..=64.
    pub pmp_entries: u8,
    /// Bit n: `mhpmcounter` n counts, for n from 3 to 31. Without Zihpm none does.
    pub pmu_counters: u32,
    /// Where the handlers of non-maskable interrupts and of exceptions in them begin (Smrnmi).
    pub rnmi_interrupt_vector: u64,
    pub rnmi_exception_vector: u64,
    /// Bits of a vector register; meaningful with a vector extension only.
    pub vlen: u32,
    pub rvv: VectorChoices,
    /// Cache-block sizes in bytes.
    pub cbom_block: u16,
    pub cboz_block: u16,
    pub cbop_block: u16,
    /// An IMSIC stands at every hart (AIA, "Incoming MSI Controller"): a matter of the board, not of the model.
    pub imsic: bool,
    /// GEILEN, the number of guest external interrupts: 0..=63. With an IMSIC it is that of its guest interrupt files.
    pub geilen: u8,
    pub mvendorid: u64,
    pub marchid: u64,
    pub mimpid: u64,
    /// `riscv,isa` names single-letter extensions only; `riscv,isa-extensions` names all.
    pub short_isa_string: bool,
    /// The name of the CPU model this came from.
    pub model: String,
}

impl Default for IsaConfig {
    /// The model `rv64`.
    fn default() -> Self {
        model::find(model::DEFAULT).expect("the default model exists").config()
    }
}

impl IsaConfig {
    pub fn has(&self, ext: Ext) -> bool {
        self.exts.contains(ext)
    }

    /// The reset value of `misa`: MXL = 64 bits and a bit for each single-letter extension.
    pub fn misa(&self) -> u64 {
        self.exts
            .iter()
            .filter_map(|ext| match ext.name().as_bytes() {
                [letter] => Some(1 << (letter - b'a')),
                _ => None,
            })
            .fold(2 << 62, |misa: u64, bit: u64| misa | bit)
    }

    /// `riscv,isa` of the device tree, such as `rv64imafdc_zicsr_...`.
    pub fn isa_string(&self) -> String {
        let mut isa = String::from("rv64");
        let names = self.isa_extensions();
        for name in names.into_iter().filter(|name| name.len() == 1 || !self.short_isa_string) {
            if name.len() > 1 {
                isa.push('_');
            }
            isa.push_str(name);
        }
        isa
    }

    /// `riscv,isa-extensions` of the device tree, in canonical order. Privilege modes are not extensions there.
    pub fn isa_extensions(&self) -> Vec<&'static str> {
        let exts = self.exts.iter().filter(|ext| !matches!(ext, Ext::S | Ext::U));
        let mut names: Vec<_> = exts.map(Ext::name).collect();
        names.sort_by_key(|name| canonical(name));
        names
    }

    /// `riscv,isa-base` of the device tree.
    pub fn isa_base(&self) -> &'static str {
        "rv64i"
    }

    /// `mmu-type` of the device tree.
    pub fn mmu_type(&self) -> &'static str {
        match self.satp_mode {
            SatpMode::Bare => "riscv,none",
            SatpMode::Sv39 => "riscv,sv39",
            SatpMode::Sv48 => "riscv,sv48",
            SatpMode::Sv57 => "riscv,sv57",
        }
    }
}

/// Where a name stands in an ISA string: single letters, `z*` by the letter each extends, what extends supervisor and
/// hypervisor, what extends the machine level; each by name (unprivileged spec, "ISA Extension Naming Conventions").
fn canonical(name: &'static str) -> (u8, usize, &'static str) {
    let category = |letter| "imafdqlcbkjtpvnh".bytes().position(|other| other == letter).unwrap_or(usize::MAX);
    match name.as_bytes() {
        [letter] => (0, category(*letter), ""),
        [b'z', letter, ..] => (1, category(*letter), name),
        [b's', b'm', ..] => (3, 0, name),
        _ => (2, 0, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::EXTENSIONS;

    #[test]
    fn names_are_in_canonical_order() {
        let exts = EXTENSIONS.iter().map(|row| row.ext).collect();
        let isa = IsaConfig { exts, ..IsaConfig::default() };
        let names = isa.isa_extensions().join("_");
        assert!(names.starts_with("i_m_a_f_d_c_b_v_h_zic64b_zicbom_"), "{names}");
        let mut at = 0;
        for part in
            ["zihpm", "zmmul", "za128rs", "za64rs", "zfinx", "zdinx", "zca", "zba", "zk", "ztso", "zvbb", "zhinx"]
        {
            let found = names.find(&format!("_{part}_")).unwrap_or_else(|| panic!("no {part} in {names}"));
            assert!(found > at, "{part} in {names}");
            at = found;
        }
        assert!(names.find("svvptc") < names.find("smaia"), "{names}");
        assert!(names.find("zvksh") < names.find("sha_"), "{names}");
    }
}
