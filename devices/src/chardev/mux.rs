//! The multiplexer of one terminal between several users: the Ctrl-A escapes of the input, and time stamps
//! on the output. Plain state; it moves no bytes itself.

use std::time::Instant;

/// Ctrl-A.
const ESCAPE: u8 = 1;

/// What Ctrl-A H prints; `shared`: there is somebody else to switch to.
pub(super) fn help(shared: bool) -> String {
    let keys = [
        ("H", "print this help"),
        ("X", "exit the machine"),
        ("S", "save the data of snapshot disks"),
        ("T", "switch time stamps on or off"),
        ("B", "send a break"),
        ("C", "switch between console and monitor"),
        ("Ctrl-A", "send Ctrl-A"),
    ];
    let rows = keys.iter().filter(|(key, _)| shared || *key != "C");
    rows.fold("\r\n".to_owned(), |text, (key, what)| text + &format!("Ctrl-A {key}    {what}\r\n"))
}

/// What an input byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Input for whoever has the focus.
    Data(u8),
    /// Part of an escape, or an escape nobody knows.
    Nothing,
    Help,
    Exit,
    Save,
    Stamps,
    Break,
    Next,
}

#[derive(Debug, Default)]
pub(super) struct Mux {
    escaped: bool,
    /// Since when lines are stamped.
    stamps: Option<Instant>,
    /// The output stands in the middle of a line.
    mid_line: bool,
}

impl Mux {
    pub fn decode(&mut self, byte: u8) -> Meaning {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return if self.escaped { Meaning::Nothing } else { Meaning::Data(byte) };
        }
        match byte {
            ESCAPE => Meaning::Data(ESCAPE),
            b'h' | b'H' | b'?' => Meaning::Help,
            b'x' | b'X' => Meaning::Exit,
            b's' | b'S' => Meaning::Save,
            b't' | b'T' => Meaning::Stamps,
            b'b' | b'B' => Meaning::Break,
            b'c' | b'C' => Meaning::Next,
            _ => Meaning::Nothing,
        }
    }

    pub fn switch_stamps(&mut self) {
        self.stamps = if self.stamps.is_some() { None } else { Some(Instant::now()) };
    }

    /// What goes out before `byte`: a time stamp at the start of a line, if they are on.
    pub fn stamp(&mut self, byte: u8) -> Option<String> {
        let starts_line = !std::mem::replace(&mut self.mid_line, byte != b'\n');
        let since = self.stamps.filter(|_| starts_line)?.elapsed();
        let s = since.as_secs();
        Some(format!("[{:02}:{:02}:{:02}.{:03}] ", s / 3600, s / 60 % 60, s % 60, since.subsec_millis()))
    }

    pub fn stamping(&self) -> bool {
        self.stamps.is_some()
    }

    /// The output ended with `byte` without passing through [`Mux::stamp`].
    pub fn passed(&mut self, byte: u8) {
        self.mid_line = byte != b'\n';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Vec<Meaning> {
        let mut mux = Mux::default();
        input.iter().map(|&b| mux.decode(b)).filter(|m| *m != Meaning::Nothing).collect()
    }

    #[test]
    fn escapes() {
        use Meaning::*;
        assert_eq!(decode(b"a\x01\x01\x01b"), [Data(b'a'), Data(1), Break]);
        assert_eq!(decode(b"\x01h\x01x\x01s\x01t\x01c"), [Help, Exit, Save, Stamps, Next]);
        assert_eq!(decode(b"\x01H\x01X\x01S\x01T\x01C\x01B"), [Help, Exit, Save, Stamps, Next, Break]);
        assert_eq!(decode(b"\x01zx"), [Data(b'x')], "unknown escapes vanish");
    }

    #[test]
    fn help_lists_what_there_is() {
        assert!(help(true).contains("Ctrl-A C    switch") && help(true).ends_with("Ctrl-A Ctrl-A    send Ctrl-A\r\n"));
        assert!(!help(false).contains("Ctrl-A C "));
    }

    #[test]
    fn stamps_only_at_line_starts() {
        let mut mux = Mux::default();
        assert_eq!(mux.stamp(b'a'), None);
        mux.switch_stamps();
        assert_eq!(mux.stamp(b'b'), None, "in the middle of a line");
        assert_eq!(mux.stamp(b'\n'), None);
        let stamp = mux.stamp(b'c').expect("a line starts");
        assert_eq!((stamp.len(), stamp.as_bytes()[0]), ("[00:00:00.000] ".len(), b'['));
        mux.switch_stamps();
        mux.passed(b'\n');
        assert_eq!(mux.stamp(b'd'), None);
    }
}
