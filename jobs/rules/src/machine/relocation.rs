//! Whether a machine may be put on another host: never while it may run where it is.

use std::fmt;

use super::Seen;

/// What is known of a machine where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whereabouts {
    /// What it was seen to be.
    pub seen: Seen,
    /// Whether anything was ever done to it there.
    pub touched: bool,
    /// Whether an operation on it has begun and not ended.
    pub begun: bool,
    /// Whether it has snapshots, which its host keeps.
    pub snapshots: bool,
    /// Whether its host is held by a worker and answers it.
    pub host_answers: bool,
    /// Whether somebody vouches that its host has no power.
    pub vouched: bool,
}

/// Why it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    /// It is not off.
    NotOff(Seen),
    /// An operation on it has begun, and what came of it is not known.
    Begun,
    /// Nobody knows whether it is off.
    Unknown,
    /// Its host keeps snapshots of it.
    Snapshots,
    /// Its host is said to have no power, and answers.
    HostAnswers,
}

impl Whereabouts {
    /// Whether it may be put on another host.
    ///
    /// # Errors
    /// Why not.
    pub const fn may_move(self) -> Result<(), Stays> {
        match self.seen {
            _ if self.vouched && self.host_answers => Err(Stays::HostAnswers),
            _ if self.vouched => Ok(()),
            _ if self.begun => Err(Stays::Begun),
            Seen::Off | Seen::Crashed | Seen::Absent if self.snapshots => Err(Stays::Snapshots),
            Seen::Off | Seen::Crashed | Seen::Absent => Ok(()),
            Seen::Unknown if self.touched => Err(Stays::Unknown),
            Seen::Unknown => Ok(()),
            Seen::Running | Seen::Blocked | Seen::Paused | Seen::ShuttingDown | Seen::Sleeping => {
                Err(Stays::NotOff(self.seen))
            }
        }
    }
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOff(seen) => write!(
                f,
                "it is {seen} there; switch it off first, or, if its host has lost its power, vouch for that"
            ),
            Self::Begun => f.write_str(
                "an operation on it has begun there and has not ended; wait for its end, or, if the host has \
                 lost its power, vouch for that",
            ),
            Self::Unknown => f.write_str(
                "nobody knows whether it runs there; wait for the next listing of its host, or, if the host \
                 has lost its power, vouch for that",
            ),
            Self::Snapshots => f.write_str("its snapshots are kept there; delete them first"),
            Self::HostAnswers => f.write_str(
                "its host answers, so it has power; move it without vouching for the contrary, once it is off",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_that_may_run_unless_its_host_is_known_to_be_dead() {
        let lost = Whereabouts {
            seen: Seen::Off,
            touched: true,
            begun: false,
            snapshots: false,
            host_answers: false,
            vouched: false,
        };
        for seen in Seen::ALL {
            let off = matches!(seen, Seen::Off | Seen::Crashed | Seen::Absent);
            let there = Whereabouts { seen, ..lost };
            assert_eq!(there.may_move().is_ok(), off, "{seen}");
            assert_eq!(Whereabouts { begun: true, ..there }.may_move(), Err(Stays::Begun), "{seen}");
            assert_eq!(Whereabouts { vouched: true, begun: true, ..there }.may_move(), Ok(()), "{seen}");
            let answers = Whereabouts { vouched: true, host_answers: true, ..there };
            assert_eq!(answers.may_move(), Err(Stays::HostAnswers), "{seen}");
        }
        assert_eq!(Whereabouts { snapshots: true, ..lost }.may_move(), Err(Stays::Snapshots));
        assert_eq!(Whereabouts { snapshots: true, vouched: true, ..lost }.may_move(), Ok(()));
        assert_eq!(Whereabouts { seen: Seen::Unknown, touched: false, ..lost }.may_move(), Ok(()));
    }
}
