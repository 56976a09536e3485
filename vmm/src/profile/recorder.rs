//! The side of the machine: takes the samples of its harts while they run.
//!
//! A thread empties the harts' rings a few times a second and counts equal stacks. It also finds out where Linux keeps the
//! names of its processes: the idle process of a hart is called `swapper/N`, and the hart's `tp` points to what has that
//! name in it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use accel::profile::{ProfileConfig, Ring, Sample};
use accel::{GuestRam, HartState, Mode};
use arch::ext::IsaConfig;
use vm_memory::{Bytes, GuestAddress};

use super::recording::{Recording, Stack};

/// Samples a second, unless told otherwise: a prime, so that they keep no step with the guest's timers. In a virtual machine
/// an interruption of a thread may take 26 us of the host's time alone, and ours takes 11 us more.
pub const HZ: u32 = 499;
pub const HZ_MAX: u32 = 10_000;
/// How often rings are emptied.
const TURN: Duration = Duration::from_millis(100);
/// Bytes of a `task_struct` that are searched for a name.
const TASK: usize = 16 << 10;
/// Tasks that are searched at most.
const TASKS: usize = 64;
/// What Linux calls its idle processes.
const IDLE: &[u8] = b"swapper/";

/// What is sampled.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub hz: u32,
    pub harts: Vec<u32>,
    /// Where the recording goes at the end.
    pub file: Option<PathBuf>,
}

/// The guest's memory, for names.
pub struct Guest {
    pub ram: Arc<GuestRam>,
    pub isa: IsaConfig,
}

/// A recording that is being made.
pub struct Recorder {
    pub wanted: Wanted,
    rings: Vec<(u32, Arc<Ring>)>,
    name_offset: Arc<AtomicU32>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    recording: Mutex<Recording>,
    begun: Instant,
    ends: AtomicBool,
}

impl Shared {
    fn take(&self, rings: &[(u32, Arc<Ring>)], mut names: impl FnMut(&Sample)) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        for (hart, ring) in rings {
            while let Some(sample) = ring.pop() {
                names(&sample);
                recording.add(Stack::of(*hart, &sample));
            }
        }
        recording.seconds = self.begun.elapsed().as_secs_f64();
    }
}

