//! The 16550A UART (National Semiconductor PC16550D data sheet) as a register machine: no bus, no lock, no
//! host. Whoever holds it moves bytes with [`Uart16550::transmit`] and [`Uart16550::receive`] and copies
//! [`Uart16550::irq`] to a wire.
//!
//! The line is infinitely fast: a character leaves as soon as the host takes it, and the "character timeout"
//! of the receiver is over as soon as no more input is there. So neither baud rate nor timers matter, and
//! word length and parity are kept but have no effect: a guest that never sets them still gets eight bits.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::regmap::{RegMap, Registers};

/// Characters in each FIFO.
pub const FIFO_DEPTH: usize = 16;

/// Registers, by offset; three of them change with the direction or with LCR.DLAB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// Receiver buffer, transmitter holding; divisor latch, low.
    Data,
    /// Interrupt enable; divisor latch, high.
    InterruptEnable,
    /// Interrupt identification (read), FIFO control (write).
    InterruptIdFifoControl,
    LineControl,
    ModemControl,
    LineStatus,
    ModemStatus,
    Scratch,
}

mod ier {
    pub const RECEIVED: u8 = 1;
    pub const THR_EMPTY: u8 = 2;
    pub const LINE_STATUS: u8 = 4;
    pub const MODEM_STATUS: u8 = 8;
    pub const ALL: u8 = 0x0f;
}

mod iir {
    pub const NONE: u8 = 1;
    pub const MODEM_STATUS: u8 = 0;
    pub const THR_EMPTY: u8 = 2;
    pub const RECEIVED: u8 = 4;
    pub const LINE_STATUS: u8 = 6;
    pub const TIMEOUT: u8 = 0xc;
    pub const FIFOS: u8 = 0xc0;
}

mod fcr {
    pub const ENABLE: u8 = 1;
    pub const CLEAR_RX: u8 = 2;
    pub const CLEAR_TX: u8 = 4;
    pub const TRIGGER_SHIFT: u32 = 6;
    /// The bits that last: enable, DMA mode, trigger level.
    pub const KEPT: u8 = 0xc9;
}

mod lcr {
    pub const DLAB: u8 = 0x80;
}

mod mcr {
    pub const DTR: u8 = 1;
    pub const RTS: u8 = 2;
    pub const OUT1: u8 = 4;
    pub const OUT2: u8 = 8;
    pub const LOOP: u8 = 0x10;
    pub const ALL: u8 = 0x1f;
}

mod lsr {
    pub const DATA_READY: u8 = 1;
    pub const OVERRUN: u8 = 2;
    pub const BREAK: u8 = 0x10;
    pub const THR_EMPTY: u8 = 0x20;
    pub const TX_EMPTY: u8 = 0x40;
    pub const FIFO_ERROR: u8 = 0x80;
}

mod msr {
    pub const DELTA_RI: u8 = 4;
    pub const DELTAS: u8 = 0xf;
    pub const CTS: u8 = 0x10;
    pub const DSR: u8 = 0x20;
    pub const RI: u8 = 0x40;
    pub const DCD: u8 = 0x80;
    /// What a null modem with a live peer gives.
    pub const CONNECTED: u8 = CTS | DSR | DCD;
}

const TRIGGERS: [usize; 4] = [1, 4, 8, 14];

/// A received character and the error bits of LSR that came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Received {
    data: u8,
    errors: u8,
}

/// The chip and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uart16550 {
    rx: VecDeque<Received>,
    tx: VecDeque<u8>,
    divisor: u16,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scr: u8,
    /// Delta bits of MSR; the others follow from MCR.
    deltas: u8,
    overrun: bool,
    /// The transmitter emptied, or its interrupt was enabled while empty, and IIR was not read since.
    thr_emptied: bool,
}

