//! Snapshots of machines: taken, listed, gone back to, removed.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::machine::snapshot::{self, Ask, MAX_DESCRIPTION_CHARS, store};
use jobs::machine::store as machines;
use rules::access::InTenant;
use rules::id::MachineId;
use rules::machine::Name;

use super::operation::{Asked, asked};
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// A point to which a machine can be put back.
#[derive(SimpleObject)]
pub(crate) struct MachineSnapshot {
    /// Its id.
    id: ID,
    /// Its machine.
    machine_id: ID,
    /// Its name, one of its kind on its machine.
    name: String,
    /// What people say of it.
    description: String,
    /// CREATING, READY, DELETING or FAILED.
    state: String,
    /// The state to which it puts the machine back, once taken.
    seen: Option<String>,
    /// Who asked for it.
    created_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it was taken.
    taken_at: Option<DateTime<Utc>>,
    /// Whether what its machine's disks hold builds on it: it was taken or gone back to last.
    is_current: bool,
}

impl From<store::Snapshot> for MachineSnapshot {
    fn from(s: store::Snapshot) -> Self {
        Self {
            id: s.id.into(),
            machine_id: s.machine_id.into(),
            name: s.name,
            description: s.description,
            state: s.state,
            seen: s.seen,
            created_by: s.created_by,
            created_at: s.created_at,
            taken_at: s.taken_at,
            is_current: s.is_current,
        }
    }
}

/// What can be read of snapshots.
#[derive(Default)]
pub(crate) struct SnapshotQuery;

/// What can be done with snapshots.
#[derive(Default)]
pub(crate) struct SnapshotMutation;

#[Object]
impl SnapshotQuery {
    /// A machine's snapshots, oldest first, all of them: a machine can have 100.
    #[graphql(guard = "SignedIn")]
    async fn machine_snapshots(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Vec<MachineSnapshot>, Fault> {
        let all = of_machine(ctx, tenant, &machine_id).await?;
        Ok(all.into_iter().map(Into::into).collect())
    }

    /// The snapshot on which what a machine's disks hold builds: the one that was taken or gone back to last, and where that
    /// was deleted, the one before it. None where there is none.
    #[graphql(guard = "SignedIn")]
    async fn current_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
    ) -> Result<Option<MachineSnapshot>, Fault> {
        let all = of_machine(ctx, tenant, &machine_id).await?;
        Ok(all.into_iter().find(|snapshot| snapshot.is_current).map(Into::into))
    }
}

#[Object]
impl SnapshotMutation {
    /// Takes a snapshot of a machine, which can have 100.
    #[graphql(guard = "SignedIn")]
    async fn create_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        name: String,
        description: Option<String>,
    ) -> Result<Asked, Fault> {
        let id = parse::<MachineId>(&machine_id, "machineId")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let (name, description) = (read_name(&name)?, description.unwrap_or_default());
        if description.chars().count() > MAX_DESCRIPTION_CHARS {
            let told = format!("`description` has more than {MAX_DESCRIPTION_CHARS} characters; shorten it");
            return Err(Fault::BadInput(told));
        }
        let (by, trace) = (scope.by.to_string(), trace_parent(ctx));
        let made = snapshot::create(&mut tx, scope.tenant, id, &name, &description, &by, trace).await;
        let (_, requested) = made?;
        asked(ctx, tx, scope.tenant, requested).await
    }

    /// Puts a machine back to a snapshot; what has changed since is lost.
    #[graphql(guard = "SignedIn")]
    async fn restore_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        snapshot_name: String,
    ) -> Result<Asked, Fault> {
        ask(ctx, tenant, machine_id, &snapshot_name, InTenant::Work, Ask::Revert).await
    }

    /// The same as `restoreSnapshot`, which needs no force: it goes back from any state of the machine, and starts its guest
    /// anew where that cannot be put back as it was.
    #[graphql(guard = "SignedIn")]
    async fn force_restore_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        snapshot_name: String,
    ) -> Result<Asked, Fault> {
        ask(ctx, tenant, machine_id, &snapshot_name, InTenant::Work, Ask::Revert).await
    }

    /// Removes a snapshot; those that build on it stay.
    #[graphql(guard = "SignedIn")]
    async fn delete_snapshot(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        machine_id: ID,
        snapshot_name: String,
    ) -> Result<Asked, Fault> {
        ask(ctx, tenant, machine_id, &snapshot_name, InTenant::Manage, Ask::Delete).await
    }
}

async fn of_machine(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    machine_id: &ID,
) -> Result<Vec<store::Snapshot>, Fault> {
    let id = parse::<MachineId>(machine_id, "machineId")?;
    let mut conn = app(ctx).db.acquire().await?;
    let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
    machines::get(&mut conn, Some(scope.tenant), id).await?;
    Ok(store::of_machine(&mut conn, scope.tenant, id).await?)
}

async fn ask(
    ctx: &Context<'_>,
    tenant: Option<ID>,
    machine_id: ID,
    name: &str,
    wish: InTenant,
    what: Ask,
) -> Result<Asked, Fault> {
    let id = parse::<MachineId>(&machine_id, "machineId")?;
    let mut tx = audit::begin(ctx).await?;
    let scope = enter(ctx, &mut tx, tenant.as_ref(), wish).await?;
    let (name, by) = (read_name(name)?, scope.by.to_string());
    let requested = snapshot::ask(&mut tx, scope.tenant, id, &name, what, &by, trace_parent(ctx)).await?;
    asked(ctx, tx, scope.tenant, requested).await
}

fn read_name(text: &str) -> Result<Name, Fault> {
    text.parse().map_err(|bad: rules::machine::BadName| Fault::BadInput(bad.to_string()))
}
