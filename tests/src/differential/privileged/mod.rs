//! Privileged state against the references: programs of steps, each of which sets up registers and tables at random and
//! then does one thing in some mode.
//!
//! [`program`] is the frame: M-mode code around the steps and the memory they share. [`compare`] runs a program on two
//! machines, takes out what is [`Known`] to differ, and makes what is left small. Each other file here is a [`Theme`]:
//! what its steps set up and do, and which registers they look at.

pub mod compare;
pub mod known;
pub mod leaves;
pub mod pmp;
pub mod program;

use arch::ext::IsaConfig;

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
    /// Besides [`known::COMMON`].
    pub known: &'static [Known],
}

impl Theme {
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
pub static THEMES: &[&Theme] = &[&pmp::THEME, &leaves::THEME];
