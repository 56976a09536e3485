//! Commands that show memory and values: `x/FMT`, `xp/FMT`, `print/FMT`.

use std::fmt::Write;
use std::path::Path;

use accel::HartState;
use arch::isa::{Decoder, disasm, insn_len};
use arch::{csr, reg};

use super::{Arguments, Context, Waits, expr};
use crate::machine::{DumpState, DumpStatus};

/// The most elements of one command.
const COUNT_MAX: u64 = 65_536;

/// `/COUNT FORMAT SIZE`, as gdb has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    count: u64,
    show: char,
    /// Bytes of an element.
    size: usize,
}

impl Default for Format {
    fn default() -> Self {
        Self { count: 1, show: 'x', size: 4 }
    }
}

impl Format {
    /// The format, and what stands behind it. What it does not say is as in `last`; the count is 1.
    fn take(text: &str, last: Self) -> Result<(Self, &str), String> {
        let mut new = Self { count: 1, ..last };
        let Some(format) = text.strip_prefix('/') else { return Ok((new, text)) };
        let (format, rest) = format.split_once(char::is_whitespace).unwrap_or((format, ""));
        let digits = format.len() - format.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits > 0 {
            let count = format[..digits].parse().ok().filter(|n| (1..=COUNT_MAX).contains(n));
            new.count = count.ok_or_else(|| format!("count {} is not 1 to {COUNT_MAX}", &format[..digits]))?;
        }
        for c in format[digits..].chars() {
            match c {
                'x' | 'd' | 'u' | 'o' | 'c' | 'i' => new.show = c,
                'b' => new.size = 1,
                'h' => new.size = 2,
                'w' => new.size = 4,
                'g' => new.size = 8,
                _ => return Err(format!("'{c}' in /{format}: must be one of x d u o c i, or of b h w g")),
            }
        }
        Ok((new, rest.trim()))
    }

    /// The most characters of an element.
    fn width(self) -> usize {
        let bits = 8 * self.size;
        match self.show {
            'd' => self.text(1 << (bits - 1)).len(),
            // An escape in quotes.
            'c' => 6,
            _ => self.text(u64::MAX >> (64 - bits)).len(),
        }
    }

    fn text(self, value: u64) -> String {
        let bits = 8 * self.size as u32;
        let signed = (value << (64 - bits)) as i64 >> (64 - bits);
        match self.show {
            'd' => format!("{signed}"),
            'u' => format!("{value}"),
            'o' if value == 0 => "0".to_owned(),
            'o' => format!("0{value:o}"),
            'c' => format!("'{}'", (value as u8).escape_ascii()),
            _ => format!("{value:#0width$x}", width = 2 + 2 * self.size),
        }
    }
}

/// The value of a register by name: `pc`, x and f registers by number or ABI name, CSRs.
fn register(cx: &mut Context<'_>, state: &HartState, name: &str) -> Option<u64> {
    if name == "pc" {
        return Some(state.pc);
    }
    if let Some(n) = reg::x_by_name(name) {
        return Some(state.x[usize::from(n)]);
    }
    if let Some(n) = reg::f_by_name(name) {
        return Some(state.f[usize::from(n)]);
    }
    let number = csr::by_name(name)?.number;
    cx.machine.hart_csrs(*cx.hart, vec![number]).ok()?.pop()?
}

fn value(cx: &mut Context<'_>, text: &str) -> Result<u64, String> {
    let state = cx.machine.hart_state(*cx.hart)?;
    let cx = std::cell::RefCell::new(cx);
    expr::evaluate(text, &|name| register(&mut cx.borrow_mut(), &state, name))
}

pub fn virtual_(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    dump(cx, args, true)
}

pub fn physical(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    dump(cx, args, false)
}

/// Memory from `va` on, up to a page; empty if nothing answers. Harts stand still meanwhile: the breakpoints of a debugger may
/// be in memory while they run.
fn read(cx: &mut Context<'_>, state: Option<&HartState>, at: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = at.wrapping_add(bytes.len() as u64);
        let n = (len - bytes.len()).min((4096 - at % 4096) as usize);
        let mut part = vec![0; n];
        match cx.machine.with_harts_stopped(|machine| machine.read_page(state, at, &mut part)) {
            Ok(()) => bytes.extend(part),
            Err(_) if !bytes.is_empty() => break,
            Err(message) => return Err(message),
        }
    }
    Ok(bytes)
}

fn dump(cx: &mut Context<'_>, args: &Arguments, mapped: bool) -> Result<(), String> {
    let (format, rest) = Format::take(&args.text, *cx.shown)?;
    let address = value(cx, rest)?;
    *cx.shown = format;
    let state = cx.machine.hart_state(*cx.hart)?;
    let state = mapped.then_some(&*state);
    if format.show == 'i' {
        return instructions(cx, state, address, format.count);
    }
    let width = format.width();
    let per_line = if format.show == 'c' { 8 } else { 16 / format.size as u64 };
    let mut done = 0;
    while done < format.count {
        let at = address.wrapping_add(done * format.size as u64);
        let n = per_line.min(format.count - done);
        let mut line = String::new();
        let mut end = Ok(());
        for i in 0..n {
            // Each element by itself: a device's registers want their own width.
            match read(cx, state, at.wrapping_add(i * format.size as u64), format.size) {
                Ok(mut bytes) => {
                    bytes.resize(8, 0);
                    let element = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                    let _ = write!(line, " {:>width$}", format.text(element));
                }
                Err(message) => {
                    end = Err(message);
                    break;
                }
            }
        }
        if !line.is_empty() {
            let _ = writeln!(cx.out, "{at:016x}:{line}");
        }
        end?;
        done += n;
    }
    Ok(())
}

