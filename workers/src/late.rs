//! Acknowledges what somebody's lock keeps from being written, beside all others, each for itself.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jobs::db::patience::about;
use jobs::queue::Ack;
use tokio::sync::mpsc;

use crate::settle::{Desk, give_up_after, make_history};

/// How long to wait between two tries, far longer than a try waits for a lock: meanwhile the lease can be renewed.
const EVERY: Duration = Duration::from_secs(2);

/// How long a round goes on before new results are looked for, and how many are tried at once: each may wait for a lock
/// for a quarter of a second, and takes one of the process's connections meanwhile.
const ROUND: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 2;

/// A result that waits, and since when.
struct Late {
    ack: Ack,
    since: Instant,
}

/// Acknowledges what comes, until nothing more can come. A result is worth trying for as long as its lease is ours:
/// whoever gave it up would have its job run again.
pub(crate) async fn run(desk: &Desk, mut kept_out: mpsc::UnboundedReceiver<Vec<Ack>>) {
    let mut waiting: Vec<Late> = Vec::new();
    loop {
        if waiting.is_empty() {
            match kept_out.recv().await {
                Some(acks) => take_in(&mut waiting, acks),
                None => return,
            }
        }
        while let Ok(acks) = kept_out.try_recv() {
            take_in(&mut waiting, acks);
        }
        tokio::time::sleep(about(EVERY)).await;
        let began = Instant::now();
        waiting = round(waiting, || began.elapsed() >= ROUND, |late| settle(desk, late)).await;
    }
}

/// Tries results until the round is over, a few at once, and gives back those that are to be tried again: first those
/// that were not tried, so that none is passed by for ever.
async fn round<F>(waiting: Vec<Late>, is_over: impl Fn() -> bool, settle: impl Fn(Late) -> F) -> Vec<Late>
where
    F: Future<Output = Option<Late>>,
{
    let (is_over, settle) = (&is_over, &settle);
    let tries = stream::iter(waiting)
        .map(|late| async move { if is_over() { (false, Some(late)) } else { (true, settle(late).await) } });
    let (mut untried, mut left) = (Vec::new(), Vec::new());
    let mut tries = pin!(tries.buffered(AT_ONCE));
    while let Some((was_tried, late)) = tries.next().await {
        if was_tried { left.extend(late) } else { untried.extend(late) }
    }
    untried.extend(left);
    untried
}

fn take_in(waiting: &mut Vec<Late>, acks: Vec<Ack>) {
    let since = Instant::now();
    waiting.extend(acks.into_iter().map(|ack| Late { ack, since }));
}

/// Tries one result; gives it back if it is to be tried again.
async fn settle(desk: &Desk, late: Late) -> Option<Late> {
    let one = std::slice::from_ref(&late.ack);
    match desk.settle_once(one).await {
        // It keeps no slot, so nothing was handed over, and nothing comes back.
        Ok((settled, sent)) => drop(desk.conclude(one, settled, sent)),
        Err(error)
            if late.since.elapsed() > give_up_after(&error)
                && !(error.is_transient() && desk.may_wait(one)) =>
        {
            tracing::error!(%error, job.id = %late.ack.id, "a result could not be written while its lease lasted; the job will run again");
            desk.give_up(one);
        }
        Err(error) => {
            tracing::debug!(%error, job.id = %late.ack.id, "a result cannot be written yet");
            if !error.is_transient() {
                make_history(&desk.context).await;
            }
            return Some(late);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use rules::id::{JobId, LeaseToken};
    use rules::queue::Outcome;
    use uuid::Uuid;

    use super::*;

    fn late(id: i64) -> Late {
        let (token, outcome, never) = (LeaseToken(Uuid::nil()), Outcome::Done, Duration::ZERO);
        let ack = Ack { id: JobId(id), token, outcome, delay: never, ran: never, keeps: None };
        Late { ack, since: Instant::now() }
    }

    #[tokio::test]
    async fn a_round_ends_however_many_wait_and_the_next_begins_with_those_it_did_not_try() {
        let tried = Cell::new(0);
        let settle = |late: Late| {
            tried.set(tried.get() + 1);
            ready((late.ack.id.0 > 0).then_some(late))
        };
        let left = round((0..10).map(late).collect(), || tried.get() >= 3, settle).await;
        let ids: Vec<i64> = left.iter().map(|late| late.ack.id.0).collect();
        // One was written, two were tried in vain.
        assert_eq!((tried.get(), ids), (3, vec![3, 4, 5, 6, 7, 8, 9, 1, 2]));
    }
}
