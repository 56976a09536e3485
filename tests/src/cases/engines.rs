//! Linux goes from engine to engine while it works, and nobody in it sees that.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::snapshot::Monitor;
use super::userland::{CHECKS, boot_disk_with};
use super::{Case, contains, equal};
use crate::differential::rng::Rng;
use crate::harness::vm::Machine;
use crate::harness::{Env, http, scratch};
use crate::host;

pub const CASES: &[Case] = &[Case { name: "Linux works on while engines change", run: |env| works_on(env, 20, 1) }];

/// Milliseconds on an engine before the next switch, at most. The interpreter is many times slower.
const STAY: [(&str, u64); 2] = [("interp", 300), ("tcg", 1200)];

/// What runs in the guest all the time, until `/tmp/stop` is there: each names a round that it has finished in
/// `/tmp/rounds.NAME`, and something that is wrong in `/tmp/wrong`.
const WORK: [(&str, &str); 4] = [
    ("compiler", "gcc -O2 -o check check.c -lm && ./check | sha256sum | cmp - /tmp/check.sum"),
    ("disk", "cp /tmp/noise copy && sync && echo 3 > /proc/sys/vm/drop_caches && cmp copy /tmp/noise"),
    ("network", "curl -s -m 600 -o fetched $URL && cmp fetched /tmp/noise"),
    (
        "timers",
        "python3 -c 'import time\nt = time.monotonic_ns()\nfor i in range(100):\n    time.sleep(0.005)\n    \
         n = time.monotonic_ns()\n    assert n - t >= 5000000, (t, n)\n    t = n'",
    ),
];

/// Switches that often, at moments that follow from `seed`, while the guest compiles, writes, reads, fetches and sleeps.
pub fn works_on(env: &Env, switches: u32, seed: u64) -> Result<()> {
    let dir = scratch()?;
    let (path, check, noise) = (dir.path().join("monitor"), dir.path().join("check.tar"), dir.path().join("noise"));
    let (_, source, _) = CHECKS.iter().find(|(name, ..)| *name == "check.c").context("no program to compile")?;
    std::fs::write(dir.path().join("check.c"), source)?;
    host::run(host::command("tar").arg("-cf").arg(&check).arg("-C").arg(dir.path()).arg("check.c"))?;
    let mut rng = Rng::new(seed);
    let bytes: Vec<u8> = (0..1 << 18).flat_map(|_| rng.bits().to_le_bytes()).collect();
    std::fs::write(&noise, &bytes)?;
    let sum = host::sha256(&noise)?;
    let server = http::Server::start(Arc::new(bytes))?;

    let machine = Machine::virt(&env.vireo, 2).args(Monitor::option(&path));
    let mut vm = boot_disk_with(env, machine, &check)?;
    let url = format!("http://10.0.2.2:{}/", server.port);
    vm.console.check(&format!("curl -s -o /tmp/noise {url}"))?;
    contains("what was fetched", &vm.console.check("sha256sum /tmp/noise")?, &sum)?;
    vm.console
        .check("cd /tmp && tar -xf /dev/vdb && gcc -O2 -o check check.c -lm && ./check | sha256sum > check.sum")?;
    let start = |(name, command): &(&str, &str)| {
        format!(
            "mkdir /root/{name}; (cd /root/{name}; cp /tmp/check.c .; export URL={url}; while [ ! -e /tmp/stop ]; do \
             {command} && echo >> /tmp/rounds.{name} || echo {name} >> /tmp/wrong; done) > /tmp/said.{name} 2>&1 &\n"
        )
    };
    vm.console.check(&format!("touch {}", WORK.map(|(name, _)| format!("/tmp/rounds.{name}")).join(" ")))?;
    let script: String = WORK.iter().map(start).collect();
    vm.console.check(&format!("cat > /tmp/work << 'END'\n{script}END\nset +m; . /tmp/work"))?;

    let mut monitor = Monitor::at(&path)?;
    let mut longest: f64 = 0.0;
    for n in 0..switches {
        let (engine, stay) = STAY[n as usize % 2];
        let answer = monitor.ask(&format!("accel {engine}"))?;
        let downtime = answer.split_once("downtime: ").and_then(|(_, rest)| rest.split_once(" ms")?.0.parse().ok());
        longest = longest.max(downtime.with_context(|| format!("the monitor says {answer:?}"))?);
        contains("the engines", &monitor.ask("info accel")?, &format!("\n* {engine}"))?;
        // Sometimes at once.
        if !rng.one_in(8) {
            sleep(Duration::from_millis(rng.below(stay)));
        }
    }
    println!("            {switches} switches; the longest downtime: {longest:.1} ms");
    if switches % 2 == 1 {
        monitor.ask("accel tcg")?;
    }
    // Each goes on, with something that began under the last engine.
    let rounds = "wc -l < /tmp/rounds.";
    for (name, _) in WORK {
        vm.console
            .check(&format!("n=$({rounds}{name}); while [ $({rounds}{name}) -lt $((n + 2)) ]; do sleep 0.2; done"))?;
    }
    vm.console.check("touch /tmp/stop; wait")?;
    let wrong = vm.console.check("cat /tmp/wrong /tmp/said.* 2> /dev/null | head -n 20")?;
    equal("what is wrong", wrong.as_str(), "")?;
    let kernel_log = vm.console.check("dmesg -r | grep -E '^<[0-3]>' || true")?;
    equal("the kernel's errors", kernel_log.as_str(), "")?;
    vm.console.send("poweroff\n")?;
    // Where the monitor is was told on standard error.
    equal("the exit code", vm.wait()?.status.code(), Some(0))
}
