//! The archive that the kernel unpacks as its first file system: cpio in the "newc" format.
//!
//! Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// Writes entries; every owner is root and every time is 0, so equal content gives equal bytes.
pub struct Cpio<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Cpio<W> {
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.entry(name, REGULAR | mode, (0, 0), data)
    }

    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.entry(name, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device of `(major, minor)`.
    pub fn device(&mut self, name: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.entry(name, CHARACTER | mode, device, &[])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is 4 GiB or more"));
        let size = u32::try_from(data.len()).map_err(too_long)?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_size = name.len() as u32 + 1;
        let fields =
            [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0 /* no checksum */];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0; 4][..1 + pad(header.len() + name.len() + 1)])?;
        self.out.write_all(data)?;
        self.out.write_all(&[0; 4][..pad(data.len())])
    }
}

/// Bytes up to the next multiple of four.
fn pad(length: usize) -> usize {
    length.wrapping_neg() & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_start_at_multiples_of_four() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.directory("d").unwrap();
        cpio.file("d/odd", 0o644, b"12345").unwrap();
        cpio.symlink("d/link", "odd").unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let starts: Vec<_> = (0..bytes.len() - 5).filter(|&i| &bytes[i..i + 6] == b"070701").collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|s| s % 4 == 0));
        // The size field of the file, and its content behind the padded name.
        assert_eq!(&bytes[starts[1] + 54..starts[1] + 62], b"00000005");
        assert_eq!(&bytes[starts[1] + 116..starts[1] + 121], b"12345");
    }
}
