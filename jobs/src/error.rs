//! The one error that crosses rooms: closed, free of any transport, with a public and a private half.

use std::fmt;

/// What went wrong, as far as a caller may act on it.
///
/// `Display` is the public message: it names the thing, the reason and the remedy, in lowercase and
/// without a full stop, and never holds a secret. The private half (`source`) is for logs only.
#[derive(Debug)]
pub struct Error {
    /// Which of the closed set of faults this is.
    pub code: Code,
    message: String,
    listing: Option<Listing>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The closed set of faults. The API maps each to one GraphQL code and one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The thing does not exist, or belongs to another tenant: the two are never told apart.
    NotFound,
    /// The input breaks a rule that the caller can mend.
    Invalid,
    /// The input is well formed and clashes with what is there.
    Conflict,
    /// The caller is known and may not do this.
    Denied,
    /// A named limit is reached; waiting or asking for less helps.
    Exhausted,
    /// A dependency, in practice Postgres, cannot be reached now; trying again later helps.
    Unavailable,
    /// Postgres answered, and gave this call up: it took too long, waited too long for a lock, or stood in
    /// another's way. Trying again may help, and may as well meet the same end.
    Interrupted,
    /// A fault of ours. The message says nothing of its cause.
    Internal,
}

/// Where what does exist can be looked up. Each door has words of its own for it, which it adds to the
/// message: a client of the API has no use for a command, nor an operator's shell for a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    /// The jobs.
    Jobs,
    /// The dead letters.
    DeadLetters,
    /// The queues.
    Queues,
    /// The hosts.
    Hosts,
    /// The machines.
    Machines,
    /// The workflows of a tenant.
    Workflows,
    /// The runs of a tenant.
    Runs,
    /// The listeners of a tenant.
    Listeners,
    /// What the listeners of a tenant heard.
    Notices,
    /// The schedules of a tenant.
    Schedules,
    /// The departments of a tenant.
    Departments,
}

impl Listing {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Jobs,
        Self::DeadLetters,
        Self::Queues,
        Self::Hosts,
        Self::Machines,
        Self::Workflows,
        Self::Runs,
        Self::Listeners,
        Self::Notices,
        Self::Schedules,
        Self::Departments,
    ];
}

/// A result with the house's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given code with its public message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), listing: None, source: None }
    }

    /// Shorthand for [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Shorthand for [`Code::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// Shorthand for [`Code::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// Shorthand for [`Code::Denied`].
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::Denied, message)
    }

    /// Shorthand for [`Code::Exhausted`].
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Code::Exhausted, message)
    }

    /// A fault of ours: `what` goes to the log only, the public message says just that it happened.
    pub fn internal(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            code: Code::Internal,
            message: "internal error; the server's log has the cause".into(),
            listing: None,
            source: Some(what.into()),
        }
    }

    /// Adds the private cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds where what does exist can be looked up.
    #[must_use]
    pub const fn listed_in(mut self, listing: Listing) -> Self {
        self.listing = Some(listing);
        self
    }

    /// Where what does exist can be looked up, if that is the remedy.
    pub const fn listing(&self) -> Option<Listing> {
        self.listing
    }

    /// Whether the same call may succeed later with nothing changed by the caller.
    pub fn is_transient(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::Interrupted)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let (code, message) = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => (Code::Unavailable, UNREACHABLE),
            sqlx::Error::Database(e) => match e.code().as_deref().and_then(answered) {
                Some(known) => known,
                None => return Self::internal(error),
            },
            _ => return Self::internal(error),
        };
        Self::new(code, message).because(error)
    }
}

/// What is said when nobody answers.
const UNREACHABLE: &str = "the database cannot be reached now; try again";

/// What an answer of Postgres means, by its SQLSTATE; none for a fault of ours.
fn answered(state: &str) -> Option<(Code, &'static str)> {
    Some(match state {
        // A NUL character, which JSON and GraphQL can say and Postgres cannot keep.
        "22P05" | "22021" => {
            (Code::Invalid, "the input holds a character that cannot be stored, such as `\\u0000`; remove it")
        }
        "57014" => (Code::Interrupted, "the database stopped a statement that took too long; try again"),
        "55P03" => (Code::Interrupted, "what this needs was held by another for too long; try again"),
        "25P03" => (Code::Interrupted, "a transaction stood idle for too long and was ended; try again"),
        "25006" => (Code::Unavailable, "the database takes no changes now; try again"),
        // Rolled back: a deadlock, a clash of transactions.
        _ if state.starts_with("40") => {
            (Code::Interrupted, "this clashed with another transaction and was undone; try again")
        }
        "53300" => (Code::Unavailable, "the database has no connection to spare now; try again"),
        // Resources, such as a full disk.
        _ if state.starts_with("53") => {
            (Code::Unavailable, "the database has no room for this now; try again")
        }
        // The connection, and a server that starts or stops.
        _ if state.starts_with("08") || state.starts_with("57P") => (Code::Unavailable, UNREACHABLE),
        _ => return None,
    })
}
