//! `-smp`: how many harts, how they are grouped, and where they run. The arithmetic is QEMU's; `affinity=` is ours.

use super::error::{CliError, Result};
use super::optlist::OptList;
use crate::config::{Affinity, HARTS_MAX, HOST_CPUS_MAX, Topology};

/// The last `-smp` of the command line.
pub fn parse(values: &[String]) -> Result<(Topology, Affinity)> {
    let Some(text) = values.last() else { return Ok(Default::default()) };
    let mut o = OptList::parse("-smp", text)?;
    o.unsupported(&["dies", "books", "drawers", "modules"])?;
    let cpus = match o.head("cpus")? {
        Some(n) => Some(count(&o, "", &n)?),
        None => None,
    };
    let mut level = |key| match o.text(key)? {
        Some(n) => count(&o, &format!("{key}="), &n).map(Some),
        None => Ok(None),
    };
    let (sockets, clusters) = (level("sockets")?, level("clusters")?);
    let (cores, threads, maxcpus) = (level("cores")?, level("threads")?, level("maxcpus")?);
    let affinity = o.text("affinity")?;
    let context = o.context().to_owned();
    o.finish()?;
    let error = |message: String| CliError::new(&context, message);

    if let (Some(cpus), Some(max)) = (cpus, maxcpus)
        && max != cpus
    {
        return Err(error(format!(
            "maxcpus={max}: must equal the {cpus} harts there are; adding harts later is not supported by vireo yet"
        )));
    }
    let topology = complete(cpus.or(maxcpus), sockets, clusters, cores, threads);
    let product = [topology.sockets, topology.clusters, topology.cores, topology.threads]
        .into_iter()
        .try_fold(1u32, u32::checked_mul)
        .filter(|p| *p <= HARTS_MAX)
        .ok_or_else(|| error(format!("the number of harts must be from 1 to {HARTS_MAX}")))?;
    match cpus.or(maxcpus) {
        Some(cpus) if cpus != product => Err(error(format!(
            "sockets ({}) * clusters ({}) * cores ({}) * threads ({}) is {product}, not the {cpus} harts asked for",
            topology.sockets, topology.clusters, topology.cores, topology.threads
        ))),
        _ => {
            let affinity = affinity.map_or(Ok(Affinity::default()), |text| {
                parse_affinity(&text, topology.harts()).map_err(|e| error(format!("affinity={text}: {e}")))
            })?;
            Ok((topology, affinity))
        }
    }
}

/// `HARTS@CPUS:HARTS@CPUS...`: harts are `A` or `A-B`, CPUs are these with `+` between them.
fn parse_affinity(text: &str, harts: u32) -> std::result::Result<Affinity, String> {
    let mut affinity = Affinity::default();
    for part in text.split(':') {
        let form = || format!("'{part}' must be HARTS@CPUS, such as 0@2 or 1-3@0-1+4");
        let (which, where_) = part.split_once('@').ok_or_else(form)?;
        let mut cpus = Vec::new();
        for piece in where_.split('+') {
            cpus.extend(range(piece, HOST_CPUS_MAX).ok_or_else(form)?);
        }
        cpus.sort_unstable();
        cpus.dedup();
        for hart in range(which, HARTS_MAX).ok_or_else(form)? {
            if hart >= harts {
                return Err(format!("there is no hart {hart}: harts are 0 to {}", harts - 1));
            }
            if affinity.0.insert(hart, cpus.clone()).is_some() {
                return Err(format!("hart {hart} is named twice"));
            }
        }
    }
    Ok(affinity)
}

/// `A` or `A-B`, below `limit`.
fn range(text: &str, limit: u32) -> Option<std::ops::RangeInclusive<u32>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n < limit && !text.starts_with('+'));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

fn count(o: &OptList, key: &str, text: &str) -> Result<u32> {
    match text.parse::<u32>() {
        Ok(n) if (1..=HARTS_MAX).contains(&n) && !text.starts_with('+') => Ok(n),
        _ => Err(o.error(format!("{key}{text}: must be a number from 1 to {HARTS_MAX}"))),
    }
}

