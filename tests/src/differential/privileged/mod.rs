//! Privileged state against the references: programs of steps, each of which sets up registers and tables at random and
//! then does one thing in some mode.
//!
//! [`program`] is the frame: M-mode code around the steps and the memory they share. [`compare`] runs a program on two
//! machines, takes out what is [`Known`] to differ, and makes what is left small. Each other file here is a [`Theme`]:
//! what its steps set up and do, and which registers they look at.

pub mod access;
pub mod cfi;
pub mod compare;
pub mod known;
pub mod leaves;
pub mod masking;
pub mod pmp;
pub mod program;
pub mod traps;

use anyhow::Result;
use arch::ext::{Ext, IsaConfig};

use super::reference::Reference;
use super::rng::Rng;
pub use program::{Level, Program, Seen, Setup, Step};

/// What a kind of program is about.
pub struct Theme {
    pub name: &'static str,
    /// The harts, before the reference has its say.
    pub isa: fn() -> IsaConfig,
    /// A random program.
    pub program: fn(&IsaConfig, &mut Rng) -> Program,
    /// Why it is not compared with this reference, if it is not.
    pub left_out: fn(&Reference) -> Option<&'static str>,
    /// Extensions that QEMU has but not in a way that can be compared.
    pub not_in_qemu: &'static [Ext],
    /// Besides [`known::COMMON`].
    pub known: &'static [Known],
}

impl Theme {
    /// The ISA to compare with this reference, and what had to be left out.
    pub fn common(&self, reference: &Reference) -> Result<(IsaConfig, Vec<&'static str>)> {
        let mut isa = (self.isa)();
        if reference.qemu().is_some() {
            self.not_in_qemu.iter().for_each(|ext| isa.exts.remove(*ext));
        }
        reference.common(&isa)
    }

    /// All known differences that its steps can meet.
    pub fn all_known(&self) -> impl Iterator<Item = &'static Known> + use<> {
        known::COMMON.iter().chain(self.known)
    }
}

/// A difference that is no bug of ours.
pub struct Known {
    pub what: &'static str,
    /// What the specification says.
    pub spec: &'static str,
    /// Whose it is.
    pub applies: fn(&Reference) -> bool,
    /// Takes the difference out of both, ours first.
    pub forgive: fn(&Step, &mut Seen, &mut Seen),
}

/// All of them.
pub static THEMES: &[&Theme] =
    &[&pmp::THEME, &leaves::THEME, &traps::THEME, &masking::THEME, &cfi::THEME, &access::THEME];
