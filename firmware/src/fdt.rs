//! Flattened device trees as a plain, editable tree.
//!
//! A [`DeviceTree`] is parsed from a blob (dtoolkit checks it), changed by path, and written as a blob again
//! (vm-fdt). It holds properties as bytes and knows nothing of what they mean.
//! Format: Devicetree Specification 0.4, chapter 5.

use std::ops::Range;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node as _, Property as _};
use vm_fdt::{FdtReserveEntry, FdtWriter};

/// Deepest nesting of nodes; the Linux kernel stops there as well.
const DEPTH_MAX: usize = 64;

/// Size of the blob's header in bytes.
const HEADER_LEN: usize = 40;

const MAGIC: u32 = 0xd00d_feed;

/// Why a device tree cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    #[error("not a device tree blob: {len} bytes are less than its header of {HEADER_LEN}")]
    TooShort { len: usize },
    #[error("not a device tree blob: it starts with {magic:#010x}, not {MAGIC:#010x}")]
    Magic { magic: u32 },
    #[error("the device tree blob is truncated: its header says {total} bytes, there are {len}")]
    Truncated { total: u32, len: usize },
    #[error("the device tree blob is corrupted")]
    Corrupted(#[source] dtoolkit::error::FdtParseError),
    #[error("the device tree nests nodes deeper than {DEPTH_MAX}")]
    TooDeep,
    #[error("cannot write the device tree: {what}")]
    Write { what: String, source: vm_fdt::Error },
}

/// A property: a name and its value's bytes (numbers are big endian).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: String,
    pub value: Vec<u8>,
}

/// A node. The order of properties and children is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `name` or `name@address`; empty for the root.
    pub name: String,
    pub properties: Vec<Property>,
    pub children: Vec<Node>,
}

/// What a property's value can be made from.
pub trait Value {
    fn to_bytes(&self) -> Vec<u8>;
}

impl Value for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Value for u32 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

/// Two cells.
impl Value for u64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

/// A list of cells.
impl Value for [u32] {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|cell| cell.to_be_bytes()).collect()
    }
}

impl<const N: usize> Value for [u32; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self[..].to_bytes()
    }
}

/// A list of two-cell numbers, as `reg` has where both cell counts are 2.
impl<const N: usize> Value for [u64; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|number| number.to_be_bytes()).collect()
    }
}

impl Value for str {
    fn to_bytes(&self) -> Vec<u8> {
        [self.as_bytes(), b"\0"].concat()
    }
}

/// A list of strings.
impl Value for [String] {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|text| text.to_bytes()).collect()
    }
}

/// A list of strings.
impl Value for [&str] {
    fn to_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|text| text.to_bytes()).collect()
    }
}

impl<const N: usize> Value for [&str; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self[..].to_bytes()
    }
}

impl Node {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a property while building.
    #[must_use]
    pub fn with(mut self, name: &str, value: &(impl Value + ?Sized)) -> Self {
        self.set(name, value);
        self
    }

    /// Adds a child while building.
    #[must_use]
    pub fn with_child(mut self, child: Node) -> Self {
        self.children.push(child);
        self
    }

    /// Sets a property, in its place if it is there already.
    pub fn set(&mut self, name: &str, value: &(impl Value + ?Sized)) {
        self.set_bytes(name, value.to_bytes());
    }

    /// As [`Node::set`], with the value's bytes.
    pub fn set_bytes(&mut self, name: &str, value: Vec<u8>) {
        match self.properties.iter_mut().find(|p| p.name == name) {
            Some(property) => property.value = value,
            None => self.properties.push(Property { name: name.to_owned(), value }),
        }
    }

