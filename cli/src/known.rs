//! Refuses what a filter names and does not exist: an empty list would hide the slip.

use jobs::db::PgConnection;
use jobs::{Error, Result};
use rules::id::TenantId;
use rules::nearest;

/// Finds the tenant.
///
/// # Errors
/// Invalid when there is none of that id.
pub(crate) async fn tenant(conn: &mut PgConnection, id: TenantId) -> Result<()> {
    match jobs::tenant::store::find(conn, id, None).await? {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!(
            "there is no tenant `{id}`; the API's `tenants` lists ids, and `millrace job show` tells whose a job is"
        ))),
    }
}

/// Finds the host.
///
/// # Errors
/// Invalid when there is none of that name.
pub(crate) async fn host(conn: &mut PgConnection, name: &str) -> Result<()> {
    let all = jobs::host::store::all(conn).await?;
    let names: Vec<&str> = all.iter().map(|host| host.name.as_str()).collect();
    if names.contains(&name) {
        return Ok(());
    }
    let instead = nearest::instead(name, &names, "there is none at all, for no worker served one yet");
    Err(Error::invalid(format!("there is no host `{name}`; {instead}")))
}
