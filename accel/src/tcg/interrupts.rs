//! Which interrupt a hart takes: what is pending and enabled at each privilege level, and which of it is strongest.
//!
//! Levels see what those above give them: M-mode what `mideleg` keeps, S-mode what `hideleg` keeps and what M-mode
//! asserts for it in `mvip`, VS-mode the rest and what the hypervisor asserts for it in `hvip` and `hvictl`. Within a
//! level the order is the default one, unless priority numbers say otherwise.
//!
//! Everything here is a function of the state and of a [`World`]. Privileged spec, "Machine Interrupt (mip and mie)
//! Registers"; AIA, "Interrupts for Machine and Supervisor Levels" and "Interrupts for Virtual Machines (VS Level)".

use arch::cause::{DEFAULT_ORDER, Interrupt};
use arch::csr::{hstatus, hvictl, mip, mstatus, xcause};
use arch::ext::IsaConfig;

use crate::tcg::csr::CsrEnv;
use crate::tcg::trap::{self, Target, Trap};
use crate::{HartState, Imsic, InterruptFile, Mode};

/// Interrupts that are not the privileged architecture's own: local and custom ones.
pub const LOCAL: u64 = !0x1fff;

/// The priority number of an external interrupt that no interrupt file stands behind.
const NO_FILE: u16 = 256;

const EIDELIVERY: u8 = 0x70;

/// What besides the state decides about interrupts.
pub struct World<'a> {
    /// As from [`trap::mip`].
    pub mip: u64,
    pub isa: &'a IsaConfig,
    pub imsic: Option<&'a dyn Imsic>,
}

impl<'a> World<'a> {
    pub fn of(s: &HartState, env: &'a dyn CsrEnv) -> Self {
        Self { mip: trap::mip(s, env.lines()), isa: env.isa(), imsic: env.imsic() }
    }

    /// The priority number of the external interrupt that a file signals.
    fn external(&self, s: &HartState, file: InterruptFile) -> u16 {
        let Some(imsic) = self.imsic else { return NO_FILE };
        let hart = s.csr.hart_id as u32;
        match (imsic.access(hart, file, EIDELIVERY, 0, 0), (imsic.top(hart, file, false) >> 16) as u16) {
            (0, _) | (_, 0) => NO_FILE,
            (_, identity) => identity,
        }
    }
}

/// Interrupts that M-mode gives to S-mode by `mvien` in place of `mideleg`: their bits in `sip` and `sie` stand for
/// themselves.
pub fn virtual_view(s: &HartState) -> u64 {
    s.csr.mvien & !s.csr.mideleg
}

/// The virtual interrupts that M-mode asserts. That of bit 9 is the software-writable SEIP.
pub fn asserted(s: &HartState) -> u64 {
    s.csr.mvip & !mip::SEIP | s.csr.mip & mip::SEIP
}

/// `hideleg`, whose bits count only where M-mode has given the interrupt away.
pub fn hideleg(s: &HartState) -> u64 {
    s.csr.hideleg & (mip::VS_INTERRUPTS | s.csr.mideleg | s.csr.mvien)
}

/// `sip` and `sie`, but for the interrupts of the hypervisor extension.
pub fn sip(s: &HartState, mip: u64) -> u64 {
    mip & supervisor_view(s) | asserted(s) & virtual_view(s)
}

pub fn sie(s: &HartState) -> u64 {
    s.csr.mie & supervisor_view(s) | s.csr.sie_virtual & virtual_view(s)
}

/// The bits of `mip` and `mie` that `sip` and `sie` show.
pub fn supervisor_view(s: &HartState) -> u64 {
    s.csr.mideleg & !mip::HS_INTERRUPTS
}

/// The bits of `mip` and `mie` that `vsip` and `vsie` show, one place lower.
pub fn guest_view(s: &HartState) -> u64 {
    s.csr.mideleg & s.csr.hideleg & mip::VS_INTERRUPTS
}

/// Interrupts that the hypervisor gives to its guest by `hvien` in place of `hideleg`.
pub fn guest_virtual_view(s: &HartState) -> u64 {
    s.csr.hvien & !hideleg(s) & LOCAL
}

/// `vsip` and `vsie`.
pub fn vsip(s: &HartState, mip: u64) -> u64 {
    (mip & guest_view(s)) >> 1 | sip(s, mip) & hideleg(s) & LOCAL | s.csr.hvip & guest_virtual_view(s)
}

