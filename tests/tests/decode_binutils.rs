//! The decoder and the disassembler against binutils: which words are instructions, and the text of each.
//!
//! The reference is `riscv64-linux-gnu-objdump`, or what `VIREO_OBJDUMP` names. An older one does not know every
//! extension; those it refuses are left out and named in the output, except in the test that asks for all of them.
//! Where the two may differ is listed in [`DIFFERENCES`] with the reason; an entry that no longer occurs fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use accel::testing::Rng;
use arch::ext::{Ext, ExtSet, IsaConfig};
use arch::isa::{Decoder, Row, disasm, rows};

/// Words in one run of the disassembler.
const CHUNK: usize = 1 << 18;

/// Random words in a sweep, besides the structured ones.
const RANDOM_WORDS: usize = 1 << 20;

/// Versions of binutils that differ from us.
enum Versions {
    All,
    /// 2.44 still, 2.47 no longer.
    Old,
    /// 2.44 does. Older ones know no shadow stacks, newer ones have not been seen.
    Shadow,
    /// As `Old`, but not yet 2.40.
    Middle,
}

impl Versions {
    /// Whether this one does, where that is known.
    fn include(&self, version: (u32, u32)) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::Old if version <= (2, 44) => Some(true),
            Self::Old if version >= (2, 47) => Some(false),
            Self::Shadow if version == (2, 44) => Some(true),
            Self::Shadow if version < (2, 44) => Some(false),
            Self::Middle if version <= (2, 40) || version >= (2, 47) => Some(false),
            Self::Middle if version == (2, 44) => Some(true),
            Self::Old | Self::Shadow | Self::Middle => None,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Sweep {
    Compressed,
    FullSize,
    SmallerIsa,
}

/// A place where the two may differ.
struct Difference {
    why: &'static str,
    versions: Versions,
    /// The sweep that must meet it.
    sweep: Sweep,
    /// `ours` and `theirs` are empty if the word is no instruction.
    applies: fn(word: u32, ours: &str, theirs: &str) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "reserved fields of a fence have to be ignored, binutils wants them zero",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |word, ours, theirs| {
            let reserved = word & 0x000f_8f80 != 0 || word >> 28 != 0 || ours == "fence.i" && word >> 20 != 0;
            ours.starts_with("fence") && theirs.is_empty() && reserved
        },
    },
    Difference {
        why: "a conversion that is always exact may name any rounding mode, binutils knows only to nearest",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |word, ours, theirs| {
            let exact = ["fcvt.d.w\t", "fcvt.d.wu\t", "fcvt.d.s\t", "fcvt.d.h\t", "fcvt.s.h\t", "fcvt.s.bf16\t"];
            exact.iter().any(|name| ours.starts_with(name)) && theirs.is_empty() && word >> 12 & 7 != 0
        },
    },
    Difference {
        why: "ssrdp to x0 is a may-be-operation still, binutils names it",
        versions: Versions::Shadow,
        sweep: Sweep::FullSize,
        applies: |_, ours, theirs| ours.starts_with("mop.r.28") && theirs == "ssrdp\tzero",
    },
    Difference {
        why: "binutils has no ssamoswap.w for 64-bit harts",
        versions: Versions::Shadow,
        sweep: Sweep::FullSize,
        applies: |_, ours, theirs| ours.starts_with("ssamoswap.w") && theirs.is_empty(),
    },
    Difference {
        why: "withdrawn instructions, and the return from debug mode, which our harts do not have",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |_, ours, theirs| {
            let withdrawn =
                ["uret", "hret", "dret", "sfence.vm"].contains(&theirs) || theirs.starts_with("sfence.vm\t");
            ours.is_empty() && withdrawn
        },
    },
    Difference {
        why: "binutils takes supervisor mode for granted",
        versions: Versions::All,
        sweep: Sweep::SmallerIsa,
        applies: |_, ours, theirs| ours.is_empty() && (theirs == "sret" || theirs.starts_with("sfence.vma\t")),
    },
    Difference {
        why: "AES64KS1I has reserved round numbers above 10",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |word, ours, theirs| ours.is_empty() && theirs.starts_with("aes64ks1i\t") && word >> 20 & 15 > 10,
    },
    Difference {
        why: "MNRET is newer than the reference, which knows the name of its extension",
        versions: Versions::Middle,
        sweep: Sweep::FullSize,
        applies: |_, ours, theirs| ours == "mnret" && theirs.is_empty(),
    },
    Difference {
        why: "a word that writes a read-only register is what the assembler makes of unimp",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |word, _, theirs| word == 0xc000_1073 && theirs == "unimp",
    },
    Difference {
        why: "registers of 32-bit harts and those listed below have no name here",
        versions: Versions::All,
        sweep: Sweep::FullSize,
        applies: |word, ours, theirs| {
            let (our_name, their_name) = (csr_operand(ours), csr_operand(theirs));
            same_but_for_csr(ours, theirs) && our_name == format!("{:#x}", word >> 20) && is_foreign_csr(their_name)
        },
    },
    Difference {
        why: "registers newer than the reference",
        versions: Versions::Old,
        sweep: Sweep::FullSize,
        applies: |word, ours, theirs| {
            same_but_for_csr(ours, theirs) && csr_operand(theirs) == format!("{:#x}", word >> 20)
        },
    },
    Difference {
        why: "c.addi16sp with an immediate of zero is reserved",
        versions: Versions::All,
        sweep: Sweep::Compressed,
        applies: |word, ours, _| ours.is_empty() && word == 0x6101,
    },
    Difference {
        why: "a shift by zero had a name of its own in the 128-bit ISA, which newer binutils dropped",
        versions: Versions::Old,
        sweep: Sweep::Compressed,
        applies: |_, ours, theirs| ours.replace(",0x0", "") == theirs.replace("64\t", "\t"),
    },
];

