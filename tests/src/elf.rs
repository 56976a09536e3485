//! Small ELF executables for riscv64: one segment that is loaded where it runs, and a symbol table.

/// A program at `base`, entered at its first byte; `symbols` are names and addresses.
pub fn program(base: u64, bytes: &[u8], symbols: &[(&str, u64)]) -> Vec<u8> {
    file(base, bytes, bytes.len() as u64, symbols)
}

/// The symbols alone of a program of `size` bytes at `base`.
pub fn symbol_file(base: u64, size: u64, symbols: &[(&str, u64)]) -> Vec<u8> {
    file(base, &[], size, symbols)
}

fn file(base: u64, bytes: &[u8], size: u64, symbols: &[(&str, u64)]) -> Vec<u8> {
    let mut names = vec![0];
    // The first symbol is nobody's.
    let mut table = vec![0; 24];
    for (name, address) in symbols {
        table.extend((names.len() as u32).to_le_bytes());
        // Global, without a type; of the program's section, or absolute.
        table.extend([0x10, 0]);
        let inside = (base..base + size).contains(address);
        table.extend(if inside { 3u16 } else { 0xfff1 }.to_le_bytes());
        table.extend(address.to_le_bytes());
        table.extend(0u64.to_le_bytes());
        names.extend(name.bytes().chain([0]));
    }
    // Some loaders know the sections by their names alone.
    let symtab_name = names.len() as u32;
    names.extend(b".symtab\0");
    let strtab_name = names.len() as u32;
    names.extend(b".strtab\0");
    let text_name = names.len() as u32;
    names.extend(b".text\0");
    const HEADER: u64 = 64;
    const SEGMENT: u64 = 56;
    let code = HEADER + SEGMENT;
    let symtab = code + bytes.len() as u64;
    let strtab = symtab + table.len() as u64;
    let sections = strtab + names.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Executable, RISC-V.
    [2u16, 243].iter().for_each(|v| file.extend(v.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    [base, HEADER, sections].iter().for_each(|v| file.extend(v.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    [64u16, 56, 1, 64, 4, 2].iter().for_each(|v| file.extend(v.to_le_bytes()));
    // The segment: readable, writable, executable.
    [1u32, 7].iter().for_each(|v| file.extend(v.to_le_bytes()));
    let len = bytes.len() as u64;
    [code, base, base, len, size, 0x1000].iter().for_each(|v| file.extend(v.to_le_bytes()));
    file.extend(bytes);
    file.extend(table);
    file.extend(&names);
    file.extend([0; 64]);
    let mut section =
        |name: u32, kind: u32, [flags, address]: [u64; 2], offset, size, [link, info]: [u32; 2], entry| {
            [name, kind].iter().for_each(|v| file.extend(v.to_le_bytes()));
            [flags, address, offset, size].iter().for_each(|v: &u64| file.extend(v.to_le_bytes()));
            [link, info].iter().for_each(|v| file.extend(v.to_le_bytes()));
            [1u64, entry].iter().for_each(|v| file.extend(v.to_le_bytes()));
        };
    section(symtab_name, 2, [0, 0], symtab, strtab - symtab, [2, 1], 24);
    section(strtab_name, 3, [0, 0], strtab, sections - strtab, [0, 0], 0);
    // Allocated and executable; with contents, or without.
    section(text_name, if bytes.is_empty() { 8 } else { 1 }, [6, base], code, size, [0, 0], 0);
    file
}
