//! One row a CSR (or a run of alike ones): how it reads, how it is written, and who may reach it now.

use std::sync::LazyLock;

use arch::csr::{self, Csr};
use arch::ext::{ExtSet, IsaConfig};

use super::inline::{Gate, Live, Place, StateField, state_field};
use super::{
    CsrEffect, CsrEnv, Denied, aia, counter, ctr, delegation, entropy, envcfg, fp, hypervisor, indirect, interrupt,
    pmp, rnmi, security, stateen, status, translation, trap_setup, trigger, vector,
};
use crate::HartState;
use crate::tcg::cfi;

type Read = fn(&HartState, &dyn CsrEnv, u16) -> u64;
type Write = fn(&mut HartState, &mut dyn CsrEnv, u16, u64) -> CsrEffect;
/// Clears the bits of the first mask, sets those of the second, returns the old value.
type Update = fn(&mut HartState, &mut dyn CsrEnv, u16, u64, u64) -> (u64, CsrEffect);
type Access = fn(&HartState, &IsaConfig, u16) -> Result<(), Denied>;

pub(super) struct Row {
    /// The numbers it stands for.
    first: u16,
    last: u16,
    read: Read,
    /// Makes the value legal and stores it. Never reached for a CSR whose number says read-only.
    write: Write,
    /// Where it lives, if in one place; that counts, and not `read`. See [`super::inline`].
    pub(super) place: Place,
    /// Whether the CSR may be accessed, beyond what its number says of privilege. With V=1 an illegal access that
    /// HS-mode could make becomes a virtual one by itself.
    pub(super) access: Access,
    /// Where read-modify-write instructions start from, if not from the value that is read.
    pub(super) software: Option<fn(&HartState) -> u64>,
    /// For what others change meanwhile: reads and writes in one step, in place of `write`.
    pub(super) update: Option<Update>,
    /// An instruction that does not write may not read either.
    pub(super) only_written: bool,
}

/// A CSR that reads zero and ignores writes.
const fn row(n: u16) -> Row {
    Row {
        first: n,
        last: n,
        read: |_, _, _| 0,
        write: |_, _, _, _| CsrEffect::empty(),
        place: Place::Computed,
        access: |_, _, _| Ok(()),
        software: None,
        update: None,
        only_written: false,
    }
}

impl Row {
    const fn to(mut self, last: u16) -> Self {
        self.last = last;
        self
    }

    const fn read(mut self, read: Read) -> Self {
        self.read = read;
        self
    }

    const fn write(mut self, write: Write) -> Self {
        self.write = write;
        self
    }

    /// A word that software writes as it likes.
    const fn plain(self, field: StateField) -> Self {
        self.masked(field, |_| u64::MAX)
    }

    /// The same but for the bits outside of a mask, which are zero.
    const fn masked(mut self, field: StateField, mask: fn(&IsaConfig) -> u64) -> Self {
        self.place = Place::Plain(field, mask);
        self
    }

    /// A word with a function for writes, if it is written at all.
    const fn word(mut self, field: StateField) -> Self {
        self.place = Place::Word(field);
        self
    }

    const fn gated(mut self, field: StateField, gate: Gate) -> Self {
        self.place = Place::Gated(field, gate);
        self
    }

    /// Generated code knows how to read it.
    const fn live(mut self, live: Live) -> Self {
        self.place = Place::Live(live);
        self
    }

    const fn status(mut self) -> Self {
        self.place = Place::Status;
        self
    }

    pub(super) fn value(&self, s: &HartState, env: &dyn CsrEnv, n: u16) -> u64 {
        match self.place {
            Place::Word(field) | Place::Plain(field, _) | Place::Gated(field, _) => field.get(s),
            Place::Computed | Place::Live(_) | Place::Status => (self.read)(s, env, n),
        }
    }

    pub(super) fn store(&self, s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
        match self.place {
            Place::Plain(field, mask) => {
                field.set(s, v & mask(env.isa()));
                CsrEffect::empty()
            }
            _ => (self.write)(s, env, n, v),
        }
    }

