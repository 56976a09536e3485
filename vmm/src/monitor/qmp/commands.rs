//! The commands.

use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::Nothing;
use super::shape::{Takes, takes};
use super::{
    Arguments, Context, Later, Outcome, Returns, Row, accel, block, chardev, cpus, devices, done, dump, jobs, keys,
    memory, migration, query, schema,
};
use crate::control::Request;
use crate::machine::RunState;
use crate::monitor::event::Cause;
use crate::monitor::hmp;

/// What a session begins with.
pub const NEGOTIATE: &str = "qmp_capabilities";

const NONE: Takes = takes::<Nothing>();

pub const COMMANDS: &[Row] = &[
    Row { name: NEGOTIATE, takes: takes::<Capabilities>(), returns: Returns::Nothing, run: negotiate },
    Row { name: "__org.vireo_accel-set", takes: takes::<accel::Wanted>(), returns: Returns::Object, run: accel::set },
    Row { name: "__org.vireo_query-accel", takes: NONE, returns: Returns::Object, run: accel::query },
    Row { name: "block_resize", takes: takes::<block::Resize>(), returns: Returns::Nothing, run: block::resize },
    Row {
        name: "closefd",
        takes: takes::<migration::Named>(),
        returns: Returns::Nothing,
        run: migration::close_descriptor,
    },
    Row { name: "cont", takes: NONE, returns: Returns::Nothing, run: cont },
    Row {
        name: "device-list-properties",
        takes: takes::<devices::Kind>(),
        returns: Returns::List,
        run: devices::properties,
    },
    Row { name: "device_add", takes: takes::<devices::Add>(), returns: Returns::Nothing, run: devices::add },
    Row { name: "device_del", takes: takes::<devices::Del>(), returns: Returns::Nothing, run: devices::del },
    Row { name: "dump-guest-memory", takes: takes::<dump::Dump>(), returns: Returns::Nothing, run: dump::dump },
    Row {
        name: "getfd",
        takes: takes::<migration::Named>(),
        returns: Returns::Nothing,
        run: migration::name_descriptor,
    },
    Row {
        name: "human-monitor-command",
        takes: takes::<HumanCommand>(),
        returns: Returns::Text,
        run: human_monitor_command,
    },
    Row { name: "job-cancel", takes: takes::<jobs::Id>(), returns: Returns::Nothing, run: jobs::cancel },
    Row { name: "job-dismiss", takes: takes::<jobs::Id>(), returns: Returns::Nothing, run: jobs::dismiss },
    Row { name: "memsave", takes: takes::<memory::Virtual>(), returns: Returns::Nothing, run: memory::memsave },
    Row { name: "migrate", takes: takes::<migration::Place>(), returns: Returns::Nothing, run: migration::migrate },
    Row {
        name: "migrate-incoming",
        takes: takes::<migration::Source>(),
        returns: Returns::Nothing,
        run: migration::incoming,
    },
    Row {
        name: "migrate-set-capabilities",
        takes: takes::<migration::Capabilities>(),
        returns: Returns::Nothing,
        run: migration::set_capabilities,
    },
    Row {
        name: "migrate-set-parameters",
        takes: migration::LIMITS,
        returns: Returns::Nothing,
        run: migration::set_parameters,
    },
    Row { name: "migrate_cancel", takes: NONE, returns: Returns::Nothing, run: migration::cancel },
    Row { name: "pmemsave", takes: takes::<memory::Physical>(), returns: Returns::Nothing, run: memory::pmemsave },
    Row { name: "qom-list-types", takes: takes::<devices::Types>(), returns: Returns::List, run: devices::types },
    Row { name: "query-accelerators", takes: NONE, returns: Returns::Object, run: query::accelerators },
    Row { name: "query-balloon", takes: NONE, returns: Returns::Object, run: query::balloon },
    Row { name: "query-block", takes: NONE, returns: Returns::List, run: block::drives },
    Row { name: "query-block-jobs", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-blockstats", takes: takes::<block::Nodes>(), returns: Returns::List, run: block::stats },
    Row { name: "query-chardev", takes: NONE, returns: Returns::List, run: chardev::query },
    Row { name: "query-commands", takes: NONE, returns: Returns::List, run: query_commands },
    Row { name: "query-cpu-definitions", takes: NONE, returns: Returns::List, run: cpus::definitions },
    Row {
        name: "query-cpu-model-expansion",
        takes: takes::<cpus::Expansion>(),
        returns: Returns::Object,
        run: cpus::expansion,
    },
    Row { name: "query-cpus-fast", takes: NONE, returns: Returns::List, run: cpus::fast },
    Row { name: "query-current-machine", takes: NONE, returns: Returns::Object, run: query::current_machine },
    Row { name: "query-dump", takes: NONE, returns: Returns::Object, run: dump::query },
    Row { name: "query-dump-guest-memory-capability", takes: NONE, returns: Returns::Object, run: dump::capability },
    Row { name: "query-fdsets", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-hotpluggable-cpus", takes: NONE, returns: Returns::List, run: cpus::hotpluggable },
    Row { name: "query-iothreads", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-jobs", takes: NONE, returns: Returns::List, run: jobs::query },
    Row { name: "query-kvm", takes: NONE, returns: Returns::Object, run: query::kvm },
    Row { name: "query-machines", takes: takes::<query::Machines>(), returns: Returns::List, run: query::machines },
    Row { name: "query-memdev", takes: NONE, returns: Returns::List, run: query::memdev },
    Row { name: "query-memory-devices", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-memory-size-summary", takes: NONE, returns: Returns::Object, run: query::memory_size_summary },
    Row { name: "query-mice", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-migrate", takes: NONE, returns: Returns::Object, run: migration::query },
    Row { name: "query-migrate-capabilities", takes: NONE, returns: Returns::List, run: migration::query_capabilities },
    Row { name: "query-migrate-parameters", takes: NONE, returns: Returns::Object, run: migration::query_parameters },
    Row { name: "query-name", takes: NONE, returns: Returns::Object, run: query::name },
    Row { name: "query-named-block-nodes", takes: takes::<block::Flat>(), returns: Returns::List, run: block::nodes },
    Row { name: "query-pci", takes: NONE, returns: Returns::List, run: query::nothing },
    Row { name: "query-qmp-schema", takes: NONE, returns: Returns::List, run: schema::query },
    Row { name: "query-replay", takes: NONE, returns: Returns::Object, run: query::replay },
    Row { name: "query-status", takes: NONE, returns: Returns::Object, run: query::status },
    Row { name: "query-target", takes: NONE, returns: Returns::Object, run: query::target },
    Row { name: "query-uuid", takes: NONE, returns: Returns::Object, run: query::uuid },
    Row { name: "query-version", takes: NONE, returns: Returns::Object, run: query::version },
    Row { name: "quit", takes: NONE, returns: Returns::Nothing, run: quit },
    Row {
        name: "ringbuf-read",
        takes: takes::<chardev::RingRead>(),
        returns: Returns::Text,
        run: chardev::ringbuf_read,
    },
    Row { name: "send-key", takes: takes::<keys::Send>(), returns: Returns::Nothing, run: keys::send },
    Row { name: "set-action", takes: takes::<query::Actions>(), returns: Returns::Nothing, run: query::set_action },
    Row { name: "set_link", takes: takes::<devices::Link>(), returns: Returns::Nothing, run: devices::set_link },
    Row { name: "snapshot-delete", takes: takes::<jobs::Delete>(), returns: Returns::Nothing, run: jobs::delete },
    Row { name: "snapshot-load", takes: takes::<jobs::Snapshot>(), returns: Returns::Nothing, run: jobs::load },
    Row { name: "snapshot-save", takes: takes::<jobs::Snapshot>(), returns: Returns::Nothing, run: jobs::save },
    Row { name: "stop", takes: NONE, returns: Returns::Nothing, run: stop },
    Row { name: "system_powerdown", takes: NONE, returns: Returns::Nothing, run: keys::powerdown },
    Row { name: "system_reset", takes: NONE, returns: Returns::Nothing, run: system_reset },
    Row { name: "x-query-irq", takes: NONE, returns: Returns::Object, run: |cx, args| human(cx, args, "info irq") },
    Row { name: "x-query-jit", takes: NONE, returns: Returns::Object, run: |cx, args| human(cx, args, "info jit") },
    Row { name: "x-query-roms", takes: NONE, returns: Returns::Object, run: |cx, args| human(cx, args, "info roms") },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
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
pub struct HumanCommand {
    command_line: String,
    cpu_index: Option<i64>,
}

fn human_monitor_command(cx: &mut Context<'_>, args: Arguments) -> Outcome {
    let HumanCommand { command_line, cpu_index } = args.take()?;
    let mut hart = cx.hart(cpu_index)?;
    let mut waits = None;
    let said = line(cx, &command_line, &mut hart, &mut waits);
    let answer = human_text(&said);
    *cx.waits = waits.map(|waits| (Later::Text(said), waits));
    Ok(answer)
}

/// What a command for people has said.
pub fn human_text(text: &str) -> Value {
    Value::String(text.replace('\n', "\r\n"))
}

/// What `info` shows people, for programs that show it to them.
fn human(cx: &mut Context<'_>, args: Arguments, command: &str) -> Outcome {
    args.none()?;
    Ok(json!({ "human-readable-text": line(cx, command, &mut 0, &mut None) }))
}

fn line(cx: &mut Context<'_>, command_line: &str, hart: &mut u32, waits: &mut Option<hmp::Waits>) -> String {
    let (mut text, mut shown) = (String::new(), hmp::Format::default());
    let machine = &mut *cx.machine;
    let mut context = hmp::Context { machine, hart, shown: &mut shown, out: &mut text, waits, is_person: false };
    hmp::execute(command_line, &mut context);
    text
}
