//! The command machine of a bank: Intel's StrataFlash family (command set 1) with its CFI tables (JEDEC
//! JESD68, JEP137). Programming and erasing take no time, and blocks are never locked.
//!
//! The two chips of the bank execute every command together, whatever half of the bus carried it, and a write
//! of any width is one bus cycle. Real chips would each see their own half only; but guests that probe the
//! bank with narrow accesses (U-Boot does) take it for one 16-bit chip, and that works only so.

use serde::{Deserialize, Serialize};

use super::{BANK_SIZE, SECTOR_SIZE};

/// Bytes of one chip's write buffer, as a power of two.
const BUFFER_BYTES_LOG2: u8 = 11;
/// Bus cycles that fill it.
const BUFFER_WRITES: u16 = 1 << (BUFFER_BYTES_LOG2 - 1);

const MANUFACTURER: u16 = 0x89;
const DEVICE: u16 = 0x18;

/// What a bank does to its contents; offsets count bytes and lie inside the bank. Errors mean that the
/// contents did not change.
pub(super) trait Contents {
    /// Clears the bits that are zero in `data`.
    fn program(&mut self, offset: u64, data: &[u8]) -> std::io::Result<()>;
    /// Sets all bits of `len` bytes.
    fn erase(&mut self, offset: u64, len: u64) -> std::io::Result<()>;
}

mod command {
    pub const PROGRAM_ALTERNATE: u8 = 0x10;
    pub const ERASE: u8 = 0x20;
    pub const PROGRAM: u8 = 0x40;
    pub const CLEAR_STATUS: u8 = 0x50;
    pub const LOCK: u8 = 0x60;
    pub const READ_STATUS: u8 = 0x70;
    pub const READ_ID: u8 = 0x90;
    pub const QUERY: u8 = 0x98;
    pub const CONFIRM: u8 = 0xd0;
    pub const BUFFER: u8 = 0xe8;
    pub const READ_ARRAY: u8 = 0xff;
    /// Second bytes of [`LOCK`].
    pub const LOCK_BLOCK: u8 = 0x01;
    pub const LOCK_DOWN: u8 = 0x2f;
}

mod status {
    pub const PROGRAM_FAILED: u8 = 0x10;
    pub const ERASE_FAILED: u8 = 0x20;
    /// A command that makes no sense.
    pub const SEQUENCE: u8 = PROGRAM_FAILED | ERASE_FAILED;
    pub const READY: u8 = 0x80;
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Mode {
    #[default]
    Array,
    Status,
    Id,
    Query,
    /// The next cycle is programmed.
    Program,
    Erase,
    Lock,
    BufferCount,
    /// Cycles still to come, and the bytes that came, with their offsets.
    BufferFill {
        left: u16,
        bytes: Vec<(u64, u8)>,
    },
    BufferConfirm {
        bytes: Vec<(u64, u8)>,
    },
}

/// The bank's state, without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chip {
    mode: Mode,
    errors: u8,
}

impl Chip {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether a state from elsewhere is one that commands lead to.
    pub(super) fn is_legal(&self) -> bool {
        let inside = |bytes: &[(u64, u8)]| {
            bytes.len() <= usize::from(BUFFER_WRITES) * 4 && bytes.iter().all(|&(at, _)| at < BANK_SIZE)
        };
        match &self.mode {
            Mode::BufferFill { left, bytes } => (1..=BUFFER_WRITES).contains(left) && inside(bytes),
            Mode::BufferConfirm { bytes } => inside(bytes),
            _ => true,
        }
    }

    pub(super) fn in_read_array(&self) -> bool {
        self.mode == Mode::Array
    }

    /// What each chip gives at an offset of the bank, if it is not the contents.
    pub(super) fn read(&self, offset: u64) -> Option<u16> {
        match self.mode {
            Mode::Array => None,
            Mode::Id => Some(match offset % SECTOR_SIZE / 4 {
                0 => MANUFACTURER,
                1 => DEVICE,
                _ => 0,
            }),
            Mode::Query => Some(u16::from(query(offset / 4 % 0x100))),
            _ => Some(u16::from(status::READY | self.errors)),
        }
    }

