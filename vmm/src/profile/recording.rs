//! Samples as a file: lines of text, counted stacks.
//!
//! ```text
//! vireo-profile 1
//! hz 997
//! harts 2
//! seconds 10.002
//! lost 0
//! s COUNT HART MODE ACTIVITY SATP NAME PC RA FRAME...
//! end LINES SAMPLES
//! ```
//!
//! `MODE` is U, S, M, VU or VS; addresses are hexadecimal; `NAME` is the process's, with `%XX` for bytes that would divide
//! words, and `-` if it is not known. Frames are return addresses, the innermost first. The last line tells whether the
//! file is whole.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use accel::Mode;
use accel::profile::{Activity, NAME, Sample};
use accel::trace::mode_name;

use crate::files;

const MAGIC: &str = "vireo-profile 1";

/// What makes two samples equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stack {
    pub hart: u32,
    pub activity: Activity,
    pub mode: Mode,
    pub virt: bool,
    pub satp: u64,
    pub name: [u8; NAME],
    pub pc: u64,
    pub ra: u64,
    pub frames: Box<[u64]>,
}

impl Stack {
    pub fn of(hart: u32, sample: &Sample) -> Self {
        let &Sample { activity, mode, virt, pc, ra, satp, name, .. } = sample;
        Self { hart, activity, mode, virt, satp, name, pc, ra, frames: sample.frames().into() }
    }

    /// The name of its process, if it is known.
    pub fn process(&self) -> Option<String> {
        let end = self.name.iter().position(|b| *b == 0).unwrap_or(NAME);
        let text = self.name[..end].escape_ascii().to_string();
        (!text.is_empty()).then_some(text)
    }

    /// Whether it is in the kernel, or in what a machine without one runs.
    pub fn in_kernel(&self) -> bool {
        self.mode != Mode::User
    }
}

/// A recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub hz: u32,
    pub harts: u32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Samples that were due and are not there.
    pub lost: u64,
    pub stacks: HashMap<Stack, u64>,
}

/// The most distinct stacks that are kept: some 500 bytes each.
pub const STACKS_MAX: usize = 1 << 20;

impl Recording {
    /// Counts a sample; what has no room is lost.
    pub fn add(&mut self, stack: Stack) {
        let room = self.stacks.len() < STACKS_MAX;
        match self.stacks.get_mut(&stack) {
            Some(count) => *count += 1,
            None if room => _ = self.stacks.insert(stack, 1),
            None => self.lost += 1,
        }
    }

    pub fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// Samples of a kind.
    pub fn count(&self, wanted: impl Fn(&Stack) -> bool) -> u64 {
        self.stacks.iter().filter(|(stack, _)| wanted(stack)).map(|(_, count)| count).sum()
    }

    pub fn to_text(&self) -> String {
        let Self { hz, harts, seconds, lost, stacks } = self;
        let mut text = format!("{MAGIC}\nhz {hz}\nharts {harts}\nseconds {seconds:.3}\nlost {lost}\n");
        let mut all: Vec<_> = stacks.iter().collect();
        // One recording is one file, whatever the order in memory.
        all.sort_by_key(|(s, _)| (s.hart, s.activity, s.mode as u8, s.virt, s.satp, s.name, s.pc, s.ra, &s.frames));
        for (stack, count) in &all {
            let Stack { hart, activity, mode, virt, satp, pc, ra, frames, .. } = stack;
            let (mode, activity, name) = (mode_name(*mode, *virt), activity.name(), write_name(&stack.name));
            let _ = write!(text, "s {count} {hart} {mode} {activity} {satp:x} {name} {pc:x} {ra:x}");
            frames.iter().for_each(|frame| {
                let _ = write!(text, " {frame:x}");
            });
            text.push('\n');
        }
        let _ = writeln!(text, "end {} {}", all.len(), self.samples());
        text
    }

    /// Writes the file as a whole or not at all.
    ///
    /// # Errors
    /// What went wrong with which file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        replace(path, self.to_text().as_bytes())
    }

    /// # Errors
    /// The file, and why it is no recording.
    pub fn read(path: &Path) -> Result<Self, String> {
        let error = |why: String| format!("'{}': {why}", path.display());
        let bytes = fs::read(path).map_err(|e| error(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| error("is no recording of vireo: it is not text".into()))?;
        Self::parse(&text).map_err(error)
    }

    /// # Errors
    /// Why the text is no recording.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, MAGIC)) => {}
            Some((_, other)) if other.starts_with("vireo-profile ") => {
                return Err(format!("is a recording of another version: '{}'", other.escape_debug()));
            }
            _ => return Err(format!("is no recording of vireo: it does not begin with '{MAGIC}'")),
        }
        let mut recording = Self::default();
        let mut count = 0;
        for (n, line) in lines {
            let wrong = || format!("line {} is wrong: '{}'", n + 1, short(line));
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["hz", value] => recording.hz = value.parse().map_err(|_| wrong())?,
                ["harts", value] => recording.harts = value.parse().map_err(|_| wrong())?,
                ["lost", value] => recording.lost = value.parse().map_err(|_| wrong())?,
                ["seconds", value] => {
                    let seconds = value.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0);
                    recording.seconds = seconds.ok_or_else(wrong)?;
                }
                ["s", words @ ..] => {
                    let (stack, times) = parse_stack(words).ok_or_else(wrong)?;
                    count += 1;
                    let entry = recording.stacks.entry(stack).or_default();
                    *entry = entry.checked_add(times).ok_or_else(wrong)?;
                }
                ["end", all, samples] => {
                    let total = recording.stacks.values().try_fold(0u64, |sum, n| sum.checked_add(*n));
                    if all.parse() != Ok(count) || samples.parse().ok() != total || total.is_none() {
                        return Err("is damaged: its last line counts other samples than there are".into());
                    }
                    return Ok(recording);
                }
                _ => return Err(wrong()),
            }
        }
        Err("is cut off: its last line is missing".into())
    }
}

