//! The clock: decides when schedules fire and upkeep happens, and only ever enqueues or tidies.
//!
//! Any number of schedulers may run; the one that holds the lease leads and does the duties, the others
//! wait to take over. No job that was accepted depends on one: jobs fall due and are rescued by the
//! workers themselves, so that without any scheduler upkeep and schedules are late and work is not.

pub mod config;
mod duty;
mod leader;
mod tick;

use jobs::db::PgPool;
use tokio_util::sync::CancellationToken;

pub use config::SchedulerConfig;

/// Leads or stands by until the shutdown, then gives the lease back.
///
/// # Errors
/// None while running: faults of the database are waited out. Kept for what a later start may refuse.
pub async fn run(db: PgPool, config: SchedulerConfig, shutdown: CancellationToken) -> jobs::Result<()> {
    leader::run(&db, &config, &shutdown).await;
    Ok(())
}
