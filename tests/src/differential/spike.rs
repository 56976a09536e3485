//! Spike, the simulator of the specification's authors, as a reference.
//!
//! It has no device that powers it off, but ends when a program writes to the address of the ELF symbol `tohost`. That
//! symbol is put where QEMU's board has its finisher, with a page of memory behind it, so that the image needs no change.
//! The image's memory is its "signature", which Spike writes to a file in the end.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use arch::ext::{Ext, ExtSet, IsaConfig, VectorChoices};

use super::guest::{FINISHER, FINISHER_PASS, RAM, RAM_SIZE};
use super::reference::wait;
use crate::elf;

/// Names the Spike to compare with; without it tests compare with QEMU.
pub const VARIABLE: &str = "VIREO_SPIKE";

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes in a line of a signature.
const LINE: usize = 4096;

/// Extensions that Spike has without knowing their names: modes, which are an option of their own, and properties of
/// its memory, registers and caches.
const WITHOUT_NAME: &[Ext] = &[
    Ext::S,
    Ext::U,
    Ext::Zic64b,
    Ext::Ziccamoa,
    Ext::Ziccrse,
    Ext::Ssccptr,
    Ext::Sscounterenw,
    Ext::Ssstrict,
    Ext::Ssstateen,
    Ext::Sstvala,
    Ext::Sstvecd,
    Ext::Ssu64xl,
    Ext::Sdtrig,
    Ext::Sha,
    Ext::Shcounterenw,
    Ext::Shgatpa,
    Ext::Shtvala,
    Ext::Shvsatpa,
    Ext::Shvstvala,
    Ext::Shvstvecd,
];

/// A Spike.
#[derive(Debug)]
pub struct Spike {
    program: PathBuf,
    /// As it prints it.
    pub version: String,
}

impl Spike {
    /// This program.
    pub fn at(program: PathBuf) -> anyhow::Result<Self> {
        let mut spike = Self { program, version: String::new() };
        let text = spike.ask(&["--help"])?;
        let text = String::from_utf8_lossy(&text.stderr).into_owned() + &String::from_utf8_lossy(&text.stdout);
        let first = text.lines().find_map(|line| line.strip_prefix("Spike RISC-V ISA Simulator "));
        let Some(version) = first else {
            bail!("{} is no Spike (it is named by {VARIABLE}): {text}", spike.program.display());
        };
        spike.version = version.to_owned();
        Ok(spike)
    }

    fn ask(&self, args: &[&str]) -> anyhow::Result<Output> {
        let output = Command::new(&self.program).args(args).stdin(Stdio::null()).output();
        output.with_context(|| format!("cannot run {}, the Spike that {VARIABLE} names", self.program.display()))
    }

    /// `isa` without what this Spike does not have, and what that is.
    pub fn common(&self, isa: &IsaConfig) -> anyhow::Result<(IsaConfig, Vec<&'static str>)> {
        let mut common = isa.clone();
        // It leaves agnostic elements as they are, and does not keep `vl` when VLMAX changes.
        common.rvv = VectorChoices { ta_all_1s: false, ma_all_1s: false, vsetvl_x0_vill: true, ..common.rvv };
        let mut missing = Vec::new();
        loop {
            let names = self.isa(&common);
            // The tree needs no program; Spike names the first extension that it does not know.
            let output = self.ask(&[&format!("--isa={names}"), "--dump-dts", "none"])?;
            if output.status.success() {
                return Ok((common, missing));
            }
            let text = String::from_utf8_lossy(&output.stderr);
            let unknown = text.split("unsupported extension: ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let Some(ext) = common.exts.iter().find(|ext| Some(ext.name()) == unknown) else {
                bail!("Spike {} takes no --isa={names}: {}", self.version, text.trim());
            };
            common.exts.remove(ext);
            missing.push(ext.name());
        }
    }

    /// What `--isa` has to be for a hart with this ISA.
    fn isa(&self, isa: &IsaConfig) -> String {
        let mut named = isa.clone();
        let unnamed = ExtSet::of(WITHOUT_NAME);
        named.exts.iter().filter(|ext| unnamed.contains(*ext)).for_each(|ext| named.exts.remove(ext));
        named.short_isa_string = false;
        let vlen = if isa.has(Ext::Zve32x) { format!("_zvl{}b", isa.vlen) } else { String::new() };
        named.isa_string() + &vlen
    }

    /// Runs the image; returns as much of RAM as it covers.
    pub fn run(&self, isa: &IsaConfig, image: &[u8]) -> anyhow::Result<Vec<u8>> {
        let folder = tempfile::tempdir().context("make a folder for Spike's files")?;
        let (program, signature) = (folder.path().join("program"), folder.path().join("signature"));
        let end = RAM + image.len() as u64;
        let symbols =
            [("tohost", FINISHER), ("fromhost", FINISHER + 8), ("begin_signature", RAM), ("end_signature", end)];
        std::fs::write(&program, elf::program(RAM, image, &symbols)).context("write the image")?;
        let mut child = Command::new(&self.program)
            .args([format!("--isa={}", self.isa(isa)), format!("--pmpregions={}", isa.pmp_entries)])
            .arg(format!("--triggers={}", if isa.has(Ext::Sdtrig) { 4 } else { 0 }))
            .arg(format!("-m{FINISHER:#x}:0x1000,{RAM:#x}:{RAM_SIZE:#x}"))
            .args([format!("+signature={}", signature.display()), format!("+signature-granularity={LINE}")])
            .arg(&program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start Spike")?;
        let status = wait(&mut child, PATIENCE)?;
        let mut errors = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut errors).context("read Spike's messages")?;
        }
        // An odd value written to `tohost` is an exit code, doubled; a process keeps eight bits of it.
        let code = i32::from((FINISHER_PASS >> 1) as u8);
        match status {
            Some(status) if status.code() == Some(code) => {}
            Some(status) => bail!("Spike ended with {status}: {}", errors.trim()),
            None => bail!("Spike {} did not end within {PATIENCE:?}: {}", self.version, errors.trim()),
        }
        let text = std::fs::read(&signature).context("read the results")?;
        parse(&text, image.len()).context("the signature that Spike wrote is not complete")
    }
}

/// The bytes of a signature: lines of [`LINE`] bytes in hexadecimal, last byte first.
fn parse(text: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut memory = Vec::with_capacity(len + LINE);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let bytes = line.chunks_exact(2).rev().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        memory.extend(bytes.collect::<Option<Vec<u8>>>()?);
    }
    memory.truncate(len);
    (memory.len() == len).then_some(memory)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_backwards_by_lines() {
        assert_eq!(parse(b"0201\n04ff\n", 3), Some(vec![1, 2, 0xff]));
        assert_eq!(parse(b"0201\n", 4), None);
        assert_eq!(parse(b"02g1\n", 2), None);
    }
}
