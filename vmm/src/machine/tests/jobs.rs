//! Snapshots as programs have them made and looked at.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::monitor::{Person, connect};
use super::named::{Held, is};
use super::qmp::{Program, with_program};

#[test]
fn snapshots_are_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, path) = (dir.path().join("disk"), dir.path().display().to_string());
    std::fs::write(&disk, [7; 8192]).unwrap();
    let (drive, machine) = (format!("file={},if=none,id=d0", disk.display()), format!("virt,snapshots={path}"));
    let words = ["-M", &machine, "-m", "6M", "-drive", &drive, "-device", "virtio-blk-device,drive=d0"];
    with_program(&words, |mut p, _| {
        // Does a job, and gives its error.
        let mut job = |command: &str, tag: &str, devices: Value| {
            let mut arguments = json!({ "job-id": "j", "tag": tag, "devices": devices });
            if command != "snapshot-delete" {
                arguments["vmstate"] = json!("d0");
            }
            p.say(json!({ "execute": command, "arguments": arguments }).to_string());
            let (mut said, mut answered) = (Vec::new(), false);
            while !answered || said.last().is_none_or(|status| status != "concluded") {
                let line = p.hear();
                match line["event"].as_str() {
                    Some("JOB_STATUS_CHANGE") => said.push(line["data"]["status"].as_str().unwrap().to_owned()),
                    Some(_) => {}
                    None => {
                        assert_eq!(line, json!({ "return": {} }));
                        answered = true;
                    }
                }
            }
            let jobs = p.ask("query-jobs");
            let way: &[_] = if jobs[0]["error"].is_null() { &["waiting", "pending"] } else { &["aborting"] };
            assert_eq!(said, [&["created", "running"], way, &["concluded"]].concat());
            assert_eq!((&jobs[0]["type"], &jobs[0]["status"]), (&json!(command), &json!("concluded")));
            assert_eq!(jobs[0]["current-progress"], jobs[0]["total-progress"]);
            p.say(r#"{"execute":"job-dismiss","arguments":{"id":"j"}}"#);
            assert_eq!(p.hear()["data"]["status"], "null");
            assert_eq!(p.hear(), json!({ "return": {} }));
            assert_eq!(p.ask("query-jobs"), json!([]));
            jobs[0]["error"].as_str().map(str::to_owned)
        };
        let error = |text: &str| Some(text.to_owned());
        let all = || json!(["d0"]);
        assert_eq!(job("snapshot-save", "t", json!(["d1"])), error("No block device node 'd1'"));
        let without = error("Device 'd0' is writable, and the snapshot would be without it");
        assert_eq!(job("snapshot-save", "t", json!([])), without);
        assert_eq!(job("snapshot-save", "t", all()), None);
        assert_eq!(job("snapshot-save", "t", all()), error("Snapshot 't' already exists"));
        std::fs::write(&disk, [9; 8192]).unwrap();
        assert_eq!(job("snapshot-load", "t", all()), None);
        assert_eq!(std::fs::read(&disk).unwrap(), [7; 8192]);
        assert!(job("snapshot-load", "u", all()).unwrap().starts_with("cannot load 'u': No such file"));
        assert_eq!(job("snapshot-delete", "t", all()), None);
        assert_eq!(job("snapshot-delete", "t", all()), None);
        assert!(job("snapshot-load", "t", all()).is_some());

        let no = |p: &mut Program, command: &str, arguments: Value| {
            let answer = p.send(json!({ "execute": command, "arguments": arguments }));
            answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        assert_eq!(no(&mut p, "job-dismiss", json!({ "id": "x" })), "Job not found");
        assert_eq!(no(&mut p, "job-cancel", json!({ "id": "x" })), "Job not found");
        p.quit();
    });
}

/// A job goes on when its command is answered.
#[test]
fn a_job_is_looked_at_and_given_up() {
    use qapi::qmp;

    let mut held = Held::new(&[]);
    held.disk();
    let other = held.also("-monitor");
    held.run("-qmp", |path, gate| {
        let (stream, mut o) = (connect(path), Person::at(&other));
        let mut p = qapi::Qmp::from_stream(&stream);
        p.handshake().unwrap();
        let statuses = |p: &mut qapi::Qmp<_>| -> Vec<qmp::JobStatus> {
            let of = |event| match event {
                qmp::Event::JOB_STATUS_CHANGE { data, .. } => Some(data.status),
                _ => None,
            };
            p.events().filter_map(of).collect()
        };
        let save = |id: &str, tag: &str| qmp::snapshot_save {
            job_id: id.into(),
            tag: tag.into(),
            vmstate: "d0".into(),
            devices: vec!["d0".into()],
        };
        let is_concluded = |job: &qmp::JobInfo| job.status == qmp::JobStatus::concluded;
        use qmp::JobStatus::{aborting, concluded, created, null, pending, running, waiting};
        p.execute(&save("j", "one")).unwrap();
        assert_eq!(statuses(&mut p), [created, running]);
        let state = p.execute(&qmp::query_status {}).unwrap();
        assert_eq!((state.status, state.running), (qmp::RunState::save_vm, false));
        let jobs = p.execute(&qmp::query_jobs {}).unwrap();
        assert_eq!((jobs.len(), &*jobs[0].id, jobs[0].status, &jobs[0].error), (1, "j", running, &None));
        assert_eq!((jobs[0].current_progress, jobs[0].total_progress), (0, (6 << 20) + 8192));
        // One at a time; the newest first.
        p.execute(&save("k", "two")).unwrap();
        assert_eq!(statuses(&mut p), [created, running, aborting, concluded]);
        let jobs = p.execute(&qmp::query_jobs {}).unwrap();
        assert_eq!((&*jobs[0].id, &*jobs[1].id), ("k", "j"));
        assert_eq!(jobs[0].error.as_deref(), Some("the machine is being saved as 'one'"));
        let no = |done: Result<qapi::Empty, qapi::ExecuteError>| done.unwrap_err().to_string();
        let text = no(p.execute(&qmp::job_dismiss { id: "j".into() }));
        assert!(text.contains("Job 'j' in state 'running' cannot accept command verb 'dismiss'"), "{text}");
        p.execute(&qmp::job_cancel { id: "j".into() }).unwrap();
        let text = no(p.execute(&qmp::job_cancel { id: "j".into() }));
        assert!(text.contains("Job 'j' in state 'aborting' cannot accept command verb 'cancel'"), "{text}");
        gate.open();
        while !p.execute(&qmp::query_jobs {}).unwrap().iter().all(is_concluded) {}
        assert_eq!(statuses(&mut p), [aborting, concluded]);
        let jobs = p.execute(&qmp::query_jobs {}).unwrap();
        assert_eq!(jobs[1].error.as_deref(), Some("Operation canceled"));
        assert_eq!(held.files(), [""; 0]);
        assert_eq!(o.ask("info status"), is("running"));
        for id in ["j", "k"] {
            p.execute(&qmp::job_dismiss { id: id.into() }).unwrap();
        }
        assert_eq!(statuses(&mut p), [null, null]);

        p.execute(&save("j", "one")).unwrap();
        gate.open();
        while !p.execute(&qmp::query_jobs {}).unwrap().iter().all(is_concluded) {}
        assert_eq!(statuses(&mut p), [created, running, waiting, pending, concluded]);
        let load = qmp::snapshot_load {
            job_id: "l".into(),
            tag: "one".into(),
            vmstate: "d0".into(),
            devices: vec!["d0".into()],
        };
        let before = gate.came.load(Ordering::SeqCst);
        p.execute(&load).unwrap();
        assert_eq!(p.execute(&qmp::query_status {}).unwrap().status, qmp::RunState::restore_vm);
        gate.open();
        gate.wait_for(before + 2);
        let text = no(p.execute(&qmp::job_cancel { id: "l".into() }));
        assert!(text.contains("it is too late: 'one' is being put into RAM and disks already"), "{text}");
        let jobs = p.execute(&qmp::query_jobs {}).unwrap();
        // Looked at once, put into its place twice: RAM, and images.
        assert_eq!(jobs[0].current_progress * 3, jobs[0].total_progress);
        gate.open();
        while !p.execute(&qmp::query_jobs {}).unwrap().iter().all(is_concluded) {}
        assert_eq!(p.execute(&qmp::query_jobs {}).unwrap()[0].error, None);
        assert!(p.execute(&qmp::query_status {}).unwrap().running);
        p.execute(&qmp::quit {}).unwrap();
    });
}

/// A program that has people's commands done has its answer at the end, as QEMU's; others have theirs meanwhile.
#[test]
fn a_program_waits_for_a_human_command() {
    let mut held = Held::new(&[]);
    let other = held.also("-monitor");
    held.run("-qmp", |path, gate| {
        let (mut p, mut o) = (Program::at(path), Person::at(&other));
        let human = |line: &str| {
            let arguments = json!({ "command-line": line });
            json!({ "execute": "human-monitor-command", "arguments": arguments, "id": line }).to_string()
        };
        p.say(human("savevm one") + &human("info status"));
        assert_eq!(p.hear(), json!({ "event": "STOP" }));
        assert_eq!(o.ask("info status"), is("paused (save-vm)"));
        gate.open();
        assert_eq!(p.hear(), json!({ "event": "RESUME" }));
        assert_eq!(p.hear(), json!({ "return": "", "id": "savevm one" }));
        assert_eq!(p.hear(), json!({ "return": "VM status: running\r\n", "id": "info status" }));
        // A refusal, at once and later.
        assert!(p.human("loadvm two").starts_with("Error: cannot load 'two': No such file"));
        std::fs::write(held.path("two.vireo"), "no snapshot, but long enough to have a header").unwrap();
        p.say(human("loadvm two"));
        assert_eq!(p.hear(), json!({ "event": "STOP" }));
        gate.open();
        assert_eq!(p.hear(), json!({ "event": "RESUME" }));
        assert!(p.hear()["return"].as_str().unwrap().contains("it is no snapshot of vireo"));
        p.quit();
    });
}
