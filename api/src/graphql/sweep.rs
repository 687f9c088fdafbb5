//! Sweeps of dead letters: new attempts for all that match, or the decision against them, in the background.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, InputObject, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::queue::postgres::letters::{self, Bound};
use jobs::queue::postgres::look;
use jobs::sweep::{self, SweepView, Wish};
use rules::access::InTenant;
use rules::id::SweepId;
use rules::queue::letter::Letters;
use rules::queue::sweep::{RATE, SweepAction, SweepState};

use super::job::{Job, attempts_of, dead};
use super::page::Page;
use super::scope::{app, enter_or_all, parse, parse_job, trace_parent};
use crate::audit;
use crate::auth::{SignedIn, principal};
use crate::error::Fault;

/// What a sweep does to each letter.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "DeadLetterSweepAction", remote = "SweepAction")]
pub(crate) enum ActionName {
    /// It gets new attempts.
    Redrive,
    /// It is decided against.
    Discard,
}

/// What has become of a sweep.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "DeadLetterSweepState", remote = "SweepState")]
pub(crate) enum StateName {
    /// It goes on, or waits for a worker.
    Running,
    /// It is through.
    Done,
    /// Somebody has stopped it.
    Cancelled,
    /// Its job died or is gone; `error` tells how it goes on.
    Failed,
}

/// Which dead letters; what is left out restricts nothing.
#[derive(InputObject)]
pub(crate) struct DeadLetterFilter {
    /// Those of this kind.
    kind: Option<String>,
    /// Those that stood in this queue.
    queue: Option<String>,
    /// Those of this group.
    fingerprint: Option<String>,
    /// Those whose error has this text in it, in whatever case.
    search: Option<String>,
    /// Those that died at this time or later.
    since: Option<DateTime<Utc>>,
    /// Those that died before this time.
    until: Option<DateTime<Utc>>,
}

impl From<DeadLetterFilter> for Letters {
    fn from(f: DeadLetterFilter) -> Self {
        Self {
            kind: f.kind,
            queue: f.queue,
            fingerprint: f.fingerprint,
            search: f.search,
            since: f.since,
            until: f.until,
        }
    }
}

/// One action on all dead letters that matched when it was asked for.
#[derive(SimpleObject)]
pub(crate) struct DeadLetterSweep {
    /// Its id.
    id: ID,
    /// Whose letters it takes; none for those of all tenants.
    tenant: Option<ID>,
    /// What it does to each.
    action: ActionName,
    /// Which letters it takes, as they were asked for; `until` is not after the time of the asking.
    letters: Json<Letters>,
    /// How many attempts each gets; none for as many as its kind has.
    attempts: Option<i16>,
    /// How many it takes in a second, at most.
    rate: i16,
    /// What has become of it.
    state: StateName,
    /// The job that does it.
    job: ID,
    /// How many there were to take when it began.
    matched: i64,
    /// Whether all that match were counted then; otherwise there were more.
    matched_complete: bool,
    /// How many were redriven or discarded.
    done: i64,
    /// How many could not be.
    refused: i64,
    /// Why the first of these could not be.
    refusal: Option<String>,
    /// Why it does not go on.
    error: Option<String>,
    /// Who asked for it.
    asked_by: String,
    /// When.
    asked_at: DateTime<Utc>,
    /// Who stopped it.
    ended_by: Option<String>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
}

impl TryFrom<SweepView> for DeadLetterSweep {
    type Error = Fault;

    fn try_from(sweep: SweepView) -> Result<Self, Fault> {
        Ok(Self {
            action: sweep.action()?.into(),
            state: sweep.state()?.into(),
            id: sweep.id.into(),
            tenant: sweep.tenant_id.map(Into::into),
            letters: Json(sweep.letters.0),
            attempts: sweep.attempts,
            rate: sweep.rate,
            job: sweep.job_id.into(),
            matched: sweep.matched,
            matched_complete: sweep.matched_complete,
            done: sweep.done,
            refused: sweep.refused,
            refusal: sweep.refusal,
            error: sweep.error,
            asked_by: sweep.asked_by,
            asked_at: sweep.asked_at,
            ended_by: sweep.ended_by,
            ended_at: sweep.ended_at,
        })
    }
}

/// How many dead letters match.
#[derive(SimpleObject)]
pub(crate) struct DeadLetterCount {
    /// How many were counted.
    count: i64,
    /// Whether these are all; otherwise counting ended after two seconds, or a million letters that were looked at.
    complete: bool,
}

/// What can be read of sweeps.
#[derive(Default)]
pub(crate) struct SweepQuery;

/// What can be done with sweeps.
#[derive(Default)]
pub(crate) struct SweepMutation;

