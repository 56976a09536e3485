//! The signature of a test program: what it leaves between the symbols `begin_signature` and `end_signature`, written
//! as conformance frameworks read it. A line holds so many bytes as a hexadecimal number, the byte at the highest address
//! first; what the last line lacks is zero.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use accel::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// Why a program has no signature that could be written.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "signature={path}: the program has no signature; it needs the symbols begin_signature and end_signature in an \
         ELF file (-bios or -kernel)"
    )]
    NoSymbols { path: String },
    #[error("the program's signature at {begin:#x}..{end:#x} is not in RAM")]
    Range { begin: u64, end: u64 },
    #[error("cannot write the signature to '{path}'")]
    Write { path: String, source: std::io::Error },
}

/// The signature's range, checked.
pub fn range(symbols: Option<(u64, u64)>, ram: Range<u64>, path: &Path) -> Result<Range<u64>, SignatureError> {
    let (begin, end) = symbols.ok_or_else(|| SignatureError::NoSymbols { path: path.display().to_string() })?;
    if begin > end || begin < ram.start || end > ram.end {
        return Err(SignatureError::Range { begin, end });
    }
    Ok(begin..end)
}

/// Writes the file. `granularity` is the number of bytes in a line.
pub fn write(ram: &GuestRam, range: Range<u64>, granularity: u8, path: &Path) -> Result<(), SignatureError> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = ram.read_slice(&mut bytes, GuestAddress(range.start));
    read.map_err(|_| SignatureError::Range { begin: range.start, end: range.end })?;
    let file = std::fs::write(path, lines(&bytes, usize::from(granularity)));
    file.map_err(|source| SignatureError::Write { path: path.display().to_string(), source })
}

fn lines(bytes: &[u8], granularity: usize) -> String {
    let mut text = String::new();
    for line in bytes.chunks(granularity) {
        text.extend(std::iter::repeat_n("00", granularity - line.len()));
        for byte in line.iter().rev() {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_highest_byte_first() {
        let bytes = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66];
        assert_eq!(lines(&bytes, 4), "44332211\n00006655\n");
        assert_eq!(lines(&bytes, 16), "00000000000000000000665544332211\n");
        assert_eq!(lines(&[], 4), "");
    }

    #[test]
    fn a_signature_has_to_be_in_ram() {
        let ram = 0x8000_0000..0x8010_0000;
        let range = |symbols| range(symbols, ram.clone(), Path::new("sig"));
        assert_eq!(range(Some((0x8000_1000, 0x8000_2000))).unwrap(), 0x8000_1000..0x8000_2000);
        assert_eq!(range(Some((0x8010_0000, 0x8010_0000))).unwrap(), 0x8010_0000..0x8010_0000);
        for (begin, end) in [(0x8000_2000, 0x8000_1000), (0x8000_0000, 0x8010_0001), (0, 8)] {
            assert!(range(Some((begin, end))).unwrap_err().to_string().contains("not in RAM"));
        }
        assert!(range(None).unwrap_err().to_string().starts_with("signature=sig: the program has no signature"));
    }
}