impl Recorder {
    /// Begins; the harts are told afterwards.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(wanted: Wanted, harts: u32, guest: Guest) -> std::io::Result<Self> {
        // Room for two seconds, should the thread get no time.
        let rings: Vec<_> = wanted.harts.iter().map(|h| (*h, Ring::new(2 * wanted.hz as usize + 64))).collect();
        let name_offset = Arc::new(AtomicU32::new(0));
        let recording = Recording { hz: wanted.hz, harts, ..Recording::default() };
        let recording = Mutex::new(recording);
        let shared = Arc::new(Shared { recording, begun: Instant::now(), ends: AtomicBool::new(false) });
        let thread = {
            let (shared, rings, offset) = (Arc::clone(&shared), rings.clone(), Arc::clone(&name_offset));
            let mut finder = Finder { guest, tried: HashSet::new() };
            let body = move || {
                while !shared.ends.load(Ordering::SeqCst) {
                    std::thread::park_timeout(TURN);
                    shared.take(&rings, |sample| {
                        if offset.load(Ordering::Relaxed) == 0
                            && let Some(found) = finder.look_at(sample)
                        {
                            offset.store(found, Ordering::Relaxed);
                        }
                    });
                }
            };
            std::thread::Builder::new().name("profile".to_owned()).spawn(body)?
        };
        Ok(Self { wanted, rings, name_offset, shared, thread: Some(thread) })
    }

    /// What a hart's vCPU is given; `None` for harts that are not sampled.
    pub fn config(&self, hart: u32) -> Option<ProfileConfig> {
        let (_, ring) = self.rings.iter().find(|(h, _)| *h == hart)?;
        let (ring, name_offset) = (Arc::clone(ring), Arc::clone(&self.name_offset));
        Some(ProfileConfig { hz: self.wanted.hz, ring, name_offset })
    }

    fn lost(&self) -> u64 {
        self.rings.iter().map(|(_, ring)| ring.lost()).sum()
    }

    /// How it stands, in a line.
    pub fn status(&self) -> String {
        let recording = self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let (samples, stacks) = (recording.samples(), recording.stacks.len());
        let seconds = self.shared.begun.elapsed().as_secs_f64();
        let (hz, harts, lost) = (self.wanted.hz, self.wanted.harts.len(), recording.lost + self.lost());
        format!("{samples} samples in {stacks} stacks of {harts} hart(s) at {hz} Hz in {seconds:.1} s, {lost} lost")
    }

    /// The recording. The harts have been told.
    pub fn finish(mut self) -> Recording {
        self.end();
        // The thread may have left some.
        self.shared.take(&self.rings, |_| {});
        let mut recording = self.shared.recording.lock().unwrap_or_else(PoisonError::into_inner);
        recording.lost += self.lost();
        std::mem::take(&mut *recording)
    }

    fn end(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // If it has panicked, that was said.
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Finds where a process has its name.
struct Finder {
    guest: Guest,
    tried: HashSet<u64>,
}

impl Finder {
    fn look_at(&mut self, sample: &Sample) -> Option<u32> {
        if sample.task < 1 << 63 || self.tried.len() >= TASKS || !self.tried.insert(sample.task) {
            return None;
        }
        let mut state = HartState { mode: Mode::Supervisor, ..HartState::default() };
        state.csr.satp = sample.satp;
        let mut bytes = Vec::new();
        while bytes.len() < TASK {
            let va = sample.task.wrapping_add(bytes.len() as u64);
            let mut part = vec![0; (4096 - (va & 0xfff) as usize).min(TASK - bytes.len())];
            let pa = accel::debug::physical_address(&state, &self.guest.isa, &self.guest.ram, va);
            if pa.is_none_or(|pa| self.guest.ram.read_slice(&mut part, GuestAddress(pa)).is_err()) {
                break;
            }
            bytes.extend(part);
        }
        name_offset(&bytes)
    }
}

/// Where the name of an idle process is in its `task_struct`.
fn name_offset(task: &[u8]) -> Option<u32> {
    let at = task.windows(IDLE.len() + 2).position(|w| {
        w.starts_with(IDLE)
            && w[IDLE.len()].is_ascii_digit()
            && (w[IDLE.len() + 1] == 0 || w[IDLE.len() + 1].is_ascii_digit())
    })?;
    // Samples read it in words.
    (at % 8 == 0 && at > 0).then_some(at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_process_tells_where_names_are() {
        let mut task = vec![0; 4096];
        assert_eq!(name_offset(&task), None);
        task[100..112].copy_from_slice(b"swapper/x..\0");
        assert_eq!(name_offset(&task), None);
        task[1600..1610].copy_from_slice(b"swapper/0\0");
        assert_eq!(name_offset(&task), Some(1600));
        assert_eq!(name_offset(&task[1600..]), None);
        assert_eq!(name_offset(b"swapper/"), None);
    }

    #[test]
    fn what_harts_say_is_recorded_to_the_last() {
        let ram = Arc::new(GuestRam::from_ranges(&[(GuestAddress(0x8000_0000), 1 << 20)]).unwrap());
        let wanted = Wanted { hz: 100, harts: vec![1], file: None };
        let recorder = Recorder::start(wanted, 2, Guest { ram, isa: IsaConfig::default() }).unwrap();
        assert!(recorder.config(0).is_none());
        let config = recorder.config(1).unwrap();
        for n in 0..10 {
            config.ring.push(|sample| sample.pc = n % 2);
            if n == 4 {
                while recorder.shared.recording.lock().unwrap().samples() < 5 {
                    std::thread::yield_now();
                }
            }
        }
        config.ring.lose(4);
        assert!(recorder.status().ends_with(", 4 lost"), "{}", recorder.status());
        let all = recorder.finish();
        assert_eq!((all.samples(), all.stacks.len(), all.lost, all.harts, all.hz), (10, 2, 4, 2, 100));
        assert!(all.stacks.keys().all(|stack| stack.hart == 1));
    }
}
