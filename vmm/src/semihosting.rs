//! RISC-V Semihosting: what a bare program asks of the host by a marked breakpoint. The operations and their parameter
//! blocks are those of Arm's "Semihosting for AArch32 and AArch64" with doublewords, which the RISC-V document takes over.
//!
//! A program prints, reads a console, asks for times and its command line, and ends with an exit code. There are no
//! files but the console `:tt` and the list of features: a guest cannot reach the host's files, and what would touch
//! them or run the host's programs answers -1.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use accel::semihost::{Answer, CallerMemory, Semihosting};
use devices::chardev::Endpoint;
use devices::misc::MachineControl;

const FAILED: u64 = u64::MAX;
const EOF: u64 = u64::MAX;

const ENOENT: u64 = 2;
const EBADF: u64 = 9;
const EACCES: u64 = 13;
const EFAULT: u64 = 14;
const ENOSYS: u64 = 38;

/// Reasons of `SYS_EXIT`: the program ended by itself. Others are failures.
const APPLICATION_EXIT: u64 = 0x2_0026;

/// The file that names what else there is: `SYS_EXIT_EXTENDED`, and standard error as a file of its own.
const FEATURES_NAME: &[u8] = b":semihosting-features";
const FEATURES: &[u8] = b"SHFB\x03";
const CONSOLE_NAME: &[u8] = b":tt";

/// A longer name is no file's, and strings are printed in such parts.
const PART: usize = 256;
/// The most bytes that one `SYS_READ` or `SYS_WRITE` moves; both may do less than they are asked.
const MOVE_MAX: u64 = 1 << 16;
/// Files that are open at a time.
const FILES_MAX: usize = 64;
/// What a hart waits before it asks again for input, or for room for output.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Input,
    Output,
    /// How much of the features has been read.
    Features(usize),
}

#[derive(Default)]
struct State {
    /// By handle less one: zero is no handle.
    files: Vec<Option<File>>,
    errno: u64,
    /// A string of which some has been printed: where it begins, and how much.
    printing: Option<(u64, u64)>,
}

/// The host's side of the calls.
pub struct Host {
    userspace: bool,
    command_line: Vec<u8>,
    /// `None`: output goes to standard error, and there is no input.
    console: Option<Endpoint>,
    machine: Arc<dyn MachineControl>,
    start: Instant,
    state: Mutex<State>,
}

