//! What may become of a job: the whole state machine as one function.

use std::fmt;

/// Where a job is. In the database the state is which table holds its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// May be claimed now.
    Ready,
    /// Waits for a time: delayed, to be retried, or snoozed.
    Scheduled,
    /// Waits behind the head of its order key.
    Blocked,
    /// A worker holds it.
    Leased,
    /// Finished well.
    Done,
    /// Stopped by somebody.
    Cancelled,
    /// Among the dead letters.
    Dead,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A worker claims it.
    Claim,
    /// Its time has come; the flag tells whether its order key is held by another job.
    FallDue {
        /// Another job is the head of its key.
        key_busy: bool,
    },
    /// The job before it under its key has ended.
    PassKey,
    /// Its attempt succeeded.
    Finish,
    /// Its attempt failed; the flag tells whether another is left.
    Fail {
        /// An attempt is left.
        again: bool,
    },
    /// Its attempt failed for good.
    Die,
    /// Its handler asks for a later call.
    Snooze,
    /// Its worker hands it back unstarted.
    Release,
    /// Its lease ran out; the flag tells whether too many workers died under it.
    Expire {
        /// It is poison.
        poison: bool,
    },
    /// Somebody cancels it, and, when leased, its handler has stopped.
    Cancel,
    /// An operator makes it due now; the flag tells whether its order key is held by another job.
    Hasten {
        /// Another job is the head of its key.
        key_busy: bool,
    },
    /// An operator gives it new attempts; the flag tells whether its order key is held.
    Redrive {
        /// Another job is the head of its key.
        key_busy: bool,
    },
}

/// A change that cannot happen in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illegal(pub State, pub Change);

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} cannot happen to a job that is {:?}", self.1, self.0)
    }
}

impl std::error::Error for Illegal {}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Ready, Self::Scheduled, Self::Blocked, Self::Leased, Self::Done, Self::Cancelled, Self::Dead];

    /// The name that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Scheduled => "SCHEDULED",
            Self::Blocked => "BLOCKED",
            Self::Leased => "LEASED",
            Self::Done => "DONE",
            Self::Cancelled => "CANCELLED",
            Self::Dead => "DEAD",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether the job still counts as accepted work to be done.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Ready | Self::Scheduled | Self::Blocked | Self::Leased)
    }

    /// The state after a change.
    ///
    /// # Errors
    /// [`Illegal`] when the change cannot happen in this state.
    pub const fn after(self, change: Change) -> Result<Self, Illegal> {
        let next = match (self, change) {
            (Self::Ready, Change::Claim) => Self::Leased,
            (Self::Scheduled, Change::FallDue { key_busy: true } | Change::Hasten { key_busy: true }) => {
                Self::Blocked
            }
            (Self::Scheduled, Change::FallDue { key_busy: false } | Change::Hasten { key_busy: false }) => {
                Self::Ready
            }
            (Self::Blocked, Change::PassKey) => Self::Ready,
            (Self::Leased, Change::Finish) => Self::Done,
            (Self::Leased, Change::Fail { again: true } | Change::Snooze) => Self::Scheduled,
            (Self::Leased, Change::Fail { again: false } | Change::Die | Change::Expire { poison: true }) => {
                Self::Dead
            }
            (Self::Leased, Change::Release | Change::Expire { poison: false }) => Self::Ready,
            (Self::Ready | Self::Scheduled | Self::Blocked | Self::Leased, Change::Cancel) => Self::Cancelled,
            (Self::Dead, Change::Redrive { key_busy: false }) => Self::Ready,
            (Self::Dead, Change::Redrive { key_busy: true }) => Self::Blocked,
            (state, change) => return Err(Illegal(state, change)),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 16] = [
        Change::Claim,
        Change::FallDue { key_busy: false },
        Change::FallDue { key_busy: true },
        Change::PassKey,
        Change::Finish,
        Change::Fail { again: true },
        Change::Fail { again: false },
        Change::Die,
        Change::Snooze,
        Change::Release,
        Change::Expire { poison: false },
        Change::Expire { poison: true },
        Change::Cancel,
        Change::Hasten { key_busy: false },
        Change::Redrive { key_busy: false },
        Change::Redrive { key_busy: true },
    ];

    #[test]
    fn what_ended_well_or_was_cancelled_never_moves_again() {
        for change in CHANGES {
            assert_eq!(State::Done.after(change), Err(Illegal(State::Done, change)));
            assert_eq!(State::Cancelled.after(change), Err(Illegal(State::Cancelled, change)));
        }
    }

    #[test]
    fn every_live_state_reaches_an_end_and_only_leased_can_finish() {
        for state in State::ALL.into_iter().filter(|s| s.is_live()) {
            assert_eq!(state.after(Change::Cancel), Ok(State::Cancelled));
            assert_eq!(state.after(Change::Finish).is_ok(), state == State::Leased);
            assert!(CHANGES.iter().any(|c| matches!(state.after(*c), Ok(next) if next != State::Cancelled)));
        }
    }

    #[test]
    fn only_a_redrive_wakes_the_dead() {
        for change in CHANGES {
            assert_eq!(State::Dead.after(change).is_ok(), matches!(change, Change::Redrive { .. }));
        }
    }
}
