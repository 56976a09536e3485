//! What a user sets for moves, before them or while one is under way.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    BytesPerSecond,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::BytesPerSecond => "bytes/second",
        }
    }
}

/// A row of [`PARAMETERS`].
#[derive(Debug)]
pub struct Parameter {
    /// QEMU's.
    pub name: &'static str,
    pub unit: Unit,
    pub range: RangeInclusive<u64>,
    pub default: u64,
    pub help: &'static str,
}

const DOWNTIME_LIMIT: usize = 0;
const MAX_BANDWIDTH: usize = 1;

/// All there are.
pub const PARAMETERS: [Parameter; 2] = [
    Parameter {
        name: "downtime-limit",
        unit: Unit::Milliseconds,
        range: 0..=2_000_000,
        default: 300,
        help: "how long the guest may stand still, as far as that can be told beforehand",
    },
    // QEMU's default is 128 MiB/s, which is little for a network of today.
    Parameter {
        name: "max-bandwidth",
        unit: Unit::BytesPerSecond,
        range: 0..=u64::MAX,
        default: 0,
        help: "how fast RAM is copied while the guest runs; 0: as fast as it goes",
    },
];

/// Their values, which those who move a machine look at all the time.
#[derive(Debug)]
pub struct Parameters([AtomicU64; PARAMETERS.len()]);

impl Default for Parameters {
    fn default() -> Self {
        Self(PARAMETERS.each_ref().map(|row| AtomicU64::new(row.default)))
    }
}

impl Parameters {
    /// All rows with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Parameter, u64)> + '_ {
        PARAMETERS.iter().zip(&self.0).map(|(row, value)| (row, value.load(Ordering::Relaxed)))
    }

    /// The row of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<&'static Parameter, String> {
        PARAMETERS.iter().find(|row| row.name == name).ok_or_else(|| {
            let names = PARAMETERS.each_ref().map(|row| row.name).join(" and ");
            format!("'{name}' is no parameter of moves; {names} are")
        })
    }

    /// Sets some of them, in their units: all or none.
    ///
    /// # Errors
    /// A value is out of its range.
    pub fn set(&self, values: &[(&'static Parameter, u64)]) -> Result<(), String> {
        for (Parameter { name, unit, range, .. }, value) in values {
            if !range.contains(value) {
                let (first, last, unit) = (range.start(), range.end(), unit.name());
                return Err(format!("{name} {value}: {first} to {last} {unit} are allowed"));
            }
        }
        for (row, value) in values {
            for (_, own) in PARAMETERS.iter().zip(&self.0).filter(|(other, _)| other.name == row.name) {
                own.store(*value, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub fn downtime_limit(&self) -> Duration {
        Duration::from_millis(self.0[DOWNTIME_LIMIT].load(Ordering::Relaxed))
    }

    /// Bytes a second; `None`: as fast as it goes.
    pub fn max_bandwidth(&self) -> Option<u64> {
        Some(self.0[MAX_BANDWIDTH].load(Ordering::Relaxed)).filter(|limit| *limit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_are_looked_for() {
        let all = Parameters::default();
        assert_eq!((all.downtime_limit(), all.max_bandwidth()), (Duration::from_millis(300), None));
        let set = |name, value| all.set(&[(Parameters::find(name).unwrap(), value)]);
        set("downtime-limit", 5).unwrap();
        set("max-bandwidth", 7).unwrap();
        assert_eq!((all.downtime_limit(), all.max_bandwidth()), (Duration::from_millis(5), Some(7)));
        assert!(PARAMETERS.iter().all(|row| row.range.contains(&row.default) && !row.help.is_empty()));
    }

    #[test]
    fn all_of_a_list_or_none() {
        let all = Parameters::default();
        let rows = ["max-bandwidth", "downtime-limit"].map(|name| Parameters::find(name).unwrap());
        let error = all.set(&[(rows[0], 1), (rows[1], 2_000_001)]).unwrap_err();
        assert_eq!(error, "downtime-limit 2000001: 0 to 2000000 ms are allowed");
        assert!(all.iter().all(|(row, value)| value == row.default));
        let unknown = Parameters::find("multifd-channels").unwrap_err();
        assert_eq!(unknown, "'multifd-channels' is no parameter of moves; downtime-limit and max-bandwidth are");
    }
}
