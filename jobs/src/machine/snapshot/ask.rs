//! Asks for a snapshot, or something of one that is there.

use rules::id::{MachineId, SnapshotId, TenantId};
use rules::machine::{Action, Name, Wanted};
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::machine::request::{Request, Requested, request};
use crate::machine::store as machines;
use crate::{Error, Result};

/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;

/// The most snapshots of one machine: each is a layer more that its disks are read through.
pub const MAX_SNAPSHOTS: i64 = 100;

/// How many attempts at snapshots that failed are kept of one machine, for people to see why.
const FAILED_KEPT: i64 = 20;

/// Asks for a snapshot of a machine. Of those that failed, the oldest are forgotten.
///
/// # Errors
/// NotFound when the tenant has no such machine; Conflict when it has a snapshot of that name, or
/// [`MAX_SNAPSHOTS`], or is being destroyed.
pub async fn create(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
    name: &Name,
    description: &str,
    by: &str,
    trace_parent: Option<&str>,
) -> Result<(SnapshotId, Requested)> {
    let id = SnapshotId(Uuid::now_v7());
    let action = Action::SnapshotCreate(id);
    // Asked first: it tells whether the machine is the tenant's, and holds it.
    let asked = request(conn, &Request { tenant, machine, action, by, reason: None, trace_parent }).await?;
    if store::count(conn, machine).await? >= MAX_SNAPSHOTS {
        return Err(Error::conflict(format!(
            "the machine has {MAX_SNAPSHOTS} snapshots, and more is not allowed; delete one first"
        )));
    }
    store::insert(conn, tenant, machine, id, name, description, by).await?;
    store::forget_failed(conn, machine, FAILED_KEPT).await?;
    Ok((id, asked))
}

/// What is asked of a snapshot that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Put the machine back to it.
    Revert,
    /// Remove it.
    Delete,
}

/// Asks something of a machine's snapshot.
///
/// # Errors
/// NotFound when the tenant has no such machine or it no such snapshot; Conflict when the snapshot is not
/// ready, or the machine is being destroyed.
pub async fn ask(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
    name: &Name,
    what: Ask,
    by: &str,
    trace_parent: Option<&str>,
) -> Result<Requested> {
    // The machine first, as everybody who asks something of it does.
    machines::hold(conn, tenant, machine).await?;
    let (id, seen) = store::ready(conn, tenant, machine, name, what == Ask::Delete).await?;
    let action = match what {
        Ask::Revert => Action::SnapshotRevert(id),
        Ask::Delete => Action::SnapshotDelete(id),
    };
    let asked = request(conn, &Request { tenant, machine, action, by, reason: None, trace_parent }).await?;
    // Whoever goes back to a snapshot wants the state of then, too.
    if let Some(wanted) = Wanted::of(seen).filter(|_| what == Ask::Revert) {
        machines::shall_be(conn, machine, wanted).await?;
    }
    Ok(asked)
}
