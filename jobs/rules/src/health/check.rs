//! What is checked of a machine, how often, and how much of it at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// Seconds between two checks of one sort unless the machine's owner says otherwise.
pub const DEFAULT_INTERVAL_S: u32 = 300;

/// Seconds that may lie between two checks of one sort.
pub const INTERVAL_S: RangeInclusive<u32> = 10..=86_400;

/// Checks of one machine that are made at once.
pub const IN_FLIGHT_PER_MACHINE: i32 = 2;

/// Checks that are made at once in the whole installation, however many hosts and workers it has.
pub const IN_FLIGHT_IN_ALL: i32 = 50;

/// By how much of the interval the next check may come sooner or later, so that those which fell due together
/// do not for ever.
const JITTER: f64 = 0.1;

/// A thing that is checked of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Whether its host answers for it.
    Reachable,
    /// Whether it is in the state in which it shall be.
    State,
    /// How much of its processors it uses.
    CpuUsage,
    /// How much of its memory it uses.
    MemoryUsage,
    /// How full its disks are.
    DiskSpace,
}

/// A text that names no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no check; there are REACHABLE, STATE, CPU_USAGE, MEMORY_USAGE and DISK_SPACE")]
pub struct UnknownCheck(pub String);

impl Check {
    /// Every check.
    pub const ALL: [Self; 5] =
        [Self::Reachable, Self::State, Self::CpuUsage, Self::MemoryUsage, Self::DiskSpace];

    /// The name in the database, on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "REACHABLE",
            Self::State => "STATE",
            Self::CpuUsage => "CPU_USAGE",
            Self::MemoryUsage => "MEMORY_USAGE",
            Self::DiskSpace => "DISK_SPACE",
        }
    }

    /// How long its reading may take before it comes to nothing.
    pub const fn within(self) -> Duration {
        match self {
            Self::Reachable | Self::State => Duration::from_secs(5),
            Self::CpuUsage | Self::MemoryUsage | Self::DiskSpace => Duration::from_secs(15),
        }
    }

    /// Whether the overall status is unknown while this is: without it the others say nothing of now.
    pub const fn is_vital(self) -> bool {
        match self {
            Self::Reachable | Self::State => true,
            Self::CpuUsage | Self::MemoryUsage | Self::DiskSpace => false,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(text: &str) -> Result<Self, UnknownCheck> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| UnknownCheck(text.into()))
    }
}

/// How long after a check the next of its sort is due: the interval, a tenth more or less by `chance` in
/// `0.0..1.0`.
pub fn next_after(interval_s: u32, chance: f64) -> Duration {
    let interval = Duration::from_secs(u64::from(interval_s.clamp(*INTERVAL_S.start(), *INTERVAL_S.end())));
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lead_back_to_their_checks() {
        for check in Check::ALL {
            assert_eq!(check.as_str().parse(), Ok(check));
        }
        let refused = "WINDOWS_UPDATES".parse::<Check>().unwrap_err().to_string();
        for check in Check::ALL {
            assert!(refused.contains(check.as_str()), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn the_next_is_due_about_an_interval_later(interval in any::<u32>(), chance in 0.0f64..1.0) {
            let bounded = f64::from(interval.clamp(*INTERVAL_S.start(), *INTERVAL_S.end()));
            let next = next_after(interval, chance).as_secs_f64();
            prop_assert!((bounded * 0.899..=bounded * 1.101).contains(&next), "{next}");
        }
    }
}