    /// Takes a property away; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.properties.len();
        self.properties.retain(|p| p.name != name);
        self.properties.len() != before
    }

    pub fn property(&self, name: &str) -> Option<&[u8]> {
        self.properties.iter().find(|p| p.name == name).map(|p| p.value.as_slice())
    }

    /// A one-cell property.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.property(name)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A list of cells.
    pub fn cells(&self, name: &str) -> Option<Vec<u32>> {
        let (cells, rest) = self.property(name)?.as_chunks();
        rest.is_empty().then(|| cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect())
    }

    /// A one-string property.
    pub fn str(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.property(name)?).ok()?.strip_suffix('\0')?;
        (!text.contains('\0')).then_some(text)
    }

    /// Whether a path component means this node: its whole name, or the part before `@`.
    fn matches(&self, component: &str) -> bool {
        self.name == component || self.name.split_once('@').is_some_and(|(name, _)| name == component)
    }

    /// The node at a path below this one, such as `cpus/cpu@0`; a unit address may be left out, then the first
    /// node of that name is meant. Leading slashes do not matter.
    pub fn find(&self, path: &str) -> Option<&Node> {
        path.split('/').filter(|c| !c.is_empty()).try_fold(self, |node, component| {
            let exact = node.children.iter().find(|c| c.name == component);
            exact.or_else(|| node.children.iter().find(|c| c.matches(component)))
        })
    }

    /// As [`Node::find`], to change it.
    pub fn find_mut(&mut self, path: &str) -> Option<&mut Node> {
        path.split('/').filter(|c| !c.is_empty()).try_fold(self, |node, component| {
            let exact = node.children.iter().position(|c| c.name == component);
            let at = exact.or_else(|| node.children.iter().position(|c| c.matches(component)))?;
            node.children.get_mut(at)
        })
    }

    /// The node at a path, made with all that leads to it if it is not there.
    pub fn ensure(&mut self, path: &str) -> &mut Node {
        path.split('/').filter(|c| !c.is_empty()).fold(self, |node, component| {
            let at = node.children.iter().position(|c| c.matches(component)).unwrap_or_else(|| {
                node.children.push(Node::new(component));
                node.children.len() - 1
            });
            &mut node.children[at]
        })
    }

    fn from_blob(node: &FdtNode<'_>, depth: usize) -> Result<Self, FdtError> {
        if depth >= DEPTH_MAX {
            return Err(FdtError::TooDeep);
        }
        let properties =
            node.properties().map(|p| Property { name: p.name().to_owned(), value: p.value().to_vec() }).collect();
        let children = node.children().map(|c| Self::from_blob(&c, depth + 1)).collect::<Result<_, _>>()?;
        Ok(Self { name: node.name().to_owned(), properties, children })
    }

    fn write(&self, writer: &mut FdtWriter) -> Result<(), FdtError> {
        let failed = |source| FdtError::Write { what: format!("node '{}'", self.name), source };
        let open = writer.begin_node(&self.name).map_err(failed)?;
        for p in &self.properties {
            let what = || format!("property '{}' of node '{}'", p.name, self.name);
            writer.property(&p.name, &p.value).map_err(|source| FdtError::Write { what: what(), source })?;
        }
        self.children.iter().try_for_each(|child| child.write(writer))?;
        writer.end_node(open).map_err(failed)
    }
}

/// Where in a blob the value of a property stands; `path` leads to its node. For values that change and keep their length.
pub fn value_in(blob: &[u8], path: &str, property: &str) -> Result<Option<Range<usize>>, FdtError> {
    let fdt = Fdt::new(blob).map_err(FdtError::Corrupted)?;
    let found = fdt.find_node(path).and_then(|node| node.properties().find(|p| p.name() == property));
    Ok(found.map(|p| {
        let start = p.value().as_ptr().addr() - blob.as_ptr().addr();
        start..start + p.value().len()
    }))
}

/// A whole device tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceTree {
    pub root: Node,
    /// Memory that the client program must leave alone: address and size in bytes.
    pub reservations: Vec<(u64, u64)>,
    /// `boot_cpuid_phys`: the boot hart's `reg`.
    pub boot_hart: u32,
}

impl DeviceTree {
    /// Reads a blob; bytes after its end are ignored.
    pub fn parse(blob: &[u8]) -> Result<Self, FdtError> {
        let len = blob.len();
        let word = |at: usize| Some(u32::from_be_bytes(blob.get(at..at + 4)?.try_into().ok()?));
        let (Some(magic), Some(total)) = (word(0), word(4).filter(|_| len >= HEADER_LEN)) else {
            return Err(FdtError::TooShort { len });
        };
        if magic != MAGIC {
            return Err(FdtError::Magic { magic });
        }
        let blob = blob.get(..total as usize).ok_or(FdtError::Truncated { total, len })?;
        let fdt = Fdt::new(blob).map_err(FdtError::Corrupted)?;
        let reservations = fdt.memory_reservations().map(|r| (r.address(), r.size())).collect();
        let root = Node::from_blob(&fdt.root(), 0)?;
        Ok(Self { root, reservations, boot_hart: fdt.boot_cpuid_phys() })
    }

