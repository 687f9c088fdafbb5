//! The acknowledgement of attempts that are all done, which is what nearly every batch is: it passes order keys
//! on, and hands the next jobs of those keys to a worker that has slots for them.

use std::collections::BTreeMap;

use rules::id::JobId;
use rules::queue::LEASE_MS;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::ack::{Ack, Handed, Settled, Taker, ran_ms, stale};
use super::claim::{Leased, random_token};
use crate::crash::{self, Point};
use crate::{Error, Result};

/// Acknowledges a batch, each job once, all of them done. With a taker it waits for no lock for long.
pub(super) async fn settle_done(
    conn: &mut PgConnection,
    acks: &BTreeMap<JobId, &Ack>,
    taker: Option<Taker<'_>>,
) -> Result<Settled> {
    let ids: Vec<i64> = acks.keys().map(|id| id.0).collect();
    let tokens: Vec<Uuid> = acks.values().map(|a| a.token.0).collect();
    let ran: Vec<i32> = acks.values().map(|a| ran_ms(a)).collect();
    crash::at(Point::DoneAsking);
    let settled = match taker {
        None => done(conn, acks, &ids, &tokens, &ran).await,
        Some(taker) => done_and_taken(conn, acks, &ids, &tokens, &ran, taker).await,
    }?;
    crash::at(Point::DoneWritten);
    Ok(settled)
}

async fn done(
    conn: &mut PgConnection,
    acks: &BTreeMap<JobId, &Ack>,
    ids: &[i64],
    tokens: &[Uuid],
    ran: &[i32],
) -> Result<Settled> {
    let row = sqlx::query!(
        r#"select accepted as "accepted!", woken as "woken!" from job_done_v2($1, $2, $3, $4, $5, $6, $7, '{}')"#,
        ids,
        tokens,
        ran,
        &vec![None; ids.len()] as &[Option<i32>],
        &vec![None; ids.len()] as &[Option<Uuid>],
        Uuid::nil(),
        LEASE_MS,
    )
    .fetch_one(conn)
    .await?;
    Ok(Settled { stale: stale(acks, &row.accepted), woken: row.woken, ..Settled::default() })
}

async fn done_and_taken(
    conn: &mut PgConnection,
    acks: &BTreeMap<JobId, &Ack>,
    ids: &[i64],
    tokens: &[Uuid],
    ran: &[i32],
    taker: Taker<'_>,
) -> Result<Settled> {
    let pools: Vec<Option<i32>> = acks.values().map(|a| a.keeps.map(|pool| pool.id())).collect();
    // Drawn anew for each try: had the last one committed unheard, its leases keep their tokens.
    let heirs: Vec<Option<Uuid>> = acks.values().map(|a| a.keeps.map(|_| random_token())).collect();
    let kinds: Vec<&str> = taker.kinds.iter().map(|kind| kind.as_str()).collect();
    let rows = sqlx::query!(
        r#"select d.accepted, d.woken, d.after_id, d.job_id as id, d.token, d.pool_id, d.priority, d.attempt, d.crashes,
            d.max_attempts, d.kind, d.tenant_id, d.trace_parent, now() as "now!", d.payload as "payload: Json<Box<RawValue>>"
        from job_done_soon_v1($1, $2, $3, $4, $5, $6, $7, $8) d"#,
        ids,
        tokens,
        ran,
        &pools as &[Option<i32>],
        &heirs as &[Option<Uuid>],
        taker.worker.0,
        LEASE_MS,
        &kinds as &[&str],
    )
    .fetch_all(conn)
    .await?;
    let mut rows = rows.into_iter().peekable();
    let first =
        rows.peek_mut().ok_or_else(|| Error::internal("an acknowledgement was answered with nothing"))?;
    let (accepted, woken) =
        (first.accepted.take().unwrap_or_default(), first.woken.take().unwrap_or_default());
    let handed = rows.filter_map(|row| {
        let leased = Leased {
            id: row.id?,
            token: row.token?,
            pool_id: row.pool_id?,
            priority: row.priority?,
            ready_at: row.now,
            attempt: row.attempt?,
            crashes: row.crashes?,
            max_attempts: row.max_attempts?,
            kind: row.kind?,
            keyed: true,
            tenant_id: row.tenant_id,
            trace_parent: row.trace_parent,
            now: row.now,
            payload: row.payload?,
        };
        Some(Handed { after: JobId(row.after_id?), attempt: leased.attempt()? })
    });
    let handed = handed.collect();
    Ok(Settled { stale: stale(acks, &accepted), dead: Vec::new(), woken, handed })
}
