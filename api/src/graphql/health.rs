//! The health of machines: how they are, what checks found, and checks on demand.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::health::{ask, store};
use jobs::machine::store as machines;
use rules::access::InTenant;
use rules::health::{Check, INTERVAL_S, Status, Verdict};
use rules::id::MachineId;
use serde_json::Value;

use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// A thing that is checked of a machine.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rules::health::Check")]
pub(crate) enum HealthCheckName {
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
pub(crate) enum HealthStatus {
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
pub(crate) enum HealthVerdict {
    /// All is well.
    Healthy,
    /// It will not be for long.
    Warning,
    /// It is not.
    Critical,
    /// Nobody knows.
    Unknown,
}

/// How a machine is as a whole.
#[derive(SimpleObject)]
pub(crate) struct VmHealth {
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
pub(crate) struct VmHealthCheck {
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
pub(crate) struct VmHealthResult {
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
pub(crate) struct VmHealthTally {
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
pub(crate) struct HealthCount {
    /// How they are.
    status: HealthStatus,
    /// How many.
    machines: i64,
}

/// A check that was asked for.
#[derive(SimpleObject)]
pub(crate) struct HealthCheckAsked {
    /// What is checked.
    name: HealthCheckName,
    /// The job that makes it: a new one, or the one that was to make it anyhow.
    job_id: ID,
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

fn check(name: &str) -> Result<HealthCheckName, Fault> {
    Ok(name.parse::<Check>().map_err(jobs::Error::internal)?.into())
}

fn verdict(name: &str) -> Result<HealthVerdict, Fault> {
    Ok(Verdict::from_name(name).ok_or_else(|| odd(name))?.into())
}

fn odd(name: &str) -> jobs::Error {
    jobs::Error::internal(format!("`{name}` is stored as a health and is none"))
}

/// What can be read of the health of machines.
#[derive(Default)]
pub(crate) struct HealthQuery;

/// What can be done about it.
#[derive(Default)]
pub(crate) struct HealthMutation;

#[Object]
impl HealthQuery {
    /// How a machine is as a whole.
    #[graphql(guard = "SignedIn", name = "getVMHealthStatus")]
    async fn vm_health_status(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        vm_id: ID,
    ) -> Result<VmHealth, Fault> {
        let id = parse::<MachineId>(&vm_id, "vmId")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        store::get(&mut conn, Some(scope.tenant), id).await?.try_into()
    }

    /// The checks of a machine with what each found last, by name. None before the schedule has taken the
    /// machine in, which takes seconds.
    #[graphql(guard = "SignedIn", name = "latestVMHealthSnapshot")]
    async fn latest_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<VmHealthCheck>, Fault> {
        checks(ctx, tenant, &machine_id).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// What checks of a machine found before, newest first.
    #[graphql(guard = "SignedIn")]
    async fn vm_health_history(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        check_name: Option<HealthCheckName>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, VmHealthResult>, Fault> {
        let page = Page::<i64>::read("vmHealthHistory", first, after.as_deref())?;
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        machines::get(&mut conn, Some(scope.tenant), id).await?;
        let rows =
            store::history(&mut conn, id, check_name.map(Into::into), page.after, page.limit()).await?;
        page.try_of(rows, |r| r.id, VmHealthResult::try_from)
    }

    /// How often each check of a machine found what, among what is kept.
    #[graphql(guard = "SignedIn")]
    async fn vm_health_stats(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<VmHealthTally>, Fault> {
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        machines::get(&mut conn, Some(scope.tenant), id).await?;
        store::tally(&mut conn, id).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// The checks of a machine whose jobs wait or run.
    #[graphql(guard = "SignedIn")]
    async fn vm_health_check_queue(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<VmHealthCheck>, Fault> {
        let all = checks(ctx, tenant, &machine_id).await?;
        all.into_iter().filter(|check| check.job_state.is_some()).map(TryInto::try_into).collect()
    }

    /// How many of a tenant's machines are how.
    #[graphql(guard = "SignedIn")]
    async fn health_statistics(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
    ) -> Result<Vec<HealthCount>, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let counts = store::count(&mut conn, Some(scope.tenant)).await?;
        Ok(counts
            .into_iter()
            .map(|(status, machines)| HealthCount { status: status.into(), machines })
            .collect())
    }
}

#[Object]
impl HealthMutation {
    /// Has one thing of a machine checked now. One that waits already will do.
    #[graphql(guard = "SignedIn")]
    async fn run_health_check(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        vm_id: ID,
        check_name: HealthCheckName,
    ) -> Result<HealthCheckAsked, Fault> {
        let mut asked = run(ctx, tenant, &vm_id, "vmId", &[check_name.into()]).await?;
        asked.pop().ok_or_else(|| jobs::Error::internal("a check was asked for and is not there").into())
    }

    /// Has everything of a machine checked now.
    #[graphql(guard = "SignedIn", name = "queueAllVMHealthChecks")]
    async fn queue_all(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<HealthCheckAsked>, Fault> {
        run(ctx, tenant, &machine_id, "machineId", &Check::ALL).await
    }

    /// Has every check of a tenant's machines put into the queue within seconds, and tells how many; those of
    /// machines that are parked are not among them.
    #[graphql(guard = "SignedIn")]
    async fn trigger_health_check_round(&self, ctx: &Context<'_>, tenant: Option<ID>) -> Result<i64, Fault> {
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let hastened = store::hasten(&mut tx, scope.tenant).await?;
        tx.commit().await?;
        Ok(i64::try_from(hastened).unwrap_or(i64::MAX))
    }

    /// Says whether and how often a check of a machine is made by itself; what is not given stays.
    #[graphql(guard = "SignedIn")]
    async fn set_health_check(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        check_name: HealthCheckName,
        enabled: Option<bool>,
        #[graphql(desc = "From 10 to 86400.")] interval_seconds: Option<i32>,
    ) -> Result<Vec<VmHealthCheck>, Fault> {
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let interval_s = interval_seconds
            .map(|given| {
                u32::try_from(given).ok().filter(|s| INTERVAL_S.contains(s)).ok_or_else(|| {
                    let (least, most) = (INTERVAL_S.start(), INTERVAL_S.end());
                    Fault::BadInput(format!(
                        "`intervalSeconds` is {given}; it must lie between {least} and {most}"
                    ))
                })
            })
            .transpose()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        store::set(&mut tx, scope.tenant, id, check_name.into(), enabled, interval_s).await?;
        let all = store::checks(&mut tx, id).await?;
        tx.commit().await?;
        all.into_iter().map(TryInto::try_into).collect()
    }
}

async fn checks(ctx: &Context<'_>, tenant: Option<ID>, machine: &ID) -> Result<Vec<store::CheckView>, Fault> {
    let id = parse::<MachineId>(machine, "machineId")?;
    let mut conn = app(ctx).db.acquire().await?;
    let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
    machines::get(&mut conn, Some(scope.tenant), id).await?;
    Ok(store::checks(&mut conn, id).await?)
}

async fn run(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    machine: &ID,
    argument: &str,
    checks: &[Check],
) -> Result<Vec<HealthCheckAsked>, Fault> {
    let id = parse::<MachineId>(machine, argument)?;
    let mut tx = audit::begin(ctx).await?;
    let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
    let (asked, enqueued) = ask(&mut tx, scope.tenant, id, checks, trace_parent(ctx)).await?;
    tx.commit().await?;
    app(ctx).wake().send(&enqueued);
    let told = asked.into_iter();
    Ok(told.map(|a| HealthCheckAsked { name: a.check.into(), job_id: a.job.0.into() }).collect())
}
