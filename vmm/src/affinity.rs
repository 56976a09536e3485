//! Which CPUs of the host the harts' threads run on (`-smp affinity=`).

use std::collections::BTreeMap;

use rustix::thread::{CpuSet, sched_getaffinity};

use crate::config::{Affinity, HOST_CPUS_MAX};

/// By hart; harts that are not here run anywhere.
pub type CpuSets = BTreeMap<u32, CpuSet>;

/// The sets of CPUs, all of which the host lets this program run on; or one line that says which it does not.
pub fn cpu_sets(affinity: &Affinity) -> Result<CpuSets, String> {
    if affinity.0.is_empty() {
        return Ok(CpuSets::new());
    }
    let allowed = sched_getaffinity(None).map_err(|e| format!("cannot ask which CPUs there are: {e}"))?;
    check(affinity, &allowed)
}

fn check(affinity: &Affinity, allowed: &CpuSet) -> Result<CpuSets, String> {
    let mut sets = CpuSets::new();
    for (&hart, cpus) in &affinity.0 {
        let mut set = CpuSet::new();
        for &cpu in cpus {
            if !allowed.is_set(cpu as usize) {
                let list = list(allowed);
                return Err(format!("-smp affinity=: hart {hart}: CPU {cpu} is none of {list}, where vireo may run"));
            }
            set.set(cpu as usize);
        }
        sets.insert(hart, set);
    }
    Ok(sets)
}

/// `0-3,6`.
fn list(set: &CpuSet) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in (0..HOST_CPUS_MAX).filter(|cpu| set.is_set(*cpu as usize)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let texts = ranges.into_iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpus_that_the_host_gives() {
        let mut allowed = CpuSet::new();
        [0, 1, 2, 5, 7, 8].into_iter().for_each(|cpu| allowed.set(cpu));
        let affinity = |cpus: &[u32]| Affinity([(3, cpus.to_vec())].into());
        let sets = check(&affinity(&[1, 7]), &allowed).unwrap();
        let set = sets[&3];
        assert!(set.is_set(1) && set.is_set(7) && set.count() == 2);
        let error = check(&affinity(&[1, 6]), &allowed).unwrap_err();
        assert_eq!(error, "-smp affinity=: hart 3: CPU 6 is none of 0-2,5,7-8, where vireo may run");
        assert!(cpu_sets(&Affinity::default()).unwrap().is_empty());
    }

    #[test]
    fn numbers_fit_the_set() {
        assert_eq!(CpuSet::MAX_CPU, HOST_CPUS_MAX as usize);
    }
}
