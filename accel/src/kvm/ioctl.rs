//! What `kvm-ioctls` has no words for: SBI and CSR exits and the interrupt line of a vCPU, events with descriptors of
//! another type than its own, and lists of more than 200 registers; and the calls beside KVM's that guests need.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_INTERRUPT_SET, KVM_INTERRUPT_UNSET, KVM_IRQFD_FLAG_DEASSIGN, KVM_MP_STATE_STOPPED, KVMIO,
    kvm_guest_debug, kvm_ioeventfd, kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign, kvm_irqfd,
    kvm_mp_state, kvm_one_reg, kvm_reg_list, kvm_run,
};
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_mut_ref, ioctl_with_ref};
use vmm_sys_util::{ioctl_ior_nr, ioctl_iow_nr, ioctl_iowr_nr};

use crate::SbiCall;

/// `KVM_EXIT_RISCV_SBI` and `KVM_EXIT_RISCV_CSR`.
pub const EXIT_SBI: u32 = 35;
pub const EXIT_CSR: u32 = 36;

ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, u32);
ioctl_iow_nr!(KVM_IOEVENTFD, KVMIO, 0x79, kvm_ioeventfd);
ioctl_iowr_nr!(KVM_GET_REG_LIST, KVMIO, 0xb0, kvm_reg_list);
ioctl_iow_nr!(KVM_IRQFD, KVMIO, 0x76, kvm_irqfd);
ioctl_iow_nr!(KVM_SET_GUEST_DEBUG, KVMIO, 0x9b, kvm_guest_debug);
ioctl_iow_nr!(KVM_GET_ONE_REG, KVMIO, 0xab, kvm_one_reg);
ioctl_ior_nr!(KVM_GET_MP_STATE, KVMIO, 0x98, kvm_mp_state);

/// The SBI call of an exit with [`EXIT_SBI`].
pub fn sbi_call(run: &kvm_run) -> SbiCall {
    // SAFETY: the exit's reason says that this is the member of the union, and all its bytes are plain numbers.
    let sbi = unsafe { run.__bindgen_anon_1.riscv_sbi };
    SbiCall { eid: sbi.extension_id, fid: sbi.function_id, args: sbi.args }
}

/// The answer to the SBI call that the vCPU waits for, taken with its next run.
pub fn answer_sbi(run: &mut kvm_run, error: u64, value: u64) {
    // SAFETY: as in `sbi_call`; the reason is still the same, since the vCPU has not run.
    let sbi = unsafe { &mut run.__bindgen_anon_1.riscv_sbi };
    sbi.ret = [error, value];
}

/// A CSR instruction that the kernel does not answer: CSR, value to write and mask of the bits to write.
pub fn csr_access(run: &kvm_run) -> (u64, u64, u64) {
    // SAFETY: the exit's reason says that this is the member of the union, and all its bytes are plain numbers.
    let csr = unsafe { run.__bindgen_anon_1.riscv_csr };
    (csr.csr_num, csr.new_value, csr.write_mask)
}

/// What the CSR instruction reads.
pub fn answer_csr(run: &mut kvm_run, value: u64) {
    // SAFETY: as in `csr_access`.
    let csr = unsafe { &mut run.__bindgen_anon_1.riscv_csr };
    csr.ret_value = value;
}

