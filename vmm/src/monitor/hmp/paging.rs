//! `info mem`: what the page tables of a hart's `satp` map.

use std::fmt::Write;

use arch::csr::satp;
use arch::ext::SatpMode;
use arch::pte;

use super::{Arguments, Context};

/// Tables that are looked at: those of 64 GiB in small pages. A guest may lead tables back into themselves.
const TABLES_MAX: u32 = 1 << 15;
/// Ranges that are shown.
const RANGES_MAX: usize = 1 << 16;

/// Pages side by side, virtual and physical, with the same rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    va: u64,
    pa: u64,
    /// Bytes.
    size: u64,
    /// R, W, X, U, G, A, D of the entries.
    rights: u64,
}

/// A walk over all tables.
struct Tables<'a> {
    /// Reads a table by its physical address, as a whole; `false` if it is not in RAM.
    read: &'a dyn Fn(u64, &mut [u8]) -> bool,
    /// Tables that may still be looked at.
    left: u32,
    ranges: Vec<Range>,
    /// There is more than is shown.
    has_more: bool,
}

const RIGHTS: u64 = pte::R | pte::W | pte::X | pte::U | pte::G | pte::A | pte::D;
const LETTERS: [(u64, char); 7] =
    [(pte::R, 'r'), (pte::W, 'w'), (pte::X, 'x'), (pte::U, 'u'), (pte::G, 'g'), (pte::A, 'a'), (pte::D, 'd')];

impl Tables<'_> {
    /// Looks at a table of this level (0: its entries are pages), whose first entry is for `va`.
    fn walk(&mut self, table: u64, level: u32, va: u64) {
        let mut bytes = [0; (pte::ENTRIES * pte::ENTRY_SIZE) as usize];
        if self.left == 0 {
            self.has_more = true;
        }
        if self.has_more || !(self.read)(table, &mut bytes) {
            return;
        }
        self.left -= 1;
        let shift = pte::PAGE_SHIFT + pte::LEVEL_BITS * level;
        for (i, entry) in bytes.as_chunks().0.iter().enumerate() {
            let (entry, va) = (u64::from_le_bytes(*entry), va + ((i as u64) << shift));
            if pte::is_pointer(entry) && level > 0 {
                self.walk(pte::ppn(entry) << pte::PAGE_SHIFT, level - 1, va);
            } else if entry & (pte::R | pte::X) != 0 && entry & pte::V != 0 && !pte::is_reserved_permission(entry) {
                self.leaf(entry, va, shift);
            }
        }
    }

    fn leaf(&mut self, entry: u64, va: u64, shift: u32) {
        let (mut pa, size) = (pte::ppn(entry) << pte::PAGE_SHIFT, 1u64 << shift);
        if entry & pte::N != 0 && shift == pte::PAGE_SHIFT {
            // One of sixteen that say the same.
            let within = pte::NAPOT_64K_BITS << pte::PAGE_SHIFT;
            pa = pa & !within | va & within;
        }
        // A page that is not aligned to its size is none.
        if pa & (size - 1) != 0 {
            return;
        }
        let rights = entry & RIGHTS;
        if let Some(last) = self.ranges.last_mut()
            && (last.va.wrapping_add(last.size), last.pa + last.size, last.rights) == (va, pa, rights)
        {
            last.size += size;
        } else if self.ranges.len() < RANGES_MAX {
            self.ranges.push(Range { va, pa, size, rights });
        } else {
            self.has_more = true;
        }
    }
}

/// What `satp` maps, in the order of the tables, and whether that is not all; `None` if there is no translation.
fn ranges(satp: u64, read: &dyn Fn(u64, &mut [u8]) -> bool) -> Option<(Vec<Range>, bool)> {
    let mode = SatpMode::from_encoding(satp >> 60).filter(|mode| *mode != SatpMode::Bare)?;
    let mut tables = Tables { read, left: TABLES_MAX, ranges: Vec::new(), has_more: false };
    tables.walk((satp & satp::PPN) << pte::PAGE_SHIFT, mode.levels() - 1, 0);
    // The upper half of addresses has all upper bits set.
    let unused = 64 - mode.virt_bits();
    for range in &mut tables.ranges {
        range.va = (((range.va << unused) as i64) >> unused) as u64;
    }
    Some((tables.ranges, tables.has_more))
}

