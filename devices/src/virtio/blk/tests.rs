//! A disk behind both transports, over both back ends.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::*;
use crate::MmioDevice;
use crate::backend::block::{
    AioMode, BlockBackend, BlockError, BlockOptions, CacheMode, Completion, GuestBuffers, Op, Request, Wait,
    open_image, open_raw,
};
use crate::virtio::testing::Driver;

mod errors;

fn image(len: usize) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..len).map(|i| (i / 512) as u8).collect();
    file.write_all(&bytes).unwrap();
    file
}

fn options(aio: AioMode) -> BlockOptions {
    BlockOptions { aio, discard: true, ..Default::default() }
}

fn disk(path: &Path, options: &BlockOptions, config: BlkConfig) -> Box<VirtioBlk> {
    Box::new(VirtioBlk::new("virtio-blk", open_raw(path, options).unwrap(), config).unwrap())
}

/// A driver with room for a header, a status byte and data.
struct Disk {
    driver: Driver,
    header: u64,
    data: u64,
}

impl Disk {
    fn new(device: Box<VirtioBlk>, legacy: bool) -> Self {
        Self::without(device, legacy, 0)
    }

    fn without(device: Box<VirtioBlk>, legacy: bool, without: u64) -> Self {
        let mut driver = Driver::ready(device, legacy, 1, without);
        let (header, data) = (driver.alloc(4096), driver.alloc(1 << 20));
        Self { driver, header, data }
    }

    fn request(&mut self, kind: u32, sector: u64, out: u32, input: u32) -> (u8, u32) {
        let (h, d) = (self.header, self.data);
        self.driver.put(h, kind);
        self.driver.put(h + 4, 0u32);
        self.driver.put(h + 8, sector);
        self.driver.put(h + 64, 0xffu8);
        let mut chain = vec![(h, 16, false)];
        // Data in two pieces, the second odd, so that chains are not all alike.
        for (len, write) in [(out, false), (input, true)] {
            if len > 16 {
                chain.extend([(d, len - 9, write), (d + u64::from(len) - 9, 9, write)]);
            } else if len > 0 {
                chain.push((d, len, write));
            }
        }
        chain.push((h + 64, 1, true));
        self.driver.submit(0, &chain);
        let (_, len) = self.driver.wait_used(0);
        (self.driver.get(h + 64), len)
    }

    fn read(&mut self, sector: u64, len: usize) -> (u8, Vec<u8>) {
        let (status, _) = self.request(0, sector, 0, len as u32);
        (status, self.driver.bytes(self.data, len))
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.driver.write_bytes(self.data, data);
        self.request(1, sector, data.len() as u32, 0).0
    }

    fn range(&mut self, kind: u32, sector: u64, sectors: u32, flags: u32) -> u8 {
        self.driver.put(self.data, sector);
        self.driver.put(self.data + 8, sectors);
        self.driver.put(self.data + 12, flags);
        self.request(kind, 0, 16, 0).0
    }
}

const EVERY_AIO: [AioMode; 2] = [AioMode::Threads, AioMode::Auto];

#[test]
fn what_is_written_is_in_the_file_and_reads_back() {
    for aio in EVERY_AIO {
        for legacy in [false, true] {
            for indirect in [false, true] {
                let file = image(1 << 20);
                let mut d = Disk::new(disk(file.path(), &options(aio), BlkConfig::default()), legacy);
                d.driver.use_indirect.store(indirect, Ordering::Relaxed);
                assert_eq!(d.driver.config::<8>(0), (1u64 << 11).to_le_bytes());
                let (status, bytes) = d.read(7, 1024);
                assert_eq!((status, &bytes[..512], &bytes[512..]), (0, &[7; 512][..], &[8; 512][..]));
                assert_eq!(d.write(2046, &[0xab; 1024]), 0);
                assert_eq!(d.request(4, 0, 0, 0).0, 0, "flush");
                let mut end = [0; 1024];
                file.as_file().read_exact_at(&mut end, 2046 * 512).unwrap();
                assert_eq!(end, [0xab; 1024]);
                assert_eq!(d.read(2046, 1024), (0, vec![0xab; 1024]));
                d.driver.pin.wait_high();
            }
        }
    }
}

