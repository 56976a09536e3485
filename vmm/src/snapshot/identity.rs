//! What a machine is, apart from its state: a snapshot is taken by machines that are the same in all of this.

use arch::ext::IsaConfig;
use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use super::format::Section;
use crate::config::{Aia, Bios, MachineConfig, VirtioKind};

pub const NAME: &str = "machine";
pub const VERSION: u32 = 1;

/// The first section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The program that wrote it, and its engine: to be told, not to be compared.
    pub writer: String,
    pub engine: String,
    /// With its version: `virt-1.0`.
    machine: String,
    cpu: String,
    isa: String,
    /// What the ISA string does not say, as `name=value`.
    harts_have: Vec<String>,
    harts: u32,
    ram_size: u64,
    /// Ticks a second.
    timebase: u64,
    /// Nanoseconds of an instruction as a power of two, if instructions are the clock.
    icount: Option<u32>,
    firmware: String,
    interrupts: String,
    /// Kinds of devices by slot.
    slots: Vec<String>,
}

/// The first difference is told.
macro_rules! compare {
    ($snapshot:expr, $here:expr, $($field:ident: $what:literal),*) => {
        $(if $snapshot.$field != $here.$field {
            return Err(SnapshotError::OtherMachine {
                what: $what,
                found: plain(&$snapshot.$field),
                here: plain(&$here.$field),
            });
        })*
    };
}

/// A value as a person reads it.
fn plain(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => format!("'{}'", text.escape_debug()),
        Ok(serde_json::Value::Null) => "none".to_owned(),
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

impl Identity {
    /// Of a machine whose configuration the engine has completed; `timebase` is that of its clock.
    pub fn of(config: &MachineConfig, engine: &str, timebase: u64) -> Self {
        let isa = &config.isa;
        let kind = |kind: &VirtioKind| match kind {
            VirtioKind::Block(_) => "virtio-blk",
            VirtioKind::Net(_) => "virtio-net",
            VirtioKind::Rng(_) => "virtio-rng",
            VirtioKind::Console(_) => "virtio-serial",
            VirtioKind::Keyboard => "virtio-keyboard",
        };
        let mut slots: Vec<_> = config.virtio.iter().map(|v| format!("{}:{}", v.slot, kind(&v.kind))).collect();
        if config.force_legacy {
            slots.push("legacy".to_owned());
        }
        slots.sort();
        let interrupts = match config.board.aia {
            Aia::None => "plic".to_owned(),
            Aia::Aplic => "aplic".to_owned(),
            Aia::AplicImsic => format!("aplic-imsic, {} guest files", config.board.aia_guests),
        };
        let aclint = if config.board.aclint { ", aclint" } else { "" };
        let firmware = match config.boot.bios {
            Bios::Default => "the built-in SBI",
            Bios::None | Bios::File(_) => "M-mode",
        };
        Self {
            writer: concat!("vireo ", env!("CARGO_PKG_VERSION")).to_owned(),
            engine: engine.to_owned(),
            machine: config.machine.name.to_owned(),
            cpu: isa.model.clone(),
            isa: isa.isa_string(),
            harts_have: properties(isa),
            harts: config.topology.harts(),
            ram_size: config.ram_size,
            timebase,
            icount: config.icount,
            firmware: firmware.to_owned(),
            interrupts: interrupts + aclint,
            slots,
        }
    }

    pub fn timebase(&self) -> u64 {
        self.timebase
    }

    pub fn harts(&self) -> u32 {
        self.harts
    }

    pub fn read(section: &Section) -> Result<Self, SnapshotError> {
        if section.name != NAME {
            return Err(SnapshotError::Missing(NAME.to_owned()));
        }
        section.expect_version(VERSION)?;
        let bad = |error| SnapshotError::Malformed(format!("section '{NAME}': {error}"));
        ciborium::from_reader(&section.body[..]).map_err(bad)
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        ciborium::into_writer(self, &mut body).expect("plain values are written to memory");
        body
    }

    /// Whether this machine, `here`, takes snapshots of `self`.
    pub fn check(&self, here: &Self) -> Result<(), SnapshotError> {
        compare!(self, here,
            machine: "machine type", ram_size: "bytes of RAM", harts: "number of harts", timebase: "timebase in Hz",
            icount: "icount shift", firmware: "firmware", interrupts: "interrupt controller", slots: "virtio devices");
        fn words(all: &[String]) -> Vec<&str> {
            all.iter().map(String::as_str).collect()
        }
        let isa = parts_differ("ISA", &extensions(&self.isa), &extensions(&here.isa));
        let rest = || parts_differ("hart properties", &words(&self.harts_have), &words(&here.harts_have));
        if let Some(error) = isa.or_else(rest) {
            return Err(error);
        }
        // The same parts in another order.
        compare!(self, here, isa: "ISA", harts_have: "hart properties");
        Ok(())
    }
}

/// What is in one of two lists only: of the snapshot, and of the machine. `None` if they have the same parts.
fn parts_differ<'a>(what: &'static str, found: &[&'a str], here: &[&'a str]) -> Option<SnapshotError> {
    let only = |these: &[&'a str], those: &[&str]| -> Vec<_> {
        these.iter().filter(|part| !those.contains(part)).map(|part| part.escape_debug().to_string()).collect()
    };
    let (found, here) = (only(found, here), only(here, found));
    let list = |parts: &[String]| if parts.is_empty() { "nothing else".to_owned() } else { parts.join(", ") };
    let differ = !(found.is_empty() && here.is_empty());
    differ.then(|| SnapshotError::OtherParts { what, found: list(&found), here: list(&here) })
}

