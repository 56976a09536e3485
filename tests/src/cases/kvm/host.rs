//! A RISC-V host: Linux with the module of KVM. The static riscv64 program stands in its first file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cases::hypervisor::load_kvm;
use crate::cases::linux::{PROMPT, power_off};
use crate::cpio::Cpio;
use crate::guest::Guest;
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};

/// A host to be.
pub struct Host<'a> {
    env: &'a Env,
    emulator: &'a Path,
    harts: u32,
    arguments: &'a [&'a str],
    kvm: bool,
    /// Options of its network, which begin with a comma.
    net: String,
    /// Further programs for its `/bin`.
    programs: Vec<(&'a str, PathBuf)>,
}

impl<'a> Host<'a> {
    /// Two harts of vireo's.
    pub fn of_vireo(env: &'a Env) -> Self {
        Self {
            env,
            emulator: &env.vireo,
            harts: 2,
            arguments: &[],
            kvm: true,
            net: String::new(),
            programs: Vec::new(),
        }
    }

    /// Two harts of QEMU's.
    pub fn of_qemu(env: &'a Env) -> Result<Self> {
        let tools = env.tools.as_ref().map_err(|e| anyhow::anyhow!("no QEMU: {e}"))?;
        Ok(Self { emulator: &tools.qemu, ..Self::of_vireo(env) })
    }

    /// With so many harts.
    pub fn harts(self, harts: u32) -> Self {
        Self { harts, ..self }
    }

    /// With further arguments of the emulator; a second `-M` adds to the first.
    pub fn arguments(self, arguments: &'a [&'a str]) -> Self {
        Self { arguments, ..self }
    }

    /// Whose port leads from one of this machine's.
    pub fn port(self, from: u16, to: u16) -> Self {
        Self { net: format!(",hostfwd=tcp:127.0.0.1:{from}-:{to}"), ..self }
    }

    /// Whose kernel has no KVM.
    pub fn without_kvm(self) -> Self {
        Self { kvm: false, ..self }
    }

    /// With a static riscv64 program of this name in its `PATH`.
    pub fn program(mut self, name: &'a str, file: PathBuf) -> Self {
        self.programs.push((name, file));
        self
    }

    /// Boots it, and runs `test` at its prompt.
    pub fn run(self, test: impl FnOnce(&mut Vm) -> Result<()>) -> Result<()> {
        let guest = self.env.guest()?;
        let dir = scratch()?;
        let initrd = dir.path().join("initrd");
        self.make_initrd(guest, &initrd)?;
        let disk = guest.kvm.as_ref().context("there is no disk of a KVM host")?;
        let machine = Machine::virt(self.emulator, self.harts).args(self.arguments);
        let machine = machine.disk(disk, ",snapshot=on").user_net(&self.net);
        let machine = machine.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&initrd);
        let mut vm = machine.arg("-append").arg("console=ttyS0 quiet").start()?;
        vm.console.expect(PROMPT)?;
        if self.kvm {
            load_kvm(&mut vm)?;
        }
        test(&mut vm)?;
        power_off(vm)
    }

    /// The guest's first file system with the programs in it: the kernel unpacks archives that stand behind each other.
    fn make_initrd(&self, guest: &Guest, to: &Path) -> Result<()> {
        let mut bytes = fs::read(&guest.initrd)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let mut cpio = Cpio::new(bytes);
        cpio.file("bin/vireo", 0o755, &fs::read(self.env.riscv_vireo()?)?)?;
        for (name, file) in &self.programs {
            cpio.file(&format!("bin/{name}"), 0o755, &fs::read(file)?)?;
        }
        Ok(fs::write(to, cpio.finish()?)?)
    }
}
