//! Names what events are about.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What kind of thing an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// A run of a workflow.
    Run,
    /// A machine.
    Machine,
    /// A listener.
    Listener,
    /// A department, with the machines in it.
    Department,
    /// The account of a user.
    User,
    /// An API key. Told to nobody: it says that whoever holds it may hold less now.
    Key,
    /// A tenant. Told to nobody, likewise.
    Tenant,
}

impl TopicKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Run, Self::Machine, Self::Listener, Self::Department, Self::User, Self::Key, Self::Tenant];

    /// The word in the log of events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "RUN",
            Self::Machine => "MACHINE",
            Self::Listener => "LISTENER",
            Self::Department => "DEPARTMENT",
            Self::User => "USER",
            Self::Key => "KEY",
            Self::Tenant => "TENANT",
        }
    }

    /// What its rooms are called, before the colon; none for what is told to nobody.
    pub const fn room(self) -> Option<&'static str> {
        match self {
            Self::Run => Some("run"),
            Self::Machine => Some("vm"),
            Self::Listener => Some("listener"),
            Self::Department => Some("department"),
            Self::User => Some("user"),
            Self::Key | Self::Tenant => None,
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One thing that events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    /// What kind of thing.
    pub kind: TopicKind,
    /// Which.
    pub id: Uuid,
}

/// Why a text names no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a room is named `run:<id>`, `vm:<id>`, `listener:<id>`, `department:<id>` or `user:<id>`")]
pub struct BadRoom;

impl FromStr for Topic {
    type Err = BadRoom;

    fn from_str(room: &str) -> Result<Self, BadRoom> {
        let (name, id) = room.split_once(':').ok_or(BadRoom)?;
        let kind = TopicKind::ALL.into_iter().find(|kind| kind.room() == Some(name)).ok_or(BadRoom)?;
        Ok(Self { kind, id: id.parse().map_err(|_| BadRoom)? })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.room().unwrap_or("access"), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_read_back_and_nobody_enters_what_is_told_to_nobody() {
        let id = Uuid::from_u128(7);
        for kind in TopicKind::ALL {
            let topic = Topic { kind, id };
            assert_eq!(TopicKind::from_word(kind.as_str()), Some(kind));
            assert_eq!(
                topic.to_string().parse(),
                if kind.room().is_some() { Ok(topic) } else { Err(BadRoom) }
            );
        }
        for bad in ["", "vm", "vm:", "vm:1", "host:00000000-0000-0000-0000-000000000007", "VM:x"] {
            assert_eq!(bad.parse::<Topic>(), Err(BadRoom), "{bad}");
        }
    }
}
