//! JSON values out of a stream of bytes.
//!
//! The stream is cut where a value ends, however it is spread over lines and packets; serde_json takes each piece apart.
//! What cannot become a value is answered with one error, and the rest of it is passed over: up to the next object or
//! array, or to a control character. Clients send 0xff, which no text contains, to begin anew.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The longest value, in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// The deepest nesting of arrays and objects. serde_json itself goes to 128.
pub const NESTING_MAX: usize = 100;

/// A value as it came.
#[derive(Debug)]
pub struct Piece {
    pub value: Value,
    text: Vec<u8>,
}

impl Piece {
    /// A member of an object with its numbers as they were written: a value keeps 64 bits of them. Space between its tokens
    /// is gone.
    pub fn exact(&self, member: &str) -> Option<Box<RawValue>> {
        self.value.get(member)?;
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&self.text).ok()?;
        RawValue::from_string(without_space(members.remove(member)?.get())).ok()
    }
}

/// A value on one line.
fn without_space(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keeps = |c: &char| {
        match (quoted, escaped, *c) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, false, '"') => quoted = !quoted,
            _ => {}
        }
        quoted || !c.is_ascii_whitespace()
    };
    json.chars().filter(keeps).collect()
}

/// A value, or the description of an error.
pub type Item = Result<Piece, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between values, or between the tokens of one.
    Plain,
    /// In a word outside of arrays and objects.
    Word,
    /// In a string, which this quote ends.
    Text(u8),
    /// Behind a backslash in it.
    Escape(u8),
    /// Behind an error.
    Lost,
    /// Behind a value that is too long or too deep: what looks like an object is most likely a part of it.
    LostLine,
}

/// The part of a stream that is no whole value yet.
#[derive(Debug)]
pub struct Stream {
    state: State,
    text: Vec<u8>,
    /// What closes the arrays and objects that are open, the innermost last.
    closers: Vec<u8>,
}

impl Default for Stream {
    fn default() -> Self {
        Self { state: State::Plain, text: Vec::new(), closers: Vec::new() }
    }
}

