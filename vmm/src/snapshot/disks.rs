//! What the guest has written to disks.
//!
//! Of a disk with `snapshot=on` a snapshot has what differs from its image, which the reader has, too. Of an image that the
//! guest writes to itself a named snapshot has the contents; a machine that moves leaves it where it is. The section
//! [`MANIFEST`], version 1, is CBOR and names the disks; it stands before the first section [`NAME`], version 1, with a
//! part of one:
//!
//! | At | Bytes | What                                                                                            |
//! |----|-------|-------------------------------------------------------------------------------------------------|
//! | 0  | 4     | number of the disk in the manifest                                                              |
//! | 4  | 4     | how it is packed: 0 as it is, 1 zstd, 2 all zero, without bytes                                 |
//! | 8  | 8     | where it begins on the disk, in blocks                                                          |
//! | 16 | 8     | blocks; with bytes at most [`CHUNK_BLOCKS`]                                                     |
//! | 24 | ...   | a bitmap of the blocks that are not zero, and their contents one after another                  |
//!
//! Of changes a later part replaces an earlier one: so the disk of a running machine is copied, and what is in no part is the
//! base image's. Contents are in order, and what is in no part is zero.

use std::io::Write;
use std::sync::Arc;

use devices::backend::block::{BlockImage, Clusters, Extent, Image, Overlay};
use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use super::format::{Section, SectionWriter, long, word};
use super::progress::Progress;
use super::ram::is_zero;

pub const MANIFEST: &str = "disks";
pub const NAME: &str = "disk";
const VERSION: u32 = 1;

/// Bytes of a block. The last one of a disk may be cut off by its end.
const BLOCK: u64 = 4096;
/// Most blocks in a part.
const CHUNK_BLOCKS: u64 = 512;
const CHUNK: usize = (CHUNK_BLOCKS * BLOCK) as usize;
const HEAD: usize = 24;
const PLAIN: u32 = 0;
const ZSTD: u32 = 1;
const ZERO: u32 = 2;
/// Fast rather than small, as for RAM.
const LEVEL: i32 = 1;

/// A disk, or a flash bank in a file, that the guest may write to.
#[derive(Clone)]
pub struct Disk {
    /// The drive's id.
    pub id: String,
    pub image: Image,
}

/// Which disks a snapshot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that end with this program.
    Temporary,
    All,
}

impl Disk {
    /// Those of `disks` that a snapshot of `scope` has.
    pub fn kept(disks: &[Self], scope: Scope) -> Vec<Self> {
        let kept = |disk: &&Self| scope == Scope::All || matches!(disk.image, Image::Overlay(_));
        disks.iter().filter(kept).cloned().collect()
    }

    fn host(&self, what: &str) -> impl FnOnce(std::io::Error) -> SnapshotError {
        let what = format!("{what} drive '{}'", self.id);
        move |source| SnapshotError::Host { what, source }
    }
}

/// What a snapshot has of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Kept {
    Contents,
    /// Since the image had this [`sample`].
    Changes {
        base: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    /// Bytes.
    size: u64,
    kept: Kept,
}

fn bad(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Malformed(format!("section '{NAME}': {}", what.into()))
}

/// A checksum of some of an image: where partition tables and the heads of file systems are as a rule, and places all over it.
fn sample(image: &dyn BlockImage) -> std::io::Result<u32> {
    const HEADS: [u64; 2] = [0, 1 << 20];
    const HEAD: u64 = 64 << 10;
    const PLACES: u64 = 32;
    let mut sum = crc32fast::Hasher::new();
    let mut bytes = vec![0; HEAD as usize];
    let mut add = |at: u64, most: u64| {
        let bytes = &mut bytes[..most.min(image.len().saturating_sub(at)) as usize];
        image.read_bytes(at, bytes)?;
        sum.update(bytes);
        std::io::Result::Ok(())
    };
    HEADS.into_iter().try_for_each(|at| add(at, HEAD))?;
    let step = (image.len() / PLACES).next_multiple_of(BLOCK);
    (1..PLACES).try_for_each(|place| add(place * step, BLOCK))?;
    Ok(sum.finalize())
}

/// Writes the section that names `disks`, unless there are none.
pub fn write_manifest<W: Write>(to: &mut SectionWriter<W>, disks: &[Disk]) -> Result<(), SnapshotError> {
    if disks.is_empty() {
        return Ok(());
    }
    let entry = |disk: &Disk| {
        let kept = match &disk.image {
            Image::Raw(_) => Kept::Contents,
            Image::Overlay(overlay) => Kept::Changes { base: sample(overlay.base()).map_err(disk.host("read"))? },
        };
        Ok(Entry { id: disk.id.clone(), size: disk.image.len(), kept })
    };
    let entries = disks.iter().map(entry).collect::<Result<Vec<_>, SnapshotError>>()?;
    let mut body = Vec::new();
    ciborium::into_writer(&entries, &mut body).expect("plain values are written to memory");
    to.write(MANIFEST, VERSION, &body)
}

