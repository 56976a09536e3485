use super::*;
use crate::fdt::Node;
use crate::load::FileProblem;
use crate::machine_tree::Chosen;
use std::path::Path;
use vm_memory::GuestMemoryMmap;

const BASE: u64 = 0x8000_0000;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// A file of `len` bytes, of which `image_size` in memory, that wants to be at `text_offset`.
fn image(len: usize, text_offset: u64, image_size: u64) -> Vec<u8> {
    let mut file = vec![0x5a; len];
    file[..64].fill(0);
    file[8..16].copy_from_slice(&text_offset.to_le_bytes());
    file[16..24].copy_from_slice(&image_size.to_le_bytes());
    file[56..60].copy_from_slice(b"RSC\x05");
    file
}

fn elf(entry: u64, segments: &[(u64, u64, &[u8], u64)]) -> Vec<u8> {
    crate::load::elf_file(entry, segments)
}

fn request(ram_mib: u64, bios: Bios, kernel: Option<&Path>) -> BootRequest {
    BootRequest {
        ram: BASE..BASE + ram_mib * MIB,
        bios,
        kernel: kernel.map(|path| KernelSource::File(path.into())),
        initrd: None,
        flash: None,
        symbols: false,
    }
}

fn plan(request: &BootRequest) -> Result<BootPlan, BootError> {
    BootPlan::new(request, &mut |initrd, _| {
        let mut tree = DeviceTree { root: Node::new(""), ..Default::default() };
        let chosen = Chosen { initrd, rng_seed: Some([1; 32]), ..Default::default() };
        chosen.apply(&mut tree);
        Ok(tree)
    })
}

fn with_initrd(mut request: BootRequest, initrd: &Path) -> BootRequest {
    request.initrd = Some(initrd.into());
    request
}

/// Every range of the plan, checked not to overlap.
fn ranges(plan: &BootPlan) -> Vec<Range<u64>> {
    let mut all: Vec<_> = plan.writes.iter().map(|w| w.address..w.address + w.data.len() + w.zeros).collect();
    all.push(plan.fdt_address..plan.fdt_address + plan.dtb.len() as u64);
    all.sort_by_key(|r| r.start);
    all.windows(2).for_each(|pair| assert!(pair[0].end <= pair[1].start, "{all:x?}"));
    all
}

fn rom_long(plan: &BootPlan, at: usize) -> u64 {
    u64::from_le_bytes(plan.rom.as_ref().unwrap()[at..at + 8].try_into().unwrap())
}

#[test]
fn builtin_sbi_enters_the_kernel_in_s_mode() {
    let files = Files::new();
    let kernel = files.file("Image", &image(1000, 0x20_0000, 8 * MIB));
    let initrd = files.file("initrd", &[7; 5000]);
    let plan = plan(&with_initrd(request(128, Bios::Builtin, Some(&kernel)), &initrd)).unwrap();
    assert_eq!((plan.mode, plan.pc), (BootMode::Supervisor, BASE + 2 * MIB));
    assert_eq!(plan.fdt_address, BASE + 126 * MIB);
    assert_eq!(plan.registers(0), EntryRegisters { pc: BASE + 2 * MIB, a0: 0, a1: BASE + 126 * MIB, a2: 0 });
    assert_eq!(plan.initrd, Some(BASE + 66 * MIB..BASE + 66 * MIB + 5000));
    assert_eq!(plan.rom, None);
    ranges(&plan);
    let tree = DeviceTree::parse(&plan.dtb).unwrap();
    let start = tree.root.find("chosen").unwrap().cells("linux,initrd-start");
    assert_eq!(start, Some(vec![0, (BASE + 66 * MIB) as u32]));
}

#[test]
fn text_offset_and_raw_kernels() {
    let files = Files::new();
    let at = |bytes: &[u8]| plan(&request(128, Bios::Builtin, Some(&files.file("k", bytes)))).unwrap().pc;
    assert_eq!(at(&image(100, 0x40_0000, 0)), BASE + 4 * MIB);
    assert_eq!(at(&image(100, 0, 0)), BASE + 2 * MIB);
    assert_eq!(at(&[0x13; 100]), BASE + 2 * MIB);
    let low = BASE + 8 * MIB;
    assert_eq!(at(&elf(low + 2, &[(low, low, b"code", 8)])), low, "the lowest address, not the entry point");
}

#[test]
fn an_initrd_moves_out_of_the_kernels_way() {
    let files = Files::new();
    // QEMU's place, half of the RAM behind the kernel's start, is inside the kernel's bss.
    let kernel = files.file("Image", &image(1000, 0x20_0000, 70 * MIB));
    let initrd = files.file("initrd", &[7; 3 << 20]);
    let plan = plan(&with_initrd(request(128, Bios::Builtin, Some(&kernel)), &initrd)).unwrap();
    let range = plan.initrd.clone().unwrap();
    assert!(range.start >= BASE + 72 * MIB && range.end <= plan.fdt_address, "{range:x?}");
    ranges(&plan);
}

