//! Gathers what attempts came to and acknowledges it in batches.
//!
//! While one acknowledgement is on its way the next batch gathers, so batches are large exactly when
//! there is much to acknowledge, and a single one never waits.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::crash::{self, Point};
use jobs::db::patience::{Patience, bounded};
use jobs::db::{CALL_TIMEOUT, Postgres, Transaction};
use jobs::queue::postgres::partition;
use jobs::queue::{Ack, Handed, Settled, hurry, settle, settle_and_take};
use jobs::{Code, metrics};
use rules::id::{JobId, LeaseToken};
use rules::queue::{LEASE_MS, Outcome};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::handle;
use crate::heir::{Heirs, SLICE};
use crate::held::{Held, Since};
use crate::late;

/// The most acknowledgements in one statement.
const BATCH: usize = 500;

/// For how long results are tried one by one before the next batch: the rest is tried beside it.
const APART_FOR: Duration = Duration::from_secs(1);

/// How many days of history to make when a worker finds none: the scheduler makes more.
const DAYS_AHEAD: i32 = 2;

/// Something to acknowledge.
pub(crate) struct Report {
    pub(crate) ack: Ack,
    /// The job may die by it, and somebody may wait for that: then both happen in one transaction.
    pub(crate) may_die: bool,
}

/// Where reports go. The settler ends when the last of them is dropped.
pub(crate) type Settler = mpsc::UnboundedSender<Report>;

/// What acknowledging needs.
pub(crate) struct Desk {
    pub(crate) context: Arc<Context>,
    pub(crate) held: Arc<Held>,
    pub(crate) heirs: Heirs,
    pub(crate) shutdown: CancellationToken,
}

/// Where results go on that somebody's lock keeps from being written.
pub(crate) type Aside = mpsc::UnboundedSender<Vec<Ack>>;

/// Where to report, before the settler has begun: it is told of the pools, and they of it.
pub(crate) fn channel() -> (Settler, mpsc::UnboundedReceiver<Report>) {
    mpsc::unbounded_channel()
}

/// Acknowledges what is reported until nobody can report any more. What a row keeps from being written that
/// somebody holds goes on beside, and keeps nobody else waiting.
pub(crate) async fn run(desk: Desk, reports: mpsc::UnboundedReceiver<Report>) {
    let (aside, kept_out) = mpsc::unbounded_channel();
    tokio::join!(settle_reports(Lane { desk: &desk, aside }, reports), late::run(&desk, kept_out));
}

async fn settle_reports(lane: Lane<'_>, mut reports: mpsc::UnboundedReceiver<Report>) {
    let mut batch = Vec::with_capacity(BATCH);
    while reports.recv_many(&mut batch, BATCH).await > 0 {
        // What is done goes by itself: its statement costs the least, and alone hands order keys on.
        let (mut done, mut alive, mut dying) = (Vec::new(), Vec::new(), Vec::new());
        for Report { ack, may_die } in batch.drain(..) {
            match (&ack.outcome, may_die) {
                (Outcome::Done, _) => done.push(ack),
                (_, true) => dying.push(ack),
                (_, false) => alive.push(ack),
            }
        }
        alive.extend(lane.settle_group(done).await);
        // What is not done hands nothing over, so nothing comes back from these.
        lane.settle_group(alive).await;
        lane.settle_group(dying).await;
    }
}

/// The way of what is reported.
struct Lane<'a> {
    desk: &'a Desk,
    /// Where results go that somebody's lock keeps from being written.
    aside: Aside,
}

