//! The commands.

use std::fmt::Write;

use super::{
    Arguments, Context, Row, accel, devices, expr, find, info, keys, list, memory, migration, profile, snapshots,
    tracing, usage,
};
use crate::control::Request;
use crate::machine::RunState;
use crate::monitor::event::Cause;

pub const COMMANDS: &[Row] = &[
    Row { names: &["help", "?"], args: "[COMMAND [SUBJECT]]", help: "what there is, or one command", run: help },
    Row {
        names: &["info", "i"],
        args: "[SUBJECT ...]",
        help: "what the machine is and does; alone: the subjects",
        run: show,
    },
    Row { names: &["stop", "s"], args: "", help: "stop the machine", run: stop },
    Row { names: &["cont", "c"], args: "", help: "let the machine go on", run: cont },
    Row {
        names: &["accel"],
        args: "[kvm|tcg|interp]",
        help: "let the guest go on under another engine; alone: which there are",
        run: accel::switch,
    },
    Row { names: &["system_reset"], args: "", help: "start the guest anew, as at power-on", run: reset },
    Row {
        names: &["system_powerdown"],
        args: "",
        help: "press the power button (-device virtio-keyboard-device)",
        run: keys::powerdown,
    },
    Row { names: &["sendkey"], args: "KEYS [MS]", help: "press keys, as ctrl-alt-delete", run: keys::send },
    Row { names: &["quit", "q"], args: "", help: "end the program", run: quit },
    Row {
        names: &["block_resize"],
        args: "DRIVE SIZE",
        help: "make a raw image longer or shorter; a number alone counts MiB",
        run: devices::resize,
    },
    Row {
        names: &["set_link"],
        args: "NAME on|off",
        help: "pull a network card's cable out, or put it back",
        run: devices::set_link,
    },
    Row { names: &["device_add"], args: "DRIVER", help: "refused: no bus takes devices later", run: devices::add },
    Row { names: &["device_del"], args: "ID", help: "refused likewise", run: devices::del },
    Row {
        names: &["gdbserver"],
        args: "[DEVICE|none]",
        help: "let gdb attach at a device as of -gdb (tcp::1234), or end that",
        run: gdbserver,
    },
    Row { names: &["cpu"], args: "N", help: "hart N is the one that commands mean", run: cpu },
    Row { names: &["x"], args: "[/FMT] ADDR", help: "memory at a virtual address of the hart", run: memory::virtual_ },
    Row { names: &["xp"], args: "[/FMT] ADDR", help: "memory at a physical address", run: memory::physical },
    Row {
        names: &["dump-guest-memory"],
        args: "[-d] FILE [BEGIN LENGTH]",
        help: "write RAM, or a part of it, and registers to a core file for gdb and crash (-d: do not wait)",
        run: memory::dump_guest,
    },
    Row { names: &["gva2gpa"], args: "ADDR", help: "where a virtual address leads", run: memory::translate },
    Row {
        names: &["gpa2hva"],
        args: "ADDR",
        help: "where this program has a physical address",
        run: memory::host_address,
    },
    Row {
        names: &["log"],
        args: "[ITEM,...|none]",
        help: "log these and no others; alone: what there is",
        run: tracing::log,
    },
    Row {
        names: &["trace"],
        args: "[ITEM on|off | FILTER=VALUE]",
        help: "log one item more or less, or of other code and harts (dfilter=, hart=, priv=; all); alone: what is logged",
        run: tracing::trace,
    },
    Row {
        names: &["profile"],
        args: "start|stop|status [OPTION=VALUE ...]",
        help: "sample the harts: start [hz=N] [harts=LIST] [file=PATH], stop [file=PATH]",
        run: profile::profile,
    },
    Row {
        names: &["print", "p"],
        args: "[/FMT] EXPR",
        help: "the value of an expression ($ names registers)",
        run: memory::print,
    },
    Row {
        names: &["migrate"],
        args: "[-d] PLACE",
        help: "move the machine: file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT, fd:NAME (-d: do not wait)",
        run: migration::migrate,
    },
    Row {
        names: &["getfd"],
        args: "NAME",
        help: "name the descriptor that came with this (SCM_RIGHTS), for fd:NAME",
        run: migration::name_descriptor,
    },
    Row { names: &["closefd"], args: "NAME", help: "close it", run: migration::close_descriptor },
    Row { names: &["migrate_cancel"], args: "", help: "give the move up", run: migration::cancel },
    Row {
        names: &["migrate_incoming"],
        args: "PLACE",
        help: "where the guest comes from, after -incoming defer",
        run: migration::incoming,
    },
    Row {
        names: &["migrate_set_capability"],
        args: "events|mapped-ram on|off",
        help: "how machines are moved: QMP hears of it (MIGRATION), to files whose RAM can be mapped",
        run: migration::set_capability,
    },
    Row {
        names: &["migrate_set_parameter"],
        args: "downtime-limit|max-bandwidth VALUE",
        help: "how long a move may hold the guest up (ms), and how much it may send (MiB/s, or a size; 0: no limit)",
        run: migration::set_parameter,
    },
    Row { names: &["savevm"], args: "NAME", help: "save the machine (-machine snapshots=)", run: snapshots::save },
    Row { names: &["loadvm"], args: "NAME", help: "go back to a saved machine", run: snapshots::load },
    Row { names: &["delvm"], args: "NAME", help: "forget a saved machine", run: snapshots::delete },
];

