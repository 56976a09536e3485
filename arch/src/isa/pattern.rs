//! The bit patterns of the rows.
//!
//! A pattern is written as the specification draws an encoding, most significant bit first, such as
//! `"imm[11:5] rs2 rs1 010 imm[4:0] 0100011"`:
//!
//! - `0` and `1` are fixed bits, `.` is ignored;
//! - `rd rs1 rs2 rs3` are 5-bit registers, `rd' rs1' rs2'` 3-bit ones (x8 to x15), `rd/rs1` fills both; `rd.even` and
//!   `rs2.even` name the first of a pair, with a lowest bit of zero;
//! - `vd vs1 vs2 vs3` are 5-bit vector registers, `vm` is the bit that a masked vector instruction has clear;
//! - `rm` has 3 bits, `aq` and `rl` 1, `fm`, `pred` and `succ` 4, `csr` 12, `zimm` 5, `shamt5` 5 and `shamt6` 6;
//! - `imm[12|10:5]` are the named bits of a signed immediate, `uimm[..]` of an unsigned one.
//!
//! After commas come clauses: `rd=2` gives a field that has no bits a value, `imm!=0` excludes a value,
//! `imm!=11..` all of these bits, where `.` is any.
//!
//! All of it happens while the crate is compiled: a program would otherwise spend most of its start with it, and a row that
//! is wrong does not build.

use std::fmt;
use std::ops::Deref;

/// A field of [`super::Insn`] that a pattern fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Rd,
    Rs1,
    Rs2,
    Rs3,
    Rm,
    Imm,
}

/// `width` bits from `lsb` of the word are bits `at..` of the field, plus `bias` (8 for 3-bit registers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub field: Field,
    pub lsb: u8,
    pub width: u8,
    pub at: u8,
    pub bias: u8,
}

impl Piece {
    const NONE: Self = Self { field: Field::Rd, lsb: 0, width: 0, at: 0, bias: 0 };

    /// The bits of the word this piece covers.
    pub const fn mask(&self) -> u32 {
        ((1 << self.width) - 1) << self.lsb
    }
}

/// A few values in place. A slice in all respects.
#[derive(Clone, Copy)]
pub struct Few<T, const N: usize> {
    values: [T; N],
    len: u8,
}

impl<T: Copy, const N: usize> Few<T, N> {
    const fn new(none: T) -> Self {
        Self { values: [none; N], len: 0 }
    }

    const fn push(&mut self, value: T) {
        self.values[self.len as usize] = value;
        self.len += 1;
    }

    pub(super) const fn as_slice(&self) -> &[T] {
        self.values.split_at(self.len as usize).0
    }
}

impl<T: Copy, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Copy + fmt::Debug, const N: usize> fmt::Debug for Few<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// A parsed pattern.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    /// In bytes.
    pub len: u8,
    pub mask: u32,
    pub bits: u32,
    pub pieces: Few<Piece, 12>,
    /// Fields with a value that the word does not carry.
    pub fixed: Few<(Field, i32), 3>,
    /// The word must not have `value` under `mask`.
    pub excluded: Few<(u32, u32), 2>,
    /// Bits to shift the immediate up and down again to extend its sign; 0 if it is unsigned.
    pub sign_shift: u8,
}

impl Pattern {
    pub(super) const NONE: Self = Self {
        len: 0,
        mask: 0,
        bits: 0,
        pieces: Few::new(Piece::NONE),
        fixed: Few::new((Field::Rd, 0)),
        excluded: Few::new((0, 0)),
        sign_shift: 0,
    };

    pub fn matches(&self, raw: u32) -> bool {
        raw & self.mask == self.bits && self.excluded.iter().all(|(mask, value)| raw & mask != *value)
    }

    /// Parses a row's pattern.
    ///
    /// # Panics
    /// If it is none; with the part of it that is wrong.
    pub(super) const fn parse(text: &str) -> Self {
        let mut pattern = Self::NONE;
        let (encoding, mut clauses) = first(text.as_bytes(), b',');
        let (mut rest, mut width) = (encoding.trim_ascii(), 0);
        while !rest.is_empty() {
            let (before, token) = last_word(rest);
            let lsb = width;
            width += width_of(token);
            if width > 32 {
                wrong(text.as_bytes());
            }
            pattern.add_token(token, lsb);
            rest = before;
        }
        if width != 32 && width != 16 {
            wrong(text.as_bytes());
        }
        pattern.len = width / 8;
        while !clauses.is_empty() {
            let (clause, more) = first(clauses, b',');
            pattern.add_clause(clause.trim_ascii());
            clauses = more;
        }
        pattern
    }

