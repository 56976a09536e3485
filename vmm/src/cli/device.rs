//! `-device`: what is plugged into the board's virtio-mmio transports.

use std::time::Duration;

use super::drive::{check_id, on_errors};
use super::error::{CliError, Result, did_you_mean};
use super::net;
use super::object::Objects;
use super::optlist::OptList;
use crate::config::{
    BlockConfig, ConsoleConfig, ConsolePort, NetConfig, OnErrors, RngConfig, VIRTIO_SLOTS, VirtioConfig, VirtioKind,
};

/// A device that `-device` makes.
pub struct DeviceType {
    pub name: &'static str,
    pub description: &'static str,
    /// Name, kind of value, meaning.
    pub properties: &'static [(&'static str, &'static str, &'static str)],
}

/// For `-device help`.
pub static TYPES: &[DeviceType] = &[
    DeviceType {
        name: "virtio-blk-device",
        description: "disk",
        properties: &[
            ("drive", "ID", "the -drive or -blockdev behind it"),
            ("serial", "TEXT", "serial number, at most 20 bytes"),
            ("num-queues", "1..64", "request queues (default: one a hart, at most 4)"),
            ("queue-size", "4..1024, power of two", "entries of a queue (default: 256)"),
            ("discard", "on|off", "offer discard (default: on)"),
            ("write-zeroes", "on|off", "offer write-zeroes (default: on)"),
            ("write-cache", "on|off|auto", "show a write cache (default: as the drive's cache=)"),
            ("logical_block_size", "512|1024|2048|4096", "bytes (default: 512)"),
            ("rerror", "report|ignore|stop|auto", "reads that fail (default: as the drive, or report)"),
            ("werror", "report|ignore|stop|enospc|auto", "writes that fail (default: as the drive, or enospc)"),
        ],
    },
    DeviceType {
        name: "virtio-net-device",
        description: "network card",
        properties: &[
            ("netdev", "ID", "the -netdev behind it"),
            ("mac", "ADDRESS", "hardware address (default: 52:54:00:12:34:56 and up)"),
            ("rx_queue_size", "64..1024, power of two", "entries of the receive queue (default: 256)"),
            ("tx_queue_size", "64..1024, power of two", "entries of the send queue (default: 256)"),
            ("host_mtu", "68..65535", "MTU to tell the guest"),
            ("csum, mrg_rxbuf, guest_tso4, ...", "on|off", "features to offer (default: on)"),
        ],
    },
    DeviceType {
        name: "virtio-rng-device",
        description: "entropy source",
        properties: &[
            ("rng", "ID", "the -object behind it (default: the host's generator)"),
            ("max-bytes", "NUMBER", "most bytes in a period"),
            ("period", "MILLISECONDS", "the period (default: 65536)"),
        ],
    },
    DeviceType {
        name: "virtio-keyboard-device",
        description: "keyboard for sendkey; its power key is what system_powerdown presses",
        properties: &[],
    },
    DeviceType {
        name: "virtio-serial-device",
        description: "bus for virtconsole and virtserialport",
        properties: &[("max_ports", "1..31", "most ports (default: 31)")],
    },
    DeviceType {
        name: "virtconsole",
        description: "console (hvc0 ...) on a virtio-serial-device",
        properties: &[
            ("chardev", "ID", "the -chardev behind it"),
            ("name", "TEXT", "name shown to the guest"),
            ("nr", "0..30", "port number (default: the lowest free one)"),
        ],
    },
    DeviceType {
        name: "virtserialport",
        description: "byte channel on a virtio-serial-device",
        properties: &[
            ("chardev", "ID", "the -chardev behind it"),
            ("name", "TEXT", "name shown to the guest"),
            ("nr", "0..30", "port number (default: the lowest free one)"),
        ],
    },
];

/// Features of a card that can be switched off, with their bits (virtio 1.3, 5.1.3).
const NET_FEATURES: &[(&str, &[u32])] = &[
    ("csum", &[0]),
    ("guest_csum", &[1]),
    ("ctrl_guest_offloads", &[2]),
    ("guest_tso4", &[7]),
    ("guest_tso6", &[8]),
    ("guest_ecn", &[9]),
    ("guest_ufo", &[10]),
    ("host_tso4", &[11]),
    ("host_tso6", &[12]),
    ("host_ecn", &[13]),
    ("host_ufo", &[14]),
    ("gso", &[11, 12, 13, 14]),
    ("mrg_rxbuf", &[15]),
    ("status", &[16]),
    ("ctrl_vq", &[17]),
    ("ctrl_rx", &[18]),
    ("ctrl_vlan", &[19]),
    ("guest_announce", &[21]),
    ("ctrl_mac_addr", &[23]),
];

