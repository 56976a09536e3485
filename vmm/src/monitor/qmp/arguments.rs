//! The arguments of a command: from JSON to its struct, by serde, with errors that QMP clients know.

use std::fmt::{self, Display};

use serde::Deserialize;
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::map::IntoIter;
use serde_json::{Map, Value};

use super::Fault;
use super::shape::Takes;

/// The member `arguments` of a request.
pub struct Arguments {
    pub members: Map<String, Value>,
    takes: &'static Takes,
}

/// What a command takes that takes nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Arguments {
    /// Of a command whose row says this.
    pub fn new(members: Map<String, Value>, takes: &'static Takes) -> Self {
        Self { members, takes }
    }

    /// Exactly what the command takes.
    pub fn take<T: DeserializeOwned>(self) -> Result<T, Fault> {
        debug_assert_eq!((self.takes.name)(), std::any::type_name::<T>(), "the schema tells what the row says");
        T::deserialize(Members(self.members)).map_err(|Wrong(desc)| desc.into())
    }

    pub fn none(self) -> Result<(), Fault> {
        self.take().map(|Nothing {}| ())
    }
}

/// What is wrong, in QEMU's words.
#[derive(Debug)]
struct Wrong(String);

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self(format!("Parameter '{field}' is unexpected"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("Parameter '{field}' is missing"))
    }
}

impl Wrong {
    /// What is wrong with the value of a parameter.
    fn value(name: &str, value: &Value, error: &serde_json::Error) -> Self {
        let error = error.to_string();
        let expected = error.split_once(", expected ").map(|(_, expected)| expected);
        Self(match (value, expected) {
            (Value::String(word), Some(_)) if error.starts_with("unknown variant") => {
                format!("Parameter '{name}' does not accept value '{word}'")
            }
            (_, Some("u64")) => format!("Parameter '{name}' expects uint64"),
            (_, Some(expected)) => {
                format!("Invalid parameter type for '{name}', expected: {}", type_name(expected))
            }
            (_, None) => format!("Parameter '{name}' is not valid: {error}"),
        })
    }
}

/// QMP's name of a type, from what serde calls it.
fn type_name(expected: &str) -> &str {
    match expected {
        "a string" | "string or map" | "path string" => "string",
        "a boolean" => "boolean",
        "i64" | "usize" | "u32" => "integer",
        "a sequence" => "array",
        _ if expected.starts_with("struct ") || expected == "a map" => "object",
        _ if expected.starts_with("variant ") || expected.starts_with("enum ") => "string",
        other => other,
    }
}

struct Members(Map<String, Value>);

impl<'de> Deserializer<'de> for Members {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_map(Members::walk(self.0))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl Members {
    fn walk(map: Map<String, Value>) -> Walk {
        Walk { rest: map.into_iter(), member: None }
    }
}

/// A walk through the members, which knows the name of each while it looks at its value.
struct Walk {
    rest: IntoIter,
    member: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Walk {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.member = Some((name.clone(), value));
        seed.deserialize(StringDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let (name, value) = self.member.take().expect("a value comes behind its name");
        seed.deserialize(value.clone()).map_err(|error| Wrong::value(&name, &value, &error))
    }
}

/// A number of 64 bits with or without a sign, as addresses come.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("u64")
        }

        fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_i64<E>(self, value: i64) -> Result<u64, E> {
            Ok(value as u64)
        }
    }

    // JSON gives any number.
    from.deserialize_u64(Number)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::monitor::qmp::shape::takes;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Hex,
        Raw,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct All {
        #[serde(deserialize_with = "address")]
        val: u64,
        size: u64,
        file_name: PathBuf,
        text: Option<String>,
        flag: Option<bool>,
        index: Option<i64>,
        list: Option<Vec<String>>,
        format: Option<Format>,
    }

    fn taken(arguments: &Value) -> Result<All, String> {
        let Value::Object(map) = arguments.clone() else { panic!("{arguments}") };
        static TAKES: Takes = takes::<All>();
        Arguments::new(map, &TAKES).take::<All>().map_err(|fault| fault.desc)
    }

    #[test]
    fn members_become_fields() {
        let all = taken(&json!({ "val": -1, "size": 5, "file-name": "x", "index": -3, "flag": true, "format": "raw" }));
        let all = all.unwrap();
        assert_eq!((all.val, all.size, all.file_name), (u64::MAX, 5, "x".into()));
        assert_eq!((all.index, all.flag, all.format, all.text), (Some(-3), Some(true), Some(Format::Raw), None));
        assert_eq!(taken(&json!({ "val": u64::MAX, "size": 0, "file-name": "" })).unwrap().val, u64::MAX);
    }

    #[test]
    fn errors_name_the_parameter() {
        for (name, value, expected) in [
            ("val", json!("x"), "Parameter 'val' expects uint64"),
            ("val", json!(1.5), "Parameter 'val' expects uint64"),
            ("size", json!("x"), "Parameter 'size' expects uint64"),
            ("size", json!(-1), "Parameter 'size' expects uint64"),
            ("size", json!(null), "Parameter 'size' expects uint64"),
            ("file-name", json!(5), "Invalid parameter type for 'file-name', expected: string"),
            ("text", json!([]), "Invalid parameter type for 'text', expected: string"),
            ("flag", json!(1), "Invalid parameter type for 'flag', expected: boolean"),
            ("index", json!(true), "Invalid parameter type for 'index', expected: integer"),
            ("list", json!({}), "Invalid parameter type for 'list', expected: array"),
            ("list", json!([1]), "Invalid parameter type for 'list', expected: string"),
            ("format", json!("x"), "Parameter 'format' does not accept value 'x'"),
            ("more", json!(1), "Parameter 'more' is unexpected"),
        ] {
            let mut arguments = json!({ "val": 0, "size": 0, "file-name": "x" });
            arguments[name] = value;
            assert_eq!(taken(&arguments), Err(expected.to_owned()), "{arguments}");
        }
        assert_eq!(taken(&json!({ "val": 0, "size": 0 })), Err("Parameter 'file-name' is missing".into()));
        assert!(taken(&json!({ "val": 0, "size": 0, "file-name": "x", "format": 5 })).is_err());
    }
}
