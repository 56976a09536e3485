//! Packets of the remote serial protocol: `$BODY#SUM`, and the bytes between them.

use std::fmt::Write;

/// The longest packet that the stub takes, with its frame.
pub const PACKET_MAX: usize = 4096;
/// Bytes of text in one packet to gdb's console.
const TEXT_MAX: usize = 1024;

/// What a byte completes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Nothing,
    /// The body of a packet, as it was sent.
    Packet(Vec<u8>),
    /// gdb has not understood the last answer.
    Again,
    /// Ctrl-C.
    Interrupt,
    /// The checksum is wrong.
    Garbled,
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between packets.
    #[default]
    Outside,
    Body,
    /// Behind `#`, with the first digit of the checksum if it was there.
    Sum(Option<u8>),
}

/// Takes packets apart.
#[derive(Debug, Default)]
pub struct Packets {
    state: State,
    body: Vec<u8>,
    sum: u8,
    /// A part of the body was dropped.
    too_long: bool,
}

impl Packets {
    pub fn take(&mut self, byte: u8) -> Input {
        match (self.state, byte) {
            (State::Outside, b'$') => *self = Self { state: State::Body, ..Self::default() },
            (State::Outside, b'-') => return Input::Again,
            (State::Outside, super::INTERRUPT) => return Input::Interrupt,
            (State::Outside, _) => {}
            (State::Body, b'#') => self.state = State::Sum(None),
            (State::Body, _) => {
                self.sum = self.sum.wrapping_add(byte);
                self.too_long |= self.body.len() + 4 >= PACKET_MAX;
                if !self.too_long {
                    self.body.push(byte);
                }
            }
            (State::Sum(None), _) => self.state = State::Sum(Some(byte)),
            (State::Sum(Some(first)), _) => {
                let Self { body, sum, too_long, .. } = std::mem::take(self);
                return match unhex(&[first, byte]) {
                    Some(said) if said == [sum] && too_long => Input::TooLong,
                    Some(said) if said == [sum] => Input::Packet(body),
                    _ => Input::Garbled,
                };
            }
        }
        Input::Nothing
    }
}

/// A packet with this body, in which nothing needs an escape.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

/// Packets that show text on gdb's console.
pub fn console(text: &str) -> Vec<u8> {
    let packet = |part: &[u8]| {
        let mut body = String::from("O");
        part.iter().for_each(|byte| {
            let _ = write!(body, "{byte:02x}");
        });
        framed(body.as_bytes())
    };
    text.as_bytes().chunks(TEXT_MAX).flat_map(packet).collect()
}

/// Bytes in hexadecimal, two digits each.
pub fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// Binary data without its escapes; `None` if the last one has nothing behind it.
pub fn unescaped(data: &[u8]) -> Option<Vec<u8>> {
    let mut rest = data.iter();
    let mut plain = Vec::with_capacity(data.len());
    while let Some(byte) = rest.next() {
        plain.push(if *byte == b'}' { rest.next()? ^ 0x20 } else { *byte });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(bytes: &[u8]) -> Vec<Input> {
        let mut packets = Packets::default();
        bytes.iter().map(|byte| packets.take(*byte)).filter(|input| *input != Input::Nothing).collect()
    }

    #[test]
    fn packets_are_found_in_what_comes() {
        let packet = |body: &[u8]| Input::Packet(body.to_vec());
        assert_eq!(framed(b"g"), b"$g#67");
        assert_eq!(inputs(b"+$g#67+$?#3F"), [packet(b"g"), packet(b"?")]);
        assert_eq!(inputs(b"noise\x03-$m\x03-#9d"), [Input::Interrupt, Input::Again, packet(b"m\x03-")]);
        assert_eq!(inputs(b"$g#68$g#6z$g#67"), [Input::Garbled, Input::Garbled, packet(b"g")]);
        assert_eq!(inputs(b"$#00$"), [packet(b"")]);
    }

    #[test]
    fn long_packets_are_refused_and_what_follows_is_not() {
        let longest = vec![b'x'; PACKET_MAX - 4];
        assert_eq!(inputs(&framed(&longest)), [Input::Packet(longest)]);
        let long = [framed(&vec![b'x'; 100_000]), framed(b"g")].concat();
        assert_eq!(inputs(&long), [Input::TooLong, Input::Packet(b"g".to_vec())]);
    }

    #[test]
    fn text_goes_to_the_console_in_parts() {
        assert_eq!(console("a\n"), b"$O610a#47");
        assert_eq!(console(""), b"");
        let both = console(&"x".repeat(TEXT_MAX + 1));
        assert_eq!(inputs(&both).len(), 2);
    }
}