pub fn mem(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let state = cx.machine.hart_state(*cx.hart)?;
    let found = cx.machine.with_harts_stopped(|machine| {
        let read = |pa: u64, bytes: &mut [u8]| machine.host_address(pa).is_some() && machine.read_physical(pa, bytes);
        ranges(state.csr.satp, &read)
    });
    let Some((ranges, has_more)) = found else {
        let _ = writeln!(cx.out, "No translation or protection");
        return Ok(());
    };
    let _ = writeln!(cx.out, "vaddr            paddr            size             attr");
    let _ = writeln!(cx.out, "---------------- ---------------- ---------------- -------");
    for Range { va, pa, size, rights } in ranges {
        let attributes: String = LETTERS.iter().map(|(bit, c)| if rights & bit != 0 { *c } else { '-' }).collect();
        let _ = writeln!(cx.out, "{va:016x} {pa:016x} {size:016x} {attributes}");
    }
    if has_more {
        let _ = writeln!(cx.out, "there is more: {RANGES_MAX} ranges and {TABLES_MAX} tables at most are shown");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pte::{A, D, G, N, R, U, V, W, X};

    const ROOT: u64 = 0x8000_0000;
    const SV39: u64 = 8 << 60 | ROOT >> 12;

    /// Tables at `ROOT` and behind it, by what is in their entries.
    fn mapped(satp: u64, entries: &[(u64, u64, u64)]) -> Option<(Vec<Range>, bool)> {
        ranges(satp, &|table, bytes| {
            for (_, index, entry) in entries.iter().filter(|(of, ..)| *of == table) {
                let at = (index * 8) as usize;
                bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
            }
            (ROOT..ROOT + 0x8000).contains(&table)
        })
    }

    fn entry(pa: u64, bits: u64) -> u64 {
        pa >> 2 | bits | V
    }

    #[test]
    fn pages_side_by_side_are_one_range() {
        let (one, two) = (ROOT + 0x1000, ROOT + 0x2000);
        let range = |va, pa, size, rights| Range { va, pa, size, rights };
        let found = mapped(
            SV39,
            &[
                (ROOT, 0, entry(one, 0)),
                // A gigapage, in the upper half; one that is not aligned; one with reserved rights.
                (ROOT, 511, entry(0x4000_0000, R | X | G | A)),
                (ROOT, 5, entry(0x4020_0000, R)),
                (ROOT, 6, entry(0x4000_0000, W)),
                // A table outside of RAM.
                (ROOT, 7, entry(0x1000_0000, 0)),
                (one, 3, entry(two, 0)),
                (one, 4, entry(0x20_0000, R | W | A | D)),
                (two, 510, entry(0x1f_e000, R | W | A | D)),
                (two, 511, entry(0x1f_f000, R | W | A | D)),
                (two, 1, entry(0x9000, R | U)),
                // No page: a pointer where there are no more tables.
                (two, 2, entry(0xa000, 0)),
            ],
        );
        let expected = vec![
            range(0x60_1000, 0x9000, 0x1000, R | U),
            range(0x7f_e000, 0x1f_e000, 0x20_2000, R | W | A | D),
            range(0xffff_ffff_c000_0000, 0x4000_0000, 0x4000_0000, R | X | G | A),
        ];
        assert_eq!(found, Some((expected, false)));
        // Sixteen entries of a larger page.
        let mut sixteen: Vec<_> = (16..32).map(|i| (two, i, entry(0x5_8000, R | N))).collect();
        sixteen.extend([(ROOT, 0, entry(one, 0)), (one, 0, entry(two, 0))]);
        assert_eq!(mapped(SV39, &sixteen), Some((vec![range(0x1_0000, 0x5_0000, 0x1_0000, R)], false)));
        for mode in [0, 1, 11] {
            assert_eq!(mapped(mode << 60 | ROOT >> 12, &sixteen), None);
        }
    }

    #[test]
    fn tables_that_lead_into_themselves_have_an_end() {
        let round: Vec<_> = (0..512).map(|i| (ROOT, i, entry(ROOT, 0))).collect();
        for (mode, levels) in [(9, 4), (10, 5)] {
            let (ranges, has_more) = mapped(mode << 60 | ROOT >> 12, &round).unwrap();
            assert!(ranges.is_empty() && has_more, "{levels} levels");
        }
    }
}
