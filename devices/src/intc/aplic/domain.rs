//! One interrupt domain of an APLIC: its sources, what of them is pending and enabled, and where they go. Plain state,
//! no harts, no locks.
//!
//! What the registers hold is exact; what a source's mode makes of its wire is the specification's section "Precise
//! effects on interrupt-pending bits", in [`Domain::input`], [`Domain::set_pending`] and [`Domain::clear_pending`].

use serde::{Deserialize, Serialize};

/// Most sources a domain may have here (the specification allows 1023): sets of sources are one word.
pub const SOURCES_MAX: u32 = 127;

/// A set of sources; bit N is source N.
pub type Sources = u128;

/// How a domain reaches the harts: fixed by the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// By lines into the harts, with this many bits of priority (IPRIOLEN, 1 to 8).
    Direct { priority_bits: u32 },
    /// By messages to IMSICs; targets name guest files if there are any.
    Msi { guests: bool },
}

/// `sourcecfg`.
const DELEGATE: u32 = 1 << 10;
const MODE: u32 = 7;
const DETACHED: u32 = 1;
const EDGE1: u32 = 4;
const EDGE0: u32 = 5;
const LEVEL1: u32 = 6;
const LEVEL0: u32 = 7;

/// `domaincfg`.
const CFG_CONST: u32 = 0x80 << 24;
const CFG_IE: u32 = 1 << 8;
const CFG_DM: u32 = 1 << 2;
const CFG_BE: u32 = 1 << 0;

/// `target` and `genmsi`.
const HART_SHIFT: u32 = 18;
const HART: u32 = 0x3fff << HART_SHIFT;
const GUEST_SHIFT: u32 = 12;
const GUEST: u32 = 0x3f << GUEST_SHIFT;
const IDENTITY: u32 = 0x7ff;

/// An MSI before it has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Hart index.
    pub hart: u32,
    pub guest: u32,
    /// The identity at the interrupt file.
    pub identity: u32,
}

/// Interrupt delivery control: a hart's part of a domain in direct mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Idc {
    pub delivery: bool,
    pub force: bool,
    pub threshold: u32,
}

/// The state of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    delivery: Delivery,
    /// Whether sources can be delegated further.
    has_child: bool,
    /// The wires as they are.
    level: Sources,
    /// Sources that appear in this domain.
    present: Sources,
    enabled_globally: bool,
    big_endian: bool,
    /// By source; 0 is not used.
    sourcecfg: Vec<u32>,
    target: Vec<u32>,
    pending: Sources,
    enabled: Sources,
    genmsi: u32,
    /// By hart index.
    idc: Vec<Idc>,
}

impl Domain {
    /// Out of reset. A root domain has all sources, a child those that are delegated to it.
    pub fn new(sources: u32, harts: u32, delivery: Delivery, root: bool, has_child: bool) -> Self {
        assert!((1..=SOURCES_MAX).contains(&sources), "an APLIC has 1 to {SOURCES_MAX} sources here");
        let all: Sources = ((1 << sources) - 1) << 1;
        Self {
            delivery,
            has_child,
            level: 0,
            present: if root { all } else { 0 },
            enabled_globally: false,
            big_endian: false,
            sourcecfg: vec![0; sources as usize + 1],
            target: vec![0; sources as usize + 1],
            pending: 0,
            enabled: 0,
            genmsi: 0,
            idc: vec![Idc::default(); harts as usize],
        }
    }

    /// As out of reset. The wires stay as they are, and so does what the parent delegates.
    pub fn reset(&mut self) {
        let (sources, harts) = (self.sourcecfg.len() as u32 - 1, self.idc.len() as u32);
        let (level, present) = (self.level, self.present);
        *self = Self { level, present, ..Self::new(sources, harts, self.delivery, false, self.has_child) };
    }

    /// Whether a state from elsewhere is one of a domain like this.
    pub(super) fn fits(&self, here: &Self) -> bool {
        let same = self.delivery == here.delivery && self.has_child == here.has_child;
        let lengths = |d: &Self| (d.sourcecfg.len(), d.target.len(), d.idc.len());
        let all: Sources = ((1 << here.sources()) - 1) << 1;
        let sets = self.level | self.present | self.pending | self.enabled;
        same && lengths(self) == lengths(here) && sets & !all == 0
    }

