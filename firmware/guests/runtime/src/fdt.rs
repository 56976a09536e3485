//! A reader of flattened device trees: just enough to walk nodes and look at properties.
//! Format: Devicetree Specification 0.4, chapter 5.

const MAGIC: u32 = 0xd00d_feed;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;

/// A blob in memory.
#[derive(Clone, Copy)]
pub struct Fdt {
    structure: &'static [u8],
    strings: &'static [u8],
    /// Bytes of the whole blob.
    pub len: usize,
}

/// One step of a walk.
pub enum Item {
    /// A node's name; its properties follow, then its children.
    Begin(&'static str),
    Prop(&'static str, &'static [u8]),
    End,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The NUL-terminated text at the start of `bytes`.
fn text(bytes: &'static [u8]) -> Option<&'static str> {
    let len = bytes.iter().position(|b| *b == 0)?;
    core::str::from_utf8(&bytes[..len]).ok()
}

impl Fdt {
    /// # Safety
    /// A readable blob is at `address`, and stays.
    pub unsafe fn at(address: usize) -> Option<Self> {
        if address == 0 || !address.is_multiple_of(4) {
            return None;
        }
        // SAFETY: the header is there.
        let header = unsafe { core::slice::from_raw_parts(address as *const u8, 40) };
        if word(header, 0)? != MAGIC {
            return None;
        }
        let total = word(header, 4)? as usize;
        // SAFETY: the header gives the blob's length.
        let blob = unsafe { core::slice::from_raw_parts(address as *const u8, total) };
        let (structure, strings) = (word(blob, 8)? as usize, word(blob, 12)? as usize);
        Some(Self { structure: blob.get(structure..)?, strings: blob.get(strings..)?, len: total })
    }

    /// Walks the whole tree; stops at its end or at the first thing that makes no sense.
    pub fn walk(&self) -> impl Iterator<Item = Item> + use<> {
        let fdt = *self;
        let mut at = 0;
        core::iter::from_fn(move || {
            loop {
                let token = word(fdt.structure, at)?;
                at += 4;
                match token {
                    BEGIN_NODE => {
                        let name = text(&fdt.structure[at..])?;
                        at = (at + name.len() + 1).next_multiple_of(4);
                        return Some(Item::Begin(name));
                    }
                    PROP => {
                        let len = word(fdt.structure, at)? as usize;
                        let name = text(fdt.strings.get(word(fdt.structure, at + 4)? as usize..)?)?;
                        let value = fdt.structure.get(at + 8..at + 8 + len)?;
                        at = (at + 8 + len).next_multiple_of(4);
                        return Some(Item::Prop(name, value));
                    }
                    END_NODE => return Some(Item::End),
                    NOP => {}
                    _ => return None,
                }
            }
        })
    }
}

/// The cells of a property.
pub fn cells(value: &[u8]) -> impl Iterator<Item = u32> + '_ {
    value.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
}

/// The first cell.
pub fn cell(value: &[u8]) -> Option<u32> {
    cells(value).next()
}

/// The number in the two cells at index `at`.
pub fn double(value: &[u8], at: usize) -> Option<usize> {
    let mut cells = cells(value).skip(at);
    Some((cells.next()? as usize) << 32 | cells.next()? as usize)
}

/// The strings of a string list.
pub fn strings(value: &'static [u8]) -> impl Iterator<Item = &'static str> {
    value.split(|b| *b == 0).filter(|s| !s.is_empty()).filter_map(|s| core::str::from_utf8(s).ok())
}

/// A one-string property.
pub fn string(value: &'static [u8]) -> &'static str {
    strings(value).next().unwrap_or("")
}

/// Which pair of a list is these two: of `interrupts-extended` with controllers that take one cell.
pub fn place_of(list: &[u8], phandle: u32, interrupt: u32) -> Option<usize> {
    list.chunks_exact(8).position(|pair| cells(pair).eq([phandle, interrupt]))
}
