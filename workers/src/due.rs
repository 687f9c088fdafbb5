//! When jobs are promoted next. The fetcher's poll does it on its way; the upkeeper does what that leaves:
//! what falls due between two polls, and all of it while every slot is taken.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use jobs::queue::postgres::promote::{BATCH, Promoted};
use tokio::sync::Notify;

/// How late a due job may be promoted when nobody knew of it, at most. Longer than the fetcher's poll, so
/// that the upkeeper has nothing to do while that goes on.
const PROMOTE_EVERY: Duration = Duration::from_secs(1);

/// How far behind the last promotion the next one starts: for entries that committed late.
const TRAIL: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// What this process knows of due jobs.
pub(crate) struct Due {
    state: Mutex<State>,
    /// Told when the next promotion was moved.
    pub(crate) moved: Notify,
}

struct State {
    after: Option<DateTime<Utc>>,
    next: Instant,
}

impl Due {
    /// Nothing is known: the first promotion looks at everything, now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { after: None, next: now }), moved: Notify::new() }
    }

    /// Where the next promotion starts.
    pub(crate) fn after(&self) -> Option<DateTime<Utc>> {
        self.state().after
    }

    /// How long the next promotion has time.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.state().next.saturating_duration_since(now)
    }

    /// Notes a promotion that began at `began`.
    pub(crate) fn promoted(&self, promoted: &Promoted, began: Instant) {
        let due_in = promoted.next.map(|next| (next - promoted.now).to_std().unwrap_or_default());
        let wait = match due_in {
            _ if promoted.count >= BATCH => Duration::ZERO,
            Some(due_in) => due_in.min(PROMOTE_EVERY),
            None => PROMOTE_EVERY,
        };
        let mut state = self.state();
        if let Some(last) = promoted.last {
            state.after = Some(last - TRAIL);
        }
        state.next = began + wait;
        drop(state);
        self.moved.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_promotion_is_when_the_next_job_falls_due_but_a_second_on_at_most() {
        let (begin, now) = (Instant::now(), Utc::now());
        let due = Due::new(begin);
        assert_eq!((due.after(), due.wait(begin)), (None, Duration::ZERO));
        let told = |count, next_ms: Option<i64>, last| Promoted {
            count,
            woken: Vec::new(),
            last,
            next: next_ms.map(|ms| now + chrono::TimeDelta::milliseconds(ms)),
            now,
        };
        due.promoted(&told(0, Some(300), None), begin);
        assert_eq!((due.after(), due.wait(begin)), (None, Duration::from_millis(300)));
        due.promoted(&told(3, Some(9_000), Some(now)), begin);
        assert_eq!((due.after(), due.wait(begin)), (Some(now - TRAIL), PROMOTE_EVERY));
        due.promoted(&told(0, None, None), begin);
        assert_eq!((due.after(), due.wait(begin)), (Some(now - TRAIL), PROMOTE_EVERY));
        due.promoted(&told(BATCH, None, Some(now)), begin);
        assert_eq!(due.wait(begin), Duration::ZERO);
        // A clock of the database that went backwards must not make a wait of what is due.
        due.promoted(&told(0, Some(-5), None), begin);
        assert_eq!(due.wait(begin), Duration::ZERO);
    }
}
