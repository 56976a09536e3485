//! Control and status registers: the table of numbers and names, and the fields inside them.
//!
//! What a register does is the engine's business; what is here holds for every hart.

mod fields;
mod table;

use std::sync::LazyLock;

pub use fields::*;
pub use table::*;

use crate::ext::{Ext, IsaConfig};

/// A row of the CSR table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Csr {
    /// 12 bits.
    pub number: u16,
    /// As the specification prints it.
    pub name: &'static str,
    /// Any of these lists has to be present in full.
    pub exts: &'static [&'static [Ext]],
    /// One line.
    pub doc: &'static str,
}

/// Bits 9:8 of the number: the lowest privilege that may access a register, encoded as in `mstatus.MPP`;
/// 2 is for hypervisor and virtual-supervisor registers.
pub const fn lowest_privilege(number: u16) -> u8 {
    (number >> 8 & 3) as u8
}

/// Bits 11:10 of the number are both set: a write is an illegal instruction.
pub const fn is_read_only(number: u16) -> bool {
    number >> 10 & 3 == 3
}

impl Csr {
    pub const fn lowest_privilege(&self) -> u8 {
        lowest_privilege(self.number)
    }

    pub const fn is_read_only(&self) -> bool {
        is_read_only(self.number)
    }

    /// Whether a hart with this ISA has the register. PMP registers beyond `pmp_entries` exist and read zero,
    /// unless there are no entries at all.
    pub fn available(&self, isa: &IsaConfig) -> bool {
        let pmp = matches!(self.number, PMPCFG0..=PMPCFG14 | PMPADDR0..=PMPADDR63);
        self.exts.iter().any(|all| all.iter().all(|ext| isa.has(*ext))) && (!pmp || isa.pmp_entries > 0)
    }
}

/// Rows by number.
static BY_NUMBER: LazyLock<Vec<Option<&'static Csr>>> = LazyLock::new(|| {
    let mut rows = vec![None; 1 << 12];
    for row in table::ROWS {
        rows[usize::from(row.number)] = Some(row);
    }
    rows
});

/// All registers known by name, whatever their extension.
pub fn all() -> &'static [Csr] {
    table::ROWS
}

/// The register with this number.
pub fn by_number(number: u16) -> Option<&'static Csr> {
    BY_NUMBER.get(usize::from(number)).copied().flatten()
}

/// The register with this name.
pub fn by_name(name: &str) -> Option<&'static Csr> {
    table::ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for row in all() {
            assert_eq!(by_number(row.number), Some(row), "{} shares its number", row.name);
            assert_eq!(by_name(row.name), Some(row), "{} shares its name", row.name);
        }
    }

    #[test]
    fn the_name_agrees_with_the_privilege_of_the_number() {
        for row in all() {
            let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| row.name.starts_with(prefix));
            let virtual_supervisor = starts(&["vss", "vsi", "vst", "vse", "vsc", "vsa"]) && row.name != "vstart";
            let expected = if starts(&["m", "pmp", "tselect", "tdata", "tinfo"]) {
                3
            } else if virtual_supervisor || starts(&["h"]) && !starts(&["hpm"]) {
                2
            } else if starts(&["s"]) && !matches!(row.name, "ssp" | "seed") {
                1
            } else {
                0
            };
            assert_eq!(row.lowest_privilege(), expected, "{}", row.name);
        }
    }

    #[test]
    fn availability_follows_the_isa() {
        let mut isa = IsaConfig::default();
        assert!(by_name("stimecmp").unwrap().available(&isa));
        assert!(by_name("hstatus").unwrap().available(&isa));
        isa.exts.remove(Ext::H);
        assert!(!by_name("hstatus").unwrap().available(&isa));
        assert!(by_name("pmpaddr63").unwrap().available(&isa));
        isa.exts.remove(Ext::Sstc);
        isa.pmp_entries = 0;
        assert!(!by_name("stimecmp").unwrap().available(&isa));
        assert!(!by_name("pmpaddr0").unwrap().available(&isa));
    }
}
