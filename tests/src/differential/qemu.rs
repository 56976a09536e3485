//! QEMU as a reference: one found on this host, what it can do, and how it runs an image.
//!
//! RAM is a file that both sides see: the image is written to it before QEMU starts, the results are read from it when
//! QEMU has ended.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use arch::ext::{EXTENSIONS, Ext, IsaConfig};

use super::guest::RAM_SIZE;
use super::reference::wait;

/// Names the program to use instead of the one in PATH.
pub const VARIABLE: &str = "VIREO_QEMU";
/// The major versions whose differences are listed.
pub const LISTED: std::ops::RangeInclusive<u32> = 10..=11;
const PROGRAM: &str = "qemu-system-riscv64";

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Extensions that say something about a hart without a switch of their own in QEMU: parts of what `a` and `c` turn
/// on, properties of its memory and registers, and hints that it executes as what they are encoded in.
const WITHOUT_SWITCH: &[Ext] = &[
    Ext::I,
    Ext::Zicsr,
    Ext::Zifencei,
    Ext::Zmmul,
    Ext::Zaamo,
    Ext::Zalrsc,
    Ext::Zca,
    Ext::Zcd,
    Ext::S,
    Ext::U,
    Ext::Zic64b,
    Ext::Zicbop,
    Ext::Ziccamoa,
    Ext::Ziccif,
    Ext::Zicclsm,
    Ext::Ziccrse,
    Ext::Zicntr,
    Ext::Zihpm,
    Ext::Zihintpause,
    Ext::Zihintntl,
    Ext::Za64rs,
    Ext::Za128rs,
    Ext::Ssccptr,
    Ext::Sscounterenw,
    Ext::Ssstrict,
    Ext::Sstvala,
    Ext::Sstvecd,
    Ext::Ssu64xl,
    Ext::Svvptc,
    Ext::Ssstateen,
    Ext::Shcounterenw,
    Ext::Shgatpa,
    Ext::Shtvala,
    Ext::Shvsatpa,
    Ext::Shvstvala,
    Ext::Shvstvecd,
];

/// A QEMU.
#[derive(Debug)]
pub struct Qemu {
    program: PathBuf,
    /// As it prints it.
    pub version: String,
    /// Switches of its CPU model `rv64`.
    switches: BTreeSet<String>,
}

impl Qemu {
    /// The program named by the environment, or the one in PATH.
    pub fn find() -> anyhow::Result<Self> {
        Self::at(std::env::var_os(VARIABLE).map_or_else(|| PROGRAM.into(), PathBuf::from))
    }

    /// This program.
    pub fn at(program: PathBuf) -> anyhow::Result<Self> {
        let output = Command::new(&program).arg("--version").output().with_context(|| {
            format!(
                "cannot run {}: the differential tests need QEMU for RISC-V (Debian: package qemu-system-misc or \
                 qemu-system-riscv) in PATH or named by {VARIABLE}",
                program.display()
            )
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().trim_start_matches("QEMU emulator version ").to_owned();
        let mut qemu = Self { program, version, switches: BTreeSet::new() };
        qemu.switches = qemu.query_switches()?;
        Ok(qemu)
    }

    /// Major version.
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Asks the machine protocol for the boolean properties of the CPU model.
    fn query_switches(&self) -> anyhow::Result<BTreeSet<String>> {
        const COMMANDS: &str = concat!(
            "{\"execute\":\"qmp_capabilities\"}\n",
            "{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"rv64-riscv-cpu\"}}\n",
            "{\"execute\":\"quit\"}\n",
        );
        let mut child = Command::new(&self.program)
            .args(["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start QEMU to ask for its CPU properties")?;
        child.stdin.take().expect("it is a pipe").write_all(COMMANDS.as_bytes()).context("ask QEMU")?;
        let output = child.wait_with_output().context("wait for QEMU's answer")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let objects = text.split('{').filter(|object| object.contains("\"type\": \"bool\""));
        let names: BTreeSet<String> = objects
            .filter_map(|object| object.split("\"name\": \"").nth(1)?.split('"').next().map(str::to_owned))
            .collect();
        if !names.contains("m") {
            bail!("{} does not tell the properties of its CPU model rv64: {text}", self.program.display());
        }
        Ok(names)
    }

    fn switch(&self, ext: Ext) -> Option<&str> {
        self.switches.iter().find(|name| name.eq_ignore_ascii_case(ext.name())).map(String::as_str)
    }

    fn has(&self, ext: Ext) -> bool {
        WITHOUT_SWITCH.contains(&ext) || self.switch(ext).is_some()
    }

    /// `isa` without what this QEMU does not have, and what that is.
    pub fn common(&self, isa: &IsaConfig) -> (IsaConfig, Vec<&'static str>) {
        let missing: Vec<Ext> = isa.exts.iter().filter(|ext| !self.has(*ext)).collect();
        let mut common = isa.clone();
        missing.iter().for_each(|ext| common.exts.remove(*ext));
        (common, missing.into_iter().map(Ext::name).collect())
    }

    /// What `-cpu` has to be for a hart with this ISA.
    fn cpu(&self, isa: &IsaConfig) -> String {
        let mut cpu = String::from("rv64");
        for row in EXTENSIONS {
            let Some(name) = self.switch(row.ext) else { continue };
            // The name for a set whose parts are present: turning it off would turn them off.
            if isa.has(row.ext) || row.ext != Ext::B {
                cpu += &format!(",{name}={}", isa.has(row.ext));
            }
        }
        if isa.has(Ext::Zve32x) {
            let elen = if isa.has(Ext::Zve64x) { 64 } else { 32 };
            cpu += &format!(",vlen={},elen={elen}", isa.vlen);
            cpu += &format!(",rvv_ta_all_1s={},rvv_ma_all_1s={}", isa.rvv.ta_all_1s, isa.rvv.ma_all_1s);
        }
        if self.switches.contains("debug") {
            cpu += ",debug=false";
        }
        cpu
    }

    /// Runs the image; returns as much of RAM as it covers.
    pub fn run(&self, isa: &IsaConfig, image: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().context("make a file for the guest's RAM")?;
        file.write_all(image).context("write the image")?;
        file.as_file().set_len(RAM_SIZE).context("size the guest's RAM")?;
        let backend = format!("memory-backend-file,id=m,size={RAM_SIZE},mem-path={},share=on", file.path().display());
        let mut child = Command::new(&self.program)
            .args(["-machine", "virt,memory-backend=m", "-object", &backend])
            .args(["-m", &format!("{}M", RAM_SIZE >> 20), "-cpu", &self.cpu(isa), "-smp", "1", "-accel", "tcg"])
            .args(["-bios", "none", "-nodefaults", "-display", "none"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start QEMU")?;
        let status = wait(&mut child, PATIENCE)?;
        let mut errors = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut errors).context("read QEMU's messages")?;
        }
        match status {
            Some(status) if status.success() => {}
            Some(status) => bail!("QEMU ended with {status}: {}", errors.trim()),
            None => bail!("QEMU {} did not end within {PATIENCE:?}: {}", self.version, errors.trim()),
        }
        let mut memory = std::fs::read(file.path()).context("read the results")?;
        memory.truncate(image.len());
        Ok(memory)
    }
}
