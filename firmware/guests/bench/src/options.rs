//! The boot arguments.

use runtime::println;

/// What to run, and how long.
#[derive(Clone, Copy)]
pub struct Options {
    /// Names of suites, with commas; empty for all.
    suites: &'static str,
    /// Only benchmarks whose `suite/name` contains this.
    pub only: &'static str,
    /// Only the benchmark with this `suite/name`; empty for all.
    exactly: &'static str,
    /// How long a timed round is, in milliseconds of the guest's clock.
    pub min_ms: u64,
    /// The benchmark whose result is spoiled.
    pub spoil: &'static str,
}

impl Options {
    /// Reads the words of the kernel's command line; tells of those that mean nothing.
    pub fn parse(line: &'static str, is_suite: fn(&str) -> bool) -> Self {
        let mut options = Self { suites: "", only: "", exactly: "", min_ms: 50, spoil: "" };
        for word in line.split_ascii_whitespace() {
            match word.split_once('=') {
                Some(("suites", names)) => options.suites = names,
                Some(("only", name)) => options.only = name,
                Some(("exactly", name)) => options.exactly = name,
                Some(("selfcheck-fail", name)) => options.spoil = name,
                Some(("min_ms", number)) => match number.parse() {
                    Ok(ms) if (1..=600_000).contains(&ms) => options.min_ms = ms,
                    _ => println!("@note reason=min_ms={number} is not a number from 1 to 600000"),
                },
                _ => println!("@note reason={word} is not known"),
            }
        }
        for name in options.suites.split(',').filter(|name| !name.is_empty() && *name != "all" && !is_suite(name)) {
            println!("@note reason=there is no suite {name}");
        }
        options
    }

    /// Whether the suite is asked for.
    pub fn wants(&self, suite: &str) -> bool {
        self.suites.is_empty() || self.suites.split(',').any(|name| name == suite || name == "all")
    }

    /// Whether `name` of a suite may be the one benchmark that is asked for.
    pub fn wants_row(&self, suite: &str, name: &str) -> bool {
        self.exactly.is_empty() || self.exactly.split_once('/') == Some((suite, name))
    }
}
