//! RAM as pages of the file, to be mapped: a snapshot that starts at once.
//!
//! The pages of RAM stand between header and sections, by regions, at offsets that are multiples of [`ALIGN`]; zero
//! pages are holes of the file. The section [`NAME`] says where they are and what their checksums are. A machine that maps
//! them privately reads a page when it needs it and copies it when it writes to it, so that many share one file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use devices::GuestRam;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::error::SnapshotError;
use super::format::Section;
use super::progress::Progress;
use super::ram::{CHUNK, PAGE, write_sparse};
use super::save::{Stop, Summary};

pub const NAME: &str = "ram-map";
const VERSION: u32 = 1;
/// Pages of all hosts are at multiples of it.
pub const ALIGN: u64 = 64 << 10;

/// Where a region's pages are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappedRegion {
    /// Guest physical address.
    pub start: u64,
    pub size: u64,
    /// In the file.
    pub offset: u64,
    /// CRC-32 of each part of [`CHUNK`] bytes, the last of what is left.
    sums: Vec<u32>,
}

/// The body of the section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RamMap {
    pub regions: Vec<MappedRegion>,
}

/// What [`write`] did.
pub struct Written {
    pub map: RamMap,
    /// Where the sections begin.
    pub sections: u64,
    pub pages: u64,
    pub zeros: u64,
}

/// Writes RAM that nobody changes, unless `stop` says at some byte of the file that nobody wants it any more. The file is new:
/// what is not written is zero.
pub fn write(file: &File, ram: &GuestRam, progress: &Progress, stop: Stop<'_>) -> Result<Written, SnapshotError> {
    let mut at = ALIGN;
    let (mut pages, mut zeros) = (0, 0);
    let mut regions = Vec::new();
    let mut bytes = vec![0; CHUNK];
    for region in ram.iter() {
        let (start, size) = (region.start_addr().0, region.len());
        let mut sums = Vec::new();
        for from in (0..size).step_by(CHUNK) {
            if stop(Summary { bytes: at + from, pages, zeros }) {
                return Err(SnapshotError::cancelled());
            }
            let part = &mut bytes[..CHUNK.min((size - from) as usize)];
            let unreadable = |_| SnapshotError::Malformed(format!("no RAM at {:#x}", start + from));
            ram.read_slice(part, GuestAddress(start + from)).map_err(unreadable)?;
            sums.push(crc32fast::hash(part));
            pages += (part.len() as u64).div_ceil(PAGE);
            zeros += write_sparse(file, part, at + from).map_err(SnapshotError::Write)?;
            progress.add(part.len() as u64)?;
        }
        regions.push(MappedRegion { start, size, offset: at, sums });
        at = (at + size).next_multiple_of(ALIGN);
    }
    // The last pages may be a hole, which a map must not go beyond.
    file.set_len(at).map_err(SnapshotError::Write)?;
    Ok(Written { map: RamMap { regions }, sections: at, pages, zeros })
}

impl RamMap {
    pub fn section(&self) -> (&'static str, u32, Vec<u8>) {
        let mut body = Vec::new();
        ciborium::into_writer(self, &mut body).expect("plain values are written to memory");
        (NAME, VERSION, body)
    }

    /// A map for this RAM, inside the file's pages, which end at `end`.
    pub fn read(section: &Section, ram: &GuestRam, end: u64) -> Result<Self, SnapshotError> {
        section.expect_version(VERSION)?;
        let bad = |what: String| SnapshotError::Malformed(format!("section '{NAME}': {what}"));
        let map: Self = ciborium::from_reader(&section.body[..]).map_err(|error| bad(error.to_string()))?;
        let here: Vec<_> = ram.iter().map(|r| (r.start_addr().0, r.len())).collect();
        let there: Vec<_> = map.regions.iter().map(|r| (r.start, r.size)).collect();
        if here != there {
            return Err(bad(format!("regions {there:x?}; this machine's RAM is {here:x?}")));
        }
        for region in &map.regions {
            let inside = region.offset.checked_add(region.size).is_some_and(|to| to <= end);
            if region.offset < ALIGN || !region.offset.is_multiple_of(ALIGN) || !inside {
                return Err(bad(format!("pages at {:#x} of the file, which has {end:#x} bytes", region.offset)));
            }
            if region.sums.len() as u64 != region.size.div_ceil(CHUNK as u64) {
                return Err(bad(format!("{} checksums", region.sums.len())));
            }
        }
        Ok(map)
    }

    /// Copies the pages into RAM, or looks at their checksums only.
    pub fn copy(&self, file: &File, ram: &GuestRam, write: bool, progress: &Progress) -> Result<(), SnapshotError> {
        let mut bytes = vec![0; CHUNK];
        let mut old = vec![0; PAGE as usize];
        for region in &self.regions {
            for (from, sum) in (0..region.size).step_by(CHUNK).zip(&region.sums) {
                let part = &mut bytes[..CHUNK.min((region.size - from) as usize)];
                let at = region.start + from;
                let called = || format!("RAM at {at:#x}");
                file.read_exact_at(part, region.offset + from).map_err(SnapshotError::reading(called()))?;
                if crc32fast::hash(part) != *sum {
                    return Err(SnapshotError::Checksum(called()));
                }
                progress.add(part.len() as u64)?;
                if !write {
                    continue;
                }
                for (at, page) in (at..).step_by(PAGE as usize).map(GuestAddress).zip(part.chunks(PAGE as usize)) {
                    let failed = |_| SnapshotError::Malformed(format!("no RAM at {:#x}", at.0));
                    let old = &mut old[..page.len()];
                    ram.read_slice(old, at).map_err(failed)?;
                    if old != page {
                        ram.write_slice(page, at).map_err(failed)?;
                    }
                }
            }
        }
        Ok(())
    }
}
