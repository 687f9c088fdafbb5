//! The health of machines as the API shows it.

use async_graphql::{Enum, ID, Json, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::health::statistics::Statistics;
use jobs::health::store;
use rules::health::{Check, Status, Verdict};
use serde_json::Value;

use crate::error::Fault;

/// A thing that is checked of a machine.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rules::health::Check")]
pub(super) enum HealthCheckName {
    /// Whether its host answers for it.
    Reachable,
    /// Whether it is in the state in which it shall be.
    State,
    /// How much of its processors it uses.
    CpuUsage,
    /// How much of its memory it uses.
    MemoryUsage,
    /// How full its disks are, as far as they were written to.
    DiskSpace,
}

/// How a machine is as a whole.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rules::health::Status")]
pub(super) enum HealthStatus {
    /// Nothing is wrong with it.
    Healthy,
    /// Something will be wrong with it soon.
    Warning,
    /// Something is wrong with it.
    Critical,
    /// Nobody knows.
    Unknown,
    /// It is switched off and not checked.
    Parked,
}

/// What a check found.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rules::health::Verdict")]
pub(super) enum HealthVerdict {
    /// All is well.
    Healthy,
    /// It will not be for long.
    Warning,
    /// It is not.
    Critical,
    /// Nobody knows.
    Unknown,
}

/// How a check stands that is to be made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthCheckJobStatus {
    /// It waits for its turn.
    Pending,
    /// It is being made.
    Running,
    /// It was put off for moments, or failed and is tried again.
    RetryScheduled,
}

/// How a machine is as a whole.
#[derive(SimpleObject)]
pub(super) struct VmHealth {
    /// The machine.
    machine_id: ID,
    /// How it is.
    status: HealthStatus,
    /// Why, unless it is healthy.
    reason: Option<String>,
    /// Since when.
    since: Option<DateTime<Utc>>,
}

/// A check of a machine, and what it found last.
#[derive(SimpleObject)]
pub(super) struct VmHealthCheck {
    /// What is checked.
    name: HealthCheckName,
    /// Whether it is made by itself.
    enabled: bool,
    /// How often, in seconds.
    interval_seconds: i32,
    /// When it is put into the queue next; none while the machine is parked, its host does not answer, or the
    /// check is switched off.
    due_at: Option<DateTime<Utc>>,
    /// Its job that waits or runs.
    job_id: Option<ID>,
    /// READY, SCHEDULED, BLOCKED or LEASED, where there is such a job.
    job_state: Option<String>,
    /// How it stands, where there is such a job.
    status: Option<HealthCheckJobStatus>,
    /// What it found; none before the first time.
    verdict: Option<HealthVerdict>,
    /// Why.
    detail: Option<String>,
    /// What was read.
    figures: Option<Json<Value>>,
    /// When.
    checked_at: Option<DateTime<Utc>>,
    /// Since when the verdict is this one.
    since: Option<DateTime<Utc>>,
}

/// What a check found once.
#[derive(SimpleObject)]
pub(super) struct VmHealthResult {
    /// What was checked.
    name: HealthCheckName,
    /// What it found.
    verdict: HealthVerdict,
    /// Why.
    detail: String,
    /// What was read.
    figures: Json<Value>,
    /// When.
    at: DateTime<Utc>,
    /// How long the reading took, in milliseconds.
    took_ms: i32,
}

/// How often a check of a machine found what, among what is kept.
#[derive(SimpleObject)]
pub(super) struct VmHealthTally {
    /// What was checked.
    name: HealthCheckName,
    /// How often it was healthy.
    healthy: i64,
    /// How often it was a warning.
    warning: i64,
    /// How often it was critical.
    critical: i64,
    /// How often nobody knew.
    unknown: i64,
    /// How long a reading took on average, in milliseconds.
    average_ms: f64,
    /// When the oldest of what is kept was found.
    oldest_at: DateTime<Utc>,
}

/// How many machines are how.
#[derive(SimpleObject)]
pub(super) struct HealthCount {
    /// How they are.
    pub(super) status: HealthStatus,
    /// How many.
    pub(super) machines: i64,
}

/// A check that was asked for.
#[derive(SimpleObject)]
pub(super) struct HealthCheckAsked {
    /// What is checked.
    pub(super) name: HealthCheckName,
    /// The job that makes it: a new one, or the one that was to make it anyhow.
    pub(super) job_id: ID,
}

impl TryFrom<store::HealthView> for VmHealth {
    type Error = Fault;

    fn try_from(h: store::HealthView) -> Result<Self, Fault> {
        let status = Status::from_name(&h.status).ok_or_else(|| odd(&h.status))?;
        Ok(Self { machine_id: h.machine_id.into(), status: status.into(), reason: h.reason, since: h.since })
    }
}

impl TryFrom<store::CheckView> for VmHealthCheck {
    type Error = Fault;

