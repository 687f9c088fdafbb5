//! How often a kind is tried, how long it may take and how long it waits between tries.

use std::time::Duration;

use super::Kind;

/// How long a lease lasts without renewal, in milliseconds. A dead worker's jobs wait this long.
pub const LEASE_MS: i32 = 30_000;

/// How often a worker renews its leases, in milliseconds: two renewals may fail before one is lost.
pub const RENEW_EVERY_MS: u64 = 10_000;

/// Under how many dying workers a job is taken for poison.
pub const MAX_CRASHES: i32 = 5;

/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);

/// What a kind of job is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many attempts may end in an error before the job is dead. At least 1.
    pub max_attempts: u16,
    /// How long one attempt may run.
    pub timeout: Duration,
    /// The wait after the first failed attempt; it doubles with each further one.
    pub backoff: Duration,
}

impl Policy {
    /// The policy of a kind.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            // A node's own retries are the engine's; these attempts are for faults of ours.
            Kind::RunNode => Self::new(10, 330, 1_000),
            Kind::RunAdvance | Kind::RunWake => Self::new(20, 30, 500),
            Kind::ListenerEvent | Kind::ListenerAction => Self::new(3, 30, 1_000),
            // What is wrong with the firing itself is its schedule's to retry; these attempts are for faults of ours.
            Kind::ScheduleFire => Self::new(20, 30, 500),
            Kind::AuditFlush => Self::new(20, 30, 1_000),
            // Longer than all that a host may take (`machine::Errand`); one that waits for its guest leaves
            // and comes back.
            Kind::MachineOperate => Self::new(10, 900, 1_000),
            Kind::HostReconcile => Self::new(2, 180, 1_000),
            Kind::HealthCheck => Self::new(3, 60, 5_000),
            // It comes back after each shift of its work; these attempts are for what is undone, and for faults of ours.
            Kind::LetterSweep => Self::new(20, 120, 1_000),
            Kind::Noop => Self::new(3, 30, 1_000),
        }
    }

    const fn new(max_attempts: u16, timeout_s: u64, backoff_ms: u64) -> Self {
        Self {
            max_attempts,
            timeout: Duration::from_secs(timeout_s),
            backoff: Duration::from_millis(backoff_ms),
        }
    }

    /// The wait after failed attempt number `attempt` (1 is the first): the base doubled each time,
    /// capped at 15 minutes, then between half and all of that by `jitter` in `0.0..1.0`, so that jobs
    /// which failed together do not come back together.
    pub fn wait_after(&self, attempt: u16, jitter: f64) -> Duration {
        let doublings = u32::from(attempt.saturating_sub(1)).min(31);
        let full = self.backoff.saturating_mul(1 << doublings).min(MAX_BACKOFF);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_stay_capped_and_jitter_by_half(attempt in 1u16..u16::MAX, jitter in 0.0f64..1.0) {
            let policy = Policy::of(Kind::ListenerEvent);
            let wait = policy.wait_after(attempt, jitter);
            prop_assert!(wait <= MAX_BACKOFF);
            prop_assert!(wait >= policy.wait_after(attempt, 0.0));
            prop_assert!(wait <= policy.wait_after(attempt, 1.0));
            prop_assert!(policy.wait_after(attempt, 0.0) * 2 >= policy.wait_after(attempt, 1.0));
            prop_assert!(policy.wait_after(attempt.saturating_add(1), jitter) >= wait);
        }
    }

    #[test]
    fn the_first_wait_is_the_base() {
        assert_eq!(Policy::of(Kind::ListenerEvent).wait_after(1, 1.0), Duration::from_secs(1));
        assert_eq!(Policy::of(Kind::ListenerEvent).wait_after(2, 1.0), Duration::from_secs(2));
    }
}
