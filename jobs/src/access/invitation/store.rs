//! Keeps invitations.

use chrono::{DateTime, Utc};
use rules::access::{Email, TenantRole};
use rules::id::{InvitationId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// An invitation, without its token, which is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: Uuid,
    /// Into which tenant.
    pub tenant_id: Uuid,
    /// Who is invited.
    pub email: String,
    /// As what: the name of a [`TenantRole`].
    pub role: String,
    /// Who invited: `user:<id>` or `key:<id>`.
    pub invited_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// When it was accepted.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// An invitation that is to be stored.
#[derive(Debug)]
pub struct NewInvitation<'a> {
    /// Into which tenant.
    pub tenant: TenantId,
    /// Who is invited.
    pub email: &'a Email,
    /// As what.
    pub role: TenantRole,
    /// SHA-256 of its token.
    pub hash: &'a [u8],
    /// Who invites.
    pub invited_by: String,
    /// How long it can be accepted, in seconds.
    pub ttl_s: f64,
}

/// Stores an invitation.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn insert(conn: &mut PgConnection, new: &NewInvitation<'_>) -> Result<Invitation> {
    let made = sqlx::query_as!(
        Invitation,
        "insert into invitation (id, tenant_id, email, role, hash, invited_by, expires_at)
        values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
        returning id, tenant_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at",
        Uuid::now_v7(),
        new.tenant.0,
        new.email.as_str(),
        new.role.as_str(),
        new.hash,
        new.invited_by,
        new.ttl_s
    )
    .fetch_one(conn)
    .await?;
    Ok(made)
}

/// The tenant that an open invitation is to, by its token: nothing needs to be entered for this, and the tenant
/// is, for [`accept`]. None when the invitation is unknown, taken back, accepted or past its end.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn tenant_of(conn: &mut PgConnection, hash: &[u8]) -> Result<Option<TenantId>> {
    let row = sqlx::query!("select invitation_tenant_v1($1) as tenant", hash).fetch_one(conn).await?;
    Ok(row.tenant.map(TenantId))
}

/// Takes an invitation by its token, which makes it good for nothing; none when it is unknown, taken back,
/// accepted or past its end, or its tenant is closed.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn accept(conn: &mut PgConnection, hash: &[u8]) -> Result<Option<Invitation>> {
    let taken = sqlx::query_as!(
        Invitation,
        "update invitation set accepted_at = now()
        where hash = $1 and accepted_at is null and revoked_at is null and expires_at > now()
            and exists (select from tenant t where t.id = invitation.tenant_id and t.disabled_at is null)
        returning id, tenant_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at",
        hash
    )
    .fetch_optional(conn)
    .await?;
    Ok(taken)
}

/// Takes an invitation back; doing it again changes nothing.
///
/// # Errors
/// NotFound when the tenant has no such invitation, or it was accepted.
pub async fn revoke(conn: &mut PgConnection, tenant: TenantId, id: InvitationId) -> Result<Invitation> {
    sqlx::query_as!(
        Invitation,
        "update invitation set revoked_at = coalesce(revoked_at, now())
        where tenant_id = $1 and id = $2 and accepted_at is null
        returning id, tenant_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found(format!("there is no open invitation `{id}`")))
}

/// How many invitations of a tenant are open.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn count_open(conn: &mut PgConnection, tenant: TenantId) -> Result<i64> {
    let row = sqlx::query!(
        r#"select count(*) as "count!" from invitation
        where tenant_id = $1 and accepted_at is null and revoked_at is null and expires_at > now()"#,
        tenant.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.count)
}

/// A page of a tenant's invitations, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Option<InvitationId>,
    limit: i64,
) -> Result<Vec<Invitation>> {
    let rows = sqlx::query_as!(
        Invitation,
        "select id, tenant_id, email, role, invited_by, created_at, expires_at, accepted_at, revoked_at
        from invitation where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        tenant.0,
        before.map(|i| i.0),
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