#[test]
fn requests_outside_or_malformed_fail_without_harm() {
    let file = image(8 * 512);
    let mut d = Disk::new(disk(file.path(), &options(AioMode::Auto), BlkConfig::default()), false);
    assert_eq!(d.read(7, 1024).0, 1, "past the end");
    assert_eq!(d.read(u64::MAX, 512).0, 1, "wraps");
    assert_eq!(d.read(u64::MAX / 512, 1024).0, 1, "wraps");
    assert_eq!(d.write(8, &[1; 512]), 1);
    assert_eq!(d.read(0, 100).0, 1, "no whole sector");
    assert_eq!(d.request(77, 0, 0, 512).0, 2, "unknown type");
    assert_eq!(d.request(0, 0, 0, 0).0, 0, "no data is no work");
    assert_eq!(d.range(11, 7, 2, 0), 1);
    assert_eq!(d.range(11, 0, 1, 1), 2, "discard has no flags");
    assert_eq!(d.range(13, 0, 1, 2), 2, "unknown flag");
    assert_eq!(d.range(13, 0, 0, 0), 0);
    assert_eq!(d.request(11, 0, 32, 0).0, 2, "one range only");
    assert_eq!(d.read(0, 4096).0, 0, "still alive");
    assert_eq!(std::fs::read(file.path()).unwrap(), std::fs::read(image(8 * 512).path()).unwrap());
}

#[test]
fn discard_and_write_zeroes_make_zeroes() {
    for aio in EVERY_AIO {
        let file = image(1 << 20);
        let mut d = Disk::new(disk(file.path(), &options(aio), BlkConfig::default()), false);
        assert_eq!(d.range(13, 3, 2, 0), 0);
        assert_eq!(d.range(13, 100, 64, 1), 0);
        assert_eq!(d.range(11, 1024, 512, 0), 0);
        let (_, bytes) = d.read(2, 4 * 512);
        assert_eq!((bytes[511], &bytes[512..1536], bytes[1536]), (2, &[0; 1024][..], 5));
        assert_eq!(d.read(100, 64 * 512), (0, vec![0; 64 * 512]));
        assert_eq!(d.read(1024, 512 * 512), (0, vec![0; 512 * 512]));
        assert_eq!(d.read(1536, 512), (0, vec![0; 512]), "1536 is 0 mod 256");
        assert_eq!(d.read(1537, 512), (0, vec![1; 512]));
        assert_eq!(file.as_file().metadata().unwrap().len(), 1 << 20);
    }
}

#[test]
fn read_only_disks_refuse_changes() {
    let file = image(4096);
    let o = BlockOptions { read_only: true, ..options(AioMode::Auto) };
    let mut d = Disk::new(disk(file.path(), &o, BlkConfig { read_only: true, ..Default::default() }), false);
    assert_ne!(d.driver.features & feature::RO, 0);
    assert_eq!(d.driver.features & (feature::DISCARD | feature::WRITE_ZEROES), 0);
    assert_eq!(d.write(0, &[9; 512]), 1);
    assert_eq!(d.range(11, 0, 1, 0), 1);
    assert_eq!(d.range(13, 0, 1, 0), 1);
    assert_eq!(d.request(4, 0, 0, 0).0, 0);
    assert_eq!(d.read(1, 512), (0, vec![1; 512]));
}

