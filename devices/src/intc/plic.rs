//! The platform-level interrupt controller (RISC-V PLIC specification 1.0), with level-sensitive inputs.
//!
//! [`PlicCore`] is the chip: plain state, no harts, no locks. [`Plic`] attaches it: a lock around the chip,
//! wires into harts, the bus and the device tree.
//!
//! The gateways are exact: an input that is high becomes one pending request; it stays pending when the input
//! falls; after a claim the next request waits for the completion, and an input that is still high then
//! pends again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::fdt::{FdtNode, FdtValue, Placement};
use crate::regmap::{RegMap, Registers};
use crate::state::expect;
use crate::unlocked::Scope;
use crate::{HartLines, IrqSink, MmioDevice, SavedState, StateError};

/// Most inputs a controller may have here (the specification allows 1023): sets of sources are one word.
pub const SOURCES_MAX: u32 = 127;
/// Most contexts that the address space holds.
pub const CONTEXTS_MAX: usize = 15872;

/// Priorities are 0 (never) to 7.
const PRIORITY_MASK: u32 = 7;
const LEVELS: usize = PRIORITY_MASK as usize + 1;

/// A set of sources; bit N is source N.
type Sources = u128;

/// One interrupt target: a privilege mode of a hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlicContext {
    pub hart: u32,
    /// The line it drives, as a bit of `mip`: 11 (MEIP) or 9 (SEIP).
    pub irq: u8,
}

impl PlicContext {
    /// Contexts of a machine with M-mode: M, then S, of each hart.
    pub fn machine_and_supervisor(harts: impl IntoIterator<Item = u32>) -> Vec<Self> {
        harts.into_iter().flat_map(|hart| [11, 9].map(|irq| Self { hart, irq })).collect()
    }

