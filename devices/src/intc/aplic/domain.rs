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
mod tests {
    use super::*;

    const DIRECT: Delivery = Delivery::Direct { priority_bits: 3 };
    const MSI: Delivery = Delivery::Msi { guests: true };

    fn root(delivery: Delivery) -> Domain {
        Domain::new(96, 2, delivery, true, false)
    }

    /// A source in a mode, enabled, for hart 0.
    fn with_source(delivery: Delivery, source: u32, mode: u32) -> Domain {
        let mut d = root(delivery);
        d.set_domaincfg(CFG_IE);
        d.set_sourcecfg(source, mode);
        d.set_setienum(source);
        d.set_idelivery(0, 1);
        d
    }

    fn is_pending(d: &Domain, source: u32) -> bool {
        d.setip(source / 32) >> (source % 32) & 1 != 0
    }

    #[test]
    fn domaincfg_tells_its_byte_order_and_the_delivery_mode() {
        let mut d = root(DIRECT);
        assert_eq!(d.domaincfg(), 0x8000_0000);
        d.set_domaincfg(!0);
        assert_eq!(d.domaincfg(), 0x8000_0101, "no MSIs here");
        let mut d = root(MSI);
        d.set_domaincfg(0);
        assert_eq!(d.domaincfg(), 0x8000_0004, "only MSIs here");
    }

    #[test]
    fn sourcecfg_holds_defined_modes_of_sources_that_exist() {
        let mut d = root(DIRECT);
        for (written, held) in [(1, 1), (2, 0), (3, 0), (4, 4), (5, 5), (6, 6), (7, 7), (0xffff_fb00 | 6, 6), (0, 0)] {
            d.set_sourcecfg(96, written);
            assert_eq!(d.sourcecfg(96), held, "{written:#x}");
        }
        for absent in [0, 97, 1023, u32::MAX] {
            d.set_sourcecfg(absent, 6);
            assert_eq!(d.sourcecfg(absent), 0);
        }
        // A leaf cannot delegate: the whole register becomes zero.
        d.set_sourcecfg(5, 6);
        assert!(!d.set_sourcecfg(5, DELEGATE | 6));
        assert_eq!(d.sourcecfg(5), 0);
        let mut d = Domain::new(96, 2, DIRECT, true, true);
        assert!(d.set_sourcecfg(5, DELEGATE | 6));
        assert_eq!(d.sourcecfg(5), DELEGATE, "the one child has index 0");
    }

    #[test]
    fn an_inactive_source_has_nothing() {
        let mut d = root(DIRECT);
        d.input(5, true);
        d.set_setip(0, !0);
        d.set_setipnum(5);
        d.set_setie(0, !0);
        d.set_setienum(5);
        d.set_target(5, !0);
        assert_eq!((d.setip(0), d.setie(0), d.target(5), d.in_clrip(0)), (0, 0, 0, 0));
        let mut d = with_source(DIRECT, 5, EDGE1);
        d.set_target(5, 1 << HART_SHIFT | 3);
        d.input(5, true);
        d.set_sourcecfg(5, 0);
        assert_eq!((d.setip(0), d.setie(0), d.target(5)), (0, 0, 0));
    }

    #[test]
    fn a_detached_source_ignores_its_wire() {
        for delivery in [DIRECT, MSI] {
            let mut d = with_source(delivery, 5, DETACHED);
            d.input(5, true);
            assert_eq!((d.setip(0), d.in_clrip(0)), (0, 0));
            d.set_setip(0, 1 << 5);
            assert!(is_pending(&d, 5));
            d.input(5, false);
            assert!(is_pending(&d, 5));
            d.set_in_clrip(0, 1 << 5);
            assert!(!is_pending(&d, 5));
        }
    }

    #[test]
    fn an_edge_is_remembered_until_it_is_cleared() {
        for (delivery, mode, idle) in
            [(DIRECT, EDGE1, false), (DIRECT, EDGE0, true), (MSI, EDGE1, false), (MSI, EDGE0, true)]
        {
            let mut d = root(delivery);
            d.input(40, idle);
            d.set_sourcecfg(40, mode);
            assert!(!is_pending(&d, 40));
            d.input(40, !idle);
            assert!(is_pending(&d, 40));
            assert_eq!(d.in_clrip(1), 1 << 8);
            d.input(40, idle);
            assert!(is_pending(&d, 40), "the edge stays");
            assert_eq!(d.in_clrip(1), 0);
            d.set_clripnum(40);
            assert!(!is_pending(&d, 40));
            d.input(40, idle);
            assert!(!is_pending(&d, 40), "no transition");
            d.set_setipnum(40);
            assert!(is_pending(&d, 40));
        }
    }