#[test]
fn serial_and_configuration_space() {
    let file = image(4096);
    let config = BlkConfig {
        serial: "disk-0123456789abcde".to_owned(),
        queues: 4,
        logical_block_size: 1024,
        physical_block_size: 4096,
        min_io_size: 4096,
        opt_io_size: 65536,
        write_cache: false,
        ..Default::default()
    };
    let mut d = Disk::new(disk(file.path(), &options(AioMode::Auto), config), false);
    assert_eq!(d.request(8, 0, 0, 20), (0, 21));
    assert_eq!(d.driver.bytes(d.data, 20), b"disk-0123456789abcde");
    assert_eq!(d.request(8, 0, 0, 4), (0, 5), "a short buffer takes what fits");
    assert_eq!(d.driver.config::<4>(12), 254u32.to_le_bytes(), "seg_max");
    assert_eq!(d.driver.config::<4>(20), 1024u32.to_le_bytes());
    assert_eq!(d.driver.config::<8>(24), [2, 0, 4, 0, 64, 0, 0, 0]);
    assert_eq!(d.driver.config::<4>(32), [0, 0, 4, 0]);
    d.driver.dev.write(0x100 + 32, &[1]);
    d.driver.dev.write(0x100, &[0xff; 8]);
    assert_eq!(d.driver.config::<1>(32), [1], "the driver may switch the cache");
    assert_eq!(d.driver.config::<8>(0), 8u64.to_le_bytes(), "and nothing else");
    assert_eq!(d.driver.config::<4>(60), [0; 4]);
    assert_eq!(d.read(1, 1024).0, 1, "not a logical block");
    d.driver.w(0x70, 0);
    assert_eq!(d.driver.config::<1>(32), [0], "reset restores it");
}

#[test]
fn bad_properties_are_named() {
    let bad = |c: BlkConfig| c.check().unwrap_err().to_string();
    let d = BlkConfig::default;
    assert!(bad(BlkConfig { serial: "x".repeat(21), ..d() }).contains("20 bytes"));
    assert!(bad(BlkConfig { queues: 0, ..d() }).contains("num-queues=0"));
    assert!(bad(BlkConfig { queue_size: 100, ..d() }).contains("queue-size=100"));
    assert!(bad(BlkConfig { logical_block_size: 513, ..d() }).contains("logical_block_size=513"));
    assert!(bad(BlkConfig { logical_block_size: 4096, ..d() }).contains("physical_block_size=512"));
    assert!(bad(BlkConfig { opt_io_size: 100, ..d() }).contains("opt_io_size=100"));
}

#[test]
fn sizes_that_are_odd_or_zero() {
    for aio in EVERY_AIO {
        let file = image(1000);
        let mut d = Disk::new(disk(file.path(), &options(aio), BlkConfig::default()), false);
        assert_eq!(d.driver.config::<8>(0), 2u64.to_le_bytes());
        let (status, bytes) = d.read(0, 1024);
        assert_eq!((status, bytes[999], &bytes[1000..]), (0, 1, &[0; 24][..]));
        assert_eq!(d.write(1, &[5; 512]), 0);
        assert_eq!(file.as_file().metadata().unwrap().len(), 1024, "a write completes the last sector");
        assert_eq!(d.read(1, 512), (0, vec![5; 512]));
        let empty = image(0);
        let mut d = Disk::new(disk(empty.path(), &options(aio), BlkConfig::default()), false);
        assert_eq!(d.driver.config::<8>(0), [0; 8]);
        assert_eq!((d.read(0, 512).0, d.write(0, &[1; 512])), (1, 1));
        assert_eq!(empty.as_file().metadata().unwrap().len(), 0);
    }
}

