//! The other end of a guest's serial line: what came, waiting for a text, typing.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A guest that prints nothing for so long while it is waited for has hung.
const SILENCE: Duration = Duration::from_secs(240);

/// Lines of the console that an error shows.
const SHOWN: usize = 25;

#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    closed: bool,
}

/// A serial console.
pub struct Console {
    shared: Arc<(Mutex<Received>, Condvar)>,
    /// Everything before this has been matched by an earlier wait.
    seen: usize,
    input: Option<Box<dyn Write + Send>>,
    commands: u32,
    /// What the VMM said on standard error: shown when a wait fails.
    errors: Arc<Mutex<String>>,
}

/// What a command in the guest's shell printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub output: String,
    pub status: i32,
}

impl Console {
    /// Reads `output` on a thread of its own until it ends.
    pub fn new(mut output: impl Read + Send + 'static, input: impl Write + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Received::default()), Condvar::new()));
        let writer = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // A pty whose other end is closed gives an error rather than an end.
                let count = output.read(&mut chunk).unwrap_or(0);
                let mut received = writer.0.lock().unwrap_or_else(PoisonError::into_inner);
                received.bytes.extend(&chunk[..count]);
                received.closed = count == 0;
                writer.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { shared, seen: 0, input: Some(Box::new(input)), commands: 0, errors: Arc::default() }
    }

    /// Where the reader of standard error puts it.
    pub fn errors(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.errors)
    }

    /// Everything received so far.
    pub fn text(&self) -> String {
        let received = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&received.bytes).into_owned()
    }

    /// Waits for `text` behind what was waited for before; returns what came before it.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        self.expect_any(&[text]).map(|(_, before)| before)
    }

    /// Waits for the first of `texts` to come; its index, and what came before it.
    pub fn expect_any(&mut self, texts: &[&str]) -> Result<(usize, String)> {
        let (lock, condition) = &*self.shared;
        let mut received = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut length = received.bytes.len();
        let mut deadline = Instant::now() + SILENCE;
        loop {
            let new = &received.bytes[self.seen.min(received.bytes.len())..];
            let find = |t: &&str| new.windows(t.len().max(1)).position(|w| w == t.as_bytes());
            let first = texts.iter().enumerate().filter_map(|(i, t)| Some((find(t)?, i))).min();
            if let Some((at, index)) = first {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.seen += at + texts[index].len();
                return Ok((index, before));
            }
            let panic = b"Kernel panic - not syncing";
            let why = if new.windows(panic.len()).any(|w| w == panic) {
                "the guest's kernel panicked"
            } else if received.closed {
                "the guest is gone"
            } else if Instant::now() >= deadline {
                "the guest has been silent for too long"
            } else {
                received = condition
                    .wait_timeout(received, deadline.saturating_duration_since(Instant::now()))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if received.bytes.len() != length {
                    length = received.bytes.len();
                    deadline = Instant::now() + SILENCE;
                }
                continue;
            };
            let text = String::from_utf8_lossy(&received.bytes).into_owned();
            drop(received);
            // The end of the console comes a moment before the last words on the other stream.
            std::thread::sleep(Duration::from_millis(200));
            let errors = tail(&self.errors.lock().unwrap_or_else(PoisonError::into_inner));
            bail!(
                "waited for {texts:?}, but {why}; its standard error:\n{errors}    the end of its console:\n{}",
                tail(&text)
            );
        }
    }

    /// Waits until the guest has closed its side.
    pub fn expect_end(&mut self) -> Result<String> {
        match self.expect_any(&["\0the end\0"]) {
            Err(_) if self.closed() => {
                let text = self.text();
                let rest = text.get(self.seen.min(text.len())..).unwrap_or_default().to_owned();
                self.seen = text.len();
                Ok(rest)
            }
            Err(error) => Err(error),
            Ok(_) => bail!("the guest printed what nothing prints"),
        }
    }

    fn closed(&self) -> bool {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Types `text`.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let input = self.input.as_mut().context("the console's input is closed")?;
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).context("the guest takes no input any more")
    }

    /// Closes our side.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Runs `command` in the guest's shell, which must be at its prompt.
    pub fn run(&mut self, command: &str) -> Result<Answer> {
        self.commands += 1;
        let n = self.commands;
        // The marks are put together by the guest's printf, so the terminal's echo of this line is not taken for them.
        self.send(&format!("printf '<%s%d>\\n' run {n}; {command}\nprintf '\\n<%s%d:%d>\\n' end {n} $?\n"))?;
        self.expect(&format!("<run{n}>"))?;
        let output = self.expect(&format!("<end{n}:"))?;
        let status = self.expect(">")?;
        let output = without_terminal(&output);
        // Behind the output come the prompt and the echo of our own line.
        let mut lines: Vec<_> = output.trim_start_matches('\n').split('\n').collect();
        if let Some(at) = lines.iter().rposition(|l| l.contains("printf '\\n<%s%d:%d>\\n' end")) {
            lines.truncate(at);
        }
        let status = status.parse().with_context(|| format!("'{status}' is no exit status"))?;
        Ok(Answer { output: lines.join("\n").trim_end_matches('\n').to_owned(), status })
    }

    /// Runs `command`, which must succeed; what it printed.
    pub fn check(&mut self, command: &str) -> Result<String> {
        let answer = self.run(command)?;
        if answer.status != 0 {
            bail!("in the guest, `{command}` ended with status {} and said:\n{}", answer.status, answer.output);
        }
        Ok(answer.output)
    }
}

/// The last lines of a console.
pub fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].iter().map(|l| format!("    | {}\n", l.trim_end_matches('\r'))).collect()
}

/// Without carriage returns and the sequences with which a shell manages its line.
fn without_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {}
            '\x1b' => {
                if chars.next() == Some('[') {
                    chars.by_ref().find(|c| c.is_ascii_alphabetic());
                }
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn waits_go_forward() {
        let mut console = Console::new(Cursor::new(b"one two one three".to_vec()), std::io::sink());
        assert_eq!(console.expect("one").unwrap(), "");
        assert_eq!(console.expect_any(&["three", "one"]).unwrap(), (1, " two ".to_owned()));
        let error = console.expect("two").unwrap_err().to_string();
        assert!(error.contains("the guest is gone") && error.contains("one three"), "{error}");
        assert_eq!(console.expect_end().unwrap(), " three");
    }

    #[test]
    fn a_panic_of_the_kernel_ends_the_wait() {
        let mut console = Console::new(Cursor::new(b"x\nKernel panic - not syncing: y".to_vec()), std::io::sink());
        assert!(console.expect("prompt").unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn commands_run_in_a_real_shell() {
        use std::process::{Command, Stdio};
        let mut child =
            Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut console = Console::new(child.stdout.take().unwrap(), child.stdin.take().unwrap());
        assert_eq!(console.run("echo a; echo b").unwrap(), Answer { output: "a\nb".into(), status: 0 });
        assert_eq!(console.run("(exit 7)").unwrap(), Answer { output: String::new(), status: 7 });
        assert!(console.check("false").is_err());
        console.close_input();
        child.wait().unwrap();
    }

    #[test]
    fn escape_sequences_go() {
        assert_eq!(without_terminal("\x1b[?2004la\r\nb\x1b[0m"), "a\nb");
    }
}
