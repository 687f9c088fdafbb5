//! How a job gets in line, and how it leaves: what several steps do in the same way.

use super::flaw::Flaw;
use super::scope::{End, Scope};
use super::state::{State, Wait};
use super::step::Answer;
use super::tables::MOST_DRAWN;

impl State {
    /// `job_admit_v1`.
    pub(super) fn admit(&mut self, job: u8) {
        self.turns.push(job);
        if self.head.is_none() {
            self.head = Some(job);
            self.job_mut(job).ready = true;
        } else {
            self.behind.push(job);
            self.job_mut(job).blocked = true;
        }
    }

    /// What an attempt came to, its lease being gone: once somebody has cancelled the job, what would keep it alive
    /// ends it.
    pub(super) fn settle(&mut self, scope: &Scope, flaw: Option<Flaw>, job: u8, end: End, cancel: bool) {
        let heeded = cancel && !(flaw == Some(Flaw::RetryForgetsCancel) && end == End::Retry);
        let keyed = scope.is_keyed(job);
        let row = self.job_mut(job);
        match end {
            End::Retry | End::Snooze | End::Released if heeded => {
                self.end(scope, flaw, job, End::Cancelled, None);
            }
            End::Retry if row.attempt >= row.max_attempts => self.end(scope, flaw, job, End::Fatal, None),
            End::Retry | End::Snooze => {
                row.attempt -= u8::from(end == End::Snooze);
                (row.waits, row.holds_key) = (Wait::Later, keyed);
            }
            End::Released => {
                row.attempt -= 1;
                row.ready = true;
            }
            End::Done | End::Fatal | End::Cancelled => self.end(scope, flaw, job, end, None),
        }
    }

    /// `job_end_v1`: the job leaves, and its key goes to the next in line, who becomes ready or, for an heir, is leased.
    pub(super) fn end(
        &mut self,
        scope: &Scope,
        flaw: Option<Flaw>,
        job: u8,
        end: End,
        heir: Option<(Option<u8>, bool)>,
    ) {
        let row = self.job_mut(job);
        row.row = false;
        match end {
            End::Done => row.done += 1,
            End::Fatal => row.dead = true,
            _ => row.cancelled += 1,
        }
        self.turns.remove(job);
        if !scope.is_keyed(job) || self.head != Some(job) || flaw == Some(Flaw::KeyKept) {
            return;
        }
        self.head = match flaw {
            Some(Flaw::LookBeforeLock) if self.is_settling(job) => self.open.and_then(|open| open.seen),
            Some(Flaw::OldestIsNext) => self.behind.iter().min(),
            _ => self.behind.first(),
        }
        .filter(|next| self.job(*next).blocked);
        let Some(next) = self.head else { return };
        self.behind.remove(next);
        self.job_mut(next).blocked = false;
        match heir {
            None => self.job_mut(next).ready = true,
            Some((worker, heard)) => self.inherit(flaw, next, worker, heard),
        }
    }

    /// Leases the next of a key to the worker of the one before it, who may be dead by now.
    fn inherit(&mut self, flaw: Option<Flaw>, job: u8, worker: Option<u8>, heard: bool) {
        let token = self.draw(flaw, job, Answer::Heard).unwrap_or(MOST_DRAWN);
        match worker {
            Some(worker) => {
                self.lease(worker, job, token, heard);
            }
            None => {
                self.lease(0, job, token, false);
                if let Some(lease) = &mut self.job_mut(job).lease {
                    lease.worker = None;
                }
            }
        }
    }
}
