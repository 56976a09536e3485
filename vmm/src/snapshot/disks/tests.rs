use devices::backend::block::{BlockOptions, open_image};

use super::*;

const SIZE: u64 = 3 * CHUNK as u64 + 512;

fn disk(dir: &std::path::Path, id: &str, snapshot: bool) -> Disk {
    let path = dir.join(id);
    std::fs::write(&path, vec![7; SIZE as usize]).unwrap();
    let options = BlockOptions { locking: false, snapshot, ..BlockOptions::default() };
    Disk { id: id.to_owned(), image: open_image(&path, &options).unwrap().1 }
}

fn bytes(disk: &Disk) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    disk.image.read(0, &mut bytes).unwrap();
    bytes
}

fn part(number: u32, kind: u32, start: u64, blocks: u64, rest: &[u8]) -> Section {
    let mut body = Vec::new();
    body.extend(number.to_le_bytes());
    body.extend(kind.to_le_bytes());
    body.extend(start.to_le_bytes());
    body.extend(blocks.to_le_bytes());
    body.extend(rest);
    Section { name: NAME.to_owned(), version: VERSION, body }
}

fn named(disks: &[Disk]) -> Section {
    let mut to = SectionWriter::new(Vec::new());
    write_manifest(&mut to, disks).unwrap();
    let bytes = to.finish().unwrap();
    super::super::format::SectionReader::new(&bytes[..]).next().unwrap().unwrap()
}

/// Zeroes that nobody needs to look at: any length is one section.
#[test]
fn zeroes_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let from = disk(dir.path(), "t", true);
    from.image.zero(0..SIZE).unwrap();
    let mut sections = Vec::new();
    let keep = |_: &str, _, body: &[u8]| {
        sections.push(body.to_vec());
        Ok(())
    };
    Packer::new().unwrap().pack(0, &from, None, &Default::default(), keep).unwrap();
    assert_eq!(sections, [part(0, ZERO, 0, SIZE.div_ceil(BLOCK), &[]).body]);
    let to = [disk(dir.path(), "t", true)];
    let mut unpacker = Unpacker::new(&to, Place::Overlays).unwrap();
    unpacker.take_manifest(&named(&to)).unwrap();
    unpacker.take(&part(0, ZERO, 0, SIZE.div_ceil(BLOCK), &[])).unwrap();
    unpacker.finish().unwrap();
    assert!(bytes(&to[0]).iter().all(|byte| *byte == 0));
}

