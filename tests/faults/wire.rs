//! Faults of the lines between workers and Postgres: cut, dead on one side, slow.

use std::time::Duration;

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
pub(crate) async fn cut(stage: &mut Stage<'_>) {
    for _ in 0..stage.form.pick(10, 60) {
        proxy(stage).cut();
        tokio::time::sleep(CUT_EVERY).await;
    }
    proxy(stage).cut();
    stage.recovers().await;
}

/// Lets the server see that its clients are gone, and the clients hear nothing: for a moment, and for longer than
/// any call waits, and than a lease lasts.
pub(crate) async fn half_open(stage: &mut Stage<'_>) {
    for lasts in stage.form.pick(&[0][..], &[0, 15, 40]) {
        proxy(stage).set(Mode::HalfOpen);
        tokio::time::sleep(Duration::from_secs(*lasts) + CUT_EVERY).await;
        proxy(stage).set(Mode::Open);
        stage.recovers().await;
    }
}

/// Makes every statement slow, for longer than two leases: a slow line must not look like a dead worker.
pub(crate) async fn slow(stage: &mut Stage<'_>) {
    proxy(stage).set(Mode::Slow(SLOW_BY));
    tokio::time::sleep(stage.form.pick(Duration::from_secs(4), Duration::from_secs(70))).await;
    proxy(stage).set(Mode::Open);
    stage.recovers().await;
}
