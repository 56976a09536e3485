//! What a command takes, as its row says it: `[...]` may be left out, ` | ` stands between ways to say it, `...` behind what
//! may come again, and some names for all up to the end of the line.

use super::{Arguments, Row};

/// Names of arguments that are no single words: expressions have spaces, and so do commands of the host's shell.
const REST: [&str; 3] = ["ADDR", "EXPR", "PLACE"];
/// What `x/4i` has behind its name.
const FORMAT: &str = "[/FMT]";

/// How many words.
#[derive(Debug, PartialEq, Eq)]
struct Usage {
    least: usize,
    /// `None`: any number.
    most: Option<usize>,
}

impl Usage {
    fn of(args: &str) -> Self {
        let (mut least, mut depth) = (0, 0usize);
        // Words before the optional part, in this way to say it, and in the longest.
        let (mut before, mut now, mut longest) = (0, 0, Some(0));
        for token in args.split_whitespace() {
            let opening = token.bytes().filter(|c| *c == b'[').count();
            if token == "|" {
                now = before;
                continue;
            }
            if depth == 0 {
                before = now;
                least += usize::from(opening == 0);
            }
            let word = token.trim_matches(['[', ']']);
            now += 1;
            let endless = word.ends_with("...") || REST.contains(&word);
            longest = longest.filter(|_| !endless).map(|longest: usize| longest.max(now));
            depth = (depth + opening).saturating_sub(token.bytes().filter(|c| *c == b']').count());
        }
        Self { least, most: longest }
    }
}

/// Whether `args` are as many as `row` takes; `prefix` stands before its name.
pub fn check(row: &Row, prefix: &str, args: &Arguments) -> Result<(), String> {
    let Usage { least, most } = Usage::of(row.args);
    let takes = if row.args.is_empty() { "no arguments" } else { row.args };
    let name = row.names[0];
    if let Some(extra) = most.and_then(|most| args.words.get(most)) {
        return Err(format!("'{extra}' is one word too many: {prefix}{name} takes {takes}"));
    }
    let is_format = |word: &&String| row.args.starts_with(FORMAT) && word.starts_with('/');
    let given = args.words.iter().skip_while(is_format).count();
    if given < least {
        return Err(format!("{prefix}{name} lacks an argument: it takes {takes}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_many_words() {
        let usage = |args| {
            let Usage { least, most } = Usage::of(args);
            (least, most)
        };
        assert_eq!(usage(""), (0, Some(0)));
        assert_eq!(usage("NAME"), (1, Some(1)));
        assert_eq!(usage("KEYS [MS]"), (1, Some(2)));
        assert_eq!(usage("[COMMAND [SUBJECT]]"), (0, Some(2)));
        assert_eq!(usage("[ITEM,...|none]"), (0, Some(1)));
        assert_eq!(usage("[ITEM on|off | FILTER=VALUE]"), (0, Some(2)));
        assert_eq!(usage("[FILTER=VALUE | ITEM on|off]"), (0, Some(2)));
        assert_eq!(usage("start|stop [OPTION=VALUE ...]"), (1, None));
        assert_eq!(usage("[-d] PLACE"), (1, None));
        assert_eq!(usage("[/FMT] ADDR"), (1, None));
        assert_eq!(usage("[-d] FILE [BEGIN LENGTH]"), (1, Some(4)));
    }
}
