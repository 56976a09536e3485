//! One run of a VMM as a child process.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::console::{Console, tail};
use crate::guest::Guest;

/// A process that should end by itself has hung after so long.
const WATCHDOG: Duration = Duration::from_secs(300);

/// A machine to be.
pub struct Machine {
    command: Command,
}

impl Machine {
    /// `program` with the serial console on its standard input and output.
    pub fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("-nographic");
        Self { command }
    }

    /// `program` without any arguments.
    pub fn bare(program: &Path) -> Self {
        Self { command: Command::new(program) }
    }

    /// The board, memory and harts that most tests use, which both VMMs understand.
    pub fn virt(program: &Path, harts: u32) -> Self {
        Self::new(program).args(["-M", "virt", "-m", "1G", "-smp"]).arg(harts.to_string())
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// The guest's kernel, with `append` behind what every boot has.
    pub fn linux(self, guest: &Guest, append: &str) -> Self {
        self.arg("-kernel")
            .arg(&guest.kernel)
            .arg("-initrd")
            .arg(&guest.initrd)
            .arg("-append")
            .arg(format!("console=ttyS0 {append}").trim_end())
    }

    /// A virtio disk over a raw image; `options` begin with a comma, or are empty.
    pub fn disk(self, image: &Path, options: &str) -> Self {
        // A comma in a path is written twice.
        let path = image.display().to_string().replace(',', ",,");
        let n = self.command.get_args().filter(|a| *a == "-drive").count();
        self.arg("-drive")
            .arg(format!("file={path},format=raw,if=none,id=disk{n}{options}"))
            .arg("-device")
            .arg(format!("virtio-blk-device,drive=disk{n}"))
    }

    /// A network card on the VMM's own network; `options` begin with a comma, or are empty.
    pub fn user_net(self, options: &str) -> Self {
        self.arg("-netdev").arg(format!("user,id=net{options}")).args(["-device", "virtio-net-device,netdev=net"])
    }

    /// Starts it. Should this thread be killed, so is the machine: nobody would end it otherwise.
    pub fn start(mut self) -> Result<Vm> {
        let program = self.command.get_program().to_string_lossy().into_owned();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
        unsafe { self.command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        let mut child = self.command.spawn().with_context(|| format!("cannot run {program}"))?;
        let (output, input) = (child.stdout.take().context("no stdout")?, child.stdin.take().context("no stdin")?);
        let mut stderr = child.stderr.take().context("no stderr")?;
        let console = Console::new(output, input);
        let shared = console.errors();
        let errors = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk) {
                let mut errors = shared.lock().unwrap_or_else(PoisonError::into_inner);
                errors.push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Ok(Vm { child, console, errors: Some(errors) })
    }
}

/// A running machine; killed when dropped.
pub struct Vm {
    child: Child,
    pub console: Console,
    errors: Option<JoinHandle<()>>,
}

/// How a run ended.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    /// All of the console.
    pub output: String,
    pub errors: String,
}

impl Vm {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the process to end by itself.
    pub fn wait(self) -> Result<End> {
        self.wait_within(WATCHDOG)
    }

    /// The same with another watchdog.
    pub fn wait_within(mut self, watchdog: Duration) -> Result<End> {
        let deadline = Instant::now() + watchdog;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("the VMM did not end; the end of its console:\n{}", tail(&self.console.text()));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let _ = self.console.expect_end();
        if let Some(reader) = self.errors.take() {
            let _ = reader.join();
        }
        let errors = self.console.errors().lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(End { status, output: self.console.text(), errors })
    }

    /// Waits for the end of a machine that was switched off: exit code 0 and nothing on standard error.
    pub fn wait_off(self) -> Result<End> {
        let end = self.wait()?;
        if !end.status.success() {
            bail!("exit code 0 expected, got {}; {}; {}", end.status, end.errors.trim(), tail(&end.output));
        }
        if !end.errors.trim().is_empty() {
            bail!("unexpected on standard error: {}", end.errors.trim());
        }
        Ok(end)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
