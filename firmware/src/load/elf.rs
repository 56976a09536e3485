//! ELF executables: which bytes go to which physical address, and where execution starts.

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, Sym};

use super::{Data, FileProblem};

/// More program headers than any kernel has; a file that says more is not read further.
const SEGMENTS_MAX: u16 = 1024;

/// A loadable segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Guest physical address.
    pub address: u64,
    /// Where the program was linked to run.
    pub virtual_address: u64,
    pub data: Data,
    /// Bytes of memory: what `data` does not fill is zero.
    pub memory_size: u64,
}

impl Segment {
    /// One past its last byte; does not overflow.
    pub fn end(&self) -> u64 {
        self.address + self.memory_size
    }
}

/// An executable for 64-bit RISC-V.
#[derive(Debug, Clone)]
pub struct ElfImage {
    /// Not empty; in the file's order.
    pub segments: Vec<Segment>,
    /// The lowest and one past the highest physical address.
    pub low: u64,
    pub high: u64,
    /// The physical address of the header's entry point; `None` if no segment holds it.
    pub entry: Option<u64>,
    /// It may be put elsewhere as a whole, and relocates itself (`ET_DYN`; OpenSBI's ELF files are so).
    pub position_independent: bool,
    /// All of it.
    file: Data,
}

pub fn is_elf(head: &[u8]) -> bool {
    head.starts_with(&elf::ELFMAG)
}

fn invalid(reason: impl Into<String>) -> FileProblem {
    FileProblem::Elf { reason: reason.into() }
}

impl ElfImage {
    pub fn parse(data: Data) -> Result<Self, FileProblem> {
        let cache = ReadCache::new(data.reader());
        let header = check_header(&data, &cache)?;
        let endian = LittleEndian;
        let rows = header.program_headers(endian, &cache).map_err(|e| invalid(e.to_string()))?;
        let mut image = Self {
            segments: Vec::new(),
            low: u64::MAX,
            high: 0,
            entry: None,
            position_independent: header.e_type(endian) == elf::ET_DYN,
            file: data.clone(),
        };
        for row in rows {
            if row.p_type(endian) != elf::PT_LOAD || row.p_memsz(endian) == 0 {
                continue;
            }
            let (offset, file_size, memory_size) = (row.p_offset(endian), row.p_filesz(endian), row.p_memsz(endian));
            let (address, virtual_address) = (row.p_paddr(endian), row.p_vaddr(endian));
            if file_size > memory_size {
                return Err(invalid("a segment is larger in the file than in memory"));
            }
            let end = address.checked_add(memory_size);
            let end = end.ok_or_else(|| invalid("a segment wraps around the address space"))?;
            let part = data.slice(offset, file_size).ok_or(FileProblem::Truncated {
                what: "a segment",
                needed: offset.saturating_add(file_size),
                len: data.len(),
            })?;
            // The entry point is a virtual address; kernels are linked high and loaded low.
            let inside = header.e_entry(endian).checked_sub(virtual_address).filter(|off| *off < memory_size);
            image.entry = image.entry.or(inside.map(|off| address + off));
            image.low = image.low.min(address);
            image.high = image.high.max(end);
            image.segments.push(Segment { address, virtual_address, data: part, memory_size });
        }
        if image.segments.is_empty() {
            return Err(invalid("it has nothing to load"));
        }
        Ok(image)
    }

    /// Guest physical addresses of symbols that the file defines, in the order of `names`. A file without a symbol
    /// table defines none.
    pub fn symbols<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], FileProblem> {
        let cache = ReadCache::new(self.file.reader());
        let header = check_header(&self.file, &cache)?;
        let endian = LittleEndian;
        let table = |e: object::read::Error| invalid(format!("its symbol table cannot be read: {e}"));
        let sections = header.sections(endian, &cache).map_err(table)?;
        let symbols = sections.symbols(endian, &cache, elf::SHT_SYMTAB).map_err(table)?;
        let mut found = [None; N];
        for symbol in symbols.iter().filter(|symbol| !symbol.is_undefined(endian)) {
            let name = symbol.name(endian, symbols.strings()).unwrap_or_default();
            if let Some(n) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                found[n] = found[n].or(Some(self.physical(symbol.st_value(endian))));
            }
        }
        Ok(found)
    }

    /// Where a virtual address of the program is loaded. A label may stand right behind a segment's last byte; an
    /// address that no segment has is taken for a physical one.
    fn physical(&self, address: u64) -> u64 {
        let within = |segment: &&Segment, bytes: u64| address.wrapping_sub(segment.virtual_address) < bytes;
        let inside = self.segments.iter().find(|s| within(s, s.memory_size));
        let segment = inside.or_else(|| self.segments.iter().find(|s| within(s, s.memory_size.saturating_add(1))));
        segment.map_or(address, |s| s.address.wrapping_add(address.wrapping_sub(s.virtual_address)))
    }

    /// The same, with its lowest address at `base`; `None` if it would wrap around.
    pub fn moved_to(mut self, base: u64) -> Option<Self> {
        let high = base.checked_add(self.high - self.low)?;
        self.segments.iter_mut().for_each(|segment| segment.address = segment.address - self.low + base);
        self.entry = self.entry.map(|entry| entry - self.low + base);
        (self.low, self.high) = (base, high);
        Some(self)
    }
}

