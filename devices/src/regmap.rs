//! Registers declared once, as (offset, width): accesses of any width and alignment arrive at the chip
//! already split, merged and bounds-checked.
//!
//! A chip lists its registers in a [`RegMap`] and implements [`Registers`]; it then only ever sees whole
//! registers. An access that covers several registers becomes one access to each, in address order. One that
//! covers part of a register reads it whole and takes the bytes it wants, or writes it whole with the other
//! bytes as [`Registers::peek`] gives them. Bytes between registers read as zero and ignore writes.

use std::ops::Range;

/// A chip's registers, by name. `R` is the chip's enum of registers.
pub trait Registers<R> {
    /// The guest reads the whole register, or part of it.
    fn read(&mut self, reg: R) -> u64;

    /// The guest writes the register. Bits above its width are zero.
    fn write(&mut self, reg: R, value: u64);

    /// What a narrow write leaves in the register's other bytes; no side effects. Zero for registers that
    /// hold nothing (commands, write-one-to-clear).
    fn peek(&self, reg: R) -> u64;
}

#[derive(Debug, Clone, Copy)]
enum Name<R> {
    One(R),
    Many(fn(u32) -> R),
}

/// `count` registers of `width` bytes, the first at `base`, one every `stride` bytes.
#[derive(Debug, Clone)]
struct Span<R> {
    base: u64,
    stride: u64,
    count: u32,
    width: u64,
    name: Name<R>,
}

impl<R: Copy> Span<R> {
    /// The register that holds the byte at `offset`, and the register's own offset.
    fn find(&self, offset: u64) -> Option<(R, u64)> {
        let index = offset.checked_sub(self.base)? / self.stride;
        let start = self.base + index * self.stride;
        let inside = index < u64::from(self.count) && offset - start < self.width;
        inside.then(|| {
            let reg = match self.name {
                Name::One(reg) => reg,
                Name::Many(make) => make(index as u32),
            };
            (reg, start)
        })
    }
}

/// One register's share of an access.
struct Part<R> {
    reg: R,
    /// Bytes of the access.
    bytes: Range<usize>,
    /// Where those bytes are in the register, in bits.
    shift: u32,
    whole: bool,
}

/// Where a chip's registers are.
#[derive(Debug, Clone)]
pub struct RegMap<R> {
    size: u64,
    spans: Vec<Span<R>>,
}

impl<R: Copy> RegMap<R> {
    /// A map of `size` bytes without registers.
    pub fn new(size: u64) -> Self {
        Self { size, spans: Vec::new() }
    }

    /// Declares one register of 1, 2, 4 or 8 bytes.
    #[must_use]
    pub fn reg(self, offset: u64, width: u64, reg: R) -> Self {
        self.declare(Span { base: offset, stride: width, count: 1, width, name: Name::One(reg) })
    }

    /// Declares `count` registers, `stride` bytes apart; `make` names the one with an index.
    #[must_use]
    pub fn array(self, base: u64, stride: u64, count: u32, width: u64, make: fn(u32) -> R) -> Self {
        self.declare(Span { base, stride, count, width, name: Name::Many(make) })
    }

    /// Panics on a map that contradicts itself: that is a mistake in the chip, not in its use.
    fn declare(mut self, new: Span<R>) -> Self {
        assert!(matches!(new.width, 1 | 2 | 4 | 8), "a register is 1, 2, 4 or 8 bytes wide");
        assert!(new.stride >= new.width && new.count > 0, "registers of an array overlap");
        let last = new.base + new.stride * u64::from(new.count - 1);
        assert!(last + new.width <= self.size, "register at {last:#x} is outside the chip");
        if cfg!(debug_assertions) {
            for i in 0..u64::from(new.count) {
                let start = new.base + i * new.stride;
                let clash = (start..start + new.width).any(|o| self.spans.iter().any(|s| s.find(o).is_some()));
                assert!(!clash, "two registers at {start:#x}");
            }
        }
        self.spans.push(new);
        self
    }

