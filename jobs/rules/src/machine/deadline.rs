//! How long a hypervisor may take, errand by errand: one table for the driver, for whoever waits for it, and
//! for the job that does both.
//!
//! Each must outlast the one below it. A job that gives up before its driver does begins its next attempt
//! while the call of the last one is still on its way.

use std::time::Duration;

use super::Call;

/// How long a guest may take to switch itself off before it is switched off.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long an operation that waits for its guest keeps its slot; after that it comes back now and then.
pub const KEEPS_SLOT: Duration = Duration::from_secs(2);

/// Within which time it is recorded that a host hangs, counted from the moment in which it did, and nothing more is begun on
/// it.
pub const DEGRADED_WITHIN: Duration = Duration::from_secs(5);

/// How often a host is asked a small thing, and within which time it must answer. A host that hangs is known to by the end of
/// both; what is left of [`DEGRADED_WITHIN`] is for the word of it: a statement, on a machine that may be busy.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// See [`PROBE_EVERY`].
pub const PROBE_WITHIN: Duration = Duration::from_millis(2_500);

/// When a comparison of a host with what is recorded begins no further removal; the next takes the rest.
pub const LISTING_ENDS: Duration = Duration::from_secs(60);

/// By how much whoever waits for a driver outlasts it: a driver tells more of what went wrong.
const MARGIN: Duration = Duration::from_secs(1);

/// What is asked of a hypervisor, by how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errand {
    /// A look at one machine, or at what the host has.
    Look,
    /// A list of all machines or of a machine's snapshots, or figures.
    Read,
    /// What changes a machine's definition or state.
    Act,
    /// What makes or removes disks.
    Disk,
    /// What copies a guest's memory or a disk's content.
    Copy,
}

impl Errand {
    /// Every errand.
    pub const ALL: [Self; 5] = [Self::Look, Self::Read, Self::Act, Self::Disk, Self::Copy];

    /// How long a driver lets its host take.
    pub const fn answered_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::Look => 5,
            Self::Read => 30,
            Self::Act => 60,
            Self::Disk => 120,
            Self::Copy => 600,
        })
    }

    /// How long whoever asked a driver waits for it.
    pub const fn awaited_for(self) -> Duration {
        self.answered_within().saturating_add(MARGIN)
    }
}

impl Call {
    /// What it takes of the host, one after the other.
    pub const fn errands(self) -> &'static [Errand] {
        match self {
            Self::Define => &[Errand::Look, Errand::Disk, Errand::Act],
            Self::Start
            | Self::AskToStop
            | Self::ForceOff
            | Self::Suspend
            | Self::Resume
            | Self::Reset
            | Self::Undefine
            | Self::Mark => &[Errand::Act],
            Self::SnapshotCreate(_) | Self::SnapshotRevert(_) | Self::SnapshotDelete(_) => &[Errand::Copy],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_outlasts_the_driver() {
        for errand in Errand::ALL {
            assert!(errand.awaited_for() > errand.answered_within(), "{errand:?}");
        }
        assert!(KEEPS_SLOT < PATIENCE);
    }

    #[test]
    fn a_host_that_hangs_is_known_to_in_time_for_it_to_be_recorded() {
        let record = Duration::from_secs(1);
        assert!(PROBE_EVERY + PROBE_WITHIN + record <= DEGRADED_WITHIN);
    }
}
