//! Notes what was done, and keeps the chains.

use chrono::{DateTime, Utc};
use rules::audit::{Entry, HASH_BYTES, Hash, Head, Link, Outcome};
use rules::id::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// What is noted of an operation that is done in the transaction under way. Whose audit it stands in is the tenant
/// that the transaction has entered, or the installation's.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// Who did it, as in [`Entry::actor`].
    pub actor: &'a str,
    /// What, as in [`Entry::operation`].
    pub operation: &'a str,
    /// With what, as in [`Entry::arguments`].
    pub arguments: &'a str,
    /// How long it took until now, in milliseconds.
    pub took_ms: i32,
    /// From where.
    pub address: Option<&'a str>,
    /// The id of the request.
    pub request_id: Option<&'a str>,
}

/// Notes that something was accepted: with the commit of the transaction, or not at all.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn note(conn: &mut PgConnection, note: &Note<'_>) -> Result<()> {
    sqlx::query!(
        "select audit_note_v1($1, $2, $3, $4, $5, $6)",
        note.actor,
        note.operation,
        note.arguments,
        note.took_ms,
        note.address,
        note.request_id
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Takes entries in that were gathered, in their order.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn take_in(conn: &mut PgConnection, entries: &[Entry]) -> Result<()> {
    let column = |of: fn(&Entry) -> &str| entries.iter().map(of).collect::<Vec<_>>();
    let some = |of: fn(&Entry) -> Option<&str>| entries.iter().map(of).collect::<Vec<_>>();
    let tenants: Vec<Uuid> = entries.iter().map(|e| e.tenant.0).collect();
    let times: Vec<DateTime<Utc>> = entries.iter().map(|e| e.at).collect();
    let took: Vec<i32> = entries.iter().map(|e| e.took_ms).collect();
    sqlx::query!(
        "insert into audit_intake (tenant_id, at, actor, operation, arguments, outcome, code, took_ms, address, request_id)
        select e.tenant_id, e.at, e.actor, e.operation, e.arguments::json, e.outcome, e.code, e.took_ms, e.address, e.request_id
        from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[],
            $9::text[], $10::text[]) with ordinality
            e (tenant_id, at, actor, operation, arguments, outcome, code, took_ms, address, request_id, place)
        order by e.place",
        &tenants,
        &times,
        &column(|e| &e.actor) as &[&str],
        &column(|e| &e.operation) as &[&str],
        &column(|e| &e.arguments) as &[&str],
        &column(|e| e.outcome.as_str()) as &[&str],
        &some(|e| e.code.as_deref()) as &[Option<&str>],
        &took,
        &some(|e| e.address.as_deref()) as &[Option<&str>],
        &some(|e| e.request_id.as_deref()) as &[Option<&str>]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next tenant, in ascending order, of which something was noted that is not in its chain.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn next_noted(conn: &mut PgConnection, after: Option<TenantId>) -> Result<Option<TenantId>> {
    let found = sqlx::query_scalar!(
        "select tenant_id from audit_intake where $1::uuid is null or tenant_id > $1 order by tenant_id limit 1",
        after.map(|t| t.0)
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.map(TenantId))
}

/// Seconds since the oldest note that is not in its chain; none when there is none.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn lag_s(conn: &mut PgConnection) -> Result<Option<f64>> {
    let lag = sqlx::query_scalar!(
        "select extract(epoch from clock_timestamp() - min(at))::float8 from audit_intake"
    )
    .fetch_one(conn)
    .await?;
    Ok(lag)
}

/// The end of a chain that is held until the commit, so that one at a time adds to it; and what time it is, never
/// before that of the last entry.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn hold_chain(conn: &mut PgConnection, tenant: TenantId) -> Result<(Head, DateTime<Utc>)> {
    let row = sqlx::query!(
        r#"insert into audit_chain (tenant_id) values ($1)
        on conflict (tenant_id) do update set tenant_id = excluded.tenant_id
        returning seq, hash, greatest(kept_at, clock_timestamp()) as "now!""#,
        tenant.0
    )
    .fetch_one(conn)
    .await?;
    Ok((Head { seq: row.seq, hash: read_hash(&row.hash)? }, row.now))
}