    /// A bus cycle of one to four bytes. The lowest byte is the command; as a count it has 16 bits.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], contents: &mut impl Contents) {
        let code = data.first().copied().unwrap_or(0);
        let count = u16::from_le_bytes([code, data.get(1).copied().unwrap_or(0)]);
        self.mode = match std::mem::take(&mut self.mode) {
            Mode::Program => self.finish(contents.program(offset, data), status::PROGRAM_FAILED),
            Mode::Erase if code == command::CONFIRM => {
                let sector = offset - offset % SECTOR_SIZE;
                self.finish(contents.erase(sector, SECTOR_SIZE), status::ERASE_FAILED)
            }
            Mode::Lock if matches!(code, command::LOCK_BLOCK | command::CONFIRM | command::LOCK_DOWN) => Mode::Status,
            Mode::Erase | Mode::Lock if code == command::READ_ARRAY => Mode::Array,
            Mode::Erase | Mode::Lock => self.fail(status::SEQUENCE),
            Mode::BufferCount if count < BUFFER_WRITES => Mode::BufferFill { left: count + 1, bytes: Vec::new() },
            Mode::BufferCount => self.fail(status::SEQUENCE),
            Mode::BufferFill { left, bytes } => self.fill(left, bytes, offset, data),
            Mode::BufferConfirm { bytes } if code == command::CONFIRM => {
                self.finish(flush(&bytes, contents), status::PROGRAM_FAILED)
            }
            Mode::BufferConfirm { .. } => self.fail(status::SEQUENCE),
            mode @ (Mode::Array | Mode::Status | Mode::Id | Mode::Query) => self.command(code, mode),
        };
    }

    fn command(&mut self, code: u8, mode: Mode) -> Mode {
        match code {
            command::PROGRAM | command::PROGRAM_ALTERNATE => Mode::Program,
            command::ERASE => Mode::Erase,
            command::LOCK => Mode::Lock,
            command::BUFFER => Mode::BufferCount,
            command::READ_STATUS => Mode::Status,
            command::READ_ID => Mode::Id,
            command::QUERY => Mode::Query,
            command::CLEAR_STATUS => {
                self.errors = 0;
                Mode::Array
            }
            // Resuming what was never suspended.
            command::CONFIRM => mode,
            _ => Mode::Array,
        }
    }

    fn fail(&mut self, errors: u8) -> Mode {
        self.errors |= errors;
        Mode::Status
    }

    fn finish(&mut self, done: std::io::Result<()>, error: u8) -> Mode {
        match done {
            Ok(()) => Mode::Status,
            Err(cause) => {
                tracing::debug!(%cause, "flash chip cannot change its contents");
                self.fail(error)
            }
        }
    }

    /// A cycle for the buffer. All of them have to lie in one sector.
    fn fill(&mut self, left: u16, mut bytes: Vec<(u64, u8)>, offset: u64, data: &[u8]) -> Mode {
        let sector = |offset| offset / SECTOR_SIZE;
        if bytes.first().is_some_and(|&(first, _)| sector(first) != sector(offset)) {
            return self.fail(status::PROGRAM_FAILED);
        }
        bytes.extend((offset..).zip(data.iter().copied()));
        match left - 1 {
            0 => Mode::BufferConfirm { bytes },
            left => Mode::BufferFill { left, bytes },
        }
    }
}

/// Programs buffered bytes, neighbours together.
fn flush(bytes: &[(u64, u8)], contents: &mut impl Contents) -> std::io::Result<()> {
    for run in bytes.chunk_by(|a, b| a.0 + 1 == b.0) {
        let values: Vec<u8> = run.iter().map(|byte| byte.1).collect();
        contents.program(run[0].0, &values)?;
    }
    Ok(())
}

/// The first address of the tables.
const TABLE: u64 = 0x10;
/// Where the Intel table begins.
const PRIMARY: u8 = 0x31;

/// One chip's tables.
#[rustfmt::skip]
const TABLES: [u8; 48] = [
    b'Q', b'R', b'Y',
    0x01, 0x00, PRIMARY, 0x00,  // primary command set and where its table is
    0x00, 0x00, 0x00, 0x00,     // no alternate set
    0x45, 0x55, 0x00, 0x00,     // 4.5 to 5.5 V; no programming voltage
    0x07, 0x07, 0x0a, 0x00,     // typical times, as powers of two: word, buffer (us), block erase (ms), no chip erase
    0x04, 0x04, 0x04, 0x00,     // maximal times, as powers of two of the typical ones
    0x18,                       // 2^24 bytes
    0x01, 0x00,                 // 16 bits wide
    BUFFER_BYTES_LOG2, 0x00,
    0x01,                       // one region of equal blocks:
    0x7f, 0x00, 0x00, 0x02,     // 128 blocks of 512 * 256 bytes
    b'P', b'R', b'I', b'1', b'1',
    0x00, 0x00, 0x00, 0x00,     // no optional features
    0x00,                       // nothing works while an erase is suspended
    0x00, 0x00,                 // no block status
    0x50, 0x00,                 // 5 V, no programming voltage
    0x00,                       // no protection registers
];

fn query(address: u64) -> u8 {
    address.checked_sub(TABLE).and_then(|i| TABLES.get(i as usize)).copied().unwrap_or(0)
}
