//! `head,key=value,flag,...`: the grammar of most option values.
//!
//! A comma inside a value is written `,,`. A first part without `=` is the head, whose meaning the option
//! defines (`-device virtio-blk-device,drive=d`). Later, a bare `key` means `key=on` and `nokey` means `key=off`.

use std::fmt::Display;
use std::str::FromStr;

use super::error::{CliError, Result, did_you_mean};
use super::size;

/// The largest option value that is looked at; anything longer is a mistake.
pub const VALUE_MAX: usize = 64 << 10;

/// A value that was taken apart, and what of it nobody asked for yet.
#[derive(Debug, Clone)]
pub struct OptList {
    /// The option as given, for messages: `-drive file=x`.
    context: String,
    head: Option<String>,
    /// In order; `None` for a bare word.
    items: Vec<(String, Option<String>)>,
    /// Every key that was asked for: what `finish` suggests from.
    known: Vec<&'static str>,
}

/// Splits at commas; `,,` is a comma.
fn parts(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.peek() == Some(&',') => {
                chars.next();
                out.last_mut().expect("never empty").push(',');
            }
            ',' => out.push(String::new()),
            c => out.last_mut().expect("never empty").push(c),
        }
    }
    out
}

impl OptList {
    /// `option` is the option's name with its dash.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        Self::parse_with(option, text, true)
    }

    /// As [`OptList::parse`], but without a head: the first part is like any other.
    pub fn parse_headless(option: &str, text: &str) -> Result<Self> {
        Self::parse_with(option, text, false)
    }

    /// As [`OptList::parse`] of a part of an option's value; `context` is the option as it was given.
    pub fn parse_part(context: &str, part: &str) -> Result<Self> {
        Self::parse_in(context.to_owned(), part, true)
    }

    fn parse_with(option: &str, text: &str, with_head: bool) -> Result<Self> {
        if text.len() > VALUE_MAX {
            return Err(CliError::new(option, format!("the value is longer than {VALUE_MAX} bytes")));
        }
        if text.trim_start().starts_with('{') {
            let message = "JSON syntax is not supported by vireo yet; use key=value,...";
            return Err(CliError::new(format!("{option} {text}"), message));
        }
        Self::parse_in(format!("{option} {text}"), text, with_head)
    }

    fn parse_in(context: String, text: &str, with_head: bool) -> Result<Self> {
        let mut list = Self { context, head: None, items: Vec::new(), known: Vec::new() };
        for (i, part) in parts(text).into_iter().enumerate() {
            match part.split_once('=') {
                Some(("", _)) => return Err(list.error(format!("'{part}' has no name before the '='"))),
                Some((key, value)) => list.items.push((key.to_owned(), Some(value.to_owned()))),
                None if i == 0 && with_head => list.head = Some(part).filter(|h| !h.is_empty()),
                // An empty part: a trailing comma, which is harmless.
                None if part.is_empty() => {}
                None => list.items.push((part, None)),
            }
        }
        Ok(list)
    }

    /// `-drive file=x`.
    pub fn context(&self) -> &str {
        &self.context
    }

    pub fn error(&self, message: impl Into<String>) -> CliError {
        CliError::new(&self.context, message)
    }

    /// Whether `help` stands among the parts, as in `-device X,help`.
    pub fn asks_help(&self) -> bool {
        self.items.iter().any(|(k, v)| k == "help" && v.is_none())
    }

    /// The first part if it had no `=`; else the value of `key`, which is its long form.
    pub fn head(&mut self, key: &'static str) -> Result<Option<String>> {
        let long = self.text(key)?;
        match (self.head.take(), long) {
            (Some(head), Some(long)) => Err(self.error(format!("names both '{head}' and '{key}={long}'"))),
            (head, long) => Ok(head.or(long)),
        }
    }

    /// The last value of `key`; the others are forgotten, as later words win.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        let mut all = self.texts(key)?;
        Ok(all.pop())
    }

    /// Every value of a `key` that may be repeated.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>> {
        self.known.push(key);
        let mut values = Vec::new();
        let mut bare = false;
        self.items.retain(|(k, v)| {
            if k != key {
                return true;
            }
            bare |= v.is_none();
            values.extend(v.clone());
            false
        });
        if bare { Err(self.error(format!("'{key}' needs a value: {key}=..."))) } else { Ok(values) }
    }

    /// `key=on|off`, `key` or `nokey`.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        self.known.push(key);
        let mut value = None;
        let mut rest = Vec::new();
        for (k, v) in std::mem::take(&mut self.items) {
            if k == key {
                value = Some(match &v {
                    None => true,
                    Some(text) => {
                        on_off(text).ok_or_else(|| self.error(format!("{key}={text}: must be 'on' or 'off'")))?
                    }
                });
            } else if v.is_none() && k.strip_prefix("no") == Some(key) {
                value = Some(false);
            } else {
                rest.push((k, v));
            }
        }
        self.items = rest;
        Ok(value)
    }

    /// A number; `allowed` says in words what is.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>> {
        self.last(key, |text| match text.parse::<T>() {
            Ok(n) if range.contains(&n) => Ok(n),
            _ => Err(format!("must be a number from {} to {}", range.start(), range.end())),
        })
    }

    /// A size in bytes with an optional suffix; without one it counts units of `unit` bytes.
    pub fn size(&mut self, key: &'static str, unit: u64) -> Result<Option<u64>> {
        self.last(key, |text| size::parse(text, unit))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>> {
        self.last(key, |text| match words.iter().find(|(w, _)| *w == text) {
            Some((_, t)) => Ok(*t),
            None => {
                let allowed: Vec<_> = words.iter().map(|(w, _)| *w).collect();
                Err(format!("must be one of {}", allowed.join(", ")))
            }
        })
    }

    /// The last value of `key`; each must be one, also those that a later one overrides.
    fn last<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let mut last = None;
        for text in self.texts(key)? {
            last = Some(parse(&text).map_err(|e| self.error(format!("{key}={text}: {e}")))?);
        }
        Ok(last)
    }

    /// Options of QEMU's that are not here: a clear error if one was given.
    pub fn unsupported(&mut self, keys: &[&'static str]) -> Result<()> {
        for key in keys {
            if self.items.iter().any(|(k, _)| k == key) {
                return Err(self.error(format!("'{key}' is not supported by vireo yet")));
            }
        }
        Ok(())
    }

    /// What is left, in order: for options whose values are parsed elsewhere.
    pub fn rest(&mut self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.items)
    }

    /// Everything must have been asked for by now.
    pub fn finish(mut self) -> Result<()> {
        if let Some(head) = self.head.take() {
            return Err(self.error(format!("'{head}' is not of the form key=value")));
        }
        match self.items.first() {
            None => Ok(()),
            Some((key, _)) => {
                let hint = did_you_mean(key, self.known.iter().copied());
                Err(self.error(format!("unknown option '{key}'{hint}; known are {}", self.known.join(", "))))
            }
        }
    }
}

