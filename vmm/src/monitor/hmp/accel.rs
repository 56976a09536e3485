//! Commands about the engine that runs the guest.

use std::fmt::Write;

use ::accel::select::engines;

use super::{Arguments, Context};

pub fn switch(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let Some(name) = args.words.first() else { return info(cx, args) };
    let _ = match cx.machine.switch_engine(name)? {
        None => writeln!(cx.out, "the guest is on {name} already"),
        Some(switched) => writeln!(cx.out, "{switched}"),
    };
    Ok(())
}

pub fn info(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for engine in engines() {
        let mark = if engine.name == cx.machine.engine() { '*' } else { ' ' };
        let note = engine.availability.err().map_or_else(String::new, |why| format!(" (not available: {why})"));
        let _ = writeln!(cx.out, "{mark} {:<8}{}{note}", engine.name, engine.description);
    }
    Ok(())
}

pub fn jit(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    for hart in 0..cx.machine.hart_count() {
        // QEMU's words.
        let table = cx.machine.hart_counters(hart)?.ok_or("JIT information is only available with accel=tcg")?;
        let _ = writeln!(cx.out, "hart {hart}{table}");
    }
    Ok(())
}

/// In QEMU's words.
pub fn kvm(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let state = if cx.machine.engine() == "kvm" { "enabled" } else { "disabled" };
    let _ = writeln!(cx.out, "kvm support: {state}");
    Ok(())
}
