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
    /// The bits of the word this piece covers.
    pub fn mask(&self) -> u32 {
        ((1 << self.width) - 1) << self.lsb
    }
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// In bytes.
    pub len: u8,
    pub mask: u32,
    pub bits: u32,
    pub pieces: Vec<Piece>,
    /// Fields with a value that the word does not carry.
    pub fixed: Vec<(Field, i32)>,
    /// The word must not have `value` under `mask`.
    pub excluded: Vec<(u32, u32)>,
    /// Bits to shift the immediate up and down again to extend its sign; 0 if it is unsigned.
    pub sign_shift: u8,
}

impl Pattern {
    pub fn matches(&self, raw: u32) -> bool {
        raw & self.mask == self.bits && self.excluded.iter().all(|(mask, value)| raw & mask != *value)
    }

    /// Parses a row's pattern. The message of an error names the token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(str::trim);
        let encoding = parts.next().unwrap_or_default();
        let mut pattern = Self {
            len: 0,
            mask: 0,
            bits: 0,
            pieces: Vec::new(),
            fixed: Vec::new(),
            excluded: Vec::new(),
            sign_shift: 0,
        };
        let mut width = 0;
        for token in encoding.rsplit(' ') {
            let lsb = width;
            width += width_of(token)?;
            if width > 32 {
                break;
            }
            pattern.add_token(token, lsb)?;
        }
        if width != 32 && width != 16 {
            return Err(format!("{width} bits in '{text}'"));
        }
        pattern.len = width / 8;
        for clause in parts {
            pattern.add_clause(clause)?;
        }
        Ok(pattern)
    }

    /// Adds a token whose lowest bit is bit `lsb` of the word.
    fn add_token(&mut self, token: &str, lsb: u8) -> Result<(), String> {
        if let Some((name, ranges)) = immediate(token) {
            return self.add_immediate(name == "imm", ranges, lsb);
        }
        let mut piece = |field, width, at, bias| self.pieces.push(Piece { field, lsb, width, at, bias });
        match token {
            "rd" => piece(Field::Rd, 5, 0, 0),
            "rs1" | "zimm" => piece(Field::Rs1, 5, 0, 0),
            "rs2" => piece(Field::Rs2, 5, 0, 0),
            "rs3" => piece(Field::Rs3, 5, 0, 0),
            "vd" => piece(Field::Rd, 5, 0, 0),
            "vs1" => piece(Field::Rs1, 5, 0, 0),
            "vs2" => piece(Field::Rs2, 5, 0, 0),
            "vs3" => piece(Field::Rs3, 5, 0, 0),
            "vm" => piece(Field::Rm, 1, 0, 0),
            "rd.even" | "rs2.even" => {
                let field = if token == "rd.even" { Field::Rd } else { Field::Rs2 };
                self.mask |= 1 << lsb;
                self.pieces.push(Piece { field, lsb: lsb + 1, width: 4, at: 1, bias: 0 });
            }
            "rd/rs1" => {
                piece(Field::Rd, 5, 0, 0);
                piece(Field::Rs1, 5, 0, 0);
            }
            "rd'" => piece(Field::Rd, 3, 0, 8),
            "rs1'" => piece(Field::Rs1, 3, 0, 8),
            "rs2'" => piece(Field::Rs2, 3, 0, 8),
            "rd'/rs1'" => {
                piece(Field::Rd, 3, 0, 8);
                piece(Field::Rs1, 3, 0, 8);
            }
            "rm" => piece(Field::Rm, 3, 0, 0),
            "aq" => piece(Field::Rm, 1, 1, 0),
            "rl" => piece(Field::Rm, 1, 0, 0),
            "fm" => piece(Field::Imm, 4, 8, 0),
            "pred" => piece(Field::Imm, 4, 4, 0),
            "succ" => piece(Field::Imm, 4, 0, 0),
            "csr" => piece(Field::Imm, 12, 0, 0),
            "shamt5" => piece(Field::Imm, 5, 0, 0),
            "shamt6" => piece(Field::Imm, 6, 0, 0),
            bits => {
                for (i, bit) in bits.bytes().rev().enumerate() {
                    let at = u32::from(lsb) + i as u32;
                    self.mask |= u32::from(bit != b'.') << at;
                    self.bits |= u32::from(bit == b'1') << at;
                }
            }
        }
        Ok(())
    }

    fn add_immediate(&mut self, signed: bool, ranges: &str, lsb: u8) -> Result<(), String> {
        let mut below = width_of_ranges(ranges)?;
        for range in ranges.split('|') {
            let (high, low) = range_bounds(range)?;
            let width = high - low + 1;
            below -= width;
            self.pieces.push(Piece { field: Field::Imm, lsb: lsb + below, width, at: low, bias: 0 });
            if signed {
                self.sign_shift = match self.sign_shift {
                    0 => 31 - high,
                    shift => shift.min(31 - high),
                };
            }
        }
        Ok(())
    }

    fn add_clause(&mut self, clause: &str) -> Result<(), String> {
        let bad = || format!("clause '{clause}'");
        let (name, value, excluded) = match clause.split_once("!=") {
            Some((name, value)) => (name, value, true),
            None => clause.split_once('=').map(|(name, value)| (name, value, false)).ok_or_else(bad)?,
        };
        let field = match name {
            "rd" => Field::Rd,
            "rs1" => Field::Rs1,
            "rs2" => Field::Rs2,
            "imm" => Field::Imm,
            _ => return Err(bad()),
        };
        // As many digits as the field has bits, or with dots: bits.
        let bits_of = |token: &str| token.bytes().fold(0, |bits, b| bits << 1 | i32::from(b == b'1'));
        let binary = excluded && value.len() > 1 && value.bytes().all(|b| matches!(b, b'0' | b'1' | b'.'));
        let any = if binary { bits_of(&value.replace('1', "0").replace('.', "1")) } else { 0 };
        let value: i32 = if binary { bits_of(value) } else { value.parse().map_err(|_| bad())? };
        if !excluded {
            self.fixed.push((field, value));
            return Ok(());
        }
        let (mut mask, mut bits) = (0, 0);
        for piece in self.pieces.iter().filter(|piece| piece.field == field) {
            let counts = piece.mask() & !(any as u32 >> piece.at << piece.lsb);
            mask |= counts;
            bits |= (value as u32 >> piece.at << piece.lsb) & counts;
        }
        if mask == 0 {
            return Err(bad());
        }
        self.excluded.push((mask, bits));
        Ok(())
    }
}

