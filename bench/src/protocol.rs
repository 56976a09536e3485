//! What the benchmark guest says on its console, a record a line.
//!
//! ```text
//! @guest version=1 harts=2 timebase=10000000 isa=rv64... vlen=128
//! @bench micro/csr-read unit=op what=one csrr of sscratch
//! @bench memory/latency unit=op axis=bytes what=one load
//! @begin micro/csr-read
//! @end micro/csr-read n=123456 total=300000 ticks=500000 check=ok
//! @end cpu/sort n=12 total=30 ticks=77 check=bad got=0x1 want=0x2
//! @skip vector/saxpy reason=the harts have no V
//! @fail system/fork reason=out of memory
//! @done
//! ```
//!
//! A name is `suite/benchmark`, or `suite/benchmark@X` for the point `X` of a curve. Other lines are for people.

use serde::{Deserialize, Serialize};

/// The version of these records that this program understands.
pub const VERSION: u64 = 1;

/// `suite/benchmark[@point]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    pub suite: String,
    pub benchmark: String,
    /// Where on a curve: bytes, a stride, harts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<u64>,
}

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        let (suite, rest) = text.split_once('/')?;
        let (benchmark, point) = match rest.split_once('@') {
            Some((benchmark, point)) => (benchmark, Some(point.parse().ok()?)),
            None => (rest, None),
        };
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        (word(suite) && word(benchmark)).then(|| Self {
            suite: suite.to_owned(),
            benchmark: benchmark.to_owned(),
            point,
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.suite, self.benchmark)?;
        self.point.map_or(Ok(()), |point| write!(f, "@{point}"))
    }
}

/// What the guest found itself on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestInfo {
    pub harts: u64,
    /// Ticks of its clock a second.
    pub timebase: u64,
    pub isa: String,
}

/// A line of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first instructions run.
    Boot,
    Guest(GuestInfo),
    /// What a benchmark is: its unit and one line on what it does.
    Bench {
        name: Name,
        unit: String,
        axis: String,
        what: String,
    },
    Begin(Name),
    /// `n` units took `ticks` of the guest's clock; `total` were done with those of the rounds before. The check's
    /// failure, if it did.
    End {
        name: Name,
        n: u64,
        total: u64,
        ticks: u64,
        wrong: Option<String>,
    },
    Skip {
        name: Name,
        reason: String,
    },
    Fail {
        name: Name,
        reason: String,
    },
    Note(String),
    Done,
}

/// `KEY=VALUE` of a record's fields.
fn field<'a>(fields: &'a str, key: &str) -> Option<&'a str> {
    fields.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(fields: &str, key: &str) -> Result<u64, String> {
    field(fields, key).and_then(|v| v.parse().ok()).ok_or_else(|| format!("has no number '{key}='"))
}

/// The text of the last field, which may have spaces.
fn text(fields: &str, key: &str) -> String {
    let start = fields.find(&format!("{key}=")).map(|at| at + key.len() + 1);
    start.map_or("", |at| &fields[at..]).to_owned()
}

/// `None` for lines that are for people; an error for a record that makes no sense.
pub fn parse(line: &str) -> Option<Result<Record, String>> {
    let record = line.strip_prefix('@')?;
    let (kind, rest) = record.split_once(' ').unwrap_or((record, ""));
    Some(parse_record(kind, rest).map_err(|why| format!("the guest's line '{line}' {why}")))
}

