//! The audit: who did what, and what became of it.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, InputObject, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::audit::look;
use jobs::db::wall;
use rules::access::InTenant;
use rules::audit::{INSTALLATION, Link, Outcome, hex_of};
use serde_json::Value;

use super::page::Page;
use super::scope::{app, enter_or_all};
use crate::auth::SignedIn;
use crate::error::Fault;

/// What became of an operation.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "AuditOutcome", remote = "Outcome")]
pub(crate) enum OutcomeName {
    /// It was done.
    Accepted,
    /// It was not done, for a reason that whoever asked was told.
    Refused,
    /// It came to no answer, for a reason of ours.
    Failed,
}

/// One entry of the audit.
#[derive(SimpleObject)]
pub(crate) struct AuditLog {
    /// Its number in the chain of its tenant, without gaps.
    id: ID,
    /// When it was asked for.
    at: DateTime<Utc>,
    /// Who: `user:<id>`, `key:<id>`, `operator:<name>` or `nobody`.
    actor: String,
    /// What was asked for: an operation of the API, or `cli.<command>`.
    operation: String,
    /// With what; secrets are filtered, long texts cut.
    arguments: Json<Value>,
    /// What became of it.
    outcome: OutcomeName,
    /// The code of the error that was told, unless it was accepted.
    code: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: i32,
    /// The network address that asked.
    address: Option<String>,
    /// The `x-request-id` of the answer.
    request_id: Option<String>,
    /// When it was put into the chain.
    kept_at: DateTime<Utc>,
    /// Its hash, over itself and the hash of the one before it, in hexadecimal digits.
    hash: String,
}

/// Which entries; what is not given restricts nothing.
#[derive(InputObject, Default)]
pub(crate) struct AuditFilter {
    /// By this actor.
    actor: Option<String>,
    /// Of this operation.
    operation: Option<String>,
    /// With this outcome.
    outcome: Option<OutcomeName>,
    /// Of this request.
    request_id: Option<String>,
    /// Asked for at this time or later.
    since: Option<DateTime<Utc>>,
    /// Asked for before this time.
    until: Option<DateTime<Utc>>,
}

impl From<Link> for AuditLog {
    fn from(link: Link) -> Self {
        let entry = link.entry;
        Self {
            id: link.seq.into(),
            at: entry.at,
            actor: entry.actor,
            operation: entry.operation,
            arguments: Json(serde_json::from_str(&entry.arguments).unwrap_or(Value::Null)),
            outcome: entry.outcome.into(),
            code: entry.code,
            duration_ms: entry.took_ms,
            address: entry.address,
            request_id: entry.request_id,
            kept_at: link.kept_at,
            hash: hex_of(&link.hash),
        }
    }
}

/// What can be read of the audit.
#[derive(Default)]
pub(crate) struct AuditQuery;

#[Object]
impl AuditQuery {
    /// The audit of a tenant, newest first; for who operates the installation and names no tenant, that of the
    /// installation. An entry is seen once it is in its chain, seconds after it was made.
    #[graphql(guard = "SignedIn")]
    async fn audit_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key, and for the installation's.")] tenant: Option<ID>,
        filter: Option<AuditFilter>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, AuditLog>, Fault> {
        let page = Page::<i64>::read("auditLogs", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Manage).await?;
        let tenant = tenant.unwrap_or(INSTALLATION);
        // The installation's rows and no others.
        wall::enter(&mut conn, tenant).await?;
        let given = filter.unwrap_or_default();
        let filter = look::Filter {
            actor: given.actor.as_deref(),
            operation: given.operation.as_deref(),
            outcome: given.outcome.map(Into::into),
            request_id: given.request_id.as_deref(),
            since: given.since,
            until: given.until,
        };
        let rows = look::entries(&mut conn, tenant, &filter, page.after, page.limit()).await?;
        Ok(page.of(rows, |l| l.seq, AuditLog::from))
    }
}
