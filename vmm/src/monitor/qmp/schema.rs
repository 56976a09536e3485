//! `query-qmp-schema`: what commands and events there are, and their types, out of the tables of both.
//!
//! Commands' arguments are told in full: they come from the types that take them ([`super::shape`]). Of answers only the
//! outermost type is told, and `any` for what an object or a list has in it: each command makes its answer as it goes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::commands::COMMANDS;
use super::events::EVENTS;
use super::shape::{Member, Shape};
use super::{Arguments, Context, Outcome, Returns};

/// QEMU's name of the object without members.
const EMPTY: &str = "q_empty";

/// Entities by name.
#[derive(Default)]
struct Schema(BTreeMap<String, Value>);

impl Schema {
    fn all() -> Self {
        let mut all = Self::default();
        for row in COMMANDS {
            let arguments = all.arguments(row.name, &(row.takes.shape)());
            let returned = match row.returns {
                Returns::Nothing => all.object(EMPTY, Vec::new()),
                Returns::Object => all.builtin("any", "value"),
                Returns::List => all.add(row.name, &Shape::List(Box::new(Shape::Any))),
                Returns::Text => all.add(row.name, &Shape::Text),
            };
            all.put(row.name, "command", json!({ "arg-type": arguments, "ret-type": returned }));
        }
        for row in EVENTS {
            let mut members = Vec::new();
            for (told, optional) in [(row.tells, false), (row.may_tell, true)] {
                members.extend(told.iter().map(|(name, shape)| Member { name, shape: shape.clone(), optional }));
            }
            let arguments = all.arguments(row.name, &Shape::Object(members));
            all.put(row.name, "event", json!({ "arg-type": arguments }));
        }
        all
    }

    fn put(&mut self, name: &str, kind: &str, mut info: Value) -> String {
        info["name"] = json!(name);
        info["meta-type"] = json!(kind);
        self.0.insert(name.to_owned(), info);
        name.to_owned()
    }

    fn builtin(&mut self, name: &str, json: &str) -> String {
        self.put(name, "builtin", json!({ "json-type": json }))
    }

    fn object(&mut self, name: &str, members: Vec<Value>) -> String {
        self.put(name, "object", json!({ "members": members }))
    }

    /// The object of a command's arguments, or an event's.
    fn arguments(&mut self, of: &str, shape: &Shape) -> String {
        let Shape::Object(members) = shape else { return self.add(of, shape) };
        if members.is_empty() {
            return self.object(EMPTY, Vec::new());
        }
        let infos = members.iter().map(|Member { name, shape, optional }| {
            let kind = self.add(&format!("{of}-{name}"), shape);
            let mut info = json!({ "name": name, "type": kind });
            if *optional {
                // What it is then is not told.
                info["default"] = Value::Null;
            }
            info
        });
        let infos = infos.collect();
        // As QEMU calls types that have no name of their own.
        self.object(&format!("q_obj_{of}-arg"), infos)
    }

    /// Adds a type, which is `of` something if it has no name that all share, and returns its name.
    fn add(&mut self, of: &str, shape: &Shape) -> String {
        match shape {
            Shape::Text => self.builtin("str", "string"),
            Shape::Integer => self.builtin("int", "int"),
            Shape::Number => self.builtin("number", "number"),
            Shape::Flag => self.builtin("bool", "boolean"),
            Shape::Any => self.builtin("any", "value"),
            Shape::List(element) => {
                let element = self.add(of, element);
                self.put(&format!("[{element}]"), "array", json!({ "element-type": element }))
            }
            Shape::Word { words, .. } => {
                let members: Vec<_> = words.iter().map(|word| json!({ "name": word })).collect();
                self.put(&format!("q_enum_{of}"), "enum", json!({ "members": members, "values": words }))
            }
            Shape::Object(_) => self.arguments(of, shape),
        }
    }
}

pub fn query(_: &mut Context<'_>, args: Arguments) -> Outcome {
    args.none()?;
    Ok(Schema::all().0.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use qapi::qmp::SchemaInfo;

    use super::*;

    /// A client's own types take it; every name that is used is there, once, and so is each command and event.
    #[test]
    fn it_is_whole() {
        let all: Vec<Value> = Schema::all().0.into_values().collect();
        let names: BTreeSet<_> = all.iter().map(|info| info["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names.len(), all.len());
        let of = |kind: &str| -> BTreeSet<_> {
            all.iter().filter(|info| info["meta-type"] == kind).map(|info| info["name"].as_str().unwrap()).collect()
        };
        assert_eq!(of("command"), COMMANDS.iter().map(|row| row.name).collect());
        assert_eq!(of("event"), EVENTS.iter().map(|row| row.name).collect());
        for info in &all {
            let mut used: Vec<&Value> =
                ["arg-type", "ret-type", "element-type"].iter().filter_map(|member| info.get(member)).collect();
            used.extend(info["members"].as_array().into_iter().flatten().filter_map(|member| member.get("type")));
            for name in used {
                assert!(names.contains(name.as_str().unwrap()), "{name} in {info}");
            }
            serde_json::from_value::<SchemaInfo>(info.clone()).unwrap_or_else(|error| panic!("{info}: {error}"));
        }
    }

    #[test]
    fn arguments_are_told() {
        let all = Schema::all().0;
        let info = |name: &str| all[name].clone();
        let command = info("memsave");
        assert_eq!((&command["ret-type"], &info("query-block")["ret-type"]), (&json!("q_empty"), &json!("[any]")));
        assert_eq!(info("stop")["arg-type"], "q_empty");
        let arguments = info(command["arg-type"].as_str().unwrap());
        let int = |name: &str| json!({ "name": name, "type": "int" });
        let index = json!({ "name": "cpu-index", "type": "int", "default": null });
        let file = json!({ "name": "filename", "type": "str" });
        assert_eq!(arguments["members"], json!([int("val"), int("size"), file, index]));
        let format = info("q_enum_ringbuf-read-format");
        assert_eq!(format["members"], json!([{ "name": "utf8" }, { "name": "base64" }]));
        let keys = info("q_obj_send-key-keys-arg");
        assert_eq!(keys["members"][1], json!({ "name": "data", "type": "any" }));
        assert_eq!(info("q_obj_query-cpu-model-expansion-model-arg")["members"][0]["name"], "name");
        let event: SchemaInfo = serde_json::from_value(info("RESET")).unwrap();
        assert!(matches!(event, SchemaInfo::event { .. }), "{event:?}");
    }
}
