//! Debug triggers extension (spec chapter "Debug Triggers Extension"): the triggers of the calling hart, which only
//! M-mode reaches. `trig_idx` is the number of the hart's own trigger.
//!
//! Harts do not let a trigger fire in the mode whose handler takes breakpoints while that mode's interrupts are off, and
//! supervisors are debugged in just such code. So breakpoints are not delegated while a trigger of S- or VS-mode is
//! installed: this SBI takes them and passes them on.
//!
//! A call does all that it is asked for or, if it fails, nothing.

use arch::cause::Exception;
use arch::csr::{MEDELEG, TDATA1, TDATA2, TDATA3, TSELECT, icount, itrigger, mcontrol6, tdata1};
use arch::ext::Ext;
use sbi_spec::dbtr as spec;
use serde::{Deserialize, Serialize};

use super::{Extension, SbiError, SbiHost, SbiOutcome, SbiRequest};

/// The most triggers of a hart that are looked for.
const LIMIT: usize = 16;

/// Bytes of an entry of the shared memory: `trig_state` or `trig_idx`, `tdata1`, `tdata2`, `tdata3`.
const ENTRY: u64 = 32;

/// Fields of `trig_state`. There is no hardware index to tell: it is `trig_idx`.
mod state {
    pub const MAPPED: u64 = 1 << 0;
    pub const U: u64 = 1 << 1;
    pub const S: u64 = 1 << 2;
    pub const VU: u64 = 1 << 3;
    pub const VS: u64 = 1 << 4;
}

/// `dmode` of `tdata1`.
const DMODE: u64 = 1 << 59;

/// What is remembered of a hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Triggers {
    /// Where the shared memory is.
    memory: Option<u64>,
    /// `trig_state` of each trigger.
    states: [u64; LIMIT],
}

/// An error, and the array index to tell with it.
type Failure = (SbiError, u64);

/// `tdata1` to `tdata3`.
type Config = [u64; 3];

/// The mode bits of a type: bits of `trig_state` and of `tdata1`, and M of `tdata1`.
fn mode_bits(config: u64) -> ([(u64, u64); 4], u64) {
    let bits = |u, s, vu, vs, m| ([(state::U, u), (state::S, s), (state::VU, vu), (state::VS, vs)], m);
    match config >> tdata1::TYPE_SHIFT {
        tdata1::ICOUNT => bits(icount::U, icount::S, icount::VU, icount::VS, icount::M),
        tdata1::ITRIGGER | tdata1::ETRIGGER => bits(itrigger::U, itrigger::S, itrigger::VU, itrigger::VS, itrigger::M),
        tdata1::MCONTROL6 => bits(mcontrol6::U, mcontrol6::S, mcontrol6::VU, mcontrol6::VS, mcontrol6::M),
        // Of the first kind of address match, which nothing here has.
        MCONTROL => bits(mcontrol6::U, mcontrol6::S, 0, 0, mcontrol6::M),
        _ => bits(0, 0, 0, 0, 0),
    }
}

/// The type `mcontrol`, which `mcontrol6` replaces.
const MCONTROL: u64 = 2;

/// `trig_state` of an installed trigger.
fn state_of(config: u64) -> u64 {
    mode_bits(config).0.iter().filter(|(_, bit)| config & bit != 0).fold(state::MAPPED, |all, (state, _)| all | state)
}

fn is_chained(config: u64) -> bool {
    matches!(config >> tdata1::TYPE_SHIFT, MCONTROL | tdata1::MCONTROL6) && config & mcontrol6::CHAIN != 0
}

/// Whether `tdata1` is one that a supervisor may ask for, even if no trigger can do it.
fn is_valid(config: u64) -> bool {
    let known = !matches!(config >> tdata1::TYPE_SHIFT, 0 | 8..=11 | tdata1::DISABLED);
    known && config & (DMODE | mode_bits(config).1) == 0
}

/// The triggers of the calling hart.
struct Hart<'a>(&'a dyn SbiHost);

