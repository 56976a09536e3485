//! A gdb server that a monitor starts or ends while the machine runs.

use std::sync::Arc;

use devices::chardev::Chardev;

use super::Machine;
use crate::cli;
use crate::config::{MonitorConfig, MonitorMode};
use crate::event_loop::Subscriber;

/// Where it is if nobody says so.
const DEFAULT: &str = "tcp::1234";

impl Machine {
    /// The character device of the gdb server.
    pub(super) fn gdb_server(&self) -> Option<&str> {
        let at = self.config.monitors.iter().find(|monitor| monitor.mode == MonitorMode::Gdb);
        at.map(|monitor| monitor.chardev.as_str())
    }

    /// Starts a gdb server at a device, as `-gdb` has them; where it is.
    ///
    /// # Errors
    /// There is one, or the device cannot be opened.
    pub fn start_gdb(&mut self, device: &str) -> Result<String, String> {
        let device = if device.is_empty() { DEFAULT } else { device };
        if let Some(id) = self.gdb_server() {
            let place = self.chardevs.find(id).far_end();
            return Err(format!("there is a gdb server at '{place}' already; 'gdbserver none' ends it"));
        }
        let config = cli::gdb_server(&format!("gdbserver {device}"), device)?;
        if self.config.chardevs.iter().any(|other| other.id == config.id) {
            return Err(format!("there is a character device '{}' already", config.id));
        }
        let text = |error| crate::error_chain(&error);
        let chardev = Chardev::open(&config).map_err(text)?;
        let place = chardev.far_end();
        let monitor = MonitorConfig { chardev: config.id.clone(), mode: MonitorMode::Gdb };
        self.monitors.add(&monitor, &chardev, &self.control).map_err(text)?;
        let subscriber = self.event_loop.add(Arc::clone(&chardev) as Subscriber);
        self.subscribers.insert(config.id.clone(), subscriber);
        self.chardevs.add(chardev);
        self.config.chardevs.push(config);
        self.config.monitors.push(monitor);
        Ok(place)
    }

    /// Ends the gdb server, soon: it may be what asks for it.
    ///
    /// # Errors
    /// There is none.
    pub fn end_gdb(&mut self) -> Result<(), String> {
        self.gdb_server().ok_or("there is no gdb server")?;
        self.ends_gdb = true;
        self.control.attend();
        Ok(())
    }

    /// Does what [`Machine::end_gdb`] has promised. No session has anything in hand.
    pub(super) fn finish_gdb(&mut self) {
        if !std::mem::take(&mut self.ends_gdb) {
            return;
        }
        let Some(id) = self.gdb_server().map(str::to_owned) else { return };
        let monitors = Arc::clone(&self.monitors);
        monitors.remove(&id, MonitorMode::Gdb, self);
        self.config.monitors.retain(|monitor| monitor.mode != MonitorMode::Gdb);
        // Others may speak there, too.
        let is_used = self.config.monitors.iter().any(|m| m.chardev == id) || self.config.serial.as_ref() == Some(&id);
        if !is_used {
            if let Some(subscriber) = self.subscribers.remove(&id) {
                self.event_loop.remove(subscriber);
            }
            self.chardevs.remove(&id);
            self.config.chardevs.retain(|chardev| chardev.id != id);
        }
    }
}
