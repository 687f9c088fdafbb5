//! Records an error once, in the log and among the figures, under an id that its client reads.

use std::fmt;

use jobs::Error;
use uuid::Uuid;

use super::code::{ErrorCode, Severity};

/// Records an error and draws its id. `told` and `cause` are written for faults that are not the client's; of the
/// others nothing but the code, for their words may hold what the client sent.
pub(super) fn record(code: ErrorCode, told: &dyn fmt::Display, cause: &str) -> Uuid {
    let id = Uuid::now_v7();
    let severity = code.severity();
    let (name, weight) = (code.as_str(), severity.as_str());
    match severity {
        Severity::Critical | Severity::High => {
            tracing::error!(error.id = %id, error.code = name, error.severity = weight, error = %told, error.cause = cause, "a request failed");
        }
        Severity::Medium | Severity::Low => {
            tracing::info!(error.id = %id, error.code = name, error.severity = weight, "a request was refused");
        }
    }
    jobs::metrics::error(name, weight);
    id
}

/// What an error of the rooms below says to the log alone.
pub(super) fn cause_of(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}
