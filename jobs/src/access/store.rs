//! Keeps users and API keys.

use chrono::{DateTime, Utc};
use rules::access::{Email, Role, TenantRole, Title};
use rules::id::{ApiKeyId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::violates;
use crate::{Error, Result};

/// A person who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: Uuid,
    /// Their address, in lower case.
    pub email: String,
    /// The name of their [`Role`].
    pub role: String,
    /// Since when they are shut out.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
}

/// A program's key, without its secret, which is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// The part of the key that is no secret.
    pub public_id: String,
    /// Its name for people.
    pub title: String,
    /// What it may do in its tenant: the name of a [`TenantRole`].
    pub role: String,
    /// Who made it: `user:<id>` or `key:<id>`.
    pub created_by: String,
    /// Grants that narrow what its roles give; none does not narrow.
    pub scopes: Option<Vec<String>>,
    /// The tenant's own roles that it has.
    pub roles: Vec<Uuid>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is disabled, for a while or for good.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Since when it is revoked, which is for good.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The key that it takes over from.
    pub successor_of: Option<Uuid>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An API key that is to be stored.
#[derive(Debug)]
pub struct NewApiKey<'a> {
    /// Whose it is.
    pub tenant: TenantId,
    /// The part of the key that is no secret.
    pub public_id: &'a str,
    /// SHA-256 of its secret part.
    pub secret_hash: [u8; 32],
    /// Its name for people.
    pub title: &'a Title,
    /// What it may do.
    pub role: TenantRole,
    /// Grants that narrow what its roles give; checked before.
    pub scopes: Option<&'a [String]>,
    /// Who makes it.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// The key that it takes over from.
    pub successor_of: Option<ApiKeyId>,
}

/// Makes a user.
///
/// # Errors
/// Conflict when somebody has the address.
pub async fn insert_user(
    conn: &mut PgConnection,
    email: &Email,
    password_hash: &str,
    role: Role,
) -> Result<User> {
    sqlx::query_as!(
        User,
        "insert into app_user (id, email, password_hash, role) values ($1, $2, $3, $4)
        returning id, email, role, disabled_at, created_at",
        Uuid::now_v7(),
        email.as_str(),
        password_hash,
        role.as_str()
    )
    .fetch_one(conn)
    .await
    .map_err(|e| match violates(&e, "app_user_email_unique") {
        true => Error::conflict(format!("there is a user with the address `{email}` already")),
        false => e.into(),
    })
}

/// A user by id.
///
/// # Errors
/// NotFound when there is none.
pub async fn user(conn: &mut PgConnection, id: UserId) -> Result<User> {
    sqlx::query_as!(User, "select id, email, role, disabled_at, created_at from app_user where id = $1", id.0)
        .fetch_optional(conn)
        .await?
        .ok_or_else(|| Error::not_found(format!("there is no user `{id}`")))
}

/// A user by address.
///
/// # Errors
/// NotFound when there is none.
pub async fn user_by_email(conn: &mut PgConnection, email: &Email) -> Result<User> {
    sqlx::query_as!(
        User,
        "select id, email, role, disabled_at, created_at from app_user where lower(email) = $1",
        email.as_str()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no user with the address `{email}`")))
}

/// Gives a user a new password, which ends every session of theirs.
///
/// # Errors
/// NotFound when there is no such user.
pub async fn set_password(conn: &mut PgConnection, id: UserId, password_hash: &str) -> Result<()> {
    let done = sqlx::query!(
        "update app_user set password_hash = $2, session_epoch = session_epoch + 1 where id = $1",
        id.0,
        password_hash
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::not_found(format!("there is no user `{id}`"))) }
}

/// A page of users, by id, after the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn users(conn: &mut PgConnection, after: Option<UserId>, limit: i64) -> Result<Vec<User>> {
    let rows = sqlx::query_as!(
        User,
        "select id, email, role, disabled_at, created_at from app_user
        where $1::uuid is null or id > $1 order by id limit $2",
        after.map(|u| u.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Shuts a user out, which ends their sessions at once, or lets them in again. Repeating it changes
/// nothing.
///
/// # Errors
/// NotFound when there is no such user.
pub async fn set_user_disabled(conn: &mut PgConnection, id: UserId, disabled: bool) -> Result<()> {
    let done = sqlx::query!(
        "update app_user set disabled_at = case when $2 then coalesce(disabled_at, now()) end where id = $1",
        id.0,
        disabled
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::not_found(format!("there is no user `{id}`"))) }
}

/// How many live API keys a tenant has.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn count_keys(conn: &mut PgConnection, tenant: TenantId) -> Result<i64> {
    let row = sqlx::query!(
        r#"select count(*) as "count!" from api_key where tenant_id = $1 and disabled_at is null
            and (expires_at is null or expires_at > now())"#,
        tenant.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.count)
}