/// Turns 32-bit stores of `value` to `gpa` into events, or ends that.
pub fn io_event(vm: &impl AsRawFd, gpa: u64, value: u32, event: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let off = if on { 0 } else { 1 << kvm_ioeventfd_flag_nr_deassign };
    let event = kvm_ioeventfd {
        datamatch: value.into(),
        addr: gpa,
        len: 4,
        fd: event.as_raw_fd(),
        flags: 1 << kvm_ioeventfd_flag_nr_datamatch | off,
        ..Default::default()
    };
    // SAFETY: the kernel reads one structure of this size from the reference.
    let done = unsafe { ioctl_with_ref(vm, KVM_IOEVENTFD(), &event) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The numbers of a vCPU's registers.
pub fn register_list(fd: &impl AsRawFd) -> io::Result<Vec<u64>> {
    // The count comes first; asked with none, the kernel says how many there are.
    let mut list = vec![0];
    loop {
        // SAFETY: the kernel writes no more numbers than the first one allows, which is how many there are behind it.
        let done = unsafe { ioctl_with_mut_ptr(fd, KVM_GET_REG_LIST(), list.as_mut_ptr()) };
        let count = usize::try_from(list[0]).unwrap_or(usize::MAX);
        match io::Error::last_os_error() {
            _ if done == 0 => {
                list.truncate(1 + count);
                list.remove(0);
                return Ok(list);
            }
            e if e.raw_os_error() == Some(libc::E2BIG) && count >= list.len() && count < 1 << 16 => {
                list.resize(1 + count, 0);
            }
            e => return Err(e),
        }
    }
}

/// Another descriptor of the same thing.
pub fn copy(fd: &impl AsRawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open as long as its owner is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)
}

/// A register of 64 bits of a vCPU; also for signal handlers.
pub fn register(vcpu: &impl AsRawFd, id: u64) -> io::Result<u64> {
    let mut value = 0u64;
    let register = kvm_one_reg { id, addr: (&raw mut value).expose_provenance() as u64 };
    // SAFETY: the kernel reads the structure, and writes the register's eight bytes to the value.
    let done = unsafe { ioctl_with_ref(vcpu, KVM_GET_ONE_REG(), &register) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Whether a vCPU waits to be started; also for signal handlers.
pub fn is_stopped(vcpu: &impl AsRawFd) -> io::Result<bool> {
    let mut state = kvm_mp_state::default();
    // SAFETY: the kernel writes one structure of this size to the reference.
    let done = unsafe { ioctl_with_mut_ref(vcpu, KVM_GET_MP_STATE(), &mut state) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(state.mp_state == KVM_MP_STATE_STOPPED) }
}

/// Makes every breakpoint exception of the vCPU an exit, or none.
pub fn debug_guest(vcpu: &impl AsRawFd, on: bool) -> io::Result<()> {
    let control = if on { KVM_GUESTDBG_ENABLE } else { 0 };
    let debug = kvm_guest_debug { control, ..Default::default() };
    // SAFETY: the kernel reads one structure of this size from the reference.
    let done = unsafe { ioctl_with_ref(vcpu, KVM_SET_GUEST_DEBUG(), &debug) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Turns events into the interrupt `gsi`, or ends that.
pub fn irq_event(vm: &impl AsRawFd, gsi: u32, event: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let flags = if on { 0 } else { KVM_IRQFD_FLAG_DEASSIGN };
    let event = kvm_irqfd { fd: event.as_raw_fd() as u32, gsi, flags, ..Default::default() };
    // SAFETY: the kernel reads one structure of this size from the reference.
    let done = unsafe { ioctl_with_ref(vm, KVM_IRQFD(), &event) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The external interrupt of a vCPU, from any thread: the kernel takes this without the vCPU's lock.
pub struct InterruptLine(OwnedFd);

impl InterruptLine {
    /// Of the vCPU behind `fd`.
    pub fn of(fd: &impl AsRawFd) -> io::Result<Self> {
        copy(fd).map(Self)
    }

    pub fn set(&self, level: bool) -> io::Result<()> {
        let number = if level { KVM_INTERRUPT_SET } else { KVM_INTERRUPT_UNSET } as u32;
        // SAFETY: the kernel reads one number of 32 bits from the reference.
        let done = unsafe { ioctl_with_ref(&self.0, KVM_INTERRUPT(), &number) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Lets guests use vectors: without this the kernel gives threads none (Linux, "Vector Extension Support for RISC-V
/// Linux"). Fails harmlessly where there are none.
pub fn allow_vectors() {
    const PR_RISCV_V_SET_CONTROL: libc::c_int = 69;
    const PR_RISCV_V_VSTATE_CTRL_ON: libc::c_ulong = 2;
    // SAFETY: changes a setting of the calling thread and touches no memory.
    unsafe { libc::prctl(PR_RISCV_V_SET_CONTROL, PR_RISCV_V_VSTATE_CTRL_ON) };
}

/// Makes the harts fetch what was written to memory, in all threads of this process: a guest's first instructions, which
/// nobody fences but who wrote them.
pub fn flush_instructions() {
    const SYS_RISCV_FLUSH_ICACHE: libc::c_long = 259;
    const ALL_THREADS: libc::c_ulong = 0;
    // SAFETY: the kernel takes the range for a hint and touches no memory of it.
    unsafe { libc::syscall(SYS_RISCV_FLUSH_ICACHE, 0, 0, ALL_THREADS) };
}
