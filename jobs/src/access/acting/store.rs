//! The statement that finds the key.

use rules::access::TenantRole;
use rules::id::{ApiKeyId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// Whether a key is good for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::access) enum Fitness {
    /// It is.
    Good,
    /// It was revoked, for good.
    Revoked,
    /// It is disabled, for a while.
    Resting,
    /// Its end has come.
    Expired,
}

/// A key that acts for itself or for one that it took over from.
#[derive(Debug, Clone)]
pub(in crate::access) struct ActingKey {
    pub(in crate::access) id: ApiKeyId,
    pub(in crate::access) role: TenantRole,
    pub(in crate::access) scopes: Option<Vec<String>>,
    pub(in crate::access) roles: Vec<Uuid>,
    pub(in crate::access) fitness: Fitness,
}

/// The key that acts for this one: itself as long as it is good, then the newest good one of those that took over from
/// it, one after the other. Without a good one the newest of them all, and none for a key that the tenant does not have.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::access) async fn acting_key(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ApiKeyId,
) -> Result<Option<ActingKey>> {
    let row = sqlx::query!(
        r#"with recursive line as (
            select k.id from api_key k where k.tenant_id = $1 and k.id = $2
            union
            select k.id from line l join api_key k on k.successor_of = l.id where k.tenant_id = $1),
        standing as (
            select k.id, k.role, k.scopes, k.revoked_at is not null as revoked, k.disabled_at is not null as resting,
                coalesce(k.expires_at <= now(), false) as expired
            from line l join api_key k on k.id = l.id)
        select s.id as "id!", s.role as "role!", s.scopes, s.revoked as "revoked!", s.resting as "resting!",
            s.expired as "expired!",
            array(select x.role_id from api_key_role x where x.key_id = s.id order by x.role_id) as "roles!"
        from standing s cross join lateral (select not (s.revoked or s.resting or s.expired) as good) g
        order by g.good desc, g.good and s.id = $2 desc, s.id desc limit 1"#,
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|r| {
        let fitness = match (r.revoked, r.resting, r.expired) {
            (true, _, _) => Fitness::Revoked,
            (false, true, _) => Fitness::Resting,
            (false, false, true) => Fitness::Expired,
            (false, false, false) => Fitness::Good,
        };
        let role = r.role.parse().map_err(Error::internal)?;
        Ok(ActingKey { id: ApiKeyId(r.id), role, scopes: r.scopes, roles: r.roles, fitness })
    })
    .transpose()
}
