//! What is explored: the rows of a few jobs, and what each worker has in hand.

use super::flaw::Flaw;

/// The most jobs.
pub(crate) const JOBS: usize = 3;
/// The most workers.
pub(crate) const WORKERS: usize = 2;

/// The token of an attempt whose lease is gone. Random tokens are never drawn twice, so all of those are alike.
pub(crate) const GONE: u8 = u8::MAX;

/// A row of `job_lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lease {
    pub(crate) token: u8,
    /// None once the process that had it is dead: another never has its id.
    pub(crate) worker: Option<u8>,
    /// By the database's clock.
    pub(crate) ran_out: bool,
    pub(crate) cancel: bool,
}

/// A row of `job_scheduled`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wait {
    #[default]
    No,
    Later,
    Due,
}

/// The rows of one job, in whatever tables, and below them what only a witness knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Job {
    pub(crate) row: bool,
    pub(crate) ready: bool,
    pub(crate) waits: Wait,
    pub(crate) holds_key: bool,
    pub(crate) blocked: bool,
    pub(crate) lease: Option<Lease>,
    pub(crate) done: u8,
    pub(crate) cancelled: u8,
    pub(crate) dead: bool,
    pub(crate) attempt: u8,
    pub(crate) crashes: u8,
    pub(crate) max_attempts: u8,
    /// How many tokens were drawn, where they are counted.
    pub(crate) drawn: u8,
    /// Accepted: its enqueue has committed.
    pub(crate) put_in: bool,
    /// Somebody was told that it is or will be cancelled.
    pub(crate) asked: bool,
    /// How many attempts were taken back since it was put in or redriven.
    pub(crate) died_under: u8,
    pub(crate) redriven: bool,
}

/// An attempt that a worker has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hold {
    pub(crate) token: u8,
    /// Whether the lease that there is now was given for this very attempt: what the token is to prove.
    pub(crate) rightful: bool,
}

/// Jobs in an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Line {
    jobs: [u8; JOBS],
    len: u8,
}

impl Line {
    pub(crate) fn first(&self) -> Option<u8> {
        self.iter().next()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u8> {
        self.jobs.into_iter().take(usize::from(self.len))
    }

    pub(crate) fn push(&mut self, job: u8) {
        self.jobs[usize::from(self.len)] = job;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, job: u8) {
        let rest = *self;
        *self = Self::default();
        rest.iter().filter(|j| *j != job).for_each(|j| self.push(j));
    }
}

/// The acknowledgement of a job with an order key, between its locks and its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Open {
    /// None once its process is dead; the server goes on with what it was told.
    pub(crate) worker: Option<u8>,
    pub(crate) job: u8,
    /// Whether the next of the key shall be leased to the worker.
    pub(crate) keeps: bool,
    /// Who stood behind the head before the key was locked, for the flaw of looking too early.
    pub(crate) seen: Option<u8>,
}

/// The state of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct State {
    pub(crate) jobs: [Job; JOBS],
    /// Of each worker and job: one attempt that has the lease, and one that lost it.
    pub(crate) holds: [[[Option<Hold>; 2]; JOBS]; WORKERS],
    /// `job_key`: who is the head of the one order key that there is.
    pub(crate) head: Option<u8>,
    /// `job_blocked`, by `seq`.
    pub(crate) behind: Line,
    /// The line as a witness has seen it form, the head included.
    pub(crate) turns: Line,
    pub(crate) open: Option<Open>,
}

impl State {
    pub(crate) fn job(&self, job: u8) -> &Job {
        &self.jobs[usize::from(job)]
    }

    pub(crate) fn job_mut(&mut self, job: u8) -> &mut Job {
        &mut self.jobs[usize::from(job)]
    }

    pub(crate) fn hold(&self, worker: u8, job: u8, which: u8) -> Option<Hold> {
        self.holds[usize::from(worker)][usize::from(job)][usize::from(which)]
    }

    /// Whether the row of the job's lease is locked.
    pub(crate) fn is_settling(&self, job: u8) -> bool {
        self.open.is_some_and(|open| open.job == job)
    }

    /// Takes an attempt in hand; false when both hands are full.
    pub(crate) fn take(&mut self, worker: u8, job: u8, hold: Hold) -> bool {
        let hands = &mut self.holds[usize::from(worker)][usize::from(job)];
        let Some(free) = hands.iter_mut().find(|hand| hand.is_none() || **hand == Some(hold)) else {
            return false;
        };
        *free = Some(hold);
        hands.sort_unstable();
        true
    }

    pub(crate) fn drop_hold(&mut self, worker: u8, job: u8, hold: Hold) {
        let hands = &mut self.holds[usize::from(worker)][usize::from(job)];
        for hand in hands.iter_mut().filter(|hand| **hand == Some(hold)) {
            *hand = None;
        }
        hands.sort_unstable();
    }

    /// Removes the lease: no attempt has it any more.
    pub(crate) fn end_lease(&mut self, flaw: Option<Flaw>, job: u8) {
        self.job_mut(job).lease = None;
        for hands in &mut self.holds {
            let hands = &mut hands[usize::from(job)];
            for hold in hands.iter_mut().flatten() {
                hold.rightful = false;
                if !flaw.is_some_and(Flaw::keeps_tokens) {
                    hold.token = GONE;
                }
            }
            if hands[0] == hands[1] {
                hands[0] = None;
            }
            hands.sort_unstable();
        }
    }

    /// The same with the workers in one order: which of them is which makes no difference.
    pub(crate) fn in_one_order(self) -> Self {
        let mut other = self;
        other.holds.reverse();
        let swap = |worker: &mut Option<u8>| *worker = worker.map(|w| 1 - w);
        other.jobs.iter_mut().filter_map(|job| job.lease.as_mut()).for_each(|lease| swap(&mut lease.worker));
        if let Some(open) = &mut other.open {
            swap(&mut open.worker);
        }
        self.min(other)
    }
}
