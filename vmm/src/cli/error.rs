//! What is wrong with a command line: one clear line.

use std::fmt;

/// Printed as `vireo: {context}: {message}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The option and its value, as they were given.
    context: String,
    /// What is wrong and what is allowed.
    message: String,
}

impl CliError {
    pub fn new(context: impl Into<String>, message: impl Into<String>) -> Self {
        Self { context: context.into(), message: message.into() }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line whatever the user typed: control characters are shown, not obeyed.
        let printable = |s: &str| s.chars().flat_map(show).collect::<String>();
        if self.context.is_empty() {
            f.write_str(&printable(&self.message))
        } else {
            write!(f, "{}: {}", printable(&self.context), printable(&self.message))
        }
    }
}

fn show(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

impl std::error::Error for CliError {}

pub type Result<T> = std::result::Result<T, CliError>;

/// ` (did you mean 'x'?)` if one of `candidates` is close to `word`, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|c| format!(" (did you mean '{c}'?)")).unwrap_or_default()
}

/// The candidate closest to `word`, if it is close enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Words longer than any name we have are not misspelled names; and the distance is quadratic.
    if word.chars().count() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|c| (distance(&word.to_lowercase(), &c.to_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edit distance with insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let names = ["device", "drive", "display", "dtb"];
        assert_eq!(nearest("devic", names), Some("device"));
        assert_eq!(nearest("dirve", names), Some("drive"));
        assert_eq!(nearest("quux", names), None);
        assert_eq!(nearest(&"d".repeat(1 << 20), names), None);
    }

    #[test]
    fn one_line_even_if_the_value_is_not() {
        let text = CliError::new("-m 1\n2", "no").to_string();
        assert_eq!(text, "-m 1\\n2: no");
    }
}
