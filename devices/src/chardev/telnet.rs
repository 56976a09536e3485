//! Telnet (RFC 854) at a socket: options are asked for once, and commands are taken out of what comes.
//!
//! The other side is asked for single characters without echo of its own (RFC 857, 858) and all eight bits (RFC 856);
//! what it answers changes nothing.

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;
const BINARY: u8 = 0;
const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;

/// What is said to somebody who has just come.
pub const HELLO: [u8; 12] = [IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY];
/// A byte of data that looks like a command.
pub const ESCAPED: [u8; 2] = [IAC, IAC];

/// Whether a byte has to be [`ESCAPED`].
pub fn is_special(byte: u8) -> bool {
    byte == IAC
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Data,
    /// Behind a carriage return, whose zero means nothing.
    Return,
    Command,
    Option,
    /// Inside a subnegotiation, and behind an IAC there.
    Inside,
    InsideCommand,
}

/// What comes, as far as it is known.
#[derive(Debug, Default)]
pub struct Telnet(State);

impl Telnet {
    /// Takes commands out of bytes that have come; how many are left, at the front.
    pub fn strip(&mut self, bytes: &mut [u8]) -> usize {
        let mut kept = 0;
        for i in 0..bytes.len() {
            if let Some(byte) = self.take(bytes[i]) {
                bytes[kept] = byte;
                kept += 1;
            }
        }
        kept
    }

    fn take(&mut self, byte: u8) -> Option<u8> {
        let (next, kept) = match (self.0, byte) {
            (State::Data | State::Return, IAC) => (State::Command, None),
            (State::Return, 0) => (State::Data, None),
            (State::Data | State::Return, b'\r') => (State::Return, Some(byte)),
            (State::Data | State::Return, _) => (State::Data, Some(byte)),
            (State::Command, IAC) => (State::Data, Some(byte)),
            (State::Command, WILL | WONT | DO | DONT) => (State::Option, None),
            (State::Command, SB) => (State::Inside, None),
            (State::Command | State::Option, _) => (State::Data, None),
            (State::Inside, IAC) => (State::InsideCommand, None),
            (State::InsideCommand, SE) => (State::Data, None),
            (State::Inside | State::InsideCommand, _) => (State::Inside, None),
        };
        self.0 = next;
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_out_wherever_they_are_cut() {
        let sent = b"a\xff\xfd\x03b\xff\xff\r\0c\r\n\xff\xfa\x18\0xterm\xff\xff\xff\xf0d\xff\xf1e\xff\xfb";
        for cut in 0..=sent.len() {
            let mut telnet = Telnet::default();
            let (mut first, mut second) = (sent[..cut].to_vec(), sent[cut..].to_vec());
            let n = telnet.strip(&mut first);
            let m = telnet.strip(&mut second);
            assert_eq!([&first[..n], &second[..m]].concat(), b"ab\xff\rc\r\nde", "{cut}");
        }
    }
}