impl Default for Uart16550 {
    fn default() -> Self {
        Self {
            rx: VecDeque::with_capacity(FIFO_DEPTH),
            tx: VecDeque::with_capacity(FIFO_DEPTH),
            divisor: 12,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: mcr::OUT2,
            scr: 0,
            deltas: 0,
            overrun: false,
            thr_emptied: false,
        }
    }
}

impl Uart16550 {
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the registers are: eight of one byte.
    pub fn map() -> RegMap<Reg> {
        use Reg::*;
        let order = [
            Data,
            InterruptEnable,
            InterruptIdFifoControl,
            LineControl,
            ModemControl,
            LineStatus,
            ModemStatus,
            Scratch,
        ];
        order.into_iter().zip(0..).fold(RegMap::new(8), |map, (reg, offset)| map.reg(offset, 1, reg))
    }

    /// Power-on state.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether a state from elsewhere is one that a chip can have.
    pub fn is_legal(&self) -> bool {
        self.rx.len() <= FIFO_DEPTH && self.tx.len() <= FIFO_DEPTH && self.ier & !ier::ALL == 0
    }

    fn fifos(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    fn depth(&self) -> usize {
        if self.fifos() { FIFO_DEPTH } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.fifos() { TRIGGERS[usize::from(self.fcr >> fcr::TRIGGER_SHIFT)] } else { 1 }
    }

    fn looped(&self) -> bool {
        self.mcr & mcr::LOOP != 0
    }

    /// How many characters the receiver takes without an overrun. None in loopback: the host's wait.
    pub fn rx_room(&self) -> usize {
        if self.looped() { 0 } else { self.depth().saturating_sub(self.rx.len()) }
    }

    /// A character arrives from the host.
    pub fn receive(&mut self, data: u8) {
        self.push(Received { data, errors: 0 });
    }

    /// Takes the oldest received character away, for firmware that reads the console on the guest's behalf.
    pub fn take_received(&mut self) -> Option<u8> {
        self.rx.pop_front().map(|r| r.data)
    }

    /// The host holds the line low.
    pub fn receive_break(&mut self) {
        if !self.looped() {
            self.push(Received { data: 0, errors: lsr::BREAK });
        }
    }

    fn push(&mut self, received: Received) {
        if self.rx.len() < self.depth() {
            self.rx.push_back(received);
            return;
        }
        self.overrun = true;
        if !self.fifos() {
            self.rx.clear();
            self.rx.push_back(received);
        }
    }

    /// Offers the characters that wait in the transmitter to `sink`, which says how many it took. What it
    /// leaves stays, and THRE stays low.
    pub fn transmit(&mut self, sink: impl FnOnce(&[u8]) -> usize) {
        if self.tx.is_empty() {
            return;
        }
        let waiting = self.tx.make_contiguous();
        let taken = sink(waiting).min(waiting.len());
        self.tx.drain(..taken);
        self.thr_emptied |= self.tx.is_empty();
    }

    /// Whether characters wait in the transmitter.
    pub fn is_transmitting(&self) -> bool {
        !self.tx.is_empty()
    }

    fn write_thr(&mut self, data: u8) {
        self.thr_emptied = false;
        if self.looped() {
            self.push(Received { data, errors: 0 });
            self.thr_emptied = true;
        } else if self.tx.len() < self.depth() {
            self.tx.push_back(data);
        } else if !self.fifos() {
            // The holding register is overwritten; a full FIFO loses the new character instead.
            self.tx.clear();
            self.tx.push_back(data);
        }
    }

    fn write_fcr(&mut self, value: u8) {
        let value = if value & fcr::ENABLE != 0 { value } else { 0 };
        let switched = (value ^ self.fcr) & fcr::ENABLE != 0;
        if switched || value & fcr::CLEAR_RX != 0 {
            self.rx.clear();
        }
        if (switched || value & fcr::CLEAR_TX != 0) && !self.tx.is_empty() {
            self.tx.clear();
            self.thr_emptied = true;
        }
        self.fcr = value & fcr::KEPT;
    }

    fn write_ier(&mut self, value: u8) {
        let value = value & ier::ALL;
        let switched_on = value & !self.ier;
        if switched_on & ier::THR_EMPTY != 0 && self.tx.is_empty() {
            self.thr_emptied = true;
        }
        self.ier = value;
    }

    /// The modem's lines: the chip's own outputs in loopback.
    fn modem(&self) -> u8 {
        if !self.looped() {
            return msr::CONNECTED;
        }
        let wired = [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)];
        wired.iter().filter(|(out, _)| self.mcr & out != 0).fold(0, |all, (_, line)| all | line)
    }