#[test]
fn parts_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disks = [disk(dir.path(), "d", false), disk(dir.path(), "t", true)];
    let manifest = named(&disks);
    let last = SIZE.div_ceil(BLOCK) - 1;
    let block = vec![1; BLOCK as usize];
    let with_bitmap = |bitmap: u8, blocks: usize| [&[bitmap], &vec![1; blocks * BLOCK as usize][..]].concat();
    let refused = [
        (part(2, PLAIN, 0, 1, &with_bitmap(1, 1)), "there is no disk 2"),
        (part(u32::MAX, PLAIN, 0, 1, &with_bitmap(1, 1)), "there is no disk"),
        (part(1, PLAIN, 0, 0, &[]), "0 blocks at 0"),
        (part(1, PLAIN, last, 2, &with_bitmap(3, 2)), "2 blocks at"),
        (part(1, PLAIN, last + 1, 1, &with_bitmap(1, 1)), "1 blocks at"),
        (part(1, PLAIN, u64::MAX, 1, &with_bitmap(1, 1)), "1 blocks at"),
        (part(1, PLAIN, u64::MAX / BLOCK, 2, &with_bitmap(1, 1)), "2 blocks at"),
        (part(1, ZERO, 1, u64::MAX, &[]), "blocks at 1"),
        (part(1, ZERO, 0, 1, &[0]), "zeroes with bytes"),
        (part(0, ZERO, 0, 1, &[]), "zero or come too late"),
        (part(1, PLAIN, 0, CHUNK_BLOCKS + 1, &block), "513 blocks at once"),
        (part(1, PLAIN, 0, 9, &[1]), "bitmap is cut off"),
        (part(1, PLAIN, 0, 1, &with_bitmap(2, 1)), "blocks that are not there"),
        (part(1, PLAIN, 0, 2, &with_bitmap(3, 1)), "4096 bytes in place of 8192"),
        (part(1, PLAIN, 0, 1, &with_bitmap(1, 2)), "8192 bytes in place of 4096"),
        (part(1, ZSTD, 0, 1, &with_bitmap(1, 1)), "zstd"),
        (part(1, 3, 0, 1, &with_bitmap(1, 1)), "packed in way 3"),
        (Section { name: NAME.to_owned(), version: VERSION, body: vec![0; 23] }, "23 bytes are no part"),
        (Section { version: 2, ..part(1, ZERO, 0, 1, &[]) }, "version 2"),
    ];
    for place in [Place::Nothing, Place::Overlays, Place::Images] {
        for (section, what) in &refused {
            let mut unpacker = Unpacker::new(&disks, place).unwrap();
            assert!(unpacker.take(section).is_err(), "there is no manifest");
            unpacker.take_manifest(&manifest).unwrap();
            let error = unpacker.take(section).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
    // Contents are in order.
    let mut unpacker = Unpacker::new(&disks, Place::Nothing).unwrap();
    unpacker.take_manifest(&manifest).unwrap();
    unpacker.take(&part(0, PLAIN, 5, 2, &with_bitmap(3, 2))).unwrap();
    for start in 0..7 {
        assert!(unpacker.take(&part(0, PLAIN, start, 1, &with_bitmap(1, 1))).is_err(), "{start}");
    }
    unpacker.take(&part(0, PLAIN, 7, 1, &with_bitmap(1, 1))).unwrap();
    unpacker.take(&part(1, PLAIN, 7, 1, &with_bitmap(1, 1))).unwrap();
    unpacker.take(&part(1, PLAIN, 2, 1, &with_bitmap(1, 1))).unwrap();
    assert!(disks.iter().all(|disk| bytes(disk) == vec![7; SIZE as usize]));
    assert!(unpacker.take_manifest(&manifest).is_err(), "it is there twice");
    let twice = [disks[0].clone(), disks[0].clone()];
    let error = Unpacker::new(&disks, Place::Nothing).unwrap().take_manifest(&named(&twice)).unwrap_err();
    assert!(error.to_string().contains("drive 'd' is there twice"), "{error}");
    let lies = Section { body: [&[0x9b][..], &[0xff; 8]].concat(), ..manifest };
    Unpacker::new(&disks, Place::Nothing).unwrap().take_manifest(&lies).unwrap_err();
}

/// Images get what lies between the parts, too, and at the end; and only images.
#[test]
fn gaps_of_contents_are_zero() {
    let dir = tempfile::tempdir().unwrap();
    let one = [&[1][..], &[1; BLOCK as usize]].concat();
    for (place, image, overlay) in [(Place::Overlays, false, true), (Place::Images, true, false)] {
        let disks = [disk(dir.path(), "d", false), disk(dir.path(), "t", true)];
        let mut unpacker = Unpacker::new(&disks, place).unwrap();
        unpacker.take_manifest(&named(&disks)).unwrap();
        assert!(unpacker.has_images());
        for number in 0..2 {
            unpacker.take(&part(number, PLAIN, 3, 1, &one)).unwrap();
            unpacker.take(&part(number, PLAIN, 9, 1, &one)).unwrap();
        }
        unpacker.finish().unwrap();
        let block = |at: u64| (at * BLOCK) as usize..((at + 1) * BLOCK) as usize;
        let (mut contents, mut changes) = (vec![0; SIZE as usize], vec![7; SIZE as usize]);
        for at in [3, 9] {
            contents[block(at)].fill(1);
            changes[block(at)].fill(1);
        }
        let same = vec![7; SIZE as usize];
        // What a gap in contents is, is zero; in changes it is the base image's.
        assert!(bytes(&disks[0]) == *if image { &contents } else { &same });
        assert!(bytes(&disks[1]) == *if overlay { &changes } else { &same });
    }
}
