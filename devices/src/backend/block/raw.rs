//! A raw image: a file or a block device whose bytes are the disk's.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FallocateFlags, SeekFrom, StatxFlags, fallocate, fdatasync, statx};

use super::at_once::AtOnce;
use super::buffers::GuestBuffers;
use super::{BlockError, BlockImage, BlockOptions, Op, SECTOR, Wait, lock};

/// Zeroes to write where a file system cannot make them itself.
const ZERO_CHUNK: usize = 64 * 1024;

/// Alignment that direct I/O asks for.
#[derive(Debug, Clone, Copy)]
struct Direct {
    memory: usize,
    offset: u64,
}

/// An open raw image. All methods may be called from several threads at once.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    /// With direct I/O: the same file through the host's cache, for requests that are not aligned.
    /// The kernel keeps the two views coherent.
    cached: Option<(File, Direct)>,
    /// Bytes, rounded up to whole sectors. Changes only while no request is under way.
    len: AtomicU64,
    discard: bool,
    /// Flushes do nothing (cache=unsafe).
    volatile: bool,
    at_once: AtOnce,
}

impl RawImage {
    /// Opens and locks the image. A size that is no multiple of 512 is rounded up, so that no byte is out of the guest's
    /// reach: the missing bytes read as zero, and a write to the last sector completes it in the file.
    pub fn open(path: &Path, options: &BlockOptions) -> Result<Self, BlockError> {
        let fail = |source| BlockError::Open { path: path.to_owned(), source };
        let file = open_file(path, options.read_only, options.cache.direct()).map_err(|source| {
            if options.cache.direct() && source.raw_os_error() == Some(libc::EINVAL) {
                return BlockError::NoDirect { path: path.to_owned() };
            }
            fail(source)
        })?;
        let kind = file.metadata().map_err(fail)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(BlockError::NotAnImage { path: path.to_owned() });
        }
        if options.locking {
            take_lock(&file, path, !options.read_only)?;
        }
        let real = size(&file).map_err(fail)?;
        let len = real.next_multiple_of(SECTOR);
        if len != real {
            let path = path.display();
            tracing::warn!("image '{path}' of {real} bytes ends inside a sector; the guest sees {len} bytes");
        }
        let cached = if options.cache.direct() {
            let direct = direct_alignment(&file).ok_or_else(|| BlockError::NoDirect { path: path.to_owned() })?;
            Some((open_file(path, options.read_only, false).map_err(fail)?, direct))
        } else {
            None
        };
        let (discard, volatile) = (options.discard, options.cache.volatile());
        Ok(Self { file, cached, len: AtomicU64::new(len), discard, volatile, at_once: AtOnce::default() })
    }

    /// Makes the file so long, in whole sectors. What comes anew is zero, and what is cut off is lost. The disk stands still.
    pub fn resize(&self, len: u64) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is no file, and its size is the host's affair"));
        }
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    /// The descriptors: the image's, and for direct I/O the one for unaligned requests.
    pub fn files(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.file.as_fd(), self.cached.as_ref().map(|c| c.0.as_fd()))
    }

    /// Whether a request must go through the second descriptor of [`Self::files`].
    pub fn is_unaligned(&self, offset: u64, data: &GuestBuffers) -> bool {
        let Some((_, direct)) = &self.cached else { return false };
        !(offset.is_multiple_of(direct.offset)
            && (data.len() as u64).is_multiple_of(direct.offset)
            && data.is_aligned(direct.memory))
    }

    fn file_for(&self, offset: u64, data: &GuestBuffers) -> BorrowedFd<'_> {
        match &self.cached {
            Some((cached, _)) if self.is_unaligned(offset, data) => cached.as_fd(),
            _ => self.file.as_fd(),
        }
    }

    /// How zeroes are made without writing them; `None` if the image was opened without `discard` and only
    /// discarding is asked for.
    pub fn hole_flags(&self, zeroes: bool, unmap: bool) -> Option<FallocateFlags> {
        if self.discard && (unmap || !zeroes) {
            Some(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE)
        } else if zeroes {
            Some(FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE)
        } else {
            None
        }
    }

    /// Whether flushes and durable writes mean anything.
    pub fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// The file through the host's cache, for bytes of our own.
    fn plain(&self) -> &File {
        self.cached.as_ref().map_or(&self.file, |c| &c.0)
    }

    /// The next bytes from `from` on that the file has; the rest of it reads as zero. `None`: there are no more.
    pub fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        next_data(self.plain(), from, self.len())
    }

    /// Writes bytes of our own.
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self.plain(), bytes, offset)
    }

    /// Zeroes that need no storage, where the file system can.
    pub fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(()),
            // Whatever the reason is: zeroes that cannot be written fail with one of their own.
            Err(_) => self.write_zero_bytes(offset, len),
        }
    }

    /// Zeroes by writing them.
    pub fn write_zero_bytes(&self, mut offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZERO_CHUNK];
        let end = offset + len;
        let file = self.plain();
        while offset < end {
            let n = (end - offset).min(ZERO_CHUNK as u64);
            std::os::unix::fs::FileExt::write_all_at(file, &zeros[..n as usize], offset)?;
            offset += n;
        }
        Ok(())
    }
}

