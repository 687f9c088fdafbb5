//! What to do next for an operation, from what is seen: the whole of it as one function.

use std::fmt;
use std::time::Duration;

use super::{Action, Seen};
use crate::id::SnapshotId;

/// How far an operation has come, kept with it, so that whoever takes it over goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// It has begun.
    Begun = 0,
    /// The guest was asked to switch itself off.
    Asked = 1,
    /// The machine was seen off, as the first half of a restart.
    Stopped = 2,
    /// The call was made whose effect cannot be seen afterwards; of a creation, its guest may have run.
    Acted = 3,
}

/// What is known of the machine and of the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What state the machine is in.
    pub seen: Seen,
    /// Whether the snapshot that the action names is there; false for other actions.
    pub snapshot_there: bool,
    /// Whether the machine carries the mark of this operation or of a later one.
    pub marked: bool,
    /// How far the operation has come.
    pub stage: Stage,
    /// How long ago the guest was asked to switch itself off, by the database's clock; zero before.
    pub asked_for: Duration,
    /// How long the guest may take before it is switched off.
    pub patience: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Call the hypervisor; then note [`Call::stage`], where it has one, and look again.
    Call(Call),
    /// Note this stage, and look again.
    Note(Stage),
    /// Look again in a while.
    Wait,
    /// It is done.
    Done,
    /// It cannot be done.
    Refuse(Refusal),
}

/// A call of the hypervisor. Each may be made again: a worker can die between the call and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Make the machine known to the host, or bring what it knows up to the specification.
    Define,
    /// Start a machine that is off.
    Start,
    /// Ask the guest to switch itself off.
    AskToStop,
    /// Switch it off.
    ForceOff,
    /// Hold it still.
    Suspend,
    /// Let one go on that is held still, or wake one whose guest sleeps.
    Resume,
    /// Press its reset button.
    Reset,
    /// Remove a machine that is off, with its disks and snapshots.
    Undefine,
    /// Take this snapshot.
    SnapshotCreate(SnapshotId),
    /// Put the machine back to this snapshot.
    SnapshotRevert(SnapshotId),
    /// Remove this snapshot.
    SnapshotDelete(SnapshotId),
    /// Leave the operation's mark on it, and nothing else.
    Mark,
}

/// Why an operation cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It needs a running machine.
    NotRunning,
    /// Its host does not know the machine.
    Gone,
    /// There is no such snapshot on the host.
    NoSnapshot,
}

/// Decides what to do next. Whatever happens between two calls of it, a step is right for what is seen
/// then; every chain of steps on a host that answers ends in [`Step::Done`] or [`Step::Refuse`].
///
/// Two calls have no effect that can be seen afterwards: a reset, and going back to a snapshot. A worker
/// that dies between one of them and its note makes it once more.
pub fn plan(action: Action, facts: &Facts) -> Step {
    match next(action, facts) {
        // It ends on a machine that it did not touch. What was ordered before it and still comes, as the removal of what
        // the machine had left there once, is refused by the mark only.
        Step::Done | Step::Refuse(_) if !facts.marked && facts.seen != Seen::Absent => Step::Call(Call::Mark),
        step => step,
    }
}

