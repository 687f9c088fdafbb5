//! Keeps the roles that a tenant makes for itself, and who has them.

use chrono::{DateTime, Utc};
use rules::access::Title;
use rules::id::{ApiKeyId, RoleId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice, violates};
use crate::{Error, Result};

/// A role of a tenant's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRole {
    /// Its id.
    pub id: Uuid,
    /// Its name for people.
    pub title: String,
    /// What it grants, as written.
    pub grants: Vec<String>,
    /// Who made it: `user:<id>` or `key:<id>`.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A role that is to be stored.
#[derive(Debug)]
pub struct NewRole<'a> {
    /// Its name for people.
    pub title: &'a Title,
    /// What it grants; checked before.
    pub grants: &'a [String],
    /// Who makes it.
    pub created_by: String,
}

/// How many roles a tenant has.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn count(conn: &mut PgConnection, tenant: TenantId) -> Result<i64> {
    let row = sqlx::query!(r#"select count(*) as "count!" from tenant_role where tenant_id = $1"#, tenant.0)
        .fetch_one(conn)
        .await?;
    Ok(row.count)
}

/// Makes a role.
///
/// # Errors
/// Conflict when the tenant has one of this title.
pub async fn insert(conn: &mut PgConnection, tenant: TenantId, role: &NewRole<'_>) -> Result<OwnRole> {
    sqlx::query_as!(
        OwnRole,
        "insert into tenant_role (id, tenant_id, title, grants, created_by) values ($1, $2, $3, $4, $5)
        returning id, title, grants, created_by, created_at, updated_at",
        Uuid::now_v7(),
        tenant.0,
        role.title.as_str(),
        role.grants,
        role.created_by
    )
    .fetch_one(conn)
    .await
    .map_err(|e| taken(e, role.title))
}

/// Gives a role another title and other grants, which holds at once for all who have it.
///
/// # Errors
/// NotFound when the tenant has no such role, Conflict when it has another of this title.
pub async fn update(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: RoleId,
    title: &Title,
    grants: &[String],
) -> Result<OwnRole> {
    sqlx::query_as!(
        OwnRole,
        "update tenant_role set title = $3, grants = $4, updated_at = now() where tenant_id = $1 and id = $2
        returning id, title, grants, created_by, created_at, updated_at",
        tenant.0,
        id.0,
        title.as_str(),
        grants
    )
    .fetch_optional(conn)
    .await
    .map_err(|e| taken(e, title))?
    .ok_or_else(|| absent(id))
}

/// Deletes a role that nobody has.
///
/// # Errors
/// NotFound when the tenant has no such role, Conflict while somebody has it.
pub async fn delete(conn: &mut PgConnection, tenant: TenantId, id: RoleId) -> Result<()> {
    let done = sqlx::query!("delete from tenant_role where tenant_id = $1 and id = $2", tenant.0, id.0)
        .execute(conn)
        .await
        .map_err(|e| {
            if violates(&e, "membership_role_in_use") || violates(&e, "api_key_role_in_use") {
                return Error::conflict(format!(
                    "role `{id}` is in use; take it from its members and keys before"
                ));
            }
            e.into()
        })?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(absent(id)) }
}

/// One role.
///
/// # Errors
/// NotFound when the tenant has no such role.
pub async fn get(conn: &mut PgConnection, tenant: TenantId, id: RoleId) -> Result<OwnRole> {
    sqlx::query_as!(
        OwnRole,
        "select id, title, grants, created_by, created_at, updated_at from tenant_role
        where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// A page of a tenant's roles, oldest first, after the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    after: Option<RoleId>,
    limit: i64,
) -> Result<Slice<OwnRole>> {
    let rows = sqlx::query_as!(
        OwnRole,
        "select id, title, grants, created_by, created_at, updated_at from tenant_role
        where tenant_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
        tenant.0,
        after.map(|r| r.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |r| r.grants.iter().map(String::len).sum()).await
}

/// What some roles grant together, and how many of them the tenant has.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn grants_of(
    conn: &mut PgConnection,
    tenant: TenantId,
    ids: &[Uuid],
) -> Result<(i64, Vec<String>)> {
    let row = sqlx::query!(
        r#"select count(distinct r.id) as "found!",
            coalesce(array_agg(g) filter (where g is not null), '{}') as "grants!"
        from tenant_role r left join lateral unnest(r.grants) g on true
        where r.tenant_id = $1 and r.id = any($2)"#,
        tenant.0,
        ids
    )
    .fetch_one(conn)
    .await?;
    Ok((row.found, row.grants))
}

/// Takes all roles of the tenant's own from a member.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn clear_member(conn: &mut PgConnection, tenant: TenantId, user: UserId) -> Result<()> {
    sqlx::query!("delete from membership_role where tenant_id = $1 and user_id = $2", tenant.0, user.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives a member roles of the tenant's own.
///
/// # Errors
/// NotFound when they do not belong to the tenant.
pub async fn give_member(
    conn: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    ids: &[Uuid],
) -> Result<()> {
    sqlx::query!(
        "insert into membership_role (tenant_id, user_id, role_id)
        select $1, $2, r.id from tenant_role r where r.tenant_id = $1 and r.id = any($3)",
        tenant.0,
        user.0,
        ids
    )
    .execute(conn)
    .await
    .map_err(|e| match violates(&e, "membership_role_member") {
        true => Error::not_found(format!("user `{user}` does not belong to this tenant")),
        false => e.into(),
    })?;
    Ok(())
}

/// Gives an API key roles of the tenant's own.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn give_key(conn: &mut PgConnection, tenant: TenantId, key: ApiKeyId, ids: &[Uuid]) -> Result<()> {
    sqlx::query!(
        "insert into api_key_role (tenant_id, key_id, role_id)
        select $1, $2, r.id from tenant_role r where r.tenant_id = $1 and r.id = any($3)",
        tenant.0,
        key.0,
        ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn absent(id: RoleId) -> Error {
    Error::not_found(format!("there is no role `{id}`"))
}

fn taken(error: sqlx::Error, title: &Title) -> Error {
    match violates(&error, "tenant_role_title_unique") {
        true => Error::conflict(format!("there is a role `{title}` already; choose another title")),
        false => error.into(),
    }
}
