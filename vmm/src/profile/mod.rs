//! Where the guest spends its time: samples of all harts, taken while they run, and reports of them.
//!
//! ```text
//! harts, by a signal (accel::profile) -> rings -> recorder: equal stacks are counted -> recording: a file
//!                                                                                          |
//!                            names (symbols) -> report: folded stacks, a flame graph, a table (command)
//! ```
//!
//! A recording holds addresses and no names. Names come in where it is read: that needs files of the guest's user, takes
//! time, and may be done again with better files; the machine that is measured has nothing to do with it.

pub mod command;
mod qmp;
pub mod recorder;
pub mod recording;
pub mod report;
pub mod symbols;