fn short(line: &str) -> String {
    line.chars().take(40).collect::<String>().escape_debug().to_string()
}

fn parse_stack(words: &[&str]) -> Option<(Stack, u64)> {
    let [count, hart, mode, activity, satp, name, pc, ra, frames @ ..] = words else { return None };
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let (mode, virt) = match *mode {
        "U" => (Mode::User, false),
        "VU" => (Mode::User, true),
        "S" => (Mode::Supervisor, false),
        "VS" => (Mode::Supervisor, true),
        "M" => (Mode::Machine, false),
        _ => return None,
    };
    let stack = Stack {
        hart: hart.parse().ok()?,
        activity: Activity::ALL.into_iter().find(|a| a.name() == *activity)?,
        mode,
        virt,
        satp: hex(satp)?,
        name: parse_name(name)?,
        pc: hex(pc)?,
        ra: hex(ra)?,
        frames: frames.iter().map(|word| hex(word)).collect::<Option<_>>()?,
    };
    Some((stack, count.parse().ok().filter(|n| *n > 0)?))
}

fn write_name(name: &[u8; NAME]) -> String {
    let end = name.iter().position(|b| *b == 0).unwrap_or(NAME);
    if end == 0 {
        return "-".to_owned();
    }
    name[..end].iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b'%' | b'-' | 0..=b' ' | 0x7f.. => {
                let _ = write!(text, "%{byte:02x}");
            }
            _ => text.push(char::from(byte)),
        }
        text
    })
}

fn parse_name(text: &str) -> Option<[u8; NAME]> {
    let mut name = [0; NAME];
    if text == "-" {
        return Some(name);
    }
    let (mut rest, mut at) = (text.as_bytes(), 0);
    while let [first, more @ ..] = rest {
        let (byte, behind) = match (*first, more) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |c: u8| char::from(c).to_digit(16);
                ((digit(*high)? << 4 | digit(*low)?) as u8, behind)
            }
            (b'%', _) => return None,
            (byte, behind) => (byte, behind),
        };
        *name.get_mut(at)? = byte;
        (rest, at) = (behind, at + 1);
    }
    (at > 0).then_some(name)
}

/// Writes a file beside its place first, so that it appears whole.
///
/// # Errors
/// What went wrong with which file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    files::replace(path, |to| to.write_all(bytes)).map_err(|e| format!("cannot write '{}': {e}", path.display()))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A stack of hart 0 in the kernel.
    pub fn stack(pc: u64, frames: &[u64]) -> Stack {
        Stack {
            hart: 0,
            activity: Activity::Guest,
            mode: Mode::Supervisor,
            virt: false,
            satp: 8 << 60 | 5,
            name: [0; NAME],
            pc,
            ra: 0,
            frames: frames.into(),
        }
    }

    fn recording() -> Recording {
        let mut all = Recording { hz: 997, harts: 2, seconds: 1.5, lost: 3, ..Recording::default() };
        let named = |name: &[u8], mut stack: Stack| {
            stack.name[..name.len()].copy_from_slice(name);
            stack
        };
        let user = Stack { mode: Mode::User, virt: true, hart: 1, ra: 0x30, ..stack(0x20, &[]) };
        for (stack, count) in [
            (stack(0x10, &[0x20, u64::MAX - 1]), 3),
            (named(b"a b%-\xff", user.clone()), 2),
            (named(b"0123456789abcdef", user), 1),
            (Stack { activity: Activity::Idle, ..stack(0, &[]) }, 7),
        ] {
            (0..count).for_each(|_| all.add(stack.clone()));
        }
        all
    }

    #[test]
    fn a_recording_goes_there_and_back() {
        let all = recording();
        let text = all.to_text();
        assert_eq!(Recording::parse(&text).as_ref(), Ok(&all), "{text}");
        assert!(text.contains("s 3 0 S guest 8000000000000005 - 10 0 20 fffffffffffffffe\n"), "{text}");
        assert!(text.contains(" a%20b%25%2d%ff 20 30\n") && text.ends_with("\nend 4 13\n"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        all.write(&path).unwrap();
        assert_eq!(Recording::read(&path), Ok(all));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(recording().write(&dir.path().join("none/file")).unwrap_err().starts_with("cannot write '"));
        assert!(Recording::read(&dir.path().join("none")).unwrap_err().contains("No such file"));
    }

    #[test]
    fn what_is_no_whole_recording_is_refused() {
        let text = recording().to_text();
        for end in (0..text.len() - 1).filter(|end| text.is_char_boundary(*end)) {
            let error = Recording::parse(&text[..end]).expect_err("cut off");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        for (old, new) in [
            ("vireo-profile 1", "vireo-profile 2"),
            ("hz 997", "hz -1"),
            ("seconds 1.5", "seconds NaN"),
            ("s 3 0", "s 4 0"),
            ("s 3 0", "s 0 0"),
            ("s 3 0", "s 18446744073709551615 0"),
            (" S guest", " Q guest"),
            (" guest ", " asleep "),
            ("a%20b", "a%2"),
            ("0123456789abcdef", "0123456789abcdefg"),
            ("lost", "found"),
        ] {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text, "{old}");
            let error = Recording::parse(&changed).expect_err(new);
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(Recording::parse("garbage").unwrap_err().starts_with("is no recording of vireo"));
    }
}
