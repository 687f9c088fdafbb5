//! One entry: what is told of one operation.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::arguments;
use crate::id::TenantId;

/// Stands for the installation, which has a chain of its own like any tenant.
pub const INSTALLATION: TenantId = TenantId(Uuid::nil());

/// Stands for whoever shows no credentials, or some that are no good.
pub const NOBODY: &str = "nobody";

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// It was done. Of a mutation this is written in its own transaction: the entry is there if and only if the
    /// change is.
    Accepted,
    /// It was not done, for a reason that whoever asked was told.
    Refused,
    /// It came to no answer for a reason of ours. A change may have been made all the same, where the answer to its
    /// commit was lost; then there is an entry that says so.
    Failed,
}

/// An outcome that is none of the closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no outcome; there are ACCEPTED, REFUSED and FAILED")]
pub struct UnknownOutcome(pub String);

/// What is told of one operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose audit it stands in; [`INSTALLATION`] for what concerns no tenant.
    pub tenant: TenantId,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `user:<id>`, `key:<id>`, `operator:<name>` or [`NOBODY`].
    pub actor: String,
    /// What was asked for, by its name in the API, or as `cli.<command>`.
    pub operation: String,
    /// With what, as JSON without its secrets; see [`arguments`](super::arguments).
    pub arguments: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The code of the error that was told, unless it was accepted.
    pub code: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: i32,
    /// The network address that asked.
    pub address: Option<String>,
    /// The id that the answer carried.
    pub request_id: Option<String>,
}

impl Entry {
    /// That something was done which no request asked for: by a command, a worker or a job. What it was done with is an
    /// object; anything else is told as an empty one.
    pub fn done(tenant: TenantId, at: DateTime<Utc>, actor: String, operation: &str, given: &Value) -> Self {
        Self {
            tenant,
            at,
            actor,
            operation: operation.to_owned(),
            arguments: given.as_object().map_or_else(|| "{}".to_owned(), arguments),
            outcome: Outcome::Accepted,
            code: None,
            took_ms: 0,
            address: None,
            request_id: None,
        }
    }
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Failed];

    /// The name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Refused => "REFUSED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        Self::ALL.into_iter().find(|o| o.as_str() == text).ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}
