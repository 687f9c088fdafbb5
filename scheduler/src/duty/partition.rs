//! Makes days of the history ahead of time and drops those that need not be kept.

use jobs::Result;
use jobs::queue::postgres::partition::{Dropped, drop_oldest, ensure_days};

use crate::duty::Context;

/// The most days dropped at once: after a shorter retention was configured, the rest follow in turn.
const DROPS_MAX: usize = 32;

/// Makes what is missing, then drops what is old, each day in a transaction of its own.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let made = ensure_days(&mut tx, context.config.history_ahead_days).await?;
    context.fence(&mut tx).await?;
    tx.commit().await?;
    if made > 0 {
        tracing::info!(days = made, "made days of history");
    }
    for _ in 0..DROPS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let dropped = drop_oldest(&mut tx, context.config.history_keep_days).await?;
        match dropped {
            Dropped::Nothing => break,
            Dropped::Busy => {
                tracing::info!("an old day of history is in use; it will be dropped later");
                break;
            }
            Dropped::Day(day) => {
                context.fence(&mut tx).await?;
                tx.commit().await?;
                tracing::info!(partition = day, "dropped a day of history");
            }
        }
    }
    Ok(())
}
