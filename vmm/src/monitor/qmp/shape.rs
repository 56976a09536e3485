//! What a command takes, learnt from the type that its arguments become: serde asks for each member and what it wants there.
//! So the schema says nothing that the commands do not do.

use std::any::type_name;
use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// A type of JSON values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Text,
    Integer,
    Number,
    Flag,
    Any,
    List(Box<Shape>),
    /// One of these words; `of` is the Rust type.
    Word {
        of: &'static str,
        words: &'static [&'static str],
    },
    Object(Vec<Member>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: &'static str,
    pub shape: Shape,
    pub optional: bool,
}

/// The type of a command's arguments.
#[derive(Clone, Copy)]
pub struct Takes {
    /// Its name in this program.
    pub name: fn() -> &'static str,
    pub shape: fn() -> Shape,
}

/// What becomes a `T`.
pub const fn takes<T: DeserializeOwned>() -> Takes {
    Takes { name: type_name::<T>, shape: learn::<T> }
}

fn learn<T: DeserializeOwned>() -> Shape {
    let all = Lesson::default();
    let mut shape = all.attend::<T>().expect("something of each kind makes a value");
    let optional = |path: &str| {
        let without = Lesson { omitted: Some(path.to_owned()) };
        without.attend::<T>().is_ok()
    };
    mark(&mut shape, "", &optional);
    shape
}

/// Finds out which members of a shape may be left out.
fn mark(shape: &mut Shape, path: &str, optional: &impl Fn(&str) -> bool) {
    match shape {
        Shape::List(element) => mark(element, path, optional),
        Shape::Object(members) => {
            for member in members {
                let path = format!("{path}/{}", member.name);
                member.optional = optional(&path);
                mark(&mut member.shape, &path, optional);
            }
        }
        _ => {}
    }
}

/// One attempt to make a value, in which a member may be missing.
#[derive(Default)]
struct Lesson {
    omitted: Option<String>,
}

impl Lesson {
    fn attend<T: DeserializeOwned>(&self) -> Result<Shape, Error> {
        let shape = RefCell::new(Shape::Any);
        T::deserialize(Probe { lesson: self, path: String::new(), shape: &shape })?;
        Ok(shape.into_inner())
    }
}

/// A value of whatever type is asked for, which notes that type.
struct Probe<'a> {
    lesson: &'a Lesson,
    path: String,
    shape: &'a RefCell<Shape>,
}

macro_rules! plain {
    ($($ask:ident: $shape:expr, $give:ident($value:expr);)*) => {
        $(fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.shape.replace($shape);
            visitor.$give($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    plain! {
        deserialize_bool: Shape::Flag, visit_bool(false);
        deserialize_i8: Shape::Integer, visit_u64(0);
        deserialize_i16: Shape::Integer, visit_u64(0);
        deserialize_i32: Shape::Integer, visit_u64(0);
        deserialize_i64: Shape::Integer, visit_u64(0);
        deserialize_u8: Shape::Integer, visit_u64(0);
        deserialize_u16: Shape::Integer, visit_u64(0);
        deserialize_u32: Shape::Integer, visit_u64(0);
        deserialize_u64: Shape::Integer, visit_u64(0);
        deserialize_f32: Shape::Number, visit_f64(0.0);
        deserialize_f64: Shape::Number, visit_f64(0.0);
        deserialize_str: Shape::Text, visit_str("");
        deserialize_string: Shape::Text, visit_str("");
        deserialize_any: Shape::Any, visit_str("");
        // Members with any names.
        deserialize_map: Shape::Any, visit_map(Members { probe: None, rest: [].iter(), found: Vec::new(), now: "" });
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let shape = self.shape;
        let value = visitor.visit_seq(Element(Some(self)))?;
        let element = shape.replace(Shape::Any);
        shape.replace(Shape::List(Box::new(element)));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let shape = self.shape;
        shape.replace(Shape::Object(Vec::new()));
        let value =
            visitor.visit_map(Members { probe: Some(self), rest: fields.iter(), found: Vec::new(), now: "" })?;
        if let Shape::Object(members) = &mut *shape.borrow_mut() {
            // The rest of a tagged value depends on its tag, which has the value's own name.
            let tag = |member: &Member| matches!(member.shape, Shape::Word { of, .. } if of == name);
            if members.iter().any(tag) {
                members.iter_mut().filter(|member| !tag(member)).for_each(|member| member.shape = Shape::Any);
            }
        }
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.shape.replace(Shape::Word { of: name, words: variants });
        visitor.visit_enum(First(variants))
    }

    serde::forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any }
}

/// The only element of a list.
struct Element<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for Element<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|probe| seed.deserialize(probe)).transpose()
    }
}

