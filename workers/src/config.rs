//! What a worker process is told: its pools, its slots, its grace.

use std::time::Duration;

use jobs::config::Reader;
use rules::queue::Pool;

/// How many jobs of one pool run at once unless configured otherwise. Handlers wait for the database
/// more than they compute, so this is well above the cores of a small machine.
pub const SLOTS: u32 = 32;

/// Settings of a worker process.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The pools that it serves, each once.
    pub pools: Vec<Pool>,
    /// How many jobs of each pool run at once.
    pub slots: u32,
    /// How long running jobs may go on after the shutdown before they are handed back.
    pub grace: Duration,
}

/// A pool and how many of its jobs run at once in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) pool: Pool,
    pub(crate) slots: u32,
}

impl WorkerConfig {
    /// Every pool with its slots.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.pools.iter().map(|pool| Post { pool: *pool, slots: self.slots }).collect()
    }

    /// Reads `WORKER_SLOTS` and `SHUTDOWN_GRACE_SECONDS`; the pools come from the command line.
    pub fn read(reader: &mut Reader<'_>, pools: Vec<Pool>) -> Self {
        let slots = reader.number("WORKER_SLOTS", SLOTS, 1..=1_000);
        let grace = reader.seconds("SHUTDOWN_GRACE_SECONDS", jobs::shutdown::GRACE.as_secs(), 0..=3_600);
        Self { pools, slots, grace }
    }
}