/// The extensions that an ISA string names: single letters, and names with more behind underscores.
fn extensions(isa: &str) -> Vec<&str> {
    let (letters, names) = isa.split_once('_').unwrap_or((isa, ""));
    let (base, letters) = letters.split_at_checked(4).unwrap_or((letters, ""));
    let letters = letters.char_indices().map(|(at, c)| &letters[at..at + c.len_utf8()]);
    std::iter::once(base).chain(letters).chain(names.split('_')).filter(|name| !name.is_empty()).collect()
}

/// All that guests see of a hart beside the ISA string. The model's name is no part of it: engines have other models
/// for the same harts.
fn properties(isa: &IsaConfig) -> Vec<String> {
    vec![
        format!("satp={:?}", isa.satp_mode),
        format!("pmp={}", isa.pmp_entries),
        format!("pmu-mask={:#x}", isa.pmu_counters),
        format!("vlen={}", isa.vlen),
        format!("cbom={} cboz={} cbop={}", isa.cbom_block, isa.cboz_block, isa.cbop_block),
        format!("geilen={}", isa.geilen),
        format!("mvendorid={:#x} marchid={:#x} mimpid={:#x}", isa.mvendorid, isa.marchid, isa.mimpid),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_harts_lack_is_told_by_name() {
        let differ =
            |found, here| parts_differ("ISA", &extensions(found), &extensions(here)).map(|error| error.to_string());
        assert_eq!(differ("rv64imac_zba_zbb", "rv64imac_zba_zbb"), None);
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(
            differ("rv64imafdcv_zba_zve32f", "rv64imafdch_zba"),
            told("ISA: only the snapshot has v, zve32f; only this machine has h")
        );
        assert_eq!(
            differ("rv64imac_zba", "rv64imac"),
            told("ISA: only the snapshot has zba; only this machine has nothing else")
        );
        assert_eq!(differ("rv32i", "rv64i"), told("ISA: only the snapshot has rv32; only this machine has rv64"));
        // Whatever a file says.
        for odd in ["", "é", "rv64é_\n", "___"] {
            assert!(differ(odd, "rv64i").is_some(), "{odd}");
        }
    }
}
