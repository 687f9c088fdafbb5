//! Claims for all pools of the process in one statement, as many as there are free slots.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{Patience, bounded, jitter};
use jobs::queue::Attempt;
use jobs::queue::postgres::claim::{Claimed, Want, claim, poll};
use jobs::queue::wake::Hint;
use rules::id::WorkerId;
use rules::queue::{Kind, Pool};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::due::Due;
use crate::held::{Held, Since};
use crate::load::Wanted;
use crate::mark::{Start, Trail};
use crate::registry;
use crate::settle::{Settler, released};

/// The backstop behind the wake-ups: how long a job may wait for a lost hint, at least and at most. Well
/// under a second, so that what it has to do is done within one; no more often, for each poll of an idle
/// worker is a statement that finds nothing.
const POLL: (Duration, Duration) = (Duration::from_millis(850), Duration::from_millis(950));

/// How long a claim for few free slots may wait for more of them. Short jobs free many within it; a slot
/// that a long job leaves is used after it.
const GATHER: Duration = Duration::from_millis(10);

/// How often the pace is taken.
const PACE_EVERY: Duration = Duration::from_millis(100);

/// Where the attempts of one pool go.
pub(crate) struct Feed {
    pub(crate) pool: Pool,
    pub(crate) to: mpsc::UnboundedSender<Attempt>,
}

struct Fetcher {
    context: Arc<Context>,
    held: Arc<Held>,
    due: Arc<Due>,
    settler: Settler,
    worker: WorkerId,
    kinds: Vec<Kind>,
    pools: Vec<Source>,
    /// Which pool is asked for first, in turn: when memory is short, the first is served and not the last.
    turn: usize,
    /// The next claim is the poll, which promotes what is due on its way.
    polling: bool,
}

/// One pool as the fetcher sees it.
struct Source {
    feed: Feed,
    trail: Trail,
    /// It may have work: nothing has said otherwise.
    more: bool,
    /// Since when few slots are free.
    few_since: Option<Instant>,
}

/// What to do after a claim.
enum Next {
    /// There is more: claim again.
    Again,
    /// Few slots are free: look again soon.
    Soon,
    /// Nothing to do until something happens.
    Wait,
}

/// Claims until the shutdown.
pub(crate) async fn run(
    context: Arc<Context>,
    held: Arc<Held>,
    due: Arc<Due>,
    settler: Settler,
    worker: WorkerId,
    feeds: Vec<Feed>,
    shutdown: CancellationToken,
) {
    let mut hints = context.wake.subscribe();
    // Each pool may have work until a claim says otherwise.
    let source = |feed| Source { feed, trail: Trail::new(), more: true, few_since: None };
    let pools = feeds.into_iter().map(source).collect();
    let kinds = registry::handled();
    let mut fetcher = Fetcher { context, held, due, settler, worker, kinds, pools, turn: 0, polling: true };
    let mut patience = Patience::default();
    let mut paced = Instant::now();
    let mut poll_at = Instant::now();
    while !shutdown.is_cancelled() {
        if paced.elapsed() >= PACE_EVERY {
            fetcher.held.pace(paced.elapsed());
            paced = Instant::now();
        }
        fetcher.hear_all(&mut hints);
        if Instant::now() >= poll_at {
            fetcher.hear(Hint::Anything);
            fetcher.polling = true;
            poll_at = next_poll();
        }
        let wait = match bounded(CALL_TIMEOUT, fetcher.claim_once()).await {
            Ok(Next::Again) => {
                patience.reset();
                continue;
            }
            Ok(Next::Soon) => GATHER,
            Ok(Next::Wait) => {
                patience.reset();
                poll_at.saturating_duration_since(Instant::now())
            }
            Err(error) => {
                fetcher.held.astray.leasing_failed(Instant::now());
                let wait = patience.next_wait();
                tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "claiming failed; trying again");
                tokio::time::sleep(wait).await;
                fetcher.hear(Hint::Anything);
                // What is tried next is a claim alone, however long the poll took to fail.
                poll_at = next_poll();
                continue;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
            () = fetcher.held.freed.notified(), if fetcher.may_have_more() => {}
            hint = hints.recv() => fetcher.hear(match hint {
                Ok(hint) => hint,
                Err(RecvError::Lagged(_) | RecvError::Closed) => Hint::Anything,
            }),
        }
    }
}

fn next_poll() -> Instant {
    Instant::now() + POLL.0 + (POLL.1 - POLL.0).mul_f64(jitter())
}

impl Fetcher {
    /// Claims once, if any pool that may have work has room.
    async fn claim_once(&mut self) -> jobs::Result<Next> {
        let (wants, starts, waiting) = self.wants(Instant::now());
        if wants.is_empty() {
            return Ok(if waiting { Next::Soon } else { Next::Wait });
        }
        let mut conn = self.context.db.acquire().await?;
        let sent = Instant::now();
        // A sweep that never comes back must not be followed by another at once.
        for (place, start) in &starts {
            if let Some(source) = self.pools.get_mut(*place) {
                source.trail.ended(*start, sent, CALL_TIMEOUT);
            }
        }
        // Once, whatever comes of it: what keeps jobs from being promoted keeps nobody from claiming those that are
        // ready, and the upkeeper promotes in its own time.
        let claimed = if mem::take(&mut self.polling) {
            let after = self.due.after();
            let (promoted, claimed) = poll(&mut conn, after, self.worker, &self.kinds, &wants).await?;
            self.due.promoted(&promoted, sent);
            self.context.wake.pools(&promoted.woken);
            claimed
        } else {
            claim(&mut conn, self.worker, &self.kinds, &wants).await?
        };
        drop(conn);
        let took = sent.elapsed();
        let mut again = false;
        for ((place, start), want) in starts.into_iter().zip(&wants) {
            if let Some(source) = self.pools.get_mut(place) {
                source.trail.ended(start, sent, took);
                let count = claimed.iter().filter(|c| c.attempt.pool == want.pool).count();
                // Fewer than asked for means that there is no more, for now and from here on.
                source.more = i32::try_from(count).is_ok_and(|c| c >= want.limit);
                again |= source.more;
            }
        }
        claimed.into_iter().for_each(|c| self.hand_over(c, sent));
        Ok(match (again, waiting) {
            (true, _) => Next::Again,
            (false, true) => Next::Soon,
            (false, false) => Next::Wait,
        })
    }