    /// Contexts of a machine whose guest sees no M-mode: one a hart.
    pub fn supervisor(harts: impl IntoIterator<Item = u32>) -> Vec<Self> {
        harts.into_iter().map(|hart| Self { hart, irq: 9 }).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Target {
    enabled: Sources,
    threshold: u32,
}

/// The chip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlicCore {
    /// Number of inputs; they are 1 to `sources`.
    sources: u32,
    /// Sources by priority: each source is in exactly one.
    by_priority: [Sources; LEVELS],
    /// Inputs as the devices drive them.
    level: Sources,
    pending: Sources,
    /// Claimed and not completed: the gateway holds back.
    in_service: Sources,
    targets: Vec<Target>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reg {
    Priority(u32),
    Pending(u32),
    /// Context in the upper bits, word 0 to 31 in the lower five.
    Enable(u32),
    Threshold(u32),
    Claim(u32),
}

impl PlicCore {
    /// Panics on more sources or contexts than the chip can have: the board's mistake.
    pub fn new(sources: u32, contexts: usize) -> Self {
        assert!((1..=SOURCES_MAX).contains(&sources), "a PLIC has 1 to {SOURCES_MAX} sources here");
        assert!((1..=CONTEXTS_MAX).contains(&contexts), "a PLIC has 1 to {CONTEXTS_MAX} contexts");
        let mut by_priority = [0; LEVELS];
        by_priority[0] = Sources::MAX;
        let targets = vec![Target::default(); contexts];
        Self { sources, by_priority, level: 0, pending: 0, in_service: 0, targets }
    }

    /// Power-on state; the inputs keep the levels that devices drive.
    pub fn reset(&mut self) {
        let level = self.level;
        *self = Self::new(self.sources, self.targets.len());
        self.level = level;
        self.gate();
    }

    /// Whether a state from elsewhere is one of a chip with these sources and contexts.
    fn check(&self, here: &Self) -> Result<(), StateError> {
        expect("sources", self.sources, here.sources)?;
        expect("contexts", self.targets.len(), here.targets.len())?;
        let (all, twice) = self.by_priority.iter().fold((0, 0), |(all, twice), set| (all | set, twice | all & set));
        if all != Sources::MAX || twice != 0 {
            return Err(StateError::Unfit("a source has no priority, or two".into()));
        }
        if self.targets.iter().any(|target| target.threshold > PRIORITY_MASK) {
            return Err(StateError::Unfit("a threshold that no context can have".into()));
        }
        if (self.level | self.pending | self.in_service) & !self.valid() != 0 {
            return Err(StateError::Unfit("sources that do not exist".into()));
        }
        Ok(())
    }

    /// The sources that exist.
    fn valid(&self) -> Sources {
        ((1 << (self.sources + 1)) - 1) & !1
    }

    /// Lets requests through the gateways that are not waiting for a completion.
    fn gate(&mut self) {
        self.pending |= self.level & !self.in_service;
    }

    /// A device drives its input. Sources that do not exist are ignored.
    pub fn set_level(&mut self, source: u32, level: bool) {
        let bit = self.bit(source);
        if level {
            self.level |= bit;
            self.gate();
        } else {
            self.level &= !bit;
        }
    }

    /// The set of one source, empty if it does not exist.
    fn bit(&self, source: u32) -> Sources {
        if (1..=self.sources).contains(&source) { 1 << source } else { 0 }
    }

    fn above(&self, threshold: u32) -> Sources {
        self.by_priority[threshold as usize + 1..].iter().fold(0, |all, set| all | set)
    }

    /// Whether the context's notification is high.
    pub fn notifies(&self, context: usize) -> bool {
        let target = &self.targets[context];
        let candidates = self.pending & target.enabled;
        candidates != 0 && candidates & self.above(target.threshold) != 0
    }

    /// Claims the most urgent source for a context; 0 if there is none. The threshold does not matter.
    pub fn claim(&mut self, context: usize) -> u32 {
        let candidates = self.pending & self.targets[context].enabled;
        let best = self.by_priority[1..].iter().rev().map(|set| candidates & set).find(|&set| set != 0);
        let Some(best) = best else { return 0 };
        let source = best.trailing_zeros();
        self.pending &= !(1 << source);
        self.in_service |= 1 << source;
        source
    }

    /// Completes a source; ignored unless the context has it enabled.
    pub fn complete(&mut self, context: usize, source: u32) {
        let bit = self.bit(source) & self.targets[context].enabled;
        self.in_service &= !bit;
        self.gate();
    }

    fn priority(&self, source: u32) -> u32 {
        let bit = self.bit(source);
        self.by_priority.iter().position(|set| set & bit != 0).unwrap_or(0) as u32
    }

    fn set_priority(&mut self, source: u32, priority: u32) {
        let bit = self.bit(source);
        self.by_priority.iter_mut().for_each(|set| *set &= !bit);
        self.by_priority[(priority & PRIORITY_MASK) as usize] |= bit;
    }
}

/// The 32 sources of word `word`.
fn word_of(set: Sources, word: u32) -> u32 {
    set.checked_shr(word * 32).unwrap_or(0) as u32
}

impl Registers<Reg> for PlicCore {
    fn read(&mut self, reg: Reg) -> u64 {
        match reg {
            Reg::Claim(context) => u64::from(self.claim(context as usize)),
            _ => self.peek(reg),
        }
    }

    fn peek(&self, reg: Reg) -> u64 {
        u64::from(match reg {
            Reg::Priority(source) => self.priority(source),
            Reg::Pending(word) => word_of(self.pending, word),
            Reg::Enable(i) => word_of(self.targets[i as usize / 32].enabled, i % 32),
            Reg::Threshold(context) => self.targets[context as usize].threshold,
            Reg::Claim(_) => 0,
        })
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let value = value as u32;
        match reg {
            Reg::Priority(source) => self.set_priority(source, value),
            Reg::Pending(_) => {}
            Reg::Enable(i) => {
                let valid = self.valid();
                let enabled = &mut self.targets[i as usize / 32].enabled;
                let at = i % 32 * 32;
                let ones = Sources::from(u32::MAX).checked_shl(at).unwrap_or(0);
                let bits = Sources::from(value).checked_shl(at).unwrap_or(0);
                *enabled = (*enabled & !ones) | (bits & valid);
            }
            Reg::Threshold(context) => self.targets[context as usize].threshold = value & PRIORITY_MASK,
            Reg::Claim(context) => self.complete(context as usize, value),
        }
    }
}

fn map(size: u64, contexts: u32) -> RegMap<Reg> {
    RegMap::new(size)
        .array(0x20_0004, 0x1000, contexts, 4, Reg::Claim)
        .array(0x20_0000, 0x1000, contexts, 4, Reg::Threshold)
        .array(0x2000, 4, contexts * 32, 4, Reg::Enable)
        .array(0x1000, 4, 32, 4, Reg::Pending)
        .array(0, 4, 1024, 4, Reg::Priority)
}

/// What was last driven into the harts.
struct Wires {
    driven: Vec<bool>,
    /// Scratch: contexts whose wire has to move.
    moves: Vec<(usize, bool)>,
}

/// The chip on its board.
///
/// Locks: `wires` before `core`. No hart is called under `core`, so a slow kick of one hart never holds up
/// another hart's claim; `wires` only keeps two drivers of the wires in order.
pub struct Plic {
    map: RegMap<Reg>,
    contexts: Vec<PlicContext>,
    harts: Arc<dyn HartLines>,
    core: Mutex<PlicCore>,
    wires: Mutex<Wires>,
}

impl Plic {
    /// `size` is the address space in bytes; it has to hold all `contexts`. Inputs are 1 to `sources`.
    pub fn new(sources: u32, contexts: Vec<PlicContext>, size: u64, harts: Arc<dyn HartLines>) -> Self {
        Self {
            map: map(size, contexts.len() as u32),
            core: Mutex::new(PlicCore::new(sources, contexts.len())),
            wires: Mutex::new(Wires { driven: vec![false; contexts.len()], moves: Vec::new() }),
            contexts,
            harts,
        }
    }

    fn core(&self) -> MutexGuard<'_, PlicCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the wires into the harts up to date with the chip. Called after every change, without `core`.
    fn drive(&self) {
        let _scope = Scope::open();
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let Wires { driven, moves } = &mut *wires;
        {
            let core = self.core();
            moves.extend(driven.iter().enumerate().filter_map(|(context, &was)| {
                let is = core.notifies(context);
                (is != was).then_some((context, is))
            }));
        }
        for (context, level) in moves.drain(..) {
            driven[context] = level;
            let PlicContext { hart, irq } = self.contexts[context];
            self.harts.set_irq(hart, irq, level);
        }
    }

    /// A copy of the chip's state.
    pub fn state(&self) -> PlicCore {
        self.core().clone()
    }

    /// Puts back a state taken from a PLIC with the same sources and contexts. The harts are stopped.
    pub fn set_state(&self, state: PlicCore) {
        *self.core() = state;
        self.drive();
    }
}

impl IrqSink for Plic {
    fn set_level(&self, source: u32, level: bool) {
        self.core().set_level(source, level);
        // A falling input moves no notification: requests cannot be taken back.
        if level {
            self.drive();
        }
    }
}

impl MmioDevice for Plic {
    fn name(&self) -> &str {
        "riscv.sifive.plic"
    }

    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.map.read(&mut *self.core(), offset, data);
        // Only a claim changes anything.
        if offset + data.len() as u64 > 0x20_0000 {
            self.drive();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.map.write(&mut *self.core(), offset, data);
        self.drive();
    }

    fn reset(&self) {
        self.core().reset();
        self.drive();
    }

    fn save_state(&self) -> Option<SavedState> {
        Some(SavedState::of(1, &self.state()))
    }

    fn restore_state(&self, state: &SavedState) -> Result<(), StateError> {
        let state: PlicCore = state.read(1)?;
        state.check(&self.core())?;
        self.set_state(state);
        Ok(())
    }

    fn fdt(&self, at: &Placement) -> Vec<FdtNode> {
        let node = FdtNode::new(format!("interrupt-controller@{:x}", at.base))
            .with_phandle(at)
            .with("riscv,ndev", FdtValue::U32(self.core().sources))
            .with("reg", at.reg())
            .with("interrupts-extended", FdtValue::Cells(at.interrupts_extended.clone()))
            .with("interrupt-controller", FdtValue::Empty)
            .with("compatible", FdtValue::Strs(vec!["sifive,plic-1.0.0".into(), "riscv,plic0".into()]))
            .with("#address-cells", FdtValue::U32(0))
            .with("#interrupt-cells", FdtValue::U32(1));
        vec![node]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCES: u32 = 95;
    const SIZE: u64 = 0x60_0000;

    /// Levels of the wires, by (hart, irq).
    #[derive(Default)]
    struct Harts(Mutex<std::collections::HashMap<(u32, u8), bool>>);

    impl Harts {
        fn level(&self, hart: u32, irq: u8) -> bool {
            self.0.lock().unwrap().get(&(hart, irq)).copied().unwrap_or(false)
        }
    }

    impl HartLines for Harts {
        fn set_irq(&self, hart: u32, irq: u8, level: bool) {
            let was = self.0.lock().unwrap().insert((hart, irq), level).unwrap_or(false);
            assert_ne!(was, level, "a wire was driven to the level it had");
        }
        fn raise_ssip(&self, _: u32) {}
        fn set_mtimecmp(&self, _: u32, _: u64) {}
        fn mtime(&self) -> u64 {
            0
        }
        fn set_mtime(&self, _: u64) {}
    }

    fn machine() -> (Arc<Harts>, Plic) {
        let harts = Arc::new(Harts::default());
        let plic = Plic::new(SOURCES, PlicContext::machine_and_supervisor(0..2), SIZE, harts.clone());
        (harts, plic)
    }

    fn write(plic: &Plic, offset: u64, value: u32) {
        plic.write(offset, &value.to_le_bytes());
    }

    fn read(plic: &Plic, offset: u64) -> u32 {
        let mut data = [0; 4];
        plic.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn claim_at(context: u64) -> u64 {
        0x20_0004 + context * 0x1000
    }

    /// Source 10 with priority 1, enabled for hart 0's S context (context 1).
    fn enable_ten(plic: &Plic) {
        write(plic, 4 * 10, 1);
        write(plic, 0x2080, 1 << 10);
    }

    #[test]
    fn claim_lowers_the_wire_and_completion_of_a_high_level_raises_it_again() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        plic.set_level(10, true);
        assert!(harts.level(0, 9));
        assert!(!harts.level(0, 11), "the M context did not enable it");
        assert_eq!(read(&plic, 0x1000), 1 << 10);

        assert_eq!(read(&plic, claim_at(1)), 10);
        assert!(!harts.level(0, 9));
        assert_eq!(read(&plic, 0x1000), 0);
        assert_eq!(read(&plic, claim_at(1)), 0);

        write(&plic, claim_at(1), 10);
        assert!(harts.level(0, 9), "the input is still high");
        assert_eq!(read(&plic, claim_at(1)), 10);
        plic.set_level(10, false);
        write(&plic, claim_at(1), 10);
        assert!(!harts.level(0, 9));
        assert_eq!(read(&plic, claim_at(1)), 0);
    }

    #[test]
    fn a_request_cannot_be_taken_back() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        plic.set_level(10, true);
        plic.set_level(10, false);
        assert!(harts.level(0, 9));
        assert_eq!(read(&plic, claim_at(1)), 10);
    }

    #[test]
    fn threshold_masks_the_wire_but_not_the_claim() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        write(&plic, 0x20_1000, 1);
        plic.set_level(10, true);
        assert!(!harts.level(0, 9));
        write(&plic, 4 * 10, 2);
        assert!(harts.level(0, 9));
        write(&plic, 0x20_1000, 2);
        assert!(!harts.level(0, 9));
        assert_eq!(read(&plic, claim_at(1)), 10);
    }

    #[test]
    fn completion_needs_the_source_enabled() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        plic.set_level(10, true);
        assert_eq!(read(&plic, claim_at(1)), 10);
        write(&plic, claim_at(0), 10);
        assert!(!harts.level(0, 9), "context 0 has not enabled source 10");
        write(&plic, 0x2080, 0);
        write(&plic, claim_at(1), 10);
        write(&plic, 0x2080, 1 << 10);
        assert!(!harts.level(0, 9));
        write(&plic, claim_at(1), 10);
        assert!(harts.level(0, 9));
    }

