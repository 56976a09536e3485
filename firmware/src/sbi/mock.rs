//! A machine without harts that records what the SBI asked of it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use arch::csr::{TDATA1, TDATA2, TDATA3, TSELECT, mcontrol6, tdata1};
use arch::ext::IsaConfig;

use super::{
    ConsoleError, Fence, GuestFault, HartStates, HartStatus, MachineIds, SbiError, SbiHost, SbiOutcome, SbiRequest,
    State,
};

/// The mock's RAM.
pub const RAM: Range<u64> = 0x8000_0000..0x8002_0000;

/// Guest virtual address minus physical address; addresses below fault.
pub const VIRTUAL_OFFSET: u64 = 0xffff_ffc0_0000_0000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Start(u32, u64, u64),
    Ipi(u32),
    Fence(Vec<u32>, Fence),
    Timer(u32, u64),
    Wake(u32),
}

struct Inner {
    ram: Vec<u8>,
    events: Vec<Event>,
    output: Vec<u8>,
    input: VecDeque<u8>,
    console_room: usize,
    console_broken: bool,
    ipis: Vec<u32>,
    csrs: HashMap<u16, u64>,
    /// `tdata1` to `tdata3` of two triggers.
    triggers: [[u64; 3]; 2],
}

/// `tdata1` of trigger `i` as a hart holds it: some types, no `dmode`, no match of data, and no chain behind the last.
fn legal_tdata1(i: usize, value: u64) -> u64 {
    match value >> tdata1::TYPE_SHIFT {
        tdata1::MCONTROL6 => value & !(1 << 59 | 1 << 21 | if i == 1 { mcontrol6::CHAIN } else { 0 }),
        tdata1::ICOUNT..=tdata1::ETRIGGER => value & !(1 << 59),
        _ => TRIGGER_OFF,
    }
}

/// `tdata1` of a trigger that is off.
const TRIGGER_OFF: u64 = tdata1::DISABLED << tdata1::TYPE_SHIFT;

pub struct MockHost {
    harts: u32,
    /// `max`, to be changed before the first call.
    pub isa: IsaConfig,
    states: HartStates,
    state: State,
    inner: RefCell<Inner>,
}

impl MockHost {
    pub fn new(harts: u32) -> Self {
        let states = HartStates::new(harts);
        states.reset(0);
        let inner = Inner {
            ram: vec![0; (RAM.end - RAM.start) as usize],
            events: Vec::new(),
            output: Vec::new(),
            input: VecDeque::new(),
            console_room: usize::MAX,
            console_broken: false,
            ipis: Vec::new(),
            csrs: HashMap::new(),
            triggers: [[TRIGGER_OFF, 0, 0]; 2],
        };
        let isa = arch::model::parse("max").expect("a model");
        let state = State::new(harts, &arch::model::parse("rv64,sscofpmf=on").expect("a model"));
        Self { harts, isa, states, state, inner: RefCell::new(inner) }
    }

    pub fn events(&self) -> Vec<Event> {
        self.inner.borrow().events.clone()
    }

    /// What was written to a CSR last.
    pub fn csr(&self, number: u16) -> u64 {
        self.inner.borrow().csrs.get(&number).copied().unwrap_or(0)
    }

    pub fn output(&self) -> Vec<u8> {
        self.inner.borrow().output.clone()
    }

    pub fn type_in(&self, bytes: &[u8]) {
        self.inner.borrow_mut().input.extend(bytes);
    }

    pub fn set_console_room(&self, room: usize) {
        self.inner.borrow_mut().console_room = room;
    }

    pub fn break_console(&self) {
        self.inner.borrow_mut().console_broken = true;
    }

    pub fn set_status(&self, hart: u32, status: HartStatus) {
        self.states.set(hart, status);
    }

    fn offset(address: u64, len: u64) -> Option<usize> {
        let end = address.checked_add(len)?;
        (address >= RAM.start && end <= RAM.end).then(|| (address - RAM.start) as usize)
    }
}

impl SbiHost for MockHost {
    fn hart_count(&self) -> u32 {
        self.harts
    }

    fn machine_ids(&self) -> MachineIds {
        MachineIds { mvendorid: 0x11, marchid: 0x22, mimpid: 0x33 }
    }

    fn isa(&self) -> &IsaConfig {
        &self.isa
    }

    fn hart_status(&self, hart: u32) -> HartStatus {
        self.states.get(hart)
    }

