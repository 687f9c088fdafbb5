//! Which faults there are, and how each is played: the stage before it, the fault, the accounts after it.

use futures::future::LocalBoxFuture;
use tests::Own;

use crate::load::Sort;
use crate::stage::{Form, Lines, Stage};
use crate::{Row, clock, disk, leader, process, release, server, standby, wire};

/// How many workers there are before a fault.
const WORKERS: usize = 2;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Workers die by SIGKILL, one after the other and both at once.
    WorkersKilled,
    /// A worker sleeps until its leases are another's, and returns.
    WorkerStopped,
    /// Workers are told to stop again and again, as by a deployment that goes wrong.
    WorkersTerminated,
    /// Postgres dies by SIGKILL and starts again.
    PostgresKilled,
    /// Single connections are ended by the server, at random.
    BackendsKilled,
    /// Lines are cut.
    LinesCut,
    /// Lines are dead on one side only.
    LinesHalfOpen,
    /// Every statement takes 200 ms more.
    LinesSlow,
    /// The leading scheduler dies by SIGKILL.
    LeaderKilled,
    /// The leading scheduler is cut off, and comes back.
    LeaderPartitioned,
    /// The disk of the history is full.
    DiskFull,
    /// Postgres dies, and a synchronous standby takes its place.
    FailedOver,
    /// Workers have one name.
    NamesShared,
    /// The clocks of workers are wrong.
    ClocksSkewed,
    /// An old transaction stays open.
    XminHeld,
    /// The server has no connection to spare.
    ConnectionsExhausted,
    /// An older release and this one work at once, while the schema goes on.
    ReleasesMixed,
    /// The schema goes on further than this release knows.
    SchemaExpanded,
}

