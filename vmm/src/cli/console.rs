//! `-chardev`, `-serial`, `-monitor`, `-qmp`, `-mon` and `-gdb`: the character devices, and who uses them.

use ::devices::chardev::{BackendConfig, ChardevConfig};

use super::chardev::{self, Serial};
use super::drive::check_id;
use super::error::{CliError, Result};
use super::options::Options;
use super::optlist::OptList;
use crate::config::{MonitorConfig, MonitorMode};

/// What the options make of them.
pub struct Consoles {
    pub chardevs: Vec<ChardevConfig>,
    /// Behind the UART.
    pub serial: Option<String>,
    pub monitors: Vec<MonitorConfig>,
}

pub fn parse(o: &Options) -> Result<Consoles> {
    if o.serial.len() > 1 && o.serial[1..].iter().any(|s| s != "none") {
        return Err(CliError::new(format!("-serial {}", o.serial[1]), "the board has one serial port"));
    }
    let chardevs = o.chardev.iter().map(|c| chardev::parse_chardev(c)).collect::<Result<Vec<_>>>()?;
    let mut parts = Parts { chardevs, monitors: Vec::new() };
    parts.add_short_monitors(o)?;
    parts.add_named_monitors(&o.mon)?;
    let serial = parts.add_serial(o)?;
    let Parts { chardevs, monitors } = parts;
    check(&chardevs)?;
    check_monitors(&monitors, &chardevs, serial.as_deref())?;
    Ok(Consoles { chardevs, serial, monitors: monitors.into_iter().map(|(config, _)| config).collect() })
}

/// What the options have made so far.
struct Parts {
    chardevs: Vec<ChardevConfig>,
    /// With the option that wants it, for errors.
    monitors: Vec<(MonitorConfig, String)>,
}

type Kind<'a> = (&'static str, &'a [String], MonitorMode);

/// The options that make a monitor and its device, and what they make.
fn kinds(o: &Options) -> [Kind<'_>; 3] {
    [
        ("-monitor", &o.monitor, MonitorMode::Readline),
        ("-qmp", &o.qmp, MonitorMode::Control { pretty: false }),
        ("-qmp-pretty", &o.qmp_pretty, MonitorMode::Control { pretty: true }),
    ]
}

impl Parts {
    fn add_short_monitors(&mut self, o: &Options) -> Result<()> {
        let all = kinds(o).into_iter().flat_map(|(option, texts, mode)| texts.iter().map(move |t| (option, t, mode)));
        // None is no monitor, and has no number.
        let short = all.filter(|(_, text, _)| *text != "none").enumerate().map(|(n, (option, text, mode))| {
            let context = format!("{option} {text}");
            let device = chardev::parse_short(&context, text, &format!("compat_monitor{n}"));
            Short { context, device, mode }
        });
        for Short { context, device, mode } in short.chain(gdb(o)?) {
            let chardev = match device? {
                Serial::None => continue,
                Serial::Existing(id) => id,
                Serial::New(config) => {
                    let id = config.id.clone();
                    self.chardevs.push(config);
                    id
                }
            };
            self.monitors.push((MonitorConfig { chardev, mode }, context));
        }
        Ok(())
    }

    /// `-mon`.
    fn add_named_monitors(&mut self, texts: &[String]) -> Result<()> {
        let mut ids = Vec::new();
        for text in texts {
            let (id, monitor) = parse_mon(text)?;
            let context = format!("-mon {text}");
            if id.is_some() && ids.contains(&id) {
                return Err(CliError::new(context, "another monitor has this id"));
            }
            ids.push(id);
            self.monitors.push((monitor, context));
        }
        Ok(())
    }

