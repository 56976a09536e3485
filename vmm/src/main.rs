//! `vireo`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use devices::chardev::restore_terminal;
use vmm::cli::{self, Command};
use vmm::config::MachineConfig;
use vmm::machine::{self, Ending};

fn main() -> ExitCode {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return fail(&format!("{}: is not UTF-8 text", word.to_string_lossy())),
        }
    }
    if words.first().is_some_and(|w| w == "bench") {
        return bench::main(&words[1..]);
    }
    if words.first().is_some_and(|w| w == "profile") {
        return vmm::profile::command::main(&words[1..]);
    }
    match cli::parse(&words) {
        Ok(Command::Print(text)) => {
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Command::Run(config)) => run(*config),
        Err(e) => fail(&e.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("vireo: {message}");
    ExitCode::FAILURE
}

fn run(config: MachineConfig) -> ExitCode {
    if let Err(message) = vmm::log::start(&config.log) {
        return fail(&message);
    }
    restore_terminal_on_panic();
    if let Some(name) = &config.process_name {
        name_process(name);
    }
    let _pidfile = match config.pidfile.as_ref().map(Pidfile::write).transpose() {
        Ok(pidfile) => pidfile,
        Err(message) => return fail(&message),
    };
    let label = config.name.clone();
    let ending = machine::run(config);
    restore_terminal();
    match ending {
        Ok(Ending::Code(code)) => ExitCode::from(code),
        Ok(Ending::Signal(signal)) => {
            eprintln!("vireo: ended by signal {signal}");
            ExitCode::from(128u8.saturating_add(signal as u8))
        }
        Err(e) => {
            let of = label.map(|l| format!("{l}: ")).unwrap_or_default();
            fail(&format!("{of}{}", vmm::error_chain(&e)))
        }
    }
}

/// Any thread's panic must leave a usable terminal behind, and be readable on it.
fn restore_terminal_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore_terminal();
        default(info);
    }));
}

/// What `ps` shows for the main thread; the kernel keeps 15 bytes.
fn name_process(name: &str) {
    let mut bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    bytes.push(0);
    // SAFETY: the bytes are a C string that outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// `-pidfile`; removed at the end.
struct Pidfile(PathBuf);

impl Pidfile {
    fn write(path: &PathBuf) -> Result<Self, String> {
        let text = format!("{}\n", std::process::id());
        std::fs::write(path, text).map_err(|e| format!("-pidfile {}: cannot write: {e}", path.display()))?;
        Ok(Self(path.clone()))
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
