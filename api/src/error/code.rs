//! The closed set of codes that clients read, with the status and the severity of each.

use axum::http::StatusCode;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    ParseFailed,
    ValidationFailed,
    PersistedQueryNotFound,
    BadUserInput,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    IdempotencyMismatch,
    RateLimited,
    QueryTooDeep,
    QueryTooComplex,
    TimedOut,
    Unavailable,
    Internal,
}

/// How much an error matters to whoever runs the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// A fault of ours: somebody must look.
    Critical,
    /// Something that we need is away; it may come back by itself.
    High,
    /// Somebody was kept out or held back; many of them are worth a look.
    Medium,
    /// A request that cannot be served as it was made: its sender's affair.
    Low,
}

impl Severity {
    /// Its name in the log and in labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "Critical",
            Self::High => "High",
            Self::Medium => "Medium",
            Self::Low => "Low",
        }
    }
}

impl ErrorCode {
    /// The name that clients read.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::ValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::IdempotencyMismatch => "IDEMPOTENCY_MISMATCH",
            Self::RateLimited => "RATE_LIMITED",
            Self::QueryTooDeep => "QUERY_TOO_DEEP",
            Self::QueryTooComplex => "QUERY_TOO_COMPLEX",
            Self::TimedOut => "TIMED_OUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// How much it matters.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::Internal => Severity::Critical,
            Self::Unavailable => Severity::High,
            // A client that sends too slowly is given up like an answer that takes too long.
            Self::Unauthenticated | Self::Forbidden | Self::RateLimited | Self::TimedOut => Severity::Medium,
            Self::ParseFailed
            | Self::ValidationFailed
            | Self::PersistedQueryNotFound
            | Self::BadUserInput
            | Self::NotFound
            | Self::Conflict
            | Self::IdempotencyMismatch
            | Self::QueryTooDeep
            | Self::QueryTooComplex => Severity::Low,
        }
    }

    /// The HTTP status of a request that ended with it before any field was resolved.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::ParseFailed
            | Self::ValidationFailed
            | Self::PersistedQueryNotFound
            | Self::BadUserInput
            | Self::QueryTooDeep
            | Self::QueryTooComplex => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What an answer of this status is told under, where nothing but the status is known.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            other if other.is_client_error() => Self::BadUserInput,
            _ => Self::Internal,
        }
    }

    /// The code of what the rooms below say.
    pub(super) const fn of_house(code: jobs::Code) -> Self {
        match code {
            jobs::Code::NotFound => Self::NotFound,
            jobs::Code::Invalid => Self::BadUserInput,
            jobs::Code::Conflict => Self::Conflict,
            jobs::Code::Denied => Self::Forbidden,
            jobs::Code::Exhausted => Self::RateLimited,
            jobs::Code::Unavailable | jobs::Code::Interrupted => Self::Unavailable,
            jobs::Code::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_leads_to_a_code_of_that_status() {
        for (status, code) in
            [(401, "UNAUTHENTICATED"), (404, "NOT_FOUND"), (409, "CONFLICT"), (503, "UNAVAILABLE")]
        {
            let found = ErrorCode::of_status(StatusCode::from_u16(status).unwrap());
            assert_eq!((found.as_str(), found.status().as_u16()), (code, status));
        }
        for status in [400, 405, 406, 413, 415] {
            assert_eq!(ErrorCode::of_status(StatusCode::from_u16(status).unwrap()), ErrorCode::BadUserInput);
        }
        assert_eq!(ErrorCode::of_status(StatusCode::INTERNAL_SERVER_ERROR).severity(), Severity::Critical);
    }
}
