//! Bounds each call and spreads the waits between them.

use std::time::Duration;

use jobs::{Code, Error, Result};

/// The first wait after a fault.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait after a fault: how late the return of Postgres may be noticed.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait after this many faults in a row; the first is 1.
pub(crate) fn after_fault(faults: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << faults.saturating_sub(1).min(10)).min(LONGEST);
    full.mul_f64(0.5 + 0.5 * rand::random::<f64>())
}

/// About this long, so that processes started together do not stay in step.
pub(crate) fn about(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.5 * rand::random::<f64>())
}

/// Ends a call that takes too long: a server that hangs must not hang us.
pub(crate) async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(Code::Unavailable, "the database did not answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_never_zero() {
        for faults in 0..100 {
            let wait = after_fault(faults);
            assert!(wait >= FIRST / 2 && wait <= LONGEST, "{faults}: {wait:?}");
        }
        assert!(after_fault(40) >= LONGEST / 2);
        let spread = about(Duration::from_secs(4));
        assert!(spread >= Duration::from_secs(3) && spread <= Duration::from_secs(5));
    }
}
