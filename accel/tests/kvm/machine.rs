//! A machine of KVM's with a device that tests can look into.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use accel::kvm::options::KvmOptions;
use accel::select::{Choice, select};
use accel::testing::{Registers as _, Rng};
use accel::{Accel, BusFault, Clock, HartState, HostHarts, SbiCall, Vcpu, VcpuExit, VcpuHandle};
use arch::csr;
use arch::ext::IsaConfig;

use crate::guest::setup::{Extra, Setup};
use crate::guest::{Asm, CODE, END, Guest, Op};

/// Loads read how many came before, stores are noted.
pub const DEVICE: u64 = 0x10_1000;
/// Nothing answers here.
pub const NOWHERE: u64 = 0x10_2000;

/// Cause of an interrupt by the timer, in `scause`.
pub const TIMER: u64 = 1 << 63 | 5;

/// What the machine's device has seen.
#[derive(Default)]
pub struct Device {
    pub loads: AtomicU64,
    stores: Mutex<Vec<(u64, u64)>>,
}

impl Device {
    /// The stores so far: address and value.
    pub fn stores(&self) -> Vec<(u64, u64)> {
        self.stores.lock().unwrap().clone()
    }
}

impl Extra for Device {
    fn read(&self, gpa: u64, data: &mut [u8]) -> Result<(), BusFault> {
        if !self.answers(gpa) {
            return Err(BusFault);
        }
        let value = self.loads.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        data.iter_mut().zip(value).for_each(|(byte, v)| *byte = v);
        Ok(())
    }

    fn write(&self, gpa: u64, data: &[u8]) -> Result<(), BusFault> {
        if !self.answers(gpa) {
            return Err(BusFault);
        }
        let mut value = [0; 8];
        value[..data.len()].copy_from_slice(data);
        self.stores.lock().unwrap().push((gpa, u64::from_le_bytes(value)));
        Ok(())
    }

    fn answers(&self, gpa: u64) -> bool {
        (DEVICE..DEVICE + 0x1000).contains(&gpa)
    }
}

/// The engine, and what this host's harts have.
pub fn engine() -> (Box<dyn Accel>, HostHarts) {
    let engine = select(&[Choice::Kvm(KvmOptions::default())]).unwrap_or_else(|e| panic!("{}", e[0])).engine;
    let harts = engine.host_harts().expect("KVM tells of the harts").expect("harts of the host");
    (engine, harts)
}

/// A machine with harts of all that the host has.
pub struct Machine {
    pub guest: Guest,
    pub device: Arc<Device>,
}

impl Machine {
    pub fn new(harts: u32) -> Self {
        Self::with(harts, |_| {})
    }

    /// Of an ISA that `change` made of the host's.
    pub fn with(harts: u32, change: impl FnOnce(&mut IsaConfig)) -> Self {
        let (engine, host) = engine();
        let mut isa = host.isa;
        change(&mut isa);
        let device = Arc::new(Device::default());
        let clock = Arc::new(Clock::new(host.timebase));
        let extra = Some(Arc::clone(&device) as _);
        let guest = Setup { harts, isa, clock, extra, ..Setup::default() }.start(&*engine);
        Self { guest, device }
    }

    /// Loads `program` at [`CODE`]; what it ends with is added.
    pub fn program(&self, program: impl FnOnce(&mut Asm)) {
        let mut a = Asm::at(CODE);
        program(&mut a);
        end(&mut a);
        self.load(&a);
    }

    /// S-mode state of hart `id` at [`CODE`], with its place to end at in x31.
    pub fn start(&self, id: u32) -> HartState {
        let mut s = self.supervisor(id, CODE);
        s.x[31] = END + 8 * u64::from(id);
        s
    }
}

impl Deref for Machine {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

/// Ends the program of the hart that x31 is of.
pub fn end(a: &mut Asm) {
    a.s(Op::Sd, 0, 31, 0);
    let here = a.here();
    a.j(0, here);
}

/// Runs to the end of the program; calls of SBI that get here are none's.
pub fn finish(v: &mut Box<dyn Vcpu>) -> HartState {
    finish_with(v, |call| panic!("unexpected {call:?}"))
}

/// The same, with answers to SBI's calls: error and value.
pub fn finish_with(v: &mut Box<dyn Vcpu>, mut sbi: impl FnMut(&SbiCall) -> (i64, u64)) -> HartState {
    loop {
        match v.run().expect("the engine runs") {
            VcpuExit::Kicked => return v.state(),
            VcpuExit::Sbi(call) => {
                let (error, value) = sbi(&call);
                v.finish_sbi(&call, error, value).unwrap();
            }
            other => panic!("unexpected exit {other:?}"),
        }
    }
}

/// Where [`handle_timer`]'s handler is.
const TIMER_HANDLER: u64 = CODE + 0x3000;

/// A handler that counts timer interrupts in x27, with x28 ticks between them, and ends the program at x29. Uses x10, x11, x16, x17 and x26.
pub fn handle_timer(m: &Machine) {
    const TIME: u64 = 0x5449_4d45;
    let mut a = Asm::at(TIMER_HANDLER);
    a.csrr(26, csr::SCAUSE).i(Op::Slli, 26, 26, 1).i(Op::Addi, 26, 26, -10);
    let wrong = a.here();
    // Another cause than the timer's stays here for ever.
    a.b(Op::Bne, 26, 0, wrong);
    a.i(Op::Addi, 27, 27, 1);
    let on = a.forward(Op::Bne, 27, 29);
    end(&mut a);
    a.bind(on);
    a.csrr(10, csr::TIME).r(Op::Add, 10, 10, 28);
    a.li(17, TIME).li(16, 0).ecall().plain(Op::Sret);
    m.load(&a);
}

/// With that handler and interrupts enabled, the first due at once.
pub fn with_timer(mut s: HartState, ticks: u64, interrupts: u64) -> HartState {
    (s.csr.stvec, s.csr.stimecmp) = (TIMER_HANDLER, 0);
    (s.x[28], s.x[29]) = (ticks, interrupts);
    s.csr.mie |= 1 << 5;
    s.csr.mstatus |= 2;
    s
}

/// Does `work` while threads do theirs over and over; they end with it, however it ends.
pub fn meanwhile<R>(threads: Vec<impl FnMut() + Send>, work: impl FnOnce() -> R) -> R {
    struct Over<'a>(&'a AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut round in threads {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    round();
                }
            });
        }
        let _over = Over(&over);
        work()
    })
}

/// One kick at some moment, now and then a pause after it; `times` and no more.
pub fn kicks(handle: Arc<dyn VcpuHandle>, seed: u64, spins: u64, mut times: u32) -> impl FnMut() + Send {
    let mut r = Rng(seed);
    move || {
        if times == 0 {
            return std::thread::sleep(Duration::from_millis(1));
        }
        times -= 1;
        for _ in 0..r.below(spins) {
            std::hint::spin_loop();
        }
        if r.below(16) == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        handle.kick();
    }
}
