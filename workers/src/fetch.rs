//! Claims for all pools of the process in one statement, as many as there are free slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::queue::Attempt;
use jobs::queue::postgres::claim::{Claimed, Want, claim};
use jobs::queue::wake::Hint;
use rules::id::WorkerId;
use rules::queue::{Kind, Pool};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::held::Held;
use crate::mark::{Start, Trail};
use crate::retry::{Patience, bounded, jitter};

/// The backstop behind the wake-ups: how long a job may wait for a lost hint, at most.
const POLL: Duration = Duration::from_secs(1);

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
    worker: WorkerId,
    pools: Vec<(Feed, Trail, bool)>,
}

/// Claims until the shutdown.
pub(crate) async fn run(
    context: Arc<Context>,
    held: Arc<Held>,
    worker: WorkerId,
    feeds: Vec<Feed>,
    shutdown: CancellationToken,
) {
    let mut hints = context.wake.subscribe();
    // Each pool may have work until a claim says otherwise.
    let pools = feeds.into_iter().map(|f| (f, Trail::new(), true)).collect();
    let mut fetcher = Fetcher { context, held, worker, pools };
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
            poll_at = Instant::now() + POLL.mul_f64(0.75 + 0.25 * jitter());
        }
        let wait = match bounded(fetcher.claim_once()).await {
            Ok(true) => {
                patience.reset();
                continue;
            }
            Ok(false) => {
                patience.reset();
                poll_at.saturating_duration_since(Instant::now())
            }
            Err(error) => {
                let wait = patience.next();
                tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "claiming failed; trying again");
                tokio::time::sleep(wait).await;
                fetcher.hear(Hint::Anything);
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

impl Fetcher {
    /// Claims once, if any pool that may have work has room. Tells whether to claim again at once.
    async fn claim_once(&mut self) -> jobs::Result<bool> {
        let now = Instant::now();
        let mut wants = Vec::new();
        let mut starts: Vec<(usize, Start)> = Vec::new();
        for (place, (feed, trail, more)) in self.pools.iter_mut().enumerate() {
            if let Some(limit) = self.held.wanted(feed.pool).filter(|_| *more) {
                let start = trail.start(now);
                wants.push(Want { pool: feed.pool, limit, marks: start.marks });
                starts.push((place, start));
            }
        }
        if wants.is_empty() {
            return Ok(false);
        }
        let mut conn = self.context.db.acquire().await?;
        let sent = Instant::now();
        let claimed = claim(&mut conn, self.worker, &Kind::ALL, &wants).await?;
        drop(conn);
        let took = sent.elapsed();
        let mut again = false;
        for ((place, start), want) in starts.into_iter().zip(&wants) {
            if let Some((_, trail, more)) = self.pools.get_mut(place) {
                trail.ended(start, sent, took);
                let count = claimed.iter().filter(|c| c.attempt.pool == want.pool).count();
                // Fewer than asked for means that there is no more, for now and from here on.
                *more = i32::try_from(count).is_ok_and(|c| c >= want.limit);
                again |= *more;
            }
        }
        claimed.into_iter().for_each(|c| self.hand_over(c, sent));
        Ok(again)
    }

    fn hand_over(&mut self, claimed: Claimed, sent: Instant) {
        let Claimed { attempt, pos } = claimed;
        let Some((feed, trail, _)) = self.pools.iter_mut().find(|(f, ..)| f.pool == attempt.pool) else {
            return;
        };
        trail.claimed(attempt.priority, pos);
        self.held.take(&attempt, sent);
        // A pool's receiver outlives this loop; if it is gone the process is ending, and the lease runs out.
        if feed.to.send(attempt).is_err() {
            tracing::warn!(pool = %feed.pool, "a claimed job found its pool closed; its lease will run out");
        }
    }

    fn may_have_more(&self) -> bool {
        self.pools.iter().any(|(_, _, more)| *more)
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
        for (feed, trail, more) in &mut self.pools {
            match hint {
                Hint::Ready(pool) => *more |= feed.pool.id() == pool,
                Hint::Resumed => {
                    trail.look_everywhere();
                    *more = true;
                }
                Hint::Anything => *more = true,
                Hint::Cancelled => {}
            }
        }
    }
}