pub fn vsie(s: &HartState) -> u64 {
    (s.csr.mie & guest_view(s)) >> 1 | sie(s) & hideleg(s) & LOCAL | s.csr.vsie_virtual & guest_virtual_view(s)
}

/// What is pending and enabled for M-mode.
fn for_machine(s: &HartState, w: &World<'_>) -> u64 {
    w.mip & s.csr.mie & !s.csr.mideleg
}

/// What is pending and enabled for S-mode.
fn for_supervisor(s: &HartState, w: &World<'_>) -> u64 {
    let hypervisor = w.mip & s.csr.mie & s.csr.mideleg & mip::HS_INTERRUPTS;
    (hypervisor | sip(s, w.mip) & sie(s)) & !hideleg(s)
}

/// An interrupt with its place in the order of its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Top {
    /// The number, where no number is the strongest or the weakest of all.
    nominal: u16,
    /// Among equals.
    rank: u8,
    pub code: u16,
    number: u16,
}

/// The place of each interrupt in the default order.
static RANK: [u8; 64] = {
    let mut rank = [0; 64];
    let mut i = 0;
    while i < 64 {
        rank[DEFAULT_ORDER[i] as usize] = i as u8;
        i += 1;
    }
    rank
};

impl Top {
    /// `external` is the external interrupt of the level.
    fn new(code: u16, number: u16, external: Interrupt) -> Self {
        let (rank, middle) = (RANK[usize::from(code)], RANK[external as usize]);
        Self::ranked(code, number, rank, rank < middle)
    }

    fn ranked(code: u16, number: u16, rank: u8, above: bool) -> Self {
        let nominal = match number {
            0 if above => 0,
            0 => u16::MAX,
            n => n,
        };
        Self { nominal, rank, code, number }
    }

    /// IPRIO of `*topi`.
    fn iprio(self) -> u64 {
        match self.nominal {
            0 => 0,
            n => u64::from(n.min(255)),
        }
    }

    fn value(self, iprio: u64) -> u64 {
        u64::from(self.code) << 16 | iprio
    }
}

fn members(mut set: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let code = (set != 0).then(|| set.trailing_zeros() as u16)?;
        set &= set - 1;
        Some(code)
    })
}

/// The byte of interrupt `code` in an array of priorities.
fn byte(array: &[u64; 8], code: u16) -> u16 {
    (array[usize::from(code / 8)] >> (code % 8 * 8) & 0xff) as u16
}

fn strongest(set: u64, external: Interrupt, number: impl Fn(u16) -> u16) -> Option<Top> {
    members(set).map(|code| Top::new(code, number(code), external)).min()
}

fn machine_top(s: &HartState, w: &World<'_>) -> Option<Top> {
    let external = Interrupt::MachineExternal;
    strongest(for_machine(s, w), external, |code| match code == external as u16 {
        true => w.external(s, InterruptFile::Machine),
        false => byte(&s.csr.miprio, code),
    })
}

fn supervisor_top(s: &HartState, w: &World<'_>) -> Option<Top> {
    let external = Interrupt::SupervisorExternal;
    strongest(for_supervisor(s, w), external, |code| match code == external as u16 {
        true => w.external(s, InterruptFile::Supervisor),
        false => byte(&s.csr.siprio, code),
    })
}

