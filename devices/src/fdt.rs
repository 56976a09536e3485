//! Plain device-tree nodes: what a device says about itself to firmware and kernels.

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FdtValue {
    Empty,
    U32(u32),
    U64(u64),
    Cells(Vec<u32>),
    Str(String),
    Strs(Vec<String>),
    Bytes(Vec<u8>),
}

impl FdtValue {
    /// A `reg` property: (base, size) pairs, two cells each.
    pub fn reg(ranges: &[(u64, u64)]) -> Self {
        let cells = ranges.iter().flat_map(|&(base, size)| [base, size]);
        Self::Cells(cells.flat_map(|v| [(v >> 32) as u32, v as u32]).collect())
    }
}

/// A node with its properties in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdtNode {
    /// `name@address`.
    pub name: String,
    pub properties: Vec<(String, FdtValue)>,
    pub children: Vec<FdtNode>,
}

impl FdtNode {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), properties: Vec::new(), children: Vec::new() }
    }

    /// Adds a property.
    #[must_use]
    pub fn with(mut self, name: &str, value: FdtValue) -> Self {
        self.properties.push((name.to_owned(), value));
        self
    }

    /// Adds `interrupts` and `interrupt-parent`, if the device is wired.
    #[must_use]
    pub fn with_interrupt(self, at: &Placement) -> Self {
        if at.interrupt.is_empty() {
            return self;
        }
        self.with("interrupts", FdtValue::Cells(at.interrupt.clone()))
            .with("interrupt-parent", FdtValue::U32(at.interrupt_parent))
    }

    /// Adds `phandle`, if the board gave the device one.
    #[must_use]
    pub fn with_phandle(self, at: &Placement) -> Self {
        match at.phandle {
            Some(phandle) => self.with("phandle", FdtValue::U32(phandle)),
            None => self,
        }
    }
}

/// Where the board put a device: all that its node needs to know of the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub base: u64,
    /// Size to advertise, in bytes (QEMU's table is sometimes larger than what is decoded).
    pub size: u64,
    /// The device's interrupt specifier, e.g. `[10]` on a PLIC or `[10, 4]` on an APLIC; empty without one.
    pub interrupt: Vec<u32>,
    /// phandle of the interrupt controller the device is wired to.
    pub interrupt_parent: u32,
    /// phandle the board gave this node, if others refer to it.
    pub phandle: Option<u32>,
    /// For interrupt controllers and timers: one `(phandle of the hart's controller, irq)` pair each, flattened.
    pub interrupts_extended: Vec<u32>,
}

impl Placement {
    /// One without interrupts that nobody refers to: `base`, and the size to advertise in bytes.
    pub fn at(base: u64, size: u64) -> Self {
        Self { base, size, interrupt: vec![], interrupt_parent: 0, phandle: None, interrupts_extended: vec![] }
    }

    /// The `reg` property of a device with one range of registers.
    pub fn reg(&self) -> FdtValue {
        FdtValue::reg(&[(self.base, self.size)])
    }
}