    fn hart_start(&self, hart: u32, address: u64, opaque: u64) -> Result<(), SbiError> {
        self.states.begin_start(hart)?;
        self.inner.borrow_mut().events.push(Event::Start(hart, address, opaque));
        Ok(())
    }

    fn is_executable(&self, address: u64) -> bool {
        Self::offset(address, 2).is_some()
    }

    fn send_ipi(&self, hart: u32) {
        let mut inner = self.inner.borrow_mut();
        inner.events.push(Event::Ipi(hart));
        inner.ipis.push(hart);
    }

    fn clear_ipi(&self, hart: u32) -> bool {
        let mut inner = self.inner.borrow_mut();
        let before = inner.ipis.len();
        inner.ipis.retain(|pending| *pending != hart);
        inner.ipis.len() != before
    }

    fn remote_fence(&self, harts: &[u32], fence: Fence) {
        self.inner.borrow_mut().events.push(Event::Fence(harts.to_vec(), fence));
    }

    fn set_timer(&self, hart: u32, deadline: u64) {
        self.inner.borrow_mut().events.push(Event::Timer(hart, deadline));
    }

    fn wake(&self, hart: u32) {
        self.inner.borrow_mut().events.push(Event::Wake(hart));
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn read_csr(&self, number: u16) -> u64 {
        let trigger = self.csr(TSELECT) as usize;
        match number {
            TDATA1..=TDATA3 => self.inner.borrow().triggers[trigger][usize::from(number - TDATA1)],
            _ => self.csr(number),
        }
    }

    fn write_csr(&self, number: u16, value: u64) {
        let trigger = self.csr(TSELECT) as usize;
        let mut inner = self.inner.borrow_mut();
        match number {
            TSELECT if value >= inner.triggers.len() as u64 => {}
            TDATA1 => inner.triggers[trigger][0] = legal_tdata1(trigger, value),
            TDATA2..=TDATA3 => inner.triggers[trigger][usize::from(number - TDATA1)] = value,
            _ => drop(inner.csrs.insert(number, value)),
        }
    }

    fn console_write(&self, bytes: &[u8]) -> Result<usize, ConsoleError> {
        let mut inner = self.inner.borrow_mut();
        if inner.console_broken {
            return Err(ConsoleError);
        }
        let taken = bytes.len().min(inner.console_room);
        inner.console_room -= taken;
        inner.output.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn console_write_byte(&self, byte: u8) -> Result<(), ConsoleError> {
        self.console_write(&[byte]).map(drop)
    }

    fn console_read(&self, buf: &mut [u8]) -> Result<usize, ConsoleError> {
        let mut inner = self.inner.borrow_mut();
        if inner.console_broken {
            return Err(ConsoleError);
        }
        let got = buf.len().min(inner.input.len());
        buf[..got].fill_with(|| inner.input.pop_front().unwrap());
        Ok(got)
    }

    fn is_ram(&self, address: u64, len: u64) -> bool {
        Self::offset(address, len).is_some()
    }

    fn read_guest(&self, address: u64, buf: &mut [u8]) -> bool {
        let Some(at) = Self::offset(address, buf.len() as u64) else { return false };
        buf.copy_from_slice(&self.inner.borrow().ram[at..at + buf.len()]);
        true
    }

    fn write_guest(&self, address: u64, bytes: &[u8]) -> bool {
        let Some(at) = Self::offset(address, bytes.len() as u64) else { return false };
        self.inner.borrow_mut().ram[at..at + bytes.len()].copy_from_slice(bytes);
        true
    }

    fn read_virtual(&self, _hart: u32, address: u64, buf: &mut [u8]) -> Result<(), GuestFault> {
        let physical = address.checked_sub(VIRTUAL_OFFSET);
        match physical.filter(|p| self.read_guest(*p, buf)) {
            Some(_) => Ok(()),
            None => Err(GuestFault { cause: 13, tval: address }),
        }
    }
}

/// A call of hart 0.
pub fn call(eid: u64, fid: u64, args: &[u64]) -> SbiRequest {
    call_from(0, eid, fid, args)
}

pub fn call_from(hart: u32, eid: u64, fid: u64, args: &[u64]) -> SbiRequest {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    SbiRequest { hart, eid, fid, args: all }
}

/// The value of a successful return.
pub fn value_of(outcome: SbiOutcome) -> u64 {
    match outcome {
        SbiOutcome::Return { error: 0, value } => value,
        other => panic!("not a success: {other:?}"),
    }
}
