//! Queues: their depth, and pausing them.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::Listing;
use jobs::db::wall;
use jobs::queue::postgres::control;
use jobs::queue::postgres::count::{self, QueueDepth};
use jobs::queue::wake::Hint;
use rules::access::Overall;
use sqlx::PgConnection;

use super::scope::app;
use crate::audit;
use crate::auth::{MayOverall, principal};
use crate::error::Fault;

/// A line of jobs of one pool of workers.
#[derive(SimpleObject)]
pub(crate) struct Queue {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// The pool whose workers take from it.
    pool: String,
    /// Since when nothing is taken from it.
    paused_at: Option<DateTime<Utc>>,
    /// Who paused it.
    paused_by: Option<String>,
    /// Jobs that may be claimed now.
    ready: i64,
    /// Jobs that wait for a time.
    scheduled: i64,
    /// Jobs that wait behind their order key.
    blocked: i64,
    /// Jobs that workers hold.
    leased: i64,
    /// Dead letters.
    dead: i64,
    /// Since when the oldest ready job may be claimed.
    oldest_ready_at: Option<DateTime<Utc>>,
    /// Workers seen within half a minute that serve its pool: one that was killed counts until then.
    workers: i64,
    /// For how many seconds the longest silent of these gave no sign of life. They give one every ten seconds.
    silent_s: Option<i64>,
}

impl From<QueueDepth> for Queue {
    fn from(q: QueueDepth) -> Self {
        Self {
            id: q.id.into(),
            name: q.name,
            pool: q.pool,
            paused_at: q.paused_at,
            paused_by: q.paused_by,
            ready: q.ready,
            scheduled: q.scheduled,
            blocked: q.blocked,
            leased: q.leased,
            dead: q.dead,
            oldest_ready_at: q.oldest_ready_at,
            workers: q.workers,
            silent_s: q.silent_s,
        }
    }
}

/// What can be read of queues.
#[derive(Default)]
pub(crate) struct QueueQuery;

/// What can be done with queues.
#[derive(Default)]
pub(crate) struct QueueMutation;

#[Object]
impl QueueQuery {
    /// Every queue with its depth, by name.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn queues(&self, ctx: &Context<'_>) -> Result<Vec<Queue>, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        wall::enter_all(&mut conn).await?;
        Ok(count::queues(&mut conn).await?.into_iter().map(Into::into).collect())
    }
}

#[Object]
impl QueueMutation {
    /// Pauses a queue: what runs goes on, nothing more is claimed. Pausing again changes nothing.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn pause_queue(&self, ctx: &Context<'_>, name: String) -> Result<Queue, Fault> {
        let by = principal(ctx)?.to_string();
        let mut tx = audit::begin(ctx).await?;
        wall::enter_all(&mut tx).await?;
        control::pause(&mut tx, &name, &by).await?;
        let paused = named(&mut tx, &name).await?;
        tx.commit().await?;
        Ok(paused)
    }

    /// Resumes a queue.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn resume_queue(&self, ctx: &Context<'_>, name: String) -> Result<Queue, Fault> {
        let mut tx = audit::begin(ctx).await?;
        wall::enter_all(&mut tx).await?;
        control::resume(&mut tx, &name).await?;
        let resumed = named(&mut tx, &name).await?;
        tx.commit().await?;
        app(ctx).wake().hint(Hint::Resumed);
        Ok(resumed)
    }
}

async fn named(conn: &mut PgConnection, name: &str) -> Result<Queue, Fault> {
    let queue = count::queues(conn).await?.into_iter().find(|q| q.name == name);
    let absent = || jobs::Error::not_found(format!("there is no queue `{name}`")).listed_in(Listing::Queues);
    Ok(queue.ok_or_else(absent)?.into())
}
