//! Our side: the image on a machine of one hart, RAM and the finisher.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use accel::tcg::{Tcg, TcgOptions};
use accel::testing::Registers as _;
use accel::{Accel, BusFault, Clock, GuestBus, GuestRam, Mode, VcpuExit, VcpuHandle, VmConfig};
use anyhow::{Context, bail};
use arch::ext::IsaConfig;
use vm_memory::{Bytes, GuestAddress};

use super::guest::{FINISHER, MTIMECMP, RAM, RAM_SIZE};

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Finisher {
    handle: OnceLock<Arc<dyn VcpuHandle>>,
    written: AtomicBool,
}

/// The page of MTIMECMP.
const CLINT: u64 = MTIMECMP & !0xfff;

impl GuestBus for Finisher {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn write(&self, gpa: u64, _: &[u8]) -> Result<(), BusFault> {
        match gpa {
            FINISHER => {}
            MTIMECMP => return Ok(()),
            _ => return Err(BusFault),
        }
        self.written.store(true, Ordering::SeqCst);
        self.handle.get().expect("set before the hart runs").kick();
        Ok(())
    }

    fn answers(&self, gpa: u64) -> bool {
        matches!(gpa & !0xfff, FINISHER | CLINT)
    }
}

/// Runs the image; returns as much of RAM as it covers, and where the hart was if it hung.
pub fn run(isa: &IsaConfig, options: &TcgOptions, image: &[u8]) -> anyhow::Result<(Vec<u8>, Option<u64>)> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE as usize)]).context("RAM of the guest")?;
    ram.write_slice(image, GuestAddress(RAM)).context("load the image")?;
    let bus = Arc::new(Finisher::default());
    let config = VmConfig {
        ram: ram.clone(),
        bus: bus.clone(),
        clock: Arc::new(Clock::new(10_000_000)),
        harts: 1,
        isa: isa.clone(),
        builtin_sbi: false,
        machine_traps: false,
        imsic: None,
        irqchip: None,
    };
    let vm = Tcg::new(options.clone()).create_vm(config).context("start the engine")?;
    let mut vcpu = vm.create_vcpu(0).context("make the hart")?;
    let mut state = vcpu.state();
    (state.pc, state.mode) = (RAM, Mode::Machine);
    vcpu.set_state(&state);
    let handle = vcpu.handle();
    assert!(bus.handle.set(handle.clone()).is_ok(), "the machine is new");
    let watchdog = Watchdog::start(handle);
    let exit = vcpu.run();
    let late = watchdog.stop();
    match exit.context("run the hart")? {
        VcpuExit::Kicked => {}
        other => bail!("unexpected exit {other:?}"),
    }
    let hung = (late && !bus.written.load(Ordering::SeqCst)).then(|| vcpu.state().pc);
    let mut memory = vec![0; image.len()];
    ram.read_slice(&mut memory, GuestAddress(RAM)).context("read the results")?;
    Ok((memory, hung))
}

/// Ends a run that hangs.
struct Watchdog {
    done: Arc<(Mutex<bool>, std::sync::Condvar)>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn start(handle: Arc<dyn VcpuHandle>) -> Self {
        let done = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
        let shared = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let deadline = Instant::now() + PATIENCE;
            let mut done = shared.0.lock().expect("no one panics with the lock");
            while !*done {
                let now = Instant::now();
                if now >= deadline {
                    handle.kick();
                    return true;
                }
                done = shared.1.wait_timeout(done, deadline - now).expect("no one panics with the lock").0;
            }
            false
        });
        Self { done, thread }
    }

    /// Whether it had to act.
    fn stop(self) -> bool {
        *self.done.0.lock().expect("no one panics with the lock") = true;
        self.done.1.notify_all();
        self.thread.join().expect("the watchdog does not panic")
    }
}
