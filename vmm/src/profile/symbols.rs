//! Names of the guest's code: ELF files, `System.map`, and what a guest's kernel says in `/proc/kallsyms`.
//!
//! The kernel's names are good in kernel mode alone, those of other ELF files everywhere: a program's addresses mean
//! something else to the kernel, but a bare program has no other mode.

use std::fs;
use std::path::Path;

use object::elf::{STT_FUNC, STT_NOTYPE};
use object::{Object, ObjectSegment, ObjectSymbol, SymbolFlags, SymbolSection};

/// Where a symbol is, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Symbol {
    start: u64,
    /// The size that the file gives, 0 if none.
    size: u64,
    /// Of code; others only tell where code ends.
    code: bool,
    name: String,
}

/// One space of names.
#[derive(Debug, Default)]
struct Names(Vec<Symbol>);

impl Names {
    fn add(&mut self, symbols: Vec<Symbol>) {
        self.0.extend(symbols);
        // Of several names of one place the plain one comes last, and counts: the longest are made by compilers.
        self.0.sort_by(|a, b| {
            let rank = |s: &Symbol| (s.start, s.code, std::cmp::Reverse((s.name.starts_with('_'), s.name.len())));
            rank(a).cmp(&rank(b)).then_with(|| b.name.cmp(&a.name))
        });
        self.0.dedup();
    }

    fn find(&self, pc: u64) -> Option<&Symbol> {
        let next = self.0.partition_point(|symbol| symbol.start <= pc);
        let symbol = self.0[..next].last()?;
        let inside = symbol.size == 0 || pc - symbol.start < symbol.size;
        // What a file says of sizes counts, but where nothing else begins: assembly often has none, or a wrong one.
        (symbol.code && (inside || self.0.get(next).is_some_and(|n| n.start - symbol.start < GAP))).then_some(symbol)
    }
}

/// The most bytes that may stand behind a function before the next symbol.
const GAP: u64 = 4096;

/// The names of a guest.
#[derive(Debug, Default)]
pub struct SymbolTable {
    kernel: Names,
    others: Names,
}

impl SymbolTable {
    pub fn is_empty(&self) -> bool {
        self.kernel.0.is_empty() && self.others.0.is_empty()
    }

    /// Symbols of a kernel as an ELF file. `at`: where its `_text` is, if not where the file says.
    ///
    /// # Errors
    /// The file, and why it is none.
    pub fn add_vmlinux(&mut self, path: &Path, at: Option<u64>) -> Result<(), String> {
        let (mut symbols, _) = read_elf(path)?;
        if let Some(at) = at {
            shift(&mut symbols, at).map_err(|why| format!("'{}': {why}", path.display()))?;
        }
        self.kernel.add(symbols);
        Ok(())
    }

