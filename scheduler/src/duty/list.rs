//! The closed list of duties, and how often each is due.

use std::time::Duration;

use crate::duty::{Context, audit, health, partition, prune, report, schedule};

/// A chore of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Makes days of the history ahead of time and drops those that need not be kept.
    Partition,
    /// Puts checks of machines into the queue when they are due.
    Health,
    /// Fires schedules whose ticks are due.
    Schedule,
    /// Has what was noted for the audit chained, where it was left behind.
    Audit,
    /// Takes away what was outlived.
    Prune,
    /// Reports figures of the whole installation.
    Report,
}

impl Duty {
    pub(crate) const ALL: [Self; 6] =
        [Self::Partition, Self::Health, Self::Schedule, Self::Audit, Self::Prune, Self::Report];

    /// The name in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Health => "health",
            Self::Schedule => "schedule",
            Self::Audit => "audit",
            Self::Prune => "prune",
            Self::Report => "report",
        }
    }

    /// How often it is done.
    pub(crate) const fn every(self) -> Duration {
        match self {
            Self::Partition => Duration::from_secs(10 * 60),
            Self::Schedule => Duration::from_secs(1),
            Self::Health => Duration::from_secs(5),
            Self::Prune => Duration::from_secs(60),
            Self::Audit | Self::Report => Duration::from_secs(15),
        }
    }

    /// How long one performance may take before it is given up and tried again.
    pub(crate) const fn limit(self) -> Duration {
        match self {
            Self::Partition | Self::Prune => Duration::from_secs(60),
            Self::Health | Self::Schedule | Self::Audit | Self::Report => Duration::from_secs(15),
        }
    }

    /// Does it once.
    pub(crate) async fn perform(self, context: &Context) -> jobs::Result<()> {
        match self {
            Self::Partition => partition::perform(context).await,
            Self::Health => health::perform(context).await,
            Self::Schedule => schedule::perform(context).await,
            Self::Audit => audit::perform(context).await,
            Self::Prune => prune::perform(context).await,
            Self::Report => report::perform(context).await,
        }
    }
}
