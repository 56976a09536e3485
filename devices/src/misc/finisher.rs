//! The finisher (`sifive,test1`): one register through which a guest powers off, fails or resets.

use std::sync::Arc;

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::{MmioDevice, SavedState, StateError};

const FAIL: u32 = 0x3333;
const PASS: u32 = 0x5555;
const RESET: u32 = 0x7777;

/// What a chip may ask of the machine. Called on a vCPU's thread, from inside a store; must not wait for
/// that vCPU to stop.
pub trait MachineControl: Send + Sync {
    /// The guest is done; `code` becomes the program's exit code.
    fn poweroff(&self, code: u16);
    /// The guest wants to start again.
    fn reset(&self);
}

/// The chip. It has no state.
pub struct Finisher {
    map: RegMap<()>,
    machine: Arc<dyn MachineControl>,
}

impl Finisher {
    pub fn new(machine: Arc<dyn MachineControl>) -> Self {
        Self { map: RegMap::new(0x1000).reg(0, 4, ()), machine }
    }
}

impl Registers<()> for &Finisher {
    fn read(&mut self, (): ()) -> u64 {
        0
    }

    fn peek(&self, (): ()) -> u64 {
        0
    }

    /// Command in the lower half, exit code in the upper half. Unknown commands are ignored.
    fn write(&mut self, (): (), value: u64) {
        let code = (value >> 16) as u16;
        match value as u32 & 0xffff {
            PASS => self.machine.poweroff(0),
            FAIL => self.machine.poweroff(code),
            RESET => self.machine.reset(),
            _ => {}
        }
    }
}

impl MmioDevice for Finisher {
    fn name(&self) -> &str {
        "riscv.sifive.test"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.map.read(&mut &*self, offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.map.write(&mut &*self, offset, data);
    }

    fn reset(&self) {}

    fn save_state(&self) -> Option<SavedState> {
        None
    }

    fn restore_state(&self, _: &SavedState) -> Result<(), StateError> {
        Err(StateError::Stateless)
    }

    /// The syscon nodes for power off and reboot, which name this one, are the board's.
    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let compatible = ["sifive,test1", "sifive,test0", "syscon"].map(str::to_owned).to_vec();
        let node = FdtNode::new(format!("test@{:x}", at.base))
            .with_phandle(at)
            .with("reg", at.reg())
            .with("compatible", FdtValue::Strs(compatible));
        vec![node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Machine(Mutex<Vec<Option<u16>>>);

    impl MachineControl for Machine {
        fn poweroff(&self, code: u16) {
            self.0.lock().unwrap().push(Some(code));
        }
        fn reset(&self) {
            self.0.lock().unwrap().push(None);
        }
    }

    fn after(writes: &[(u64, &[u8])]) -> Vec<Option<u16>> {
        let machine = Arc::new(Machine::default());
        let chip = Finisher::new(machine.clone());
        writes.iter().for_each(|(offset, data)| chip.write(*offset, data));
        let mut data = [0xee; 4];
        chip.read(0, &mut data);
        assert_eq!(data, [0; 4]);
        std::mem::take(&mut *machine.0.lock().unwrap())
    }

    #[test]
    fn commands() {
        let of = |value: u32| after(&[(0, &value.to_le_bytes())]);
        assert_eq!(of(0x5555), [Some(0)]);
        assert_eq!(of(0x0007_3333), [Some(7)]);
        assert_eq!(of(0x3333), [Some(0)]);
        assert_eq!(of(0x7777), [None]);
        assert_eq!(of(0x0001_5555), [Some(0)]);
        assert_eq!(of(0x1234), []);
        assert_eq!(of(0), []);
    }

    #[test]
    fn other_widths_and_places() {
        assert_eq!(after(&[(0, &[0x55, 0x55])]), [Some(0)]);
        assert_eq!(after(&[(0, &[0x77, 0x77, 0, 0, 0, 0, 0, 0])]), [None]);
        assert_eq!(after(&[(0, &[0x55]), (2, &[0x55, 0x55]), (4, &[0x55, 0x55, 0, 0])]), []);
    }
}
