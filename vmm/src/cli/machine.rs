//! Options about the machine as a whole: `-M`, `-m`, `-name`, `-semihosting`, `-global`.

use std::path::PathBuf;

use accel::kvm::options::KernelIrqchip;
use devices::intc::imsic::GUESTS_MAX;

use super::error::{CliError, Result, did_you_mean};
use super::optlist::{OptList, on_off};
use super::size;
use crate::board::{self, MachineType};
use crate::config::{Aia, BoardOptions, RAM_MAX, RAM_MIN, SemihostingConfig};

/// What the `-machine` options said together.
#[derive(Debug)]
pub struct Machine {
    pub machine: &'static MachineType,
    pub board: BoardOptions,
    /// `accel=`.
    pub accel: Option<String>,
    /// `kernel-irqchip=`, which is KVM's.
    pub irqchip: Option<KernelIrqchip>,
    pub pflash: [Option<String>; 2],
    /// `memory-backend=`: the object that is RAM.
    pub memory_backend: Option<String>,
    /// `mem-merge=` and `dump-guest-core=`.
    pub mem_merge: bool,
    pub dump_guest_core: bool,
    /// QEMU's other way of writing -kernel, -initrd, -append, -dtb and -bios.
    pub boot: [Option<String>; 5],
}

pub fn parse_machine(values: &[String]) -> Result<Machine> {
    let mut m = Machine {
        machine: board::default_machine(),
        board: BoardOptions::default(),
        accel: None,
        irqchip: None,
        pflash: [None, None],
        memory_backend: None,
        mem_merge: true,
        dump_guest_core: true,
        boot: Default::default(),
    };
    for text in values {
        let mut o = OptList::parse("-machine", text)?;
        if let Some(name) = o.head("type")? {
            m.machine = board::find_machine(&name).ok_or_else(|| {
                let names = board::MACHINES.iter().flat_map(|m| m.names());
                let hint = did_you_mean(&name, names);
                o.error(format!("unknown machine '{name}'{hint}; -M help lists them"))
            })?;
        }
        m.accel = o.text("accel")?.or(m.accel);
        m.irqchip = o.choice("kernel-irqchip", &KernelIrqchip::WORDS)?.or(m.irqchip);
        m.board.aclint = o.flag("aclint")?.unwrap_or(m.board.aclint);
        let aia = [("none", Aia::None), ("aplic", Aia::Aplic), ("aplic-imsic", Aia::AplicImsic)];
        m.board.aia = o.choice("aia", &aia)?.unwrap_or(m.board.aia);
        m.board.aia_guests = o.number("aia-guests", 0..=GUESTS_MAX)?.unwrap_or(m.board.aia_guests);
        m.board.timebase = o.number("timebase", 1_000..=1_000_000_000)?.or(m.board.timebase);
        m.board.snapshots = o.text("snapshots")?.map(PathBuf::from).or(m.board.snapshots);
        m.board.dumpdtb = o.text("dumpdtb")?.map(PathBuf::from).or(m.board.dumpdtb);
        m.board.htif = o.flag("htif")?.unwrap_or(m.board.htif);
        m.board.signature = o.text("signature")?.map(PathBuf::from).or(m.board.signature);
        if let Some(bytes) = o.number::<u8>("signature-granularity", 1..=128)? {
            if !bytes.is_power_of_two() {
                return Err(o.error(format!("signature-granularity={bytes} must be a power of two from 1 to 128")));
            }
            m.board.signature_granularity = bytes;
        }
        m.pflash[0] = o.text("pflash0")?.or(m.pflash[0].take());
        m.pflash[1] = o.text("pflash1")?.or(m.pflash[1].take());
        m.memory_backend = o.text("memory-backend")?.or(m.memory_backend.take());
        m.mem_merge = o.flag("mem-merge")?.unwrap_or(m.mem_merge);
        m.dump_guest_core = o.flag("dump-guest-core")?.unwrap_or(m.dump_guest_core);
        for (value, key) in m.boot.iter_mut().zip(["kernel", "initrd", "append", "dtb", "firmware"]) {
            *value = o.text(key)?.or(value.take());
        }
        refuse_others(&mut o)?;
        o.finish()?;
    }
    Ok(m)
}

/// Properties that QEMU's board has: accepted where the value asks for what is so anyway.
fn refuse_others(o: &mut OptList) -> Result<()> {
    for key in ["usb", "acpi", "graphics", "iommu-sys", "smbios"] {
        if o.flag(key)? == Some(true) {
            return Err(o.error(format!("{key}=on is not supported by vireo yet")));
        }
    }
    o.unsupported(&["memory-encryption", "dt-compatible", "phandle-start", "hmat", "nvdimm", "smp", "memory"])
}

/// Bytes; `None`: the machine's own size.
pub fn parse_memory(values: &[String]) -> Result<Option<u64>> {
    let mut ram = None;
    for text in values {
        let mut o = OptList::parse("-m", text)?;
        o.unsupported(&["slots", "maxmem"])?;
        if let Some(text) = o.head("size")? {
            let range = format!("must be from {} to {}", size::show(RAM_MIN), size::show(RAM_MAX));
            let bytes = size::parse(&text, 1 << 20).map_err(|e| o.error(format!("RAM size {e}")))?;
            // Pages are 4 KiB.
            ram = match bytes.checked_next_multiple_of(4096) {
                Some(bytes) if (RAM_MIN..=RAM_MAX).contains(&bytes) => Some(bytes),
                _ => return Err(o.error(format!("RAM size {range}"))),
            };
        }
        o.finish()?;
    }
    Ok(ram)
}

