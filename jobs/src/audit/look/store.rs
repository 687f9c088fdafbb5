//! The statements that read the audit.

use chrono::{DateTime, Utc};
use rules::audit::{Anchor, Entry, Head, Link, Outcome};
use rules::id::TenantId;
use sqlx::PgConnection;

use crate::Result;
use crate::audit::store::{read_hash, read_outcome};

/// Which entries are asked for; what is none restricts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// By this actor.
    pub actor: Option<&'a str>,
    /// Of this operation.
    pub operation: Option<&'a str>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Of this request.
    pub request_id: Option<&'a str>,
    /// At this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
}

/// Where a chain begins and ends, as recorded, and the last entry that is really there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The last entry that is no longer kept.
    pub anchor: Anchor,
    /// The last entry that was written.
    pub head: Head,
    /// The greatest number that is there.
    pub last: Option<i64>,
}

/// The tenants that have a chain, in ascending order.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn tenants(conn: &mut PgConnection) -> Result<Vec<TenantId>> {
    let found = sqlx::query_scalar!(
        r#"select tenant_id as "tenant_id!" from (select tenant_id from audit_chain union select tenant_id from audit_entry) t
        order by tenant_id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(TenantId).collect())
}

/// Where the chain of a tenant begins and ends. One that has none ends where it begins.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn ends(conn: &mut PgConnection, tenant: TenantId) -> Result<Ends> {
    let row = sqlx::query!(
        r#"select coalesce(c.anchor_seq, 0) as "anchor_seq!", coalesce(c.anchor_hash, n.zeros) as "anchor_hash!",
            coalesce(c.seq, 0) as "seq!", coalesce(c.hash, n.zeros) as "hash!",
            (select max(e.seq) from audit_entry e where e.tenant_id = $1) as last
        from (select decode(repeat('00', 32), 'hex') as zeros) n left join audit_chain c on c.tenant_id = $1"#,
        tenant.0
    )
    .fetch_one(conn)
    .await?;
    Ok(Ends {
        anchor: Head { seq: row.anchor_seq, hash: read_hash(&row.anchor_hash)? },
        head: Head { seq: row.seq, hash: read_hash(&row.hash)? },
        last: row.last,
    })
}

/// An entry as stored.
struct Row {
    seq: i64,
    kept_at: DateTime<Utc>,
    at: DateTime<Utc>,
    actor: String,
    operation: String,
    arguments: String,
    outcome: String,
    code: Option<String>,
    took_ms: i32,
    address: Option<String>,
    request_id: Option<String>,
    hash: Vec<u8>,
}

impl Row {
    fn link(self, tenant: TenantId) -> Result<Link> {
        let entry = Entry {
            tenant,
            at: self.at,
            actor: self.actor,
            operation: self.operation,
            arguments: self.arguments,
            outcome: read_outcome(&self.outcome)?,
            code: self.code,
            took_ms: self.took_ms,
            address: self.address,
            request_id: self.request_id,
        };
        Ok(Link { seq: self.seq, kept_at: self.kept_at, entry, hash: read_hash(&self.hash)? })
    }
}

/// The links of a chain behind a number, in their order, each with its number; none in place of one that does not
/// read back, which nobody of ours wrote so.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn links(
    conn: &mut PgConnection,
    tenant: TenantId,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Option<Link>)>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, kept_at, at, actor, operation, arguments::text as "arguments!", outcome, code, took_ms, address,
            request_id, hash
        from audit_entry where tenant_id = $1 and seq > $2 order by seq limit $3"#,
        tenant.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.seq, row.link(tenant).ok())).collect())
}

/// A page of a tenant's entries, newest first, that lie before a number.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn entries(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Link>> {
    let rows = match filter.actor {
        Some(actor) => of_actor(conn, tenant, actor, filter, before, limit).await?,
        None => of_anybody(conn, tenant, filter, before, limit).await?,
    };
    rows.into_iter().map(|row| row.link(tenant)).collect()
}

/// One actor's entries: a statement of its own, whose plan walks them and not the tenant's whole audit.
async fn of_actor(
    conn: &mut PgConnection,
    tenant: TenantId,
    actor: &str,
    filter: &Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Row>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, kept_at, at, actor, operation, arguments::text as "arguments!", outcome, code, took_ms, address,
            request_id, hash
        from audit_entry
        where tenant_id = $1 and ($2::bigint is null or seq < $2) and actor = $3
            and ($4::text is null or operation = $4) and ($5::text is null or outcome = $5)
            and ($6::text is null or request_id = $6) and ($7::timestamptz is null or at >= $7)
            and ($8::timestamptz is null or at < $8)
        order by seq desc limit $9"#,
        tenant.0,
        before,
        actor,
        filter.operation,
        filter.outcome.map(Outcome::as_str),
        filter.request_id,
        filter.since,
        filter.until,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

async fn of_anybody(
    conn: &mut PgConnection,
    tenant: TenantId,
    filter: &Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Row>> {
    let rows = sqlx::query_as!(
        Row,
        r#"select seq, kept_at, at, actor, operation, arguments::text as "arguments!", outcome, code, took_ms, address,
            request_id, hash
        from audit_entry
        where tenant_id = $1 and ($2::bigint is null or seq < $2)
            and ($3::text is null or operation = $3) and ($4::text is null or outcome = $4)
            and ($5::text is null or request_id = $5) and ($6::timestamptz is null or at >= $6)
            and ($7::timestamptz is null or at < $7)
        order by seq desc limit $8"#,
        tenant.0,
        before,
        filter.operation,
        filter.outcome.map(Outcome::as_str),
        filter.request_id,
        filter.since,
        filter.until,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
