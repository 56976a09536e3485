//! HTIF, the host-target interface of the RISC-V ISA simulator: two doublewords, `tohost` and `fromhost`, through which
//! a bare program ends with an exit code, prints and reads a console.
//!
//! A test program has the two as ordinary variables and tells where by its symbols; the engine reports stores to their
//! pages ([`Htif::stored`], [`Htif::settle`]). A program without the symbols finds them as registers of the chip.
//!
//! A command in `tohost` is a device (bits 63 to 56), a command of that device (55 to 48) and a payload. It is taken
//! when `tohost` has become zero again. An answer has the same fields, and stands in `fromhost` until the program makes
//! that zero.
//!
//! | Device      | Command | Payload                                                        | Answer            |
//! |-------------|---------|----------------------------------------------------------------|-------------------|
//! | 0, system   | 0       | bit 0 set: exit with the code in the bits above                | none              |
//! | 0, system   | 0       | address of eight doublewords: a system call and its arguments  | 1, when it is done |
//! | 1, console  | 0       | read a character                                               | 0x100 + character |
//! | 1, console  | 1       | write the character in the low byte                            | none              |
//!
//! Of the system calls there are `write` to standard output and error, and `exit`. Others return `-ENOSYS`: a guest has
//! no way to the host's files.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::MachineControl;
use crate::chardev::{ChardevClient, ChardevEvent, Endpoint};
use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::serial::SerialPort;
use crate::{GuestRam, MmioDevice, SavedState, StateError};

/// Bytes of address space; the registers are at its start.
const SIZE: u64 = 0x1000;

const SYSTEM: u64 = 0;
const CONSOLE: u64 = 1;
const CONSOLE_READ: u64 = 0;
const CONSOLE_WRITE: u64 = 1;

const SYS_WRITE: u64 = 64;
const SYS_EXIT: u64 = 93;
const EBADF: i64 = 9;
const EFAULT: i64 = 14;
const ENOSYS: i64 = 38;

/// What one `write` does at most, as on Linux: it returns how much that was.
const WRITE_MAX: u64 = 0x7fff_f000;

/// A store to the lower half of `tohost` waits so many calls of [`Htif::settle`] for the upper half: 32-bit stores come
/// in pairs, but a program may leave it at one. What lies between two of a pair does not jump back.
const HALF_ROUNDS: u32 = 16;

/// Where the program has the two doublewords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct InRam {
    tohost: u64,
    fromhost: Option<u64>,
}

/// A half of the two registers, by the order of their offsets: firmware expects `fromhost` first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reg {
    FromHost,
    FromHostHigh,
    ToHost,
    ToHostHigh,
}

/// A `write` that the console has not taken all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Writing {
    /// The call's doublewords.
    block: u64,
    at: u64,
    left: u64,
    len: u64,
}

/// All that changes, apart from RAM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HtifState {
    /// The registers, where the doublewords do not stand in RAM.
    tohost: u64,
    fromhost: u64,
    /// The lower half of `tohost` was stored: this many rounds are left for the upper half to come.
    half: u32,
    writing: Option<Writing>,
    /// System calls that are done and not answered.
    done: u64,
    /// Reads of the console that are not answered.
    reads: u64,
}

/// What became of a command.
enum Taken {
    Yes,
    /// It stays until the console has room.
    NotYet,
    Exit(u64),
}

/// The chip, or the program's variables in its place.
///
/// Locks: its own, inside which the character device's queue may be used.
pub struct Htif {
    map: RegMap<Reg>,
    state: Mutex<HtifState>,
    /// Set before the harts run; unset: the registers.
    in_ram: OnceLock<InRam>,
    ram: Arc<GuestRam>,
    console: HtifConsole,
    machine: Arc<dyn MachineControl>,
}

/// Where the console's characters go.
pub enum HtifConsole {
    /// A place at a character device. The event loop has to run it.
    Own(Endpoint),
    /// A serial port that the guest has, too. Input is the port's alone: reads are not answered.
    Port(Arc<SerialPort>),
    /// The same, but input goes to whoever asks first.
    SharedPort(Arc<SerialPort>),
}

impl HtifConsole {
    fn write(&self, bytes: &[u8]) -> usize {
        match self {
            Self::Own(endpoint) => endpoint.write(bytes),
            Self::Port(port) | Self::SharedPort(port) => port.console_write(bytes),
        }
    }

    fn read(&self, buf: &mut [u8]) -> usize {
        match self {
            Self::Own(endpoint) => endpoint.read(buf),
            Self::Port(_) => 0,
            Self::SharedPort(port) => port.console_read(buf),
        }
    }
}

