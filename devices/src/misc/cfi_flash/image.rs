//! What a flash bank holds: a file, a private copy of one, or nothing yet.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::BANK_SIZE;
use super::chip::Contents;
use crate::StateError;

const SIZE: usize = BANK_SIZE as usize;

/// Why a file cannot be a flash bank.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    #[error("cannot open flash image '{}'", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot map flash image '{}'", path.display())]
    Map { path: PathBuf, source: io::Error },
    #[error(
        "flash image '{}' has {size} bytes, a bank has {SIZE} (truncate -s 32M would extend it; a read-only or \
         snapshot image may be smaller)",
        path.display()
    )]
    Small { path: PathBuf, size: u64 },
    #[error("flash image '{}' has {size} bytes, more than a bank's {SIZE}", path.display())]
    Big { path: PathBuf, size: u64 },
}

/// Memory of the size of a bank.
struct Memory(NonNull<u8>);

// SAFETY: the memory belongs to this value; whoever holds it exclusively may write, and other readers
// are the guest's, which no reference of ours ever overlaps.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, has this size, and nobody may use it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), SIZE) };
    }
}

impl Memory {
    fn of_file(file: &File, protection: ProtFlags, flags: MapFlags) -> io::Result<Self> {
        // SAFETY: a new mapping, placed by the kernel; the result is checked.
        let at = unsafe { mmap(ptr::null_mut(), SIZE, protection, flags, file, 0)? };
        NonNull::new(at.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at zero"))
    }

    /// Erased memory; touches all of it.
    fn erased() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, placed by the kernel; the result is checked.
        let at = unsafe { mmap_anonymous(ptr::null_mut(), SIZE, protection, MapFlags::PRIVATE)? };
        let memory = NonNull::new(at.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at zero"))?;
        // SAFETY: the mapping is writable, ours alone, and has this size.
        unsafe { memory.0.as_ptr().write_bytes(0xff, SIZE) };
        Ok(memory)
    }

    fn read(&self, offset: usize, data: &mut [u8]) {
        assert!(offset <= SIZE && data.len() <= SIZE - offset);
        // SAFETY: inside the mapping, as just checked; `data` is elsewhere.
        unsafe { ptr::copy_nonoverlapping(self.0.as_ptr().add(offset), data.as_mut_ptr(), data.len()) };
    }

    /// Only for memory that was mapped writable.
    fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(offset <= SIZE && data.len() <= SIZE - offset);
        // SAFETY: inside the mapping, as just checked; `data` is elsewhere.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.0.as_ptr().add(offset), data.len()) };
    }
}

enum Store {
    /// Nothing was ever written, and there is no file.
    Erased,
    /// Changes stay in memory.
    Private(Memory),
    /// Changes are refused.
    ReadOnly(Memory),
    /// Changes go to the file; the mapping shows them.
    Shared(Memory, File),
}

/// The contents of a bank. Locks of its file are the machine's, which gives them up when the guest moves away.
pub struct FlashImage(Store);

impl std::fmt::Debug for FlashImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Store::Erased => "FlashImage(erased)",
            Store::Private(_) => "FlashImage(private)",
            Store::ReadOnly(_) => "FlashImage(read-only)",
            Store::Shared(..) => "FlashImage(file)",
        })
    }
}

impl FlashImage {
    /// An erased bank whose contents are lost at the end.
    pub fn erased() -> Self {
        Self(Store::Erased)
    }

    /// A file that keeps what the guest programs, as it happens.
    pub fn read_write(path: &Path) -> Result<Self, FlashError> {
        let (file, size) = open(path, true)?;
        if size < BANK_SIZE {
            return Err(FlashError::Small { path: path.to_owned(), size });
        }
        let memory = Memory::of_file(&file, ProtFlags::READ, MapFlags::SHARED).map_err(map_error(path))?;
        Ok(Self(Store::Shared(memory, file)))
    }

    /// A file that the guest cannot change. What a smaller file lacks is erased.
    pub fn read_only(path: &Path) -> Result<Self, FlashError> {
        let (file, size) = open(path, false)?;
        if size < BANK_SIZE {
            return Ok(Self(Store::ReadOnly(copy(file, path)?)));
        }
        let memory = Memory::of_file(&file, ProtFlags::READ, MapFlags::SHARED).map_err(map_error(path))?;
        Ok(Self(Store::ReadOnly(memory)))
    }

