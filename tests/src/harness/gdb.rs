//! gdb at its prompt, as a person uses it.

use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::console::Console;
use crate::tools::Gdb;

const PROMPT: &str = "(gdb) ";

/// A running gdb; killed when dropped.
pub struct Session {
    child: Child,
    console: Console,
}

impl Session {
    /// gdb with the symbols of `file`.
    pub fn start(gdb: &Gdb, file: &Path) -> Result<Self> {
        let mut command = gdb.command();
        command.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run gdb")?;
        let (output, input) = (child.stdout.take().context("no stdout")?, child.stdin.take().context("no stdin")?);
        let mut session = Self { child, console: Console::new(output, input) };
        session.console.expect(PROMPT)?;
        for setting in ["confirm off", "pagination off", "width 0", "architecture riscv:rv64", "style enabled off"] {
            session.ask(&format!("set {setting}"))?;
        }
        Ok(session)
    }

    /// The same, connected to the server at a socket.
    pub fn attach(gdb: &Gdb, file: &Path, socket: &Path) -> Result<Self> {
        Self::attach_to(gdb, file, &socket.display().to_string())
    }

    /// The same, connected to the server at what gdb calls so.
    pub fn attach_to(gdb: &Gdb, file: &Path, server: &str) -> Result<Self> {
        let mut session = Self::start(gdb, file)?;
        session.check(&format!("target remote {server}"), " in ")?;
        Ok(session)
    }

    /// What a command prints, up to the next prompt.
    pub fn ask(&mut self, command: &str) -> Result<String> {
        self.send(command)?;
        self.stops()
    }

    /// The same, which has to contain `part`.
    pub fn check(&mut self, command: &str, part: &str) -> Result<String> {
        let answer = self.ask(command)?;
        if !answer.contains(part) {
            bail!("gdb should say {part:?} to '{command}', but said:\n{answer}");
        }
        Ok(answer)
    }

    /// A command that lets the guest go on.
    pub fn send(&mut self, command: &str) -> Result<()> {
        self.console.send(&format!("{command}\n"))
    }

    /// What gdb prints when the guest has stopped.
    pub fn stops(&mut self) -> Result<String> {
        self.console.expect(PROMPT)
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has a number")?;
        kill_process(pid, Signal::INT).context("cannot interrupt gdb")
    }

    /// The value of an expression without a sign.
    pub fn value(&mut self, expression: &str) -> Result<u64> {
        let answer = self.ask(&format!("output/x {expression}"))?;
        let digits = answer.trim().trim_start_matches("0x");
        u64::from_str_radix(digits, 16).with_context(|| format!("{expression} should be a number, but is {answer:?}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
