//! What can be done to a machine, and what may become of a thing that was asked for.

use std::fmt;
use std::str::FromStr;

use super::Wanted;
use crate::id::SnapshotId;

/// What can be done to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make it and start it.
    Create,
    /// Make it known to its host again, switched off: its host has lost it.
    Define,
    /// Start it; one that is held still goes on.
    Start,
    /// Ask it to switch itself off, and switch it off when it does not.
    Stop,
    /// Switch it off.
    ForceOff,
    /// Hold it still.
    Suspend,
    /// Let it go on.
    Resume,
    /// Stop it as [`Action::Stop`] does, and start it.
    Restart,
    /// Press its reset button.
    Reset,
    /// Switch it off and remove it with all that belongs to it.
    Destroy,
    /// Take a snapshot.
    SnapshotCreate(SnapshotId),
    /// Put it back to a snapshot.
    SnapshotRevert(SnapshotId),
    /// Remove a snapshot.
    SnapshotDelete(SnapshotId),
}

/// An [`Action`] without what it acts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionName {
    /// See [`Action::Create`].
    Create,
    /// See [`Action::Define`].
    Define,
    /// See [`Action::Start`].
    Start,
    /// See [`Action::Stop`].
    Stop,
    /// See [`Action::ForceOff`].
    ForceOff,
    /// See [`Action::Suspend`].
    Suspend,
    /// See [`Action::Resume`].
    Resume,
    /// See [`Action::Restart`].
    Restart,
    /// See [`Action::Reset`].
    Reset,
    /// See [`Action::Destroy`].
    Destroy,
    /// See [`Action::SnapshotCreate`].
    SnapshotCreate,
    /// See [`Action::SnapshotRevert`].
    SnapshotRevert,
    /// See [`Action::SnapshotDelete`].
    SnapshotDelete,
}

/// What a drain of a host lets through, and what it keeps waiting.
impl ActionName {
    /// Whether it is done on a host that is drained: it leaves no more running there than there was, and is what
    /// one empties a host by.
    pub const fn passes_drain(self) -> bool {
        match self {
            Self::Stop | Self::ForceOff | Self::Destroy | Self::SnapshotCreate | Self::SnapshotDelete => true,
            Self::Create
            | Self::Define
            | Self::Start
            | Self::Suspend
            | Self::Resume
            | Self::Restart
            | Self::Reset
            | Self::SnapshotRevert => false,
        }
    }
}

/// What became of an operation, which is an action that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// It has not begun.
    Waiting,
    /// It has begun.
    Running,
    /// It did what it should.
    Succeeded,
    /// It cannot be done.
    Failed,
    /// Another took its place before it was done.
    Superseded,
}

/// A text that names no action, or one without the snapshot that it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action of this version, or its snapshot is missing")]
pub struct UnknownAction(pub String);

impl Action {
    /// Its name.
    pub const fn name(self) -> ActionName {
        match self {
            Self::Create => ActionName::Create,
            Self::Define => ActionName::Define,
            Self::Start => ActionName::Start,
            Self::Stop => ActionName::Stop,
            Self::ForceOff => ActionName::ForceOff,
            Self::Suspend => ActionName::Suspend,
            Self::Resume => ActionName::Resume,
            Self::Restart => ActionName::Restart,
            Self::Reset => ActionName::Reset,
            Self::Destroy => ActionName::Destroy,
            Self::SnapshotCreate(_) => ActionName::SnapshotCreate,
            Self::SnapshotRevert(_) => ActionName::SnapshotRevert,
            Self::SnapshotDelete(_) => ActionName::SnapshotDelete,
        }
    }

    /// The snapshot that it acts with.
    pub const fn snapshot(self) -> Option<SnapshotId> {
        match self {
            Self::SnapshotCreate(id) | Self::SnapshotRevert(id) | Self::SnapshotDelete(id) => Some(id),
            Self::Create
            | Self::Define
            | Self::Start
            | Self::Stop
            | Self::ForceOff
            | Self::Suspend
            | Self::Resume
            | Self::Restart
            | Self::Reset
            | Self::Destroy => None,
        }
    }

    /// The action of that name, with the snapshot where it needs one.
    ///
    /// # Errors
    /// When no action is called so, or its snapshot is missing.
    pub fn read(name: &str, snapshot: Option<SnapshotId>) -> Result<Self, UnknownAction> {
        let unknown = || UnknownAction(name.to_owned());
        Ok(match name.parse::<ActionName>()? {
            ActionName::Create => Self::Create,
            ActionName::Define => Self::Define,
            ActionName::Start => Self::Start,
            ActionName::Stop => Self::Stop,
            ActionName::ForceOff => Self::ForceOff,
            ActionName::Suspend => Self::Suspend,
            ActionName::Resume => Self::Resume,
            ActionName::Restart => Self::Restart,
            ActionName::Reset => Self::Reset,
            ActionName::Destroy => Self::Destroy,
            ActionName::SnapshotCreate => Self::SnapshotCreate(snapshot.ok_or_else(unknown)?),
            ActionName::SnapshotRevert => Self::SnapshotRevert(snapshot.ok_or_else(unknown)?),
            ActionName::SnapshotDelete => Self::SnapshotDelete(snapshot.ok_or_else(unknown)?),
        })
    }

    /// What state the machine shall be in once it is asked for; none when that does not change.
    pub const fn wants(self) -> Option<Wanted> {
        match self {
            Self::Create | Self::Start | Self::Resume | Self::Restart | Self::Reset => Some(Wanted::Running),
            Self::Define | Self::Stop | Self::ForceOff => Some(Wanted::Off),
            Self::Suspend => Some(Wanted::Suspended),
            Self::Destroy => Some(Wanted::Destroyed),
            Self::SnapshotCreate(_) | Self::SnapshotRevert(_) | Self::SnapshotDelete(_) => None,
        }
    }
}

impl ActionName {
    /// Every action.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Define,
        Self::Start,
        Self::Stop,
        Self::ForceOff,
        Self::Suspend,
        Self::Resume,
        Self::Restart,
        Self::Reset,
        Self::Destroy,
        Self::SnapshotCreate,
        Self::SnapshotRevert,
        Self::SnapshotDelete,
    ];

    /// The name in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Define => "DEFINE",
            Self::Start => "START",
            Self::Stop => "STOP",
            Self::ForceOff => "FORCE_OFF",
            Self::Suspend => "SUSPEND",
            Self::Resume => "RESUME",
            Self::Restart => "RESTART",
            Self::Reset => "RESET",
            Self::Destroy => "DESTROY",
            Self::SnapshotCreate => "SNAPSHOT_CREATE",
            Self::SnapshotRevert => "SNAPSHOT_REVERT",
            Self::SnapshotDelete => "SNAPSHOT_DELETE",
        }
    }
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Superseded];

    /// The name in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Superseded => "SUPERSEDED",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Whether nothing more will become of it.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Superseded)
    }
}

impl FromStr for ActionName {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        Self::ALL.into_iter().find(|a| a.as_str() == text).ok_or_else(|| UnknownAction(text.into()))
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_actions() {
        let id = SnapshotId(uuid::Uuid::from_u128(7));
        for name in ActionName::ALL {
            let action = Action::read(name.as_str(), Some(id)).unwrap();
            assert_eq!(action.name(), name);
            assert_eq!(Action::read(name.as_str(), action.snapshot()), Ok(action));
            assert_eq!(Action::read(name.as_str(), None).is_err(), action.snapshot().is_some());
        }
        for state in OperationState::ALL {
            assert_eq!(OperationState::from_name(state.as_str()), Some(state));
        }
    }
}
