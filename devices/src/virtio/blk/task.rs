//! The disk's worker: chains in, requests to the image, answers out. What the host has in its memory is answered at
//! once, also on the thread of the hart that kicked.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::config::{BlkConfig, SERIAL_LEN};
use super::errors::{Answer, DiskErrors, ErrorPolicy};
use super::request::{Action, HEADER, Limits, Status, decode};
use super::stats::BlkStats;
use crate::backend::block::{BlockBackend, Completion, Op, Request, Wait};
use crate::virtio::queue::{Chain, SavedChain, VirtQueue};
use crate::virtio::worker::{Poller, Task};

/// Requests taken from a queue before other events have their turn.
const BUDGET: usize = 256;
/// Requests and bytes that a hart serves itself after a kick: as much as takes some tens of microseconds.
const BUDGET_HERE: usize = 64;
const BYTES_HERE: usize = 256 << 10;
/// Bytes moved after which the driver hears of what is done while the rest is under way.
const BYTES_UNTOLD: usize = 128 << 10;
/// Token of the image's descriptor.
const IMAGE: u64 = 0;

/// A chain whose request is with the image.
struct Pending {
    queue: usize,
    chain: Chain,
    op: Op,
    offset: u64,
    since: Instant,
}

/// A request that has failed and is tried again when the machine goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parked {
    pub(crate) queue: u16,
    pub(crate) chain: SavedChain,
}

pub struct BlkTask {
    queues: Vec<Option<VirtQueue>>,
    backend: Box<dyn BlockBackend>,
    limits: Limits,
    /// `None`: the driver knows no caches, so every write is durable.
    write_cache: Option<Arc<AtomicBool>>,
    /// By token.
    pending: Vec<Option<Pending>>,
    free_tokens: Vec<usize>,
    /// Queues that wait for the image to have room, a bit each.
    starved: u64,
    finished: Vec<Completion>,
    stats: Arc<BlkStats>,
    policy: ErrorPolicy,
    errors: Option<Arc<dyn DiskErrors>>,
    /// Requests from before the last stop, in the order of their failures; the worker begins with them.
    again: VecDeque<Parked>,
    /// Requests that wait for the next stop.
    parked: Vec<Parked>,
}

impl BlkTask {
    pub fn new(
        queues: Vec<Option<VirtQueue>>,
        backend: Box<dyn BlockBackend>,
        config: &BlkConfig,
        write_cache: Option<Arc<AtomicBool>>,
        stats: Arc<BlkStats>,
    ) -> Self {
        let mut serial = [0; SERIAL_LEN];
        serial[..config.serial.len()].copy_from_slice(config.serial.as_bytes());
        let (capacity, block) = (backend.len(), u64::from(config.logical_block_size));
        let limits = Limits { capacity, block, read_only: config.read_only, serial };
        let (pending, free_tokens, finished) = (Vec::new(), Vec::new(), Vec::new());
        let (policy, errors, again, parked) = (config.on_error, None, VecDeque::new(), Vec::new());
        Self {
            queues,
            backend,
            limits,
            write_cache,
            pending,
            free_tokens,
            starved: 0,
            finished,
            stats,
            policy,
            errors,
            again,
            parked,
        }
    }

    /// Who hears of failures, and which requests to begin with.
    pub fn on_errors(&mut self, errors: Option<Arc<dyn DiskErrors>>, again: Vec<Parked>) {
        (self.errors, self.again) = (errors, again.into());
    }

    pub fn into_parts(self) -> (Vec<Option<VirtQueue>>, Box<dyn BlockBackend>, Vec<Parked>) {
        (self.queues, self.backend, self.again.into_iter().chain(self.parked).collect())
    }

    /// Begins with what is to be tried again, as far as the image has room.
    fn try_again(&mut self) {
        while self.backend.room() > 0
            && let Some(Parked { queue, chain }) = self.again.pop_front()
        {
            let queue = usize::from(queue);
            // A queue that is gone took its requests along.
            let Some(q) = self.queues.get_mut(queue).and_then(Option::as_mut) else { continue };
            if let Some(chain) = q.take_back(&chain) {
                self.begin(queue, chain, Wait::Briefly);
            }
        }
    }

