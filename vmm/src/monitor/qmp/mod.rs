//! QMP: the monitor for programs. Requests and answers are JSON objects, and events come as they happen. One row a command
//! ([`commands::COMMANDS`]).

mod accel;
mod arguments;
mod block;
mod chardev;
mod commands;
mod cpus;
mod devices;
mod dump;
mod events;
mod jobs;
mod keys;
mod memory;
mod migration;
mod query;
mod schema;
mod shape;
mod stream;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::event::Event;
use super::{Session, fixed, hmp};
use crate::machine::Machine;
use arguments::Arguments;
use shape::Takes;
use stream::{Item, Stream};

/// The classes of errors that programs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Class {
    GenericError,
    CommandNotFound,
    DeviceNotActive,
    DeviceNotFound,
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub class: Class,
    pub desc: String,
}

impl Fault {
    pub fn new(class: Class, desc: impl Into<String>) -> Self {
        Self { class, desc: desc.into() }
    }
}

impl From<String> for Fault {
    fn from(desc: String) -> Self {
        Self::new(Class::GenericError, desc)
    }
}

type Outcome = Result<Value, Fault>;

/// What a command returns that has nothing to tell.
fn done() -> Outcome {
    Ok(json!({}))
}

/// What a command works with.
pub struct Context<'a> {
    pub machine: &'a mut Machine,
    pub negotiated: &'a mut bool,
    /// Set by a command that is not done when it returns: what is said then, and what it waits for.
    pub waits: &'a mut Option<(Later, hmp::Waits)>,
}

/// What is said when a command is done.
pub enum Later {
    Nothing,
    /// What a command for people has said so far, and how it has ended.
    Text(String),
}

impl Context<'_> {
    /// The hart that `cpu-index` means: the first one if it is not given.
    pub fn hart(&self, index: Option<i64>) -> Result<u32, Fault> {
        let hart = u32::try_from(index.unwrap_or(0)).ok().filter(|hart| *hart < self.machine.hart_count());
        hart.ok_or_else(|| "Parameter 'cpu-index' expects a CPU number".to_owned().into())
    }
}

/// What a command's answer is. What stands in objects is not told: each command makes its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// An empty object.
    Nothing,
    Object,
    List,
    Text,
}

/// A command.
pub struct Row {
    pub name: &'static str,
    pub takes: Takes,
    pub returns: Returns,
    pub run: fn(&mut Context<'_>, Arguments) -> Outcome,
}

/// Whether there is such a command.
#[cfg(test)]
pub fn has(name: &str) -> bool {
    commands::COMMANDS.iter().any(|row| row.name == name)
}

/// The member that `qemu` is called in QMP; the numbers are this program's.
pub fn version() -> Value {
    let number = |text: &str| text.parse::<u32>().expect("Cargo's versions are numbers");
    json!({
        "qemu": {
            "major": number(env!("CARGO_PKG_VERSION_MAJOR")),
            "minor": number(env!("CARGO_PKG_VERSION_MINOR")),
            "micro": number(env!("CARGO_PKG_VERSION_PATCH")),
        },
        "package": concat!("vireo-", env!("CARGO_PKG_VERSION")),
    })
}

/// A program at the other end.
pub struct Qmp {
    pretty: bool,
    stream: Stream,
    /// `qmp_capabilities` was said: other commands may be, and events are told.
    negotiated: bool,
    /// Answers that wait for the events of their command.
    answers: Vec<Reply>,
    /// A command that is not done: its id, what is said then, and what it waits for.
    waits: Option<(Option<Box<RawValue>>, Later, hmp::Waits)>,
}

/// What is said to a request.
#[derive(Debug, Serialize)]
struct Reply {
    #[serde(flatten)]
    said: Said,
    /// As it came with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Return(Value),
    Error(Fault),
}

impl Qmp {
    pub fn new(pretty: bool) -> Self {
        Self { pretty, stream: Stream::default(), negotiated: false, answers: Vec::new(), waits: None }
    }

