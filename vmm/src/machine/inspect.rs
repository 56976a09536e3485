//! What monitors and debuggers see of a machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accel::{GuestBus, GuestRam, HartState};
use arch::ext::IsaConfig;
use devices::chardev::Chardev;
use devices::virtio::blk::BlkStats;
use firmware::reset_vector;
use firmware::sbi::HartStatus;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::Machine;
use crate::board::assembly::Interrupt;
use crate::board::virt;
use crate::config::{MachineConfig, VIRTIO_SLOTS};
use crate::control::Request;
use crate::gdb::Parts;

/// Reads guest physical memory as a hart would: devices see the access. `false` if nothing answers.
pub(crate) fn read_physical(ram: &GuestRam, bus: &dyn GuestBus, pa: u64, data: &mut [u8]) -> bool {
    ram.read_slice(data, GuestAddress(pa)).is_ok() || bus.read(pa, data).is_ok()
}

/// A range of guest physical addresses, and what answers there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub base: u64,
    /// Bytes.
    pub size: u64,
    pub name: String,
    pub kind: RegionKind,
}

/// What is put into memory before the guest starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rom {
    pub name: String,
    /// Guest physical.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    pub is_ram: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    Ram,
    Io,
}

impl Machine {
    pub fn name(&self) -> Option<&str> {
        self.config.name.as_deref()
    }

    pub fn config(&self) -> &MachineConfig {
        &self.config
    }

