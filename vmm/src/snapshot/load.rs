//! Reads snapshots.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use devices::GuestRam;

use super::disks::{self, Disk, Place};
use super::error::SnapshotError;
use super::format::{HEADER, SectionReader, read_header};
use super::handed::Arrived;
use super::identity::Identity;
use super::mapped::{self, RamMap};
use super::progress::Progress;
use super::ram::{self, Unpacker};
use super::state::{self, Collected, MachineState};
use crate::board::memory;

/// What is done with the pages of RAM. Disks with `snapshot=on` get what was written to them together with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// They are checked; nothing changes.
    Check,
    /// They are checked and copied.
    Copy,
    /// A file's are mapped, and read when the guest wants them: their checksums are not looked at.
    Map,
}

/// A snapshot whose RAM is in place.
#[derive(Debug)]
pub struct Loaded {
    pub machine: Identity,
    pub state: MachineState,
    /// It has contents of images as well, which are not in place yet: [`Loader::images`].
    pub has_images: bool,
    /// What has come along over a stream.
    pub arrived: Arrived,
}

/// Reads snapshots for a machine.
#[derive(Clone)]
pub struct Loader {
    pub here: Identity,
    pub ram: Arc<GuestRam>,
    /// Names of the devices that have a state.
    pub devices: Vec<String>,
    /// What the guest may write to. Until this is done nobody else does.
    pub disks: Vec<Disk>,
    /// Bytes of a file that were read, every time that they are. It may end the reading, but for [`Loader::images`].
    pub progress: Arc<Progress>,
}

/// A file whose reading is told of.
struct Watched<'a> {
    file: &'a File,
    progress: &'a Progress,
    /// It ends when nobody wants it any more.
    ends: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(bytes)?;
        match self.progress.add(n as u64) {
            Err(error) if self.ends => Err(io::Error::other(error)),
            _ => Ok(n),
        }
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The guest's time since its start.
pub fn time(file: &File) -> Result<Duration, SnapshotError> {
    let mut reader = BufReader::new(file);
    let sections = read_header(&mut reader)?;
    reader.seek(SeekFrom::Start(sections)).map_err(SnapshotError::Read)?;
    let mut reader = SectionReader::new(reader);
    let first = reader.next()?.ok_or_else(|| SnapshotError::Missing(super::identity::NAME.to_owned()))?;
    let timebase = Identity::read(&first)?.timebase();
    let run = state::run(reader.find(state::RUN)?)?;
    Ok(Duration::from_nanos((u128::from(run.time) * 1_000_000_000 / u128::from(timebase.max(1))) as u64))
}

impl Loader {
    fn reader<'a>(&'a self, mut file: &'a File, ends: bool) -> Result<BufReader<Watched<'a>>, SnapshotError> {
        file.rewind().map_err(SnapshotError::Read)?;
        Ok(BufReader::with_capacity(1 << 20, Watched { file, progress: &self.progress, ends }))
    }

    /// From a file.
    pub fn file(&self, file: &File, pages: Pages) -> Result<Loaded, SnapshotError> {
        let mut reader = self.reader(file, true)?;
        let sections = read_header(&mut reader)?;
        let len = file.metadata().map_err(SnapshotError::Read)?.len();
        if sections != HEADER as u64 {
            if sections > len {
                return Err(SnapshotError::Truncated(format!(
                    "a file of {len} bytes whose sections are at {sections}"
                )));
            }
            reader.seek(SeekFrom::Start(sections)).map_err(SnapshotError::Read)?;
        } else if pages == Pages::Map {
            let how = "migrate_set_capability mapped-ram on";
            return Err(SnapshotError::Refused(format!("its RAM cannot be mapped: it was saved without '{how}'")));
        }
        let (loaded, mut reader) = self.sections(reader, Some((file, sections)), pages)?;
        let mut byte = [0];
        match reader.read(&mut byte).map_err(SnapshotError::Read)? {
            0 => Ok(loaded),
            _ => Err(SnapshotError::Malformed("there are bytes behind its end".to_owned())),
        }
    }

    /// From a stream.
    pub fn stream(&self, mut from: impl Read) -> Result<Loaded, SnapshotError> {
        if read_header(&mut from)? != HEADER as u64 {
            let what = "it has RAM to be mapped, which is for files";
            return Err(SnapshotError::Malformed(what.to_owned()));
        }
        Ok(self.sections(from, None, Pages::Copy)?.0)
    }

    fn sections<R: Read>(
        &self,
        from: R,
        file: Option<(&File, u64)>,
        pages: Pages,
    ) -> Result<(Loaded, R), SnapshotError> {
        let mut reader = SectionReader::new(from);
        let first = reader.next()?.ok_or_else(|| SnapshotError::Missing(super::identity::NAME.to_owned()))?;
        let machine = Identity::read(&first)?;
        machine.check(&self.here)?;
        let mut unpacker = Unpacker::new(Arc::clone(&self.ram))?;
        let place = if pages == Pages::Check { Place::Nothing } else { Place::Overlays };
        let mut disks = disks::Unpacker::new(&self.disks, place)?;
        disks.begin()?;
        let mut map = None;
        let mut arrived = Arrived::default();
        let mut state = Collected::new(self.here.harts(), &self.devices);
        while let Some(section) = reader.next()? {
            match (section.name.as_str(), file) {
                (ram::NAME, _) => unpacker.take(&section, pages == Pages::Copy)?,
                (mapped::NAME, Some((_, end))) if map.is_none() => {
                    map = Some(RamMap::read(&section, &self.ram, end)?);
                }
                (disks::MANIFEST, _) => {
                    disks.take_manifest(&section)?;
                    if file.is_none() && disks.has_images() {
                        let what = "it has the contents of images, which are taken from files only (file:PATH)";
                        return Err(SnapshotError::Refused(what.to_owned()));
                    }
                }
                (disks::NAME, _) => disks.take(&section)?,
                (_, Some(_)) => state.take(section)?,
                (_, None) => {
                    if let Some(section) = arrived.take(section, &self.devices)? {
                        state.take(section)?;
                    }
                }
            }
        }
        let state = state.finish()?;
        match (map, file) {
            (Some(map), Some((file, _))) => match pages {
                Pages::Map => {
                    let host = |source| SnapshotError::Host { what: "map its RAM".to_owned(), source };
                    let places = map.regions.iter().map(|region| (region.start, region.offset));
                    memory::map_privately(&self.ram, file, places).map_err(host)?;
                }
                Pages::Copy | Pages::Check => map.copy(file, &self.ram, pages == Pages::Copy, &self.progress)?,
            },
            _ => unpacker.finish()?,
        }
        disks.finish()?;
        Ok((Loaded { machine, state, has_images: disks.has_images(), arrived }, reader.into_inner()))
    }

    /// Images get the contents that they have in a snapshot which was taken otherwise. Where that fails they are neither
    /// what they were nor what they should be.
    pub fn images(&self, file: &File) -> Result<(), SnapshotError> {
        // A half image helps nobody.
        let mut reader = self.reader(file, false)?;
        let sections = read_header(&mut reader)?;
        reader.seek(SeekFrom::Start(sections)).map_err(SnapshotError::Read)?;
        let mut reader = SectionReader::new(reader);
        let mut disks = disks::Unpacker::new(&self.disks, Place::Images)?;
        while let Some(section) = reader.next()? {
            match section.name.as_str() {
                disks::MANIFEST => disks.take_manifest(&section)?,
                disks::NAME => disks.take(&section)?,
                _ => {}
            }
        }
        disks.finish()
    }
}