/// The guest's and the process's name.
pub fn parse_name(values: &[String]) -> Result<(Option<String>, Option<String>)> {
    let (mut guest, mut process) = (None, None);
    for text in values {
        let mut o = OptList::parse("-name", text)?;
        guest = o.head("guest")?.or(guest);
        process = o.text("process")?.or(process);
        // Threads always have names.
        o.flag("debug-threads")?;
        o.finish()?;
    }
    Ok((guest, process))
}

/// `-semihosting` and `-semihosting-config`, which turns them on unless it says otherwise.
pub fn parse_semihosting(on: bool, values: &[String]) -> Result<Option<SemihostingConfig>> {
    let mut on = on;
    let mut config = SemihostingConfig::default();
    for text in values {
        let mut o = OptList::parse_headless("-semihosting-config", text)?;
        on = o.flag("enable")?.unwrap_or(true);
        if let Some(target) = o.text("target")?
            && !["native", "auto"].contains(&target.as_str())
        {
            return Err(o.error(format!("target={target} is not supported by vireo yet; it must be native or auto")));
        }
        config.chardev = o.text("chardev")?.or(config.chardev);
        config.userspace = o.flag("userspace")?.unwrap_or(config.userspace);
        config.args.extend(o.texts("arg")?);
        o.finish()?;
    }
    Ok(on.then_some(config))
}

/// `-global`: whether virtio-mmio is legacy.
pub fn parse_global(values: &[String]) -> Result<bool> {
    let mut legacy = false;
    for text in values {
        let error = |message: String| CliError::new(format!("-global {text}"), message);
        match text.split_once('=') {
            Some(("virtio-mmio.force-legacy", value)) => {
                legacy = on_off(value).ok_or_else(|| error("must be 'on' or 'off'".to_owned()))?;
            }
            Some((name, _)) => {
                return Err(error(format!(
                    "'{name}' is not supported by vireo yet; only virtio-mmio.force-legacy=on|off is"
                )));
            }
            None => return Err(error("must be DRIVER.PROPERTY=VALUE".to_owned())),
        }
    }
    Ok(legacy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn memory() {
        assert_eq!(parse_memory(&[]), Ok(None));
        assert_eq!(parse_memory(&v("512M")), Ok(Some(512 << 20)));
        assert_eq!(parse_memory(&v("4G")), Ok(Some(4 << 30)));
        assert_eq!(parse_memory(&v("size=1G")), Ok(Some(1 << 30)));
        assert_eq!(parse_memory(&v("3000000B")), Ok(Some(3_002_368)));
        for text in ["0", "1T", "1", "0x0", "512.5G", "513G"] {
            let e = parse_memory(&v(text)).unwrap_err().to_string();
            assert_eq!(e, format!("-m {text}: RAM size must be from 2M to 512G"));
        }
        for text in ["abc", "-1", "16E", "4G,slots=2,maxmem=8G", "1G,foo=1", "1Q"] {
            let e = parse_memory(&v(text)).unwrap_err().to_string();
            assert!(e.starts_with(&format!("-m {text}: ")), "{e}");
        }
    }

    #[test]
    fn machines() {
        let m = parse_machine(&v("virt,aclint=on,timebase=1000000,dumpdtb=a,accel=tcg,pflash0=f")).unwrap();
        assert!(m.board.aclint);
        assert_eq!((m.board.timebase, m.accel.as_deref()), (Some(1_000_000), Some("tcg")));
        assert_eq!(m.pflash[0].as_deref(), Some("f"));
        assert_eq!(parse_machine(&v("virt-1.0")).unwrap().machine.name, parse_machine(&[]).unwrap().machine.name);
        assert!(!parse_machine(&v("virt,aia=none,usb=off,acpi=off")).unwrap().board.aclint);
        for (text, what) in [
            ("virtt", "did you mean 'virt'"),
            ("sifive_u", "unknown machine"),
            ("spike,signature-granularity=3", "a power of two"),
            ("virt,aia=imsic", "must be one of none, aplic, aplic-imsic"),
            ("virt,aia=aplic-imsic,aia-guests=8", "must be a number from 0 to 7"),
            ("virt,acpi=on", "not supported by vireo yet"),
            ("virt,timebase=0", "timebase=0"),
            ("virt,aclnt=on", "did you mean 'aclint'"),
            ("virt,aclint=maybe", "'on' or 'off'"),
        ] {
            let e = parse_machine(&v(text)).expect_err(text).to_string();
            assert!(e.contains(what), "{text}: {e}");
        }
    }

    #[test]
    fn globals() {
        assert_eq!(parse_global(&v("virtio-mmio.force-legacy=on")), Ok(true));
        assert_eq!(parse_global(&v("virtio-mmio.force-legacy=false")), Ok(false));
        for bad in ["", "virtio-mmio.force-legacy", "virtio-mmio.force-legacy=2", "e1000.mac=1"] {
            assert!(parse_global(&v(bad)).is_err(), "{bad}");
        }
    }
}
