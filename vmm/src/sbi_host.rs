//! The machine as the built-in SBI sees it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use accel::tcg::csr::reset_supervisor;
use accel::tcg::mmu::walk::{Access, PhysMem, Regime, translate};
use accel::tcg::trap::Trap;
use accel::{AccelError, GuestRam, HartSet, HartState, Mode, RemoteFence, Vcpu, Vm};
use arch::csr::{STIMECMP, hgatp};
use arch::ext::{Ext, IsaConfig};
use devices::HartLines;
use firmware::sbi::{ConsoleError, Entry, Fence, GuestFault, HartStatus, MachineIds, SbiError, SbiHost, State};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::board::assembly::FirmwareConsole;
use crate::board::wires::HartWires;
use crate::harts::{Harts, Processor};

/// SSIP in `mip`.
const SSIP: u64 = 1 << 1;

/// What all harts' calls have in common.
pub struct SbiMachine {
    pub ram: Arc<GuestRam>,
    pub wires: Arc<HartWires>,
    pub harts: Arc<Harts>,
    pub isa: IsaConfig,
    pub hart_count: u32,
    /// The console of DBCN and of the legacy calls is the guest's.
    pub console: Arc<dyn FirmwareConsole>,
}

/// Puts a hart to where HSM lets it enter S-mode: the rest of its state stays.
pub fn enter_supervisor(state: &mut HartState, hart: u32, entry: Entry) {
    state.pc = entry.address;
    state.mode = Mode::Supervisor;
    state.x[10] = u64::from(hart);
    state.x[11] = entry.opaque;
    state.csr.satp = 0;
    state.csr.mstatus &= !arch::csr::mstatus::SIE;
}

/// Page tables to look at: a call that reads memory for the guest leaves A bits as they are.
struct PageTables<'a>(&'a GuestRam);

impl PhysMem for PageTables<'_> {
    fn read_pte(&self, pa: u64) -> Option<u64> {
        self.0.load(GuestAddress(pa), Ordering::Relaxed).ok()
    }

    fn cas_pte(&self, _: u64, _: u64, _: u64) -> Option<bool> {
        Some(true)
    }
}

/// One call: the machine, and the vCPU that makes it.
pub struct SbiCallHost<'a> {
    machine: &'a SbiMachine,
    hart: u32,
    vcpu: RefCell<&'a mut dyn Vcpu>,
    vm: &'a dyn Vm,
    /// The engine has lost the hart meanwhile: what the call answers means nothing.
    lost: RefCell<Option<AccelError>>,
}

impl<'a> SbiCallHost<'a> {
    pub fn new(machine: &'a SbiMachine, hart: u32, processor: &'a mut Processor) -> Self {
        let Processor { vcpu, vm } = processor;
        Self { machine, hart, vcpu: RefCell::new(&mut **vcpu), vm: &**vm, lost: RefCell::new(None) }
    }

    /// The call is over.
    ///
    /// # Errors
    /// The hart's registers could not be reached in it.
    pub fn finish(self) -> Result<(), AccelError> {
        self.lost.into_inner().map_or(Ok(()), Err)
    }

    /// The hart's registers, or zeros if they are lost.
    fn registers(&self) -> HartState {
        let state = self.vcpu.borrow_mut().try_state();
        state.unwrap_or_else(|error| {
            self.lost.replace(Some(error));
            HartState::default()
        })
    }
}

