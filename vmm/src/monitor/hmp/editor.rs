//! The line editor of the human monitor: one line of input with history, for terminals that show what they are sent.

/// Lines that are remembered.
const HISTORY: usize = 100;
/// Bytes of a line.
pub const LINE_MAX: usize = 4096;

const BELL: &[u8] = b"\x07";

/// What a byte made of the line.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    Going,
    /// A whole line, without its end.
    Line(String),
    /// The end of a line that was too long, and is forgotten.
    TooLong,
    /// What stands before the cursor is to be completed.
    Complete,
    /// The line was given up.
    Cancel,
}

/// An escape sequence under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Behind `ESC [` or `ESC O`, with the number so far.
    Sequence(u32),
}

#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<u8>,
    cursor: usize,
    history: Vec<Vec<u8>>,
    /// Which line of the history is shown; its length for the one being typed.
    shown: usize,
    /// The line being typed, while one of the history is shown.
    draft: Vec<u8>,
    escape: Escape,
    /// Something did not fit into the line, as a bell has told once.
    overflown: bool,
    /// The last byte was a carriage return: a line feed behind it is part of it.
    after_return: bool,
}

impl Editor {
    pub fn clear(&mut self) {
        (self.line, self.cursor, self.shown) = (Vec::new(), 0, self.history.len());
        self.escape = Escape::None;
        self.overflown = false;
    }

    /// What stands before the cursor.
    pub fn before_cursor(&self) -> String {
        String::from_utf8_lossy(&self.line[..self.cursor]).into_owned()
    }

    /// The line as it is shown behind the prompt, with the cursor in its place.
    pub fn redraw(&self, out: &mut Vec<u8>) {
        out.extend(&self.line);
        back(out, self.line.len() - self.cursor);
    }

    /// Types `text` at the cursor.
    pub fn insert(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.line.len() + text.len() > LINE_MAX {
            if !std::mem::replace(&mut self.overflown, true) {
                out.extend(BELL);
            }
            return;
        }
        self.line.splice(self.cursor..self.cursor, text.iter().copied());
        out.extend(&self.line[self.cursor..]);
        self.cursor += text.len();
        back(out, self.line.len() - self.cursor);
    }

    pub fn take(&mut self, byte: u8, out: &mut Vec<u8>) -> Edit {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match std::mem::take(&mut self.escape) {
            // A control character ends a sequence and means what it means.
            Escape::Begun | Escape::Sequence(_) if byte < 0x20 => {}
            Escape::None => {}
            Escape::Begun => {
                if matches!(byte, b'[' | b'O') {
                    self.escape = Escape::Sequence(0);
                }
                return Edit::Going;
            }
            Escape::Sequence(n) => {
                match byte {
                    b'0'..=b'9' => {
                        self.escape = Escape::Sequence(n.saturating_mul(10).saturating_add(u32::from(byte - b'0')));
                    }
                    b';' => self.escape = Escape::Sequence(0),
                    _ => self.key(byte, n, out),
                }
                return Edit::Going;
            }
        }
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => return self.finish(out),
            b'\t' => return Edit::Complete,
            0x1b => self.escape = Escape::Begun,
            // Ctrl-A, E, B, F, P, N as in the usual editors.
            0x01 => self.go(0, out),
            0x05 => self.go(self.line.len(), out),
            0x02 => self.go(self.cursor.saturating_sub(1), out),
            0x06 => self.go(self.cursor + 1, out),
            0x10 => self.recall(self.shown.checked_sub(1), out),
            0x0e => self.recall(Some(self.shown + 1), out),
            0x03 => {
                out.extend(b"^C\r\n");
                self.clear();
                return Edit::Cancel;
            }
            0x08 | 0x7f => self.remove(self.cursor.saturating_sub(1)..self.cursor, out),
            0x04 => self.remove(self.cursor..self.cursor + 1, out),
            // Ctrl-U, K, W: to the start, to the end, the word before.
            0x15 => self.remove(0..self.cursor, out),
            0x0b => self.remove(self.cursor..self.line.len(), out),
            0x17 => self.remove(self.word_start()..self.cursor, out),
            0x20.. => self.insert(&[byte], out),
            _ => {}
        }
        Edit::Going
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Edit {
        out.extend(b"\r\n");
        if self.overflown {
            self.clear();
            return Edit::TooLong;
        }
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.clear();
        Edit::Line(String::from_utf8_lossy(&line).into_owned())
    }

    /// The end of an escape sequence: arrows and their neighbours.
    fn key(&mut self, byte: u8, number: u32, out: &mut Vec<u8>) {
        match (byte, number) {
            (b'A', _) => self.recall(self.shown.checked_sub(1), out),
            (b'B', _) => self.recall(Some(self.shown + 1), out),
            (b'C', _) => self.go(self.cursor + 1, out),
            (b'D', _) => self.go(self.cursor.saturating_sub(1), out),
            (b'H', _) | (b'~', 1 | 7) => self.go(0, out),
            (b'F', _) | (b'~', 4 | 8) => self.go(self.line.len(), out),
            (b'~', 3) => self.remove(self.cursor..self.cursor + 1, out),
            _ => {}
        }
    }

