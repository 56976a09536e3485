//! `-object`: what other options refer to by id.

use std::path::PathBuf;

use super::drive;
use super::error::{CliError, Result, did_you_mean};
use super::memory::{self, Backend, Defaults};
use super::optlist::OptList;

/// A type that `-object` names.
pub struct ObjectType {
    pub name: &'static str,
    pub description: &'static str,
    /// Name, kind of value, meaning.
    pub properties: &'static [(&'static str, &'static str, &'static str)],
}

pub static TYPES: &[ObjectType] = &[
    ObjectType {
        name: "memory-backend-file",
        description: "RAM in a file, or on hugetlbfs",
        properties: memory::FILE_PROPERTIES,
    },
    ObjectType {
        name: "memory-backend-memfd",
        description: "RAM behind a descriptor, also of huge pages",
        properties: memory::MEMFD_PROPERTIES,
    },
    ObjectType { name: "memory-backend-ram", description: "anonymous RAM", properties: memory::RAM_PROPERTIES },
    ObjectType { name: "rng-builtin", description: "the host's random numbers (getrandom)", properties: &[] },
    ObjectType {
        name: "rng-random",
        description: "random numbers from a file",
        properties: &[("filename", "FILE", "what to read (default: /dev/urandom)")],
    },
];

/// Types of QEMU's that are not here.
const KNOWN: [&str; 11] = [
    "memory-backend-epc",
    "memory-backend-shm",
    "rng-egd",
    "iothread",
    "main-loop",
    "secret",
    "thread-context",
    "throttle-group",
    "tls-creds-x509",
    "filter-dump",
    "cryptodev-backend-builtin",
];

/// All objects of the command line.
#[derive(Debug, Default)]
pub struct Objects {
    /// Entropy sources by id; `None`: the host's generator.
    pub rngs: Vec<(String, Option<PathBuf>)>,
    pub memory: Vec<Backend>,
}

impl Objects {
    fn has(&self, id: &str) -> bool {
        self.rngs.iter().any(|(other, _)| other == id) || self.memory.iter().any(|backend| backend.id == id)
    }
}

pub fn parse(values: &[String], defaults: &Defaults) -> Result<Objects> {
    let mut objects = Objects::default();
    for text in values {
        let mut o = OptList::parse("-object", text)?;
        let kind = o.head("qom-type")?.ok_or_else(|| o.error("needs a type; -object help lists them"))?;
        if !TYPES.iter().any(|t| t.name == kind) {
            return Err(unknown(&o, &kind));
        }
        let id = o.text("id")?;
        let id = drive::check_id(&o, id)?.ok_or_else(|| o.error("needs id=ID"))?;
        if objects.has(&id) {
            return Err(o.error(format!("the id '{id}' is already that of another object")));
        }
        match kind.as_str() {
            "rng-builtin" => objects.rngs.push((id, None)),
            "rng-random" => {
                let file = o.text("filename")?.unwrap_or_else(|| "/dev/urandom".into());
                objects.rngs.push((id, Some(file.into())));
            }
            kind => objects.memory.push(memory::parse_backend(&mut o, kind, id, defaults)?),
        }
        o.finish()?;
    }
    Ok(objects)
}

fn unknown(o: &OptList, kind: &str) -> CliError {
    if KNOWN.contains(&kind) {
        return o.error(format!("type '{kind}' is not supported by vireo yet; -object help lists what is"));
    }
    let hint = did_you_mean(kind, TYPES.iter().map(|t| t.name));
    o.error(format!("unknown type '{kind}'{hint}; -object help lists them"))
}