impl Stream {
    /// Forgets what began.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes a byte, which may end a value, or two: a word's end may be another value.
    pub fn take(&mut self, byte: u8, found: &mut impl FnMut(Item)) {
        if self.state == State::Word && !is_word(byte) {
            found(self.finish());
        }
        let item = match self.state {
            State::Plain | State::Word => self.plain(byte),
            State::Text(quote) => self.string(byte, quote),
            State::Escape(quote) => self.escape(byte, quote),
            State::Lost if matches!(byte, b'{' | b'[') => {
                self.state = State::Plain;
                self.plain(byte)
            }
            State::Lost | State::LostLine => {
                if byte.is_ascii_control() || byte == 0xff {
                    self.state = State::Plain;
                }
                None
            }
        };
        if let Some(item) = item {
            found(item);
        } else if self.text.len() > SIZE_MAX {
            self.clear();
            self.state = State::LostLine;
            found(Err(format!("JSON value is longer than {SIZE_MAX} bytes")));
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Item> {
        match byte {
            b'{' | b'[' => {
                if self.closers.len() == NESTING_MAX {
                    let item = self.lose("JSON nesting depth limit exceeded".into());
                    self.state = State::LostLine;
                    return Some(item);
                }
                self.closers.push(if byte == b'{' { b'}' } else { b']' });
                self.text.push(byte);
            }
            b'}' | b']' => match self.closers.pop() {
                Some(closer) => {
                    self.text.push(byte);
                    if closer != byte {
                        // The end of the outermost one is not known.
                        return Some(self.lose(format!(
                            "JSON parse error, expecting '{}' rather than '{}'",
                            char::from(closer),
                            char::from(byte)
                        )));
                    }
                    if self.closers.is_empty() {
                        return Some(self.finish());
                    }
                }
                None => return Some(Err("JSON parse error, expecting value".into())),
            },
            b'"' | b'\'' => {
                self.text.push(b'"');
                self.state = State::Text(byte);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                // Lines of text show where an error is.
                if !self.text.is_empty() {
                    self.text.push(byte);
                }
            }
            b',' | b':' if self.closers.is_empty() => return Some(Err("JSON parse error, expecting value".into())),
            b',' | b':' => self.text.push(byte),
            _ if is_word(byte) => {
                self.text.push(byte);
                if self.closers.is_empty() {
                    self.state = State::Word;
                }
            }
            _ => return Some(self.stray(byte)),
        }
        None
    }

    fn string(&mut self, byte: u8, quote: u8) -> Option<Item> {
        match byte {
            _ if byte == quote => {
                self.text.push(b'"');
                self.state = State::Plain;
                if self.closers.is_empty() {
                    return Some(self.finish());
                }
            }
            // In a string with the other quotes.
            b'"' => self.text.extend(b"\\\""),
            b'\\' => self.state = State::Escape(quote),
            // Never in UTF-8; the rest is serde_json's to check.
            0..0x20 | 0xc0 | 0xc1 | 0xf5.. => return Some(self.stray(byte)),
            _ => self.text.push(byte),
        }
        None
    }

    fn escape(&mut self, byte: u8, quote: u8) -> Option<Item> {
        self.state = State::Text(quote);
        match byte {
            b'\'' => self.text.push(byte),
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u' => self.text.extend([b'\\', byte]),
            _ => return Some(self.stray(byte)),
        }
        None
    }

    /// The whole text is a value, if it is any.
    fn finish(&mut self) -> Item {
        let text = std::mem::take(&mut self.text);
        self.clear();
        match serde_json::from_slice(&text) {
            Ok(Unique(value)) => Ok(Piece { value, text }),
            Err(error) => Err(format!("JSON parse error, {error}")),
        }
    }

    fn stray(&mut self, byte: u8) -> Item {
        let item = self.lose(format!("JSON parse error, stray '{}'", byte.escape_ascii()));
        // It is the end of what is passed over, too.
        if byte.is_ascii_control() || byte == 0xff {
            self.state = State::Plain;
        }
        item
    }

    fn lose(&mut self, message: String) -> Item {
        self.clear();
        self.state = State::Lost;
        Err(message)
    }
}

/// A value in which no object has a key twice. serde_json's own keeps the last one and says nothing.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(value)) = seq.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Unique(value))) = members.next_entry::<String, _>()? {
            if all.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(all))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn items(bytes: &[u8]) -> Vec<Result<Value, String>> {
        let (mut stream, mut items) = (Stream::default(), Vec::new());
        for byte in bytes {
            stream.take(*byte, &mut |item| items.push(item.map(|piece| piece.value)));
            assert!(stream.text.len() <= SIZE_MAX && stream.closers.len() <= NESTING_MAX);
        }
        items
    }

    fn values(text: &str) -> Vec<Value> {
        items(text.as_bytes()).into_iter().map(Result::unwrap).collect()
    }

    /// What comes of bytes: values, and `null` for every error.
    fn shape(bytes: &[u8]) -> Vec<Value> {
        items(bytes).into_iter().map(Result::unwrap_or_default).collect()
    }

