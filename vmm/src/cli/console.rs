//! `-chardev`, `-serial`, `-monitor` and `-mon`: the character devices, and who uses them.

use ::devices::chardev::{BackendConfig, ChardevConfig};

use super::chardev::{self, Serial};
use super::error::{CliError, Result};
use super::options::Options;
use super::optlist::OptList;
use crate::config::MonitorConfig;

/// What the options make of them.
pub struct Consoles {
    pub chardevs: Vec<ChardevConfig>,
    /// Behind the UART.
    pub serial: Option<String>,
    pub monitors: Vec<MonitorConfig>,
}

pub fn parse(o: &Options) -> Result<Consoles> {
    let mut chardevs = o.chardev.iter().map(|c| chardev::parse_chardev(c)).collect::<Result<Vec<_>>>()?;
    if o.serial.len() > 1 && o.serial[1..].iter().any(|s| s != "none") {
        return Err(CliError::new(format!("-serial {}", o.serial[1]), "the board has one serial port"));
    }
    let mut monitors = Vec::new();
    for (n, text) in o.monitor.iter().enumerate() {
        let id = format!("compat_monitor{n}");
        match chardev::parse_short("-monitor", text, &id)? {
            Serial::None => {}
            Serial::Existing(id) => monitors.push((MonitorConfig { chardev: id }, format!("-monitor {text}"))),
            Serial::New(config) => {
                monitors.push((MonitorConfig { chardev: config.id.clone() }, format!("-monitor {text}")));
                chardevs.push(config);
            }
        }
    }
    for text in &o.mon {
        monitors.push((parse_mon(text)?, format!("-mon {text}")));
    }
    // Without a display there is no other place for a console than the terminal; only who says "no display"
    // and nothing about serial ports means silence.
    let silent = o.nodefaults > 0 || (!o.display.is_empty() && o.nographic == 0);
    let (wanted, text) = match o.serial.first() {
        Some(text) => (chardev::parse_short("-serial", text, "serial0")?, text.as_str()),
        None if silent => (Serial::None, ""),
        None => (chardev::parse_short("-serial", "mon:stdio", "serial0")?, "mon:stdio"),
    };
    let serial = match wanted {
        Serial::None => None,
        Serial::Existing(id) => {
            if !chardevs.iter().any(|c| c.id == id) {
                return Err(CliError::new(format!("-serial chardev:{id}"), "no -chardev has this id"));
            }
            Some(id)
        }
        Serial::New(config) => {
            let id = config.id.clone();
            let terminal_taken = chardevs.iter().any(|c| matches!(c.backend, BackendConfig::Stdio { .. }));
            if o.serial.is_empty() && terminal_taken {
                // The default gives way to who wants the terminal.
                None
            } else {
                // `mon:` is a serial port with a monitor; the default one gives way to what -monitor says.
                if text.starts_with("mon:") && (!o.serial.is_empty() || o.monitor.is_empty()) {
                    monitors.push((MonitorConfig { chardev: id.clone() }, format!("-serial {text}")));
                }
                chardevs.push(config);
                Some(id)
            }
        }
    };
    check(&chardevs)?;
    check_monitors(&monitors, &chardevs, serial.as_deref())?;
    Ok(Consoles { chardevs, serial, monitors: monitors.into_iter().map(|(config, _)| config).collect() })
}

/// `-mon [chardev=]ID[,mode=readline]`.
fn parse_mon(text: &str) -> Result<MonitorConfig> {
    let mut o = OptList::parse("-mon", text)?;
    let chardev = o.head("chardev")?.filter(|id| !id.is_empty());
    let chardev = chardev.ok_or_else(|| o.error("needs the id of a -chardev: chardev=ID"))?;
    match o.text("mode")?.as_deref() {
        None | Some("readline") => {}
        Some("control") => return Err(o.error("mode=control (QMP) is not supported by vireo yet")),
        Some(mode) => return Err(o.error(format!("mode={mode}: must be readline"))),
    }
    o.unsupported(&["pretty"])?;
    o.finish()?;
    Ok(MonitorConfig { chardev })
}

/// Ids are unique, and the terminal is there once.
fn check(chardevs: &[ChardevConfig]) -> Result<()> {
    for (i, c) in chardevs.iter().enumerate() {
        if chardevs[..i].iter().any(|other| other.id == c.id) {
            return Err(CliError::new(format!("-chardev id={}", c.id), "another character device has this id"));
        }
        let is_stdio = |c: &ChardevConfig| matches!(c.backend, BackendConfig::Stdio { .. });
        if let Some(other) = chardevs[..i].iter().find(|other| is_stdio(c) && is_stdio(other)) {
            let message = format!("the terminal is already used by character device '{}'", other.id);
            return Err(CliError::new(format!("character device '{}'", c.id), message));
        }
    }
    Ok(())
}

/// Every monitor has a device, for itself or shared.
fn check_monitors(
    monitors: &[(MonitorConfig, String)],
    chardevs: &[ChardevConfig],
    serial: Option<&str>,
) -> Result<()> {
    for (i, (monitor, context)) in monitors.iter().enumerate() {
        let id = monitor.chardev.as_str();
        let device = chardevs.iter().find(|c| c.id == id);
        let device = device.ok_or_else(|| CliError::new(context, format!("no -chardev has the id '{id}'")))?;
        let taken = serial == Some(id) || monitors[..i].iter().any(|(other, _)| other.chardev == id);
        if taken && !device.mux {
            return Err(CliError::new(context, format!("another device uses '{id}' (mux=on shares it)")));
        }
    }
    Ok(())
}