    fn try_from(c: store::CheckView) -> Result<Self, Fault> {
        Ok(Self {
            name: check(&c.name)?,
            enabled: c.enabled,
            interval_seconds: c.interval_s,
            due_at: c.due_at,
            job_id: c.job_id.map(Into::into),
            status: c.job_state.as_deref().map(job_status).transpose()?,
            job_state: c.job_state,
            verdict: c.verdict.as_deref().map(verdict).transpose()?,
            detail: c.detail,
            figures: c.figures.map(Json),
            checked_at: c.checked_at,
            since: c.since,
        })
    }
}

impl TryFrom<store::ResultView> for VmHealthResult {
    type Error = Fault;

    fn try_from(r: store::ResultView) -> Result<Self, Fault> {
        Ok(Self {
            name: check(&r.name)?,
            verdict: verdict(&r.verdict)?,
            detail: r.detail,
            figures: Json(r.figures),
            at: r.at,
            took_ms: r.took_ms,
        })
    }
}

impl TryFrom<store::Tally> for VmHealthTally {
    type Error = Fault;

    fn try_from(t: store::Tally) -> Result<Self, Fault> {
        Ok(Self {
            name: check(&t.name)?,
            healthy: t.healthy,
            warning: t.warning,
            critical: t.critical,
            unknown: t.unknown,
            average_ms: t.average_ms,
            oldest_at: t.oldest_at,
        })
    }
}

impl VmHealthCheck {
    /// Whether it has a job, and one that stands so where that is asked.
    pub(super) fn stands(&self, status: Option<HealthCheckJobStatus>) -> bool {
        self.status.is_some_and(|now| status.is_none_or(|wanted| now == wanted))
    }
}

fn job_status(state: &str) -> Result<HealthCheckJobStatus, Fault> {
    Ok(match state {
        "READY" | "BLOCKED" => HealthCheckJobStatus::Pending,
        "LEASED" => HealthCheckJobStatus::Running,
        "SCHEDULED" => HealthCheckJobStatus::RetryScheduled,
        other => return Err(odd(other).into()),
    })
}

fn check(name: &str) -> Result<HealthCheckName, Fault> {
    Ok(name.parse::<Check>().map_err(jobs::Error::internal)?.into())
}

fn verdict(name: &str) -> Result<HealthVerdict, Fault> {
    Ok(Verdict::from_name(name).ok_or_else(|| odd(name))?.into())
}

fn odd(name: &str) -> jobs::Error {
    jobs::Error::internal(format!("`{name}` is stored as a health and is none"))
}

/// The queues of checks, of the whole installation.
#[derive(SimpleObject)]
pub(super) struct HealthQueueStatistics {
    /// How many there are: one of each host.
    total_queues: i64,
    /// Checks that are being made.
    active_checks: i64,
    /// Checks that wait for their turn.
    pending_tasks: i64,
    /// Findings kept since midnight UTC; too many by those that were undone, which is rare.
    completed_today: i64,
    /// Checks that died since midnight UTC.
    failed_today: i64,
}

/// The checks in their queues, of the whole installation.
#[derive(SimpleObject)]
pub(super) struct HealthCheckQueueStats {
    /// Those that wait for their turn.
    pending: i64,
    /// Those that are being made.
    running: i64,
    /// Findings kept since midnight UTC; too many by those that were undone, which is rare.
    completed: i64,
    /// Those that died since midnight UTC.
    failed: i64,
    /// Those that were put off for moments, or failed and are tried again.
    retry_scheduled: i64,
    /// Those of today that came to an end, either way.
    total_today: i64,
}

/// What makes checks by itself, of the whole installation.
#[derive(SimpleObject)]
pub(super) struct BackgroundHealthServiceStatus {
    /// Whether any worker serves a host, and so makes checks.
    is_running: bool,
    /// Whether a scheduler leads, and so puts checks into their queues when they are due.
    cron_active: bool,
    /// When the next is due; a time that has passed is now.
    next_run: Option<DateTime<Utc>>,
    /// When a check found something last.
    last_run: Option<DateTime<Utc>>,
    /// Machines that are checked by themselves; those that are parked are not.
    #[graphql(name = "totalVMsMonitored")]
    total_monitored: i64,
    /// Hosts whose queue holds a check, or of which one is being made.
    active_queues: i64,
    /// Checks that wait for their turn.
    pending_checks: i64,
}

impl From<Statistics> for HealthQueueStatistics {
    fn from(s: Statistics) -> Self {
        Self {
            total_queues: s.hosts,
            active_checks: s.running,
            pending_tasks: s.pending,
            completed_today: s.found_today,
            failed_today: s.died_today,
        }
    }
}

impl From<Statistics> for HealthCheckQueueStats {
    fn from(s: Statistics) -> Self {
        Self {
            pending: s.pending,
            running: s.running,
            completed: s.found_today,
            failed: s.died_today,
            retry_scheduled: s.put_off,
            total_today: s.found_today + s.died_today,
        }
    }
}

impl From<Statistics> for BackgroundHealthServiceStatus {
    fn from(s: Statistics) -> Self {
        Self {
            is_running: s.served,
            cron_active: s.scheduled,
            next_run: s.next_at,
            last_run: s.last_at,
            total_monitored: s.machines,
            active_queues: s.hosts_at_work,
            pending_checks: s.pending,
        }
    }
}
