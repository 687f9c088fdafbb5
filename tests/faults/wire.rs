//! Faults of the lines between workers and Postgres: cut, dead on one side, slow.

use std::time::{Duration, Instant};

use tests::{Mode, Proxy};

use crate::stage::Stage;

/// The time between two cuts.
const CUT_EVERY: Duration = Duration::from_millis(300);

/// By how much a slow line delays each statement.
const SLOW_BY: Duration = Duration::from_millis(200);

fn proxy<'a>(stage: &'a Stage<'_>) -> &'a Proxy {
    stage.proxy.as_ref().expect("a stage with lines")
}

/// Cuts all lines again and again.
pub(crate) async fn cut(stage: &mut Stage<'_>) -> Instant {
    for _ in 0..stage.form.pick(10, 60) {
        proxy(stage).cut();
        tokio::time::sleep(CUT_EVERY).await;
    }
    proxy(stage).cut();
    Instant::now()
}

/// Lets the server see that its clients are gone, and the clients hear nothing, for longer than a lease.
pub(crate) async fn half_open(stage: &mut Stage<'_>) -> Instant {
    for lasts_s in stage.form.pick(&[1][..], &[1, 15, 40]) {
        proxy(stage).set(Mode::HalfOpen);
        tokio::time::sleep(Duration::from_secs(*lasts_s)).await;
        proxy(stage).set(Mode::Open);
        if stage.form == crate::stage::Form::Whole && *lasts_s < 40 {
            stage.goes_on().await;
        }
    }
    Instant::now()
}

/// Makes every statement slow, for longer than two leases: a slow line must not look like a dead worker.
pub(crate) async fn slow(stage: &mut Stage<'_>) -> Instant {
    proxy(stage).set(Mode::Slow(SLOW_BY));
    tokio::time::sleep(stage.form.pick(Duration::from_secs(4), Duration::from_secs(70))).await;
    proxy(stage).set(Mode::Open);
    Instant::now()
}