#[test]
fn every_cache_mode_stores_what_is_written() {
    for cache in
        [CacheMode::Writeback, CacheMode::Writethrough, CacheMode::None, CacheMode::Directsync, CacheMode::Unsafe]
    {
        for aio in EVERY_AIO {
            let file = image(1 << 16);
            let o = BlockOptions { cache, ..options(aio) };
            let backend = match open_raw(file.path(), &o) {
                Err(BlockError::NoDirect { .. }) => continue, // this file system has no direct I/O
                other => other.unwrap(),
            };
            let config = BlkConfig { write_cache: cache.write_cache(), ..Default::default() };
            let mut d = Disk::new(Box::new(VirtioBlk::new("blk", backend, config).unwrap()), false);
            assert_eq!(d.write(8, &[0x77; 8192]), 0);
            assert_eq!(d.write(3, &[0x33; 512]), 0, "smaller than direct I/O may like");
            assert_eq!(d.range(13, 0, 2, 0), 0);
            assert_eq!(d.request(4, 0, 0, 0).0, 0);
            let (status, bytes) = d.read(0, 24 * 512);
            let expect: Vec<u8> = (0..24u8)
                .flat_map(|s| {
                    [if s < 2 {
                        0
                    } else if s == 3 {
                        0x33
                    } else if s < 8 {
                        s
                    } else {
                        0x77
                    }; 512]
                })
                .collect();
            assert!(status == 0 && bytes == expect, "{cache:?} {aio:?}");
            assert_eq!(std::fs::read(file.path()).unwrap()[..24 * 512], expect);
        }
    }
}

#[test]
fn snapshot_leaves_the_image_alone() {
    let file = image(300_000);
    let before = std::fs::read(file.path()).unwrap();
    let o = BlockOptions { snapshot: true, ..options(AioMode::Auto) };
    let mut d = Disk::new(disk(file.path(), &o, BlkConfig::default()), false);
    assert_eq!(d.write(100, &[0xee; 512]), 0);
    assert_eq!(d.range(13, 120, 300, 1), 0);
    let (status, bytes) = d.read(99, 512 * 400);
    assert_eq!((status, bytes[0], bytes[512], bytes[1024]), (0, 99, 0xee, 101));
    assert_eq!((bytes[20 * 512], bytes[21 * 512], bytes[320 * 512], bytes[321 * 512]), (119, 0, 0, 164));
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

#[test]
fn an_image_has_one_writer() {
    let file = image(4096);
    let first = open_raw(file.path(), &options(AioMode::Auto)).unwrap();
    let again = open_raw(file.path(), &options(AioMode::Auto)).err().expect("locked");
    assert!(matches!(again, BlockError::InUse { access: "write", .. }), "{again}");
    let unlocked = BlockOptions { locking: false, ..options(AioMode::Auto) };
    assert!(open_raw(file.path(), &unlocked).is_ok());
    drop(first);
    assert!(open_raw(file.path(), &options(AioMode::Auto)).is_ok());
}

#[test]
fn what_is_no_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let o = BlockOptions { read_only: true, ..Default::default() };
    assert!(matches!(open_raw(dir.path(), &o), Err(BlockError::NotAnImage { .. })));
    assert!(matches!(open_raw(&dir.path().join("none"), &o), Err(BlockError::Open { .. })));
}

#[test]
fn reset_under_load_waits_for_requests_and_starts_afresh() {
    for aio in EVERY_AIO {
        let file = image(8 << 20);
        let mut d = Disk::new(disk(file.path(), &options(aio), BlkConfig::default()), false);
        let (h, data) = (d.header, d.data);
        for round in 0..20u64 {
            d.driver.put(h, 0u32);
            for i in 0..60 {
                let header = h + 128 + 16 * i;
                d.driver.put(header, 0u32);
                d.driver.put(header + 8, i * 200 + round);
                d.driver.add(0, &[(header, 16, false), (data + 16384 * i, 16384, true), (h + 64, 1, true)]);
            }
            d.driver.kick(0);
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            d.driver.w(0x70, 0);
            assert_eq!((d.driver.r(0x70), d.driver.r(0x60)), (0, 0));
            assert!(!d.driver.pin.is_high());
            // Nothing may write to guest memory any more.
            d.driver.write_bytes(data, &vec![0x5a; 60 * 16384]);
            std::thread::sleep(std::time::Duration::from_millis(1));
            assert!(d.driver.bytes(data, 60 * 16384).iter().all(|&b| b == 0x5a));
            d.driver.negotiate(1, 0);
        }
        assert_eq!(d.read(5, 512), (0, vec![5; 512]));
    }
}

