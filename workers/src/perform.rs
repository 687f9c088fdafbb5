//! Runs one handler: bounded in time, stoppable, safe from its panics, its result turned into a report.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jobs::db::patience::jitter;
use jobs::payload::about;
use jobs::queue::{Ack, Attempt, StopReason};
use jobs::trace::carry;
use jobs::{Code, Error, metrics};
use rules::queue::Outcome;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::context::Context;
use crate::handle::Handled;
use crate::held::Held;
use crate::registry;
use crate::settle::{Report, Settler};

/// Runs the handler of an attempt and reports what it came to.
pub(crate) async fn perform(context: &Context, held: &Held, settler: &Settler, attempt: Attempt) {
    let span = span(&attempt);
    let began = Instant::now();
    // Both times are the database's, so that no clock of ours can make the wait negative.
    let waited = attempt.claimed_at - attempt.ready_at;
    metrics::job_queue_wait(attempt.kind, waited.to_std().unwrap_or_default());
    // What a handler does outside of the database leaves no trace there when its worker dies; this line does.
    span.in_scope(|| tracing::debug!("attempt began"));
    let outcome =
        carry(attempt.trace_parent.clone(), conduct(context, held, &attempt)).instrument(span.clone()).await;
    let ran = began.elapsed();
    held.unload(&attempt);
    let done = matches!(outcome, Some(Outcome::Done));
    let keeps = if done { held.keeps_slot(&attempt, Instant::now()) } else { None };
    match keeps {
        Some(pool) => held.keep(pool),
        None => held.through(attempt.pool),
    }
    // Its handler is through: from here on its lease may end without being lost.
    attempt.settling.set();
    // What was settled in the handler's own transaction was done.
    metrics::job_attempt(attempt.kind, outcome.as_ref().map_or("done", Outcome::as_str), ran);
    match outcome {
        Some(outcome) => {
            span.in_scope(|| log(&outcome, attempt.is_last(), ran));
            let mut report = report(&attempt, outcome, ran);
            report.ack.keeps = keeps;
            // The settler lives as long as a handler can report.
            if settler.send(report).is_err() {
                tracing::error!(job.id = %attempt.id, "a result came after the settler ended; the job will run again");
            }
        }
        // Settled in the handler's own transaction, or no longer ours to settle.
        None => {
            if held.stop_reason(attempt.id, attempt.token).is_none() {
                metrics::job_finished(attempt.kind, &Outcome::Done);
                span.in_scope(|| log(&Outcome::Done, false, ran));
            } else {
                held.astray.give_up(attempt.id, attempt.token, Instant::now());
            }
            held.release(attempt.id, attempt.token);
        }
    }
}

/// What every line of the attempt tells: the job, its trace and what its payload names. Handlers record what
/// they alone know.
fn span(attempt: &Attempt) -> Span {
    let about = about(attempt.kind, &*attempt.payload);
    tracing::info_span!(
        "job",
        job.id = %attempt.id,
        job.kind = %attempt.kind,
        job.attempt = attempt.attempt,
        trace.id = attempt.trace_id(),
        tenant.id = attempt.tenant.map(display),
        run.id = about.run.map(display),
        node.id = about.node,
        notice.id = about.notice.map(display),
        operation.id = about.operation.map(display),
        machine.id = Empty,
        host.id = about.host.map(display),
    )
}

/// What the attempt came to; none when nothing is left to acknowledge.
pub(crate) async fn conduct(context: &Context, held: &Held, attempt: &Attempt) -> Option<Outcome> {
    let timeout = attempt.policy().timeout;
    let handler = AssertUnwindSafe(registry::call(context, attempt)).catch_unwind();
    let result = tokio::select! {
        biased;
        () = attempt.cancel.cancelled() => return stopped(held, attempt),
        result = tokio::time::timeout(timeout, handler) => result,
    };
    if !matches!(&result, Ok(Ok(Err(error))) if error.code == Code::Unavailable) {
        held.absences.over(attempt.id);
    }
    match result {
        Ok(Ok(Ok(Handled::Settled))) => None,
        Ok(Ok(Ok(Handled::Outcome(outcome)))) => Some(outcome),
        Ok(Ok(Err(error))) => Some(classify(held, attempt, &error)),
        Ok(Err(panic)) => Some(retry(format!("the handler panicked: {}", panic_text(&*panic)))),
        Err(_) => Some(retry(format!("timed out after {} s", timeout.as_secs()))),
    }
}

