//! A guest's memory and registers in a file for debuggers: an ELF core file, as `crash` and gdb take it.
//!
//! A note for each hart, laid out as Linux lays a process's out (`struct elf_prstatus`), and a segment for each range of RAM, by
//! physical address. Zeroes are holes.

use std::error::Error;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use accel::{GuestRam, HartState};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::task::{Stage, Ticket, UnderWay};
use super::{Machine, RunState};
use crate::files::AtomicFile;
use crate::monitor::event::Event;
use crate::snapshot::{Decision, PAGE, Progress, SnapshotError, write_sparse};

/// Bytes copied at once, whole pages.
const CHUNK: usize = 1 << 20;

const HEADER: u64 = 64;
const SEGMENT: u64 = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
/// `struct elf_prstatus` of riscv64: where the process id and the registers are, and its size.
const PID: usize = 32;
const REGISTERS: usize = 112;
const PRSTATUS: usize = 376;

/// QMP's `DumpStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpState {
    Active,
    Completed,
    Failed,
}

impl DumpState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// How a dump goes, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpStatus {
    pub state: DumpState,
    /// Bytes of memory that are in the file.
    pub completed: u64,
    /// Bytes of memory that were asked for.
    pub total: u64,
}

impl Machine {
    /// How the dump under way goes, or the last one went, if there was one.
    pub fn dump_status(&self) -> Option<DumpStatus> {
        self.dump_under_way().or(self.dumped)
    }

    /// Starts to write RAM, or what of it lies in a range of physical addresses, and all registers to a file, which is there as a
    /// whole or not at all. A machine that runs stands meanwhile.
    ///
    /// # Errors
    /// There is no RAM in the range, the machine is not here, or something else is done with it; or there can be no such file.
    pub fn dump_memory(&mut self, path: &Path, range: Option<Range<u64>>) -> Result<Ticket, String> {
        self.is_free()?;
        let parts = parts(&self.board.ram, range);
        let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
        if total == 0 {
            return Err("dump: no guest memory to dump".into());
        }
        let failed = |error: &dyn Error| format!("cannot write '{}': {}", path.display(), crate::error_chain(error));
        let file = AtomicFile::new(path).map_err(|error| failed(&error))?;
        let progress = Arc::new(Progress::of(total));
        let begun = Arc::clone(&progress);
        let begin = |machine: &mut Self, _| machine.begin_dump(file, parts, begun);
        let ticket = self.stand_for(path.display().to_string(), RunState::SaveVm, progress, begin);
        ticket.map_err(|error| failed(&error))
    }

    fn begin_dump(
        &mut self,
        mut file: AtomicFile,
        parts: Vec<Range<u64>>,
        progress: Arc<Progress>,
    ) -> Result<Stage, SnapshotError> {
        let decision = Arc::new(Decision::new()?);
        let harts = (0..self.hart_count()).map(|hart| self.hart_state(hart)).collect::<Result<Vec<_>, _>>();
        let harts = harts.map_err(SnapshotError::Refused)?;
        let (ram, decided) = (Arc::clone(&self.board.ram), Arc::clone(&decision));
        let dump = move || {
            let read = |at, bytes: &mut [u8]| ram.read_slice(bytes, GuestAddress(at)).map_err(io::Error::other);
            write(file.file(), &harts, &parts, read, &progress)?;
            match decided.give() {
                true => file.commit().map_err(SnapshotError::Write),
                false => Err(SnapshotError::cancelled()),
            }
        };
        Ok(Stage::Dumping(self.start_work("dump", dump)?, decision))
    }

    pub(super) fn end_dump(&mut self, now: &UnderWay, dumped: Result<(), SnapshotError>) -> Result<(), String> {
        let done = dumped.map_err(|error| now.error(&error));
        let (completed, total) = now.progress.now();
        let state = if done.is_ok() { DumpState::Completed } else { DumpState::Failed };
        let status = DumpStatus { state, completed, total };
        self.dumped = Some(status);
        self.events.push(Event::Dumped { status, error: done.clone().err() });
        self.go_back_after(now, now.stays());
        done
    }
}

/// RAM by physical address, as far as it lies in a range.
fn parts(ram: &GuestRam, range: Option<Range<u64>>) -> Vec<Range<u64>> {
    let range = range.unwrap_or(0..u64::MAX);
    let within = |start: u64, len: u64| start.max(range.start)..(start + len).min(range.end);
    let all = ram.iter().map(|region| within(region.start_addr().0, region.len()));
    all.filter(|part| part.start < part.end).collect()
}

/// Writes the whole file.
fn write(
    file: &File,
    harts: &[Box<HartState>],
    parts: &[Range<u64>],
    read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    progress: &Progress,
) -> Result<(), SnapshotError> {
    let notes: Vec<u8> = (1..).zip(harts).flat_map(|(id, hart)| note(id, hart)).collect();
    let at_notes = HEADER + SEGMENT * (parts.len() as u64 + 1);
    let mut head = header(parts.len() as u16 + 1);
    head.extend(segment(PT_NOTE, at_notes, 0, notes.len() as u64));
    let mut at = (at_notes + notes.len() as u64).next_multiple_of(PAGE);
    let mut places = Vec::new();
    for part in parts {
        head.extend(segment(PT_LOAD, at, part.start, part.end - part.start));
        places.push(at);
        at = (at + part.end - part.start).next_multiple_of(PAGE);
    }
    head.extend(notes);
    file.write_all_at(&head, 0).map_err(SnapshotError::Write)?;
    let end = places.last().zip(parts.last()).map_or(head.len() as u64, |(at, part)| at + (part.end - part.start));
    file.set_len(end).map_err(SnapshotError::Write)?;
    for (part, at) in parts.iter().zip(places) {
        copy(file, part, at, &read, progress)?;
    }
    Ok(())
}