impl Htif {
    pub fn new(ram: Arc<GuestRam>, console: HtifConsole, machine: Arc<dyn MachineControl>) -> Arc<Self> {
        let regs = [Reg::FromHost, Reg::FromHostHigh, Reg::ToHost, Reg::ToHostHigh];
        let map = (0..).zip(regs).fold(RegMap::new(SIZE), |map, (n, reg)| map.reg(4 * n, 4, reg));
        let state = Mutex::new(HtifState::default());
        let htif = Arc::new(Self { map, state, in_ram: OnceLock::new(), ram, console, machine });
        let client: Weak<dyn ChardevClient> = Arc::downgrade(&(htif.clone() as Arc<dyn ChardevClient>));
        match &htif.console {
            HtifConsole::Own(endpoint) => endpoint.connect(client),
            HtifConsole::SharedPort(port) => port.share(client),
            HtifConsole::Port(_) => {}
        }
        htif
    }

    /// The program has the doublewords in RAM, at these guest physical addresses. Before the harts run; it stays so.
    pub fn bind(&self, tohost: u64, fromhost: Option<u64>) {
        let place = InRam { tohost, fromhost };
        assert_eq!(*self.in_ram.get_or_init(|| place), place, "a program stays where it is");
    }

    /// The addresses in RAM that [`Htif::stored`] wants to hear of.
    pub fn watched(&self) -> Vec<u64> {
        self.in_ram.get().map_or(Vec::new(), |r| [Some(r.tohost), r.fromhost].into_iter().flatten().collect())
    }

    /// A hart has stored `len` bytes at `gpa`.
    pub fn stored(&self, gpa: u64, len: u64) {
        let Some(place) = self.in_ram.get() else { return };
        let end = gpa.saturating_add(len);
        let overlaps = |at: u64, bytes: u64| gpa < at.saturating_add(bytes) && at < end;
        if overlaps(place.tohost.saturating_add(4), 4) || place.fromhost.is_some_and(|at| overlaps(at, 8)) {
            self.act();
        } else if overlaps(place.tohost, 4) {
            self.state().half = HALF_ROUNDS;
        }
    }

    /// A hart may have written to a watched page; `true` asks to be called again: for the other half of a command, or
    /// for room at the console.
    pub fn settle(&self) -> bool {
        {
            let mut state = self.state();
            if state.half > 1 {
                state.half -= 1;
                return true;
            }
        }
        self.act();
        let state = self.state();
        state.writing.is_some() || self.tohost(&state) != 0
    }

    /// Writes for firmware that shares the console; returns how many bytes were taken.
    pub fn console_write(&self, bytes: &[u8]) -> usize {
        self.console.write(bytes)
    }

    /// Reads for such firmware; returns how many bytes.
    pub fn console_read(&self, buf: &mut [u8]) -> usize {
        self.console.read(buf)
    }

    fn state(&self) -> MutexGuard<'_, HtifState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the command that waits, goes on with what is under way, and answers.
    fn act(&self) {
        let mut state = self.state();
        state.half = 0;
        self.go_on_writing(&mut state);
        let command = self.tohost(&state);
        let taken = if command == 0 { Taken::Yes } else { self.command(&mut state, command) };
        if command != 0 && !matches!(taken, Taken::NotYet) {
            self.clear_tohost(&mut state);
        }
        self.answer(&mut state);
        drop(state);
        if let Taken::Exit(code) = taken {
            // The program's exit code has fewer bits; a failure must not become a success.
            let low = code as u8;
            self.machine.poweroff(if low == 0 && code != 0 { 1 } else { u16::from(low) });
        }
    }

    fn command(&self, state: &mut HtifState, command: u64) -> Taken {
        let (device, code, payload) = (command >> 56, command >> 48 & 0xff, command << 16 >> 16);
        match (device, code) {
            (SYSTEM, 0) if payload & 1 != 0 => return Taken::Exit(payload >> 1),
            (SYSTEM, 0) => return self.system_call(state, payload),
            (CONSOLE, CONSOLE_WRITE) if self.console.write(&[payload as u8]) == 0 => return Taken::NotYet,
            (CONSOLE, CONSOLE_WRITE) => {}
            (CONSOLE, CONSOLE_READ) => state.reads = state.reads.saturating_add(1),
            _ => tracing::debug!("HTIF: there is no command {code} of device {device}"),
        }
        Taken::Yes
    }