fn parse_record(kind: &str, rest: &str) -> Result<Record, String> {
    let (first, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let name = || Name::parse(first).ok_or_else(|| format!("names no benchmark: '{first}'"));
    Ok(match kind {
        "boot" => Record::Boot,
        "done" => Record::Done,
        "note" => Record::Note(rest.to_owned()),
        "guest" => {
            let version = number(rest, "version")?;
            if version != VERSION {
                return Err(format!("is of version {version}; this program knows {VERSION}"));
            }
            let timebase = number(rest, "timebase")?;
            if timebase == 0 {
                return Err("has a clock that stands".to_owned());
            }
            let isa = field(rest, "isa").unwrap_or_default().to_owned();
            Record::Guest(GuestInfo { harts: number(rest, "harts")?, timebase, isa })
        }
        "bench" => {
            let unit = field(fields, "unit").ok_or("has no 'unit='")?.to_owned();
            let axis = field(fields, "axis").unwrap_or_default().to_owned();
            Record::Bench { name: name()?, unit, axis, what: text(fields, "what") }
        }
        "begin" => Record::Begin(name()?),
        "end" => {
            let wrong = match field(fields, "check").ok_or("has no 'check='")? {
                "ok" => None,
                _ => Some(format!(
                    "got {}, want {}",
                    field(fields, "got").unwrap_or("?"),
                    field(fields, "want").unwrap_or("?")
                )),
            };
            let n = number(fields, "n")?;
            if n == 0 {
                return Err("measured nothing".to_owned());
            }
            // Who has no rounds before does not say it.
            let total = field(fields, "total").map_or(Ok(n), |_| number(fields, "total"))?;
            Record::End { name: name()?, n, total, ticks: number(fields, "ticks")?, wrong }
        }
        "skip" => Record::Skip { name: name()?, reason: text(fields, "reason") },
        "fail" => Record::Fail { name: name()?, reason: text(fields, "reason") },
        _ => return Err("is of no known kind".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(line: &str) -> Record {
        parse(line).expect("a record").expect("sense")
    }

    #[test]
    fn every_kind() {
        let csr = Name { suite: "micro".into(), benchmark: "csr-read".into(), point: None };
        assert_eq!(parse("Vireo benchmark guest"), None);
        assert_eq!(record("@boot"), Record::Boot);
        assert_eq!(record("@done"), Record::Done);
        assert_eq!(record("@note unknown word 'x'"), Record::Note("unknown word 'x'".into()));
        assert_eq!(
            record("@guest version=1 harts=2 timebase=10000000 isa=rv64gc vlen=128"),
            Record::Guest(GuestInfo { harts: 2, timebase: 10_000_000, isa: "rv64gc".into() })
        );
        assert_eq!(
            record("@bench micro/csr-read unit=op what=one csrr of sscratch"),
            Record::Bench {
                name: csr.clone(),
                unit: "op".into(),
                axis: String::new(),
                what: "one csrr of sscratch".into()
            }
        );
        assert_eq!(record("@begin micro/csr-read"), Record::Begin(csr.clone()));
        assert_eq!(
            record("@end micro/csr-read n=12 total=30 ticks=34 check=ok"),
            Record::End { name: csr.clone(), n: 12, total: 30, ticks: 34, wrong: None }
        );
        assert_eq!(
            record("@end micro/csr-read n=12 ticks=34 check=bad got=0x1 want=0x2"),
            Record::End { name: csr.clone(), n: 12, total: 12, ticks: 34, wrong: Some("got 0x1, want 0x2".into()) }
        );
        assert_eq!(
            record("@skip micro/csr-read reason=there is none"),
            Record::Skip { name: csr.clone(), reason: "there is none".into() }
        );
        assert_eq!(record("@fail micro/csr-read reason=broke"), Record::Fail { name: csr, reason: "broke".into() });
        let Record::Bench { axis, .. } = record("@bench memory/latency unit=op axis=bytes what=one load") else {
            panic!()
        };
        assert_eq!(axis, "bytes");
        let point = Name { suite: "memory".into(), benchmark: "latency".into(), point: Some(4096) };
        assert_eq!(record("@begin memory/latency@4096"), Record::Begin(point.clone()));
        assert_eq!(point.to_string(), "memory/latency@4096");
    }

    #[test]
    fn nonsense_is_told() {
        for line in [
            "@",
            "@nonsense",
            "@begin",
            "@begin sort",
            "@begin cpu/",
            "@begin cpu/sort@many",
            "@end cpu/sort n=0 ticks=1 check=ok",
            "@end cpu/sort n=1 check=ok",
            "@end cpu/sort n=1 ticks=1",
            "@end cpu/sort n=-1 ticks=1 check=ok",
            "@end cpu/sort n=1 total=x ticks=1 check=ok",
            "@guest version=2 harts=1 timebase=1",
            "@guest version=1 harts=1 timebase=0",
            "@bench cpu/sort what=no unit",
        ] {
            let error = parse(line).expect("a record").expect_err(line);
            assert!(error.contains(line), "{error}");
        }
    }
}
