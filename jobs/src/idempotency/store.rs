//! The statements of idempotency keys.

use rules::id::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::keep::{ANSWERS_OF_ONE_BYTES_MAX, Asked, HELD_S, KEPT_S, KEYS_OF_ONE_MAX};
use crate::db::violates;
use crate::{Error, Result};

/// How many keys one call removes at most.
pub const BATCH: i64 = 5_000;

/// A key that is there.
pub(super) struct Row {
    pub(super) id: Uuid,
    /// Whether the same was asked under it.
    pub(super) same: bool,
    pub(super) done: bool,
    /// For how long it is still taken to be under way, in seconds; none or less when it is not.
    pub(super) held_s: f64,
    pub(super) answer: Option<Vec<u8>>,
}

/// Takes a key for a request: one that is new, too old, or whose request came to nothing. Tells whether it did.
pub(super) async fn take(conn: &mut PgConnection, id: Uuid, asked: &Asked<'_>) -> Result<bool> {
    let taken = sqlx::query!(
        "insert into idempotency_key as k (id, tenant_id, principal, key, fingerprint, held_until)
        values ($1, $2, $3, $4, $5, now() + $6::integer * interval '1 second')
        on conflict (tenant_id, principal, key) do update
        set id = excluded.id, fingerprint = excluded.fingerprint, created_at = now(), held_until = excluded.held_until,
            done_at = null, answer = null
        where k.done_at is null and k.held_until <= now() or k.created_at <= now() - $7::integer * interval '1 second'",
        id,
        asked.tenant.0,
        asked.principal,
        asked.key,
        asked.fingerprint,
        HELD_S,
        KEPT_S
    )
    .execute(conn)
    .await
    .map_err(|error| {
        if violates(&error, "idempotency_key_text") {
            return Error::invalid("the idempotency key must have between 1 and 255 characters");
        }
        error.into()
    })?;
    Ok(taken.rows_affected() == 1)
}

/// The key, if it is there.
pub(super) async fn look(conn: &mut PgConnection, asked: &Asked<'_>) -> Result<Option<Row>> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, fingerprint = $4 as "same!", done_at is not null as "done!",
            extract(epoch from held_until - now())::double precision as "held_s!", answer
        from idempotency_key where tenant_id = $1 and principal = $2 and key = $3"#,
        asked.tenant.0,
        asked.principal,
        asked.key,
        asked.fingerprint
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// Notes that something is done under a key, with the commit of the transaction under way. False where another has
/// taken it over meanwhile: then the transaction must not commit.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn done(conn: &mut PgConnection, id: Uuid) -> Result<bool> {
    let row = sqlx::query!(r#"select idempotency_done_v1($1) as "ours!""#, id).fetch_one(conn).await?;
    Ok(row.ours)
}

/// Keeps what was answered.
pub(super) async fn answer(conn: &mut PgConnection, tenant: TenantId, id: Uuid, answer: &[u8]) -> Result<()> {
    sqlx::query!(
        "update idempotency_key set answer = $3 where tenant_id = $1 and id = $2",
        tenant.0,
        id,
        answer
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a key back under which nothing was done.
pub(super) async fn forget(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<()> {
    sqlx::query!(
        "delete from idempotency_key where tenant_id = $1 and id = $2 and done_at is null",
        tenant.0,
        id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes keys that are older than they are kept, oldest first, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_old(conn: &mut PgConnection) -> Result<u64> {
    let gone = sqlx::query!(
        "delete from idempotency_key where id = any(array(
            select id from idempotency_key where created_at <= now() - $1::integer * interval '1 second'
            order by created_at limit $2 for update skip locked))",
        KEPT_S,
        BATCH
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// Removes keys of those who have more than [`KEYS_OF_ONE_MAX`] in a tenant, or answers of more than
/// [`ANSWERS_OF_ONE_BYTES_MAX`], the oldest of each, and tells how many. Reads all keys: for now and then.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_excess(conn: &mut PgConnection) -> Result<u64> {
    let gone = sqlx::query!(
        "with heavy as materialized (
            select tenant_id, principal from idempotency_key group by tenant_id, principal
            having count(*) > $1 or sum(octet_length(answer)) > $2)
        delete from idempotency_key where id = any(array(
            select x.id from heavy h cross join lateral (
                select k.id, row_number() over newest as nth, sum(coalesce(octet_length(k.answer), 0)) over newest as bytes
                from idempotency_key k where k.tenant_id = h.tenant_id and k.principal = h.principal
                window newest as (order by k.created_at desc, k.id desc)) x
            where x.nth > $1 or x.bytes > $2 limit $3))",
        KEYS_OF_ONE_MAX,
        ANSWERS_OF_ONE_BYTES_MAX,
        BATCH
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
