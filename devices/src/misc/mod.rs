//! Small chips: the finisher, HTIF, the real-time clock, the boot ROM and the flash banks.

pub mod cfi_flash;
pub mod finisher;
pub mod goldfish_rtc;
pub mod htif;
pub mod mrom;
pub mod timer;

pub use cfi_flash::{CfiFlash, FlashError, FlashImage};
pub use finisher::{Finisher, MachineControl};
pub use goldfish_rtc::{GoldfishRtc, RtcBase, RtcClock};
pub use htif::{Htif, HtifConsole};
pub use mrom::Mrom;
pub use timer::{EventLoopTimers, Timer, TimerService};