impl Hart<'_> {
    /// Selects trigger `i`; whether there is one.
    fn select(&self, i: usize) -> bool {
        self.0.write_csr(TSELECT, i as u64);
        self.0.read_csr(TSELECT) == i as u64 && self.0.read_csr(TDATA1) >> tdata1::TYPE_SHIFT != 0
    }

    fn count(&self) -> usize {
        (0..LIMIT).take_while(|i| self.select(*i)).count()
    }

    fn read(&self, i: usize) -> Config {
        self.select(i);
        [TDATA1, TDATA2, TDATA3].map(|n| self.0.read_csr(n))
    }

    /// Writes a trigger; whether it holds all of it. It is off meanwhile, so that no mixture of old and new matches.
    fn write(&self, i: usize, config: Config) -> bool {
        self.select(i);
        self.0.write_csr(TDATA1, 0);
        for (n, v) in [(TDATA3, config[2]), (TDATA2, config[1]), (TDATA1, config[0])] {
            self.0.write_csr(n, v);
        }
        self.read(i) == config
    }

    /// Whether trigger `i` can be configured so, whatever it matches.
    fn can(&self, i: usize, config: u64) -> bool {
        let held = self.read(i);
        let can = self.write(i, [config, 0, 0]);
        self.write(i, held);
        can
    }

    /// Writes all of these or, naming the first that cannot be, none.
    fn write_all(&self, configs: &[(usize, Config)]) -> Result<(), Failure> {
        let held: Vec<_> = configs.iter().map(|(i, _)| self.read(*i)).collect();
        match configs.iter().position(|(i, config)| !self.write(*i, *config)) {
            None => Ok(()),
            Some(bad) => {
                for ((i, _), held) in configs.iter().zip(held) {
                    self.write(*i, held);
                }
                Err((SbiError::NotSupported, bad as u64))
            }
        }
    }

    /// Breakpoints go to the supervisor at once if no trigger is there that this would keep from firing.
    fn delegate_breakpoints(&self, triggers: &Triggers) {
        let kept = triggers.states.iter().any(|held| held & (state::S | state::VS) != 0);
        let (breakpoint, old) = (Exception::Breakpoint.bit(), self.0.read_csr(MEDELEG));
        self.0.write_csr(MEDELEG, if kept { old & !breakpoint } else { old | breakpoint });
    }
}

fn count_matching(call: &SbiRequest, host: &dyn SbiHost) -> u64 {
    let (hart, config) = (Hart(host), call.args[0]);
    let there = hart.count();
    if config == 0 {
        return there as u64;
    }
    (0..there).filter(|i| is_valid(config) && hart.can(*i, config)).count() as u64
}

fn set_memory(call: &SbiRequest, host: &dyn SbiHost, triggers: &mut Triggers) -> Result<(), SbiError> {
    let [low, high, flags, ..] = call.args;
    if flags != 0 {
        return Err(SbiError::InvalidParam);
    }
    if (low, high) == (u64::MAX, u64::MAX) {
        triggers.memory = None;
        return Ok(());
    }
    if low % 8 != 0 {
        return Err(SbiError::InvalidParam);
    }
    let len = Hart(host).count() as u64 * ENTRY;
    if high != 0 || low.checked_add(len).is_none() || !host.is_ram(low, len) {
        return Err(SbiError::InvalidAddress);
    }
    triggers.memory = Some(low);
    Ok(())
}

/// The shared memory, if `count` entries are no more than there are triggers.
///
/// The specification's tables say that a count equal to `trig_max` is too large, too; then the last trigger could never
/// be used.
fn memory(triggers: &Triggers, there: usize, first: u64, count: u64) -> Result<u64, SbiError> {
    let memory = triggers.memory.ok_or(SbiError::NoShmem)?;
    let end = first.checked_add(count).filter(|end| *end <= there as u64);
    if end.is_none() || first >= there as u64 { Err(SbiError::BadRange) } else { Ok(memory) }
}

fn write_words(host: &dyn SbiHost, at: u64, words: &[u64]) -> Result<(), SbiError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    if host.write_guest(at, &bytes) { Ok(()) } else { Err(SbiError::Failed) }
}

fn read_triggers(call: &SbiRequest, host: &dyn SbiHost, triggers: &Triggers) -> Result<(), SbiError> {
    let [first, count, ..] = call.args;
    let hart = Hart(host);
    let at = memory(triggers, hart.count(), first, count)?;
    for i in 0..count {
        let trigger = (first + i) as usize;
        let held = triggers.states[trigger];
        let [a, b, c] = if held & state::MAPPED != 0 { hart.read(trigger) } else { [0; 3] };
        write_words(host, at + i * ENTRY, &[held, a, b, c])?;
    }
    Ok(())
}