fn csr_operand(text: &str) -> &str {
    text.split(',').nth(1).unwrap_or_default()
}

fn same_but_for_csr(ours: &str, theirs: &str) -> bool {
    let without = |text: &str| text.replacen(csr_operand(text), "", 1);
    ours.starts_with("csrr") && without(ours) == without(theirs)
}

/// Names that are right to be missing from our table.
fn is_foreign_csr(name: &str) -> bool {
    let upper_half = name.strip_suffix('h').is_some_and(|low| arch::csr::by_name(low).is_some());
    let rv32_pmp = name.strip_prefix("pmpcfg").is_some_and(|number| number.parse().is_ok_and(|n: u32| n % 2 == 1));
    upper_half || rv32_pmp || FOREIGN_CSRS.contains(&name)
}

/// Registers of debug mode, of a withdrawn draft, of Ssqosid and S-mode PMP, which no CPU model has, and the optional one
/// of triggers that ours do without.
const FOREIGN_CSRS: &[&str] =
    &["dcsr", "dpc", "dscratch0", "dscratch1", "mscontext", "tcontrol", "srmcfg", "spmpen", "spmpenh", "mpmpdeleg"];

/// The disassembler under comparison.
struct Objdump {
    path: String,
    version: (u32, u32),
}

impl Objdump {
    fn find() -> Self {
        let path = std::env::var("VIREO_OBJDUMP").unwrap_or_else(|_| "riscv64-linux-gnu-objdump".into());
        let output = Command::new(&path).arg("--version").output().unwrap_or_else(|error| {
            panic!("cannot run '{path}': {error}; install binutils-riscv64-linux-gnu or set VIREO_OBJDUMP")
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let mut numbers = first.rsplit(' ').next().unwrap_or_default().split('.').map(|part| part.parse().ok());
        let version = numbers.next().flatten().zip(numbers.next().flatten());
        Self { path, version: version.unwrap_or_else(|| panic!("no version in '{first}'")) }
    }

    /// The text of each of `words`, at addresses from 0 up; empty for what is no instruction.
    /// `None` if the disassembler does not know the ISA.
    fn disassemble(&self, dir: &Path, arch: &str, words: &[u32]) -> Option<Vec<String>> {
        let file = dir.join("words.o");
        fs::write(&file, object(arch, words)).expect("a temporary file");
        let mut command = Command::new(&self.path);
        let output = command.args(["-M", "no-aliases", "-d", "-z", "--no-show-raw-insn"]).arg(&file).output();
        let output = output.expect("the disassembler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        if !output.stderr.is_empty() {
            return None;
        }
        let text = String::from_utf8(output.stdout).expect("text");
        let lines = text.lines().filter_map(|line| line.trim_start().split_once(":\t"));
        let mut address = 0;
        let texts: Vec<String> = lines
            .zip(words)
            .map(|((at, text), word)| {
                assert_eq!(u64::from_str_radix(at, 16), Ok(address), "{word:#x} {text}");
                address += length(*word);
                plain(text).to_string()
            })
            .collect();
        assert_eq!(texts.len(), words.len());
        Some(texts)
    }
}

/// Without comments and symbols; empty for what is no instruction.
fn plain(text: &str) -> &str {
    let text = text.split(" #").next().unwrap_or_default();
    let text = text.split(" <").next().unwrap_or_default().trim_end();
    let data = [".insn", ".byte", ".2byte", ".4byte", ".short", ".word", "c.unimp"];
    if data.iter().any(|name| text.starts_with(name)) { "" } else { text }
}

fn length(word: u32) -> u64 {
    if word & 3 == 3 { 4 } else { 2 }
}

/// A relocatable ELF file with `words` as its text, for a hart with the ISA `arch`.
fn object(arch: &str, words: &[u32]) -> Vec<u8> {
    let text: Vec<u8> =
        words.iter().flat_map(|word| word.to_le_bytes().into_iter().take(length(*word) as usize)).collect();
    let arch_tag = [&[5u8], arch.as_bytes(), &[0]].concat();
    let file_tags = [&[1u8][..], &(5 + arch_tag.len() as u32).to_le_bytes(), &arch_tag].concat();
    let vendor = [&(10 + file_tags.len() as u32).to_le_bytes()[..], b"riscv\0", &file_tags].concat();
    let attributes = [&b"A"[..], &vendor].concat();
    let names = b"\0.text\0.riscv.attributes\0.shstrtab\0";

    let mut file = vec![0; 64];
    // Section headers: name, type, flags, contents. The first is the null section.
    let mut headers = vec![[0u64; 8]];
    for (name, kind, flags, data) in
        [(1u64, 1u64, 6, &text[..]), (7, 0x7000_0003, 0, &attributes[..]), (25, 3, 0, &names[..])]
    {
        file.resize(file.len().next_multiple_of(8), 0);
        headers.push([name | kind << 32, flags, 0, file.len() as u64, data.len() as u64, 0, 1, 0]);
        file.extend(data);
    }
    file.resize(file.len().next_multiple_of(8), 0);
    let header_offset = file.len() as u64;
    file.extend(headers.iter().flatten().flat_map(|value| value.to_le_bytes()));

    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &1u16.to_le_bytes()); // ET_REL
    put(18, &243u16.to_le_bytes()); // EM_RISCV
    put(20, &1u32.to_le_bytes());
    put(40, &header_offset.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(58, &64u16.to_le_bytes());
    put(60, &4u16.to_le_bytes());
    put(62, &3u16.to_le_bytes());
    file
}

/// Extensions that some row asks for. The privilege modes are not names of an ISA string.
fn with_instructions() -> ExtSet {
    let all = rows().iter().flat_map(|row| row.exts.iter().copied().flatten().copied());
    all.filter(|ext| !matches!(ext, Ext::S | Ext::U)).collect()
}

/// The ISA string of the extensions of `exts` that have instructions, in names that an old binutils knows too.
fn isa_string(exts: &ExtSet) -> String {
    let named = with_instructions();
    let exts = exts.iter().filter(|ext| named.contains(*ext)).map(|ext| match ext {
        Ext::Zaamo | Ext::Zalrsc => Ext::A,
        Ext::Zca | Ext::Zcd => Ext::C,
        ext => ext,
    });
    IsaConfig { exts: exts.collect(), ..IsaConfig::default() }.isa_string()
}

fn isa(exts: &[Ext]) -> IsaConfig {
    IsaConfig { exts: ExtSet::of(exts).closure(), ..IsaConfig::default() }
}

/// An ISA with every instruction of the table that `objdump` knows too, and what it does not know.
fn everything(objdump: &Objdump, dir: &Path) -> (IsaConfig, Vec<Ext>) {
    let known = |ext: &Ext| {
        let arch = isa_string(&ExtSet::of(&[Ext::I, *ext]).closure());
        objdump.disassemble(dir, &arch, &[0x13]).is_some()
    };
    let (known, unknown): (Vec<Ext>, Vec<Ext>) = with_instructions().iter().partition(known);
    (isa(&[&known[..], &[Ext::S, Ext::U]].concat()), unknown)
}

/// Compares all `words`, which are either compressed or not. Panics with the first words of each kind of difference.
fn compare(objdump: &Objdump, dir: &Path, isa: &IsaConfig, words: &[u32]) -> Vec<usize> {
    let decoder = Decoder::new(isa);
    let arch = isa_string(&isa.exts);
    let mut met = vec![0; DIFFERENCES.len()];
    let mut unexplained: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for chunk in words.chunks(CHUNK) {
        let texts = objdump.disassemble(dir, &arch, chunk).unwrap_or_else(|| panic!("binutils refuses {arch}"));
        let mut pc = 0;
        for (word, theirs) in chunk.iter().zip(&texts) {
            let ours = decoder.decode(*word).map(|insn| disasm(&insn, pc)).unwrap_or_default();
            pc += length(*word);
            if ours == *theirs {
                continue;
            }
            match DIFFERENCES.iter().position(|known| (known.applies)(*word, &ours, theirs)) {
                Some(index) => met[index] += 1,
                None => {
                    let name = |text: &str| text.split('\t').next().unwrap_or_default().to_string();
                    let list = unexplained.entry((name(&ours), name(theirs))).or_default();
                    list.push(format!("{word:#010x}: '{ours}', binutils '{theirs}'"));
                }
            }
        }
    }
    let report: Vec<String> = unexplained
        .values()
        .map(|list| format!("{} like {}", list.len(), list[..list.len().min(3)].join("; ")))
        .collect();
    assert!(report.is_empty(), "{} {:?}, {arch}:\n{}", objdump.path, objdump.version, report.join("\n"));
    met
}

/// Fails if an expected difference of these sweeps did not occur.
fn check_occurrence(objdump: &Objdump, met: &[usize], sweep: Sweep) {
    for (known, count) in DIFFERENCES.iter().zip(met).filter(|(known, _)| known.sweep == sweep) {
        if let Some(expected) = known.versions.include(objdump.version) {
            assert_eq!(*count > 0, expected, "{}: {count} times", known.why);
        }
        println!("{count} words differ: {}", known.why);
    }
}

fn all_compressed() -> Vec<u32> {
    (0..1 << 16).filter(|word| word & 3 != 3).collect()
}

/// Every opcode with every funct3, funct7 and rs2, which are the bits that tell instructions apart; once with the other
/// registers zero and once with random ones.
fn all_selectors(random: &mut Rng) -> Vec<u32> {
    let selectors = (0..1u32 << 20).map(|s| s >> 8 << 20 | (s >> 5 & 7) << 12 | (s & 31) << 2 | 3);
    let words = selectors.flat_map(|word| {
        let registers = random.next() as u32;
        [word, word | (registers & 31) << 7 | (registers >> 5 & 31) << 15]
    });
    words.filter(is_32_bits).collect()
}

/// Words longer than 32 bits are not compared: binutils takes more bytes.
fn is_32_bits(word: &u32) -> bool {
    word & 3 == 3 && word & 0x1f != 0x1f
}

/// Random words; half of them made to match some row, and of these a quarter with one bit changed.
fn random_words(random: &mut Rng, count: usize) -> Vec<u32> {
    let full: Vec<&Row> = rows().iter().filter(|row| row.pattern.len == 4).collect();
    let word = |_| {
        let bits = random.next();
        let (word, choice) = (bits as u32, (bits >> 32) as usize);
        let pattern = &full[(choice >> 8) % full.len()].pattern;
        match choice & 7 {
            0..4 => word | 3,
            4 => (word & !pattern.mask | pattern.bits) ^ 1 << (choice >> 3 & 31),
            _ => word & !pattern.mask | pattern.bits,
        }
    };
    (0..count).map(word).filter(is_32_bits).collect()
}

fn say_unknown(objdump: &Objdump, unknown: &[Ext]) {
    for ext in unknown {
        println!("NOT COMPARED: {}, which binutils {:?} does not know", ext.name(), objdump.version);
    }
}

#[test]
fn every_compressed_word() {
    let (objdump, dir) = (Objdump::find(), tempfile::tempdir().unwrap());
    let (isa, unknown) = everything(&objdump, dir.path());
    say_unknown(&objdump, &unknown);
    let met = compare(&objdump, dir.path(), &isa, &all_compressed());
    check_occurrence(&objdump, &met, Sweep::Compressed);
}

#[test]
fn every_selector_and_random_words() {
    let (objdump, dir) = (Objdump::find(), tempfile::tempdir().unwrap());
    let (isa, unknown) = everything(&objdump, dir.path());
    say_unknown(&objdump, &unknown);
    let random = &mut Rng::new(1);
    let words = [all_selectors(random), random_words(random, RANDOM_WORDS)].concat();
    let met = compare(&objdump, dir.path(), &isa, &words);
    check_occurrence(&objdump, &met, Sweep::FullSize);
}

#[test]
fn what_a_smaller_isa_lacks_does_not_decode() {
    let (objdump, dir) = (Objdump::find(), tempfile::tempdir().unwrap());
    let words = [all_compressed(), all_selectors(&mut Rng::new(2))];
    let mut met = vec![0; DIFFERENCES.len()];
    for exts in [&[Ext::I][..], &[Ext::I, Ext::M, Ext::A, Ext::C], &[Ext::I, Ext::Zmmul, Ext::F, Ext::Zbb, Ext::Zca]] {
        for words in &words {
            let counts = compare(&objdump, dir.path(), &isa(exts), words);
            met.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    check_occurrence(&objdump, &met, Sweep::SmallerIsa);
}

/// Extensions ratified after that version.
const NEWER: &[Ext] = &[Ext::Zalasr];

#[test]
#[ignore = "needs binutils 2.44 or newer: set VIREO_OBJDUMP"]
fn a_new_binutils_knows_every_instruction() {
    let (objdump, dir) = (Objdump::find(), tempfile::tempdir().unwrap());
    assert!(objdump.version >= (2, 44), "{} is version {:?}", objdump.path, objdump.version);
    assert_eq!(everything(&objdump, dir.path()).1, NEWER);
}
