//! Images from the side of snapshots: what of them has to be kept, and how they get it back.
//!
//! An image by itself is kept as a whole, but for its holes. What lies over a base image that others keep is kept without
//! that base. Images are written to here while their disk stands still; only an overlay may be read before
//! ([`Overlay::track`]).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::overlay::CLUSTER;
use super::{BlockImage, Overlay, RawImage};

/// Bytes that are compared, or looked at, at once.
const PIECE: usize = 64 << 10;
/// Bytes of which some are written if they differ.
const GRAIN: usize = 4096;

/// An image that a guest may change.
#[derive(Clone)]
pub enum Image {
    Raw(Arc<RawImage>),
    /// What was changed ends with this program.
    Overlay(Arc<Overlay>),
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    pub range: Range<u64>,
    /// It is known to be zero: nobody needs to read it.
    pub zero: bool,
}

/// Parts of an overlay: a bit a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters(pub(super) Vec<u64>);

impl Clusters {
    /// Of all of them.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum::<u64>() * CLUSTER
    }

    /// The first one from `from` on, and how many follow each other, up to `end`.
    pub(super) fn run(&self, from: u64, end: u64) -> Option<Range<u64>> {
        let word = |at: u64| self.0.get((at / 64) as usize).copied();
        let mut at = from;
        // Whole words without any are passed over.
        let start = loop {
            match word(at)? >> (at % 64) {
                0 => at = (at / 64 + 1) * 64,
                bits => break at + u64::from(bits.trailing_zeros()),
            }
        };
        at = start;
        while at < end.max(start + 1) && word(at).is_some_and(|w| w >> (at % 64) & 1 != 0) {
            at += 1;
        }
        Some(start..at)
    }
}

/// Whether all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    // In parts without a way out of them: those are done many bytes at once.
    bytes.chunks(256).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

impl Image {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Raw(image) => image.len(),
            Self::Overlay(image) => image.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes it so long, in bytes of whole sectors. The disk stands still.
    ///
    /// # Errors
    /// It is an overlay, or no file, or the file's system does not do it.
    pub fn resize(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Raw(image) => image.resize(len),
            Self::Overlay(_) => {
                let why = "with snapshot=on it is as long as the image below, which stays as it is";
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Raw(image) => image.read_bytes(offset, bytes),
            Self::Overlay(image) => image.read_bytes(offset, bytes),
        }
    }

