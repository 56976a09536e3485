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
    // What a model says of these by itself is no wish.
    let plain = if model == HOST { host.clone() } else { parse(model)? };
    for size in SIZES.iter().filter(|size| wanted.has(size.of)) {
        let (wish, usual, has) = ((size.get)(&wanted), (size.get)(&plain), (size.get)(host));
        if wish != usual && wish != has {
            missing.push(format!("{}={wish} (it has {has})", size.name));
        }
    }
    if !missing.is_empty() {
        return Err(CpuError::HostLacks { model: model.to_owned(), missing });
    }
    let exts = host.exts.iter().filter(|ext| wanted.has(*ext) || !known.contains(*ext)).collect();
    let number = |get: fn(&IsaConfig) -> u64| if get(&wanted) == get(&plain) { get(host) } else { get(&wanted) };
    Ok(IsaConfig {
        exts,
        satp_mode: wanted.satp_mode,
        mvendorid: number(|isa| isa.mvendorid),
        marchid: number(|isa| isa.marchid),
        mimpid: number(|isa| isa.mimpid),
        model: wanted.model,
        ..host.clone()
    })
}

/// A size that is the host's and no other.
struct Size {
    name: &'static str,
    /// Without this nobody sees it.
    of: Ext,
    get: fn(&IsaConfig) -> u32,
}

static SIZES: [Size; 4] = [
    Size { name: "vlen", of: Ext::V, get: |isa| isa.vlen },
    Size { name: "cbom_blocksize", of: Ext::Zicbom, get: |isa| isa.cbom_block.into() },
    Size { name: "cbop_blocksize", of: Ext::Zicbop, get: |isa| isa.cbop_block.into() },
    Size { name: "cboz_blocksize", of: Ext::Zicboz, get: |isa| isa.cboz_block.into() },
];

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
    fn sizes_are_the_hosts() {
        let error = on(Some("host,vlen=128")).unwrap_err();
        assert_eq!(error, "this host cannot be CPU model 'host': it lacks vlen=128 (it has 256)");
        assert_eq!(on(Some("host,vlen=256")).unwrap().vlen, 256);
        let error = on(Some("rv64i,v=on,vlen=512")).unwrap_err();
        assert!(error.contains("vlen=512 (it has 256)"), "{error}");
        assert_eq!(on(Some("rv64i,v=on,s=on,u=on")).unwrap().vlen, 256, "a model's own is no wish");
        assert!(on(Some("host,cbom_blocksize=32")).is_ok(), "without Zicbom");
    }

    #[test]
    fn identities_are_the_hosts_or_the_users() {
        let host = IsaConfig { mvendorid: 1, marchid: 2, mimpid: 3, ..host() };
        let on = |argument| {
            let isa = on_host(Some(argument), &host, &ExtSet::of(KNOWN)).unwrap();
            (isa.mvendorid, isa.marchid, isa.mimpid)
        };
        assert_eq!(on("host"), (1, 2, 3));
        assert_eq!(on("host,marchid=7"), (1, 7, 3));
        assert_eq!(on("rv64i,s=on,u=on,mvendorid=0x10"), (16, 2, 3));
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
