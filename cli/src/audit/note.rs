//! What operators' commands tell the audit, in the transaction of what they do.

use chrono::Utc;
use jobs::audit::store::take_in;
use jobs::db::PgConnection;
use rules::audit::{Entry, INSTALLATION, Outcome, arguments};
use rules::id::TenantId;
use serde_json::Value;

/// Who calls this command as the audit names them, by the name that the system has for them.
pub(crate) fn operator() -> String {
    format!("operator:{}", std::env::var("USER").as_deref().unwrap_or("operator"))
}

/// Notes what a command does, for a tenant or the installation.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn note(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    operation: &str,
    given: &Value,
) -> jobs::Result<()> {
    let entry = Entry {
        tenant: tenant.unwrap_or(INSTALLATION),
        at: Utc::now(),
        actor: operator(),
        operation: operation.to_owned(),
        arguments: given.as_object().map_or_else(|| "{}".to_owned(), arguments),
        outcome: Outcome::Accepted,
        code: None,
        took_ms: 0,
        address: None,
        request_id: None,
    };
    take_in(conn, &[entry]).await
}