#[test]
fn more_requests_than_the_image_has_room_for() {
    for aio in EVERY_AIO {
        let file = image(1 << 20);
        let config = BlkConfig { queues: 3, queue_size: 1024, ..Default::default() };
        let mut driver = Driver::ready(disk(file.path(), &options(aio), config), false, 3, 0);
        driver.use_indirect.store(true, Ordering::Relaxed);
        let (headers, data) = (driver.alloc(900 * 32), driver.alloc(512));
        for i in 0..900u64 {
            driver.put(headers + 32 * i, 0u32);
            driver.put(headers + 32 * i + 8, i);
            let status = headers + 32 * i + 16;
            driver.put(status, 0xffu8);
            driver.add((i % 3) as usize, &[(headers + 32 * i, 16, false), (data, 512, true), (status, 1, true)]);
        }
        (0..3).for_each(|q| driver.kick(q));
        for i in 0..900 {
            driver.wait_used(i % 3);
        }
        assert!((0..900u64).all(|i| driver.get::<u8>(headers + 32 * i + 16) == 0));
    }
}

#[test]
fn a_paused_disk_goes_on_where_it_was() {
    let file = image(1 << 16);
    let disk = disk(file.path(), &options(AioMode::Auto), BlkConfig::default());
    // With the event index a driver that is quick enough asks for the next interrupt only.
    let mut d = Disk::without(disk, false, crate::virtio::device::feature::EVENT_IDX);
    assert_eq!(d.read(1, 512).0, 0);
    d.driver.dev.pause();
    let state = d.driver.dev.save().unwrap();
    assert_eq!(state.transport.queues[0].layout.next_used, 1);
    d.driver.dev.reset();
    assert_ne!(d.driver.dev.save().unwrap(), state);
    d.driver.dev.restore(&state);
    assert_eq!(d.driver.dev.save().unwrap(), state);
    assert!(!d.driver.pin.is_high(), "the wire's other end has a state of its own");
    *d.driver.pin.level.lock().unwrap() = true;
    d.driver.dev.resume();
    assert_eq!(d.read(2, 512), (0, vec![2; 512]));
}

/// The image changes its size while the disk stands still: the driver is told, once, and has all of it.
#[test]
fn a_disk_grows_and_shrinks() {
    for aio in EVERY_AIO {
        let file = image(1 << 20);
        let (backend, image) = open_image(file.path(), &options(aio)).unwrap();
        let disk = VirtioBlk::new("virtio-blk", backend, BlkConfig::default()).unwrap();
        let mut d = Disk::new(Box::new(disk), false);
        let told = |d: &mut Disk| (d.driver.r(0x60) & 2, u64::from_le_bytes(d.driver.config::<8>(0)));
        assert_eq!((told(&mut d), d.read(2048, 512).0), ((0, 2048), 1));
        for (sectors, status) in [(4096, 0), (1024, 1)] {
            d.driver.dev.pause();
            let before = d.driver.dev.save().unwrap();
            image.resize(sectors * 512).unwrap();
            d.driver.dev.resume();
            assert_eq!(told(&mut d), (2, sectors));
            assert_eq!((d.write(sectors - 1, &[5; 512]), d.write(sectors, &[5; 512])), (0, 1));
            assert_eq!(d.read(2048, 512).0, status);
            d.driver.w(0x64, 2);
            d.driver.dev.pause();
            d.driver.dev.resume();
            assert_eq!(told(&mut d), (0, sectors), "nothing new");
            // Who has not heard of it is told where it goes on, and the size is that of the image there.
            d.driver.dev.pause();
            d.driver.dev.restore(&before);
            d.driver.dev.resume();
            assert_eq!(told(&mut d), (2, sectors));
            d.driver.w(0x64, 2);
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), 1024 * 512);
        // A file that somebody else has changed, while the guest was elsewhere.
        d.driver.dev.pause();
        let state = d.driver.dev.save().unwrap();
        file.as_file().set_len(2048 * 512).unwrap();
        d.driver.dev.restore(&state);
        d.driver.dev.resume();
        assert_eq!((told(&mut d), d.read(2047, 512).0), ((2, 2048), 0));
    }
    let file = image(1 << 20);
    let (_, overlay) = open_image(file.path(), &BlockOptions { snapshot: true, ..options(AioMode::Auto) }).unwrap();
    assert!(overlay.resize(0).unwrap_err().to_string().contains("snapshot=on"));
    assert_eq!(file.as_file().metadata().unwrap().len(), 1 << 20);
}