/// Makes sections of disks; keeps its buffers.
pub struct Packer {
    blocks: Vec<u8>,
    full: Vec<u8>,
    packed: Vec<u8>,
    zstd: zstd::bulk::Compressor<'static>,
}

impl Packer {
    pub fn new() -> Result<Self, SnapshotError> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(SnapshotError::Write)?;
        Ok(Self { blocks: vec![0; CHUNK], full: Vec::with_capacity(CHUNK), packed: Vec::new(), zstd })
    }

    /// Calls `write` with a section's name, version and body for each part of a disk; `clusters`: only for those of an
    /// overlay.
    pub fn pack(
        &mut self,
        number: usize,
        disk: &Disk,
        clusters: Option<&Clusters>,
        progress: &Progress,
        mut write: impl FnMut(&str, u32, &[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let (number, size) = (number as u32, disk.image.len());
        let present = match (&disk.image, clusters) {
            (Image::Overlay(overlay), None) => Some(overlay.present()),
            _ => None,
        };
        let next = |from| match (&disk.image, clusters.or(present.as_ref())) {
            (Image::Raw(image), _) => Ok(image.next_data(from)?.map(|range| Extent { range, zero: false })),
            (Image::Overlay(overlay), Some(clusters)) => overlay.next_extent(clusters, from),
            (Image::Overlay(_), None) => Ok(None),
        };
        // Holes count as done.
        let (mut at, mut told) = (0, 0);
        while let Some(Extent { range, zero }) = next(at).map_err(disk.host("read"))? {
            // File systems may have smaller blocks.
            at = (range.start / BLOCK * BLOCK).max(at);
            let whole = if range.end == size { range.end.next_multiple_of(BLOCK) } else { range.end / BLOCK * BLOCK };
            progress.add(at - told)?;
            told = at;
            if zero && whole > at {
                self.head(number, ZERO, at, (whole - at) / BLOCK);
                write(NAME, VERSION, &self.packed)?;
                at = whole;
                continue;
            }
            let end = range.end.next_multiple_of(BLOCK);
            while at < end {
                let len = (end - at).min(CHUNK as u64);
                if self.part(number, disk, at, len)? {
                    write(NAME, VERSION, &self.packed)?;
                }
                at += len;
                progress.add(at.min(size) - told)?;
                told = at.min(size);
            }
        }
        progress.add(size - told)
    }

    fn head(&mut self, number: u32, kind: u32, at: u64, blocks: u64) {
        self.packed.clear();
        self.packed.extend(number.to_le_bytes());
        self.packed.extend(kind.to_le_bytes());
        self.packed.extend((at / BLOCK).to_le_bytes());
        self.packed.extend(blocks.to_le_bytes());
    }

    /// One part; nothing if that would say nothing.
    fn part(&mut self, number: u32, disk: &Disk, at: u64, len: u64) -> Result<bool, SnapshotError> {
        let blocks = len / BLOCK;
        let inside = len.min(disk.image.len() - at) as usize;
        self.blocks[inside..len as usize].fill(0);
        disk.image.read(at, &mut self.blocks[..inside]).map_err(disk.host("read"))?;
        let mut bitmap = vec![0u8; (blocks as usize).div_ceil(8)];
        self.full.clear();
        for (i, block) in self.blocks[..len as usize].chunks(BLOCK as usize).enumerate() {
            if !is_zero(block) {
                bitmap[i / 8] |= 1 << (i % 8);
                self.full.extend(block);
            }
        }
        if self.full.is_empty() {
            self.head(number, ZERO, at, blocks);
            return Ok(matches!(disk.image, Image::Overlay(_)));
        }
        let compressed = self.zstd.compress(&self.full).map_err(SnapshotError::Write)?;
        let smaller = compressed.len() < self.full.len();
        self.head(number, if smaller { ZSTD } else { PLAIN }, at, blocks);
        self.packed.extend(&bitmap);
        self.packed.extend(if smaller { &compressed } else { &self.full });
        Ok(true)
    }
}

/// What is done with what a snapshot has of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is checked; nothing changes.
    Nothing,
    /// Overlays get it; what is meant for images is checked.
    Overlays,
    /// Images get it; overlays have theirs.
    Images,
}

/// A disk that the snapshot has something of.
struct Target<'a> {
    entry: Entry,
    disk: &'a Disk,
    /// Of contents: what comes next, in bytes.
    next: u64,
}

impl Target<'_> {
    fn is_image(&self) -> bool {
        matches!(self.disk.image, Image::Raw(_))
    }
}

