//! The human monitor: lines of commands, as QEMU's HMP has them. One row a command ([`commands::COMMANDS`]), one a
//! subject of `info` ([`info::SUBJECTS`]).

mod accel;
mod commands;
mod devices;
mod editor;
mod expr;
mod info;
mod keys;
mod memory;
mod migration;
mod paging;
mod profile;
mod snapshots;
mod tracing;
mod usage;
mod waits;

use std::fmt::Write;
use std::time::SystemTime;

use super::event::Event;
use super::{Session, fixed};
use crate::machine::Machine;
use editor::{Edit, Editor};
pub use memory::Format;
use waits::Waiter;
pub use waits::Waits;

const PROMPT: &[u8] = b"(vireo) ";

/// What a command works with.
pub struct Context<'a> {
    pub machine: &'a mut Machine,
    /// The hart that `x`, `info registers` and their likes mean.
    pub hart: &'a mut u32,
    /// How `x` and `xp` showed memory last, which they go on with.
    pub shown: &'a mut Format,
    /// Where its text goes; lines end in `\n`.
    pub out: &'a mut String,
    /// Set by a command that is not done when it returns.
    pub waits: &'a mut Option<Waits>,
    /// A person asks. Programs do not wait for a move.
    pub is_person: bool,
}

/// A command, or a subject of `info`.
pub struct Row {
    /// The first is the one to speak of.
    pub names: &'static [&'static str],
    /// What it takes, for people to read and for [`usage::check`].
    pub args: &'static str,
    pub help: &'static str,
    pub run: fn(&mut Context<'_>, &Arguments) -> Result<(), String>,
}

/// What stands behind a command's name.
pub struct Arguments {
    /// As typed, apart from space around it.
    pub text: String,
    /// Words; quotes keep space in one.
    pub words: Vec<String>,
}

impl Arguments {
    /// The first word of a command that takes one at least.
    pub fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// The row that `name` stands for.
pub fn find(rows: &'static [Row], name: &str) -> Option<&'static Row> {
    rows.iter().find(|row| row.names.contains(&name))
}

/// Whether there is such a command.
#[cfg(test)]
pub fn has(name: &str) -> bool {
    find(commands::COMMANDS, name).is_some()
}

/// A table of commands.
pub fn list(rows: &[Row], prefix: &str, out: &mut String) {
    let head = |row: &Row| format!("{prefix}{} {}", row.names.join("|"), row.args).trim_end().to_owned();
    let width = rows.iter().map(|row| head(row).len()).max().unwrap_or(0);
    for row in rows {
        let _ = writeln!(out, "{:width$}  {}", head(row), row.help);
    }
}

/// Runs one line. What happens to the machine by the way is told with the answer: how many such lines there are.
pub fn execute(line: &str, context: &mut Context<'_>) -> usize {
    let before = context.machine.untold().len();
    run(line, context);
    let news: Vec<_> = context.machine.untold().iter().skip(before).filter_map(Event::news).collect();
    news.iter().for_each(|line| {
        let _ = writeln!(context.out, "{line}");
    });
    news.len()
}

fn run(line: &str, context: &mut Context<'_>) {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    let (head, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    // `x/4i` is the command `x` with a format.
    let (name, text) = match head.split_once('/') {
        Some((name, format)) => (name, format!("/{format} {text}")),
        None => (head, text.to_owned()),
    };
    let done = split(text.trim()).and_then(|words| {
        let row = find(commands::COMMANDS, name);
        let row =
            row.ok_or_else(|| fixed::refusal(name).unwrap_or_else(|| format!("unknown command: '{name}'; see help")))?;
        let args = Arguments { text: text.trim().to_owned(), words };
        usage::check(row, "", &args)?;
        (row.run)(context, &args)
    });
    if let Err(message) = done {
        let _ = writeln!(context.out, "Error: {message}");
    }
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| format!("no closing quote behind '{quoted}'"))?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    Ok(words)
}

/// A human at a terminal.
pub struct Hmp {
    editor: Editor,
    hart: u32,
    shown: Format,
    /// The terminal is shared with others, and they have it now.
    hidden: bool,
    greeted: bool,
    /// It is a terminal, with lines that can be written anew.
    terminal: bool,
    /// What was asked for here and is under way.
    waiter: Option<Waiter>,
    /// Events that an answer has told already.
    told: usize,
}

impl Hmp {
    /// `shared`: another user of the device begins. `terminal`: a person sees what is written.
    pub fn new(shared: bool, terminal: bool) -> Self {
        Self {
            editor: Editor::default(),
            hart: 0,
            shown: Format::default(),
            hidden: shared,
            greeted: false,
            terminal,
            waiter: None,
            told: 0,
        }
    }

    fn show(&mut self, out: &mut Vec<u8>) {
        if self.hidden || self.waiter.is_some() {
            return;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            let banner = "monitor - type 'help' for more information\r\n";
            out.extend(format!("Vireo {} {banner}", env!("CARGO_PKG_VERSION")).bytes());
        }
        out.extend(PROMPT);
        self.editor.redraw(out);
    }

