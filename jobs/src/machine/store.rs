//! Keeps machines.

use chrono::{DateTime, Utc};
use rules::id::{DepartmentId, HostId, JobId, MachineId, OperationId, TenantId};
use rules::machine::{Action, ActionName, OperationState, Pending, Seen, Spec, Wanted};
use rules::queue::HostNo;
use sqlx::PgConnection;
use uuid::Uuid;

use super::operation::NewOperation;
use super::order_key;
use crate::db::violates;
use crate::queue::{Enqueued, NewJob};
use crate::{Error, Listing, Result};

/// A machine as people see it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Machine {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// The department that it belongs to.
    pub department_id: Option<Uuid>,
    /// Its host.
    pub host_id: Uuid,
    /// Its host's name.
    pub host: String,
    /// Its name.
    pub name: String,
    /// What it is made of: a [`Spec`].
    pub spec: serde_json::Value,
    /// The name of the [`Wanted`] state.
    pub wanted: String,
    /// The name of the [`rules::machine::Seen`] state.
    pub seen: String,
    /// Why it is in that state, as far as its host tells.
    pub seen_reason: Option<String>,
    /// When it was seen.
    pub seen_at: Option<DateTime<Utc>>,
    /// How what is seen differs from what is wanted.
    pub drift: Option<String>,
    /// Counts what was asked for.
    pub generation: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was destroyed.
    pub destroyed_at: Option<DateTime<Utc>>,
}

/// A machine that is held, and what is needed to ask something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) host_no: HostNo,
    pub(super) host_draining: bool,
    pub(super) wanted: Wanted,
    pub(super) generation: i64,
}

/// A machine that is held, as the functions that hold tell it.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) no: i32,
    pub(super) draining: Option<bool>,
    pub(super) wanted: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) ids: Option<Vec<Uuid>>,
    pub(super) actions: Option<Vec<String>>,
    pub(super) states: Option<Vec<String>>,
}

impl Held {
    /// What the machine shall be once this is asked of it.
    pub(super) fn shall_be(&self, action: Action) -> Wanted {
        action.wants().unwrap_or(self.wanted)
    }

    /// Reads what a function that holds machines tells of one, and what was asked of it and has not ended.
    ///
    /// # Errors
    /// Internal when what is stored does not read back, which only a later version can have written.
    pub(super) fn read(told: HeldRow) -> Result<(Self, Vec<Pending>)> {
        let odd = || Error::internal("a machine that is held does not read back");
        let held = Self {
            host_no: HostNo::new(told.no)
                .ok_or_else(|| Error::internal("a host's number is out of range"))?,
            host_draining: told.draining.ok_or_else(odd)?,
            wanted: told.wanted.as_deref().and_then(Wanted::from_name).ok_or_else(odd)?,
            generation: told.generation.ok_or_else(odd)?,
        };
        let pending = told
            .ids
            .into_iter()
            .flatten()
            .zip(told.actions.into_iter().flatten())
            .zip(told.states.into_iter().flatten());
        let pending = pending.map(|((id, action), state)| {
            Ok(Pending {
                id: OperationId(id),
                action: action.parse::<ActionName>().map_err(Error::internal)?,
                state: OperationState::from_name(&state)
                    .ok_or_else(|| Error::internal(format!("`{state}` is no state of an operation")))?,
            })
        });
        Ok((held, pending.collect::<Result<_>>()?))
    }
}

impl Machine {
    /// What it is made of.
    ///
    /// # Errors
    /// Internal when what is stored does not read back, which only a later version can have written.
    pub fn spec(&self) -> Result<Spec> {
        serde_json::from_value(self.spec.clone()).map_err(Error::internal)
    }
}

/// Enters a machine that nothing was asked of yet.
///
/// # Errors
/// Conflict when the tenant has one of that name; NotFound for a department that is not the tenant's.
pub(super) async fn insert(
    conn: &mut PgConnection,
    id: MachineId,
    tenant: TenantId,
    department: Option<DepartmentId>,
    host: HostId,
    spec: &Spec,
    by: &str,
) -> Result<()> {
    let stored = serde_json::to_value(spec).map_err(Error::internal)?;
    let done = sqlx::query!(
        "insert into machine (id, tenant_id, department_id, host_id, name, spec, wanted, created_by) values ($1, $2, $3, $4, $5, $6, 'OFF', $7)",
        id.0,
        tenant.0,
        department.map(|d| d.0),
        host.0,
        spec.name.as_str(),
        stored,
        by
    )
    .execute(conn)
    .await;
    match done {
        Ok(_) => Ok(()),
        Err(e) if violates(&e, "machine_name_unique") => {
            Err(Error::conflict(format!("there is a machine `{}` already; choose another name", spec.name)))
        }
        Err(e) if violates(&e, "machine_department") => Err(no_department(department)),
        Err(e) if violates(&e, "machine_host_is_there") => Err(host_removed()),
        Err(e) => Err(e.into()),
    }
}