impl Fault {
    /// All of them, the most dangerous first.
    pub(crate) const ALL: [Self; 18] = [
        Self::WorkersKilled,
        Self::WorkerStopped,
        Self::WorkersTerminated,
        Self::PostgresKilled,
        Self::BackendsKilled,
        Self::LinesCut,
        Self::LinesHalfOpen,
        Self::LinesSlow,
        Self::LeaderKilled,
        Self::LeaderPartitioned,
        Self::DiskFull,
        Self::FailedOver,
        Self::NamesShared,
        Self::ClocksSkewed,
        Self::XminHeld,
        Self::ConnectionsExhausted,
        Self::ReleasesMixed,
        Self::SchemaExpanded,
    ];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WorkersKilled => "SIGKILL of workers in a loop",
            Self::WorkerStopped => "SIGSTOP of a worker past its lease, and its return",
            Self::WorkersTerminated => "SIGTERM storm",
            Self::PostgresKilled => "SIGKILL and restart of Postgres",
            Self::BackendsKilled => "backends killed at random",
            Self::LinesCut => "connections cut",
            Self::LinesHalfOpen => "connections half-open",
            Self::LinesSlow => "200 ms more on every statement",
            Self::LeaderKilled => "SIGKILL of the leading scheduler",
            Self::LeaderPartitioned => "leading scheduler partitioned, and its return",
            Self::DiskFull => "disk full for the history",
            Self::FailedOver => "failover to a synchronous standby",
            Self::NamesShared => "workers with the same name, killed in a loop",
            Self::ClocksSkewed => "clocks of workers off by ±5 min",
            Self::XminHeld => "a held xmin",
            Self::ConnectionsExhausted => "no connection to spare",
            Self::ReleasesMixed => "an older release and this one at once",
            Self::SchemaExpanded => "this release on a schema one expansion further",
        }
    }

    /// Whether the gate plays it.
    pub(crate) fn is_in_short_form(self) -> bool {
        match self {
            Self::WorkersKilled
            | Self::WorkerStopped
            | Self::WorkersTerminated
            | Self::PostgresKilled
            | Self::BackendsKilled
            | Self::LinesCut
            | Self::LinesSlow
            | Self::SchemaExpanded => true,
            Self::LinesHalfOpen
            | Self::LeaderKilled
            | Self::LeaderPartitioned
            | Self::DiskFull
            | Self::FailedOver
            | Self::NamesShared
            | Self::ClocksSkewed
            | Self::XminHeld
            | Self::ConnectionsExhausted
            | Self::ReleasesMixed => false,
        }
    }

    /// Whether no job may be done twice, nor any lease run out: nothing of the workers dies, and nothing may be taken
    /// for dead.
    pub(crate) fn runs_once(self) -> bool {
        match self {
            Self::WorkersTerminated
            | Self::LinesSlow
            | Self::LeaderKilled
            | Self::LeaderPartitioned
            | Self::DiskFull
            | Self::ClocksSkewed
            | Self::XminHeld => true,
            Self::WorkersKilled
            | Self::WorkerStopped
            | Self::PostgresKilled
            | Self::BackendsKilled
            | Self::LinesCut
            | Self::LinesHalfOpen
            | Self::FailedOver
            | Self::NamesShared
            | Self::ConnectionsExhausted
            | Self::ReleasesMixed
            | Self::SchemaExpanded => false,
        }
    }

    /// Whether the server is not fit for another fault afterwards.
    pub(crate) fn spoils_the_server(self) -> bool {
        matches!(self, Self::DiskFull | Self::FailedOver)
    }

    /// Why it cannot be played here, if it cannot.
    pub(crate) fn missing(self) -> Option<String> {
        let root = || {
            let root = rustix::process::geteuid().is_root();
            (!root).then(|| "it needs root".to_owned())
        };
        match self {
            Self::DiskFull | Self::NamesShared => root(),
            Self::ClocksSkewed => clock::missing(),
            Self::ReleasesMixed => release::missing(),
            _ => None,
        }
    }

    fn lines(self) -> Lines {
        match self {
            Self::LinesCut | Self::LinesHalfOpen | Self::LinesSlow => Lines::Workers,
            Self::FailedOver => Lines::All,
            _ => Lines::Sound,
        }
    }

    fn sort(self) -> Sort {
        match self {
            // A result that belongs to a handler's own transaction is undone with it, so that where results cannot be
            // kept only those of the workers can be asked for once.
            Self::DiskFull => Sort::Plain,
            // Whoever comes back finds others at work on what it still has in hand.
            Self::WorkerStopped => Sort::Long,
            _ => Sort::Mixed,
        }
    }

    /// Brings it about and sees it end, once or several times.
    fn inflict<'a>(self, stage: &'a mut Stage<'_>) -> LocalBoxFuture<'a, ()> {
        match self {
            Self::WorkersKilled => Box::pin(process::kill(stage)),
            Self::WorkerStopped => Box::pin(process::stop(stage)),
            Self::WorkersTerminated => Box::pin(process::terminate(stage)),
            Self::PostgresKilled => Box::pin(server::kill(stage)),
            Self::BackendsKilled => Box::pin(server::kill_backends(stage)),
            Self::LinesCut => Box::pin(wire::cut(stage)),
            Self::LinesHalfOpen => Box::pin(wire::half_open(stage)),
            Self::LinesSlow => Box::pin(wire::slow(stage)),
            Self::LeaderKilled => Box::pin(leader::kill(stage)),
            Self::LeaderPartitioned => Box::pin(leader::partition(stage)),
            Self::DiskFull => Box::pin(disk::fill(stage)),
            Self::FailedOver => Box::pin(standby::fail_over(stage)),
            Self::NamesShared => Box::pin(process::share_a_name(stage)),
            Self::ClocksSkewed => Box::pin(clock::skew(stage)),
            Self::XminHeld => Box::pin(server::hold_xmin(stage)),
            Self::ConnectionsExhausted => Box::pin(server::exhaust(stage)),
            Self::ReleasesMixed => Box::pin(release::roll(stage)),
            Self::SchemaExpanded => Box::pin(release::expand(stage)),
        }
    }

    /// Plays it under the load, with two workers.
    pub(crate) async fn play(self, own: &Own, form: Form) -> Row {
        let older = self == Self::ReleasesMixed;
        let make_schema = if older { Some(release::make_schema as fn(&str)) } else { None };
        let mut stage = Stage::open(own, form, self.sort(), self.lines(), make_schema).await;
        for _ in 0..WORKERS {
            stage.hire_with(|command| {
                if older {
                    release::of_older(command)
                }
            });
        }
        stage.runs().await;
        let before = stage.accepted();
        self.inflict(&mut stage).await;
        let [back_s, half_back_s] = stage.slowest_back();
        let during = stage.accepted() - before;
        println!("{}: {during} jobs came in during the fault", self.name());
        let (jobs, books) = stage.close().await;
        Row { jobs, books, back_s, half_back_s }
    }
}
