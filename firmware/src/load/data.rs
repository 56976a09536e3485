//! Bytes to load: a range of a file, or of memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::FileProblem;

/// The most that is read from a pipe, in bytes; files are not read but looked into and have no limit here.
pub const MAX_PIPE_LEN: u64 = 1 << 30;

#[derive(Debug, Clone)]
enum Backing {
    File(Arc<File>),
    Memory(Arc<Vec<u8>>),
    Static(&'static [u8]),
}

/// A range of bytes in a file or in memory. Cheap to clone and to cut.
#[derive(Debug, Clone)]
pub struct Data {
    backing: Backing,
    offset: u64,
    len: u64,
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self { len: bytes.len() as u64, backing: Backing::Memory(Arc::new(bytes)), offset: 0 }
    }
}

impl From<&'static [u8]> for Data {
    fn from(bytes: &'static [u8]) -> Self {
        Self { len: bytes.len() as u64, backing: Backing::Static(bytes), offset: 0 }
    }
}

impl Data {
    /// A file stays open and is read when it is needed; a pipe is read now.
    pub fn open(path: &Path) -> Result<Self, FileProblem> {
        // Looked at before it is opened: opening a device may do something.
        let meta = std::fs::metadata(path).map_err(FileProblem::Open)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            return Err(FileProblem::Directory);
        }
        if !kind.is_file() && !kind.is_fifo() {
            return Err(FileProblem::Device);
        }
        let file = File::open(path).map_err(FileProblem::Open)?;
        if kind.is_fifo() {
            let mut bytes = Vec::new();
            file.take(MAX_PIPE_LEN + 1).read_to_end(&mut bytes).map_err(FileProblem::Read)?;
            let len = bytes.len() as u64;
            return if len > MAX_PIPE_LEN {
                Err(FileProblem::TooLong { len, max: MAX_PIPE_LEN })
            } else {
                Ok(bytes.into())
            };
        }
        let len = file.metadata().map_err(FileProblem::Read)?.len();
        Ok(Self { backing: Backing::File(Arc::new(file)), offset: 0, len })
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of it; `None` if that is not all inside.
    pub fn slice(&self, offset: u64, len: u64) -> Option<Self> {
        offset.checked_add(len).filter(|end| *end <= self.len)?;
        Some(Self { backing: self.backing.clone(), offset: self.offset + offset, len })
    }

    /// Reads at most `buf.len()` bytes from `offset` on; short only at the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.len.checked_sub(offset) else { return Ok(0) };
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (at, buf) = (self.offset + offset, &mut buf[..want]);
        let memory = |bytes: &[u8], buf: &mut [u8]| {
            buf.copy_from_slice(&bytes[at as usize..at as usize + want]);
            Ok(want)
        };
        match &self.backing {
            Backing::File(file) => file.read_exact_at(buf, at).map(|()| want),
            Backing::Memory(bytes) => memory(bytes, buf),
            Backing::Static(bytes) => memory(bytes, buf),
        }
    }

    /// The first bytes, enough to tell formats apart; fewer if there are not as many.
    pub(super) fn head(&self) -> Result<Vec<u8>, FileProblem> {
        let mut head = vec![0; 1024];
        let got = self.read_at(0, &mut head).map_err(FileProblem::Read)?;
        head.truncate(got);
        Ok(head)
    }

    /// All of it. For what is known to be small.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads it from its first byte on.
    pub(super) fn reader(&self) -> Reader {
        Reader { data: self.clone(), position: 0 }
    }

    /// Copies it to guest RAM at `address`, from a file without a buffer in between. Uses the file's position:
    /// two threads may not load the same `Data` at a time.
    pub fn load<M: GuestMemoryBackend>(&self, ram: &M, address: u64) -> Result<(), DataError> {
        let at = GuestAddress(address);
        let memory = |bytes: &[u8]| {
            let range = self.offset as usize..(self.offset + self.len) as usize;
            ram.write_slice(&bytes[range], at).map_err(DataError::Ram)
        };
        match &self.backing {
            Backing::Memory(bytes) => memory(bytes),
            Backing::Static(bytes) => memory(bytes),
            Backing::File(file) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(self.offset)).map_err(DataError::Seek)?;
                ram.read_exact_volatile_from(at, &mut file, self.len as usize).map_err(DataError::Ram)
            }
        }
    }
}

/// Why bytes cannot be copied to guest RAM.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot seek in the file")]
    Seek(#[source] io::Error),
    #[error("cannot copy to guest RAM")]
    Ram(#[source] vm_memory::GuestMemoryError),
}

/// A position in a [`Data`].
#[derive(Debug)]
pub(super) struct Reader {
    data: Data,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.data.read_at(self.position, buf)?;
        self.position += got as u64;
        Ok(got)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.data.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use vm_memory::GuestMemoryMmap;

    #[test]
    fn slices_of_files_and_memory_read_alike() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        for data in [Data::open(file.path()).unwrap(), Data::from(b"0123456789".to_vec())] {
            let part = data.slice(2, 5).unwrap().slice(1, 4).unwrap();
            assert_eq!(part.to_vec().unwrap(), b"3456");
            assert!(data.slice(8, 3).is_none());
            assert!(data.slice(u64::MAX, 2).is_none());
            assert!(data.slice(10, 0).unwrap().is_empty());
            let mut reader = part.reader();
            reader.seek(SeekFrom::End(-1)).unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"6");
            assert!(reader.seek(SeekFrom::Current(-100)).is_err());

            let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0x1000), 0x1000)]).unwrap();
            for _twice in 0..2 {
                part.load(&ram, 0x1ffc).unwrap();
            }
            let mut got = [0; 4];
            ram.read_slice(&mut got, GuestAddress(0x1ffc)).unwrap();
            assert_eq!(&got, b"3456");
            assert!(part.load(&ram, 0x1ffd).is_err(), "past the end of RAM");
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 100]).unwrap();
        let data = Data::open(file.path()).unwrap();
        file.as_file().set_len(50).unwrap();
        let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        assert!(data.load(&ram, 0).is_err());
        assert!(data.to_vec().is_err());
    }
}
