//! One 16-bit flash chip of 16 MiB: the command machine of Intel's StrataFlash family (command set 1) and its
//! CFI tables (JEDEC JESD68, JEP137). Programming and erasing take no time, and blocks are never locked.

/// Words of an erase block: 128 KiB.
pub(super) const BLOCK_WORDS: u32 = 64 << 10;
/// Words of the write buffer, as a power of two of bytes.
const BUFFER_BYTES_LOG2: u8 = 11;
const BUFFER_WORDS: u16 = 1 << (BUFFER_BYTES_LOG2 - 1);

const MANUFACTURER: u16 = 0x89;
const DEVICE: u16 = 0x18;

/// What a chip does to its contents; addresses count words. Errors mean that the contents did not change.
pub(super) trait Contents {
    /// Clears the bits that are zero in the words, the first of which goes to `address`.
    fn program(&mut self, address: u32, words: &[u16]) -> std::io::Result<()>;
    /// Sets all bits of `count` words.
    fn erase(&mut self, address: u32, count: u32) -> std::io::Result<()>;
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

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Array,
    Status,
    Id,
    Query,
    /// The next word is programmed.
    Program,
    Erase,
    Lock,
    BufferCount,
    /// Words still to come, and where those before them go.
    BufferFill {
        left: u16,
        words: Vec<(u32, u16)>,
    },
    BufferConfirm {
        words: Vec<(u32, u16)>,
    },
}

/// The chip's state, without its contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chip {
    mode: Mode,
    errors: u8,
}

impl Chip {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(super) fn in_read_array(&self) -> bool {
        self.mode == Mode::Array
    }

    /// What a read gives, if it is not the contents.
    pub(super) fn read(&self, address: u32) -> Option<u16> {
        match self.mode {
            Mode::Array => None,
            Mode::Id => Some(match address % BLOCK_WORDS {
                0 => MANUFACTURER,
                1 => DEVICE,
                _ => 0,
            }),
            Mode::Query => Some(u16::from(query(address & 0xff))),
            _ => Some(u16::from(status::READY | self.errors)),
        }
    }

    /// A bus cycle: `value` is the word with unwritten bytes as ones, `code` its lower byte as a command.
    pub(super) fn write(&mut self, address: u32, value: u16, code: u8, contents: &mut impl Contents) {
        self.mode = match std::mem::take(&mut self.mode) {
            Mode::Program => self.finish(contents.program(address, &[value]), status::PROGRAM_FAILED),
            Mode::Erase if code == command::CONFIRM => {
                let block = address - address % BLOCK_WORDS;
                self.finish(contents.erase(block, BLOCK_WORDS), status::ERASE_FAILED)
            }
            Mode::Lock if matches!(code, command::LOCK_BLOCK | command::CONFIRM | command::LOCK_DOWN) => Mode::Status,
            Mode::Erase | Mode::Lock if code == command::READ_ARRAY => Mode::Array,
            Mode::Erase | Mode::Lock => self.fail(status::SEQUENCE),
            Mode::BufferCount if value < BUFFER_WORDS => Mode::BufferFill { left: value + 1, words: Vec::new() },
            Mode::BufferCount => self.fail(status::SEQUENCE),
            Mode::BufferFill { left, words } => self.fill(left, words, address, value),
            Mode::BufferConfirm { words } if code == command::CONFIRM => {
                self.finish(flush(&words, contents), status::PROGRAM_FAILED)
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

    /// A word for the buffer. All of them have to lie in one block.
    fn fill(&mut self, left: u16, mut words: Vec<(u32, u16)>, address: u32, value: u16) -> Mode {
        let block = |address| address / BLOCK_WORDS;
        if words.first().is_some_and(|&(first, _)| block(first) != block(address)) {
            return self.fail(status::PROGRAM_FAILED);
        }
        words.push((address, value));
        match left - 1 {
            0 => Mode::BufferConfirm { words },
            left => Mode::BufferFill { left, words },
        }
    }
}

/// Programs buffered words, neighbours together.
fn flush(words: &[(u32, u16)], contents: &mut impl Contents) -> std::io::Result<()> {
    for run in words.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0)) {
        let values: Vec<u16> = run.iter().map(|word| word.1).collect();
        contents.program(run[0].0, &values)?;
    }
    Ok(())
}

/// The first address of the tables.
const TABLE: u32 = 0x10;
/// Where the Intel table begins.
const PRIMARY: u8 = 0x31;

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

fn query(address: u32) -> u8 {
    address.checked_sub(TABLE).and_then(|i| TABLES.get(i as usize)).copied().unwrap_or(0)
}