/// `trig_idx` and the configurations of the entries of a call, all of them such as may be asked for.
fn entries(host: &dyn SbiHost, at: u64, count: u64) -> Result<Vec<(u64, Config)>, Failure> {
    let entry = |i: u64| {
        let mut bytes = [0; ENTRY as usize];
        if !host.read_guest(at + i * ENTRY, &mut bytes) {
            return Err((SbiError::Failed, i));
        }
        let word = |n: usize| u64::from_le_bytes(std::array::from_fn(|k| bytes[8 * n + k]));
        if is_valid(word(1)) { Ok((word(0), [word(1), word(2), word(3)])) } else { Err((SbiError::InvalidParam, i)) }
    };
    (0..count).map(entry).collect()
}

/// Places for the configurations: unused triggers, one behind the other for those of a chain.
fn places(configs: &[Config], triggers: &Triggers, there: usize) -> Result<Vec<usize>, Failure> {
    let mut used: Vec<bool> = triggers.states[..there].iter().map(|held| held & state::MAPPED != 0).collect();
    let mut places = Vec::new();
    while places.len() < configs.len() {
        let chain = &configs[places.len()..];
        let len = chain
            .iter()
            .position(|config| !is_chained(config[0]))
            .ok_or((SbiError::InvalidParam, configs.len() as u64 - 1))?
            + 1;
        let free = used.windows(len).position(|window| window.iter().all(|used| !used));
        let first = free.ok_or((SbiError::Failed, places.len() as u64))?;
        used[first..first + len].fill(true);
        places.extend(first..first + len);
    }
    Ok(places)
}

fn install(call: &SbiRequest, host: &dyn SbiHost, triggers: &mut Triggers) -> Result<(), Failure> {
    let (hart, count) = (Hart(host), call.args[0]);
    let there = hart.count();
    let at = memory(triggers, there, 0, count).map_err(|error| (error, 0))?;
    let configs: Vec<Config> = entries(host, at, count)?.into_iter().map(|(_, config)| config).collect();
    let places: Vec<_> = places(&configs, triggers, there)?.into_iter().zip(configs).collect();
    hart.write_all(&places)?;
    for (i, (place, config)) in (0..).zip(places) {
        triggers.states[place] = state_of(config[0]);
        write_words(host, at + i * ENTRY, &[place as u64]).map_err(|error| (error, i))?;
    }
    hart.delegate_breakpoints(triggers);
    Ok(())
}

fn update(call: &SbiRequest, host: &dyn SbiHost, triggers: &mut Triggers) -> Result<(), Failure> {
    let (hart, count) = (Hart(host), call.args[0]);
    let there = hart.count();
    let at = memory(triggers, there, 0, count).map_err(|error| (error, 0))?;
    let mut new = Vec::new();
    for (i, (index, config)) in (0..).zip(entries(host, at, count)?) {
        let place = usize::try_from(index).ok().filter(|p| *p < there).ok_or((SbiError::InvalidParam, i))?;
        if triggers.states[place] & state::MAPPED == 0 {
            return Err((SbiError::Failed, i));
        }
        let [old, ..] = hart.read(place);
        if (old ^ config[0]) >> tdata1::TYPE_SHIFT != 0 || is_chained(old) != is_chained(config[0]) {
            return Err((SbiError::InvalidParam, i));
        }
        new.push((place, config));
    }
    hart.write_all(&new)?;
    new.iter().for_each(|(place, config)| triggers.states[*place] = state_of(config[0]));
    hart.delegate_breakpoints(triggers);
    Ok(())
}

/// The triggers that a base and a mask name.
fn set_of(call: &SbiRequest, host: &dyn SbiHost) -> Result<Vec<usize>, SbiError> {
    let [base, mask, ..] = call.args;
    let there = Hart(host).count() as u64;
    (0..u64::BITS)
        .filter(|bit| mask >> bit & 1 != 0)
        .map(|bit| base.checked_add(u64::from(bit)).filter(|i| *i < there).map(|i| i as usize))
        .map(|i| i.ok_or(SbiError::InvalidParam))
        .collect()
}

/// The same, if all of them are installed.
fn installed(call: &SbiRequest, host: &dyn SbiHost, triggers: &Triggers) -> Result<Vec<usize>, SbiError> {
    let set = set_of(call, host)?;
    let all = set.iter().all(|i| triggers.states[*i] & state::MAPPED != 0);
    if all { Ok(set) } else { Err(SbiError::InvalidParam) }
}

