//! The commands.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Arguments, Context, Outcome, Row, accel, block, chardev, cpus, devices, done, jobs, keys, memory, migration, query,
};
use crate::control::Request;
use crate::machine::RunState;
use crate::monitor::event::Cause;
use crate::monitor::hmp;

/// What a session begins with.
pub const NEGOTIATE: &str = "qmp_capabilities";

pub const COMMANDS: &[Row] = &[
    Row { name: NEGOTIATE, run: negotiate },
    Row { name: "__org.vireo_accel-set", run: accel::set },
    Row { name: "__org.vireo_query-accel", run: accel::query },
    Row { name: "cont", run: cont },
    Row { name: "device-list-properties", run: devices::properties },
    Row { name: "device_add", run: devices::add },
    Row { name: "device_del", run: devices::del },
    Row { name: "human-monitor-command", run: human_monitor_command },
    Row { name: "job-cancel", run: jobs::cancel },
    Row { name: "job-dismiss", run: jobs::dismiss },
    Row { name: "memsave", run: memory::memsave },
    Row { name: "migrate", run: migration::migrate },
    Row { name: "migrate-incoming", run: migration::incoming },
    Row { name: "migrate-set-capabilities", run: migration::set_capabilities },
    Row { name: "migrate_cancel", run: migration::cancel },
    Row { name: "pmemsave", run: memory::pmemsave },
    Row { name: "qom-list-types", run: devices::types },
    Row { name: "query-accelerators", run: query::accelerators },
    Row { name: "query-balloon", run: query::balloon },
    Row { name: "query-block", run: block::drives },
    Row { name: "query-block-jobs", run: query::nothing },
    Row { name: "query-blockstats", run: block::stats },
    Row { name: "query-chardev", run: chardev::query },
    Row { name: "query-commands", run: query_commands },
    Row { name: "query-cpu-definitions", run: cpus::definitions },
    Row { name: "query-cpu-model-expansion", run: cpus::expansion },
    Row { name: "query-cpus-fast", run: cpus::fast },
    Row { name: "query-current-machine", run: query::current_machine },
    Row { name: "query-fdsets", run: query::nothing },
    Row { name: "query-hotpluggable-cpus", run: cpus::hotpluggable },
    Row { name: "query-iothreads", run: query::nothing },
    Row { name: "query-jobs", run: jobs::query },
    Row { name: "query-kvm", run: query::kvm },
    Row { name: "query-machines", run: query::machines },
    Row { name: "query-memdev", run: query::memdev },
    Row { name: "query-memory-devices", run: query::nothing },
    Row { name: "query-memory-size-summary", run: query::memory_size_summary },
    Row { name: "query-mice", run: query::nothing },
    Row { name: "query-migrate", run: migration::query },
    Row { name: "query-migrate-capabilities", run: migration::query_capabilities },
    Row { name: "query-name", run: query::name },
    Row { name: "query-named-block-nodes", run: block::nodes },
    Row { name: "query-pci", run: query::nothing },
    Row { name: "query-replay", run: query::replay },
    Row { name: "query-status", run: query::status },
    Row { name: "query-target", run: query::target },
    Row { name: "query-uuid", run: query::uuid },
    Row { name: "query-version", run: query::version },
    Row { name: "quit", run: quit },
    Row { name: "ringbuf-read", run: chardev::ringbuf_read },
    Row { name: "send-key", run: keys::send },
    Row { name: "set-action", run: query::set_action },
    Row { name: "snapshot-delete", run: jobs::delete },
    Row { name: "snapshot-load", run: jobs::load },
    Row { name: "snapshot-save", run: jobs::save },
    Row { name: "stop", run: stop },
    Row { name: "system_powerdown", run: keys::powerdown },
    Row { name: "system_reset", run: system_reset },
    Row { name: "x-query-irq", run: |cx, args| human(cx, args, "info irq") },
    Row { name: "x-query-jit", run: |cx, args| human(cx, args, "info jit") },
    Row { name: "x-query-roms", run: |cx, args| human(cx, args, "info roms") },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    #[serde(default)]
    enable: Vec<String>,
}

fn negotiate(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let Capabilities { enable } = args.take()?;
    if let Some(name) = enable.first() {
        return Err(format!("Capability '{name}' is not available").into());
    }
    *cx.negotiated = true;
    done()
}

fn query_commands(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(COMMANDS.iter().map(|row| json!({ "name": row.name })).collect())
}

fn stop(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.interrupt(RunState::Paused);
    done()
}

fn cont(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.cont()?;
    done()
}

fn system_reset(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.request(Request::Reset(Cause::Monitor));
    done()
}

fn quit(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    cx.machine.request(Request::Quit(Cause::Monitor));
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HumanCommand {
    command_line: String,
    cpu_index: Option<i64>,
}

fn human_monitor_command(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let HumanCommand { command_line, cpu_index } = args.take()?;
    let mut hart = cx.hart(cpu_index)?;
    Ok(Value::String(line(cx, &command_line, &mut hart).replace('\n', "\r\n")))
}

/// What `info` shows people, for programs that show it to them.
fn human(cx: &mut Context<'_>, args: Arguments, command: &str) -> Outcome {
    args.none()?;
    Ok(json!({ "human-readable-text": line(cx, command, &mut 0) }))
}

fn line(cx: &mut Context<'_>, command_line: &str, hart: &mut u32) -> String {
    let (mut text, mut shown) = (String::new(), hmp::Format::default());
    let mut context = hmp::Context { machine: cx.machine, hart, shown: &mut shown, out: &mut text, waits: None };
    hmp::execute(command_line, &mut context);
    text
}
