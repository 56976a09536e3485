//! `-drive` and `-blockdev`: image files, before a device is made of them.

use std::path::{Path, PathBuf};

use devices::virtio::blk::OnError;

use super::error::{CliError, Result};
use super::optlist::OptList;
use crate::config::{Aio, CacheMode, DriveConfig, OnErrors};

/// Where a `-drive` is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// A device refers to it.
    None,
    /// A block device of its own.
    Virtio,
    /// A flash bank.
    Flash,
}

/// A parsed `-drive`.
#[derive(Debug)]
pub struct Drive {
    pub config: DriveConfig,
    pub interface: Interface,
    /// `index=` or `unit=`: which flash bank, or the order among disks.
    pub index: Option<u32>,
    /// The option as given, for later messages.
    pub context: String,
}

const CACHE: &[(&str, CacheMode)] = &[
    ("writeback", CacheMode::WriteBack),
    ("writethrough", CacheMode::WriteThrough),
    ("none", CacheMode::None),
    ("directsync", CacheMode::DirectSync),
    ("unsafe", CacheMode::Unsafe),
];
const AIO: &[(&str, Aio)] = &[("threads", Aio::Threads), ("native", Aio::Auto), ("io_uring", Aio::IoUring)];
const ON_ERROR: &[(&str, OnError)] = &[
    ("report", OnError::Report),
    ("ignore", OnError::Ignore),
    ("stop", OnError::Stop),
    ("enospc", OnError::StopIfFull),
];
const DISCARD: &[(&str, bool)] = &[("ignore", false), ("off", false), ("unmap", true), ("on", true)];

/// One `-drive`; `number` counts them and makes up missing ids.
pub fn parse_drive(text: &str, number: usize) -> Result<Drive> {
    let mut o = OptList::parse_headless("-drive", text)?;
    o.unsupported(&["bps", "iops", "throttling", "copy-on-read", "bus", "addr", "addr", "driver", "locking"])?;
    let interface = o
        .choice("if", &[("none", Interface::None), ("virtio", Interface::Virtio), ("pflash", Interface::Flash)])
        .map_err(|e| not_yet(e, &o_text(text, "if"), &["scsi", "ide", "sd", "mtd", "floppy"]))?
        .unwrap_or(Interface::Virtio);
    if let Some(media) = o.text("media")?
        && media != "disk"
    {
        return Err(o.error(format!("media={media}: must be 'disk'; others are not supported by vireo yet")));
    }
    let id = o.text("id")?;
    let file = o.text("file")?.filter(|f| !f.is_empty());
    check_format(&o.text("format")?, &o)?;
    let (index, unit) = (o.number("index", 0..=255)?, o.number("unit", 0..=255)?);
    let config = DriveConfig {
        id: check_id(&o, id)?.unwrap_or_else(|| format!("drive{number}")),
        file: file.map(PathBuf::from).ok_or_else(|| o.error("needs file=FILE"))?,
        readonly: readonly(&mut o, &["readonly", "read-only"])?,
        snapshot: o.flag("snapshot")?.unwrap_or(false),
        cache: o.choice("cache", CACHE)?.unwrap_or_default(),
        aio: o.choice("aio", AIO)?.unwrap_or_default(),
        discard: o.choice("discard", DISCARD)?.unwrap_or(false),
        on_error: on_errors(&mut o, false)?,
    };
    detect_zeroes(&mut o)?;
    let context = o.context().to_owned();
    o.finish()?;
    Ok(Drive { config, interface, index: index.or(unit), context })
}

