//! Takes away what was outlived: uniqueness keys, workers that are gone, failed logins, idempotency keys, dead letters,
//! sweeps of them, notices, ended runs, letters to runs that are gone, ended operations on machines, machines that were
//! destroyed, what checks of them found, firings of schedules, events, what listeners left behind.

use jobs::access::store::forget_logins;
use jobs::db::PgConnection;
use jobs::idempotency;
use jobs::queue::postgres::prune::{BATCH, DEAD_LETTER_BATCH, dead_letters, unique_keys, workers};
use jobs::retention::{
    EVENT_BATCH, FIRING_BATCH, HEALTH_BATCH, LEFT_BEHIND_BATCH, LETTER_BATCH, MACHINE_BATCH, NOTICE_BATCH,
    OPERATION_BATCH, RUN_BATCH, SWEEP_BATCH, allow_removal, forget_removals, remove_events, remove_firings,
    remove_health_results, remove_left_behind, remove_letters, remove_machines, remove_notices,
    remove_operations, remove_runs, remove_sweeps,
};
use jobs::{Result, metrics};

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
    IdempotencyKeys,
    DeadLetters,
    Sweeps,
    Notices,
    Runs,
    Letters,
    Operations,
    Machines,
    HealthResults,
    Firings,
    Events,
    LeftBehind,
}

impl Outlived {
    /// Dead letters before the sweeps and the notices that they need, runs before the letters to them, operations before their
    /// machines.
    const ALL: [Self; 15] = [
        Self::UniqueKeys,
        Self::Workers,
        Self::Logins,
        Self::IdempotencyKeys,
        Self::DeadLetters,
        Self::Sweeps,
        Self::Notices,
        Self::Runs,
        Self::Letters,
        Self::Operations,
        Self::Machines,
        Self::HealthResults,
        Self::Firings,
        Self::Events,
        Self::LeftBehind,
    ];

    /// The word in metrics and logs.
    const fn as_str(self) -> &'static str {
        match self {
            Self::UniqueKeys => "unique_keys",
            Self::Workers => "workers",
            Self::Logins => "logins",
            Self::IdempotencyKeys => "idempotency_keys",
            Self::DeadLetters => "dead_letters",
            Self::Sweeps => "sweeps",
            Self::Notices => "notices",
            Self::Runs => "runs",
            Self::Letters => "letters",
            Self::Operations => "operations",
            Self::Machines => "machines",
            Self::HealthResults => "health_results",
            Self::Firings => "firings",
            Self::Events => "events",
            Self::LeftBehind => "left_behind",
        }
    }

    /// The most rows that one transaction takes; fewer mean that no more are left.
    const fn batch(self) -> u64 {
        match self {
            Self::UniqueKeys | Self::Workers | Self::Logins => BATCH.unsigned_abs(),
            Self::IdempotencyKeys => idempotency::BATCH.unsigned_abs(),
            Self::DeadLetters => DEAD_LETTER_BATCH.unsigned_abs(),
            Self::Sweeps => SWEEP_BATCH.unsigned_abs(),
            Self::Notices => NOTICE_BATCH.unsigned_abs(),
            Self::Runs => RUN_BATCH.unsigned_abs(),
            Self::Letters => LETTER_BATCH.unsigned_abs(),
            Self::Operations => OPERATION_BATCH.unsigned_abs(),
            Self::Machines => MACHINE_BATCH.unsigned_abs(),
            Self::HealthResults => HEALTH_BATCH.unsigned_abs(),
            Self::Firings => FIRING_BATCH.unsigned_abs(),
            Self::Events => EVENT_BATCH.unsigned_abs(),
            // Of notices or of events there may be less than a batch: only nothing says that no more is.
            Self::LeftBehind => 1,
        }
    }

    async fn prune(self, conn: &mut PgConnection, config: &SchedulerConfig) -> Result<u64> {
        match self {
            Self::UniqueKeys => unique_keys(conn).await,
            Self::Workers => workers(conn, UNSEEN_S).await,
            Self::Logins => forget_logins(conn, BATCH).await,
            Self::IdempotencyKeys => {
                Ok(idempotency::remove_old(conn).await? + idempotency::remove_excess(conn).await?)
            }
            Self::DeadLetters => dead_letters(conn, config.dead_letter_keep_days).await,
            // As long as what they took: a sweep is told of nowhere else.
            Self::Sweeps => remove_sweeps(conn, config.dead_letter_keep_days).await,
            Self::Notices => {
                remove_notices(conn, config.notice_keep_days, config.dead_letter_keep_days).await
            }
            Self::Runs => {
                allow_removal(conn).await?;
                remove_runs(conn, config.run_keep_days).await
            }
            Self::Letters => remove_letters(conn).await,
            Self::Operations => remove_operations(conn, config.operation_keep_days).await,
            Self::Machines => remove_machines(conn, config.operation_keep_days).await,
            Self::HealthResults => remove_health_results(conn, config.health_keep_days).await,
            Self::Firings => remove_firings(conn, config.firing_keep_days).await,
            Self::Events => remove_events(conn, config.event_keep_hours).await,
            Self::LeftBehind => match remove_left_behind(conn, LEFT_BEHIND_BATCH).await? {
                0 => {
                    forget_removals(conn).await?;
                    Ok(0)
                }
                some => Ok(some),
            },
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
                metrics::pruned(outlived.as_str(), rows);
                tracing::debug!(rows, what = outlived.as_str(), "pruned");
            }
            if rows < outlived.batch() {
                break;
            }
        }
    }
    Ok(())
}
