//! Keeps listeners.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rules::access::Title;
use rules::id::{ListenerId, TenantId};
use rules::kept;
use rules::listener::{Path, Pipeline};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice, violates};
use crate::{Error, Listing, Result};

/// A listener, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Where it listens, below its tenant.
    pub path: String,
    /// Its name for people.
    pub title: String,
    /// Whether it takes deliveries.
    pub active: bool,
    /// The configuration of its pipeline, as [`Pipeline::to_json`] writes it.
    pub pipeline: serde_json::Value,
    /// Counts edits of the pipeline; the first is 1.
    pub version: i32,
    /// Until when the secret before the present one is accepted too; none when there is none.
    pub old_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What the door must know to let a delivery in.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The listener.
    pub listener: ListenerId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whether it takes deliveries.
    pub active: bool,
    /// Its sealed secret.
    pub secret: Vec<u8>,
    /// The sealed one before it, while that is accepted.
    pub old_secret: Option<Vec<u8>>,
}

/// What is found at an address.
#[derive(Debug, Clone)]
pub struct Address {
    /// The listener there, if there is one.
    pub hook: Option<Hook>,
    /// Seconds since 1970 by the database's clock, which decides whether a signature is fresh.
    pub now_s: u64,
}

impl Listener {
    /// The pipeline in working form.
    ///
    /// # Errors
    /// Internal when what is stored does not read back, which only a later version can have written.
    pub fn pipeline(&self) -> Result<Pipeline> {
        // What is stored names its actions, so no fresh id is drawn.
        Pipeline::parse(&self.pipeline, None, Uuid::now_v7).map_err(|faults| {
            Error::internal(format!("the pipeline of listener {} does not read back: {faults:?}", self.id))
        })
    }
}

/// Stores a listener.
///
/// # Errors
/// Conflict when the tenant has one at this path.
pub(super) async fn insert(
    conn: &mut PgConnection,
    id: ListenerId,
    tenant: TenantId,
    path: &Path,
    title: &Title,
    secret: &[u8],
    pipeline: &serde_json::Value,
) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "insert into listener (id, tenant_id, path, title, secret, pipeline) values ($1, $2, $3, $4, $5, $6)
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        id.0,
        tenant.0,
        path.as_str(),
        title.as_str(),
        secret,
        pipeline
    )
    .fetch_one(conn)
    .await
    .map_err(|e| match violates(&e, "listener_path_unique") {
        true => Error::conflict(format!("there is a listener at `{path}` already; choose another path")),
        false => e.into(),
    })
}

/// A tenant's listener.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub async fn get(conn: &mut PgConnection, tenant: TenantId, id: ListenerId) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "select id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at
        from listener where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// A page of a tenant's listeners, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    before: Option<ListenerId>,
    limit: i64,
) -> Result<Slice<Listener>> {
    let rows = sqlx::query_as!(
        Listener,
        "select id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at
        from listener where tenant_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        tenant.0,
        before.map(|l| l.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |l| kept::bytes(&l.pipeline)).await
}

/// The listener at an address: its tenant by id or by slug. A closed tenant has none. Asks the same
/// whether anybody listens there or not, so that the time taken does not tell.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn address(conn: &mut PgConnection, tenant: &str, path: &str) -> Result<Address> {
    let id: Option<Uuid> = tenant.parse().ok();
    let row = sqlx::query!(
        r#"select extract(epoch from now())::bigint as "now_s!", l.id as "id?", l.tenant_id as "tenant_id?",
            l.active as "active?", l.secret as "secret?", l.old_secret
        from (values (1)) as asked left join listener_address_v1($1, $2, $3) l on true"#,
        id,
        tenant,
        path
    )
    .fetch_one(conn)
    .await?;
    let hook = match (row.id, row.tenant_id, row.active, row.secret) {
        (Some(listener), Some(tenant), Some(active), Some(secret)) => Some(Hook {
            listener: ListenerId(listener),
            tenant: TenantId(tenant),
            active,
            secret,
            old_secret: row.old_secret,
        }),
        _ => None,
    };
    Ok(Address { hook, now_s: row.now_s.unsigned_abs() })
}

/// Gives a listener another name for people.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub async fn rename(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ListenerId,
    title: &Title,
) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "update listener set title = $3, updated_at = now() where tenant_id = $1 and id = $2
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        tenant.0,
        id.0,
        title.as_str()
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// Gives a listener another pipeline, if it still is at `version`.
///
/// # Errors
/// NotFound when the tenant has no such listener, Conflict when it was changed meanwhile.
pub(super) async fn set_pipeline(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ListenerId,
    version: i32,
    pipeline: &serde_json::Value,
) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "update listener set pipeline = $4, version = version + 1, updated_at = now()
        where tenant_id = $1 and id = $2 and version = $3
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        tenant.0,
        id.0,
        version,
        pipeline
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| {
        Error::conflict(format!(
            "listener `{id}` is not at version {version} any more; read it again and repeat the change"
        ))
    })
}

/// Gives a listener another secret. The one before is accepted for `grace` more.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub(super) async fn set_secret(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ListenerId,
    secret: &[u8],
    grace: Duration,
) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "update listener set secret = $3, updated_at = now(), old_secret = secret,
            old_secret_until = now() + $4::bigint * interval '1 second'
        where tenant_id = $1 and id = $2
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        tenant.0,
        id.0,
        secret,
        i64::try_from(grace.as_secs()).unwrap_or(i64::MAX)
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// Ends the secret before the present one now, if it is still accepted.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub async fn end_old_secret(conn: &mut PgConnection, tenant: TenantId, id: ListenerId) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "update listener set old_secret = null, old_secret_until = null, updated_at = now()
        where tenant_id = $1 and id = $2
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// Lets a listener take deliveries, or not. What it took already is worked on either way.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub async fn set_active(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: ListenerId,
    active: bool,
) -> Result<Listener> {
    sqlx::query_as!(
        Listener,
        "update listener set active = $3, updated_at = now() where tenant_id = $1 and id = $2
        returning id, tenant_id, path, title, active, pipeline, version, old_secret_until, created_at, updated_at",
        tenant.0,
        id.0,
        active
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// Deletes a listener at once. Its notices and buffered events follow in batches, by the scheduler; jobs of
/// theirs that still wait do nothing when their turn comes, and say so.
///
/// # Errors
/// NotFound when the tenant has no such listener.
pub async fn delete(conn: &mut PgConnection, tenant: TenantId, id: ListenerId) -> Result<()> {
    let done = sqlx::query!("delete from listener where tenant_id = $1 and id = $2", tenant.0, id.0)
        .execute(conn)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(absent(id)) }
}

fn absent(id: ListenerId) -> Error {
    Error::not_found(format!("there is no listener `{id}`")).listed_in(Listing::Listeners)
}