fn uninstall(call: &SbiRequest, host: &dyn SbiHost, triggers: &mut Triggers) -> Result<(), SbiError> {
    let hart = Hart(host);
    for i in installed(call, host, triggers)? {
        hart.write(i, [0; 3]);
        triggers.states[i] = 0;
    }
    hart.delegate_breakpoints(triggers);
    Ok(())
}

/// Sets the mode bits of installed triggers to what `trig_state` remembers, or clears them.
fn switch(host: &dyn SbiHost, triggers: &Triggers, set: Vec<usize>, on: bool) {
    let hart = Hart(host);
    for i in set {
        let [config, ..] = hart.read(i);
        let bits = mode_bits(config).0;
        let all = bits.iter().fold(0, |all, (_, bit)| all | bit);
        let saved = bits.iter().filter(|(held, _)| on && triggers.states[i] & held != 0).fold(0, |all, (_, b)| all | b);
        host.write_csr(TDATA1, config & !all | saved);
    }
}

/// One that is not installed has nothing to be enabled. The specification calls it an invalid parameter; the public SBI
/// tests ask for success, which is what other implementations answer.
fn enable(call: &SbiRequest, host: &dyn SbiHost, triggers: &Triggers) -> Result<(), SbiError> {
    let mut set = set_of(call, host)?;
    set.retain(|i| triggers.states[*i] & state::MAPPED != 0);
    switch(host, triggers, set, true);
    Ok(())
}

fn disable(call: &SbiRequest, host: &dyn SbiHost, triggers: &Triggers) -> Result<(), SbiError> {
    switch(host, triggers, installed(call, host, triggers)?, false);
    Ok(())
}

fn handle(call: &SbiRequest, host: &dyn SbiHost) -> SbiOutcome {
    let Ok(fid) = usize::try_from(call.fid) else { return SbiOutcome::error(SbiError::NotSupported) };
    let triggers = &mut host.state().hart(call.hart).triggers;
    let plain = |error| (error, 0);
    let done = match fid {
        spec::NUM_TRIGGERS => return SbiOutcome::success(count_matching(call, host)),
        spec::SET_SHMEM => set_memory(call, host, triggers).map_err(plain),
        spec::READ_TRIGGERS => read_triggers(call, host, triggers).map_err(plain),
        spec::INSTALL_TRIGGERS => install(call, host, triggers),
        spec::UPDATE_TRIGGERS => update(call, host, triggers),
        spec::UNINSTALL_TRIGGERS => uninstall(call, host, triggers).map_err(plain),
        spec::ENABLE_TRIGGERS => enable(call, host, triggers).map_err(plain),
        spec::DISABLE_TRIGGERS => disable(call, host, triggers).map_err(plain),
        _ => Err(plain(SbiError::NotSupported)),
    };
    match done {
        Ok(()) => SbiOutcome::success(0),
        Err((error, value)) => SbiOutcome::Return { error: error as i64, value },
    }
}

pub const EXTENSION: Extension = Extension {
    name: "DBTR",
    eids: spec::EID_DBTR as u64..=spec::EID_DBTR as u64,
    probe: |host| u64::from(host.isa().has(Ext::Sdtrig)),
    handle,
};

#[cfg(test)]
mod tests {
    use super::super::mock::{MockHost, RAM, call, value_of};
    use super::*;
    use crate::sbi::handle;
    use mcontrol6::{CHAIN, LOAD, S, STORE, U};

    const EID: u64 = 0x4442_5452;
    const OK: SbiOutcome = SbiOutcome::success(0);
    const MATCH: u64 = tdata1::MCONTROL6 << tdata1::TYPE_SHIFT;
    const OFF: u64 = tdata1::DISABLED << tdata1::TYPE_SHIFT;
    const BREAKPOINT: u64 = 1 << 3;

    fn dbtr(host: &MockHost, fid: u64, args: &[u64]) -> SbiOutcome {
        handle(&call(EID, fid, args), host)
    }

    const fn error(error: SbiError, value: u64) -> SbiOutcome {
        SbiOutcome::Return { error: error as i64, value }
    }

    fn host() -> MockHost {
        let host = MockHost::new(1);
        host.write_csr(MEDELEG, 0xb1ff);
        assert_eq!(dbtr(&host, 1, &[RAM.start, 0, 0]), OK);
        host
    }

