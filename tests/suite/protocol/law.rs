//! What must hold in every state, and of every step.

use super::scope::Scope;
use super::state::{State, Wait};

/// A law of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// What was accepted is live, finished or dead: one of them, and in one place.
    OnePlace,
    /// What was written for an attempt was written by the attempt that has the lease.
    Fence,
    /// One attempt at most fits the lease of a job.
    OneLease,
    /// Under an order key only the first in line is at work or about to be.
    Turn,
    /// What was to be cancelled does not go on.
    Cancelled,
    /// What many workers died under is quarantined.
    Poison,
    /// A lease that has not run out is ended by its own worker alone.
    OwnTime,
    /// With workers that live, from wherever things stand every job can come to its end.
    Ends,
}

/// The law that this state breaks, if any.
pub(crate) fn broken(state: &State, scope: &Scope) -> Option<Law> {
    for (id, job) in (0..).zip(&state.jobs) {
        let waits = job.waits != Wait::No;
        let thin =
            u8::from(job.ready) + u8::from(waits) + u8::from(job.blocked) + u8::from(job.lease.is_some());
        let ended = job.done + job.cancelled + u8::from(job.dead);
        let live = u8::from(job.row);
        if thin != live || ended + live != u8::from(job.put_in) {
            return Some(Law::OnePlace);
        }
        if let Some(lease) = job.lease {
            let hands = state.holds.iter().flat_map(|hands| hands[usize::from(id)]).flatten();
            if hands.filter(|hold| hold.token == lease.token).count() > 1 {
                return Some(Law::OneLease);
            }
        }
        let at_work = job.ready || job.lease.is_some() || waits && job.holds_key;
        if scope.is_keyed(id) && at_work && state.turns.first() != Some(id) {
            return Some(Law::Turn);
        }
        if job.asked && (job.ready || waits || job.blocked) {
            return Some(Law::Cancelled);
        }
        if job.row && job.died_under >= scope.poison {
            return Some(Law::Poison);
        }
    }
    None
}

/// Whether nothing is left to be done.
pub(crate) fn at_rest(state: &State) -> bool {
    state.jobs.iter().all(|job| !job.row)
}