    /// `block` is a guest physical address: number and seven arguments; the result goes where the number was.
    fn system_call(&self, state: &mut HtifState, block: u64) -> Taken {
        if state.writing.is_some() {
            return Taken::NotYet;
        }
        let word = |n: u64| self.ram.read_obj::<u64>(GuestAddress(block.saturating_add(8 * n)));
        let (Ok(number), Ok(a0), Ok(a1), Ok(a2), Ok(_)) = (word(0), word(1), word(2), word(3), word(7)) else {
            tracing::debug!("HTIF: the system call at {block:#x} is not in RAM");
            return Taken::Yes;
        };
        let result = match number {
            SYS_EXIT => return Taken::Exit(a0),
            SYS_WRITE if !(1..=2).contains(&a0) => -EBADF,
            SYS_WRITE => {
                let len = a2.min(WRITE_MAX);
                if self.ram.check_range(GuestAddress(a1), len as usize) {
                    state.writing = Some(Writing { block, at: a1, left: len, len });
                    self.go_on_writing(state);
                    return Taken::Yes;
                }
                -EFAULT
            }
            _ => {
                tracing::debug!("HTIF: system call {number} is not there");
                -ENOSYS
            }
        };
        self.finish_call(state, block, result);
        Taken::Yes
    }

    fn finish_call(&self, state: &mut HtifState, block: u64, result: i64) {
        // It was readable, so it is writable.
        let _ = self.ram.write_obj(result as u64, GuestAddress(block));
        state.done = state.done.saturating_add(1);
    }

    fn go_on_writing(&self, state: &mut HtifState) {
        while let Some(w) = &mut state.writing {
            let mut bytes = [0; 4096];
            let part = &mut bytes[..w.left.min(4096) as usize];
            let sent = match self.ram.read_slice(part, GuestAddress(w.at)) {
                Ok(()) => self.console.write(part),
                Err(_) => unreachable!("the range was checked, and RAM does not shrink"),
            };
            (w.at, w.left) = (w.at + sent as u64, w.left - sent as u64);
            if w.left == 0 {
                let Writing { block, len, .. } = *w;
                state.writing = None;
                self.finish_call(state, block, len as i64);
            } else if sent == 0 {
                return;
            }
        }
    }

    /// Puts an answer into `fromhost`, if one waits and the last one is gone.
    fn answer(&self, state: &mut HtifState) {
        if self.fromhost(state) != Some(0) {
            return;
        }
        if state.done > 0 {
            state.done -= 1;
            self.set_fromhost(state, 1);
        } else if state.reads > 0 {
            let mut byte = [0];
            if self.console.read(&mut byte) == 1 {
                state.reads -= 1;
                self.set_fromhost(state, CONSOLE << 56 | CONSOLE_READ << 48 | 0x100 | u64::from(byte[0]));
            }
        }
    }

    // The doublewords, wherever they are. Symbols may lie: what is not in RAM reads as zero.

    fn load(&self, at: u64) -> u64 {
        self.ram.read_obj(GuestAddress(at)).unwrap_or(0)
    }

    fn tohost(&self, state: &HtifState) -> u64 {
        self.in_ram.get().map_or(state.tohost, |place| self.load(place.tohost))
    }

    fn clear_tohost(&self, state: &mut HtifState) {
        match self.in_ram.get() {
            None => state.tohost = 0,
            Some(place) => drop(self.ram.write_obj(0u64, GuestAddress(place.tohost))),
        }
    }

    /// `None`: the program has no such variable.
    fn fromhost(&self, state: &HtifState) -> Option<u64> {
        self.in_ram.get().map_or(Some(state.fromhost), |place| place.fromhost.map(|at| self.load(at)))
    }

    fn set_fromhost(&self, state: &mut HtifState, value: u64) {
        match self.in_ram.get() {
            None => state.fromhost = value,
            Some(InRam { fromhost: Some(at), .. }) => drop(self.ram.write_obj(value, GuestAddress(*at))),
            Some(_) => unreachable!("there is nothing to answer to"),
        }
    }
}

impl ChardevClient for Htif {
    fn input_ready(&self) {
        self.answer(&mut self.state());
    }

    /// A command that waited for room is taken now.
    fn output_ready(&self) {
        if self.state().half == 0 {
            self.act();
        }
    }

    fn event(&self, _: ChardevEvent) {}
}

impl Registers<Reg> for &Htif {
    fn read(&mut self, reg: Reg) -> u64 {
        self.peek(reg)
    }