    fn write_mcr(&mut self, value: u8) {
        let before = self.modem();
        self.mcr = value & mcr::ALL;
        let after = self.modem();
        let mut deltas = (before ^ after) >> 4;
        // RI reports only its trailing edge.
        if after & msr::RI != 0 {
            deltas &= !msr::DELTA_RI;
        }
        self.deltas |= deltas & msr::DELTAS;
    }

    fn top_errors(&self) -> u8 {
        self.rx.front().map_or(0, |r| r.errors)
    }

    fn lsr(&self) -> u8 {
        let mut lsr = self.top_errors();
        if !self.rx.is_empty() {
            lsr |= lsr::DATA_READY;
        }
        if self.overrun {
            lsr |= lsr::OVERRUN;
        }
        if self.tx.is_empty() {
            lsr |= lsr::THR_EMPTY | lsr::TX_EMPTY;
        }
        if self.fifos() && self.rx.iter().any(|r| r.errors != 0) {
            lsr |= lsr::FIFO_ERROR;
        }
        lsr
    }

    fn read_lsr(&mut self) -> u8 {
        let lsr = self.lsr();
        self.overrun = false;
        if let Some(top) = self.rx.front_mut() {
            top.errors = 0;
        }
        lsr
    }

    /// The most urgent enabled interrupt.
    fn iir(&self) -> u8 {
        let enabled = |source| self.ier & source != 0;
        if enabled(ier::LINE_STATUS) && (self.overrun || self.top_errors() != 0) {
            iir::LINE_STATUS
        } else if enabled(ier::RECEIVED) && self.rx.len() >= self.trigger() {
            iir::RECEIVED
        } else if enabled(ier::RECEIVED) && !self.rx.is_empty() {
            iir::TIMEOUT
        } else if enabled(ier::THR_EMPTY) && self.thr_emptied {
            iir::THR_EMPTY
        } else if enabled(ier::MODEM_STATUS) && self.deltas != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    fn read_iir(&mut self) -> u8 {
        let iir = self.iir();
        if iir == iir::THR_EMPTY {
            self.thr_emptied = false;
        }
        iir | if self.fifos() { iir::FIFOS } else { 0 }
    }

    /// The level of the interrupt output. MCR.OUT2 does not gate it: that is a habit of PC boards.
    pub fn irq(&self) -> bool {
        self.iir() != iir::NONE
    }
}

impl Registers<Reg> for Uart16550 {
    fn read(&mut self, reg: Reg) -> u64 {
        let dlab = self.lcr & lcr::DLAB != 0;
        u64::from(match reg {
            Reg::Data if dlab => self.divisor.to_le_bytes()[0],
            Reg::Data => self.rx.pop_front().map_or(0, |r| r.data),
            Reg::InterruptEnable if dlab => self.divisor.to_le_bytes()[1],
            Reg::InterruptEnable => self.ier,
            Reg::InterruptIdFifoControl => self.read_iir(),
            Reg::LineControl => self.lcr,
            Reg::ModemControl => self.mcr,
            Reg::LineStatus => self.read_lsr(),
            Reg::ModemStatus => self.modem() | std::mem::take(&mut self.deltas),
            Reg::Scratch => self.scr,
        })
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let value = value as u8;
        let dlab = self.lcr & lcr::DLAB != 0;
        match reg {
            Reg::Data if dlab => self.divisor = self.divisor & 0xff00 | u16::from(value),
            Reg::Data => self.write_thr(value),
            Reg::InterruptEnable if dlab => self.divisor = self.divisor & 0xff | u16::from(value) << 8,
            Reg::InterruptEnable => self.write_ier(value),
            Reg::InterruptIdFifoControl => self.write_fcr(value),
            Reg::LineControl => self.lcr = value,
            Reg::ModemControl => self.write_mcr(value),
            // Writing the status registers is for factory tests.
            Reg::LineStatus | Reg::ModemStatus => {}
            Reg::Scratch => self.scr = value,
        }
    }

