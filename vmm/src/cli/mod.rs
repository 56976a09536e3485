//! The command line: QEMU's options to a [`MachineConfig`].
//!
//! `argv` gives clap what it can read, one file an option family checks the values, and this file puts them
//! together. Nothing is opened or started here, apart from looking whether two drives are one file.

mod argv;
mod chardev;
mod console;
mod device;
mod drive;
mod engine;
mod error;
mod help;
pub mod log;
mod machine;
mod memory;
mod net;
mod object;
mod options;
mod optlist;
pub(crate) mod size;
mod smp;
mod time;
mod unsupported;

use std::path::{Path, PathBuf};

use accel::trace::TraceItems;
use arch::ext::{Ext, IsaConfig};
use devices::chardev::ChardevConfig;

use crate::board::BoardKind;
use crate::config;
use crate::config::{
    AccelChoice, Aia, Bios, BoardOptions, BootConfig, MachineConfig, NetdevConfig, OnReboot, OnShutdown, VirtioKind,
};
use crate::snapshot::{self, Channel};
use argv::Occurrence;
use console::Consoles;
use device::Devices;
use drive::{Drive, Interface};
pub use error::CliError;
use error::Result;
use object::Objects;
use options::Options;
use optlist::OptList;
pub use size::show as show_size;

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    Run(Box<MachineConfig>),
    /// A text for standard output.
    Print(String),
}

/// The character device of a gdb server that a monitor's command asks for, if it is to have one of its own.
///
/// # Errors
/// What is wrong with the text, or that there is a device already which it names.
pub fn gdb_server(context: &str, text: &str) -> std::result::Result<ChardevConfig, String> {
    match console::gdb_device(context, text).map_err(|error| error.to_string())? {
        chardev::Serial::New(config) => Ok(config),
        chardev::Serial::None | chardev::Serial::Existing(_) => {
            Err(format!("{context}: it needs a device of its own, such as tcp::1234 or unix:PATH"))
        }
    }
}

/// What `-device` takes.
pub fn device_types() -> &'static [device::DeviceType] {
    device::TYPES
}

/// Parses the words after the program's name.
pub fn parse(words: &[String]) -> Result<Command> {
    let (options, order) = argv::parse(words)?;
    if let Some(text) = information(&options)? {
        return Ok(Command::Print(text));
    }
    build(&options, &order).map(|c| Command::Run(Box::new(c)))
}

