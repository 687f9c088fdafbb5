//! THE acknowledgement: what an attempt came to, over a batch, on the caller's connection.
//!
//! The batcher calls it for handlers without database effects; a handler whose result must commit with
//! it calls [`finish`] in its own transaction. There is no other way for a job to leave its lease.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rules::id::{JobId, LeaseToken, TenantId, WorkerId};
use rules::queue::{Kind, Outcome, Pool};
use sqlx::PgConnection;

use crate::Result;
use crate::crash::{self, Point};
use crate::queue::postgres::done::settle_done;
use crate::queue::postgres::enqueue::whole_ms;
use crate::queue::{Attempt, MAX_DELAY};

/// What one attempt came to.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The job.
    pub id: JobId,
    /// The attempt's token.
    pub token: LeaseToken,
    /// What it came to.
    pub outcome: Outcome,
    /// How long to wait before the next attempt, for [`Outcome::Retry`] and [`Outcome::Snooze`]. Capped at
    /// [`MAX_DELAY`].
    pub delay: Duration,
    /// How long the attempt ran.
    pub ran: Duration,
    /// The pool in which its worker keeps a slot for the next job of the same order key; none lets that one
    /// become ready. Heeded where the attempt is done and [`settle_and_take`] acknowledges it.
    pub keeps: Option<Pool>,
}

/// Who takes the next jobs of order keys.
#[derive(Debug, Clone, Copy)]
pub struct Taker<'a> {
    /// The worker.
    pub worker: WorkerId,
    /// The kinds that it knows.
    pub kinds: &'a [Kind],
}

/// The next job of an order key, leased by the acknowledgement of the one before it.
#[derive(Debug, Clone)]
pub struct Handed {
    /// The job before it.
    pub after: JobId,
    /// The attempt to make.
    pub attempt: Attempt,
}

/// What an acknowledgement changed.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Attempts whose lease was no longer theirs: nothing was written for them.
    pub stale: Vec<JobId>,
    /// Jobs that died by it.
    pub dead: Vec<DeadJob>,
    /// Pools that got work by it, to be woken after the commit.
    pub woken: Vec<i32>,
    /// What the worker got by it.
    pub handed: Vec<Handed>,
}

/// A job that died, for whoever waits for it.
#[derive(Debug, Clone)]
pub struct DeadJob {
    /// The job.
    pub id: JobId,
    /// Its kind's wire name, which this version may not know.
    pub kind: String,
    /// Whose work it was.
    pub tenant: Option<TenantId>,
    /// Its payload.
    pub payload: serde_json::Value,
    /// Its last error.
    pub error: String,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<String>,
    /// When it died.
    pub died_at: DateTime<Utc>,
}

/// The lease is not ours any more: another worker has the job, or it ended. Roll back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lease of job {0} was lost; what this attempt did is rolled back")]
pub struct Stale(pub JobId);

impl From<Stale> for crate::Error {
    fn from(stale: Stale) -> Self {
        Self::conflict(stale.to_string())
    }
}

/// Acknowledges attempts. An attempt is known by (job, token); one whose lease was lost is reported as
/// stale and changes nothing.
///
/// # Errors
/// Unavailable when nobody answers; then nothing was written, or, when the commit's answer was lost,
/// all of it, which a repetition reports as stale.
pub async fn settle(conn: &mut PgConnection, acks: &[Ack]) -> Result<Settled> {
    settle_with(conn, acks, None).await
}

/// [`settle`], which also leases the next jobs of order keys to a worker, where it keeps slots for them and
/// all of the batch are done. To be called outside a longer transaction: the leases begin with it. A lock that is
/// not had soon ends it, and nothing is written.
///
/// # Errors
/// As of [`settle`]. Where the answer was lost, so are the leases that it handed out.
pub async fn settle_and_take(conn: &mut PgConnection, acks: &[Ack], taker: Taker<'_>) -> Result<Settled> {
    settle_with(conn, acks, Some(taker)).await
}

async fn settle_with(conn: &mut PgConnection, acks: &[Ack], taker: Option<Taker<'_>>) -> Result<Settled> {
    let mut all = Settled::default();
    let mut rest: Vec<&Ack> = acks.iter().collect();
    while !rest.is_empty() {
        // The statement wants ids in ascending order, each once. Two attempts of one job can meet in a
        // batch, an old, lost one and its successor; they go one after the other.
        let mut round: BTreeMap<JobId, &Ack> = BTreeMap::new();
        rest.retain(|ack| match round.entry(ack.id) {
            Entry::Vacant(free) => {
                free.insert(ack);
                false
            }
            Entry::Occupied(_) => true,
        });
        let settled = settle_distinct(conn, &round, taker).await?;
        all.stale.extend(settled.stale);
        all.dead.extend(settled.dead);
        all.woken.extend(settled.woken);
        all.handed.extend(settled.handed);
    }
    Ok(all)
}

