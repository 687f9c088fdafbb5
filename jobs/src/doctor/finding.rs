//! What was looked at, and what was found.

use serde::Serialize;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Somebody answers under the URL, and lets us in.
    Database,
    /// Postgres is new enough.
    Version,
    /// The schema is the one that this executable knows.
    Schema,
    /// The database's clock and ours agree.
    Clock,
    /// No old transaction keeps dead rows.
    OldestTransaction,
    /// Nothing in between breaks sessions or prepared statements.
    Pooler,
    /// A scheduler leads.
    Scheduler,
    /// The history has partitions for days ahead.
    History,
    /// The keyring opens what the installation sealed.
    Keyring,
    /// Processes can work as roles that own nothing, behind the wall between tenants.
    Roles,
    /// Every host is served, and its own hypervisor answers.
    Hosts,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and will hurt.
    Warning,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub check: Check,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen, in lowercase and without a full stop.
    pub says: String,
    /// What to do, unless it is good.
    pub remedy: Option<String>,
}

impl Check {
    /// The name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Version => "version",
            Self::Schema => "schema",
            Self::Clock => "clock",
            Self::OldestTransaction => "oldest transaction",
            Self::Pooler => "pooler",
            Self::Scheduler => "scheduler",
            Self::History => "history",
            Self::Keyring => "keyring",
            Self::Roles => "roles",
            Self::Hosts => "hosts",
        }
    }
}

impl Verdict {
    /// The name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Finding {
    pub(super) fn good(check: Check, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, says: says.into(), remedy: None }
    }

    pub(super) fn warning(check: Check, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, says: says.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn bad(check: Check, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Bad, says: says.into(), remedy: Some(remedy.into()) }
    }
}
