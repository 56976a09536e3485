//! The subjects of `info`.

use std::fmt::Write;

use ::accel::trace;
use arch::csr;

use super::{Arguments, Context, Row, accel, devices, expr, memory, migration, paging, snapshots};
use crate::board::assembly::Interrupt;
use crate::config::{CacheMode, NetBackendConfig, VirtioKind};
use crate::machine::{RegionKind, Rom, RunState};

pub const SUBJECTS: &[Row] = &[
    Row { names: &["status"], args: "", help: "whether the machine runs", run: status },
    Row { names: &["version"], args: "", help: "the program's version", run: version },
    Row { names: &["name"], args: "", help: "the guest's name", run: name },
    Row { names: &["cpus"], args: "", help: "the harts", run: cpus },
    Row { names: &["registers"], args: "[-a|HART]", help: "registers of the hart, of all, or of one", run: registers },
    Row { names: &["accel"], args: "", help: "which engine runs the guest, and which can", run: accel::info },
    Row { names: &["kvm"], args: "", help: "whether KVM runs the guest", run: accel::kvm },
    Row { names: &["jit"], args: "", help: "what the translator has done, hart by hart", run: accel::jit },
    Row { names: &["irq"], args: "", help: "wires of devices, and how often each went up", run: irq },
    Row { names: &["roms"], args: "", help: "what was put into memory for the boot", run: roms },
    Row { names: &["mtree"], args: "[-f]", help: "what answers at which physical address", run: mtree },
    Row { names: &["mem"], args: "", help: "what the hart's page tables (satp) map", run: paging::mem },
    Row { names: &["qtree"], args: "", help: "buses and devices of the board", run: devices::tree },
    Row { names: &["snapshots"], args: "", help: "saved machines", run: snapshots::list },
    Row { names: &["migrate"], args: "", help: "how a move of the machine stands", run: migration::info },
    Row { names: &["migrate_parameters"], args: "", help: "limits of moves", run: migration::parameters },
    Row { names: &["migrate_capabilities"], args: "", help: "how machines are moved", run: migration::capabilities },
    Row { names: &["chardev"], args: "", help: "character devices", run: chardev },
    Row { names: &["block"], args: "", help: "disks and flash images", run: block },
    Row { names: &["blockstats"], args: "", help: "what disks have done", run: blockstats },
    Row { names: &["dump"], args: "", help: "the dump of the guest's memory", run: memory::dump_status },
    Row { names: &["network"], args: "", help: "network cards and what is behind them", run: network },
];

fn status(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let _ = match cx.machine.run_state() {
        RunState::Running => writeln!(cx.out, "VM status: running"),
        state @ (RunState::Prelaunch
        | RunState::IoError
        | RunState::Debug
        | RunState::InMigrate
        | RunState::FinishMigrate
        | RunState::PostMigrate
        | RunState::RestoreVm
        | RunState::SaveVm
        | RunState::InternalError
        | RunState::Shutdown) => {
            writeln!(cx.out, "VM status: paused ({})", state.name())
        }
        RunState::Paused => writeln!(cx.out, "VM status: paused"),
    };
    Ok(())
}

fn blockstats(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for drive in &cx.machine.config().drives {
        let Some(stats) = cx.machine.disk_stats(&drive.id) else { continue };
        let _ = write!(cx.out, "{}:", drive.id);
        for (name, count) in stats.kinds() {
            let (operations, bytes, failed) = (count.operations(), count.bytes(), count.failed());
            let _ = write!(
                cx.out,
                " {name}_operations={operations} {name}_bytes={bytes} failed_{name}_operations={failed}"
            );
        }
        let _ = writeln!(cx.out);
    }
    Ok(())
}