/// Holds a tenant's machine until the transaction ends, so that what is asked of it follows one another; tells what was
/// asked of it and has not ended, in the order in which it is done.
///
/// # Errors
/// NotFound when the tenant has no such machine, or it is destroyed.
pub(super) async fn hold(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: MachineId,
) -> Result<(Held, Vec<Pending>)> {
    let row = sqlx::query!(
        r#"select no, draining, wanted, generation, ids, actions, states from machine_hold_v2($1, $2)"#,
        tenant.0,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Held::read(HeldRow {
        no: row.no.ok_or_else(|| absent(id))?,
        draining: row.draining,
        wanted: row.wanted,
        generation: row.generation,
        ids: row.ids,
        actions: row.actions,
        states: row.states,
    })
}

/// Enters an operation on a machine that is held, with its job, and says what the machine shall be.
///
/// # Errors
/// Invalid for a job that cannot be kept; Unavailable when nobody answers.
pub(super) async fn ask(
    conn: &mut PgConnection,
    new: &NewOperation<'_>,
    wanted: Wanted,
    job: &NewJob,
) -> Result<Enqueued> {
    let keyed = job.keyed()?;
    let id = sqlx::query_scalar!(
        r#"select job_id as "job_id!" from machine_ask_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"#,
        new.id.0,
        new.tenant.0,
        new.machine.0,
        new.action.name().as_str(),
        new.action.snapshot().map(|s| s.0),
        wanted.as_str(),
        new.by,
        new.reason,
        keyed.queue,
        keyed.pool,
        keyed.kind,
        keyed.priority,
        keyed.max_attempts,
        keyed.order_key,
        keyed.trace_parent,
        keyed.payload
    )
    .fetch_one(conn)
    .await?;
    Ok(keyed.enqueued(JobId(id)))
}

/// Sets what a machine shall be, as part of what was just asked of it.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn shall_be(conn: &mut PgConnection, id: MachineId, wanted: Wanted) -> Result<()> {
    sqlx::query!("update machine set wanted = $2 where id = $1", id.0, wanted.as_str()).execute(conn).await?;
    Ok(())
}

/// A tenant's machine, destroyed ones included; without a tenant, anybody's.
///
/// # Errors
/// NotFound when the tenant has no such machine.
pub async fn get(conn: &mut PgConnection, tenant: Option<TenantId>, id: MachineId) -> Result<Machine> {
    sqlx::query_as!(
        Machine,
        "select m.id, m.tenant_id, m.department_id, m.host_id, h.name as host, m.name, m.spec, m.wanted, m.seen, m.seen_reason, m.seen_at, m.drift,
            m.generation, m.created_by, m.created_at, m.destroyed_at
        from machine m join host h on h.id = m.host_id where ($1::uuid is null or m.tenant_id = $1) and m.id = $2",
        tenant.map(|t| t.0),
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// What a page of machines shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only this department's.
    pub department: Option<DepartmentId>,
    /// Only those on this host.
    pub host: Option<&'a str>,
    /// Only those after this one.
    pub after: Option<MachineId>,
}

/// A page of machines that are not destroyed, oldest first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(conn: &mut PgConnection, filter: &Filter<'_>, limit: i64) -> Result<Vec<Machine>> {
    let rows = sqlx::query_as!(
        Machine,
        "select m.id, m.tenant_id, m.department_id, m.host_id, h.name as host, m.name, m.spec, m.wanted, m.seen, m.seen_reason, m.seen_at, m.drift,
            m.generation, m.created_by, m.created_at, m.destroyed_at
        from machine m join host h on h.id = m.host_id
        where m.destroyed_at is null and ($1::uuid is null or m.tenant_id = $1) and ($2::uuid is null or m.department_id = $2)
            and ($3::text is null or h.name = $3) and ($4::uuid is null or m.id > $4)
        order by m.id limit $5",
        filter.tenant.map(|t| t.0),
        filter.department.map(|d| d.0),
        filter.host,
        filter.after.map(|m| m.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Puts a tenant's machine into another of the tenant's departments.
///
/// # Errors
/// NotFound when the tenant has no such machine or no such department.
pub async fn set_department(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: MachineId,
    department: DepartmentId,
) -> Result<()> {
    let done = sqlx::query!(
        "update machine set department_id = $3, updated_at = now() where tenant_id = $1 and id = $2 and destroyed_at is null",
        tenant.0,
        id.0,
        department.0
    )
    .execute(conn)
    .await;
    match done {
        Ok(done) if done.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(absent(id)),
        Err(e) if violates(&e, "machine_department") => Err(no_department(Some(department))),
        Err(e) => Err(e.into()),
    }
}

/// Puts a tenant's machine, whose row is locked, on another host, and with it the jobs that wait for it.
/// Returns the pools to wake after the commit. On an error roll back.
///
/// # Errors
/// NotFound when there is no such machine; Conflict while an operation is being performed on it.
pub(super) async fn relocate(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: MachineId,
    host: HostId,
) -> Result<Vec<i32>> {
    let row = sqlx::query!(
        r#"select became as "became!", woken as "woken!" from machine_move_v3($1, $2, $3)"#,
        id.0,
        host.0,
        format!("{tenant}:{}", order_key(id))
    )
    .fetch_one(conn)
    .await
    .map_err(|e| if violates(&e, "machine_host_is_there") { host_removed() } else { e.into() })?;
    match row.became.as_str() {
        "moved" | "there" => Ok(row.woken),
        "busy" => Err(Error::conflict(format!(
            "machine `{id}` cannot be moved while an operation is being performed on it; wait for it to end"
        ))),
        _ => Err(absent(id)),
    }
}

/// How many machines were last seen in each state, of all tenants.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn count_seen(conn: &mut PgConnection) -> Result<Vec<(Seen, i64)>> {
    let rows = sqlx::query!(
        r#"select seen, count(*) as "count!" from machine where destroyed_at is null group by seen"#
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let seen = Seen::from_name(&row.seen)
                .ok_or_else(|| Error::internal(format!("`{}` is no state of a machine", row.seen)))?;
            Ok((seen, row.count))
        })
        .collect()
}

fn host_removed() -> Error {
    Error::conflict("the host was removed a moment ago; choose another")
}

pub(super) fn absent(id: MachineId) -> Error {
    Error::not_found(format!("there is no machine `{id}`")).listed_in(Listing::Machines)
}

fn no_department(id: Option<DepartmentId>) -> Error {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    Error::not_found(format!("there is no department `{id}`")).listed_in(Listing::Departments)
}
