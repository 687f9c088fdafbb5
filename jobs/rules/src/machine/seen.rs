//! What state a machine shall be in, and what state it was seen in.

use std::fmt;

/// What state a machine shall be in, as its owner last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Running.
    Running,
    /// Switched off.
    Off,
    /// Held still, in memory.
    Suspended,
    /// Gone. There is no way back.
    Destroyed,
}

/// What state a machine was seen in on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Nobody has looked, or looking failed: it says nothing of the machine.
    Unknown,
    /// The host does not know the machine.
    Absent,
    /// It runs.
    Running,
    /// It runs, and waits for a resource.
    Blocked,
    /// It is held still.
    Paused,
    /// It was asked to switch itself off and is about it.
    ShuttingDown,
    /// It is switched off.
    Off,
    /// Its guest is dead, and its host keeps what is left of it until it is switched off.
    Crashed,
    /// Its guest put itself to sleep.
    Sleeping,
}

impl Wanted {
    /// Every wanted state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Off, Self::Suspended, Self::Destroyed];

    /// The name in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Off => "OFF",
            Self::Suspended => "SUSPENDED",
            Self::Destroyed => "DESTROYED",
        }
    }

    /// The wanted state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|w| w.as_str() == name)
    }

    /// What a machine shall be that is put into this state and left there; none when that says nothing.
    pub const fn of(seen: Seen) -> Option<Self> {
        match seen {
            Seen::Running | Seen::Blocked | Seen::Sleeping => Some(Self::Running),
            Seen::Paused => Some(Self::Suspended),
            Seen::Off | Seen::Crashed | Seen::ShuttingDown => Some(Self::Off),
            Seen::Unknown | Seen::Absent => None,
        }
    }

    /// Whether a machine seen so is as wanted. What nobody knows is never called a difference.
    pub const fn is_met_by(self, seen: Seen) -> bool {
        match (self, seen) {
            (_, Seen::Unknown)
            | (Self::Running, Seen::Running | Seen::Blocked | Seen::Sleeping)
            // One that crashed does not run either.
            | (Self::Off, Seen::Off | Seen::Crashed)
            | (Self::Suspended, Seen::Paused)
            | (Self::Destroyed, Seen::Absent) => true,
            (
                Self::Running | Self::Off | Self::Suspended | Self::Destroyed,
                Seen::Absent
                | Seen::Running
                | Seen::Blocked
                | Seen::Paused
                | Seen::ShuttingDown
                | Seen::Off
                | Seen::Crashed
                | Seen::Sleeping,
            ) => false,
        }
    }
}

impl Seen {
    /// Every seen state.
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Absent,
        Self::Running,
        Self::Blocked,
        Self::Paused,
        Self::ShuttingDown,
        Self::Off,
        Self::Crashed,
        Self::Sleeping,
    ];

    /// The name in the database and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Absent => "ABSENT",
            Self::Running => "RUNNING",
            Self::Blocked => "BLOCKED",
            Self::Paused => "PAUSED",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::Off => "OFF",
            Self::Crashed => "CRASHED",
            Self::Sleeping => "SLEEPING",
        }
    }

    /// The seen state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_the_unknown_is_no_difference() {
        for wanted in Wanted::ALL {
            assert_eq!(Wanted::from_name(wanted.as_str()), Some(wanted));
            assert!(wanted.is_met_by(Seen::Unknown));
            assert!(Seen::ALL.into_iter().any(|seen| !wanted.is_met_by(seen)));
        }
        for seen in Seen::ALL {
            assert_eq!(Seen::from_name(seen.as_str()), Some(seen));
            let settled = seen != Seen::ShuttingDown;
            assert!(!settled || Wanted::of(seen).is_none_or(|wanted| wanted.is_met_by(seen)), "{seen}");
        }
        assert!(!Wanted::Running.is_met_by(Seen::Off));
    }
}
