//! The server that all peers are measured on: private, durable, the same for each of them.

use std::path::Path;
use std::process::{Command, Stdio};

use sqlx::{Connection, PgConnection};
use tests::Own;

/// What differs from a cluster of the house: room for every peer's connections, and nothing that a checkpoint or a
/// small cache would add to one peer's row and not to another's.
const SETTINGS: [&str; 4] = [
    "alter system set max_connections = 200",
    "alter system set shared_buffers = '1GB'",
    "alter system set max_wal_size = '8GB'",
    "alter system set checkpoint_timeout = '15min'",
];

/// Starts the server, lets `work` be done on it, and ends it.
pub(crate) async fn beside(work: fn(&Own) -> i32) -> i32 {
    let own = tests::Postgres::own().await;
    let mut keeper = PgConnection::connect_with(own.postgres.keeper()).await.unwrap();
    for setting in SETTINGS {
        sqlx::query(setting).execute(&mut keeper).await.unwrap();
    }
    let counts = "select exists (select from pg_available_extensions where name = 'pg_stat_statements')";
    let counts: bool = sqlx::query_scalar(counts).fetch_one(&mut keeper).await.unwrap();
    if counts {
        let load = "alter system set shared_preload_libraries = 'pg_stat_statements'";
        sqlx::query(load).execute(&mut keeper).await.unwrap();
    }
    keeper.close().await.unwrap();
    own.cluster.stop().await.unwrap();
    own.restart().await;
    if counts {
        let mut keeper = PgConnection::connect_with(own.postgres.keeper()).await.unwrap();
        sqlx::query("create extension pg_stat_statements").execute(&mut keeper).await.unwrap();
        keeper.close().await.unwrap();
    } else {
        eprintln!("peers: this server has no `pg_stat_statements`: statements are not counted");
    }
    tokio::task::block_in_place(|| work(&own))
}

/// Calls the harness, and tells how it ended.
pub(crate) fn harness(own: &Own) -> i32 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/run.py");
    let ended = Command::new("python3")
        .arg("-B")
        .arg(script)
        .env("PEERS_KEEPER_URL", own.cluster.keeper_url("postgres"))
        .env("PEERS_URL", own.postgres.url("DATABASE"))
        .env("PEERS_MILLRACE", std::env::current_exe().unwrap())
        .stdin(Stdio::null())
        .status();
    match ended {
        Ok(status) => status.code().unwrap_or(1),
        Err(error) => {
            eprintln!("peers: `python3`, which the harness is written in, cannot be started: {error}");
            1
        }
    }
}
