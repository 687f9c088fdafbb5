//! Keeps sessions, their refresh tokens, and who the subjects of other issuers are.

use chrono::{DateTime, Utc};
use rules::access::Email;
use rules::id::{SessionId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// A session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed.
    pub refreshed_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// A refresh token that was presented and is one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Its session.
    pub session: SessionId,
    /// Whose that is.
    pub user: UserId,
    /// The user's session epoch when it began.
    pub epoch: i32,
    /// Whether it was used before: then somebody copied it.
    pub used: bool,
    /// Whether the session still stands, and its user is let in.
    pub live: bool,
    /// When the session ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// Begins a session that lasts so many seconds, and tells when it will end.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn begin(
    conn: &mut PgConnection,
    id: SessionId,
    user: UserId,
    epoch: i32,
    ttl_s: f64,
) -> Result<DateTime<Utc>> {
    let row = sqlx::query!(
        "insert into session (id, user_id, epoch, expires_at) values ($1, $2, $3, now() + make_interval(secs => $4))
        returning expires_at",
        id.0,
        user.0,
        epoch,
        ttl_s
    )
    .fetch_one(conn)
    .await?;
    Ok(row.expires_at)
}

/// Gives a session its next refresh token.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn add_token(conn: &mut PgConnection, session: SessionId, hash: &[u8]) -> Result<()> {
    sqlx::query!("insert into refresh_token (hash, session_id) values ($1, $2)", hash, session.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Looks a refresh token up and holds it, so that of two who present it at once one comes second.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn present(conn: &mut PgConnection, hash: &[u8]) -> Result<Option<Presented>> {
    let row = sqlx::query!(
        r#"select s.id, s.user_id, s.epoch, s.expires_at, t.used_at is not null as "used!",
            (s.ended_at is null and s.expires_at > now() and u.disabled_at is null and u.session_epoch = s.epoch)
                as "live!"
        from refresh_token t join session s on s.id = t.session_id join app_user u on u.id = s.user_id
        where t.hash = $1 for update of t"#,
        hash
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Presented {
        session: SessionId(r.id),
        user: UserId(r.user_id),
        epoch: r.epoch,
        used: r.used,
        live: r.live,
        expires_at: r.expires_at,
    }))
}

/// Notes that a refresh token was used, which makes it good for nothing.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn mark_used(conn: &mut PgConnection, hash: &[u8]) -> Result<()> {
    sqlx::query!(
        "with used as (update refresh_token set used_at = now() where hash = $1 returning session_id)
        update session set refreshed_at = now() where id in (select session_id from used)",
        hash
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a session of a user; one that has ended stays as it is.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn end(conn: &mut PgConnection, session: SessionId, because: &str) -> Result<()> {
    sqlx::query!(
        "update session set ended_at = now(), ended_because = $2 where id = $1 and ended_at is null",
        session.0,
        because
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends every session of a user, and every token that was issued to them.
///
/// # Errors
/// NotFound when there is no such user.
pub async fn end_all(conn: &mut PgConnection, user: UserId) -> Result<()> {
    let done = sqlx::query!("update app_user set session_epoch = session_epoch + 1 where id = $1", user.0)
        .execute(conn)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::not_found(format!("there is no user `{user}`")))
}

/// The sessions of a user that go on, newest first, at most so many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn of_user(conn: &mut PgConnection, user: UserId, limit: i64) -> Result<Vec<Session>> {
    let rows = sqlx::query_as!(
        Session,
        "select s.id, s.created_at, s.refreshed_at, s.expires_at
        from session s join app_user u on u.id = s.user_id
        where s.user_id = $1 and s.ended_at is null and s.expires_at > now() and s.epoch = u.session_epoch
        order by s.id desc limit $2",
        user.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Deletes a few sessions that ended or expired more than a day ago, with their tokens.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn sweep(conn: &mut PgConnection, at_most: i64) -> Result<()> {
    sqlx::query!(
        "delete from session where id = any(array(
            select id from session where expires_at < now() - interval '1 day'
            order by expires_at limit $1 for update skip locked))",
        at_most
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Who a subject of another issuer is here, if they are known.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn identity(conn: &mut PgConnection, issuer: &str, subject: &str) -> Result<Option<UserId>> {
    let row =
        sqlx::query!("select user_id from user_identity where issuer = $1 and subject = $2", issuer, subject)
            .fetch_optional(conn)
            .await?;
    Ok(row.map(|r| UserId(r.user_id)))
}

/// Notes that a subject of another issuer is the user with this address, and tells who that is; none when
/// there is no such user. A subject that is known already stays who they were.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn link(
    conn: &mut PgConnection,
    issuer: &str,
    subject: &str,
    email: &Email,
) -> Result<Option<UserId>> {
    let row = sqlx::query!(
        "insert into user_identity (issuer, subject, user_id)
        select $1, $2, u.id from app_user u where lower(u.email) = $3
        on conflict on constraint user_identity_unique do update set issuer = excluded.issuer returning user_id",
        issuer,
        subject,
        email.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| UserId(r.user_id)))
}