    #[test]
    fn a_level_in_direct_mode_is_a_copy_of_the_input() {
        for (mode, idle) in [(LEVEL1, false), (LEVEL0, true)] {
            let mut d = root(DIRECT);
            d.input(5, idle);
            d.set_sourcecfg(5, mode);
            d.set_setipnum(5);
            assert!(!is_pending(&d, 5), "cannot be set");
            d.input(5, !idle);
            d.set_clripnum(5);
            d.set_in_clrip(0, !0);
            assert!(is_pending(&d, 5), "cannot be cleared");
            d.set_setienum(5);
            assert_eq!(d.claim(0), 5 << 16 | 1);
            assert!(is_pending(&d, 5), "nor claimed away");
            d.input(5, idle);
            assert!(!is_pending(&d, 5));
        }
    }

    #[test]
    fn a_level_in_msi_mode_pends_once_an_assertion() {
        for (mode, idle) in [(LEVEL1, false), (LEVEL0, true)] {
            let mut d = root(MSI);
            d.input(5, idle);
            d.set_sourcecfg(5, mode);
            d.set_setipnum(5);
            assert!(!is_pending(&d, 5), "not while the input is low");
            d.input(5, !idle);
            assert!(is_pending(&d, 5));
            d.set_clripnum(5);
            assert!(!is_pending(&d, 5));
            d.set_setipnum(5);
            assert!(is_pending(&d, 5), "again while the input is high");
            d.input(5, idle);
            assert!(!is_pending(&d, 5), "never while it is low");
        }
    }

    #[test]
    fn a_level_that_is_high_when_it_is_configured_is_not_missed() {
        for delivery in [DIRECT, MSI] {
            let mut d = root(delivery);
            d.input(5, true);
            d.set_sourcecfg(5, LEVEL1);
            assert!(is_pending(&d, 5));
            d.set_sourcecfg(5, LEVEL0);
            assert!(!is_pending(&d, 5));
        }
    }

    #[test]
    fn enables_are_set_and_cleared_by_bit_and_number() {
        let mut d = root(DIRECT);
        for source in [1, 33, 96] {
            d.set_sourcecfg(source, LEVEL1);
        }
        d.set_setie(1, !0);
        d.set_setienum(96);
        d.set_setienum(97);
        d.set_setienum(0);
        assert_eq!([0, 1, 2, 3, 31].map(|k| d.setie(k)), [0, 2, 0, 1, 0]);
        d.set_clrie(1, 2);
        d.set_clrienum(96);
        assert_eq!([1, 3].map(|k| d.setie(k)), [0, 0]);
    }

    #[test]
    fn targets_hold_what_the_delivery_mode_has() {
        let mut d = with_source(DIRECT, 5, LEVEL1);
        assert_eq!(d.target(5), 1, "priority 0 does not exist");
        for (written, held) in [(!0, HART | 7), (8, 1), (1 << 18 | 6, 1 << 18 | 6)] {
            d.set_target(5, written);
            assert_eq!(d.target(5), held);
        }
        let mut d = with_source(MSI, 5, LEVEL1);
        d.set_target(5, !0);
        assert_eq!(d.target(5), !(1 << 11));
        let mut d = with_source(Delivery::Msi { guests: false }, 5, LEVEL1);
        d.set_target(5, !0);
        assert_eq!(d.target(5), HART | IDENTITY);
    }

    #[test]
    fn smaller_priority_numbers_then_smaller_sources_come_first() {
        let mut d = root(DIRECT);
        d.set_domaincfg(CFG_IE);
        for (source, priority) in [(3, 2), (4, 1), (9, 1), (80, 5)] {
            d.set_sourcecfg(source, EDGE1);
            d.set_target(source, priority);
            d.set_setienum(source);
            d.input(source, true);
        }
        assert_eq!(d.topi(1), 0, "all are for hart 0");
        let order = [(); 5].map(|()| d.claim(0));
        assert_eq!(order, [4 << 16 | 1, 9 << 16 | 1, 3 << 16 | 2, 80 << 16 | 5, 0]);
    }

