//! Tells what happened and when.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::table::say;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The clock of the story.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    began: Instant,
}

impl Timeline {
    pub(super) fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Opens a part of the story.
    pub(super) fn part(&self, title: &str) {
        say(format!("\n{title}"));
    }

    /// Tells one thing that is now known to be true.
    pub(super) fn tell(&self, what: impl AsRef<str>) {
        say(format!("  {:>7.3} s  {}", self.began.elapsed().as_secs_f64(), what.as_ref()));
    }

    /// Waits until there is a value.
    ///
    /// # Errors
    /// When there is none within the limit: the story is untrue.
    pub(super) async fn until<C, F, T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: C,
    ) -> anyhow::Result<T>
    where
        C: FnMut() -> F,
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = condition().await? {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                bail!("untrue: {what} (waited {} s)", limit.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
