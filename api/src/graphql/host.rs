//! Hosts: what each has, who holds it, draining, accepting and removing it.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::host::store;
use jobs::queue::wake::Hint;
use rules::access::Overall;

use super::scope::app;
use crate::audit;
use crate::auth::{MayOverall, principal};
use crate::error::Fault;

/// A hypervisor that carries machines.
#[derive(SimpleObject)]
pub(crate) struct Host {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// ONLINE, DEGRADED (its hypervisor does not answer in time), UNREACHABLE (no worker holds it, or the one
    /// that does cannot connect) or DRAINING.
    state: String,
    /// Why it is not online.
    reason: Option<String>,
    /// The address of its hypervisor.
    uri: String,
    /// The kind of its hypervisor, once it answered.
    hypervisor: Option<String>,
    /// Its processors, once its hypervisor answered.
    cpus: Option<i32>,
    /// Its memory in MiB, once its hypervisor answered.
    memory_mib: Option<i64>,
    /// The memory in MiB of the machines recorded on it.
    promised_mib: i64,
    /// How many machines are recorded on it.
    machines: i64,
    /// How many operations run on it at once.
    vm_slots: i32,
    /// How many checks run on it at once.
    health_slots: i32,
    /// Whether a worker holds it.
    held: bool,
    /// Counts its holders.
    epoch: i64,
    /// By what its hypervisor says who it is, once it answered; none where it keeps no machines.
    identity: Option<String>,
    /// By what another hypervisor says who it is that answers its worker instead: nothing is done there. Empty when it
    /// says nothing.
    stranger: Option<String>,
    /// Since when it is drained.
    draining_at: Option<DateTime<Utc>>,
    /// Who drains it.
    draining_by: Option<String>,
    /// When its holder last reported.
    reported_at: Option<DateTime<Utc>>,
    /// When all of its machines were last compared with what is recorded.
    listed_at: Option<DateTime<Utc>>,
}

impl From<store::Host> for Host {
    fn from(h: store::Host) -> Self {
        Self {
            state: h.state().as_str().into(),
            reason: h.reason().map(ToOwned::to_owned),
            id: h.id.into(),
            name: h.name,
            uri: h.uri,
            hypervisor: h.hypervisor,
            cpus: h.cpus,
            memory_mib: h.memory_mib,
            promised_mib: h.promised_mib,
            machines: h.machines,
            vm_slots: h.vm_slots,
            health_slots: h.health_slots,
            held: h.held,
            epoch: h.epoch,
            identity: h.identity,
            stranger: h.stranger,
            draining_at: h.draining_at,
            draining_by: h.draining_by,
            reported_at: h.reported_at,
            listed_at: h.listed_at,
        }
    }
}

/// What can be read of hosts.
#[derive(Default)]
pub(crate) struct HostQuery;

/// What can be done with hosts.
#[derive(Default)]
pub(crate) struct HostMutation;

#[Object]
impl HostQuery {
    /// Every host, by name.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn hosts(&self, ctx: &Context<'_>) -> Result<Vec<Host>, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        Ok(store::all(&mut conn).await?.into_iter().map(Into::into).collect())
    }
}

#[Object]
impl HostMutation {
    /// Drains a host: what runs goes on, nothing more is started on it and no new machine placed there. Its machines
    /// can be switched off, kept in snapshots and destroyed meanwhile.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn drain_host(&self, ctx: &Context<'_>, name: String) -> Result<Host, Fault> {
        set_draining(ctx, &name, true).await
    }

    /// Lets a drained host go on.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn resume_host(&self, ctx: &Context<'_>, name: String) -> Result<Host, Fault> {
        set_draining(ctx, &name, false).await
    }

    /// Accepts that another hypervisor answers under a host's name: from then on it is the host's own. Machines that it
    /// does not know are shown as such, and none is made there by itself. Refused where no worker holds the host, or another
    /// answers than is named.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn accept_host(
        &self,
        ctx: &Context<'_>,
        name: String,
        #[graphql(desc = "By what it says who it is, as the host's `stranger` tells.")] identity: String,
    ) -> Result<Host, Fault> {
        let by = principal(ctx)?.to_string();
        let mut tx = audit::begin(ctx).await?;
        store::accept(&mut tx, &name, &identity).await?;
        let host = store::by_name(&mut tx, &name).await?;
        tx.commit().await?;
        tracing::info!(host = name, identity, by, "another hypervisor was accepted as a host's own");
        Ok(host.into())
    }

    /// Removes a host that carries no machine and that no worker serves. What is told of machines that were destroyed
    /// there still names it; a worker that serves a host of its name brings it back.
    #[graphql(guard = "MayOverall(Overall::Operate)")]
    async fn remove_host(&self, ctx: &Context<'_>, name: String) -> Result<bool, Fault> {
        let by = principal(ctx)?.to_string();
        let mut tx = audit::begin(ctx).await?;
        store::remove(&mut tx, &name, &by).await?;
        tx.commit().await?;
        tracing::info!(host = name, by, "a host was removed");
        Ok(true)
    }
}

async fn set_draining(ctx: &Context<'_>, name: &str, draining: bool) -> Result<Host, Fault> {
    let by = principal(ctx)?.to_string();
    let mut tx = audit::begin(ctx).await?;
    store::drain(&mut tx, name, draining, &by).await?;
    let host = store::by_name(&mut tx, name).await?;
    tx.commit().await?;
    if !draining {
        app(ctx).wake().hint(Hint::Resumed);
    }
    Ok(host.into())
}