/// Name and ranges of a token such as `imm[4:0]`.
fn immediate(token: &str) -> Option<(&str, &str)> {
    let (last, rest) = token.as_bytes().split_last()?;
    if *last != b']' { None } else { token[..rest.len()].split_once('[') }
}

fn width_of(token: &str) -> Result<u8, String> {
    if token.bytes().all(|b| matches!(b, b'0' | b'1' | b'.')) && !token.is_empty() {
        return Ok(token.len() as u8);
    }
    if let Some((name, ranges)) = immediate(token) {
        return match name {
            "imm" | "uimm" => width_of_ranges(ranges),
            _ => Err(format!("token '{token}'")),
        };
    }
    Ok(match token {
        "aq" | "rl" | "vm" => 1,
        "rm" | "rd'" | "rs1'" | "rs2'" | "rd'/rs1'" => 3,
        "fm" | "pred" | "succ" => 4,
        "vd" | "vs1" | "vs2" | "vs3" => 5,
        "rd" | "rs1" | "rs2" | "rs3" | "rd/rs1" | "rd.even" | "rs2.even" | "zimm" | "shamt5" => 5,
        "shamt6" => 6,
        "csr" => 12,
        _ => return Err(format!("token '{token}'")),
    })
}

fn width_of_ranges(ranges: &str) -> Result<u8, String> {
    ranges.split('|').map(|range| range_bounds(range).map(|(high, low)| high - low + 1)).sum()
}

/// `"8:6"` is (8, 6), `"5"` is (5, 5).
fn range_bounds(range: &str) -> Result<(u8, u8), String> {
    let bit = |text: &str| text.parse::<u8>().ok().filter(|bit| *bit < 32).ok_or_else(|| format!("range '{range}'"));
    let (high, low) = range.split_once(':').unwrap_or((range, range));
    let (high, low) = (bit(high)?, bit(low)?);
    if high < low { Err(format!("range '{range}'")) } else { Ok((high, low)) }
}
