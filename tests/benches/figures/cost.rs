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

    /// Buffers per job since an earlier reading.
    pub(crate) fn buffers_per_job(self, since: Self, jobs: usize) -> f64 {
        (self.buffers - since.buffers) / jobs as f64
    }

    /// Commits a second over a span.
    pub(crate) fn commits_per_second(self, since: Self, span: Duration) -> f64 {
        (self.commits - since.commits) / span.as_secs_f64()
    }
}

/// Seconds of processor time that this server's processes have used, those that have ended included.
pub(crate) async fn processor(database: &Database) -> f64 {
    let mut conn = database.connect().await;
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
    let postmaster = stat(backend.unsigned_abs()).map(|s| s.parent).expect("the backend runs");
    let ended = stat(postmaster).expect("the server runs");
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let children = pids.filter_map(stat).filter(|s| s.parent == postmaster);
    (ended.own + ended.waited_for + children.map(|s| s.own).sum::<f64>()) / TICKS
}

/// Ticks of the kernel's process accounting in a second, on every Linux.
const TICKS: f64 = 100.0;

/// What the kernel tells of one process; times in ticks.
struct Stat {
    parent: u32,
    own: f64,
    waited_for: f64,
}

/// None when the process has ended.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold spaces.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|f| f.parse::<f64>().ok());
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        waited_for: ticks(13)? + ticks(14)?,
    })
}