/// Bytes. Works for block devices as well, whose metadata has no length.
fn size(file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut &*file, io::SeekFrom::End(0))
}

impl BlockImage for RawImage {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    fn measure(&self) -> io::Result<()> {
        self.len.store(size(&self.file)?.next_multiple_of(SECTOR), Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, offset: u64, data: &GuestBuffers) -> io::Result<()> {
        let mut file = self.file_for(offset, data);
        let mut done = 0;
        while done < data.len() {
            let n = data.read_from(file, done..data.len(), offset + done as u64)?;
            if n == 0 {
                data.zero(done..data.len());
                break;
            }
            done += n;
            // What a short transfer leaves may not be aligned any more.
            file = self.cached.as_ref().map_or(file, |c| c.0.as_fd());
        }
        Ok(())
    }

    fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.plain();
        let mut done = 0;
        while done < bytes.len() {
            match std::os::unix::fs::FileExt::read_at(file, &mut bytes[done..], offset + done as u64) {
                // Past the end of the file lies the rest of its last sector.
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes[done..].fill(0);
        Ok(())
    }

    fn write(&self, offset: u64, data: &GuestBuffers, durable: bool) -> io::Result<()> {
        let mut file = self.file_for(offset, data);
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let n = data.write_to(file, done..data.len(), at, durable && !self.volatile)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            done += n;
            file = self.cached.as_ref().map_or(file, |c| c.0.as_fd());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if !self.volatile {
            fdatasync(&self.file)?;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let Some(flags) = self.hole_flags(false, true) else { return Ok(()) };
        match fallocate(&self.file, flags, offset, len) {
            // Discarding is a hint.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool, durable: bool) -> io::Result<()> {
        let flags = self.hole_flags(true, unmap).unwrap_or(FallocateFlags::ZERO_RANGE);
        match fallocate(&self.file, flags, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => self.write_zero_bytes(offset, len)?,
            other => other?,
        }
        if durable { self.flush() } else { Ok(()) }
    }

    fn at_once(&self, op: Op, offset: u64, data: &GuestBuffers, wait: Wait) -> bool {
        // Direct I/O has no host memory to move bytes from or to.
        self.cached.is_none()
            && match op {
                Op::Read => self.at_once.read(self.file.as_fd(), offset, data),
                Op::Write { durable } if !durable || self.volatile => {
                    self.at_once.write(self.file.as_fd(), offset, data, wait)
                }
                _ => false,
            }
    }
}

/// The next bytes from `from` on, and before `len`, that a file has. A file that cannot tell has all of them.
pub(super) fn next_data(file: &File, from: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    if from >= len {
        return Ok(None);
    }
    // Nobody uses the position of an image's descriptor.
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(Some(from..len)),
        Err(error) => return Err(error.into()),
    };
    if start >= len {
        return Ok(None);
    }
    // Data may go away meanwhile, and with it the end of the file's.
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(len);
    Ok(Some(start..end.clamp(start + 1, len)))
}

fn open_file(path: &Path, read_only: bool, direct: bool) -> io::Result<File> {
    let flags = if direct { libc::O_DIRECT } else { 0 };
    File::options().read(true).write(!read_only).custom_flags(flags | libc::O_CLOEXEC).open(path)
}

pub(super) fn take_lock(file: &File, path: &Path, write: bool) -> Result<(), BlockError> {
    match lock::lock(file, write) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BlockError::InUse { path: path.to_owned(), access: if write { "write" } else { "read" } }),
        Err(error) => {
            tracing::warn!(
                "image '{}' cannot be locked ({error}); take care that nothing else writes it",
                path.display()
            );
            Ok(())
        }
    }
}

/// What the file system asks of direct I/O; `None` if it has none.
fn direct_alignment(file: &File) -> Option<Direct> {
    let careful = Direct { memory: 4096, offset: 4096 };
    let Ok(s) = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else { return Some(careful) };
    if s.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return Some(careful);
    }
    let (memory, offset) = (s.stx_dio_mem_align as usize, u64::from(s.stx_dio_offset_align));
    (memory != 0 && offset != 0).then_some(Direct { memory, offset })
}
