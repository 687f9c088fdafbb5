//! Keeps tenants and memberships.

use chrono::{DateTime, Utc};
use rules::access::{Slug, TenantRole, Title};
use rules::id::{TenantId, UserId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::db::violates;
use crate::{Error, Result};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: Uuid,
    /// Its name in addresses.
    pub slug: String,
    /// Its name for people.
    pub title: String,
    /// Since when it is closed.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A user's place in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: Uuid,
    /// Their address.
    pub email: String,
    /// Their role there: the name of a [`TenantRole`].
    pub role: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// The tenant's own roles that they have.
    pub roles: Vec<Uuid>,
}

/// Makes a tenant under a fresh id. Nobody belongs to it yet.
///
/// # Errors
/// Conflict when the slug is taken.
pub async fn insert(conn: &mut PgConnection, id: TenantId, slug: &Slug, title: &Title) -> Result<Tenant> {
    sqlx::query_as!(
        Tenant,
        "insert into tenant (id, slug, title) values ($1, $2, $3) returning id, slug, title, disabled_at, created_at",
        id.0,
        slug.as_str(),
        title.as_str()
    )
    .fetch_one(conn)
    .await
    .map_err(|e| match violates(&e, "tenant_slug_unique") {
        true => Error::conflict(format!("the slug `{slug}` is taken; choose another")),
        false => e.into(),
    })
}

/// A tenant as somebody comes upon it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The tenant.
    pub tenant: Tenant,
    /// The user's role in it, if they belong to it.
    pub role: Option<TenantRole>,
    /// What the tenant's own roles grant them; none when they have none of these.
    pub grants: Option<Vec<String>>,
    /// The modules that are switched on for it; none means all.
    pub modules: Option<Vec<String>>,
}

/// The same as it is stored.
struct FoundRow {
    id: Uuid,
    slug: String,
    title: String,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    modules: Option<Vec<String>>,
    role: Option<String>,
    grants: Option<Vec<String>>,
}

impl FoundRow {
    fn read(self) -> Result<Found> {
        let Self { id, slug, title, disabled_at, created_at, modules, role, grants } = self;
        let role = role.map(|role| role.parse().map_err(Error::internal)).transpose()?;
        Ok(Found { tenant: Tenant { id, slug, title, disabled_at, created_at }, role, grants, modules })
    }
}

/// A tenant, and how a user stands in it. Without a user, there is no role.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn find(conn: &mut PgConnection, id: TenantId, user: Option<UserId>) -> Result<Option<Found>> {
    let row = sqlx::query_as!(
        FoundRow,
        r#"select t.id, t.slug, t.title, t.disabled_at, t.created_at, t.modules, m.role as "role?",
            (select coalesce(array_agg(g) filter (where g is not null), '{}')
                from membership_role x
                join tenant_role r on r.tenant_id = x.tenant_id and r.id = x.role_id
                left join lateral unnest(r.grants) g on true
                where x.tenant_id = t.id and x.user_id = $2 having count(*) > 0) as grants
        from tenant t left join membership m on m.tenant_id = t.id and m.user_id = $2
        where t.id = $1"#,
        id.0,
        user.map(|u| u.0)
    )
    .fetch_optional(conn)
    .await?;
    row.map(FoundRow::read).transpose()
}

/// Enters a tenant, as [`wall::enter`](crate::db::wall::enter) does, and finds it and how a user stands in it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn enter(conn: &mut PgConnection, id: TenantId, user: Option<UserId>) -> Result<Option<Found>> {
    let local = conn.is_in_transaction();
    let row = sqlx::query_as!(
        FoundRow,
        r#"select id as "id!", slug as "slug!", title as "title!", disabled_at, created_at as "created_at!", modules, role, grants
        from tenant_enter_v1($1, $2, $3)"#,
        id.0,
        user.map(|u| u.0),
        local
    )
    .fetch_optional(conn)
    .await?;
    row.map(FoundRow::read).transpose()
}