    fn peek(&self, reg: Reg) -> u64 {
        let state = self.state();
        match reg {
            Reg::ToHost => state.tohost & 0xffff_ffff,
            Reg::ToHostHigh => state.tohost >> 32,
            Reg::FromHost => state.fromhost & 0xffff_ffff,
            Reg::FromHostHigh => state.fromhost >> 32,
        }
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let low = |old: u64| old >> 32 << 32 | value;
        let high = |old: u64| old & 0xffff_ffff | value << 32;
        {
            let state = &mut *self.state();
            match reg {
                Reg::ToHost => state.tohost = low(state.tohost),
                Reg::ToHostHigh => state.tohost = high(state.tohost),
                Reg::FromHost => state.fromhost = low(state.fromhost),
                Reg::FromHostHigh => state.fromhost = high(state.fromhost),
            }
            // The upper half comes next, unless this is the second time that it did not.
            if reg == Reg::ToHost && state.half == 0 {
                state.half = 1;
                return;
            }
        }
        self.act();
    }
}

impl MmioDevice for Htif {
    fn name(&self) -> &str {
        "htif"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    /// Registers that stand in RAM are not here.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if self.in_ram.get().is_none() {
            self.map.read(&mut &*self, offset, data);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if self.in_ram.get().is_none() {
            self.map.write(&mut &*self, offset, data);
        }
    }

