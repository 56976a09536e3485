//! `cargo kit soak`: the random tests for as long as one likes, each round from seeds that no round before it had.
//!
//! It runs the test programs that `cargo verify` runs with a fixed budget; a failure says how to repeat it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::differential::{qemu, spike};
use crate::harness::Env;
use crate::{cases, guest, host, tools, verify};

#[derive(Clone, Debug)]
pub struct Options {
    pub minutes: u64,
    /// The first seed of the first round.
    pub seed: u64,
    /// Only suites whose name contains this.
    pub only: String,
    /// The QEMUs and Spikes to compare with, by turns; the fetched ones if there are none.
    pub qemus: Vec<PathBuf>,
    pub spikes: Vec<PathBuf>,
    pub mirror: Option<String>,
}

/// A random test.
struct Suite {
    package: &'static str,
    test: &'static str,
    /// The variable of its first seed, and that of how many seeds it takes, with their number a round.
    seed: &'static str,
    count: Option<(&'static str, u64)>,
}

const SUITES: &[Suite] = &[
    Suite { package: "accel", test: "lockstep", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 6_000)) },
    Suite { package: "accel", test: "lockstep_csrs", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 6_000)) },
    Suite { package: "accel", test: "lockstep_float", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 3_000)) },
    Suite { package: "accel", test: "lockstep_loops", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 10_000)) },
    Suite { package: "accel", test: "lockstep_system", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 2_000)) },
    Suite { package: "accel", test: "lockstep_translation", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 400)) },
    Suite { package: "accel", test: "lockstep_vectors", seed: LOCKSTEP_SEED, count: Some((LOCKSTEP_ROUNDS, 800)) },
    Suite {
        package: "accel",
        test: "lockstep_vector_shapes",
        seed: LOCKSTEP_SEED,
        count: Some((LOCKSTEP_ROUNDS, 800)),
    },
    Suite { package: "fuzz", test: "smoke", seed: "VIREO_FUZZ_SEED", count: Some(("VIREO_FUZZ_ROUNDS", 2_000)) },
    Suite { package: "tests", test: "differential_blocks", seed: SEED, count: Some((BLOCKS, 1_500)) },
    Suite { package: "tests", test: "differential_vector", seed: SEED, count: Some((BLOCKS, 4_096)) },
    Suite { package: "tests", test: "differential_hypervisor", seed: SEED, count: Some((PROGRAMS, 16)) },
    Suite { package: "tests", test: "differential_privileged", seed: SEED, count: Some((PROGRAMS, 16)) },
    Suite { package: "tests", test: "differential_registers", seed: SEED, count: None },
];

const SEED: &str = "VIREO_DIFFERENTIAL_SEED";
const BLOCKS: &str = "VIREO_DIFFERENTIAL_BLOCKS";
const PROGRAMS: &str = "VIREO_DIFFERENTIAL_PROGRAMS";
const LOCKSTEP_SEED: &str = "VIREO_LOCKSTEP_SEED";
const LOCKSTEP_ROUNDS: &str = "VIREO_LOCKSTEP_ROUNDS";

/// Seeds between the rounds: more than any kind of test of a round takes.
const STRIDE: u64 = 100_000;

#[derive(Default, Clone, Copy)]
struct Score {
    rounds: u64,
    failed: u64,
}

