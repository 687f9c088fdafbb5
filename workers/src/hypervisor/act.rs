//! What each act does in each state: the one table that all hosts follow.

use super::definition::MachineId;
use super::driver::Outcome;
use super::error::{Fault, HypervisorError};
use super::seen::{Mark, Power, Seen};

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
        }
    }

    /// Whether the state afterwards is the same as before, so that only the mark tells.
    const fn is_traceless(self) -> bool {
        match self {
            Self::Reboot | Self::Reset | Self::Revert => true,
            Self::Start | Self::ShutDown | Self::ForceOff | Self::Suspend | Self::Resume | Self::Undefine => {
                false
            }
        }
    }

    /// Decides by what is seen.
    pub(crate) fn decide(self, machine: MachineId, seen: &Seen, mark: Mark) -> Outcome<Decision> {
        let refuse = |fault| Err(HypervisorError::new(fault, self.as_str()).of(machine));
        if seen.power != Power::Absent && is_stale(seen, mark) {
            return refuse(Fault::Stale);
        }
        if self.is_traceless() && seen.mark == Some(mark) {
            return Ok(Decision::Reached);
        }
        match (self, seen.power) {
            (Self::ForceOff | Self::Undefine, Power::Absent)
            | (Self::ForceOff | Self::ShutDown, Power::Off)
            | (Self::Start | Self::Resume, Power::Running)
            | (Self::Suspend, Power::Paused)
            | (Self::ShutDown, Power::Stopping) => Ok(Decision::Reached),
            (
                Self::Start
                | Self::ShutDown
                | Self::Suspend
                | Self::Resume
                | Self::Reboot
                | Self::Reset
                | Self::Revert,
                Power::Absent,
            ) => refuse(Fault::NoMachine),
            (Self::Start | Self::Undefine, Power::Off)
            | (Self::ShutDown | Self::Suspend | Self::Reboot | Self::Reset, Power::Running)
            | (Self::Resume, Power::Paused)
            | (Self::Reset, Power::Stopping)
            | (Self::ForceOff, Power::Running | Power::Paused | Power::Stopping | Power::Crashed)
            | (
                Self::Revert,
                Power::Off | Power::Running | Power::Paused | Power::Stopping | Power::Crashed,
            ) => Ok(Decision::Do),
            (Self::Suspend | Self::Resume | Self::Reboot | Self::Reset, Power::Off)
            | (Self::Undefine, Power::Running)
            | (Self::Start | Self::ShutDown | Self::Reboot | Self::Reset | Self::Undefine, Power::Paused)
            | (Self::Start | Self::Suspend | Self::Resume | Self::Reboot | Self::Undefine, Power::Stopping)
            | (
                Self::Start
                | Self::ShutDown
                | Self::Suspend
                | Self::Resume
                | Self::Reboot
                | Self::Reset
                | Self::Undefine,
                Power::Crashed,
            ) => refuse(Fault::WrongState(seen.power)),
        }
    }

    /// Judges by what is seen afterwards. A request to the guest asks for nothing.
    pub(crate) fn judge(self, machine: MachineId, seen: Seen) -> Outcome<Seen> {
        let is_reached = match self {
            Self::Start | Self::Resume => matches!(seen.power, Power::Running),
            Self::ForceOff => matches!(seen.power, Power::Off | Power::Absent),
            Self::Suspend => matches!(seen.power, Power::Paused),
            Self::Undefine => matches!(seen.power, Power::Absent),
            Self::ShutDown | Self::Reboot | Self::Reset | Self::Revert => true,
        };
        if is_reached {
            return Ok(seen);
        }
        let (power, reason) = (seen.power.as_str(), seen.reason.as_str());
        Err(HypervisorError::new(Fault::Other, self.as_str())
            .of(machine)
            .because(format!("it is {power} afterwards: {reason}")))
    }
}

/// Whether the machine carries a later order than this one.
pub(crate) fn is_stale(seen: &Seen, mark: Mark) -> bool {
    seen.mark.is_some_and(|carried| carried.generation > mark.generation)
}
