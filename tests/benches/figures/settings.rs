//! Tells on what the figures were taken.

use sqlx::Row;
use tests::Database;

/// The settings that decide what a commit costs.
const SHOWN: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
    "full_page_writes",
];

/// Prints hardware and server settings.
pub(crate) async fn print(database: &Database) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb: u64 = memory
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default();
    println!("## Settings\n");
    println!(
        "{cores} cores ({}), {} MiB, client and server on the same machine.",
        model.unwrap_or_default(),
        kb / 1024
    );
    let mut conn = database.connect().await;
    let mut shown = Vec::new();
    for name in SHOWN {
        let row = sqlx::query("select current_setting($1)").bind(name).fetch_one(&mut conn).await.unwrap();
        shown.push(format!("{name} {}", row.get::<String, _>(0)));
    }
    println!("Postgres: {}.\n", shown.join(", "));
}
