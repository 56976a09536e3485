//! Finds the blocks on which two machines differ, and makes them small.

use std::fmt::Write;

use anyhow::Context;
use arch::ext::IsaConfig;

use super::asm::Word;
use super::block::{Block, Generator, Value};
use super::guest::{Guest, RAM};
use super::image::{Image, Observed};
use super::known::KNOWN;
use super::reference::Reference;

/// Runs an image on our machine, which may hang.
pub type Engine<'a> = &'a dyn Fn(&[u8]) -> anyhow::Result<(Vec<u8>, Option<u64>)>;

/// A block on which the machines differ.
pub struct Mismatch {
    pub index: usize,
    pub ours: Observed,
    pub theirs: Observed,
    /// Where our hart hung in this block.
    pub hung: Option<u64>,
}

/// What a comparison found.
#[derive(Default)]
pub struct Comparison {
    pub mismatches: Vec<Mismatch>,
    /// How often each known difference was met, in the order of the list.
    pub forgiven: Vec<u64>,
    /// Traps that blocks took.
    pub traps: u64,
}

/// Both machines, and what is known of the reference.
pub struct Pair<'a> {
    pub generator: &'a Generator,
    pub ours: Engine<'a>,
    pub reference: &'a Reference,
}

impl Pair<'_> {
    /// Runs the blocks on both machines.
    pub fn compare(&self, blocks: &[Block]) -> anyhow::Result<Comparison> {
        let image = Image::new(self.generator, blocks);
        let theirs = self.reference.run(self.generator.isa(), &image.memory).context("run the reference")?;
        let (ours, hung) = (self.ours)(&image.memory).context("run the translator")?;
        let guest = self.generator.guest();
        let mut comparison = Comparison { forgiven: vec![0; KNOWN.len()], ..Comparison::default() };
        for (index, block) in blocks.iter().enumerate() {
            let mut a = Observed::of(guest, index, &ours);
            let mut b = Observed::of(guest, index, &theirs);
            comparison.traps += b.outcome.log.len() as u64;
            for (known, count) in KNOWN.iter().zip(&mut comparison.forgiven) {
                if a == b {
                    break;
                }
                if (known.applies)(self.reference) {
                    let before = (a.clone(), b.clone());
                    (known.forgive)(self.generator, block, &mut a, &mut b);
                    *count += u64::from(before != (a.clone(), b.clone()));
                }
            }
            if a != b {
                comparison.mismatches.push(Mismatch { index, ours: a, theirs: b, hung });
                if hung.is_some() {
                    // Those after it did not run.
                    break;
                }
            }
        }
        Ok(comparison)
    }

    /// Leaves groups out of the block as long as the machines still differ on it.
    pub fn minimise(&self, block: &Block) -> anyhow::Result<Block> {
        let mut smallest = block.clone();
        let mut chunk = smallest.groups.len().div_ceil(2);
        while chunk > 0 {
            let starts: Vec<usize> = (0..smallest.groups.len()).step_by(chunk).collect();
            let without = |start: usize| {
                let mut candidate = smallest.clone();
                candidate.groups.drain(start..(start + chunk).min(smallest.groups.len()));
                candidate
            };
            let candidates: Vec<Block> = starts.iter().map(|start| without(*start)).collect();
            match self.compare(&candidates)?.mismatches.first() {
                Some(mismatch) => {
                    smallest = candidates[mismatch.index].clone();
                    chunk = chunk.min(smallest.groups.len());
                }
                None => chunk /= 2,
            }
        }
        Ok(smallest)
    }

    /// What a developer needs to see of a mismatch: listing, input and both outputs, of the smallest block.
    pub fn report(&self, block: &Block) -> anyhow::Result<String> {
        let small = self.minimise(block)?;
        let comparison = self.compare(std::slice::from_ref(&small))?;
        let Some(mismatch) = comparison.mismatches.first() else {
            return Ok(format!(
                "{:?} block of seed {}: differs among others, not alone; all of it:\n{}",
                block.profile,
                block.seed,
                listing(self.generator, block, RAM)
            ));
        };
        let image = Image::new(self.generator, std::slice::from_ref(&small));
        let mut text = format!("{:?} block of seed {}\n", small.profile, small.seed);
        text += &listing(self.generator, &small, image.code[0]);
        text += &input(self.generator, &small, &image);
        text += &difference(self.generator.guest(), mismatch);
        Ok(text)
    }
}