    fn go(&mut self, to: usize, out: &mut Vec<u8>) {
        let to = to.min(self.line.len());
        match to < self.cursor {
            true => back(out, self.cursor - to),
            false => out.extend(&self.line[self.cursor..to]),
        }
        self.cursor = to;
    }

    fn remove(&mut self, what: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let what = what.start..what.end.min(self.line.len());
        if what.is_empty() {
            return;
        }
        self.go(what.start, out);
        let n = what.len();
        self.line.drain(what);
        // Who begins anew has heard the bell.
        self.overflown &= !self.line.is_empty();
        out.extend(&self.line[self.cursor..]);
        out.extend(std::iter::repeat_n(b' ', n));
        back(out, self.line.len() - self.cursor + n);
    }

    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|b| *b != b' ').map_or(0, |i| i + 1);
        before[..end].iter().rposition(|b| *b == b' ').map_or(0, |i| i + 1)
    }

    /// Shows line `which` of the history, or again the one being typed.
    fn recall(&mut self, which: Option<usize>, out: &mut Vec<u8>) {
        let Some(which) = which.filter(|w| *w <= self.history.len()) else { return out.extend(BELL) };
        if self.shown == self.history.len() {
            self.draft = self.line.clone();
        }
        let line = self.history.get(which).unwrap_or(&self.draft).clone();
        self.remove(0..self.line.len(), out);
        self.shown = which;
        self.insert(&line, out);
    }
}

fn back(out: &mut Vec<u8>, n: usize) {
    out.extend(std::iter::repeat_n(8, n));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal of one line: what is seen after `out`.
    fn screen(out: &[u8]) -> (String, usize) {
        let (mut line, mut at) = (Vec::<u8>::new(), 0);
        for &b in out {
            match b {
                8 => at -= 1,
                b'\r' | 7 => {}
                b'\n' => (line, at) = (Vec::new(), 0),
                b => {
                    match line.get_mut(at) {
                        Some(cell) => *cell = b,
                        None => line.push(b),
                    }
                    at += 1;
                }
            }
        }
        (String::from_utf8(line).unwrap().trim_end().to_owned(), at)
    }

    /// Types `keys`; the lines that came of it, and the screen, which always shows the line.
    fn type_keys(editor: &mut Editor, keys: &[u8]) -> Vec<String> {
        let (mut lines, mut out) = (Vec::new(), Vec::new());
        editor.redraw(&mut out);
        for &key in keys {
            if let Edit::Line(line) = editor.take(key, &mut out) {
                lines.push(line);
            }
            let (seen, at) = screen(&out);
            assert_eq!(seen.as_bytes(), editor.line.as_slice().trim_ascii_end());
            assert_eq!(at, editor.cursor);
        }
        lines
    }

    #[test]
    fn lines_end_with_either_or_both() {
        let mut e = Editor::default();
        assert_eq!(type_keys(&mut e, b"a\rb\nc\r\nd\n\n"), ["a", "b", "c", "d", ""]);
    }

    #[test]
    fn keys_edit_the_line() {
        let mut e = Editor::default();
        // Backspace in the middle, delete, home, end, words.
        assert_eq!(type_keys(&mut e, b"inxoo\x1b[D\x1bOD\x7ff\x1b[3~\r"), ["info"]);
        assert_eq!(type_keys(&mut e, b"in\x1b[5fo\x1b\x1b[12\r"), ["ino"]);
        assert_eq!(type_keys(&mut e, b"nfo\x1b[Hi\x1b[F x\x17y\r"), ["info y"]);
        assert_eq!(type_keys(&mut e, b"abc def\x01\x06\x0bz\x15q\r"), ["q"]);
        assert_eq!(type_keys(&mut e, b"\x7f\x04\x1b[C\x1b[D\x17ok\r"), ["ok"]);
    }

    #[test]
    fn history_comes_back_and_the_draft_too() {
        let mut e = Editor::default();
        assert_eq!(type_keys(&mut e, b"one\rtwo\rtwo\r"), ["one", "two", "two"]);
        assert_eq!(type_keys(&mut e, b"dra\x1b[A\x1b[A\x1b[A\r"), ["one"]);
        assert_eq!(type_keys(&mut e, b"dra\x1b[A\x1b[Bft\r"), ["draft"]);
        assert_eq!(type_keys(&mut e, b"x\x03y\r"), ["y"]);
    }

    #[test]
    fn floods_are_bounded() {
        let mut e = Editor::default();
        let mut out = Vec::new();
        for i in 0..100_000u32 {
            e.take(b'a' + (i % 26) as u8, &mut out);
            out.clear();
        }
        assert_eq!(e.line.len(), LINE_MAX);
        // What is left of it is no command.
        assert_eq!((e.take(b'\r', &mut out), e.line.len()), (Edit::TooLong, 0));
        assert_eq!((e.take(b'a', &mut out), e.take(b'\r', &mut out)), (Edit::Going, Edit::Line("a".into())));
        for byte in (0..=255u8).cycle().take(100_000) {
            e.take(byte, &mut out);
            out.clear();
        }
        assert!(e.line.len() <= LINE_MAX && e.history.len() <= HISTORY);
    }
}