    pub fn sources(&self) -> u32 {
        self.sourcecfg.len() as u32 - 1
    }

    /// Byte order of all registers but `setipnum_le` and `setipnum_be`.
    pub fn big_endian(&self) -> bool {
        self.big_endian
    }

    fn exists(&self, source: u32) -> bool {
        (1..=self.sources()).contains(&source) && self.present >> source & 1 != 0
    }

    /// The source's mode; 0 if it is inactive: absent, delegated, or not configured.
    fn mode(&self, source: u32) -> u32 {
        match self.sourcecfg.get(source as usize) {
            Some(cfg) if cfg & DELEGATE == 0 => cfg & MODE,
            _ => 0,
        }
    }

    fn active(&self) -> Sources {
        (1..=self.sources()).filter(|&i| self.mode(i) != 0).fold(0, |set, i| set | 1 << i)
    }

    fn bit(&self, source: u32) -> Sources {
        if source <= SOURCES_MAX && self.mode(source) != 0 { 1 << source } else { 0 }
    }

    /// The rectified input value.
    fn rectified(&self, source: u32) -> bool {
        let wire = self.level >> source & 1 != 0;
        match self.mode(source) {
            EDGE1 | LEVEL1 => wire,
            EDGE0 | LEVEL0 => !wire,
            _ => false,
        }
    }

    fn is_level(&self, source: u32) -> bool {
        matches!(self.mode(source), LEVEL1 | LEVEL0)
    }

    pub fn sends_msis(&self) -> bool {
        !self.is_direct()
    }

    fn is_direct(&self) -> bool {
        matches!(self.delivery, Delivery::Direct { .. })
    }

    fn assign(&mut self, source: u32, pending: bool) {
        let bit = 1 << source;
        self.pending = if pending { self.pending | bit } else { self.pending & !bit };
    }

    /// A device drives the wire of a source.
    pub fn input(&mut self, source: u32, level: bool) {
        if !(1..=self.sources()).contains(&source) {
            return;
        }
        let before = self.rectified(source);
        let bit = 1 << source;
        self.level = if level { self.level | bit } else { self.level & !bit };
        match (before, self.rectified(source)) {
            (false, true) => self.assign(source, true),
            (true, false) if self.is_level(source) => self.assign(source, false),
            _ => {}
        }
    }

    /// A write asks to set the pending bit.
    fn set_pending(&mut self, source: u32) {
        let possible = match self.mode(source) {
            0 => false,
            LEVEL1 | LEVEL0 => !self.is_direct() && self.rectified(source),
            _ => true,
        };
        if possible {
            self.assign(source, true);
        }
    }

    /// A write or a claim asks to clear the pending bit.
    fn clear_pending(&mut self, source: u32) {
        if self.mode(source) != 0 && !(self.is_level(source) && self.is_direct()) {
            self.assign(source, false);
        }
    }

    /// The parent delegates a source to this domain, or takes it back: then nothing is left of it.
    pub fn delegated(&mut self, source: u32, here: bool) {
        if here {
            self.present |= 1 << source;
        } else {
            self.configure(source, 0);
            self.present &= !(1 << source);
        }
    }

    /// Whether a source is the child's.
    pub fn delegates(&self, source: u32) -> bool {
        self.sourcecfg.get(source as usize).is_some_and(|cfg| cfg & DELEGATE != 0)
    }

    /// Sets `sourcecfg` to a legal value.
    fn configure(&mut self, source: u32, cfg: u32) {
        let was_active = self.mode(source) != 0;
        self.sourcecfg[source as usize] = cfg;
        if self.mode(source) == 0 {
            self.assign(source, false);
            self.enabled &= !(1 << source);
            self.target[source as usize] = 0;
            return;
        }
        if !was_active {
            self.target[source as usize] = self.legal_target(0);
        }
        if self.is_level(source) {
            // Nothing that is asserted now may be missed.
            self.assign(source, self.rectified(source));
        }
    }

    fn write_sourcecfg(&mut self, source: u32, value: u32) {
        if !self.exists(source) {
            return;
        }
        let cfg = match value & DELEGATE != 0 {
            // The one child has index 0.
            true if self.has_child => DELEGATE,
            true => 0,
            false => match value & MODE {
                mode @ (DETACHED | EDGE1 | EDGE0 | LEVEL1 | LEVEL0) => mode,
                _ => 0,
            },
        };
        self.configure(source, cfg);
    }

