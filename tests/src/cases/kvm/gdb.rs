//! A gdb outside of the host, at Linux that KVM runs inside.

use anyhow::Result;

use super::guests::wait_for_shell;
use super::host::Host;
use crate::cases::debugger::{gdb_symbol, write_symbols};
use crate::cases::linux::PROMPT;
use crate::cases::{contains, equal};
use crate::harness::gdb::Session;
use crate::harness::{Env, http, scratch};

/// The server's port in the host.
const PORT: u16 = 1234;

/// A breakpoint in the kernel, hit twice; steps; a watchpoint, which is refused; and the guest goes on.
pub fn linux(env: &Env, host: Host) -> Result<()> {
    let (dir, port) = (scratch()?, http::free_port()?);
    let file = dir.path().join("symbols");
    host.port(port, PORT).run(|host| {
        host.console.send(&format!(
            "vireo -accel kvm -smp 2 -m 256M -nographic -kernel /mnt/root/Image -initrd /mnt/root/initrd.gz \
             -append 'console=ttyS0 quiet' -gdb tcp::{PORT}; printf '<%s:%d>\\n' ended $?\n"
        ))?;
        wait_for_shell(host)?;
        write_symbols(host, &file)?;
        let mut gdb = Session::attach_to(env.gdb()?, &file, &format!("127.0.0.1:{port}"))?;
        contains("the threads", &gdb.ask("info threads")?, "(hart 1)")?;
        let sync = gdb_symbol(&mut gdb, "ksys_sync")?;
        let code = gdb.ask("x/4xw ksys_sync")?;
        gdb.check("break *ksys_sync", "Breakpoint 1")?;
        gdb.send("continue")?;
        host.console.send("sync; sync; echo sync-$((40 + 2))\n")?;
        for _ in 0..2 {
            contains("the stop", &gdb.stops()?, "hit Breakpoint 1, 0x")?;
            equal("the pc", gdb.value("$pc")?, sync)?;
            gdb.check("info registers priv", "[Supervisor]")?;
            equal("the code", &gdb.ask("x/4xw ksys_sync")?, &code)?;
            equal("the code as the monitor has it", gdb.ask("monitor x/i $pc")?.contains("ebreak"), false)?;
            let mut pc = sync;
            for _ in 0..3 {
                gdb.ask("stepi")?;
                let next = gdb.value("$pc")?;
                equal("whether a step is an instruction on", [2, 4].contains(&next.wrapping_sub(pc)), true)?;
                pc = next;
            }
            gdb.send("continue")?;
        }
        // The second one is on its way.
        host.console.expect("sync-42")?;
        host.console.expect(PROMPT)?;
        gdb.interrupt()?;
        contains("the stop", &gdb.stops()?, "SIGINT")?;
        gdb.ask("delete")?;

        gdb.check("watch *(long *)ksys_sync", "atchpoint 2")?;
        contains("the refusal", &gdb.ask("continue")?, "does not support watchpoints")?;
        gdb.ask("delete")?;

        gdb.check("hbreak *ksys_sync", "Hardware assisted breakpoint 3")?;
        gdb.send("continue")?;
        host.console.send("sync; echo sync-$((40 + 3))\n")?;
        contains("the stop", &gdb.stops()?, "hit Breakpoint 3")?;
        let back = gdb.value("$ra")?;
        gdb.check("finish", "Run till exit")?;
        equal("where it returns to", gdb.value("$pc")?, back)?;
        gdb.ask("delete")?;
        gdb.check("detach", "detached")?;
        host.console.expect("sync-43")?;
        host.console.expect(PROMPT)?;
        host.console.send("poweroff -f\n")?;
        host.console.expect("<ended:0>")?;
        host.console.expect(PROMPT).map(drop)
    })
}
