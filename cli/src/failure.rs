//! Tells how a command failed, and turns that into an exit code.

use std::io::Write;
use std::process::ExitCode;

use jobs::config::Faults;
use jobs::{Code, Error, Listing};
use serde_json::json;

/// The exit code for wrong arguments, which clap uses too, and wrong configuration.
const MISCONFIGURED: u8 = 2;

/// Tells a failure on standard error, as `{"error":{"code","message"}}` for programs.
pub(crate) fn tell(error: &anyhow::Error, json: bool) -> ExitCode {
    let (message, cause) = (message(error), cause(error));
    if json {
        let whole = cause.map_or_else(|| message.clone(), |cause| format!("{message}: {cause}"));
        write(&format!("{}\n", json!({ "error": { "code": code(error), "message": whole } })));
    } else {
        let because = cause.map(|cause| format!("  because: {cause}\n")).unwrap_or_default();
        write(&format!("millrace: {message}\n{because}"));
    }
    let asked_wrong = error.downcast_ref::<Error>().is_some_and(|error| error.code == Code::Invalid);
    if asked_wrong || error.is::<Faults>() { ExitCode::from(MISCONFIGURED) } else { ExitCode::FAILURE }
}

/// Tells what clap says: of wrong arguments, or the help that was asked for.
pub(crate) fn tell_usage(said: &clap::Error) -> ExitCode {
    let asked_for_json = std::env::args_os().any(|argument| argument == "--json");
    if said.use_stderr() && asked_for_json {
        let message = said.render().to_string();
        write(&format!(
            "{}\n",
            json!({ "error": { "code": "BAD_ARGUMENTS", "message": message.trim_end() } })
        ));
    } else {
        // Whether it can be read by anybody is all that can fail here.
        said.print().unwrap_or_default();
    }
    if said.use_stderr() { ExitCode::from(MISCONFIGURED) } else { ExitCode::SUCCESS }
}

/// Writes to standard error. That nobody reads it any more changes nothing about the exit code.
pub(crate) fn write(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// The closed set of codes: those of the API, and what only a command can get wrong.
fn code(error: &anyhow::Error) -> &'static str {
    if error.is::<Faults>() {
        return "BAD_CONFIGURATION";
    }
    match error.downcast_ref::<Error>().map(|error| error.code) {
        Some(Code::NotFound) => "NOT_FOUND",
        Some(Code::Invalid) => "BAD_USER_INPUT",
        Some(Code::Conflict) => "CONFLICT",
        Some(Code::Denied) => "FORBIDDEN",
        Some(Code::Exhausted) => "RATE_LIMITED",
        Some(Code::Unavailable | Code::Interrupted) => "UNAVAILABLE",
        Some(Code::Internal) => "INTERNAL",
        None => "FAILED",
    }
}

/// The message, which for a fault of ours must not send an operator to the log of a server: the cause is
/// told here.
fn message(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Error>() {
        Some(internal) if internal.code == Code::Internal && cause(error).is_some() => {
            "internal error, of millrace or of the database".to_owned()
        }
        Some(error) => told(error),
        None => error.to_string(),
    }
}

/// What an operator reads of an error, with the command that lists what does exist.
pub(crate) fn told(error: &Error) -> String {
    let command = match error.listing() {
        // What only the API lists.
        None
        | Some(
            Listing::Workflows | Listing::Runs | Listing::Listeners | Listing::Notices | Listing::Departments,
        ) => return error.to_string(),
        Some(Listing::Jobs) => "job list",
        Some(Listing::DeadLetters) => "dlq list",
        Some(Listing::Queues) => "queue list",
        Some(Listing::Hosts) => "host list",
        Some(Listing::Machines) => "machine list",
        Some(Listing::Schedules) => "schedule list",
    };
    format!("{error}; `millrace {command}` shows those there are")
}

/// The innermost cause, where it says more than the message: an operator has no other log of this
/// command. A database's own words hold no secret of ours.
fn cause(error: &anyhow::Error) -> Option<String> {
    let said = error.to_string();
    jobs::db::innermost(error.as_ref()).filter(|cause| !said.contains(cause.as_str()))
}