    fn legal_target(&self, value: u32) -> u32 {
        match self.delivery {
            Delivery::Direct { priority_bits } => {
                let priority = value & ((1 << priority_bits) - 1);
                value & HART | priority.max(1)
            }
            Delivery::Msi { guests } => value & (HART | IDENTITY | if guests { GUEST } else { 0 }),
        }
    }

    /// The sources of word `k` of an array of bits.
    fn word(set: Sources, k: u32) -> u32 {
        set.checked_shr(k * 32).unwrap_or(0) as u32
    }

    /// The sources that a write of `value` to word `k` names, if they are active.
    fn named(&self, k: u32, value: u32) -> Sources {
        Sources::from(value).checked_shl(k * 32).unwrap_or(0) & self.active()
    }
}

/// The numbers in a set.
fn members(mut set: Sources) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let source = (set != 0).then(|| set.trailing_zeros())?;
        set &= set - 1;
        Some(source)
    })
}

/// The registers, values in the domain's byte order.
impl Domain {
    pub fn domaincfg(&self) -> u32 {
        let flag = |on, bit| if on { bit } else { 0 };
        CFG_CONST
            | flag(self.enabled_globally, CFG_IE)
            | flag(!self.is_direct(), CFG_DM)
            | flag(self.big_endian, CFG_BE)
    }

    /// The delivery mode is the board's choice: DM does not change.
    pub fn set_domaincfg(&mut self, value: u32) {
        self.enabled_globally = value & CFG_IE != 0;
        self.big_endian = value & CFG_BE != 0;
    }

    pub fn sourcecfg(&self, source: u32) -> u32 {
        self.sourcecfg.get(source as usize).copied().unwrap_or(0)
    }

    /// Whether a source changed hands: its new owner has to be told.
    pub fn set_sourcecfg(&mut self, source: u32, value: u32) -> bool {
        let before = self.delegates(source);
        self.write_sourcecfg(source, value);
        self.delegates(source) != before
    }

    pub fn setip(&self, k: u32) -> u32 {
        Self::word(self.pending, k)
    }

    pub fn set_setip(&mut self, k: u32, value: u32) {
        members(self.named(k, value)).for_each(|i| self.set_pending(i));
    }

    pub fn set_setipnum(&mut self, value: u32) {
        self.set_pending(value);
    }

    pub fn in_clrip(&self, k: u32) -> u32 {
        let inputs = members(self.active()).filter(|&i| self.rectified(i)).fold(0, |set, i| set | 1 << i);
        Self::word(inputs, k)
    }

    pub fn set_in_clrip(&mut self, k: u32, value: u32) {
        members(self.named(k, value)).for_each(|i| self.clear_pending(i));
    }

    pub fn set_clripnum(&mut self, value: u32) {
        self.clear_pending(value);
    }

    pub fn setie(&self, k: u32) -> u32 {
        Self::word(self.enabled, k)
    }

    pub fn set_setie(&mut self, k: u32, value: u32) {
        self.enabled |= self.named(k, value);
    }

    pub fn set_setienum(&mut self, value: u32) {
        self.enabled |= self.bit(value);
    }

    pub fn set_clrie(&mut self, k: u32, value: u32) {
        self.enabled &= !self.named(k, value);
    }

    pub fn set_clrienum(&mut self, value: u32) {
        self.enabled &= !self.bit(value);
    }

    pub fn target(&self, source: u32) -> u32 {
        self.target.get(source as usize).copied().unwrap_or(0)
    }

    pub fn set_target(&mut self, source: u32, value: u32) {
        if self.bit(source) != 0 {
            self.target[source as usize] = self.legal_target(value);
        }
    }

    pub fn genmsi(&self) -> u32 {
        self.genmsi
    }

    /// The extempore MSI to send. It leaves at once: Busy is never seen.
    pub fn set_genmsi(&mut self, value: u32) -> Option<Message> {
        if self.is_direct() {
            return None;
        }
        self.genmsi = value & (HART | IDENTITY);
        Some(Message { hart: value >> HART_SHIFT, guest: 0, identity: value & IDENTITY })
    }
}