/// The words for a boolean.
pub fn on_off(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_heads_and_flags() {
        let mut l = OptList::parse("-x", "head,file=a,,b=c,ro,nocache,empty=").unwrap();
        assert_eq!(l.head("type").unwrap().as_deref(), Some("head"));
        assert_eq!(l.text("file").unwrap().as_deref(), Some("a,b=c"));
        assert_eq!(l.flag("ro").unwrap(), Some(true));
        assert_eq!(l.flag("cache").unwrap(), Some(false));
        assert_eq!(l.text("empty").unwrap().as_deref(), Some(""));
        l.finish().unwrap();
    }

    #[test]
    fn head_may_be_spelled_out_but_not_twice() {
        let mut l = OptList::parse("-x", "a=1,type=t").unwrap();
        assert_eq!(l.head("type").unwrap().as_deref(), Some("t"));
        let mut l = OptList::parse("-x", "h,type=t").unwrap();
        assert!(l.head("type").is_err());
    }

    #[test]
    fn errors_name_the_value_and_the_way_out() {
        let text = |e: CliError| e.to_string();
        let mut l = OptList::parse("-x", "ro=maybe").unwrap();
        assert_eq!(text(l.flag("ro").unwrap_err()), "-x ro=maybe: ro=maybe: must be 'on' or 'off'");
        let mut l = OptList::parse("-x", "file").unwrap();
        assert!(l.text("file").unwrap().is_none());
        assert!(text(l.finish().unwrap_err()).contains("key=value"));
        let mut l = OptList::parse("-x", "a=1,fiel=2").unwrap();
        l.text("a").unwrap();
        l.text("file").unwrap();
        assert!(text(l.finish().unwrap_err()).contains("did you mean 'file'?"));
        assert!(OptList::parse("-x", "=3").is_err());
        assert!(text(OptList::parse("-x", "{\"a\":1}").unwrap_err()).contains("JSON"));
        let mut l = OptList::parse("-x", "n=9").unwrap();
        assert!(text(l.number::<u32>("n", 1..=8).unwrap_err()).contains("from 1 to 8"));
    }

    #[test]
    fn values_that_a_later_one_overrides_are_checked_too() {
        let list = |text| OptList::parse("-x", text).unwrap();
        assert_eq!(list("n=1,n=2").number("n", 1..=8), Ok(Some(2)));
        for text in ["n=x,n=1", "n=1,n=x"] {
            assert!(list(text).number::<u32>("n", 1..=8).unwrap_err().to_string().contains("n=x: must be a number"));
            assert!(list(text).size("n", 1).is_err());
            assert!(list(text).choice("n", &[("1", ())]).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z=,{}\" \u{e9}]{0,40}") {
            if let Ok(mut l) = OptList::parse("-x", &text) {
                let _ = l.head("a");
                let _ = l.flag("b");
                let _ = l.text("c");
                let _ = l.size("d", 1);
                let _ = l.finish();
            }
        }
    }
}
