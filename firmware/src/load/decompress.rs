//! Compressed kernels: `Image.gz`, and EFI "zboot" images, which are a small EFI program around a compressed
//! `Image` (Linux `drivers/firmware/efi/libstub/zboot-header.S`).

use std::io::{self, Read};

use super::{Data, FileProblem};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is packed in a file, and how.
enum Packed {
    Gzip(Data),
    Zstd(Data),
}

fn is_zboot(head: &[u8]) -> bool {
    head.starts_with(b"MZ") && head.get(4..8) == Some(b"zimg")
}

/// The payload of a zboot image: offset and size are at 8 and 12, the compression's name is at 24.
fn zboot_payload(data: &Data, head: &[u8]) -> Result<Packed, FileProblem> {
    let truncated = |what, needed| FileProblem::Truncated { what, needed, len: data.len() };
    let header = head.get(..64).ok_or(truncated("the zboot header", 64))?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (offset, size) = (u64::from(word(8)), u64::from(word(12)));
    let payload = data.slice(offset, size).ok_or(truncated("the zboot payload", offset + size))?;
    let name = header[24..56].split(|b| *b == 0).next().unwrap_or_default();
    match name {
        b"gzip" => Ok(Packed::Gzip(payload)),
        b"zstd" | b"zstd22" => Ok(Packed::Zstd(payload)),
        _ => Err(FileProblem::Compression { format: String::from_utf8_lossy(name).into_owned() }),
    }
}

fn packed(data: &Data) -> Result<Option<Packed>, FileProblem> {
    let head = data.head()?;
    if is_zboot(&head) {
        return zboot_payload(data, &head).map(Some);
    }
    if head.starts_with(&GZIP_MAGIC) {
        return Ok(Some(Packed::Gzip(data.clone())));
    }
    Ok(head.starts_with(&ZSTD_MAGIC).then(|| Packed::Zstd(data.clone())))
}

/// Whether [`unpack`] would do something.
pub fn is_packed(data: &Data) -> Result<bool, FileProblem> {
    packed(data).map(|packed| packed.is_some())
}

/// Unpacks a compressed kernel to at most `max_len` bytes; `None` if it is not compressed.
pub fn unpack(data: &Data, max_len: u64) -> Result<Option<Data>, FileProblem> {
    let Some(packed) = packed(data)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let (format, result) = match packed {
        Packed::Gzip(payload) => {
            ("gzip", read_all(flate2::read::GzDecoder::new(payload.reader()), max_len, &mut bytes))
        }
        Packed::Zstd(payload) => ("zstd", unzstd(payload, max_len, &mut bytes)),
    };
    result.map_err(|source| FileProblem::Compressed { format, source })?;
    let len = bytes.len() as u64;
    if len > max_len {
        return Err(FileProblem::TooLong { len, max: max_len });
    }
    Ok(Some(bytes.into()))
}

fn unzstd(payload: Data, max_len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let source = io::BufReader::new(payload.reader());
    let decoder = ruzstd::decoding::StreamingDecoder::new(source).map_err(io::Error::other)?;
    read_all(decoder, max_len, bytes)
}

/// Reads one byte more than is allowed, so that the caller can tell.
fn read_all(source: impl Read, max_len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    source.take(max_len.saturating_add(1)).read_to_end(bytes).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Kernel;
    use std::io::Write;

    const MAX: u64 = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn zboot(name: &str, payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 512];
        file[..8].copy_from_slice(b"MZ\0\0zimg");
        file[8..12].copy_from_slice(&512u32.to_le_bytes());
        file[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        file[24..24 + name.len()].copy_from_slice(name.as_bytes());
        [&file, payload, b"padding"].concat()
    }

    fn raw_of(bytes: Vec<u8>) -> Vec<u8> {
        match Kernel::recognise(bytes.into(), MAX) {
            Ok(Kernel::Raw { data }) => data.to_vec().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn problem(bytes: Vec<u8>) -> FileProblem {
        Kernel::recognise(bytes.into(), MAX).unwrap_err()
    }

    #[test]
    fn packed_kernels_come_out_whole() {
        let text: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        assert_eq!(raw_of(gzip(&text)), text);
        assert_eq!(raw_of(zstd(&text)), text);
        assert_eq!(raw_of(zboot("gzip", &gzip(&text))), text);
        assert_eq!(raw_of(zboot("zstd", &zstd(&text))), text);
    }

    #[test]
    fn broken_packages_are_told_apart() {
        let good = gzip(&[5; 5000]);
        assert!(matches!(problem(good[..good.len() - 9].to_vec()), FileProblem::Compressed { format: "gzip", .. }));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(problem(flipped), FileProblem::Compressed { format: "gzip", .. }), "the length is checked");
        let packed = zstd(&[5; 5000]);
        assert!(matches!(problem(packed[..packed.len() - 1].to_vec()), FileProblem::Compressed { format: "zstd", .. }));
        assert!(matches!(problem(zboot("xz", b"xx")), FileProblem::Compression { format } if format == "xz"));
        let whole = zboot("gzip", &good);
        assert!(matches!(problem(whole[..530].to_vec()), FileProblem::Truncated { .. }));
        assert!(matches!(problem(whole[..20].to_vec()), FileProblem::Truncated { .. }));
        assert!(matches!(problem(gzip(&good)), FileProblem::CompressedTwice));
        assert!(matches!(problem(gzip(b"")), FileProblem::Empty));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        assert!(matches!(problem(gzip(&vec![0; 2 << 20])), FileProblem::TooLong { max: MAX, .. }));
        assert_eq!(raw_of(gzip(&vec![7; MAX as usize])).len() as u64, MAX);
    }
}