/// Fills in what was not given: clusters and threads are 1, then cores take what is left, then sockets, then threads.
fn complete(
    cpus: Option<u32>,
    sockets: Option<u32>,
    clusters: Option<u32>,
    cores: Option<u32>,
    threads: Option<u32>,
) -> Topology {
    let clusters = clusters.unwrap_or(1);
    let Some(cpus) = cpus else {
        let one = |n: Option<u32>| n.unwrap_or(1);
        return Topology { sockets: one(sockets), clusters, cores: one(cores), threads: one(threads) };
    };
    let share = |others: &[u32]| cpus / others.iter().fold(1u32, |a, b| a.saturating_mul(*b)).max(1);
    let at_least_one = |n: u32| n.max(1);
    match (sockets, cores, threads) {
        (s, None, t) => {
            let (s, t) = (s.unwrap_or(1), t.unwrap_or(1));
            Topology { sockets: s, clusters, cores: at_least_one(share(&[s, clusters, t])), threads: t }
        }
        (None, Some(c), t) => {
            let t = t.unwrap_or(1);
            Topology { sockets: at_least_one(share(&[clusters, c, t])), clusters, cores: c, threads: t }
        }
        (Some(s), Some(c), None) => {
            Topology { sockets: s, clusters, cores: c, threads: at_least_one(share(&[s, clusters, c])) }
        }
        (Some(s), Some(c), Some(t)) => Topology { sockets: s, clusters, cores: c, threads: t },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smp(text: &str) -> Result<(u32, u32, u32, u32)> {
        parse(&[text.to_owned()]).map(|(t, _)| (t.sockets, t.clusters, t.cores, t.threads))
    }

    #[test]
    fn good() {
        assert_eq!(parse(&[]).unwrap().0.harts(), 1);
        assert_eq!(smp("4").unwrap(), (1, 1, 4, 1));
        assert_eq!(smp("cpus=4").unwrap(), (1, 1, 4, 1));
        assert_eq!(smp("512").unwrap(), (1, 1, 512, 1));
        assert_eq!(smp("8,sockets=2").unwrap(), (2, 1, 4, 1));
        assert_eq!(smp("8,cores=2").unwrap(), (4, 1, 2, 1));
        assert_eq!(smp("8,sockets=2,cores=2").unwrap(), (2, 1, 2, 2));
        assert_eq!(smp("8,threads=2").unwrap(), (1, 1, 4, 2));
        assert_eq!(smp("8,clusters=2,cores=2,threads=2,sockets=1").unwrap(), (1, 2, 2, 2));
        assert_eq!(smp("sockets=2,cores=3").unwrap(), (2, 1, 3, 1));
        assert_eq!(smp("4,maxcpus=4").unwrap(), (1, 1, 4, 1));
    }

    #[test]
    fn harts_on_chosen_cpus() {
        let affinity = |text: &str| -> Vec<(u32, Vec<u32>)> {
            let (_, affinity) = parse(&[format!("4,affinity={text}")]).unwrap();
            affinity.0.into_iter().collect()
        };
        assert_eq!(affinity("0@2"), [(0, vec![2])]);
        assert_eq!(affinity("3@0-1+5:0-1@7"), [(0, vec![7]), (1, vec![7]), (3, vec![0, 1, 5])]);
        assert_eq!(affinity("1@3+1-3"), [(1, vec![1, 2, 3])]);
        assert_eq!(parse(&["4".to_owned()]).unwrap().1, Affinity::default());
        for (text, what) in [
            ("", "HARTS@CPUS"),
            ("0", "HARTS@CPUS"),
            ("0@", "HARTS@CPUS"),
            ("@0", "HARTS@CPUS"),
            ("0@2-1", "HARTS@CPUS"),
            ("0@0:", "HARTS@CPUS"),
            ("0@1024", "HARTS@CPUS"),
            ("4@0", "no hart 4"),
            ("0-4@0", "no hart 4"),
            ("0@0:0-1@1", "hart 0 is named twice"),
        ] {
            let e = parse(&[format!("4,affinity={text}")]).expect_err(text).to_string();
            assert!(e.starts_with(&format!("-smp 4,affinity={text}: affinity={text}: ")) && e.contains(what), "{e}");
        }
    }

    #[test]
    fn bad() {
        for text in [
            "0",
            "100000",
            "513",
            "-1",
            "+1",
            "abc",
            "1.5",
            "4,cores=3",
            "4,sockets=0",
            "2,maxcpus=4",
            "4,dies=2",
            "4,foo=1",
            "4,cpus=4",
            "sockets=512,cores=512,threads=512,clusters=512",
            "3,sockets=2",
            "1,threads=2",
            "4,4",
            "99999999999",
        ] {
            let error = smp(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("-smp {text}: ")), "{error}");
        }
        assert_eq!(smp("0").unwrap_err().to_string(), "-smp 0: 0: must be a number from 1 to 512");
    }
}
