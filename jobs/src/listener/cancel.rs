//! Cancels a job of a listener that waits, together with what waits for it.

use rules::id::JobId;
use rules::queue::Kind;
use sqlx::PgConnection;

use super::notice::{ActionState, store as notices};
use crate::payload::listener::{ListenerAction, ListenerEvent};
use crate::queue::postgres::control::{self, Cancel};
use crate::{Error, Result};

/// What a notice, or an action of one, says whose job was cancelled.
const REASON: &str = "its job was cancelled";

/// Cancels a job on somebody's wish. One of a listener is cancelled while it waits, and its notice is then dropped, or
/// its action skipped; any other as [`control::cancel`] does it.
///
/// # Errors
/// NotFound for an unknown job; Conflict for a kind that somebody waits for, and for a job of a listener that runs;
/// Unavailable when nobody answers. After an error nothing may be committed.
pub async fn cancel_job(conn: &mut PgConnection, id: JobId) -> Result<Cancel> {
    let Some((kind, payload)) = control::live(conn, id).await? else {
        return control::cancel(conn, id).await;
    };
    match kind.parse() {
        Ok(Kind::ListenerEvent) => {
            let event: ListenerEvent = serde_json::from_value(payload).map_err(Error::internal)?;
            let cancelled = waiting(conn, id).await?;
            notices::drop_for(conn, event.notice_id, event.replay, REASON).await?;
            Ok(cancelled)
        }
        Ok(Kind::ListenerAction) => {
            let ListenerAction { notice_id, action_id, replay } =
                serde_json::from_value(payload).map_err(Error::internal)?;
            let cancelled = waiting(conn, id).await?;
            let state = ActionState::Skipped;
            notices::settle_action(conn, notice_id, replay, action_id, state, None, Some(REASON)).await?;
            Ok(cancelled)
        }
        Ok(_) | Err(_) => control::cancel(conn, id).await,
    }
}

/// Cancels a job that waits. One that runs may be through with its work before it hears of it.
async fn waiting(conn: &mut PgConnection, id: JobId) -> Result<Cancel> {
    match control::withdraw(conn, id).await? {
        cancelled @ Cancel::Cancelled(_) => Ok(cancelled),
        Cancel::Cancelling | Cancel::Ended => Err(Error::conflict(format!(
            "job {id} does not wait any more: it runs or has ended; a job of a listener is cancelled while it waits, so \
             let it end"
        ))),
    }
}
