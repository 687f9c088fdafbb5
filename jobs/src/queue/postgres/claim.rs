//! Claims jobs for a worker: one statement for all its pools and every kind that it knows.

use chrono::{DateTime, Utc};
use rules::id::{JobId, LeaseToken, TenantId, WorkerId};
use rules::queue::{Kind, LEASE_MS, Pool, Priority};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::promote::{self, Promoted};
use crate::crash::{self, Point};
use crate::queue::{Attempt, Settling};
use crate::{Error, Result};

/// Up to which position each priority of a pool was claimed before: entries at or before it are not
/// looked at, so that a claim never walks over the dead ones that a held transaction keeps.
pub type Marks = [i64; Priority::ALL.len()];

/// What a claim asks of one pool.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The pool.
    pub pool: Pool,
    /// The most jobs wanted: the free slots.
    pub limit: i32,
    /// Where to start.
    pub marks: Marks,
}

/// A claimed job and where it stood.
#[derive(Debug)]
pub struct Claimed {
    /// The attempt to make.
    pub attempt: Attempt,
    /// Its position, from which the next mark is taken.
    pub pos: i64,
}

/// Leases jobs to a worker: best priority first, oldest first. The commit does not wait for the disk:
/// a claim that a crash of Postgres undoes is claimed again, and the random token fences the loser.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn claim(
    conn: &mut PgConnection,
    worker: WorkerId,
    kinds: &[Kind],
    wants: &[Want],
) -> Result<Vec<Claimed>> {
    let asked = Asked::of(kinds, wants);
    crash::at(Point::ClaimAsking);
    let rows = sqlx::query!(
        r#"select c.job_id as "id!", c.token as "token!", c.pool_id as "pool_id!", c.priority as "priority!", c.pos as "pos!",
            c.ready_at as "ready_at!", c.attempt as "attempt!", c.crashes as "crashes!", c.max_attempts as "max_attempts!",
            c.kind as "kind!", c.keyed as "keyed!", c.tenant_id, c.trace_parent, now() as "now!", c.payload as "payload!: Json<Box<RawValue>>"
        from (select set_config('synchronous_commit', 'off', true)) s, job_claim_v3($1, $2, $3, $4, $5, $6, $7) c"#,
        worker.0,
        LEASE_MS,
        &asked.kinds as &[&str],
        &asked.pools,
        &asked.limits,
        &asked.marks,
        &asked.tokens,
    )
    .fetch_all(conn)
    .await?;
    crash::at(Point::ClaimLeased);
    let claimed = rows.into_iter().filter_map(|row| {
        let leased = Leased {
            id: row.id,
            token: row.token,
            pool_id: row.pool_id,
            priority: row.priority,
            ready_at: row.ready_at,
            attempt: row.attempt,
            crashes: row.crashes,
            max_attempts: row.max_attempts,
            kind: row.kind,
            keyed: row.keyed,
            tenant_id: row.tenant_id,
            trace_parent: row.trace_parent,
            now: row.now,
            payload: row.payload,
        };
        Some(Claimed { attempt: leased.attempt()?, pos: row.pos })
    });
    Ok(in_order(claimed))
}

