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

#[cfg(test)]
mod tests {
    use accel::Imsic as _;
    use devices::intc::imsic::Level;

    use super::*;
    use crate::board::memory;
    use crate::board::wires::HartWires;
    use crate::config::{MemoryLock, RamConfig};

    const RAM: u64 = 0x8000_0000;

    fn imsics() -> Imsics {
        let wires = Arc::new(HartWires::new(Arc::new(accel::Clock::new(10_000_000))));
        let imsic = |level| Arc::new(Imsic::new(level, 2, Arc::clone(&wires) as _));
        Imsics {
            machine: Some((0x2400_0000, imsic(Level::Machine))),
            supervisor: (0x2800_0000, imsic(Level::Supervisor { guests: 1 })),
            ram: memory::make(RAM, 1 << 20, &RamConfig::default(), MemoryLock::Off).unwrap().ram,
        }
    }

    #[test]
    fn messages_reach_files_and_memory() {
        let imsics = imsics();
        let files = [
            (0x2400_1000, 1, InterruptFile::Machine),
            (0x2800_0000, 0, InterruptFile::Supervisor),
            (0x2800_3000, 1, InterruptFile::Guest(1)),
        ];
        for (address, hart, file) in files {
            imsics.access(hart, file, 0xc0, 0, 1 << 7);
            imsics.send(address, 7);
            assert_eq!(imsics.top(hart, file, true), 7 << 16 | 7, "{address:#x}");
            assert_eq!(imsics.top(hart, file, false), 0);
        }
        imsics.send(RAM + 0x100, 0x1234_5678);
        imsics.send(0x1000, 1);
        imsics.send(u64::MAX, 1);
        assert_eq!(imsics.ram.read_obj::<u32>(GuestAddress(RAM + 0x100)).unwrap().to_le(), 0x1234_5678);
    }

    #[test]
    fn a_machine_without_its_level_has_no_machine_files() {
        let imsics = Imsics { machine: None, ..imsics() };
        assert_eq!(imsics.access(0, InterruptFile::Machine, 0x70, 0, 1), 0);
        assert_eq!(imsics.access(0, InterruptFile::Machine, 0x70, 0, 0), 0);
        assert_eq!(imsics.top(0, InterruptFile::Machine, true), 0);
    }
}