    /// No register is wider than a byte, so none is ever written in part.
    fn peek(&self, _: Reg) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE_ERRORS: u8 = 0x1e;

    fn uart() -> Uart16550 {
        Uart16550::new()
    }

    impl Uart16550 {
        fn r(&mut self, reg: Reg) -> u8 {
            self.read(reg) as u8
        }
        fn w(&mut self, reg: Reg, value: u8) {
            self.write(reg, value.into());
        }
        /// All that waits in the transmitter.
        fn sent(&mut self) -> Vec<u8> {
            let mut sent = Vec::new();
            self.transmit(|bytes| {
                sent.extend_from_slice(bytes);
                bytes.len()
            });
            sent
        }
    }

    use Reg::*;

    #[test]
    fn reset_values() {
        let mut u = uart();
        assert_eq!(u.r(InterruptEnable), 0);
        assert_eq!(u.r(InterruptIdFifoControl), 0x01);
        assert_eq!(u.r(LineControl), 0);
        assert_eq!(u.r(ModemControl), 0x08);
        assert_eq!(u.r(LineStatus), 0x60);
        assert_eq!(u.r(ModemStatus), 0xb0);
        assert_eq!(u.r(Data), 0);
        assert!(!u.irq());
    }

    #[test]
    fn divisor_latch_hides_data_and_interrupt_enable() {
        let mut u = uart();
        u.w(InterruptEnable, 0xff);
        assert_eq!(u.r(InterruptEnable), 0x0f);
        u.w(LineControl, 0x83);
        u.w(Data, 0x34);
        u.w(InterruptEnable, 0x12);
        assert_eq!((u.r(Data), u.r(InterruptEnable)), (0x34, 0x12));
        u.w(LineControl, 0x03);
        assert_eq!(u.r(InterruptEnable), 0x0f);
        assert!(u.sent().is_empty(), "the divisor is not sent");
    }

    #[test]
    fn scratch_and_the_sixteen_550a_test_of_drivers() {
        let mut u = uart();
        u.w(Scratch, 0xa5);
        assert_eq!(u.r(Scratch), 0xa5);
        u.w(InterruptIdFifoControl, 0x01);
        assert_eq!(u.r(InterruptIdFifoControl) & 0xc0, 0xc0);
        u.w(InterruptIdFifoControl, 0x21);
        assert_eq!(u.r(InterruptIdFifoControl) & 0x20, 0, "no 64 byte FIFO");
        u.w(InterruptIdFifoControl, 0);
        assert_eq!(u.r(InterruptIdFifoControl) & 0xc0, 0);
    }

    #[test]
    fn thr_interrupt_comes_with_enable_and_with_emptying_and_goes_with_iir() {
        let mut u = uart();
        u.w(InterruptEnable, 2);
        assert!(u.irq());
        assert_eq!(u.r(InterruptIdFifoControl), 2);
        assert!(!u.irq(), "reading IIR clears it");
        // Drivers test that enabling again raises it again.
        u.w(InterruptEnable, 0);
        u.w(InterruptEnable, 2);
        assert_eq!(u.r(InterruptIdFifoControl), 2);
        u.w(Data, b'x');
        assert!(!u.irq());
        assert_eq!(u.r(LineStatus) & 0x60, 0);
        assert_eq!(u.sent(), b"x");
        assert!(u.irq());
        u.w(Data, b'y');
        assert!(!u.irq(), "writing THR clears it");
    }

