//! Schedules and their firings, as the API shows and takes them.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, Json, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::firing::{self, FiringState};
use jobs::schedule::{self, Counts};
use rules::id::{FiringId, ScheduleId, TenantId};
use rules::schedule::PREVIEW_MAX;
use serde_json::Value;
use uuid::Uuid;

use super::limit::DEFAULT_RUNS;
use super::loader::{ClockNow, HistoryOf, look_up};
use super::page::Page;
use super::scope::parse;
use crate::error::Fault;

/// What is done about ticks that were missed: those that no scheduler fired within a minute of their time.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CatchUpName {
    /// Nothing: the schedule goes on with the next.
    #[default]
    Skip,
    /// The last of them is fired, for all.
    Once,
    /// The last of them are fired, each, at most `catchUpMax`.
    All,
}

impl CatchUpName {
    /// The name in tables.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Once => "ONCE",
            Self::All => "ALL",
        }
    }
}

/// What a firing has come to.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "FiringStatus", remote = "FiringState")]
pub(crate) enum FiringStatusName {
    /// Its job waits.
    Queued,
    /// Its run is under way.
    Started,
    /// Its run ended well.
    Success,
    /// No run could be started, or the last ended badly or took too long.
    Failure,
    /// Somebody cancelled its run.
    Cancelled,
    /// Its ticks were missed, and are not made up for.
    Missed,
}

/// Why a schedule fired.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TriggerType {
    /// A tick was due.
    Scheduled,
    /// Somebody asked.
    Manual,
}

/// Starts a workflow at certain times.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Schedule {
    /// Its id.
    id: ID,
    #[graphql(skip)]
    row: schedule::Schedule,
    /// Its name for people.
    title: String,
    /// What it is for.
    description: String,
    /// The workflow that it starts.
    workflow_id: ID,
    /// What each run starts with.
    workflow_config: Json<Value>,
    /// The cron line, where it has one.
    cron: Option<String>,
    /// The time zone by whose wall clock the line is read.
    time_zone: Option<String>,
    /// So many seconds apart.
    interval_seconds: Option<i64>,
    /// The only tick, or with an interval the first.
    at: Option<DateTime<Utc>>,
    /// What is done about missed ticks.
    catch_up: CatchUpName,
    /// How many missed ticks are made up for at most, with ALL.
    catch_up_max: i32,
    /// How long a run may take; then it is cancelled, and the firing failed.
    timeout_seconds: i32,
    /// How many further attempts a firing has whose run fails.
    retry_attempts: i32,
    /// The wait before each.
    retry_delay_seconds: i32,
    /// Whether nothing is fired.
    is_disabled: bool,
    /// The next tick; null while it is disabled, or when none is left.
    next_run_at: Option<DateTime<Utc>>,
    /// Counts edits; the first is 1.
    version: i32,
    /// Who saved it last: firings need the rights that they have then.
    saved_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl TryFrom<schedule::Schedule> for Schedule {
    type Error = Fault;

    fn try_from(s: schedule::Schedule) -> Result<Self, Fault> {
        let catch_up = match s.catches_up()? {
            rules::schedule::CatchUp::Skip => CatchUpName::Skip,
            rules::schedule::CatchUp::Once => CatchUpName::Once,
            rules::schedule::CatchUp::All(_) => CatchUpName::All,
        };
        Ok(Self {
            id: s.id.into(),
            title: s.title.clone(),
            description: s.description.clone(),
            workflow_id: s.workflow_id.into(),
            workflow_config: Json(s.input.clone()),
            cron: s.cron.clone(),
            time_zone: s.time_zone.clone(),
            interval_seconds: s.interval_s,
            at: s.at,
            catch_up,
            catch_up_max: s.catch_up_max,
            timeout_seconds: s.timeout_s,
            retry_attempts: s.retries,
            retry_delay_seconds: s.retry_delay_s,
            is_disabled: s.disabled,
            next_run_at: s.next_at,
            version: s.version,
            saved_by: s.saved_by.clone(),
            created_at: s.created_at,
            updated_at: s.updated_at,
            row: s,
        })
    }
}

#[ComplexObject]
impl Schedule {
    /// The next times at which it would be due, also while it is disabled.
    async fn next_runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "1 to 100; 5 if not said.")] count: Option<i32>,
    ) -> Result<Vec<DateTime<Utc>>, Fault> {
        let count = count_of(count)?;
        let timing = self.row.when()?.timing().map_err(|fault| jobs::Error::internal(fault.message))?;
        let now = look_up(ctx, ClockNow).await?;
        Ok(now.map(|now| timing.upcoming(now, count)).unwrap_or_default())
    }

    /// What came of its firings, the latest tick first.
    async fn history(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Firing>, Fault> {
        let page = Page::<Uuid>::read("scheduleHistory", first, after.as_deref())?;
        let id = parse::<ScheduleId>(&self.id, "id")?;
        let tenant = TenantId(self.row.tenant_id);
        let asked = HistoryOf(tenant, id, page.after.map(FiringId), page.limit());
        let rows = look_up(ctx, asked).await?.unwrap_or_else(|| Vec::new().into());
        page.try_of(rows, |f| f.id, Firing::try_from)
    }
}