/// Every `-blockdev`: protocol nodes (`file`) and format nodes (`raw`) over them, each one a drive by its name.
pub fn parse_blockdevs(values: &[String]) -> Result<Vec<Drive>> {
    let mut drives: Vec<Drive> = Vec::new();
    for text in values {
        let mut o = OptList::parse("-blockdev", text)?;
        let driver = o.head("driver")?.ok_or_else(|| o.error("needs driver=file or driver=raw"))?;
        let name = o.text("node-name")?;
        let name = check_id(&o, name)?.ok_or_else(|| o.error("needs node-name=ID"))?;
        let readonly = readonly(&mut o, &["read-only"])?;
        let discard = o.choice("discard", DISCARD)?;
        detect_zeroes(&mut o)?;
        let (direct, no_flush) = (o.flag("cache.direct")?, o.flag("cache.no-flush")?);
        let mut config = match driver.as_str() {
            "file" | "host_device" => DriveConfig {
                id: name.clone(),
                file: file_name(&mut o, "filename")?,
                readonly: false,
                snapshot: false,
                cache: CacheMode::WriteBack,
                discard: false,
                on_error: OnErrors::default(),
                aio: o.choice("aio", AIO)?.unwrap_or_default(),
            },
            "raw" => match o.text("file")? {
                Some(node) => {
                    let below = drives.iter().find(|d| d.config.id == node);
                    let below = below.ok_or_else(|| {
                        o.error(format!("file={node}: no -blockdev before this one has that node-name"))
                    })?;
                    DriveConfig { id: name.clone(), ..below.config.clone() }
                }
                None => {
                    if o.text("file.driver")?.is_some_and(|d| d != "file") {
                        return Err(o.error("file.driver must be 'file'; others are not supported by vireo yet"));
                    }
                    DriveConfig {
                        id: name.clone(),
                        file: file_name(&mut o, "file.filename")?,
                        readonly: false,
                        snapshot: false,
                        cache: CacheMode::WriteBack,
                        discard: false,
                        on_error: OnErrors::default(),
                        aio: o.choice("file.aio", AIO)?.unwrap_or_default(),
                    }
                }
            },
            other => {
                let message = format!("driver={other}: must be 'file' or 'raw'; others are not supported by vireo yet");
                return Err(o.error(message));
            }
        };
        config.readonly |= readonly;
        config.discard = discard.unwrap_or(config.discard);
        config.cache = match (direct, no_flush) {
            (_, Some(true)) => CacheMode::Unsafe,
            (Some(true), _) => CacheMode::None,
            _ => config.cache,
        };
        let context = o.context().to_owned();
        o.finish()?;
        drives.push(Drive { config, interface: Interface::None, index: None, context });
    }
    Ok(drives)
}

/// Ids are unique, and no file is written by two of the drives that are `used`.
pub fn check_all(drives: &[Drive], used: &[&str]) -> Result<()> {
    for (i, d) in drives.iter().enumerate() {
        if let Some(other) = drives[..i].iter().find(|o| o.config.id == d.config.id) {
            let message = format!("the id '{}' is already that of '{}'", d.config.id, other.config.file.display());
            return Err(CliError::new(&d.context, message));
        }
    }
    let used: Vec<_> = drives.iter().filter(|d| used.contains(&d.config.id.as_str())).collect();
    for (i, d) in used.iter().enumerate() {
        let writes = |d: &Drive| !d.config.readonly && !d.config.snapshot;
        let clash = |o: &&&Drive| same_file(&o.config.file, &d.config.file) && (writes(o) || writes(d));
        if let Some(other) = used[..i].iter().find(clash) {
            return Err(CliError::new(
                &d.context,
                format!(
                    "the file '{}' is already in use by drive '{}', and one of them writes it; give both readonly=on, or one a copy",
                    d.config.file.display(),
                    other.config.id
                ),
            ));
        }
    }
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => a == b,
    }
}

/// Ids are letters, digits, `-`, `.` and `_`, and begin with a letter (`#` would be a made-up one in QEMU).
pub fn check_id(o: &OptList, id: Option<String>) -> Result<Option<String>> {
    let good = |id: &str| {
        id.len() <= 127
            && id.starts_with(|c: char| c.is_ascii_alphabetic())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
    };
    match id {
        Some(id) if !good(&id) => Err(o.error(format!(
            "the id '{id}' must begin with a letter and consist of at most 127 letters, digits, '-', '.' and '_'"
        ))),
        id => Ok(id),
    }
}

fn check_format(format: &Option<String>, o: &OptList) -> Result<()> {
    match format.as_deref() {
        None | Some("raw") => Ok(()),
        Some(
            f @ ("qcow2" | "qcow" | "vmdk" | "vdi" | "vhdx" | "vpc" | "qed" | "luks" | "parallels" | "dmg" | "cloop"
            | "bochs"),
        ) => Err(o.error(format!("format={f} is not supported by vireo yet; convert the image to raw"))),
        Some(f) => Err(o.error(format!("format={f}: must be 'raw'"))),
    }
}

