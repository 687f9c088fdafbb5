//! What the findings of all checks say of a machine as a whole.

use super::{Check, Standing, Verdict};

/// How a machine is as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Nothing is wrong with it.
    Healthy,
    /// Something will be wrong with it soon.
    Warning,
    /// Something is wrong with it.
    Critical,
    /// Nobody knows.
    Unknown,
    /// It is switched off and not checked.
    Parked,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Warning, Self::Critical, Self::Unknown, Self::Parked];

    /// The name in the database, on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
            Self::Parked => "PARKED",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// The status of a machine of this standing, by the last verdict of each check that is made of it.
///
/// The worst verdict speaks for the machine. A figure that its host cannot tell is not held against it; but
/// without knowing whether it is reachable and in which state, nothing is known.
pub fn overall(standing: Standing, found: &[(Check, Verdict)]) -> Status {
    match standing {
        Standing::Parked => return Status::Parked,
        Standing::Unheard => return Status::Unknown,
        Standing::Due => {}
    }
    let any = |verdict: Verdict| found.iter().any(|(_, found)| *found == verdict);
    let vital_unknown = found.iter().any(|(check, found)| check.is_vital() && *found == Verdict::Unknown);
    if any(Verdict::Critical) {
        Status::Critical
    } else if vital_unknown {
        Status::Unknown
    } else if any(Verdict::Warning) {
        Status::Warning
    } else if any(Verdict::Healthy) {
        Status::Healthy
    } else {
        Status::Unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop::sample::select(Verdict::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn the_worst_speaks_and_the_order_does_not(
            mut found in prop::collection::vec((prop::sample::select(Check::ALL.to_vec()), verdict()), 0..6),
        ) {
            let status = overall(Standing::Due, &found);
            let critical = found.iter().any(|(_, v)| *v == Verdict::Critical);
            prop_assert_eq!(status == Status::Critical, critical);
            prop_assert!(status != Status::Parked);
            prop_assert!(status != Status::Healthy || found.iter().all(|(_, v)| *v != Verdict::Warning));
            found.reverse();
            prop_assert_eq!(overall(Standing::Due, &found), status);
            prop_assert_eq!(overall(Standing::Parked, &found), Status::Parked);
            prop_assert_eq!(overall(Standing::Unheard, &found), Status::Unknown);
        }
    }

    #[test]
    fn what_the_host_cannot_tell_is_not_held_against_the_machine() {
        let found = [(Check::State, Verdict::Healthy), (Check::MemoryUsage, Verdict::Unknown)];
        assert_eq!(overall(Standing::Due, &found), Status::Healthy);
        let found = [(Check::State, Verdict::Unknown), (Check::CpuUsage, Verdict::Warning)];
        assert_eq!(overall(Standing::Due, &found), Status::Unknown);
        assert_eq!(overall(Standing::Due, &[]), Status::Unknown);
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.as_str()), Some(status));
        }
    }
}
