//! The machine that measures.

use std::fs;

use crate::result::Host;

/// What can be read of this machine; what cannot stays empty.
pub fn look() -> Host {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    Host {
        arch: text(uname.machine()),
        cpu: cpu(&cpuinfo),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
        memory_mib: total.unwrap_or(0u64) / 1024,
        load: load.split(' ').next().and_then(|l| l.parse().ok()).unwrap_or(0.0),
    }
}

/// The processor's name: x86 has a model's, RISC-V an ISA and a micro-architecture.
fn cpu(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let of = |l: &str| l.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_owned());
        cpuinfo.lines().find_map(of)
    };
    field("model name").or_else(|| field("uarch")).or_else(|| field("isa")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_names() {
        assert_eq!(cpu("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu("hart\t: 0\nisa\t\t: rv64imafdch\nuarch\t\t: sifive,bullet0\n"), "sifive,bullet0");
        assert_eq!(cpu(""), "");
        let host = look();
        assert!(host.cpus >= 1 && host.memory_mib > 0 && host.kernel.starts_with("Linux"));
    }
}