#[test]
fn an_initrd_that_just_fits_is_placed() {
    let files = Files::new();
    let kernel = files.file("Image", &image(1000, 0x20_0000, 2 * MIB));
    let exact = files.file("exact", &vec![7; 2 << 20]);
    let over = files.file("over", &vec![7; (2 << 20) + 1]);
    let fits = plan(&with_initrd(request(8, Bios::Builtin, Some(&kernel)), &exact)).unwrap();
    assert_eq!(fits.initrd, Some(BASE + 4 * MIB..BASE + 6 * MIB));
    let error = plan(&with_initrd(request(8, Bios::Builtin, Some(&kernel)), &over)).unwrap_err();
    assert!(matches!(error, BootError::TooSmall { ram_mib: 8, need_mib: 10, size: 0x20_0001, .. }), "{error:?}");
    let again = plan(&with_initrd(request(10, Bios::Builtin, Some(&kernel)), &over));
    assert!(again.is_ok(), "the RAM size that the message names is enough: {again:?}");
}

#[test]
fn ram_too_small_names_what_is_needed() {
    let files = Files::new();
    let kernel = files.file("Image", &image(1000, 0x20_0000, 6 * MIB));
    for ram in [1, 2, 4, 7, 8] {
        let error = plan(&request(ram, Bios::Builtin, Some(&kernel))).unwrap_err();
        assert!(matches!(error, BootError::TooSmall { need_mib: 10, .. }), "{ram}: {error}");
    }
    plan(&request(10, Bios::Builtin, Some(&kernel))).unwrap();
}

#[test]
fn elf_outside_ram_and_overlaps() {
    let files = Files::new();
    let outside = files.file("a", &elf(0, &[(0x1000, 0x1000, b"code", 4)]));
    let error = plan(&request(16, Bios::Builtin, Some(&outside))).unwrap_err();
    assert!(matches!(error, BootError::Outside { start: 0x1000, end: 0x1004, .. }), "{error}");
    let twice = files.file("b", &elf(0, &[(BASE, 0, b"code", 4), (BASE + 3, 0, b"more", 4)]));
    let error = plan(&request(16, Bios::None, Some(&twice))).unwrap_err();
    assert!(matches!(error, BootError::Overlap { .. }), "{error}");
    let bios = files.file("bios", &[1; 100]);
    let low = files.file("c", &elf(BASE, &[(BASE, BASE, b"code", 4)]));
    let error = plan(&request(16, Bios::File(bios), Some(&low))).unwrap_err().to_string();
    assert!(error.contains("kernel") && error.contains("firmware"), "{error}");
}

#[test]
fn firmware_gets_the_reset_vector_and_fw_dynamic() {
    let files = Files::new();
    let bios = files.file("fw.bin", &[1; 270_000]);
    let kernel = files.file("Image", &image(1000, 0x40_0000, 8 * MIB));
    let with_kernel = plan(&request(128, Bios::File(bios.clone()), Some(&kernel))).unwrap();
    assert_eq!((with_kernel.mode, with_kernel.pc), (BootMode::Machine, 0x1000));
    assert_eq!(with_kernel.registers(3), EntryRegisters { pc: 0x1000, a0: 0, a1: 0, a2: 0 });
    assert_eq!((rom_long(&with_kernel, 0x18), rom_long(&with_kernel, 0x20)), (BASE, BASE + 126 * MIB));
    assert_eq!(rom_long(&with_kernel, 0x28 + 16), BASE + 2 * MIB, "behind the firmware, whatever the header says");
    let alone = plan(&request(128, Bios::File(bios.clone()), None)).unwrap();
    assert_eq!(rom_long(&alone, 0x28 + 16), 0);
    let flash = BootRequest { flash: Some(0x2000_0000), ..request(128, Bios::File(bios), None) };
    assert_eq!(rom_long(&plan(&flash).unwrap(), 0x28 + 16), 0x2000_0000);

    let entry = BASE + 0x10;
    let elf = files.file("fw.elf", &elf(entry, &[(BASE, BASE, &[2; 64], 3 * MIB)]));
    let plan = plan(&request(128, Bios::File(elf), Some(&kernel))).unwrap();
    assert_eq!(rom_long(&plan, 0x18), entry);
    assert_eq!(rom_long(&plan, 0x28 + 16), BASE + 4 * MIB, "behind the firmware's bss");
}