#[test]
fn a_chain_without_header_or_status_stops_the_device() {
    for chain in [vec![(0x8010_0000, 15, false), (0x8010_1000, 513, true)], vec![(0x8010_0000, 16, false)]] {
        let file = image(4096);
        let mut d = Disk::new(disk(file.path(), &options(AioMode::Auto), BlkConfig::default()), false);
        d.driver.submit(0, &chain);
        d.driver.wait_needs_reset();
        assert_eq!(d.driver.r(0x60) & 2, 2, "told by a configuration interrupt");
        d.driver.negotiate(1, 0);
        assert_eq!(d.read(1, 512), (0, vec![1; 512]), "a reset mends it");
    }
}

/// An image in memory that waits when it is told to, and says which threads came.
#[derive(Default)]
struct Slow {
    waits: Arc<AtomicBool>,
    came: Arc<std::sync::Mutex<Vec<(std::thread::ThreadId, bool)>>>,
    submitted: Vec<u64>,
    event: Option<std::os::fd::OwnedFd>,
}

impl BlockBackend for Slow {
    fn len(&self) -> u64 {
        1 << 20
    }
    fn at_once(&mut self, op: Op, _: u64, data: &GuestBuffers, wait: Wait) -> bool {
        assert!(matches!(op, Op::Read) && !data.is_empty());
        self.came.lock().unwrap().push((std::thread::current().id(), wait == Wait::Never));
        !self.waits.load(Ordering::SeqCst)
    }
    fn room(&self) -> usize {
        16 - self.submitted.len()
    }
    fn submit(&mut self, request: Request) {
        self.submitted.push(request.token);
    }
    fn commit(&mut self) {}
    fn completions(&mut self, out: &mut Vec<Completion>) {
        out.extend(self.submitted.drain(..).map(|token| Completion { token, result: Ok(()) }));
    }
    fn drain(&mut self, out: &mut Vec<Completion>) {
        self.completions(out);
    }
    fn event_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.event.as_ref().unwrap())
    }
    fn kind(&self) -> &'static str {
        "slow"
    }
}

/// Who kicks is answered before it goes on; what would have to wait is the worker's.
#[test]
fn a_hart_is_answered_at_once_unless_it_would_have_to_wait() {
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    let backend = Slow { event: Some(event), ..Slow::default() };
    let (waits, came) = (Arc::clone(&backend.waits), Arc::clone(&backend.came));
    let device = VirtioBlk::new("virtio-blk", Box::new(backend), BlkConfig::default()).unwrap();
    let mut d = Disk::new(Box::new(device), false);
    let me = std::thread::current().id();
    let last = || std::mem::take(&mut *came.lock().unwrap());
    // The worker may be at its first look while the first requests come.
    let mut here = false;
    while !here {
        assert_eq!(d.read(0, 4096).0, 0);
        here = last() == [(me, true)];
    }
    waits.store(true, Ordering::SeqCst);
    assert_eq!(d.read(0, 4096).0, 0);
    let first = last();
    assert!(first.iter().all(|&(thread, never)| (thread == me) == never), "a hart never waits: {first:?}");
}