    /// The engine that runs the harts, as `-accel` spells it.
    pub fn engine(&self) -> &'static str {
        self.engine
    }

    /// The host's number for the thread of a hart.
    pub fn hart_thread(&self, hart: u32) -> i32 {
        self.harts.thread_id(hart)
    }

    pub fn hart_count(&self) -> u32 {
        self.config.topology.harts()
    }

    pub fn isa(&self) -> &IsaConfig {
        &self.config.isa
    }

    pub fn chardevs(&self) -> impl Iterator<Item = &Arc<Chardev>> {
        self.chardevs.iter()
    }

    /// The character device with this id, which is one of the configuration's.
    pub fn chardev(&self, id: &str) -> &Arc<Chardev> {
        self.chardevs.find(id)
    }

    /// Bytes of a drive's image. One that the guest may write to may change its size; another has that it was opened with.
    pub fn image_size(&self, drive: &str) -> Option<u64> {
        let disk = self.kept.disks.iter().find(|disk| disk.id == drive);
        disk.map(|disk| disk.image.len()).or_else(|| self.kept.image_sizes.get(drive).copied())
    }

    /// What a drive's disk has done; `None` for a drive that is none's.
    pub fn disk_stats(&self, drive: &str) -> Option<&BlkStats> {
        self.kept.disk_stats.get(drive).map(|stats| &**stats)
    }

    /// The state of a hart at this moment.
    ///
    /// # Errors
    /// The hart's thread has failed, or the engine does not give its registers.
    pub fn hart_state(&mut self, hart: u32) -> Result<Box<HartState>, String> {
        let state = self.with_harts_stopped(|m| m.harts.on(hart, |vcpu| vcpu.try_state().map(Box::new)));
        state?.map_err(|error| crate::error_chain(&error))
    }

    /// What the engine has counted of its work for a hart, if it does.
    ///
    /// # Errors
    /// The hart's thread has failed.
    pub fn hart_counters(&mut self, hart: u32) -> Result<Option<String>, String> {
        self.with_harts_stopped(|m| m.harts.on(hart, |vcpu| vcpu.counters()))
    }

    /// Wires of devices into the interrupt controller.
    pub fn interrupts(&self) -> &[Interrupt] {
        &self.board.interrupts
    }

    /// What is put into memory before the guest starts; nothing for a guest that came from elsewhere.
    pub fn roms(&self) -> Vec<Rom> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let rom = |name: &str, address, size, is_ram| Rom { name: name.to_owned(), address, size, is_ram };
        let writes = plan.writes.iter().map(|w| rom(&w.what, w.address, w.data.len() + w.zeros, true));
        let tree = rom("device tree", plan.fdt_address, plan.dtb.len() as u64, true);
        let boot = plan.rom.as_ref().map(|bytes| rom("boot ROM", reset_vector::BASE, bytes.len() as u64, false));
        let mut all: Vec<_> = writes.chain([tree]).chain(boot).collect();
        all.sort_by_key(|rom| rom.address);
        all
    }

    /// CSRs of a hart as M-mode would read them, in order; `None` where the hart has none.
    ///
    /// # Errors
    /// The hart's thread has failed.
    pub fn hart_csrs(&mut self, hart: u32, numbers: Vec<u16>) -> Result<Vec<Option<u64>>, String> {
        let read = move |vcpu: &mut dyn accel::Vcpu| numbers.iter().map(|n| vcpu.csr(*n)).collect();
        self.with_harts_stopped(|m| m.harts.on(hart, read))
    }

    /// The physical address behind a virtual one, as the hart's own data accesses have it at this moment.
    ///
    /// # Errors
    /// The hart's thread has failed.
    pub fn translate(&mut self, hart: u32, va: u64) -> Result<Option<u64>, String> {
        let state = self.hart_state(hart)?;
        Ok(self.physical_address(&state, va))
    }

    /// The same for a hart whose state is known.
    pub fn physical_address(&self, state: &HartState, va: u64) -> Option<u64> {
        accel::debug::physical_address(state, self.isa(), &self.board.ram, va)
    }

    /// What a debugger works with.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            harts: Arc::clone(&self.harts),
            hart_count: self.hart_count(),
            isa: self.isa().clone(),
            ram: Arc::clone(&self.board.ram),
            bus: Arc::clone(&self.board.bus) as _,
        }
    }

    /// What SBI's hart state management says of a hart.
    pub fn hart_status(&self, hart: u32) -> &'static str {
        match self.harts.states.get(hart) {
            HartStatus::Started => "started",
            HartStatus::Stopped => "stopped",
            HartStatus::StartPending => "about to start",
            HartStatus::StopPending => "about to stop",
            HartStatus::Suspended => "suspended",
            HartStatus::SuspendPending => "about to be suspended",
            HartStatus::ResumePending => "about to resume",
        }
    }

    /// Whether a request waits for the event loop.
    pub fn is_asked(&self) -> bool {
        self.control.is_asked()
    }

    /// Whether the program is about to end.
    pub fn is_ending(&self) -> bool {
        self.control.is_ending()
    }

    /// The monitors are looked after again then, whatever happens.
    pub fn call_monitors(&self, after: Duration) {
        self.ticks.arm(Instant::now() + after);
    }

    /// Asks for what only the event loop may do.
    pub fn request(&mut self, request: Request) {
        self.requested = true;
        self.control.request(request);
    }

    /// Whether a monitor has asked for something that was not done yet.
    pub fn has_requested(&self) -> bool {
        self.requested
    }

    /// See [`read_physical`].
    pub fn read_physical(&self, pa: u64, data: &mut [u8]) -> bool {
        read_physical(&self.board.ram, &*self.board.bus, pa, data)
    }

    /// Reads within a page: at a virtual address of a hart in this state, or at a physical one.
    ///
    /// # Errors
    /// The address, and that nothing is there.
    pub fn read_page(&self, state: Option<&HartState>, at: u64, data: &mut [u8]) -> Result<(), String> {
        let pa = self.address(state, at)?;
        if self.read_physical(pa, data) { Ok(()) } else { Err(silence(pa)) }
    }

    /// Whether something is there to be read, without a look at it.
    ///
    /// # Errors
    /// As of [`Machine::read_page`].
    pub fn answers_page(&self, state: Option<&HartState>, at: u64) -> Result<(), String> {
        let pa = self.address(state, at)?;
        let has = |base: u64, size: u64| pa.checked_sub(base).is_some_and(|offset| offset < size);
        let there = self.board.ram.address_in_range(GuestAddress(pa))
            || self.board.bus.iter().any(|(base, device)| has(base, device.size()));
        if there { Ok(()) } else { Err(silence(pa)) }
    }

    /// Where a byte of RAM is in this process.
    pub fn host_address(&self, pa: u64) -> Option<usize> {
        self.board.ram.get_host_address(GuestAddress(pa)).ok().map(|host| host.addr())
    }

    fn address(&self, state: Option<&HartState>, at: u64) -> Result<u64, String> {
        let pa = match state {
            None => Some(at),
            Some(state) => self.physical_address(state, at),
        };
        pa.ok_or_else(|| format!("virtual address {at:#x} is not mapped"))
    }

    /// The number of the virtio-mmio transport that is there.
    pub fn virtio_slot(&self, base: u64) -> Option<u8> {
        (0..VIRTIO_SLOTS).find(|slot| virt::map::virtio(*slot).base == base)
    }

    /// The chips, by address.
    pub fn devices(&self) -> Vec<Region> {
        let mut all = self.regions();
        all.retain(|region| region.kind == RegionKind::Io);
        all
    }

    /// Everything that answers, by address.
    pub fn regions(&self) -> Vec<Region> {
        let ram = self.board.ram.iter().map(|r| Region {
            base: r.start_addr().0,
            size: r.len(),
            name: "ram".to_owned(),
            kind: RegionKind::Ram,
        });
        let mut all: Vec<_> = ram.collect();
        all.extend(self.board.bus.iter().map(|(base, device)| Region {
            base,
            size: device.size(),
            name: device.name().to_owned(),
            kind: RegionKind::Io,
        }));
        all.sort_by_key(|region| region.base);
        all
    }
}

fn silence(pa: u64) -> String {
    format!("nothing answers at physical address {pa:#x}")
}
