//! Acknowledges what somebody's lock keeps from being written, beside all others, each for itself.

use std::time::{Duration, Instant};

use jobs::db::patience::about;
use jobs::queue::Ack;
use tokio::sync::mpsc;

use crate::settle::{Desk, give_up_after, make_history};

/// How long to wait between two tries, far longer than a try waits for a lock: meanwhile the lease can be renewed.
const EVERY: Duration = Duration::from_secs(2);

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
        let mut left = Vec::with_capacity(waiting.len());
        for late in waiting {
            left.extend(settle(desk, late).await);
        }
        waiting = left;
    }
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