/// Copies memory to `to` in the file; pages of zeroes are left out.
fn copy(
    file: &File,
    part: &Range<u64>,
    to: u64,
    read: &impl Fn(u64, &mut [u8]) -> io::Result<()>,
    progress: &Progress,
) -> Result<(), SnapshotError> {
    let mut bytes = vec![0; CHUNK];
    let mut from = part.start;
    while from < part.end {
        let chunk = &mut bytes[..CHUNK.min(usize::try_from(part.end - from).unwrap_or(CHUNK))];
        let unreadable = |source| SnapshotError::Host { what: format!("read RAM at {from:#x}"), source };
        read(from, chunk).map_err(unreadable)?;
        write_sparse(file, chunk, to + (from - part.start)).map_err(SnapshotError::Write)?;
        from += chunk.len() as u64;
        progress.add(chunk.len() as u64)?;
    }
    Ok(())
}

/// The ELF header of a core file with so many segments.
fn header(segments: u16) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(16, 0);
    head.extend(4u16.to_le_bytes()); // ET_CORE
    head.extend(243u16.to_le_bytes()); // EM_RISCV
    head.extend(1u32.to_le_bytes());
    head.extend(0u64.to_le_bytes()); // no entry
    head.extend(HEADER.to_le_bytes()); // segments follow
    head.extend(0u64.to_le_bytes()); // no sections
    head.extend(0u32.to_le_bytes());
    for half in [HEADER as u16, SEGMENT as u16, segments, 0, 0, 0] {
        head.extend(half.to_le_bytes());
    }
    head
}

/// A program header: without paging virtual addresses are physical ones.
fn segment(kind: u32, offset: u64, address: u64, len: u64) -> Vec<u8> {
    let mut bytes = [kind, 0].map(u32::to_le_bytes).concat();
    for word in [offset, address, address, len, len, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// What a hart is like; `id` takes the place of a process's.
fn note(id: u32, hart: &HartState) -> Vec<u8> {
    let mut status = vec![0; PRSTATUS];
    status[PID..PID + 4].copy_from_slice(&id.to_le_bytes());
    // Register 0 is zero for programs, and here it is the program counter.
    let registers = std::iter::once(hart.pc).chain(hart.x[1..].iter().copied());
    for (place, value) in status[REGISTERS..].chunks_exact_mut(8).zip(registers) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    let mut note = [5, PRSTATUS as u32, NT_PRSTATUS].map(u32::to_le_bytes).concat();
    note.extend(b"CORE\0\0\0\0");
    note.extend(status);
    note
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_core_file_has_all_and_holes() {
        let mut hart = accel::tcg::csr::reset_supervisor(&arch::model::parse("rv64").unwrap(), 0, 0x8020_0000, 7);
        hart.x[31] = 0xabcd;
        let harts = [Box::new(hart.clone()), Box::new(HartState { pc: 0x1234, ..hart })];
        // Two ranges, one of them no whole pages; something in the middle of each.
        let parts = [0x8000_0000..0x8040_0000, 0x9000_0100..0x9000_3000];
        let byte = |at: u64| match at {
            0x8010_0007 => 1,
            0x9000_2fff => 2,
            0x9000_0100 => 3,
            _ => 0,
        };
        let read = |at: u64, bytes: &mut [u8]| {
            (at..).zip(bytes).for_each(|(at, to)| *to = byte(at));
            Ok(())
        };
        let file = tempfile::tempfile().unwrap();
        let progress = Progress::of(1);
        write(&file, &harts, &parts, read, &progress).unwrap();
        progress.expect(u64::MAX);
        assert_eq!(progress.now().0, 0x40_0000 + 0x2f00);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &file, &mut bytes).unwrap();
        let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((&bytes[..6], half(16), half(18), half(56)), (&b"\x7fELF\x02\x01"[..], 4, 243, 3));
        let segment = |n: usize| {
            let at = 64 + 56 * n;
            assert_eq!((long(at + 16), long(at + 32)), (long(at + 24), long(at + 40)));
            (word(at), long(at + 8) as usize, long(at + 16), long(at + 32))
        };
        let (kind, notes, _, len) = segment(0);
        assert_eq!((kind, notes, len), (PT_NOTE, 64 + 3 * 56, 2 * (20 + 376)));
        assert_eq!((word(notes), word(notes + 4), word(notes + 8)), (5, 376, 1));
        let second = notes + 20 + 376 + 20;
        assert_eq!((word(second + 32), long(second + 112), long(second + 112 + 31 * 8)), (2, 0x1234, 0xabcd));
        assert_eq!(long(second + 112 + 11 * 8), 7, "a1");
        for (n, part) in (1..).zip(&parts) {
            let (kind, offset, address, len) = segment(n);
            assert_eq!((kind, address, len, offset % PAGE as usize), (PT_LOAD, part.start, part.end - part.start, 0));
            for at in part.clone() {
                assert_eq!(bytes[offset + (at - part.start) as usize], byte(at), "{at:#x}");
            }
        }
        let data = file.metadata().unwrap();
        assert!(data.blocks() * 512 < 1 << 20, "{} bytes on the disk", data.blocks() * 512);
    }
}
