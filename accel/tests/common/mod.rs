//! A machine of one or more harts with RAM alone, for tests of the translator.
#![allow(dead_code, reason = "each test uses its own part")]

use std::sync::Arc;

use accel::tcg::{Tcg, TcgOptions, csr};
use accel::{Accel, BusFault, Clock, GuestBus, GuestRam, HartState, Vcpu, VcpuExit, Vm, VmConfig};
use arch::ext::IsaConfig;
use vm_memory::{Bytes, GuestAddress};

pub const RAM: u64 = 0x8000_0000;
pub const SIZE: usize = 8 << 20;

/// The number in an environment variable, `default` if it is not set.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: '{text}' is not a number")),
        Err(_) => default,
    }
}

/// Small random numbers that are the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    /// A value that is often a corner.
    pub fn corner(&mut self) -> u64 {
        const CORNERS: [u64; 22] = [
            0,
            1,
            2,
            u64::MAX,
            i64::MAX as u64,
            1 << 63,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0xffff_ffff_8000_0000,
            0xffff_ffff_7fc0_0000,
            0xffff_ffff_7f80_0000,
            0xffff_ffff_ff80_0001,
            0xffff_ffff_3f80_0000,
            0xffff_ffff_0000_0001,
            0x7ff8_0000_0000_0000,
            0x7ff0_0000_0000_0000,
            0xfff0_0000_0000_0001,
            0x3ff0_0000_0000_0000,
            0x0000_0000_0000_0003,
            0x7fef_ffff_ffff_ffff,
            0x41e0_0000_0000_0000,
        ];
        match self.below(4) {
            0 => CORNERS[self.below(CORNERS.len() as u64) as usize],
            1 => self.next() >> self.below(64),
            2 => (self.next() as i64 >> self.below(64)) as u64,
            _ => self.next(),
        }
    }
}

struct NoDevices;

impl GuestBus for NoDevices {
    fn read(&self, _: u64, _: &mut [u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn answers(&self, _: u64) -> bool {
        false
    }
}

pub struct Machine {
    pub ram: GuestRam,
    pub isa: IsaConfig,
    pub vm: Arc<dyn Vm>,
    pub vcpu: Box<dyn Vcpu>,
}

impl Machine {
    pub fn new(options: TcgOptions) -> Self {
        Self::with_isa(options, arch::model::find("max").expect("a model that the program has").config())
    }

    pub fn with_isa(options: TcgOptions, isa: IsaConfig) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).expect("test RAM");
        let clock = Arc::new(Clock::new(10_000_000));
        let config = VmConfig {
            ram: ram.clone(),
            bus: Arc::new(NoDevices),
            clock,
            harts: 1,
            isa: isa.clone(),
            builtin_sbi: true,
            machine_traps: false,
            imsic: None,
        };
        let vm = Tcg { options }.create_vm(config).expect("the engine starts");
        let vcpu = vm.create_vcpu(0).expect("a vCPU");
        Self { ram, isa, vm, vcpu }
    }

    /// S-mode state at `pc`.
    pub fn supervisor(&self, pc: u64) -> HartState {
        csr::reset_supervisor(&self.isa, 0, pc, 0)
    }

    pub fn write(&self, gpa: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(gpa)).expect("inside RAM");
    }

    pub fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut v = vec![0; len];
        self.ram.read_slice(&mut v, GuestAddress(gpa)).expect("inside RAM");
        v
    }

    /// Runs from `state` to the first SBI call; returns the state there.
    pub fn run(&mut self, state: &HartState) -> HartState {
        self.vcpu.set_state(state);
        match self.vcpu.run().expect("the engine runs") {
            VcpuExit::Sbi(_) => self.vcpu.state(),
            other => panic!("unexpected exit {other:?}"),
        }
    }
}

/// The ways to run that must not differ.
pub fn forced_modes() -> Vec<(&'static str, TcgOptions)> {
    let d = TcgOptions::default;
    vec![
        ("jit", d()),
        ("one instruction a block", TcgOptions { block_insns: 1, ..d() }),
        ("no links", TcgOptions { chain: false, jump_cache: false, ..d() }),
        ("tiny TLB", TcgOptions { tlb_entries: 1, ..d() }),
        ("tiny cache", TcgOptions { tb_size: 1 << 18, block_insns: 4, ..d() }),
        ("random eviction", TcgOptions { evict: 2, ..d() }),
    ]
}
