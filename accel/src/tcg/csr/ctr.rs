//! Registers of control-transfer records (Smctr, Ssctr): `mctrctl`, `sctrctl`, `vsctrctl`, `sctrdepth`, `sctrstatus`,
//! and the records behind the indirect registers 0x200 to 0x2ff.
//!
//! Privileged spec, "Smctr".

use arch::csr::ctrctl::*;
use arch::csr::sctrstatus;
use arch::ext::{Ext, IsaConfig};

use super::indirect::{Indirect, Window};
use super::{CsrEffect, CsrEnv, Denied, merge, require};
use crate::{CtrEntry, HartState, Mode};

/// The select number of the newest record.
const FIRST: u64 = 0x200;

/// Which bits of `mctrctl` software can change; `sctrctl` and `vsctrctl` lack those of M-mode.
fn writable(isa: &IsaConfig) -> u64 {
    let overflow = if isa.has(Ext::Sscofpmf) { LCOFIFRZ } else { 0 };
    U | S | M | RASEMU | STE | MTE | BPFRZ | TYPES | overflow
}

const SUPERVISOR: u64 = !(M | MTE);

pub(super) fn write_mctrctl(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.ctr.mctrctl = v & writable(env.isa());
    CsrEffect::MODE
}

pub(super) fn read_sctrctl(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.ctr.mctrctl & SUPERVISOR
}

pub(super) fn write_sctrctl(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.ctr.mctrctl = merge(s.csr.ctr.mctrctl, v, writable(env.isa()) & SUPERVISOR);
    CsrEffect::MODE
}

pub(super) fn write_vsctrctl(s: &mut HartState, env: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.ctr.vsctrctl = v & writable(env.isa()) & SUPERVISOR;
    CsrEffect::MODE
}

/// A guest's depth is its hypervisor's to give.
pub(super) fn depth_access(s: &HartState, _: &IsaConfig, _: u16) -> Result<(), Denied> {
    require(!s.virt)
}

pub(super) fn read_depth(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.ctr.depth
}

/// A depth that there is not leaves the old one.
pub(super) fn write_depth(s: &mut HartState, env: &mut dyn CsrEnv, n: u16, v: u64) -> CsrEffect {
    let depth = v & 7;
    if depth <= 4 {
        s.csr.ctr.depth = depth;
        let status = s.csr.ctr.status;
        write_status(s, env, n, status);
    }
    CsrEffect::empty()
}

pub(super) fn read_status(s: &HartState, _: &dyn CsrEnv, _: u16) -> u64 {
    s.csr.ctr.status
}

pub(super) fn write_status(s: &mut HartState, _: &mut dyn CsrEnv, _: u16, v: u64) -> CsrEffect {
    s.csr.ctr.status = v & (sctrstatus::FROZEN | (s.csr.ctr.depth() - 1));
    CsrEffect::MODE
}

pub(super) fn access(_: &HartState, isa: &IsaConfig, r: Indirect) -> Result<(), Denied> {
    require((isa.has(Ext::Ssctr) || isa.has(Ext::Smctr)) && r.window != Window::Machine)
}

/// The place of a record that the depth reaches to, counted back from the newest.
fn place(s: &HartState, r: Indirect) -> Option<usize> {
    let ctr = &s.csr.ctr;
    let back = r.select - FIRST;
    let pointer = ctr.status & sctrstatus::WRPTR;
    (back < ctr.depth()).then(|| (pointer.wrapping_sub(back + 1) & (ctr.depth() - 1)) as usize)
}

fn field(entry: CtrEntry, alias: u8) -> u64 {
    match alias {
        1 => entry.source,
        2 => entry.target,
        3 => entry.data,
        _ => 0,
    }
}

pub(super) fn read(s: &HartState, _: &dyn CsrEnv, r: Indirect) -> u64 {
    place(s, r).map_or(0, |at| field(s.csr.ctr.entries[at], r.alias))
}

/// MISP and the count of cycles are not there.
pub(super) fn update(s: &mut HartState, env: &mut dyn CsrEnv, r: Indirect, clear: u64, set: u64) -> (u64, CsrEffect) {
    let old = read(s, env, r);
    let v = old & !clear | set;
    if let Some(at) = place(s, r) {
        let entry = &mut s.csr.ctr.entries[at];
        match r.alias {
            1 => entry.source = v,
            2 => entry.target = v & !1,
            3 => entry.data = v & 0xf,
            _ => {}
        }
    }
    (old, CsrEffect::empty())
}

