//! QEMU's way of writing options, made digestible for clap.
//!
//! One dash (two are accepted), the value is always the next word whatever it looks like (`-append -quiet`,
//! `-serial -`, an empty string), and the order of occurrences across options is kept, because the order of
//! `-drive` and `-device` decides which device gets which slot.

use clap::{CommandFactory, FromArgMatches};

use super::error::{CliError, Result, nearest};
use super::options::Options;
use super::unsupported;

/// An occurrence of an option: its main name (without dash) and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub name: String,
    pub value: String,
}

/// Parses argv (without the program's name).
pub fn parse(words: &[String]) -> Result<(Options, Vec<Occurrence>)> {
    let command = Options::command();
    let mut clap_words = vec!["vireo".to_owned()];
    let mut order = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = option_name(word)?;
        let Some((long, takes_value)) = lookup(&command, name) else {
            return Err(unknown(&command, name));
        };
        let value = if takes_value {
            let value = words.next().ok_or_else(|| CliError::new(format!("-{name}"), "needs a value after it"))?;
            clap_words.push(format!("--{long}={value}"));
            value.clone()
        } else {
            clap_words.push(format!("--{long}"));
            String::new()
        };
        order.push(Occurrence { name: long.to_owned(), value });
    }
    let matches = command
        .try_get_matches_from(clap_words)
        .and_then(|m| Options::from_arg_matches(&m))
        .map_err(|e| CliError::new("", e.to_string().lines().next().unwrap_or_default().to_owned()))?;
    Ok((matches, order))
}

/// The text of `-h`, with one dash.
pub fn help() -> String {
    // Flags are counted because they may repeat; that is no news for a reader.
    let mut command = Options::command().mut_args(|arg| {
        let is_flag = matches!(arg.get_action(), clap::ArgAction::Count);
        if is_flag { arg.action(clap::ArgAction::SetTrue) } else { arg }
    });
    let text = command.render_help().to_string();
    text.replace(" --", " -")
}

/// What stands behind the dashes.
fn option_name(word: &str) -> Result<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|n| !n.is_empty());
    name.ok_or_else(|| {
        CliError::new(
            word,
            "is not an option; options begin with a dash, and disk images are named with -drive file=...",
        )
    })
}

/// The option's main name, and whether a value follows it.
fn lookup<'a>(command: &'a clap::Command, name: &str) -> Option<(&'a str, bool)> {
    let arg = command
        .get_arguments()
        .find(|a| a.get_long() == Some(name) || a.get_all_aliases().is_some_and(|aliases| aliases.contains(&name)))?;
    Some((arg.get_long()?, arg.get_action().takes_values()))
}

fn unknown(command: &clap::Command, name: &str) -> CliError {
    // `-m=1G` or `--kernel=x`: the name is known, the form is not.
    if let Some((head, _)) = name.split_once('=')
        && lookup(command, head).is_some()
    {
        return CliError::new(format!("-{name}"), format!("the value is a word of its own: -{head} VALUE"));
    }
    if let Some(what) = unsupported::find(name) {
        return CliError::new(format!("-{name}"), format!("{what} is not supported by vireo yet"));
    }
    // One-letter options are near every short word: they are no suggestion.
    let names = command.get_arguments().filter_map(|a| a.get_long()).filter(|n| n.len() > 1);
    let hint = nearest(name, names).map(|n| format!(" (did you mean -{n}?)"));
    CliError::new(format!("-{name}"), format!("unknown option{}", hint.unwrap_or_else(|| "; -h lists them".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn the_definition_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn values_are_taken_whatever_they_look_like() {
        let (o, order) =
            parse(&words(&["-append", "-quiet", "-serial", "-", "--kernel", "", "-M", "virt", "-append", "a=b --x"]))
                .unwrap();
        assert_eq!(o.append, ["-quiet", "a=b --x"]);
        assert_eq!(o.serial, ["-"]);
        assert_eq!(o.kernel, [""]);
        assert_eq!(o.machine, ["virt"]);
        let names: Vec<_> = order.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["append", "serial", "kernel", "machine", "append"]);
    }

    #[test]
    fn flags_may_repeat() {
        let (o, _) = parse(&words(&["-nographic", "-nographic", "-h"])).unwrap();
        assert_eq!((o.nographic, o.help), (2, 1));
    }

    #[test]
    fn errors() {
        let error = |w: &[&str]| parse(&words(w)).unwrap_err().to_string();
        assert_eq!(error(&["-devic", "x"]), "-devic: unknown option (did you mean -device?)");
        assert_eq!(error(&["-kernel"]), "-kernel: needs a value after it");
        assert_eq!(error(&["-xyzzy"]), "-xyzzy: unknown option; -h lists them");
        assert!(error(&["disk.img"]).contains("-drive file="));
        assert!(error(&["-"]).contains("is not an option"));
        assert!(error(&["--"]).contains("is not an option"));
        assert!(error(&["--kernel=x"]).contains("-kernel VALUE"));
        assert!(error(&["-vnc", ":1"]).contains("not supported by vireo yet"));
    }

    #[test]
    fn help_names_options_with_one_dash() {
        let text = help();
        assert!(text.contains("-machine") && text.contains("-nographic"), "{text}");
        assert!(!text.contains("--machine") && !text.contains("-nographic..."), "{text}");
    }

    #[test]
    fn nothing_is_both_supported_and_not() {
        let command = Options::command();
        for (name, _) in unsupported::OPTIONS {
            assert!(lookup(&command, name).is_none(), "-{name}");
        }
    }
}