    const fn add_piece(&mut self, field: Field, lsb: u8, width: u8, at: u8, bias: u8) {
        self.pieces.push(Piece { field, lsb, width, at, bias });
    }

    /// Adds a token whose lowest bit is bit `lsb` of the word.
    const fn add_token(&mut self, token: &[u8], lsb: u8) {
        if let Some((signed, ranges)) = immediate(token) {
            return self.add_immediate(signed, ranges, lsb);
        }
        match token {
            b"rd" | b"vd" => self.add_piece(Field::Rd, lsb, 5, 0, 0),
            b"rs1" | b"vs1" | b"zimm" => self.add_piece(Field::Rs1, lsb, 5, 0, 0),
            b"rs2" | b"vs2" => self.add_piece(Field::Rs2, lsb, 5, 0, 0),
            b"rs3" | b"vs3" => self.add_piece(Field::Rs3, lsb, 5, 0, 0),
            b"vm" => self.add_piece(Field::Rm, lsb, 1, 0, 0),
            b"rd.even" => self.add_even(Field::Rd, lsb),
            b"rs2.even" => self.add_even(Field::Rs2, lsb),
            b"rd/rs1" => {
                self.add_piece(Field::Rd, lsb, 5, 0, 0);
                self.add_piece(Field::Rs1, lsb, 5, 0, 0);
            }
            b"rd'" => self.add_piece(Field::Rd, lsb, 3, 0, 8),
            b"rs1'" => self.add_piece(Field::Rs1, lsb, 3, 0, 8),
            b"rs2'" => self.add_piece(Field::Rs2, lsb, 3, 0, 8),
            b"rd'/rs1'" => {
                self.add_piece(Field::Rd, lsb, 3, 0, 8);
                self.add_piece(Field::Rs1, lsb, 3, 0, 8);
            }
            b"rm" => self.add_piece(Field::Rm, lsb, 3, 0, 0),
            b"aq" => self.add_piece(Field::Rm, lsb, 1, 1, 0),
            b"rl" => self.add_piece(Field::Rm, lsb, 1, 0, 0),
            b"fm" => self.add_piece(Field::Imm, lsb, 4, 8, 0),
            b"pred" => self.add_piece(Field::Imm, lsb, 4, 4, 0),
            b"succ" => self.add_piece(Field::Imm, lsb, 4, 0, 0),
            b"csr" => self.add_piece(Field::Imm, lsb, 12, 0, 0),
            b"shamt5" => self.add_piece(Field::Imm, lsb, 5, 0, 0),
            b"shamt6" => self.add_piece(Field::Imm, lsb, 6, 0, 0),
            bits => {
                self.mask |= (mark(bits, b'0') | mark(bits, b'1')) << lsb;
                self.bits |= mark(bits, b'1') << lsb;
            }
        }
    }

    /// A pair's first register.
    const fn add_even(&mut self, field: Field, lsb: u8) {
        self.mask |= 1 << lsb;
        self.add_piece(field, lsb + 1, 4, 1, 0);
    }

    const fn add_immediate(&mut self, signed: bool, mut ranges: &[u8], lsb: u8) {
        let mut below = width_of_ranges(ranges);
        while !ranges.is_empty() {
            let (range, more) = first(ranges, b'|');
            let (high, low) = range_bounds(range);
            let width = high - low + 1;
            below -= width;
            self.add_piece(Field::Imm, lsb + below, width, low, 0);
            if signed && (self.sign_shift == 0 || 31 - high < self.sign_shift) {
                self.sign_shift = 31 - high;
            }
            ranges = more;
        }
    }

