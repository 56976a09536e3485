//! What can be measured: the engines of this program, and QEMU's. Each is a program with arguments, so that all are
//! measured alike, as processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::BenchError;

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Vireo,
    Qemu,
}

/// An engine: a program and its `-accel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// What tables call it; unique.
    pub name: String,
    pub family: Family,
    pub program: PathBuf,
    /// The argument of `-accel`.
    pub accel: String,
    /// The program's own word.
    pub version: String,
    /// The harts are the host's.
    pub on_host: bool,
    /// `-cpu`; the engine's own choice without it, with vectors where the suite needs them.
    pub cpu: Option<String>,
}

/// An engine that was asked for and cannot be measured here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub name: String,
    pub reason: String,
}

/// What `--engines` knows.
pub const NAMES: [&str; 5] = ["tcg", "kvm", "interp", "qemu", "qemu-kvm"];

/// The name that QEMU's program has on a path.
const QEMU: &str = "qemu-system-riscv64";

/// Where engines come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Builds of vireo; without any this program.
    pub vireo: Vec<PathBuf>,
    /// QEMU programs; without any the one on PATH.
    pub qemu: Vec<PathBuf>,
    /// `-cpu` of all of them; each is an engine of its own if there are several.
    pub cpus: Vec<String>,
}

/// The engines among `wanted` that can be measured, in the order of `wanted`, and why not the others.
pub fn find(wanted: &[String], sources: &Sources) -> Result<(Vec<Engine>, Vec<Missing>), BenchError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let this = std::env::current_exe().map_err(|source| BenchError::Host { doing: "find this program", source })?;
    let vireos = if sources.vireo.is_empty() { vec![this] } else { sources.vireo.clone() };
    for name in wanted {
        match name.as_str() {
            "tcg" | "kvm" | "interp" => {
                let info = accel::select::engines().into_iter().find(|e| e.name == name);
                let availability = info.map_or(Err("this build has no such engine".to_owned()), |e| e.availability);
                match availability {
                    Ok(()) => {
                        for program in &vireos {
                            found.push(engine(name, Family::Vireo, program, name)?);
                        }
                    }
                    Err(reason) => missing.push(Missing { name: name.clone(), reason }),
                }
            }
            "qemu" | "qemu-kvm" => {
                let accel = if name == "qemu" { "tcg" } else { "kvm" };
                let programs = match sources.qemu.is_empty() {
                    true => on_path(QEMU).into_iter().collect(),
                    false => sources.qemu.clone(),
                };
                let kvm = accel::select::engines().into_iter().find(|e| e.name == "kvm");
                if let ("kvm", Some(Err(reason))) = (accel, kvm.map(|e| e.availability)) {
                    missing.push(Missing { name: name.clone(), reason });
                } else if programs.is_empty() {
                    let reason = format!("there is no {QEMU} on PATH; --qemu PATH names one");
                    missing.push(Missing { name: name.clone(), reason });
                } else {
                    for program in &programs {
                        found.push(engine(&format!("qemu-{accel}"), Family::Qemu, program, accel)?);
                    }
                }
            }
            other => return Err(BenchError::UnknownEngine(other.to_owned())),
        }
    }
    let mut found = of_models(found, &sources.cpus);
    found.iter().try_for_each(check_model)?;
    make_unique(&mut found);
    Ok((found, missing))
}

/// The engines with each of the models.
fn of_models(engines: Vec<Engine>, cpus: &[String]) -> Vec<Engine> {
    if cpus.is_empty() {
        return engines;
    }
    let with = |engine: &Engine, cpu: &String| {
        let name = if cpus.len() == 1 { engine.name.clone() } else { format!("{} {cpu}", engine.name) };
        Engine { name, cpu: Some(cpu.clone()), ..engine.clone() }
    };
    engines.iter().flat_map(|engine| cpus.iter().map(move |cpu| with(engine, cpu))).collect()
}

fn engine(name: &str, family: Family, program: &Path, accel: &str) -> Result<Engine, BenchError> {
    let version = version(program)?;
    let (begin, wanted) = match family {
        Family::Vireo => ("vireo ", "vireo"),
        Family::Qemu => ("QEMU emulator ", "QEMU's qemu-system-riscv64"),
    };
    if !version.starts_with(begin) {
        return Err(BenchError::OtherProgram { path: program.to_owned(), wanted, says: version });
    }
    Ok(Engine {
        name: name.to_owned(),
        family,
        program: program.to_owned(),
        accel: accel.to_owned(),
        version,
        on_host: accel == "kvm",
        cpu: None,
    })
}