impl Lane<'_> {
    /// Acknowledges one group, through faults of the database. Where nothing can be written at all, until it is
    /// written or its leases are over: a disk without room for the history may be full for longer than a lease, and
    /// what is renewed meanwhile is nobody else's. Nothing is claimed in the meantime. Returns what it was handed
    /// and had no place for, to be handed back. What is refused while other results can be written goes aside, after
    /// each was tried alone.
    async fn settle_group(&self, mut acks: Vec<Ack>) -> Vec<Ack> {
        if acks.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let mut patience = Patience::default();
        let mut tried_apart = acks.len() == 1;
        let mut back = Vec::new();
        while !acks.is_empty() {
            let error = match self.ask(&acks).await {
                Ok((settled, sent)) => {
                    back.extend(self.desk.conclude(&acks, settled, sent));
                    break;
                }
                Err(error) => error,
            };
            self.desk.held.stall(true);
            self.desk.held.refuse(keeps_all_out(&error));
            if !error.is_transient() {
                make_history(&self.desk.context).await;
            }
            if tried_apart && !keeps_all_out(&error) {
                acks = self.put_aside(acks, &error);
                if acks.is_empty() {
                    break;
                }
            }
            if keeps_all_out(&error) || tried_apart {
                if began.elapsed() > give_up_after(&error)
                    && !(keeps_all_out(&error) && self.desk.may_wait(&acks))
                {
                    tracing::error!(%error, jobs = acks.len(), "results could not be written while their leases lasted; the jobs will run again");
                    self.desk.give_up(&acks);
                    break;
                }
                tracing::warn!(%error, cause = ?error, jobs = acks.len(), "acknowledging failed; trying again");
                tokio::time::sleep(patience.next_wait()).await;
            } else {
                tracing::warn!(%error, cause = ?error, jobs = acks.len(), "a batch was refused; acknowledging one by one");
            }
            // What cannot be written must not keep others from being written.
            if !keeps_all_out(&error) && acks.len() > 1 {
                tried_apart = true;
                let (left, handed_back) = self.settle_apart(acks).await;
                acks = self.put_aside(left, &error);
                back.extend(handed_back);
            }
        }
        self.desk.held.stall(false);
        self.desk.held.refuse(false);
        back
    }

    /// Acknowledges one by one, each once, for about [`APART_FOR`]. Returns what is left to write, and what is to be
    /// handed back.
    async fn settle_apart(&self, acks: Vec<Ack>) -> (Vec<Ack>, Vec<Ack>) {
        let began = Instant::now();
        let (mut left, mut back) = (Vec::new(), Vec::new());
        let mut ended = false;
        for ack in acks {
            if ended || began.elapsed() > APART_FOR {
                left.push(ack);
                continue;
            }
            let one = std::slice::from_ref(&ack);
            match self.ask(one).await {
                Ok((settled, sent)) => back.extend(self.desk.conclude(one, settled, sent)),
                Err(error) => {
                    ended = keeps_all_out(&error);
                    tracing::debug!(%error, job.id = %ack.id, "a result could not be written");
                    left.push(ack);
                }
            }
        }
        (left, back)
    }

    /// Acknowledges once, and says so when that takes longer than slots are worth keeping for it.
    async fn ask(&self, acks: &[Ack]) -> jobs::Result<(Settled, Instant)> {
        let mut asking = pin!(self.desk.settle_once(acks));
        let answer = match tokio::time::timeout(SLICE, &mut asking).await {
            Ok(answer) => answer,
            Err(_) => {
                self.desk.held.stall(true);
                asking.await
            }
        };
        if answer.is_err() && acks.iter().any(|ack| ack.keeps.is_some()) {
            // It may have committed, and have handed over what we do not know of.
            self.desk.held.astray.leasing_failed(Instant::now());
        }
        answer
    }

    /// Puts results aside; gives them back where there is no such place any more. There they keep no slot: what comes
    /// after them is claimed like anything else.
    fn put_aside(&self, mut acks: Vec<Ack>, error: &jobs::Error) -> Vec<Ack> {
        if acks.is_empty() {
            return acks;
        }
        tracing::warn!(%error, jobs = acks.len(), "results are kept from being written; they are tried beside the others");
        for ack in &mut acks {
            if let Some(pool) = ack.keeps.take() {
                self.desk.held.let_go(pool);
            }
        }
        match self.aside.send(acks) {
            Ok(()) => Vec::new(),
            Err(mpsc::error::SendError(kept)) => kept,
        }
    }
}

impl Desk {
    /// Whether results are still ours to write however long it takes. Who stops does not wait.
    pub(crate) fn may_wait(&self, acks: &[Ack]) -> bool {
        let leases = acks.iter().map(|ack| (ack.id, ack.token));
        !self.shutdown.is_cancelled() && self.held.lasts(leases, Instant::now())
    }

    /// Acknowledges once; tells when, too. The wait for a connection has a limit of its own, or both together would
    /// pass a lock for a database that does not answer.
    pub(crate) async fn settle_once(&self, acks: &[Ack]) -> jobs::Result<(Settled, Instant)> {
        let db = &self.context.db;
        if acks.iter().all(|a| matches!(a.outcome, Outcome::Done)) {
            let mut conn = db.acquire().await?;
            let sent = Instant::now();
            // A pool may have been closed since its slot was kept.
            let open = acks.iter().filter_map(|ack| ack.keeps).all(|pool| self.held.is_open(pool));
            let alone = (!open)
                .then(|| acks.iter().map(|ack| Ack { keeps: None, ..ack.clone() }).collect::<Vec<_>>());
            let acks = alone.as_deref().unwrap_or(acks);
            let settling = settle_and_take(&mut conn, acks, self.heirs.taker());
            return Ok((bounded(CALL_TIMEOUT, settling).await?, sent));
        }
        let tx = jobs::db::begin(db).await?;
        bounded(CALL_TIMEOUT, self.settle_within(tx, acks)).await
    }

