//! The program `vireo`: command line, machine, board, vCPU threads, event loop.
//!
//! The way data takes: argv -> [`cli`] -> [`config::MachineConfig`] -> [`board`] (RAM, bus, chips, wiring) ->
//! engine and firmware -> one thread a hart ([`harts`]) and the event loop ([`event_loop`]).

mod affinity;
pub mod board;
pub mod cli;
pub mod config;
pub mod control;
mod disk_errors;
pub mod event_loop;
mod files;
mod gdb;
pub mod harts;
pub mod log;
pub mod machine;
pub mod monitor;
mod open;
pub mod profile;
mod progress_line;
mod sbi_host;
mod semihosting;
mod signature;
pub mod snapshot;

/// An error with its causes, on one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own message.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
