//! `snapshot=on`: an image that is only read, and a temporary file that takes the writes.
//!
//! The file is sparse, as large as the image, and has no name, so it is gone however the program ends. A bit a cluster
//! says which of the two holds the cluster. The bit of a cluster is set once its bytes are in the file, and stays so until
//! all of them are cleared, while the disk stands still.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::rand::{GetRandomFlags, getrandom};

use super::at_once::AtOnce;
use super::buffers::GuestBuffers;
use super::contents::{Clusters, Extent};
use super::{BlockError, BlockImage, Op, Wait, raw};

/// Bytes that move from image to file at once. A bit for each: 2 MiB of bits for a 1 TiB image.
pub(super) const CLUSTER: u64 = 64 * 1024;

/// A base image with temporary changes.
pub struct Overlay {
    base: Arc<dyn BlockImage>,
    file: File,
    present: Vec<AtomicU64>,
    /// Held while clusters move into the file. Clusters that are present need no lock.
    filling: Mutex<()>,
    /// Clusters that were written to since somebody wanted to know, while he does. Set by whoever has written, after the
    /// bytes are in the file and `present` says so.
    written: Vec<AtomicU64>,
    tracking: AtomicBool,
    at_once: AtOnce,
}

impl Overlay {
    /// Over `base`, in `$TMPDIR` or `/var/tmp`.
    pub fn new(base: Arc<dyn BlockImage>) -> Result<Self, BlockError> {
        let dir = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        Self::in_dir(base, &dir)
    }

    fn in_dir(base: Arc<dyn BlockImage>, dir: &Path) -> Result<Self, BlockError> {
        let fail = |source| BlockError::Snapshot { dir: dir.to_owned(), source };
        let file = nameless_file(dir).map_err(fail)?;
        file.set_len(base.len()).map_err(fail)?;
        let words = base.len().div_ceil(CLUSTER).div_ceil(64);
        let bits = || (0..words).map(|_| AtomicU64::new(0)).collect();
        let (present, written, tracking) = (bits(), bits(), AtomicBool::new(false));
        Ok(Self { base, file, present, filling: Mutex::new(()), written, tracking, at_once: AtOnce::default() })
    }

    fn is_present(&self, cluster: u64) -> bool {
        self.present[(cluster / 64) as usize].load(Ordering::Acquire) >> (cluster % 64) & 1 != 0
    }

    /// In one order with [`Self::track`]: who does not see that somebody tracks is seen by him.
    fn set_present(&self, cluster: u64) {
        self.present[(cluster / 64) as usize].fetch_or(1 << (cluster % 64), Ordering::SeqCst);
    }

    /// Bytes were written, or a part of them.
    fn wrote(&self, clusters: Range<u64>) {
        if self.tracking.load(Ordering::SeqCst) {
            for c in clusters {
                self.written[(c / 64) as usize].fetch_or(1 << (c % 64), Ordering::SeqCst);
            }
        }
    }

    /// Calls `f` with (offset in the image, range in the request, whether it is in the file) for each cluster's part.
    fn each_cluster(
        &self,
        offset: u64,
        len: usize,
        mut f: impl FnMut(u64, Range<usize>, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let cluster = at / CLUSTER;
            let end = len.min(done + ((cluster + 1) * CLUSTER - at) as usize);
            f(at, done..end, self.is_present(cluster))?;
            done = end;
        }
        Ok(())
    }

    /// Copies a cluster of the base into the file.
    fn fill(&self, cluster: u64) -> io::Result<()> {
        let start = cluster * CLUSTER;
        let len = CLUSTER.min(self.base.len() - start);
        let mut bytes = vec![0; len as usize];
        self.base.read_bytes(start, &mut bytes)?;
        self.file.write_all_at(&bytes, start)
    }

    /// Makes `change` to the file at `offset..offset + len`, so that afterwards all of it is present.
    fn change(&self, offset: u64, len: u64, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let end = offset + len;
        let clusters = offset / CLUSTER..end.div_ceil(CLUSTER);
        if clusters.clone().all(|c| self.is_present(c)) {
            let changed = change();
            self.wrote(clusters);
            return changed;
        }
        // Two writers that both find a cluster missing: the second must not copy the base over what the first wrote.
        let _filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        for c in clusters.clone() {
            let covered = offset <= c * CLUSTER && ((c + 1) * CLUSTER).min(self.base.len()) <= end;
            if !covered && !self.is_present(c) {
                self.fill(c)?;
                self.set_present(c);
            }
        }
        let changed = change();
        if changed.is_ok() {
            clusters.clone().for_each(|c| self.set_present(c));
        }
        // Those that were filled are new.
        self.wrote(clusters);
        changed
    }