/// Something that wants a transport.
#[derive(Debug)]
pub struct Request {
    pub id: String,
    /// `bus=virtio-mmio-bus.N`.
    pub slot: Option<u8>,
    pub kind: VirtioKind,
    /// The option as given, for messages.
    pub context: String,
}

/// Collects devices in the order of the command line.
#[derive(Debug, Default)]
pub struct Devices {
    pub requests: Vec<Request>,
    made: usize,
    macs: u8,
}

impl Devices {
    /// One `-device`.
    pub fn add(&mut self, text: &str, objects: &Objects) -> Result<()> {
        let mut o = OptList::parse("-device", text)?;
        let name = o.head("driver")?.ok_or_else(|| o.error("needs a device; -device help lists them"))?;
        if !TYPES.iter().any(|t| t.name == name) {
            return Err(unknown(&o, &name));
        }
        let id = o.text("id")?;
        let id = check_id(&o, id)?.unwrap_or_else(|| self.make_id(&name));
        if name == "virtconsole" || name == "virtserialport" {
            return self.add_port(&id, name == "virtconsole", o);
        }
        let bus = o.text("bus")?;
        let slot = match bus {
            Some(bus) => Some(slot_of(&bus).ok_or_else(|| {
                o.error(format!("bus={bus}: must be virtio-mmio-bus.N with N from 0 to {}", VIRTIO_SLOTS - 1))
            })?),
            None => None,
        };
        let kind = match name.as_str() {
            "virtio-blk-device" => VirtioKind::Block(block(&mut o)?),
            "virtio-net-device" => VirtioKind::Net(self.net(&mut o)?),
            "virtio-rng-device" => VirtioKind::Rng(rng(&mut o, objects)?),
            "virtio-keyboard-device" => VirtioKind::Keyboard,
            "virtio-serial-device" => {
                let max_ports = o.number("max_ports", 1..=31)?.unwrap_or(31);
                VirtioKind::Console(ConsoleConfig { max_ports, ports: Vec::new() })
            }
            other => unreachable!("{other} is in TYPES but has no arm here"),
        };
        let context = o.context().to_owned();
        o.finish()?;
        self.push(Request { id, slot, kind, context })
    }

    /// The disk that `-drive if=virtio` makes.
    pub fn add_disk(&mut self, drive: &str, context: &str) -> Result<()> {
        let kind = VirtioKind::Block(BlockConfig::new(drive));
        self.push(Request { id: format!("virtio-{drive}"), slot: None, kind, context: context.to_owned() })
    }

    /// The card that `-nic` makes.
    pub fn add_nic(&mut self, netdev: &str, mac: Option<[u8; 6]>, context: &str) -> Result<()> {
        let mac = mac.unwrap_or_else(|| self.next_mac());
        let kind = VirtioKind::Net(NetConfig { mac, ..NetConfig::new(netdev) });
        self.push(Request { id: format!("virtio-{netdev}"), slot: None, kind, context: context.to_owned() })
    }

    fn push(&mut self, request: Request) -> Result<()> {
        if self.requests.iter().any(|r| r.id == request.id) {
            return Err(CliError::new(
                request.context,
                format!("the id '{}' is already that of another device", request.id),
            ));
        }
        self.requests.push(request);
        Ok(())
    }

    fn make_id(&mut self, name: &str) -> String {
        self.made += 1;
        format!("{name}.{}", self.made - 1)
    }

    fn next_mac(&mut self) -> [u8; 6] {
        self.macs = self.macs.wrapping_add(1);
        [0x52, 0x54, 0x00, 0x12, 0x34, 0x55u8.wrapping_add(self.macs)]
    }