/// Puts sections back into disks; keeps its buffers.
pub struct Unpacker<'a> {
    disks: &'a [Disk],
    place: Place,
    targets: Option<Vec<Target<'a>>>,
    bytes: Vec<u8>,
    zstd: zstd::bulk::Decompressor<'static>,
}

impl<'a> Unpacker<'a> {
    /// Of a machine with these disks. They stand still.
    pub fn new(disks: &'a [Disk], place: Place) -> Result<Self, SnapshotError> {
        let zstd = zstd::bulk::Decompressor::new().map_err(SnapshotError::Read)?;
        Ok(Self { disks, place, targets: None, bytes: Vec::new(), zstd })
    }

    /// Whether there is something for images, which [`Place::Images`] would give them.
    pub fn has_images(&self) -> bool {
        self.targets.iter().flatten().any(Target::is_image)
    }

    /// Takes the section that names the disks.
    pub fn take_manifest(&mut self, section: &Section) -> Result<(), SnapshotError> {
        section.expect_version(VERSION)?;
        let wrong = |what: String| SnapshotError::Malformed(format!("section '{MANIFEST}': {what}"));
        if self.targets.is_some() {
            return Err(wrong("it is there twice".to_owned()));
        }
        let entries: Vec<Entry> = ciborium::from_reader(&section.body[..]).map_err(|error| wrong(error.to_string()))?;
        let mut targets: Vec<Target<'a>> = Vec::new();
        for entry in entries {
            let shown = entry.id.escape_debug().to_string();
            if targets.iter().any(|other| other.entry.id == entry.id) {
                return Err(wrong(format!("drive '{shown}' is there twice")));
            }
            let refused = |what: &str| SnapshotError::Refused(format!("drive '{shown}': {what}"));
            let Some(disk) = self.disks.iter().find(|disk| disk.id == entry.id) else {
                return Err(refused(
                    "the snapshot has what the guest wrote to it, and there is no drive here that the guest may write to \
                     with this id",
                ));
            };
            let (found, here) = (entry.size, disk.image.len());
            if found != here {
                return Err(refused(&format!("the snapshot has {found} bytes, the image here has {here}")));
            }
            match (&entry.kept, &disk.image) {
                (Kept::Contents, _) => {}
                (Kept::Changes { .. }, Image::Raw(_)) => {
                    return Err(refused("it had snapshot=on when it was saved, and has not here"));
                }
                (Kept::Changes { base }, Image::Overlay(overlay)) => {
                    if sample(overlay.base()).map_err(disk.host("read"))? != *base {
                        return Err(refused("the image here has other contents than the one it was saved with"));
                    }
                }
            }
            targets.push(Target { entry, disk, next: 0 });
        }
        self.targets = Some(targets);
        Ok(())
    }

    /// The disks begin as the snapshot's did: before the first part of any, and without a manifest.
    pub fn begin(&self) -> Result<(), SnapshotError> {
        if self.place != Place::Overlays {
            return Ok(());
        }
        let clear = |disk: &Disk| match &disk.image {
            Image::Overlay(overlay) => overlay.clear().map_err(disk.host("empty what was written to")),
            Image::Raw(_) => Ok(()),
        };
        self.disks.iter().try_for_each(clear)
    }

    /// Checks a part, and gives it to its disk if that is one of the right kind.
    pub fn take(&mut self, section: &Section) -> Result<(), SnapshotError> {
        section.expect_version(VERSION)?;
        let body = &section.body[..];
        if body.len() < HEAD {
            return Err(bad(format!("{} bytes are no part of a disk", body.len())));
        }
        let (number, kind, start, blocks) = (word(body, 0), word(body, 4), long(body, 8), long(body, 16));
        let target = self.targets.as_mut().and_then(|targets| targets.get_mut(number as usize));
        let target = target.ok_or_else(|| bad(format!("there is no disk {number}")))?;
        let all = target.entry.size.div_ceil(BLOCK);
        if blocks == 0 || start.checked_add(blocks).is_none_or(|end| end > all) {
            return Err(bad(format!("{blocks} blocks at {start} of a disk of {all}")));
        }
        let (start, end) = (start * BLOCK, (start + blocks) * BLOCK);
        if target.entry.kept == Kept::Contents && (kind == ZERO || start < target.next) {
            return Err(bad(format!("contents at {start:#x} that are zero or come too late")));
        }
        let write = match self.place {
            Place::Nothing => false,
            Place::Overlays => !target.is_image(),
            Place::Images => target.is_image(),
        };
        let size = target.entry.size;
        let (disk, before) = (target.disk, target.next);
        if target.entry.kept == Kept::Contents {
            target.next = end;
            if write && before < start {
                disk.image.zero(before..start).map_err(disk.host("write to"))?;
            }
        }
        if kind == ZERO {
            if body.len() != HEAD {
                return Err(bad("zeroes with bytes"));
            }
            if write {
                disk.image.zero(start..end.min(size)).map_err(disk.host("write to"))?;
            }
            return Ok(());
        }
        let (bitmap, data) = unpack(&mut self.zstd, &mut self.bytes, kind, blocks, &body[HEAD..])?;
        if write { put(disk, start..end.min(size), bitmap, data) } else { Ok(()) }
    }