    /// A file that stays as it is; what the guest programs is lost at the end. What a smaller file lacks is
    /// erased.
    pub fn snapshot(path: &Path) -> Result<Self, FlashError> {
        let (file, size) = open(path, false)?;
        if size < BANK_SIZE {
            return Ok(Self(Store::Private(copy(file, path)?)));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let memory = Memory::of_file(&file, protection, MapFlags::PRIVATE).map_err(map_error(path))?;
        Ok(Self(Store::Private(memory)))
    }

    pub(super) fn memory(&self) -> Option<(NonNull<u8>, usize)> {
        match &self.0 {
            Store::Erased => None,
            Store::Private(memory) | Store::ReadOnly(memory) | Store::Shared(memory, _) => Some((memory.0, SIZE)),
        }
    }

    /// Bytes beyond the bank read as erased.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let inside = (BANK_SIZE.saturating_sub(offset) as usize).min(data.len());
        let (data, beyond) = data.split_at_mut(inside);
        beyond.fill(0xff);
        match &self.0 {
            Store::Private(memory) | Store::ReadOnly(memory) | Store::Shared(memory, _) if inside > 0 => {
                memory.read(offset as usize, data);
            }
            _ => data.fill(0xff),
        }
    }

    /// Changes the contents; the range lies inside the bank.
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        if matches!(self.0, Store::Erased) {
            self.0 = Store::Private(Memory::erased()?);
        }
        match &mut self.0 {
            Store::Private(memory) => memory.write(offset as usize, data),
            Store::Shared(_, file) => file.write_all_at(data, offset)?,
            Store::Erased | Store::ReadOnly(_) => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
        Ok(())
    }
}

/// What a snapshot keeps of contents that no file does: the pages that are not erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// In pages.
    number: u32,
    bytes: ByteBuf,
}

const PAGE: usize = 4096;

impl FlashImage {
    /// `None`: a file has the contents.
    pub(super) fn save(&self) -> Option<Vec<Page>> {
        match &self.0 {
            Store::Erased => Some(Vec::new()),
            Store::ReadOnly(_) | Store::Shared(..) => None,
            Store::Private(memory) => {
                let mut pages = Vec::new();
                let mut bytes = vec![0; PAGE];
                for number in 0..(SIZE / PAGE) as u32 {
                    memory.read(number as usize * PAGE, &mut bytes);
                    if bytes.iter().any(|byte| *byte != 0xff) {
                        pages.push(Page { number, bytes: ByteBuf::from(bytes.clone()) });
                    }
                }
                Some(pages)
            }
        }
    }

    /// Takes over what [`Self::save`] gave.
    pub(super) fn restore(&mut self, pages: Option<&[Page]>) -> Result<(), StateError> {
        let unfit = |what: &str| Err(StateError::Unfit(what.to_owned()));
        let Some(pages) = pages else {
            return match self.0 {
                Store::ReadOnly(_) | Store::Shared(..) => Ok(()),
                Store::Erased | Store::Private(_) => {
                    unfit("its contents are in a file that this machine does not have")
                }
            };
        };
        if matches!(self.0, Store::ReadOnly(_) | Store::Shared(..)) {
            return unfit("this machine has its contents in a file, the snapshot has them itself");
        }
        if pages.iter().any(|page| page.number as usize >= SIZE / PAGE || page.bytes.len() != PAGE) {
            return unfit("contents outside of the bank");
        }
        if pages.is_empty() && matches!(self.0, Store::Erased) {
            return Ok(());
        }
        let mut memory = Memory::erased().map_err(|error| StateError::Unfit(format!("no memory for it: {error}")))?;
        pages.iter().for_each(|page| memory.write(page.number as usize * PAGE, &page.bytes));
        self.0 = Store::Private(memory);
        Ok(())
    }
}

fn map_error(path: &Path) -> impl FnOnce(io::Error) -> FlashError {
    |source| FlashError::Map { path: path.to_owned(), source }
}

