//! The keyboard's keys, and the power button among them.

use std::time::Duration;

use devices::virtio::input::{Keys, POWER};

use super::Machine;
use crate::monitor::event::Event;

/// How long keys are held unless somebody says otherwise.
pub const HOLD: Duration = Duration::from_millis(100);

impl Machine {
    fn keyboard(&self) -> Result<&Keys, String> {
        let keyboard = self.kept.keyboards.first();
        let missing =
            "the machine has no keyboard (-device virtio-keyboard-device), whose power key is the power button";
        keyboard.map(|keys| &**keys).ok_or_else(|| missing.to_owned())
    }

    /// Presses keys, one after the other, and lets them go after `hold`.
    ///
    /// # Errors
    /// There is no keyboard, or the guest does not look at it.
    pub fn press_keys(&self, codes: &[u16], hold: Duration) -> Result<(), String> {
        self.keyboard()?.press(codes, hold).map_err(|error| error.to_string())
    }

    /// Presses the power button: what follows is the guest's affair.
    ///
    /// # Errors
    /// The guest would not hear of it.
    pub fn power_button(&mut self) -> Result<(), String> {
        self.press_keys(&[POWER], HOLD)?;
        self.events.push(Event::Powerdown);
        Ok(())
    }
}
