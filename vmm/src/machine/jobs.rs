//! What programs have the machine do under a name, and look at until they have seen enough of it.

use super::Machine;
use super::task::Ticket;
use crate::monitor::event::Event;

/// Jobs that nobody has dismissed, at most.
const JOBS_MAX: usize = 64;

/// QMP's `JobStatus`, what a job comes through here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    Created,
    Running,
    /// It is done, and nobody has to wait for anything.
    Waiting,
    Pending,
    /// It has failed, or somebody has given it up.
    Aborting,
    /// It is there to be looked at.
    Concluded,
    /// It is gone.
    Null,
}

impl JobStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Aborting => "aborting",
            Self::Concluded => "concluded",
            Self::Null => "null",
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    /// The command.
    pub kind: &'static str,
    pub status: JobStatus,
    pub error: Option<String>,
    /// What is done, and of how much; the unit is the job's own.
    pub progress: (u64, u64),
    /// The snapshot that it waits for.
    ticket: Option<Ticket>,
}

impl Machine {
    /// The newest first.
    pub fn jobs(&mut self) -> impl Iterator<Item = &Job> {
        for i in 0..self.jobs.len() {
            self.update_progress(i);
        }
        self.jobs.iter().rev()
    }

    fn update_progress(&mut self, i: usize) {
        if let Some((done, total, _)) = self.jobs[i].ticket.as_ref().and_then(|ticket| self.task_progress(ticket)) {
            self.jobs[i].progress = (done, total);
        }
    }

    fn job(&self, id: &str) -> Result<usize, String> {
        self.jobs.iter().position(|job| job.id == id).ok_or_else(|| "Job not found".to_owned())
    }

    /// Begins `work` as a job. It is done when it returns, or has a snapshot to wait for. How it went is the job's.
    ///
    /// # Errors
    /// The name is in use, or there are too many.
    pub fn start_job(
        &mut self,
        id: String,
        kind: &'static str,
        work: impl FnOnce(&mut Self) -> Result<Option<Ticket>, String>,
    ) -> Result<(), String> {
        if self.job(&id).is_ok() {
            return Err(format!("Job ID '{id}' already in use"));
        }
        if self.jobs.len() >= JOBS_MAX {
            return Err(format!("{JOBS_MAX} jobs wait to be dismissed"));
        }
        let i = self.jobs.len();
        self.jobs.push(Job { id, kind, status: JobStatus::Created, error: None, progress: (0, 1), ticket: None });
        self.set_job(i, JobStatus::Created);
        self.set_job(i, JobStatus::Running);
        match work(self) {
            Ok(Some(ticket)) => self.jobs[i].ticket = Some(ticket),
            done => {
                self.jobs[i].progress = (1, 1);
                self.end_job(i, done.map(drop));
            }
        }
        Ok(())
    }

    fn set_job(&mut self, i: usize, status: JobStatus) {
        let job = &mut self.jobs[i];
        job.status = status;
        self.events.push(Event::JobStatus { id: job.id.clone(), status });
    }

    fn end_job(&mut self, i: usize, done: Result<(), String>) {
        let aborting = self.jobs[i].status == JobStatus::Aborting;
        match done {
            Ok(()) => {
                self.set_job(i, JobStatus::Waiting);
                self.set_job(i, JobStatus::Pending);
            }
            Err(_) if aborting => self.jobs[i].error = Some("Operation canceled".to_owned()),
            Err(error) => {
                self.set_job(i, JobStatus::Aborting);
                self.jobs[i].error = Some(error);
            }
        }
        self.set_job(i, JobStatus::Concluded);
    }

    /// Some may have come to their end.
    pub(super) fn look_after_jobs(&mut self) {
        for i in 0..self.jobs.len() {
            self.update_progress(i);
            if let Some(done) = self.jobs[i].ticket.as_ref().and_then(Ticket::end) {
                let job = &mut self.jobs[i];
                job.ticket = None;
                if done.is_ok() {
                    job.progress.0 = job.progress.1;
                }
                self.end_job(i, done);
            }
        }
    }

    /// Gives a job up. Its end tells of it.
    ///
    /// # Errors
    /// There is none with this name, or it is too late for that.
    pub fn cancel_job(&mut self, id: &str) -> Result<(), String> {
        let i = self.job(id)?;
        let (status, ticket) = (self.jobs[i].status, self.jobs[i].ticket.clone());
        let Some(ticket) = ticket.filter(|_| status == JobStatus::Running) else {
            return Err(refused(id, status, "cancel"));
        };
        self.cancel_task(&ticket)?;
        self.set_job(i, JobStatus::Aborting);
        Ok(())
    }

    /// Forgets a job.
    ///
    /// # Errors
    /// There is none with this name, or it is not done.
    pub fn dismiss_job(&mut self, id: &str) -> Result<(), String> {
        let i = self.job(id)?;
        if self.jobs[i].status != JobStatus::Concluded {
            return Err(refused(id, self.jobs[i].status, "dismiss"));
        }
        self.set_job(i, JobStatus::Null);
        self.jobs.remove(i);
        Ok(())
    }
}

/// QEMU's words.
fn refused(id: &str, status: JobStatus, verb: &str) -> String {
    format!("Job '{id}' in state '{}' cannot accept command verb '{verb}'", status.name())
}