    fn net(&mut self, o: &mut OptList) -> Result<NetConfig> {
        o.unsupported(&[
            "mq",
            "vectors",
            "csum",
            "gso",
            "rss",
            "ctrl_vq",
            "status",
            "guest_csum",
            "guest_tso4",
            "guest_tso6",
        ])?;
        let netdev = o.text("netdev")?.ok_or_else(|| o.error("needs netdev=ID"))?;
        let mac = match o.text("mac")? {
            Some(text) => net::parse_mac(&text).ok_or_else(|| net::mac_error(o, &text))?,
            None => self.next_mac(),
        };
        let mut without = 0;
        for (name, bits) in NET_FEATURES {
            if o.flag(name)? == Some(false) {
                without |= bits.iter().fold(0, |all, bit| all | 1 << bit);
            }
        }
        Ok(NetConfig {
            netdev,
            mac,
            without,
            rx_queue_size: queue_size(o, "rx_queue_size", 64)?,
            tx_queue_size: queue_size(o, "tx_queue_size", 64)?,
            mtu: o.number("host_mtu", 68..=65535)?,
        })
    }

    fn add_port(&mut self, id: &str, console: bool, mut o: OptList) -> Result<()> {
        let nr = o.number("nr", 0..=30u32)?;
        let chardev = o.text("chardev")?.ok_or_else(|| o.error("needs chardev=ID"))?;
        let name = o.text("name")?.unwrap_or_default();
        let bus = o.text("bus")?;
        let context = o.context().to_owned();
        o.finish()?;
        let buses = self.requests.iter_mut().filter_map(|r| match &mut r.kind {
            VirtioKind::Console(c) => Some((&r.id, c)),
            _ => None,
        });
        let bus_id = bus.as_deref().map(|b| b.strip_suffix(".0").unwrap_or(b));
        let found = buses.filter(|(id, _)| bus_id.is_none_or(|b| *id == b)).last();
        let (_, ports) = found
            .ok_or_else(|| CliError::new(&context, format!("{id} needs a -device virtio-serial-device before it")))?;
        let error = |message: String| CliError::new(&context, message);
        let taken = |nr: u32| ports.ports.iter().any(|p| p.nr == nr);
        let nr = match nr {
            Some(0) if !console => return Err(error("nr=0: port 0 is a console's".to_owned())),
            Some(nr) if taken(nr) => return Err(error(format!("nr={nr}: another port has this number"))),
            Some(nr) => Some(nr),
            None => (u32::from(!console)..ports.max_ports).find(|nr| !taken(*nr)),
        };
        let max = ports.max_ports;
        let nr =
            nr.filter(|nr| *nr < max).ok_or_else(|| error(format!("the bus has room for {max} ports (max_ports=)")))?;
        ports.ports.push(ConsolePort { nr, chardev, name, console });
        Ok(())
    }

    /// Gives every device its transport: what `bus=` names first, then from the highest free one down.
    pub fn place(self) -> Result<Vec<VirtioConfig>> {
        let mut taken: [Option<String>; VIRTIO_SLOTS as usize] = Default::default();
        for r in &self.requests {
            if let Some(slot) = r.slot {
                if let Some(other) = &taken[usize::from(slot)] {
                    let message = format!("virtio-mmio-bus.{slot} already holds '{other}'");
                    return Err(CliError::new(&r.context, message));
                }
                taken[usize::from(slot)] = Some(r.id.clone());
            }
        }
        let mut placed = Vec::new();
        for r in self.requests {
            let slot = match r.slot {
                Some(slot) => slot,
                None => {
                    let free = taken.iter().rposition(Option::is_none).ok_or_else(|| {
                        CliError::new(
                            &r.context,
                            format!("all {VIRTIO_SLOTS} virtio-mmio transports of the board are taken"),
                        )
                    })?;
                    taken[free] = Some(r.id.clone());
                    free as u8
                }
            };
            placed.push(VirtioConfig { id: r.id, slot, kind: r.kind });
        }
        Ok(placed)
    }
}

impl BlockConfig {
    /// A disk with every property at its default.
    pub fn new(drive: impl Into<String>) -> Self {
        Self {
            drive: drive.into(),
            serial: String::new(),
            num_queues: None,
            queue_size: 256,
            discard: true,
            write_zeroes: true,
            write_cache: None,
            logical_block_size: None,
            on_error: OnErrors::default(),
        }
    }
}

impl NetConfig {
    /// A card with every property at its default, but for the address.
    pub fn new(netdev: impl Into<String>) -> Self {
        Self {
            netdev: netdev.into(),
            mac: [0x52, 0x54, 0x00, 0x12, 0x34, 0x56],
            without: 0,
            rx_queue_size: 256,
            tx_queue_size: 256,
            mtu: None,
        }
    }
}