/// Takes the oldest notes of a tenant out of the intake, in their order.
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn draw(conn: &mut PgConnection, tenant: TenantId, limit: i64) -> Result<Vec<Entry>> {
    let rows = sqlx::query!(
        r#"with drawn as (
            delete from audit_intake where tenant_id = $1
                and pos in (select pos from audit_intake where tenant_id = $1 order by pos limit $2)
            returning *)
        select at as "at!", actor as "actor!", operation as "operation!", arguments::text as "arguments!", outcome as "outcome!",
            code, took_ms as "took_ms!", address, request_id
        from drawn order by pos"#,
        tenant.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Entry {
                tenant,
                at: row.at,
                actor: row.actor,
                operation: row.operation,
                arguments: row.arguments,
                outcome: read_outcome(&row.outcome)?,
                code: row.code,
                took_ms: row.took_ms,
                address: row.address,
                request_id: row.request_id,
            })
        })
        .collect()
}

/// Writes links at the end of a chain that is held.
///
/// # Errors
/// Unavailable when nobody answers, Internal when there is no month for them.
pub async fn append(conn: &mut PgConnection, tenant: TenantId, links: &[Link]) -> Result<()> {
    let column = |of: fn(&Entry) -> &str| links.iter().map(|l| of(&l.entry)).collect::<Vec<_>>();
    let some = |of: fn(&Entry) -> Option<&str>| links.iter().map(|l| of(&l.entry)).collect::<Vec<_>>();
    let seqs: Vec<i64> = links.iter().map(|l| l.seq).collect();
    let kept: Vec<DateTime<Utc>> = links.iter().map(|l| l.kept_at).collect();
    let times: Vec<DateTime<Utc>> = links.iter().map(|l| l.entry.at).collect();
    let took: Vec<i32> = links.iter().map(|l| l.entry.took_ms).collect();
    let hashes: Vec<Vec<u8>> = links.iter().map(|l| l.hash.to_vec()).collect();
    sqlx::query!(
        "insert into audit_entry (tenant_id, seq, kept_at, at, actor, operation, arguments, outcome, code, took_ms, address,
            request_id, hash)
        select $1, e.seq, e.kept_at, e.at, e.actor, e.operation, e.arguments::json, e.outcome, e.code, e.took_ms, e.address,
            e.request_id, e.hash
        from unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::integer[], $11::text[], $12::text[], $13::bytea[])
            e (seq, kept_at, at, actor, operation, arguments, outcome, code, took_ms, address, request_id, hash)",
        tenant.0,
        &seqs,
        &kept,
        &times,
        &column(|e| &e.actor) as &[&str],
        &column(|e| &e.operation) as &[&str],
        &column(|e| &e.arguments) as &[&str],
        &column(|e| e.outcome.as_str()) as &[&str],
        &some(|e| e.code.as_deref()) as &[Option<&str>],
        &took,
        &some(|e| e.address.as_deref()) as &[Option<&str>],
        &some(|e| e.request_id.as_deref()) as &[Option<&str>],
        &hashes
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records the end of a chain that is held.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn set_head(
    conn: &mut PgConnection,
    tenant: TenantId,
    head: Head,
    kept_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update audit_chain set seq = $2, hash = $3, kept_at = $4 where tenant_id = $1",
        tenant.0,
        head.seq,
        head.hash.as_slice(),
        kept_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) fn read_hash(bytes: &[u8]) -> Result<Hash> {
    bytes.try_into().map_err(|_| {
        Error::internal(format!("a hash of the audit has {} bytes and not {HASH_BYTES}", bytes.len()))
    })
}

pub(super) fn read_outcome(text: &str) -> Result<Outcome> {
    text.parse().map_err(Error::internal)
}
