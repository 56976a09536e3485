//! RAM in sections: chunks of pages, zero pages as a bit, the others compressed.
//!
//! The body of a section [`NAME`], version 1: the guest physical address of the first page (8 bytes), the number of pages
//! (4), the way the data is packed (4; 0 as it is, 1 zstd), a bitmap of the pages that are not zero, and their contents one
//! after another. A later chunk replaces an earlier one: so a running machine is copied.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use devices::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::error::SnapshotError;
use super::format::{Section, long, word};

pub const NAME: &str = "ram";
pub const VERSION: u32 = 1;
/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Most pages in a chunk.
pub const CHUNK_PAGES: u64 = 512;
/// Bytes of a full chunk.
pub const CHUNK: usize = (CHUNK_PAGES * PAGE) as usize;

const HEAD: usize = 16;
const PLAIN: u32 = 0;
const ZSTD: u32 = 1;
/// Fast rather than small: RAM is large, and disks are quick.
const LEVEL: i32 = 1;

fn bad(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Malformed(format!("section '{NAME}': {}", what.into()))
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // In parts without a way out of them: those are done many bytes at once.
    bytes.chunks(256).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Writes pages to a new file, the last of them maybe not whole, from `at` on; those of zeroes are left out. How many these are.
pub fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<u64> {
    let (mut done, mut zeros) = (0, 0);
    // Neighbours together.
    for run in bytes.chunks(PAGE as usize).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let len = run.iter().map(|page| page.len()).sum::<usize>();
        match is_zero(run[0]) {
            true => zeros += run.len() as u64,
            false => file.write_all_at(&bytes[done..done + len], at + done as u64)?,
        }
        done += len;
    }
    Ok(zeros)
}

/// Makes sections of chunks; keeps its buffers.
pub struct Packer {
    pages: Vec<u8>,
    full: Vec<u8>,
    packed: Vec<u8>,
    zstd: zstd::bulk::Compressor<'static>,
    /// Pages that were written, and how many of them are zero.
    pub count: u64,
    pub zeros: u64,
}

impl Packer {
    pub fn new() -> Result<Self, SnapshotError> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(SnapshotError::Write)?;
        let (pages, full, packed) = (vec![0; CHUNK], Vec::with_capacity(CHUNK), Vec::new());
        Ok(Self { pages, full, packed, zstd, count: 0, zeros: 0 })
    }

    /// The body for the pages from `start` on, inside RAM and at most [`CHUNK_PAGES`]. A guest that runs may change them
    /// meanwhile.
    pub fn pack(&mut self, ram: &GuestRam, start: u64, pages: u64) -> Result<&[u8], SnapshotError> {
        let bytes = &mut self.pages[..(pages * PAGE) as usize];
        ram.read_slice(bytes, GuestAddress(start)).map_err(|_| bad(format!("no RAM at {start:#x}")))?;
        let mut bitmap = vec![0u8; (pages as usize).div_ceil(8)];
        self.full.clear();
        for (i, page) in bytes.chunks(PAGE as usize).enumerate() {
            if !is_zero(page) {
                bitmap[i / 8] |= 1 << (i % 8);
                self.full.extend(page);
            }
        }
        self.count += pages;
        self.zeros += pages - self.full.len() as u64 / PAGE;
        let compressed = self.zstd.compress(&self.full).map_err(SnapshotError::Write)?;
        let (kind, data) = match compressed.len() < self.full.len() {
            true => (ZSTD, &compressed),
            false => (PLAIN, &self.full),
        };
        self.packed.clear();
        self.packed.extend(start.to_le_bytes());
        self.packed.extend((pages as u32).to_le_bytes());
        self.packed.extend(kind.to_le_bytes());
        self.packed.extend(&bitmap);
        self.packed.extend(data);
        Ok(&self.packed)
    }
}

/// Puts sections back into RAM; keeps its buffers, and knows which pages came.
pub struct Unpacker {
    ram: Arc<GuestRam>,
    bytes: Vec<u8>,
    zstd: zstd::bulk::Decompressor<'static>,
    /// By region: a bit a page.
    came: Vec<Vec<u64>>,
}