    /// From now on what is written to is remembered, or no longer.
    pub fn track(&self, on: bool) {
        self.tracking.store(on, Ordering::SeqCst);
        if !on {
            self.written.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }

    /// Bytes of the clusters that were written to since they were taken last.
    pub fn written(&self) -> u64 {
        self.written.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum::<u64>() * CLUSTER
    }

    /// The clusters that were written to since this was asked last. To be read afterwards.
    pub fn take_written(&self) -> Clusters {
        // Most words are as they were, and stay the caches' of all.
        let take = |word: &AtomicU64| match word.load(Ordering::SeqCst) {
            0 => 0,
            _ => word.swap(0, Ordering::SeqCst),
        };
        let written = self.written.iter().map(take);
        // Where a write failed before it had all of a cluster, the base has it still.
        let present = self.present.iter().map(|word| word.load(Ordering::SeqCst));
        Clusters(written.zip(present).map(|(written, present)| written & present).collect())
    }

    /// All that is not the base's.
    pub fn present(&self) -> Clusters {
        Clusters(self.present.iter().map(|word| word.load(Ordering::SeqCst)).collect())
    }

    /// The first part of `clusters` from `from` on that has one kind of contents.
    pub fn next_extent(&self, clusters: &Clusters, from: u64) -> io::Result<Option<Extent>> {
        let (first, all) = (from / CLUSTER, self.len().div_ceil(CLUSTER));
        let Some(Range { start, .. }) = clusters.run(first, first) else { return Ok(None) };
        let start = (start * CLUSTER).max(from);
        if start >= self.len() {
            return Ok(None);
        }
        let data = raw::next_data(&self.file, start, self.len())?;
        // Until the file goes on with something else, or the clusters end.
        let (zero, limit) = match data {
            Some(data) if data.start <= start => (false, data.end),
            Some(data) => (true, data.start),
            None => (true, self.len()),
        };
        let Some(run) = clusters.run(start / CLUSTER, limit.div_ceil(CLUSTER).min(all)) else { return Ok(None) };
        Ok(Some(Extent { range: start..limit.min(run.end * CLUSTER).min(self.len()), zero }))
    }

    /// The image below.
    pub fn base(&self) -> &dyn BlockImage {
        &*self.base
    }

    /// Everything is the base's again. The disk stands still.
    pub fn clear(&self) -> io::Result<()> {
        if self.present.iter().all(|word| word.load(Ordering::SeqCst) == 0) {
            return Ok(());
        }
        self.present.iter().for_each(|word| word.store(0, Ordering::SeqCst));
        self.file.set_len(0)?;
        self.file.set_len(self.len())
    }

    /// Writes bytes of our own.
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(offset, bytes.len() as u64, || self.file.write_all_at(bytes, offset))
    }
}

impl BlockImage for Overlay {
    fn len(&self) -> u64 {
        self.base.len()
    }

    fn read(&self, offset: u64, data: &GuestBuffers) -> io::Result<()> {
        self.each_cluster(offset, data.len(), |at, range, present| {
            if !present {
                let mut bytes = vec![0; range.len()];
                self.base.read_bytes(at, &mut bytes)?;
                data.copy_in(range, &bytes);
                return Ok(());
            }
            let mut done = range.start;
            while done < range.end {
                match data.read_from(self.file.as_fd(), done..range.end, at + (done - range.start) as u64)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => done += n,
                }
            }
            Ok(())
        })
    }

    fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.each_cluster(offset, bytes.len(), |at, range, present| match present {
            true => self.file.read_exact_at(&mut bytes[range], at),
            false => self.base.read_bytes(at, &mut bytes[range]),
        })
    }

    fn write(&self, offset: u64, data: &GuestBuffers, _durable: bool) -> io::Result<()> {
        self.change(offset, data.len() as u64, || {
            let mut done = 0;
            while done < data.len() {
                done += data.write_to(self.file.as_fd(), done..data.len(), offset + done as u64, false)?;
            }
            Ok(())
        })
    }

    /// If one of the two has all of it.
    fn at_once(&self, op: Op, offset: u64, data: &GuestBuffers, wait: Wait) -> bool {
        let mut clusters = offset / CLUSTER..(offset + data.len() as u64).div_ceil(CLUSTER);
        let all = clusters.clone().all(|c| self.is_present(c));
        match op {
            Op::Read if all => self.at_once.read(self.file.as_fd(), offset, data),
            Op::Read if !clusters.any(|c| self.is_present(c)) => self.base.at_once(op, offset, data, wait),
            Op::Write { .. } if all => {
                // What is written in part comes again.
                let whole = self.at_once.write(self.file.as_fd(), offset, data, wait);
                self.wrote(clusters);
                whole
            }
            _ => false,
        }
    }

    fn flush(&self) -> io::Result<()> {
        // Nothing here outlives the program.
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64, _unmap: bool, _durable: bool) -> io::Result<()> {
        self.change(offset, len, || {
            match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
                Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(&self.file, offset, len),
                other => Ok(other?),
            }
        })
    }
}

