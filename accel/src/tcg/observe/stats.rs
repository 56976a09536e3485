//! Counters of a hart (`-d stats`). Only what is counted outside of generated code: a hit of the TLB, of a jump cache
//! or of a link leaves no trace.

use std::fmt::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::hart::{Exit, Hart};
use super::super::region::Refused;

/// What the run loop and the helpers count.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Whether translation is timed: asking the clock costs a tenth of it.
    pub timed: bool,
    /// Returns of generated code, by [`Exit`].
    pub exits: [u64; Exit::COUNT],
    pub lookups: u64,
    pub links: u64,
    pub polls: u64,
    pub traps: u64,
    pub slow_accesses: u64,
    pub mmio: u64,
    pub csr: u64,
    pub fence_i: u64,
    /// Blocks that were dropped because the hart idled.
    pub given_up: u64,
    /// Of all translations: time, guest instructions, guest bytes, host bytes.
    pub translating: Duration,
    pub guest_insns: u64,
    pub guest_bytes: u64,
    pub host_bytes: u64,
    /// Of regions: hot jumps that were looked at, those without one by reason, instructions and host bytes of the others.
    pub hot_jumps: u64,
    pub refused: [u64; Refused::ALL.len()],
    pub region_insns: u64,
    pub region_bytes: u64,
    /// Time for all of it, and the longest that the hart waited for one.
    pub promoting: Duration,
    pub longest_promotion: Duration,
}

impl Stats {
    /// By the log's filter.
    pub fn asked() -> Self {
        Self { timed: tracing::enabled!(target: "stats", tracing::Level::DEBUG), ..Self::default() }
    }

    /// The time a translation begins, if that is wanted.
    pub fn begin(&self) -> Option<Duration> {
        self.timed.then(thread_time)
    }

    /// A block was translated.
    pub fn translated(&mut self, begun: Option<Duration>, guest_insns: u16, guest_bytes: usize, host_bytes: usize) {
        self.translating += begun.map_or(Duration::ZERO, |t| thread_time().saturating_sub(t));
        self.guest_insns += u64::from(guest_insns);
        self.guest_bytes += guest_bytes as u64;
        self.host_bytes += host_bytes as u64;
    }

    /// A hot jump was looked at, and led to a region or did not.
    pub fn promoted(&mut self, begun: Option<Duration>, refused: Option<Refused>) {
        let time = begun.map_or(Duration::ZERO, |t| thread_time().saturating_sub(t));
        self.hot_jumps += 1;
        self.promoting += time;
        self.longest_promotion = self.longest_promotion.max(time);
        if let Some(why) = refused {
            self.refused[why as usize] += 1;
        }
    }

    /// What made the hart leave generated code or call out of it, for programs: words `KIND=COUNT`, as every engine
    /// writes them.
    pub fn exits(&self) -> String {
        let Self { lookups, links, polls, traps, slow_accesses, mmio, csr, fence_i, .. } = self;
        format!(
            "lookups={lookups} links={links} polls={polls} traps={traps} \
             slow_accesses={slow_accesses} mmio={mmio} csr={csr} fence_i={fence_i}"
        )
    }
}

/// What this thread has had of the processor: other load does not count.
fn thread_time() -> Duration {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// All counters of a hart, a line each.
pub fn table(h: &Hart) -> String {
    let s = &h.stats;
    let translated = h.code.translated;
    let a = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let nanoseconds = s.translating.as_nanos() as u64;
    let mut text = String::new();
    let mut row = |name: &str, value: u64, note: String| {
        let _ = write!(text, "\n  {name:<34}{value:>16}{}{note}", if note.is_empty() { "" } else { "  " });
    };
    row("instructions retired", h.retired, String::new());
    row("blocks now", h.code.len() as u64, String::new());
    row("blocks translated", translated, format!("{:.1} instructions each", a(s.guest_insns, translated)));
    row("of them regions", h.code.regions, String::new());
    row("blocks dropped for room", h.code.evicted, String::new());
    row("blocks given up by an idle hart", s.given_up, String::new());
    row("guest bytes translated", s.guest_bytes, format!("{:.1} a block", a(s.guest_bytes, translated)));
    row("host bytes made", s.host_bytes, format!("{:.1} an instruction", a(s.host_bytes, s.guest_insns)));
    row("host bytes in the code cache", h.code.arena.used() as u64, String::new());
    row("nanoseconds translating", nanoseconds, format!("{:.0} an instruction", a(nanoseconds, s.guest_insns)));
    let promoting = s.promoting.as_nanos() as u64;
    row("hot jumps", s.hot_jumps, String::new());
    for (why, &count) in Refused::ALL.iter().zip(&s.refused) {
        row(&format!("no region: {}", why.name()), count, String::new());
    }
    let made = s.hot_jumps - s.refused.iter().sum::<u64>();
    row("instructions in regions", s.region_insns, format!("{:.1} a region", a(s.region_insns, made)));
    row("host bytes of regions", s.region_bytes, format!("{:.1} an instruction", a(s.region_bytes, s.region_insns)));
    row("nanoseconds for regions", promoting, format!("{:.0} an instruction", a(promoting, s.region_insns)));
    row("nanoseconds for one at most", s.longest_promotion.as_nanos() as u64, String::new());
    for (exit, &count) in Exit::NAMES.iter().zip(&s.exits).filter(|(name, _)| !name.is_empty()) {
        row(&format!("exits: {exit}"), count, String::new());
    }
    row("blocks looked up", s.lookups, String::new());
    row("jumps linked", s.links, String::new());
    row("jump cache: targets replaced", h.tlb.replaced, String::new());
    row("jump cache: flushes", h.tlb.jump_flushes, String::new());
    row("TLB refills", h.tlb.fills, String::new());
    row("TLB flushes", h.tlb.flushes, String::new());
    row("accesses outside generated code", s.slow_accesses, String::new());
    row("accesses to devices", s.mmio, String::new());
    row("polls answered", s.polls, String::new());
    row("traps and interrupts", s.traps, String::new());
    row("CSR instructions by helper", s.csr, String::new());
    row("fence.i", s.fence_i, String::new());
    text
}