/// `rerror=` and `werror=`. With `auto` that is a word, too, and leaves it to others.
pub fn on_errors(o: &mut OptList, auto: bool) -> Result<OnErrors> {
    let words = |words: &[(&'static str, OnError)]| -> Vec<_> {
        let own = words.iter().map(|(word, action)| (*word, Some(*action)));
        own.chain(auto.then_some(("auto", None))).collect()
    };
    // Reads fill no disk.
    let read = o.choice("rerror", &words(&ON_ERROR[..3]))?.flatten();
    Ok(OnErrors { read, write: o.choice("werror", &words(ON_ERROR))?.flatten() })
}

fn readonly(o: &mut OptList, keys: &[&'static str]) -> Result<bool> {
    let mut value = false;
    for key in keys {
        value = o.flag(key)?.unwrap_or(value);
    }
    Ok(value)
}

fn detect_zeroes(o: &mut OptList) -> Result<()> {
    if let Some(mode) = o.text("detect-zeroes")?
        && mode != "off"
    {
        return Err(o.error(format!("detect-zeroes={mode} is not supported by vireo yet; it must be 'off'")));
    }
    Ok(())
}

fn file_name(o: &mut OptList, key: &'static str) -> Result<PathBuf> {
    let name = o.text(key)?.filter(|f| !f.is_empty());
    name.map(PathBuf::from).ok_or_else(|| o.error(format!("needs {key}=FILE")))
}

/// The value of `key` in a raw option text.
fn o_text(text: &str, key: &str) -> String {
    let value = text.split(',').find_map(|p| p.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().to_owned()
}

/// Says of a value that QEMU knows that it is missing here, rather than wrong.
fn not_yet(error: CliError, value: &str, known: &[&str]) -> CliError {
    if known.contains(&value) {
        CliError::new("", format!("{error} ({value} is not supported by vireo yet)"))
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives() {
        let d =
            parse_drive("file=a,,b.img,if=none,format=raw,id=hd0,readonly=on,cache=none,snapshot=on,discard=unmap,rerror=ignore,werror=enospc", 3)
                .unwrap();
        assert_eq!(d.interface, Interface::None);
        assert_eq!(
            d.config,
            DriveConfig {
                id: "hd0".into(),
                file: "a,b.img".into(),
                readonly: true,
                snapshot: true,
                cache: CacheMode::None,
                discard: true,
                aio: Aio::Auto,
                on_error: OnErrors { read: Some(OnError::Ignore), write: Some(OnError::StopIfFull) },
            }
        );
        let d = parse_drive("file=x", 3).unwrap();
        assert_eq!((d.config.id.as_str(), d.interface), ("drive3", Interface::Virtio));
        let d = parse_drive("if=pflash,unit=1,file=x", 0).unwrap();
        assert_eq!((d.index, d.interface), (Some(1), Interface::Flash));
    }

    #[test]
    fn bad_drives() {
        for (text, what) in [
            ("", "needs file="),
            ("file=", "needs file="),
            ("x.img", "x.img"),
            ("file=x,if=ide", "not supported by vireo yet"),
            ("file=x,if=usb", "must be one of"),
            ("file=x,format=qcow2", "not supported by vireo yet"),
            ("file=x,format=foo", "must be 'raw'"),
            ("file=x,cache=fast", "must be one of"),
            ("file=x,readonly=7", "'on' or 'off'"),
            ("file=x,id=1a", "begin with a letter"),
            ("file=x,id=a b", "begin with a letter"),
            ("file=x,media=cdrom", "media=cdrom"),
            ("file=x,index=999", "0 to 255"),
            ("file=x,redonly=on", "did you mean"),
            ("file=x,werror=never", "must be one of report, ignore, stop, enospc"),
            ("file=x,rerror=enospc", "must be one of report, ignore, stop"),
        ] {
            let e = parse_drive(text, 0).expect_err(text).to_string();
            assert!(e.starts_with("-drive") && e.contains(what), "{text}: {e}");
        }
    }

    #[test]
    fn blockdevs() {
        let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let d = parse_blockdevs(&words(&[
            "driver=file,node-name=f,filename=disk.img,cache.direct=on",
            "raw,node-name=r,file=f,read-only=on",
            "driver=raw,node-name=q,file.driver=file,file.filename=b.img",
        ]))
        .unwrap();
        assert_eq!(d[1].config.file, Path::new("disk.img"));
        assert!(d[1].config.readonly && !d[0].config.readonly);
        assert_eq!(d[1].config.cache, CacheMode::None);
        assert_eq!(d[2].config.file, Path::new("b.img"));
        for bad in
            ["", "node-name=a", "driver=file,filename=x", "driver=qcow2,node-name=a,file=b", "raw,node-name=a,file=b"]
        {
            assert!(parse_blockdevs(&words(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn overlaps_are_refused() {
        let d = |text: &str, n| parse_drive(text, n).unwrap();
        let both = [d("file=/x,id=a", 0), d("file=/x,id=b", 1)];
        assert!(check_all(&both, &["a", "b"]).unwrap_err().to_string().contains("already in use"));
        assert!(check_all(&both, &["a"]).is_ok(), "an unused drive opens nothing");
        let ro = [d("file=/x,id=a,readonly=on", 0), d("file=/x,id=b,readonly=on", 1)];
        assert!(check_all(&ro, &["a", "b"]).is_ok());
        let same = [d("file=/x,id=a", 0), d("file=/y,id=a", 1)];
        assert!(check_all(&same, &[]).unwrap_err().to_string().contains("id 'a' is already"));
    }
}
