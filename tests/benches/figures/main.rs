//! Measures the queue and the engine on a durable private Postgres, beside a pgbench baseline of the
//! same run. Prints the tables that `docs/BENCHMARKS.md` keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports by printing, and a fault ends it"
)]

mod baseline;
mod chain;
mod cost;
mod crowd;
mod drain;
mod enqueue;
mod held;
mod idle;
mod live;
mod machines;
mod many;
mod memory;
mod pickup;
#[cfg(feature = "libvirt")]
mod pipeline;
mod recovery;
mod settings;

use tests::{Database, Postgres};

/// Every measured part, in order. A word on the command line picks those whose name holds it.
const PARTS: [&str; 14] = [
    "baseline",
    "idle",
    "enqueue",
    "crowd",
    "drain",
    "pickup",
    "chain",
    "memory",
    "many",
    "held",
    "machines",
    "machines-pipeline",
    "live",
    "recovery",
];

/// Counts what each thread holds, by which scripts are bounded, as in the executable.
#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

fn main() {
    let picked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| picked.is_empty() || picked.iter().any(|p| part.contains(p.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let own = Postgres::own().await;
        let database = Database::on(&own.postgres).await;
        settings::print(&database).await;
        let limits = baseline::measure(&database).await;
        for part in PARTS.into_iter().filter(|p| wanted(p)) {
            match part {
                "baseline" => limits.print(),
                "enqueue" => enqueue::measure(&database, &limits).await,
                "drain" => drain::measure(&database, &limits).await,
                "crowd" => crowd::measure(&database, &limits).await,
                "many" => many::measure(&database).await,
                "held" => held::measure(&database).await,
                "idle" => idle::measure(&database).await,
                "pickup" => pickup::measure(&database).await,
                "chain" => chain::measure(&database).await,
                "memory" => memory::measure(&database).await,
                "machines" => machines::measure(&database).await,
                #[cfg(feature = "libvirt")]
                "machines-pipeline" => pipeline::measure(&database).await,
                #[cfg(not(feature = "libvirt"))]
                "machines-pipeline" => println!("Machines: not measured, for this build knows no libvirt.\n"),
                "live" => live::measure(&database).await,
                // Last, for it kills the server under them all.
                "recovery" => recovery::measure(&own).await,
                other => unreachable!("`{other}` is no part"),
            }
        }
    });
}
