//! The machine's IMSICs, as engine and chips see them: interrupt files behind the harts' CSRs, and the far end of MSIs.

use std::sync::Arc;

use accel::{GuestRam, InterruptFile};
use devices::intc::Imsic;
use devices::{MmioDevice, MsiSink};
use vm_memory::{Bytes, GuestAddress};

/// The IMSICs with their addresses.
pub struct Imsics {
    /// Only with M-mode below the guest.
    pub machine: Option<(u64, Arc<Imsic>)>,
    pub supervisor: (u64, Arc<Imsic>),
    pub ram: Arc<GuestRam>,
}

impl Imsics {
    /// The chip that holds a file, and the file's number at a hart.
    fn chip(&self, file: InterruptFile) -> Option<(&Imsic, u8)> {
        match file {
            InterruptFile::Machine => self.machine.as_ref().map(|(_, imsic)| (&**imsic, 0)),
            InterruptFile::Supervisor => Some((&self.supervisor.1, 0)),
            InterruptFile::Guest(guest) => Some((&self.supervisor.1, guest)),
        }
    }
}

impl accel::Imsic for Imsics {
    fn access(&self, hart: u32, file: InterruptFile, register: u8, clear: u64, set: u64) -> u64 {
        self.chip(file).map_or(0, |(imsic, guest)| imsic.access(hart, guest, register, clear, set))
    }

    fn top(&self, hart: u32, file: InterruptFile, claim: bool) -> u64 {
        let identity = self.chip(file).map_or(0, |(imsic, guest)| u64::from(imsic.top(hart, guest, claim)));
        identity << 16 | identity
    }
}

impl MsiSink for Imsics {
    /// An MSI is a store of a word: to an interrupt file, or to RAM.
    fn send(&self, address: u64, data: u32) {
        for (base, imsic) in self.machine.iter().chain([&self.supervisor]) {
            match address.checked_sub(*base) {
                Some(offset) if offset < imsic.size() => return imsic.write(offset, &data.to_le_bytes()),
                _ => {}
            }
        }
        if self.ram.write_slice(&data.to_le_bytes(), GuestAddress(address)).is_err() {
            tracing::debug!("MSI {data} for {address:#x}: nothing is there");
        }
    }
}
