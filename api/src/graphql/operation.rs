//! Operations on machines: asked for, looked at, and why one waits.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::machine::operation::store;
use jobs::machine::{Request, Requested, request, store as machines};
use rules::access::InTenant;
use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::Action;
use uuid::Uuid;

use super::machine::Machine;
use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit::{self, Deed};
use crate::auth::SignedIn;
use crate::error::Fault;

/// Something that was asked of a machine.
#[derive(SimpleObject)]
pub(crate) struct MachineOperation {
    /// Its id.
    id: ID,
    /// The machine.
    machine_id: ID,
    /// What is done, such as START, STOP or SNAPSHOT_CREATE.
    action: String,
    /// WAITING, RUNNING, SUCCEEDED, FAILED, or SUPERSEDED: another took its place.
    state: String,
    /// The operation that took its place.
    superseded_by: Option<ID>,
    /// Why it failed.
    error: Option<String>,
    /// Why it is done, where nobody asked for it.
    reason: Option<String>,
    /// Its job.
    job_id: Option<ID>,
    /// Who asked.
    requested_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
}

/// What was asked, and the machine as it now shall be.
#[derive(SimpleObject)]
pub(crate) struct Asked {
    /// The machine.
    machine: Machine,
    /// What was asked.
    operation: MachineOperation,
}

/// Why an operation that has not ended has not begun.
#[derive(SimpleObject)]
pub(crate) struct MachineWait {
    /// The operation.
    operation_id: ID,
    /// What is to be done.
    action: String,
    /// The reason for programs, such as HOST_DRAINING, HOST_NOT_HELD, KEY_BUSY or RUNNING.
    code: String,
    /// The reason for people.
    why: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
}

impl From<store::Operation> for MachineOperation {
    fn from(o: store::Operation) -> Self {
        Self {
            id: o.id.into(),
            machine_id: o.machine_id.into(),
            action: o.action,
            state: o.state,
            superseded_by: o.superseded_by.map(Into::into),
            error: o.error,
            reason: o.reason,
            job_id: o.job_id.map(Into::into),
            requested_by: o.requested_by,
            created_at: o.created_at,
            started_at: o.started_at,
            ended_at: o.ended_at,
        }
    }
}

impl From<store::Waiting> for MachineWait {
    fn from(w: store::Waiting) -> Self {
        Self {
            operation_id: w.id.into(),
            action: w.action,
            code: w.why.code().into(),
            why: w.why.to_string(),
            created_at: w.created_at,
        }
    }
}

/// Ends the transaction in which something was asked, and tells of it.
pub(crate) async fn asked(
    ctx: &Context<'_>,
    mut tx: Deed<'_>,
    tenant: TenantId,
    requested: Requested,
) -> Result<Asked, Fault> {
    let (operation, machine) = store::with_machine(&mut tx, tenant, requested.operation).await?;
    let asked = Asked { machine: machine.try_into()?, operation: operation.into() };
    tx.commit().await?;
    requested.tell(app(ctx).wake());
    Ok(asked)
}

async fn ask(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    id: ID,
    wish: InTenant,
    action: Action,
) -> Result<Asked, Fault> {
    let machine = parse::<MachineId>(&id, "id")?;
    let mut tx = audit::begin(ctx).await?;
    let scope = enter(ctx, &mut tx, tenant.as_ref(), wish).await?;
    let by = scope.by.to_string();
    let wished = Request {
        tenant: scope.tenant,
        machine,
        action,
        by: &by,
        reason: None,
        trace_parent: trace_parent(ctx),
    };
    let mut requested = request(&mut tx, &wished).await?;
    let Some(answer) = requested.answer.take() else {
        return asked(ctx, tx, scope.tenant, requested).await;
    };
    let (operation, machine) = *answer;
    let asked = Asked { machine: machine.try_into()?, operation: operation.into() };
    tx.commit().await?;
    requested.tell(app(ctx).wake());
    Ok(asked)
}

/// What can be read of operations.
#[derive(Default)]
pub(crate) struct OperationQuery;

/// What can be asked of a machine.
#[derive(Default)]
pub(crate) struct OperationMutation;

#[Object]
impl OperationQuery {
    /// One operation.
    #[graphql(guard = "SignedIn")]
    async fn machine_operation(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
    ) -> Result<MachineOperation, Fault> {
        let id = parse::<OperationId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(store::get(&mut conn, Some(scope.tenant), id).await?.into())
    }

    /// What was asked of a machine, newest first.
    #[graphql(guard = "SignedIn")]
    async fn machine_operations(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, MachineOperation>, Fault> {
        let page = Page::<Uuid>::read("machineOperations", first, after.as_deref())?;
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        machines::get(&mut conn, Some(scope.tenant), id).await?;
        let rows = store::page(&mut conn, id, page.after.map(OperationId), page.limit()).await?;
        Ok(page.of(rows, |o| o.id, MachineOperation::from))
    }

    /// Why what was asked of a machine has not begun, in the order in which it is done.
    #[graphql(guard = "SignedIn")]
    async fn why_machine_waits(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<MachineWait>, Fault> {
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        machines::get(&mut conn, Some(scope.tenant), id).await?;
        Ok(store::why(&mut conn, id).await?.into_iter().map(Into::into).collect())
    }
}

#[Object]
impl OperationMutation {
    /// Starts a machine; one that is held still goes on.
    #[graphql(guard = "SignedIn")]
    async fn power_on(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Start).await
    }

    /// Asks a machine's guest to switch itself off, and switches it off when it has not done so in a minute.
    #[graphql(guard = "SignedIn")]
    async fn power_off(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Stop).await
    }

    /// Switches a machine off as by pulling its plug. Takes the place of a `powerOff` under way.
    #[graphql(guard = "SignedIn")]
    async fn force_power_off(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::ForceOff).await
    }

    /// Switches a machine off as `powerOff` does, and starts it.
    #[graphql(guard = "SignedIn")]
    async fn restart_machine(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Restart).await
    }

    /// Presses a machine's reset button.
    #[graphql(guard = "SignedIn")]
    async fn reset_machine(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Reset).await
    }

    /// Holds a machine still, in memory.
    #[graphql(guard = "SignedIn")]
    async fn suspend(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Suspend).await
    }

    /// Lets a machine go on that is held still.
    #[graphql(guard = "SignedIn")]
    async fn resume(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Work, Action::Resume).await
    }

    /// Destroys a machine with its disks and snapshots. Overtakes whatever was asked of it before; there is
    /// no way back.
    #[graphql(guard = "SignedIn")]
    async fn destroy_machine(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Asked, Fault> {
        ask(ctx, tenant, id, InTenant::Manage, Action::Destroy).await
    }
}
