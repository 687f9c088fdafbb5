//! What can be typed behind `millrace dlq`.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rules::id::{SweepId, TenantId};
use rules::queue::letter::Letters;
use rules::queue::sweep::RATE_MAX;

use crate::argument;
use crate::command::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// The newest dead letters
    List {
        #[command(flatten)]
        which: Which,
        /// Only those before this id, which continues a list
        #[arg(long, value_parser = argument::job)]
        before: Option<i64>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Dead letters by the error that they died of, the largest group first
    ///
    /// Errors are the same that differ in nothing but what is quoted, addresses, and words with digits in them, under jobs of
    /// one kind. The newest 100,000 are looked at.
    Groups {
        /// Only this kind, such as listener.action
        #[arg(long)]
        kind: Option<String>,
        /// Only those that stood in this queue
        #[arg(long)]
        queue: Option<String>,
        /// Only this tenant's, by id
        #[arg(long, value_parser = argument::tenant)]
        tenant: Option<TenantId>,
        /// Only those that died at this time or later, such as 2026-01-31T00:00:00Z
        #[arg(long)]
        since: Option<DateTime<Utc>>,
        /// Only those that died before this time
        #[arg(long)]
        until: Option<DateTime<Utc>>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=100))]
        limit: i32,
        #[command(flatten)]
        output: Output,
    },
    /// One dead letter with every attempt's error, duration and worker
    Show {
        /// Its job's id
        #[arg(value_parser = argument::job)]
        id: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Give dead letters new attempts under their own ids
    ///
    /// With --all-matching all that match now get them, in the background: `millrace dlq sweep` shows how far that has
    /// come, and `millrace dlq stop` ends it.
    Redrive {
        /// Their jobs' ids
        #[arg(required_unless_present = "all_matching", conflicts_with = "all_matching", value_parser = argument::job)]
        ids: Vec<i64>,
        #[command(flatten)]
        matching: Matching,
        /// How many new attempts each gets; its kind's own number when left out
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
        attempts: Option<u16>,
        #[command(flatten)]
        output: Output,
    },
    /// Decide that dead letters are not to be done: they become cancelled jobs of the history
    ///
    /// With --all-matching all that match now, in the background.
    Discard {
        /// Their jobs' ids
        #[arg(required_unless_present = "all_matching", conflicts_with = "all_matching", value_parser = argument::job)]
        ids: Vec<i64>,
        #[command(flatten)]
        matching: Matching,
        #[command(flatten)]
        output: Output,
    },
    /// The newest sweeps, which redrive or discard all dead letters that matched
    Sweeps {
        /// Only this tenant's, by id
        #[arg(long, value_parser = argument::tenant)]
        tenant: Option<TenantId>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// One sweep: how far it has come
    Sweep {
        /// Its id
        #[arg(value_parser = argument::sweep)]
        id: SweepId,
        #[command(flatten)]
        output: Output,
    },
    /// End a sweep before it is through; what it has taken stays taken
    Stop {
        /// Its id
        #[arg(value_parser = argument::sweep)]
        id: SweepId,
        #[command(flatten)]
        output: Output,
    },
}

/// All that match, in place of single ones.
#[derive(Debug, Args)]
pub(crate) struct Matching {
    /// All that match in place of single ones; with nothing else, all there are
    #[arg(long)]
    pub(crate) all_matching: bool,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Tell how many match and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many of all that match are taken in a second, at most [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(RATE_MAX)))]
    pub(crate) rate: Option<u16>,
}

/// Which dead letters; what is left out restricts nothing.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only this kind, such as listener.action
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only those that stood in this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only those of this group, as `millrace dlq groups` shows it
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
    /// Only those whose error has this text in it, in whatever case
    #[arg(long)]
    pub(crate) search: Option<String>,
    /// Only this tenant's, by id
    #[arg(long, value_parser = argument::tenant)]
    pub(crate) tenant: Option<TenantId>,
    /// Only those that died at this time or later, such as 2026-01-31T00:00:00Z
    #[arg(long)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only those that died before this time
    #[arg(long)]
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Which {
    /// Whether it restricts anything.
    pub(crate) fn restricts(&self) -> bool {
        self.tenant.is_some() || self.letters() != Letters::default()
    }

    /// The same without the tenant.
    pub(crate) fn letters(&self) -> Letters {
        Letters {
            kind: self.kind.clone(),
            queue: self.queue.clone(),
            fingerprint: self.fingerprint.clone(),
            search: self.search.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

impl Dlq {
    /// How the result is shown.
    pub(crate) fn output(&self) -> &Output {
        match self {
            Self::List { output, .. }
            | Self::Groups { output, .. }
            | Self::Show { output, .. }
            | Self::Redrive { output, .. }
            | Self::Sweeps { output, .. }
            | Self::Sweep { output, .. }
            | Self::Stop { output, .. }
            | Self::Discard { output, .. } => output,
        }
    }
}