    #[test]
    fn priority_has_three_bits_and_ties_go_to_the_lowest_source() {
        let (_, plic) = machine();
        write(&plic, 4 * 95, u32::MAX);
        assert_eq!(read(&plic, 4 * 95), 7);
        write(&plic, 4 * 96, 1);
        assert_eq!(read(&plic, 4 * 96), 0, "no such source");
        for word in 0..32 {
            write(&plic, 0x2000 + 4 * word, u32::MAX);
        }
        assert_eq!(read(&plic, 0x2000), !1);
        assert_eq!(read(&plic, 0x2008), u32::MAX);
        assert_eq!(read(&plic, 0x200c), 0);
        for source in [3, 4, 95] {
            plic.set_level(source, true);
        }
        write(&plic, 4 * 3, 2);
        write(&plic, 4 * 4, 2);
        assert_eq!([0; 4].map(|_| read(&plic, claim_at(0))), [95, 3, 4, 0]);
    }

    #[test]
    fn reset_forgets_all_but_the_inputs() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        plic.set_level(10, true);
        plic.reset();
        assert!(!harts.level(0, 9));
        assert_eq!(read(&plic, 0x2080), 0);
        enable_ten(&plic);
        assert!(harts.level(0, 9), "the device still asserts its line");
    }

    #[test]
    fn device_tree_node() {
        let (_, plic) = machine();
        let (phandle, interrupts_extended) = (Some(3), vec![2, 11, 2, 9]);
        let at = Placement { phandle, interrupts_extended, ..Placement::at(0xc00_0000, SIZE) };
        let node = &plic.fdt(&at)[0];
        assert_eq!(node.name, "interrupt-controller@c000000");
        let names: Vec<&str> = node.properties.iter().map(|p| p.0.as_str()).collect();
        let want = [
            "phandle",
            "riscv,ndev",
            "reg",
            "interrupts-extended",
            "interrupt-controller",
            "compatible",
            "#address-cells",
            "#interrupt-cells",
        ];
        assert_eq!(names, want);
        assert_eq!(node.properties[2].1, FdtValue::Cells(vec![0, 0xc00_0000, 0, 0x60_0000]));
    }

    /// The specification, one source at a time.
    #[derive(Clone, Default)]
    struct Gateway {
        level: bool,
        pending: bool,
        waiting: bool,
        priority: u32,
    }

    struct Model {
        sources: Vec<Gateway>,
        enabled: Vec<Vec<bool>>,
        threshold: Vec<u32>,
    }

    impl Model {
        fn forward(&mut self) {
            for s in self.sources.iter_mut().skip(1) {
                if s.level && !s.waiting {
                    s.pending = true;
                }
            }
        }

        fn notifies(&self, context: usize) -> bool {
            (1..self.sources.len()).any(|s| {
                let g = &self.sources[s];
                g.pending && self.enabled[context][s] && g.priority > self.threshold[context]
            })
        }

        fn claim(&mut self, context: usize) -> u32 {
            let mut best = 0;
            for s in 1..self.sources.len() {
                let g = &self.sources[s];
                if g.pending && self.enabled[context][s] && g.priority > self.sources[best].priority {
                    best = s;
                }
            }
            if best != 0 {
                self.sources[best].pending = false;
                self.sources[best].waiting = true;
            }
            best as u32
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Level(u32, bool),
        Priority(u32, u32),
        Enable(u32, u32, u32),
        Threshold(u32, u32),
        Claim(u32),
        Complete(u32, u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        // Few sources, so that they meet; 0 and 96 to 98 do not exist.
        let source = prop_oneof![0u32..6, 93u32..99];
        prop_oneof![
            (source.clone(), any::<bool>()).prop_map(|(s, l)| Op::Level(s, l)),
            (source.clone(), 0u32..10).prop_map(|(s, p)| Op::Priority(s, p)),
            (0u32..4, 0u32..4, any::<u32>()).prop_map(|(c, w, v)| Op::Enable(c, w, v)),
            (0u32..4, 0u32..10).prop_map(|(c, t)| Op::Threshold(c, t)),
            (0u32..4).prop_map(Op::Claim),
            (0u32..4, source).prop_map(|(c, s)| Op::Complete(c, s)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_the_specification(ops in prop::collection::vec(op(), 1..200)) {
            let (harts, plic) = machine();
            let mut model = Model {
                sources: vec![Gateway::default(); SOURCES as usize + 1],
                enabled: vec![vec![false; SOURCES as usize + 1]; 4],
                threshold: vec![0; 4],
            };
            let exists = |s: u32| (1..=SOURCES).contains(&s);
            for op in ops {
                match op {
                    Op::Level(s, l) => {
                        plic.set_level(s, l);
                        if exists(s) { model.sources[s as usize].level = l; }
                    }
                    Op::Priority(s, p) => {
                        write(&plic, u64::from(s) * 4, p);
                        if exists(s) { model.sources[s as usize].priority = p & 7; }
                    }
                    Op::Enable(c, w, v) => {
                        write(&plic, 0x2000 + u64::from(c) * 0x80 + u64::from(w) * 4, v);
                        for b in (0..32).filter(|b| exists(w * 32 + b)) {
                            model.enabled[c as usize][(w * 32 + b) as usize] = v & (1 << b) != 0;
                        }
                    }
                    Op::Threshold(c, t) => {
                        write(&plic, 0x20_0000 + u64::from(c) * 0x1000, t);
                        model.threshold[c as usize] = t & 7;
                    }
                    Op::Claim(c) => prop_assert_eq!(read(&plic, claim_at(c.into())), model.claim(c as usize)),
                    Op::Complete(c, s) => {
                        write(&plic, claim_at(c.into()), s);
                        if exists(s) && model.enabled[c as usize][s as usize] {
                            model.sources[s as usize].waiting = false;
                        }
                    }
                }
                model.forward();
                for (c, PlicContext { hart, irq }) in plic.contexts.iter().enumerate() {
                    prop_assert_eq!(harts.level(*hart, *irq), model.notifies(c), "context {}", c);
                }
                for w in 0..3 {
                    let want = (0..32u32).filter(|b| w * 32 + b <= SOURCES)
                        .filter(|b| model.sources[(w * 32 + b) as usize].pending)
                        .fold(0, |all, b| all | 1u32 << b);
                    prop_assert_eq!(read(&plic, 0x1000 + u64::from(w) * 4), want);
                }
            }
        }

        #[test]
        fn no_access_panics(accesses in prop::collection::vec((0..SIZE, 0usize..4, any::<u64>(), any::<bool>()), 100)) {
            let (_, plic) = machine();
            for (offset, width, value, store) in accesses {
                let mut data = value.to_le_bytes();
                let data = &mut data[..1 << width];
                if store { plic.write(offset, data) } else { plic.read(offset, data) }
            }
        }
    }

    #[test]
    fn threads_leave_the_wires_right() {
        let (harts, plic) = machine();
        enable_ten(&plic);
        write(&plic, 4 * 11, 1);
        write(&plic, 0x2080, 3 << 10);
        std::thread::scope(|scope| {
            for source in [10, 11] {
                let plic = &plic;
                scope.spawn(move || {
                    for i in 0..2000 {
                        plic.set_level(source, i % 2 == 0);
                        let claimed = read(plic, claim_at(1));
                        write(plic, claim_at(1), claimed);
                    }
                });
            }
        });
        plic.set_level(10, false);
        plic.set_level(11, false);
        while let claimed @ 1.. = read(&plic, claim_at(1)) {
            write(&plic, claim_at(1), claimed);
        }
        assert!(!harts.level(0, 9));
        plic.set_level(11, true);
        assert!(harts.level(0, 9));
    }
}