fn block(o: &mut OptList) -> Result<BlockConfig> {
    o.unsupported(&["iothread", "bootindex", "packed", "physical_block_size", "scsi", "share-rw"])?;
    let drive = o.text("drive")?.ok_or_else(|| o.error("needs drive=ID"))?;
    let serial = o.text("serial")?.unwrap_or_default();
    if serial.len() > 20 {
        return Err(o.error(format!("serial={serial}: must be at most 20 bytes")));
    }
    let sizes = [("512", 512u32), ("1024", 1024), ("2048", 2048), ("4096", 4096)];
    let cache = [("on", Some(true)), ("off", Some(false)), ("auto", None)];
    Ok(BlockConfig {
        drive,
        serial,
        num_queues: o.number("num-queues", 1..=64)?,
        queue_size: queue_size(o, "queue-size", 4)?,
        discard: o.flag("discard")?.unwrap_or(true),
        write_zeroes: o.flag("write-zeroes")?.unwrap_or(true),
        write_cache: o.choice("write-cache", &cache)?.flatten(),
        logical_block_size: o.choice("logical_block_size", &sizes)?,
        on_error: on_errors(o, true)?,
    })
}

fn queue_size(o: &mut OptList, key: &'static str, least: u16) -> Result<u16> {
    let size: u16 = o.number(key, least..=1024)?.unwrap_or(256);
    if !size.is_power_of_two() {
        return Err(o.error(format!("{key}={size}: must be a power of two")));
    }
    Ok(size)
}

fn rng(o: &mut OptList, objects: &Objects) -> Result<RngConfig> {
    let source = match o.text("rng")? {
        Some(id) => {
            let found = objects.rngs.iter().find(|(i, _)| *i == id);
            found.ok_or_else(|| o.error(format!("rng={id}: no -object has this id")))?.1.clone()
        }
        None => None,
    };
    let bytes: Option<u64> = o.number("max-bytes", 1..=u64::MAX)?;
    let period = o.number("period", 1..=u64::from(u32::MAX))?.unwrap_or(65536);
    Ok(RngConfig { source, limit: bytes.map(|b| (b, Duration::from_millis(period))) })
}

fn slot_of(bus: &str) -> Option<u8> {
    let n = bus.strip_prefix("virtio-mmio-bus.")?;
    (0..VIRTIO_SLOTS).find(|slot| slot.to_string() == n)
}

