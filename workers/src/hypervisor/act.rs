//! What each act does in each state: the one table that all hosts follow.

use rules::id::MachineId;
use rules::machine::Seen;

use super::driver::Outcome;
use super::error::{Fault, HypervisorError};
use super::seen::{Mark, Observed, is_active};

/// Acts on a machine as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Start,
    ShutDown,
    ForceOff,
    Suspend,
    Resume,
    Reboot,
    Reset,
    Undefine,
    Revert,
    Mark,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The act.
    Do,
    /// Nothing: its end is reached.
    Reached,
}

impl Act {
    /// The verb in messages and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::ShutDown => "shut down",
            Self::ForceOff => "force off",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
            Self::Undefine => "undefine",
            Self::Revert => "revert",
            Self::Mark => "mark",
        }
    }

    /// Whether the state afterwards may be the same as before, so that only the mark tells.
    const fn is_traceless(self) -> bool {
        match self {
            Self::Reboot | Self::Reset | Self::Revert => true,
            Self::Start
            | Self::ShutDown
            | Self::ForceOff
            | Self::Suspend
            | Self::Resume
            | Self::Undefine
            | Self::Mark => false,
        }
    }

    /// Decides by what is seen.
    pub(crate) fn decide(self, machine: MachineId, seen: &Observed, mark: Mark) -> Outcome<Decision> {
        let refuse = |fault| Err(HypervisorError::new(fault, self.as_str()).of(machine));
        let is_there = seen.state != Seen::Absent;
        if is_there && is_stale(seen, mark) {
            return refuse(Fault::Stale);
        }
        if is_there && self.is_traceless() && seen.mark == Some(mark) {
            return Ok(Decision::Reached);
        }
        match (self, seen.state) {
            // What is not known is looked at again.
            (_, Seen::Unknown) => refuse(Fault::Busy),
            (Self::ForceOff | Self::Undefine, Seen::Absent) => Ok(Decision::Reached),
            (_, Seen::Absent) => refuse(Fault::NoMachine),
            (Self::Revert, _) => Ok(Decision::Do),
            // Whatever the state: the mark follows on any decision that is no refusal.
            (Self::Mark, _) => Ok(Decision::Reached),
            (Self::ForceOff, state) => Ok(if is_active(state) { Decision::Do } else { Decision::Reached }),
            (Self::Undefine, state) if is_active(state) => refuse(Fault::WrongState(state)),
            (Self::Undefine, _) => Ok(Decision::Do),
            (Self::Reset, state) if is_active(state) => Ok(Decision::Do),

            (Self::Start, Seen::Off | Seen::Crashed) => Ok(Decision::Do),
            (Self::Start | Self::Resume, Seen::Running | Seen::Blocked) => Ok(Decision::Reached),

            (Self::ShutDown, Seen::Off | Seen::Crashed | Seen::ShuttingDown) => Ok(Decision::Reached),
            (Self::ShutDown | Self::Suspend | Self::Reboot, Seen::Running | Seen::Blocked) => {
                Ok(Decision::Do)
            }

            (Self::Suspend, Seen::Paused) => Ok(Decision::Reached),
            (Self::Resume, Seen::Paused | Seen::Sleeping) => Ok(Decision::Do),
            (
                Self::Start | Self::ShutDown | Self::Suspend | Self::Resume | Self::Reboot | Self::Reset,
                state,
            ) => refuse(Fault::WrongState(state)),
        }
    }

    /// Judges by what is seen afterwards. A request to the guest asks for nothing.
    pub(crate) fn judge(self, machine: MachineId, seen: Observed) -> Outcome<Observed> {
        let is_reached = match self {
            Self::Start | Self::Resume => matches!(seen.state, Seen::Running | Seen::Blocked),
            Self::ForceOff => !is_active(seen.state) && seen.state != Seen::Unknown,
            Self::Suspend => seen.state == Seen::Paused,
            Self::Undefine => seen.state == Seen::Absent,
            Self::ShutDown | Self::Reboot | Self::Reset | Self::Revert | Self::Mark => true,
        };
        if is_reached {
            return Ok(seen);
        }
        let (state, reason) = (seen.state, seen.reason.as_str());
        Err(HypervisorError::new(Fault::Other, self.as_str())
            .of(machine)
            .because(format!("it is {state} afterwards: {reason}")))
    }
}

/// Whether the machine carries a later order than this one.
pub(crate) fn is_stale(seen: &Observed, mark: Mark) -> bool {
    seen.mark.is_some_and(|carried| carried.generation > mark.generation)
}