/// A domain that sends MSIs, as its registers tell of it: what another implementation of it has to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainRegisters {
    /// `domaincfg.IE`.
    pub delivers: bool,
    /// By source, and so is `target`; 0 is not used.
    pub sourcecfg: Vec<u32>,
    pub target: Vec<u32>,
    pub pending: Sources,
    pub enabled: Sources,
    /// The wires as they are.
    pub inputs: Sources,
    pub genmsi: u32,
}

impl Domain {
    pub fn registers(&self) -> DomainRegisters {
        DomainRegisters {
            delivers: self.enabled_globally,
            sourcecfg: self.sourcecfg.clone(),
            target: self.target.clone(),
            pending: self.pending,
            enabled: self.enabled,
            inputs: self.level,
            genmsi: self.genmsi,
        }
    }

    /// Puts registers in place of what is there, as far as they hold legal values: nothing is sent, no wire moves.
    pub fn set_registers(&mut self, r: &DomainRegisters) {
        self.reset();
        self.level = r.inputs;
        for source in 1..=self.sources() {
            let value = |of: &[u32]| of.get(source as usize).copied().unwrap_or(0);
            self.write_sourcecfg(source, value(&r.sourcecfg));
            self.set_target(source, value(&r.target));
        }
        (self.pending, self.enabled) = (r.pending & self.active(), r.enabled & self.active());
        self.genmsi = r.genmsi & (HART | IDENTITY);
        self.enabled_globally = r.delivers;
    }
}

/// Delivery.
impl Domain {
    /// What goes out as MSIs now; their pending bits are clear after it.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let ready = self.pending & self.enabled;
        if ready == 0 || self.is_direct() || !self.enabled_globally {
            return Vec::new();
        }
        self.pending &= !ready;
        let message = |source: u32| {
            let target = self.target[source as usize];
            Message { hart: target >> HART_SHIFT, guest: (target & GUEST) >> GUEST_SHIFT, identity: target & IDENTITY }
        };
        members(ready).map(message).collect()
    }

    pub fn idc(&self, hart: u32) -> Idc {
        self.idc.get(hart as usize).copied().unwrap_or_default()
    }

    fn idc_mut(&mut self, hart: u32) -> Option<&mut Idc> {
        if self.is_direct() { self.idc.get_mut(hart as usize) } else { None }
    }

    pub fn set_idelivery(&mut self, hart: u32, value: u32) {
        if let Some(idc) = self.idc_mut(hart) {
            idc.delivery = value & 1 != 0;
        }
    }

    pub fn set_iforce(&mut self, hart: u32, value: u32) {
        if let Some(idc) = self.idc_mut(hart) {
            idc.force = value & 1 != 0;
        }
    }

    pub fn set_ithreshold(&mut self, hart: u32, value: u32) {
        if let (Delivery::Direct { priority_bits }, Some(idc)) = (self.delivery, self.idc_mut(hart)) {
            idc.threshold = value & ((1 << priority_bits) - 1);
        }
    }

    /// The strongest source for a hart: number in bits 25:16, priority in 7:0; 0 if none passes the threshold.
    pub fn topi(&self, hart: u32) -> u32 {
        let threshold = self.idc(hart).threshold;
        let ready = if self.is_direct() { self.pending & self.enabled } else { 0 };
        members(ready)
            .filter_map(|source| {
                let target = self.target[source as usize];
                let priority = target & 0xff;
                let passes = threshold == 0 || priority < threshold;
                (target >> HART_SHIFT == hart && passes).then_some((priority, source))
            })
            .min()
            .map_or(0, |(priority, source)| source << 16 | priority)
    }

    /// Reads `claimi`.
    pub fn claim(&mut self, hart: u32) -> u32 {
        let top = self.topi(hart);
        match (top, self.idc_mut(hart)) {
            (0, Some(idc)) => idc.force = false,
            (0, None) => {}
            _ => self.clear_pending(top >> 16),
        }
        top
    }

    /// Whether the hart's line is high.
    pub fn signals(&self, hart: u32) -> bool {
        let idc = self.idc(hart);
        self.enabled_globally && idc.delivery && (idc.force || self.topi(hart) != 0)
    }
}

#[cfg(test)]
mod tests;