    /// What to ask of which pool, where to start, and whether a pool waits for more free slots.
    fn wants(&mut self, now: Instant) -> (Vec<Want>, Vec<(usize, Start)>, bool) {
        let (mut wants, mut starts, mut waiting) = (Vec::new(), Vec::new(), false);
        let mut room = self.held.room();
        self.turn = (self.turn + 1) % self.pools.len().max(1);
        let (before, from_turn) = self.pools.split_at_mut(self.turn);
        let places = (self.turn..).zip(from_turn).chain((0..).zip(before));
        for (place, source) in places.filter(|(_, s)| s.more) {
            let limit = match self.held.wanted(source.feed.pool) {
                Wanted::None => continue,
                Wanted::Many(limit) => limit,
                Wanted::Few(limit) => {
                    let since = *source.few_since.get_or_insert(now);
                    if now.duration_since(since) < GATHER {
                        waiting = true;
                        continue;
                    }
                    limit
                }
            };
            source.few_since = None;
            // What finds no room in memory is told when there is some.
            let limit = limit.min(room);
            if limit == 0 {
                continue;
            }
            room -= limit;
            let start = source.trail.start(now);
            wants.push(Want { pool: source.feed.pool, limit, marks: start.marks });
            starts.push((place, start));
        }
        (wants, starts, waiting)
    }

    fn hand_over(&mut self, claimed: Claimed, sent: Instant) {
        let Claimed { attempt, pos } = claimed;
        let Some(source) = self.pools.iter_mut().find(|s| s.feed.pool == attempt.pool) else {
            return;
        };
        source.trail.claimed(attempt.priority, pos);
        feed(&source.feed, &self.held, &self.settler, attempt, sent);
    }

    fn may_have_more(&self) -> bool {
        self.pools.iter().any(|s| s.more)
    }

    fn hear_all(&mut self, hints: &mut broadcast::Receiver<Hint>) {
        loop {
            match hints.try_recv() {
                Ok(hint) => self.hear(hint),
                Err(TryRecvError::Lagged(_)) => self.hear(Hint::Anything),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn hear(&mut self, hint: Hint) {
        self.pools.iter_mut().for_each(|source| source.hear(hint));
    }
}

impl Source {
    fn hear(&mut self, hint: Hint) {
        match hint {
            Hint::Ready(pool) => self.more |= self.feed.pool.id() == pool,
            Hint::Resumed => {
                self.trail.look_everywhere();
                self.more = true;
            }
            Hint::Anything => self.more = true,
            Hint::Cancelled => {}
        }
    }
}

/// Gives a claimed attempt to its pool. One whose pool is gone, which has ended badly, is handed back: held,
/// its lease would be renewed for ever and nobody would do the job.
fn feed(feed: &Feed, held: &Held, settler: &Settler, attempt: Attempt, sent: Instant) {
    held.take(&attempt, Since::claimed(sent));
    if let Err(SendError(attempt)) = feed.to.send(attempt) {
        held.unload(&attempt);
        held.through(attempt.pool);
        attempt.settling.set();
        tracing::warn!(job.id = %attempt.id, pool = %feed.pool, "a claimed job found its pool closed; it is handed back");
        if settler.send(released(attempt.id, attempt.token)).is_err() {
            held.release(attempt.id, attempt.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::tests::{attempt, held};

    #[test]
    fn a_resumed_queue_is_looked_for_behind_the_mark() {
        let (to, _from) = mpsc::unbounded_channel();
        let feed = Feed { pool: Pool::Maintenance, to };
        let now = Instant::now();
        let mut source = Source { feed, trail: Trail::new(), more: false, few_since: None };
        let first = source.trail.start(now);
        source.trail.ended(first, now, Duration::ZERO);
        source.hear(Hint::Ready(Pool::Maintenance.id()));
        assert!(source.more && !source.trail.start(now).sweep);
        source.more = false;
        source.hear(Hint::Resumed);
        assert!(source.more && source.trail.start(now).sweep);
    }

    #[test]
    fn what_finds_its_pool_closed_is_handed_back_and_its_place_freed() {
        let held = held();
        held.open(Pool::Maintenance, true);
        let (settler, mut reports) = mpsc::unbounded_channel();
        let (to, from) = mpsc::unbounded_channel();
        drop(from);
        let claimed = attempt(7);
        feed(&Feed { pool: Pool::Maintenance, to }, &held, &settler, claimed, Instant::now());
        let report = reports.try_recv().unwrap();
        assert_eq!((report.ack.id.0, report.ack.outcome), (7, rules::queue::Outcome::Released));
        assert_eq!(held.wanted(Pool::Maintenance), Wanted::Many(1));
    }
}
