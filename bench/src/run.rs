//! One process of an engine: started, listened to, timed, and ended.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::BenchError;
use crate::cpu_clock::CpuClock;
use crate::engine::{Board, Engine, Family};
use crate::protocol::{self, GuestInfo, Name, Record};

/// How often Ctrl-C is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Lines of the console that an error shows.
const SHOWN: usize = 6;

/// What a run gave.
#[derive(Debug, Default)]
pub struct Outcome {
    pub guest: Option<GuestInfo>,
    pub rounds: Vec<Round>,
    /// By name: unit, axis, what it does.
    pub descriptions: Vec<(Name, [String; 3])>,
    pub skipped: Vec<(Name, String)>,
    /// Rounds whose lines came too late to be timed: this side did not get a processor in time.
    pub missed: Vec<Name>,
    /// A wrong result, or the guest's own word that it cannot.
    pub failed: Vec<(Name, String)>,
    pub notes: Vec<String>,
    /// From the start of the process to its first instruction and to its first line.
    pub to_boot: Option<Duration>,
    pub to_guest: Option<Duration>,
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_rss_kib: u64,
    pub exits: BTreeMap<String, u64>,
    /// Why the run came to no good end. What was measured before stands.
    pub broken: Option<String>,
    pub command: Vec<String>,
}

impl Outcome {
    /// Whether it says anything of a benchmark, or should have.
    pub fn says_something(&self) -> bool {
        let named = [self.rounds.len(), self.skipped.len(), self.missed.len(), self.failed.len()];
        self.broken.is_some() || named.iter().any(|n| *n > 0)
    }
}

/// A timed round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    pub name: Name,
    pub n: u64,
    /// Units of this round and of those before it.
    pub total: u64,
    pub host: Duration,
    /// Of all the process's threads meanwhile, where the host says.
    pub cpu: Option<Duration>,
    pub guest_ticks: u64,
}

/// A line of the console with the moments when its first and its last byte came.
struct Line {
    begin: Instant,
    end: Instant,
    /// CPU time of the process when its last byte came.
    cpu: Option<Duration>,
    text: String,
}

/// Reads the console; a thread's body. The clock is read behind every read, so a line's times are those of the chunks
/// that its ends came in.
fn listen(mut console: impl Read, clock: Option<CpuClock>, lines: &Sender<Line>) {
    // Whoever is late here measures wrong. Only the superuser may do this, and nothing depends on it.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -10);
    let mut chunk = [0; 4096];
    let (mut text, mut begin) = (Vec::new(), None);
    while let Ok(count @ 1..) = console.read(&mut chunk) {
        let now = Instant::now();
        let cpu = clock.and_then(CpuClock::now);
        for &byte in &chunk[..count] {
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&text).trim_end_matches('\r').to_owned();
                let line = Line { begin: begin.take().unwrap_or(now), end: now, cpu, text: line };
                text.clear();
                if lines.send(line).is_err() {
                    return;
                }
            } else {
                begin.get_or_insert(now);
                // A guest that never ends its line costs no memory without bound.
                if text.len() < 4096 {
                    text.push(byte);
                }
            }
        }
    }
}

/// What a process writes to its standard error.
struct Errors {
    text: Arc<Mutex<Vec<u8>>>,
    /// Closed at the end.
    ended: Receiver<()>,
}

