//! The statements of leases.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// How long a transaction may stand idle between its fence and its commit before Postgres ends it. A holder that is cut
/// off there keeps its successor waiting for no longer.
const FENCED_IDLE: &str = "5s";

/// The lease of the schedulers' leader.
pub const SCHEDULER: &str = "scheduler";

/// A lease that was acquired, until it expires or is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it is the lease of.
    pub name: String,
    /// Who holds it: drawn anew by each process.
    pub holder: Uuid,
    /// Which holding of this lease it is; each is one above the last.
    pub epoch: i64,
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who holds it, or held it last.
    pub holder: Uuid,
    /// Which holding it is.
    pub epoch: i64,
    /// Since when.
    pub taken_at: DateTime<Utc>,
    /// Whether it is held now.
    pub live: bool,
}

/// Takes the lease if nobody holds it. Waits for a holder that is just committing under it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn acquire(
    conn: &mut PgConnection,
    name: &str,
    holder: Uuid,
    ttl: Duration,
) -> Result<Option<Claim>> {
    let epoch = sqlx::query_scalar!(
        "insert into lease (name, holder, epoch, lease_until) values ($1, $2, 1, now() + $3::bigint * interval '1 millisecond')
        on conflict (name) do update
            set holder = excluded.holder, epoch = lease.epoch + 1, taken_at = now(), lease_until = excluded.lease_until
            where lease.lease_until <= now()
        returning epoch",
        name,
        holder,
        millis(ttl),
    )
    .fetch_optional(conn)
    .await?;
    Ok(epoch.map(|epoch| Claim { name: name.to_owned(), holder, epoch }))
}

/// Holds the lease for another `ttl` from now. False when it is lost: expired, or another's.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn renew(conn: &mut PgConnection, claim: &Claim, ttl: Duration) -> Result<bool> {
    let renewed = sqlx::query!(
        "update lease set lease_until = now() + $4::bigint * interval '1 millisecond'
        where name = $1 and holder = $2 and epoch = $3 and lease_until > now()",
        claim.name,
        claim.holder,
        claim.epoch,
        millis(ttl),
    )
    .execute(conn)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives the lease back, so that nobody waits for it to expire. Nothing happens if it is lost already.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn release(conn: &mut PgConnection, claim: &Claim) -> Result<()> {
    sqlx::query!(
        "update lease set lease_until = now() where name = $1 and holder = $2 and epoch = $3 and lease_until > now()",
        claim.name,
        claim.holder,
        claim.epoch,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the caller's transaction may commit under the lease. Must be its last statement: the row stays
/// locked until the commit, so that nobody takes the lease in between, and no longer, so that renewals
/// are not kept waiting. On false, roll back. A caller that does not commit within five seconds finds its
/// transaction ended.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn fence(conn: &mut PgConnection, claim: &Claim) -> Result<bool> {
    // The statement's own time, not the transaction's: a long one must not vouch for itself.
    let held = sqlx::query_scalar!(
        r#"select set_config('idle_in_transaction_session_timeout', $4, true) is not null as "held!" from lease
        where name = $1 and holder = $2 and epoch = $3 and lease_until > clock_timestamp() for share"#,
        claim.name,
        claim.holder,
        claim.epoch,
        FENCED_IDLE,
    )
    .fetch_optional(conn)
    .await?;
    Ok(held.unwrap_or(false))
}

/// Who holds the lease, if anybody ever did.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn holding(conn: &mut PgConnection, name: &str) -> Result<Option<Holding>> {
    let holding = sqlx::query_as!(
        Holding,
        r#"select holder, epoch, taken_at, lease_until > now() as "live!" from lease where name = $1"#,
        name
    )
    .fetch_optional(conn)
    .await?;
    Ok(holding)
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}
