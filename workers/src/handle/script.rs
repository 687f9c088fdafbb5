//! Runs scripts for the handlers: counted under one vocabulary, and handed back when the machine cannot.

use std::time::Instant;

use jobs::{Code, Error, Result, metrics};
use script::ScriptError;

/// Runs a script and counts what it came to.
///
/// # Errors
/// Unavailable when the machine has no thread for it: that is not the script's fault, and another worker
/// may have one.
pub(super) fn counted<T>(
    run: impl FnOnce() -> std::result::Result<T, ScriptError>,
) -> Result<std::result::Result<T, ScriptError>> {
    let began = Instant::now();
    let result = run();
    metrics::script_ran(result.as_ref().map_or_else(ScriptError::as_str, |_| "ok"), began.elapsed());
    match result {
        Err(error @ ScriptError::NoThread) => Err(Error::new(Code::Unavailable, error.to_string())),
        ran => Ok(ran),
    }
}
