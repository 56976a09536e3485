//! The guest's RAM as the kernel knows it: a slot for each region, and which pages of it are written to.

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use crate::dirty::by_pages;
use crate::{AccelError, DirtyPages, DirtyRegion, GuestRam};

/// Gives the kernel all of `ram`, whose slots are numbered as its regions; it has to stay mapped as long as `fd` is
/// open.
pub fn add(fd: &VmFd, ram: &GuestRam) -> Result<(), AccelError> {
    set_slots(fd, ram, 0, |start, size| format!("give KVM the memory from {start:#x} on, {size:#x} bytes"))
}

/// From here on the harts' stores are in the log. Those of devices are in the bitmap of guest memory in any case.
///
/// The kernel takes write permission from all pages, and gives it back to each at its first store.
pub fn start_log(fd: &VmFd, ram: &GuestRam) -> Result<(), AccelError> {
    DirtyPages::of_devices(ram);
    set_slots(fd, ram, KVM_MEM_LOG_DIRTY_PAGES, |start, _| {
        format!("record which pages of the memory from {start:#x} on are written to")
    })
}

/// Ends the log. Large pages that it made the kernel divide stay divided.
pub fn stop_log(fd: &VmFd, ram: &GuestRam) -> Result<(), AccelError> {
    set_slots(fd, ram, 0, |start, _| {
        format!("stop recording which pages of the memory from {start:#x} on are written to")
    })
}

/// Takes the log. The kernel clears a slot's bits and takes write permission away again before it answers, so
/// clearing them by parts (`KVM_CLEAR_DIRTY_LOG`) would save nothing.
pub fn take_log(fd: &VmFd, ram: &GuestRam) -> Result<DirtyPages, AccelError> {
    let mut pages = DirtyPages::of_devices(ram);
    let mut harts = DirtyPages::default();
    for (slot, region) in (0u32..).zip(ram.iter()) {
        let (start, size) = (region.start_addr().raw_value(), region.len());
        let bits = fd.get_dirty_log(slot, size as usize).map_err(|e| AccelError::Host {
            doing: format!("ask KVM which pages of the memory from {start:#x} on were written to"),
            source: e.into(),
        })?;
        harts.regions.push(DirtyRegion { start, words: by_pages(bits, size) });
    }
    pages.merge(&harts);
    Ok(pages)
}

fn set_slots(fd: &VmFd, ram: &GuestRam, flags: u32, doing: impl Fn(u64, u64) -> String) -> Result<(), AccelError> {
    for (slot, region) in (0u32..).zip(ram.iter()) {
        let (start, size) = (region.start_addr().raw_value(), region.len());
        let address = region
            .get_host_address(vm_memory::MemoryRegionAddress(0))
            .map_err(|e| AccelError::Host { doing: doing(start, size), source: std::io::Error::other(e) })?;
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: start,
            memory_size: size,
            userspace_addr: address as u64,
        };
        // SAFETY: the caller keeps the memory mapped as long as the machine exists.
        unsafe { fd.set_user_memory_region(region) }
            .map_err(|e| AccelError::Host { doing: doing(start, size), source: e.into() })?;
    }
    Ok(())
}
