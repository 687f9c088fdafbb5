//! Makes days of the history and months of the audit ahead of time, and drops those that need not be kept.

use jobs::queue::postgres::partition::{Dropped, drop_oldest, ensure_days};
use jobs::{Result, audit};

use crate::duty::Context;

/// The most days dropped at once: after a shorter retention was configured, the rest follow in turn.
const DROPS_MAX: usize = 32;

/// For how many months after the present one the audit has partitions: without any scheduler for so long, entries
/// still find their month.
const AUDIT_MONTHS_AHEAD: i32 = 2;

/// Makes what is missing, then drops what is old, each day in a transaction of its own.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let days = ensure_days(&mut tx, context.config.history_ahead_days).await?;
    let months = audit::month::ensure(&mut tx, AUDIT_MONTHS_AHEAD).await?;
    context.fence(&mut tx).await?;
    tx.commit().await?;
    if days > 0 || months > 0 {
        tracing::info!(days, months, "made days of history and months of the audit");
    }
    drop_days(context).await?;
    drop_months(context).await
}

async fn drop_days(context: &Context) -> Result<()> {
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

async fn drop_months(context: &Context) -> Result<()> {
    for _ in 0..DROPS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let dropped = audit::month::drop_oldest(&mut tx, context.config.audit_keep_months).await?;
        match dropped {
            Dropped::Nothing => break,
            Dropped::Busy => {
                tracing::info!("an old month of the audit is in use; it will be dropped later");
                break;
            }
            Dropped::Day(month) => {
                context.fence(&mut tx).await?;
                tx.commit().await?;
                tracing::info!(partition = month, "dropped a month of the audit");
            }
        }
    }
    Ok(())
}
