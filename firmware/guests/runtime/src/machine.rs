//! The machine as its device tree describes it.

use crate::fdt::{self, Fdt, Item};

/// More harts are counted but not used.
pub const HARTS_MAX: usize = 64;
/// More devices are not listed.
const DEVICES_MAX: usize = 64;
const DEPTH_MAX: usize = 16;

#[derive(Clone, Copy, Default)]
pub struct HartInfo {
    pub id: usize,
    /// phandle of its interrupt controller.
    pub intc: u32,
}

#[derive(Clone, Copy, Default)]
pub struct Device {
    pub name: &'static str,
    pub compatible: &'static str,
    pub base: usize,
    pub size: usize,
    /// First cell of `interrupts`, or 0.
    pub irq: u32,
    pub reg_shift: u32,
    /// `interrupts-extended`.
    pub interrupts_extended: &'static [u8],
    /// Of the device, and of the controller that takes its messages; 0 if there is none.
    pub phandle: u32,
    pub msi_parent: u32,
}

impl Device {
    pub fn is(&self, compatible: &str) -> bool {
        self.compatible_list().any(|c| c == compatible)
    }

    fn compatible_list(&self) -> impl Iterator<Item = &'static str> {
        fdt::strings(self.compatible.as_bytes())
    }
}

pub struct Machine {
    pub model: &'static str,
    pub isa: &'static str,
    pub mmu: &'static str,
    /// Ticks of `time` a second.
    pub timebase: u64,
    pub bootargs: &'static str,
    pub memory_base: usize,
    pub memory_size: usize,
    harts: [HartInfo; HARTS_MAX],
    pub hart_count: usize,
    devices: [Device; DEVICES_MAX],
    device_count: usize,
    pub cboz_block: usize,
    /// Where the device tree is; it stays in use.
    pub fdt: core::ops::Range<usize>,
}

/// What is known of the node that is being walked through.
#[derive(Clone, Copy, Default)]
struct Node {
    device: Device,
    hart: HartInfo,
    is_cpu: bool,
    is_memory: bool,
    disabled: bool,
    phandle: u32,
}

impl Machine {
    pub fn unknown() -> Self {
        Self {
            model: "",
            isa: "",
            mmu: "",
            timebase: 10_000_000,
            bootargs: "",
            memory_base: 0,
            memory_size: 0,
            harts: [HartInfo::default(); HARTS_MAX],
            hart_count: 0,
            devices: [Device::default(); DEVICES_MAX],
            device_count: 0,
            cboz_block: 0,
            fdt: 0..0,
        }
    }

    /// The harts that are used, at most [`HARTS_MAX`].
    pub fn harts(&self) -> &[HartInfo] {
        &self.harts[..self.hart_count.min(HARTS_MAX)]
    }

    pub fn devices(&self) -> &[Device] {
        &self.devices[..self.device_count]
    }

    pub fn find(&self, compatible: &str) -> Option<&Device> {
        self.devices().iter().find(|d| d.is(compatible))
    }

    /// Whether the ISA string names an extension.
    pub fn has(&self, extension: &str) -> bool {
        if extension.len() == 1 {
            let letters = self.isa.split('_').next().unwrap_or("");
            return letters.bytes().skip(4).any(|l| [l] == extension.as_bytes());
        }
        self.isa.split('_').any(|e| e == extension)
    }

    pub fn read(&mut self, fdt: &Fdt) {
        let mut stack = [Node::default(); DEPTH_MAX];
        let mut names = [""; DEPTH_MAX];
        let mut depth = 0;
        for item in fdt.walk() {
            match item {
                Item::Begin(name) => {
                    if depth == DEPTH_MAX {
                        return;
                    }
                    stack[depth] = Node::default();
                    names[depth] = name;
                    depth += 1;
                }
                Item::Prop(name, value) if depth > 0 => {
                    self.global_property(&names[..depth], name, value);
                    stack[depth - 1].property(name, value);
                }
                Item::Prop(..) => {}
                Item::End => {
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                    let node = stack[depth];
                    // A CPU's interrupt controller is its child.
                    if names[depth] == "interrupt-controller" && depth > 0 && stack[depth - 1].is_cpu {
                        stack[depth - 1].hart.intc = node.phandle;
                        continue;
                    }
                    self.add(names[depth], node);
                }
            }
        }
    }

    fn global_property(&mut self, path: &[&'static str], name: &str, value: &'static [u8]) {
        match (path, name) {
            ([_], "model") => self.model = fdt::string(value),
            ([_, "cpus"], "timebase-frequency") => {
                self.timebase = fdt::cell(value).map_or(self.timebase, u64::from);
            }
            ([_, "cpus", _], "riscv,isa") => self.isa = fdt::string(value),
            ([_, "cpus", _], "riscv,cboz-block-size") => self.cboz_block = fdt::cell(value).unwrap_or(0) as usize,
            ([_, "cpus", _], "mmu-type") => self.mmu = fdt::string(value),
            ([_, "chosen"], "bootargs") => self.bootargs = fdt::string(value),
            _ => {}
        }
    }

    fn add(&mut self, name: &'static str, node: Node) {
        if node.disabled {
            return;
        }
        if node.is_cpu {
            if self.hart_count < HARTS_MAX {
                self.harts[self.hart_count] = node.hart;
            }
            self.hart_count += 1;
        } else if node.is_memory {
            if self.memory_size == 0 {
                (self.memory_base, self.memory_size) = (node.device.base, node.device.size);
            }
        } else if node.device.base != 0 && !node.device.compatible.is_empty() && self.device_count < DEVICES_MAX {
            self.devices[self.device_count] = Device { name, phandle: node.phandle, ..node.device };
            self.device_count += 1;
        }
    }
}

impl Node {
    fn property(&mut self, name: &str, value: &'static [u8]) {
        match name {
            "device_type" => {
                self.is_cpu = fdt::string(value) == "cpu";
                self.is_memory = fdt::string(value) == "memory";
            }
            "compatible" => self.device.compatible = core::str::from_utf8(value).unwrap_or(""),
            "reg" => {
                self.hart.id = fdt::cell(value).unwrap_or(0) as usize;
                self.device.base = fdt::double(value, 0).unwrap_or(0);
                self.device.size = fdt::double(value, 2).unwrap_or(0);
            }
            "reg-shift" => self.device.reg_shift = fdt::cell(value).unwrap_or(0),
            "interrupts" => self.device.irq = fdt::cell(value).unwrap_or(0),
            "interrupts-extended" => self.device.interrupts_extended = value,
            "status" => self.disabled = !matches!(fdt::string(value), "okay" | "ok"),
            "msi-parent" => self.device.msi_parent = fdt::cell(value).unwrap_or(0),
            "phandle" => self.phandle = fdt::cell(value).unwrap_or(0),
            _ => {}
        }
    }
}
