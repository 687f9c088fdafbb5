//! Redrives one dead letter with another payload.

use rules::id::{JobId, TenantId};
use rules::queue::Kind;
use serde_json::Value;
use sqlx::PgConnection;

use super::store;
use crate::payload::{about, read};
use crate::queue::MAX_PAYLOAD_BYTES;
use crate::queue::postgres::control::redrive;
use crate::{Error, Listing, Result};

/// Gives a dead letter another payload and new attempts. Returns the pools to wake after the commit.
///
/// # Errors
/// NotFound when it is not among the dead, or another tenant's; Invalid for a payload that its kind cannot read, is too
/// large or is about something else; Conflict for a kind whose payload is nobody's to write, and as
/// [`redrive`]. After an error nothing may be committed.
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
    let (kind, old) = store::letter(conn, tenant, id).await?.ok_or_else(absent)?;
    let kind = kind.parse::<Kind>().ok().filter(|kind| kind.may_be_edited()).ok_or_else(|| {
        Error::conflict(format!(
            "the payload of a `{kind}` is not edited: it names what the job is for, and nothing else; redrive job {id} as \
             it is"
        ))
    })?;
    let new = read(kind, payload)
        .map_err(|why| Error::invalid(format!("`payload` cannot be read as that of a `{kind}`: {why}")))?;
    let size = new.to_string().len();
    if size > MAX_PAYLOAD_BYTES {
        return Err(Error::invalid(format!(
            "`payload` has {size} bytes; at most {MAX_PAYLOAD_BYTES} fit in a job"
        )));
    }
    if about(kind, &new) != about(kind, &old) {
        return Err(Error::invalid(format!(
            "`payload` is about something else than that of job {id}; leave the ids in it as they are"
        )));
    }
    store::edit(conn, id, &new).await?;
    redrive(conn, id, attempts).await
}
