//! The closed list of job kinds, with the stable names that stand in the database.

use std::fmt;
use std::str::FromStr;

/// What a job does. The wire name is stored: a variant may be renamed, its text never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Executes one node of a run.
    RunNode,
    /// Lets a run move on by what lies in its inbox.
    RunAdvance,
    /// Ends the waiting of a node whose time has come.
    RunWake,
    /// Takes a notice through its listener's transform and fans its actions out.
    ListenerEvent,
    /// Performs one action of a listener for one notice.
    ListenerAction,
    /// Writes a batch of audit entries.
    AuditFlush,
    /// Does nothing: for benchmarks and for a look at the queue itself.
    Noop,
}

/// A set of workers that claims together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Workflow steps.
    Dag,
    /// Listener notices and their actions.
    Events,
    /// Audit entries.
    Audit,
    /// Upkeep.
    Maintenance,
}

/// A queue of the first migration. Further ones may be made at run time.
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

/// A pool that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no worker pool; there are dag, events, audit and maintenance")]
pub struct UnknownPool(pub String);

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::RunNode,
        Self::RunAdvance,
        Self::RunWake,
        Self::ListenerEvent,
        Self::ListenerAction,
        Self::AuditFlush,
        Self::Noop,
    ];

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunNode => "run.node",
            Self::RunAdvance => "run.advance",
            Self::RunWake => "run.wake",
            Self::ListenerEvent => "listener.event",
            Self::ListenerAction => "listener.action",
            Self::AuditFlush => "audit.flush",
            Self::Noop => "queue.noop",
        }
    }

    /// The pool whose workers execute this kind.
    pub const fn pool(self) -> Pool {
        match self {
            Self::RunNode | Self::RunAdvance | Self::RunWake => Pool::Dag,
            Self::ListenerEvent | Self::ListenerAction => Pool::Events,
            Self::AuditFlush => Pool::Audit,
            Self::Noop => Pool::Maintenance,
        }
    }

    /// What to do in place of cancelling a job of this kind alone, where somebody waits for what it does:
    /// cancelled, it would leave them waiting for ever.
    pub const fn instead_of_cancelling(self) -> Option<&'static str> {
        match self {
            Self::RunNode | Self::RunAdvance | Self::RunWake => Some("cancel its run"),
            Self::ListenerEvent | Self::ListenerAction => Some("switch its action or its listener off"),
            Self::AuditFlush => Some("let it end, for what it writes is owed"),
            Self::Noop => None,
        }
    }

    /// The queue that a job of this kind enters unless another is named.
    pub const fn queue(self) -> Queue {
        let pool_id = self.pool().id();
        // The first migration gives each pool one queue of the same number.
        Queue { id: pool_id, pool_id }
    }
}

impl Pool {
    /// Every pool.
    pub const ALL: [Self; 4] = [Self::Dag, Self::Events, Self::Audit, Self::Maintenance];

    /// The name on the command line and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dag => "dag",
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Maintenance => "maintenance",
        }
    }

    /// Its row in `job_pool`.
    pub const fn id(self) -> i32 {
        match self {
            Self::Dag => 1,
            Self::Events => 2,
            Self::Audit => 3,
            Self::Maintenance => 4,
        }
    }

    /// The pool of a row in `job_pool`, if this version knows it.
    pub fn from_id(id: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.id() == id)
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

impl fmt::Display for Pool {
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

impl FromStr for Pool {
    type Err = UnknownPool;

    fn from_str(text: &str) -> Result<Self, UnknownPool> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| UnknownPool(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds_and_pools() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for pool in Pool::ALL {
            assert_eq!(pool.as_str().parse(), Ok(pool));
            assert_eq!(Pool::from_id(pool.id()), Some(pool));
        }
        assert_eq!("run.nod".parse::<Kind>(), Err(UnknownKind("run.nod".into())));
    }
}
