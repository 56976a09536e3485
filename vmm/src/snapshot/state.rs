//! The state of a stopped machine but for its RAM: harts, the SBI, the clock and every device.

use std::collections::BTreeMap;

use devices::{MmioDevice, SavedState, StateError};
use firmware::sbi::SavedSbi;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use super::format::Section;
use crate::harts::SavedHart;

pub const RUN: &str = "run";
const SBI: &str = "sbi";
const VERSION: u32 = 1;

fn hart_name(hart: u32) -> String {
    format!("hart.{hart}")
}

/// The section of a device at an address; its version is the device's.
pub fn device_name(device: &dyn MmioDevice, base: u64) -> String {
    format!("{}@{base:x}", device.name())
}

/// Time, and whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The machine's clock, in ticks.
    pub time: u64,
    /// The guest goes on when it is loaded.
    pub running: bool,
}

/// All of it, in this program's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    pub run: Run,
    pub harts: Vec<SavedHart>,
    pub sbi: SavedSbi,
    /// By the names of their sections.
    pub devices: BTreeMap<String, SavedState>,
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    SavedState::of(VERSION, value).bytes
}

fn decode<T: DeserializeOwned>(name: &str, section: Option<Section>) -> Result<T, SnapshotError> {
    let section = section.ok_or_else(|| SnapshotError::Missing(name.to_owned()))?;
    let saved = SavedState { version: section.version, bytes: section.body };
    saved.read(VERSION).map_err(|error| state_error(name, &error))
}

/// The section [`RUN`].
pub fn run(section: Option<Section>) -> Result<Run, SnapshotError> {
    decode(RUN, section)
}

/// A device's refusal of a section.
pub fn state_error(name: &str, error: &StateError) -> SnapshotError {
    SnapshotError::State { name: name.to_owned(), what: error.to_string() }
}

impl MachineState {
    /// Calls `write` with each section: name, version and body.
    pub fn sections<E>(&self, mut write: impl FnMut(&str, u32, &[u8]) -> Result<(), E>) -> Result<(), E> {
        write(RUN, VERSION, &encode(&self.run))?;
        write(SBI, VERSION, &encode(&self.sbi))?;
        for (hart, state) in (0..).zip(&self.harts) {
            write(&hart_name(hart), VERSION, &encode(state))?;
        }
        for (name, state) in &self.devices {
            write(name, state.version, &state.bytes)?;
        }
        Ok(())
    }
}

/// Sections as they come in: each once, and only those that the machine has.
#[derive(Debug)]
pub struct Collected {
    harts: u32,
    wanted: Vec<String>,
    sections: BTreeMap<String, Section>,
}

impl Collected {
    /// For a machine with so many harts, and devices with these names.
    pub fn new(harts: u32, devices: &[String]) -> Self {
        let mut wanted = vec![RUN.to_owned(), SBI.to_owned()];
        wanted.extend((0..harts).map(hart_name));
        wanted.extend_from_slice(devices);
        Self { harts, wanted, sections: BTreeMap::new() }
    }

    pub fn take(&mut self, section: Section) -> Result<(), SnapshotError> {
        if !self.wanted.contains(&section.name) {
            return Err(SnapshotError::Unknown(section.name));
        }
        match self.sections.insert(section.name.clone(), section) {
            None => Ok(()),
            Some(old) => Err(SnapshotError::Malformed(format!("section '{}' is there twice", old.name))),
        }
    }

    /// Everything is there.
    pub fn finish(mut self) -> Result<MachineState, SnapshotError> {
        if let Some(name) = self.wanted.iter().find(|name| !self.sections.contains_key(*name)) {
            return Err(SnapshotError::Missing(name.clone()));
        }
        let run = run(self.sections.remove(RUN))?;
        let sbi = decode(SBI, self.sections.remove(SBI))?;
        let names = (0..self.harts).map(hart_name);
        let harts = names.map(|name| decode(&name, self.sections.remove(&name))).collect::<Result<_, _>>()?;
        let saved = |(name, s): (String, Section)| (name, SavedState { version: s.version, bytes: s.body });
        Ok(MachineState { run, harts, sbi, devices: self.sections.into_iter().map(saved).collect() })
    }
}
