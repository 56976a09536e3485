//! Fuzz targets: all that reads bytes which somebody else wrote, from files, sockets or a guest.
//!
//! A [`Target`] takes one input and panics if the program does what it must not: panic on any thread, hang, answer with
//! something that is no answer, or harm a guest that runs meanwhile. Its seeds are what the program itself writes, or what
//! people and programs send to it.
//!
//! One table of targets is run in two ways. [`smoke`] makes a fixed number of inputs from the seeds, the same ones every
//! time, as a test. `cargo kit fuzz` has libFuzzer look for inputs that reach new code, for as long as one likes.

mod cage;
mod guest;
mod mutate;
pub mod smoke;
mod targets;

pub use targets::TARGETS;

/// Takes one input after another.
pub type Run = Box<dyn FnMut(&[u8])>;

/// Something that is fed.
pub struct Target {
    pub name: &'static str,
    /// Inputs of a smoke run.
    pub rounds: u64,
    /// Good inputs, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What is put into inputs, because chance does not find it.
    pub words: &'static [&'static [u8]],
    /// Makes what takes the inputs. It has a thread to itself.
    pub open: fn() -> Run,
}

/// The target with this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
