//! `target.xml`: which registers the harts have (gdb manual, "RISC-V Features").

use std::fmt::Write;

use arch::csr;
use arch::ext::IsaConfig;
use arch::reg;

use super::registers::{Register, float_size, vector_size};

/// CSRs that gdb wants among the floating-point registers.
const FLOAT_CSRS: [u16; 3] = [csr::FFLAGS, csr::FRM, csr::FCSR];

/// The description of harts with this ISA.
pub fn target_xml(isa: &IsaConfig) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>riscv:rv64</architecture>\n",
    );
    feature(&mut xml, "cpu", |xml| {
        for n in 0..32u8 {
            let kind = match n {
                1 => "code_ptr",
                2..=4 => "data_ptr",
                _ => "int",
            };
            register(xml, reg::X[usize::from(n)], 64, Register::X(n), kind);
        }
        register(xml, "pc", 64, Register::Pc, "code_ptr");
    });
    if let Some(size) = float_size(isa) {
        feature(&mut xml, "fpu", |xml| {
            let kind = if size == 8 {
                xml.push_str("<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/>");
                xml.push_str("<field name=\"double\" type=\"ieee_double\"/></union>\n");
                "riscv_double"
            } else {
                "ieee_single"
            };
            for n in 0..32u8 {
                register(xml, reg::F[usize::from(n)], 8 * size, Register::F(n), kind);
            }
            for row in csr::all().iter().filter(|row| FLOAT_CSRS.contains(&row.number)) {
                register(xml, row.name, 64, Register::Csr(row.number), "int");
            }
        });
    }
    feature(&mut xml, "virtual", |xml| register(xml, "priv", 64, Register::Priv, "int"));
    feature(&mut xml, "csr", |xml| {
        let taken = |n: u16| float_size(isa).is_some() && FLOAT_CSRS.contains(&n);
        let there = |row: &&csr::Csr| row.available(isa) && !taken(row.number);
        for row in csr::all().iter().filter(there) {
            register(xml, row.name, 64, Register::Csr(row.number), "int");
        }
    });
    if let Some(size) = vector_size(isa) {
        feature(&mut xml, "vector", |xml| {
            vector_types(xml, size);
            (0..32).for_each(|n| register(xml, &format!("v{n}"), 8 * size, Register::V(n), "riscv_vector"));
        });
    }
    xml.push_str("</target>\n");
    xml
}

fn feature(xml: &mut String, name: &str, content: impl FnOnce(&mut String)) {
    let _ = writeln!(xml, "<feature name=\"org.gnu.gdb.riscv.{name}\">");
    content(xml);
    xml.push_str("</feature>\n");
}

fn register(xml: &mut String, name: &str, bits: usize, register: Register, kind: &str) {
    let number = register.number();
    let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" regnum=\"{number}\" type=\"{kind}\"/>");
}

/// A vector register of `size` bytes, seen as elements of every width.
fn vector_types(xml: &mut String, size: usize) {
    const ELEMENTS: [(&str, &str, usize); 5] = [
        ("quads", "uint128", 16),
        ("longs", "uint64", 8),
        ("words", "uint32", 4),
        ("shorts", "uint16", 2),
        ("bytes", "uint8", 1),
    ];
    let fits = || ELEMENTS.iter().filter(|(_, _, width)| *width <= size);
    for (name, kind, width) in fits() {
        let _ = writeln!(xml, "<vector id=\"{name}\" type=\"{kind}\" count=\"{}\"/>", size / width);
    }
    xml.push_str("<union id=\"riscv_vector\">\n");
    for (name, _, _) in fits() {
        let _ = writeln!(xml, "<field name=\"{}\" type=\"{name}\"/>", &name[..1]);
    }
    xml.push_str("</union>\n");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The values of an attribute, in order.
    fn values<'a>(xml: &'a str, tag: &str, attribute: &str) -> Vec<&'a str> {
        let tags = xml.split('<').filter(|t| t.split_whitespace().next() == Some(tag));
        let value = |t: &'a str| t.split_once(&format!(" {attribute}=\"")).and_then(|(_, v)| v.split_once('"'));
        tags.filter_map(|t| value(t).map(|(v, _)| v)).collect()
    }

    /// Every element ends, in order.
    fn check_nesting(xml: &str) {
        let mut open = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains(['&', '>']), "{text}");
            let name = tag.split_whitespace().next().unwrap();
            if let Some(name) = name.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.starts_with(['?', '!']) && !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn every_model_is_described() {
        for model in arch::model::MODELS {
            let isa = model.config();
            let xml = target_xml(&isa);
            check_nesting(&xml);
            for attribute in ["name", "regnum"] {
                let all = values(&xml, "reg", attribute);
                let different: HashSet<_> = all.iter().collect();
                assert_eq!(all.len(), different.len(), "{}: {attribute}", isa.model);
            }
            let csrs = csr::all().iter().filter(|row| row.available(&isa)).count();
            let floats = if float_size(&isa).is_some() { 32 } else { 0 };
            let vectors = if vector_size(&isa).is_some() { 32 } else { 0 };
            assert_eq!(values(&xml, "reg", "name").len(), 33 + floats + csrs + 1 + vectors, "{}", isa.model);
        }
    }

    #[test]
    fn numbers_are_those_of_gdb() {
        let xml = target_xml(&IsaConfig::default());
        for line in [
            "<reg name=\"sp\" bitsize=\"64\" regnum=\"2\" type=\"data_ptr\"/>",
            "<reg name=\"ft0\" bitsize=\"64\" regnum=\"33\" type=\"riscv_double\"/>",
            "<reg name=\"fcsr\" bitsize=\"64\" regnum=\"68\" type=\"int\"/>",
            "<reg name=\"satp\" bitsize=\"64\" regnum=\"449\" type=\"int\"/>",
            "<reg name=\"priv\" bitsize=\"64\" regnum=\"4161\" type=\"int\"/>",
        ] {
            assert!(xml.contains(line), "{line}");
        }
    }
}