    fn execute(&mut self, line: &str, machine: &mut Machine, out: &mut Vec<u8>) {
        let (mut text, mut waits) = (String::new(), None);
        let (hart, shown) = (&mut self.hart, &mut self.shown);
        let mut context = Context { machine, hart, shown, out: &mut text, waits: &mut waits, is_person: true };
        self.told += execute(line, &mut context);
        self.waiter = waits.map(Waiter::new);
        self.answer(&text, machine, out);
    }

    /// Says what a command has said, and asks for the next one.
    fn answer(&mut self, text: &str, machine: &Machine, out: &mut Vec<u8>) {
        out.extend(text.replace('\n', "\r\n").bytes());
        // Behind `quit` there is nothing to ask.
        if !machine.is_ending() {
            self.show(out);
        }
    }

    /// Offers what the word before the cursor may become.
    fn complete(&mut self, out: &mut Vec<u8>) {
        let before = self.editor.before_cursor();
        let before = before.trim_start();
        let (rows, word) = match before.split_once(char::is_whitespace) {
            None => (commands::COMMANDS, before),
            Some(("info" | "i", rest)) => (info::SUBJECTS, rest.trim_start()),
            Some(("help" | "?", rest)) => (commands::COMMANDS, rest.trim_start()),
            Some(_) => return,
        };
        let all = rows.iter().flat_map(|row| row.names).filter(|name| name.starts_with(word));
        let all: Vec<&str> = all.copied().collect();
        let Some(first) = all.first() else { return };
        let common = all
            .iter()
            .fold(first.len(), |n, name| n.min(first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count()));
        self.editor.insert(&first.as_bytes()[word.len()..common], out);
        match all.len() {
            1 => self.editor.insert(b" ", out),
            _ if common == word.len() => {
                out.extend(b"\r\n");
                out.extend(all.join(" ").bytes());
                out.extend(b"\r\n");
                self.show(out);
            }
            _ => {}
        }
    }
}

impl Session for Hmp {
    fn opened(&mut self, _: &mut Machine, out: &mut Vec<u8>) {
        self.greeted = false;
        self.editor.clear();
        self.show(out);
    }

    fn closed(&mut self, _: &mut Machine) {
        self.editor.clear();
        self.waiter = None;
    }

    fn focus(&mut self, has: bool, out: &mut Vec<u8>) {
        // Announced again when the far end connects.
        if std::mem::replace(&mut self.hidden, !has) == has {
            if let Some(waiter) = &mut self.waiter {
                waiter.erase(out);
            }
            out.extend(b"\r\n");
            self.show(out);
        }
    }

    fn waits(&mut self, machine: &mut Machine, out: &mut Vec<u8>) -> bool {
        let Some(mut waiter) = self.waiter.take() else { return false };
        match waiter.waits.end(machine) {
            Some(text) => {
                waiter.erase(out);
                self.answer(&text, machine, out);
                false
            }
            None => {
                if self.terminal && !self.hidden {
                    waiter.show(machine, out);
                }
                self.waiter = Some(waiter);
                true
            }
        }
    }

    fn give_up(&mut self, machine: &mut Machine, out: &mut Vec<u8>) {
        let Some(waiter) = &mut self.waiter else { return };
        if let Err(why) = waiter.waits.cancel(machine) {
            waiter.erase(out);
            out.extend(format!("Error: {why}\r\n").bytes());
        }
    }

    fn tells(&self, event: &Event) -> bool {
        !self.hidden && event.news().is_some()
    }

    fn event(&mut self, event: &Event, _: SystemTime, _: &mut Machine, out: &mut Vec<u8>) {
        let Some(news) = event.news() else { return };
        if self.told > 0 {
            self.told -= 1;
        } else if !self.hidden {
            if let Some(waiter) = &mut self.waiter {
                waiter.erase(out);
            }
            out.extend(format!("\r\n{news}\r\n").bytes());
            self.show(out);
        }
    }

    fn input(&mut self, bytes: &[u8], machine: &mut Machine, out: &mut Vec<u8>) -> usize {
        for (i, byte) in bytes.iter().enumerate() {
            match self.editor.take(*byte, out) {
                Edit::Going => continue,
                Edit::Complete => self.complete(out),
                Edit::Cancel => self.show(out),
                Edit::TooLong => {
                    let error = format!("Error: a line has at most {} bytes\r\n", editor::LINE_MAX);
                    out.extend(error.bytes());
                    self.show(out);
                }
                Edit::Line(line) => self.execute(&line, machine, out),
            }
            return i + 1;
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_quoted_space() {
        assert_eq!(split("a  \"b c\" d"), Ok(vec!["a".into(), "b c".into(), "d".into()]));
        assert_eq!(split(""), Ok(vec![]));
        assert!(split("a \"b").is_err());
    }

    #[test]
    fn names_are_unique() {
        for rows in [commands::COMMANDS, info::SUBJECTS] {
            let names: Vec<_> = rows.iter().flat_map(|row| row.names).collect();
            for (i, name) in names.iter().enumerate() {
                assert!(!names[..i].contains(name), "{name} twice");
            }
        }
    }
}