    /// Starts on a request. Returns how many bytes have been moved at once; `None`: it is with the image now.
    fn begin(&mut self, queue: usize, chain: Chain, wait: Wait) -> Option<usize> {
        let durable = self.write_cache.as_ref().is_none_or(|c| !c.load(Ordering::Relaxed));
        let q = self.queues[queue].as_mut()?;
        match decode(&chain, q, &self.limits, durable) {
            Ok(Action::Submit(op, offset, data)) if self.backend.at_once(op, offset, &data, wait) => {
                self.stats.done(op, offset, data.len(), Duration::ZERO);
                answer(q, chain, Status::Ok, if op == Op::Read { data.len() } else { 0 });
                return Some(data.len());
            }
            Ok(Action::Submit(op, offset, data)) => {
                let pending = Some(Pending { queue, chain, op, offset, since: Instant::now() });
                let token = self.free_tokens.pop().unwrap_or(self.pending.len());
                match self.pending.get_mut(token) {
                    Some(slot) => *slot = pending,
                    None => self.pending.push(pending),
                }
                self.backend.submit(Request { token: token as u64, op, offset, data });
                return None;
            }
            Ok(Action::Answer(status, written)) => answer(q, chain, status, written),
            Err(fault) => q.fail(fault),
        }
        Some(0)
    }

    fn collect(&mut self) {
        self.backend.completions(&mut self.finished);
        self.finish_requests();
    }

    fn finish_requests(&mut self) {
        for Completion { token, result } in self.finished.drain(..) {
            let Some(done) = self.pending.get_mut(token as usize).and_then(Option::take) else { continue };
            self.free_tokens.push(token as usize);
            let Some(q) = &mut self.queues[done.queue] else { continue };
            let status = match result {
                Ok(()) => {
                    let data =
                        if done.op == Op::Read { done.chain.write_len() - 1 } else { done.chain.read_len() - HEADER };
                    self.stats.done(done.op, done.offset, data, done.since.elapsed());
                    Status::Ok
                }
                Err(error) => {
                    self.stats.failed(done.op);
                    let failure = self.policy.judge(done.op, &error);
                    let verdict = self.errors.as_ref().map_or(Answer::Report, |errors| {
                        errors.failed(&failure);
                        failure.answer
                    });
                    match verdict {
                        Answer::Report => Status::IoError,
                        Answer::Ignore => Status::Ok,
                        Answer::Stop => {
                            self.parked.push(Parked { queue: done.queue as u16, chain: q.set_aside(done.chain) });
                            continue;
                        }
                    }
                }
            };
            let data = if done.op == Op::Read { done.chain.write_len() - 1 } else { 0 };
            answer(q, done.chain, status, data);
        }
    }

    fn announce(&mut self) {
        self.queues.iter_mut().flatten().for_each(VirtQueue::announce);
    }
}

fn answer(queue: &mut VirtQueue, chain: Chain, status: Status, written: usize) {
    chain.write_last_byte(queue.mem(), status as u8);
    queue.push(chain, written as u32 + 1);
}

impl Task for BlkTask {
    fn start(&mut self, poller: &Poller) -> io::Result<()> {
        poller.add(IMAGE, self.backend.event_fd())
    }

    fn kicked(&mut self, queue: u16, _: &Poller) -> bool {
        let queue = usize::from(queue);
        let mut untold = 0;
        for _ in 0..BUDGET {
            if self.backend.room() == 0 {
                self.starved |= 1 << queue;
                return false;
            }
            let Some(q) = self.queues.get_mut(queue).and_then(Option::as_mut) else { return false };
            if untold >= BYTES_UNTOLD {
                q.announce();
                untold = 0;
            }
            let Some(chain) = q.pop() else {
                return q.enable_kicks();
            };
            untold += self.begin(queue, chain, Wait::Briefly).unwrap_or(0);
        }
        true
    }

    fn kicked_here(&mut self, queue: u16) -> u64 {
        let (bit, queue) = (1 << queue, usize::from(queue));
        if !self.again.is_empty() {
            return bit;
        }
        let mut left = bit;
        let mut moved = 0;
        for _ in 0..BUDGET_HERE {
            let Some(q) = self.queues.get_mut(queue).and_then(Option::as_mut) else { return 0 };
            let Some(chain) = q.pop() else {
                if q.enable_kicks() {
                    continue;
                }
                left = 0;
                break;
            };
            if moved >= BYTES_HERE || self.backend.room() == 0 {
                q.unpop(chain);
                break;
            }
            match self.begin(queue, chain, Wait::Never) {
                Some(bytes) => moved += bytes,
                // The worker submits it, and what comes after.
                None => break,
            }
        }
        self.announce();
        left
    }

    fn round_done(&mut self, _: &Poller) -> u64 {
        self.try_again();
        self.backend.commit();
        self.collect();
        self.announce();
        if self.backend.room() > 0 { std::mem::take(&mut self.starved) } else { 0 }
    }

    fn finish(&mut self) {
        self.backend.drain(&mut self.finished);
        self.finish_requests();
        self.announce();
    }
}
