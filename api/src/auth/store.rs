//! Reads what a login or a key is checked against, and counts failed logins.

use chrono::{DateTime, Utc};
use jobs::{Error, Result};
use rules::access::{Email, Role, TenantRole};
use rules::id::{ApiKeyId, SessionId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// What a login is checked against.
pub(crate) struct Login {
    pub(crate) user: UserId,
    pub(crate) password_hash: String,
    pub(crate) epoch: i32,
    pub(crate) disabled_at: Option<DateTime<Utc>>,
}

/// What a token is checked against.
pub(crate) struct Standing {
    pub(crate) role: Role,
    pub(crate) epoch: i32,
    pub(crate) disabled_at: Option<DateTime<Utc>>,
    /// Whether the session goes on.
    pub(crate) open: bool,
}

/// What an API key is checked against.
pub(crate) struct StoredKey {
    pub(crate) id: ApiKeyId,
    pub(crate) tenant: TenantId,
    pub(crate) secret_hash: Vec<u8>,
    pub(crate) role: TenantRole,
    /// What the tenant's own roles grant it; none when it has none of these.
    pub(crate) grants: Option<Vec<String>>,
    /// Grants that narrow it.
    pub(crate) scopes: Option<Vec<String>>,
    /// Neither revoked nor past its end.
    pub(crate) live: bool,
    /// Its last use was noted more than a minute ago.
    pub(crate) note_use: bool,
}

/// The user with this address.
pub(crate) async fn login(conn: &mut PgConnection, email: &Email) -> Result<Option<Login>> {
    let row = sqlx::query!(
        "select id, password_hash, session_epoch, disabled_at from app_user where lower(email) = $1",
        email.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Login {
        user: UserId(r.id),
        password_hash: r.password_hash,
        epoch: r.session_epoch,
        disabled_at: r.disabled_at,
    }))
}

/// How a user and one of their sessions stand now. Without a session, it stands.
pub(crate) async fn standing(
    conn: &mut PgConnection,
    user: UserId,
    session: Option<SessionId>,
) -> Result<Option<Standing>> {
    let row = sqlx::query!(
        r#"select u.role, u.session_epoch, u.disabled_at,
            ($2::uuid is null or exists (select from session s
                where s.id = $2 and s.user_id = u.id and s.ended_at is null and s.expires_at > now())) as "open!"
        from app_user u where u.id = $1"#,
        user.0,
        session.map(|s| s.0)
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        let role = r.role.parse().map_err(Error::internal)?;
        Ok(Standing { role, epoch: r.session_epoch, disabled_at: r.disabled_at, open: r.open })
    })
    .transpose()
}

/// The key with this public id.
pub(crate) async fn key(conn: &mut PgConnection, public_id: &str) -> Result<Option<StoredKey>> {
    let row = sqlx::query!(
        r#"select id as "id!", tenant_id as "tenant_id!", secret_hash as "secret_hash!", role as "role!",
            scopes, grants, live as "live!", note_use as "note_use!"
        from api_key_find_v1($1)"#,
        public_id
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        Ok(StoredKey {
            id: ApiKeyId(r.id),
            tenant: TenantId(r.tenant_id),
            secret_hash: r.secret_hash,
            role: r.role.parse().map_err(Error::internal)?,
            grants: r.grants,
            scopes: r.scopes,
            live: r.live,
            note_use: r.note_use,
        })
    })
    .transpose()
}

/// Notes that a key was used now, unless somebody did within the minute.
pub(crate) async fn note_use(conn: &mut PgConnection, key: ApiKeyId) -> Result<()> {
    sqlx::query!("select api_key_used_v1($1)", key.0).execute(conn).await?;
    Ok(())
}

/// Counts an attempt before it is made. Returns for how many seconds this and later ones are refused; none
/// while they are not.
pub(crate) async fn count_attempt(
    conn: &mut PgConnection,
    key: &str,
    limit: i32,
    window_s: f64,
) -> Result<Option<i64>> {
    let row = sqlx::query!(
        r#"insert into login_throttle as t (key, failures, window_ends_at)
        values ($1, 1, now() + make_interval(secs => $3))
        on conflict (key) do update set
            failures = case when t.locked_until > now() then t.failures
                when t.window_ends_at <= now() then 1 else t.failures + 1 end,
            window_ends_at = case when t.window_ends_at <= now() then now() + make_interval(secs => $3)
                else t.window_ends_at end,
            locked_until = case when t.locked_until > now() then t.locked_until
                when t.window_ends_at > now() and t.failures >= $2 then now() + make_interval(secs => $3) end
        returning ceil(extract(epoch from locked_until - now()))::bigint as retry_after_s"#,
        key,
        limit,
        window_s
    )
    .fetch_one(conn)
    .await?;
    Ok(row.retry_after_s.map(|s| s.max(1)))
}

/// Takes back one counted attempt, which turned out to be right.
pub(crate) async fn uncount_attempt(conn: &mut PgConnection, key: &str) -> Result<()> {
    sqlx::query!("update login_throttle set failures = greatest(failures - 1, 0) where key = $1", key)
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets what was counted under a key.
pub(crate) async fn forget_attempts(conn: &mut PgConnection, key: &str) -> Result<()> {
    sqlx::query!("delete from login_throttle where key = $1", key).execute(conn).await?;
    Ok(())
}

/// Deletes a few counts whose window is over, so that the table stays as large as the last window.
pub(crate) async fn sweep_attempts(conn: &mut PgConnection, at_most: i64) -> Result<()> {
    sqlx::query!(
        "delete from login_throttle where key in (
            select key from login_throttle where window_ends_at < now() and (locked_until is null or locked_until < now())
            order by window_ends_at limit $1 for update skip locked)",
        at_most
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The oldest super administrator.
pub(crate) async fn first_super_admin(conn: &mut PgConnection) -> Result<Option<(Uuid, String)>> {
    let row = sqlx::query!("select id, email from app_user where role = 'SUPER_ADMIN' order by id limit 1")
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|r| (r.id, r.email)))
}
