//! Takes away what was outlived: uniqueness keys, workers that are gone, failed logins, ended runs, notices.

use jobs::Result;
use jobs::access::store::forget_logins;
use jobs::db::PgConnection;
use jobs::queue::postgres::prune::{BATCH, unique_keys, workers};
use jobs::retention::{NOTICE_BATCH, RUN_BATCH, allow_removal, remove_notices, remove_runs};

use crate::config::SchedulerConfig;
use crate::duty::Context;

/// How long a worker may be unseen before its row goes, in seconds. It is missed much sooner; this is how
/// long people may still read what it was.
const UNSEEN_S: i32 = 600;

/// The most batches of one kind at once.
const ROUNDS_MAX: usize = 20;

/// What can be outlived.
#[derive(Debug, Clone, Copy)]
enum Outlived {
    UniqueKeys,
    Workers,
    Logins,
    Notices,
    Runs,
}

impl Outlived {
    const ALL: [Self; 5] = [Self::UniqueKeys, Self::Workers, Self::Logins, Self::Notices, Self::Runs];

    /// The most rows that one transaction takes; fewer mean that no more are left.
    const fn batch(self) -> u64 {
        match self {
            Self::UniqueKeys | Self::Workers | Self::Logins => BATCH.unsigned_abs(),
            Self::Notices => NOTICE_BATCH.unsigned_abs(),
            Self::Runs => RUN_BATCH.unsigned_abs(),
        }
    }

    async fn prune(self, conn: &mut PgConnection, config: &SchedulerConfig) -> Result<u64> {
        match self {
            Self::UniqueKeys => unique_keys(conn).await,
            Self::Workers => workers(conn, UNSEEN_S).await,
            Self::Logins => forget_logins(conn, BATCH).await,
            Self::Notices => remove_notices(conn, config.notice_keep_days).await,
            Self::Runs => {
                allow_removal(conn).await?;
                remove_runs(conn, config.run_keep_days).await
            }
        }
    }
}

/// Prunes everything, a batch per transaction.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    for outlived in Outlived::ALL {
        for _ in 0..ROUNDS_MAX {
            let mut tx = jobs::db::begin(&context.db).await?;
            let rows = outlived.prune(&mut tx, &context.config).await?;
            context.fence(&mut tx).await?;
            tx.commit().await?;
            if rows > 0 {
                tracing::debug!(rows, what = ?outlived, "pruned");
            }
            if rows < outlived.batch() {
                break;
            }
        }
    }
    Ok(())
}