/// SCTRCLR.
pub fn clear(s: &mut HartState, isa: &IsaConfig) -> Result<(), Denied> {
    super::stateen::check_ctr(s, isa)?;
    if s.mode == Mode::User {
        return Err(if s.virt { Denied::Virtual } else { Denied::Illegal });
    }
    s.csr.ctr.entries = [CtrEntry::default(); 256];
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Env;
    use super::super::{Illegal, Virtual, read as csr_read, write as csr_write};
    use super::*;
    use arch::csr;

    fn env() -> Env {
        let mut env = Env::default();
        for ext in [Ext::Smctr, Ext::Ssctr, Ext::Smcsrind, Ext::Sscsrind, Ext::Sscofpmf, Ext::H] {
            env.isa.exts.insert(ext);
        }
        env
    }

    #[test]
    fn the_supervisors_control_is_part_of_machine_modes() {
        let mut env = env();
        let mut s = env.hart();
        let all = 0xff3e_0000_1b87;
        csr_write(&mut s, &mut env, csr::MCTRCTL, u64::MAX).unwrap();
        assert_eq!(csr_read(&s, &env, csr::MCTRCTL), Ok(all));
        assert_eq!(csr_read(&s, &env, csr::SCTRCTL), Ok(all & !(M | MTE)));
        csr_write(&mut s, &mut env, csr::SCTRCTL, 0).unwrap();
        assert_eq!(csr_read(&s, &env, csr::MCTRCTL), Ok(M | MTE));
        csr_write(&mut s, &mut env, csr::VSCTRCTL, u64::MAX).unwrap();
        assert_eq!(csr_read(&s, &env, csr::VSCTRCTL), Ok(all & !(M | MTE)));
        env.isa.exts.remove(Ext::Sscofpmf);
        csr_write(&mut s, &mut env, csr::MCTRCTL, u64::MAX).unwrap();
        assert_eq!(csr_read(&s, &env, csr::MCTRCTL), Ok(all & !LCOFIFRZ));
    }

    #[test]
    fn depth_and_status_hold_legal_values() {
        let mut env = env();
        let mut s = env.hart();
        for (written, held) in [(0, 0), (4, 4), (5, 4), (7, 4), (1, 1), (0xff8, 0)] {
            csr_write(&mut s, &mut env, csr::SCTRDEPTH, written).unwrap();
            assert_eq!(csr_read(&s, &env, csr::SCTRDEPTH), Ok(held), "{written}");
            csr_write(&mut s, &mut env, csr::SCTRSTATUS, u64::MAX).unwrap();
            assert_eq!(csr_read(&s, &env, csr::SCTRSTATUS), Ok(1 << 31 | ((16 << held) - 1)));
        }
        // A shallower buffer has a smaller pointer.
        csr_write(&mut s, &mut env, csr::SCTRDEPTH, 4).unwrap();
        csr_write(&mut s, &mut env, csr::SCTRSTATUS, 0xf3).unwrap();
        csr_write(&mut s, &mut env, csr::SCTRDEPTH, 0).unwrap();
        assert_eq!(csr_read(&s, &env, csr::SCTRSTATUS), Ok(3));
        (s.mode, s.virt) = (Mode::Supervisor, true);
        assert_eq!(csr_read(&s, &env, csr::SCTRDEPTH), Err(Virtual));
        assert_eq!(csr_read(&s, &env, csr::SCTRSTATUS), Ok(3), "of all modes");
    }

    #[test]
    fn records_are_counted_back_from_the_pointer() {
        let mut env = env();
        let mut s = env.hart();
        s.csr.ctr.status = 2;
        for (i, entry) in s.csr.ctr.entries.iter_mut().enumerate() {
            *entry = CtrEntry { source: 1000 + i as u64, target: 2000 + 2 * i as u64, data: (i & 15) as u64 };
        }
        for virt in [false, true] {
            (s.mode, s.virt) = (Mode::Supervisor, virt);
            for (back, at) in [(0, 1), (1, 0), (2, 15), (15, 2)] {
                (s.csr.siselect, s.csr.vsiselect) = (0x200 + back, 0x200 + back);
                let shown = [csr::SIREG, csr::SIREG2, csr::SIREG3, csr::SIREG4, csr::SIREG6];
                let want = [1000 + at, 2000 + 2 * at, at & 15, 0, 0];
                assert_eq!(shown.map(|n| csr_read(&s, &env, n)), want.map(Ok), "{back}");
            }
        }
        // Beyond the depth there is nothing, whatever is written.
        s.virt = false;
        s.csr.siselect = 0x210;
        csr_write(&mut s, &mut env, csr::SIREG, u64::MAX).unwrap();
        assert_eq!(csr_read(&s, &env, csr::SIREG), Ok(0));
        s.csr.siselect = 0x200;
        for (n, held) in [(csr::SIREG, u64::MAX), (csr::SIREG2, !1), (csr::SIREG3, 0xf), (csr::SIREG5, 0)] {
            csr_write(&mut s, &mut env, n, u64::MAX).unwrap();
            assert_eq!(csr_read(&s, &env, n), Ok(held));
        }
        assert_eq!(s.csr.ctr.entries[1], CtrEntry { source: u64::MAX, target: !1, data: 15 });
        s.mode = Mode::Machine;
        s.csr.miselect = 0x200;
        assert_eq!(csr_read(&s, &env, csr::MIREG), Err(Illegal));
    }

    #[test]
    fn clearing_is_for_supervisors() {
        let mut env = env();
        [Ext::Smstateen, Ext::Ssstateen].into_iter().for_each(|ext| env.isa.exts.insert(ext));
        let bit = csr::stateen0::CTR;
        for (m, h, mode, virt, expected) in [
            (0, 0, Mode::Machine, false, Ok(())),
            (0, bit, Mode::Supervisor, false, Err(Illegal)),
            (bit, 0, Mode::Supervisor, false, Ok(())),
            (bit, 0, Mode::Supervisor, true, Err(Virtual)),
            (bit, bit, Mode::Supervisor, true, Ok(())),
            (0, bit, Mode::Supervisor, true, Err(Illegal)),
            (bit, bit, Mode::User, false, Err(Illegal)),
            (bit, bit, Mode::User, true, Err(Virtual)),
            (0, 0, Mode::User, true, Err(Illegal)),
        ] {
            let mut s = env.hart();
            (s.mode, s.virt) = (mode, virt);
            (s.csr.mstateen[0], s.csr.hstateen[0]) = (m, h);
            s.csr.ctr.entries[255].source = 7;
            assert_eq!(clear(&mut s, &env.isa), expected, "{m:#x} {h:#x} {mode:?} {virt}");
            assert_eq!(s.csr.ctr.entries[255].source == 0, expected.is_ok());
        }
    }
}