fn help(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    match args.words.as_slice() {
        [] => list(COMMANDS, "", cx.out),
        [name] if is_info(name) => list(info::SUBJECTS, "info ", cx.out),
        [name, subject, ..] if is_info(name) => {
            let row = find(info::SUBJECTS, subject).ok_or_else(|| format!("unknown subject: '{subject}'"))?;
            list(std::slice::from_ref(row), "info ", cx.out);
        }
        [name, subject, ..] => return Err(format!("{name} has no subjects as '{subject}'; info has")),
        [name] => {
            let row = find(COMMANDS, name).ok_or_else(|| format!("unknown command: '{name}'"))?;
            list(std::slice::from_ref(row), "", cx.out);
        }
    }
    Ok(())
}

fn is_info(name: &str) -> bool {
    find(COMMANDS, name).is_some_and(|row| row.names[0] == "info")
}

fn show(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let Some((name, rest)) = args.words.split_first() else {
        list(info::SUBJECTS, "info ", cx.out);
        return Ok(());
    };
    let row = find(info::SUBJECTS, name).ok_or_else(|| format!("unknown subject: '{name}'; info alone lists them"))?;
    let text = args.text.strip_prefix(name.as_str()).unwrap_or_default().trim().to_owned();
    let args = Arguments { text, words: rest.to_vec() };
    usage::check(row, "info ", &args)?;
    (row.run)(cx, &args)
}

fn stop(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.interrupt(RunState::Paused);
    Ok(())
}

fn cont(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.cont()
}

fn reset(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.request(Request::Reset(Cause::Monitor));
    Ok(())
}

fn quit(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    cx.machine.request(Request::Quit(Cause::Monitor));
    Ok(())
}

fn gdbserver(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let device = args.words.first().map_or("", String::as_str);
    if device == "none" {
        return cx.machine.end_gdb();
    }
    let place = cx.machine.start_gdb(device)?;
    let _ = writeln!(cx.out, "Waiting for gdb connection on device '{place}'");
    Ok(())
}

fn cpu(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let harts = cx.machine.hart_count();
    let word = args.first();
    let hart = expr::number(word).and_then(|n| u32::try_from(n).ok()).filter(|n| *n < harts);
    *cx.hart = hart.ok_or_else(|| format!("'{word}' is no hart: they are 0 to {}", harts - 1))?;
    let _ = writeln!(cx.out, "hart {}", cx.hart);
    Ok(())
}
