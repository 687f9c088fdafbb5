//! Makes days of the history and months of the audit ahead of time, and drops those that need not be kept.

use jobs::queue::postgres::partition::{Dropped, drop_oldest, ensure_days};
use jobs::{Result, audit};

use crate::duty::Context;

/// The most partitions of a kind dropped at once: after a shorter retention was configured, the rest follow in turn.
const DROPS_MAX: usize = 32;

/// For how many months after the present one the audit has partitions: without any scheduler for so long, entries
/// still find their month.
const AUDIT_MONTHS_AHEAD: i32 = 2;

/// Makes what is missing, then drops what is old, each partition in a transaction of its own.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    let mut tx = jobs::db::begin(&context.db).await?;
    let days = ensure_days(&mut tx, context.config.history_ahead_days).await?;
    let months = audit::month::ensure(&mut tx, AUDIT_MONTHS_AHEAD).await?;
    context.fence(&mut tx).await?;
    tx.commit().await?;
    if days > 0 || months > 0 {
        tracing::info!(days, months, "made days of history and months of the audit");
    }
    for kept in [Kept::History, Kept::Audit] {
        drop_old(context, kept).await?;
    }
    Ok(())
}

/// What is kept in partitions.
#[derive(Debug, Clone, Copy)]
enum Kept {
    /// By days.
    History,
    /// By months.
    Audit,
}

async fn drop_old(context: &Context, kept: Kept) -> Result<()> {
    for _ in 0..DROPS_MAX {
        let mut tx = jobs::db::begin(&context.db).await?;
        let dropped = match kept {
            Kept::History => drop_oldest(&mut tx, context.config.history_keep_days).await?,
            Kept::Audit => audit::month::drop_oldest(&mut tx, context.config.audit_keep_months).await?,
        };
        match dropped {
            Dropped::Nothing => break,
            Dropped::Busy => {
                tracing::info!(?kept, "an old partition is in use; it will be dropped later");
                break;
            }
            Dropped::Partition(name) => {
                context.fence(&mut tx).await?;
                tx.commit().await?;
                tracing::info!(partition = name, "dropped an old partition");
            }
        }
    }
    Ok(())
}
