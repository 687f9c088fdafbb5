//! What this Postgres can do at all, by pgbench: the measure of everything else in the run.

use std::io::Write;
use std::process::Command;

use tests::Database;

/// Seconds per measurement.
const SECONDS: &str = "5";

/// Rows that the drain baseline claims and deletes per statement.
const DRAIN_BATCH: u32 = 500;

/// Rows that stand ready for the drain baseline.
const DRAIN_ROWS: u32 = 1_500_000;

/// The limits of this run.
pub(crate) struct Limits {
    /// Single-row inserts a second, 10 clients, each its own commit.
    pub(crate) insert: f64,
    /// Rows a second claimed by one statement and deleted by the next, 500 at a time, 2 clients.
    pub(crate) drain: f64,
}

impl Limits {
    pub(crate) fn print(&self) {
        println!("## Baseline (pgbench)\n");
        println!("| what | per second |\n| --- | --- |");
        println!("| single-row insert, 10 clients | {:.0} |", self.insert);
        println!(
            "| claim {DRAIN_BATCH} by one statement, delete them by the next, 2 clients | {:.0} rows |\n",
            self.drain
        );
    }
}

/// Measures both limits on tables of their own.
pub(crate) async fn measure(database: &Database) -> Limits {
    let mut conn = database.connect().await;
    let make = format!(
        "create table bare (id bigint generated always as identity primary key, payload jsonb not null);
        create table heap (id bigint generated always as identity primary key, run_at timestamptz not null default now(),
            locked_at timestamptz, payload jsonb not null);
        create index heap_free on heap (run_at, id) where locked_at is null;
        insert into heap (payload) select '{{\"note\": \"ballast\"}}' from generate_series(1, {DRAIN_ROWS})"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut conn).await.unwrap();
    sqlx::raw_sql("vacuum analyze heap").execute(&mut conn).await.unwrap();
    sqlx::raw_sql("checkpoint").execute(&mut conn).await.ok();
    let insert = pgbench(database, "10", "insert into bare (payload) values ('{\"note\": \"ballast\"}');");
    let claim = format!(
        "with c as materialized (
            select id from heap where locked_at is null and run_at <= now()
            order by run_at, id for update skip locked limit {DRAIN_BATCH}
        ),
        u as (update heap set locked_at = now() from c where heap.id = c.id returning heap.id)
        select coalesce(array_agg(id), '{{}}') as ids from u \\gset
        delete from heap where id = any(:ids::bigint[]);"
    );
    let drain = pgbench(database, "2", &claim) * f64::from(DRAIN_BATCH);
    sqlx::raw_sql("drop table bare, heap").execute(&mut conn).await.unwrap();
    Limits { insert, drain }
}

fn pgbench(database: &Database, clients: &str, statement: &str) -> f64 {
    let mut script = tempfile::NamedTempFile::new().unwrap();
    writeln!(script, "{statement}").unwrap();
    let newest = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .filter_map(|e| Some(e.ok()?.path().join("bin/pgbench")))
        .filter(|p| p.is_file())
        .max()
        .expect("pgbench comes with the Postgres server");
    let output = Command::new(newest)
        .args(["-n", "-M", "prepared", "-c", clients, "-j", "2", "-T", SECONDS, "-f"])
        .arg(script.path())
        .arg(database.url())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|l| l.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
