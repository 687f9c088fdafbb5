//! Sees to it that what was noted for the audit is chained, when whoever noted it did not live to ask for it.

use jobs::Result;
use jobs::audit::store::lag_s;
use jobs::payload::audit::AuditFlush;
use jobs::queue::NewJob;
use jobs::queue::postgres::enqueue::enqueue;

use crate::duty::Context;

/// From which age on a note was left behind, in seconds: an API process asks for a flush every five.
const LEFT_BEHIND_S: f64 = 10.0;

/// At most one flush of ours waits at a time.
const KEY: &str = "left behind";

/// Puts a flush into the queue, if something was left behind. The workers find it by their polls.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    if lag_s(&mut tx).await?.unwrap_or_default() < LEFT_BEHIND_S {
        return Ok(tx.rollback().await?);
    }
    let job = NewJob::of(&AuditFlush::default())?.unique(KEY, None);
    for put in enqueue(&mut tx, &[job]).await? {
        tracing::debug!(job.id = %put.id, existing = put.existing, "audit entries were left behind");
    }
    context.fence(&mut tx).await?;
    Ok(tx.commit().await?)
}
