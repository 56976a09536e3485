//! Translated code as its developer sees it: names for `perf` ([`perf_map`], [`jit_dump`]), listings for the log
//! ([`listing`]), what is executed ([`trace`]), and the counters of a hart ([`stats`]).
//!
//! Nothing here runs while code runs, unless `trace` is asked for. A block is shown once, by the hart that made it, and
//! only if somebody asked: then a [`VmShared`](super::smp::VmShared) has an [`Observer`], or the hart a log.

pub mod jit_dump;
pub mod listing;
pub mod perf_map;
pub mod sampler;
pub mod stats;
pub mod trace;

use std::io;
use std::sync::{Arc, Mutex};

use arch::isa::{Decoder, disasm, insn_len};

use super::TcgOptions;
use super::hart::{BlockMode, Hart};
use super::ir::IrBlock;
use crate::AccelError;
use jit_dump::JitDump;
use perf_map::PerfMap;

/// Where in a block's host code a guest instruction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Bytes into the host code.
    pub host: u32,
    /// Offset of the guest instruction in its page, or [`Mark::COLD`].
    pub guest: u16,
}

impl Mark {
    /// From here on stand the paths that are rarely taken, of any instruction.
    pub const COLD: u16 = u16::MAX;
}

/// A block that was just made.
pub struct Made<'a> {
    pub hart: u32,
    /// Virtual address of its first instruction, in the address space it was made for first.
    pub pc: u64,
    pub mode: BlockMode,
    /// Its guest code, and the address of that: a region begins below its head.
    pub bytes: &'a [u8],
    pub from: u64,
    pub ir: &'a IrBlock,
    /// Where its host code will run, and the code.
    pub address: u64,
    pub host: &'a [u8],
    pub marks: &'a [Mark],
}

/// A guest instruction of a block, as text.
struct GuestLine {
    pc: u64,
    text: String,
}

impl Made<'_> {
    /// What `perf` calls the block: QEMU's way to name code without a symbol.
    fn name(&self) -> String {
        format!("guest-{:#x}", self.pc)
    }

    fn guest_lines(&self, decoder: &Decoder) -> Vec<GuestLine> {
        let mut lines = Vec::new();
        let mut rest = self.bytes;
        let mut pc = self.from;
        while let Some(low) = rest.first_chunk::<2>() {
            let low = u16::from_le_bytes(*low);
            let len = usize::from(insn_len(low)).min(rest.len());
            let high = rest.get(2..4).filter(|_| len == 4).map_or(0, |h| u32::from(u16::from_le_bytes([h[0], h[1]])));
            let raw = u32::from(low) | high << 16;
            let digits = 2 * len;
            let what =
                decoder.decode(raw).map_or_else(|| "illegal".into(), |insn| disasm(&insn, pc).replace('\t', " "));
            lines.push(GuestLine { pc, text: format!("{pc:#x}: {raw:0digits$x}  {what}") });
            rest = &rest[len..];
            pc = pc.wrapping_add(len as u64);
        }
        lines
    }

    /// The host code in pieces: bytes into the code, the piece, and the index of its guest instruction among
    /// `lines`; `None` for what is rarely run.
    fn pieces<'a>(&'a self, lines: &'a [GuestLine]) -> impl Iterator<Item = (u32, &'a [u8], Option<usize>)> {
        self.marks.iter().enumerate().map(move |(i, mark)| {
            let end = self.marks.get(i + 1).map_or(self.host.len(), |next| next.host as usize);
            let pc = (self.pc & !0xfff).wrapping_add(u64::from(mark.guest));
            let line = lines.iter().position(|l| mark.guest != Mark::COLD && l.pc == pc);
            (mark.host, &self.host[mark.host as usize..end], line)
        })
    }
}

/// A file that all harts write to until an error, which is told once: what is left of it has no end, but no holes.
struct UntilError<W> {
    /// The option and the file.
    name: String,
    writer: Mutex<Option<W>>,
}

impl<W> UntilError<W> {
    fn new(name: String, writer: W) -> Self {
        Self { name, writer: Mutex::new(Some(writer)) }
    }

    fn write(&self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        let mut writer = self.writer.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(Err(e)) = writer.as_mut().map(write) {
            *writer = None;
            tracing::warn!("{}: cannot write: {e}; the file ends here", self.name);
        }
    }
}

/// What `perf` reads, which it finds by the program's number: machines that take each other's place write to the same files.
static PERF_MAP: Mutex<Option<Arc<PerfMap>>> = Mutex::new(None);
static JIT_DUMP: Mutex<Option<Arc<JitDump>>> = Mutex::new(None);

