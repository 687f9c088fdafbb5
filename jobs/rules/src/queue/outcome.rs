//! What an attempt came to, and the code by which the acknowledgement knows it.

use std::time::Duration;

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Done,
    /// It failed and may succeed later. Counts as an attempt; without one left, the job is dead.
    Retry {
        /// What went wrong, for the people who look; never a secret.
        error: String,
        /// When to try again; the policy's back-off when not given.
        after: Option<Duration>,
    },
    /// It failed and can never succeed.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// It asks to be called again later. Not an attempt.
    Snooze {
        /// How much later.
        after: Duration,
    },
    /// It stopped because somebody cancelled it.
    Cancelled,
    /// It was handed back before it began. Not an attempt.
    Released,
}

impl Outcome {
    /// The code in `job_ack_v2` and in the history.
    pub const fn code(&self) -> i16 {
        match self {
            Self::Done => 0,
            Self::Retry { .. } => 1,
            Self::Dead { .. } => 2,
            Self::Snooze { .. } => 3,
            Self::Cancelled => 4,
            Self::Released => 5,
        }
    }

    /// The name in metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Dead { .. } => "dead",
            Self::Snooze { .. } => "snooze",
            Self::Cancelled => "cancelled",
            Self::Released => "released",
        }
    }
}
