//! A machine whose guest counts, with somebody at its monitors who sees whether it goes on counting.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use accel::select::{Choice, select};
use vmm::cli::{self, Command};
use vmm::config::MachineConfig;
use vmm::machine::{Ending, Machine};

/// Counts at [`COUNTER`] every 0.2 ms by the SBI's timer, and sleeps in between.
const KERNEL: [u32; 20] = [
    0x0100006f, // j       1f
    0x00000013, // nop
    0,          // counter
    0,          //
    0x00000397, // 1: auipc t2, 0
    0xff838393, // addi    t2, t2, counter - 1b
    0x02000293, // li      t0, STIE
    0x1042a073, // csrs    sie, t0
    0x0003b303, // 2: ld   t1, (t2)
    0x00130313, // addi    t1, t1, 1
    0x0063b023, // sd      t1, (t2)
    0xc0102573, // rdtime  a0
    0x7d000293, // li      t0, 2000
    0x00550533, // add     a0, a0, t0
    0x544958b7, // li      a7, "TIME"
    0xd458889b, //
    0x00000813, // li      a6, 0
    0x00000073, // ecall
    0x10500073, // wfi
    0xfd5ff06f, // j       2b
];
const COUNTER: u64 = 0x8020_0008;
const PROMPT: &str = "(vireo) ";
/// Only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a machine is that these options describe.
pub fn config(words: &[String]) -> MachineConfig {
    match cli::parse(words) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Runs a machine to its end on the translator.
pub fn run(words: &[String]) -> Result<Ending, String> {
    let engine = select(&[Choice::Tcg(Default::default())]).expect("the translator runs everywhere").engine;
    let machine = Machine::new(config(words), &*engine);
    machine.and_then(Machine::run).map_err(|error| vmm::error_chain(&error))
}

/// The options of a machine in `folder`, where its kernel and its sockets are.
pub fn words(folder: &Path, further: &[&str]) -> Vec<String> {
    let kernel = folder.join("kernel");
    let image: Vec<u8> = KERNEL.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&kernel, image).expect("the folder is writable");
    let at = |name: &str| format!("unix:{},server=on,wait=off", folder.join(name).display());
    let kernel = kernel.display().to_string();
    let snapshots = format!("virt,snapshots={}", folder.display());
    let side = at("side");
    let machine = ["-nodefaults", "-accel", "tcg", "-m", "6M", "-smp", "2", "-kernel", &kernel, "-M", &snapshots];
    let fixed = [&machine[..], &["-monitor", &side]].concat();
    let all = fixed.iter().chain(further).map(|word| (*word).to_owned());
    all.chain(["-monitor".into(), at("hmp"), "-qmp".into(), at("qmp"), "-gdb".into(), at("gdb")]).collect()
}

/// A machine that runs.
pub struct Guest {
    pub folder: PathBuf,
    thread: Option<JoinHandle<Result<Ending, String>>>,
    side: UnixStream,
}