async fn settle_distinct(
    conn: &mut PgConnection,
    acks: &BTreeMap<JobId, &Ack>,
    taker: Option<Taker<'_>>,
) -> Result<Settled> {
    if acks.values().all(|a| matches!(a.outcome, Outcome::Done)) {
        return settle_done(conn, acks, taker).await;
    }
    let ids: Vec<i64> = acks.keys().map(|id| id.0).collect();
    let tokens: Vec<uuid::Uuid> = acks.values().map(|a| a.token.0).collect();
    let outcomes: Vec<i16> = acks.values().map(|a| a.outcome.code()).collect();
    let delays: Vec<i64> = acks.values().map(|a| whole_ms(a.delay.min(MAX_DELAY))).collect();
    let errors: Vec<Option<String>> = acks.values().map(|a| error_of(&a.outcome)).collect();
    let ran: Vec<i32> = acks.values().map(|a| ran_ms(a)).collect();
    let row = sqlx::query!(
        r#"select accepted as "accepted!", died as "died!", woken as "woken!" from job_ack_v2($1, $2, $3, $4, $5, $6)"#,
        &ids,
        &tokens,
        &outcomes,
        &delays,
        &errors as &[Option<String>],
        &ran,
    )
    .fetch_one(&mut *conn)
    .await?;
    crash::at(Point::RetryWritten);
    let dead = if row.died.is_empty() { Vec::new() } else { dead_jobs(conn, &row.died).await? };
    crash::at(Point::RetryRead);
    Ok(Settled { stale: stale(acks, &row.accepted), dead, woken: row.woken, handed: Vec::new() })
}

/// From here on this transaction waits for no lock for long, as an acknowledgement of done jobs does: while it waits,
/// it keeps leases from being renewed.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn hurry(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("set local lock_timeout = '250ms'").execute(conn).await?;
    Ok(())
}

/// Those that were not accepted, whose ids are in ascending order.
pub(super) fn stale(acks: &BTreeMap<JobId, &Ack>, accepted: &[i64]) -> Vec<JobId> {
    if accepted.len() == acks.len() {
        return Vec::new();
    }
    acks.keys().filter(|id| accepted.binary_search(&id.0).is_err()).copied().collect()
}

pub(super) fn ran_ms(ack: &Ack) -> i32 {
    i32::try_from(ack.ran.as_millis()).unwrap_or(i32::MAX)
}

/// Acknowledges one attempt as done, in its handler's own transaction: the result and the
/// acknowledgement commit together or not at all. Returns the pools to wake after the commit.
///
/// # Errors
/// Conflict ([`Stale`]) when the lease was lost: the caller must roll back. Unavailable when nobody
/// answers.
pub async fn finish(conn: &mut PgConnection, attempt: &Attempt, ran: Duration) -> Result<Vec<i32>> {
    let (id, token, outcome) = (attempt.id, attempt.token, Outcome::Done);
    let ack = Ack { id, token, outcome, delay: Duration::ZERO, ran, keeps: None };
    let settled = settle(conn, std::slice::from_ref(&ack)).await?;
    if !settled.stale.is_empty() {
        return Err(Stale(attempt.id).into());
    }
    crash::at(Point::FinishWritten);
    // Before the commit: a renewal that misses the lease right after it must not take it for lost.
    attempt.settling.set();
    Ok(settled.woken)
}

/// Jobs among the dead, by id.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn dead_jobs(conn: &mut PgConnection, ids: &[i64]) -> Result<Vec<DeadJob>> {
    let rows = sqlx::query!(
        r#"select job_id, kind, tenant_id, payload, error, trace_parent, died_at from job_dead where job_id = any($1)"#,
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| DeadJob {
            id: JobId(r.job_id),
            kind: r.kind,
            tenant: r.tenant_id.map(TenantId),
            payload: r.payload,
            error: r.error,
            trace_parent: r.trace_parent,
            died_at: r.died_at,
        })
        .collect())
}

/// The error as Postgres can keep it: its text has no NUL, and a script may throw one.
fn error_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Retry { error, .. } | Outcome::Dead { error } => Some(error.replace('\0', "␀")),
        Outcome::Done | Outcome::Snooze { .. } | Outcome::Cancelled | Outcome::Released => None,
    }
}