/// Runs rounds until the time is over; whether nothing failed.
pub fn run(options: &Options) -> Result<bool> {
    let suites: Vec<_> = SUITES.iter().filter(|s| s.test.contains(&options.only)).collect();
    if suites.is_empty() {
        let names: Vec<_> = SUITES.iter().map(|s| s.test).collect();
        bail!("no random test is called '{}': there are {}", options.only, names.join(", "));
    }
    let references = references(options)?;
    let (start, limit) = (Instant::now(), Duration::from_secs(options.minutes * 60));
    let mut scores = vec![Score::default(); suites.len()];
    'time: for round in 0.. {
        let seed = options.seed + round * STRIDE;
        let reference = &references[round as usize % references.len()];
        for (suite, score) in suites.iter().zip(&mut scores) {
            // Every suite has its turn once, however short the time.
            if round > 0 && start.elapsed() >= limit {
                break 'time;
            }
            let minutes = start.elapsed().as_secs() / 60;
            host::say(format_args!("{minutes} of {} minutes: {} from seed {seed}", options.minutes, suite.test));
            score.rounds += 1;
            if let Some(failure) = suite.failure(seed, reference)? {
                score.failed += 1;
                println!("{failure}");
            }
        }
    }
    table(&suites, &scores);
    let sum = |of: fn(&Score) -> u64| scores.iter().map(of).sum::<u64>();
    let (rounds, failed) = (sum(|s| s.rounds), sum(|s| s.failed));
    println!("{} passed, {failed} failed", rounds - failed);
    Ok(failed == 0)
}

/// A program to compare with, and the variable that names it to the tests.
struct Reference {
    variable: &'static str,
    program: PathBuf,
}

fn references(options: &Options) -> Result<Vec<Reference>> {
    let (mut qemus, mut spikes) = (options.qemus.clone(), options.spikes.clone());
    if qemus.is_empty() && spikes.is_empty() {
        qemus.push(tools::prepare(options.mirror.as_deref())?.qemu);
        qemus.extend(tools::newest_qemu(options.mirror.as_deref())?);
        spikes.push(tools::spike()?);
    }
    let named = |variable: &'static str| move |program: PathBuf| Reference { variable, program };
    Ok(qemus.into_iter().map(named(qemu::VARIABLE)).chain(spikes.into_iter().map(named(spike::VARIABLE))).collect())
}

impl Suite {
    /// Runs it once. What it said if it failed, and how to do it again.
    fn failure(&self, seed: u64, reference: &Reference) -> Result<Option<String>> {
        let Reference { variable, program } = reference;
        let mut again = format!("{variable}={} {}={seed}", program.display(), self.seed);
        let mut test = host::cargo();
        test.env_remove(spike::VARIABLE).env(variable, program).env(self.seed, seed.to_string());
        if let Some((variable, count)) = self.count {
            test.env(variable, count.to_string());
            again += &format!(" {variable}={count}");
        }
        let words = ["test", "--quiet", "--profile", "test-fast", "--package", self.package, "--test", self.test];
        test.args(words).stdin(Stdio::null());
        let output = Command::output(&mut test).context("cannot run cargo")?;
        if output.status.success() {
            return Ok(None);
        }
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok(Some(format!("{text}\nFAILED; again: {again} cargo {}", words.join(" "))))
    }
}

fn table(suites: &[&Suite], scores: &[Score]) {
    println!("\n| {:<26} | {:>7} | {:>7} | {:>10} |", "random test", "rounds", "failed", "seeds");
    println!("|{:-<28}|{:->8}:|{:->8}:|{:->11}:|", "", "", "", "");
    for (suite, score) in suites.iter().zip(scores) {
        let seeds = suite.count.map_or(1, |c| c.1) * score.rounds;
        println!("| {:<26} | {:>7} | {:>7} | {seeds:>10} |", suite.test, score.rounds, score.failed);
    }
    println!();
}
/// `cargo kit switch-engines`: a guest that works while it goes from engine to engine and back.
pub fn engines(vireo: Option<PathBuf>, mirror: Option<String>, switches: u32, seed: u64) -> Result<()> {
    let missing = || Err("not needed".to_owned());
    let wanted = guest::Options { mirror, disk: true, firmware: false, kvm: false, update: false };
    let env = Env {
        vireo: vireo.map_or_else(verify::build_vireo, Ok)?,
        riscv_vireo: missing(),
        kvm_test: missing(),
        guest: Ok(guest::prepare(&wanted)?),
        tools: Err("not needed".to_owned()),
        gdb: Err("not needed".to_owned()),
    };
    cases::engines::works_on(&env, switches, seed)
}
