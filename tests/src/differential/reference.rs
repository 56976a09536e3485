//! The machine that ours is compared with: a QEMU, or Spike.
//!
//! A test asks [`Reference::find`] for the one that the environment names, narrows its ISA to what both have with
//! [`Reference::common`], and runs images with [`Reference::run`]. An image is RAM from its start, entered at its first
//! byte in M-mode, and ends by writing [`super::guest::FINISHER_PASS`] to [`super::guest::FINISHER`]; the same image runs
//! on all of them. Lists of known differences ask [`Reference::qemu`] and [`Reference::is_spike`] whose they are.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use arch::ext::IsaConfig;

use super::block::Avoid;
use super::qemu::{self, Qemu};
use super::spike::{self, Spike};

/// The first QEMU that privileged behaviour, vectors and registers can be compared with.
const RECENT: u32 = 10;

#[derive(Debug)]
pub enum Reference {
    Qemu(Qemu),
    Spike(Spike),
}

impl Reference {
    /// The Spike that the environment names, or the QEMU that it names, or the QEMU in PATH.
    pub fn find() -> anyhow::Result<Self> {
        match std::env::var_os(spike::VARIABLE) {
            Some(program) => Ok(Self::Spike(Spike::at(PathBuf::from(program))?)),
            None => Ok(Self::Qemu(Qemu::find()?)),
        }
    }

    /// The same, if it is not too old for more than computation.
    pub fn find_recent() -> anyhow::Result<Self> {
        let reference = Self::find()?;
        if reference.qemu().is_some_and(|major| major < RECENT) {
            bail!(
                "{} is too old to compare privileged behaviour with (it lets CSRRC write read-only CSRs, for instance): \
                 name one of version {RECENT} or later in {} (Debian: qemu-system-riscv, also in bookworm-backports)",
                reference.name(),
                qemu::VARIABLE
            );
        }
        Ok(reference)
    }

    /// What it is, and its version.
    pub fn name(&self) -> String {
        match self {
            Self::Qemu(qemu) => format!("QEMU {}", qemu.version),
            Self::Spike(spike) => format!("Spike {}", spike.version),
        }
    }

    /// The major version of a QEMU.
    pub fn qemu(&self) -> Option<u32> {
        match self {
            Self::Qemu(qemu) => Some(qemu.major()),
            Self::Spike(_) => None,
        }
    }

    pub fn is_spike(&self) -> bool {
        matches!(self, Self::Spike(_))
    }

    /// What blocks leave alone because of it.
    pub fn avoid(&self) -> Avoid {
        let spike = self.is_spike();
        Avoid {
            unaligned_whole_registers: self.qemu().is_some_and(|major| major >= 11),
            misaligned_atomics: spike,
            vstart_of_arithmetic: spike,
            unmapped_management: !spike,
            unordered_sums: spike,
            misa: spike,
            fiom: spike,
        }
    }

    /// `isa` without what the reference does not have, and what that is.
    pub fn common(&self, isa: &IsaConfig) -> anyhow::Result<(IsaConfig, Vec<&'static str>)> {
        match self {
            Self::Qemu(qemu) => Ok(qemu.common(isa)),
            Self::Spike(spike) => spike.common(isa),
        }
    }

    /// Runs the image on a hart with this ISA; returns as much of RAM as it covers.
    pub fn run(&self, isa: &IsaConfig, image: &[u8]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Qemu(qemu) => qemu.run(isa, image),
            Self::Spike(spike) => spike.run(isa, image),
        }
    }
}

/// The child's status, or `None` if it had to be killed.
pub(super) fn wait(child: &mut Child, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().context("wait for the reference")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill().context("end the reference")?;
            child.wait().context("wait for the reference")?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