/// Opens an image that is not too large.
fn open(path: &Path, writable: bool) -> Result<(File, u64), FlashError> {
    let failed = |source| FlashError::Open { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(writable).open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > BANK_SIZE {
        return Err(FlashError::Big { path: path.to_owned(), size });
    }
    Ok((file, size))
}

/// The contents of a file in memory, erased to the end.
fn copy(file: File, path: &Path) -> Result<Memory, FlashError> {
    let mut memory = Memory::erased().map_err(map_error(path))?;
    let mut bytes = Vec::new();
    file.take(BANK_SIZE).read_to_end(&mut bytes).map_err(map_error(path))?;
    memory.write(0, &bytes);
    Ok(memory)
}

impl Contents for FlashImage {
    fn program(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = vec![0; data.len()];
        self.read(offset, &mut bytes);
        bytes.iter_mut().zip(data).for_each(|(old, new)| *old &= new);
        self.write(offset, &bytes)
    }

    fn erase(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if matches!(self.0, Store::Erased) {
            return Ok(());
        }
        self.write(offset, &vec![0xff; len as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::super::CfiFlash;
    use super::*;
    use crate::MmioDevice;

    fn file(size: u64, head: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        file.as_file().write_all_at(head, 0).unwrap();
        file
    }

    /// Programs a word and reads status, word and the file's bytes.
    fn program(image: FlashImage, path: &Path) -> (u8, [u8; 4], Vec<u8>) {
        let flash = CfiFlash::new("flash", image, 0);
        flash.write(0, &[0x40, 0, 0x40, 0]);
        flash.write(0, &[0x0f, 0xff, 0xff, 0xf0]);
        let (mut status, mut word) = ([0; 4], [0; 4]);
        flash.read(0, &mut status);
        assert_eq!(status[..2], status[2..]);
        flash.reset();
        flash.read(0, &mut word);
        let mut on_disk = std::fs::read(path).unwrap();
        on_disk.truncate(4);
        (status[0], word, on_disk)
    }

    #[test]
    fn a_written_file_keeps_changes_at_once() {
        let file = file(BANK_SIZE, &[0xaa; 8]);
        let image = FlashImage::read_write(file.path()).unwrap();
        let want = [0x0a, 0xaa, 0xaa, 0xa0];
        assert_eq!(program(image, file.path()), (0x80, want, want.to_vec()));
    }

    #[test]
    fn a_read_only_file_refuses_and_a_snapshot_forgets() {
        for size in [BANK_SIZE, 4096] {
            let file = file(size, &[0xaa; 8]);
            let image = FlashImage::read_only(file.path()).unwrap();
            assert_eq!(program(image, file.path()), (0x90, [0xaa; 4], vec![0xaa; 4]));
            let image = FlashImage::snapshot(file.path()).unwrap();
            assert_eq!(program(image, file.path()), (0x80, [0x0a, 0xaa, 0xaa, 0xa0], vec![0xaa; 4]));
        }
    }

    #[test]
    fn erasing_a_read_only_file_is_an_error() {
        let file = file(BANK_SIZE, &[]);
        let flash = CfiFlash::new("flash", FlashImage::read_only(file.path()).unwrap(), 0);
        flash.write(0, &[0x20, 0, 0x20, 0]);
        flash.write(0, &[0xd0, 0, 0xd0, 0]);
        let mut status = [0; 4];
        flash.read(0, &mut status);
        assert_eq!(status, [0xa0, 0, 0xa0, 0]);
    }

    #[test]
    fn a_small_image_is_erased_beyond_its_end() {
        let file = file(10, &[0xaa; 10]);
        let image = FlashImage::read_only(file.path()).unwrap();
        let mut data = [0; 4];
        image.read(8, &mut data);
        assert_eq!(data, [0xaa, 0xaa, 0xff, 0xff]);
        image.read(BANK_SIZE - 2, &mut data);
        assert_eq!(data, [0xff; 4]);
        image.read(u64::MAX, &mut data);
        assert_eq!(data, [0xff; 4]);
    }

    #[test]
    fn sizes_are_checked() {
        let small = file(4096, &[]);
        assert!(matches!(FlashImage::read_write(small.path()), Err(FlashError::Small { size: 4096, .. })));
        let big = file(BANK_SIZE + 1, &[]);
        assert!(matches!(FlashImage::read_only(big.path()), Err(FlashError::Big { .. })));
        let missing = Path::new("/nonexistent/flash");
        assert!(matches!(FlashImage::read_only(missing), Err(FlashError::Open { .. })));
    }
}
