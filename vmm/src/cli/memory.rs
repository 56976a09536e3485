//! What RAM is made of: `-object memory-backend-*`, `-machine memory-backend=`, `-mem-path`, `-mem-prealloc` and
//! `-overcommit`. Names, defaults and rules are QEMU's.

use super::error::{CliError, Result};
use super::machine::{self, Machine};
use super::options::Options;
use super::optlist::OptList;
use super::size;
use crate::config::{MemoryLock, NUMA_NODES, NumaMode, NumaPolicy, RAM_MAX, RAM_MIN, RamBacking, RamConfig, RamFile};

/// A property of an object: name, kind of value, meaning.
type Property = (&'static str, &'static str, &'static str);

macro_rules! properties {
    ($($own:expr),* $(,)?) => {
        &[
            ("size", "SIZE", "bytes, with a suffix such as M or G; as much as -m, if that is given"),
            ("share", "on|off", "others who map it see what the guest writes (default: off; memfd: on)"),
            ("prealloc", "on|off", "all of it is there before the guest starts (default: off)"),
            ("prealloc-threads", "N", "threads that do this (default: one a CPU of the host, at most 16)"),
            ("reserve", "on|off", "the host sets swap or huge pages aside for it (default: on)"),
            ("merge", "on|off", "the host may merge equal pages (default: on)"),
            ("dump", "on|off", "core dumps hold it (default: on)"),
            ("host-nodes", "A or A-B", "NUMA nodes of the host; may be repeated"),
            ("policy", "default|preferred|bind|interleave", "how these nodes are used (default: default)"),
            $($own),*
        ]
    };
}

pub const RAM_PROPERTIES: &[Property] = properties!();

pub const MEMFD_PROPERTIES: &[Property] = properties!(
    ("hugetlb", "on|off", "of huge pages (default: off)"),
    ("hugetlbsize", "SIZE", "their size (default: the host's default)"),
    ("seal", "on|off", "nobody can change its length (default: on)"),
);

pub const FILE_PROPERTIES: &[Property] = properties!(
    (
        "mem-path",
        "PATH",
        "the file, made if it is missing and made longer if it is short; or a folder for one without a name"
    ),
    ("offset", "BYTES", "where RAM begins in the file (default: 0)"),
    ("align", "BYTES", "what its address in the program is a multiple of (default: a page)"),
    ("readonly", "on|off", "open it for reading; needs share=off,rom=off: changes are the guest's own (default: off)"),
    ("rom", "on|off|auto", "whether the memory cannot be written; auto: as readonly (default: auto)"),
    ("discard-data", "on|off", "with share=on: the contents are not kept at the end (default: off)"),
);

/// What the rest of the command line says for all backends.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    pub merge: bool,
    pub dump: bool,
    pub prealloc: bool,
}

/// `-object memory-backend-*`.
#[derive(Debug)]
pub struct Backend {
    pub id: String,
    size: u64,
    ram: RamConfig,
}

/// The backend `kind`, one of the object types, with what is left of its option.
pub fn parse_backend(o: &mut OptList, kind: &str, id: String, defaults: &Defaults) -> Result<Backend> {
    let size = o.size("size", 1)?.ok_or_else(|| o.error("needs size=SIZE"))?;
    let prealloc_threads = o.number("prealloc-threads", 1..=1024)?;
    let mut ram = RamConfig {
        context: o.context().to_owned(),
        backing: RamBacking::Anonymous,
        share: o.flag("share")?.unwrap_or(kind == "memory-backend-memfd"),
        reserve: o.flag("reserve")?.unwrap_or(true),
        prealloc: o.flag("prealloc")?.unwrap_or(defaults.prealloc),
        prealloc_threads,
        merge: o.flag("merge")?.unwrap_or(defaults.merge),
        dump: o.flag("dump")?.unwrap_or(defaults.dump),
        numa: numa(o)?,
    };
    ram.backing = match kind {
        "memory-backend-memfd" => memfd(o)?,
        "memory-backend-file" => RamBacking::File(file(o, ram.share)?),
        _ => RamBacking::Anonymous,
    };
    o.unsupported(&["prealloc-context", "x-use-canonical-path-for-ramblock-id"])?;
    Ok(Backend { id, size, ram })
}

fn memfd(o: &mut OptList) -> Result<RamBacking> {
    let huge = o.flag("hugetlb")?.unwrap_or(false);
    let page = o.size("hugetlbsize", 1)?;
    if let Some(page) = page {
        if !huge {
            return Err(o.error("hugetlbsize needs hugetlb=on"));
        }
        if !page.is_power_of_two() {
            return Err(o.error(format!("hugetlbsize={page}: must be a power of two")));
        }
    }
    Ok(RamBacking::Memfd { huge: huge.then_some(page), seal: o.flag("seal")?.unwrap_or(true) })
}

