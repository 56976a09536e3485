//! What guests are given of a host: memory of every kind, and CPUs.

use anyhow::Result;

use crate::cases::{contains, equal};
use crate::harness::vm::Vm;

/// The demo guest's self test with its RAM in all places there are.
pub fn backends(host: &mut Vm) -> Result<()> {
    let run = |object: &str| {
        format!(
            "vireo -accel kvm -nographic -append selftest -M memory-backend=m \
             -object memory-backend-{object},id=m,size=64M < /dev/null 2>&1"
        )
    };
    // Without huge pages, and with just enough.
    let huge = "memfd,hugetlb=on,hugetlbsize=2M,prealloc=on";
    let said = host.console.check(&format!("{}; test $? = 1", run(huge)))?;
    contains("the refusal", &said, "needs 32 huge pages of 2M, and 0 are free on this host")?;
    host.console.check("echo 32 > /proc/sys/vm/nr_hugepages && test $(cat /proc/sys/vm/nr_hugepages) = 32")?;
    for object in [
        huge,
        "ram,prealloc=on",
        "ram,share=on",
        "memfd",
        "memfd,share=off",
        "file,mem-path=/tmp/ram,share=on",
        "file,mem-path=/tmp/ram",
        "file,mem-path=/tmp/ram,readonly=on,rom=off",
        "file,mem-path=/tmp",
    ] {
        contains(object, &host.console.check(&run(object))?, " passed, 0 failed")?;
    }
    host.console.check("rm /tmp/ram")?;
    let locked = "vireo -accel kvm -nographic -append selftest -overcommit mem-lock=on -m 32M < /dev/null 2>&1";
    contains("locked memory", &host.console.check(locked)?, " passed, 0 failed")
}

/// Harts stay on the host's CPUs that they are given, the other way round than the host would.
pub fn affinity(host: &mut Vm) -> Result<()> {
    let console = &mut host.console;
    console.check("mkfifo /tmp/in")?;
    console.check("vireo -accel kvm -nographic -smp 2,affinity=0@1:1@0 < /tmp/in > /tmp/out 2>&1 & exec 3> /tmp/in")?;
    console.check("until grep -q 'vireo> ' /tmp/out; do sleep 1; done")?;
    for (thread, cpu) in [("vcpu0", "1"), ("vcpu1", "0"), ("vireo", "0-1")] {
        let status = format!("grep -l '^Name:.*{thread}$' /proc/$(pidof vireo)/task/*/status");
        let list = console.check(&format!("sed -n 's/^Cpus_allowed_list:.//p' $({status})"))?;
        equal(thread, list.trim(), cpu)?;
    }
    console.check("echo poweroff >&3; exec 3>&-; wait; rm /tmp/in")?;
    let refused = "vireo -accel kvm -nographic -smp 2,affinity=1@2 < /dev/null 2>&1; test $? = 1";
    contains("the refusal", &console.check(refused)?, "hart 1: CPU 2 is none of 0-1, where vireo may run")
}