/// The interrupts whose priority `hviprio1` and `hviprio2` hold, a byte each; 0 where they hold none.
pub const GUEST_PRIORITIES: [u8; 16] = [0, 1, 0, 5, 0, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

fn guest_number(s: &HartState, code: u16) -> u16 {
    let bytes = [s.csr.hviprio1, s.csr.hviprio2].map(u64::to_le_bytes);
    let place = GUEST_PRIORITIES.iter().position(|&c| c != 0 && u16::from(c) == code);
    place.map_or(0, |i| u16::from(bytes[i / 8][i % 8]))
}

/// `hstatus.VGEIN`, if it is the number of a guest interrupt file.
pub fn guest_file(s: &HartState, isa: &IsaConfig) -> Option<u8> {
    let vgein = ((s.csr.hstatus & hstatus::VGEIN) >> hstatus::VGEIN_SHIFT) as u8;
    (isa.imsic && (1..=isa.geilen).contains(&vgein)).then_some(vgein)
}

fn guest_top(s: &HartState, w: &World<'_>) -> Option<Top> {
    let external = Interrupt::SupervisorExternal;
    let control = s.csr.hvictl;
    let (iid, iprio) = ((control & hvictl::IID) >> hvictl::IID_SHIFT, (control & hvictl::IPRIO) as u16);
    let named = iid != external.code();
    let pending = vsip(s, w.mip) & vsie(s);

    let from_controller = (pending & external.bit() != 0).then(|| {
        let identity = match (guest_file(s, w.isa), w.imsic) {
            (Some(guest), Some(imsic)) => {
                (imsic.top(s.csr.hart_id as u32, InterruptFile::Guest(guest), false) >> 16) as u16
            }
            _ => 0,
        };
        let number = match identity {
            0 if s.csr.hstatus & hstatus::VGEIN == 0 && !named && iprio != 0 => iprio,
            0 => NO_FILE,
            identity => identity,
        };
        Top::new(external as u16, number, external)
    });
    let other = if control & hvictl::VTI == 0 {
        strongest(pending & !external.bit(), external, |code| guest_number(s, code))
    } else {
        // Its place among equals is above or below all that there is to compare with.
        let above = control & hvictl::DPR == 0;
        named.then(|| Top::ranked(iid as u16, iprio, if above { 0 } else { u8::MAX }, above))
    };
    [from_controller, other].into_iter().flatten().min()
}

/// Whether some interrupt can be pending that `mip` and `mie` do not show.
fn is_virtualized(s: &HartState) -> bool {
    s.csr.mvien | s.csr.hvien | s.csr.hvictl & hvictl::VTI != 0
}

/// The first in the default order: what [`strongest`] finds where nobody set priorities.
fn first(set: u64) -> Option<u16> {
    if set == 0 {
        return None;
    }
    DEFAULT_ORDER.iter().find(|&&code| set >> code & 1 != 0).map(|&code| u16::from(code))
}

/// The interrupt to take now, if any is pending and enabled.
pub fn pending(s: &HartState, w: &World<'_>) -> Option<Trap> {
    let c = &s.csr;
    // While a non-maskable interrupt is handled there is no other.
    if c.nmi_masked || w.mip & c.mie == 0 && !is_virtualized(s) {
        return None;
    }
    let to = |code: u16, target| Trap::interrupt(u64::from(code) | xcause::INTERRUPT, target);
    if s.mode != Mode::Machine || c.mstatus & mstatus::MIE != 0 {
        let code = match c.miprio == [0; 8] {
            true => first(for_machine(s, w)),
            false => machine_top(s, w).map(|top| top.code),
        };
        if let Some(code) = code {
            return Some(to(code, Target::Machine));
        }
    }
    if s.mode == Mode::User || s.mode == Mode::Supervisor && (s.virt || c.mstatus & mstatus::SIE != 0) {
        let code = match c.siprio == [0; 8] {
            true => first(for_supervisor(s, w)),
            false => supervisor_top(s, w).map(|top| top.code),
        };
        if let Some(code) = code {
            return Some(to(code, Target::Supervisor));
        }
    }
    let guest = s.virt && (s.mode == Mode::User || c.vsstatus & mstatus::SIE != 0);
    guest.then(|| guest_top(s, w)).flatten().map(|top| to(top.code, Target::VirtualSupervisor))
}

/// Whether WFI resumes: an interrupt is pending at any level, whatever the global enables say.
pub fn wakes(s: &HartState, w: &World<'_>) -> bool {
    if !is_virtualized(s) {
        return w.mip & s.csr.mie != 0;
    }
    for_machine(s, w) != 0 || for_supervisor(s, w) != 0 || guest_top(s, w).is_some()
}

/// Without an IMSIC no priorities can be set, and IPRIO need not tell any.
fn topi(w: &World<'_>, top: Option<Top>) -> u64 {
    top.map_or(0, |top| top.value(if w.isa.imsic { top.iprio() } else { 1 }))
}

/// `mtopi`.
pub fn mtopi(s: &HartState, w: &World<'_>) -> u64 {
    topi(w, machine_top(s, w))
}

/// `stopi`.
pub fn stopi(s: &HartState, w: &World<'_>) -> u64 {
    topi(w, supervisor_top(s, w))
}

/// `vstopi`: the hypervisor says whether IPRIO tells the priority.
pub fn vstopi(s: &HartState, w: &World<'_>) -> u64 {
    guest_top(s, w).map_or(0, |top| top.value(if s.csr.hvictl & hvictl::IPRIOM != 0 { top.iprio() } else { 1 }))
}