fn next(action: Action, facts: &Facts) -> Step {
    match (action, facts.seen) {
        // Nothing is decided on nothing.
        (_, Seen::Unknown) => Step::Wait,
        (Action::Destroy, seen) => destroy(seen),
        (Action::SnapshotRevert(_) | Action::SnapshotDelete(_), Seen::Absent) => Step::Refuse(Refusal::Gone),
        // It is ours and shall be there: a host that lost it is told again.
        (_, Seen::Absent) => Step::Call(Call::Define),
        (Action::Define, _) => Step::Done,
        (Action::Create | Action::Start, seen) => start(seen),
        (Action::Stop, seen) => stop(seen, facts).unwrap_or(Step::Done),
        (Action::ForceOff, Seen::Off | Seen::Crashed) => Step::Done,
        (Action::ForceOff, _) => Step::Call(Call::ForceOff),
        (Action::Restart, seen) => restart(seen, facts),
        (Action::Suspend, seen) => match seen {
            Seen::Running | Seen::Blocked => Step::Call(Call::Suspend),
            Seen::Paused | Seen::Sleeping => Step::Done,
            Seen::ShuttingDown => Step::Wait,
            Seen::Off | Seen::Crashed | Seen::Absent | Seen::Unknown => Step::Refuse(Refusal::NotRunning),
        },
        (Action::Resume, seen) => match seen {
            Seen::Off | Seen::Crashed => Step::Refuse(Refusal::NotRunning),
            seen => start(seen),
        },
        (Action::Reset, seen) => match (seen, facts.stage) {
            (Seen::Off | Seen::Crashed, _) => Step::Refuse(Refusal::NotRunning),
            (seen, Stage::Acted) => start(seen),
            // Before any other call of the operation, whose mark would say that it was made: one that is held
            // still is reset first and goes on then.
            (_, Stage::Begun | Stage::Asked | Stage::Stopped) => Step::Call(Call::Reset),
        },
        (Action::SnapshotCreate(id), _) => {
            if facts.snapshot_there {
                Step::Done
            } else {
                Step::Call(Call::SnapshotCreate(id))
            }
        }
        (Action::SnapshotRevert(id), _) => match (facts.stage, facts.snapshot_there) {
            (Stage::Acted, _) => Step::Done,
            (_, true) => Step::Call(Call::SnapshotRevert(id)),
            (_, false) => Step::Refuse(Refusal::NoSnapshot),
        },
        (Action::SnapshotDelete(id), _) => {
            if facts.snapshot_there {
                Step::Call(Call::SnapshotDelete(id))
            } else {
                Step::Done
            }
        }
    }
}

/// Towards running.
const fn start(seen: Seen) -> Step {
    match seen {
        Seen::Absent => Step::Call(Call::Define),
        // What is left of one that crashed is cleared away by its start.
        Seen::Off | Seen::Crashed => Step::Call(Call::Start),
        Seen::Paused | Seen::Sleeping => Step::Call(Call::Resume),
        Seen::ShuttingDown | Seen::Unknown => Step::Wait,
        Seen::Running | Seen::Blocked => Step::Done,
    }
}

/// Towards off, asking first; none when it is off.
fn stop(seen: Seen, facts: &Facts) -> Option<Step> {
    if matches!(seen, Seen::Off | Seen::Crashed) {
        return None;
    }
    let asked = facts.stage >= Stage::Asked;
    Some(match seen {
        _ if asked && facts.asked_for >= facts.patience => Step::Call(Call::ForceOff),
        // Held still it cannot hear.
        Seen::Paused | Seen::Sleeping => Step::Call(Call::Resume),
        Seen::ShuttingDown if !asked => Step::Note(Stage::Asked),
        _ if asked => Step::Wait,
        _ => Step::Call(Call::AskToStop),
    })
}

fn restart(seen: Seen, facts: &Facts) -> Step {
    if facts.stage >= Stage::Stopped {
        return start(seen);
    }
    // Noted while it is off, so that one seen running later is known to have been started again.
    stop(seen, facts).unwrap_or(Step::Note(Stage::Stopped))
}

const fn destroy(seen: Seen) -> Step {
    match seen {
        Seen::Absent => Step::Done,
        Seen::Unknown => Step::Wait,
        Seen::Off | Seen::Crashed => Step::Call(Call::Undefine),
        Seen::Running | Seen::Blocked | Seen::Paused | Seen::ShuttingDown | Seen::Sleeping => {
            Step::Call(Call::ForceOff)
        }
    }
}

impl Call {
    /// What to note once it was made.
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::AskToStop => Some(Stage::Asked),
            Self::Reset | Self::SnapshotRevert(_) => Some(Stage::Acted),
            Self::Define
            | Self::Start
            | Self::ForceOff
            | Self::Suspend
            | Self::Resume
            | Self::Undefine
            | Self::SnapshotCreate(_)
            | Self::SnapshotDelete(_)
            | Self::Mark => None,
        }
    }

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Define => "define",
            Self::Start => "start",
            Self::AskToStop => "ask_to_stop",
            Self::ForceOff => "force_off",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Reset => "reset",
            Self::Undefine => "undefine",
            Self::SnapshotCreate(_) => "snapshot_create",
            Self::SnapshotRevert(_) => "snapshot_revert",
            Self::SnapshotDelete(_) => "snapshot_delete",
            Self::Mark => "mark",
        }
    }
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Asked, Self::Stopped, Self::Acted];

    /// The stage of a number in the database.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as i16 == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRunning => "the machine is not running; start it first",
            Self::Gone => "its host does not know the machine; start it, which defines it again",
            Self::NoSnapshot => "its host has no such snapshot",
        })
    }
}
