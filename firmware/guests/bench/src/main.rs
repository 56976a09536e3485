//! x
#![no_std]
#![no_main]
use runtime::{Boot, sbi};
#[unsafe(no_mangle)]
fn guest_main(_: &Boot) -> ! {
    sbi::power_off(true)
}
