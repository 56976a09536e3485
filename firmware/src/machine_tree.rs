//! The device tree of a machine: processors, their topology, memory, `/chosen` and a `/soc` around the
//! nodes that the board's devices give.
//!
//! The layout and the numbering of phandles are QEMU's, so that software that (wrongly) relies on them works.
//! Bindings: Devicetree Specification 0.4 chapter 3, Linux `riscv/cpus.yaml`, `riscv/extensions.yaml`,
//! `cpu/cpu-topology.txt`.

use std::ops::Range;

use crate::fdt::{DeviceTree, Node};

/// Where a hart sits. Indices count from 0 within the level above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HartDescription {
    /// `mhartid`.
    pub id: u32,
    pub socket: u32,
    pub cluster: u32,
    pub core: u32,
    pub thread: u32,
}

/// What the device tree says of the ISA; the same for every hart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IsaDescription {
    /// `riscv,isa`, such as `rv64imafdc_zicsr`.
    pub isa: String,
    /// `riscv,isa-base`, such as `rv64i`.
    pub base: String,
    /// `riscv,isa-extensions`.
    pub extensions: Vec<String>,
    /// `mmu-type`, such as `riscv,sv57`.
    pub mmu_type: String,
    /// Cache block sizes in bytes, for the Zicbo* that are there.
    pub cbom_block_size: Option<u32>,
    pub cbop_block_size: Option<u32>,
    pub cboz_block_size: Option<u32>,
}

/// The contents of `/chosen`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// Left out if empty.
    pub bootargs: String,
    /// Guest physical addresses.
    pub initrd: Option<Range<u64>>,
    /// Path of the console's node.
    pub stdout_path: Option<String>,
    pub rng_seed: Option<[u8; 32]>,
}

impl Chosen {
    /// Writes it into a tree, the machine's own or one the user gave: what is not set here stays as it is, and
    /// a console that the tree names is kept.
    pub fn apply(&self, tree: &mut DeviceTree) {
        let node = tree.root.ensure("/chosen");
        if !self.bootargs.is_empty() {
            node.set("bootargs", self.bootargs.as_str());
        }
        if let Some(initrd) = &self.initrd {
            node.set("linux,initrd-end", &initrd.end);
            node.set("linux,initrd-start", &initrd.start);
        }
        if let Some(path) = self.stdout_path.as_deref().filter(|_| node.property("stdout-path").is_none()) {
            node.set("stdout-path", path);
        }
        if let Some(seed) = &self.rng_seed {
            node.set_bytes("rng-seed", seed.to_vec());
        }
    }
}

/// A machine, as far as its device tree goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BoardDescription {
    /// The root's `compatible` and `model`.
    pub compatible: String,
    pub model: String,
    pub ram_base: u64,
    /// Bytes.
    pub ram_size: u64,
    /// In order of their ids.
    pub harts: Vec<HartDescription>,
    pub isa: IsaDescription,
    /// Ticks of the `time` CSR a second.
    pub timebase_frequency: u32,
    pub chosen: Chosen,
    /// Device nodes that stand in the root, in order.
    pub root_nodes: Vec<Node>,
    /// Device nodes that stand in `/soc`, in order.
    pub soc_nodes: Vec<Node>,
    /// `/aliases`: names and paths.
    pub aliases: Vec<(String, String)>,
}

/// phandles of a machine: harts from the last one down, each with its interrupt controller, then whatever the
/// board asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phandles {
    harts: u32,
    next: u32,
}

impl Phandles {
    pub fn new(harts: u32) -> Self {
        Self { harts, next: 2 * harts + 1 }
    }

    /// Of the node `cpu@N` of the hart at `index`.
    pub fn cpu(&self, index: u32) -> u32 {
        assert!(index < self.harts, "hart {index} of {}", self.harts);
        2 * (self.harts - 1 - index) + 1
    }

    /// Of the interrupt controller inside that node.
    pub fn intc(&self, index: u32) -> u32 {
        self.cpu(index) + 1
    }

