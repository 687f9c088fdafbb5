//! The closed list of job kinds, with the stable names that stand in the database.

use std::fmt;
use std::str::FromStr;

use super::pool::{Class, Home, Pool};

/// Makes the enum, the list of its variants and their wire names from one list, so that none can be left out of another.
macro_rules! kinds {
    ($($(#[$meaning:meta])* $kind:ident = $wire:literal,)*) => {
        /// What a job does. The wire name is stored: a variant may be renamed, its text never.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$meaning])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: [Self; [$($wire),*].len()] = [$(Self::$kind),*];

            /// The name on the wire and in the database.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $wire,)*
                }
            }
        }
    };
}

kinds! {
    /// Executes one node of a run.
    RunNode = "run.node",
    /// Lets a run move on by what lies in its inbox.
    RunAdvance = "run.advance",
    /// Ends the waiting of a node whose time has come.
    RunWake = "run.wake",
    /// Takes a notice through its listener's transform and fans its actions out.
    ListenerEvent = "listener.event",
    /// Performs one action of a listener for one notice.
    ListenerAction = "listener.action",
    /// Starts the run of one firing of a schedule.
    ScheduleFire = "schedule.fire",
    /// Writes a batch of audit entries.
    AuditFlush = "audit.flush",
    /// Performs one operation on a machine.
    MachineOperate = "machine.operate",
    /// Compares every machine of a host with what is recorded.
    HostReconcile = "host.reconcile",
    /// Checks one machine's health.
    HealthCheck = "health.check",
    /// Redrives or discards dead letters, as many as match.
    LetterSweep = "letter.sweep",
    /// Does nothing: for benchmarks and for a look at the queue itself.
    Noop = "queue.noop",
}

/// A queue: one of the first migration, a host's, or one made at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Its row in `job_queue`.
    pub id: i32,
    /// The row of its pool in `job_pool`.
    pub pool_id: i32,
}

/// How urgent a job is; strictly obeyed inside a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before everything else.
    Urgent = 0,
    /// Before the ordinary.
    High = 1,
    /// The ordinary.
    #[default]
    Medium = 2,
    /// When nothing else waits.
    Low = 3,
}

/// A kind that this executable does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no job kind of this version")]
pub struct UnknownKind(pub String);

impl Kind {
    /// Where jobs of this kind are executed.
    pub const fn home(self) -> Home {
        match self {
            Self::RunNode | Self::RunAdvance | Self::RunWake => Home::Pool(Pool::Dag),
            Self::ListenerEvent | Self::ListenerAction | Self::ScheduleFire => Home::Pool(Pool::Events),
            Self::AuditFlush => Home::Pool(Pool::Audit),
            Self::LetterSweep | Self::Noop => Home::Pool(Pool::Maintenance),
            Self::MachineOperate => Home::Host(Class::Vm),
            // Beside the checks, so that no operation that takes long keeps the truth waiting.
            Self::HostReconcile | Self::HealthCheck => Home::Host(Class::Health),
        }
    }

    /// Whether jobs of this kind are the house's own upkeep, which nobody asked for: they come by themselves, for as long
    /// as it stands.
    pub const fn is_upkeep(self) -> bool {
        match self {
            Self::AuditFlush | Self::HostReconcile => true,
            Self::RunNode
            | Self::RunAdvance
            | Self::RunWake
            | Self::ListenerEvent
            | Self::ListenerAction
            | Self::ScheduleFire
            | Self::MachineOperate
            | Self::HealthCheck
            | Self::LetterSweep
            | Self::Noop => false,
        }
    }

    /// What to do in place of cancelling a job of this kind alone, where somebody waits for what it does:
    /// cancelled, it would leave them waiting for ever.
    pub const fn instead_of_cancelling(self) -> Option<&'static str> {
        match self {
            Self::RunNode | Self::RunAdvance | Self::RunWake => Some("cancel its run"),
            Self::ListenerEvent => Some("let it end, or cancel it while it waits"),
            Self::ListenerAction => Some("let it end, or switch its action off"),
            Self::ScheduleFire => Some("switch its schedule off, or cancel the run that it starts"),
            Self::AuditFlush => Some("let it end, for what it writes is owed"),
            Self::MachineOperate => Some("destroy the machine, or let the operation end"),
            Self::HealthCheck => Some("switch the machine's checks off"),
            Self::LetterSweep => Some("cancel its sweep of dead letters"),
            Self::HostReconcile | Self::Noop => None,
        }
    }

    /// What to do in place of redriving a dead job of this kind, where its death already ended what it was for: brought
    /// back, it would find that ended, do nothing and call it done.
    pub const fn instead_of_redriving(self) -> Option<&'static str> {
        match self {
            Self::RunNode => Some("its node has failed; start the workflow again"),
            Self::MachineOperate => Some("its operation has failed; ask for it again"),
            Self::RunAdvance
            | Self::RunWake
            | Self::ListenerEvent
            | Self::ListenerAction
            | Self::ScheduleFire
            | Self::AuditFlush
            | Self::HostReconcile
            | Self::HealthCheck
            | Self::LetterSweep
            | Self::Noop => None,
        }
    }

    /// Why nobody may write the payload of a dead letter of this kind; none where they may. What a payload names is done
    /// with the rights of whoever had it enqueued, and whoever may redrive need not have them.
    pub const fn why_not_edited(self) -> Option<&'static str> {
        match self {
            Self::Noop => None,
            Self::RunNode | Self::RunAdvance | Self::RunWake | Self::ScheduleFire => {
                Some("it says for which run it is, and that needs the right to execute workflows")
            }
            Self::ListenerEvent | Self::ListenerAction => Some(
                "it says which actions of a listener are done, and these are done with the listener's rights",
            ),
            Self::MachineOperate | Self::HostReconcile | Self::HealthCheck => {
                Some("it says to which machine or host something is done, and that needs rights of its own")
            }
            Self::AuditFlush => Some("it is evidence"),
            Self::LetterSweep => Some("it says which sweep it goes on with, and nothing else"),
        }
    }

    /// The queue that a job of this kind enters unless another is named; none for one that belongs to a
    /// host, which must be named.
    pub const fn queue(self) -> Option<Queue> {
        match self.home() {
            Home::Pool(pool) => Some(pool.queue()),
            Home::Host(_) => None,
        }
    }
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::High, Self::Medium, Self::Low];

    /// The name that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "URGENT",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|k| k.as_str() == text).ok_or_else(|| UnknownKind(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for kind in Kind::ALL {
            assert_eq!(kind.queue().is_some(), matches!(kind.home(), Home::Pool(_)), "{kind}");
        }
        assert_eq!("run.nod".parse::<Kind>(), Err(UnknownKind("run.nod".into())));
    }
}
