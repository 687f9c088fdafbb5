//! What operators' commands tell the audit, in the transaction of what they do.

use chrono::Utc;
use jobs::audit::store::take_in;
use jobs::db::PgConnection;
use rules::audit::{Entry, INSTALLATION};
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
    let entry = Entry::done(tenant.unwrap_or(INSTALLATION), Utc::now(), operator(), operation, given);
    take_in(conn, &[entry]).await
}
