//! The log of the program: warnings always, what `-d` names besides, and what a monitor switches on and off.
//!
//! It is one for the whole program, as the threads that write to it are not all a machine's.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Has another filter decide from now on.
type Switch = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Set when the log is started.
static SWITCH: OnceLock<Switch> = OnceLock::new();

fn filter(directives: &[String]) -> Result<EnvFilter, String> {
    directives.iter().try_fold(EnvFilter::new("warn"), |filter, directive| {
        let directive = directive.parse().map_err(|e| format!("-d: {directive}: {e}"))?;
        Ok(filter.add_directive(directive))
    })
}

/// Starts it; once in a program.
///
/// # Errors
/// The file that cannot be written.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&config.directives)?);
    let switch: Switch = match &config.file {
        Some(path) => {
            let log = Mutex::new(LogFile::create(path)?);
            let builder = builder.with_writer(log).with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()))
        }
        None => {
            let builder = builder.with_writer(io::stderr).with_ansi(false).without_time().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()))
        }
    };
    let _ = SWITCH.set(switch);
    Ok(())
}

/// Logs what `config` names instead of what was logged before; its file does not count.
///
/// # Errors
/// The program has no log.
pub fn switch(config: &LogConfig) -> Result<(), String> {
    let switch = SWITCH.get().ok_or("this program has no log")?;
    switch(filter(&config.directives)?)
}

/// `-D`. It ends where it cannot be written, which is said once: the guest goes on.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
}

impl LogFile {
    fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|e| format!("-D {}: cannot write the log: {e}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(Err(e)) = self.file.as_mut().map(|file| file.write_all(bytes)) {
            self.file = None;
            // Who has no standard error either has been told all that can be.
            let _ = writeln!(io::stderr(), "vireo: -D {}: cannot write: {e}; the log ends here", self.path.display());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
