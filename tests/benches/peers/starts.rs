//! When each job's handler begins in this process, learnt from the span that a worker opens around it.

use std::fmt::Debug;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::verbs::now_us;

/// The jobs that began and when, in microseconds of the monotonic clock.
static BEGAN: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// Notes the span of every attempt and nothing else.
pub(crate) struct Spans;

/// Takes what began since it was taken last.
pub(crate) fn take() -> Vec<(u64, u64)> {
    std::mem::take(&mut *BEGAN.lock().unwrap())
}

/// How many began since they were taken.
pub(crate) fn count() -> u64 {
    u64::try_from(BEGAN.lock().unwrap().len()).unwrap()
}

#[derive(Default)]
struct JobId(Option<u64>);

impl Visit for JobId {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "job.id" {
            self.0 = format!("{value:?}").parse().ok();
        }
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == "job" && metadata.target().starts_with("workers")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut job = JobId::default();
        span.record(&mut job);
        if let Some(job) = job.0 {
            BEGAN.lock().unwrap().push((job, now_us()));
        }
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
