//! The only place where an error becomes a GraphQL code or an HTTP status.

use std::fmt;

use async_graphql::{ErrorExtensionValues, ServerError};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use jobs::{Error, Listing};
use rules::access::{BadEmail, BadGrant, BadName, Denied};
use serde_json::json;

use crate::graphql::reword;

/// When to come back to what cannot be had now, in seconds: a restart of Postgres is over by then, as a rule.
const UNAVAILABLE_RETRY_S: i64 = 5;

/// Why a request is refused. Its `Display` is what the client reads.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The document is no GraphQL.
    Parse(String),
    /// The document does not fit the schema, or the request is not formed as GraphQL over HTTP asks.
    Validation(String),
    /// An argument is wrong.
    BadInput(String),
    /// Several things are wrong with an input; each is told with its place.
    BadInputs(String, Vec<InputFault>),
    /// Credentials were shown and are no good.
    BadCredentials(String),
    /// Allowed or not.
    Denied(Denied),
    /// Too often; come back after this many seconds.
    RateLimited(i64),
    /// The selection is nested too deeply.
    TooDeep(String),
    /// The operation asks for too much.
    TooComplex(String),
    /// It took too long.
    TimedOut,
    /// What the rooms below say.
    House(Error),
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

/// The closed set of codes in `extensions.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorCode {
    ParseFailed,
    ValidationFailed,
    BadUserInput,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    RateLimited,
    QueryTooDeep,
    QueryTooComplex,
    Unavailable,
    Internal,
}

impl ErrorCode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::RateLimited => "RATE_LIMITED",
            Self::QueryTooDeep => "QUERY_TOO_DEEP",
            Self::QueryTooComplex => "QUERY_TOO_COMPLEX",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }
}

impl Fault {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Parse(_) => ErrorCode::ParseFailed,
            Self::Validation(_) => ErrorCode::ValidationFailed,
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
            Self::RateLimited(_) => ErrorCode::RateLimited,
            Self::TooDeep(_) => ErrorCode::QueryTooDeep,
            Self::TooComplex(_) => ErrorCode::QueryTooComplex,
            Self::TimedOut => ErrorCode::Unavailable,
            Self::House(error) => house_code(error),
        }
    }

    /// The HTTP status of a request that this fault ended before any field was resolved.
    pub(crate) fn status(&self) -> StatusCode {
        match self.code() {
            ErrorCode::ParseFailed
            | ErrorCode::ValidationFailed
            | ErrorCode::BadUserInput
            | ErrorCode::QueryTooDeep
            | ErrorCode::QueryTooComplex => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to come back, in seconds, if nothing else is wrong than the time.
    pub(crate) fn retry_after_s(&self) -> Option<i64> {
        match self {
            Self::RateLimited(after_s) => Some(*after_s),
            _ => (self.code() == ErrorCode::Unavailable).then_some(UNAVAILABLE_RETRY_S),
        }
    }

    /// Its code and its words, for an answer that tells of several things at once; the log is told what the client
    /// is not.
    pub(crate) fn told(&self) -> (&'static str, String) {
        if let Self::House(house) = self {
            log(house);
        }
        (self.code().as_str(), self.to_string())
    }

    /// This fault as the single error of a GraphQL answer without data.
    pub(crate) fn into_server_error(self) -> ServerError {
        let error: async_graphql::Error = self.into();
        let mut error = error.into_server_error(async_graphql::Pos::default());
        error.locations.clear();
        dress(error)
    }
}

/// What the client reads of an error of the rooms below, with the query that lists what does exist.
fn told(error: &Error) -> String {
    let remedy = match error.listing() {
        None => return error.to_string(),
        Some(Listing::Jobs) => "`jobs` lists those there are",
        Some(Listing::DeadLetters) => "`deadLetters` lists those there are",
        Some(Listing::Queues) => "`queues` lists those there are",
        Some(Listing::Hosts) => "who operates the installation sees those there are in `hosts`",
        Some(Listing::Machines) => "`machines` lists those there are",
    };
    format!("{error}; {remedy}")
}

fn house_code(error: &Error) -> ErrorCode {
    match error.code {
        jobs::Code::NotFound => ErrorCode::NotFound,
        jobs::Code::Invalid => ErrorCode::BadUserInput,
        jobs::Code::Conflict => ErrorCode::Conflict,
        jobs::Code::Denied => ErrorCode::Forbidden,
        jobs::Code::Exhausted => ErrorCode::RateLimited,
        jobs::Code::Unavailable | jobs::Code::Interrupted => ErrorCode::Unavailable,
        jobs::Code::Internal => ErrorCode::Internal,
    }
}

/// The code that an error of the executor is told under.
pub(crate) fn code_of(error: &ServerError) -> &'static str {
    known_code(error).unwrap_or(unsourced(error)).as_str()
}

fn known_code(error: &ServerError) -> Option<ErrorCode> {
    let fault = error.source::<Fault>().map(Fault::code);
    fault.or_else(|| error.source::<Error>().map(house_code))
}

/// Without a source it is the executor that speaks: with a path of an argument's value, else of the document.
fn unsourced(error: &ServerError) -> ErrorCode {
    if error.path.is_empty() { ErrorCode::ValidationFailed } else { ErrorCode::BadUserInput }
}

