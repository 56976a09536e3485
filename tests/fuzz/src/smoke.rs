//! A bounded run: the seeds, inputs that failed once, and a number of new ones that depends on nothing but the seed of
//! the random numbers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::{Target, mutate};

/// The seed of the random numbers, and how many inputs are made: by environment variables, as the other random tests.
pub const SEED: &str = "VIREO_FUZZ_SEED";
pub const ROUNDS: &str = "VIREO_FUZZ_ROUNDS";

/// No input takes so long, however busy the host is.
const WATCHDOG: Duration = Duration::from_secs(300);

/// Panics of any thread so far, and what the last one said.
static PANICS: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<String> = Mutex::new(String::new());

fn last() -> String {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Has every panic counted: those of the program's own threads end nothing here.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current().name().unwrap_or("a thread").to_owned();
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = format!("{thread}: {info}");
            PANICS.fetch_add(1, Ordering::SeqCst);
            default(info);
        }));
    });
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Inputs that failed once, and are to be tried for ever.
fn once_failed(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("failed").join(target.name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file of the source tree")).collect()
}

/// The input under way, since when, and where it is kept if it fails.
struct Trial {
    input: Vec<u8>,
    since: Instant,
}

/// Runs a target; failing inputs are left in `folder`.
///
/// # Errors
/// What went wrong, where the input is, and how to try it again.
pub fn run(target: &'static Target, folder: &Path) -> Result<(), String> {
    let (seed, rounds) = (number(SEED, 1), number(ROUNDS, target.rounds));
    let seeds = (target.seeds)();
    let again = format!("{SEED}={seed} {ROUNDS}={rounds} cargo test -p fuzz --profile test-fast {}", target.name);
    let mut random = Rng::with_seed(seed);
    let first = seeds.iter().cloned().chain(once_failed(target)).collect::<Vec<_>>();
    let made = (0..rounds).map(|_| mutate::input(&mut random, &seeds, target.words));
    all(target, first.into_iter().chain(made), folder).map_err(|what| format!("{what}\nall of it again: {again}"))
}

/// Runs a target on these inputs, on a thread of its own.
///
/// # Errors
/// As of [`run`].
pub fn all(target: &'static Target, inputs: impl Iterator<Item = Vec<u8>>, folder: &Path) -> Result<(), String> {
    count_panics();
    // One after another: a panic belongs to the input under way.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let trial = Arc::new(Mutex::new(None));
    let panics = PANICS.load(Ordering::SeqCst);
    let (next, taken) = std::sync::mpsc::sync_channel::<Vec<u8>>(0);
    let (tell, told) = std::sync::mpsc::channel();
    let theirs = Arc::clone(&trial);
    let body = move || {
        let mut run = (target.open)();
        for input in taken {
            *theirs.lock().unwrap() = Some(Trial { input: input.clone(), since: Instant::now() });
            run(&input);
            *theirs.lock().unwrap() = None;
            // Nobody asks any more.
            if tell.send(()).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name(target.name.to_owned()).spawn(body).map_err(|e| e.to_string())?;
    let mut failed = None;
    for input in inputs {
        let sent = next.send(input).is_ok();
        if !sent || told.recv_timeout(WATCHDOG).is_err() || PANICS.load(Ordering::SeqCst) != panics {
            failed = Some(());
            break;
        }
    }
    drop(next);
    let hangs = trial.lock().unwrap().as_ref().is_some_and(|trial| trial.since.elapsed() >= WATCHDOG);
    let ended = hangs || thread.join().is_ok();
    if failed.is_none() && ended && PANICS.load(Ordering::SeqCst) == panics {
        return Ok(());
    }
    let what = if hangs { format!("it takes longer than {} s", WATCHDOG.as_secs()) } else { last() };
    let input = trial.lock().unwrap_or_else(PoisonError::into_inner).take();
    Err(match input.map(|trial| keep(target, &trial.input, folder)) {
        Some(path) => {
            format!("{}: {what}\nthe input again: cargo run -p fuzz -- {} {}", target.name, target.name, path.display())
        }
        None => format!("{}: {what}", target.name),
    })
}

fn keep(target: &Target, input: &[u8], folder: &Path) -> PathBuf {
    let path = folder.join(format!("{}-{:08x}", target.name, crc32fast::hash(input)));
    match std::fs::write(&path, input) {
        Ok(()) => path,
        Err(error) => PathBuf::from(format!("(not kept: {error})")),
    }
}