impl Errors {
    fn of(mut stderr: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let (sender, ended) = channel();
        let all = Arc::clone(&text);
        std::thread::spawn(move || {
            let _ended = sender;
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk) {
                let mut text = all.lock().unwrap_or_else(PoisonError::into_inner);
                // Enough for any reason; the rest is read and dropped, so that the process does not wait.
                let room = 65536usize.saturating_sub(text.len());
                text.extend_from_slice(&chunk[..count.min(room)]);
            }
        });
        Self { text, ended }
    }

    /// All of it, when the process is gone. Processes that it left behind may hold it open: nobody waits for those.
    fn text(&self) -> String {
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// A process that ends with its owner, until it was waited for.
struct Running(Option<Child>);

impl Running {
    /// Whether it ends of itself before `give_up`, which is asked every now and then.
    fn ends_before(&mut self, mut give_up: impl FnMut() -> bool) -> bool {
        let Some(pid) = self.0.as_ref().and_then(|child| Pid::from_raw(child.id().cast_signed())) else { return true };
        let ended = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT);
        // A failure is reported by who waits for it.
        while matches!(ended(), Ok(None)) {
            if give_up() {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Waits for the end, which `kill` brings about, and what the process used.
    fn wait(mut self, kill: bool) -> std::io::Result<Ended> {
        let mut child = self.0.take().expect("only this takes it");
        if kill {
            let _ = child.kill();
        }
        // `Child` would not say what was used.
        let ended = wait(child.id());
        // The process is gone: this only fails, and says that nobody else will wait.
        let _ = child.wait();
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a run is besides its board.
pub struct Job<'a> {
    pub engine: &'a Engine,
    pub board: &'a Board,
    /// Host CPUs of the vCPU threads, by hart; empty: wherever the host puts them.
    pub pin: &'a [u32],
    /// For files of the run.
    pub scratch: &'a Path,
    /// A guest that says nothing for so long hangs.
    pub silence: Duration,
    /// Set when the user has had enough.
    pub stop: &'a AtomicBool,
    /// Called with the name of each benchmark when it begins.
    pub watch: &'a dyn Fn(&str),
}

/// Runs the guest once. `None`: stopped by the user, and nothing of it counts.
pub fn run(job: &Job) -> Result<Option<Outcome>, BenchError> {
    let (mut command, log) = prepare(job);
    let started = Instant::now();
    let mut child =
        command.spawn().map_err(|source| BenchError::Program { path: job.engine.program.clone(), source })?;
    let (sender, lines) = channel();
    let console = child.stdout.take().expect("it is piped");
    // Ends with the console, or, if another process holds that open, with the next line after `lines` is gone.
    let clock = CpuClock::of(child.id());
    std::thread::spawn(move || listen(console, clock, &sender));
    let errors = Errors::of(child.stderr.take().expect("it is piped"));
    let pid = child.id();
    let mut child = Running(Some(child));

    let command_line = job.engine.command_line(job.board).iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let mut outcome = Outcome { command: command_line, ..Outcome::default() };
    let mut follower = Follower { job, started, open: None, tail: Vec::new(), done: false, pid };
    let mut heard = follower.follow(&lines, &mut outcome);
    let closed = Instant::now();
    let over = || job.stop.load(Ordering::SeqCst) || closed.elapsed() >= job.silence;
    if heard == Heard::End && !child.ends_before(over) {
        outcome.broken = Some(format!("closed its console and did not end within {} s", job.silence.as_secs()));
        heard = if job.stop.load(Ordering::SeqCst) { Heard::Stopped } else { Heard::Silence };
    }
    if heard == Heard::Stopped {
        return Ok(None);
    }
    let ended = child.wait(heard == Heard::Silence);
    outcome.wall = started.elapsed();
    let errors = errors.text();
    // Ctrl-C on a terminal reaches the process, too, and it may have ended of it before this side looked.
    let whole = follower.done && outcome.broken.is_none();
    if job.stop.load(Ordering::SeqCst) && !whole {
        return Ok(None);
    }
    match ended {
        Ok(ended) => {
            (outcome.cpu, outcome.peak_rss_kib) = (ended.cpu, ended.peak_rss_kib);
            if outcome.broken.is_none() && !follower.done {
                outcome.broken = Some(why(&format!("ended with {}", ended.status), &errors, &follower.tail));
            }
        }
        Err(source) => return Err(BenchError::Host { doing: "wait for a process", source }),
    }
    if let Some(broken) = &mut outcome.broken
        && heard == Heard::Silence
    {
        *broken = why(broken, &errors, &follower.tail);
    }
    if let Some(log) = log {
        outcome.exits = exits(&std::fs::read_to_string(log).unwrap_or_default());
    }
    Ok(Some(outcome))
}

fn prepare(job: &Job) -> (Command, Option<PathBuf>) {
    let words = job.engine.command_line(job.board);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let log = (job.engine.family == Family::Vireo).then(|| job.scratch.join("stats"));
    if let Some(log) = &log {
        command.args(["-d", "stats", "-D"]).arg(log);
    }
    (command, log)
}

/// What happened, what the process said last, and what the guest said last.
fn why(what: &str, errors: &str, tail: &[String]) -> String {
    let mut text = what.to_owned();
    let errors: Vec<_> = errors.lines().rev().take(3).collect();
    for line in errors.into_iter().rev() {
        text += &format!("; {line}");
    }
    if !tail.is_empty() {
        text += &format!("; its console ends with: {}", tail.join(" | "));
    }
    text
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The console was closed.
    End,
    Silence,
    Stopped,
}

/// Follows what the guest says.
struct Follower<'a> {
    job: &'a Job<'a>,
    started: Instant,
    /// The round that is under way, with its begin and the CPU time then.
    open: Option<(Name, Instant, Option<Duration>)>,
    /// The last lines that were no records.
    tail: Vec<String>,
    done: bool,
    pid: u32,
}

impl Follower<'_> {
    fn follow(&mut self, lines: &Receiver<Line>, outcome: &mut Outcome) -> Heard {
        let mut last = Instant::now();
        loop {
            if self.job.stop.load(Ordering::SeqCst) {
                return Heard::Stopped;
            }
            match lines.recv_timeout(LOOK) {
                Ok(line) => {
                    last = Instant::now();
                    self.take(line, outcome);
                }
                Err(RecvTimeoutError::Disconnected) => return Heard::End,
                Err(RecvTimeoutError::Timeout) if last.elapsed() >= self.job.silence => {
                    let during = self.open.as_ref().map(|(name, ..)| format!(" in {name}")).unwrap_or_default();
                    outcome.broken = Some(format!("said nothing for {} s{during}", self.job.silence.as_secs()));
                    return Heard::Silence;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, line: Line, outcome: &mut Outcome) {
        let record = match protocol::parse(&line.text) {
            None => {
                if self.tail.len() == SHOWN {
                    self.tail.remove(0);
                }
                if !line.text.is_empty() {
                    self.tail.push(line.text);
                }
                return;
            }
            Some(Err(why)) => {
                outcome.broken.get_or_insert(why);
                return;
            }
            Some(Ok(record)) => record,
        };
        match record {
            Record::Boot => outcome.to_boot = Some(line.begin - self.started),
            Record::Guest(guest) => {
                outcome.to_guest = Some(line.begin - self.started);
                outcome.guest = Some(guest);
                if let Err(why) = pin(self.pid, self.job.pin) {
                    outcome.broken.get_or_insert(why);
                }
            }
            Record::Bench { name, unit, axis, what } => outcome.descriptions.push((name, [unit, axis, what])),
            Record::Begin(name) => {
                (self.job.watch)(&name.to_string());
                self.open = Some((name, line.end, line.cpu));
            }
            Record::End { name, n, total, ticks, wrong } => match self.open.take() {
                _ if wrong.is_some() => outcome.failed.push((name, wrong.unwrap_or_default())),
                Some((begun, at, used)) if begun == name => {
                    let host = line.begin - at;
                    let cpu = line.cpu.zip(used).map(|(now, then)| now.saturating_sub(then));
                    let timebase = outcome.guest.as_ref().map_or(1, |g| g.timebase);
                    // A clock that ran backwards tells any number.
                    let guest = Duration::try_from_secs_f64(ticks as f64 / timebase as f64).unwrap_or(Duration::MAX);
                    match host * 2 < guest {
                        true => outcome.missed.push(name),
                        false => outcome.rounds.push(Round { name, n, total, host, cpu, guest_ticks: ticks }),
                    }
                }
                _ => {
                    outcome.broken.get_or_insert(format!("the guest ended {name}, which it had not begun"));
                }
            },
            Record::Skip { name, reason } => outcome.skipped.push((name, reason)),
            Record::Fail { name, reason } => outcome.failed.push((name, reason)),
            Record::Note(note) => outcome.notes.push(note),
            Record::Done => self.done = true,
        }
    }
}

/// Puts the thread of each vCPU on its CPU of the host: hart `i` on `cpus[i]`. Threads are told by their names, `vcpu0` of
/// vireo and `CPU 0/TCG` or `CPU 0/KVM` of QEMU.
fn pin(pid: u32, cpus: &[u32]) -> Result<(), String> {
    if cpus.is_empty() {
        return Ok(());
    }
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|e| format!("cannot list its threads: {e}"))?;
    let mut pinned = 0;
    for task in tasks.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let hart = name.trim().strip_prefix("vcpu").or_else(|| name.trim().strip_prefix("CPU ")?.split('/').next());
        let Some(hart) = hart.and_then(|h| h.parse::<usize>().ok()) else { continue };
        let Some(tid) = task.file_name().to_str().and_then(|t| rustix::process::Pid::from_raw(t.parse().ok()?)) else {
            continue;
        };
        let Some(&cpu) = cpus.get(hart) else { return Err(format!("there is no CPU for the thread of hart {hart}")) };
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu as usize);
        rustix::thread::sched_setaffinity(Some(tid), &set)
            .map_err(|e| format!("cannot put the thread of hart {hart} on CPU {cpu}: {e}"))?;
        pinned += 1;
    }
    if pinned == 0 { Err("none of its threads is a vCPU's".to_owned()) } else { Ok(()) }
}

struct Ended {
    status: ExitStatus,
    cpu: Duration,
    peak_rss_kib: u64,
}

/// Waits for the process, with what it used.
fn wait(pid: u32) -> std::io::Result<Ended> {
    use std::os::unix::process::ExitStatusExt;
    let pid = pid.cast_signed();
    let mut status = 0;
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the process is a child that nobody has waited for, and both pointers are to our own memory.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited == pid {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |t: libc::timeval| Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64);
    Ok(Ended {
        status: ExitStatus::from_raw(status),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        // Linux counts in KiB.
        peak_rss_kib: usage.ru_maxrss as u64,
    })
}

/// The counters of vCPU exits in the log: lines `hart ends: exits KIND=N KIND=N`, one a hart, up to a semicolon.
fn exits(log: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for line in log.lines().filter(|l| l.contains("hart ends:")) {
        let Some((_, counters)) = line.split_once("exits ") else { continue };
        let counters = counters.split(';').next().unwrap_or_default();
        for (kind, count) in counters.split(' ').filter_map(|w| w.split_once('=')).filter(|(kind, _)| *kind != "hart") {
            *all.entry(kind.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that plays an engine.
    fn play(script: &str) -> Option<Outcome> {
        play_until(script, &AtomicBool::new(false))
    }

    fn play_until(script: &str, stop: &AtomicBool) -> Option<Outcome> {
        play_for(script, stop, Duration::from_secs(300))
    }

    fn play_for(script: &str, stop: &AtomicBool, silence: Duration) -> Option<Outcome> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("engine");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let engine = Engine {
            name: "played".into(),
            family: Family::Qemu,
            program,
            accel: "tcg".into(),
            version: String::new(),
            on_host: false,
            cpu: None,
        };
        let board = Board {
            harts: 1,
            memory_mib: 64,
            kernel: "none".into(),
            append: String::new(),
            initrd: None,
            disks: Vec::new(),
            net: false,
            vector: false,
        };
        let job = Job { engine: &engine, board: &board, pin: &[], scratch: dir.path(), silence, stop, watch: &|_| () };
        run(&job).unwrap()
    }

    const HELLO: &str = "echo '@guest version=1 harts=1 timebase=1000 isa=rv64gc'";

    #[test]
    fn a_round_is_timed_by_the_host() {
        let outcome = play(&format!(
            "{HELLO}; echo '@bench cpu/x unit=op what=rests'; echo '@begin cpu/x'; sleep 0.2; \
             echo '@end cpu/x n=4 ticks=200 check=ok'; echo '@done'"
        ));
        let outcome = outcome.unwrap();
        assert_eq!(outcome.broken, None);
        let [round] = &outcome.rounds[..] else { panic!("{outcome:?}") };
        assert_eq!((round.n, round.guest_ticks), (4, 200));
        assert!(round.host >= Duration::from_millis(190), "{round:?}");
        assert_eq!(outcome.guest.unwrap().timebase, 1000);
        assert!(outcome.wall >= round.host);
        assert!(outcome.peak_rss_kib > 0);
    }

    #[test]
    fn lines_that_come_together_time_nothing() {
        let outcome =
            play(&format!("{HELLO}; printf '@begin cpu/x\\n@end cpu/x n=4 ticks=200 check=ok\\n'; echo '@done'"));
        let outcome = outcome.unwrap();
        assert!(outcome.rounds.is_empty());
        assert_eq!(outcome.missed.len(), 1, "{outcome:?}");
    }

    #[test]
    fn a_wrong_result_is_no_measurement() {
        let outcome = play(&format!(
            "{HELLO}; echo '@begin cpu/x'; echo '@end cpu/x n=4 ticks=200 check=bad got=0x1 want=0x2'; echo '@done'"
        ));
        let outcome = outcome.unwrap();
        assert!(outcome.rounds.is_empty());
        assert_eq!(outcome.failed[0].1, "got 0x1, want 0x2");
    }

    #[test]
    fn ends_that_are_none_are_told() {
        let broken = |script: &str| play(script).unwrap().broken.unwrap_or_default();
        let said = broken(&format!("{HELLO}; echo last words; echo 'no such machine' >&2; exit 3"));
        assert!(said.contains("exit status: 3") && said.contains("no such machine"), "{said}");
        assert!(said.contains("last words"), "{said}");
        assert!(broken("echo '@end cpu/x n=1 ticks=1 check=ok'; echo @done").contains("had not begun"));
        assert!(broken("echo '@guest version=9'; echo @done").contains("version 9"));
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        let second = Duration::from_secs(1);
        for (script, what) in [
            ("sleep 20", "said nothing for 1 s"),
            ("exec >&-; exec sleep 20", "closed its console and did not end within 1 s"),
        ] {
            let outcome = play_for(script, &AtomicBool::new(false), second).unwrap();
            assert!(outcome.broken.as_ref().unwrap().starts_with(what), "{outcome:?}");
        }
    }

    #[test]
    fn the_user_may_stop_it() {
        assert!(play_until("sleep 1000", &AtomicBool::new(true)).is_none());
    }

    /// The signal that stops this side reaches the engine first.
    #[test]
    fn a_process_that_the_user_ended_is_no_failure() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                stop.store(true, Ordering::SeqCst);
            });
            assert!(play_until(&format!("{HELLO}; exec >&- 2>&-; sleep 1; exit 130"), &stop).is_none());
        });
        let whole = play(&format!("{HELLO}; echo @done")).unwrap();
        assert_eq!(whole.broken, None);
    }

    #[test]
    fn a_guests_clock_may_run_backwards() {
        let ticks = u64::MAX;
        let said = format!("echo '@begin cpu/x'; echo '@end cpu/x n=1 ticks={ticks} check=ok'; echo @done");
        assert_eq!(play(&said).unwrap().missed.len(), 1);
    }

    #[test]
    fn exits_of_all_harts() {
        let log = "DEBUG stats: hart ends: exits mmio_reads=3 sbi=2 hart=0\n\
                   DEBUG stats: hart ends: exits mmio_reads=4 sbi=0; hart=1 blocks=7\nother exits mmio_reads=9\n";
        let exits = exits(log);
        assert_eq!(exits["mmio_reads"], 7);
        assert_eq!(exits["sbi"], 2);
        assert_eq!(exits.len(), 2);
    }
}
