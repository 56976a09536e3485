//! The program `vireo`: command line, machine, board, vCPU threads, event loop.
//!
//! The way data takes: argv -> [`cli`] -> [`config::MachineConfig`] -> [`board`] (RAM, bus, chips, wiring) ->
//! engine and firmware -> one thread a hart and the event loop.

pub mod board;
pub mod cli;
pub mod config;