/// The registers a block reads or writes, from its words.
fn registers(g: &Generator, block: &Block) -> (Vec<u8>, Vec<u8>) {
    let (mut x, mut f) = (Vec::new(), Vec::new());
    for insn in block.groups.iter().flatten().filter_map(|word| g.decoder().decode(word.raw)) {
        for (number, fields) in
            [(insn.rd, ["rd", "fd"]), (insn.rs1, ["rs1", "fs1"]), (insn.rs2, ["rs2", "fs2"]), (insn.rs3, ["", "fs3"])]
        {
            let operands = insn.op.row().operands;
            if operands.contains(fields[1]) {
                f.push(number);
            } else if !fields[0].is_empty() && operands.contains(fields[0]) {
                x.push(number);
            }
        }
    }
    for list in [&mut x, &mut f] {
        list.sort();
        list.dedup();
    }
    (x, f)
}

fn listing(g: &Generator, block: &Block, start: u64) -> String {
    let mut text = String::new();
    let mut at = start;
    for Word { raw, len } in block.groups.iter().flatten() {
        let asm = g.decoder().decode(*raw).map_or_else(|| "(no instruction)".into(), |i| arch::isa::disasm(&i, at));
        let _ = writeln!(text, "  {at:#x}: {raw:0width$x}  {asm}", width = usize::from(*len) * 2);
        at += u64::from(*len);
    }
    text
}

fn input(g: &Generator, block: &Block, image: &Image) -> String {
    let guest = g.guest();
    let at = (guest.input_at(0) - RAM) as usize;
    let word = |i: usize| {
        let bytes = &image.memory[at + i * 8..at + i * 8 + 8];
        u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
    };
    let (x, f) = registers(g, block);
    let mut text = String::from("from");
    for r in x {
        let _ = write!(text, " x{r}={:#x}", word(guest.record.x + usize::from(r)));
    }
    for r in f {
        let _ = write!(text, " f{r}={:#x}", word(guest.record.f + usize::from(r)));
    }
    for (i, number) in guest.csrs.iter().enumerate().filter(|(i, _)| block.csrs[*i] != 0) {
        let _ = write!(text, " {}={:#x}", csr_name(*number), block.csrs[i]);
    }
    for value in block.x {
        if let Value::Virtual(offset) = value {
            for page in [offset >> 12, (offset >> 12) + 1] {
                let _ = write!(text, " page{page}={:#x}", block.pages[page as usize % block.pages.len()]);
            }
        }
    }
    text + "\n"
}

fn csr_name(number: u16) -> String {
    arch::csr::by_number(number).map_or_else(|| format!("{number:#x}"), |csr| csr.name.to_owned())
}

/// Where two observations differ, ours first.
pub fn difference(guest: &Guest, mismatch: &Mismatch) -> String {
    let (a, b) = (&mismatch.ours.outcome, &mismatch.theirs.outcome);
    if let Some(pc) = mismatch.hung {
        return format!("ours hangs at {pc:#x}\n");
    }
    let mut text = String::new();
    for r in 1..32 {
        if a.x[r] != b.x[r] {
            let _ = writeln!(text, "x{r}: ours {:#x}, theirs {:#x}", a.x[r], b.x[r]);
        }
    }
    for r in 0..32 {
        if a.f[r] != b.f[r] {
            let _ = writeln!(text, "f{r}: ours {:#x}, theirs {:#x}", a.f[r], b.f[r]);
        }
    }
    for (i, number) in guest.csrs.iter().enumerate() {
        if a.csrs[i] != b.csrs[i] {
            let _ = writeln!(text, "{}: ours {:#x}, theirs {:#x}", csr_name(*number), a.csrs[i], b.csrs[i]);
        }
    }
    for i in 0..a.log.len().max(b.log.len()) {
        if a.log.get(i) != b.log.get(i) {
            let show = |entry: Option<&[u64; 4]>| {
                entry.map_or_else(
                    || "none".into(),
                    |e| format!("mcause {:#x} mepc {:#x} mtval {:#x} mstatus {:#x}", e[0], e[1], e[2], e[3]),
                )
            };
            let _ = writeln!(text, "trap {i}: ours {}\n        theirs {}", show(a.log.get(i)), show(b.log.get(i)));
        }
    }
    let bytes = mismatch.ours.slot.iter().zip(&mismatch.theirs.slot).enumerate().filter(|(_, (a, b))| a != b);
    for (at, (a, b)) in bytes.take(16) {
        let _ = writeln!(text, "slot+{at:#x}: ours {a:#04x}, theirs {b:#04x}");
    }
    text
}

/// The ISA's name and what could not be compared, for the output of a test.
pub fn describe(isa: &IsaConfig, reference: &Reference, missing: &[&str]) -> String {
    format!(
        "{}: {}\n{} extensions it lacks: {}",
        reference.name(),
        isa.isa_string(),
        missing.len(),
        if missing.is_empty() { "none".into() } else { missing.join(" ") }
    )
}
