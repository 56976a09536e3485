//! The network: both directions through the VMM's own network, with checksums.

use std::sync::Arc;

use anyhow::Result;

use super::linux::{power_off, start};
use super::snapshot::Monitor;
use super::userland::boot_disk;
use super::{Case, contains, equal};
use crate::harness::vm::{Machine, Vm};
use crate::harness::{Env, http, scratch};
use crate::host;

pub const CASES: &[Case] = &[
    Case { name: "HTTP from the guest, 64 MiB", run: guest_fetches },
    Case { name: "HTTP into the guest, 64 MiB", run: guest_serves },
    Case { name: "ping, and a name that does not exist", run: ping },
    Case { name: "restrict=on keeps the guest in", run: restricted },
    Case { name: "set_link pulls the cable out", run: unplugged },
];

/// Bytes that go over.
const LENGTH: usize = 64 << 20;

fn noise_and_sum() -> Result<(Arc<Vec<u8>>, String)> {
    let dir = scratch()?;
    let file = dir.path().join("noise");
    let noise = http::noise(LENGTH);
    std::fs::write(&file, &noise)?;
    Ok((Arc::new(noise), host::sha256(&file)?))
}

fn guest_fetches(env: &Env) -> Result<()> {
    let (noise, sum) = noise_and_sum()?;
    let server = http::Server::start(noise)?;
    let mut vm = start(env, Machine::virt(&env.vireo, 2).user_net(""))?;
    vm.console.check(&format!("wget -q -O /tmp/noise http://10.0.2.2:{}/noise", server.port))?;
    contains("the checksum in the guest", &vm.console.check("sha256sum /tmp/noise")?, &sum)?;
    // Many short connections too.
    let many =
        format!("for i in $(seq 20); do wget -q -O - http://10.0.2.2:{}/ | head -c 1 | wc -c; done", server.port);
    equal("short connections", vm.console.check(&many)?.lines().filter(|l| l.trim() == "1").count(), 20)?;
    power_off(vm)
}

fn guest_serves(env: &Env) -> Result<()> {
    let (noise, sum) = noise_and_sum()?;
    let from = http::Server::start(Arc::clone(&noise))?;
    let port = http::free_port()?;
    let net = format!(",hostfwd=tcp:127.0.0.1:{port}-:8000");
    let mut vm = boot_disk(env, Machine::virt(&env.vireo, 2), &net)?;
    vm.console.check(&format!("curl -sS -o /tmp/noise http://10.0.2.2:{}/", from.port))?;
    contains("the checksum in the guest", &vm.console.check("sha256sum /tmp/noise")?, &sum)?;
    vm.console.check("(cd /tmp && exec python3 -m http.server 8000 > /tmp/log 2>&1) &")?;
    vm.console.check("until curl -sS -o /dev/null http://127.0.0.1:8000/; do sleep 0.2; done")?;
    for _ in 0..2 {
        equal("whether what the guest serves is what it got", http::get(port, "/noise")? == *noise, true)?;
    }
    vm.console.send("poweroff\n")?;
    vm.wait_off()?;
    Ok(())
}

fn ping(env: &Env) -> Result<()> {
    let mut vm = start(env, Machine::virt(&env.vireo, 1).user_net(""))?;
    contains("ping", &vm.console.check("ping -c 3 10.0.2.2")?, "3 packets received")?;
    contains("the name server", &vm.console.check("cat /etc/resolv.conf")?, "10.0.2.3")?;
    let answer = vm.console.run("nslookup name.invalid")?;
    equal("whether a name that cannot exist was found", answer.status == 0, false)?;
    power_off(vm)
}

fn restricted(env: &Env) -> Result<()> {
    let server = http::Server::start(Arc::new(b"secret".to_vec()))?;
    let mut vm = start(env, Machine::virt(&env.vireo, 1).user_net(",restrict=on"))?;
    let answer = vm.console.run(&format!("wget -q -T 5 -O - http://10.0.2.2:{}/", server.port))?;
    equal("whether the guest got out", answer.status == 0 || answer.output.contains("secret"), false)?;
    power_off(vm)
}

/// Also over a reset and a snapshot.
fn unplugged(env: &Env) -> Result<()> {
    let dir = scratch()?;
    let path = dir.path().join("monitor");
    let snapshots = format!("virt,snapshots={}", dir.path().display());
    let machine = Machine::virt(&env.vireo, 2).user_net("").args(Monitor::option(&path));
    let mut vm = start(env, machine.args(["-M", &snapshots]))?;
    let mut monitor = Monitor::at(&path)?;
    let carrier = |vm: &mut Vm, wanted: u8| {
        vm.console
            .check(&format!("until [ $(cat /sys/class/net/eth0/carrier) = {wanted} ]; do sleep 0.05; done"))
            .map(drop)
    };
    let ping = "ping -c 2 -W 2 10.0.2.2";
    vm.console.check(ping)?;
    monitor.ask("set_link net off")?;
    carrier(&mut vm, 0)?;
    equal("whether a ping came back", vm.console.run(ping)?.status == 0, false)?;
    contains("info network", &monitor.ask("info network")?, "link=down")?;
    monitor.ask("savevm down")?;
    monitor.ask("set_link net on")?;
    carrier(&mut vm, 1)?;
    contains("ping", &vm.console.check(ping)?, "2 packets received")?;
    monitor.ask("loadvm down")?;
    contains("info network", &monitor.ask("info network")?, "link=down")?;
    carrier(&mut vm, 0)?;
    monitor.ask("set_link net on")?;
    carrier(&mut vm, 1)?;
    contains("ping", &vm.console.check(ping)?, "2 packets received")?;
    monitor.ask("set_link net off")?;
    carrier(&mut vm, 0)?;
    vm.console.send("poweroff -f\n")?;
    equal("the exit code", vm.wait()?.status.code(), Some(0))
}