impl SbiHost for SbiCallHost<'_> {
    fn hart_count(&self) -> u32 {
        self.machine.hart_count
    }

    fn machine_ids(&self) -> MachineIds {
        let isa = &self.machine.isa;
        MachineIds { mvendorid: isa.mvendorid, marchid: isa.marchid, mimpid: isa.mimpid }
    }

    fn isa(&self) -> &IsaConfig {
        &self.machine.isa
    }

    fn hart_status(&self, hart: u32) -> HartStatus {
        self.machine.harts.states.get(hart)
    }

    fn hart_start(&self, hart: u32, address: u64, opaque: u64) -> Result<(), SbiError> {
        self.machine.harts.states.begin_start(hart)?;
        self.machine.harts.sbi.reset(hart);
        self.machine.harts.load(hart, reset_supervisor(&self.machine.isa, u64::from(hart), address, opaque));
        Ok(())
    }

    fn is_executable(&self, address: u64) -> bool {
        let aligned = address.is_multiple_of(if self.machine.isa.has(Ext::Zca) { 2 } else { 4 });
        aligned && self.machine.ram.address_in_range(GuestAddress(address))
    }

    fn send_ipi(&self, hart: u32) {
        self.machine.wires.raise_ssip(hart);
    }

    fn clear_ipi(&self, hart: u32) -> bool {
        debug_assert_eq!(hart, self.hart, "a hart clears its own");
        let mut state = self.registers();
        let was = state.csr.mip & SSIP != 0;
        state.csr.mip &= !SSIP;
        if let Err(error) = self.vcpu.borrow_mut().try_set_state(&state) {
            self.lost.replace(Some(error));
        }
        was
    }

    fn remote_fence(&self, harts: &[u32], fence: Fence) {
        let fence = match fence {
            Fence::Instruction => RemoteFence::Instruction,
            Fence::Address { start, size, asid } => RemoteFence::Address { start, size, asid },
            Fence::GuestStage { vmid } => RemoteFence::GuestStage { vmid },
            Fence::GuestAddress { start, size, asid } => {
                let vmid = (self.registers().csr.hgatp & hgatp::VMID) >> hgatp::VMID_SHIFT;
                RemoteFence::GuestAddress { start, size, asid, vmid }
            }
        };
        self.vm.remote_fence(&HartSet(harts.to_vec()), fence);
    }

    fn set_timer(&self, hart: u32, deadline: u64) {
        debug_assert_eq!(hart, self.hart, "a hart sets its own");
        // STIP then follows `stimecmp` alone, so that a supervisor may use both ways by turns.
        if self.machine.isa.has(Ext::Sstc) && self.vcpu.borrow_mut().set_csr(STIMECMP, deadline) {
            return;
        }
        self.machine.wires.set_sbi_timer(hart, deadline);
    }

    fn wake(&self, hart: u32) {
        self.machine.wires.kick(hart);
    }

    fn state(&self) -> &State {
        &self.machine.harts.sbi
    }

    fn read_csr(&self, number: u16) -> u64 {
        self.vcpu.borrow_mut().csr(number).unwrap_or(0)
    }

    fn write_csr(&self, number: u16, value: u64) {
        self.vcpu.borrow_mut().set_csr(number, value);
    }

    fn console_write(&self, bytes: &[u8]) -> Result<usize, ConsoleError> {
        Ok(self.machine.console.console_write(bytes))
    }

    fn console_write_byte(&self, byte: u8) -> Result<(), ConsoleError> {
        // A far end that takes nothing must not keep the machine from stopping.
        while self.machine.console.console_write(&[byte]) == 0 {
            if self.machine.harts.is_stopping() {
                return Err(ConsoleError);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    fn console_read(&self, buf: &mut [u8]) -> Result<usize, ConsoleError> {
        Ok(self.machine.console.console_read(buf))
    }

    fn is_ram(&self, address: u64, len: u64) -> bool {
        usize::try_from(len).is_ok_and(|len| self.machine.ram.check_range(GuestAddress(address), len))
    }

    fn read_guest(&self, address: u64, buf: &mut [u8]) -> bool {
        self.machine.ram.read_slice(buf, GuestAddress(address)).is_ok()
    }

    fn write_guest(&self, address: u64, bytes: &[u8]) -> bool {
        self.machine.ram.write_slice(bytes, GuestAddress(address)).is_ok()
    }

    fn read_virtual(&self, hart: u32, address: u64, buf: &mut [u8]) -> Result<(), GuestFault> {
        debug_assert_eq!(hart, self.hart, "a call reads its own hart's memory");
        let state = self.registers();
        let regime = Regime::data(&state, &self.machine.isa);
        let tables = PageTables(&self.machine.ram);
        for (i, byte) in buf.iter_mut().enumerate() {
            let va = address.wrapping_add(i as u64);
            let fault = |trap: Trap| GuestFault { cause: trap.cause, tval: trap.tval };
            let walk = translate(&regime, &tables, va, Access::Load).map_err(fault)?;
            let read = self.machine.ram.read_obj(GuestAddress(walk.pa));
            *byte = read.map_err(|_| fault(Access::Load.access_fault(va)))?;
        }
        Ok(())
    }
}
