//! Host registers that a region's guest registers leave free: they hold the addends of recent pages.
//!
//! The address of a load waits for its page's addend, which is loaded just before. Where a branch that depends on the
//! value was foretold wrongly, the host begins there with nothing at hand, so that wait is added to it. Loads in the
//! innermost loops come first, then stores; what shares a look (`covers`) does without, unless that is for several rounds
//! (`strides`). Guest registers that do as well in memory make room (`region`).
//!
//! Invariant: while a region runs, such a register equals the addend in its entry, unless that entry was dropped and
//! holds no page. It is loaded on the way in and behind calls to Rust, and follows what stubs write to the entry.

use super::emit_mem::RecentSlot;
use super::regs::{PINS, is_volatile};
use super::strides::{looks_of, place};
use super::*;
use crate::tcg::region::Region;

/// The most of a region. Each is moved on its way in and out.
const MOST: usize = 2;

/// An instruction, by its offset, and which of its accesses: by their bytes, and the size and direction of what has an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub insn: u16,
    pub offset: i32,
    pub size: u8,
    pub write: bool,
}

/// A host register with the addend of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addend {
    pub reg: Reg,
    /// The guest register that blocks have in it, which has none inside.
    pub outside: u8,
    pub slot: RecentSlot,
}

impl Backend {
    /// The accesses that gain most by an addend in a register: loads before stores.
    pub(super) fn addend_places(&mut self, region: &Region) -> Vec<Place> {
        let (mut alone, mut shared) = (Vec::new(), Vec::new());
        for node in &region.nodes {
            let looks = looks_of(region, node);
            self.covers.plan(&node.ops, |offset| !region.scattered.contains(&offset));
            for (i, op) in node.ops.iter().enumerate() {
                self.covers.select(i);
                alone.push(self.covers.now.is_none());
                shared.push(looks.iter().find(|l| l.is_of(op)).map(place));
            }
        }
        let (mut found, mut insn): (Vec<(u64, Place)>, _) = (Vec::new(), 0);
        let mut each = alone.into_iter().zip(shared);
        region.each(|op, weight| {
            let (alone, shared) = each.next().unwrap_or_default();
            let place = match *op {
                _ if let Some(place) = shared => place,
                Op::Insn { offset, .. } => {
                    insn = offset;
                    return;
                }
                Op::Load { offset, width, .. } | Op::LoadF { offset, width, .. } if alone => {
                    Place { insn, offset, size: width as u8, write: false }
                }
                Op::Store { offset, width, .. } | Op::StoreF { offset, width, .. } if alone => {
                    Place { insn, offset, size: width as u8, write: true }
                }
                _ => return,
            };
            if region.scattered.contains(&insn) {
                return;
            }
            match found.iter_mut().find(|(_, p)| *p == place) {
                Some((sum, _)) => *sum += weight,
                None => found.push((weight, place)),
            }
        });
        found.sort_by_key(|&(weight, place)| (place.write, std::cmp::Reverse(weight)));
        found.into_iter().map(|(_, place)| place).take(MOST).collect()
    }

    /// Host registers for the first of `places`, as many as the guest registers `inside` leave free.
    pub(super) fn take_addends(&mut self, places: Vec<Place>, inside: &[u8]) -> Vec<Addend> {
        let is_free = |&(x, _): &(u8, Reg)| self.map.get(x).is_some() && !inside.contains(&x);
        let mut free: Vec<(u8, Reg)> = PINS.into_iter().filter(is_free).collect();
        // Those that calls keep first.
        free.sort_by_key(|&(_, r)| is_volatile(r));
        let pairs = places.into_iter().zip(free);
        let addends: Vec<Addend> =
            pairs.map(|(place, (outside, reg))| Addend { reg, outside, slot: self.recent_slot(place) }).collect();
        addends.iter().for_each(|a| self.map.free(a.outside));
        addends
    }

    /// The register that holds the addend of `slot`.
    pub(super) fn addend_reg(&self, slot: RecentSlot) -> Option<Reg> {
        self.region.as_ref()?.addends.iter().find(|a| a.slot == slot).map(|a| a.reg)
    }
}
