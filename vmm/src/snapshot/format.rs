//! The container: a header, then sections, each with a name, a version, a length and checksums (CRC-32, IEEE 802.3).
//!
//! All numbers are little-endian.
//!
//! | Header, at | Bytes | What                                                   |
//! |------------|-------|--------------------------------------------------------|
//! | 0          | 8     | [`MAGIC`]                                              |
//! | 8          | 4     | [`FORMAT_VERSION`]                                     |
//! | 12         | 4     | 0                                                      |
//! | 16         | 8     | where the first section is                             |
//! | 24         | 4     | 0                                                      |
//! | 28         | 4     | checksum of the bytes before                           |
//!
//! | Section, at | Bytes | What                                                  |
//! |-------------|-------|-------------------------------------------------------|
//! | 0           | 64    | name in ASCII, then zeros                             |
//! | 64          | 4     | version of the body's layout                          |
//! | 68          | 4     | checksum of the body                                  |
//! | 72          | 8     | length of the body in bytes                           |
//! | 80          | 4     | number of the section, from 0                         |
//! | 84          | 4     | 0                                                     |
//! | 88          | 4     | checksum of the bytes before                          |
//! | 92          | ...   | the body                                              |
//!
//! A snapshot ends with the empty section [`END`]. Sections follow each other without gaps. Between header and first
//! section there may be pages for mapping ([`super::mapped`]), to which a section has the checksums.

use std::io::{Read, Seek, SeekFrom, Write};

use super::error::SnapshotError;

pub const MAGIC: [u8; 8] = *b"VIREOSNP";
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER: usize = 32;
/// Bytes before a section's body.
pub const SECTION_HEADER: usize = 92;
/// The last section.
pub const END: &str = "end";
/// The longest body. What is read needs so much memory at most.
pub const BODY_MAX: u64 = 64 << 20;

const NAME: usize = 64;

/// A section with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub version: u32,
    pub body: Vec<u8>,
}

impl Section {
    /// `Err` unless the layout is `known`.
    pub fn expect_version(&self, known: u32) -> Result<(), SnapshotError> {
        match self.version == known {
            true => Ok(()),
            false => Err(SnapshotError::SectionVersion { name: self.name.clone(), found: self.version, known }),
        }
    }
}