/// What is there, or is made now.
fn only<T>(place: &Mutex<Option<Arc<T>>>, make: fn() -> Result<T, AccelError>) -> Result<Arc<T>, AccelError> {
    let mut place = place.lock().unwrap_or_else(|e| e.into_inner());
    match &*place {
        Some(there) => Ok(Arc::clone(there)),
        None => Ok(Arc::clone(place.insert(Arc::new(make()?)))),
    }
}

/// Whoever asked to see blocks. Shared by all harts.
pub struct Observer {
    perf_map: Option<Arc<PerfMap>>,
    jit_dump: Option<Arc<JitDump>>,
}

impl Observer {
    /// `None` if nobody asked.
    pub fn new(options: &TcgOptions) -> Result<Option<Self>, AccelError> {
        let perf_map = options.perf_map.then(|| only(&PERF_MAP, PerfMap::create)).transpose()?;
        let jit_dump = options.jit_dump.then(|| only(&JIT_DUMP, JitDump::create)).transpose()?;
        let any = perf_map.is_some() || jit_dump.is_some();
        Ok(any.then_some(Self { perf_map, jit_dump }))
    }

    /// Code of ours that is no block: thunks.
    pub fn thunk(&self, name: &str, address: u64, host: &[u8]) {
        if let Some(map) = &self.perf_map {
            map.add(address, host.len(), name);
        }
        if let Some(dump) = &self.jit_dump {
            dump.add(name, address, host, &[], &[]);
        }
    }

    pub fn block(&self, decoder: &Decoder, made: &Made) {
        if let Some(map) = &self.perf_map {
            map.add(made.address, made.host.len(), &made.name());
        }
        if let Some(dump) = &self.jit_dump {
            let lines = made.guest_lines(decoder);
            let places: Vec<_> =
                made.pieces(&lines).map(|(at, _, line)| (made.address + u64::from(at), line)).collect();
            let text: Vec<_> = lines.iter().map(|l| l.text.as_str()).collect();
            dump.add(&made.name(), made.address, made.host, &text, &places);
        }
    }

    /// Writes out what is buffered.
    pub fn flush(&self) {
        if let Some(map) = &self.perf_map {
            map.flush();
        }
        if let Some(dump) = &self.jit_dump {
            dump.flush();
        }
    }
}

/// Shows a block that was just made to whoever asked.
pub fn show(hart: &Hart, decoder: &Decoder, made: &Made) {
    if let Some(observer) = &hart.vm.observer {
        observer.block(decoder, made);
    }
    if let Some(config) = hart.tracing.lists(made.pc, made.mode) {
        listing::show(config, decoder, made);
    }
}

impl Hart {
    /// Whether somebody wants to see blocks that are made.
    pub fn is_observed(&self) -> bool {
        self.vm.observer.is_some() || self.tracing.listings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_left_alone() {
        use std::io::{BufWriter, Write};
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let file = UntilError::new("-x: /dev/full".to_owned(), BufWriter::new(full));
        file.write(|out| out.write_all(b"buffered"));
        assert!(file.writer.lock().unwrap().is_some());
        // An error of the last bytes counts, too.
        file.write(BufWriter::flush);
        assert!(file.writer.lock().unwrap().is_none());
        file.write(|_| panic!("written again"));
    }

    #[test]
    fn guest_code_is_named_and_host_code_is_divided() {
        let isa = arch::model::parse("rv64").unwrap();
        // addi a0, a0, 1; c.nop (c.addi zero,0); half of an instruction that is none.
        let bytes = [0x13, 0x05, 0x15, 0x00, 0x01, 0x00, 0x00, 0x00];
        let ir = IrBlock::default();
        let marks = [Mark { host: 0, guest: 0x10 }, Mark { host: 3, guest: 0x14 }, Mark { host: 4, guest: Mark::COLD }];
        let made = Made {
            hart: 0,
            pc: 0x8000_0010,
            mode: BlockMode(3),
            bytes: &bytes,
            from: 0x8000_0010,
            ir: &ir,
            address: 0x1000,
            host: &[1, 2, 3, 4, 5],
            marks: &marks,
        };
        assert_eq!(made.name(), "guest-0x80000010");
        let lines = made.guest_lines(&Decoder::new(&isa));
        let text: Vec<_> = lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(
            text,
            ["0x80000010: 00150513  addi a0,a0,1", "0x80000014: 0001  c.addi zero,0", "0x80000016: 0000  illegal"]
        );
        let pieces: Vec<_> = made.pieces(&lines).collect();
        assert_eq!(pieces, [(0, &[1, 2, 3][..], Some(0)), (3, &[4][..], Some(1)), (4, &[5][..], None)]);
    }
}