    fn put(host: &MockHost, entries: &[[u64; 4]]) {
        for (i, entry) in (0..).zip(entries) {
            write_words(host, RAM.start + i * ENTRY, entry).unwrap();
        }
    }

    fn entry(host: &MockHost, i: u64) -> [u64; 4] {
        std::array::from_fn(|n| {
            let mut word = [0; 8];
            assert!(host.read_guest(RAM.start + i * ENTRY + 8 * n as u64, &mut word));
            u64::from_le_bytes(word)
        })
    }

    fn install(host: &MockHost, entries: &[[u64; 4]]) -> SbiOutcome {
        put(host, entries);
        dbtr(host, 3, &[entries.len() as u64])
    }

    fn tdata(host: &MockHost, i: u64) -> [u64; 2] {
        host.write_csr(TSELECT, i);
        [host.read_csr(TDATA1), host.read_csr(TDATA2)]
    }

    #[test]
    fn triggers_are_counted_by_what_they_can_do() {
        let mut host = host();
        let count = |config| value_of(dbtr(&host, 0, &[config]));
        assert_eq!((count(0), count(MATCH), count(MATCH | S | STORE)), (2, 2, 2));
        assert_eq!(count(MATCH | CHAIN), 1, "nothing is behind the last one");
        for config in [2 << 60, 7 << 60, MATCH | DMODE, MATCH | mcontrol6::M, 1, 8 << 60, OFF] {
            assert_eq!(count(config), 0, "{config:#x}");
        }
        assert_eq!(tdata(&host, 0), [OFF, 0], "looking changes nothing");
        host.isa.exts.remove(Ext::Sdtrig);
        assert_eq!(dbtr(&host, 0, &[0]), error(SbiError::NotSupported, 0));
        assert_eq!(value_of(handle(&call(0x10, 3, &[EID]), &host)), 0);
    }

    #[test]
    fn shared_memory_comes_first() {
        let host = MockHost::new(1);
        for (fid, args) in [(2, [0, 1]), (3, [1, 0]), (4, [1, 0])] {
            assert_eq!(dbtr(&host, fid, &args), error(SbiError::NoShmem, 0), "{fid}");
        }
        let set = |low, high, flags| dbtr(&host, 1, &[low, high, flags]);
        assert_eq!(set(RAM.start, 0, 1), error(SbiError::InvalidParam, 0));
        assert_eq!(set(RAM.start + 4, 0, 0), error(SbiError::InvalidParam, 0));
        for (low, high) in [(RAM.start, 1), (RAM.end - 56, 0), (0, 0), (u64::MAX - 7, 0), (0, u64::MAX)] {
            assert_eq!(set(low, high, 0), error(SbiError::InvalidAddress, 0), "{low:#x} {high:#x}");
        }
        assert_eq!(set(RAM.end - 64, 0, 0), OK);
        assert_eq!(dbtr(&host, 2, &[0, 2]), OK);
        assert_eq!(set(u64::MAX, u64::MAX, 0), OK);
        assert_eq!(dbtr(&host, 2, &[0, 2]), error(SbiError::NoShmem, 0));
    }

    #[test]
    fn a_trigger_from_installation_to_its_end() {
        let host = host();
        assert_eq!(install(&host, &[[9, MATCH | S | STORE, 0x1000, 0]]), OK);
        assert_eq!((entry(&host, 0)[0], tdata(&host, 0)), (0, [MATCH | S | STORE, 0x1000]));
        assert_eq!(host.read_csr(MEDELEG) & BREAKPOINT, 0, "it may fire while interrupts are off");
        assert_eq!(dbtr(&host, 7, &[0, 1]), OK);
        assert_eq!(tdata(&host, 0), [MATCH | STORE, 0x1000]);
        assert_eq!(dbtr(&host, 2, &[0, 2]), OK);
        assert_eq!(entry(&host, 0), [state::MAPPED | state::S, MATCH | STORE, 0x1000, 0]);
        assert_eq!(entry(&host, 1), [0; 4]);
        assert_eq!(dbtr(&host, 6, &[0, 1]), OK);
        assert_eq!(tdata(&host, 0), [MATCH | S | STORE, 0x1000]);
        put(&host, &[[0, MATCH | U | LOAD, 0x2000, 0]]);
        assert_eq!(dbtr(&host, 4, &[1]), OK);
        assert_eq!(tdata(&host, 0), [MATCH | U | LOAD, 0x2000]);
        assert_eq!(host.read_csr(MEDELEG) & BREAKPOINT, BREAKPOINT, "none of the supervisor's is left");
        assert_eq!(dbtr(&host, 5, &[0, 1]), OK);
        assert_eq!(tdata(&host, 0), [OFF, 0]);
        assert_eq!(dbtr(&host, 5, &[0, 1]), error(SbiError::InvalidParam, 0));
    }

