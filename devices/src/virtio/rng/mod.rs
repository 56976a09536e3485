//! virtio-rng (virtio 1.3, 5.4): random bytes for the guest, from the host's generator or a file.

use std::fs::File;
use std::io::{self, Read};

use rustix::rand::{GetRandomFlags, getrandom};

use super::device::{Activation, VirtioDevice, id};
use super::queue::VirtQueue;
use super::worker::{Poller, Task, Worker};

const QUEUE_SIZE: u16 = 8;
/// A request gets at most this much; drivers ask again for more.
const CHUNK: usize = 4096;
/// Requests served before other events have their turn, and by a hart itself.
const BUDGET: usize = 64;
const BUDGET_HERE: usize = 4;

/// Where the bytes come from.
#[derive(Debug)]
pub enum RngSource {
    /// The kernel's generator (`getrandom`).
    Host,
    /// A file or device (`-object rng-random,filename=`).
    File(File),
}

impl RngSource {
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Host => Ok(getrandom(buf, GetRandomFlags::empty())?),
            Self::File(file) => file.read(buf),
        }
    }
}

/// The device.
pub struct VirtioRng {
    name: String,
    source: Option<RngSource>,
    worker: Option<Worker<RngTask>>,
}

impl VirtioRng {
    pub fn new(name: impl Into<String>, source: RngSource) -> Self {
        Self { name: name.into(), source: Some(source), worker: None }
    }
}

impl VirtioDevice for VirtioRng {
    fn device_type(&self) -> u32 {
        id::RNG
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, mut activation: Activation) -> io::Result<()> {
        let source = self.source.take().ok_or_else(|| io::Error::other("the device's worker was lost"))?;
        let queue = activation.queues.remove(0);
        let task = RngTask { queue, source, failed: false };
        self.worker = Some(Worker::spawn(&self.name, task, 1, activation.doorbell)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<Option<VirtQueue>> {
        let Some(task) = self.worker.take().and_then(Worker::stop) else { return Vec::new() };
        self.source = Some(task.source);
        vec![task.queue]
    }

    fn reset(&mut self) {}
}

struct RngTask {
    queue: Option<VirtQueue>,
    source: RngSource,
    /// A failure was reported.
    failed: bool,
}

impl RngTask {
    /// `true`: there may be more.
    fn serve(&mut self, budget: usize) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let mut buf = [0; CHUNK];
        for _ in 0..budget {
            let Some(chain) = queue.pop() else {
                queue.announce();
                return queue.enable_kicks();
            };
            let want = chain.write_len().min(CHUNK);
            let got = self.source.fill(&mut buf[..want]).unwrap_or_else(|error| {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(%error, "cannot read random bytes for the guest");
                }
                0
            });
            let written = chain.writer(queue.mem()).write(&buf[..got]);
            queue.push(chain, written as u32);
        }
        queue.announce();
        true
    }
}

impl Task for RngTask {
    fn kicked(&mut self, _queue: u16, _: &Poller) -> bool {
        self.serve(BUDGET)
    }

    fn kicked_here(&mut self, queue: u16) -> u64 {
        // A device file may keep its readers waiting.
        let more = !matches!(self.source, RngSource::Host) || self.serve(BUDGET_HERE);
        u64::from(more) << queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::testing::Driver;

    fn rng() -> Box<VirtioRng> {
        Box::new(VirtioRng::new("virtio-rng", RngSource::Host))
    }

    #[test]
    fn fills_requests_on_both_transports() {
        for legacy in [false, true] {
            let mut d = Driver::ready(rng(), legacy, 1, 0);
            let buf = d.alloc(8192);
            for _ in 0..20 {
                d.submit(0, &[(buf, 64, true), (buf + 4096, 100, true)]);
                // First: who takes what is used asks for the interrupt after it, maybe before the device looks.
                d.pin.wait_high();
                assert_eq!(d.wait_used(0).1, 164);
                assert!(d.bytes(buf, 64).iter().any(|&b| b != 0) && d.bytes(buf + 4096, 100).iter().any(|&b| b != 0));
                assert_eq!(d.bytes(buf + 64, 16), [0; 16]);
                assert_eq!(d.r(0x60), 1);
                d.w(0x64, 1);
                assert!(!d.pin.is_high());
            }
        }
    }

    #[test]
    fn bytes_of_a_file_end_with_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"0123456789").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut d = Driver::ready(Box::new(VirtioRng::new("rng", RngSource::File(file))), false, 1, 0);
        let buf = d.alloc(64);
        d.submit(0, &[(buf, 64, true)]);
        assert_eq!(d.wait_used(0).1, 10);
        assert_eq!(d.bytes(buf, 11), b"0123456789\0");
    }
}