    const fn when(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    const fn update(mut self, update: Update) -> Self {
        self.update = Some(update);
        self
    }

    const fn only_written(mut self) -> Self {
        self.only_written = true;
        self
    }

    const fn software(mut self, software: fn(&HartState) -> u64) -> Self {
        self.software = Some(software);
        self
    }
}

/// A write that stores the value `$v` makes of it in a field, and sets nothing off.
macro_rules! store {
    ($field:ident, |$s:ident, $env:ident, $v:ident| $legal:expr) => {
        |$s, $env, _, $v| {
            let _ = &$env;
            $s.csr.$field = $legal;
            CsrEffect::empty()
        }
    };
}

static ROWS: &[Row] = &[
    // Floating point.
    row(csr::FFLAGS).read(fp::read_fflags).write(fp::write_fflags).when(fp::access),
    row(csr::FRM).read(fp::read_frm).write(fp::write_frm).when(fp::access),
    row(csr::FCSR).read(fp::read_fcsr).write(fp::write_fcsr).when(fp::access),
    // Vectors.
    row(csr::VSTART).read(|s, _, _| s.csr.vstart).write(vector::write_vstart).when(vector::access),
    row(csr::VXSAT).read(vector::read_vxsat).write(vector::write_vxsat).when(vector::access),
    row(csr::VXRM).read(vector::read_vxrm).write(vector::write_vxrm).when(vector::access),
    row(csr::VCSR).read(vector::read_vcsr).write(vector::write_vcsr).when(vector::access),
    row(csr::VL).read(|s, _, _| s.csr.vl).when(vector::access),
    row(csr::VTYPE).read(|s, _, _| s.csr.vtype).when(vector::access),
    row(csr::VLENB).read(vector::read_vlenb).when(vector::access),
    // The entropy source.
    row(csr::SEED).update(entropy::update).when(entropy::access).only_written(),
    // Shadow stack pointer; bits 2:0 are zero.
    row(csr::SSP)
        .read(|s, _, _| s.csr.ssp)
        .write(store!(ssp, |s, env, v| v & !7))
        .when(|s, _, _| cfi::check_shadow_stack(s)),
    // Counters that all modes may read.
    row(csr::CYCLE).live(Live::Cycle).read(counter::read_counter).when(counter::shadow_access),
    row(csr::TIME).live(Live::Time).read(counter::read_time).when(counter::shadow_access),
    row(csr::INSTRET).live(Live::Instret).read(counter::read_counter).when(counter::shadow_access),
    row(csr::HPMCOUNTER3).to(csr::HPMCOUNTER31).read(counter::read_counter).when(counter::shadow_access),
    // Supervisor.
    row(csr::SSTATUS).status().read(status::read_sstatus).write(status::write_sstatus),
    row(csr::SIE).read(interrupt::read_sie).write(interrupt::write_sie),
    row(csr::STVEC).word(state_field!(stvec)).write(store!(stvec, |s, env, v| trap_setup::tvec(s.csr.stvec, v))),
    row(csr::SCOUNTEREN).word(state_field!(scounteren)).write(counter::write_scounteren),
    row(csr::SENVCFG).read(envcfg::read_senvcfg).write(envcfg::write_senvcfg),
    row(csr::SSCRATCH).plain(state_field!(sscratch)),
    row(csr::SEPC).masked(state_field!(sepc), trap_setup::epc_mask),
    row(csr::SCAUSE).plain(state_field!(scause)),
    row(csr::STVAL).plain(state_field!(stval)),
    row(csr::SIP).read(interrupt::read_sip).write(interrupt::write_sip).software(interrupt::software_sip),
    row(csr::STIMECMP).read(|s, _, _| s.csr.stimecmp).write(counter::write_stimecmp).when(counter::stimecmp_access),
    row(csr::SCOUNTOVF).read(counter::read_scountovf).when(counter::scountovf_access),
    row(csr::SCOUNTINHIBIT)
        .read(delegation::read_inhibit)
        .write(delegation::write_inhibit)
        .when(delegation::inhibit_access),
    row(csr::SATP).gated(state_field!(satp), Gate::Satp).write(translation::write_satp).when(translation::access),
    // Hypervisor.
    row(csr::HSTATUS).word(state_field!(hstatus)).write(hypervisor::write_hstatus),
    row(csr::HEDELEG).word(state_field!(hedeleg)).write(hypervisor::write_hedeleg),
    row(csr::HIDELEG).read(interrupt::read_hideleg).write(interrupt::write_hideleg),
    row(csr::HIE).read(interrupt::read_hie).write(interrupt::write_hie),
    row(csr::HTIMEDELTA).word(state_field!(htimedelta)).write(hypervisor::write_htimedelta),
    row(csr::HCOUNTEREN).word(state_field!(hcounteren)).write(hypervisor::write_hcounteren),
    row(csr::HGEIE).word(state_field!(hgeie)).write(hypervisor::write_hgeie),
    row(csr::HENVCFG).read(hypervisor::read_henvcfg).write(hypervisor::write_henvcfg),
    row(csr::HTVAL).plain(state_field!(htval)),
    row(csr::HIP).read(interrupt::read_hip).write(interrupt::write_hip).software(interrupt::software_hip),
    row(csr::HVIP).word(state_field!(hvip)).write(interrupt::write_hvip),
    row(csr::HTINST).plain(state_field!(htinst)),
    row(csr::HGATP).read(|s, _, _| s.csr.hgatp).write(hypervisor::write_hgatp).when(hypervisor::hgatp_access),
    row(csr::HGEIP).read(hypervisor::read_hgeip),
    // Virtual supervisor.
    row(csr::VSSTATUS).read(status::read_vsstatus).write(status::write_vsstatus),
    row(csr::VSIE).read(interrupt::read_vsie).write(interrupt::write_vsie),
    row(csr::VSTVEC).word(state_field!(vstvec)).write(store!(vstvec, |s, env, v| trap_setup::tvec(s.csr.vstvec, v))),
    row(csr::VSSCRATCH).plain(state_field!(vsscratch)),
    row(csr::VSEPC).masked(state_field!(vsepc), trap_setup::epc_mask),
    row(csr::VSCAUSE).plain(state_field!(vscause)),
    row(csr::VSTVAL).plain(state_field!(vstval)),
    row(csr::VSIP).read(interrupt::read_vsip).write(interrupt::write_vsip).software(interrupt::software_vsip),
    row(csr::VSTIMECMP)
        .read(|s, _, _| s.csr.vstimecmp)
        .write(hypervisor::write_vstimecmp)
        .when(hypervisor::vstimecmp_access),
    row(csr::VSATP)
        .gated(state_field!(vsatp), Gate::Satp)
        .write(hypervisor::write_vsatp)
        .when(hypervisor::vsatp_access),
    // Who the hart is.
    row(csr::MVENDORID).read(|_, env, _| env.isa().mvendorid),
    row(csr::MARCHID).read(|_, env, _| env.isa().marchid),
    row(csr::MIMPID).read(|_, env, _| env.isa().mimpid),
    row(csr::MHARTID).word(state_field!(hart_id)),
    // mconfigptr: there is no configuration structure.
    row(csr::MCONFIGPTR),
    // Machine trap setup.
    row(csr::MSTATUS).read(status::read_mstatus).write(status::write_mstatus),
    // misa: extensions cannot be switched at run time.
    row(csr::MISA).word(state_field!(misa)),
    row(csr::MEDELEG).word(state_field!(medeleg)).write(interrupt::write_medeleg),
    row(csr::MIDELEG).word(state_field!(mideleg)).write(interrupt::write_mideleg),
    row(csr::MIE).word(state_field!(mie)).write(interrupt::write_mie),
    row(csr::MTVEC).word(state_field!(mtvec)).write(store!(mtvec, |s, env, v| trap_setup::tvec(s.csr.mtvec, v))),
    row(csr::MCOUNTEREN).word(state_field!(mcounteren)).write(counter::write_mcounteren),
    row(csr::MENVCFG).word(state_field!(menvcfg)).write(envcfg::write_menvcfg),
    row(csr::MCOUNTINHIBIT).word(state_field!(mcountinhibit)).write(counter::write_mcountinhibit),
    row(csr::MCYCLECFG).word(state_field!(mcyclecfg)).write(counter::write_mcyclecfg),
    row(csr::MINSTRETCFG).word(state_field!(minstretcfg)).write(counter::write_minstretcfg),
    row(csr::MHPMEVENT3).to(csr::MHPMEVENT31).read(counter::read_event).write(counter::write_event),
    // Machine trap handling.
    row(csr::MSCRATCH).plain(state_field!(mscratch)),
    row(csr::MEPC).masked(state_field!(mepc), trap_setup::epc_mask),
    row(csr::MCAUSE).plain(state_field!(mcause)),
    row(csr::MTVAL).plain(state_field!(mtval)),
    row(csr::MIP).read(interrupt::read_mip).write(interrupt::write_mip).software(interrupt::software_mip),
    row(csr::MTINST).plain(state_field!(mtinst)),
    row(csr::MTVAL2).plain(state_field!(mtval2)),
    // Physical memory protection, and what else lower modes may.
    row(csr::MSECCFG).word(state_field!(mseccfg)).write(security::write_mseccfg),
    row(csr::PMPCFG0).to(0x3af).read(pmp::read_cfg).write(pmp::write_cfg),
    row(csr::PMPADDR0).to(csr::PMPADDR63).read(pmp::read_addr).write(pmp::write_addr),
    // Triggers.
    row(csr::TSELECT).word(state_field!(tselect)).write(trigger::write_select),
    row(csr::TDATA1).to(csr::TDATA3).read(trigger::read_data).write(trigger::write_data),
    row(csr::TINFO).read(trigger::read_info),
    row(csr::MCONTEXT).read(|s, _, _| s.csr.mcontext).write(trigger::write_mcontext),
    row(csr::HCONTEXT).read(|s, _, _| s.csr.mcontext).write(trigger::write_mcontext),
    row(csr::SCONTEXT).read(|s, _, _| s.csr.scontext).write(store!(scontext, |s, env, v| v & trigger::SCONTEXT)),
    // Windows on indirect registers.
    row(csr::MISELECT)
        .read(|s, _, _| s.csr.miselect)
        .write(store!(miselect, |s, env, v| indirect::select(env.isa(), v))),
    row(csr::SISELECT)
        .read(|s, _, _| s.csr.siselect)
        .write(store!(siselect, |s, env, v| indirect::select(env.isa(), v))),
    row(csr::VSISELECT)
        .read(|s, _, _| s.csr.vsiselect)
        .write(store!(vsiselect, |s, env, v| indirect::select(env.isa(), v))),
    row(csr::MIREG).to(csr::MIREG3).read(indirect::read).update(indirect::update).when(indirect::access),
    row(csr::MIREG4).to(csr::MIREG6).read(indirect::read).update(indirect::update).when(indirect::access),
    row(csr::SIREG).to(csr::SIREG3).read(indirect::read).update(indirect::update).when(indirect::access),
    row(csr::SIREG4).to(csr::SIREG6).read(indirect::read).update(indirect::update).when(indirect::access),
    row(csr::VSIREG).to(csr::VSIREG3).read(indirect::read).update(indirect::update).when(indirect::access),
    row(csr::VSIREG4).to(csr::VSIREG6).read(indirect::read).update(indirect::update).when(indirect::access),
    // Control-transfer records.
    row(csr::MCTRCTL).read(|s, _, _| s.csr.ctr.mctrctl).write(ctr::write_mctrctl),
    row(csr::SCTRCTL).read(ctr::read_sctrctl).write(ctr::write_sctrctl),
    row(csr::VSCTRCTL).read(|s, _, _| s.csr.ctr.vsctrctl).write(ctr::write_vsctrctl),
    row(csr::SCTRSTATUS).read(ctr::read_status).write(ctr::write_status),
    row(csr::SCTRDEPTH).read(ctr::read_depth).write(ctr::write_depth).when(ctr::depth_access),
    // Non-maskable interrupts.
    row(csr::MNSCRATCH).plain(state_field!(mnscratch)),
    row(csr::MNEPC).masked(state_field!(mnepc), trap_setup::epc_mask),
    row(csr::MNCAUSE).plain(state_field!(mncause)),
    row(csr::MNSTATUS).read(rnmi::read_mnstatus).write(rnmi::write_mnstatus),
    // State enables.
    row(csr::MSTATEEN0).to(csr::MSTATEEN3).read(stateen::read_mstateen).write(stateen::write_mstateen),
    row(csr::HSTATEEN0).to(csr::HSTATEEN3).read(stateen::read_hstateen).write(stateen::write_hstateen),
    row(csr::SSTATEEN0).to(csr::SSTATEEN3).read(stateen::read_sstateen).write(stateen::write_sstateen),
    // Interrupts of the AIA.
    row(csr::MTOPEI).read(aia::read_topei).update(aia::update_topei).when(aia::topei_access),
    row(csr::STOPEI).read(aia::read_topei).update(aia::update_topei).when(aia::topei_access),
    row(csr::VSTOPEI).read(aia::read_topei).update(aia::update_topei).when(aia::topei_access),
    row(csr::MTOPI).read(aia::read_topi),
    row(csr::STOPI).read(aia::read_topi),
    row(csr::VSTOPI).read(aia::read_topi),
    row(csr::MVIEN).read(|s, _, _| s.csr.mvien).write(aia::write_mvien),
    row(csr::MVIP).read(aia::read_mvip).write(aia::write_mvip),
    row(csr::HVIEN).read(|s, _, _| s.csr.hvien).write(aia::write_hvien),
    row(csr::HVICTL).read(|s, _, _| s.csr.hvictl).write(aia::write_hvictl),
    row(csr::HVIPRIO1).read(|s, _, _| s.csr.hviprio1).write(aia::write_hviprio),
    row(csr::HVIPRIO2).read(|s, _, _| s.csr.hviprio2).write(aia::write_hviprio),
    // Machine counters.
    row(csr::MCYCLE).read(counter::read_counter).write(counter::write_counter),
    row(csr::MINSTRET).to(csr::MHPMCOUNTER31).read(counter::read_counter).write(counter::write_counter),
];

/// A CSR that is known, and what it does.
pub(super) struct Entry {
    csr: &'static Csr,
    pub(super) row: &'static Row,
    /// The extensions it takes, where there is only one way to have it and nothing but extensions counts.
    needs: Option<ExtSet>,
}

impl Entry {
    /// Whether a hart with this ISA has the CSR: the same as [`Csr::available`], in a few instructions.
    pub(super) fn available(&self, isa: &IsaConfig) -> bool {
        match &self.needs {
            Some(needs) => needs.difference(&isa.exts).is_empty(),
            None => self.csr.available(isa),
        }
    }
}

/// All entries, and by number the index of one plus one, or zero.
struct Table {
    entries: Vec<Entry>,
    index: Box<[u16; 1 << 12]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut entries = Vec::new();
    let mut index = Box::new([0; 1 << 12]);
    for row in ROWS {
        for csr in (row.first..=row.last).filter_map(csr::by_number) {
            let slot = &mut index[usize::from(csr.number)];
            assert!(*slot == 0, "two rows for {}", csr.name);
            let is_pmp = (csr::PMPCFG0..=csr::PMPADDR63).contains(&csr.number);
            let needs = match csr.exts {
                [one] if !is_pmp => Some(ExtSet::of(one)),
                _ => None,
            };
            entries.push(Entry { csr, row, needs });
            *slot = entries.len() as u16;
        }
    }
    Table { entries, index }
});

/// CSR `n`, if it is known at all.
pub(super) fn find(n: u16) -> Option<&'static Entry> {
    let table = &*TABLE;
    let i = *table.index.get(usize::from(n))?;
    table.entries.get(usize::from(i).checked_sub(1)?)
}

/// Whether some row stands for the number, known CSR or not.
#[cfg(test)]
pub(super) fn has_row(n: u16) -> bool {
    ROWS.iter().any(|row| (row.first..=row.last).contains(&n))
}