/// Says what to write instead, where we know.
fn unknown(o: &OptList, name: &str) -> CliError {
    let base = name.trim_end_matches("-non-transitional").trim_end_matches("-transitional").trim_end_matches("-pci");
    let ours = format!("{base}-device");
    if TYPES.iter().any(|t| t.name == ours) {
        return o.error(format!("{name} is not supported by vireo yet (there is no PCI): use {ours}"));
    }
    // QEMU's devices for virtio-mmio: near enough to ours in spelling to be taken for a slip.
    let qemu_has = [
        "gpu",
        "balloon",
        "keyboard",
        "mouse",
        "tablet",
        "multitouch",
        "input-host",
        "9p",
        "scsi",
        "crypto",
        "iommu",
        "sound",
        "pmem",
        "mem",
        "tpm",
    ];
    if name.strip_prefix("virtio-").and_then(|n| n.strip_suffix("-device")).is_some_and(|n| qemu_has.contains(&n)) {
        return o.error(format!("{name} is not supported by vireo yet; -device help lists what is"));
    }
    let known_elsewhere =
        ["virtio-", "vhost-", "e1000", "rtl8139", "usb-", "nvme", "pci", "ide-", "scsi-", "VGA", "qemu-xhci", "loader"];
    if known_elsewhere.iter().any(|p| name.starts_with(p))
        && did_you_mean(name, TYPES.iter().map(|t| t.name)).is_empty()
    {
        return o.error(format!("{name} is not supported by vireo yet; -device help lists what is"));
    }
    let hint = did_you_mean(name, TYPES.iter().map(|t| t.name));
    o.error(format!("unknown device '{name}'{hint}; -device help lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(texts: &[&str]) -> Result<Vec<VirtioConfig>> {
        let mut d = Devices::default();
        let objects = Objects { rngs: vec![("r0".into(), Some("/dev/urandom".into()))], ..Objects::default() };
        for text in texts {
            d.add(text, &objects)?;
        }
        d.place()
    }

    #[test]
    fn slots_are_taken_from_the_top_around_what_is_named() {
        let d = devices(&[
            "virtio-blk-device,drive=a",
            "virtio-rng-device,bus=virtio-mmio-bus.7",
            "virtio-net-device,netdev=n",
            "virtio-blk-device,drive=b,bus=virtio-mmio-bus.0",
        ])
        .unwrap();
        assert_eq!(d.iter().map(|d| d.slot).collect::<Vec<_>>(), [6, 7, 5, 0]);
    }

    #[test]
    fn macs_count_up() {
        let d = devices(&["virtio-net-device,netdev=a", "virtio-net-device,netdev=b"]).unwrap();
        let macs: Vec<_> = d.iter().map(|d| if let VirtioKind::Net(n) = &d.kind { n.mac[5] } else { 0 }).collect();
        assert_eq!(macs, [0x56, 0x57]);
    }

    #[test]
    fn ports_go_to_their_bus() {
        let d = devices(&[
            "virtio-serial-device,id=s0",
            "virtio-serial-device,id=s1",
            "virtconsole,chardev=c0",
            "virtserialport,chardev=c1,bus=s0.0,name=org.x",
            "virtserialport,chardev=c2,nr=5",
            "virtserialport,chardev=c3",
            "virtconsole,chardev=c4",
        ])
        .unwrap();
        let ports = |d: &VirtioConfig| match &d.kind {
            VirtioKind::Console(c) => c.ports.iter().map(|p| p.nr).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!((ports(&d[0]), ports(&d[1])), (vec![1], vec![0, 5, 1, 2]));
    }

    #[test]
    fn bad_devices() {
        for (texts, what) in [
            (&[""][..], "needs a device"),
            (&["foo"], "unknown device 'foo'"),
            (&["virtio-blk-devic,drive=a"], "did you mean 'virtio-blk-device'"),
            (&["virtio-blk-pci,drive=a"], "use virtio-blk-device"),
            (&["virtio-net-pci-non-transitional"], "use virtio-net-device"),
            (&["virtio-blk,drive=a"], "use virtio-blk-device"),
            (&["virtio-gpu-pci"], "not supported by vireo yet"),
            (&["virtio-gpu-device"], "not supported by vireo yet"),
            (&["virtio-blk-device"], "needs drive="),
            (&["virtio-blk-device,drive=a,serial=123456789012345678901"], "at most 20"),
            (&["virtio-blk-device,drive=a,queue-size=100"], "power of two"),
            (&["virtio-blk-device,drive=a,num-queues=0"], "1 to 64"),
            (&["virtio-blk-device,drive=a,bus=virtio-mmio-bus.8"], "0 to 7"),
            (&["virtio-blk-device,drive=a,bus=virtio-mmio-bus.+1"], "0 to 7"),
            (&["virtio-blk-device,drive=a,bus=pcie.0"], "0 to 7"),
            (&["virtio-blk-device,drive=a,foo=1"], "unknown option 'foo'"),
            (&["virtio-net-device"], "needs netdev="),
            (&["virtio-net-device,netdev=a,mac=zz"], "group address"),
            (&["virtio-rng-device,rng=nope"], "no -object"),
            (&["virtconsole,chardev=c"], "virtio-serial-device before"),
            (&["virtio-serial-device,max_ports=1", "virtserialport,chardev=c"], "room for 1 ports"),
            (&["virtio-serial-device", "virtserialport,chardev=c,nr=0"], "port 0"),
            (&["virtio-serial-device", "virtconsole,chardev=c", "virtconsole,chardev=d,nr=0"], "another port"),
            (&["virtio-rng-device,id=a", "virtio-rng-device,id=a"], "already"),
            (&["virtio-rng-device,bus=virtio-mmio-bus.1", "virtio-rng-device,bus=virtio-mmio-bus.1"], "already holds"),
            (&["virtio-rng-device"; 9], "are taken"),
        ] {
            let e = devices(texts).expect_err(texts[0]).to_string();
            assert!(e.starts_with("-device") && e.contains(what), "{texts:?}: {e}");
        }
    }
}
