//! Waits on conditions, never on time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take before the test fails, unless it says otherwise; generous, because
/// two cores may run several suites at once.
pub const LIMIT: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub async fn until<C, F>(what: &str, condition: C)
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    until_within(LIMIT, what, condition).await;
}

/// Waits until the condition holds, at most `limit` long.
///
/// # Panics
/// After `limit`, naming `what`.
pub async fn until_within<C, F>(limit: Duration, what: &str, mut condition: C)
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    value_within(limit, what, || {
        let held = condition();
        async move { held.await.then_some(()) }
    })
    .await;
}

/// Waits until there is a value and returns it.
///
/// # Panics
/// After [`LIMIT`], naming `what`.
pub async fn value<C, F, T>(what: &str, condition: C) -> T
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    value_within(LIMIT, what, condition).await
}

/// Waits until there is a value, at most `limit` long, and returns it.
///
/// # Panics
/// After `limit`, naming `what`.
pub async fn value_within<C, F, T>(limit: Duration, what: &str, mut condition: C) -> T
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`until_within`], for conditions outside any runtime.
///
/// # Panics
/// After `limit`, naming `what`.
pub fn until_blocking(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