impl Unpacker {
    pub fn new(ram: Arc<GuestRam>) -> Result<Self, SnapshotError> {
        let words = |pages: u64| pages.div_ceil(64) as usize;
        let came = ram.iter().map(|region| vec![0; words(region.len().div_ceil(PAGE))]).collect();
        let zstd = zstd::bulk::Decompressor::new().map_err(SnapshotError::Read)?;
        Ok(Self { ram, bytes: Vec::new(), zstd, came })
    }

    /// Checks a section, and puts it into RAM unless it is to be checked only.
    pub fn take(&mut self, section: &Section, write: bool) -> Result<(), SnapshotError> {
        section.expect_version(VERSION)?;
        let body = &section.body[..];
        if body.len() < HEAD {
            return Err(bad(format!("{} bytes are no chunk", body.len())));
        }
        let (start, pages, kind) = (long(body, 0), u64::from(word(body, 8)), word(body, 12));
        if !(1..=CHUNK_PAGES).contains(&pages) {
            return Err(bad(format!("a chunk of {pages} pages; 1 to {CHUNK_PAGES} are allowed")));
        }
        let region = self.region(start, pages)?;
        let bits = (pages as usize).div_ceil(8);
        let Some((bitmap, data)) = body[HEAD..].split_at_checked(bits) else {
            return Err(bad("its bitmap is cut off"));
        };
        let is_set = |page: u64| bitmap[(page / 8) as usize] >> (page % 8) & 1 != 0;
        if (pages..bits as u64 * 8).any(is_set) {
            return Err(bad("its bitmap has pages that are not there"));
        }
        let full = (0..pages).filter(|page| is_set(*page)).count() * PAGE as usize;
        let data = match kind {
            PLAIN => data,
            ZSTD => {
                self.bytes = self.zstd.decompress(data, full).map_err(|error| bad(format!("zstd: {error}")))?;
                &self.bytes
            }
            other => return Err(bad(format!("packed in way {other}; {PLAIN} and {ZSTD} are known"))),
        };
        if data.len() != full {
            return Err(bad(format!("{} bytes in place of {full}", data.len())));
        }
        if write {
            self.write(start, pages, is_set, data)?;
        }
        let (region, first) = region;
        (first..first + pages).for_each(|page| self.came[region][(page / 64) as usize] |= 1 << (page % 64));
        Ok(())
    }

    /// The number of the region that has all of these pages, and of the first page in it.
    fn region(&self, start: u64, pages: u64) -> Result<(usize, u64), SnapshotError> {
        let inside = |(i, region): (usize, &vm_memory::GuestRegionMmap<ram::WriteMarks>)| {
            let at = start.checked_sub(region.start_addr().0)?;
            let fits = at.is_multiple_of(PAGE) && at.checked_add(pages * PAGE)? <= region.len();
            fits.then_some((i, at / PAGE))
        };
        let found = self.ram.iter().enumerate().find_map(inside);
        found.ok_or_else(|| bad(format!("{pages} pages at {start:#x} are not all RAM")))
    }

