//! The events: what each tells beside its name. One row an event ([`EVENTS`]).

use ::devices::virtio::blk::Answer;
use serde_json::{Value, json};

use super::dump;
use super::shape::Shape;
use crate::disk_errors::DriveError;
use crate::machine::Switched;
use crate::monitor::event::Event;

/// An event, for the schema.
pub struct Row {
    pub name: &'static str,
    pub tells: &'static [(&'static str, Shape)],
    /// Where there is something to tell.
    pub may_tell: &'static [(&'static str, Shape)],
}

const ENDING: &[(&str, Shape)] = &[("guest", Shape::Flag), ("reason", Shape::Text)];

pub const EVENTS: &[Row] = &[
    Row { name: "STOP", tells: &[], may_tell: &[] },
    Row { name: "RESUME", tells: &[], may_tell: &[] },
    Row { name: "RESET", tells: ENDING, may_tell: &[] },
    Row { name: "SHUTDOWN", tells: ENDING, may_tell: &[] },
    Row { name: "POWERDOWN", tells: &[], may_tell: &[] },
    Row {
        name: "BLOCK_IO_ERROR",
        tells: &[
            ("qom-path", Shape::Text),
            ("device", Shape::Text),
            ("node-name", Shape::Text),
            ("operation", Shape::Word { of: "IoOperationType", words: &["read", "write"] }),
            ("action", Shape::Word { of: "BlockErrorAction", words: &["ignore", "report", "stop"] }),
            ("nospace", Shape::Flag),
            ("reason", Shape::Text),
        ],
        may_tell: &[],
    },
    Row { name: "DUMP_COMPLETED", tells: &[("result", Shape::Any)], may_tell: &[("error", Shape::Text)] },
    Row { name: "JOB_STATUS_CHANGE", tells: &[("id", Shape::Text), ("status", Shape::Text)], may_tell: &[] },
    Row { name: "MIGRATION", tells: &[("status", Shape::Text)], may_tell: &[] },
    Row { name: "MIGRATION_PASS", tells: &[("pass", Shape::Integer)], may_tell: &[] },
    Row {
        name: "__ORG.VIREO_ACCEL_CHANGE",
        tells: &[("from", Shape::Text), ("to", Shape::Text), ("reason", Shape::Text), ("downtime", Shape::Number)],
        may_tell: &[],
    },
];

/// What an event tells beside its name.
pub fn data(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Switched(Switched { from, to, reason, downtime }) => {
            json!({ "from": from, "to": to, "reason": reason.name(), "downtime": downtime.as_secs_f64() })
        }
        Event::Dumped { status, error } => {
            let mut data = json!({ "result": dump::status(Some(*status)) });
            if let Some(error) = error {
                data["error"] = json!(error);
            }
            data
        }
        Event::Move(status) => json!({ "status": status }),
        Event::MovePass(pass) => json!({ "pass": pass }),
        Event::JobStatus { id, status } => json!({ "id": id, "status": status.name() }),
        Event::BlockIoError(DriveError { drive, device, error }) => json!({
            "qom-path": format!("/machine/peripheral/{device}/virtio-backend"),
            "device": drive,
            // Every drive is one node, by its own name.
            "node-name": drive,
            "operation": if error.write { "write" } else { "read" },
            "action": match error.answer {
                Answer::Report => "report",
                Answer::Ignore => "ignore",
                Answer::Stop => "stop",
            },
            "nospace": error.full,
            "reason": error.reason,
        }),
        _ => {
            let (guest, reason) = event.reason()?;
            json!({ "guest": guest, "reason": reason })
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::devices::virtio::blk::DiskError;

    use super::*;
    use crate::machine::{DumpState, DumpStatus, JobStatus, Reason};
    use crate::monitor::event::Cause;

    /// One of each; a new kind has to be added for this to compile.
    fn all() -> Vec<Event> {
        let switched = Switched { from: "kvm", to: "tcg", reason: Reason::Request, downtime: Duration::from_millis(5) };
        let error = DiskError { write: true, full: false, answer: Answer::Stop, reason: "it burns".into() };
        let all = vec![
            Event::Stop,
            Event::Resume,
            Event::Powerdown,
            Event::Reset(Cause::Guest),
            Event::Shutdown(Cause::Monitor),
            Event::NoReboot(Cause::User),
            Event::Switched(switched),
            Event::JobStatus { id: "j".into(), status: JobStatus::Created },
            Event::Move("active"),
            Event::MovePass(1),
            Event::Dumped {
                status: DumpStatus { state: DumpState::Failed, completed: 0, total: 1 },
                error: Some("full".into()),
            },
            Event::BlockIoError(DriveError { drive: "d".into(), device: "b".into(), error }),
        ];
        for event in &all {
            match event {
                Event::Stop
                | Event::Resume
                | Event::Powerdown
                | Event::Reset(_)
                | Event::Shutdown(_)
                | Event::NoReboot(_)
                | Event::Switched(_)
                | Event::JobStatus { .. }
                | Event::Move(_)
                | Event::MovePass(_)
                | Event::Dumped { .. }
                | Event::BlockIoError(_) => assert!(event.name().is_some()),
                // Not told.
                Event::Stands | Event::Stays(_) | Event::Debug { .. } => assert!(event.name().is_none()),
            }
        }
        all
    }

    #[test]
    fn events_tell_what_their_rows_say() {
        let mut named = Vec::new();
        for event in all() {
            let name = event.name().unwrap();
            let row = EVENTS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row for {name}"));
            named.push(name);
            let data = data(&event).unwrap_or_else(|| json!({}));
            let data = data.as_object().unwrap();
            assert_eq!(data.len(), row.tells.len() + row.may_tell.len(), "{name}");
            for (member, shape) in row.tells.iter().chain(row.may_tell) {
                let value = &data[*member];
                let fits = match shape {
                    Shape::Text => value.is_string(),
                    Shape::Flag => value.is_boolean(),
                    Shape::Number => value.is_number(),
                    Shape::Integer => value.is_u64(),
                    Shape::Any => !value.is_null(),
                    Shape::Word { words, .. } => words.contains(&value.as_str().unwrap()),
                    other => panic!("{other:?}"),
                };
                assert!(fits, "{name}: {member}: {value}");
            }
        }
        assert!(EVENTS.iter().all(|row| named.contains(&row.name)));
    }
}
