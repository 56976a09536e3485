//! The self test: what a guest may rely on, one line each.
//!
//! Nothing here depends on how fast the machine is: a wait ends when something happens, or fails after ten
//! seconds. A test that the machine gives no ground for (an extension or a device is missing) is skipped.

use core::fmt;

use crate::console::println;
use crate::memory::Global;

mod atomic;
mod bits;
mod csr;
mod exception;
mod external;
mod float;
mod integer;
mod memory;
mod misaligned;
mod paging;
mod sbi;
mod smp;
mod timer;
mod user;

/// Why the last test failed. Not part of [`Problem`], which stays small enough for registers. Only the boot hart
/// runs tests.
static REASON: Global<Text> = Global::new(Text { bytes: [0; 120], len: 0 });

fn reason() -> &'static mut Text {
    // SAFETY: only the boot hart comes here, and nobody keeps the reference.
    unsafe { &mut *REASON.pointer() }
}

/// A short text without an allocator; what does not fit is cut.
struct Text {
    bytes: [u8; 120],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(self.bytes.len() - self.len) {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("?"))
    }
}

/// Why a test did not pass.
pub enum Problem {
    /// For the reason noted by [`failure`].
    Fail,
    Skip(&'static str),
}

pub type Outcome = Result<(), Problem>;

/// Notes why the running test fails.
#[cold]
pub fn failure(args: fmt::Arguments) -> Problem {
    reason().len = 0;
    let _ = fmt::Write::write_fmt(reason(), args);
    Problem::Fail
}

/// Fails unless two numbers are equal.
pub fn equal(what: &str, got: usize, want: usize) -> Outcome {
    if got == want { Ok(()) } else { Err(failure(format_args!("{what}: got {got:#x}, want {want:#x}"))) }
}

macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            return Err($crate::selftest::failure(format_args!($($arg)*)));
        }
    };
}

pub(crate) use ensure;

struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

const TESTS: &[&[Test]] = &[
    integer::TESTS,
    bits::TESTS,
    float::TESTS,
    atomic::TESTS,
    misaligned::TESTS,
    csr::TESTS,
    exception::TESTS,
    timer::TESTS,
    sbi::TESTS,
    external::TESTS,
    memory::TESTS,
    paging::TESTS,
    user::TESTS,
    smp::TESTS,
];

/// `str::contains` without its kilobytes.
fn contains(name: &str, part: &str) -> bool {
    part.is_empty() || name.as_bytes().windows(part.len()).any(|w| w == part.as_bytes())
}

/// Runs all tests whose name contains `filter`; says whether none failed.
pub fn run(filter: &str) -> bool {
    let (mut passed, mut failed, mut skipped) = (0usize, 0usize, 0usize);
    for test in TESTS.iter().flat_map(|group| group.iter()).filter(|t| contains(t.name, filter)) {
        match (test.run)() {
            Ok(()) => {
                passed += 1;
                println!("PASS {}", test.name);
            }
            Err(Problem::Skip(why)) => {
                skipped += 1;
                println!("SKIP {}: {why}", test.name);
            }
            Err(Problem::Fail) => {
                failed += 1;
                println!("FAIL {}: {}", test.name, reason());
            }
        }
    }
    println!("selftest: {passed} passed, {failed} failed, {skipped} skipped");
    failed == 0 && passed > 0
}
