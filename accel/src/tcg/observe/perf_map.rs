//! `-perfmap`: `/tmp/perf-PID.map`, which tells `perf report` how code without a file is called.
//!
//! A line a block: address and size in hexadecimal, then the name (tools/perf/Documentation/jit-interface.txt of Linux).
//! There is no way to take a line back: where the code cache was filled more than once, the last name of an address
//! is the one that holds. `-jitdump` knows the time of each.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::UntilError;
use crate::AccelError;

pub struct PerfMap(UntilError<BufWriter<File>>);

impl PerfMap {
    pub fn create() -> Result<Self, AccelError> {
        // The place is perf's choice.
        let path = format!("/tmp/perf-{}.map", std::process::id());
        let file = File::create(&path)
            .map_err(|source| AccelError::Host { doing: format!("write -perfmap's file {path}"), source })?;
        Ok(Self(UntilError::new(format!("-perfmap: {path}"), BufWriter::with_capacity(1 << 16, file))))
    }

    pub fn add(&self, address: u64, len: usize, name: &str) {
        self.0.write(|out| writeln!(out, "{address:x} {len:x} {name}"));
    }

    pub fn flush(&self) {
        self.0.write(BufWriter::flush);
    }
}
