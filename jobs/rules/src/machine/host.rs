//! What state a host is in, and whether a machine fits on it.

use serde::{Deserialize, Serialize};

use super::Spec;

/// How well the hypervisor answers the worker that holds the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// It answers.
    Online,
    /// It is connected and does not answer in time.
    Degraded,
    /// It cannot be connected to.
    Unreachable,
}

/// What state a host is in, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostState {
    /// A worker holds it and its hypervisor answers.
    Online,
    /// Its hypervisor does not answer in time. Nothing new is begun on it.
    Degraded,
    /// No worker holds it, or the one that does cannot connect. That says nothing of its machines.
    Unreachable,
    /// Somebody drains it: what runs goes on, nothing more is started on it.
    Draining,
}

/// What is known of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFacts {
    /// Somebody drains it.
    pub draining: bool,
    /// A worker holds its lease now.
    pub held: bool,
    /// What that worker reported last.
    pub reach: Reach,
}

/// What a host has for its machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Reach {
    /// Every reach.
    pub const ALL: [Self; 3] = [Self::Online, Self::Degraded, Self::Unreachable];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Degraded => "DEGRADED",
            Self::Unreachable => "UNREACHABLE",
        }
    }

    /// The reach of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

impl HostState {
    /// The state for these facts. Draining is said first: somebody did it.
    pub const fn of(facts: &HostFacts) -> Self {
        match facts {
            HostFacts { draining: true, .. } => Self::Draining,
            HostFacts { held: false, .. } => Self::Unreachable,
            HostFacts { reach: Reach::Online, .. } => Self::Online,
            HostFacts { reach: Reach::Degraded, .. } => Self::Degraded,
            HostFacts { reach: Reach::Unreachable, .. } => Self::Unreachable,
        }
    }

    /// The name that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Degraded => "DEGRADED",
            Self::Unreachable => "UNREACHABLE",
            Self::Draining => "DRAINING",
        }
    }
}

impl Capacity {
    /// Why a machine of its own can never run here; none when it can. Hosts may be promised more than they
    /// have in all, but no machine more than the whole host.
    pub fn refuses(&self, spec: &Spec) -> Option<String> {
        if u64::from(spec.memory_mib) > self.memory_mib {
            return Some(format!(
                "it needs {} MiB of memory and the host has {}",
                spec.memory_mib, self.memory_mib
            ));
        }
        if u32::from(spec.vcpus) > self.cpus {
            return Some(format!("it needs {} processors and the host has {}", spec.vcpus, self.cpus));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, Os};
    use super::*;

    #[test]
    fn a_state_says_what_somebody_did_first() {
        let facts = HostFacts { draining: false, held: true, reach: Reach::Online };
        assert_eq!(HostState::of(&facts), HostState::Online);
        assert_eq!(HostState::of(&HostFacts { held: false, ..facts }), HostState::Unreachable);
        assert_eq!(HostState::of(&HostFacts { reach: Reach::Degraded, ..facts }), HostState::Degraded);
        assert_eq!(HostState::of(&HostFacts { draining: true, held: false, ..facts }), HostState::Draining);
        for reach in Reach::ALL {
            assert_eq!(Reach::from_name(reach.as_str()), Some(reach));
        }
    }

    #[test]
    fn no_machine_is_larger_than_its_host() {
        let host = Capacity { cpus: 4, memory_mib: 4096 };
        let draft = Draft { name: "a", vcpus: 4, memory_mib: 4096, disk_gib: 0, os: Os::Fedora };
        assert_eq!(host.refuses(&draft.check().unwrap()), None);
        let more = Draft { memory_mib: 4097, ..draft.clone() };
        assert!(host.refuses(&more.check().unwrap()).unwrap().contains("memory"));
        let more = Draft { vcpus: 5, ..draft };
        assert!(host.refuses(&more.check().unwrap()).unwrap().contains("processors"));
    }
}