    #[test]
    fn the_lowest_unused_triggers_are_taken() {
        let host = host();
        let plain = |at| [0, MATCH | S | LOAD, at, 0];
        assert_eq!(install(&host, &[plain(1), plain(2)]), OK);
        assert_eq!((entry(&host, 0)[0], entry(&host, 1)[0]), (0, 1));
        assert_eq!(install(&host, &[plain(3)]), error(SbiError::Failed, 0));
        assert_eq!(dbtr(&host, 5, &[0, 1]), OK);
        assert_eq!(install(&host, &[plain(3), plain(4)]), error(SbiError::Failed, 1));
        assert_eq!(tdata(&host, 0), [OFF, 0], "nothing of a call that failed");
        assert_eq!(install(&host, &[plain(3)]), OK);
        assert_eq!(tdata(&host, 0), [MATCH | S | LOAD, 3]);
    }

    #[test]
    fn chains_stand_together_and_end() {
        let host = host();
        let (first, last) = ([0, MATCH | S | LOAD | CHAIN, 1, 0], [0, MATCH | S | LOAD, 2, 0]);
        assert_eq!(install(&host, &[last, first]), error(SbiError::InvalidParam, 1));
        assert_eq!(install(&host, &[first, last]), OK);
        put(&host, &[[0, last[1], 1, 0]]);
        assert_eq!(dbtr(&host, 4, &[1]), error(SbiError::InvalidParam, 0), "a chain stays one");
        assert_eq!(dbtr(&host, 5, &[0, 3]), OK);
        assert_eq!(install(&host, &[last]), OK);
        assert_eq!(install(&host, &[first, last]), error(SbiError::Failed, 0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_index() {
        let host = host();
        let good = [0, MATCH | S | LOAD, 1, 0];
        for config in [MATCH | DMODE, MATCH | mcontrol6::M, 0, OFF, 9 << 60] {
            assert_eq!(install(&host, &[good, [0, config, 0, 0]]), error(SbiError::InvalidParam, 1), "{config:#x}");
        }
        for config in [2 << 60, 7 << 60, MATCH | 1 << 21] {
            assert_eq!(install(&host, &[good, [0, config, 0, 0]]), error(SbiError::NotSupported, 1), "{config:#x}");
            assert_eq!(tdata(&host, 0), [OFF, 0]);
        }
        assert_eq!(dbtr(&host, 3, &[3]), error(SbiError::BadRange, 0));
        assert_eq!(dbtr(&host, 4, &[u64::MAX]), error(SbiError::BadRange, 0));
        for (first, count) in [(2, 0), (1, 2), (0, 3), (u64::MAX, 1)] {
            assert_eq!(dbtr(&host, 2, &[first, count]), error(SbiError::BadRange, 0));
        }
        assert_eq!(install(&host, &[good]), OK);
        for (index, want) in [(2, SbiError::InvalidParam), (1, SbiError::Failed)] {
            put(&host, &[[0, MATCH | S, 7, 0], [index, MATCH | S, 7, 0]]);
            assert_eq!(dbtr(&host, 4, &[2]), error(want, 1));
        }
        put(&host, &[[0, tdata1::ICOUNT << 60, 0, 0]]);
        assert_eq!(dbtr(&host, 4, &[1]), error(SbiError::InvalidParam, 0), "another type");
        assert_eq!(tdata(&host, 0), [MATCH | S | LOAD, 1]);
        for fid in 5..=7 {
            assert_eq!(dbtr(&host, fid, &[2, 1]), error(SbiError::InvalidParam, 0));
            assert_eq!(dbtr(&host, fid, &[u64::MAX, 2]), error(SbiError::InvalidParam, 0));
        }
        assert_eq!(dbtr(&host, 7, &[0, 3]), error(SbiError::InvalidParam, 0), "one is not installed");
        assert_eq!(dbtr(&host, 6, &[0, 3]), OK);
        assert_eq!(tdata(&host, 1), [OFF, 0]);
    }
}
