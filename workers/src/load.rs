//! How busy one pool of this process is, and how many jobs it can take.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use rules::queue::Pool;

use crate::config::Post;

/// The most jobs that may wait in memory for a slot, per pool. Reached only when jobs are so short that
/// fetching them is the bottleneck.
const MAX_AHEAD: i64 = 2_000;

/// For how long ahead jobs are fetched: about one claim and its acknowledgement.
const AHEAD: Duration = Duration::from_millis(25);

/// How many jobs a pool can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None: every slot is taken.
    None,
    /// So few that it is worth waiting a moment for more slots to become free.
    Few(i32),
    /// Enough for a claim.
    Many(i32),
}

/// How busy one pool is.
pub(crate) struct Load {
    pub(crate) pool: Pool,
    pub(crate) slots: u32,
    /// Whether this process may claim for it now.
    pub(crate) open: AtomicBool,
    /// Leased and not yet through its handler, or through it with the slot kept.
    pub(crate) in_hand: AtomicI64,
    /// How many of them are through: their slots are kept until it is known whether the next of their order key comes here.
    pub(crate) kept: AtomicI64,
    /// How many went through since the pace was last taken.
    pub(crate) finished: AtomicI64,
    /// How many to hold beyond the slots, from the rate at which jobs finish.
    ahead: AtomicI64,
}

impl Load {
    /// Nothing is in hand, and the pool is not open.
    pub(crate) fn new(post: &Post) -> Self {
        Self {
            pool: post.pool,
            slots: post.slots,
            open: AtomicBool::new(false),
            in_hand: AtomicI64::new(0),
            kept: AtomicI64::new(0),
            finished: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
        }
    }

    /// Sets how far to fetch ahead from what finished during `elapsed`.
    pub(crate) fn pace(&self, elapsed: Duration) {
        let finished = self.finished.swap(0, Ordering::Relaxed);
        let per_second = finished as f64 / elapsed.as_secs_f64().max(0.001);
        let ahead = (per_second * AHEAD.as_secs_f64()) as i64;
        self.ahead.store(ahead.min(MAX_AHEAD), Ordering::Relaxed);
    }

    /// How many to claim while so many slots are taken.
    pub(crate) fn wanted(&self, taken: i64) -> Wanted {
        let room = i64::from(self.slots) + self.ahead.load(Ordering::Relaxed);
        let free = room - taken;
        let limit = i32::try_from(free).unwrap_or(i32::MAX);
        match free {
            ..=0 => Wanted::None,
            _ if free * 4 < room => Wanted::Few(limit),
            _ => Wanted::Many(limit),
        }
    }
}