/// Engines of the same name get their version behind it, or their number.
fn make_unique(engines: &mut [Engine]) {
    let same = |engines: &[Engine], i: usize, key: fn(&Engine) -> String| {
        engines.iter().enumerate().any(|(j, e)| j != i && key(e) == key(&engines[i]))
    };
    let versioned: Vec<String> = (0..engines.len())
        .map(|i| match same(engines, i, |e| e.name.clone()) {
            true => format!("{} {}", engines[i].name, number(&engines[i].version)),
            false => engines[i].name.clone(),
        })
        .collect();
    for (i, name) in versioned.iter().enumerate() {
        let before = versioned[..i].iter().filter(|n| *n == name).count();
        engines[i].name = if before == 0 { name.clone() } else { format!("{name} #{}", before + 1) };
    }
}

/// The first word of a version line that starts with a digit.
fn number(version: &str) -> &str {
    version.split(' ').find(|w| w.starts_with(|c: char| c.is_ascii_digit())).unwrap_or(version)
}

/// The first line of `PROGRAM --version`.
fn version(program: &Path) -> Result<String, BenchError> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|source| BenchError::Program { path: program.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next().filter(|_| output.status.success()) {
        Some(line) => Ok(line.trim().to_owned()),
        None => Err(BenchError::NoVersion { path: program.to_owned(), status: output.status }),
    }
}

/// Fails unless the engine's program takes its model, which it tells when it writes the device tree instead of running.
fn check_model(engine: &Engine) -> Result<(), BenchError> {
    let Some(cpu) = &engine.cpu else { return Ok(()) };
    let scratch = tempfile::tempdir().map_err(|source| BenchError::Host { doing: "make a directory", source })?;
    let tree = scratch.path().join("tree").display().to_string().replace(',', ",,");
    let mut command = Command::new(&engine.program);
    command.args(["-M", &format!("virt,dumpdtb={tree}"), "-accel", &engine.accel, "-cpu", cpu]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "none"]).stdin(Stdio::null());
    let output = command.output();
    let output = output.map_err(|source| BenchError::Program { path: engine.program.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|l| !l.is_empty() && !l.contains("warning"));
    let why = line.map_or_else(|| output.status.to_string(), |l| l.trim().to_owned());
    Err(BenchError::NoModel { cpu: cpu.clone(), engine: engine.name.clone(), why })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| {
        // A file that may not be executed is not a program.
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    })
}

/// The machine that all engines make.
#[derive(Debug, Clone)]
pub struct Board {
    pub harts: u32,
    pub memory_mib: u32,
    pub kernel: PathBuf,
    pub initrd: Option<PathBuf>,
    pub append: String,
    /// Virtio disks, the first is the first.
    pub disks: Vec<Disk>,
    /// A virtio network card on the user network.
    pub net: bool,
    /// Vectors are needed.
    pub vector: bool,
}

/// A raw image, and further options of its drive.
#[derive(Debug, Clone)]
pub struct Disk {
    pub path: PathBuf,
    pub options: &'static str,
}

