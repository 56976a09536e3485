//! Files that a guest is booted from: what they are, what they contain and where it wants to be.
//!
//! Nothing here knows the machine: [`Kernel::open`] says what a file is, the load rules of
//! [`boot`](crate::boot) say where it goes. Big files are not read, only looked into: their bytes go from the
//! file to guest RAM when the machine starts.

mod data;
mod decompress;
mod elf;
mod foreign;
mod image;

pub use data::{Data, DataError, MAX_PIPE_LEN};
#[cfg(test)]
pub(crate) use elf::tests::elf_file;
pub use elf::{ElfImage, Segment};
pub use image::ImageHeader;

use std::path::Path;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    #[error("cannot open it")]
    Open(#[source] std::io::Error),
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    #[error("it is a directory")]
    Directory,
    #[error("it is a device; a file or a pipe is needed")]
    Device,
    #[error("it is empty")]
    Empty,
    #[error("it is {len} bytes long, or more; {max} is the limit")]
    TooLong { len: u64, max: u64 },
    #[error("it is truncated: {what} ends at byte {needed}, the file has {len}")]
    Truncated { what: &'static str, needed: u64, len: u64 },
    #[error("its {format} data is truncated or corrupted")]
    Compressed { format: &'static str, source: std::io::Error },
    #[error("its contents are compressed with '{format}'; gzip and zstd are supported")]
    Compression { format: String },
    #[error("it is compressed twice")]
    CompressedTwice,
    #[error("it is {what}")]
    Foreign { what: &'static str },
    #[error("its ELF header is invalid: {reason}")]
    Elf { reason: String },
    #[error("its Image header is invalid: {reason}")]
    Image { reason: &'static str },
}

/// A kernel, of whichever format.
#[derive(Debug, Clone)]
pub enum Kernel {
    /// A raw RISC-V `Image` (also with an EFI stub), to be entered at its first byte.
    Image { header: ImageHeader, data: Data },
    /// An ELF executable, loaded where it says.
    Elf(ElfImage),
    /// Bytes without a format, to be entered at the first one.
    Raw { data: Data },
}

impl Kernel {
    /// Looks into the file at `path`. Compressed kernels are unpacked, to at most `max_len` bytes.
    pub fn open(path: &Path, max_len: u64) -> Result<Self, FileProblem> {
        Self::recognise(Data::open(path)?, max_len)
    }

    /// As [`Kernel::open`], for bytes that are there already.
    pub fn recognise(data: Data, max_len: u64) -> Result<Self, FileProblem> {
        match decompress::unpack(&data, max_len)? {
            None => Self::recognise_plain(data),
            Some(unpacked) if decompress::is_packed(&unpacked)? => Err(FileProblem::CompressedTwice),
            Some(unpacked) => Self::recognise_plain(unpacked),
        }
    }

    fn recognise_plain(data: Data) -> Result<Self, FileProblem> {
        let head = data.head()?;
        if data.is_empty() {
            return Err(FileProblem::Empty);
        }
        if elf::is_elf(&head) {
            return Ok(Self::Elf(ElfImage::parse(data)?));
        }
        if image::is_image(&head) {
            return Ok(Self::Image { header: ImageHeader::parse(&data)?, data });
        }
        foreign::refuse(&head)?;
        Ok(Self::Raw { data })
    }
}

/// Firmware for `-bios`: an ELF executable or a raw binary.
#[derive(Debug, Clone)]
pub enum Firmware {
    Elf(ElfImage),
    Raw { data: Data },
}

impl Firmware {
    pub fn open(path: &Path) -> Result<Self, FileProblem> {
        Self::recognise(Data::open(path)?)
    }

    pub fn recognise(data: Data) -> Result<Self, FileProblem> {
        let head = data.head()?;
        if data.is_empty() {
            return Err(FileProblem::Empty);
        }
        if elf::is_elf(&head) {
            return Ok(Self::Elf(ElfImage::parse(data)?));
        }
        foreign::refuse(&head)?;
        Ok(Self::Raw { data })
    }
}

/// An initial RAM disk: bytes that only the kernel understands.
pub fn open_initrd(path: &Path) -> Result<Data, FileProblem> {
    let data = Data::open(path)?;
    if data.is_empty() { Err(FileProblem::Empty) } else { Ok(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(bytes: &[u8]) -> Result<Kernel, FileProblem> {
        Kernel::recognise(Data::from(bytes.to_vec()), 1 << 20)
    }

    #[test]
    fn anything_without_a_format_is_raw() {
        assert!(matches!(recognise(b"\x13\0\0\0"), Ok(Kernel::Raw { .. })));
        assert!(matches!(recognise(b""), Err(FileProblem::Empty)));
        assert!(matches!(Firmware::recognise(Data::from(vec![0x13])), Ok(Firmware::Raw { .. })));
        assert!(matches!(Firmware::recognise(Data::from(vec![])), Err(FileProblem::Empty)));
    }

    #[test]
    fn files_that_cannot_be_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Kernel::open(dir.path(), 1), Err(FileProblem::Directory)));
        assert!(matches!(Kernel::open(&dir.path().join("none"), 1), Err(FileProblem::Open(_))));
        assert!(matches!(Kernel::open(Path::new("/dev/zero"), 1), Err(FileProblem::Device)));
        assert!(matches!(Firmware::open(dir.path()), Err(FileProblem::Directory)));
        let empty = dir.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(matches!(open_initrd(&empty), Err(FileProblem::Empty)));
    }
}