    #[test]
    fn the_threshold_holds_weaker_sources_back() {
        let mut d = with_source(DIRECT, 5, LEVEL1);
        d.set_target(5, 3);
        d.input(5, true);
        for (threshold, passes) in [(0, true), (3, false), (2, false), (4, true), (8, true)] {
            d.set_ithreshold(0, threshold);
            assert_eq!(d.signals(0), passes, "{threshold}");
            assert_eq!(d.topi(0) != 0, passes);
        }
        d.set_ithreshold(0, !0);
        assert_eq!(d.idc(0).threshold, 7, "as wide as priorities");
    }

    #[test]
    fn every_switch_on_the_way_to_the_hart_counts() {
        let mut d = with_source(DIRECT, 5, LEVEL1);
        d.input(5, true);
        assert!(d.signals(0));
        d.set_domaincfg(0);
        assert!(!d.signals(0));
        d.set_domaincfg(CFG_IE);
        d.set_idelivery(0, 2);
        assert!(!d.signals(0));
        d.set_idelivery(0, 1);
        d.set_clrienum(5);
        assert!(!d.signals(0));
    }

    #[test]
    fn a_forced_interrupt_is_spurious_and_ends_with_its_claim() {
        let mut d = root(DIRECT);
        d.set_iforce(1, 1);
        assert!(!d.signals(1));
        d.set_domaincfg(CFG_IE);
        d.set_idelivery(1, 1);
        assert!(d.signals(1));
        assert_eq!(d.topi(1), 0);
        assert!(d.idc(1).force, "topi has no side effect");
        assert_eq!(d.claim(1), 0);
        assert!(!d.signals(1));
        // A claim of something real leaves it.
        d.set_iforce(1, 1);
        d.set_sourcecfg(5, EDGE1);
        d.set_target(5, 1 << HART_SHIFT | 1);
        d.set_setienum(5);
        d.input(5, true);
        assert_eq!(d.claim(1), 5 << 16 | 1);
        assert!(d.signals(1));
    }

    #[test]
    fn messages_leave_when_everything_is_enabled_and_clear_the_pending_bit() {
        let mut d = with_source(MSI, 5, EDGE1);
        d.set_target(5, 1 << HART_SHIFT | 2 << GUEST_SHIFT | 77);
        d.set_domaincfg(0);
        d.input(5, true);
        assert_eq!(d.take_messages(), []);
        assert!(is_pending(&d, 5));
        d.set_domaincfg(CFG_IE);
        assert_eq!(d.take_messages(), [Message { hart: 1, guest: 2, identity: 77 }]);
        assert!(!is_pending(&d, 5));
        assert_eq!(d.take_messages(), []);
        assert!(!d.signals(0) && !d.signals(1), "no line besides");
    }

    #[test]
    fn genmsi_is_for_msi_mode_and_needs_no_enable() {
        let mut d = root(MSI);
        assert_eq!(d.set_genmsi(!0), Some(Message { hart: 0x3fff, guest: 0, identity: 0x7ff }));
        assert_eq!(d.genmsi(), HART | IDENTITY);
        let mut d = root(DIRECT);
        assert_eq!((d.set_genmsi(!0), d.genmsi()), (None, 0));
    }

    #[test]
    fn idc_structures_are_for_direct_mode() {
        let mut d = root(MSI);
        d.set_idelivery(0, 1);
        d.set_iforce(0, 1);
        d.set_ithreshold(0, 3);
        assert_eq!(d.idc(0), Idc::default());
        assert_eq!((d.topi(0), d.claim(0)), (0, 0));
    }

    #[test]
    fn a_source_that_is_taken_back_leaves_nothing() {
        let mut child = Domain::new(96, 1, DIRECT, false, false);
        child.set_sourcecfg(5, EDGE1);
        assert_eq!(child.sourcecfg(5), 0, "it is the parent's");
        child.input(5, true);
        child.delegated(5, true);
        assert_eq!(child.sourcecfg(5), 0);
        child.set_sourcecfg(5, LEVEL1);
        child.set_setienum(5);
        assert!(is_pending(&child, 5));
        child.delegated(5, false);
        assert_eq!((child.sourcecfg(5), child.setip(0), child.setie(0)), (0, 0, 0));
        child.delegated(5, true);
        assert_eq!(child.sourcecfg(5), 0);
    }
}
