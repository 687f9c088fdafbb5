//! Leases that went astray: of claims, and of acknowledgements that hand over, that committed and whose answer
//! never came. They are found by the worker's id and handed back, which costs the jobs neither an attempt nor
//! a crash.
//!
//! Nothing is asked of the database unless one of these has failed lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::bounded;
use jobs::queue::postgres::lease::others;
use jobs::queue::{Ack, settle};
use jobs::{Result, metrics};
use rules::id::{JobId, LeaseToken, WorkerId};
use rules::queue::LEASE_MS;

use crate::context::Context;
use crate::held::Held;
use crate::settle::released;

/// How old a lease is that cannot be on its way to us any more: a claim is given up after
/// [`CALL_TIMEOUT`], and counts its leases from when the database began with it.
const ASTRAY_AFTER: Duration = CALL_TIMEOUT.saturating_add(Duration::from_secs(1));

/// For how long after a claim that failed its leases are looked for: by then they were either found or
/// have run out.
const SUSPECT_FOR: Duration =
    CALL_TIMEOUT.saturating_add(Duration::from_millis(2 * LEASE_MS.unsigned_abs() as u64));

/// The most leases that one look hands back; the next look is one renewal away.
const BATCH: i64 = 1_000;

/// What tells a lease that went astray from one that was given up.
#[derive(Default)]
pub(crate) struct Astray {
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// When what could have leased something failed, the last time.
    failed_at: Option<Instant>,
    /// Leases that are left to run out, and since when: their jobs did begin.
    given_up: HashMap<(JobId, LeaseToken), Instant>,
}

impl Astray {
    /// A claim or a hand-over failed: what it leased, if anything, is not known here.
    pub(crate) fn leasing_failed(&self, now: Instant) {
        self.notes().failed_at = Some(now);
    }

    /// A lease is let go without having been settled, and must run out. To be noted before it is released.
    pub(crate) fn give_up(&self, id: JobId, token: LeaseToken, now: Instant) {
        let mut notes = self.notes();
        notes.given_up.retain(|_, since| now.duration_since(*since) < SUSPECT_FOR);
        notes.given_up.insert((id, token), now);
    }

    fn suspected(&self, now: Instant) -> bool {
        self.notes().failed_at.is_some_and(|at| now.duration_since(at) < SUSPECT_FOR)
    }

    fn was_given_up(&self, id: JobId, token: LeaseToken) -> bool {
        self.notes().given_up.contains_key(&(id, token))
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds leases of this worker that it does not hold, and hands their jobs back.
pub(crate) async fn hand_back(context: &Context, held: &Held, worker: WorkerId) -> Result<()> {
    if !held.astray.suspected(Instant::now()) {
        return Ok(());
    }
    let known: Vec<i64> = held.all().into_iter().map(|(id, _)| id.0).collect();
    bounded(CALL_TIMEOUT, async {
        let mut conn = context.db.acquire().await?;
        let found = others(&mut conn, worker, &known, ASTRAY_AFTER, BATCH).await?;
        // One that was settled since is refused by its token; one that was given up was noted first.
        let astray = found
            .into_iter()
            .filter(|(id, token)| !held.holds(*id, *token) && !held.astray.was_given_up(*id, *token));
        let acks: Vec<Ack> = astray.map(|(id, token)| released(id, token).ack).collect();
        if acks.is_empty() {
            return Ok(());
        }
        let settled = settle(&mut conn, &acks).await?;
        let jobs = acks.len().saturating_sub(settled.stale.len());
        metrics::leases_returned(jobs as u64);
        tracing::warn!(jobs, "jobs whose claim was never answered were handed back");
        context.wake.pools(&settled.woken);
        Ok(())
    })
    .await
}
