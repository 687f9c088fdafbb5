//! Jobs: what they are, why they wait, and how to stop or hasten them.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::listener::cancel_job;
use jobs::queue::postgres::control::{self, Cancel};
use jobs::queue::postgres::look::{self, FailedAttempt, Filter, JobView};
use jobs::queue::wake::Hint;
use rules::access::InTenant;
use rules::id::{JobId, TenantId};
use rules::queue::letter::fingerprint;
use rules::queue::{Kind, Policy, State, Why};

use super::loader::{AttemptsOf, WhyOf, look_up};
use super::page::Page;
use super::scope::{app, enter_or_all, parse, parse_job};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// Where a job is.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "JobState", remote = "State")]
pub(crate) enum StateName {
    /// May be claimed now.
    Ready,
    /// Waits for a time: delayed, to be tried again, or snoozed.
    Scheduled,
    /// Waits behind the head of its order key.
    Blocked,
    /// A worker holds it.
    Leased,
    /// Finished well.
    Done,
    /// Stopped by somebody.
    Cancelled,
    /// Among the dead letters.
    Dead,
}

/// A durable unit of work.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Job {
    /// Its id.
    id: ID,
    /// Where it is.
    state: StateName,
    /// What it is, such as `run.node`.
    kind: String,
    /// The queue that it stands in.
    queue: String,
    /// Whose work it is; none for the installation's own.
    tenant: Option<ID>,
    /// 0 urgent, 1 high, 2 medium, 3 low.
    priority: i16,
    /// Attempts made and counted.
    attempt: i16,
    /// Workers that died under it.
    crashes: i16,
    /// When it was enqueued.
    created_at: DateTime<Utc>,
    /// When it falls due, if it waits for a time.
    run_at: Option<DateTime<Utc>>,
    /// When its present or last attempt began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// How long its last attempt ran, in milliseconds.
    run_ms: Option<i32>,
    /// The worker that has or had it.
    worker_id: Option<ID>,
    /// Why it is dead.
    error: Option<String>,
    /// The W3C `traceparent` of what caused it.
    trace_parent: Option<String>,
    /// What its handler is given.
    payload: Json<serde_json::Value>,
}

/// A failed attempt of a job.
#[derive(SimpleObject)]
pub(crate) struct JobAttempt {
    /// Which one; 1 is the first.
    attempt: i16,
    /// Whether its worker died.
    crashed: bool,
    /// When it began.
    started_at: DateTime<Utc>,
    /// How long it ran, in milliseconds.
    run_ms: i32,
    /// Who made it.
    worker_id: ID,
    /// What went wrong.
    error: String,
}

/// Why a job waits.
#[derive(SimpleObject)]
pub(crate) struct WhyWaiting {
    /// QUEUE_PAUSED, NOT_DUE, RETRYING, PUT_OFF, KEY_BUSY, HOST_DRAINING, HOST_NOT_HELD, HOST_UNREACHABLE, HOST_DEGRADED, HOST_STRANGER,
    /// NO_WORKER, KIND_UNKNOWN, IN_LINE or RUNNING.
    code: &'static str,
    /// The same in words.
    message: String,
    /// When it falls due, if that is the reason.
    until: Option<DateTime<Utc>>,
    /// The job that goes first, if that is the reason.
    behind: Option<ID>,
    /// How many ready jobs go first, if that is the reason.
    ahead: Option<i64>,
    /// The host that begins nothing, if that is the reason.
    host: Option<String>,
    /// Since when the host begins nothing, if that is the reason and known.
    since: Option<DateTime<Utc>>,
}

/// What a cancellation came to.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobCancellation {
    /// It waited and is cancelled.
    Cancelled,
    /// It runs, and its handler is told to stop.
    Cancelling,
    /// It had ended before.
    Ended,
}

impl TryFrom<JobView> for Job {
    type Error = Fault;

    fn try_from(j: JobView) -> Result<Self, Fault> {
        let state = State::from_name(&j.state)
            .ok_or_else(|| jobs::Error::internal(format!("a job is in the unknown state `{}`", j.state)))?;
        Ok(Self {
            id: j.id.into(),
            state: state.into(),
            kind: j.kind,
            queue: j.queue,
            tenant: j.tenant_id.map(Into::into),
            priority: j.priority,
            attempt: j.attempt,
            crashes: j.crashes,
            created_at: j.created_at,
            run_at: j.run_at,
            started_at: j.started_at,
            finished_at: j.finished_at,
            run_ms: j.run_ms,
            worker_id: j.worker_id.map(Into::into),
            error: j.error,
            trace_parent: j.trace_parent,
            payload: Json(j.payload),
        })
    }
}

impl From<FailedAttempt> for JobAttempt {
    fn from(a: FailedAttempt) -> Self {
        Self {
            attempt: a.attempt,
            crashed: a.crashed,
            started_at: a.started_at,
            run_ms: a.run_ms,
            worker_id: a.worker_id.into(),
            error: a.error,
        }
    }
}

impl From<Why> for WhyWaiting {
    fn from(why: Why) -> Self {
        let mut told = Self {
            code: why.code(),
            message: why.to_string(),
            until: None,
            behind: None,
            ahead: None,
            host: None,
            since: None,
        };
        match why {
            Why::NotDue(time) | Why::Retrying(time) | Why::PutOff(time) => told.until = Some(time),
            Why::KeyBusy(head) => told.behind = Some(head.into()),
            Why::InLine(ahead) => told.ahead = Some(ahead),
            Why::HostDown(down) => (told.host, told.since) = (Some(down.host), down.since),
            Why::QueuePaused | Why::NoWorker | Why::KindUnknown | Why::Running => {}
        }
        told
    }
}

