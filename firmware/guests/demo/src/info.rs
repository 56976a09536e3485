//! Tells what machine this is.

use crate::console::println;
use crate::sbi;

/// A size with a unit.
fn mib(bytes: usize) -> usize {
    bytes >> 20
}

pub fn print_machine() {
    let m = crate::machine();
    let base = |fid| sbi::call(sbi::BASE, fid, [0; 5]).value;
    println!("machine    {}", m.model);
    println!("harts      {} (boot hart {})", m.hart_count, crate::hart::this().id);
    println!("isa        {}", m.isa);
    println!("mmu        {}", m.mmu);
    println!("memory     {} MiB at {:#x}", mib(m.memory_size), m.memory_base);
    println!("image      {:#x}..{:#x}", crate::memory::image_start(), crate::memory::image_end());
    println!("timebase   {} Hz", m.timebase);
    println!(
        "sbi        {}.{}, implementation {:#x} version {:#x}",
        base(0) >> 24,
        base(0) & 0xff_ffff,
        base(1),
        base(2)
    );
    println!("ids        vendor {:#x} arch {:#x} imp {:#x}", base(4), base(5), base(6));
    println!("bootargs   {}", m.bootargs);
    for d in m.devices() {
        let name = d.compatible.split('\0').next().unwrap_or("");
        println!("  {:#11x} {:#9x} irq {:<3} {} ({})", d.base, d.size, d.irq, d.name, name);
    }
}