    /// `System.map`, or a copy of `/proc/kallsyms`. `at` as for [`add_vmlinux`](Self::add_vmlinux).
    ///
    /// # Errors
    /// The file, and why it is none.
    pub fn add_map(&mut self, path: &Path, at: Option<u64>) -> Result<(), String> {
        let error = |why: String| format!("'{}': {why}", path.display());
        let bytes = fs::read(path).map_err(|e| error(e.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| error("is no list of symbols: it is not text".into()))?;
        let mut symbols = parse_map(text).map_err(error)?;
        if let Some(at) = at {
            shift(&mut symbols, at).map_err(error)?;
        }
        self.kernel.add(symbols);
        Ok(())
    }

    /// Symbols of a program, a library or firmware. `base`: where its first byte is loaded, if not where the file says.
    ///
    /// # Errors
    /// The file, and why it is none.
    pub fn add_elf(&mut self, path: &Path, base: Option<u64>) -> Result<(), String> {
        let (mut symbols, first) = read_elf(path)?;
        if let Some(base) = base {
            symbols.iter_mut().for_each(|s| s.start = s.start.wrapping_sub(first).wrapping_add(base));
        }
        self.others.add(symbols);
        Ok(())
    }

    /// Whatever the file is.
    ///
    /// # Errors
    /// The file, and why it is none.
    pub fn add_any(&mut self, path: &Path) -> Result<(), String> {
        let mut magic = [0; 4];
        let read = fs::File::open(path).and_then(|mut f| std::io::Read::read(&mut f, &mut magic));
        match read.map_err(|e| format!("'{}': {e}", path.display()))? {
            4 if magic == *b"\x7fELF" => self.add_elf(path, None),
            _ => self.add_map(path, None),
        }
    }

    /// The function at `pc` in kernel mode or not, and the distance from its start.
    pub fn find(&self, pc: u64, kernel: bool) -> Option<(&str, u64)> {
        let symbol = self.kernel.find(pc).filter(|_| kernel).or_else(|| self.others.find(pc))?;
        Some((&symbol.name, pc - symbol.start))
    }
}

impl accel::trace::Symbols for SymbolTable {
    fn name(&self, pc: u64) -> Option<String> {
        let (name, distance) = self.find(pc, true)?;
        Some(if distance == 0 { name.to_owned() } else { format!("{name}+{distance:#x}") })
    }
}

/// Moves a kernel's symbols so that its `_text` is at `at`.
fn shift(symbols: &mut [Symbol], at: u64) -> Result<(), String> {
    let text = ["_text", "_stext", "_start"].iter().find_map(|name| symbols.iter().find(|s| s.name == *name));
    let by = at.wrapping_sub(text.ok_or("has no symbol _text, which @ADDRESS is about")?.start);
    symbols.iter_mut().for_each(|s| s.start = s.start.wrapping_add(by));
    Ok(())
}

/// What assemblers mark code and data by, and labels of compilers.
fn is_mark(name: &str) -> bool {
    name.is_empty() || name.starts_with('$') || name.starts_with(".L")
}

/// Symbols, and the address of the first byte that is loaded.
fn read_elf(path: &Path) -> Result<(Vec<Symbol>, u64), String> {
    let error = |why: String| format!("'{}': {why}", path.display());
    let bytes = fs::read(path).map_err(|e| error(e.to_string()))?;
    let file = object::File::parse(&*bytes).map_err(|e| error(format!("is no ELF file: {e}")))?;
    if file.architecture() != object::Architecture::Riscv64 {
        return Err(error("is not for 64-bit RISC-V".into()));
    }
    let mut symbols = Vec::new();
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
        let (kind, Ok(name)) = (st_info.st_type(), symbol.name()) else { continue };
        let SymbolSection::Section(section) = symbol.section() else { continue };
        if is_mark(name) || !matches!(kind, STT_FUNC | STT_NOTYPE) {
            continue;
        }
        // Labels of assembly count where code is.
        let code = kind == STT_FUNC
            || file
                .section_by_index(section)
                .is_ok_and(|s| object::ObjectSection::kind(&s) == object::SectionKind::Text);
        symbols.push(Symbol { start: symbol.address(), size: symbol.size(), code, name: name.to_owned() });
    }
    if !symbols.iter().any(|s| s.code) {
        return Err(error("has no symbols of functions (it was stripped)".into()));
    }
    let first = file.segments().map(|s| s.address()).min().unwrap_or(0) & !0xfff;
    Ok((symbols, first))
}

/// Lines of address, kind, name, and maybe a module in brackets.
fn parse_map(text: &str) -> Result<Vec<Symbol>, String> {
    let mut symbols = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let symbol = parse_line(line).ok_or_else(|| {
            let shown: String = line.chars().take(40).collect();
            format!("line {} is no symbol: '{}'", n + 1, shown.escape_debug())
        })?;
        if !is_mark(&symbol.name) {
            symbols.push(symbol);
        }
    }
    if symbols.is_empty() {
        return Err("has no symbols".into());
    }
    if symbols.iter().all(|s| s.start == 0) {
        return Err("all of its addresses are 0: only root may read them (kernel.kptr_restrict)".into());
    }
    Ok(symbols)
}

