//! The prompt.

use crate::console::{self, print, println};
use crate::{irq, sbi};

const LINE_MAX: usize = 200;

/// A command: its name, what it does in one line, and the code.
struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(&str),
}

const COMMANDS: &[Command] = &[
    Command { name: "help", help: "this list", run: |_| help() },
    Command { name: "info", help: "the machine", run: |_| crate::info::print_machine() },
    Command {
        name: "selftest",
        help: "test the machine; a word selects tests by name",
        run: |rest| {
            crate::selftest::run(rest);
        },
    },
    Command { name: "bench", help: "measure the machine; a word selects one benchmark", run: crate::bench::run },
    Command { name: "echo", help: "print the rest of the line", run: |rest| println!("{rest}") },
    Command { name: "reboot", help: "start the machine again", run: |_| reset(1) },
    Command { name: "poweroff", help: "switch the machine off", run: |_| reset(0) },
];

fn help() {
    for command in COMMANDS {
        println!("{:<10} {}", command.name, command.help);
    }
}

fn reset(kind: usize) {
    let ret = sbi::reset(kind, 0);
    println!("the SBI cannot do that (error {})", ret.error);
}

/// Runs one command line.
fn run(line: &str) {
    let line = line.trim_ascii();
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    if name.is_empty() {
        return;
    }
    match COMMANDS.iter().find(|c| c.name == name) {
        Some(command) => (command.run)(rest.trim_ascii_start()),
        None => println!("unknown command '{name}'; try 'help'"),
    }
}

/// The next key, sleeping until there is one.
fn key() -> u8 {
    loop {
        if let Some(byte) = console::get() {
            return byte;
        }
        if irq::available() && irq::uart_irq() != 0 {
            irq::wait_until(console::pending);
        } else {
            // No interrupt comes with input: look again every 10 ms.
            irq::wait_for(crate::machine().timebase / 100, || {
                console::receive();
                console::pending()
            });
        }
    }
}

/// Reads a line with backspace and echo.
fn read_line(buffer: &mut [u8; LINE_MAX]) -> &str {
    let mut len = 0;
    loop {
        match key() {
            b'\r' | b'\n' => {
                println!();
                return core::str::from_utf8(&buffer[..len]).unwrap_or("");
            }
            0x08 | 0x7f if len > 0 => {
                len -= 1;
                print!("\x08 \x08");
            }
            // Ctrl-C and Ctrl-U start over.
            0x03 | 0x15 => {
                println!("^C");
                print!("vireo> ");
                len = 0;
            }
            byte @ b' '..=b'~' if len < LINE_MAX => {
                buffer[len] = byte;
                len += 1;
                print!("{}", char::from(byte));
            }
            _ => {}
        }
    }
}

/// Prompts for ever.
pub fn run_forever() -> ! {
    let mut buffer = [0; LINE_MAX];
    loop {
        print!("vireo> ");
        run(read_line(&mut buffer));
    }
}
