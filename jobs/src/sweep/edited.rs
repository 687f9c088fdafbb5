//! Redrives one dead letter with another payload.

use rules::id::{JobId, TenantId};
use rules::queue::Kind;
use serde_json::Value;
use sqlx::PgConnection;

use super::store;
use crate::payload::noop::Noop;
use crate::queue::MAX_PAYLOAD_BYTES;
use crate::queue::postgres::control::redrive;
use crate::{Error, Listing, Result};

/// Gives a dead letter another payload and new attempts. What its handler would not read of that is left out. Returns the
/// pools to wake after the commit.
///
/// # Errors
/// NotFound when it is not among the dead, or another tenant's; Conflict for a kind whose payload is nobody's to write, and
/// as [`redrive`]; Invalid for a payload that its kind cannot read, or that is too large. After an error nothing may be
/// committed.
pub async fn redrive_edited(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    id: JobId,
    payload: &Value,
    attempts: u16,
) -> Result<Vec<i32>> {
    let absent = || {
        Error::not_found(format!("job {id} is not among the dead letters")).listed_in(Listing::DeadLetters)
    };
    let kind = store::letter(conn, tenant, id).await?.ok_or_else(absent)?;
    let why = match kind.parse::<Kind>() {
        Ok(kind) => kind.why_not_edited(),
        Err(_) => Some("this version does not know it"),
    };
    if let Some(why) = why {
        return Err(Error::conflict(format!(
            "job {id} is a `{kind}`, whose payload is not edited, for {why}; redrive it as it is, or discard it and ask anew \
             for what it was to do"
        )));
    }
    let new: Noop = serde_json::from_value(payload.clone())
        .map_err(|why| Error::invalid(format!("`payload` cannot be read as that of a `{kind}`: {why}")))?;
    let new = serde_json::to_value(new).map_err(Error::internal)?;
    let size = new.to_string().len();
    if size > MAX_PAYLOAD_BYTES {
        return Err(Error::invalid(format!(
            "`payload` has {size} bytes; at most {MAX_PAYLOAD_BYTES} fit in a job"
        )));
    }
    store::edit(conn, id, &new).await?;
    redrive(conn, id, attempts).await
}
