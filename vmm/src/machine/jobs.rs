//! What programs have the machine do under a name, and look at until they have seen enough of it.
//!
//! A job is done when its command is answered. QEMU's may still be under way; who waits for `concluded` sees no difference.

use super::Machine;
use crate::monitor::event::Event;

/// Jobs that nobody has dismissed, at most.
const JOBS_MAX: usize = 64;
/// What becomes of a job, one after the other; then it is there to be looked at.
const LIFE: [&str; 5] = ["created", "running", "waiting", "pending", DONE];
const DONE: &str = "concluded";

/// A job that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    /// The command.
    pub kind: &'static str,
    pub error: Option<String>,
}

impl Machine {
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Does `work` as a job. How it went is the job's.
    ///
    /// # Errors
    /// The name is in use, or there are too many.
    pub fn do_job(
        &mut self,
        id: String,
        kind: &'static str,
        work: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.jobs.iter().any(|job| job.id == id) {
            return Err(format!("Job ID '{id}' already in use"));
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(format!("{JOBS_MAX} jobs wait to be dismissed"));
        }
        let (last, before) = LIFE.split_last().expect("a life has an end");
        let status = |status| Event::JobStatus { id: id.clone(), status };
        self.events.extend(before.iter().map(|name| status(name)));
        let error = work(self).err();
        self.events.push(status(last));
        self.jobs.push(Job { id, kind, error });
        Ok(())
    }

    /// Forgets a job.
    ///
    /// # Errors
    /// There is none with this name.
    pub fn dismiss_job(&mut self, id: &str) -> Result<(), String> {
        let i = self.jobs.iter().position(|job| job.id == id).ok_or("Job not found")?;
        self.jobs.remove(i);
        self.events.push(Event::JobStatus { id: id.to_owned(), status: "null" });
        Ok(())
    }
}