    /// Acknowledges what is not done, and tells those who wait for the dead, in one transaction.
    async fn settle_within(
        &self,
        mut tx: Transaction<'_, Postgres>,
        acks: &[Ack],
    ) -> jobs::Result<(Settled, Instant)> {
        crash::at(Point::RetryBegun);
        hurry(&mut tx).await?;
        crash::at(Point::RetryHurried);
        let failed =
            acks.iter().filter(|a| matches!(a.outcome, Outcome::Retry { .. } | Outcome::Dead { .. }));
        handle::before_deaths(&mut tx, &failed.map(|a| a.id.0).collect::<Vec<_>>()).await?;
        crash::at(Point::RetryHeld);
        let settled = settle(&mut tx, acks).await?;
        let woken = handle::jobs_died(&mut tx, &settled.dead).await?;
        crash::at(Point::RetryTold);
        tx.commit().await?;
        crash::at(Point::RetryCommitted);
        self.context.wake.send(&woken);
        Ok((settled, Instant::now()))
    }

    /// Lets go of leases whose results could not be written.
    pub(crate) fn give_up(&self, acks: &[Ack]) {
        for ack in acks {
            self.held.astray.give_up(ack.id, ack.token, Instant::now());
            self.held.release(ack.id, ack.token);
            ack.keeps.inspect(|pool| self.held.let_go(*pool));
        }
    }

    pub(crate) fn conclude(&self, acks: &[Ack], settled: Settled, sent: Instant) -> Vec<Ack> {
        let held = &self.held;
        metrics::stale_acks(settled.stale.len() as u64);
        for id in &settled.stale {
            tracing::warn!(job.id = %id, "an attempt ended after its lease was lost; its result was not taken");
        }
        for dead in &settled.dead {
            metrics::job_died(&dead.kind);
            handle::tell_death(dead);
        }
        let back = self.take_in(acks, settled.handed, sent);
        for ack in acks {
            let kind = held.release(ack.id, ack.token);
            ack.keeps.inspect(|pool| held.let_go(*pool));
            let ended = matches!(ack.outcome, Outcome::Done | Outcome::Cancelled);
            if let Some(kind) = kind.filter(|_| ended && !settled.stale.contains(&ack.id)) {
                metrics::job_finished(kind, &ack.outcome);
            }
        }
        self.context.wake.pools(&settled.woken);
        back
    }

    /// Takes in what was handed over; returns what found its pool gone.
    fn take_in(&self, acks: &[Ack], handed: Vec<Handed>, sent: Instant) -> Vec<Ack> {
        if handed.is_empty() {
            return Vec::new();
        }
        let tokens: HashMap<JobId, LeaseToken> =
            acks.iter().filter(|ack| ack.keeps.is_some()).map(|ack| (ack.id, ack.token)).collect();
        let taken = handed.into_iter().filter_map(|handed| {
            let token = tokens.get(&handed.after).copied();
            let since =
                token.map_or(Since::claimed(sent), |token| self.held.since(handed.after, token, sent));
            self.heirs.take_in(&self.held, handed, since)
        });
        let back: Vec<Ack> = taken.collect();
        if !back.is_empty() {
            tracing::warn!(
                jobs = back.len(),
                "jobs that were handed over found their pool closed; they are handed back"
            );
        }
        back
    }
}

/// Whether an error says that nothing can be written now, and not only what was asked for.
fn keeps_all_out(error: &jobs::Error) -> bool {
    error.code == Code::Unavailable
}

/// How long a result is worth trying to write at least: while the lease could last unrenewed, and for a fault that
/// no time mends a few tries.
pub(crate) fn give_up_after(error: &jobs::Error) -> Duration {
    let lease = Duration::from_millis(LEASE_MS.unsigned_abs().into());
    if error.is_transient() { lease * 2 } else { lease / 15 }
}

/// A missing day of history is the one lasting fault that a worker can mend itself: the scheduler makes
/// days ahead, and may have been gone for longer than it looked ahead.
pub(crate) async fn make_history(context: &Context) {
    let made = bounded(CALL_TIMEOUT, async {
        let mut conn = context.db.acquire().await?;
        partition::ensure_days(&mut conn, DAYS_AHEAD).await
    })
    .await;
    match made {
        Ok(0) => {}
        Ok(days) => tracing::warn!(days, "made missing days of history; is a scheduler running?"),
        Err(error) => tracing::warn!(%error, "missing days of history could not be made"),
    }
}

/// Hands back an attempt that has not begun.
pub(crate) fn released(id: JobId, token: LeaseToken) -> Report {
    let (outcome, never) = (Outcome::Released, Duration::ZERO);
    let ack = Ack { id, token, outcome, delay: never, ran: never, keeps: None };
    Report { ack, may_die: false }
}