    fn say(&self, value: &impl Serialize, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        let done = match self.pretty {
            false => value.serialize(&mut Serializer::new(&mut text)),
            true => {
                let indented = PrettyFormatter::with_indent(b"    ");
                value.serialize(&mut Serializer::with_formatter(&mut text, indented))
            }
        };
        done.expect("a value has a text");
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        // The protocol's output is ASCII; other characters are in strings only.
        for c in text.chars() {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => out.push(byte),
                _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.extend(format!("\\u{unit:04x}").bytes())),
            }
        }
        out.extend(b"\r\n");
    }

    fn forget(&mut self) {
        self.stream.clear();
        self.negotiated = false;
        self.answers.clear();
        self.waits = None;
    }

    /// Does what is asked for. A command that is not done then has its answer later.
    fn answer(&mut self, item: Item, machine: &mut Machine) -> Option<Reply> {
        let mut waits = None;
        let id = item.as_ref().ok().and_then(|piece| piece.exact("id"));
        let outcome = match item.map(|piece| piece.value) {
            Err(desc) => Err(desc.into()),
            Ok(Value::Object(mut request)) => {
                request.remove("id");
                self.execute(request, machine, &mut waits)
            }
            Ok(_) => Err("QMP input must be a JSON object".to_owned().into()),
        };
        if let Some((later, waits)) = waits {
            self.waits = Some((id, later, waits));
            return None;
        }
        Some(Reply { said: outcome.map_or_else(Said::Error, Said::Return), id })
    }

    fn execute(
        &mut self,
        mut request: Map<String, Value>,
        machine: &mut Machine,
        waits: &mut Option<(Later, hmp::Waits)>,
    ) -> Outcome {
        let name = match request.remove("execute") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err("QMP input member 'execute' must be a string".to_owned().into()),
        };
        let arguments = match request.remove("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err("QMP input member 'arguments' must be an object".to_owned().into()),
        };
        if let Some(member) = request.keys().next() {
            return Err(format!("QMP input member '{member}' is unexpected").into());
        }
        let name = name.ok_or_else(|| "QMP input lacks member 'execute'".to_owned())?;
        let not_found = |desc: String| Err(Fault::new(Class::CommandNotFound, desc));
        match (self.negotiated, name == commands::NEGOTIATE) {
            (false, false) => not_found("Expecting capabilities negotiation with 'qmp_capabilities'".into()),
            (true, true) => not_found("Capabilities negotiation is already complete, command ignored".into()),
            _ => match commands::COMMANDS.iter().find(|row| row.name == name) {
                None => match fixed::refusal(&name) {
                    Some(why) => Err(why.into()),
                    None => not_found(format!("The command {name} has not been found")),
                },
                Some(row) => {
                    let mut context = Context { machine, negotiated: &mut self.negotiated, waits };
                    (row.run)(&mut context, Arguments::new(arguments, &row.takes))
                }
            },
        }
    }
}

impl Session for Qmp {
    fn opened(&mut self, _: &mut Machine, out: &mut Vec<u8>) {
        self.forget();
        // No command may run before others are done, so out-of-band commands are not offered.
        self.say(&json!({ "QMP": { "version": version(), "capabilities": [] } }), out);
    }

    fn closed(&mut self, _: &mut Machine) {
        self.forget();
    }

    fn settle(&mut self, out: &mut Vec<u8>) {
        for answer in std::mem::take(&mut self.answers) {
            self.say(&answer, out);
        }
    }

    fn waits(&mut self, machine: &mut Machine, out: &mut Vec<u8>) -> bool {
        let Some((id, later, waits)) = self.waits.take() else { return false };
        let said = match &later {
            Later::Nothing => waits.outcome(machine).map(|done| match done {
                Ok(_) => Said::Return(json!({})),
                Err(why) => Said::Error(why.into()),
            }),
            Later::Text(said) => {
                waits.end(machine).map(|end| Said::Return(commands::human_text(&format!("{said}{end}"))))
            }
        };
        match said {
            Some(said) => {
                self.say(&Reply { said, id }, out);
                false
            }
            None => {
                self.waits = Some((id, later, waits));
                true
            }
        }
    }

    fn input(&mut self, bytes: &[u8], machine: &mut Machine, _out: &mut Vec<u8>) -> usize {
        let mut items = Vec::new();
        let end = bytes.iter().position(|byte| {
            self.stream.take(*byte, &mut |item| items.push(item));
            !items.is_empty()
        });
        for item in items {
            let answer = self.answer(item, machine);
            self.answers.extend(answer);
        }
        end.map_or(bytes.len(), |last| last + 1)
    }

    fn tells(&self, event: &Event) -> bool {
        self.negotiated && event.name().is_some()
    }

    fn event(&mut self, event: &Event, at: SystemTime, _: &mut Machine, out: &mut Vec<u8>) {
        if let Some(name) = event.name().filter(|_| self.negotiated) {
            let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
            let mut message = json!({
                "event": name,
                "timestamp": { "seconds": at.as_secs(), "microseconds": at.subsec_micros() },
            });
            if let Some(data) = events::data(event) {
                message["data"] = data;
            }
            self.say(&message, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, row) in commands::COMMANDS.iter().enumerate() {
            assert!(commands::COMMANDS[..i].iter().all(|other| other.name != row.name), "{} twice", row.name);
        }
    }

    #[test]
    fn output_is_ascii() {
        let said = |pretty, value: &Value| {
            let mut out = Vec::new();
            Qmp::new(pretty).say(value, &mut out);
            String::from_utf8(out).unwrap()
        };
        let value = json!({ "a": ["é\n😀"] });
        assert_eq!(said(false, &value), "{\"a\":[\"\\u00e9\\n\\ud83d\\ude00\"]}\r\n");
        assert_eq!(said(true, &value), "{\n    \"a\": [\n        \"\\u00e9\\n\\ud83d\\ude00\"\n    ]\n}\r\n");
    }
}
