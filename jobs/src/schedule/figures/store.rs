//! The statements that count.

use rules::id::TenantId;
use sqlx::PgConnection;

use crate::Result;

/// For how long the most overdue tick of all tenants has waited, in seconds; 0 without one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn overdue_s(conn: &mut PgConnection) -> Result<f64> {
    let age = sqlx::query_scalar!(
        r#"select extract(epoch from now() - min(next_at))::float8 as age from schedule where next_at is not null"#
    )
    .fetch_one(conn)
    .await?;
    Ok(age.unwrap_or_default().max(0.0))
}

/// How the schedules of a tenant are getting on.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// All of them.
    pub total: i64,
    /// Those that are disabled.
    pub disabled: i64,
    /// Those whose tick is due and not fired yet.
    pub overdue: i64,
    /// Firings whose run is under way, or waits to be started.
    pub running: i64,
    /// Firings of the last 24 hours that ended well.
    pub succeeded: i64,
    /// Firings of the last 24 hours that failed.
    pub failed: i64,
    /// Ticks of the last 24 hours that were missed and not made up for.
    pub missed: i64,
}

/// Counts them.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn counts(conn: &mut PgConnection, tenant: TenantId) -> Result<Counts> {
    let counts = sqlx::query_as!(
        Counts,
        r#"select s.total as "total!", s.disabled as "disabled!", s.overdue as "overdue!", o.running as "running!",
            f.succeeded as "succeeded!", f.failed as "failed!", f.missed as "missed!"
        from (select count(*) as total, count(*) filter (where disabled) as disabled,
                count(*) filter (where next_at < now()) as overdue from schedule where tenant_id = $1) s,
            (select count(*) as running from schedule_firing where tenant_id = $1 and ended_at is null) o,
            (select count(*) filter (where state = 'SUCCESS') as succeeded,
                count(*) filter (where state = 'FAILURE') as failed, coalesce(sum(missed), 0)::bigint as missed
            from schedule_firing where tenant_id = $1 and fired_at > now() - interval '1 day') f"#,
        tenant.0
    )
    .fetch_one(conn)
    .await?;
    Ok(counts)
}