/// The handler was told to stop, and has been: its future is dropped, its transaction rolled back.
fn stopped(held: &Held, attempt: &Attempt) -> Option<Outcome> {
    match held.stop_reason(attempt.id, attempt.token) {
        Some(StopReason::Cancelled) => Some(Outcome::Cancelled),
        Some(StopReason::Shutdown) => Some(Outcome::Released),
        Some(StopReason::LeaseLost) | None => None,
    }
}

/// What an error means for the job.
fn classify(held: &Held, attempt: &Attempt, error: &Error) -> Outcome {
    match error.code {
        // Nothing the job did: it is handed back and costs no attempt.
        Code::Unavailable => {
            let absence = held.absences.again(attempt.id, Instant::now());
            if let Some(untold) = absence.tell {
                let (after_ms, cause) = (absence.wait.as_millis() as u64, cause(error));
                tracing::warn!(%error, cause, after_ms, untold, "what a job needs does not answer; it waits and costs no attempt");
            }
            Outcome::Snooze { after: absence.wait.mul_f64(0.5 + jitter()) }
        }
        Code::Invalid | Code::NotFound | Code::Denied => Outcome::Dead { error: error.to_string() },
        Code::Conflict | Code::Exhausted => retry(error.to_string()),
        // It may be the job's own doing, as of one that asks for too much: it costs an attempt.
        Code::Interrupted => {
            tracing::warn!(%error, cause = cause(error), "the database gave the attempt up");
            retry(error.to_string())
        }
        Code::Internal => {
            tracing::error!(%error, cause = cause(error), "the handler failed");
            retry(error.to_string())
        }
    }
}

fn cause(error: &Error) -> String {
    jobs::db::innermost(error).unwrap_or_default()
}

fn retry(error: String) -> Outcome {
    Outcome::Retry { error, after: None }
}

pub(crate) fn report(attempt: &Attempt, outcome: Outcome, ran: Duration) -> Report {
    let delay = match &outcome {
        Outcome::Retry { after: Some(after), .. } | Outcome::Snooze { after } => *after,
        Outcome::Retry { after: None, .. } => attempt.policy().wait_after(attempt.attempt, jitter()),
        Outcome::Done | Outcome::Dead { .. } | Outcome::Cancelled | Outcome::Released => Duration::ZERO,
    };
    let may_die = match &outcome {
        Outcome::Dead { .. } => true,
        Outcome::Retry { .. } => attempt.is_last(),
        Outcome::Done | Outcome::Snooze { .. } | Outcome::Cancelled | Outcome::Released => false,
    };
    Report { ack: Ack { id: attempt.id, token: attempt.token, outcome, delay, ran, keeps: None }, may_die }
}

/// Tells what an attempt came to. `last` says that its job has no other.
fn log(outcome: &Outcome, last: bool, ran: Duration) {
    let ran_ms = ran.as_millis() as u64;
    match outcome {
        Outcome::Retry { error, .. } if last => {
            tracing::warn!(ran_ms, error, "the last attempt failed; the job is a dead letter")
        }
        Outcome::Retry { error, .. } => {
            tracing::warn!(ran_ms, error, "attempt failed; it will be tried again")
        }
        Outcome::Dead { error } => tracing::warn!(ran_ms, error, "attempt failed for good"),
        Outcome::Done | Outcome::Snooze { .. } | Outcome::Cancelled | Outcome::Released => {
            tracing::debug!(ran_ms, outcome = outcome.as_str(), "attempt ended");
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::tests::{attempt, held};

    #[test]
    fn what_nobody_answers_costs_no_attempt_and_what_was_given_up_does() {
        let of = |code| classify(&held(), &attempt(1), &Error::new(code, "why"));
        assert!(matches!(of(Code::Unavailable), Outcome::Snooze { .. }));
        assert_eq!(of(Code::Interrupted), retry("why".into()));
        assert_eq!(of(Code::Invalid), Outcome::Dead { error: "why".into() });
    }
}