    /// All parts have come.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        for Target { entry, disk, next } in self.targets.iter().flatten() {
            let write = match self.place {
                Place::Nothing => false,
                Place::Overlays => matches!(disk.image, Image::Overlay(_)),
                Place::Images => matches!(disk.image, Image::Raw(_)),
            };
            if write && entry.kept == Kept::Contents && *next < entry.size {
                disk.image.zero(*next..entry.size).map_err(disk.host("write to"))?;
            }
            if write {
                disk.image.flush().map_err(disk.host("flush"))?;
            }
        }
        Ok(())
    }
}

/// The bitmap and the bytes of a part with this many blocks.
fn unpack<'a>(
    zstd: &mut zstd::bulk::Decompressor<'static>,
    bytes: &'a mut Vec<u8>,
    kind: u32,
    blocks: u64,
    body: &'a [u8],
) -> Result<(&'a [u8], &'a [u8]), SnapshotError> {
    if blocks > CHUNK_BLOCKS {
        return Err(bad(format!("{blocks} blocks at once; {CHUNK_BLOCKS} are allowed")));
    }
    let bits = (blocks as usize).div_ceil(8);
    let Some((bitmap, data)) = body.split_at_checked(bits) else {
        return Err(bad("its bitmap is cut off"));
    };
    if (blocks..bits as u64 * 8).any(|block| is_set(bitmap, block)) {
        return Err(bad("its bitmap has blocks that are not there"));
    }
    let full = (0..blocks).filter(|block| is_set(bitmap, *block)).count() * BLOCK as usize;
    let data = match kind {
        PLAIN => data,
        ZSTD => {
            *bytes = zstd.decompress(data, full).map_err(|error| bad(format!("zstd: {error}")))?;
            &bytes[..]
        }
        other => return Err(bad(format!("packed in way {other}; {PLAIN} to {ZERO} are known"))),
    };
    if data.len() != full {
        return Err(bad(format!("{} bytes in place of {full}", data.len())));
    }
    Ok((bitmap, data))
}

fn is_set(bitmap: &[u8], block: u64) -> bool {
    bitmap[(block / 8) as usize] >> (block % 8) & 1 != 0
}

/// Runs of blocks with contents and of zeroes, at `range` of the disk, which may cut the last block off.
fn put(disk: &Disk, range: std::ops::Range<u64>, bitmap: &[u8], mut data: &[u8]) -> Result<(), SnapshotError> {
    let blocks: Vec<u64> = (0..(range.end - range.start).div_ceil(BLOCK)).collect();
    for run in blocks.chunk_by(|a, b| is_set(bitmap, *a) == is_set(bitmap, *b)) {
        let start = range.start + run[0] * BLOCK;
        let end = (start + run.len() as u64 * BLOCK).min(range.end);
        let done = match is_set(bitmap, run[0]) {
            true => {
                let (now, later) = data.split_at(run.len() * BLOCK as usize);
                data = later;
                disk.image.put(start, &now[..(end - start) as usize])
            }
            false => disk.image.zero(start..end),
        };
        done.map_err(disk.host("write to"))?;
    }
    Ok(())
}

/// The disks of a machine that are written to while it moves.
pub struct Tracked(Vec<(usize, Disk, Arc<Overlay>)>);

impl Tracked {
    /// From now on it is known what is written to those of `disks` that move.
    pub fn start(disks: &[Disk]) -> Self {
        let moving = disks.iter().enumerate().filter_map(|(number, disk)| match &disk.image {
            Image::Overlay(overlay) => Some((number, disk.clone(), Arc::clone(overlay))),
            Image::Raw(_) => None,
        });
        let all: Vec<_> = moving.collect();
        all.iter().for_each(|(.., overlay)| overlay.track(true));
        Self(all)
    }

    /// What was written to and not copied since, in pages of RAM.
    pub fn left(&self) -> u64 {
        self.0.iter().map(|(.., overlay)| overlay.written() / super::ram::PAGE).sum()
    }

    /// The disks, by number, each with what is to be copied: everything, or what was written to since the last time.
    pub fn take(&self, all: bool) -> Vec<(usize, &Disk, Clusters)> {
        let clusters = |overlay: &Overlay| if all { overlay.present() } else { overlay.take_written() };
        self.0.iter().map(|(number, disk, overlay)| (*number, disk, clusters(overlay))).collect()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.iter().for_each(|(.., overlay)| overlay.track(false));
    }
}

#[cfg(test)]
mod tests;
