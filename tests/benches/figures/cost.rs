//! What work costs Postgres, counted and not timed: a noisy machine does not change it.

use std::time::Duration;

use sqlx::Row;
use tests::Database;

/// How long sessions may take to tell what they did: Postgres gathers for a second.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Counters of the database at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    wal_bytes: f64,
    commits: f64,
    buffers: f64,
}

/// Reads the counters, after those who worked had time to tell.
pub(crate) async fn read(database: &Database) -> Reading {
    tokio::time::sleep(SETTLE).await;
    let mut conn = database.connect().await;
    let row = sqlx::query(
        "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8, d.xact_commit::float8, (d.blks_hit + d.blks_read)::float8
        from pg_stat_database d where d.datname = current_database()",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    Reading { wal_bytes: row.get(0), commits: row.get(1), buffers: row.get(2) }
}

impl Reading {
    /// What was spent since an earlier reading, per job, as cells of a table: buffers, WAL bytes, commits.
    /// Every statement of a job's way is a transaction of its own but for what stands inside one of the
    /// caller's, so that commits count statements too.
    pub(crate) fn per_job(self, since: Self, jobs: usize) -> String {
        let jobs = jobs as f64;
        format!(
            "{:.1} | {:.0} | {:.4}",
            (self.buffers - since.buffers) / jobs,
            (self.wal_bytes - since.wal_bytes) / jobs,
            (self.commits - since.commits) / jobs
        )
    }

    /// Commits a second over a span.
    pub(crate) fn commits_per_second(self, since: Self, span: Duration) -> f64 {
        (self.commits - since.commits) / span.as_secs_f64()
    }
}