/// Gives an error of the executor its code, and logs what the client is not told.
pub(crate) fn dress(mut error: ServerError) -> ServerError {
    let mut extensions = ErrorExtensionValues::default();
    let code = if let Some(fault) = error.source::<Fault>() {
        if let Fault::House(house) = fault {
            log(house);
        }
        describe(fault, &mut extensions);
        fault.code()
    } else if let Some(house) = error.source::<Error>() {
        log(house);
        let code = house_code(house);
        error.message = told(house);
        code
    } else {
        let code = unsourced(&error);
        error.message = reword(&error.message);
        code
    };
    extensions.set("code", code.as_str());
    jobs::metrics::graphql_error(code.as_str());
    error.extensions = Some(extensions);
    error
}

fn describe(fault: &Fault, extensions: &mut ErrorExtensionValues) {
    if let Fault::RateLimited(after_s) = fault {
        extensions.set("retryAfterS", *after_s);
    }
    if let Fault::BadInputs(_, faults) = fault {
        let faults = faults.iter().map(|f| {
            let entry = [
                ("node", text_or_null(f.node.as_deref())),
                ("edge", text_or_null(f.edge.as_deref())),
                ("reason", text_or_null(f.reason)),
                ("field", f.field.clone().into()),
                ("message", f.message.clone().into()),
            ];
            async_graphql::Value::Object(
                entry.into_iter().map(|(k, v)| (async_graphql::Name::new(k), v)).collect(),
            )
        });
        extensions.set("faults", async_graphql::Value::List(faults.collect()));
    }
}

fn text_or_null(text: Option<&str>) -> async_graphql::Value {
    text.map_or(async_graphql::Value::Null, Into::into)
}

/// Tells the log what the client is not told.
fn log(error: &Error) {
    match error.code {
        jobs::Code::Internal | jobs::Code::Unavailable | jobs::Code::Interrupted => {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(error.code = ?error.code, error = %error, error.cause = %cause, "a request failed");
        }
        jobs::Code::NotFound
        | jobs::Code::Invalid
        | jobs::Code::Conflict
        | jobs::Code::Denied
        | jobs::Code::Exhausted => {}
    }
}

/// An answer outside GraphQL: problem details of RFC 9457.
pub(crate) fn problem(status: StatusCode, detail: impl fmt::Display) -> Response<Body> {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail.to_string(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// A fault outside GraphQL, as problem details.
pub(crate) fn fault_problem(fault: &Fault) -> Response<Body> {
    if let Fault::House(error) = fault {
        log(error);
    }
    let mut response = problem(fault.status(), fault);
    if let Some(after_s) = fault.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after_s));
    }
    response
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
            Self::Denied(denied) => denied.fmt(f),
            Self::RateLimited(after_s) => write!(f, "too many attempts; try again in {after_s} s"),
            Self::TimedOut => f.write_str("the request took too long and was given up; try again"),
            Self::House(error) => f.write_str(&told(error)),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::House(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::House(error.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn dressed(fault: impl Into<async_graphql::Error>) -> serde_json::Value {
        let error = fault.into().into_server_error(async_graphql::Pos::default());
        serde_json::to_value(dress(error)).unwrap()
    }

    #[test]
    fn an_internal_cause_stays_inside() {
        let told = dressed(Fault::from(Error::internal("password of the database is hunter2")));
        assert_eq!(told["extensions"]["code"], "INTERNAL");
        assert!(!told.to_string().contains("hunter2"), "{told}");
        // An error that passes a resolver without a Fault around it is dressed the same.
        let told = dressed(Error::internal("hunter2"));
        assert_eq!(told["extensions"]["code"], "INTERNAL");
        assert!(!told.to_string().contains("hunter2"), "{told}");
    }

    #[test]
    fn what_is_not_there_is_told_with_the_query_that_lists_what_is() {
        for error in [Listing::Jobs, Listing::DeadLetters, Listing::Queues, Listing::Hosts, Listing::Machines]
            .map(|listing| Error::not_found("there is none").listed_in(listing))
        {
            let told = dressed(Fault::from(error))["message"].as_str().unwrap().to_owned();
            assert!(told.starts_with("there is none; ") && !told.contains("millrace"), "{told}");
        }
        let bare = dressed(Error::not_found("there is no job 1").listed_in(Listing::Jobs));
        assert_eq!(bare["message"], "there is no job 1; `jobs` lists those there are");
    }

    #[test]
    fn every_fault_at_its_place() {
        let faults = vec![InputFault {
            node: Some("a".into()),
            edge: None,
            field: "code".into(),
            reason: Some("SCRIPT"),
            message: "no".into(),
        }];
        let told = dressed(Fault::BadInputs("the workflow has 1 fault".into(), faults));
        assert_eq!(told["extensions"]["code"], "BAD_USER_INPUT");
        assert_eq!(told["extensions"]["faults"][0]["node"], "a");
        assert_eq!(dressed(Fault::RateLimited(7))["extensions"]["retryAfterS"], 7);
    }

    #[test]
    fn a_stranger_reads_not_found() {
        assert_eq!(dressed(Fault::Denied(Denied::Stranger))["extensions"]["code"], "NOT_FOUND");
        assert_eq!(dressed(Fault::Denied(Denied::Anonymous))["extensions"]["code"], "UNAUTHENTICATED");
        assert_eq!(dressed(Fault::Denied(Denied::KeyConfined))["extensions"]["code"], "FORBIDDEN");
    }
}
