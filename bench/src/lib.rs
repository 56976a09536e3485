//! `vireo bench`: engines compared on one board, with the same guest, run by run.
//!
//! The guest program measures nothing by itself: it says on its console where a timed round begins and ends, and this
//! side looks at the host's clock ([`protocol`], [`run`]). Rounds of different engines alternate, so that what else the
//! machine does falls on all of them, and are compared as pairs ([`session`], [`stats`]). A result is plain data
//! ([`result`]), shown as a table, JSON, or a page with plots ([`report`]).

pub mod engine;
pub mod linux;
pub mod protocol;
pub mod report;
pub mod result;
pub mod run;
pub mod session;
pub mod stats;

mod args;
mod cpu_clock;
mod host;
mod native;
mod output;
mod progress;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitStatus;

pub use args::main;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("--engines: there is no engine '{0}'; there are {names}", names = engine::NAMES.join(", "))]
    UnknownEngine(String),
    #[error("--suite: there is no suite '{0}'; there are {names} and all", names = session::SUITES.join(", "))]
    UnknownSuite(String),
    #[error("none of the engines can be measured here: {0}")]
    NoEngine(String),
    #[error("cannot run '{}': {source}", path.display())]
    Program { path: PathBuf, source: std::io::Error },
    #[error("'{}' --version ended with {status}: is it a virtual machine monitor?", path.display())]
    NoVersion { path: PathBuf, status: ExitStatus },
    #[error("cannot {doing} '{}': {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("'{}' is no result of vireo bench: {why}", path.display())]
    NoReport { path: PathBuf, why: String },
    #[error("the Debian guest is not there: {}: {source}; `cargo kit fetch` makes it, --linux-dir names another", path.display())]
    NoLinux { path: PathBuf, source: std::io::Error },
    #[error("cannot {doing}: {source}")]
    Host { doing: &'static str, source: std::io::Error },
    #[error("'{}' is not {wanted}: its --version says '{says}'", path.display())]
    OtherProgram { path: PathBuf, wanted: &'static str, says: String },
    #[error("--cpu {cpu}: {engine} does not take it: {why}")]
    NoModel { cpu: String, engine: String, why: String },
    #[error("--only {only}: no benchmark of {suites} has this in its name")]
    NothingNamed { only: String, suites: String },
    #[error("{0}")]
    Argument(String),
}
