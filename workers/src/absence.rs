//! Jobs that wait for something that does not answer: how long each waits, and how often it is told.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rules::id::JobId;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait: how late a job may notice that what it needs answers again.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a job is remembered after it last found nobody. It may have moved to another worker.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The most jobs that are remembered. Beyond it the waits of others begin anew.
const MAX_JOBS: usize = 10_000;

/// How often it is told, at most: an outage meets every job.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The jobs of this process whose last attempt found nobody.
#[derive(Default)]
pub(crate) struct Absences {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    jobs: HashMap<JobId, Absence>,
    told: Option<Instant>,
    untold: u64,
}

struct Absence {
    since: Instant,
    last: Instant,
}

/// What to do about one more attempt that found nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    /// How long to wait, before jitter.
    pub(crate) wait: Duration,
    /// Whether to tell it: how many were not told since the last time.
    pub(crate) tell: Option<u64>,
}

impl Absences {
    /// One more attempt of the job found nobody. The wait is half of the time for which that has gone on.
    pub(crate) fn again(&self, id: JobId, now: Instant) -> Again {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.jobs.len() >= MAX_JOBS && !known.jobs.contains_key(&id) {
            known.jobs.retain(|_, absence| now.duration_since(absence.last) < REMEMBERED);
        }
        let mut wait = FIRST;
        if known.jobs.len() < MAX_JOBS || known.jobs.contains_key(&id) {
            let absence = known.jobs.entry(id).or_insert(Absence { since: now, last: now });
            if now.duration_since(absence.last) >= REMEMBERED {
                absence.since = now;
            }
            absence.last = now;
            wait = (now.duration_since(absence.since) / 2).clamp(FIRST, LONGEST);
        }
        let due = known.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
        if due {
            known.told = Some(now);
            return Again { wait, tell: Some(std::mem::take(&mut known.untold)) };
        }
        known.untold += 1;
        Again { wait, tell: None }
    }

    /// An attempt of the job came to anything else.
    pub(crate) fn over(&self, id: JobId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).jobs.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_while_nobody_answers_and_begin_anew_after() {
        let absences = Absences::default();
        let (job, mut now) = (JobId(1), Instant::now());
        let (mut tries, mut before) = (0, Duration::ZERO);
        let until = now + Duration::from_secs(600);
        while now < until {
            let wait = absences.again(job, now).wait;
            assert!(wait >= before && wait >= FIRST && wait <= LONGEST, "{wait:?}");
            (tries, before) = (tries + 1, wait);
            now += wait;
        }
        assert_eq!(before, LONGEST);
        assert!(tries < 30, "{tries}");
        absences.over(job);
        assert_eq!(absences.again(job, now).wait, FIRST);
        assert_eq!(absences.again(job, now + REMEMBERED).wait, FIRST);
    }

    #[test]
    fn an_outage_is_told_now_and_then_with_what_was_not_told() {
        let absences = Absences::default();
        let now = Instant::now();
        assert_eq!(absences.again(JobId(1), now).tell, Some(0));
        assert_eq!(absences.again(JobId(2), now).tell, None);
        assert_eq!(absences.again(JobId(3), now).tell, None);
        assert_eq!(absences.again(JobId(1), now + TELL_EVERY).tell, Some(2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let absences = Absences::default();
        let now = Instant::now();
        for id in 0..=MAX_JOBS {
            absences.again(JobId(id as i64), now);
        }
        assert_eq!(absences.known.lock().unwrap().jobs.len(), MAX_JOBS);
        absences.again(JobId(-1), now + REMEMBERED);
        assert_eq!(absences.known.lock().unwrap().jobs.len(), 1);
    }
}