fn version(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let _ = writeln!(cx.out, "{}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

fn name(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    if let Some(name) = cx.machine.name() {
        let _ = writeln!(cx.out, "{name}");
    }
    Ok(())
}

fn cpus(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for hart in 0..cx.machine.hart_count() {
        let mark = if hart == *cx.hart { '*' } else { ' ' };
        let status = cx.machine.hart_status(hart);
        let _ = match cx.machine.hart_state(hart) {
            Ok(s) => writeln!(cx.out, "{mark} hart {hart}: {status}, pc={:#018x}", s.pc),
            Err(message) => writeln!(cx.out, "{mark} {message}"),
        };
    }
    Ok(())
}

/// In QEMU's order.
const CSRS: [u16; 24] = [
    csr::MHARTID,
    csr::MSTATUS,
    csr::HSTATUS,
    csr::VSSTATUS,
    csr::MIP,
    csr::MIE,
    csr::MIDELEG,
    csr::HIDELEG,
    csr::MEDELEG,
    csr::HEDELEG,
    csr::MTVEC,
    csr::STVEC,
    csr::VSTVEC,
    csr::MEPC,
    csr::SEPC,
    csr::VSEPC,
    csr::MCAUSE,
    csr::SCAUSE,
    csr::VSCAUSE,
    csr::MTVAL,
    csr::STVAL,
    csr::MSCRATCH,
    csr::SSCRATCH,
    csr::SATP,
];

fn registers(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let harts = cx.machine.hart_count();
    let which = match args.words.first().map(String::as_str) {
        None => *cx.hart..*cx.hart + 1,
        Some("-a") => 0..harts,
        Some(word) => {
            let hart = expr::number(word).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < harts);
            let hart = hart.ok_or_else(|| format!("'{word}' is no hart: they are 0 to {}", harts - 1))?;
            hart..hart + 1
        }
    };
    for hart in which {
        let state = cx.machine.hart_state(hart)?;
        let values = cx.machine.hart_csrs(hart, CSRS.to_vec())?;
        let out = &mut *cx.out;
        let _ = writeln!(out, "\nCPU#{hart}");
        let _ = writeln!(out, " V      =   {}\n pc       {:016x}", u8::from(state.virt), state.pc);
        for (number, value) in CSRS.iter().zip(values) {
            if let (Some(csr), Some(value)) = (csr::by_number(*number), value) {
                let _ = writeln!(out, " {:<8} {value:016x}", csr.name);
            }
        }
        trace::x_registers(out, &state.x);
        if cx.machine.isa().has(arch::ext::Ext::F) {
            trace::f_registers(out, &state.f);
        }
    }
    Ok(())
}

fn mtree(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    // Regions do not lie upon each other here: the flat view is the same but for its head.
    let head = match args.words.as_slice() {
        [] => "address-space: memory\n  0000000000000000-ffffffffffffffff: system",
        [flag] if flag == "-f" => "FlatView: memory",
        [other, ..] => return Err(format!("'{other}' is not -f")),
    };
    let _ = writeln!(cx.out, "{head}");
    for region in cx.machine.regions() {
        let kind = match region.kind {
            RegionKind::Ram => "ram",
            RegionKind::Io => "i/o",
        };
        let _ = writeln!(
            cx.out,
            "    {:016x}-{:016x}: {kind} {}",
            region.base,
            region.base + (region.size - 1),
            region.name
        );
    }
    Ok(())
}

fn irq(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let _ = writeln!(cx.out, "{:>6}  {:<16}  {:>5}  {:>12}", "source", "device", "level", "raised");
    for Interrupt { source, device, line } in cx.machine.interrupts() {
        let _ = writeln!(cx.out, "{source:>6}  {device:<16}  {:>5}  {:>12}", u8::from(line.level()), line.raised());
    }
    Ok(())
}

/// In QEMU's words.
fn roms(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for Rom { name, address, size, is_ram } in cx.machine.roms() {
        let kind = if is_ram { "ram" } else { "rom" };
        let _ = writeln!(cx.out, "addr={address:016x} size=0x{size:06x} mem={kind} name=\"{name}\"");
    }
    Ok(())
}

fn chardev(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for device in cx.machine.chardevs() {
        let _ = writeln!(cx.out, "{}: filename={}", device.id(), device.far_end());
    }
    Ok(())
}

fn block(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let config = cx.machine.config();
    for (i, drive) in config.drives.iter().enumerate() {
        let end = if i == 0 { "" } else { "\n" };
        let side = if drive.readonly { ", read-only" } else { "" };
        let _ = writeln!(cx.out, "{end}{}: {} (raw{side})", drive.id, drive.file.display());
        if let Some(device) = cx.machine.disk_of(drive) {
            let _ = writeln!(cx.out, "    Attached to:      {}", device.id);
        }
        if let Some(size) = cx.machine.image_size(&drive.id) {
            let _ = writeln!(cx.out, "    Size:             {size} bytes");
        }
        let write = match drive.cache {
            CacheMode::WriteThrough | CacheMode::DirectSync => "writethrough",
            CacheMode::WriteBack | CacheMode::None | CacheMode::Unsafe => "writeback",
        };
        let direct = if matches!(drive.cache, CacheMode::None | CacheMode::DirectSync) { ", direct" } else { "" };
        let unsafe_ = if drive.cache == CacheMode::Unsafe { ", ignore flushes" } else { "" };
        let _ = writeln!(cx.out, "    Cache mode:       {write}{direct}{unsafe_}");
    }
    Ok(())
}

fn network(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let config = cx.machine.config();
    for v in &config.virtio {
        let VirtioKind::Net(card) = &v.kind else { continue };
        let mac = card.mac.map(|byte| format!("{byte:02x}")).join(":");
        let link = if cx.machine.link_is_up(&v.id) { "" } else { ",link=down" };
        let _ = writeln!(cx.out, "{}: type=nic,model=virtio-net-device,macaddr={mac}{link}", v.id);
        let kind = config.netdevs.iter().find(|n| n.id == card.netdev).map(|n| match n.backend {
            NetBackendConfig::User(_) => "user",
            NetBackendConfig::Tap(_) => "tap",
        });
        if let Some(kind) = kind {
            let _ = writeln!(cx.out, " \\ {}: type={kind}", card.netdev);
        }
    }
    Ok(())
}
