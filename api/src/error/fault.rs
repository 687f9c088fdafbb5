//! The faults: why a request is refused, in words for its client.

use std::fmt;
use std::sync::Arc;

use axum::http::StatusCode;
use jobs::{Error, Listing};
use rules::access::{BadEmail, BadGrant, BadName, Denied};

use super::code::ErrorCode;
use super::record::{cause_of, record};

/// When to come back to what cannot be had now, in seconds: a restart of Postgres is over by then, as a rule.
const UNAVAILABLE_RETRY_S: i64 = 5;

/// Why a request is refused. Its `Display` is what the client reads.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The document is no GraphQL.
    Parse(String),
    /// The document does not fit the schema, or the request is not formed as GraphQL over HTTP asks.
    Validation(String),
    /// A document that is not known, where it should be.
    NotPersisted(&'static str),
    /// An argument is wrong.
    BadInput(String),
    /// Several things are wrong with an input; each is told with its place.
    BadInputs(String, Vec<InputFault>),
    /// Credentials were shown and are no good.
    BadCredentials(String),
    /// Allowed or not.
    Denied(Denied),
    /// Too many of what is named; come back after this many seconds.
    RateLimited(&'static str, i64),
    /// The request under this idempotency key is under way, for so many more seconds at most.
    KeyBusy(i64),
    /// Something else was asked under this idempotency key.
    KeyTaken,
    /// The selection is nested too deeply.
    TooDeep(String),
    /// The operation asks for too much.
    TooComplex(String),
    /// It took too long.
    TimedOut,
    /// What the rooms below say.
    House(Arc<Error>),
}

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputFault {
    /// The node of the workflow, where it is one's.
    pub(crate) node: Option<String>,
    /// The edge of the workflow, where it is one's.
    pub(crate) edge: Option<String>,
    /// The field.
    pub(crate) field: String,
    /// Which kind of fault it is, where the domain tells kinds apart.
    pub(crate) reason: Option<&'static str>,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl InputFault {
    /// A fault of a field of an input that is no workflow.
    pub(crate) fn of(field: &str, reason: Option<&'static str>, message: String) -> Self {
        Self { node: None, edge: None, field: field.to_owned(), reason, message }
    }
}

/// A fault that is told beside others.
pub(crate) struct Told {
    /// As in `extensions.code`.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) message: String,
    /// Under which it is recorded.
    pub(crate) id: String,
}

impl Fault {
    /// Its code.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Parse(_) => ErrorCode::ParseFailed,
            Self::Validation(_) => ErrorCode::ValidationFailed,
            Self::NotPersisted(_) => ErrorCode::PersistedQueryNotFound,
            Self::BadInput(_) | Self::BadInputs(..) => ErrorCode::BadUserInput,
            Self::BadCredentials(_) => ErrorCode::Unauthenticated,
            Self::Denied(Denied::Anonymous) => ErrorCode::Unauthenticated,
            Self::Denied(Denied::Stranger) => ErrorCode::NotFound,
            Self::Denied(
                Denied::TenantDisabled
                | Denied::NeedsPermission(_)
                | Denied::SwitchedOff(_)
                | Denied::NeedsRole(_)
                | Denied::Unlisted
                | Denied::KeyConfined,
            ) => ErrorCode::Forbidden,
            Self::RateLimited(..) => ErrorCode::RateLimited,
            Self::KeyBusy(_) => ErrorCode::Conflict,
            Self::KeyTaken => ErrorCode::IdempotencyMismatch,
            Self::TooDeep(_) => ErrorCode::QueryTooDeep,
            Self::TooComplex(_) => ErrorCode::QueryTooComplex,
            Self::TimedOut => ErrorCode::TimedOut,
            Self::House(error) => ErrorCode::of_house(error.code),
        }
    }

    /// The name of its code, as clients read it.
    pub(crate) fn code_name(&self) -> &'static str {
        self.code().as_str()
    }

    /// The HTTP status of a request that this fault ended before any field was resolved.
    pub(crate) fn status(&self) -> StatusCode {
        self.code().status()
    }

    /// What the log is told of it and the client is not.
    pub(super) fn cause(&self) -> String {
        if let Self::House(error) = self { cause_of(error) } else { String::new() }
    }

    /// When to come back, in seconds, if nothing else is wrong than the time.
    pub(crate) fn retry_after_s(&self) -> Option<i64> {
        match self {
            Self::RateLimited(_, after_s) | Self::KeyBusy(after_s) => Some(*after_s),
            _ => matches!(self.code(), ErrorCode::Unavailable | ErrorCode::TimedOut)
                .then_some(UNAVAILABLE_RETRY_S),
        }
    }

    /// This fault for an answer that tells of several things at once. It is recorded by that.
    pub(crate) fn told(&self) -> Told {
        let code = self.code();
        let id = record(code, self, &self.cause());
        Told { code: code.as_str(), message: self.to_string(), id: id.to_string() }
    }
}

/// What the client reads of an error of the rooms below, with the query that lists what does exist.
pub(super) fn told(error: &Error) -> String {
    let remedy = match error.listing() {
        None => return error.to_string(),
        Some(Listing::Jobs) => "`jobs` lists those there are",
        Some(Listing::DeadLetters) => "`deadLetters` lists those there are",
        Some(Listing::Queues) => "`queues` lists those there are",
        Some(Listing::Hosts) => "who operates the installation sees those there are in `hosts`",
        Some(Listing::Machines) => "`machines` lists those there are",
        Some(Listing::Workflows) => "`workflows` lists those there are",
        Some(Listing::Runs) => "`runs` lists those there are",
        Some(Listing::Listeners) => "`listeners` lists those there are",
        Some(Listing::Notices) => "`notices` lists those there are",
        Some(Listing::Schedules) => "`schedules` lists those there are",
        Some(Listing::Departments) => "`departments` lists those there are",
    };
    format!("{error}; {remedy}")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(text)
            | Self::Validation(text)
            | Self::BadInput(text)
            | Self::BadInputs(text, _)
            | Self::BadCredentials(text)
            | Self::TooDeep(text)
            | Self::TooComplex(text) => f.write_str(text),
            Self::NotPersisted(text) => f.write_str(text),
            Self::Denied(denied) => denied.fmt(f),
            Self::RateLimited(what, after_s) => write!(f, "too many {what}; try again in {after_s} s"),
            Self::KeyBusy(after_s) => write!(
                f,
                "a request with this idempotency key is under way; send it again later, in {after_s} s at the latest"
            ),
            Self::KeyTaken => f.write_str(
                "this idempotency key was used for another request; send that one again as it was, or this one with a key of its own",
            ),
            Self::TimedOut => f.write_str("the request took too long and was given up; try again"),
            Self::House(error) => f.write_str(&told(error)),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::House(Arc::new(error))
    }
}

impl From<Arc<Error>> for Fault {
    fn from(error: Arc<Error>) -> Self {
        Self::House(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<BadEmail> for Fault {
    fn from(bad: BadEmail) -> Self {
        Self::BadInput(bad.to_string())
    }
}

impl From<BadGrant> for Fault {
    fn from(bad: BadGrant) -> Self {
        Self::BadInput(bad.to_string())
    }
}

impl From<BadName> for Fault {
    fn from(bad: BadName) -> Self {
        Self::BadInput(bad.to_string())
    }
}