#[ComplexObject]
impl Job {
    /// Every failed attempt, oldest first.
    async fn attempts(&self, ctx: &Context<'_>) -> Result<Vec<JobAttempt>, Fault> {
        let attempts = look_up(ctx, AttemptsOf(self.owner()?, parse_job(&self.id)?)).await?;
        Ok(attempts.unwrap_or_default().into_iter().map(Into::into).collect())
    }

    /// The group of dead letters that it is in, if it is one: the same for jobs of its kind with the same error.
    async fn fingerprint(&self) -> Option<String> {
        let error = self.error.as_ref().filter(|_| self.state == StateName::Dead);
        error.map(|error| fingerprint(&self.kind, error))
    }

    /// Why it waits; none when it has ended.
    async fn why(&self, ctx: &Context<'_>) -> Result<Option<WhyWaiting>, Fault> {
        Ok(look_up(ctx, WhyOf(self.owner()?, parse_job(&self.id)?)).await?.map(Into::into))
    }
}

impl Job {
    /// Whose it is; none of the installation's own.
    fn owner(&self) -> Result<Option<TenantId>, Fault> {
        self.tenant.as_ref().map(|tenant| parse(tenant, "tenant")).transpose()
    }
}

/// What can be read of jobs.
#[derive(Default)]
pub(crate) struct JobQuery;

/// What can be done with jobs.
#[derive(Default)]
pub(crate) struct JobMutation;

#[Object]
impl JobQuery {
    /// One job.
    #[graphql(guard = "SignedIn")]
    async fn job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Job, Fault> {
        let id = parse_job(&id)?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        look::job(&mut conn, id, tenant).await?.try_into()
    }

    /// Jobs, newest first.
    #[graphql(guard = "SignedIn")]
    async fn jobs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        state: Option<StateName>,
        kind: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Job>, Fault> {
        let page = Page::<i64>::read("jobs", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let state = state.map(Into::into);
        let filter = Filter { tenant, state, kind, before: page.after, ..Filter::default() };
        let rows = look::page(&mut conn, &filter, page.limit()).await?;
        page.try_of(rows, |j| j.id, Job::try_from)
    }

    /// Why a job waits; none when it has ended.
    #[graphql(guard = "SignedIn")]
    async fn why_waiting(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Option<WhyWaiting>, Fault> {
        let id = parse_job(&id)?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        look::job(&mut conn, id, tenant).await?;
        Ok(look::why(&mut conn, id).await?.map(Into::into))
    }
}

#[Object]
impl JobMutation {
    /// Cancels a job. One of `host.reconcile` or `queue.noop` is cancelled waiting or running; one of `listener.event` or
    /// `listener.action` while it waits, and its notice is then dropped, or its action skipped. Of the other kinds
    /// somebody waits for the end, so they are refused with CONFLICT: for `run.node`, `run.advance` and `run.wake` there
    /// is `cancelRun`, for `schedule.fire` `setScheduleEnabled`, for `machine.operate` `destroyMachine`, for
    /// `health.check` `setHealthCheck`, for `letter.sweep` `cancelDeadLetterSweep`; what `audit.flush` writes is owed.
    #[graphql(guard = "SignedIn")]
    async fn cancel_job(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
    ) -> Result<JobCancellation, Fault> {
        let id = parse_job(&id)?;
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        look::job(&mut tx, id, tenant).await?;
        let became = cancel_job(&mut tx, id).await?;
        tx.commit().await?;
        Ok(match became {
            Cancel::Cancelled(pools) => {
                app(ctx).wake().pools(&pools);
                JobCancellation::Cancelled
            }
            Cancel::Cancelling => {
                app(ctx).wake().hint(Hint::Cancelled);
                JobCancellation::Cancelling
            }
            Cancel::Ended => JobCancellation::Ended,
        })
    }

    /// Makes a job due now that waits for its next attempt, or gives a dead one new attempts. One that is delayed, as the
    /// `run.wake` of a workflow's delay or of a node's time, is refused with CONFLICT.
    #[graphql(guard = "SignedIn")]
    async fn retry_job(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Job, Fault> {
        let id = parse_job(&id)?;
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let job = look::job(&mut tx, id, tenant).await?;
        let pools = if job.state == State::Dead.as_str() {
            control::redrive(&mut tx, id, attempts_of(&job.kind)).await?
        } else {
            control::hasten(&mut tx, id).await?
        };
        let job = look::job(&mut tx, id, tenant).await?;
        tx.commit().await?;
        app(ctx).wake().pools(&pools);
        job.try_into()
    }
}

/// The attempts that a redriven job of this kind gets: as many as a new one. A kind of another version
/// gets one, since nobody here knows it.
pub(crate) fn attempts_of(kind: &str) -> u16 {
    kind.parse::<Kind>().map_or(1, |kind| Policy::of(kind).max_attempts)
}

/// Redrives a dead letter in the caller's transaction, within a tenant or the whole installation. Returns
/// the pools to wake after the commit.
pub(crate) async fn redrive(
    conn: &mut sqlx::PgConnection,
    id: JobId,
    tenant: Option<TenantId>,
) -> Result<Vec<i32>, Fault> {
    let job = dead(conn, id, tenant).await?;
    Ok(control::redrive(conn, id, attempts_of(&job.kind)).await?)
}

/// The dead letter, within a tenant or the whole installation.
///
/// # Errors
/// NotFound for an unknown job, Conflict for one that is no dead letter.
pub(crate) async fn dead(
    conn: &mut sqlx::PgConnection,
    id: JobId,
    tenant: Option<TenantId>,
) -> Result<JobView, Fault> {
    let job = look::job(conn, id, tenant).await?;
    if job.state == State::Dead.as_str() {
        return Ok(job);
    }
    Err(jobs::Error::conflict(format!("job {id} is no dead letter; it is {}", job.state)).into())
}
