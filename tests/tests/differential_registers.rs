//! Control and status registers against a reference's; see `tests::differential::registers`.
//!
//! `VIREO_QEMU` names the QEMU to compare with, else it is `qemu-system-riscv64` in PATH. `VIREO_DIFFERENTIAL_SEED` is
//! the seed of the random values.

use std::collections::BTreeMap;

use accel::tcg::TcgOptions;
use arch::ext::Ext;
use tests::differential::compare::describe;
use tests::differential::engine;
use tests::differential::reference::Reference;
use tests::differential::registers::{self, LEFT_OUT};

/// Groups of differences that are shown.
const SHOWN: usize = 200;

#[test]
fn registers_hold_what_the_reference_holds() {
    let reference = Reference::find_recent().unwrap_or_else(|error| panic!("{error:#}"));
    let mut isa = arch::model::find("max").expect("a model that the program has").config();
    isa.exts.insert(Ext::Svade);
    let (isa, missing) = reference.common(&isa).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", describe(&isa, &reference, &missing));
    for (is, why) in LEFT_OUT {
        let names: Vec<_> = arch::csr::all().iter().filter(|row| is(row.number)).map(|row| row.name).collect();
        println!("left out: {} ({why})", names.join(" "));
    }
    let seed = std::env::var("VIREO_DIFFERENTIAL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let probes = registers::probes(&isa, seed);
    let image = registers::image(&isa, &probes);
    let (ours, hung) = engine::run(&isa, &TcgOptions::default(), &image).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(hung, None, "ours hangs");
    let theirs = reference.run(&isa, &image).unwrap_or_else(|error| panic!("{error:#}"));
    let (ours, theirs) = (registers::answers(&probes, &ours), registers::answers(&probes, &theirs));
    let list = registers::known(&reference);
    let mut known = BTreeMap::new();
    let mut different = Vec::new();
    for ((probe, a), b) in probes.iter().zip(&ours).zip(&theirs).filter(|((_, a), b)| a != b) {
        match list.iter().position(|known| (known.applies)(probe, a, b)) {
            Some(i) => *known.entry(i).or_insert(0) += 1,
            None => different.push((probe, a, b)),
        }
    }
    for (i, count) in known {
        println!("known difference, {count} times: {} ({})", list[i].what, list[i].spec);
    }
    println!("{} writes", probes.len());
    // One line a register, however many values differ.
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (p, a, b) in &different {
        groups.entry((p.csr, p.select, p.open, a.trap, b.trap)).or_default().push((p.value, a.held, b.held));
    }
    let name = |n| arch::csr::by_number(n).map_or("?", |row| row.name);
    let lines = groups.iter().take(SHOWN).map(|(&(csr, select, open, ours, theirs), values)| {
        let select = select.map_or(String::new(), |select| format!("[{select:#x}]"));
        let bits = values.iter().fold(0, |bits, (_, a, b)| bits | (a ^ b));
        let (value, a, b) = values[0];
        let some: Vec<_> = values.iter().take(6).map(|(value, ..)| format!("{value:#x}")).collect();
        format!(
            "{}{select}, open {open}, traps {ours:?} {theirs:?}: {} values ({}), bits {bits:#x}; of {value:#x} ours holds \
             {a:#x}, theirs {b:#x}",
            name(csr),
            values.len(),
            some.join(" ")
        )
    });
    let lines: Vec<String> = lines.collect();
    assert!(different.is_empty(), "{} differences in {} groups:\n{}", different.len(), groups.len(), lines.join("\n"));
}