    /// A new one.
    pub fn allocate(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

fn cpu_node(hart: &HartDescription, isa: &IsaDescription, phandle: u32, intc_phandle: u32) -> Node {
    let mut node = Node::new(format!("cpu@{:x}", hart.id))
        .with("phandle", &phandle)
        .with("device_type", "cpu")
        .with("reg", &hart.id)
        .with("status", "okay")
        .with("compatible", "riscv");
    let blocks = [
        ("riscv,cbop-block-size", isa.cbop_block_size),
        ("riscv,cboz-block-size", isa.cboz_block_size),
        ("riscv,cbom-block-size", isa.cbom_block_size),
    ];
    for (name, size) in blocks {
        if let Some(size) = size {
            node.set(name, &size);
        }
    }
    node.with("riscv,isa-extensions", &isa.extensions[..])
        .with("riscv,isa-base", isa.base.as_str())
        .with("riscv,isa", isa.isa.as_str())
        .with("mmu-type", isa.mmu_type.as_str())
        .with_child(
            Node::new("interrupt-controller")
                .with("#interrupt-cells", &1u32)
                .with("interrupt-controller", &())
                .with("compatible", "riscv,cpu-intc")
                .with("phandle", &intc_phandle),
        )
}

/// QEMU's shape, `clusterC/coreK`, says all of a machine with one socket, one cluster and no threads. Any other
/// machine has the binding's levels `socketS/clusterC/coreK[/threadT]`.
fn cpu_map(harts: &[HartDescription], phandles: &Phandles) -> Node {
    let flat = harts.iter().all(|h| h.socket == 0 && h.cluster == 0);
    let threads = harts.iter().any(|h| h.thread != 0);
    let mut map = Node::new("cpu-map");
    for (index, hart) in harts.iter().enumerate() {
        let mut path = format!("cluster{}/core{}", hart.cluster, hart.core);
        if !flat {
            path = format!("socket{}/{path}", hart.socket);
        }
        if threads {
            path = format!("{path}/thread{}", hart.thread);
        }
        map.ensure(&path).set("cpu", &phandles.cpu(index as u32));
    }
    map
}

impl BoardDescription {
    /// The machine's device tree. `phandles` is what the device nodes were made with.
    pub fn tree(&self, phandles: &Phandles) -> DeviceTree {
        let mut cpus = Node::new("cpus")
            .with("#address-cells", &1u32)
            .with("#size-cells", &0u32)
            .with("timebase-frequency", &self.timebase_frequency);
        for (index, hart) in self.harts.iter().enumerate() {
            let index = index as u32;
            cpus.children.push(cpu_node(hart, &self.isa, phandles.cpu(index), phandles.intc(index)));
        }
        cpus.children.push(cpu_map(&self.harts, phandles));

        let memory = Node::new(format!("memory@{:x}", self.ram_base))
            .with("device_type", "memory")
            .with("reg", &[self.ram_base, self.ram_size]);
        let soc = Node {
            children: self.soc_nodes.clone(),
            ..Node::new("soc")
                .with("#address-cells", &2u32)
                .with("#size-cells", &2u32)
                .with("compatible", "simple-bus")
                .with("ranges", &())
        };
        let mut root = Node::new("")
            .with("#address-cells", &2u32)
            .with("#size-cells", &2u32)
            .with("compatible", self.compatible.as_str())
            .with("model", self.model.as_str());
        root.children.extend([memory, cpus]);
        root.children.extend(self.root_nodes.iter().cloned());
        if !self.aliases.is_empty() {
            let mut aliases = Node::new("aliases");
            self.aliases.iter().for_each(|(name, path)| aliases.set(name, path.as_str()));
            root.children.push(aliases);
        }
        root.children.extend([Node::new("chosen"), soc]);

        let boot_hart = self.harts.first().map_or(0, |h| h.id);
        let mut tree = DeviceTree { root, reservations: Vec::new(), boot_hart };
        self.chosen.apply(&mut tree);
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(harts: Vec<HartDescription>) -> BoardDescription {
        BoardDescription {
            compatible: "riscv-virtio".into(),
            model: "riscv-virtio,qemu".into(),
            ram_base: 0x8000_0000,
            ram_size: 128 << 20,
            harts,
            isa: IsaDescription {
                isa: "rv64imac_zicsr".into(),
                base: "rv64i".into(),
                extensions: ["i", "m", "a", "c", "zicsr"].map(String::from).into(),
                mmu_type: "riscv,sv57".into(),
                cbom_block_size: Some(64),
                cbop_block_size: None,
                cboz_block_size: Some(64),
            },
            timebase_frequency: 10_000_000,
            chosen: Chosen { stdout_path: Some("/soc/serial@10000000".into()), ..Chosen::default() },
            soc_nodes: vec![Node::new("serial@10000000").with("reg", &[0x1000_0000u64, 0x100])],
            root_nodes: vec![Node::new("poweroff").with("value", &0x5555u32)],
            aliases: vec![("serial0".into(), "/soc/serial@10000000".into())],
        }
    }

    fn cores(count: u32) -> Vec<HartDescription> {
        (0..count).map(|id| HartDescription { id, core: id, ..Default::default() }).collect()
    }

    /// The numbers are those of QEMU's tree for `-smp 4` and `-smp 1`.
    #[test]
    fn phandles_count_from_the_last_hart_down() {
        let mut p = Phandles::new(4);
        assert_eq!([0, 1, 2, 3].map(|i| p.cpu(i)), [7, 5, 3, 1]);
        assert_eq!([0, 1, 2, 3].map(|i| p.intc(i)), [8, 6, 4, 2]);
        assert_eq!((p.allocate(), p.allocate()), (9, 0xa));
        let mut p = Phandles::new(1);
        assert_eq!((p.cpu(0), p.intc(0), p.allocate(), p.allocate()), (1, 2, 3, 4));
    }

    #[test]
    fn the_skeleton() {
        let board = board(cores(2));
        let tree = board.tree(&Phandles::new(2));
        let at = |path: &str| tree.root.find(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(tree.root.str("compatible"), Some("riscv-virtio"));
        assert_eq!(tree.root.u32("#address-cells"), Some(2));
        assert_eq!(at("memory@80000000").cells("reg"), Some(vec![0, 0x8000_0000, 0, 0x800_0000]));
        assert_eq!(at("cpus").u32("timebase-frequency"), Some(10_000_000));
        let cpu = at("cpus/cpu@1");
        assert_eq!((cpu.u32("reg"), cpu.u32("phandle")), (Some(1), Some(1)));
        assert_eq!(cpu.property("riscv,isa-extensions"), Some(&b"i\0m\0a\0c\0zicsr\0"[..]));
        assert_eq!(cpu.u32("riscv,cboz-block-size"), Some(64));
        assert_eq!(cpu.property("riscv,cbop-block-size"), None);
        assert_eq!(at("cpus/cpu@1/interrupt-controller").u32("phandle"), Some(2));
        assert_eq!(at("cpus/cpu-map/cluster0/core1").u32("cpu"), Some(1));
        assert_eq!(at("soc/serial@10000000").cells("reg").unwrap()[1], 0x1000_0000);
        assert_eq!(at("aliases").str("serial0"), Some("/soc/serial@10000000"));
        assert_eq!(at("chosen").str("stdout-path"), Some("/soc/serial@10000000"));
        assert_eq!(at("chosen").property("bootargs"), None, "no bootargs without -append");
        assert_eq!(at("poweroff").u32("value"), Some(0x5555));
        assert_eq!(DeviceTree::parse(&tree.to_dtb().unwrap()).unwrap(), tree);
    }

    #[test]
    fn topologies() {
        let map = |harts: Vec<HartDescription>| cpu_map(&harts, &Phandles::new(harts.len() as u32));
        let hart = |id, socket, cluster, core, thread| HartDescription { id, socket, cluster, core, thread };
        let smt = map(vec![hart(0, 0, 0, 0, 0), hart(1, 0, 0, 0, 1)]);
        assert_eq!(smt.find("cluster0/core0/thread1").unwrap().u32("cpu"), Some(1));
        let sockets = map(vec![hart(0, 0, 0, 0, 0), hart(1, 1, 0, 0, 0)]);
        assert_eq!(sockets.find("socket1/cluster0/core0").unwrap().u32("cpu"), Some(1));
        let clusters = map(vec![hart(0, 0, 0, 0, 0), hart(1, 0, 1, 0, 0)]);
        assert_eq!(clusters.find("socket0/cluster1/core0").unwrap().u32("cpu"), Some(1));
    }

    #[test]
    fn chosen_edits_a_users_tree() {
        let mut tree = DeviceTree::default();
        tree.root.ensure("chosen").set("stdout-path", "/uart");
        tree.root.ensure("chosen").set("bootargs", "theirs");
        let chosen = Chosen {
            bootargs: String::new(),
            initrd: Some(0x8800_0000..0x8800_1234),
            stdout_path: Some("/soc/serial".into()),
            rng_seed: Some([7; 32]),
        };
        chosen.apply(&mut tree);
        let node = tree.root.find("chosen").unwrap();
        assert_eq!((node.str("stdout-path"), node.str("bootargs")), (Some("/uart"), Some("theirs")));
        assert_eq!(node.cells("linux,initrd-start"), Some(vec![0, 0x8800_0000]));
        assert_eq!(node.cells("linux,initrd-end"), Some(vec![0, 0x8800_1234]));
        assert_eq!(node.property("rng-seed"), Some(&[7; 32][..]));
        Chosen { bootargs: "ours".into(), ..chosen }.apply(&mut tree);
        assert_eq!(tree.root.find("chosen").unwrap().str("bootargs"), Some("ours"));
    }
}
