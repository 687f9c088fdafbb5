//! Whether a machine's checks are made at all.

use crate::machine::{Seen, Wanted};

/// Whether a machine's checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// They are.
    Due,
    /// It is switched off as it shall be, or on its way out: there is nothing to check until it is on.
    Parked,
    /// Its host does not answer: nothing is known of it, and asking would only say so again.
    Unheard,
}

/// Whether the host holds memory for a machine in this state.
pub const fn is_on(seen: Seen) -> bool {
    match seen {
        Seen::Running | Seen::Blocked | Seen::Paused | Seen::ShuttingDown | Seen::Sleeping => true,
        Seen::Unknown | Seen::Absent | Seen::Off | Seen::Crashed => false,
    }
}

/// Decides from what a machine shall be, what it was last seen to be, and whether its host answers.
///
/// One that is off and shall run is checked all the same: that is what its owner wants to be told.
pub const fn standing(wanted: Wanted, seen: Seen, host_answers: bool) -> Standing {
    match wanted {
        Wanted::Destroyed => Standing::Parked,
        Wanted::Off if !is_on(seen) => Standing::Parked,
        Wanted::Off | Wanted::Running | Wanted::Suspended if host_answers => Standing::Due,
        Wanted::Off | Wanted::Running | Wanted::Suspended => Standing::Unheard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_on_purpose_is_left_alone_whatever_its_host_does() {
        for answers in [true, false] {
            for seen in [Seen::Off, Seen::Crashed, Seen::Absent, Seen::Unknown] {
                assert_eq!(standing(Wanted::Off, seen, answers), Standing::Parked, "{seen:?}");
            }
            assert_eq!(standing(Wanted::Destroyed, Seen::Running, answers), Standing::Parked);
        }
    }

    #[test]
    fn what_shall_run_is_checked_as_long_as_its_host_answers() {
        for wanted in [Wanted::Running, Wanted::Suspended] {
            for seen in [Seen::Running, Seen::Off, Seen::Crashed, Seen::Unknown] {
                assert_eq!(standing(wanted, seen, true), Standing::Due);
                assert_eq!(standing(wanted, seen, false), Standing::Unheard);
            }
        }
        assert_eq!(standing(Wanted::Off, Seen::ShuttingDown, true), Standing::Due);
    }
}