impl Host {
    pub fn new(
        userspace: bool,
        command_line: String,
        console: Option<Endpoint>,
        machine: Arc<dyn MachineControl>,
    ) -> Self {
        let command_line = command_line.into_bytes();
        Self { userspace, command_line, console, machine, start: Instant::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints; returns how many bytes were taken.
    fn print(&self, bytes: &[u8]) -> usize {
        match &self.console {
            Some(console) => console.write(bytes),
            None => {
                // Nobody can be told that standard error is gone.
                let _ = std::io::stderr().write_all(bytes);
                bytes.len()
            }
        }
    }

    fn fail(&self, errno: u64) -> u64 {
        self.state().errno = errno;
        FAILED
    }

    fn file(&self, handle: u64) -> Option<File> {
        let index = usize::try_from(handle).ok()?.checked_sub(1)?;
        self.state().files.get(index).copied().flatten()
    }

    /// `name`, mode, length of the name.
    fn open(&self, memory: &mut dyn CallerMemory, [name, mode, len]: [u64; 3]) -> u64 {
        let mut text = vec![0; len.min(PART as u64) as usize];
        if !memory.read(name, &mut text) {
            return self.fail(EFAULT);
        }
        let file = match &text[..] {
            // Modes 0 to 3 are for reading, 4 to 11 for writing.
            CONSOLE_NAME if mode < 4 => File::Input,
            CONSOLE_NAME => File::Output,
            FEATURES_NAME if mode < 4 => File::Features(0),
            _ => return self.fail(if mode < 4 { ENOENT } else { EACCES }),
        };
        let files = &mut self.state().files;
        let free = files.iter().position(Option::is_none).unwrap_or(files.len());
        if free == FILES_MAX {
            return FAILED;
        }
        files.resize(files.len().max(free + 1), None);
        files[free] = Some(file);
        free as u64 + 1
    }

    fn close(&self, handle: u64) -> u64 {
        if self.file(handle).is_none() {
            return self.fail(EBADF);
        }
        self.state().files[handle as usize - 1] = None;
        0
    }

    /// Handle, address, length; answers how many bytes were not written.
    fn write(&self, memory: &mut dyn CallerMemory, [handle, at, len]: [u64; 3]) -> Answer {
        let mut bytes = vec![0; len.min(MOVE_MAX) as usize];
        match self.file(handle) {
            Some(File::Output) if !memory.read(at, &mut bytes) => return Answer::Done(self.fail(EFAULT)),
            Some(File::Output) => {}
            _ => return Answer::Done(self.fail(EBADF)),
        }
        match self.print(&bytes) {
            0 if len > 0 => wait(),
            taken => Answer::Done(len - taken as u64),
        }
    }

    /// Handle, address, length; answers how many bytes were not read.
    fn read(&self, memory: &mut dyn CallerMemory, [handle, at, len]: [u64; 3]) -> Answer {
        let mut bytes = vec![0; len.min(MOVE_MAX) as usize];
        let n = match (self.file(handle), &self.console) {
            (Some(File::Features(seen)), _) => {
                let n = bytes.len().min(FEATURES.len() - seen);
                bytes[..n].copy_from_slice(&FEATURES[seen..seen + n]);
                self.state().files[handle as usize - 1] = Some(File::Features(seen + n));
                n
            }
            (Some(File::Input), None) => 0,
            (Some(File::Input), Some(console)) => match console.read(&mut bytes) {
                0 if len > 0 => return wait(),
                n => n,
            },
            _ => return Answer::Done(self.fail(EBADF)),
        };
        match memory.write(at, &bytes[..n]) {
            true => Answer::Done(len - n as u64),
            false => Answer::Done(self.fail(EFAULT)),
        }
    }

    fn read_character(&self) -> Answer {
        let Some(console) = &self.console else { return Answer::Done(EOF) };
        let mut byte = [0];
        if console.read(&mut byte) == 1 { Answer::Done(u64::from(byte[0])) } else { wait() }
    }

    fn write_character(&self, memory: &mut dyn CallerMemory, at: u64) -> Answer {
        let mut byte = [0];
        if memory.read(at, &mut byte) && self.print(&byte) == 0 {
            return wait();
        }
        Answer::Done(0)
    }

    /// Prints the string at `at` up to its zero, a part a call.
    fn write_string(&self, memory: &mut dyn CallerMemory, at: u64) -> Answer {
        let before = self.state().printing.take().filter(|(string, _)| *string == at).map_or(0, |(_, done)| done);
        let from = at.wrapping_add(before);
        let mut part = Vec::new();
        let mut byte = [0];
        while part.len() < PART && memory.read(from.wrapping_add(part.len() as u64), &mut byte) && byte[0] != 0 {
            part.push(byte[0]);
        }
        let taken = self.print(&part);
        if taken == part.len() && taken < PART {
            return Answer::Done(0);
        }
        self.state().printing = Some((at, before + taken as u64));
        if taken > 0 { Answer::Again } else { wait() }
    }

    fn seek(&self, [handle, at]: [u64; 2]) -> u64 {
        match self.file(handle) {
            Some(File::Features(_)) if at <= FEATURES.len() as u64 => {
                self.state().files[handle as usize - 1] = Some(File::Features(at as usize));
                0
            }
            _ => self.fail(EBADF),
        }
    }

    /// Address and size of a buffer; the length goes where the size was.
    fn command_line(&self, memory: &mut dyn CallerMemory, block: u64, [at, size]: [u64; 2]) -> u64 {
        let mut line = self.command_line.clone();
        let len = line.len() as u64;
        line.push(0);
        let fits = line.len() as u64 <= size;
        let done = fits && memory.write(at, &line) && memory.write(block.wrapping_add(8), &len.to_le_bytes());
        if done { 0 } else { FAILED }
    }

    fn exit(&self, [reason, code]: [u64; 2]) -> u64 {
        // Exit codes have fewer bits; a failure must not become a success.
        let low = code as u8;
        let code = if low == 0 && code != 0 { 1 } else { u16::from(low) };
        self.machine.poweroff(if reason == APPLICATION_EXIT { code } else { 1 });
        0
    }

    fn nanoseconds(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// The hart asks again in a moment.
fn wait() -> Answer {
    std::thread::sleep(PAUSE);
    Answer::Again
}

/// The doublewords of a parameter block.
fn block<const N: usize>(memory: &mut dyn CallerMemory, at: u64) -> Option<[u64; N]> {
    let mut words = [0; N];
    for (i, word) in (0..).zip(&mut words) {
        let mut bytes = [0; 8];
        if !memory.read(at.wrapping_add(8 * i), &mut bytes) {
            return None;
        }
        *word = u64::from_le_bytes(bytes);
    }
    Some(words)
}

impl Semihosting for Host {
    fn userspace(&self) -> bool {
        self.userspace
    }

    fn call(&self, operation: u64, parameter: u64, m: &mut dyn CallerMemory) -> Answer {
        let done = match operation {
            0x01 => block(m, parameter).map(|b| self.open(m, b)),
            0x02 => block(m, parameter).map(|[handle]| self.close(handle)),
            0x03 => return self.write_character(m, parameter),
            0x04 => return self.write_string(m, parameter),
            0x05 | 0x06 => match block(m, parameter) {
                Some(b) if operation == 0x05 => return self.write(m, b),
                Some(b) => return self.read(m, b),
                None => None,
            },
            0x07 => return self.read_character(),
            // SYS_ISERROR.
            0x08 => block(m, parameter).map(|[status]| u64::from((status as i64) < 0)),
            // SYS_ISTTY.
            0x09 => block(m, parameter).map(|[handle]| match self.file(handle) {
                Some(File::Input | File::Output) => 1,
                Some(File::Features(_)) => 0,
                None => self.fail(EBADF),
            }),
            0x0a => block(m, parameter).map(|b| self.seek(b)),
            // SYS_FLEN.
            0x0c => block(m, parameter).map(|[handle]| match self.file(handle) {
                Some(File::Features(_)) => FEATURES.len() as u64,
                Some(_) => 0,
                None => self.fail(EBADF),
            }),
            // SYS_CLOCK, in hundredths of a second.
            0x10 => Some(self.nanoseconds() / 10_000_000),
            // SYS_TIME.
            0x11 => Some(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())),
            // SYS_ERRNO.
            0x13 => Some(self.state().errno),
            0x15 => block(m, parameter).map(|b| self.command_line(m, parameter, b)),
            // SYS_HEAPINFO: zeros leave heap and stack to the program.
            0x16 => block(m, parameter).map(|[at]| if m.write(at, &[0; 32]) { 0 } else { FAILED }),
            // SYS_EXIT and SYS_EXIT_EXTENDED are the same where words have 64 bits.
            0x18 | 0x20 => block(m, parameter).map(|b| self.exit(b)),
            // SYS_ELAPSED and SYS_TICKFREQ.
            0x30 => Some(if m.write(parameter, &self.nanoseconds().to_le_bytes()) { 0 } else { FAILED }),
            0x31 => Some(1_000_000_000),
            // SYS_REMOVE, SYS_RENAME.
            0x0e | 0x0f => Some(self.fail(EACCES)),
            _ => {
                tracing::debug!("semihosting: there is no operation {operation:#x}");
                Some(self.fail(ENOSYS))
            }
        };
        Answer::Done(done.unwrap_or_else(|| self.fail(EFAULT)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use devices::chardev::{BackendConfig, Chardev, ChardevConfig};

    use super::*;

    #[derive(Default)]
    struct Ends(AtomicU64);

    impl MachineControl for Ends {
        fn poweroff(&self, code: u16) {
            self.0.store(u64::from(code) + 1, Ordering::SeqCst);
        }

        fn reset(&self) {}
    }

    /// 4 KiB from address 0.
    struct Page(Vec<u8>);

    impl CallerMemory for Page {
        fn read(&mut self, va: u64, data: &mut [u8]) -> bool {
            let part = self.0.get(va as usize..va.wrapping_add(data.len() as u64) as usize);
            part.map(|part| data.copy_from_slice(part)).is_some()
        }

        fn write(&mut self, va: u64, data: &[u8]) -> bool {
            let part = self.0.get_mut(va as usize..va.wrapping_add(data.len() as u64) as usize);
            part.map(|part| part.copy_from_slice(data)).is_some()
        }
    }

    struct Bench {
        host: Host,
        ends: Arc<Ends>,
        console: Arc<Chardev>,
        page: Page,
    }

    impl Bench {
        fn new() -> Self {
            let ends = Arc::new(Ends::default());
            let ring = BackendConfig::RingBuf { size: 4096 };
            let console = Chardev::open(&ChardevConfig::new("c", ring)).unwrap();
            let endpoint = console.endpoint().unwrap();
            let host = Host::new(false, "prog one two".into(), Some(endpoint), Arc::clone(&ends) as _);
            Self { host, ends, console, page: Page(vec![0; 4096]) }
        }

        fn call(&mut self, operation: u64, words: &[u64]) -> u64 {
            (0..).zip(words).for_each(|(i, w)| assert!(self.page.write(8 * i, &w.to_le_bytes())));
            self.at(operation, 0)
        }

        fn at(&mut self, operation: u64, parameter: u64) -> u64 {
            loop {
                if let Answer::Done(v) = self.host.call(operation, parameter, &mut self.page) {
                    return v;
                }
            }
        }

        fn text(&mut self, at: u64, text: &[u8]) {
            assert!(self.page.write(at, text));
        }

        fn printed(&self) -> String {
            self.console.service();
            String::from_utf8(self.console.read_ring(4096)).unwrap()
        }
    }

    #[test]
    fn a_program_ends_with_its_code_or_as_a_failure() {
        for (reason, code, want) in
            [(APPLICATION_EXIT, 0, 0), (APPLICATION_EXIT, 7, 7), (APPLICATION_EXIT, 256, 1), (0x2_0023, 0, 1)]
        {
            for operation in [0x18, 0x20] {
                let mut b = Bench::new();
                b.call(operation, &[reason, code]);
                assert_eq!(b.ends.0.load(Ordering::SeqCst), want + 1, "{reason:#x} {code}");
            }
        }
    }

    #[test]
    fn a_program_prints() {
        let mut b = Bench::new();
        b.text(100, b"x");
        assert_eq!(b.at(0x03, 100), 0);
        let long = "0123456789".repeat(60);
        b.text(200, long.as_bytes());
        assert_eq!(b.at(0x04, 200), 0);
        b.text(1000, b":tt");
        let handle = b.call(0x01, &[1000, 4, 3]);
        b.text(1100, b"end");
        assert_eq!(b.call(0x05, &[handle, 1100, 3]), 0);
        assert_eq!(b.call(0x09, &[handle]), 1);
        assert_eq!(b.printed(), format!("x{long}end"));
        // An address that is not there is an error, not a crash; so is a handle that was closed.
        assert_eq!(b.call(0x05, &[handle, u64::MAX - 1, 3]), FAILED);
        assert_eq!(b.at(0x13, 0), EFAULT);
        assert_eq!(b.call(0x02, &[handle]), 0);
        assert_eq!(b.call(0x05, &[handle, 1100, 3]), FAILED);
        assert_eq!(b.at(0x01, u64::MAX - 3), FAILED);
    }

    #[test]
    fn there_are_no_files_but_the_console_and_the_features() {
        let mut b = Bench::new();
        b.text(1000, b"/etc/passwd");
        assert_eq!(b.call(0x01, &[1000, 0, 11]), FAILED);
        assert_eq!(b.at(0x13, 0), ENOENT);
        assert_eq!(b.call(0x01, &[1000, 4, 11]), FAILED);
        assert_eq!(b.at(0x13, 0), EACCES);
        b.text(1000, FEATURES_NAME);
        let handle = b.call(0x01, &[1000, 0, FEATURES_NAME.len() as u64]);
        assert_eq!(b.call(0x0c, &[handle]), 5);
        assert_eq!(b.call(0x06, &[handle, 1200, 8]), 3);
        assert_eq!(&b.page.0[1200..1205], FEATURES);
        assert_eq!(b.call(0x06, &[handle, 1200, 8]), 8);
        assert_eq!(b.call(0x12, &[1000, 1]), FAILED);
        // No program has more of them open than there is room for.
        let opened: Vec<_> = (0..100).map(|_| b.call(0x01, &[1000, 0, FEATURES_NAME.len() as u64])).collect();
        assert_eq!(opened.iter().filter(|h| **h == FAILED).count(), 100 - (FILES_MAX - 1));
    }

    #[test]
    fn a_program_gets_its_command_line_and_times() {
        let mut b = Bench::new();
        assert_eq!(b.call(0x15, &[1000, 13]), 0);
        assert_eq!(&b.page.0[1000..1013], b"prog one two\0");
        assert_eq!(b.page.0[8], 12);
        assert_eq!(b.call(0x15, &[1000, 12]), FAILED);
        assert_eq!(b.at(0x31, 0), 1_000_000_000);
        assert_eq!(b.at(0x30, 64), 0);
        assert_ne!(b.page.0[64..72], [0; 8]);
        assert!(b.at(0x11, 0) > 1_600_000_000);
    }
}