fn file(o: &mut OptList, share: bool) -> Result<RamFile> {
    let path = o.text("mem-path")?.filter(|path| !path.is_empty()).ok_or_else(|| o.error("needs mem-path=PATH"))?;
    let offset = o.size("offset", 1)?.unwrap_or(0);
    if offset % 4096 != 0 {
        return Err(o.error(format!("offset={offset}: must be a multiple of 4096")));
    }
    let align = o.size("align", 1)?.filter(|align| *align != 0);
    if let Some(align) = align.filter(|align| !align.is_power_of_two() || *align > 1 << 30) {
        return Err(o.error(format!("align={align}: must be a power of two of at most 1G")));
    }
    let readonly = o.flag("readonly")?.unwrap_or(false);
    let rom = o.choice("rom", &[("on", true), ("off", false), ("auto", readonly)])?.unwrap_or(readonly);
    if readonly && share {
        return Err(o.error("readonly=on needs share=off and rom=off: what the guest writes is then its own"));
    }
    if rom {
        return Err(o.error("the guest cannot run on memory that it cannot write to; add rom=off"));
    }
    if o.flag("pmem")? == Some(true) {
        return Err(o.error("pmem=on is not supported by vireo yet"));
    }
    let discard = o.flag("discard-data")?.unwrap_or(false);
    Ok(RamFile { path: path.into(), offset, align, readonly, discard })
}

fn numa(o: &mut OptList) -> Result<Option<NumaPolicy>> {
    let mut nodes = Vec::new();
    for text in o.texts("host-nodes")? {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < NUMA_NODES && !text.starts_with('+'));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => nodes.extend(first..=last),
            _ => {
                let most = NUMA_NODES - 1;
                return Err(o.error(format!("host-nodes={text}: must be a node, or A-B, of the nodes 0 to {most}")));
            }
        }
    }
    let modes = [
        ("default", None),
        ("preferred", Some(NumaMode::Preferred)),
        ("bind", Some(NumaMode::Bind)),
        ("interleave", Some(NumaMode::Interleave)),
    ];
    match o.choice("policy", &modes)?.flatten() {
        None if nodes.is_empty() => Ok(None),
        None => Err(o.error("host-nodes needs policy=preferred, bind or interleave")),
        Some(_) if nodes.is_empty() => Err(o.error("the policy needs host-nodes=A-B")),
        Some(mode) => Ok(Some(NumaPolicy { mode, nodes })),
    }
}

/// What all backends have unless they say otherwise.
pub fn defaults(o: &Options, machine: &Machine) -> Defaults {
    Defaults { merge: machine.mem_merge, dump: machine.dump_guest_core, prealloc: o.mem_prealloc > 0 }
}

/// The machine's RAM: its size in bytes, and what it is made of.
pub fn parse_ram(o: &Options, machine: &Machine, backends: Vec<Backend>) -> Result<(u64, RamConfig)> {
    let asked = machine::parse_memory(&o.memory)?;
    let Defaults { merge, dump, prealloc } = defaults(o, machine);
    if let Some(other) = backends.iter().find(|b| Some(&b.id) != machine.memory_backend.as_ref()) {
        let message = format!("nothing uses it; -machine memory-backend={} would", other.id);
        return Err(CliError::new(&other.ram.context, message));
    }
    let path = o.mem_path.last();
    let Some(id) = &machine.memory_backend else {
        let plain = RamConfig { prealloc, merge, dump, ..RamConfig::default() };
        let ram = match path {
            None => plain,
            Some(path) if path.is_empty() => return Err(CliError::new("-mem-path", "the path is empty")),
            Some(path) => RamConfig {
                context: format!("-mem-path {path}"),
                backing: RamBacking::File(RamFile { path: path.into(), ..RamFile::default() }),
                reserve: true,
                ..plain
            },
        };
        return Ok((asked.unwrap_or(machine.machine.ram_size), ram));
    };
    let error = |message: String| CliError::new(format!("-machine memory-backend={id}"), message);
    if let Some(path) = path {
        return Err(error(format!("-mem-path {path} names another place for the same RAM")));
    }
    let backend = backends.into_iter().next();
    let backend = backend.ok_or_else(|| error("no -object memory-backend-... has this id".to_owned()))?;
    let wrong = |message: String| Err(CliError::new(&backend.ram.context, message));
    let (bytes, shown) = (backend.size, size::show(backend.size));
    match asked {
        Some(asked) if asked != bytes => {
            wrong(format!("size={shown} is not the size of RAM, which is {} by -m", size::show(asked)))
        }
        _ if !(RAM_MIN..=RAM_MAX).contains(&bytes) => {
            wrong(format!("size={shown}: must be from {} to {}", size::show(RAM_MIN), size::show(RAM_MAX)))
        }
        _ if bytes % 4096 != 0 => wrong(format!("size={shown}: must be a multiple of 4096")),
        _ => Ok((bytes, backend.ram)),
    }
}

