//! What can be typed behind `millrace audit`.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rules::audit::{Head, Outcome};
use rules::id::TenantId;

use crate::command::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// The newest entries of a tenant, or of the installation
    List {
        #[command(flatten)]
        which: Which,
        /// Only those before this number, which continues a list
        #[arg(long)]
        before: Option<i64>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// All entries of a tenant, or of the installation, oldest first: a line of JSON for each
    Export {
        #[command(flatten)]
        which: Which,
        /// Only those after this number, which continues an export
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// Walk the chains, and name the first entry of each that is not as it was written
    Verify {
        /// Only this tenant's, by id; the nil id is the installation's
        #[arg(long)]
        tenant: Option<TenantId>,
        /// An end that an earlier verify printed and that was kept elsewhere, as NUMBER:HASH
        #[arg(long, requires = "tenant", value_parser = parse_head)]
        head: Option<Head>,
        #[command(flatten)]
        output: Output,
    },
}

/// Which entries; what is left out restricts nothing.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// This tenant's, by id; the installation's when left out
    #[arg(long)]
    pub(crate) tenant: Option<TenantId>,
    /// Only those by this actor, such as `user:ID`
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Only those of this operation, such as createApiKey
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// Only those with this outcome: accepted, refused, failed
    #[arg(long, value_parser = parse_outcome)]
    pub(crate) outcome: Option<Outcome>,
    /// Only those of this request
    #[arg(long)]
    pub(crate) request: Option<String>,
    /// Only those asked for at this time or later, such as 2026-01-31T00:00:00Z
    #[arg(long)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only those asked for before this time
    #[arg(long)]
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Audit {
    /// How the result is shown; an export is for programs alone.
    pub(crate) fn output(&self) -> Output {
        match self {
            Self::List { output, .. } | Self::Verify { output, .. } => *output,
            Self::Export { .. } => Output { json: true },
        }
    }
}

fn parse_outcome(text: &str) -> Result<Outcome, String> {
    text.to_uppercase().parse().map_err(|e: rules::audit::UnknownOutcome| e.to_string())
}

fn parse_head(text: &str) -> Result<Head, String> {
    text.parse().map_err(|e: rules::audit::BadHead| e.to_string())
}
