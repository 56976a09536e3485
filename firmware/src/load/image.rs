//! The RISC-V `Image`: a flat kernel with a 64-byte header, which may double as an EFI program
//! (Linux `Documentation/arch/riscv/boot-image-header.rst`).

use super::{Data, FileProblem};

/// `RSC\x05` at offset 56.
const MAGIC2: &[u8] = b"RSC\x05";
/// `RISCV` at offset 48: deprecated, and all that the first kernels had.
const MAGIC: &[u8] = b"RISCV\0\0\0";

const HEADER_LEN: usize = 64;

/// The header's fields that matter for loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// Where the image wants to be, in bytes from the start of RAM; 0 if it does not say.
    pub text_offset: u64,
    /// Memory it needs, from its first byte, with what it clears itself; at least the file's length.
    pub image_size: u64,
}

pub fn is_image(head: &[u8]) -> bool {
    head.len() >= HEADER_LEN && (&head[56..60] == MAGIC2 || &head[48..56] == MAGIC)
}

impl ImageHeader {
    pub fn parse(data: &Data) -> Result<Self, FileProblem> {
        let head = data.head()?;
        let long = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (text_offset, image_size, flags) = (long(8), long(16), long(24));
        if flags & 1 != 0 {
            return Err(FileProblem::Image { reason: "it is big endian" });
        }
        if text_offset % 4096 != 0 {
            return Err(FileProblem::Image { reason: "its text offset is not a multiple of 4 KiB" });
        }
        if let Some(needed) = pe_end(&head).filter(|end| *end > data.len()) {
            return Err(FileProblem::Truncated { what: "its last section", needed, len: data.len() });
        }
        Ok(Self { text_offset, image_size: image_size.max(data.len()) })
    }
}

/// Where the last section of an image that is also an EFI program ends in the file. `image_size` cannot tell a
/// truncated file, as it counts memory; the section table can.
fn pe_end(head: &[u8]) -> Option<u64> {
    if !head.starts_with(b"MZ") {
        return None;
    }
    let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let pe = word(0x3c)? as usize;
    let Some(magic) = head.get(pe..pe.checked_add(24)?) else {
        // Cut off before its own headers.
        return Some(pe as u64 + 24);
    };
    if !magic.starts_with(b"PE\0\0") {
        return None;
    }
    let sections = usize::from(short(pe + 6)?);
    let table = pe + 24 + usize::from(short(pe + 20)?);
    (0..sections)
        .filter_map(|i| {
            let row = table + i * 40;
            Some(u64::from(word(row + 16)?) + u64::from(word(row + 20)?))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Kernel;

    fn image(len: usize, text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
        let mut file = vec![0; len];
        file[8..16].copy_from_slice(&text_offset.to_le_bytes());
        file[16..24].copy_from_slice(&image_size.to_le_bytes());
        file[24..32].copy_from_slice(&flags.to_le_bytes());
        file[56..60].copy_from_slice(MAGIC2);
        file
    }

    /// An image with an EFI stub whose one section ends at `end`.
    fn efi(len: usize, end: u32) -> Vec<u8> {
        let mut file = image(len, 0x20_0000, 0x10_0000, 0);
        file[..2].copy_from_slice(b"MZ");
        file[0x3c..0x40].copy_from_slice(&0x40u32.to_le_bytes());
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        file[0x46..0x48].copy_from_slice(&1u16.to_le_bytes());
        file[0x54..0x56].copy_from_slice(&160u16.to_le_bytes());
        let row = 0x40 + 24 + 160;
        file[row + 16..row + 20].copy_from_slice(&(end - 0x200).to_le_bytes());
        file[row + 20..row + 24].copy_from_slice(&0x200u32.to_le_bytes());
        file
    }

    fn header(file: Vec<u8>) -> Result<ImageHeader, FileProblem> {
        match Kernel::recognise(file.into(), 1 << 20)? {
            Kernel::Image { header, .. } => Ok(header),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sizes_and_offsets() {
        let is = |text_offset, image_size| ImageHeader { text_offset, image_size };
        assert_eq!(header(image(100, 0x20_0000, 5000, 0)).unwrap(), is(0x20_0000, 5000));
        assert_eq!(header(image(100, 0, 5, 0)).unwrap(), is(0, 100), "never less than the file");
        let mut old = image(64, 0, 0, 0);
        old[56..60].fill(0);
        old[48..56].copy_from_slice(MAGIC);
        assert_eq!(header(old).unwrap(), is(0, 64));
        assert!(matches!(Kernel::recognise(image(64, 0, 0, 0)[..63].to_vec().into(), 99), Ok(Kernel::Raw { .. })));
    }

    #[test]
    fn what_cannot_run_is_refused() {
        assert!(matches!(header(image(64, 0, 0, 1)), Err(FileProblem::Image { .. })));
        assert!(matches!(header(image(64, 0x123, 0, 0)), Err(FileProblem::Image { .. })));
    }

    #[test]
    fn an_efi_stub_image_is_an_image_and_shows_truncation() {
        assert_eq!(header(efi(0x1000, 0x1000)).unwrap().image_size, 0x10_0000);
        assert!(matches!(header(efi(0xfff, 0x1000)), Err(FileProblem::Truncated { needed: 0x1000, len: 0xfff, .. })));
        let headers = efi(0x1000, 0x1000)[..HEADER_LEN].to_vec();
        assert!(matches!(header(headers), Err(FileProblem::Truncated { needed: 0x58, len: 64, .. })));
    }

    #[test]
    fn odd_headers_do_not_panic() {
        for at in 0..0x200 {
            let mut file = efi(0x1000, 0x1000);
            for value in [0, 0xff] {
                file[at] = value;
                let _ = Kernel::recognise(file.clone().into(), 1 << 20);
            }
        }
    }
}
