//! What can be typed of schedules.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rules::id::{ScheduleId, TenantId};

use crate::argument;
use crate::command::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Schedules with when each is due, newest first
    List {
        /// Only this tenant's, by id
        #[arg(long, value_parser = argument::tenant)]
        tenant: Option<TenantId>,
        /// Only those before this id, which continues a list
        #[arg(long, value_parser = argument::schedule)]
        before: Option<ScheduleId>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// One schedule: when it is due next, and what came of its last firings
    Show {
        /// Its id
        #[arg(value_parser = argument::schedule)]
        id: ScheduleId,
        #[command(flatten)]
        output: Output,
    },
    /// The next times at which a schedule, or one that is not saved yet, would be due
    #[command(
        after_help = "Example:\n  millrace schedule preview --cron '30 2 * * *' --time-zone Europe/Berlin"
    )]
    Preview {
        /// Its id; without one say when with the options
        #[arg(value_parser = argument::schedule, required_unless_present = "when")]
        id: Option<ScheduleId>,
        #[command(flatten)]
        times: Times,
        /// How many, at most 100
        #[arg(long, default_value_t = 5, value_parser = argument::previewed)]
        count: usize,
        #[command(flatten)]
        output: Output,
    },
    /// Let a schedule fire no more
    Pause {
        /// Its id
        #[arg(value_parser = argument::schedule)]
        id: ScheduleId,
        #[command(flatten)]
        output: Output,
    },
    /// Let a paused schedule go on with its next time
    Resume {
        /// Its id
        #[arg(value_parser = argument::schedule)]
        id: ScheduleId,
        #[command(flatten)]
        output: Output,
    },
    /// Fire a schedule now, beside its times and though it is paused
    Run {
        /// Its id
        #[arg(value_parser = argument::schedule)]
        id: ScheduleId,
        #[command(flatten)]
        output: Output,
    },
}

/// When a schedule would be due.
#[derive(Debug, Args)]
#[group(id = "when", multiple = true, conflicts_with = "id")]
pub(crate) struct Times {
    /// A cron line of five fields, or of six with seconds before them
    #[arg(long)]
    pub(crate) cron: Option<String>,
    /// The time zone by whose wall clock the line is read; UTC when left out
    #[arg(long, requires = "cron")]
    pub(crate) time_zone: Option<String>,
    /// So many seconds apart
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) interval: Option<i64>,
    /// The only time, or with an interval the first, such as 2026-12-24T18:00:00Z
    #[arg(long)]
    pub(crate) at: Option<DateTime<Utc>>,
}

impl Schedule {
    /// How its result is shown.
    pub(crate) const fn output(&self) -> &Output {
        match self {
            Self::List { output, .. }
            | Self::Show { output, .. }
            | Self::Preview { output, .. }
            | Self::Pause { output, .. }
            | Self::Resume { output, .. }
            | Self::Run { output, .. } => output,
        }
    }
}
