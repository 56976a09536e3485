//! Expressions in monitor commands: numbers and registers with the operators of C.

/// Nested parentheses and signs.
const DEPTH: u32 = 64;

/// The value of a whole text; `register` knows what stands behind a `$`.
///
/// # Errors
/// One line that says what was expected where.
pub fn evaluate(text: &str, register: &dyn Fn(&str) -> Option<u64>) -> Result<u64, String> {
    let mut p = Parser { text, at: 0, depth: 0, register };
    let value = p.sum()?;
    match p.peek() {
        None => Ok(value),
        Some(_) => Err(p.expected("an operator")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    register: &'a dyn Fn(&str) -> Option<u64>,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn expected(&self, what: &str) -> String {
        match self.text[self.at..].chars().next() {
            None => format!("'{}': {what} is missing at the end", self.text),
            Some(c) => format!("'{}': {what} is missing before '{c}'", self.text),
        }
    }

    fn accept(&mut self, among: &str) -> Option<char> {
        let c = self.peek().filter(|c| among.contains(*c))?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn sum(&mut self) -> Result<u64, String> {
        let mut v = self.bits()?;
        while let Some(op) = self.accept("+-") {
            let w = self.bits()?;
            v = if op == '+' { v.wrapping_add(w) } else { v.wrapping_sub(w) };
        }
        Ok(v)
    }

    fn bits(&mut self) -> Result<u64, String> {
        let mut v = self.product()?;
        while let Some(op) = self.accept("&|^") {
            let w = self.product()?;
            v = match op {
                '&' => v & w,
                '|' => v | w,
                _ => v ^ w,
            };
        }
        Ok(v)
    }

    fn product(&mut self) -> Result<u64, String> {
        let mut v = self.unary()?;
        while let Some(op) = self.accept("*/%") {
            let w = self.unary()?;
            v = match op {
                '*' => v.wrapping_mul(w),
                _ if w == 0 => return Err(format!("'{}': division by zero", self.text)),
                '/' => v / w,
                _ => v % w,
            };
        }
        Ok(v)
    }

    fn unary(&mut self) -> Result<u64, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("more than {DEPTH} nested parentheses and signs"));
        }
        let value = match self.accept("+-~($") {
            Some('+') => self.unary(),
            Some('-') => self.unary().map(u64::wrapping_neg),
            Some('~') => self.unary().map(|v| !v),
            Some('(') => {
                let v = self.sum()?;
                self.accept(")").map(|_| v).ok_or_else(|| self.expected("')'"))
            }
            Some(_) => {
                let name = self.word();
                (self.register)(name).ok_or_else(|| format!("unknown register '${name}'"))
            }
            None => {
                let word = self.word();
                number(word).ok_or_else(|| match word {
                    "" => self.expected("a number"),
                    word => format!("'{word}' is not a number"),
                })
            }
        };
        self.depth -= 1;
        value
    }

    fn word(&mut self) -> &'a str {
        self.peek();
        let text: &'a str = self.text;
        let rest = &text[self.at..];
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }
}

/// Decimal, `0x` hexadecimal, `0` octal.
pub fn number(word: &str) -> Option<u64> {
    let digits = |text: &str, radix| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        plain.then(|| u64::from_str_radix(text, radix).ok()).flatten()
    };
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None if word.len() > 1 && word.starts_with('0') => digits(&word[1..], 8),
        None => digits(word, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<u64, String> {
        evaluate(text, &|name| (name == "pc").then_some(0x8000_0000))
    }

    #[test]
    fn values() {
        for (text, v) in [
            ("0", 0),
            ("010", 8),
            ("0x1F", 31),
            ("1+2*3", 7),
            ("(1+2)*3", 9),
            ("10-3-2", 5),
            ("0xff & ~0xf", 0xf0),
            ("-1", u64::MAX),
            ("$pc + 4", 0x8000_0004),
            ("100/7%4", 2),
        ] {
            assert_eq!(value(text), Ok(v), "{text}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, message) in [
            ("", "'': a number is missing at the end"),
            ("1+", "'1+': a number is missing at the end"),
            ("(1", "'(1': ')' is missing at the end"),
            ("1 2", "'1 2': an operator is missing before '2'"),
            ("0x", "'0x' is not a number"),
            ("12a", "'12a' is not a number"),
            ("99999999999999999999", "'99999999999999999999' is not a number"),
            ("$foo", "unknown register '$foo'"),
            ("1/0", "'1/0': division by zero"),
            ("ä", "'ä': a number is missing before 'ä'"),
        ] {
            assert_eq!(value(text), Err(message.to_owned()), "{text}");
        }
        assert!(value(&"(".repeat(100_000)).is_err());
    }
}
