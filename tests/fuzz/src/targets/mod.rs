//! The targets. Where an input has several parts or ways, its first byte chooses.

mod cli;
mod files;
mod gdb;
mod monitor;
mod network;
mod snapshot;
mod virtio;

use crate::Target;

pub const TARGETS: &[&Target] = &[
    &snapshot::READER,
    &snapshot::LOAD,
    &snapshot::INCOMING,
    &monitor::QMP,
    &monitor::HMP,
    &gdb::GDB,
    &files::TREE,
    &files::KERNEL,
    &virtio::VIRTIO,
    &network::NETWORK,
    &cli::COMMAND_LINE,
];

/// The first byte of an input and the rest.
fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

/// An error is one line, and not empty.
fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "an error is one line: {text:?}");
}

/// A folder for a target that starts machines, which can do no harm outside of it.
fn caged() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    crate::cage::enter(folder.path());
    folder
}
