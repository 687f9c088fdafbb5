//! Keeps snapshots.

use chrono::{DateTime, Utc};
use rules::id::{MachineId, SnapshotId, TenantId};
use rules::machine::{Name, Seen};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::violates;
use crate::{Error, Result};

/// A snapshot as people see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Snapshot {
    /// Its id.
    pub id: Uuid,
    /// Its machine.
    pub machine_id: Uuid,
    /// Its name, one of its kind on its machine.
    pub name: String,
    /// What people say of it.
    pub description: String,
    /// CREATING, READY, DELETING or FAILED.
    pub state: String,
    /// The state to which it puts the machine back, once taken.
    pub seen: Option<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it was taken.
    pub taken_at: Option<DateTime<Utc>>,
    /// Whether what its machine's disks hold builds on it: it was taken or gone back to last.
    pub is_current: bool,
}

/// Enters a snapshot that is to be taken.
///
/// # Errors
/// Conflict when the machine has one of that name.
pub(super) async fn insert(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
    id: SnapshotId,
    name: &Name,
    description: &str,
    by: &str,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into machine_snapshot (id, tenant_id, machine_id, name, description, created_by) values ($1, $2, $3, $4, $5, $6)",
        id.0,
        tenant.0,
        machine.0,
        name.as_str(),
        description,
        by
    )
    .execute(conn)
    .await;
    match done {
        Ok(_) => Ok(()),
        Err(e) if violates(&e, "machine_snapshot_name_unique") => {
            Err(Error::conflict(format!("the machine has a snapshot `{name}` already; choose another name")))
        }
        Err(e) => Err(e.into()),
    }
}

/// The snapshot of that name, if it is ready, and the state to which it puts its machine back; with `delete`
/// it is not ready from now on.
///
/// # Errors
/// NotFound when there is none; Conflict when it is not ready.
pub(super) async fn ready(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
    name: &Name,
    delete: bool,
) -> Result<(SnapshotId, Seen)> {
    let row = sqlx::query!(
        "select id, state, seen from machine_snapshot where tenant_id = $1 and machine_id = $2 and name = $3 and state <> 'FAILED' for update",
        tenant.0,
        machine.0,
        name.as_str()
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("the machine has no snapshot `{name}`")))?;
    if row.state != "READY" {
        return Err(Error::conflict(format!(
            "snapshot `{name}` is {}; wait until that has ended",
            row.state.to_lowercase()
        )));
    }
    if delete {
        deleting(conn, SnapshotId(row.id)).await?;
    }
    let seen = row.seen.as_deref().and_then(Seen::from_name).unwrap_or(Seen::Unknown);
    Ok((SnapshotId(row.id), seen))
}

async fn deleting(conn: &mut PgConnection, id: SnapshotId) -> Result<()> {
    sqlx::query!("update machine_snapshot set state = 'DELETING' where id = $1", id.0).execute(conn).await?;
    Ok(())
}

/// A machine's snapshots, oldest first; there is a bound on how many there can be.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn of_machine(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
) -> Result<Vec<Snapshot>> {
    let rows = sqlx::query_as!(
        Snapshot,
        "select id, machine_id, name, description, state, seen, created_by, created_at, taken_at, is_current
        from machine_snapshot where tenant_id = $1 and machine_id = $2 order by id",
        tenant.0,
        machine.0
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// How many snapshots a machine's host keeps of it, or is about to.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn count(conn: &mut PgConnection, machine: MachineId) -> Result<i64> {
    let found = sqlx::query_scalar!(
        r#"select count(*) as "count!" from machine_snapshot where machine_id = $1 and state <> 'FAILED'"#,
        machine.0
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// Forgets the snapshots of a machine that failed, save the `keep` newest.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn forget_failed(conn: &mut PgConnection, machine: MachineId, keep: i64) -> Result<()> {
    sqlx::query!(
        "delete from machine_snapshot where id in (
            select id from machine_snapshot where machine_id = $1 and state = 'FAILED' order by id desc offset $2)",
        machine.0,
        keep
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the snapshots that were taken of a machine: whatever kept them is gone. Those that are still to be taken stay,
/// for the operations that take them tell what came of them.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::machine) async fn forget_taken(conn: &mut PgConnection, machine: MachineId) -> Result<()> {
    sqlx::query!("delete from machine_snapshot where machine_id = $1 and state <> 'CREATING'", machine.0)
        .execute(conn)
        .await?;
    Ok(())
}