/// The header of a snapshot whose first section is at `sections`.
pub fn header(sections: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&sections.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Where the first section is.
///
/// # Errors
/// These are no bytes of [`header`].
pub fn read_header(from: &mut impl Read) -> Result<u64, SnapshotError> {
    let mut bytes = [0; HEADER];
    from.read_exact(&mut bytes).map_err(SnapshotError::reading("the header"))?;
    let magic = bytes[..8].try_into().expect("eight bytes");
    if magic != MAGIC {
        return Err(SnapshotError::Magic(magic));
    }
    // Before the checksum: it may be elsewhere in other versions.
    let version = word(&bytes, 8);
    if version != FORMAT_VERSION {
        return Err(SnapshotError::FormatVersion(version));
    }
    if crc32fast::hash(&bytes[..28]) != word(&bytes, 28) {
        return Err(SnapshotError::Checksum("the header".into()));
    }
    if word(&bytes, 12) != 0 || word(&bytes, 24) != 0 {
        return Err(SnapshotError::Malformed("the header has bits that mean nothing".into()));
    }
    Ok(long(&bytes, 16))
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes sections one after another.
pub struct SectionWriter<W> {
    to: W,
    number: u32,
    /// Bytes written.
    written: u64,
}

impl<W: Write> SectionWriter<W> {
    /// Behind the header.
    pub fn new(to: W) -> Self {
        Self { to, number: 0, written: 0 }
    }

    /// Bytes of all sections so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What it writes to.
    pub fn inner(&mut self) -> &mut W {
        &mut self.to
    }

    pub fn write(&mut self, name: &str, version: u32, body: &[u8]) -> Result<(), SnapshotError> {
        let most = BODY_MAX;
        if name.len() > NAME || body.len() as u64 > most {
            return Err(SnapshotError::TooLong { name: name.to_owned(), found: body.len() as u64, most });
        }
        let mut head = [0; SECTION_HEADER];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[64..68].copy_from_slice(&version.to_le_bytes());
        head[68..72].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        head[72..80].copy_from_slice(&(body.len() as u64).to_le_bytes());
        head[80..84].copy_from_slice(&self.number.to_le_bytes());
        let sum = crc32fast::hash(&head[..88]);
        head[88..].copy_from_slice(&sum.to_le_bytes());
        self.to.write_all(&head).and_then(|()| self.to.write_all(body)).map_err(SnapshotError::Write)?;
        self.number += 1;
        self.written += (head.len() + body.len()) as u64;
        Ok(())
    }

    /// Writes the last section; what it was written to comes back.
    pub fn finish(mut self) -> Result<W, SnapshotError> {
        self.write(END, 1, &[])?;
        self.to.flush().map_err(SnapshotError::Write)?;
        Ok(self.to)
    }
}

/// What stands before a body.
struct Head {
    name: String,
    version: u32,
    /// Checksum of the body, and its bytes.
    sum: u32,
    len: u64,
}

/// Reads sections one after another.
pub struct SectionReader<R> {
    from: R,
    number: u32,
}

impl<R: Read> SectionReader<R> {
    /// At the first section.
    pub fn new(from: R) -> Self {
        Self { from, number: 0 }
    }

    /// The next section, whose checksums are right; `None` for the last one.
    pub fn next(&mut self) -> Result<Option<Section>, SnapshotError> {
        let head = self.head()?;
        self.body(head)
    }

    fn head(&mut self) -> Result<Head, SnapshotError> {
        let mut head = [0; SECTION_HEADER];
        let number = self.number;
        self.from.read_exact(&mut head).map_err(SnapshotError::reading(format!("section {number}")))?;
        if crc32fast::hash(&head[..88]) != word(&head, 88) {
            return Err(SnapshotError::Checksum(format!("the head of section {number}")));
        }
        let end = head[..NAME].iter().position(|byte| *byte == 0).unwrap_or(NAME);
        let (name, zeros) = head[..NAME].split_at(end);
        let printable = name.iter().all(u8::is_ascii_graphic) && zeros.iter().all(|byte| *byte == 0);
        if !printable || name.is_empty() || word(&head, 84) != 0 {
            return Err(SnapshotError::Malformed(format!("the head of section {number} has no proper name")));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        if word(&head, 80) != number {
            let found = word(&head, 80);
            return Err(SnapshotError::Malformed(format!("section '{name}' has number {found} in place of {number}")));
        }
        let (version, sum, len) = (word(&head, 64), word(&head, 68), long(&head, 72));
        if len > BODY_MAX {
            return Err(SnapshotError::TooLong { name, found: len, most: BODY_MAX });
        }
        self.number += 1;
        Ok(Head { name, version, sum, len })
    }

    fn body(&mut self, Head { name, version, sum, len }: Head) -> Result<Option<Section>, SnapshotError> {
        // Memory grows with what is there, not with what the length says.
        let mut body = Vec::new();
        let read = (&mut self.from).take(len).read_to_end(&mut body).map_err(SnapshotError::Read)?;
        let called = || format!("section '{name}'");
        if read as u64 != len {
            return Err(SnapshotError::Truncated(called()));
        }
        if crc32fast::hash(&body) != sum {
            return Err(SnapshotError::Checksum(called()));
        }
        if name == END {
            return match (version, body.len()) {
                (1, 0) => Ok(None),
                _ => Err(SnapshotError::Malformed(format!("section '{END}' has version {version} and {len} bytes"))),
            };
        }
        Ok(Some(Section { name, version, body }))
    }

    /// The next section with this name; what comes before it is passed over.
    pub fn find(&mut self, name: &str) -> Result<Option<Section>, SnapshotError>
    where
        R: Seek,
    {
        loop {
            let head = self.head()?;
            if head.name == name || head.name == END {
                return self.body(head);
            }
            self.from.seek(SeekFrom::Current(head.len as i64)).map_err(SnapshotError::Read)?;
        }
    }

    /// What it reads from.
    pub fn into_inner(self) -> R {
        self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = SectionWriter::new(header(HEADER as u64).to_vec());
        writer.write("one", 1, b"first body").unwrap();
        writer.write("two", 7, &[]).unwrap();
        writer.write("three", 2, &[0x55; 300]).unwrap();
        writer.finish().unwrap()
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<Section>, SnapshotError> {
        assert_eq!(read_header(&mut bytes)?, HEADER as u64);
        let mut reader = SectionReader::new(bytes);
        let mut sections = Vec::new();
        while let Some(section) = reader.next()? {
            sections.push(section);
        }
        assert!(reader.into_inner().is_empty());
        Ok(sections)
    }

    #[test]
    fn round_trip() {
        let sections = read(&sample()).unwrap();
        let summary: Vec<_> = sections.iter().map(|s| (s.name.as_str(), s.version, s.body.len())).collect();
        assert_eq!(summary, [("one", 1, 10), ("two", 7, 0), ("three", 2, 300)]);
        assert_eq!(sections[0].body, b"first body");
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = sample();
        for len in 0..bytes.len() {
            let error = read(&bytes[..len]).unwrap_err();
            assert!(matches!(error, SnapshotError::Truncated(_)), "{len}: {error}");
        }
    }

    #[test]
    fn every_flip_is_refused() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn sections_do_not_change_places() {
        let mut writer = SectionWriter::new(Vec::new());
        writer.write("one", 1, b"x").unwrap();
        let first = writer.to.len();
        writer.write("two", 1, b"y").unwrap();
        let bytes = writer.to;
        let swapped = [&bytes[first..], &bytes[..first]].concat();
        assert!(matches!(SectionReader::new(&swapped[..]).next(), Err(SnapshotError::Malformed(_))));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        let mut writer = SectionWriter::new(Vec::new());
        writer.write("one", 1, b"x").unwrap();
        let seal = |bytes: &mut [u8], len: u64| {
            bytes[72..80].copy_from_slice(&len.to_le_bytes());
            let sum = crc32fast::hash(&bytes[..88]);
            bytes[88..92].copy_from_slice(&sum.to_le_bytes());
        };
        let mut bytes = writer.to;
        seal(&mut bytes, u64::MAX);
        let error = SectionReader::new(&bytes[..]).next().unwrap_err();
        assert!(matches!(error, SnapshotError::TooLong { .. }), "{error}");
        seal(&mut bytes, BODY_MAX);
        assert!(matches!(SectionReader::new(&bytes[..]).next(), Err(SnapshotError::Truncated(_))));
    }

    #[test]
    fn other_files_and_versions_are_named() {
        let bad = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(bad(&[0x7f; 64]).contains("no snapshot"));
        let mut newer = sample();
        newer[8] = 2;
        assert_eq!(bad(&newer), "its format has version 2, and this program knows version 1 only");
    }
}
