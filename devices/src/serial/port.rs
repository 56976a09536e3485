//! A serial port: a UART, the character device behind it and its wire.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::uart16550::{FIFO_DEPTH, Reg, Uart16550};
use crate::chardev::{Chardev, ChardevClient, ChardevError, ChardevEvent, Endpoint};
use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::RegMap;
use crate::{IrqLine, MmioDevice};

/// What the clock input is said to be, in Hz.
const CLOCK_FREQUENCY: u32 = 3_686_400;

/// A 16550A on the bus.
///
/// Output leaves on the vCPU's thread as far as the character device takes it; a transmitter that it does
/// not take stays full until the device has room. Input comes on the event loop's thread, and on the
/// vCPU's when the guest makes room; it waits in the device as long as the FIFO is full.
///
/// Locks: the chip's, inside which the character device's queue may be used. The wire is driven outside.
pub struct SerialPort {
    map: RegMap<Reg>,
    chip: Mutex<Uart16550>,
    endpoint: Endpoint,
    irq: IrqLine,
}

impl SerialPort {
    /// Takes a place at `chardev`. The event loop has to run the character device.
    pub fn new(chardev: &Arc<Chardev>, irq: IrqLine) -> Result<Arc<Self>, ChardevError> {
        let endpoint = chardev.endpoint()?;
        let port = Arc::new(Self { map: Uart16550::map(), chip: Mutex::new(Uart16550::new()), endpoint, irq });
        let client: Weak<dyn ChardevClient> = Arc::downgrade(&(port.clone() as Arc<dyn ChardevClient>));
        port.endpoint.connect(client);
        Ok(port)
    }

    fn chip(&self) -> MutexGuard<'_, Uart16550> {
        self.chip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `f` use the chip, then moves what can be moved between chip and character device, then drives
    /// the wire if it has to change.
    fn with_chip(&self, f: impl FnOnce(&mut Uart16550)) {
        let mut chip = self.chip();
        let before = chip.irq();
        f(&mut chip);
        chip.transmit(|bytes| self.endpoint.write(bytes));
        if self.endpoint.available() > 0 {
            let mut bytes = [0; FIFO_DEPTH];
            let room = chip.rx_room();
            let n = self.endpoint.read(&mut bytes[..room]);
            bytes[..n].iter().for_each(|&byte| chip.receive(byte));
        }
        let changed = chip.irq() != before;
        drop(chip);
        if changed {
            self.irq.follow(|| self.chip().irq());
        }
    }

    /// A copy of the chip's state.
    pub fn state(&self) -> Uart16550 {
        self.chip().clone()
    }

    /// Puts back a copied state. The wire is restored by whoever restores the interrupt controller.
    pub fn set_state(&self, state: Uart16550) {
        self.irq.restore(state.irq());
        *self.chip() = state;
    }
}

impl ChardevClient for SerialPort {
    fn input_ready(&self) {
        self.with_chip(|_| {});
    }

    fn output_ready(&self) {
        self.with_chip(|_| {});
    }

    fn event(&self, event: ChardevEvent) {
        if event == ChardevEvent::Break {
            self.with_chip(Uart16550::receive_break);
        }
    }
}

impl MmioDevice for SerialPort {
    fn name(&self) -> &str {
        "serial"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.with_chip(|chip| self.map.read(chip, offset, data));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.with_chip(|chip| self.map.write(chip, offset, data));
    }

    /// What the host typed ahead stays.
    fn reset(&self) {
        self.with_chip(Uart16550::reset);
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new(format!("serial@{:x}", at.base))
            .with_interrupt(at)
            .with("clock-frequency", FdtValue::U32(CLOCK_FREQUENCY))
            .with("reg", at.reg())
            .with("compatible", FdtValue::Str("ns16550a".into()));
        vec![node]
    }
}
