//! Waits out faults of the database: capped, jittered, for ever or until told to stop.

use std::time::Duration;

/// The first wait after a fault.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait: how late a loop may notice that Postgres is back.
const LONGEST: Duration = Duration::from_secs(2);

/// Grows the wait between tries.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// All is well again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * jitter())
    }
}

/// A number in `0.0..1.0`.
pub(crate) fn jitter() -> f64 {
    rand::random::<f64>()
}

/// Runs one call with the bound that every call to the database has.
pub(crate) async fn bounded<T>(call: impl Future<Output = jobs::Result<T>>) -> jobs::Result<T> {
    match tokio::time::timeout(jobs::db::CALL_TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => Err(jobs::Error::new(jobs::Code::Unavailable, "the database did not answer in time")),
    }
}
