//! Sends a notice through its listener's pipeline once more, as that pipeline is now.

use rules::id::{NoticeId, TenantId};
use sqlx::PgConnection;

use super::notice::store;
use super::receive::enqueue_event;
use crate::Result;
use crate::queue::Enqueued;

/// Sends a notice through once more, whatever became of it before; answers which time that is, and the
/// job. Its actions start new runs and are told apart from those before by the number.
///
/// # Errors
/// NotFound when the tenant has no such notice.
pub async fn replay(
    conn: &mut PgConnection,
    tenant: TenantId,
    notice: NoticeId,
    trace_parent: Option<String>,
) -> Result<(i32, Vec<Enqueued>)> {
    let time = store::again(conn, tenant, notice).await?;
    let enqueued = enqueue_event(conn, tenant, notice, time, trace_parent).await?;
    Ok((time, enqueued))
}
