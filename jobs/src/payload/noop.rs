//! The job that does nothing: for benchmarks, and for a look at the queue itself.

use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Does nothing, in one of several ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noop {
    /// For how long, in milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
    /// Acknowledges itself in a transaction of its own, as a handler with database effects does.
    #[serde(default)]
    pub settles: bool,
    /// Fails with this error instead of succeeding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail: Option<String>,
    /// How long to wait before the next attempt, in milliseconds, in place of the kind's back-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Anything: ballast, or a mark to find it by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Job for Noop {
    const KIND: Kind = Kind::Noop;

    fn about(&self) -> About {
        About::default()
    }
}
