//! Disk images: what carries a guest's blocks.
//!
//! A disk talks to a [`BlockBackend`]: it submits requests on its worker's thread and collects completions there.
//! Two back ends do the work in the background: `uring` hands raw images' requests to the kernel, `pool` runs any
//! [`BlockImage`] (whose calls block) on a few threads. A new image format is one more `BlockImage`.
//!
//! Order: requests in flight together may finish in any order; a flush covers what had completed before it was
//! submitted. That is all that virtio-blk promises its driver (virtio 1.3, 5.2.6).

mod at_once;
mod buffers;
mod contents;
mod lock;
mod overlay;
mod pool;
mod raw;
mod uring;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use buffers::GuestBuffers;
pub use contents::{Clusters, Extent, Image};
pub use overlay::Overlay;
pub use pool::PoolBackend;
pub use raw::RawImage;
pub use uring::UringBackend;

/// Unit of a disk's capacity and addresses, in bytes.
pub const SECTOR: u64 = 512;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("cannot open image '{}'", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("'{}' is neither a file nor a block device", path.display())]
    NotAnImage { path: PathBuf },
    #[error("image '{}' is in use: another program (or another drive of this machine) holds a lock that excludes {access}", path.display())]
    InUse { path: PathBuf, access: &'static str },
    #[error("image '{}': cache=none and cache=directsync need direct I/O, which its file system does not have", path.display())]
    NoDirect { path: PathBuf },
    #[error("cannot make a temporary file for snapshot=on in '{}'", dir.display())]
    Snapshot { dir: PathBuf, source: io::Error },
    #[error("aio=io_uring: this kernel does not let us use io_uring")]
    NoUring { source: io::Error },
    #[error("cannot start the image's I/O threads")]
    Threads { source: io::Error },
}

/// The lock of an image by itself, for who gives it away while the image stays open, and takes it again.
#[derive(Debug)]
pub struct ImageLock(std::fs::File);

impl ImageLock {
    /// Keeps other writers out, and readers if it is for a writer.
    pub fn take(path: &std::path::Path, write: bool) -> Result<Self, BlockError> {
        let file = std::fs::File::open(path).map_err(|source| BlockError::Open { path: path.to_owned(), source })?;
        raw::take_lock(&file, path, write)?;
        Ok(Self(file))
    }

    /// Everything that was written to the image, by whomever, is on the disk.
    pub fn flush(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// What the host may keep in its memory (QEMU's `cache=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Host cache, stable after a flush.
    #[default]
    Writeback,
    /// Host cache for reads; a write is stable when it completes.
    Writethrough,
    /// No host cache, stable after a flush.
    None,
    /// No host cache; a write is stable when it completes.
    Directsync,
    /// Host cache, never flushed: for machines whose disks may be lost.
    Unsafe,
}

impl CacheMode {
    /// The names that `cache=` takes.
    pub const NAMES: [&str; 5] = ["writeback", "writethrough", "none", "directsync", "unsafe"];

    /// By name, as in [`Self::NAMES`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Writeback, Self::Writethrough, Self::None, Self::Directsync, Self::Unsafe];
        Self::NAMES.iter().position(|&n| n == name).map(|i| all[i])
    }

    fn direct(self) -> bool {
        matches!(self, Self::None | Self::Directsync)
    }

    fn volatile(self) -> bool {
        self == Self::Unsafe
    }

    /// Whether the disk starts with its write cache on.
    pub fn write_cache(self) -> bool {
        !matches!(self, Self::Writethrough | Self::Directsync)
    }
}

/// How requests reach the host (QEMU's `aio=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AioMode {
    /// io_uring where the kernel allows it, else threads.
    #[default]
    Auto,
    Threads,
    IoUring,
}

/// How to open an image.
#[derive(Debug, Clone)]
pub struct BlockOptions {
    pub read_only: bool,
    pub cache: CacheMode,
    pub aio: AioMode,
    /// Give blocks that the guest discards back to the host (`discard=unmap`).
    pub discard: bool,
    /// Keep other programs out (`file.locking`).
    pub locking: bool,
    /// Writes go to a temporary file that is gone at the end (`snapshot=on`).
    pub snapshot: bool,
}

impl Default for BlockOptions {
    fn default() -> Self {
        let (cache, aio) = (CacheMode::default(), AioMode::default());
        Self { read_only: false, cache, aio, discard: false, locking: true, snapshot: false }
    }
}

