//! What a packet has to be before the stub sees it.
//!
//! The stub reads as much memory as a packet names, takes any number for a thread, and lets the guest run on a list of
//! actions that it has not understood. What it may be given is said here; how a packet is to be understood is its own
//! business.

use super::packet::{PACKET_MAX, unescaped};

/// The most bytes of memory in one packet, each of them two digits: what gdb asks for after it was told [`PACKET_MAX`].
const MEMORY_MAX: u64 = PACKET_MAX as u64 / 2;

/// What a packet that makes sense does beyond what the stub answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Nothing,
    /// What is asked next is about another hart.
    ChoosesGeneral,
    /// `c` and `s` are about other harts.
    ChoosesResumed,
    /// The hart of `c` or `s` goes on at this address.
    GoesOnAt(u64),
}

/// Harts, as a packet names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    Any,
    All,
    One(u32),
}

/// Whether a packet makes sense in a machine with so many harts; `None` if it does not.
pub fn check(body: &[u8], harts: u32) -> Option<Does> {
    if let Some(actions) = body.strip_prefix(b"vCont") {
        return (actions == b"?" || resumes(actions, harts)).then_some(Does::Nothing);
    }
    if let Some(id) = body.strip_prefix(b"qThreadExtraInfo,") {
        return matches!(named(id, harts)?, Named::One(_)).then_some(Does::Nothing);
    }
    if let Some(id) = body.strip_prefix(b"Hg") {
        return (named(id, harts)? != Named::All).then_some(Does::ChoosesGeneral);
    }
    if let Some(id) = body.strip_prefix(b"Hc") {
        return named(id, harts).map(|_| Does::ChoosesResumed);
    }
    let makes_sense = match body {
        [b'm', range @ ..] => memory(range)? <= MEMORY_MAX,
        [b'M', written @ ..] => {
            let (range, digits) = cut(written, b':')?;
            memory(range)?.checked_mul(2) == Some(digits.len() as u64)
        }
        [b'X', written @ ..] => {
            let (range, data) = cut(written, b':')?;
            memory(range)? == unescaped(data)?.len() as u64
        }
        // There is one process, and what is garbled does not end it.
        [b'v', b'K', b'i', b'l', b'l', b';', process @ ..] | [b'D', b';', process @ ..] => hex(process)? == 1,
        [b'v', b'K', b'i', b'l', b'l', ..] | [b'D' | b'k', _, ..] => false,
        [b'c' | b's'] => true,
        [b'c' | b's', address @ ..] => return hex(address).map(Does::GoesOnAt),
        _ => true,
    };
    makes_sense.then_some(Does::Nothing)
}

/// The bytes of a range of memory, `ADDRESS,LENGTH`.
fn memory(range: &[u8]) -> Option<u64> {
    let (address, length) = cut(range, b',')?;
    hex(address)?;
    hex(length)
}

/// `;ACTION[:THREAD]` once or more.
fn resumes(actions: &[u8], harts: u32) -> bool {
    let Some(actions) = actions.strip_prefix(b";") else { return false };
    actions.split(|byte| *byte == b';').all(|action| {
        let (kind, threads) = match cut(action, b':') {
            Some((kind, id)) => (kind, named(id, harts)),
            None => (action, Some(Named::All)),
        };
        let known = match kind {
            // A step is one hart's.
            b"s" => matches!(threads, Some(Named::One(_))),
            [b'S', signal @ ..] => hex(signal).is_some() && matches!(threads, Some(Named::One(_))),
            [b'C', signal @ ..] => hex(signal).is_some(),
            _ => kind == b"c",
        };
        known && threads.is_some()
    })
}

/// The harts behind a thread's id, `[pPROCESS.]THREAD`. There is one process.
pub fn named(id: &[u8], harts: u32) -> Option<Named> {
    let thread = match id.strip_prefix(b"p") {
        None => id,
        Some(id) => {
            let (process, thread) = cut(id, b'.').unwrap_or((id, b"-1"));
            if process != b"-1" && hex(process)? > 1 {
                return None;
            }
            thread
        }
    };
    match thread {
        b"-1" => Some(Named::All),
        b"0" => Some(Named::Any),
        _ => {
            let hart = u32::try_from(hex(thread)?.checked_sub(1)?).ok()?;
            (hart < harts).then_some(Named::One(hart))
        }
    }
}

fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|byte| *byte == at)?;
    Some((&text[..place], &text[place + 1..]))
}

fn hex(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| u64::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_those_of_the_harts() {
        for (id, expected) in [
            ("1", Named::One(0)),
            ("p1.2", Named::One(1)),
            ("p01.02", Named::One(1)),
            ("0", Named::Any),
            ("p0.0", Named::Any),
            ("-1", Named::All),
            ("p1", Named::All),
            ("p-1.-1", Named::All),
        ] {
            assert_eq!(named(id.as_bytes(), 2), Some(expected), "{id}");
        }
        for id in ["3", "ffffffffffffffff", "p2.1", "p1.3", "p1.", "", "x", "+1", "p.1", "00"] {
            assert_eq!(named(id.as_bytes(), 2), None, "{id}");
        }
    }

    #[test]
    fn packets_make_sense_or_not() {
        for good in [
            "vCont?",
            "vCont;c",
            "vCont;s:1",
            "vCont;s:p1.2;c",
            "vCont;C05:1;c:-1",
            "m80000000,800",
            "M0,2:0011",
            "M0,0:",
            "X0,2:a}\u{3}",
            "c",
            "s",
            "qSupported",
            "g",
            "k",
            "D",
            "D;1",
            "vKill;1",
            "vKill;01",
            "",
        ] {
            assert_eq!(check(good.as_bytes(), 2), Some(Does::Nothing), "{good}");
        }
        for bad in [
            "vCont",
            "vCont;",
            "vContc",
            "vCont;s",
            "vCont;s:-1",
            "vCont;s:3",
            "vCont;c:p1.9",
            "vCont;c;",
            "vCont;C:1",
            "vCont;q",
            "m80000000,801",
            "m80000000",
            "m,4",
            "mzz,4",
            "M0,2:00",
            "M0,1:0011",
            "M0,8000000000000000:",
            "X0,2:a",
            "X0,1:}",
            "cx",
            "s1ffffffffffffffff",
            "Hg3",
            "Hg-1",
            "Hgffff",
            "Hc3",
            "qThreadExtraInfo,9",
            "qThreadExtraInfo,-1",
            "k1",
            "D1",
            "D;2",
            "D;",
            "vKill",
            "vKill;",
            "vKill;2",
            "vKill;1x",
        ] {
            assert_eq!(check(bad.as_bytes(), 2), None, "{bad}");
        }
        assert_eq!(check(b"Hg2", 2), Some(Does::ChoosesGeneral));
        assert_eq!(check(b"Hc-1", 2), Some(Does::ChoosesResumed));
        assert_eq!(check(b"c80000000", 2), Some(Does::GoesOnAt(0x8000_0000)));
    }
}
