//! An extension that is off traps: for every extension, each instruction and CSR that a hart loses with it raises an
//! illegal-instruction exception in M-mode, and the device tree tells of the extension when it is on and only then.

mod guest;

use accel::tcg::TcgOptions;
use accel::testing::Rng;
use arch::ext::{EXTENSIONS, Ext, ExtSet, IsaConfig};
use arch::isa::{Decoder, rows};
use guest::*;

const HANDLER: u64 = RAM + 0x9000;
/// Where the handler notes the cause of the trap in each slot.
const CAUSES: u64 = RAM + 0x10_0000;
/// Every word stands at the start of one.
const SLOT: u64 = 8;

fn all() -> IsaConfig {
    arch::model::find("max").expect("a model that the program has").config()
}

/// The same hart without `ext` and what cannot be without it.
fn without(ext: Ext) -> IsaConfig {
    let on = all();
    let needs_it = |other: &Ext| ExtSet::of(&[*other]).closure().contains(ext);
    let mut exts: ExtSet = on.exts.iter().filter(|other| !needs_it(other)).collect();
    if ext == Ext::Zcd {
        // C and D together are Zcd.
        exts.remove(Ext::C);
    }
    let isa = IsaConfig { exts: exts.closure(), ..on };
    assert!(!isa.has(ext), "{ext:?}");
    isa
}

/// A word of row `index` that a hart with everything decodes to it.
fn word_of(index: usize, decoder: &Decoder) -> Option<u32> {
    let row = &rows()[index];
    let mut random = Rng::new(0);
    for _ in 0..10_000 {
        // Operands, and bits that may be anything.
        let free = !row.pattern.mask & if row.pattern.len == 2 { 0xffff } else { u32::MAX };
        let word = row.pattern.bits | random.next() as u32 & free;
        if decoder.decode(word).is_some_and(|insn| std::ptr::eq(insn.row(), row)) {
            return Some(word);
        }
    }
    None
}

/// Words that have to be illegal without `ext`, with the names of what they are.
fn lost(ext: Ext, off: &IsaConfig) -> Vec<(u32, &'static str)> {
    let on = all();
    let (with, bare) = (Decoder::new(&on), Decoder::new(off));
    let mut words = Vec::new();
    for (index, row) in rows().iter().enumerate().filter(|(_, row)| row.available(&on) && !row.available(off)) {
        let word = word_of(index, &with).unwrap_or_else(|| panic!("no word of {}", row.mnemonic));
        match bare.decode(word) {
            None => words.push((word, row.mnemonic)),
            // What a hint or a may-be-operation is to a hart that does not know it.
            Some(other) => assert!(other.row().available(off), "{} without {ext:?}", row.mnemonic),
        }
    }
    for csr in arch::csr::all().iter().filter(|csr| csr.available(&on) && !csr.available(off)) {
        if off.has(Ext::Zicsr) {
            words.push((word(Op::Csrrs, 5, 0, 0, i32::from(csr.number)), csr.name));
        }
    }
    words
}

/// Notes the cause, and goes on behind the slot.
fn handler(g: &Guest) {
    let mut a = Asm::at(HANDLER);
    a.csrr(5, arch::csr::MEPC).li(6, !(SLOT - 1)).r(Op::And, 5, 5, 6);
    a.csrr(7, arch::csr::MCAUSE).li(6, CAUSES - CODE).r(Op::Add, 6, 6, 5).s(Op::Sd, 7, 6, 0);
    a.i(Op::Addi, 5, 5, SLOT as i32).csrw(arch::csr::MEPC, 5).plain(Op::Mret);
    g.load(&a);
}

/// Runs the words and names those that did not trap as illegal.
fn not_illegal(options: TcgOptions, isa: &IsaConfig, words: &[(u32, &'static str)]) -> Vec<String> {
    let mut g = Guest::with_isa(options, 1, isa.clone());
    g.stop_code(STOP);
    handler(&g);
    let mut a = Asm::at(CODE);
    for (word, _) in words {
        a.word(*word);
        if word & 3 == 3 {
            a.nop();
        } else {
            // Half of the word is the instruction; the other is `c.nop`, or nothing without C.
            a.code.truncate(a.code.len() - 2);
            a.half(1).nop();
        }
    }
    a.j(0, STOP);
    g.load(&a);
    let mut start = g.machine(0, CODE, HANDLER);
    start.csr.mstatus |= arch::csr::mstatus::FS | arch::csr::mstatus::VS;
    g.run(&start);
    let cause = |slot: usize| g.read64(CAUSES + slot as u64 * SLOT);
    let wrong = words.iter().enumerate().filter(|(slot, _)| cause(*slot) != ILLEGAL);
    wrong.map(|(slot, (word, name))| format!("{name} ({word:#x}): cause {}", cause(slot))).collect()
}

#[test]
fn what_an_extension_brings_is_illegal_without_it() {
    let modes = [TcgOptions::default(), TcgOptions { jit: false, ..TcgOptions::default() }];
    for ext in EXTENSIONS.iter().map(|row| row.ext).filter(|ext| all().has(*ext) && *ext != Ext::I) {
        let off = without(ext);
        let words = lost(ext, &off);
        if !off.has(Ext::Zicsr) {
            // No way to handle traps: only what the decoder says.
            continue;
        }
        for options in &modes {
            let wrong = not_illegal(options.clone(), &off, &words);
            assert!(wrong.is_empty(), "without {} (jit {}): {wrong:#?}", ext.name(), options.jit);
        }
    }
}

#[test]
fn the_device_tree_tells_what_is_on() {
    let on = all();
    for ext in EXTENSIONS.iter().map(|row| row.ext).filter(|ext| !matches!(ext, Ext::S | Ext::U | Ext::I)) {
        let listed = |isa: &IsaConfig| isa.isa_extensions().contains(&ext.name());
        assert_eq!(listed(&on), on.has(ext), "{ext:?}");
        if on.has(ext) {
            let off = without(ext);
            assert!(!listed(&off), "{ext:?}");
            if ext.name().len() == 1 {
                let bit = 1 << (ext.name().as_bytes()[0] - b'a');
                assert_eq!((on.misa() & bit != 0, off.misa() & bit != 0), (true, false), "{ext:?}");
            }
        }
    }
}
