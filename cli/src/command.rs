//! What can be typed: every command, its arguments and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rules::id::TenantId;
use rules::machine::{HostUri, Name};
use rules::queue::{Pool, State};

use crate::argument;
use crate::audit::Audit;
use crate::clock::Schedule;
use crate::dlq::Dlq;
use crate::fleet::{Host, Machine};

/// A durable job queue, workflows and webhooks on Postgres, in one executable.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Settings come from the environment; README.md lists them. Without DATABASE_URL\n\
    every command uses the private cluster of the clone it is called in.\n\
    Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything in one process: Postgres, migrations, API, all worker pools, scheduler
    Up,
    /// Stop what `up` started in this clone, the private cluster included
    Down,
    /// Stop everything and delete this clone's data, its keys included
    Reset {
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
    /// Serve the API
    Api,
    /// Work the jobs of some pools
    Worker {
        /// Which pools, separated by commas: dag, events, audit, maintenance, and vm for a host
        #[arg(long, value_delimiter = ',', required = true, value_parser = argument::pool)]
        pools: Vec<ServedPool>,
        /// The host whose machines it operates; needed with the pool vm
        #[arg(long, requires = "libvirt_uri", value_parser = argument::name)]
        host: Option<Name>,
        /// The address of that host's hypervisor, such as test:///default or qemu:///system
        #[arg(long, requires = "host", value_parser = argument::uri)]
        libvirt_uri: Option<HostUri>,
    },
    /// Stand for leader and, when elected, fire schedules and do the upkeep
    Scheduler,
    /// Bring the database's schema up to this executable
    Migrate(Output),
    /// Check the database, the schema, the clocks and what stands between
    Doctor(Output),
    /// Look after the administrator
    #[command(subcommand)]
    Admin(Admin),
    /// Look at jobs and act on them
    #[command(subcommand)]
    Job(Job),
    /// Look at queues, pause and resume them
    #[command(subcommand)]
    Queue(Queue),
    /// Look at dead letters and what they have in common, give them new attempts, or discard them
    #[command(subcommand)]
    Dlq(Dlq),
    /// Look at hosts, drain, resume and remove them
    #[command(subcommand)]
    Host(Host),
    /// Look at machines, see why what was asked of one has not begun, switch one on and off, and move one
    #[command(subcommand)]
    Machine(Machine),
    /// Look at schedules, preview, pause and resume them, and run one now
    #[command(subcommand)]
    Schedule(Schedule),
    /// Look at who did what, hand it out, and verify that it is as it was written
    #[command(subcommand)]
    Audit(Audit),
    /// Help the senders of webhooks
    #[command(subcommand)]
    Webhook(Webhook),
    /// Tell the whole story on the running system, and fail if any part of it is untrue
    Demo,
}

/// How a result is shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print JSON for programs instead of a table for people
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make a new password for an administrator, print it once and end all of their sessions
    ResetPassword {
        /// Whose; the first administrator's when left out
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// The newest jobs, whatever their state, without the house's own upkeep (audit.flush, host.reconcile)
    List {
        /// Only those in this state: ready, scheduled, blocked, leased, done, cancelled, dead
        #[arg(long, value_parser = argument::state)]
        state: Option<State>,
        /// Only this kind, such as run.node; those of upkeep, too
        #[arg(long)]
        kind: Option<String>,
        /// The house's own upkeep, too
        #[arg(long, conflicts_with = "kind")]
        all: bool,
        /// Only this tenant's, by id
        #[arg(long, value_parser = argument::tenant)]
        tenant: Option<TenantId>,
        /// Only those before this id, which continues a list
        #[arg(long, value_parser = argument::job)]
        before: Option<i64>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// One job: where it is, why it waits, what its attempts came to
    Show {
        /// Its id
        #[arg(value_parser = argument::job)]
        id: i64,
        #[command(flatten)]
        output: Output,
    },
    /// Cancel jobs of the kinds that nobody waits for
    ///
    /// host.reconcile and queue.noop, waiting or running; listener.event and listener.action while they wait, whose
    /// notice is then dropped or action skipped. The others are refused with what to do instead: cancel the run of
    /// run.node, run.advance and run.wake (the API's cancelRun), switch the schedule of schedule.fire off, destroy the machine of machine.operate, switch the
    /// checks of health.check off; stop the sweep of letter.sweep (`millrace dlq stop`); what audit.flush writes is owed.
    Cancel {
        /// Their ids
        #[arg(required = true, value_parser = argument::job)]
        ids: Vec<i64>,
        #[command(flatten)]
        output: Output,
    },
    /// Try jobs again now: one that waits for its next attempt at once, a dead one with new attempts
    ///
    /// A job that is delayed, as the run.wake of a workflow's delay, is refused: its time is what was asked for.
    Retry {
        /// Their ids
        #[arg(required = true, value_parser = argument::job)]
        ids: Vec<i64>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Every queue with its depth, its workers and the age of its oldest ready job
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Pause a queue: what runs goes on, nothing more is claimed
    Pause {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Resume a queue
    Resume {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

/// What `--pools` names: a pool that every installation has, or the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServedPool {
    /// One of those that every installation has.
    Fixed(Pool),
    /// The pools of the host that `--host` names.
    Vm,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Sign a body as Standard Webhooks says, and print the three headers
    #[command(after_help = "Example:\n  export WEBHOOK_SECRET=whsec_…\n  \
        millrace webhook sign body.json > headers\n  \
        curl -H @headers -H 'content-type: application/json' --data-binary @body.json URL")]
    Sign {
        /// The file with the body; standard input when left out or `-`
        body: Option<PathBuf>,
        /// The listener's signing secret. Prefer the variable: arguments are visible to other users
        #[arg(long, env = "WEBHOOK_SECRET", hide_env_values = true)]
        secret: Option<String>,
        /// The delivery's id, the same for each repeat; a new one when left out
        #[arg(long)]
        id: Option<String>,
        /// The time of signing in seconds since 1970; now when left out
        #[arg(long)]
        timestamp: Option<u64>,
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    /// Whether the result, and so a failure too, is for a program.
    pub(crate) fn asks_for_json(&self) -> bool {
        let output = match self {
            Self::Migrate(output) | Self::Doctor(output) => output,
            Self::Admin(Admin::ResetPassword { output, .. }) => output,
            Self::Job(
                Job::List { output, .. }
                | Job::Show { output, .. }
                | Job::Cancel { output, .. }
                | Job::Retry { output, .. },
            ) => output,
            Self::Queue(
                Queue::List { output } | Queue::Pause { output, .. } | Queue::Resume { output, .. },
            ) => output,
            Self::Dlq(dlq) => dlq.output(),
            Self::Host(host) => host.output(),
            Self::Machine(machine) => machine.output(),
            Self::Schedule(schedule) => schedule.output(),
            Self::Webhook(Webhook::Sign { output, .. }) => output,
            Self::Audit(audit) => return audit.output().json,
            Self::Up
            | Self::Down
            | Self::Reset { .. }
            | Self::Api
            | Self::Worker { .. }
            | Self::Scheduler
            | Self::Demo => return false,
        };
        output.json
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