/// An image whose calls block. Called from several threads at once. Ranges are inside [`BlockImage::len`] and whole sectors.
pub trait BlockImage: Send + Sync {
    /// Bytes; a multiple of [`SECTOR`].
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Looks at the size of what others may have changed. No request is under way.
    fn measure(&self) -> io::Result<()> {
        Ok(())
    }
    /// Fills `data` from `offset`.
    fn read(&self, offset: u64, data: &GuestBuffers) -> io::Result<()>;
    /// The same into memory of our own, for images on top of this one.
    fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    /// `durable`: stable storage before it returns.
    fn write(&self, offset: u64, data: &GuestBuffers, durable: bool) -> io::Result<()>;
    /// Makes completed writes stable.
    fn flush(&self) -> io::Result<()>;
    /// The guest no longer needs these bytes: a hint.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;
    /// `unmap`: storage may be given back.
    fn write_zeroes(&self, offset: u64, len: u64, unmap: bool, durable: bool) -> io::Result<()>;
    /// See [`BlockBackend::at_once`].
    fn at_once(&self, _op: Op, _offset: u64, _data: &GuestBuffers, _wait: Wait) -> bool {
        false
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Read,
    Write { durable: bool },
    Flush,
    Discard { len: u64 },
    WriteZeroes { len: u64, unmap: bool, durable: bool },
}

/// How long somebody who asks for something at once may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For no device and no lock.
    Never,
    /// As long as it takes, if that is short as a rule.
    Briefly,
}

/// One request, checked by the disk: whole sectors inside the image, nothing that changes a read-only one.
pub struct Request {
    /// The submitter's name for it.
    pub token: u64,
    pub op: Op,
    /// Bytes from the start of the image.
    pub offset: u64,
    /// Of reads and writes; empty otherwise.
    pub data: GuestBuffers,
}

/// A finished request.
#[derive(Debug)]
pub struct Completion {
    pub token: u64,
    pub result: io::Result<()>,
}

/// An image with its requests in flight. Owned by one thread. Dropping it waits for all of them.
pub trait BlockBackend: Send {
    /// Bytes; a multiple of [`SECTOR`].
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Looks at the size of what others may have changed. Nothing is in flight.
    fn measure(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Does a request at once, if it moves bytes to or from the host's memory only. `false`: submit it; nothing of it has
    /// happened, or a part that may happen twice.
    fn at_once(&mut self, op: Op, offset: u64, data: &GuestBuffers, wait: Wait) -> bool;
    /// Requests that can be submitted now.
    fn room(&self) -> usize;
    /// Takes a request; not called without room. It may not start before [`Self::commit`].
    fn submit(&mut self, request: Request);
    /// Sets off what was submitted. Some of it may be finished at once: look at [`Self::completions`] afterwards.
    fn commit(&mut self);
    /// Appends what has finished.
    fn completions(&mut self, out: &mut Vec<Completion>);
    /// Waits for everything in flight and appends it.
    fn drain(&mut self, out: &mut Vec<Completion>);
    /// Readable (level) while completions wait.
    fn event_fd(&self) -> BorrowedFd<'_>;
    /// e.g. `io_uring`, `threads`.
    fn kind(&self) -> &'static str;
}

/// Opens a raw image as a disk needs it.
pub fn open_raw(path: &std::path::Path, options: &BlockOptions) -> Result<Box<dyn BlockBackend>, BlockError> {
    Ok(open_image(path, options)?.0)
}

/// The same, and the image by itself.
pub fn open_image(
    path: &std::path::Path,
    options: &BlockOptions,
) -> Result<(Box<dyn BlockBackend>, Image), BlockError> {
    if options.snapshot {
        let base = RawImage::open(path, &BlockOptions { read_only: true, ..options.clone() })?;
        let overlay = Arc::new(Overlay::new(Arc::new(base))?);
        let image = Image::Overlay(Arc::clone(&overlay));
        let pool = PoolBackend::new(overlay).map_err(|source| BlockError::Threads { source })?;
        return Ok((Box::new(pool), image));
    }
    let image = Arc::new(RawImage::open(path, options)?);
    Ok((backend(Arc::clone(&image), options.aio)?, Image::Raw(image)))
}

fn backend(image: Arc<RawImage>, aio: AioMode) -> Result<Box<dyn BlockBackend>, BlockError> {
    let pool = |image| PoolBackend::new(image).map_err(|source| BlockError::Threads { source });
    match aio {
        AioMode::Threads => Ok(Box::new(pool(image)?)),
        AioMode::IoUring => Ok(Box::new(UringBackend::new(image).map_err(|source| BlockError::NoUring { source })?)),
        AioMode::Auto => match UringBackend::new(Arc::clone(&image)) {
            Ok(ring) => Ok(Box::new(ring)),
            Err(error) => {
                tracing::debug!(%error, "no io_uring, using threads for disk I/O");
                Ok(Box::new(pool(image)?))
            }
        },
    }
}
