//! Takes away what was outlived: uniqueness keys, workers that are gone, failed logins.

use jobs::access::store::forget_logins;
use jobs::queue::postgres::prune::{BATCH, unique_keys, workers};
use jobs::{Result, db::PgConnection};

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
}

impl Outlived {
    const ALL: [Self; 3] = [Self::UniqueKeys, Self::Workers, Self::Logins];

    async fn prune(self, conn: &mut PgConnection) -> Result<u64> {
        match self {
            Self::UniqueKeys => unique_keys(conn).await,
            Self::Workers => workers(conn, UNSEEN_S).await,
            Self::Logins => forget_logins(conn, BATCH).await,
        }
    }
}

/// Prunes everything, a batch per transaction.
pub(crate) async fn perform(context: &Context) -> Result<()> {
    for outlived in Outlived::ALL {
        for _ in 0..ROUNDS_MAX {
            let mut tx = context.db.begin().await?;
            let rows = outlived.prune(&mut tx).await?;
            context.fence(&mut tx).await?;
            tx.commit().await?;
            if rows > 0 {
                tracing::debug!(rows, what = ?outlived, "pruned");
            }
            if rows < BATCH.unsigned_abs() {
                break;
            }
        }
    }
    Ok(())
}