    #[test]
    fn iir_does_not_clear_the_thr_interrupt_while_it_reports_another() {
        let mut u = uart();
        u.w(InterruptEnable, 3);
        u.receive(b'a');
        assert_eq!(u.r(InterruptIdFifoControl), 4);
        u.r(Data);
        assert_eq!(u.r(InterruptIdFifoControl), 2);
        assert_eq!(u.r(InterruptIdFifoControl), 1);
    }

    #[test]
    fn a_blocked_host_holds_the_transmitter() {
        let mut u = uart();
        u.w(InterruptIdFifoControl, 1);
        for b in 0..20 {
            u.w(Data, b);
        }
        u.transmit(|_| 0);
        assert_eq!(u.r(LineStatus) & 0x60, 0);
        u.transmit(|bytes| {
            assert_eq!(bytes, (0..16).collect::<Vec<u8>>(), "the FIFO holds sixteen, the rest is lost");
            10
        });
        assert_eq!(u.r(LineStatus) & 0x60, 0);
        assert_eq!(u.sent(), (10..16).collect::<Vec<u8>>());
        assert_eq!(u.r(LineStatus) & 0x60, 0x60);
    }

    #[test]
    fn without_fifos_the_holding_register_is_overwritten() {
        let mut u = uart();
        u.w(Data, 1);
        u.w(Data, 2);
        assert_eq!(u.sent(), [2]);
    }

    #[test]
    fn trigger_levels_and_timeout() {
        for (bits, level) in [(0x00, 1), (0x40, 4), (0x80, 8), (0xc0, 14)] {
            let mut u = uart();
            u.w(InterruptEnable, 1);
            u.w(InterruptIdFifoControl, 1 | bits);
            for n in 1..=16 {
                u.receive(n);
                let want = if usize::from(n) >= level { 0xc4 } else { 0xcc };
                assert_eq!(u.r(InterruptIdFifoControl), want, "{n} of trigger {level}");
            }
            assert_eq!(u.rx_room(), 0);
            for n in 1..=16 {
                assert!(u.irq());
                assert_eq!(u.r(LineStatus) & 1, 1);
                assert_eq!(u.r(Data), n);
            }
            assert!(!u.irq());
            assert_eq!(u.r(LineStatus) & 1, 0);
        }
    }

    #[test]
    fn room_follows_the_mode() {
        let mut u = uart();
        assert_eq!(u.rx_room(), 1);
        u.receive(1);
        assert_eq!(u.rx_room(), 0);
        u.w(InterruptIdFifoControl, 1);
        assert_eq!(u.rx_room(), 16, "switching the FIFOs on clears them");
        u.w(ModemControl, 0x10);
        assert_eq!(u.rx_room(), 0, "loopback cuts the host off");
    }

    #[test]
    fn fifo_control_clears() {
        let mut u = uart();
        u.w(InterruptIdFifoControl, 1);
        u.receive(1);
        u.w(Data, 1);
        u.w(InterruptIdFifoControl, 3);
        assert_eq!(u.r(LineStatus) & 0x61, 0, "receiver only");
        u.w(InterruptEnable, 2);
        u.w(InterruptIdFifoControl, 5);
        assert_eq!(u.r(LineStatus) & 0x60, 0x60);
        assert!(u.irq());
        assert!(u.sent().is_empty());
        u.receive(1);
        u.w(InterruptIdFifoControl, 2);
        assert_eq!(u.r(LineStatus) & 1, 0, "switching off clears");
    }