/// All members of an object but for the one to be left out.
struct Members<'a> {
    probe: Option<Probe<'a>>,
    rest: std::slice::Iter<'static, &'static str>,
    found: Vec<Member>,
    now: &'static str,
}

impl Members<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.probe.as_ref().map_or("", |probe| &probe.path))
    }
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let omitted = self.probe.as_ref().and_then(|probe| probe.lesson.omitted.as_deref());
        loop {
            let Some(name) = self.rest.next() else { return Ok(None) };
            if omitted != Some(self.path(name).as_str()) {
                self.now = name;
                let name: StrDeserializer<'_, Error> = (*name).into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = self.path(self.now);
        let Some(Probe { lesson, shape, .. }) = &self.probe else { return Err(Error::custom("nothing was named")) };
        let found = RefCell::new(Shape::Any);
        let value = seed.deserialize(Probe { lesson, path, shape: &found })?;
        self.found.push(Member { name: self.now, shape: found.into_inner(), optional: false });
        shape.replace(Shape::Object(self.found.clone()));
        Ok(value)
    }
}

/// The first of several words.
struct First(&'static [&'static str]);

impl<'de> EnumAccess<'de> for First {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let first = self.0.first().ok_or_else(|| Error::custom("no word is right"))?;
        let name: StrDeserializer<'_, Error> = (*first).into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::custom("a word has nothing behind it"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a word has nothing behind it"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a word has nothing behind it"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde::Deserialize;
    use serde_json::{Map, Value};

    use super::*;
    use crate::monitor::qmp::arguments::address;

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Hex,
        Raw,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase", tag = "type", content = "data")]
    #[expect(dead_code, reason = "values are not made")]
    enum Tagged {
        Name(String),
        Number(i64),
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its type counts")]
    struct Inner {
        name: String,
        #[serde(default)]
        rest: Map<String, Value>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its type counts")]
    struct All {
        #[serde(deserialize_with = "address")]
        val: u64,
        file_name: PathBuf,
        #[serde(default)]
        flag: bool,
        index: Option<i64>,
        list: Option<Vec<Inner>>,
        format: Format,
        keys: Vec<Tagged>,
        time: Option<f64>,
    }

    #[test]
    fn types_are_learnt() {
        let member = |name, shape, optional| Member { name, shape, optional };
        let list = |shape| Shape::List(Box::new(shape));
        let inner = vec![member("name", Shape::Text, false), member("rest", Shape::Any, true)];
        let tag = Shape::Word { of: "Tagged", words: &["name", "number"] };
        let tagged = vec![member("type", tag, false), member("data", Shape::Any, false)];
        let expected = vec![
            member("val", Shape::Integer, false),
            member("file-name", Shape::Text, false),
            member("flag", Shape::Flag, true),
            member("index", Shape::Integer, true),
            member("list", list(Shape::Object(inner)), true),
            member("format", Shape::Word { of: "Format", words: &["hex", "raw"] }, false),
            member("keys", list(Shape::Object(tagged)), false),
            member("time", Shape::Number, true),
        ];
        assert_eq!((takes::<All>().shape)(), Shape::Object(expected));
    }
}