/// `-overcommit`.
pub fn parse_overcommit(values: &[String]) -> Result<MemoryLock> {
    let mut lock = MemoryLock::Off;
    for text in values {
        let mut o = OptList::parse_headless("-overcommit", text)?;
        let words = [("on", MemoryLock::On), ("off", MemoryLock::Off), ("on-fault", MemoryLock::OnFault)];
        lock = o.choice("mem-lock", &words)?.unwrap_or(lock);
        if o.flag("cpu-pm")? == Some(true) {
            return Err(o.error("cpu-pm=on is not supported: RISC-V hosts do not hand their idle states to guests"));
        }
        o.finish()?;
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::super::{Command, parse};
    use super::*;
    use crate::config::MachineConfig;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn config(line: &str) -> MachineConfig {
        match parse(&words(line)) {
            Ok(Command::Run(c)) => *c,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn ram(object: &str) -> RamConfig {
        config(&format!("-machine memory-backend=m -object memory-backend-{object},id=m,size=64M")).ram
    }

    #[test]
    fn without_options_the_host_reserves_nothing() {
        let c = config("");
        assert_eq!((c.ram, c.lock), (RamConfig::default(), MemoryLock::Off));
        let c = config("-M virt,mem-merge=off,dump-guest-core=off -mem-prealloc");
        assert_eq!((c.ram.merge, c.ram.dump, c.ram.prealloc, c.ram.backing), (false, false, true, RamBacking::Any));
    }

    #[test]
    fn backends_have_the_defaults_of_qemu() {
        let r = ram("ram");
        assert_eq!((&r.backing, r.share, r.reserve, r.prealloc), (&RamBacking::Anonymous, false, true, false));
        assert_eq!((r.merge, r.dump, r.numa), (true, true, None));
        let r = ram("memfd");
        assert_eq!((r.backing, r.share), (RamBacking::Memfd { huge: None, seal: true }, true));
        assert_eq!(ram("memfd,hugetlb=on").backing, RamBacking::Memfd { huge: Some(None), seal: true });
        let r = ram("memfd,hugetlb=on,hugetlbsize=2M,seal=off,share=off");
        assert_eq!((r.backing, r.share), (RamBacking::Memfd { huge: Some(Some(2 << 20)), seal: false }, false));
        let r = ram("file,mem-path=/f,offset=8192,align=2M,discard-data=on,share=on");
        let file = RamFile { path: "/f".into(), offset: 8192, align: Some(2 << 20), readonly: false, discard: true };
        assert_eq!((r.backing, r.share), (RamBacking::File(file), true));
        let r = ram("file,mem-path=/f,readonly=on,rom=off");
        assert!(matches!(r.backing, RamBacking::File(RamFile { readonly: true, .. })) && !r.share);
    }

    #[test]
    fn backends_and_what_all_have() {
        let r = ram("ram,prealloc=on,prealloc-threads=3,reserve=off,merge=off,dump=off");
        assert!(r.prealloc && !r.reserve && !r.merge && !r.dump);
        assert_eq!(r.prealloc_threads, Some(3));
        let r = ram("ram,host-nodes=0,host-nodes=2-3,policy=interleave");
        assert_eq!(r.numa, Some(NumaPolicy { mode: NumaMode::Interleave, nodes: vec![0, 2, 3] }));
        let line = "-mem-prealloc -M memory-backend=m,mem-merge=off -object memory-backend-ram,id=m,size=2M";
        let r = config(line).ram;
        assert!(r.prealloc && !r.merge);
        assert!(!config(&format!("{line},prealloc=off")).ram.prealloc);
    }

    #[test]
    fn the_size_of_a_backend_is_that_of_ram() {
        let line = "-M memory-backend=m -object memory-backend-ram,id=m,size=";
        assert_eq!(config(&format!("{line}64M")).ram_size, 64 << 20);
        assert_eq!(config(&format!("{line}67108864 -m 64")).ram_size, 64 << 20);
        assert_eq!(config(&format!("{line}64M -M spike -bios t.elf")).ram_size, 64 << 20);
    }

    #[test]
    fn a_path_alone() {
        let c = config("-m 64M -mem-path /f -mem-prealloc");
        assert_eq!((c.ram_size, c.ram.context.as_str(), c.ram.prealloc), (64 << 20, "-mem-path /f", true));
        assert_eq!(c.ram.backing, RamBacking::File(RamFile { path: "/f".into(), ..RamFile::default() }));
        assert!(!c.ram.share && c.ram.reserve);
    }

    #[test]
    fn overcommit() {
        assert_eq!(config("-overcommit mem-lock=on").lock, MemoryLock::On);
        assert_eq!(config("-overcommit mem-lock=on-fault,cpu-pm=off").lock, MemoryLock::OnFault);
        assert_eq!(config("-overcommit mem-lock=on -overcommit mem-lock=off").lock, MemoryLock::Off);
    }

    #[test]
    fn refused_with_one_line() {
        let object = "-M memory-backend=m -object memory-backend";
        for (line, what) in [
            ("-M memory-backend=m".to_owned(), "no -object memory-backend-... has this id"),
            ("-object memory-backend-ram,id=m,size=64M".to_owned(), "nothing uses it"),
            (format!("{object}-ram,id=m"), "needs size=SIZE"),
            (format!("{object}-ram,size=64M"), "needs id=ID"),
            (format!("{object}-ram,id=m,size=64M -m 128M"), "size=64M is not the size of RAM, which is 128M by -m"),
            (format!("{object}-ram,id=m,size=1M"), "size=1M: must be from 2M to 512G"),
            (format!("{object}-ram,id=m,size=3000000"), "multiple of 4096"),
            (format!("{object}-ram,id=m,size=64M,share=maybe"), "'on' or 'off'"),
            (format!("{object}-ram,id=m,size=64M,hugetlb=on"), "unknown option 'hugetlb'"),
            (format!("{object}-ram,id=m,size=64M,prealloc-threads=0"), "from 1 to 1024"),
            (format!("{object}-ram,id=m,size=64M,prealloc-context=c"), "not supported by vireo yet"),
            (format!("{object}-ram,id=m,size=64M -mem-path /f"), "-mem-path /f names another place"),
            (format!("{object}-ram,id=m,size=64M -object rng-builtin,id=m"), "already"),
            (format!("{object}-ram,id=m,size=64M,host-nodes=0"), "needs policy="),
            (format!("{object}-ram,id=m,size=64M,policy=bind"), "needs host-nodes="),
            (format!("{object}-ram,id=m,size=64M,policy=bind,host-nodes=3-1"), "host-nodes=3-1"),
            (format!("{object}-ram,id=m,size=64M,policy=bind,host-nodes=4096"), "host-nodes=4096"),
            (format!("{object}-memfd,id=m,size=64M,hugetlbsize=2M"), "needs hugetlb=on"),
            (format!("{object}-memfd,id=m,size=64M,hugetlb=on,hugetlbsize=3M"), "power of two"),
            (format!("{object}-file,id=m,size=64M"), "needs mem-path=PATH"),
            (format!("{object}-file,id=m,size=64M,mem-path=/f,offset=5"), "offset=5"),
            (format!("{object}-file,id=m,size=64M,mem-path=/f,align=3M"), "align=3145728"),
            (format!("{object}-file,id=m,size=64M,mem-path=/f,pmem=on"), "pmem=on is not supported by vireo yet"),
            (format!("{object}-file,id=m,size=64M,mem-path=/f,readonly=on"), "add rom=off"),
            (format!("{object}-file,id=m,size=64M,mem-path=/f,readonly=on,share=on"), "share=off"),
            (format!("{object}-shm,id=m,size=64M"), "not supported by vireo yet"),
            (format!("{object}-rma,id=m,size=64M"), "did you mean 'memory-backend-ram'"),
            ("-mem-path".to_owned(), "needs a value"),
            ("-overcommit mem-lock=maybe".to_owned(), "on, off, on-fault"),
            ("-overcommit cpu-pm=on".to_owned(), "cpu-pm=on is not supported"),
        ] {
            let e = parse(&words(&line)).map(drop).expect_err(&line).to_string();
            assert!(e.contains(what), "{line}\n  gives: {e}\n  wants: {what}");
            assert!(!e.contains('\n'), "{e:?}");
        }
    }
}