fn connect(path: &Path) -> UnixStream {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{}: {error}", path.display()),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

impl Guest {
    /// The folder is its own.
    pub fn start(folder: &Path) -> Self {
        for name in ["side", "hmp", "qmp", "gdb"] {
            // What an earlier machine left.
            let _ = std::fs::remove_file(folder.join(name));
        }
        let words = words(folder, &[]);
        let thread = thread::Builder::new().name("machine".to_owned()).spawn(move || run(&words)).expect("a thread");
        let side = connect(&folder.join("side"));
        side.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut guest = Self { folder: folder.to_owned(), thread: Some(thread), side };
        let greeting = guest.answer();
        greeting.unwrap_or_else(|| panic!("the machine ended before it began: {:?}", guest.end()));
        guest
    }

    /// What comes up to the prompt; `None` if the machine has ended.
    fn answer(&mut self) -> Option<String> {
        let mut text = Vec::new();
        while !text.ends_with(PROMPT.as_bytes()) {
            let mut part = [0; 4096];
            match self.side.read(&mut part) {
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // A thread that has had to do with io_uring is interrupted for what the kernel has to finish in its name.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    panic!("the monitor does not answer: {error}; it said {}", String::from_utf8_lossy(&text))
                }
                Ok(n) => text.extend(&part[..n]),
            }
        }
        Some(String::from_utf8_lossy(&text).replace("\r\n", "\n"))
    }

    /// The answer to a command of the other monitor, without echo and prompt.
    pub fn ask(&mut self, command: &str) -> Option<String> {
        writeln!(self.side, "{command}").ok()?;
        let answer = self.answer()?;
        let answer = answer.split_once('\n').map_or("", |(_, answer)| answer);
        Some(answer.trim_end_matches(PROMPT).to_owned())
    }

    fn count(&mut self) -> Option<u64> {
        let shown = self.ask(&format!("xp/1xg {COUNTER:#x}"))?;
        let digits = shown.trim().rsplit_once("0x").unwrap_or_else(|| panic!("no counter: {shown}")).1;
        Some(u64::from_str_radix(digits, 16).expect("a number"))
    }

    /// Has the guest go on if it was stopped, and waits until it counts; `false` if the machine has ended.
    pub fn counts(&mut self) -> bool {
        let start = Instant::now();
        let Some(first) = self.ask("cont").and_then(|_| self.count()) else { return false };
        loop {
            match self.count() {
                None => return false,
                Some(now) if now != first => return true,
                Some(_) => {}
            }
            // It may have been stopped again by what was asked for before.
            assert!(start.elapsed() < PATIENCE, "the guest does not count any more: {:?}", self.ask("info registers"));
            self.ask("cont");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Sends bytes to a socket, then `last` as often as `times` says, which has `until` be said; all that was said, or
    /// `None` if the machine has ended meanwhile.
    pub fn converse(&mut self, socket: &str, input: &[u8], last: &[u8], until: &str) -> Option<Vec<u8>> {
        let mut stream = connect(&self.folder.join(socket));
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut read = stream.try_clone().expect("a descriptor");
        let until = until.as_bytes().to_vec();
        let reader = thread::spawn(move || {
            let (mut all, mut part) = (Vec::new(), [0; 65536]);
            loop {
                match read.read(&mut part) {
                    Ok(0) => return (all, false),
                    Ok(n) => all.extend(&part[..n]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return (all, false),
                    Err(_) => return (all, false),
                }
                let from = all.len().saturating_sub(part.len() + until.len());
                if all[from..].windows(until.len()).any(|w| w == until) {
                    return (all, true);
                }
            }
        });
        // Fails where the input ends the machine.
        let _ = stream.write_all(input).and_then(|()| stream.write_all(last));
        let (all, found) = reader.join().expect("a reader");
        if found {
            return Some(all);
        }
        assert!(self.ask("info status").is_none(), "no last answer, and the machine goes on");
        None
    }

    /// How the machine has ended, or ends now.
    pub fn end(&mut self) -> Result<Ending, String> {
        let _ = writeln!(self.side, "quit");
        self.thread.take().expect("it ends once").join().expect("the machine's thread does not panic")
    }

    /// Another machine in the place of one that has ended as somebody asked for.
    pub fn again(&mut self) {
        let ending = self.end();
        assert!(matches!(ending, Ok(Ending::Code(0))), "{ending:?}");
        *self = Self::start(&self.folder.clone());
    }

    /// What a machine leaves in a file that it is moved to.
    pub fn saved(folder: &Path, mapped: bool) -> Vec<u8> {
        let mut guest = Self::start(folder);
        assert!(guest.counts(), "the machine ended: {:?}", guest.end());
        let path = folder.join("saved");
        if mapped {
            guest.ask("migrate_set_capability mapped-ram on");
        }
        let answer = guest.ask(&format!("migrate file:{}", path.display()));
        let answer = answer.unwrap_or_else(|| panic!("the machine ended: {:?}", guest.end()));
        assert!(answer.contains("completed"), "{answer}");
        std::fs::read(path).expect("it was saved")
    }
}

/// Somebody at the monitor of a machine that waits for a guest.
pub struct Visitor(UnixStream);

impl Visitor {
    /// Connects if the machine is there long enough.
    pub fn at(path: &Path, machine: &JoinHandle<Result<Ending, String>>) -> Option<Self> {
        loop {
            if let Ok(stream) = UnixStream::connect(path) {
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                return Some(Self(stream));
            }
            if machine.is_finished() {
                return None;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Ends the machine once its guest is there; one that gets none ends by itself.
    pub fn quit_when_it_is_here(mut self) {
        let mut said = String::new();
        while said.rsplit_once("VM status").is_none_or(|(_, last)| last.contains("inmigrate")) {
            let mut part = [0; 4096];
            let asked = self.0.write_all(b"info status\n");
            match asked.and_then(|()| self.0.read(&mut part)) {
                Ok(0) | Err(_) => return,
                Ok(n) => said.push_str(&String::from_utf8_lossy(&part[..n])),
            }
            thread::sleep(Duration::from_micros(200));
        }
        let _ = self.0.write_all(b"quit\n");
        while matches!(self.0.read(&mut [0; 4096]), Ok(1..)) {}
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = writeln!(self.side, "quit");
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}
