//! The hypervisor extension under Linux: KVM in the guest, and a guest of it.

use anyhow::{Context, Result};

use super::linux::{PROMPT, power_off};
use super::{Case, contains};
use crate::harness::Env;
use crate::harness::vm::{Machine, Vm};

pub const CASES: &[Case] = &[
    Case { name: "a KVM guest in Linux", run: |env| nested(env, 1, false) },
    Case { name: "a KVM guest in Linux, 2 harts", run: |env| nested(env, 2, false) },
    Case { name: "a KVM guest in Linux over OpenSBI", run: |env| nested(env, 1, true) },
    Case { name: "a KVM guest in Linux with interrupt files of its own", run: interrupt_files },
];

fn nested(env: &Env, harts: u32, opensbi: bool) -> Result<()> {
    let guest = env.guest()?;
    let disk = guest.kvm.as_ref().context("there is no disk of a KVM host")?;
    let mut machine = Machine::virt(&env.vireo, harts).disk(disk, ",snapshot=on");
    if opensbi {
        machine = machine.arg("-bios").arg(guest.opensbi.as_ref().context("there is no OpenSBI")?);
    }
    let mut vm = machine.linux(guest, "quiet").start()?;
    vm.console.expect(PROMPT)?;
    load_kvm(&mut vm)?;
    let before = ["Linux version ", "SBI implementation ID=0x3 "];
    inner_guest(&mut vm, "virt", harts, "uname%-a;nproc;dmesg%|%grep%-i%sbi", &before, &[])?;
    power_off(vm)
}

/// QEMU's guest of KVM, from its start to its power off: what its kernel says before its first program starts, and what
/// comes of `commands` (in its initramfs; % is a space).
fn inner_guest(vm: &mut Vm, board: &str, harts: u32, commands: &str, before: &[&str], after: &[&str]) -> Result<()> {
    let run = format!(
        "chroot /mnt qemu-system-riscv64 -M {board} -accel kvm -cpu host -m 256M -smp {harts} -nographic -kernel /root/Image \
         -initrd /root/initrd.gz -append 'console=ttyS0 initramfs.run={commands};poweroff%-f' < /dev/null"
    );
    vm.console.send(&format!("{run}; echo inner guest: $?\n"))?;
    let end = ["reboot: Power down", "inner guest: 0", PROMPT];
    for text in [before, &["initramfs: started after"], after, &end].concat() {
        vm.console.expect(text)?;
    }
    Ok(())
}

/// The inner guest's IMSICs are guest interrupt files of the machine: KVM leaves its interrupts to the hardware.
fn interrupt_files(env: &Env) -> Result<()> {
    const HARTS: u32 = 2;
    let guest = env.guest()?;
    let disk = guest.kvm.as_ref().context("there is no disk of a KVM host")?;
    let board = ["-M", "virt,aia=aplic-imsic,aia-guests=3"];
    let machine = Machine::virt(&env.vireo, HARTS).args(board).disk(disk, ",snapshot=on");
    let mut vm = machine.linux(guest, "quiet").start()?;
    vm.console.expect(PROMPT)?;
    load_kvm(&mut vm)?;
    let log = vm.console.check("dmesg | grep kvm")?;
    contains("what KVM says", &log, "AIA available with 3 guest external interrupts")?;
    let said = ["providing IPIs using interrupt 1", "APLIC-MSI"];
    inner_guest(&mut vm, "virt,aia=aplic-imsic", HARTS, "dmesg%|%grep%-i%imsic;cat%/proc/interrupts", &[], &said)?;
    // The machine's own count of what reached the guest's files and had to be handed on.
    contains("/proc/interrupts", &vm.console.check("cat /proc/interrupts")?, "RISC-V INTC  12")?;
    power_off(vm)
}

/// Loads KVM from the disk and looks at what it says of the machine.
pub(super) fn load_kvm(vm: &mut Vm) -> Result<()> {
    vm.console.check("mount -t ext4 /dev/vda /mnt && mount --bind /dev /mnt/dev && mount -t proc proc /mnt/proc")?;
    vm.console.check("while read -r m; do insmod /mnt/root/$m.ko; done < /mnt/root/order")?;
    let log = vm.console.check("dmesg | grep kvm")?;
    contains("what KVM says", &log, "hypervisor extension available")?;
    contains("what KVM says", &log, "using Sv57x4 G-stage page table format")?;
    contains("what KVM says", &log, "VMID 14 bits available")?;
    Ok(())
}
