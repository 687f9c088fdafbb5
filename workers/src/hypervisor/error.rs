//! Why a hypervisor did not do what it was asked, and what that means for the job.

use std::fmt;
use std::time::Duration;

use rules::id::MachineId;
use rules::machine::Seen;

/// What a failure means for the job that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// It may succeed later. Whether it has taken effect is not known; looking again tells.
    Retryable,
    /// It can never succeed as it was asked.
    Final,
    /// The host cannot be spoken to. It is no fault of the job, which waits for the host.
    HostLost,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The host does not know the machine.
    NoMachine,
    /// The host does not know the snapshot, disk or network.
    NoThing,
    /// The disk is not on the host's storage.
    NoDisk,
    /// The machine is in a state in which this cannot be done.
    WrongState(Seen),
    /// The name or id belongs to something else on the host.
    Taken,
    /// The machine carries a later generation than the one that asks.
    Stale,
    /// The order itself cannot be carried out by any host.
    Refused,
    /// This host cannot do it.
    Unsupported,
    /// The host has too little memory, disk or processors for it now.
    Exhausted,
    /// Somebody else holds the disk.
    Locked,
    /// Another operation of the host holds the machine.
    Busy,
    /// The host did not answer within the time. Whether it has done it is not known.
    Deadline(Duration),
    /// The connection to the host is gone or cannot be made.
    Unreachable,
    /// It is not known to be the host's own hypervisor that answers: nothing was asked of it.
    Unrecognised,
    /// The host lets nobody do this who comes as we do.
    Denied,
    /// Something else that the host reports.
    Other,
}

impl Fault {
    /// What it means for the job.
    pub const fn class(self) -> Class {
        match self {
            Self::NoMachine
            | Self::NoThing
            | Self::NoDisk
            | Self::WrongState(_)
            | Self::Taken
            | Self::Stale
            | Self::Refused
            | Self::Unsupported
            | Self::Denied => Class::Final,
            Self::Exhausted | Self::Locked | Self::Busy | Self::Deadline(_) | Self::Other => Class::Retryable,
            Self::Unreachable | Self::Unrecognised => Class::HostLost,
        }
    }
}

/// Code and domain as libvirt numbers them, kept for those who look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The error's number.
    pub code: u32,
    /// The part of libvirt that raised it.
    pub domain: u32,
}

/// A failed call to a hypervisor: what was tried on which machine, what went wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypervisorError {
    /// What went wrong.
    pub fault: Fault,
    /// What was tried, as a verb.
    pub act: &'static str,
    /// On which machine, if on one.
    pub machine: Option<MachineId>,
    /// The reason in words; the hypervisor's own where it gave one.
    pub reason: String,
    /// Where libvirt raised it, if it did.
    pub origin: Option<Origin>,
}

impl HypervisorError {
    /// This fault of this act.
    pub fn new(fault: Fault, act: &'static str) -> Self {
        Self { fault, act, machine: None, reason: String::new(), origin: None }
    }

    /// The same, of this machine.
    #[must_use]
    pub fn of(mut self, machine: MachineId) -> Self {
        self.machine = Some(machine);
        self
    }

    /// The same, with the reason in words.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// What it means for the job.
    pub const fn class(&self) -> Class {
        self.fault.class()
    }
}

impl fmt::Display for HypervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.act)?;
        if let Some(machine) = self.machine {
            write!(f, " of machine `{machine}`")?;
        }
        match self.fault {
            Fault::NoMachine => write!(f, ": the host does not know it; define it first")?,
            Fault::NoThing => write!(f, ": the host does not know what it names; list what there is")?,
            Fault::NoDisk => {
                write!(f, ": its disk is not on this host's storage; mount it or restore it, then try again")?
            }
            Fault::WrongState(state) => write!(f, ": it is {}; bring it into another state first", state)?,
            Fault::Taken => write!(f, ": the name is taken; choose another")?,
            Fault::Stale => write!(f, ": a later order has been carried out since; nothing was done")?,
            Fault::Refused => write!(f, ": the order cannot be carried out")?,
            Fault::Unsupported => write!(f, ": this host cannot do that")?,
            Fault::Exhausted => {
                write!(f, ": the host has too little left; free some or choose another host")?
            }
            Fault::Locked => write!(f, ": its disk is held by another; find who runs from it")?,
            Fault::Busy => write!(f, ": the host is still busy with it; it is tried again")?,
            Fault::Deadline(after) => {
                write!(f, ": no answer within {after:?}; whether it happened is seen at the next look")?;
            }
            Fault::Unreachable => {
                write!(f, ": the host cannot be reached; it is tried again when it is back")?
            }
            Fault::Unrecognised => write!(
                f,
                ": it is not known to be the host's own hypervisor that answers; it is tried again when it is"
            )?,
            Fault::Denied => write!(f, ": the host denies it; check the rights of the worker's user")?,
            Fault::Other => write!(f, ": the host reports an error")?,
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        if let Some(origin) = self.origin {
            write!(f, " [libvirt code {} domain {}]", origin.code, origin.domain)?;
        }
        Ok(())
    }
}

impl std::error::Error for HypervisorError {}