    /// Makes it hold `bytes` there. What a raw image has already is not written again.
    pub fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let image = match self {
            Self::Raw(image) => image,
            Self::Overlay(image) => return image.write_bytes(offset, bytes),
        };
        let mut old = vec![0; PIECE.min(bytes.len())];
        for (at, new) in (offset..).step_by(PIECE).zip(bytes.chunks(PIECE)) {
            let old = &mut old[..new.len()];
            image.read_bytes(at, old)?;
            let grains: Vec<_> = new.chunks(GRAIN).zip(old.chunks(GRAIN)).map(|(new, old)| new == old).collect();
            let mut first = 0;
            for run in grains.chunk_by(|a, b| a == b) {
                let end = (first + run.len() * GRAIN).min(new.len());
                if !run[0] {
                    image.write_bytes(at + first as u64, &new[first..end])?;
                }
                first = end;
            }
        }
        Ok(())
    }

    /// Makes it zero there. What a raw image has of zeroes stays as it is, and so do its holes.
    pub fn zero(&self, range: Range<u64>) -> io::Result<()> {
        let image = match self {
            Self::Raw(image) => image,
            Self::Overlay(image) => return image.write_zeroes(range.start, range.end - range.start, true, false),
        };
        let mut bytes = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end
            && let Some(data) = image.next_data(at)?
        {
            let end = data.end.min(range.end);
            at = data.start;
            while at < end {
                let piece = &mut bytes[..PIECE.min((end - at) as usize)];
                image.read_bytes(at, piece)?;
                if !is_zero(piece) {
                    image.punch(at, piece.len() as u64)?;
                }
                at += piece.len() as u64;
            }
        }
        Ok(())
    }

    /// What was put is where a flush of the guest's would have it.
    pub fn flush(&self) -> io::Result<()> {
        match self {
            Self::Raw(image) => image.flush(),
            Self::Overlay(image) => image.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::block::{BlockOptions, CacheMode, GuestBuffers, Op, Wait, open_image};
    use std::os::unix::fs::MetadataExt;

    const SIZE: usize = 5 * CLUSTER as usize + 1024;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn open(file: &tempfile::NamedTempFile, snapshot: bool, cache: CacheMode) -> Option<Image> {
        Some(open_image(file.path(), &BlockOptions { snapshot, cache, ..Default::default() }).ok()?.1)
    }

    fn bytes(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0; image.len() as usize];
        image.read(0, &mut bytes).unwrap();
        bytes
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % n
        }
    }

    #[test]
    fn images_become_what_they_are_to_be() {
        let from: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
        for (snapshot, cache) in [
            (false, CacheMode::Writeback),
            (false, CacheMode::None),
            (false, CacheMode::Unsafe),
            (true, CacheMode::Writeback),
        ] {
            let file = file(&from);
            // Not every file system has direct I/O.
            let Some(image) = open(&file, snapshot, cache) else { continue };
            let mut model = from.clone();
            let mut random = Random(7);
            for round in 0..200u64 {
                let at = random.below(SIZE as u64 / 512) * 512;
                let len = 512 * (1 + random.below(400)).min((SIZE as u64 - at) / 512);
                let (start, end) = (at as usize, (at + len) as usize);
                match random.below(2) {
                    0 => {
                        let new = vec![round as u8; end - start];
                        image.put(at, &new).unwrap();
                        model[start..end].copy_from_slice(&new);
                    }
                    _ => {
                        image.zero(at..at + len).unwrap();
                        model[start..end].fill(0);
                    }
                }
                assert!(bytes(&image) == model, "{cache:?} round {round}");
            }
            image.flush().unwrap();
            assert!(std::fs::read(file.path()).unwrap() == if snapshot { &from } else { &model }[..]);
        }
    }

    #[test]
    fn what_is_zero_needs_no_storage() {
        let file = file(&[1; 4 << 20]);
        let image = open(&file, false, CacheMode::Writeback).unwrap();
        let before = std::fs::metadata(file.path()).unwrap().blocks();
        image.zero(4096..image.len()).unwrap();
        let after = std::fs::metadata(file.path()).unwrap();
        assert_eq!(after.len(), 4 << 20);
        assert!(after.blocks() < before / 8, "{} of {before} blocks", after.blocks());
        let Image::Raw(raw) = &image else { panic!("it is raw") };
        assert_eq!(raw.next_data(0).unwrap(), Some(0..4096));
        assert_eq!(raw.next_data(4096).unwrap(), None);
        // Nothing is stored for what is zero already.
        image.put(1 << 20, &[0; 8192]).unwrap();
        assert_eq!(raw.next_data(4096).unwrap(), None);
    }

    /// All parts of some clusters, in order, with what they hold.
    fn extents(overlay: &Overlay, clusters: &Clusters) -> Vec<Extent> {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(extent) = overlay.next_extent(clusters, at).unwrap() {
            assert!(extent.range.start >= at && extent.range.end > extent.range.start);
            at = extent.range.end;
            all.push(extent);
        }
        all
    }

    #[test]
    fn an_overlay_knows_its_parts() {
        let file = file(&[1; SIZE]);
        let image = open(&file, true, CacheMode::Writeback).unwrap();
        let Image::Overlay(overlay) = &image else { panic!("it is an overlay") };
        let cluster = |n: u64| n * CLUSTER..((n + 1) * CLUSTER).min(overlay.len());
        assert_eq!(extents(overlay, &overlay.present()), []);
        overlay.write_bytes(CLUSTER + 512, &[2; 512]).unwrap();
        image.zero(cluster(3)).unwrap();
        image.zero(5 * CLUSTER..overlay.len()).unwrap();
        let part = |n, zero| Extent { range: cluster(n), zero };
        assert_eq!(extents(overlay, &overlay.present()), [part(1, false), part(3, true), part(5, true)]);
        assert_eq!(overlay.present().bytes(), 3 * CLUSTER);
        // Behind each other.
        image.zero(cluster(2)).unwrap();
        let zero = Extent { range: 2 * CLUSTER..4 * CLUSTER, zero: true };
        assert_eq!(extents(overlay, &overlay.present()), [part(1, false), zero, part(5, true)]);
        overlay.clear().unwrap();
        assert_eq!(extents(overlay, &overlay.present()), []);
        assert!(bytes(&image) == [1; SIZE]);
    }

    #[test]
    fn what_is_written_to_is_known_while_somebody_asks() {
        let file = file(&[1; SIZE]);
        let image = open(&file, true, CacheMode::Writeback).unwrap();
        let Image::Overlay(overlay) = &image else { panic!("it is an overlay") };
        overlay.write_bytes(0, &[2; 512]).unwrap();
        assert_eq!(overlay.written(), 0, "nobody asks");
        overlay.track(true);
        overlay.write_bytes(512, &[3; 512]).unwrap();
        image.zero(2 * CLUSTER..2 * CLUSTER + 512).unwrap();
        assert_eq!(overlay.written(), 2 * CLUSTER);
        assert_eq!(overlay.take_written(), Clusters(vec![0b101]));
        assert_eq!(overlay.take_written(), Clusters(vec![0]));
        // The guest's way, at once and not.
        let mem = std::sync::Arc::new(crate::GuestRam::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)]).unwrap());
        let data = GuestBuffers::new(&mem, [(vm_memory::GuestAddress(0), 512)]).unwrap();
        assert!(overlay.at_once(Op::Write { durable: false }, 2 * CLUSTER, &data, Wait::Briefly));
        overlay.write(3 * CLUSTER, &data, false).unwrap();
        overlay.write_zeroes(4 * CLUSTER, 512, false, false).unwrap();
        assert_eq!(overlay.take_written(), Clusters(vec![0b11100]));
        overlay.write_bytes(4 * CLUSTER, &[3; 512]).unwrap();
        overlay.track(false);
        assert_eq!(overlay.written(), 0);
        overlay.write_bytes(4 * CLUSTER, &[3; 512]).unwrap();
        assert_eq!(overlay.written(), 0);
    }

    /// What is read of an overlay while it is written to, and again of what was written to meanwhile, is what it holds.
    #[test]
    fn an_overlay_is_copied_while_it_is_written_to() {
        const BIG: usize = 200 * CLUSTER as usize;
        let file = file(&[1; BIG]);
        let image = open(&file, true, CacheMode::Writeback).unwrap();
        let Image::Overlay(overlay) = &image else { panic!("it is an overlay") };
        let mut copy = vec![1; BIG];
        std::thread::scope(|scope| {
            let image = &image;
            let write = |seed: u64| {
                move || {
                    let mut random = Random(seed);
                    for round in 0..3000 {
                        let at = random.below(BIG as u64 / 512) * 512;
                        let len = 512 * (1 + random.below(16)).min((BIG as u64 - at) / 512);
                        match random.below(4) {
                            0 => image.zero(at..at + len).unwrap(),
                            _ => image.put(at, &vec![round as u8; len as usize]).unwrap(),
                        }
                    }
                }
            };
            let writers = [scope.spawn(write(1)), scope.spawn(write(2))];
            overlay.track(true);
            let mut take = |clusters: &Clusters| {
                for Extent { range, zero } in extents(overlay, clusters) {
                    let to = &mut copy[range.start as usize..range.end as usize];
                    if zero { to.fill(0) } else { image.read(range.start, to).unwrap() }
                }
            };
            take(&overlay.present());
            for _ in 0..5 {
                take(&overlay.take_written());
            }
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            take(&overlay.take_written());
        });
        assert!(bytes(&image) == copy);
    }
}