/// A page of all tenants, oldest first, after the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(conn: &mut PgConnection, after: Option<TenantId>, limit: i64) -> Result<Vec<Tenant>> {
    let rows = sqlx::query_as!(
        Tenant,
        "select id, slug, title, disabled_at, created_at from tenant
        where ($1::uuid is null or id > $1) order by id limit $2",
        after.map(|t| t.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A page of the tenants that a user belongs to, oldest first, after the given one. No tenant needs to be
/// entered for it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn of_user(
    conn: &mut PgConnection,
    user: UserId,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<Tenant>> {
    let rows = sqlx::query_as!(
        Tenant,
        r#"select id as "id!", slug as "slug!", title as "title!", disabled_at, created_at as "created_at!"
        from tenants_of_user_v1($1, $2, $3)"#,
        user.0,
        after.map(|t| t.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Closes a tenant to its own, or opens it again. Repeating it changes nothing.
///
/// # Errors
/// NotFound when there is no such tenant.
pub async fn set_enabled(conn: &mut PgConnection, tenant: TenantId, enabled: bool) -> Result<Tenant> {
    sqlx::query_as!(
        Tenant,
        "update tenant set disabled_at = case when $2 then null else coalesce(disabled_at, now()) end where id = $1
        returning id, slug, title, disabled_at, created_at",
        tenant.0,
        enabled
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("there is no such tenant"))
}

/// Switches modules on for a tenant, and the others off; none means all that the deployment has.
///
/// # Errors
/// NotFound when there is no such tenant.
pub async fn set_modules(
    conn: &mut PgConnection,
    tenant: TenantId,
    modules: Option<&[String]>,
) -> Result<Tenant> {
    sqlx::query_as!(
        Tenant,
        "update tenant set modules = $2 where id = $1 returning id, slug, title, disabled_at, created_at",
        tenant.0,
        modules
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("there is no such tenant"))
}

/// Gives a tenant another title.
///
/// # Errors
/// NotFound when there is no such tenant.
pub async fn set_title(conn: &mut PgConnection, tenant: TenantId, title: &Title) -> Result<Tenant> {
    sqlx::query_as!(
        Tenant,
        "update tenant set title = $2 where id = $1 returning id, slug, title, disabled_at, created_at",
        tenant.0,
        title.as_str()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("there is no such tenant"))
}

/// Locks a tenant until the transaction ends, so that changes of its members follow one another.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn lock(conn: &mut PgConnection, tenant: TenantId) -> Result<()> {
    sqlx::query!("select id from tenant where id = $1 for update", tenant.0).fetch_optional(conn).await?;
    Ok(())
}

/// Takes a user into a tenant.
///
/// # Errors
/// Conflict when they belong to it already; NotFound when there is no such user.
pub async fn add_member(
    conn: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    role: TenantRole,
) -> Result<()> {
    let done = sqlx::query!(
        "insert into membership (tenant_id, user_id, role) values ($1, $2, $3)",
        tenant.0,
        user.0,
        role.as_str()
    )
    .execute(conn)
    .await;
    match done {
        Ok(_) => Ok(()),
        Err(e) if violates(&e, "membership_unique") => {
            Err(Error::conflict(format!("user `{user}` belongs to this tenant already")))
        }
        Err(e) if violates(&e, "membership_user_id_fkey") => {
            Err(Error::not_found(format!("there is no user `{user}`")))
        }
        Err(e) => Err(e.into()),
    }
}

/// Takes a user out of a tenant, unless they are its last administrator who can log in. [`lock`] the tenant
/// before, or two administrators could remove each other at the same moment.
///
/// # Errors
/// Conflict when they are the last administrator, or do not belong to it.
pub async fn remove_member(conn: &mut PgConnection, tenant: TenantId, user: UserId) -> Result<()> {
    let done = sqlx::query!(
        "delete from membership m where m.tenant_id = $1 and m.user_id = $2 and (m.role <> 'ADMIN' or exists (
            select from membership o join app_user u on u.id = o.user_id
            where o.tenant_id = $1 and o.user_id <> $2 and o.role = 'ADMIN' and u.disabled_at is null))",
        tenant.0,
        user.0
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(stays(user, "removed")) }
}

/// Gives a member another built-in role, unless they are the tenant's last administrator who can log in.
/// [`lock`] the tenant before.
///
/// # Errors
/// Conflict when they are the last administrator, or do not belong to it.
pub async fn set_role(
    conn: &mut PgConnection,
    tenant: TenantId,
    user: UserId,
    role: TenantRole,
) -> Result<()> {
    let done = sqlx::query!(
        "update membership m set role = $3 where m.tenant_id = $1 and m.user_id = $2
            and ($3 = 'ADMIN' or m.role <> 'ADMIN' or exists (
                select from membership o join app_user u on u.id = o.user_id
                where o.tenant_id = $1 and o.user_id <> $2 and o.role = 'ADMIN' and u.disabled_at is null))",
        tenant.0,
        user.0,
        role.as_str()
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(stays(user, "given another role")) }
}

fn stays(user: UserId, what: &str) -> Error {
    Error::conflict(format!(
        "user `{user}` cannot be {what}: they do not belong to this tenant, or are its last administrator; \
         appoint another administrator first"
    ))
}

/// A member of a tenant.
///
/// # Errors
/// NotFound when they do not belong to it.
pub async fn member(conn: &mut PgConnection, tenant: TenantId, user: UserId) -> Result<Member> {
    sqlx::query_as!(
        Member,
        r#"select m.user_id, u.email, m.role, m.created_at,
            array(select x.role_id from membership_role x where x.tenant_id = m.tenant_id and x.user_id = m.user_id
                order by x.role_id) as "roles!"
        from membership m join app_user u on u.id = m.user_id where m.tenant_id = $1 and m.user_id = $2"#,
        tenant.0,
        user.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("user `{user}` does not belong to this tenant")))
}

/// A page of a tenant's members, by user, after the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn members(
    conn: &mut PgConnection,
    tenant: TenantId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Member>> {
    let rows = sqlx::query_as!(
        Member,
        r#"select m.user_id, u.email, m.role, m.created_at,
            array(select x.role_id from membership_role x where x.tenant_id = m.tenant_id and x.user_id = m.user_id
                order by x.role_id) as "roles!"
        from membership m join app_user u on u.id = m.user_id
        where m.tenant_id = $1 and ($2::uuid is null or m.user_id > $2) order by m.user_id limit $3"#,
        tenant.0,
        after.map(|u| u.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
