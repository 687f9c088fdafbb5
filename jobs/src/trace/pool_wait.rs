//! Measures how long callers wait for a connection, by what the pool itself tells.
//!
//! sqlx has no hook for it but an event of each acquisition. Taken from there, no call can be forgotten.

use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::Context;

use crate::metrics;

/// Where sqlx tells of acquisitions.
const TARGET: &str = "sqlx::pool::acquire";

/// The field with the time, in seconds.
const FIELD: &str = "acquired_after_secs";

/// Records the wait of each acquisition.
pub(super) struct PoolWait;

impl PoolWait {
    /// Lets nothing else through, so that no other event costs anything.
    pub(super) fn filter() -> FilterFn<fn(&Metadata<'_>) -> bool> {
        let ours: fn(&Metadata<'_>) -> bool = |metadata| metadata.target() == TARGET;
        filter_fn(ours).with_max_level_hint(LevelFilter::TRACE)
    }
}

impl<S: Subscriber> Layer<S> for PoolWait {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Seconds);
    }
}

struct Seconds;

impl Visit for Seconds {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == FIELD {
            metrics::db_pool_wait(Duration::try_from_secs_f64(value).unwrap_or_default());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