fn parse_line(line: &str) -> Option<Symbol> {
    let mut words = line.split_whitespace();
    let start = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next().filter(|kind| kind.len() == 1)?.chars().next()?;
    let name = words.next()?;
    let name = match words.next() {
        Some(module) if module.starts_with('[') && module.ends_with(']') => format!("{name} {module}"),
        Some(_) => return None,
        None => name.to_owned(),
    };
    let code = matches!(kind, 't' | 'T' | 'w' | 'W');
    kind.is_ascii_alphabetic().then_some(Symbol { start, size: 0, code, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> SymbolTable {
        let mut table = SymbolTable::default();
        table.kernel.add(parse_map(text).unwrap());
        table
    }

    #[test]
    fn the_kernels_symbols_are_the_kernels() {
        let t = table(
            "ffffffff80000000 T _text\nffffffff80000000 T _start\nffffffff80001000 t do_idle\n\
             ffffffff80001100 t __pi_memcpy\nffffffff80001100 T memcpy\nffffffff80001180 d table\n\
             ffffffff80002000 t $x\nffffffff01000000 t probe\t[virtio_net]\nffffffff80003000 A _end\n",
        );
        let name = |pc, kernel| t.find(pc, kernel).map(|(name, at)| (name.to_owned(), at));
        assert_eq!(name(0xffff_ffff_8000_1004, true), Some(("do_idle".into(), 4)));
        assert_eq!(name(0xffff_ffff_8000_1104, true), Some(("memcpy".into(), 4)));
        assert_eq!(name(0xffff_ffff_0100_0002, true), Some(("probe [virtio_net]".into(), 2)));
        for (pc, kernel) in [(0xffff_ffff_8000_1004, false), (0xffff_ffff_8000_1180, true), (0x1000, true), (!0, true)]
        {
            assert_eq!(name(pc, kernel), None, "{pc:#x}");
        }
        let mut moved = parse_map("1000 T _text\n1010 t f\n").unwrap();
        shift(&mut moved, 0xf000).unwrap();
        assert_eq!([moved[0].start, moved[1].start], [0xf000, 0xf010]);
        assert!(shift(&mut parse_map("1010 t f\n").unwrap(), 0).is_err());
    }

    #[test]
    fn what_is_no_list_of_symbols_is_said() {
        for (text, error) in [
            ("", "has no symbols"),
            ("\n\n", "has no symbols"),
            ("hello\n", "line 1 is no symbol: 'hello'"),
            ("1000 T a\n1000 TT b\n", "line 2 is no symbol: '1000 TT b'"),
            ("1000 T a b c\n", "line 1 is no symbol: '1000 T a b c'"),
            ("1000 T\n", "line 1 is no symbol: '1000 T'"),
            ("0 T a\n0 t b\n", "all of its addresses are 0: only root may read them (kernel.kptr_restrict)"),
        ] {
            assert_eq!(parse_map(text).unwrap_err(), error, "{text:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let mut table = SymbolTable::default();
        for bytes in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01garbage", b"\xff\xfe\x00", &[0x7f; 4096]] {
            fs::write(&file, bytes).unwrap();
            for error in [table.add_elf(&file, None), table.add_vmlinux(&file, Some(0)), table.add_map(&file, None)] {
                let error = error.unwrap_err();
                assert!(error.starts_with('\'') && error.lines().count() == 1, "{error}");
            }
            assert!(table.add_any(&file).is_err());
        }
        assert!(table.add_elf(&dir.path().join("none"), None).unwrap_err().contains("No such file"));
        assert!(table.is_empty());
        let own = std::env::current_exe().unwrap();
        assert!(
            cfg!(target_arch = "riscv64") || table.add_elf(&own, None).unwrap_err().contains("not for 64-bit RISC-V")
        );
    }
}
