//! Keeps departments.

use chrono::{DateTime, Utc};
use rules::access::Title;
use rules::id::{DepartmentId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::violates;
use crate::{Error, Listing, Result};

/// A department.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Department {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its name, one of its kind in its tenant whatever its case.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Makes a department.
///
/// # Errors
/// Conflict when the tenant has one of that name.
pub async fn insert(conn: &mut PgConnection, tenant: TenantId, name: &Title) -> Result<Department> {
    sqlx::query_as!(
        Department,
        "insert into department (id, tenant_id, name) values ($1, $2, $3) returning id, tenant_id, name, created_at",
        Uuid::now_v7(),
        tenant.0,
        name.as_str()
    )
    .fetch_one(conn)
    .await
    .map_err(|e| taken(e, name))
}

/// Renames a department.
///
/// # Errors
/// NotFound when the tenant has no such department; Conflict when it has another of that name.
pub async fn rename(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: DepartmentId,
    name: &Title,
) -> Result<Department> {
    sqlx::query_as!(
        Department,
        "update department set name = $3 where tenant_id = $1 and id = $2 returning id, tenant_id, name, created_at",
        tenant.0,
        id.0,
        name.as_str()
    )
    .fetch_optional(conn)
    .await
    .map_err(|e| taken(e, name))?
    .ok_or_else(|| absent(id))
}

/// Removes a department that has no machines.
///
/// # Errors
/// NotFound when the tenant has no such department; Conflict while machines belong to it.
pub async fn delete(conn: &mut PgConnection, tenant: TenantId, id: DepartmentId) -> Result<()> {
    let deleted = sqlx::query!("delete from department where tenant_id = $1 and id = $2", tenant.0, id.0)
        .execute(conn)
        .await;
    match deleted {
        Ok(done) if done.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(absent(id)),
        Err(e) if violates(&e, "machine_department") => {
            Err(Error::conflict(format!("department `{id}` has machines; move or destroy them first")))
        }
        Err(e) => Err(e.into()),
    }
}

/// Lets a department go of machines that are destroyed, so that it can be removed.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn release_destroyed(conn: &mut PgConnection, tenant: TenantId, id: DepartmentId) -> Result<()> {
    sqlx::query!(
        "update machine set department_id = null where tenant_id = $1 and department_id = $2 and destroyed_at is not null",
        tenant.0,
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A tenant's department.
///
/// # Errors
/// NotFound when the tenant has no such department.
pub async fn get(conn: &mut PgConnection, tenant: TenantId, id: DepartmentId) -> Result<Department> {
    sqlx::query_as!(
        Department,
        "select id, tenant_id, name, created_at from department where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// A tenant's department of that name, whatever its case.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn by_name(conn: &mut PgConnection, tenant: TenantId, name: &str) -> Result<Option<Department>> {
    let found = sqlx::query_as!(
        Department,
        "select id, tenant_id, name, created_at from department where tenant_id = $1 and lower(name) = lower($2)",
        tenant.0,
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(found)
}

/// A page of a tenant's departments, oldest first, after the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    after: Option<DepartmentId>,
    limit: i64,
) -> Result<Vec<Department>> {
    let rows = sqlx::query_as!(
        Department,
        "select id, tenant_id, name, created_at from department
        where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
        tenant.0,
        after.map(|id| id.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

fn taken(error: sqlx::Error, name: &Title) -> Error {
    match violates(&error, "department_name_unique") {
        true => Error::conflict(format!("there is a department `{name}` already; choose another name")),
        false => error.into(),
    }
}

fn absent(id: DepartmentId) -> Error {
    Error::not_found(format!("there is no department `{id}`")).listed_in(Listing::Departments)
}
