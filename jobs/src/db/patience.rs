//! Waits out faults of the database: bounded calls, and waits that grow, stay capped and never keep step.

use std::time::{Duration, Instant};

use super::trust::{answered, waited_in_vain};
use crate::{Code, Error, Result};

/// The first wait after a fault.
const FIRST: Duration = Duration::from_millis(50);

/// The longest wait after a fault: how late a loop may notice that Postgres is back.
const LONGEST: Duration = Duration::from_secs(1);

/// Grows the wait between tries.
#[derive(Debug, Default)]
pub struct Patience {
    faults: u32,
}

impl Patience {
    /// All is well again.
    pub fn reset(&mut self) {
        self.faults = 0;
    }

    /// The wait after one more fault in a row: between half and all of a bound that doubles up to one
    /// second.
    pub fn next_wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.faults.min(10)).min(LONGEST);
        self.faults = self.faults.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * jitter())
    }
}

/// A number in `0.0..1.0`.
pub fn jitter() -> f64 {
    rand::random::<f64>()
}

/// About this long, a quarter more or less, so that processes started together do not stay in step.
pub fn about(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.5 * jitter())
}

/// Ends a call that takes too long: a server that hangs must not hang us. Where it answered nobody since the call
/// began, what was connected by then is not used again.
///
/// # Errors
/// Those of the call; Unavailable when it did not end within the limit.
pub async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut call = std::pin::pin!(call);
    let began = Instant::now();
    match tokio::time::timeout(limit, &mut call).await {
        Ok(result) => {
            if !result.as_ref().is_err_and(|error| error.code == Code::Unavailable) {
                answered();
            }
            result
        }
        Err(_) => {
            waited_in_vain(began);
            Err(Error::new(Code::Unavailable, "the database did not answer in time"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_never_zero() {
        let mut patience = Patience::default();
        for _ in 0..100 {
            let wait = patience.next_wait();
            assert!(wait >= FIRST / 2 && wait <= LONGEST, "{wait:?}");
        }
        assert!(patience.next_wait() >= LONGEST / 2);
        patience.reset();
        assert!(patience.next_wait() <= FIRST);
        let spread = about(Duration::from_secs(4));
        assert!(spread >= Duration::from_secs(3) && spread <= Duration::from_secs(5));
    }
}
