//! `-accel kvm`, on RISC-V hosts that are guests themselves: of vireo, and of QEMU.
//!
//! The host is Linux with the module of KVM; the static riscv64 program stands in its first file system.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::hypervisor::load_kvm;
use super::linux::{PROMPT, power_off};
use super::{Case, contains};
use crate::cpio::Cpio;
use crate::guest::Guest;
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, scratch};

pub const CASES: &[Case] = &[
    Case { name: "KVM: no /dev/kvm, and tcg in its place", run: |env| on(env, &env.vireo, 1, without_kvm) },
    Case { name: "KVM: engines, models and bad input", run: |env| on(env, &env.vireo, 1, models_and_bad_input) },
    Case { name: "KVM: the demo guest's self test", run: |env| on(env, &env.vireo, 2, selftest) },
    Case { name: "KVM: Linux, disk, network, reboot", run: |env| on(env, &env.vireo, 2, linux) },
    Case { name: "KVM on QEMU: self test and Linux", run: on_qemu },
];

/// Boots a host with two harts, and runs `test` at its prompt.
fn on(env: &Env, program: &Path, harts: u32, test: fn(&mut Vm) -> Result<()>) -> Result<()> {
    let guest = env.guest()?;
    let dir = scratch()?;
    let initrd = dir.path().join("initrd");
    add_program(guest, env.riscv_vireo()?, &initrd)?;
    let disk = guest.kvm.as_ref().context("there is no disk of a KVM host")?;
    let mut machine = Machine::virt(program, harts).disk(disk, ",snapshot=on").user_net("");
    machine = machine.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&initrd);
    let mut vm = machine.arg("-append").arg("console=ttyS0 quiet").start()?;
    vm.console.expect(PROMPT)?;
    test(&mut vm)?;
    power_off(vm)
}

fn on_qemu(env: &Env) -> Result<()> {
    let tools = env.tools.as_ref().map_err(|e| anyhow::anyhow!("no QEMU: {e}"))?;
    on(env, &tools.qemu, 2, |vm| {
        selftest(vm)?;
        linux(vm)
    })
}

/// The guest's first file system with the program in it: the kernel unpacks archives that stand behind each other.
fn add_program(guest: &Guest, program: &Path, to: &Path) -> Result<()> {
    let mut bytes = fs::read(&guest.initrd)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut cpio = Cpio::new(bytes);
    cpio.file("bin/vireo", 0o755, &fs::read(program)?)?;
    fs::File::create(to)?.write_all(&cpio.finish()?)?;
    Ok(())
}

fn without_kvm(vm: &mut Vm) -> Result<()> {
    let refused = vm.console.check("vireo -accel kvm -nographic < /dev/null 2>&1; test $? = 1")?;
    contains("the refusal", &refused, "accelerator 'kvm' is not available: there is no /dev/kvm")?;
    let help = vm.console.check("vireo -accel help")?;
    contains("-accel help", &help, "there is no /dev/kvm")?;
    let fell_back = vm.console.check("printf 'poweroff\\n' | vireo -M virt,accel=kvm:tcg -nographic 2>&1")?;
    contains("the warning", &fell_back, "there is no /dev/kvm")?;
    contains("the warning", &fell_back, "using tcg")?;
    contains("the guest", &fell_back, "Vireo demo guest")
}

fn models_and_bad_input(vm: &mut Vm) -> Result<()> {
    load_kvm(vm)?;
    let help = vm.console.check("vireo -accel help")?;
    contains("-accel help", &help, "kvm     the host's hypervisor; RISC-V hosts only")?;
    let mut refused = |arguments: &str, reason: &str| {
        let said =
            vm.console.check(&format!("vireo -accel kvm -nographic {arguments} < /dev/null 2>&1; test $? = 1"))?;
        contains(arguments, &said, reason)
    };
    refused("-cpu rva23s64", "this host cannot be CPU model 'rva23s64': it lacks v")?;
    refused("-cpu host,zvbb=on", "it lacks")?;
    refused("-bios /bin/busybox", "M-mode firmware does not run under KVM")?;
    refused("-M spike -kernel /bin/vireo", "-machine spike")?;
    let said = vm.console.check("vireo -accel tcg -cpu host -nographic < /dev/null 2>&1; test $? = 1")?;
    contains("tcg", &said, "CPU model 'host' is for engines that run on the host's harts")?;
    let less = "printf 'info\\npoweroff\\n' | vireo -accel kvm -nographic -cpu host,zbb=off 2>&1";
    let said = vm.console.check(less)?;
    contains("the guest", &said, "_zba_zbc")
}

fn selftest(vm: &mut Vm) -> Result<()> {
    load_kvm(vm)?;
    for harts in [1, 2] {
        let run = format!("vireo -accel kvm -smp {harts} -nographic -append selftest < /dev/null 2>&1");
        let said = vm.console.check(&run)?;
        contains("the self test", &said, " passed, 0 failed")?;
        contains("the self test", &said, &format!("{harts} hart(s)"))?;
    }
    Ok(())
}

/// A disk is read and written, a name is asked for, the machine is rebooted once and then switched off.
fn linux(vm: &mut Vm) -> Result<()> {
    vm.console.check("dd if=/dev/zero of=/tmp/disk bs=1M count=8")?;
    let inner = "uname%-a;nproc;dd%if=/dev/urandom%of=/tmp/r%bs=64k%count=32;dd%if=/tmp/r%of=/dev/vda%bs=64k;\
                 sync;echo%3%>/proc/sys/vm/drop_caches;dd%if=/dev/vda%of=/tmp/s%bs=64k%count=32;\
                 cmp%/tmp/r%/tmp/s%&&echo%the%same;head%-c%64%/dev/hwrng%|%wc%-c;cat%/proc/interrupts;poweroff%-f";
    let run = format!(
        "vireo -accel kvm -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
         -drive file=/tmp/disk,if=none,format=raw,id=d -device virtio-blk-device,drive=d -device virtio-rng-device \
         -append 'console=ttyS0 quiet initramfs.run={inner}' -d stats < /dev/null 2>&1"
    );
    vm.console.send(&format!("{run}; echo inner guest: $?\n"))?;
    vm.console.expect("initramfs: started after")?;
    vm.console.expect("the same")?;
    vm.console.expect("SiFive PLIC")?;
    vm.console.expect("reboot: Power down")?;
    vm.console.expect("hart ends: exits mmio_reads=")?;
    vm.console.expect("inner guest: 0")?;
    vm.console.expect(PROMPT)?;
    let twice = "vireo -accel kvm -m 256M -nographic -no-reboot -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
                 -append 'console=ttyS0 quiet initramfs.run=reboot%-f' < /dev/null 2>&1";
    let said = vm.console.check(twice)?;
    contains("the reboot", &said, "reboot: Restarting system")
}
