//! One leader by lease among any number of schedulers; loses the lease safely.
//!
//! The leader renews at a third of the lease and stops its duties before the lease can have expired,
//! reckoned by its own monotonic clock from before the last renewal was sent. What it still commits is
//! fenced by the lease's epoch, so that even a process that hung in between changes nothing.

use std::time::{Duration, Instant};

use jobs::db::patience::{Patience, about, bounded};
use jobs::db::{CALL_TIMEOUT, PgPool};
use jobs::lease::{self, Claim, SCHEDULER};
use jobs::metrics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::SchedulerConfig;
use crate::{duty, tick};

/// Leads or stands by until the shutdown.
pub(crate) async fn run(db: &PgPool, config: &SchedulerConfig, shutdown: &CancellationToken) {
    let holder = Uuid::new_v4();
    let mut patience = Patience::default();
    metrics::scheduler_leader(false);
    tracing::info!(scheduler.id = %holder, "scheduler started");
    while !shutdown.is_cancelled() {
        let asked = Instant::now();
        let wait = match bounded(call_limit(config), acquire(db, holder, config.lease)).await {
            Ok(Some(claim)) => {
                patience.reset();
                lead(db, config, &claim, asked, shutdown).await;
                // Not at once again: whoever lost the lease is the least fit to take it.
                about(renew_every(config))
            }
            Ok(None) => {
                patience.reset();
                about(renew_every(config))
            }
            Err(error) => {
                tracing::warn!(%error, "asking for the scheduler's lease failed; trying again");
                patience.next_wait()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    tracing::info!(scheduler.id = %holder, "scheduler stopped");
}

/// Does the duties for as long as the lease is ours.
async fn lead(
    db: &PgPool,
    config: &SchedulerConfig,
    claim: &Claim,
    asked: Instant,
    shutdown: &CancellationToken,
) {
    tracing::info!(scheduler.id = %claim.holder, lease.epoch = claim.epoch, "leading the schedulers");
    metrics::scheduler_leader(true);
    let duties = duty::Context::new(db.clone(), config.clone(), claim.clone());
    // Dropping the duties ends them at once: what they had open is rolled back.
    let released = tokio::select! {
        () = shutdown.cancelled() => true,
        () = keep(db, config, claim, asked) => false,
        () = tick::run(&duties) => false,
    };
    metrics::scheduler_leader(false);
    duties.resign();
    if released {
        if let Err(error) = bounded(call_limit(config), release(db, claim)).await {
            tracing::warn!(%error, "the scheduler's lease was not given back; it will expire");
        }
    } else {
        tracing::warn!(scheduler.id = %claim.holder, lease.epoch = claim.epoch, "the scheduler's lease is lost; standing by");
    }
}

/// Renews the lease until it is lost, or might be.
async fn keep(db: &PgPool, config: &SchedulerConfig, claim: &Claim, asked: Instant) {
    let mut safe_until = asked + safe(config);
    let mut patience = Patience::default();
    let mut wait = renew_every(config);
    loop {
        let left = safe_until.saturating_duration_since(Instant::now());
        if left <= wait {
            // Too late for another try that could come back in time.
            tokio::time::sleep(left).await;
            return;
        }
        tokio::time::sleep(wait).await;
        let asked = Instant::now();
        let limit = call_limit(config).min(safe_until.saturating_duration_since(asked));
        match bounded(limit, renew(db, claim, config.lease)).await {
            Ok(true) => {
                safe_until = asked + safe(config);
                patience.reset();
                wait = renew_every(config);
            }
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "renewing the scheduler's lease failed; trying again");
                wait = patience.next_wait().min(renew_every(config));
            }
        }
    }
}

/// How often the lease is renewed, and looked at by those who wait for it.
fn renew_every(config: &SchedulerConfig) -> Duration {
    config.lease / 3
}

/// How long after a renewal was sent the lease is ours beyond doubt. The rest of it is for clocks that run
/// at different speeds.
fn safe(config: &SchedulerConfig) -> Duration {
    config.lease.mul_f64(0.9)
}

fn call_limit(config: &SchedulerConfig) -> Duration {
    CALL_TIMEOUT.min(config.lease / 3)
}

async fn acquire(db: &PgPool, holder: Uuid, ttl: Duration) -> jobs::Result<Option<Claim>> {
    lease::acquire(&mut *db.acquire().await?, SCHEDULER, holder, ttl).await
}

async fn renew(db: &PgPool, claim: &Claim, ttl: Duration) -> jobs::Result<bool> {
    lease::renew(&mut *db.acquire().await?, claim, ttl).await
}

async fn release(db: &PgPool, claim: &Claim) -> jobs::Result<()> {
    lease::release(&mut *db.acquire().await?, claim).await
}
