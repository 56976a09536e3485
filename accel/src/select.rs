//! What `-accel` chose and why: the engines there are, whether this host can run them, and the first of a list
//! that can.

use std::io;

use crate::kvm::options::KvmOptions;
use crate::tcg::{Tcg, TcgOptions};
use crate::{Accel, AccelError};

/// One engine that the user would take, with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Kvm(KvmOptions),
    Tcg(TcgOptions),
}

/// A line of `-accel help`.
#[derive(Debug)]
pub struct EngineInfo {
    pub name: &'static str,
    pub description: &'static str,
    /// Why not, in a few words.
    pub availability: Result<(), String>,
}

/// Every engine.
pub fn engines() -> Vec<EngineInfo> {
    let kvm = kvm_engine(&HostFacts::gather(), &KvmOptions::default()).map(drop).map_err(|e| match e {
        AccelError::Unavailable { reason, .. } => reason,
        other => other.to_string(),
    });
    vec![
        EngineInfo { name: "kvm", description: "the host's hypervisor; RISC-V hosts only", availability: kvm },
        EngineInfo { name: "tcg", description: "the built-in translator; any host", availability: Ok(()) },
        EngineInfo { name: "interp", description: "the same as tcg,jit=off; slow", availability: Ok(()) },
    ]
}

/// The engine that was chosen.
pub struct Selection {
    pub engine: Box<dyn Accel>,
    /// Why the ones before it were not.
    pub refused: Vec<AccelError>,
}

/// The first of `choices` that works here; without any, KVM where it works, else the translator.
///
/// The error is that of the last choice, with those of the others before it.
pub fn select(choices: &[Choice]) -> Result<Selection, Vec<AccelError>> {
    let default = [Choice::Kvm(KvmOptions::default()), Choice::Tcg(TcgOptions::default())];
    let choices = if choices.is_empty() { &default } else { choices };
    select_on(choices, HostFacts::gather)
}

/// Asks for the facts only if they matter.
fn select_on(choices: &[Choice], host: impl Fn() -> HostFacts) -> Result<Selection, Vec<AccelError>> {
    let mut refused = Vec::new();
    for choice in choices {
        let engine = match choice {
            Choice::Kvm(options) => kvm_engine(&host(), options),
            Choice::Tcg(options) => {
                let engine = Tcg { options: options.clone() };
                engine.availability().map(|()| Box::new(engine) as Box<dyn Accel>)
            }
        };
        match engine {
            Ok(engine) => return Ok(Selection { engine, refused }),
            Err(e) => refused.push(e),
        }
    }
    Err(refused)
}

#[cfg_attr(not(target_arch = "riscv64"), allow(unused_variables, reason = "other hosts have a problem"))]
fn kvm_engine(host: &HostFacts, options: &KvmOptions) -> Result<Box<dyn Accel>, AccelError> {
    if let Some(reason) = kvm_problem(host) {
        return Err(AccelError::Unavailable { name: "kvm", reason });
    }
    #[cfg(target_arch = "riscv64")]
    {
        let engine = crate::kvm::Kvm { options: options.clone() };
        engine.availability().map(|()| Box::new(engine) as Box<dyn Accel>)
    }
    #[cfg(not(target_arch = "riscv64"))]
    unreachable!("other hosts have a problem")
}

/// What decides whether KVM can be used.
struct HostFacts {
    /// As Rust names it.
    arch: &'static str,
    /// What opening `/dev/kvm` for reading and writing gave.
    dev_kvm: Result<(), io::Error>,
    /// The text of `/proc/cpuinfo`, where it tells something of RISC-V.
    cpuinfo: String,
}

impl HostFacts {
    fn gather() -> Self {
        let open = std::fs::File::options().read(true).write(true).open("/dev/kvm");
        Self {
            arch: std::env::consts::ARCH,
            dev_kvm: open.map(drop),
            cpuinfo: match cfg!(target_arch = "riscv64") {
                true => std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
                false => String::new(),
            },
        }
    }

    /// Whether an `isa` line of a RISC-V host's cpuinfo has the extension H.
    fn has_h(&self) -> bool {
        let isas = self.cpuinfo.lines().filter_map(|l| l.split_once(':')).filter(|(k, _)| k.trim() == "isa");
        isas.map(|(_, isa)| isa.trim()).any(|isa| {
            let letters = isa.trim_start_matches("rv64").split('_').next().unwrap_or_default();
            letters.contains('h')
        })
    }
}

/// Why KVM cannot be used on a host, if it cannot.
fn kvm_problem(host: &HostFacts) -> Option<String> {
    if host.arch != "riscv64" {
        return Some(format!("the host is {}, not RISC-V", host.arch));
    }
    let error = host.dev_kvm.as_ref().err()?;
    Some(match error.kind() {
        io::ErrorKind::NotFound if !host.has_h() => "the host's harts have no H extension".to_owned(),
        io::ErrorKind::NotFound => "there is no /dev/kvm (is the module kvm loaded?)".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to open /dev/kvm (is the user in its group?)".to_owned(),
        _ => format!("cannot open /dev/kvm: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(arch: &'static str, dev_kvm: Result<(), io::ErrorKind>, isa: &str) -> HostFacts {
        HostFacts { arch, dev_kvm: dev_kvm.map_err(io::Error::from), cpuinfo: format!("hart\t: 0\nisa\t\t: {isa}\n") }
    }

    #[test]
    fn every_reason_has_its_words() {
        let reason = |h: HostFacts| kvm_problem(&h);
        assert_eq!(reason(host("x86_64", Ok(()), "")), Some("the host is x86_64, not RISC-V".into()));
        let none = Err(io::ErrorKind::NotFound);
        assert!(reason(host("riscv64", none, "rv64imafdc_zicsr_zihintpause")).unwrap().contains("no H extension"));
        assert!(reason(host("riscv64", none, "rv64imafdch_zicsr")).unwrap().contains("no /dev/kvm"));
        let denied = Err(io::ErrorKind::PermissionDenied);
        assert!(reason(host("riscv64", denied, "rv64imafdch")).unwrap().contains("permission"));
        assert_eq!(reason(host("riscv64", Ok(()), "rv64imafdch")), None);
    }

    #[test]
    fn a_list_falls_back_and_says_why() {
        let x86 = || host("x86_64", Ok(()), "");
        let both = [Choice::Kvm(KvmOptions::default()), Choice::Tcg(TcgOptions::default())];
        let chosen = select_on(&both, x86).unwrap_or_else(|_| panic!("tcg runs anywhere"));
        assert_eq!(chosen.engine.name(), "tcg");
        assert_eq!(chosen.refused.len(), 1);
        assert!(chosen.refused[0].to_string().contains("not RISC-V"));
        let only = select_on(&[Choice::Kvm(KvmOptions::default())], x86).err().expect("no KVM on x86");
        assert_eq!(only[0].to_string(), "accelerator 'kvm' is not available: the host is x86_64, not RISC-V");
    }

    #[test]
    fn help_lists_all() {
        let names: Vec<_> = engines().iter().map(|e| e.name).collect();
        assert_eq!(names, ["kvm", "tcg", "interp"]);
    }
}