fn instructions(cx: &mut Context<'_>, state: Option<&HartState>, mut at: u64, count: u64) -> Result<(), String> {
    let decoder = Decoder::new(cx.machine.isa());
    for _ in 0..count {
        let low = read(cx, state, at, 2)?;
        let low = u16::from_le_bytes([low[0], low.get(1).copied().unwrap_or(0)]);
        let len = usize::from(insn_len(low));
        let raw = if len == 2 {
            u32::from(low)
        } else {
            let mut bytes = read(cx, state, at, 4)?;
            bytes.resize(4, 0);
            u32::from_le_bytes(bytes.try_into().expect("four bytes"))
        };
        let text = decoder.decode(raw).map_or_else(|| "unknown".to_owned(), |insn| disasm(&insn, at));
        let _ = writeln!(cx.out, "{at:#018x}:  {raw:0width$x}{:pad$}  {text}", "", width = 2 * len, pad = 8 - 2 * len);
        at = at.wrapping_add(len as u64);
    }
    Ok(())
}

pub fn translate(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let va = value(cx, &args.text)?;
    match cx.machine.translate(*cx.hart, va)? {
        Some(pa) => {
            let _ = writeln!(cx.out, "gpa: {pa:#x}");
        }
        None => {
            let _ = writeln!(cx.out, "Unmapped");
        }
    }
    Ok(())
}

pub fn host_address(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let pa = value(cx, &args.text)?;
    if let Some(host) = cx.machine.host_address(pa) {
        let _ = writeln!(cx.out, "Host virtual address for {pa:#x} (ram) is {host:#x}");
        return Ok(());
    }
    cx.machine.answers_page(None, pa)?;
    Err(format!("memory at address {pa:#x} is not RAM"))
}

/// `-d`: nobody waits for its end.
pub fn dump_guest(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let (detach, words) = if words[0] == "-d" { (true, &words[1..]) } else { (false, &words[..]) };
    let number = |word: &str| expr::number(word).ok_or_else(|| format!("'{word}' is no number"));
    let (path, range) = match words {
        [option, ..] if option.starts_with('-') => {
            return Err(format!("'{option}': only -d is known; the file is ELF"));
        }
        [path] => (path, None),
        [path, begin, length] => {
            let begin = number(begin)?;
            (path, Some(begin..begin.saturating_add(number(length)?)))
        }
        _ => return Err("dump-guest-memory takes [-d] FILE [BEGIN LENGTH]".into()),
    };
    let ticket = cx.machine.dump_memory(Path::new(path), range)?;
    if !detach {
        *cx.waits = Some(Waits::Task(ticket));
    }
    Ok(())
}

/// QEMU's words.
pub fn dump_status(cx: &mut Context<'_>, _: &Arguments) -> Result<(), String> {
    let Some(DumpStatus { state, completed, total }) = cx.machine.dump_status() else {
        let _ = writeln!(cx.out, "Status: none");
        return Ok(());
    };
    let _ = writeln!(cx.out, "Status: {}", state.name());
    if state == DumpState::Active {
        let _ = writeln!(cx.out, "Finished: {:.2} %", 100.0 * completed as f64 / total as f64);
    }
    Ok(())
}

pub fn print(cx: &mut Context<'_>, args: &Arguments) -> Result<(), String> {
    let (format, rest) = Format::take(&args.text, Format::default())?;
    if format.show == 'i' || format.count != 1 {
        return Err("print shows one value, in format x, d, u, o or c".into());
    }
    let value = value(cx, rest)?;
    let text = if format.show == 'x' { format!("{value:#x}") } else { Format { size: 8, ..format }.text(value) };
    let _ = writeln!(cx.out, "{text}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let format = |count, show, size| Format { count, show, size };
        let take = |text| Format::take(text, Format::default());
        assert_eq!(take("/4xg 0x10"), Ok((format(4, 'x', 8), "0x10")));
        assert_eq!(take("/i $pc"), Ok((format(1, 'i', 4), "$pc")));
        assert_eq!(take("16"), Ok((format(1, 'x', 4), "16")));
        assert_eq!(Format::take("/2d 16", format(4, 'x', 8)), Ok((format(2, 'd', 8), "16")));
        assert_eq!(["0", "010", "01777"], [0, 8, 0x3ff].map(|v| format(1, 'o', 4).text(v)));
        assert_eq!(format(1, 'd', 1).text(0xff), "-1");
        assert_eq!(format(1, 'x', 2).text(0xff), "0x00ff");
        assert_eq!(format(1, 'c', 1).text(10), "'\\n'");
        for bad in ["/0x 1", "/99999999x 1", "/q 1"] {
            assert!(take(bad).is_err(), "{bad}");
        }
    }
}
