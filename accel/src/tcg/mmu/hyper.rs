//! The loads and stores of HLV, HLVX and HSV: a guest's accesses, made while V is 0.
//!
//! They are translated anew each time. The TLB has entries for the current mode only, and a hypervisor uses these to
//! look at single words of its guest.
//!
//! Privileged spec, "Hypervisor Virtual-Machine Load and Store Instructions".

use super::access::{Place, read_host};
use super::pointer_mask::PointerMask;
use super::walk::{self, Access, Regime};
use crate::tcg::hart::Hart;
use crate::tcg::trap::Trap;
use crate::tcg::triggers::Touch;

/// Which load HLV or HLVX is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HyperLoad {
    pub bytes: u8,
    pub signed: bool,
    /// HLVX: execute permission counts.
    pub exec: bool,
}

impl HyperLoad {
    /// As an argument of a helper.
    pub fn pack(self) -> i64 {
        i64::from(self.bytes) | i64::from(self.signed) << 4 | i64::from(self.exec) << 5
    }

    pub fn unpack(v: u64) -> Self {
        Self { bytes: (v & 15) as u8, signed: v >> 4 & 1 != 0, exec: v >> 5 & 1 != 0 }
    }

    /// Widens what was loaded.
    pub fn extend(self, v: u64) -> u64 {
        let unused = 64 - 8 * u32::from(self.bytes);
        if self.signed { ((v << unused) as i64 >> unused) as u64 } else { v }
    }
}

impl Hart {
    /// Loads `len` bytes as the guest would, zero-extended; `None` if a trap was taken.
    pub fn load_as_guest(&mut self, va: u64, len: u64, exec: bool) -> Option<u64> {
        let va = self.guest_address(va, exec);
        let result = self.guest_load(va, len, exec);
        self.taken(result)
    }

    /// Stores the low `len` bytes of `v` as the guest would; `None` if a trap was taken.
    pub fn store_as_guest(&mut self, va: u64, len: u64, v: u64) -> Option<()> {
        let va = self.guest_address(va, false);
        let result = self.guest_store(va, len, v);
        self.taken(result)
    }

    /// `va` after pointer masking, which HLVX (`exec`) does not know.
    fn guest_address(&self, va: u64, exec: bool) -> u64 {
        if exec { va } else { PointerMask::of_guest_access(&self.s).apply(va) }
    }

    fn taken<T>(&mut self, result: Result<T, Trap>) -> Option<T> {
        result.map_err(|t| self.raise(Trap { gva: true, ..t })).ok()
    }

    fn guest_load(&mut self, va: u64, len: u64, exec: bool) -> Result<u64, Trap> {
        self.check_access(va, len, Touch::Load)?;
        let first = len.min(4096 - (va & 0xfff));
        if first < len {
            // Both pages are translated before anything is read; each byte then stands on its own.
            let [low, high] = self.guest_parts(va, first, len, Access::Load, exec)?;
            return Ok((0..len).fold(0, |v, i| v | read_host(half(low, high, first, i), 1) << (8 * i)));
        }
        match self.guest_place(va, len, Access::Load, exec, false)? {
            Place::Ram(host) => Ok(read_host(host, len)),
            Place::Device(_) if va & (len - 1) != 0 => Err(Access::Load.misaligned(va)),
            Place::Device(pa) => {
                self.stats.mmio += 1;
                let mut data = [0; 8];
                self.vm.bus.read(pa, &mut data[..len as usize]).map_err(|_| Access::Load.access_fault(va))?;
                Ok(u64::from_le_bytes(data))
            }
        }
    }

    fn guest_store(&mut self, va: u64, len: u64, v: u64) -> Result<(), Trap> {
        self.check_access(va, len, Touch::Store)?;
        let first = len.min(4096 - (va & 0xfff));
        if first < len {
            let [low, high] = self.guest_parts(va, first, len, Access::Store, false)?;
            (0..len).for_each(|i| self.write_place(half(low, high, first, i), 1, v >> (8 * i)));
            return Ok(());
        }
        match self.guest_place(va, len, Access::Store, false, false)? {
            Place::Ram(host) => self.write_place(host, len, v),
            Place::Device(_) if va & (len - 1) != 0 => return Err(Access::Store.misaligned(va)),
            Place::Device(pa) => {
                self.stats.mmio += 1;
                let data = v.to_le_bytes();
                self.vm.bus.write(pa, &data[..len as usize]).map_err(|_| Access::Store.access_fault(va))?;
            }
        }
        Ok(())
    }

    /// Translates `va`, all `len` bytes of it in one page. `dry` only asks and changes nothing.
    fn guest_place(&mut self, va: u64, len: u64, access: Access, exec: bool, dry: bool) -> Result<Place, Trap> {
        // The second part of an access may have left the range of masked addresses.
        let va = self.guest_address(va, exec);
        let (walk, mode) = {
            let regime = Regime::hypervisor(&self.s, &self.vm.isa);
            let regime = Regime { windows: Some(&self.pmp), exec_loads: exec, dry, ..regime };
            let walk = walk::translate(&regime, &self.vm.ram, va, access);
            self.trace_walk(va, access, &walk);
            (walk?, regime.mode)
        };
        let verdict = self.pmp_verdict(walk.pa, len, mode);
        if !verdict.allows(access) || exec && !verdict.allows(Access::Fetch) {
            return Err(access.access_fault(va));
        }
        let Some(host) = self.vm.ram.host(walk.pa, len) else { return Ok(Place::Device(walk.pa)) };
        if access == Access::Store && !dry {
            self.will_store(walk.pa);
        }
        Ok(Place::Ram(host))
    }

    /// Host addresses of the parts of an access of which the first `first` bytes are in one page and the others in the
    /// next. Nothing changes, A and D bits included, unless both may be accessed. Only RAM can be met by parts.
    fn guest_parts(&mut self, va: u64, first: u64, len: u64, access: Access, exec: bool) -> Result<[*mut u8; 2], Trap> {
        let parts = [(va, first), (va.wrapping_add(first), len - first)];
        let mut hosts = [std::ptr::null_mut(); 2];
        for dry in [true, false] {
            for (host, (part, len)) in hosts.iter_mut().zip(parts) {
                let behind = part.wrapping_sub(va) as u8;
                let place = self.guest_place(part, len, access, exec, dry);
                *host = match place.map_err(|t| Trap { offset: behind, ..t })? {
                    Place::Ram(host) => host,
                    Place::Device(_) => return Err(access.misaligned(va)),
                };
            }
        }
        Ok(hosts)
    }
}

/// Byte `i` of an access of which the first `first` bytes are at `low` and the others at `high`.
fn half(low: *mut u8, high: *mut u8, first: u64, i: u64) -> *mut u8 {
    if i < first { low.wrapping_add(i as usize) } else { high.wrapping_add((i - first) as usize) }
}