impl Engine {
    /// The whole command line of a run.
    pub fn command_line(&self, board: &Board) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec![self.program.clone().into()];
        let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        let threads = if self.family == Family::Qemu && self.accel == "tcg" { ",thread=multi" } else { "" };
        add(&["-M", "virt", "-accel", &format!("{}{threads}", self.accel)]);
        add(&["-smp", &board.harts.to_string(), "-m", &format!("{}M", board.memory_mib)]);
        let vector = if board.vector { "rv64,v=on" } else { "rv64" };
        let own = if self.on_host { "host" } else { vector };
        add(&["-cpu", self.cpu.as_deref().unwrap_or(own)]);
        add(&["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
        // The names of vCPU threads tell which to pin.
        if self.family == Family::Qemu {
            add(&["-name", "bench,debug-threads=on"]);
        }
        for (i, disk) in board.disks.iter().enumerate() {
            // A comma ends an option's value unless it is doubled.
            let path = disk.path.display().to_string().replace(',', ",,");
            add(&["-drive", &format!("file={path},if=none,format=raw,id=disk{i}{}", disk.options)]);
            add(&["-device", &format!("virtio-blk-device,drive=disk{i}")]);
        }
        if board.net {
            add(&["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"]);
        }
        add(&["-append", &board.append, "-kernel"]);
        line.push(board.kernel.clone().into());
        if let Some(initrd) = &board.initrd {
            line.extend(["-initrd".into(), initrd.clone().into()]);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, version: &str) -> Engine {
        let (program, accel) = (PathBuf::from("p"), "tcg".to_owned());
        let (name, version) = (name.to_owned(), version.to_owned());
        Engine { name, family: Family::Qemu, program, accel, version, on_host: false, cpu: None }
    }

    #[test]
    fn names_are_unique() {
        let mut engines = [
            named("tcg", "vireo 0.1.0"),
            named("qemu-tcg", "QEMU emulator version 10.0.13 (Debian)"),
            named("qemu-tcg", "QEMU emulator version 11.1.3"),
            named("qemu-tcg", "QEMU emulator version 11.1.3"),
        ];
        make_unique(&mut engines);
        let names: Vec<_> = engines.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["tcg", "qemu-tcg 10.0.13", "qemu-tcg 11.1.3", "qemu-tcg 11.1.3 #2"]);
    }

    #[test]
    fn several_models_are_several_engines() {
        let of = |cpus: &[&str]| {
            let cpus: Vec<_> = cpus.iter().map(|&c| c.to_owned()).collect();
            let engines = of_models(vec![named("tcg", "vireo 0.1.0"), named("qemu-tcg", "QEMU 11.1.3")], &cpus);
            engines.into_iter().map(|e| (e.name, e.cpu)).collect::<Vec<_>>()
        };
        assert!(of(&[]).iter().all(|(_, cpu)| cpu.is_none()));
        assert_eq!(of(&["max"])[1], ("qemu-tcg".to_owned(), Some("max".to_owned())));
        let both = of(&["rv64", "max"]);
        let names: Vec<_> = both.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tcg rv64", "tcg max", "qemu-tcg rv64", "qemu-tcg max"]);
    }

    #[test]
    fn what_is_missing_is_said() {
        let wanted = ["tcg", "kvm"].map(str::to_owned);
        let found = find(&wanted[..1], &Sources { vireo: vec!["/nowhere/vireo".into()], ..Sources::default() });
        assert!(found.unwrap_err().to_string().contains("/nowhere/vireo"));
        if !cfg!(target_arch = "riscv64") {
            let (found, missing) = find(&wanted[1..], &Sources::default()).unwrap();
            assert!(found.is_empty());
            assert!(missing[0].reason.contains("not RISC-V"), "{missing:?}");
        }
        let error = find(&["xen".to_owned()], &Sources::default()).unwrap_err().to_string();
        assert!(error.contains("xen") && error.contains("interp"), "{error}");
    }

    #[test]
    fn other_programs_and_unknown_models_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let find = |name: &str, version: &str, cpus: &[&str]| {
            let program = dir.path().join("program");
            let script = format!(
                "#!/bin/sh\ncase \"$*\" in\n--version) echo '{version}' ;;\n*'-cpu rv64 '*) ;;\n\
                 *) echo 'p: warning: a word' >&2; echo 'p: no such model' >&2; exit 1 ;;\nesac\n"
            );
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let cpus = cpus.iter().map(|&c| c.to_owned()).collect();
            let sources = Sources { vireo: vec![program.clone()], qemu: vec![program], cpus };
            super::find(&[name.to_owned()], &sources).map(|(found, _)| found.len()).map_err(|e| e.to_string())
        };
        for name in ["tcg", "qemu"] {
            let error = find(name, "true (GNU coreutils) 9.1", &[]).unwrap_err();
            assert!(error.ends_with("its --version says 'true (GNU coreutils) 9.1'"), "{error}");
        }
        assert_eq!(find("tcg", "vireo 0.1.0", &["rv64"]), Ok(1));
        assert_eq!(find("qemu", "QEMU emulator version 10.0.13", &[]), Ok(1));
        let error = find("qemu", "QEMU emulator version 10.0.13", &["rv64", "foo"]).unwrap_err();
        assert_eq!(error, "--cpu foo: qemu-tcg foo does not take it: p: no such model");
    }

    #[test]
    fn the_same_board_for_all() {
        let board = Board {
            harts: 2,
            memory_mib: 1024,
            kernel: "guest".into(),
            append: "suites=cpu".to_owned(),
            initrd: None,
            disks: vec![Disk { path: "a,b".into(), options: ",snapshot=on" }],
            net: true,
            vector: true,
        };
        let line = |engine: &Engine| {
            let words = engine.command_line(&board);
            words.iter().map(|w| w.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let qemu = line(&named("qemu-tcg", ""));
        assert!(qemu.contains("-accel tcg,thread=multi -smp 2 -m 1024M -cpu rv64,v=on"), "{qemu}");
        assert!(qemu.contains("file=a,,b,if=none,format=raw,id=disk0,snapshot=on"), "{qemu}");
        let vireo = line(&Engine { family: Family::Vireo, ..named("tcg", "") });
        let tail = |s: &str| s[s.find("-smp").unwrap()..].replace("-name bench,debug-threads=on ", "");
        assert_eq!(tail(&qemu), tail(&vireo));
        let host = line(&Engine { on_host: true, accel: "kvm".into(), ..named("kvm", "") });
        assert!(host.contains("-accel kvm -smp") && host.contains("-cpu host"), "{host}");
    }
}
