//! Takes the next job of an order key at once, where the one before it was done in this process: its
//! acknowledgement leases the next to this worker, which keeps the slot for it meanwhile.

use std::time::Duration;

use jobs::queue::{Ack, Attempt, Handed, Taker};
use rules::id::WorkerId;
use rules::queue::{Kind, Pool};
use tokio::sync::mpsc::WeakUnboundedSender;
use tokio::sync::mpsc::error::SendError;

use crate::fetch::Feed;
use crate::held::{Held, Since};
use crate::registry;
use crate::settle::released;

/// For how long after the claim of its first job a key may keep a slot. Then its next job becomes ready like
/// any other, so that a long line keeps neither other keys nor a higher priority waiting for longer than this.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// Where the next jobs of order keys go.
pub(crate) struct Heirs {
    worker: WorkerId,
    kinds: Vec<Kind>,
    /// Weak, for a pool ends when nobody can feed it any more, and the settler outlives the pools.
    doors: Vec<(Pool, WeakUnboundedSender<Attempt>)>,
}

impl Heirs {
    pub(crate) fn new(worker: WorkerId, feeds: &[Feed]) -> Self {
        let doors = feeds.iter().map(|feed| (feed.pool, feed.to.downgrade())).collect();
        Self { worker, kinds: registry::handled(), doors }
    }

    /// Who takes them.
    pub(crate) fn taker(&self) -> Taker<'_> {
        Taker { worker: self.worker, kinds: &self.kinds }
    }

    /// Gives a job to its pool, which was handed over by an acknowledgement sent at `since.lease`. One whose
    /// pool is gone must be handed back: held, its lease would be renewed for ever and nobody would do the job.
    pub(crate) fn take_in(&self, held: &Held, handed: Handed, since: Since) -> Option<Ack> {
        let attempt = handed.attempt;
        held.take(&attempt, since);
        let door = self.doors.iter().find(|(pool, _)| *pool == attempt.pool);
        let attempt = match door.and_then(|(_, to)| to.upgrade()) {
            None => attempt,
            Some(to) => match to.send(attempt) {
                Ok(()) => return None,
                Err(SendError(attempt)) => attempt,
            },
        };
        held.unload(&attempt);
        held.through(attempt.pool);
        attempt.settling.set();
        Some(released(attempt.id, attempt.token).ack)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rules::id::JobId;
    use rules::queue::Outcome;
    use tokio::sync::mpsc;
    use uuid::Uuid;

    use super::*;
    use crate::held::tests::{attempt, held};
    use crate::load::Wanted;

    #[test]
    fn a_key_keeps_its_slot_for_a_slice_and_not_in_a_pool_that_is_closed() {
        let held = held();
        let now = Instant::now();
        let mut keyed = attempt(1);
        keyed.keyed = true;
        held.take(&keyed, Since::claimed(now));
        held.take(&attempt(2), Since::claimed(now));
        assert_eq!(held.keeps_slot(&keyed, now), None, "its pool is closed");
        held.open(Pool::Maintenance, true);
        assert_eq!(held.keeps_slot(&keyed, now + SLICE / 2), Some(Pool::Maintenance));
        assert_eq!(held.keeps_slot(&keyed, now + SLICE), None);
        assert_eq!(held.keeps_slot(&attempt(2), now), None, "it has no key");
        // The next of the key inherits what is left of the slice.
        let mut next = attempt(3);
        next.keyed = true;
        let since = held.since(keyed.id, keyed.token, now + SLICE * 3 / 4);
        held.take(&next, since);
        assert!(held.keeps_slot(&next, now + SLICE * 7 / 8).is_some());
        assert!(held.keeps_slot(&next, now + SLICE).is_none());
    }

    #[test]
    fn what_is_handed_over_after_its_pool_has_ended_is_handed_back() {
        let held = held();
        held.open(Pool::Maintenance, true);
        let (to, _from) = mpsc::unbounded_channel();
        let feed = Feed { pool: Pool::Maintenance, to };
        let heirs = Heirs::new(WorkerId(Uuid::nil()), std::slice::from_ref(&feed));
        let handed = || Handed { after: JobId(1), attempt: attempt(7) };
        assert!(heirs.take_in(&held, handed(), Since::claimed(Instant::now())).is_none());
        assert_eq!(held.wanted(Pool::Maintenance), Wanted::None);
        held.through(Pool::Maintenance);
        drop(feed);
        let back = heirs.take_in(&held, handed(), Since::claimed(Instant::now()));
        assert_eq!(back.map(|ack| (ack.id.0, ack.outcome)), Some((7, Outcome::Released)));
        assert_eq!(held.wanted(Pool::Maintenance), Wanted::Many(1));
    }
}