#[Object]
impl SweepQuery {
    /// How many dead letters match: what a sweep of them would take now.
    #[graphql(guard = "SignedIn")]
    async fn dead_letter_count(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        letters: DeadLetterFilter,
    ) -> Result<DeadLetterCount, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let found = letters::count(&mut conn, tenant, &letters.into(), Bound::USUAL).await?;
        Ok(DeadLetterCount { count: found.count, complete: found.complete })
    }

    /// One sweep of dead letters: how far it has come.
    #[graphql(guard = "SignedIn")]
    async fn dead_letter_sweep(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        id: ID,
    ) -> Result<DeadLetterSweep, Fault> {
        let id: SweepId = parse(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        sweep::get(&mut conn, tenant, id).await?.try_into()
    }

    /// Sweeps of dead letters, newest first.
    #[graphql(guard = "SignedIn")]
    async fn dead_letter_sweeps(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, DeadLetterSweep>, Fault> {
        let page = Page::<SweepId>::read("deadLetterSweeps", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = sweep::page(&mut conn, tenant, page.after, page.limit()).await?;
        page.try_of(rows, |s| SweepId(s.id), DeadLetterSweep::try_from)
    }
}

#[Object]
impl SweepMutation {
    /// Gives all dead letters that match now new attempts, in the background: `deadLetterSweep` tells how far that has
    /// come. What cannot be redriven is counted and left; the jobs of sweeps are left out. `deadLetterCount` tells
    /// beforehand how many there are. A tenant has five open sweeps at most.
    #[graphql(guard = "SignedIn")]
    async fn redrive_matching_dead_letters(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        letters: DeadLetterFilter,
        #[graphql(desc = "How many attempts each gets, 1 to 100; as many as its kind has when left out.")]
        attempts: Option<i32>,
        #[graphql(desc = "How many are taken in a second at most, 1 to 1,000; 100 when left out.")]
        rate: Option<i32>,
    ) -> Result<DeadLetterSweep, Fault> {
        begin(ctx, tenant, SweepAction::Redrive, letters.into(), attempts, rate).await
    }

    /// Decides of all dead letters that match now that they are not to be done, in the background, as
    /// `discardDeadLetters` does of single ones.
    #[graphql(guard = "SignedIn")]
    async fn discard_matching_dead_letters(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        letters: DeadLetterFilter,
        #[graphql(desc = "How many are taken in a second at most, 1 to 1,000; 100 when left out.")]
        rate: Option<i32>,
    ) -> Result<DeadLetterSweep, Fault> {
        begin(ctx, tenant, SweepAction::Discard, letters.into(), None, rate).await
    }

    /// Gives one dead letter another payload and new attempts: a `queue.noop`. Of all other kinds the payload says what is done
    /// with the rights of whoever had it enqueued, so that they are refused with CONFLICT.
    #[graphql(guard = "SignedIn")]
    async fn redrive_edited_dead_letter(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        payload: Json<serde_json::Value>,
    ) -> Result<Job, Fault> {
        let id = parse_job(&id)?;
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let letter = dead(&mut tx, id, tenant).await?;
        let attempts = attempts_of(&letter.kind);
        let pools = sweep::redrive_edited(&mut tx, tenant, id, &payload.0, attempts).await?;
        let job = look::job(&mut tx, id, tenant).await?;
        tx.commit().await?;
        app(ctx).wake().pools(&pools);
        job.try_into()
    }

    /// Ends a sweep before it is through. What it has taken stays taken.
    #[graphql(guard = "SignedIn")]
    async fn cancel_dead_letter_sweep(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
    ) -> Result<DeadLetterSweep, Fault> {
        let id: SweepId = parse(&id, "id")?;
        let by = principal(ctx)?.to_string();
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let ended = sweep::cancel(&mut tx, tenant, id, &by).await?;
        tx.commit().await?;
        ended.try_into()
    }
}

async fn begin(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    action: SweepAction,
    letters: Letters,
    attempts: Option<i32>,
    rate: Option<i32>,
) -> Result<DeadLetterSweep, Fault> {
    // What is no number of that size is refused as zero is, with the bounds.
    let number = |given: i32| u16::try_from(given).unwrap_or_default();
    let (attempts, rate) = (attempts.map(number), rate.map_or(RATE, number));
    let by = principal(ctx)?.to_string();
    let mut tx = audit::begin(ctx).await?;
    let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
    let trace_parent = trace_parent(ctx);
    let wish = Wish { tenant, action, letters, attempts, rate, by: &by, trace_parent };
    let (begun, enqueued) = sweep::ask(&mut tx, wish).await?;
    tx.commit().await?;
    app(ctx).wake().send(&enqueued);
    begun.try_into()
}