/// One firing of a schedule.
#[derive(SimpleObject)]
pub(crate) struct Firing {
    /// Its id.
    id: ID,
    /// Why it fired.
    trigger_type: TriggerType,
    /// The tick, or when somebody asked; of ticks that were missed, the first.
    scheduled_at: DateTime<Utc>,
    /// What it has come to.
    status: FiringStatusName,
    /// Which attempt, from 1.
    attempt: i32,
    /// The run that the last attempt started.
    run_id: Option<ID>,
    /// Who asked for it.
    asked_by: Option<String>,
    /// When the run of the last attempt was started.
    start_time: Option<DateTime<Utc>>,
    /// When it ended.
    end_time: Option<DateTime<Utc>>,
    /// From the start to the end.
    duration_ms: Option<i64>,
    /// Why it came to that.
    result: Option<String>,
    /// How many ticks were missed; a thousand stand for a thousand or more.
    missed: Option<i32>,
    /// The last of the ticks that were missed.
    missed_until: Option<DateTime<Utc>>,
}

impl TryFrom<firing::Firing> for Firing {
    type Error = Fault;

    fn try_from(f: firing::Firing) -> Result<Self, Fault> {
        let odd = || jobs::Error::internal(format!("firing {} does not read back", f.id));
        let trigger_type = match f.trigger_type.as_str() {
            "SCHEDULED" => TriggerType::Scheduled,
            "MANUAL" => TriggerType::Manual,
            _ => return Err(odd().into()),
        };
        Ok(Self {
            status: FiringState::from_name(&f.state).ok_or_else(odd)?.into(),
            id: f.id.into(),
            trigger_type,
            scheduled_at: f.tick_at,
            attempt: f.attempt,
            run_id: f.run_id.map(Into::into),
            asked_by: f.asked_by,
            start_time: f.started_at,
            end_time: f.ended_at,
            duration_ms: f.duration_ms,
            result: f.result,
            missed: f.missed,
            missed_until: f.missed_until,
        })
    }
}

/// How the schedules of a tenant are getting on.
#[derive(SimpleObject)]
pub(crate) struct ScheduleStatus {
    /// All of them.
    total: i64,
    /// Those that are disabled.
    disabled: i64,
    /// Those whose tick is due and not fired yet.
    overdue: i64,
    /// Firings whose run is under way, or waits to be started.
    running: i64,
    /// Firings of the last 24 hours that ended well.
    succeeded: i64,
    /// Firings of the last 24 hours that failed.
    failed: i64,
    /// Ticks of the last 24 hours that were missed and not made up for.
    missed: i64,
}

impl From<Counts> for ScheduleStatus {
    fn from(c: Counts) -> Self {
        let Counts { total, disabled, overdue, running, succeeded, failed, missed } = c;
        Self { total, disabled, overdue, running, succeeded, failed, missed }
    }
}

/// What a schedule is to be. One of `cron`, `intervalSeconds` and `at` says when; `at` beside `intervalSeconds` is the
/// first tick.
#[derive(InputObject)]
pub(crate) struct ScheduleInput {
    /// Its name for people, 1 to 255 characters.
    pub(crate) title: String,
    /// What it is for, up to 2,000 characters.
    #[graphql(default)]
    pub(crate) description: String,
    /// The workflow that it starts.
    pub(crate) workflow: ID,
    /// What each run starts with: an object, `{}` unless given.
    pub(crate) workflow_config: Option<Json<Value>>,
    /// A line of five fields, such as `0 7 * * MON-FRI`, or of six with seconds before them.
    pub(crate) cron: Option<String>,
    /// The time zone by whose wall clock the line is read, such as `Europe/Berlin`; `UTC` unless given.
    pub(crate) time_zone: Option<String>,
    /// So many seconds apart, 1 to 31,622,400.
    pub(crate) interval_seconds: Option<i64>,
    /// The only tick, or with an interval the first.
    pub(crate) at: Option<DateTime<Utc>>,
    /// What is done about missed ticks.
    #[graphql(default)]
    pub(crate) catch_up: CatchUpName,
    /// How many missed ticks are made up for at most with ALL, 1 to 100.
    #[graphql(default = 1)]
    pub(crate) catch_up_max: i64,
    /// How long a run may take, 1 to 2,592,000.
    #[graphql(default = 300)]
    pub(crate) timeout_seconds: i64,
    /// How many further attempts a firing has whose run fails, 0 to 20.
    #[graphql(default = 0)]
    pub(crate) retry_attempts: i64,
    /// The wait before each, 1 to 86,400.
    #[graphql(default = 60)]
    pub(crate) retry_delay_seconds: i64,
    /// Whether nothing is fired yet.
    #[graphql(default)]
    pub(crate) is_disabled: bool,
}

/// The number of runs that a preview tells.
///
/// # Errors
/// [`Fault::BadInput`] beyond its bounds.
pub(crate) fn count_of(count: Option<i32>) -> Result<usize, Fault> {
    let count = count.unwrap_or(DEFAULT_RUNS as i32);
    match usize::try_from(count) {
        Ok(count) if (1..=PREVIEW_MAX).contains(&count) => Ok(count),
        _ => Err(Fault::BadInput(format!("`count` is {count}; it must lie between 1 and {PREVIEW_MAX}"))),
    }
}
