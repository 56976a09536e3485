//! A serial port: a UART, the character device behind it and its wire.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::uart16550::{FIFO_DEPTH, Reg, Uart16550};
use crate::chardev::{Chardev, ChardevClient, ChardevError, ChardevEvent, Endpoint};
use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::RegMap;
use crate::{IrqLine, MmioDevice, SavedState, StateError};

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
    /// Input waits outside. Changed with the chip locked.
    paused: AtomicBool,
    /// Another chip at the same character device, by [`SerialPort::console_write`] and [`SerialPort::console_read`].
    sharer: OnceLock<Weak<dyn ChardevClient>>,
}

impl SerialPort {
    /// Takes a place at `chardev`. The event loop has to run the character device.
    pub fn new(chardev: &Arc<Chardev>, irq: IrqLine) -> Result<Arc<Self>, ChardevError> {
        let endpoint = chardev.endpoint()?;
        let (map, chip) = (Uart16550::map(), Mutex::new(Uart16550::new()));
        let port = Arc::new(Self { map, chip, endpoint, irq, paused: AtomicBool::new(false), sharer: OnceLock::new() });
        let client: Weak<dyn ChardevClient> = Arc::downgrade(&(port.clone() as Arc<dyn ChardevClient>));
        port.endpoint.connect(client);
        Ok(port)
    }

    /// `sharer` is told of input and room, too, after the port has taken what it can; once. It is called unlocked.
    pub fn share(&self, sharer: Weak<dyn ChardevClient>) {
        if self.sharer.set(sharer).is_err() {
            tracing::debug!("a second sharer of a serial port is ignored");
        }
    }

