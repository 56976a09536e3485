//! What the host itself takes for an operation of the suite `micro` that it has the like of: the distance that is left.
//!
//! No engine: a loop of the host's instructions in this process, timed by the host's clock. `x86_64.rs` has one row an
//! operation; other hosts have none yet.

#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Operations in a pass of a routine: 64 copies of a body in a loop.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no rows"))]
const COPIES: u64 = 64;

/// An operation.
struct Row {
    /// Of the suite `micro`, with the point behind it where it is a curve's.
    benchmark: &'static str,
    /// The time of so many passes, and the operations in one; `None`: this host cannot.
    time: fn(passes: u64) -> Option<(Duration, u64)>,
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    pub const ROWS: &[super::Row] = &[];
}
#[cfg(not(target_arch = "x86_64"))]
use none::ROWS;
#[cfg(target_arch = "x86_64")]
use x86_64::ROWS;

/// Rounds of each; the fastest counts, for all that disturbs makes it slower.
const ROUNDS: usize = 5;

/// Nanoseconds of one operation, by the name of the benchmark that has its like.
pub fn measure(round: Duration) -> BTreeMap<String, f64> {
    let rows = ROWS.iter().filter_map(|row| Some((row.benchmark.to_owned(), time(row, round)?)));
    rows.collect()
}

fn time(row: &Row, round: Duration) -> Option<f64> {
    let mut passes = 1;
    // As many as fill a round.
    while (row.time)(passes)?.0 < round / 2 && passes < 1 << 40 {
        passes *= 2;
    }
    let all = (0..ROUNDS).filter_map(|_| (row.time)(passes));
    let times = all.map(|(time, operations)| time.as_nanos() as f64 / (operations * passes) as f64);
    times.min_by(f64::total_cmp)
}

/// Times a loop.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no rows"))]
fn timed(operations: u64, work: impl FnOnce()) -> Option<(Duration, u64)> {
    let start = Instant::now();
    work();
    Some((start.elapsed(), operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_takes_time_and_names_an_operation() {
        for row in ROWS {
            // A host without an instruction has no time for it.
            let Some((time, operations)) = (row.time)(3) else { continue };
            assert!(time > Duration::ZERO && operations > 0, "{}", row.benchmark);
            let known = crate::report::operations::OPERATIONS.iter().flat_map(|o| o.benchmarks);
            assert!(known.into_iter().any(|b| *b == row.benchmark), "{} is in no table", row.benchmark);
        }
    }
}