/// Promotes jobs that fell due after `after` and then claims, in one statement: what a worker does that has
/// nothing to do. A promotion that a crash of Postgres undoes is made again.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn poll(
    conn: &mut PgConnection,
    after: Option<DateTime<Utc>>,
    worker: WorkerId,
    kinds: &[Kind],
    wants: &[Want],
) -> Result<(Promoted, Vec<Claimed>)> {
    let asked = Asked::of(kinds, wants);
    crash::at(Point::PollAsking);
    let rows = sqlx::query!(
        r#"select c.promoted as "promoted!", c.woken as "woken!", c.last_run_at, c.next_run_at, now() as "now!",
            c.job_id as id, c.token as "token?", c.pool_id as "pool_id?", c.priority as "priority?", c.pos as "pos?",
            c.ready_at as "ready_at?", c.attempt as "attempt?", c.crashes as "crashes?", c.max_attempts as "max_attempts?",
            c.kind as "kind?", c.keyed as "keyed?", c.tenant_id, c.trace_parent, c.payload as "payload?: Json<Box<RawValue>>"
        from (select set_config('synchronous_commit', 'off', true)) s,
            job_poll_v3(coalesce($1, '-infinity'::timestamptz), $2, $3, $4, $5, $6, $7, $8, $9) c"#,
        after,
        promote::BATCH,
        worker.0,
        LEASE_MS,
        &asked.kinds as &[&str],
        &asked.pools,
        &asked.limits,
        &asked.marks,
        &asked.tokens,
    )
    .fetch_all(conn)
    .await?;
    crash::at(Point::PollLeased);
    let first = rows.first().ok_or_else(|| Error::internal("a poll was answered with nothing"))?;
    let promoted = Promoted {
        count: first.promoted,
        woken: first.woken.clone(),
        last: first.last_run_at,
        next: first.next_run_at,
        now: first.now,
    };
    let claimed = rows.into_iter().filter_map(|row| {
        let leased = Leased {
            id: row.id?,
            token: row.token?,
            pool_id: row.pool_id?,
            priority: row.priority?,
            ready_at: row.ready_at?,
            attempt: row.attempt?,
            crashes: row.crashes?,
            max_attempts: row.max_attempts?,
            kind: row.kind?,
            keyed: row.keyed?,
            tenant_id: row.tenant_id,
            trace_parent: row.trace_parent,
            now: row.now,
            payload: row.payload?,
        };
        let pos = row.pos?;
        Some(Claimed { attempt: leased.attempt()?, pos })
    });
    Ok((promoted, in_order(claimed)))
}

fn in_order(claimed: impl Iterator<Item = Claimed>) -> Vec<Claimed> {
    let mut claimed: Vec<Claimed> = claimed.collect();
    claimed.sort_by_key(|c| (c.attempt.priority, c.pos));
    claimed
}

/// What a claim asks, as the columns that the statement takes.
struct Asked<'a> {
    kinds: Vec<&'a str>,
    pools: Vec<i32>,
    limits: Vec<i32>,
    marks: Vec<i64>,
    tokens: Vec<Uuid>,
}

impl Asked<'static> {
    fn of(kinds: &[Kind], wants: &[Want]) -> Self {
        let limits: Vec<i32> = wants.iter().map(|w| w.limit.max(0)).collect();
        let tokens = limits.iter().flat_map(|limit| 0..*limit).map(|_| random_token());
        Self {
            kinds: kinds.iter().map(|k| k.as_str()).collect(),
            pools: wants.iter().map(|w| w.pool.id()).collect(),
            marks: wants.iter().flat_map(|w| w.marks).collect(),
            tokens: tokens.collect(),
            limits,
        }
    }
}

/// A token with all its bits random, from the generator of the thread.
pub(super) fn random_token() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// A lease as a statement tells of it.
pub(super) struct Leased {
    pub(super) id: i64,
    pub(super) token: Uuid,
    pub(super) pool_id: i32,
    pub(super) priority: i16,
    pub(super) ready_at: DateTime<Utc>,
    pub(super) attempt: i16,
    pub(super) crashes: i16,
    pub(super) max_attempts: i16,
    pub(super) kind: String,
    pub(super) keyed: bool,
    pub(super) tenant_id: Option<Uuid>,
    pub(super) trace_parent: Option<String>,
    pub(super) now: DateTime<Utc>,
    pub(super) payload: Json<Box<RawValue>>,
}

impl Leased {
    /// None for a kind or pool that was not asked for, of which the statements return none.
    pub(super) fn attempt(self) -> Option<Attempt> {
        Some(Attempt {
            id: JobId(self.id),
            token: LeaseToken(self.token),
            kind: self.kind.parse().ok()?,
            pool: Pool::from_id(self.pool_id)?,
            keyed: self.keyed,
            tenant: self.tenant_id.map(TenantId),
            priority: Priority::ALL.into_iter().find(|p| *p as i16 == self.priority)?,
            payload: self.payload.0,
            attempt: self.attempt.unsigned_abs(),
            crashes: self.crashes.unsigned_abs(),
            max_attempts: self.max_attempts.unsigned_abs(),
            trace_parent: self.trace_parent,
            ready_at: self.ready_at,
            claimed_at: self.now,
            cancel: CancellationToken::new(),
            settling: Settling::default(),
        })
    }
}
