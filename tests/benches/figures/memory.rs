//! What each role holds in memory while it has nothing to do, and a worker that has all that it can take.

use std::time::Duration;

use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue_all};
use tests::{Database, Millrace, wait};

use crate::enqueue::clear;

/// How long a role may settle: pools open, caches fill, first sweeps pass.
const SETTLE: Duration = Duration::from_secs(8);

/// Jobs in flight in the last row, and for how long each is: longer than the measurement takes.
const IN_FLIGHT: usize = 1_000;
const IN_FLIGHT_MS: u64 = 28_000;

/// Keys for roles that need them; any will do for idling.
const KEYRING: &str =
    "bench:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Each role with its arguments.
const ROLES: [(&str, &[&str]); 4] = [
    ("api", &["api"]),
    ("worker, all pools", &["worker", "--pools", "dag,events,audit,maintenance"]),
    ("scheduler", &["scheduler"]),
    ("up, without Postgres", &["up"]),
];

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    println!("## Memory of roles, idle where nothing else is said\n");
    println!("| role | resident MiB | of it not shared with other processes |\n| --- | --- | --- |");
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("home");
    for (role, arguments) in ROLES {
        let variables = [
            ("DATABASE_URL", database.url()),
            ("MILLRACE_HOME", home.to_str().unwrap()),
            ("KEYRING", KEYRING),
            ("JWT_SECRET", JWT_SECRET),
            ("PORT", "0"),
        ];
        let mut process = Millrace::start(arguments, &variables);
        tokio::time::sleep(SETTLE).await;
        assert!(process.is_running(), "{}", process.log());
        println!("| {role} | {} |", held(&process));
        process.stop(Duration::from_secs(30)).await;
    }
    full(database).await;
    println!();
}

/// A worker with as many jobs in flight as it has slots.
async fn full(database: &Database) {
    let job =
        NewJob::of(&Noop { sleep_ms: IN_FLIGHT_MS, note: "ballast".into(), ..Noop::default() }).unwrap();
    let db = database.pool().await;
    enqueue_all(&db, vec![job; IN_FLIGHT]).await.unwrap();
    let slots = IN_FLIGHT.to_string();
    let variables = [("DATABASE_URL", database.url()), ("WORKER_SLOTS", slots.as_str())];
    let mut process = Millrace::start(&["worker", "--pools", "maintenance"], &variables);
    wait::until_within(SETTLE * 5, "all are in flight", || async {
        let leased: i64 = sqlx::query_scalar("select count(*) from job_lease").fetch_one(&db).await.unwrap();
        usize::try_from(leased).is_ok_and(|leased| leased == IN_FLIGHT)
    })
    .await;
    // Renewed once at least.
    tokio::time::sleep(SETTLE * 3 / 2).await;
    println!("| worker, {IN_FLIGHT} jobs in flight | {} |", held(&process));
    process.kill();
    clear(database).await;
}

/// What a process holds, as cells of a table.
pub(crate) fn held(process: &Millrace) -> String {
    let (resident, own) = mib(process);
    format!("{resident:.1} | {own:.1}")
}

/// What a process holds in MiB, and what of it is not shared.
pub(crate) fn mib(process: &Millrace) -> (f64, f64) {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid())).unwrap();
    let mib = |name: &str| -> f64 {
        let lines = rollup.lines().filter_map(|l| l.strip_prefix(name));
        lines.filter_map(|l| l.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1024.0
    };
    (mib("Rss:"), mib("Private_Clean:") + mib("Private_Dirty:"))
}