    /// The device behind the UART.
    fn add_serial(&mut self, o: &Options) -> Result<Option<String>> {
        // Without a display there is no other place for a console than the terminal; only who says "no display"
        // and nothing about serial ports means silence.
        let silent = o.nodefaults > 0 || (!o.display.is_empty() && o.nographic == 0);
        let text = match o.serial.first() {
            Some(text) => text,
            None if silent => return Ok(None),
            None => "mon:stdio",
        };
        let context = format!("-serial {text}");
        let config = match chardev::parse_short(&context, text, "serial0")? {
            Serial::None => return Ok(None),
            Serial::Existing(id) if self.chardevs.iter().any(|c| c.id == id) => return Ok(Some(id)),
            Serial::Existing(_) => return Err(CliError::new(context, "no -chardev has this id")),
            Serial::New(config) => config,
        };
        let terminal_taken = self.chardevs.iter().any(|c| matches!(c.backend, BackendConfig::Stdio { .. }));
        if o.serial.is_empty() && terminal_taken {
            // The default gives way to who wants the terminal.
            return Ok(None);
        }
        let id = config.id.clone();
        // `mon:` is a serial port with a monitor; the default one gives way to what -monitor and -qmp say.
        let gives_way = o.serial.is_empty() && kinds(o).iter().any(|(_, texts, _)| !texts.is_empty());
        if text.starts_with("mon:") && !gives_way {
            self.monitors.push((MonitorConfig { chardev: id.clone(), mode: MonitorMode::Readline }, context));
        }
        self.chardevs.push(config);
        Ok(Some(id))
    }
}

/// `-monitor` and other options that make a character device and somebody who speaks there.
struct Short {
    /// The option, for errors.
    context: String,
    device: Result<Serial>,
    mode: MonitorMode,
}

/// `-gdb` or `-s`.
fn gdb(o: &Options) -> Result<Option<Short>> {
    let short = (0..o.gdb_default).map(|_| ("tcp::1234", "-s".to_owned()));
    let mut all = o.gdb.iter().map(|text| (text.as_str(), format!("-gdb {text}"))).chain(short);
    let Some((text, context)) = all.next() else { return Ok(None) };
    if let Some((_, other)) = all.next() {
        return Err(CliError::new(other, format!("the gdb server is already given by {context}")));
    }
    Ok(Some(Short { device: gdb_device(&context, text), context, mode: MonitorMode::Gdb }))
}

/// The character device of a gdb server. `context` is what it was asked for with.
pub fn gdb_device(context: &str, text: &str) -> Result<Serial> {
    let mut device = text.to_owned();
    if text.starts_with("tcp:") {
        // A server that does not wait, unless it says otherwise.
        let has = |key: &str| text.split(',').skip(1).any(|part| part.split('=').next() == Some(key));
        if !has("server") {
            device.push_str(if has("wait") { ",server=on" } else { ",server=on,wait=off" });
        } else if !has("wait") && !text.contains(",server=off") {
            device.push_str(",wait=off");
        }
        if !has("nodelay") {
            device.push_str(",nodelay=on");
        }
    }
    chardev::parse_short(context, &device, "gdb")
}

/// `-mon [chardev=]ID[,id=NAME][,mode=readline|control][,pretty=on|off]`, and the name, which nothing refers to.
fn parse_mon(text: &str) -> Result<(Option<String>, MonitorConfig)> {
    let mut o = OptList::parse("-mon", text)?;
    let name = o.text("id")?;
    let name = check_id(&o, name)?;
    let chardev = o.head("chardev")?.filter(|id| !id.is_empty());
    let chardev = chardev.ok_or_else(|| o.error("needs the id of a -chardev: chardev=ID"))?;
    let control = o.choice("mode", &[("readline", false), ("control", true)])?.unwrap_or(false);
    let mode = match (control, o.flag("pretty")?) {
        (true, pretty) => MonitorMode::Control { pretty: pretty.unwrap_or(false) },
        (false, None) => MonitorMode::Readline,
        (false, Some(_)) => return Err(o.error("pretty= needs mode=control")),
    };
    o.finish()?;
    Ok((name, MonitorConfig { chardev, mode }))
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
