//! Carries the trace of what is under way to the jobs that it enqueues.

use std::future::Future;

tokio::task_local! {
    static CARRIED: Option<String>;
}

/// Does the work within a trace: every job that its task enqueues is of this W3C `traceparent`, unless told
/// otherwise. Tasks and threads that the work starts do not carry it.
pub async fn carry<W: Future>(trace_parent: Option<String>, work: W) -> W::Output {
    CARRIED.scope(trace_parent, work).await
}

/// The `traceparent` of what is under way in this task.
pub fn carried() -> Option<String> {
    CARRIED.try_with(Clone::clone).unwrap_or_default()
}