/// Stores an API key.
///
/// # Errors
/// Invalid when it would end in the past; Unavailable when nobody answers.
pub async fn insert_key(conn: &mut PgConnection, key: &NewApiKey<'_>) -> Result<ApiKey> {
    sqlx::query_as!(
        ApiKey,
        r#"insert into api_key (id, tenant_id, public_id, secret_hash, title, role, created_by, expires_at, scopes,
            successor_of)
        select $1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9, $10 where $8::timestamptz is null or $8::timestamptz > now()
        returning id, public_id, title, role, created_by, scopes, '{}'::uuid[] as "roles!", expires_at, disabled_at,
            revoked_at, successor_of, last_used_at, created_at"#,
        Uuid::now_v7(),
        key.tenant.0,
        key.public_id,
        &key.secret_hash[..],
        key.title.as_str(),
        key.role.as_str(),
        key.created_by,
        key.expires_at,
        key.scopes,
        key.successor_of.map(|k| k.0)
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::invalid("`expiresAt` lies in the past; give a later time, or none"))
}

/// A page of a tenant's API keys, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn keys(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Option<ApiKeyId>,
    limit: i64,
) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query_as!(
        ApiKey,
        r#"select id, public_id, title, role, created_by, scopes,
            array(select x.role_id from api_key_role x where x.key_id = api_key.id order by x.role_id) as "roles!",
            expires_at, disabled_at, revoked_at, successor_of, last_used_at, created_at
        from api_key where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        tenant.0,
        before.map(|k| k.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// An API key of a tenant.
///
/// # Errors
/// NotFound when the tenant has no such key.
pub async fn key(conn: &mut PgConnection, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
    sqlx::query_as!(
        ApiKey,
        r#"select id, public_id, title, role, created_by, scopes,
            array(select x.role_id from api_key_role x where x.key_id = api_key.id order by x.role_id) as "roles!",
            expires_at, disabled_at, revoked_at, successor_of, last_used_at, created_at
        from api_key where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no API key `{id}`")))
}

/// Revokes an API key; revoking again changes nothing.
///
/// # Errors
/// NotFound when the tenant has no such key.
pub async fn revoke_key(conn: &mut PgConnection, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
    sqlx::query_as!(
        ApiKey,
        r#"update api_key set disabled_at = coalesce(disabled_at, now()), revoked_at = coalesce(revoked_at, now())
        where tenant_id = $1 and id = $2
        returning id, public_id, title, role, created_by, scopes,
            array(select x.role_id from api_key_role x where x.key_id = api_key.id order by x.role_id) as "roles!",
            expires_at, disabled_at, revoked_at, successor_of, last_used_at, created_at"#,
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no API key `{id}`")))
}

/// Disables an API key for a while, or enables it again. Repeating it changes nothing.
///
/// # Errors
/// NotFound when the tenant has no such key, or it is revoked.
pub async fn set_key_enabled(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ApiKeyId,
    enabled: bool,
) -> Result<ApiKey> {
    sqlx::query_as!(
        ApiKey,
        r#"update api_key set disabled_at = case when $3 then null else coalesce(disabled_at, now()) end
        where tenant_id = $1 and id = $2 and revoked_at is null
        returning id, public_id, title, role, created_by, scopes,
            array(select x.role_id from api_key_role x where x.key_id = api_key.id order by x.role_id) as "roles!",
            expires_at, disabled_at, revoked_at, successor_of, last_used_at, created_at"#,
        tenant.0,
        id.0,
        enabled
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no API key `{id}` that is not revoked")))
}

/// A live API key that is to be succeeded by another: it ends after so many seconds, if it would not end
/// before. [`crate::tenant::store::lock`] the tenant before.
///
/// # Errors
/// NotFound when the tenant has no such key, or it is not live; Conflict while it has a live successor: two
/// are as many as there are.
pub async fn retire_key(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ApiKeyId,
    overlap_s: f64,
) -> Result<ApiKey> {
    let succeeded = sqlx::query!(
        r#"select exists (select from api_key where tenant_id = $1 and successor_of = $2 and disabled_at is null
            and (expires_at is null or expires_at > now())) as "yes!""#,
        tenant.0,
        id.0
    )
    .fetch_one(&mut *conn)
    .await?;
    if succeeded.yes {
        return Err(Error::conflict(format!("API key `{id}` has a live successor; rotate that one")));
    }
    end_key(conn, tenant, id, overlap_s).await
}

async fn end_key(conn: &mut PgConnection, tenant: TenantId, id: ApiKeyId, after_s: f64) -> Result<ApiKey> {
    sqlx::query_as!(
        ApiKey,
        r#"update api_key set expires_at = least(expires_at, now() + make_interval(secs => $3))
        where tenant_id = $1 and id = $2 and disabled_at is null and (expires_at is null or expires_at > now())
        returning id, public_id, title, role, created_by, scopes,
            array(select x.role_id from api_key_role x where x.key_id = api_key.id order by x.role_id) as "roles!",
            expires_at, disabled_at, revoked_at, successor_of, last_used_at, created_at"#,
        tenant.0,
        id.0,
        after_s
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no live API key `{id}`")))
}

/// Forgets logins whose window and lock are over, at most `limit` of them, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn forget_logins(conn: &mut PgConnection, limit: i64) -> Result<u64> {
    let gone = sqlx::query!(
        "delete from login_throttle where key = any(array(
            select key from login_throttle
            where window_ends_at < now() and (locked_until is null or locked_until < now())
            order by window_ends_at limit $1 for update skip locked))",
        limit
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