/// OpenSBI's ELF files are linked at 0 and move themselves.
#[test]
fn position_independent_firmware_goes_to_ram() {
    let files = Files::new();
    let mut pie = elf(4, &[(0, 0, b"fw_start", 8), (0x1000, 0x1000, b"data", 0x1000)]);
    pie[16] = 3; // ET_DYN
    let plan = plan(&request(16, Bios::File(files.file("fw.elf", &pie)), None)).unwrap();
    assert_eq!(rom_long(&plan, 0x18), BASE + 4);
    assert_eq!(plan.writes.iter().map(|w| w.address).collect::<Vec<_>>(), [BASE, BASE + 0x1000]);
}

#[test]
fn bios_none_runs_the_kernel_in_m_mode() {
    let files = Files::new();
    let raw = files.file("raw", &[0x13; 64]);
    let with_raw = plan(&request(16, Bios::None, Some(&raw))).unwrap();
    assert_eq!((with_raw.mode, rom_long(&with_raw, 0x18)), (BootMode::Machine, BASE));
    assert_eq!((with_raw.writes[0].address, rom_long(&with_raw, 0x28 + 16)), (BASE, 0));
    let elf = files.file("elf", &elf(BASE + 6, &[(BASE, BASE, b"rodatacode", 10)]));
    assert_eq!(rom_long(&plan(&request(16, Bios::None, Some(&elf))).unwrap(), 0x18), BASE + 6);
    let flash = BootRequest { flash: Some(0x2000_0000), ..request(16, Bios::None, None) };
    assert_eq!(rom_long(&plan(&flash).unwrap(), 0x18), 0x2000_0000);
}

#[test]
fn impossible_requests() {
    let files = Files::new();
    let initrd = files.file("initrd", b"x");
    let orphan = with_initrd(request(16, Bios::None, None), &initrd);
    assert!(matches!(plan(&orphan), Err(BootError::InitrdWithoutKernel)));
    assert!(matches!(plan(&request(16, Bios::None, None)), Err(BootError::NothingToRun)));
    assert!(matches!(plan(&request(16, Bios::Builtin, None)), Err(BootError::NothingToRun)));
    let kernel = files.file("k", b"code");
    let both = BootRequest { flash: Some(0x2000_0000), ..request(16, Bios::Builtin, Some(&kernel)) };
    assert!(matches!(plan(&both), Err(BootError::KernelAndFlash)));
    let missing = files.0.path().join("missing");
    let error = plan(&request(16, Bios::Builtin, Some(&missing))).unwrap_err();
    assert!(matches!(error, BootError::File { source: FileProblem::Open(_), .. }));
    assert!(error.to_string().contains("missing"));
    let error = plan(&with_initrd(request(16, Bios::Builtin, Some(&kernel)), &missing)).unwrap_err();
    assert!(error.to_string().contains("initrd"), "{error}");
}

#[test]
fn loading_fills_ram_and_can_be_repeated() {
    let files = Files::new();
    let kernel = files.file("elf", &elf(BASE, &[(BASE, BASE, b"code", 10_000)]));
    let initrd = files.file("initrd", &[7; 5000]);
    let request = with_initrd(request(16, Bios::None, Some(&kernel)), &initrd);
    let mut plan = plan(&request).unwrap();
    let ram: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), 16 << 20)]).unwrap();
    let read = |address: u64, len: usize| {
        let mut bytes = vec![0; len];
        ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    };
    for seed in [[3; 32], [4; 32]] {
        ram.write_slice(&[0xff; 10_001], GuestAddress(BASE)).unwrap();
        plan.reseed(seed).unwrap();
        plan.load(&ram).unwrap();
        assert_eq!(read(BASE, 4), b"code");
        assert!(read(BASE + 4, 9996).iter().all(|b| *b == 0), "bss is cleared again");
        assert_eq!(read(BASE + 10_000, 1), [0xff]);
        assert_eq!(read(plan.initrd.clone().unwrap().start, 5000), [7; 5000]);
        let tree = DeviceTree::parse(&read(plan.fdt_address, plan.dtb.len())).unwrap();
        assert_eq!(tree.root.find("chosen").unwrap().property("rng-seed"), Some(&seed[..]));
    }
    let small: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), 1 << 20)]).unwrap();
    assert!(plan.load(&small).is_err());
}

#[test]
fn ram_that_does_not_end_on_2_mib() {
    let files = Files::new();
    let kernel = files.file("k", b"code");
    let mut request = request(16, Bios::Builtin, Some(&kernel));
    request.ram.end -= 0x1000;
    let plan = plan(&request).unwrap();
    assert_eq!(plan.fdt_address, BASE + 14 * MIB);
    assert!(ranges(&plan).iter().all(|r| r.end <= request.ram.end));
}