    fn reset(&self) {
        *self.state() = HtifState::default();
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &(self.in_ram.get(), &*self.state())))
    }

    /// The program that is loaded says where the doublewords are, once; a snapshot of another does not fit.
    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let (in_ram, state): (Option<InRam>, HtifState) = state.read(1)?;
        match in_ram {
            Some(place) if *self.in_ram.get_or_init(|| place) == place => {}
            None if self.in_ram.get().is_none() => {}
            _ => return Err(StateError::Unfit("`tohost` and `fromhost` stand elsewhere".into())),
        }
        *self.state() = state;
        Ok(())
    }

    /// The place is told where it is the chip's.
    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new("htif");
        let node = if self.in_ram.get().is_none() { node.with("reg", at.reg()) } else { node };
        vec![node.with("compatible", FdtValue::Str("ucb,htif0".into()))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chardev::{BackendConfig, Chardev, ChardevConfig};

    const BASE: u64 = 0x8000_0000;
    const TOHOST: u64 = BASE + 0x1000;
    const FROMHOST: u64 = BASE + 0x1040;

    #[derive(Default)]
    struct Machine(Mutex<Vec<u16>>);

    impl MachineControl for Machine {
        fn poweroff(&self, code: u16) {
            self.0.lock().unwrap().push(code);
        }
        fn reset(&self) {
            unreachable!("HTIF resets nothing");
        }
    }

    struct Bench {
        ram: Arc<GuestRam>,
        htif: Arc<Htif>,
        machine: Arc<Machine>,
        console: Arc<Chardev>,
    }

    impl Bench {
        fn new(in_ram: bool) -> Self {
            let ram = Arc::new(GuestRam::from_ranges(&[(GuestAddress(BASE), 1 << 20)]).unwrap());
            let backend = BackendConfig::RingBuf { size: 4096 };
            let console = Chardev::open(&ChardevConfig::new("c", backend)).unwrap();
            let machine = Arc::new(Machine::default());
            let endpoint = HtifConsole::Own(console.endpoint().unwrap());
            let htif = Htif::new(Arc::clone(&ram), endpoint, machine.clone());
            if in_ram {
                htif.bind(TOHOST, Some(FROMHOST));
            }
            Self { ram, htif, machine, console }
        }

        fn word(&self, at: u64) -> u64 {
            self.ram.read_obj(GuestAddress(at)).unwrap()
        }

        fn put(&self, at: u64, value: u64) {
            self.ram.write_obj(value, GuestAddress(at)).unwrap();
        }

        /// A store of a hart, as the engine does it.
        fn store(&self, at: u64, value: &[u8]) {
            self.ram.write_slice(value, GuestAddress(at)).unwrap();
            self.htif.stored(at, value.len() as u64);
        }

        fn exits(&self) -> Vec<u16> {
            std::mem::take(&mut *self.machine.0.lock().unwrap())
        }

        fn printed(&self) -> String {
            self.console.service();
            String::from_utf8(self.console.read_ring(usize::MAX)).unwrap()
        }
    }

    #[test]
    fn exit_codes() {
        let b = Bench::new(true);
        for (value, code) in [(1u64, 0), (3, 1), (1337 << 1 | 1, 1337 & 0xff), (0x200 << 1 | 1, 1)] {
            b.store(TOHOST, &value.to_le_bytes());
            assert_eq!((b.exits(), b.word(TOHOST)), (vec![code], 0), "{value:#x}");
        }
        b.store(TOHOST, &0u64.to_le_bytes());
        b.store(TOHOST + 8, &1u64.to_le_bytes());
        assert!(b.exits().is_empty());
    }

    #[test]
    fn halves_are_one_command() {
        let b = Bench::new(true);
        b.store(TOHOST, &b'A'.to_le_bytes());
        assert!(b.htif.settle());
        b.store(TOHOST + 4, &0x0101_0000u32.to_le_bytes());
        assert_eq!((b.printed().as_str(), b.exits()), ("A", vec![]), "the lower half alone would be an exit");
        // A program that leaves it at the lower half ends too.
        b.store(TOHOST, &3u32.to_le_bytes());
        let mut rounds = 0;
        while b.htif.settle() {
            rounds += 1;
            assert!(rounds < 100);
        }
        assert_eq!(b.exits(), [1]);
    }

    #[test]
    fn a_system_call_writes_and_is_answered() {
        let b = Bench::new(true);
        let (block, text) = (BASE + 0x2000, BASE + 0x3000);
        b.ram.write_slice(b"hello", GuestAddress(text)).unwrap();
        let call = |args: [u64; 4]| {
            (0..).zip(args).for_each(|(n, arg)| b.put(block + 8 * n, arg));
            b.store(TOHOST, &block.to_le_bytes());
            let answer = b.word(FROMHOST);
            b.store(FROMHOST, &0u64.to_le_bytes());
            (b.word(block) as i64, answer)
        };
        assert_eq!(call([SYS_WRITE, 1, text, 5]), (5, 1));
        assert_eq!(b.printed(), "hello");
        assert_eq!(call([SYS_WRITE, 2, text, 0]), (0, 1));
        assert_eq!(call([SYS_WRITE, 3, text, 5]), (-EBADF, 1));
        assert_eq!(call([SYS_WRITE, 1, 16, 5]), (-EFAULT, 1));
        assert_eq!(call([SYS_WRITE, 1, text, u64::MAX]), (-EFAULT, 1));
        assert_eq!(call([1024, 0, text, 0]), (-ENOSYS, 1));
        b.store(TOHOST, &16u64.to_le_bytes());
        b.store(TOHOST, &0xffff_ffff_fff0u64.to_le_bytes());
        assert_eq!((b.word(FROMHOST), b.exits()), (0, vec![]), "a call outside of RAM is ignored");
        b.put(block, SYS_EXIT);
        b.put(block + 8, 5);
        b.store(TOHOST, &block.to_le_bytes());
        assert_eq!(b.exits(), [5]);
    }

    #[test]
    fn answers_wait_for_the_last_one_to_be_taken() {
        let b = Bench::new(true);
        let block = BASE + 0x2000;
        for _ in 0..2 {
            b.put(block, 1);
            b.store(TOHOST, &block.to_le_bytes());
        }
        b.store(FROMHOST, &0u64.to_le_bytes());
        assert_eq!(b.word(FROMHOST), 1);
        b.store(FROMHOST, &0u64.to_le_bytes());
        assert_eq!(b.word(FROMHOST), 0);
    }

    #[test]
    fn registers_of_a_program_without_symbols() {
        const FROM: u64 = 0;
        const TO: u64 = 8;
        let b = Bench::new(false);
        assert!(b.htif.watched().is_empty());
        let write = |offset, data: &[u8]| MmioDevice::write(&*b.htif, offset, data);
        write(TO, &(0x0101_0000_0000_0000 | u64::from(b'x')).to_le_bytes());
        write(TO, &u32::from(b'A').to_le_bytes());
        write(TO + 4, &0x0101_0000u32.to_le_bytes());
        assert_eq!((b.printed().as_str(), b.exits()), ("xA", vec![]));
        // A loop around one 32-bit store.
        write(TO, &7u32.to_le_bytes());
        write(TO, &7u32.to_le_bytes());
        assert_eq!(b.exits(), [3]);
        let block = BASE + 0x2000;
        b.put(block, 1);
        write(TO, &block.to_le_bytes());
        let mut answer = [0; 8];
        MmioDevice::read(&*b.htif, FROM, &mut answer);
        assert_eq!(u64::from_le_bytes(answer), 1);
        write(FROM, &[0; 8]);
        MmioDevice::read(&*b.htif, FROM, &mut answer);
        assert_eq!(answer, [0; 8]);
    }

    #[test]
    fn symbols_that_lie_do_no_harm() {
        let b = Bench::new(false);
        b.htif.bind(0x10, Some(u64::MAX - 3));
        b.htif.stored(0x10, 8);
        b.htif.stored(u64::MAX - 3, 4);
        assert!(!b.htif.settle());
        assert!(b.exits().is_empty());
    }
}
