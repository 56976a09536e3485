//! Models on an engine whose harts are the host's: `host` is all that these have, and every other model a mask over it.

use super::options::resolve;
use super::{CpuError, HOST, parse};
use crate::ext::{Ext, ExtSet, IsaConfig};

/// The ISA that `-cpu` asks for on harts that have `host`.
///
/// `known` are the extensions of which the engine can tell whether the host has them. Of the others no claim is made:
/// they are not in the answer. Nor is what only M-mode or a hypervisor would see, which the engine keeps to itself.
pub fn on_host(argument: Option<&str>, host: &IsaConfig, known: &ExtSet) -> Result<IsaConfig, CpuError> {
    let argument = argument.unwrap_or(HOST);
    let mut parts = argument.split(',').map(str::trim);
    let model = parts.next().unwrap_or_default();
    let wanted = match model {
        HOST => resolve(host.clone(), host.exts, parts)?,
        _ => parse(argument)?,
    };
    let has = |ext: &Ext| host.has(*ext) || *ext == Ext::H;
    let mut missing: Vec<String> =
        wanted.exts.iter().filter(|ext| known.contains(*ext) && !has(ext)).map(|ext| ext.name().to_owned()).collect();
    if wanted.satp_mode > host.satp_mode {
        missing.push(wanted.satp_mode.name().to_owned());
    }
    if wanted.has(Ext::V) && wanted.vlen != host.vlen && model == HOST {
        missing.push(format!("vlen={} (it has {})", wanted.vlen, host.vlen));
    }
    if !missing.is_empty() {
        return Err(CpuError::HostLacks { model: model.to_owned(), missing });
    }
    let exts = host.exts.iter().filter(|ext| wanted.has(*ext) || !known.contains(*ext)).collect();
    Ok(IsaConfig { exts, satp_mode: wanted.satp_mode, model: wanted.model, ..host.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::SatpMode;

    const KNOWN: &[Ext] =
        &[Ext::I, Ext::M, Ext::A, Ext::F, Ext::D, Ext::C, Ext::V, Ext::H, Ext::Zba, Ext::Zbb, Ext::Zbs, Ext::Sstc];

    fn host() -> IsaConfig {
        let exts = ExtSet::of(&[Ext::I, Ext::M, Ext::A, Ext::F, Ext::D, Ext::C, Ext::V, Ext::Zbb, Ext::S, Ext::U]);
        IsaConfig {
            exts: exts.closure(),
            satp_mode: SatpMode::Sv48,
            vlen: 256,
            pmp_entries: 0,
            model: HOST.to_owned(),
            ..IsaConfig::default()
        }
    }

    fn on(argument: Option<&str>) -> Result<IsaConfig, String> {
        on_host(argument, &host(), &ExtSet::of(KNOWN)).map_err(|e| e.to_string())
    }

    #[test]
    fn all_of_the_host_or_less() {
        assert_eq!(on(None), Ok(host()));
        let less = on(Some("host,v=off,sv48=off")).unwrap();
        assert!(!less.has(Ext::V) && less.has(Ext::Zbb) && less.has(Ext::D));
        assert_eq!((less.satp_mode, less.model.as_str()), (SatpMode::Sv39, HOST));
    }

    #[test]
    fn what_the_host_lacks_is_named() {
        let error = on(Some("host,zba=on,sstc=on,sv57=on")).unwrap_err();
        assert_eq!(error, "this host cannot be CPU model 'host': it lacks zba, sstc, sv57");
        let error = on(Some("rva22s64")).unwrap_err();
        assert!(error.contains("'rva22s64'") && error.contains("zba") && !error.contains("zbb"), "{error}");
    }

    #[test]
    fn a_model_is_a_mask() {
        let isa = on(Some("rv64i,m=on,s=on,u=on,sv39=on")).unwrap();
        assert!(isa.has(Ext::M) && !isa.has(Ext::Zbb) && !isa.has(Ext::V) && isa.has(Ext::S));
        assert_eq!(isa.satp_mode, SatpMode::Sv39);
    }

    #[test]
    fn without_such_an_engine_there_is_no_host() {
        assert!(parse("host").unwrap_err().to_string().contains("-accel kvm"));
    }
}