fn write_zeros(file: &File, mut offset: u64, len: u64) -> io::Result<()> {
    let zeros = vec![0; CLUSTER as usize];
    let end = offset + len;
    while offset < end {
        let n = (end - offset).min(CLUSTER);
        file.write_all_at(&zeros[..n as usize], offset)?;
        offset += n;
    }
    Ok(())
}

/// A file that has no name, or loses it before anybody can use it.
fn nameless_file(dir: &Path) -> io::Result<File> {
    let open = || File::options().read(true).write(true).mode(0o600).custom_flags(libc::O_CLOEXEC).clone();
    match open().custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC).open(dir) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {}
        other => return other,
    }
    let mut random = [0; 8];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let path = dir.join(format!("vireo-{:016x}.tmp", u64::from_ne_bytes(random)));
    let file = open().create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuestRam;
    use crate::backend::block::{BlockOptions, RawImage};
    use vm_memory::GuestAddress;

    const BASE: u64 = 0x8000_0000;
    /// Not a whole number of clusters, nor of sectors.
    const LEN: usize = 5 * CLUSTER as usize + 1000;

    fn fixture() -> (tempfile::NamedTempFile, Overlay, Vec<u8>) {
        let image = tempfile::NamedTempFile::new().unwrap();
        let mut model: Vec<u8> = (0..LEN).map(|i| (i % 251) as u8).collect();
        std::fs::write(image.path(), &model).unwrap();
        let options = BlockOptions { read_only: true, ..Default::default() };
        let base = RawImage::open(image.path(), &options).unwrap();
        model.resize(base.len() as usize, 0);
        (image, Overlay::new(Arc::new(base)).unwrap(), model)
    }

    fn buffers(mem: &Arc<GuestRam>, at: u64, len: usize) -> GuestBuffers {
        let half = len as u32 / 2;
        GuestBuffers::new(mem, [(GuestAddress(at), half), (GuestAddress(at + 0x10_0000), len as u32 - half)]).unwrap()
    }

    #[test]
    fn behaves_like_memory() {
        let (image, overlay, mut model) = fixture();
        let before = std::fs::read(image.path()).unwrap();
        let mem = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), 4 << 20)]).unwrap());
        let mut seed = 12345u64;
        let mut below = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for round in 0..300 {
            let sectors = model.len() / 512;
            let first = below(sectors);
            let count = 1 + below((sectors - first).min(300));
            let (at, len) = (first * 512, count * 512);
            let data = buffers(&mem, BASE, len);
            match below(4) {
                0 => {
                    data.copy_in(0..len, &vec![round as u8; len]);
                    if !overlay.at_once(Op::Write { durable: false }, at as u64, &data, Wait::Briefly) {
                        overlay.write(at as u64, &data, false).unwrap();
                    }
                    model[at..at + len].fill(round as u8);
                }
                1 => {
                    overlay.write_zeroes(at as u64, len as u64, true, false).unwrap();
                    model[at..at + len].fill(0);
                }
                _ => {
                    if below(2) == 0 || !overlay.at_once(Op::Read, at as u64, &data, Wait::Never) {
                        overlay.read(at as u64, &data).unwrap();
                    }
                    let mut got = vec![0; len];
                    data.copy_out(0..len, &mut got);
                    assert!(got == model[at..at + len], "round {round}");
                }
            }
        }
        let mut all = vec![0; model.len()];
        overlay.read_bytes(0, &mut all).unwrap();
        assert!(all == model);
        assert_eq!(std::fs::read(image.path()).unwrap(), before);
    }

    #[test]
    fn writers_of_one_cluster_do_not_lose_each_others_bytes() {
        let (_image, overlay, _) = fixture();
        let mem = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), 4 << 20)]).unwrap());
        std::thread::scope(|scope| {
            for t in 0..4u8 {
                let (overlay, mem) = (&overlay, &mem);
                scope.spawn(move || {
                    let data = buffers(mem, BASE + u64::from(t) * 4096, 512);
                    data.copy_in(0..512, &[t + 1; 512]);
                    for i in 0..640u64 {
                        if i % 4 == u64::from(t) {
                            overlay.write(i * 512, &data, false).unwrap();
                        }
                    }
                });
            }
        });
        let mut all = vec![0; 640 * 512];
        overlay.read_bytes(0, &mut all).unwrap();
        for (i, sector) in all.chunks(512).enumerate() {
            assert!(sector.iter().all(|&b| b == (i % 4) as u8 + 1), "sector {i}");
        }
    }

    #[test]
    fn a_directory_that_takes_no_file_is_named() {
        let (_image, overlay, _) = fixture();
        let error = Overlay::in_dir(overlay.base, Path::new("/nonexistent")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent"));
    }
}
