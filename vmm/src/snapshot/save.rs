//! Writes snapshots.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;

use accel::DirtyPages;
use devices::GuestRam;
use devices::backend::block::Clusters;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::channel::Sink;
use super::disks::{self, Disk};
use super::error::SnapshotError;
use super::format::{HEADER, SectionWriter, header};
use super::handed::{self, Shared};
use super::identity::{self, Identity};
use super::mapped;
use super::progress::Progress;
use super::ram::{self, CHUNK_PAGES, Packer};
use super::state::MachineState;

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Of the snapshot.
    pub bytes: u64,
    /// Pages of RAM, those that were written again included, and how many of them are zero.
    pub pages: u64,
    pub zeros: u64,
}

/// Hears how much is written, and says whether nobody wants more of it.
pub type Stop<'a> = &'a dyn Fn(Summary) -> bool;

/// A snapshot that is being written: of a machine that runs its RAM and disks first, as often as it takes, then the state.
pub struct Saver<W: Write> {
    to: SectionWriter<W>,
    packer: Packer,
    disks: disks::Packer,
    progress: Arc<Progress>,
}

impl<W: Write> Saver<W> {
    /// Of a machine with these disks that are kept.
    pub fn new(mut to: W, machine: &Identity, disks: &[Disk]) -> Result<Self, SnapshotError> {
        to.write_all(&header(HEADER as u64)).map_err(SnapshotError::Write)?;
        let mut to = SectionWriter::new(to);
        to.write(identity::NAME, identity::VERSION, &machine.body())?;
        disks::write_manifest(&mut to, disks)?;
        Ok(Self { to, packer: Packer::new()?, disks: disks::Packer::new()?, progress: Arc::default() })
    }

    /// From now on `progress` has the bytes of RAM and disks that are done, and may end it.
    pub fn tell(&mut self, progress: Arc<Progress>) {
        self.progress = progress;
    }

    /// How much so far.
    pub fn written(&self) -> Summary {
        let (pages, zeros) = (self.packer.count, self.packer.zeros);
        Summary { bytes: HEADER as u64 + self.to.written(), pages, zeros }
    }

    /// Pages at an address, at most a chunk.
    pub fn chunk(&mut self, ram: &GuestRam, start: u64, pages: u64) -> Result<(), SnapshotError> {
        let body = self.packer.pack(ram, start, pages)?;
        self.to.write(ram::NAME, ram::VERSION, body)?;
        self.progress.add(pages * ram::PAGE)
    }

    /// All of RAM, unless `stop` says that nobody wants it any more.
    pub fn all(&mut self, ram: &GuestRam, stop: Stop<'_>) -> Result<(), SnapshotError> {
        for (start, pages) in ram::chunks(ram) {
            if stop(self.written()) {
                return Err(SnapshotError::cancelled());
            }
            self.chunk(ram, start, pages)?;
        }
        Ok(())
    }

    /// Pages that were written to, unless `stop` says that nobody wants them any more.
    pub fn dirty(&mut self, ram: &GuestRam, pages: &DirtyPages, stop: Stop<'_>) -> Result<(), SnapshotError> {
        let mut run: Option<(u64, u64)> = None;
        for at in pages.iter() {
            match &mut run {
                Some((start, count)) if *count < CHUNK_PAGES && *start + *count * ram::PAGE == at => *count += 1,
                _ => {
                    if stop(self.written()) {
                        return Err(SnapshotError::cancelled());
                    }
                    if let Some((start, count)) = run.replace((at, 1)) {
                        self.chunk(ram, start, count)?;
                    }
                }
            }
        }
        run.map_or(Ok(()), |(start, count)| self.chunk(ram, start, count))
    }

    /// A disk by its number among those that are kept, or some of an overlay, unless `stop` says that nobody wants it any
    /// more.
    pub fn disk(
        &mut self,
        number: usize,
        disk: &Disk,
        clusters: Option<&Clusters>,
        stop: Stop<'_>,
    ) -> Result<(), SnapshotError> {
        let before = self.written();
        let to = &mut self.to;
        self.disks.pack(number, disk, clusters, &self.progress, |name, version, body| {
            if stop(Summary { bytes: HEADER as u64 + to.written(), ..before }) {
                return Err(SnapshotError::cancelled());
            }
            to.write(name, version, body)
        })
    }

    /// The state of the machine, which is stopped.
    pub fn state(&mut self, state: &MachineState) -> Result<(), SnapshotError> {
        state.sections(|name, version, body| self.to.write(name, version, body))
    }

    /// The end.
    pub fn finish(self) -> Result<(W, Summary), SnapshotError> {
        let mut summary = self.written();
        summary.bytes += super::format::SECTION_HEADER as u64;
        Ok((self.to.finish()?, summary))
    }
}

impl Saver<Sink> {
    /// Where it goes.
    pub fn sink(&mut self) -> &mut Sink {
        self.to.inner()
    }

    /// What goes along over this way and no other, with its descriptors.
    pub fn shared(&mut self, shared: &Shared) -> Result<(), SnapshotError> {
        for (device, parts) in shared {
            for part in parts {
                self.to.write(&handed::section_name(device, part), part.state.version, &part.state.bytes)?;
            }
            self.to.inner().attach(parts.iter().filter_map(|part| part.socket.clone()));
        }
        Ok(())
    }
}

/// Bytes of RAM and of these disks: what is done of a machine that is written as a whole.
pub fn whole(ram: &GuestRam, disks: &[Disk]) -> u64 {
    ram.iter().map(|region| region.len()).chain(disks.iter().map(|disk| disk.image.len())).sum()
}

/// Writes a stopped machine with RAM to be mapped, and these of its disks, unless `stop` says that nobody wants it any more.
/// `progress` has the bytes of RAM and disks that are done, and may end it.
pub fn save_mapped(
    file: &mut File,
    machine: &Identity,
    state: &MachineState,
    ram: &GuestRam,
    disks: &[Disk],
    progress: &Progress,
    stop: Stop<'_>,
) -> Result<Summary, SnapshotError> {
    let mapped::Written { map, sections, pages, zeros } = mapped::write(file, ram, progress, stop)?;
    file.rewind().and_then(|()| file.write_all(&header(sections))).map_err(SnapshotError::Write)?;
    file.seek(SeekFrom::Start(sections)).map_err(SnapshotError::Write)?;
    let mut to = SectionWriter::new(BufWriter::new(file));
    to.write(identity::NAME, identity::VERSION, &machine.body())?;
    let (name, version, body) = map.section();
    to.write(name, version, &body)?;
    disks::write_manifest(&mut to, disks)?;
    state.sections(|name, version, body| to.write(name, version, body))?;
    let mut packer = disks::Packer::new()?;
    for (number, disk) in disks.iter().enumerate() {
        packer.pack(number, disk, None, progress, |name, version, body| {
            if stop(Summary { bytes: sections + to.written(), pages, zeros }) {
                return Err(SnapshotError::cancelled());
            }
            to.write(name, version, body)
        })?;
    }
    let bytes = sections + to.written() + super::format::SECTION_HEADER as u64;
    to.finish()?;
    Ok(Summary { bytes, pages, zeros })
}