type Cache = ReadCache<super::data::Reader>;

fn check_header<'a>(data: &Data, cache: &'a Cache) -> Result<&'a FileHeader64<LittleEndian>, FileProblem> {
    let head = data.head()?;
    // Class and byte order come first: they say how to read the rest.
    match (head.get(4).copied(), head.get(5).copied()) {
        (Some(class), _) if class == elf::ELFCLASS32.0 => {
            return Err(invalid("it is a 32-bit program, the harts are 64-bit"));
        }
        (_, Some(order)) if order == elf::ELFDATA2MSB.0 => return Err(invalid("it is big endian")),
        _ => {}
    }
    let size = size_of::<FileHeader64<LittleEndian>>() as u64;
    if data.len() < size {
        return Err(FileProblem::Truncated { what: "the ELF header", needed: size, len: data.len() });
    }
    let header = FileHeader64::<LittleEndian>::parse(cache).map_err(|e| invalid(e.to_string()))?;
    let machine = header.e_machine(LittleEndian);
    if machine != elf::EM_RISCV {
        return Err(invalid(format!("it is for machine {}, not RISC-V ({})", machine.0, elf::EM_RISCV.0)));
    }
    let kind = header.e_type(LittleEndian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        return Err(invalid("it is not an executable (an unlinked object, or a core dump)"));
    }
    if header.e_phnum.get(LittleEndian) > SEGMENTS_MAX {
        return Err(invalid(format!("it says it has more than {SEGMENTS_MAX} program headers")));
    }
    Ok(header)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Kernel;

    /// An executable of (physical address, virtual address, bytes, memory size) segments.
    pub(crate) fn elf_file(entry: u64, segments: &[(u64, u64, &[u8], u64)]) -> Vec<u8> {
        let table = 64 + 56 * segments.len();
        let mut file = vec![0; table];
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[16..18].copy_from_slice(&elf::ET_EXEC.0.to_le_bytes());
        file[18..20].copy_from_slice(&elf::EM_RISCV.0.to_le_bytes());
        file[20..24].copy_from_slice(&1u32.to_le_bytes());
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[52..54].copy_from_slice(&64u16.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (i, (physical, virtual_address, bytes, memory_size)) in segments.iter().enumerate() {
            let row = 64 + 56 * i;
            file[row..row + 4].copy_from_slice(&elf::PT_LOAD.0.to_le_bytes());
            let offset = file.len() as u64;
            let fields = [offset, *virtual_address, *physical, bytes.len() as u64, *memory_size];
            for (k, field) in fields.iter().enumerate() {
                file[row + 8 + 8 * k..row + 16 + 8 * k].copy_from_slice(&field.to_le_bytes());
            }
            file.extend_from_slice(bytes);
        }
        file
    }

    fn parse(file: Vec<u8>) -> Result<ElfImage, FileProblem> {
        match Kernel::recognise(file.into(), 1 << 20)? {
            Kernel::Elf(image) => Ok(image),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn segments_go_to_their_physical_addresses() {
        let high = 0xffff_ffff_8000_0000;
        let image =
            parse(elf_file(high + 2, &[(0x8020_1000, high + 0x1000, b"data", 0x100), (0x8020_0000, high, b"code", 4)]))
                .unwrap();
        assert_eq!((image.low, image.high), (0x8020_0000, 0x8020_1100));
        assert_eq!(image.entry, Some(0x8020_0002), "a virtual entry point is translated");
        assert_eq!(image.segments[0].data.to_vec().unwrap(), b"data");
        assert_eq!(image.segments[0].end(), 0x8020_1100);
        assert_eq!(parse(elf_file(0, &[(0x8020_0000, high, b"code", 4)])).unwrap().entry, None);
    }

    #[test]
    fn what_cannot_be_loaded_says_why() {
        let good = elf_file(0x8000_0000, &[(0x8000_0000, 0x8000_0000, b"code", 4)]);
        let message = |file: Vec<u8>| parse(file).unwrap_err().to_string();
        let with = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        assert!(message(with(4, &[1])).contains("32-bit"));
        assert!(message(with(5, &[2])).contains("big endian"));
        assert!(message(with(18, &[0x3e, 0])).contains("machine 62"));
        assert!(message(with(16, &[1, 0])).contains("not an executable"));
        assert!(message(with(56, &[0, 0])).contains("nothing to load"));
        assert!(message(with(56, &[0xff, 0xff])).contains("program headers"));
        assert!(message(with(54, &[55, 0])).contains("program header"));
        assert!(message(good[..good.len() - 1].to_vec()).contains("truncated"));
        assert!(message(good[..40].to_vec()).contains("truncated"));
        assert!(message(elf_file(0, &[(u64::MAX - 2, 0, b"code", 4)])).contains("wraps"));
        assert!(message(elf_file(0, &[(0x8000_0000, 0, b"code", 3)])).contains("larger in the file"));
    }

    #[test]
    fn odd_headers_do_not_panic() {
        let good = elf_file(0x8000_0000, &[(0x8000_0000, 0x8000_0000, b"code", 4), (0x8000_1000, 0, b"", 8)]);
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut file = good.clone();
                file[at] = value;
                let _ = Kernel::recognise(file.into(), 1 << 20);
            }
        }
    }
}