    /// Writes the blob, packed.
    pub fn to_dtb(&self) -> Result<Vec<u8>, FdtError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source| FdtError::Write { what, source }
        };
        let reservations = self
            .reservations
            .iter()
            .map(|(address, size)| FdtReserveEntry::new(*address, *size))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed("memory reservations"))?;
        let mut writer = FdtWriter::new_with_mem_reserv(&reservations).map_err(failed("memory reservations"))?;
        writer.set_boot_cpuid_phys(self.boot_hart);
        self.root.write(&mut writer)?;
        writer.finish().map_err(failed("the blob"))
    }

    /// The tree as source text, for people.
    pub fn to_dts(&self) -> Result<String, FdtError> {
        let blob = self.to_dtb()?;
        Ok(Fdt::new(&blob).map_err(FdtError::Corrupted)?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DeviceTree {
        let cpu = Node::new("cpu@0").with("reg", &0u32).with("compatible", "riscv").with("riscv,isa", "rv64i");
        let soc = Node::new("soc")
            .with("ranges", &())
            .with("compatible", &["simple-bus", "x"])
            .with_child(Node::new("serial@10000000").with("reg", &[0x1000_0000u64, 0x100]))
            .with_child(Node::new("serial@20000000").with("reg", &[0x2000_0000u64, 0x100]));
        DeviceTree {
            root: Node::new("")
                .with("#address-cells", &2u32)
                .with_child(Node::new("cpus").with_child(cpu))
                .with_child(soc),
            reservations: vec![(0x8000_0000, 0x1000)],
            boot_hart: 3,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let tree = sample();
        assert_eq!(DeviceTree::parse(&tree.to_dtb().unwrap()).unwrap(), tree);
        let mut padded = tree.to_dtb().unwrap();
        padded.extend([0; 100]);
        assert_eq!(DeviceTree::parse(&padded).unwrap(), tree);
    }

    #[test]
    fn a_value_is_found_in_the_blob() {
        let tree = sample();
        let mut blob = tree.to_dtb().unwrap();
        for path in ["/cpus/nothing", "/nothing"] {
            assert_eq!(value_in(&blob, path, "reg").unwrap(), None);
        }
        assert_eq!(value_in(&blob, "/cpus/cpu@0", "nothing").unwrap(), None);
        let place = value_in(&blob, "/cpus/cpu@0", "compatible").unwrap().unwrap();
        blob[place].copy_from_slice(b"RISCV\0");
        let mut changed = tree;
        changed.root.find_mut("cpus/cpu@0").unwrap().set("compatible", "RISCV");
        assert_eq!(DeviceTree::parse(&blob).unwrap(), changed);
        assert!(value_in(&blob[..20], "/", "compatible").is_err());
    }

    #[test]
    fn paths() {
        let mut tree = sample();
        assert_eq!(tree.root.find("/cpus/cpu").unwrap().u32("reg"), Some(0));
        assert_eq!(tree.root.find("soc/serial@20000000").unwrap().cells("reg").unwrap()[1], 0x2000_0000);
        assert_eq!(tree.root.find("soc/serial").unwrap().name, "serial@10000000");
        assert!(tree.root.find("soc/seria").is_none());
        tree.root.find_mut("cpus/cpu@0").unwrap().set("reg", &9u32);
        assert_eq!(tree.root.find("/cpus/cpu@0").unwrap().u32("reg"), Some(9));
        tree.root.ensure("/chosen/deep").set("x", "y");
        assert_eq!(tree.root.find("chosen/deep").unwrap().str("x"), Some("y"));
        assert!(tree.root.find_mut("chosen/deep").unwrap().remove("x"));
        assert!(!tree.root.find_mut("chosen/deep").unwrap().remove("x"));
    }

    #[test]
    fn source_text_shows_names_and_values() {
        let text = sample().to_dts().unwrap();
        for part in ["/dts-v1/;", "serial@10000000 {", "compatible = \"simple-bus\", \"x\";", "ranges;"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn bad_blobs_are_refused_with_the_reason() {
        let good = sample().to_dtb().unwrap();
        let message = |blob: &[u8]| DeviceTree::parse(blob).unwrap_err().to_string();
        assert!(message(b"").contains("0 bytes"));
        assert!(message(&good[..39]).contains("39 bytes"));
        assert!(message(&good[..good.len() - 1]).contains("truncated"));
        assert!(message(&[b'x'; 64]).contains("0x78787878"));
    }

    /// Every single-byte change and every length either parses or is refused; none may panic.
    #[test]
    fn mutated_blobs_do_not_panic() {
        let good = sample().to_dtb().unwrap();
        for at in 0..good.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut blob = good.clone();
                blob[at] ^= change;
                if let Ok(tree) = DeviceTree::parse(&blob) {
                    let _ = tree.to_dtb();
                }
            }
            let mut short = good[..at].to_vec();
            if at >= 8 {
                short[4..8].copy_from_slice(&(at as u32).to_be_bytes());
            }
            assert!(DeviceTree::parse(&short).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_tree_too_deep_is_refused() {
        // Built by hand: the writer refuses it as well.
        let mut blob = sample().to_dtb().unwrap();
        let at = u32::from_be_bytes(blob[8..12].try_into().unwrap()) as usize;
        blob.truncate(at);
        for _ in 0..100_000 {
            blob.extend([0, 0, 0, 1, b'a', 0, 0, 0]);
        }
        for _ in 0..100_000 {
            blob.extend([0, 0, 0, 2]);
        }
        blob.extend([0, 0, 0, 9]);
        let size = (blob.len() - at) as u32;
        let total = blob.len() as u32;
        for (field, value) in [(4, total), (12, total), (32, 0), (36, size)] {
            blob[field..field + 4].copy_from_slice(&value.to_be_bytes());
        }
        // The root's name must be empty.
        blob[at + 4] = 0;
        assert!(matches!(DeviceTree::parse(&blob), Err(FdtError::TooDeep | FdtError::Corrupted(_))));
    }

    #[test]
    fn names_that_cannot_be_written_are_named() {
        let tree = DeviceTree { root: Node::new("").with_child(Node::new("bad name")), ..Default::default() };
        assert!(tree.to_dtb().unwrap_err().to_string().contains("bad name"));
    }
}
