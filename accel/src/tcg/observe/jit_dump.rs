//! `-jitdump`: `jit-PID.dump` in the current folder, from which `perf inject -j` makes what `perf report` and
//! `perf annotate` read, code included. Beside it `jit-PID.txt` has the guest's instructions, a line each, as the
//! "source" of the host's.
//!
//! The format is that of tools/perf/Documentation/jitdump-specification.txt of Linux, version 1; times are
//! of CLOCK_MONOTONIC (`perf record -k 1`). perf finds the file because it is mapped executable for a moment.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::ptr::null_mut;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use super::UntilError;
use crate::AccelError;

const MAGIC: u32 = 0x4a69_5444;
const HEADER_BYTES: u32 = 40;
const CODE_LOAD: u32 = 0;
const DEBUG_INFO: u32 = 2;

/// The host as ELF numbers machines.
const ELF_MACHINE: u32 = match () {
    () if cfg!(target_arch = "aarch64") => 183,
    () if cfg!(target_arch = "riscv64") => 243,
    () => 62,
};

pub struct JitDump(UntilError<Writer>);

struct Writer {
    dump: BufWriter<File>,
    text: BufWriter<File>,
    /// Absolute, so that perf finds it from anywhere.
    text_path: PathBuf,
    /// Lines of the text so far.
    lines: u32,
    /// Records of code so far.
    index: u64,
}

fn nanoseconds() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl JitDump {
    pub fn create() -> Result<Self, AccelError> {
        let path = format!("jit-{}.dump", std::process::id());
        let failed = |source| AccelError::Host { doing: format!("write -jitdump's file {path}"), source };
        let make = || {
            let text_path = std::env::current_dir()?.join(&path).with_extension("txt");
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            show_to_perf(&file)?;
            let text = BufWriter::new(File::create(&text_path)?);
            let mut w = Writer { dump: BufWriter::with_capacity(1 << 16, file), text, text_path, lines: 0, index: 0 };
            w.header()?;
            Ok(w)
        };
        make().map(|w| Self(UntilError::new(format!("-jitdump: {path}"), w))).map_err(failed)
    }

    /// Code called `name` at `address`. `lines` is its guest code, and `places` say of addresses which of them they
    /// belong to.
    pub fn add(&self, name: &str, address: u64, code: &[u8], lines: &[&str], places: &[(u64, Option<usize>)]) {
        self.0.write(|w| w.lines(address, lines, places).and_then(|()| w.code(name, address, code)));
    }

    pub fn flush(&self) {
        self.0.write(|w| w.dump.flush().and_then(|()| w.text.flush()));
    }
}

/// Maps a page of the file executable, which leaves a record with its name in perf's data.
fn show_to_perf(file: &File) -> io::Result<()> {
    // SAFETY: a fresh private mapping at an address of the kernel's choice, which nobody touches.
    unsafe {
        let page = mmap(null_mut(), 4096, ProtFlags::READ | ProtFlags::EXEC, MapFlags::PRIVATE, file, 0)?;
        munmap(page, 4096)?;
    }
    Ok(())
}

impl Writer {
    fn header(&mut self) -> io::Result<()> {
        let words = [MAGIC, 1, HEADER_BYTES, ELF_MACHINE, 0, std::process::id()];
        words.iter().try_for_each(|w| self.dump.write_all(&w.to_ne_bytes()))?;
        // The time, and no flags.
        [nanoseconds(), 0].iter().try_for_each(|w| self.dump.write_all(&w.to_ne_bytes()))
    }

    fn record(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        self.dump.write_all(&kind.to_ne_bytes())?;
        self.dump.write_all(&(body.len() as u32 + 16).to_ne_bytes())?;
        self.dump.write_all(&nanoseconds().to_ne_bytes())?;
        self.dump.write_all(body)
    }

    /// Comes before the code that it is about.
    fn lines(&mut self, address: u64, lines: &[&str], places: &[(u64, Option<usize>)]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let first = self.lines + 1;
        lines.iter().try_for_each(|line| writeln!(self.text, "{line}"))?;
        self.lines += lines.len() as u32;
        let places: Vec<_> = places.iter().filter_map(|&(at, line)| Some((at, first + line? as u32))).collect();
        let mut body = Vec::new();
        body.extend(address.to_ne_bytes());
        body.extend((places.len() as u64).to_ne_bytes());
        for (at, line) in places {
            body.extend(at.to_ne_bytes());
            body.extend(line.to_ne_bytes());
            body.extend(0u32.to_ne_bytes());
            body.extend(self.text_path.as_os_str().as_encoded_bytes());
            body.push(0);
        }
        self.record(DEBUG_INFO, &body)
    }

    fn code(&mut self, name: &str, address: u64, code: &[u8]) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(std::process::id().to_ne_bytes());
        body.extend((gettid().as_raw_nonzero().get() as u32).to_ne_bytes());
        for word in [address, address, code.len() as u64, self.index] {
            body.extend(word.to_ne_bytes());
        }
        self.index += 1;
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(code);
        self.record(CODE_LOAD, &body)
    }
}