    fn write(&self, start: u64, pages: u64, is_set: impl Fn(u64) -> bool, data: &[u8]) -> Result<(), SnapshotError> {
        let failed = |_| bad(format!("no RAM at {start:#x}"));
        let mut data = data.chunks(PAGE as usize);
        let mut old = [0; PAGE as usize];
        for page in 0..pages {
            let at = GuestAddress(start + page * PAGE);
            match is_set(page).then(|| data.next()).flatten() {
                Some(bytes) => self.ram.write_slice(bytes, at).map_err(failed)?,
                // Fresh memory is zero, and stays the host's as long as nobody writes to it.
                None => {
                    self.ram.read_slice(&mut old, at).map_err(failed)?;
                    if !is_zero(&old) {
                        self.ram.write_slice(&[0; PAGE as usize], at).map_err(failed)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Every page has come.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        for (region, came) in self.ram.iter().zip(&self.came) {
            let pages = region.len().div_ceil(PAGE);
            let missing = (0..pages).find(|page| came[(page / 64) as usize] >> (page % 64) & 1 == 0);
            if let Some(page) = missing {
                let at = region.start_addr().0 + page * PAGE;
                return Err(SnapshotError::Malformed(format!("RAM at {at:#x} is missing")));
            }
        }
        Ok(())
    }
}

/// All chunks of RAM: address and number of pages.
pub fn chunks(ram: &GuestRam) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for region in ram.iter() {
        let (start, pages) = (region.start_addr().0, region.len().div_ceil(PAGE));
        let of = |first: u64| (start + first * PAGE, CHUNK_PAGES.min(pages - first));
        all.extend((0..pages).step_by(CHUNK_PAGES as usize).map(of));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x8000_0000;

    fn ram() -> Arc<GuestRam> {
        Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), (CHUNK_PAGES + 3) as usize * 4096)]).unwrap())
    }

    fn section(body: &[u8]) -> Section {
        Section { name: NAME.into(), version: VERSION, body: body.to_vec() }
    }

    #[test]
    fn round_trip_over_old_contents() {
        let (from, to) = (ram(), ram());
        from.write_slice(&[7; 5000], GuestAddress(BASE + 3 * PAGE)).unwrap();
        let random: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        from.write_slice(&random, GuestAddress(BASE + (CHUNK_PAGES + 1) * PAGE)).unwrap();
        to.write_slice(&[1; 20000], GuestAddress(BASE)).unwrap();
        let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new(Arc::clone(&to)).unwrap());
        for (start, pages) in chunks(&from) {
            assert!(unpacker.finish().is_err());
            let body = packer.pack(&from, start, pages).unwrap();
            unpacker.take(&section(body), true).unwrap();
        }
        unpacker.finish().unwrap();
        assert_eq!((packer.count, packer.zeros), (CHUNK_PAGES + 3, CHUNK_PAGES));
        let all = |ram: &GuestRam| {
            let mut bytes = vec![0; (CHUNK_PAGES + 3) as usize * 4096];
            ram.read_slice(&mut bytes, GuestAddress(BASE)).unwrap();
            bytes
        };
        assert!(all(&from) == all(&to));
    }

    #[test]
    fn bad_chunks_are_refused_and_change_nothing() {
        let from = ram();
        from.write_slice(&[7; 4096], GuestAddress(BASE)).unwrap();
        let good = Packer::new().unwrap().pack(&from, BASE, 9).unwrap().to_vec();
        let to = ram();
        let mut unpacker = Unpacker::new(Arc::clone(&to)).unwrap();
        let mut refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut body = good.clone();
            change(&mut body);
            unpacker.take(&section(&body), true).unwrap_err().to_string()
        };
        assert!(refused(&|b| b.truncate(10)).contains("no chunk"));
        assert!(refused(&|b| b.truncate(17)).contains("bitmap"));
        assert!(refused(&|b| b.truncate(20)).contains("zstd"));
        assert!(refused(&|b| b[8] = 0).contains("0 pages"));
        assert!(refused(&|b| b[10] = 1).contains("65545 pages"));
        assert!(refused(&|b| b[0] = 1).contains("not all RAM"));
        assert!(refused(&|b| b[7] = 0xff).contains("not all RAM"));
        assert!(refused(&|b| b[..8].copy_from_slice(&(BASE - PAGE).to_le_bytes())).contains("not all RAM"));
        assert!(refused(&|b| b[12] = 2).contains("way 2"));
        assert!(refused(&|b| b[12] = 0).contains("in place of"));
        assert!(refused(&|b| b[17] |= 0x80).contains("not there"));
        // One page more than the data has.
        assert!(refused(&|b| b[16] |= 2).contains("in place of"));
        let mut first = [9; 4096];
        to.read_slice(&mut first, GuestAddress(BASE)).unwrap();
        assert_eq!(first, [0; 4096]);
    }
}