    fn sharer(&self) -> Option<Arc<dyn ChardevClient>> {
        self.sharer.get()?.upgrade()
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
        chip.transmit(|bytes| self.endpoint.write_collecting(bytes));
        if !self.paused.load(Ordering::Relaxed) && self.endpoint.available() > 0 {
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

    /// Writes for firmware that shares the console with the guest's driver: past the chip, but behind what waits
    /// in it. Returns how many bytes were taken.
    pub fn console_write(&self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        self.with_chip(|chip| {
            chip.transmit(|waiting| self.endpoint.write(waiting));
            if !chip.is_transmitting() {
                taken = self.endpoint.write(bytes);
            }
        });
        taken
    }

    /// Reads for such firmware; returns how many bytes.
    pub fn console_read(&self, buf: &mut [u8]) -> usize {
        let mut n = 0;
        self.with_chip(|chip| {
            while n < buf.len()
                && let Some(byte) = chip.take_received()
            {
                buf[n] = byte;
                n += 1;
            }
            n += self.endpoint.read(&mut buf[n..]);
        });
        n
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
        if let Some(sharer) = self.sharer() {
            sharer.input_ready();
        }
    }

    fn output_ready(&self) {
        self.with_chip(|_| {});
        if let Some(sharer) = self.sharer() {
            sharer.output_ready();
        }
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

    /// What somebody types meanwhile is for the chip as it is then: it may be given another state before.
    fn pause(&self) {
        let _chip = self.chip();
        self.paused.store(true, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.with_chip(|_| self.paused.store(false, Ordering::Relaxed));
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &self.state()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let chip: Uart16550 = state.read(1)?;
        if !chip.is_legal() {
            return Err(StateError::Unfit("more characters than its FIFOs hold".into()));
        }
        self.set_state(chip);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IrqSink;
    use crate::chardev::{BackendConfig, ChardevConfig, SocketAddress};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    const LSR: u64 = 5;

    #[derive(Default)]
    struct Wire(AtomicBool);

    impl IrqSink for Wire {
        fn set_level(&self, source: u32, level: bool) {
            assert_eq!(source, 10);
            let was = self.0.swap(level, Ordering::SeqCst);
            assert_ne!(was, level);
        }
    }

    /// A port, the far end of its line, and a thread that runs the event loop while the test is the guest.
    struct Bench {
        _dir: tempfile::TempDir,
        chardev: Arc<Chardev>,
        port: Arc<SerialPort>,
        wire: Arc<Wire>,
        peer: UnixStream,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = SocketAddress::Unix(path.clone());
        let backend = BackendConfig::listening(address);
        let chardev = Chardev::open(&ChardevConfig::new("serial0", backend)).unwrap();
        let wire = Arc::new(Wire::default());
        let port = SerialPort::new(&chardev, IrqLine::new(wire.clone(), 10)).unwrap();
        let peer = UnixStream::connect(path).unwrap();
        // Only so that a failure is not a hang.
        peer.set_read_timeout(Some(std::time::Duration::from_secs(120))).unwrap();
        while !chardev.is_connected() {
            chardev.service();
        }
        Bench { _dir: dir, chardev, port, wire, peer }
    }

    impl Bench {
        fn r(&self, offset: u64) -> u8 {
            let mut data = [0];
            self.port.read(offset, &mut data);
            data[0]
        }
        fn w(&self, offset: u64, value: u8) {
            self.port.write(offset, &[value]);
        }
        fn irq(&self) -> bool {
            self.wire.0.load(Ordering::SeqCst)
        }
        /// Runs the event loop until there is nothing to do.
        fn settle(&self) {
            // Output that is being collected goes now.
            self.chardev.service();
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            while poll(&mut [PollFd::new(&self.chardev.poll_fd(), PollFlags::IN)], Some(&now)).unwrap() > 0 {
                self.chardev.service();
            }
        }
    }

    #[test]
    fn output_reaches_the_peer_and_interrupts_at_once() {
        let mut b = bench();
        b.w(2, 1);
        b.w(1, 2);
        for _ in 0..3 {
            assert!(b.irq());
            assert_eq!(b.r(2), 0xc2);
            assert!(!b.irq());
            for byte in b"sixteen bytes..." {
                b.w(0, *byte);
            }
            assert_eq!(b.r(LSR), 0x60);
        }
        b.settle();
        let mut got = [0; 48];
        b.peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"sixteen bytes...sixteen bytes...sixteen bytes...");
    }

    #[test]
    fn collected_output_leaves_by_itself() {
        use event_manager::{EventManager, SubscriberOps};
        let mut b = bench();
        let mut manager = EventManager::<Arc<Chardev>>::new().unwrap();
        manager.add_subscriber(b.chardev.clone());
        b.settle();
        for round in 0..3 {
            b.w(0, round);
            let mut got = [0xff];
            b.peer.set_nonblocking(true).unwrap();
            while b.peer.read(&mut got).is_err() {
                assert!(manager.run_with_timeout(20_000).unwrap() > 0, "nothing woke the event loop");
            }
            assert_eq!(got, [round]);
        }
    }

    #[test]
    fn a_blocked_peer_holds_thre_and_loses_nothing() {
        let mut b = bench();
        b.w(2, 1);
        let mut sent = Vec::new();
        // A guest that polls THRE before each byte.
        while b.r(LSR) & 0x20 != 0 {
            let byte = (sent.len() / 3) as u8;
            b.w(0, byte);
            sent.push(byte);
            if sent.len() % 1000 == 0 {
                b.settle();
            }
            assert!(sent.len() < 16 << 20, "output is bounded");
        }
        b.settle();
        assert_eq!(b.r(LSR) & 0x60, 0);
        b.w(1, 2);
        assert!(!b.irq());
        let mut got = vec![0; sent.len()];
        for chunk in got.chunks_mut(4096) {
            b.peer.read_exact(chunk).unwrap();
            b.settle();
        }
        assert_eq!(got, sent);
        assert!(b.irq(), "the transmitter is empty again");
        assert_eq!(b.r(LSR) & 0x60, 0x60);
    }

    #[test]
    fn draining_the_device_empties_the_fifo_too() {
        let b = bench();
        b.w(2, 1);
        let mut sent = 0;
        while b.r(LSR) & 0x20 != 0 {
            b.w(0, b'.');
            sent += 1;
            if sent % 1000 == 0 {
                b.settle();
            }
        }
        let mut peer = b.peer.try_clone().unwrap();
        let reader = std::thread::spawn(move || peer.read_exact(&mut vec![0; sent]));
        assert!(b.chardev.drain(std::time::Duration::from_secs(120)));
        reader.join().unwrap().unwrap();
        assert_eq!(b.r(LSR) & 0x60, 0x60);
    }

    #[test]
    fn input_waits_while_the_fifo_is_full() {
        let b = bench();
        let data: Vec<u8> = (0..100_000u32).map(|i| (i * 13 / 8) as u8).collect();
        let writer = std::thread::spawn({
            let (data, mut peer) = (data.clone(), b.peer.try_clone().unwrap());
            move || peer.write_all(&data)
        });
        b.w(2, 0xc1);
        b.w(1, 5);
        let mut got = Vec::new();
        while got.len() < data.len() {
            b.settle();
            while b.r(LSR) & 1 != 0 {
                assert!(b.irq());
                got.push(b.r(0));
                assert_eq!(b.r(LSR) & 2, 0, "no overrun");
            }
        }
        assert_eq!(got, data);
        assert!(!b.irq());
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn loopback_keeps_the_host_waiting() {
        let mut b = bench();
        b.w(4, 0x10);
        b.peer.write_all(b"k").unwrap();
        b.settle();
        assert_eq!(b.r(LSR) & 1, 0);
        b.w(0, b'l');
        assert_eq!(b.r(0), b'l');
        b.w(4, 0);
        b.settle();
        assert_eq!(b.r(0), b'k');
    }

    #[test]
    fn reset_and_state() {
        let mut b = bench();
        b.w(1, 1);
        b.peer.write_all(b"x").unwrap();
        b.settle();
        assert!(b.irq());
        let state = b.port.state();
        b.port.reset();
        assert!(!b.irq());
        assert_eq!(b.r(1), 0);
        // The interrupt controller's own state comes back with its input high.
        b.wire.0.store(true, Ordering::SeqCst);
        b.port.set_state(state.clone());
        assert_eq!(b.port.state(), state);
        assert_eq!(b.r(0), b'x');
        assert!(!b.irq());
    }

    #[test]
    fn guest_and_event_loop_race_without_loss() {
        let b = bench();
        let stop = AtomicBool::new(false);
        let len = 200_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    b.chardev.service();
                }
            });
            let mut echo = b.peer.try_clone().unwrap();
            let peer = scope.spawn(move || {
                let mut all = vec![0; len];
                echo.read_exact(&mut all).unwrap();
                all
            });
            b.w(2, 1);
            b.w(1, 2);
            let mut next = 0;
            while next < len {
                // Interrupt driven: one FIFO a THRE.
                if b.irq() && b.r(2) & 0xf == 2 {
                    for _ in 0..16 {
                        b.w(0, next as u8);
                        next += 1;
                    }
                } else {
                    std::thread::yield_now();
                }
            }
            let all = peer.join().unwrap();
            stop.store(true, Ordering::SeqCst);
            assert!(all.iter().enumerate().all(|(i, &byte)| byte == i as u8));
        });
    }

    #[test]
    fn device_tree_node() {
        let at = Placement { interrupt: vec![10], interrupt_parent: 3, ..Placement::at(0x1000_0000, 0x100) };
        let node = &bench().port.fdt(&at)[0];
        assert_eq!(node.name, "serial@10000000");
        let names: Vec<&str> = node.properties.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(names, ["interrupts", "interrupt-parent", "clock-frequency", "reg", "compatible"]);
        assert_eq!(node.properties[2].1, FdtValue::U32(u32::from_be_bytes(*b"\x008@\0")));
    }
}