/// `-h`, `-version` and every `help`: looked at before anything is checked.
fn information(o: &Options) -> Result<Option<String>> {
    if o.help > 0 {
        return Ok(Some(argv::help()));
    }
    if o.version > 0 {
        return Ok(Some(format!("vireo {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let asks = |values: &[String]| values.iter().any(|v| v == "help" || v == "?");
    type List<'a> = (&'a [String], fn() -> String);
    let lists: [List<'_>; 17] = [
        (&o.machine, help::machines),
        (&o.accel, help::accels),
        (&o.cpu, help::cpus),
        (&o.device, help::devices),
        (&o.netdev, help::netdevs),
        (&o.nic, help::netdevs),
        (&o.chardev, help::chardevs),
        (&o.serial, help::chardevs),
        (&o.log, help::log_items),
        (&o.object, help::objects),
        (&o.monitor, help::chardevs),
        (&o.gdb, help::chardevs),
        (&o.qmp, help::chardevs),
        (&o.qmp_pretty, help::chardevs),
        (&o.mon, || help::short("-mon", "[chardev=]ID[,mode=readline|control][,pretty=on|off]")),
        (&o.display, || help::short("-display", "none")),
        (&o.smp, || {
            help::short("-smp", "[cpus=]N[,sockets=S][,clusters=C][,cores=C][,threads=T][,affinity=HARTS@CPUS:...]")
        }),
    ];
    if let Some((_, list)) = lists.iter().find(|(values, _)| asks(values)) {
        return Ok(Some(list()));
    }
    for text in &o.machine {
        let list = OptList::parse("-machine", text)?;
        if list.asks_help() {
            return Ok(Some(help::machine_properties()));
        }
    }
    for text in &o.accel {
        let mut list = OptList::parse("-accel", text)?;
        if list.asks_help() {
            let names = list.head("accel")?.unwrap_or_default();
            // An unknown name falls through to the error of the real parse.
            return Ok(help::accel_properties(&names));
        }
    }
    for text in &o.cpu {
        let (name, rest) = text.split_once(',').unwrap_or((text, ""));
        if rest.split(',').any(|word| word == "help" || word == "?") {
            // An unknown name falls through to the error of the real parse.
            return Ok(help::cpu_properties(name));
        }
    }
    for text in &o.object {
        let mut list = OptList::parse("-object", text)?;
        if list.asks_help() {
            let name = list.head("qom-type")?.unwrap_or_default();
            // An unknown name falls through to the error of the real parse.
            return Ok(help::object_properties(&name));
        }
    }
    for text in &o.device {
        let mut list = OptList::parse("-device", text)?;
        if list.asks_help() {
            let name = list.head("driver")?.unwrap_or_default();
            // An unknown name falls through to the error of the real parse.
            return Ok(help::device_properties(&name));
        }
    }
    Ok(None)
}

fn build(o: &Options, order: &[Occurrence]) -> Result<MachineConfig> {
    let machine = machine::parse_machine(&o.machine)?;
    let accel = engine::parse_accel(&o.accel, machine.accel.as_deref(), o.enable_kvm > 0, machine.irqchip)?;
    let (name, process_name) = machine::parse_name(&o.name)?;
    let boot = parse_boot(o, &machine.boot)?;
    let isa = with_interrupts(parse_cpu(&o.cpu)?, &machine.board)?;
    check_words("-display", &o.display, &["none"])?;

    let mut drives = drive::parse_blockdevs(&o.blockdev)?;
    drives.extend(o.drive.iter().enumerate().map(|(n, d)| drive::parse_drive(d, n)).collect::<Result<Vec<_>>>()?);
    if o.snapshot > 0 {
        drives.iter_mut().for_each(|d| d.config.snapshot = true);
    }
    let flash = parse_flash(&drives, machine.pflash.clone(), &boot)?;
    let mut netdevs = o.netdev.iter().map(|n| net::parse_netdev(n)).collect::<Result<Vec<_>>>()?;
    let objects = object::parse(&o.object, &memory::defaults(o, &machine))?;
    let devices = parse_devices(o, order, &objects, &drives, &mut netdevs)?;
    let contexts: Vec<_> = devices.requests.iter().map(|r| r.context.clone()).collect();
    let virtio = devices.place()?;
    let Consoles { chardevs, serial, monitors } = console::parse(o)?;
    let (topology, affinity) = smp::parse(&o.smp)?;
    let log = log::parse(&o.log, &o.log_filter, &o.log_file, topology.harts())?;
    let (ram_size, ram) = memory::parse_ram(o, &machine, objects.memory)?;

    let incoming = parse_incoming(&o.incoming, &o.loadvm, machine.board.snapshots.as_deref())?;

    let config = MachineConfig {
        name,
        process_name,
        machine: machine.machine,
        board: machine.board,
        accel,
        cpu: o.cpu.last().cloned(),
        isa,
        ram_size,
        ram,
        lock: memory::parse_overcommit(&o.overcommit)?,
        topology,
        affinity,
        boot,
        drives: Vec::new(),
        flash,
        chardevs,
        serial,
        monitors,
        starts_stopped: o.stopped > 0,
        incoming,
        netdevs,
        virtio,
        force_legacy: machine::parse_global(&o.global)?,
        rtc: time::parse_rtc(&o.rtc)?,
        icount: time::parse_icount(&o.icount)?,
        perf_map: o.perfmap > 0,
        jit_dump: o.jitdump > 0,
        semihosting: machine::parse_semihosting(o.semihosting > 0, &o.semihosting_config)?,
        on_reboot: if o.no_reboot > 0 { OnReboot::Exit } else { OnReboot::Reset },
        on_shutdown: if o.no_shutdown > 0 { OnShutdown::Pause } else { OnShutdown::Exit },
        pidfile: o.pidfile.last().map(PathBuf::from),
        log,
    };
    check_references(&config, &contexts, &drives)?;
    check_contract(&config)?;
    let drives = drives.into_iter().map(|d| d.config).collect();
    Ok(MachineConfig { drives, ..config })
}

/// `-incoming` and `-loadvm`: the last one counts, as with QEMU.
fn parse_incoming(values: &[String], names: &[String], folder: Option<&Path>) -> Result<Option<config::Incoming>> {
    if let Some(name) = names.last() {
        if !values.is_empty() {
            return Err(CliError::new("-loadvm", "the guest comes from -incoming already"));
        }
        let path = snapshot::named(folder, name).map_err(|message| CliError::new("-loadvm", message))?;
        return Ok(Some(config::Incoming::From(Channel::File { path, map: false })));
    }
    let Some(text) = values.last() else { return Ok(None) };
    if text == "defer" {
        return Ok(Some(config::Incoming::Deferred));
    }
    let channel = Channel::parse(text).map_err(|message| CliError::new("-incoming", message))?;
    Ok(Some(config::Incoming::From(channel)))
}

/// Whether `-cpu` asks for the host's harts.
pub fn names_host(cpu: &str) -> bool {
    cpu.split(',').next().unwrap_or_default().trim() == arch::model::HOST
}

fn parse_cpu(values: &[String]) -> Result<arch::ext::IsaConfig> {
    match values.last() {
        None => Ok(arch::ext::IsaConfig::default()),
        // Only the engine knows.
        Some(text) if names_host(text) => Ok(arch::ext::IsaConfig::default()),
        Some(text) => arch::model::parse(text).map_err(|e| CliError::new(format!("-cpu {text}"), e.to_string())),
    }
}

/// What the board's interrupt controllers make of a hart's ISA.
fn with_interrupts(mut isa: IsaConfig, board: &BoardOptions) -> Result<IsaConfig> {
    if board.aia == Aia::AplicImsic {
        if !isa.has(Ext::S) {
            let message = format!("needs harts with S-mode, which -cpu {} has not", isa.model);
            return Err(CliError::new("-machine aia=aplic-imsic", message));
        }
        isa.exts.insert(Ext::Smaia);
        isa.exts.insert(Ext::Ssaia);
        isa.imsic = true;
        isa.geilen = if isa.has(Ext::H) { board.aia_guests } else { 0 };
    }
    Ok(isa)
}

fn parse_boot(o: &Options, machine: &[Option<String>; 5]) -> Result<BootConfig> {
    let pick = |option: &str, values: &[String], other: &Option<String>| {
        let text = values.last().cloned().or(other.clone());
        match text {
            Some(text) if text.is_empty() => Err(CliError::new(option, "the file's name is empty")),
            text => Ok(text.map(PathBuf::from)),
        }
    };
    let bios = match o.bios.last().or(machine[4].as_ref()).map(String::as_str) {
        None | Some("default") => Bios::Default,
        Some("none") => Bios::None,
        Some("") => return Err(CliError::new("-bios", "must be default, none or a file's name")),
        Some(file) => Bios::File(file.into()),
    };
    let boot = BootConfig {
        bios,
        kernel: pick("-kernel", &o.kernel, &machine[0])?,
        initrd: pick("-initrd", &o.initrd, &machine[1])?,
        append: o.append.last().or(machine[2].as_ref()).cloned().unwrap_or_default(),
        dtb: pick("-dtb", &o.dtb, &machine[3])?,
    };
    if boot.kernel.is_none() {
        if boot.initrd.is_some() {
            return Err(CliError::new("-initrd", "needs -kernel"));
        }
        // The demo guest reads its command line too.
        if !boot.append.is_empty() && boot.bios != Bios::Default {
            return Err(CliError::new("-append", "needs -kernel"));
        }
    }
    Ok(boot)
}

/// What may only be one word.
fn check_words(option: &str, values: &[String], allowed: &[&str]) -> Result<()> {
    match values.iter().find(|v| !allowed.contains(&v.as_str())) {
        None => Ok(()),
        Some(v) => Err(CliError::new(
            format!("{option} {v}"),
            format!("'{v}' is not supported by vireo yet; it must be {}", allowed.join(" or ")),
        )),
    }
}

/// The flash banks: `-machine pflash0=ID` and `-drive if=pflash`.
fn parse_flash(drives: &[Drive], ids: [Option<String>; 2], boot: &BootConfig) -> Result<[Option<String>; 2]> {
    let mut banks = ids;
    for (n, id) in banks.iter().enumerate() {
        if let Some(id) = id
            && !drives.iter().any(|d| d.config.id == *id)
        {
            return Err(CliError::new(format!("-machine pflash{n}={id}"), "no -drive or -blockdev has this id"));
        }
    }
    for d in drives.iter().filter(|d| d.interface == Interface::Flash) {
        let free = banks.iter().position(Option::is_none).unwrap_or(banks.len());
        let bank = d.index.map_or(free, |i| i as usize);
        match banks.get_mut(bank) {
            Some(slot @ None) => *slot = Some(d.config.id.clone()),
            Some(Some(other)) => {
                return Err(CliError::new(&d.context, format!("flash bank {bank} already holds drive '{other}'")));
            }
            None => return Err(CliError::new(&d.context, "the board has two flash banks, 0 and 1")),
        }
    }
    let m_mode = boot.bios != Bios::Default;
    if banks[0].is_some() && !m_mode {
        let message = "code in flash runs in M-mode; give -bios none to start there, or -bios FILE";
        return Err(CliError::new("pflash0", message));
    }
    Ok(banks)
}

/// Everything that takes a virtio transport, in the order of the command line.
fn parse_devices(
    o: &Options,
    order: &[Occurrence],
    objects: &Objects,
    drives: &[Drive],
    netdevs: &mut Vec<NetdevConfig>,
) -> Result<Devices> {
    let mut devices = Devices::default();
    let mut disks: Vec<_> = drives.iter().filter(|d| d.interface == Interface::Virtio).collect();
    // `index=` reorders the disks among themselves.
    disks.sort_by_key(|d| d.index.unwrap_or(u32::MAX));
    let mut disks = disks.into_iter();
    let mut drives_seen = drives.iter().skip(o.blockdev.len());
    let mut nics = 0;
    for occurrence in order {
        match occurrence.name.as_str() {
            "device" => devices.add(&occurrence.value, objects)?,
            "drive" if drives_seen.next().is_some_and(|d| d.interface == Interface::Virtio) => {
                let d = disks.next().expect("as many disks as drives that are disks");
                devices.add_disk(&d.config.id, &d.context)?;
            }
            "nic" => {
                nics += 1;
                if let Some(nic) = net::parse_nic(&occurrence.value, nics - 1)? {
                    let context = format!("-nic {}", occurrence.value);
                    devices.add_nic(&nic.netdev.id, nic.mac, &context)?;
                    netdevs.push(nic.netdev);
                }
            }
            _ => {}
        }
    }
    for (i, n) in netdevs.iter().enumerate() {
        if netdevs[..i].iter().any(|other| other.id == n.id) {
            return Err(CliError::new(format!("-netdev id={}", n.id), "another network has this id"));
        }
    }
    Ok(devices)
}

/// Every id that a device names exists, and is used once.
fn check_references(config: &MachineConfig, contexts: &[String], drives: &[Drive]) -> Result<()> {
    let mut used_drives: Vec<&str> = config.flash.iter().flatten().map(String::as_str).collect();
    let mut used_nets: Vec<&str> = Vec::new();
    let mut used_chardevs: Vec<&str> = config.serial.iter().map(String::as_str).collect();
    used_chardevs.extend(config.monitors.iter().map(|m| m.chardev.as_str()));
    if let Some(id) = config.semihosting.as_ref().and_then(|s| s.chardev.as_deref()) {
        let error = |message| CliError::new(format!("-semihosting-config chardev={id}"), message);
        let device = config.chardevs.iter().find(|d| d.id == id).ok_or_else(|| error("no -chardev has this id"))?;
        if used_chardevs.contains(&id) && !device.mux {
            return Err(error("another device uses it (mux=on shares it)"));
        }
        used_chardevs.push(id);
    }
    for (v, context) in config.virtio.iter().zip(contexts) {
        let error = |message: String| CliError::new(context, message);
        match &v.kind {
            VirtioKind::Block(b) => {
                if !drives.iter().any(|d| d.config.id == b.drive) {
                    return Err(error(format!("drive={}: no -drive or -blockdev has this id", b.drive)));
                }
                if used_drives.contains(&b.drive.as_str()) {
                    return Err(error(format!("drive={}: another device uses it", b.drive)));
                }
                used_drives.push(&b.drive);
            }
            VirtioKind::Net(n) => {
                if !config.netdevs.iter().any(|d| d.id == n.netdev) {
                    return Err(error(format!("netdev={}: no -netdev has this id", n.netdev)));
                }
                if used_nets.contains(&n.netdev.as_str()) {
                    return Err(error(format!("netdev={}: another device uses it", n.netdev)));
                }
                used_nets.push(&n.netdev);
            }
            VirtioKind::Console(c) => {
                for port in &c.ports {
                    let device = config.chardevs.iter().find(|d| d.id == port.chardev);
                    let device =
                        device.ok_or_else(|| error(format!("chardev={}: no -chardev has this id", port.chardev)))?;
                    if used_chardevs.contains(&port.chardev.as_str()) && !device.mux {
                        return Err(error(format!(
                            "chardev={}: another device uses it (mux=on shares it)",
                            port.chardev
                        )));
                    }
                    used_chardevs.push(&port.chardev);
                }
            }
            VirtioKind::Rng(_) | VirtioKind::Keyboard => {}
        }
    }
    drive::check_all(drives, &used_drives)
}

/// What the board `spike` lacks.
fn check_spike(config: &MachineConfig) -> Result<()> {
    let error = |message: &str| Err(CliError::new("-machine spike", message));
    if let Some(device) = config.virtio.first() {
        return error(&format!("the board has no virtio transport for device '{}'; use -M virt", device.id));
    }
    if config.flash.iter().any(Option::is_some) {
        return error("the board has no flash; use -M virt");
    }
    if config.board.aclint {
        return error("the board has a CLINT; aclint=on is for -M virt");
    }
    if config.board.aia != Aia::None {
        return error("the board has a PLIC; aia= is for -M virt");
    }
    if !config.board.htif {
        return error("HTIF is what the board has; htif=off is for -M virt");
    }
    if config.boot.bios == Bios::Default && config.boot.kernel.is_none() {
        return error("needs code to run: -bios FILE, -bios none -kernel FILE, or -kernel FILE");
    }
    Ok(())
}

/// What goes together with which board and which kind of boot.
fn check_contract(config: &MachineConfig) -> Result<()> {
    if config.machine.board == BoardKind::Spike {
        check_spike(config)?;
    }
    if config.icount.is_some() && config.topology.harts() > 1 {
        return Err(CliError::new("-icount", "one hart's instructions are the clock; -smp must be 1"));
    }
    let only_kvm = !config.accel.is_empty() && config.accel.iter().all(|a| matches!(a, AccelChoice::Kvm(_)));
    if only_kvm && config.icount.is_some() {
        return Err(CliError::new("-icount", "KVM does not count instructions; use -accel tcg"));
    }
    let goes_away = config.accel.iter().any(|a| matches!(a, AccelChoice::Kvm(kvm) if kvm.debug_switch));
    let translates = |a: &AccelChoice| matches!(a, AccelChoice::Tcg(tcg) if tcg.jit);
    if !config.accel.is_empty() && !config.accel.iter().any(translates) {
        let code = config.log.items.contains(TraceItems::OUT_ASM) && !goes_away;
        let engine = if only_kvm { "KVM" } else { "interp" };
        for (option, given) in [("-perfmap", config.perf_map), ("-jitdump", config.jit_dump), ("-d out_asm", code)] {
            if given {
                return Err(CliError::new(option, format!("{engine} makes no host code; use -accel tcg")));
            }
        }
    }
    if only_kvm && !goes_away && !config.log.items.is_empty() {
        let names: Vec<_> = config.log.names.iter().copied().filter(|n| log::is_of_engine(n)).collect();
        let message =
            "KVM runs the guest's code itself and shows none of it; use -accel tcg, or -accel kvm,debug-switch=on";
        return Err(CliError::new(format!("-d {}", names.join(",")), message));
    }
    if config.board.aclint && config.boot.bios == Bios::Default {
        let message =
            "the ACLINT belongs to M-mode, which the built-in SBI takes the place of; give -bios FILE or -bios none";
        return Err(CliError::new("-machine aclint=on", message));
    }
    if only_kvm && matches!(config.boot.bios, Bios::File(_)) {
        let message = "M-mode firmware does not run under KVM; use -accel tcg, or -bios none";
        return Err(CliError::new("-bios", message));
    }
    if config.boot.bios == Bios::None && config.boot.kernel.is_none() && config.flash[0].is_none() {
        return Err(CliError::new("-bios none", "needs code to run: -kernel FILE or a pflash drive"));
    }
    if let Some(kernel_less) =
        config.boot.dtb.as_ref().filter(|_| config.boot.kernel.is_none() && config.boot.bios == Bios::Default)
    {
        let message = "needs -kernel or -bios; the demo guest reads the machine's own device tree";
        return Err(CliError::new(format!("-dtb {}", kernel_less.display()), message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
