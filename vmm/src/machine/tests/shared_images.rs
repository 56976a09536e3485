//! Machines that move, and the images that both have open.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::monitor::with_person;
use super::*;

/// The one that has the guest has the locks, of disks and of flash banks.
#[test]
fn locks_go_where_the_guest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, flash, way) = (dir.path().join("disk"), dir.path().join("flash"), dir.path().join("way"));
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    std::fs::File::create(&flash).unwrap().set_len(32 << 20).unwrap();
    let disk = format!("file={},id=d", disk.display());
    let flash = format!("if=pflash,file={},id=f", flash.display());
    let words = ["-m", "6M", "-bios", "none", "-drive", &disk, "-drive", &flash];
    let incoming = format!("unix:{}", way.display());
    thread::scope(|s| {
        with_person(&words, |mut here, _| {
            assert_eq!(here.ask("info status"), "VM status: running\n");
            // Nobody else starts with these.
            let other = run_on(&[&["-nodefaults"], &words[..]].concat(), vec![]).0.unwrap_err();
            assert!(other.starts_with("cannot open drive 'd'"), "{other}");
            let only_flash = ["-nodefaults", "-m", "6M", "-bios", "none", "-drive", &flash];
            let other = run_on(&only_flash, vec![]).0.unwrap_err();
            assert!(other.starts_with("cannot open drive 'f'") && other.contains("in use"), "{other}");
            // But who waits for the guest does, and gets them with it.
            let words = [&words[..], &["-incoming", &incoming]].concat();
            let (tell, told) = std::sync::mpsc::channel();
            let there = s.spawn(move || {
                with_person(&words, move |mut there, _| {
                    while there.ask("info status") != "VM status: running\n" {
                        thread::sleep(Duration::from_millis(1));
                    }
                    // Before it ends, which gives the locks up.
                    told.recv().unwrap();
                    there.0.write_all(b"q\n").unwrap();
                });
            });
            while !way.exists() {
                thread::sleep(Duration::from_millis(1));
            }
            let answer = here.ask(&format!("migrate {incoming}"));
            assert!(answer.contains("completed"), "{answer}");
            assert!(here.ask("cont").starts_with("Error: cannot open drive 'd'"));
            tell.send(()).unwrap();
            there.join().unwrap();
            // Nobody has them now: it may go on after all.
            assert_eq!(here.ask("cont"), "");
            here.0.write_all(b"q\n").unwrap();
        });
    });
}