    #[test]
    fn values_end_where_they_end() {
        assert_eq!(
            values("{}[] {\"a\":\n {\"b\" : [1,-2.5e3]}}"),
            [json!({}), json!([]), json!({"a": {"b": [1, -2.5e3]}})]
        );
        assert_eq!(values("5 true{}\"x\""), [json!(5), json!(true), json!({}), json!("x")]);
        assert_eq!(values(r#"{"a":"}]\"\\"}"#), [json!({"a": "}]\"\\"})]);
        assert_eq!(values("{\"a"), Vec::<Value>::new());
        assert_eq!(values("{\"ä\":\"\\u00e4\\ud83d\\ude00😀\"}"), [json!({"ä": "ä😀😀"})]);
    }

    #[test]
    fn a_member_is_there_as_it_was_written() {
        let mut exact = Vec::new();
        let text =
            r#"{"id":123456789012345678901234567890} {"id": [ 1.10, {"a b" : "c \" d"},   -0.0e5 ]} {"id":null} {}"#;
        let mut stream = Stream::default();
        for byte in text.bytes() {
            stream.take(byte, &mut |item| exact.push(item.unwrap().exact("id").map(|raw| raw.get().to_owned())));
        }
        let some = |text: &str| Some(text.to_owned());
        let second = some(r#"[1.10,{"a b":"c \" d"},-0.0e5]"#);
        assert_eq!(exact, [some("123456789012345678901234567890"), second, some("null"), None]);
    }

    #[test]
    fn apostrophes_quote_as_well() {
        assert_eq!(values(r#"{'a':'b"c\'d"','e':"f'g\'h"}"#), [json!({"a": "b\"c'd\"", "e": "f'g'h"})]);
    }

    #[test]
    fn an_error_is_told_once_and_the_next_object_counts() {
        let a = || json!({"a": 1});
        let e = Value::Null;
        for garbage in
            ["garbage\n", "@@ ##\n", "{\"x\":@ ", "]", "}", ",", ":", "{\"x\":1]\n", "{\"x\" 1}", "{\"x\":1,}"]
        {
            assert_eq!(shape(format!("{garbage}{{\"a\":1}}").as_bytes()), [e.clone(), a()], "{garbage}");
        }
        // An end of line inside a string, and what is no UTF-8.
        for garbage in [&b"{\"x\n"[..], b"{\"x\xff", b"{\"x\": \xff", b"{\"\xc3\":1}", b"\xff", b"\x01", b"\"\\q\n"] {
            assert_eq!(shape(&[garbage, b"{\"a\":1}"].concat()), [e.clone(), a()], "{garbage:?}");
        }
    }

    #[test]
    fn keys_are_there_once() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"b":{},"c":2,"b":null}]}"#, r#"{'a':1,"\u0061":2}"#] {
            let found = items(text.as_bytes());
            let [Err(error)] = &found[..] else { panic!("{text}: {found:?}") };
            assert!(error.starts_with("JSON parse error, duplicate key"), "{error}");
        }
        assert_eq!(values(r#"[{"a":1},{"a":1}]"#), [json!([{"a": 1}, {"a": 1}])]);
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(items(deep(NESTING_MAX).as_bytes()).len(), 1);
        assert!(items(deep(NESTING_MAX).as_bytes())[0].is_ok());
        let over = items(format!("{}\n", "[".repeat(NESTING_MAX + 1)).as_bytes());
        assert_eq!(over, [Err("JSON nesting depth limit exceeded".into())]);
        // Whole values of the largest size pass; of longer ones nothing is taken for a command.
        let long = |n: usize| format!("[\"{}\"]", "x".repeat(n));
        assert!(items(long(SIZE_MAX - 4).as_bytes())[0].is_ok());
        let text = format!("{}{{\"execute\":\"quit\"}}\n{{}}", "[1,".to_owned() + &" ".repeat(SIZE_MAX));
        assert_eq!(shape(text.as_bytes()), [Value::Null, json!({})]);
        assert_eq!(items(&vec![b'7'; SIZE_MAX + 1]).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_leave_a_stream_that_works(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let all = [&bytes[..], b"\"\xff\xff\n{\"a\":1}"].concat();
            prop_assert_eq!(shape(&all).pop(), Some(json!({"a": 1})));
        }

        #[test]
        fn json_like_bytes_leave_a_stream_that_works(text in "[\\[\\]{}:,\"'\\\\a1 \n@-]{0,200}") {
            let all = [text.as_bytes(), b"\"\xff\xff\n{\"a\":1}"].concat();
            prop_assert_eq!(shape(&all).pop(), Some(json!({"a": 1})));
        }

        #[test]
        fn every_value_passes(texts in proptest::collection::vec(any::<String>(), 1..5), n in any::<i64>()) {
            let value = json!({"list": texts, "n": n, "inner": {texts[0].clone(): null}});
            let text = value.to_string();
            prop_assert_eq!(items(text.as_bytes()), vec![Ok(value.clone())]);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(items(pretty.as_bytes()), vec![Ok(value)]);
        }
    }
}