    #[test]
    fn loopback_returns_data_and_modem_lines() {
        let mut u = uart();
        u.w(ModemControl, 0x1a);
        assert_eq!(u.r(ModemStatus) & 0xf0, 0x90, "RTS to CTS, OUT2 to DCD");
        u.w(ModemControl, 0x15);
        assert_eq!(u.r(ModemStatus) & 0xf0, 0x60, "DTR to DSR, OUT1 to RI");
        u.w(Data, 0x5a);
        assert!(u.sent().is_empty(), "nothing leaves the chip");
        assert_eq!(u.r(LineStatus) & 0x61, 0x61);
        assert_eq!(u.r(Data), 0x5a);
    }

    #[test]
    fn loopback_overruns() {
        let mut u = uart();
        u.w(InterruptEnable, 4);
        u.w(InterruptIdFifoControl, 1);
        u.w(ModemControl, 0x10);
        for b in 0..17 {
            u.w(Data, b);
        }
        assert_eq!(u.r(InterruptIdFifoControl), 0xc6);
        assert_eq!(u.r(LineStatus) & LINE_ERRORS, 2);
        assert!(!u.irq(), "reading LSR clears it");
        assert_eq!((0..16).map(|_| u.r(Data)).collect::<Vec<_>>(), (0..16).collect::<Vec<u8>>());
    }

    #[test]
    fn modem_deltas() {
        let mut u = uart();
        u.w(ModemControl, 0x10);
        assert_eq!(u.r(ModemStatus), 0x0b, "CTS, DSR and DCD fell");
        u.w(InterruptEnable, 8);
        u.w(ModemControl, 0x14);
        assert!(!u.irq(), "the leading edge of RI is not reported");
        u.w(ModemControl, 0x10);
        assert_eq!(u.r(InterruptIdFifoControl), 0);
        assert_eq!(u.r(ModemStatus), 0x04);
        assert_eq!(u.r(ModemStatus), 0);
        assert!(!u.irq());
    }

    #[test]
    fn break_is_a_zero_with_its_error_at_the_top() {
        let mut u = uart();
        u.w(InterruptIdFifoControl, 1);
        u.w(InterruptEnable, 5);
        u.receive(b'a');
        u.receive_break();
        assert_eq!(u.r(LineStatus), 0xe1, "an error is somewhere in the FIFO");
        assert_eq!(u.r(Data), b'a');
        assert_eq!(u.r(InterruptIdFifoControl), 0xc6);
        assert_eq!(u.r(LineStatus), 0xf1);
        assert_eq!(u.r(InterruptIdFifoControl), 0xc4);
        assert_eq!(u.r(LineStatus), 0x61);
        assert_eq!(u.r(Data), 0);
    }

    #[test]
    fn priorities() {
        let mut u = uart();
        u.w(ModemControl, 0x10);
        u.w(InterruptEnable, 0x0f);
        u.w(Data, 1);
        u.w(Data, 2);
        let mut seen = Vec::new();
        for reg in [LineStatus, Data, InterruptIdFifoControl, ModemStatus] {
            seen.push(u.iir());
            u.r(reg);
        }
        seen.push(u.iir());
        assert_eq!(seen, [6, 4, 2, 0, 1]);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_the_fifos_stay_bounded(ops in prop::collection::vec((0u64..8, 0usize..4, any::<u64>(), 0u8..4), 300)) {
            let map = Uart16550::map();
            let mut u = uart();
            for (offset, width, value, kind) in ops {
                let mut data = value.to_le_bytes();
                let data = &mut data[..1 << width];
                match kind {
                    0 => map.read(&mut u, offset, data),
                    1 => map.write(&mut u, offset, data),
                    2 => u.transmit(|bytes| value as usize % (bytes.len() + 1)),
                    _ if u.rx_room() > 0 => u.receive(value as u8),
                    _ => {}
                }
                prop_assert!(u.rx.len() <= u.depth() && u.tx.len() <= u.depth());
                prop_assert_eq!(u.irq(), u.iir() != 1);
            }
        }
    }
}
