//! Numbers as people read them: times with their unit, rates where a rate says more.

/// Whether more is better, and how a time a unit is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Time a unit; less is better.
    Time,
    /// Units a second; more is better.
    Rate(&'static str),
}

/// How benchmarks of a unit are shown.
pub fn scale(unit: &str) -> Scale {
    match unit {
        "byte" => Scale::Rate("B/s"),
        "flop" => Scale::Rate("FLOP/s"),
        "request" => Scale::Rate("req/s"),
        _ => Scale::Time,
    }
}

impl Scale {
    /// `ns` nanoseconds a unit, with three significant digits and the unit.
    pub fn show(self, ns: f64) -> String {
        match self {
            Self::Time => prefixed(ns / 1e9, "s", &[(1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p")]),
            Self::Rate(unit) => prefixed(1e9 / ns, unit, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]),
        }
    }
}

fn prefixed(value: f64, unit: &str, prefixes: &[(f64, &str)]) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    let last = prefixes[prefixes.len() - 1];
    let (factor, prefix) = prefixes.iter().copied().find(|(factor, _)| value >= *factor).unwrap_or(last);
    format!("{} {prefix}{unit}", digits(value / factor))
}

/// Three significant digits; whole numbers whole.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A number of bytes or the like, in powers of two where it is one.
pub fn point(value: u64) -> String {
    match value {
        v if v >= 1 << 30 && v % (1 << 30) == 0 => format!("{} Gi", v >> 30),
        v if v >= 1 << 20 && v % (1 << 20) == 0 => format!("{} Mi", v >> 20),
        v if v >= 1 << 10 && v % (1 << 10) == 0 => format!("{} Ki", v >> 10),
        v => v.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_prefix() {
        assert_eq!(Scale::Time.show(1.234), "1.23 ns");
        assert_eq!(Scale::Time.show(0.4), "400 ps");
        assert_eq!(Scale::Time.show(54_321.0), "54.3 µs");
        assert_eq!(Scale::Time.show(2.5e9), "2.50 s");
        assert_eq!(scale("byte").show(0.1), "10.0 GB/s");
        assert_eq!(scale("request").show(20_000.0), "50.0 kreq/s");
        assert_eq!(scale("request").show(2e9), "0.50 req/s");
        assert_eq!(scale("op"), Scale::Time);
        assert_eq!(Scale::Time.show(f64::NAN), "?");
    }

    #[test]
    fn points_are_short() {
        assert_eq!(point(32768), "32 Ki");
        assert_eq!(point(1 << 20), "1 Mi");
        assert_eq!(point(100), "100");
    }
}
