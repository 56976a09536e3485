//! Which vector instructions have code, kept in `pinned/vector_coverage.txt`: by SEW the LMULs at which they do, at
//! VLEN = 128. What is illegal there has none either.

use std::fmt::Write;

use arch::ext::IsaConfig;
use arch::isa::{Row, rows};

use super::super::pinned::compare;
use super::*;
use crate::tcg::code_cache::CodeCache;
use crate::tcg::helpers::vector::knows;

/// As `vtype` has them.
const LMULS: [(u64, &str); 5] = [(7, "mf2"), (0, "m1"), (1, "m2"), (2, "m4"), (3, "m8")];

/// A host with everything, or with AVX2 and nothing beyond it.
fn features(simd: HostSimd) -> Features {
    let all = simd == HostSimd::Avx512;
    Features {
        simd,
        vbmi: all,
        vbmi2: all,
        bitalg: all,
        vpopcntdq: all,
        gfni: all,
        vaes: all,
        vpclmulqdq: all,
        sha: all,
        ..Features::PINNED
    }
}

/// The first and the last LMUL with code at this SEW; masked code only if the instruction can be masked.
fn lmuls(backend: &Backend, row: &Row, sew: u64, masked: bool) -> Option<String> {
    let vm = 1u32 << 25;
    let can_be = row.pattern.mask & vm == 0;
    if masked && !can_be {
        return None;
    }
    // v8 = v16 op v24, each the start of a group of eight.
    let operands = 8u32 << 7 | 24 << 15 | 16 << 20 | if masked { 0 } else { vm };
    let raw = row.pattern.bits | operands & !row.pattern.mask;
    let whole = Op::Vector { op: row.op, raw, d: None, a: Val::C(3), b: Val::C(64) };
    let with = |lmul: u64| backend.plan_anyway(&whole, (sew << 3 | lmul) as u32).is_some();
    let names: Vec<_> = LMULS.iter().filter(|(lmul, _)| with(*lmul)).map(|(_, name)| *name).collect();
    match (names.first(), names.last()) {
        (Some(first), Some(last)) if first == last => Some((*first).into()),
        (Some(first), Some(last)) => Some(format!("{first}-{last}")),
        _ => None,
    }
}

/// Those of all SEWs, where equal ones are said once.
fn shapes(backend: &Backend, row: &Row, masked: bool) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for sew in 0..4 {
        let Some(lmuls) = lmuls(backend, row, sew, masked) else { continue };
        let bits = (8 << sew).to_string();
        match groups.iter_mut().find(|(known, _)| *known == lmuls) {
            Some((_, sews)) => sews.push(bits),
            None => groups.push((lmuls, vec![bits])),
        }
    }
    let words: Vec<_> = groups.iter().map(|(lmuls, sews)| format!("{}:{lmuls}", sews.join(","))).collect();
    if words.is_empty() { "none".into() } else { words.join(" ") }
}

#[test]
fn pinned_vector_coverage() {
    let mut isa: IsaConfig = arch::model::parse("max").expect("the model exists");
    isa.vlen = 128;
    let mut code = CodeCache::new(1 << 18).expect("a code cache");
    let mut backend =
        Backend::new(&mut code, true, VectorUnit::of(&isa), HostSimd::Avx512).expect("there is a backend");
    let mut out = String::from(
        "# Vector instructions with code of their own: SEWs and LMULs at VLEN = 128, on hosts with AVX-512 and with AVX2.\n\
         # `none`: the instruction's function is called. `masked`: where masked ones differ.\n\
         # See vector/coverage.rs. VIREO_BLESS=1 cargo test -p accel pinned\n\n",
    );
    for row in rows().iter().filter(|row| knows(row.op) && row.available(&isa) && !row.mnemonic.starts_with("vset")) {
        let _ = write!(out, "{:<16}", row.mnemonic);
        for (name, simd) in [("avx512", HostSimd::Avx512), ("avx2", HostSimd::Avx2)] {
            (backend.features, backend.vectors.features) = (features(simd), features(simd));
            let plain = shapes(&backend, row, false);
            let _ = write!(out, " | {name} {plain}");
            let masked = shapes(&backend, row, true);
            if row.pattern.mask & 1 << 25 == 0 && masked != plain {
                let _ = write!(out, " masked {masked}");
            }
        }
        out.push('\n');
    }
    compare("vector_coverage.txt", &out);
}
