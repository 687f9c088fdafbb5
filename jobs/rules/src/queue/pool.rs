//! Sets of workers that claim together: the fixed ones, and two of each host.

use std::fmt;
use std::str::FromStr;

use super::Queue;

/// The first pool of a host. Below lie the fixed pools and the queues that people make.
pub const FIRST_HOST_POOL: i32 = 1_000_000;

/// The first queue of what passes a drain: each host has one, in the pool of its operations, by its number. Above all
/// queues of pools.
pub const FIRST_OFF_QUEUE: i32 = 3_000_000;

/// The most hosts that can be numbered.
pub const MAX_HOSTS: i32 = 1_000_000;

/// A set of workers that claims together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Workflow steps.
    Dag,
    /// Listener notices and their actions.
    Events,
    /// Audit entries.
    Audit,
    /// Upkeep.
    Maintenance,
    /// One class of one host's work, which only the worker that holds the host claims.
    Host(HostNo, Class),
}

/// A host's number, drawn when it is first registered and never used again. From 0 to below [`MAX_HOSTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostNo(i32);

/// What a host's work is divided into. Each class has slots of its own, so that checks never crowd out
/// operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Operations on machines.
    Vm = 0,
    /// Health checks and listings.
    Health = 1,
}

/// Where the jobs of a kind are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// In a pool that every installation has.
    Pool(Pool),
    /// On the host that the job names, among this class.
    Host(Class),
}

/// A pool that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no worker pool; there are dag, events, audit and maintenance, and vm with a host")]
pub struct UnknownPool(pub String);

impl Pool {
    /// The pools that every installation has.
    pub const FIXED: [Self; 4] = [Self::Dag, Self::Events, Self::Audit, Self::Maintenance];

    /// The name on the command line and in metrics; a host's pools share those of their classes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dag => "dag",
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Maintenance => "maintenance",
            Self::Host(_, class) => class.as_str(),
        }
    }

    /// Its row in `job_pool`.
    pub const fn id(self) -> i32 {
        match self {
            Self::Dag => 1,
            Self::Events => 2,
            Self::Audit => 3,
            Self::Maintenance => 4,
            Self::Host(host, class) => FIRST_HOST_POOL + host.0 * 2 + class as i32,
        }
    }

    /// The pool of a row in `job_pool`, if this version knows it.
    pub fn from_id(id: i32) -> Option<Self> {
        if let Some(offset) = id.checked_sub(FIRST_HOST_POOL).filter(|offset| *offset >= 0) {
            let class = if offset % 2 == 0 { Class::Vm } else { Class::Health };
            return Some(Self::Host(HostNo::new(offset / 2)?, class));
        }
        Self::FIXED.into_iter().find(|p| p.id() == id)
    }

    /// The queue of the same number, which every pool has.
    pub const fn queue(self) -> Queue {
        let pool_id = self.id();
        Queue { id: pool_id, pool_id }
    }
}

impl HostNo {
    /// The number of the first host.
    pub const FIRST: Self = Self(0);

    /// A host's number; none outside its range.
    pub fn new(number: i32) -> Option<Self> {
        (0..MAX_HOSTS).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The queue of what is done while the host is drained, in the pool of its operations.
    pub const fn off_queue(self) -> Queue {
        Queue { id: FIRST_OFF_QUEUE + self.0, pool_id: self.pool(Class::Vm).id() }
    }

    /// The pool of one class of this host.
    pub const fn pool(self, class: Class) -> Pool {
        Pool::Host(self, class)
    }
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 2] = [Self::Vm, Self::Health];

    /// The name in metrics and in the names of queues.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Health => "health",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pool {
    type Err = UnknownPool;

    /// One of the fixed pools.
    fn from_str(text: &str) -> Result<Self, UnknownPool> {
        Self::FIXED.into_iter().find(|p| p.as_str() == text).ok_or_else(|| UnknownPool(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_pools_are_found_by_name_and_number() {
        for pool in Pool::FIXED {
            assert_eq!(pool.as_str().parse(), Ok(pool));
            assert_eq!(Pool::from_id(pool.id()), Some(pool));
        }
        assert_eq!("vm".parse::<Pool>(), Err(UnknownPool("vm".into())));
        assert_eq!(Pool::from_id(5), None);
    }

    #[test]
    fn a_host_has_two_pools_and_no_two_hosts_share_one() {
        let mut seen = std::collections::BTreeSet::new();
        for number in [0, 1, 2, 77, MAX_HOSTS - 1] {
            let host = HostNo::new(number).unwrap();
            for class in Class::ALL {
                let pool = host.pool(class);
                assert_eq!(Pool::from_id(pool.id()), Some(pool));
                assert_eq!((pool.queue().id, pool.queue().pool_id), (pool.id(), pool.id()));
                assert!(seen.insert(pool.id()));
            }
            let off = host.off_queue();
            assert_eq!(off.pool_id, host.pool(Class::Vm).id());
            assert!(off.id > HostNo::new(MAX_HOSTS - 1).unwrap().pool(Class::Health).id());
            assert!(seen.insert(off.id));
        }
        assert_eq!(HostNo::new(MAX_HOSTS), None);
        assert_eq!(HostNo::new(-1), None);
        assert_eq!(Pool::from_id(i32::MAX), None);
    }
}