    const fn add_clause(&mut self, clause: &[u8]) {
        let (name, value) = first(clause, b'=');
        let (name, excluded) = match name {
            [name @ .., b'!'] => (name, true),
            name => (name, false),
        };
        let field = match name {
            b"rd" => Field::Rd,
            b"rs1" => Field::Rs1,
            b"rs2" => Field::Rs2,
            b"imm" => Field::Imm,
            _ => wrong(clause),
        };
        if !excluded {
            return self.fixed.push((field, number(value)));
        }
        // As many digits as the field has bits, or with dots: bits.
        let (value, any) = match value.len() > 1 && is_bits(value) {
            true => (mark(value, b'1'), mark(value, b'.')),
            false => (number(value) as u32, 0),
        };
        let (mut mask, mut bits, mut i) = (0, 0, 0);
        while i < self.pieces.len as usize {
            let piece = self.pieces.values[i];
            if piece.field as u8 == field as u8 {
                let counts = piece.mask() & !(any >> piece.at << piece.lsb);
                mask |= counts;
                bits |= (value >> piece.at << piece.lsb) & counts;
            }
            i += 1;
        }
        if mask == 0 {
            wrong(clause);
        }
        self.excluded.push((mask, bits));
    }
}

/// Stops the build.
const fn wrong(what: &[u8]) -> ! {
    match std::str::from_utf8(what) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("not UTF-8"),
    }
}

/// What stands before the first `at`, and what stands behind it; all of it and nothing if there is none.
pub(super) const fn first(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut i = 0;
    while i < text.len() {
        if text[i] == at {
            let (before, rest) = text.split_at(i);
            return (before, rest.split_at(1).1);
        }
        i += 1;
    }
    (text, &[])
}

/// The last word and what stands before it.
const fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let mut i = text.len();
    while i > 0 && text[i - 1] != b' ' {
        i -= 1;
    }
    let (before, word) = text.split_at(i);
    (before.trim_ascii(), word)
}

/// Bits, written most significant first, that are `which`.
const fn mark(bits: &[u8], which: u8) -> u32 {
    let (mut mark, mut i) = (0, 0);
    while i < bits.len() {
        mark = mark << 1 | (bits[i] == which) as u32;
        i += 1;
    }
    mark
}

const fn is_bits(text: &[u8]) -> bool {
    let mut i = 0;
    while i < text.len() {
        if !matches!(text[i], b'0' | b'1' | b'.') {
            return false;
        }
        i += 1;
    }
    !text.is_empty()
}

const fn number(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        wrong(text);
    }
    let (mut value, mut i) = (0, 0);
    while i < digits.len() {
        if !digits[i].is_ascii_digit() {
            wrong(text);
        }
        value = 10 * value + (digits[i] - b'0') as i32;
        i += 1;
    }
    if negative { -value } else { value }
}

/// Whether a token such as `imm[4:0]` is signed, and its ranges.
const fn immediate(token: &[u8]) -> Option<(bool, &[u8])> {
    match token {
        [b'i', b'm', b'm', b'[', ranges @ .., b']'] => Some((true, ranges)),
        [b'u', b'i', b'm', b'm', b'[', ranges @ .., b']'] => Some((false, ranges)),
        _ => None,
    }
}

const fn width_of(token: &[u8]) -> u8 {
    if is_bits(token) {
        return token.len() as u8;
    }
    if let Some((_, ranges)) = immediate(token) {
        return width_of_ranges(ranges);
    }
    match token {
        b"aq" | b"rl" | b"vm" => 1,
        b"rm" | b"rd'" | b"rs1'" | b"rs2'" | b"rd'/rs1'" => 3,
        b"fm" | b"pred" | b"succ" => 4,
        b"vd" | b"vs1" | b"vs2" | b"vs3" => 5,
        b"rd" | b"rs1" | b"rs2" | b"rs3" | b"rd/rs1" | b"rd.even" | b"rs2.even" | b"zimm" | b"shamt5" => 5,
        b"shamt6" => 6,
        b"csr" => 12,
        _ => wrong(token),
    }
}

const fn width_of_ranges(mut ranges: &[u8]) -> u8 {
    let mut width = 0;
    while !ranges.is_empty() {
        let (range, more) = first(ranges, b'|');
        let (high, low) = range_bounds(range);
        width += high - low + 1;
        ranges = more;
    }
    width
}

/// `"8:6"` is (8, 6), `"5"` is (5, 5).
const fn range_bounds(range: &[u8]) -> (u8, u8) {
    let (high, low) = first(range, b':');
    let high = number(high);
    let low = if low.is_empty() { high } else { number(low) };
    if high < low || high > 31 || low < 0 {
        wrong(range);
    }
    (high as u8, low as u8)
}