    /// Bytes of address space.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn find(&self, offset: u64) -> Option<(R, u64, u64)> {
        self.spans.iter().find_map(|s| s.find(offset).map(|(reg, start)| (reg, start, s.width)))
    }

    /// The parts of an access of `len` bytes at `offset`, in address order.
    fn parts(&self, offset: u64, len: usize) -> impl Iterator<Item = Part<R>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < len {
                let Some(here) = offset.checked_add(at as u64).filter(|&o| o < self.size) else {
                    at = len;
                    break;
                };
                let Some((reg, start, width)) = self.find(here) else {
                    at += 1;
                    continue;
                };
                let skipped = here - start;
                let n = ((width - skipped) as usize).min(len - at);
                let bytes = at..at + n;
                at += n;
                return Some(Part { reg, bytes, shift: skipped as u32 * 8, whole: n as u64 == width });
            }
            None
        })
    }

    /// Answers a guest's read.
    pub fn read(&self, chip: &mut impl Registers<R>, offset: u64, data: &mut [u8]) {
        data.fill(0);
        for part in self.parts(offset, data.len()) {
            let value = (chip.read(part.reg) >> part.shift).to_le_bytes();
            let bytes = &mut data[part.bytes];
            let n = bytes.len();
            bytes.copy_from_slice(&value[..n]);
        }
    }

    /// Carries out a guest's write.
    pub fn write(&self, chip: &mut impl Registers<R>, offset: u64, data: &[u8]) {
        for part in self.parts(offset, data.len()) {
            let bytes = &data[part.bytes];
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            let value = u64::from_le_bytes(value);
            if part.whole {
                chip.write(part.reg, value);
            } else {
                // Narrower than the register, so the mask is less than 64 bits.
                let mask = ((1u64 << (bytes.len() * 8)) - 1) << part.shift;
                let merged = (chip.peek(part.reg) & !mask) | (value << part.shift);
                chip.write(part.reg, merged);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Reg {
        Byte(u32),
        Half,
        Word(u32),
        Double,
    }

    /// bytes 0, 1 · half 4 · words 8 and 16 (stride 8) · double 24; the rest are holes.
    fn map() -> RegMap<Reg> {
        RegMap::new(32).array(0, 1, 2, 1, Reg::Byte).reg(4, 2, Reg::Half).array(8, 8, 2, 4, Reg::Word).reg(
            24,
            8,
            Reg::Double,
        )
    }

    /// Registers backed by plain memory, with a log of whole-register accesses.
    struct Memory {
        bytes: [u8; 32],
        log: Vec<(Reg, Option<u64>)>,
    }

    impl Memory {
        fn new() -> Self {
            Self { bytes: std::array::from_fn(|i| i as u8 + 1), log: Vec::new() }
        }

        fn place(reg: Reg) -> Range<usize> {
            match reg {
                Reg::Byte(i) => i as usize..i as usize + 1,
                Reg::Half => 4..6,
                Reg::Word(i) => 8 + 8 * i as usize..12 + 8 * i as usize,
                Reg::Double => 24..32,
            }
        }
    }

    impl Registers<Reg> for Memory {
        fn read(&mut self, reg: Reg) -> u64 {
            self.log.push((reg, None));
            self.peek(reg)
        }

        fn write(&mut self, reg: Reg, value: u64) {
            self.log.push((reg, Some(value)));
            let place = Self::place(reg);
            let n = place.len();
            assert!(n == 8 || value >> (n * 8) == 0, "bits above the register");
            self.bytes[place].copy_from_slice(&value.to_le_bytes()[..n]);
        }

        fn peek(&self, reg: Reg) -> u64 {
            let mut v = [0; 8];
            let place = Self::place(reg);
            v[..place.len()].copy_from_slice(&self.bytes[place]);
            u64::from_le_bytes(v)
        }
    }

    fn is_register(byte: usize) -> bool {
        matches!(byte, 0 | 1 | 4 | 5 | 8..=11 | 16..=19 | 24..=31)
    }

    #[test]
    fn every_width_at_every_offset_behaves_like_bytes() {
        let map = map();
        for width in 1..=8 {
            for offset in 0..40usize {
                let mut chip = Memory::new();
                let mut got = vec![0xee; width];
                map.read(&mut chip, offset as u64, &mut got);
                let want: Vec<u8> =
                    (offset..offset + width).map(|b| if is_register(b) { b as u8 + 1 } else { 0 }).collect();
                assert_eq!(got, want, "read {width} at {offset}");

                let data: Vec<u8> = (0..width as u8).map(|i| 0xa0 + i).collect();
                map.write(&mut chip, offset as u64, &data);
                for b in 0..32 {
                    let hit = b >= offset && b < offset + width && is_register(b);
                    let want = if hit { 0xa0 + (b - offset) as u8 } else { b as u8 + 1 };
                    assert_eq!(chip.bytes[b], want, "byte {b} after write {width} at {offset}");
                }
            }
        }
    }

    #[test]
    fn a_register_is_accessed_once_and_whole() {
        let map = map();
        let mut chip = Memory::new();
        map.read(&mut chip, 0, &mut [0; 8]);
        assert_eq!(chip.log, [(Reg::Byte(0), None), (Reg::Byte(1), None), (Reg::Half, None)]);

        chip.log.clear();
        map.write(&mut chip, 17, &[0xff]);
        assert_eq!(chip.log, [(Reg::Word(1), Some(0x1413_ff11))]);

        chip.log.clear();
        map.write(&mut chip, 24, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(chip.log, [(Reg::Double, Some(0x0807_0605_0403_0201))]);
    }

    #[test]
    fn offsets_at_the_end_of_the_address_space_are_holes() {
        let map = map();
        let mut chip = Memory::new();
        let mut data = [0xee; 8];
        map.read(&mut chip, u64::MAX - 3, &mut data);
        assert_eq!(data, [0; 8]);
        map.write(&mut chip, u64::MAX, &data);
        assert!(chip.log.is_empty());
    }

    #[test]
    #[should_panic(expected = "two registers")]
    fn overlapping_registers_are_refused() {
        let _ = map().reg(5, 1, Reg::Half);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn registers_outside_the_chip_are_refused() {
        let _ = map().array(28, 4, 2, 4, Reg::Word);
    }
}
