//! The health of machines: how they are, what checks found, and checks on demand.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result};
use jobs::db::wall;
use jobs::health::statistics::{Statistics, statistics};
use jobs::health::{ask, store};
use jobs::machine::store as machines;
use rules::access::{InTenant, Overall};
use rules::health::{Check, INTERVAL_S, Levels};
use rules::id::MachineId;

use super::disk_space::VmDiskSpace;
use super::health_view::{
    BackgroundHealthServiceStatus, HealthCheckAsked, HealthCheckJobStatus, HealthCheckName,
    HealthCheckQueueStats, HealthCount, HealthQueueStatistics, VmHealth, VmHealthCheck, VmHealthResult,
    VmHealthTally,
};
use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::{MayOverall, SignedIn};
use crate::error::Fault;

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
        checks(ctx, tenant, &machine_id, "machineId").await?.into_iter().map(TryInto::try_into).collect()
    }

    /// The same as `latestVMHealthSnapshot`, by its other name.
    #[graphql(guard = "SignedIn", name = "getLatestVMHealth")]
    async fn latest_health(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<VmHealthCheck>, Fault> {
        checks(ctx, tenant, &machine_id, "machineId").await?.into_iter().map(TryInto::try_into).collect()
    }

    /// How full the disks of a machine are, as far as they were written to when that was checked last, judged by these
    /// percentages in place of those of the installation. It says nothing of a disk that failed: `getVMHealthStatus` does.
    #[graphql(guard = "SignedIn", name = "checkVMDiskSpace")]
    async fn disk_space(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        vm_id: ID,
        #[graphql(desc = "From which percentage on it is a warning; 1 to 100.", default = 85)]
        warning_threshold: i32,
        #[graphql(desc = "From which on it is critical; not lower, to 100.", default = 95)]
        critical_threshold: i32,
    ) -> Result<VmDiskSpace, Fault> {
        let levels = levels(warning_threshold, critical_threshold)?;
        let all = checks(ctx, tenant, &vm_id, "vmId").await?;
        VmDiskSpace::judged(all.into_iter().find(|check| check.name == Check::DiskSpace.as_str()), levels)
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
        #[graphql(desc = "Only those that stand so.")] status: Option<HealthCheckJobStatus>,
    ) -> Result<Vec<VmHealthCheck>, Fault> {
        let all = checks(ctx, tenant, &machine_id, "machineId").await?;
        let all: Vec<VmHealthCheck> = all.into_iter().map(TryInto::try_into).collect::<Result<_, Fault>>()?;
        Ok(all.into_iter().filter(|check| check.stands(status)).collect())
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

    /// The queues of checks, of the whole installation.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn health_queue_statistics(&self, ctx: &Context<'_>) -> Result<HealthQueueStatistics, Fault> {
        Ok(of_all(ctx).await?.into())
    }

    /// The checks in their queues, of the whole installation.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn health_check_queue_stats(&self, ctx: &Context<'_>) -> Result<HealthCheckQueueStats, Fault> {
        Ok(of_all(ctx).await?.into())
    }

    /// What makes checks by itself, of the whole installation.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn background_health_service_status(
        &self,
        ctx: &Context<'_>,
    ) -> Result<BackgroundHealthServiceStatus, Fault> {
        Ok(of_all(ctx).await?.into())
    }
}

async fn of_all(ctx: &Context<'_>) -> Result<Statistics, Fault> {
    let mut conn = app(ctx).db.acquire().await?;
    wall::enter_all(&mut conn).await?;
    Ok(statistics(&mut conn).await?)
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

/// From which percentages on something is a warning, and critical.
fn levels(warning: i32, critical: i32) -> Result<Levels, Fault> {
    let read = |given: i32| u8::try_from(given).unwrap_or(0);
    Levels::new(read(warning), read(critical)).map_err(|_| {
        Fault::BadInput(format!(
            "`warningThreshold` is {warning} and `criticalThreshold` {critical}; both must be 1 to 100, the second not lower"
        ))
    })
}

async fn checks(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    machine: &ID,
    argument: &str,
) -> Result<Vec<store::CheckView>, Fault> {
    let id = parse::<MachineId>(machine, argument)?;
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
