//! `vireo`.

use std::process::ExitCode;

use vmm::cli::{self, Command};

fn main() -> ExitCode {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(word) => return fail(&format!("{}: is not UTF-8 text", word.to_string_lossy())),
        }
    }
    match cli::parse(&words) {
        Ok(Command::Print(text)) => {
            use std::io::Write;
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Command::Run(config)) => {
            let _ = config;
            fail("running machines is not there yet")
        }
        Err(e) => fail(&e.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("vireo: {message}");
    ExitCode::FAILURE
}
