//! Runs programs on two machines, and makes small what differs.

use std::collections::BTreeMap;

use accel::tcg::TcgOptions;
use anyhow::{Context, bail};
use arch::csr;
use arch::ext::IsaConfig;

use super::program::TEST;
use super::{Program, Seen, Theme};
use crate::differential::engine;
use crate::differential::reference::Reference;
use crate::differential::rng::Rng;

/// Runs of both machines that the search for a small program may take.
const TRIALS: usize = 80;
/// Programs that are made small.
const SHOWN: usize = 4;

/// A theme on our machine and on another.
pub struct Pair<'a> {
    pub theme: &'a Theme,
    pub isa: IsaConfig,
    pub reference: &'a Reference,
    pub options: TcgOptions,
}

/// What the comparison of programs found.
#[derive(Default)]
pub struct Findings {
    pub steps: usize,
    /// Traps by cause, so that one sees what the programs reach.
    pub causes: BTreeMap<u64, usize>,
    /// How often each known difference was met, in the theme's order.
    pub forgiven: Vec<usize>,
    /// Steps that differ, by what differs.
    pub different: BTreeMap<String, usize>,
    /// Some of them, small.
    pub reports: Vec<String>,
}

/// A step that differs (or the memory after all, as the number of steps), and how.
struct Difference {
    step: usize,
    kind: String,
    text: String,
}

impl Pair<'_> {
    /// Compares the programs of these seeds.
    pub fn compare(&self, seeds: impl Iterator<Item = u64>) -> anyhow::Result<Findings> {
        let mut findings = self.findings();
        for seed in seeds {
            let program = (self.theme.program)(&self.isa, &mut Rng::new(seed));
            let differences = self.run(&program, &mut findings).with_context(|| format!("seed {seed}"))?;
            findings.steps += program.steps.len();
            for difference in &differences {
                let count = findings.different.entry(difference.kind.clone()).or_default();
                *count += 1;
                if *count == 1 && findings.reports.len() < SHOWN {
                    let (small, text) = self.minimise(&program, difference)?;
                    let listing = small.listing(&self.isa);
                    findings.reports.push(format!("seed {seed}, step {}:\n{listing}{text}", difference.step));
                }
            }
        }
        Ok(findings)
    }

    fn findings(&self) -> Findings {
        Findings { forgiven: vec![0; self.theme.all_known().count()], ..Findings::default() }
    }

    /// The differences of a program.
    fn run(&self, program: &Program, findings: &mut Findings) -> anyhow::Result<Vec<Difference>> {
        let image = program.image();
        let theirs = self.reference.run(&self.isa, &image.bytes)?;
        let (ours, hung) = engine::run(&self.isa, &self.options, &image.bytes)?;
        if let Some(pc) = hung {
            bail!("ours hangs at {pc:#x}\n{}", program.listing(&self.isa));
        }
        let mut differences = Vec::new();
        // Words of memory that are known to differ, and stay so.
        let mut known_words = Vec::new();
        for (i, step) in program.steps.iter().enumerate() {
            let (mut a, mut b) = (program.seen(&ours, i), program.seen(&theirs, i));
            if a.has(csr::MCAUSE) {
                *findings.causes.entry(*a.csr(csr::MCAUSE)).or_default() += 1;
            }
            for (known, count) in self.theme.all_known().zip(&mut findings.forgiven) {
                if a != b && (known.applies)(self.reference) {
                    let before = (a.clone(), b.clone());
                    (known.forgive)(step, &mut a, &mut b);
                    *count += usize::from(before != (a.clone(), b.clone()));
                }
            }
            if *a.memory() == *b.memory() && program.seen(&ours, i).memory() != program.seen(&theirs, i).memory() {
                known_words.push(step.peek);
            }
            if a != b {
                differences.push(Difference { step: i, kind: kind(&mut a, &mut b), text: a.difference(&b) });
            }
        }
        let words = program.memory(&ours).chunks(8).zip(program.memory(&theirs).chunks(8)).zip((TEST..).step_by(8));
        let mut different = words.filter(|((a, b), at)| a != b && !known_words.contains(at));
        if let Some(((a, b), at)) = different.next().filter(|_| differences.is_empty()) {
            let text = format!("  memory at {at:#x}: ours {a:02x?}, theirs {b:02x?}\n");
            differences.push(Difference { step: program.steps.len(), kind: "memory".into(), text });
        }
        Ok(differences)
    }

    /// A program with as few steps and as little setup as still differ in the same way.
    fn minimise(&self, program: &Program, difference: &Difference) -> anyhow::Result<(Program, String)> {
        let mut small = program.clone();
        small.steps.truncate(difference.step + 1);
        let mut text = difference.text.clone();
        let mut trials = 0;
        let mut differs = |candidate: &Program| -> anyhow::Result<Option<String>> {
            trials += 1;
            if trials > TRIALS {
                return Ok(None);
            }
            // It may hang, or the reference may.
            let found = self.run(candidate, &mut self.findings()).unwrap_or_default();
            Ok(found.into_iter().find(|d| d.kind == difference.kind).map(|d| d.text))
        };
        let mut chunk = small.steps.len().saturating_sub(1);
        while chunk > 0 {
            let mut start = 0;
            while start + chunk < small.steps.len() {
                let mut candidate = small.clone();
                candidate.steps.drain(start..start + chunk);
                match differs(&candidate)? {
                    Some(less) => (small, text) = (candidate, less),
                    None => start += chunk,
                }
            }
            chunk /= 2;
        }
        for step in (0..small.steps.len()).rev() {
            let mut chunk = small.steps[step].setup.len();
            while chunk > 0 {
                let mut start = 0;
                while start + chunk <= small.steps[step].setup.len() {
                    let mut candidate = small.clone();
                    candidate.steps[step].setup.drain(start..start + chunk);
                    match differs(&candidate)? {
                        Some(less) => (small, text) = (candidate, less),
                        None => start += chunk,
                    }
                }
                chunk /= 2;
            }
        }
        Ok((small, text))
    }
}

/// Which kind of difference: the causes, or the names of what differs.
fn kind(a: &mut Seen, b: &mut Seen) -> String {
    if a.has(csr::MCAUSE) && a.csr(csr::MCAUSE) != b.csr(csr::MCAUSE) {
        return format!("mcause {:#x} and {:#x}", a.csr(csr::MCAUSE), b.csr(csr::MCAUSE));
    }
    let text = a.difference(b);
    text.lines().filter_map(|line| line.trim().split(':').next()).collect::<Vec<_>>().join(" ")
}
