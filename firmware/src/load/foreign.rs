//! Files that are certainly not what a RISC-V hart runs, with a word on what to do instead.

use super::FileProblem;

/// Refuses the formats it knows by their first bytes.
pub fn refuse(head: &[u8]) -> Result<(), FileProblem> {
    match recognise(head) {
        Some(what) => Err(FileProblem::Foreign { what }),
        None => Ok(()),
    }
}

fn recognise(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let rows: &[(usize, &[u8], &str)] = &[
        (0, b"\x27\x05\x19\x56", "a U-Boot image (uImage); unpack the kernel in it with 'dumpimage'"),
        (0, b"\xd0\x0d\xfe\xed", "a device tree or a U-Boot FIT image, not a kernel"),
        (0x38, b"ARM\x64", "a kernel for 64-bit Arm"),
        (0x202, b"HdrS", "a kernel for x86"),
        (0, b"MZ", "an EFI program without a RISC-V kernel header; it needs UEFI firmware to run"),
        (0, b"\xfd7zXZ\0", "compressed with xz; unpack it first"),
        (0, b"BZh", "compressed with bzip2; unpack it first"),
        (0, b"\x02\x21\x4c\x18", "compressed with lz4; unpack it first"),
        (0, b"070701", "a cpio archive, such as an initrd"),
        (0, b"!<arch>\n", "an archive"),
        (0, b"#!", "a script"),
        (0, b"QFI\xfb", "a qcow2 disk image"),
    ];
    rows.iter().find(|(offset, magic, _)| at(*offset, magic)).map(|(_, _, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_and_what_is_not() {
        assert!(recognise(b"\x27\x05\x19\x56rest").unwrap().contains("uImage"));
        assert!(recognise(b"MZ\x90\0").unwrap().contains("EFI"));
        let mut arm = vec![0; 64];
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert!(recognise(&arm).unwrap().contains("Arm"));
        arm[..2].copy_from_slice(b"MZ");
        assert!(recognise(&arm).unwrap().contains("Arm"), "its EFI stub does not hide it");
        assert_eq!(recognise(b"\x97\x02\0\0"), None);
        assert_eq!(recognise(b"M"), None);
    }
}
