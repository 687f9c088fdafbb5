//! The leases that this process holds: until when, how to stop each, and what they take of its room.

use std::collections::{BTreeMap, HashMap};
use std::mem::discriminant;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jobs::queue::{Attempt, MAX_PAYLOAD_BYTES, Settling, StopReason};
use rules::id::{JobId, LeaseToken};
use rules::queue::{Kind, LEASE_MS, Pool};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::absence::Absences;
use crate::astray::Astray;
use crate::config::Post;
use crate::heir::SLICE;
use crate::load::{Load, Wanted};

/// How long before its lease ends a handler is stopped when no renewal came through: time to stop
/// before another worker may begin.
const STOP_BEFORE: Duration = Duration::from_secs(3);

/// The most bytes of payloads that this process holds for jobs that are not through their handlers. Nothing is
/// claimed for which there would be no room if every payload were as large as may be.
const MAX_PAYLOADS_BYTES: usize = 128 * 1024 * 1024;

/// The leases of this process.
pub(crate) struct Held {
    leases: Mutex<HashMap<(JobId, LeaseToken), Lease>>,
    pools: Vec<Load>,
    /// Bytes of the payloads in hand.
    payload_bytes: AtomicUsize,
    /// What may have been leased to this process without its knowledge.
    pub(crate) astray: Astray,
    /// Told whenever a slot becomes free or a pool opens.
    pub(crate) freed: Notify,
    /// Acknowledging takes longer than slots are worth keeping for it.
    stalled: AtomicBool,
    /// Results cannot be written.
    refused: AtomicBool,
    /// Jobs that wait for something that does not answer.
    pub(crate) absences: Absences,
}

struct Lease {
    kind: Kind,
    until: Instant,
    /// Since when its order key keeps the slot.
    streak: Instant,
    cancel: CancellationToken,
    settling: Settling,
    reason: Arc<OnceLock<StopReason>>,
}

/// When a lease began, at the earliest, and since when the jobs of its order key have the slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since {
    pub(crate) lease: Instant,
    pub(crate) streak: Instant,
}

impl Since {
    /// For what a claim brought that was sent then.
    pub(crate) fn claimed(sent: Instant) -> Self {
        Self { lease: sent, streak: sent }
    }
}

impl Held {
    /// Nothing is held, and no pool is open.
    pub(crate) fn new(posts: &[Post]) -> Self {
        Self {
            leases: Mutex::default(),
            pools: posts.iter().map(Load::new).collect(),
            payload_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            stalled: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            absences: Absences::default(),
            astray: Astray::default(),
        }
    }

    /// Takes a leased attempt in.
    pub(crate) fn take(&self, attempt: &Attempt, since: Since) {
        let lease = Lease {
            kind: attempt.kind,
            until: since.lease + lease(),
            streak: since.streak,
            cancel: attempt.cancel.clone(),
            settling: attempt.settling.clone(),
            reason: Arc::default(),
        };
        self.leases().insert((attempt.id, attempt.token), lease);
        self.payload_bytes.fetch_add(bytes_of(attempt), Ordering::Relaxed);
        if let Some(load) = self.load(attempt.pool) {
            load.in_hand.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that an attempt is through its handler: its slot is free, its lease still to be settled.
    pub(crate) fn through(&self, pool: Pool) {
        if let Some(load) = self.load(pool) {
            load.finished.fetch_add(1, Ordering::Relaxed);
            self.free(load);
        }
    }

    /// Notes that an attempt is through its handler, and that its slot is kept for the next of its order key
    /// until [`Held::let_go`], unless acknowledging stalls.
    pub(crate) fn keep(&self, pool: Pool) {
        if let Some(load) = self.load(pool) {
            load.finished.fetch_add(1, Ordering::Relaxed);
            load.kept.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A slot that was kept is taken by the next one now, or was not needed.
    pub(crate) fn let_go(&self, pool: Pool) {
        if let Some(load) = self.load(pool) {
            load.kept.fetch_sub(1, Ordering::Relaxed);
            self.free(load);
        }
    }

    /// Whether acknowledging stalls: while it does no slot is kept.
    pub(crate) fn stall(&self, stalls: bool) {
        if self.stalled.swap(stalls, Ordering::AcqRel) != stalls {
            self.freed.notify_one();
        }
    }

    /// Whether results cannot be written: while that is so nothing is claimed. What were done then could not be
    /// kept either, and would be done again.
    pub(crate) fn refuse(&self, refused: bool) {
        if self.refused.swap(refused, Ordering::AcqRel) && !refused {
            self.freed.notify_one();
        }
    }

    fn free(&self, load: &Load) {
        let before = load.in_hand.fetch_sub(1, Ordering::Relaxed) - self.not_kept(load);
        // Only what changes the answer's kind is told, or each short job would wake the fetcher. Each count
        // is seen by one of those that finish, so no change is missed.
        if discriminant(&load.wanted(before)) != discriminant(&load.wanted(before - 1)) {
            self.freed.notify_one();
        }
    }

    /// Slots that would be kept did acknowledging not stall.
    fn not_kept(&self, load: &Load) -> i64 {
        if self.stalled.load(Ordering::Acquire) { load.kept.load(Ordering::Relaxed) } else { 0 }
    }

    /// The pool in which an attempt that is done may keep its slot for the next of its order key: it has one,
    /// the key's slice is not used up and the pool is open.
    pub(crate) fn keeps_slot(&self, attempt: &Attempt, now: Instant) -> Option<Pool> {
        if !attempt.keyed || !self.is_open(attempt.pool) {
            return None;
        }
        // What is handed over comes into the same memory as what is claimed, however large it is.
        let kept: i64 = self.pools.iter().map(|load| load.kept.load(Ordering::Relaxed)).sum();
        if kept >= i64::from(self.room()) {
            return None;
        }
        let leases = self.leases();
        let lease = leases.get(&(attempt.id, attempt.token))?;
        (now.duration_since(lease.streak) < SLICE).then_some(attempt.pool)
    }

    /// Since when a lease lasts that an acknowledgement of this attempt, sent at `sent`, has brought.
    pub(crate) fn since(&self, id: JobId, token: LeaseToken, sent: Instant) -> Since {
        let streak = self.leases().get(&(id, token)).map_or(sent, |l| l.streak);
        Since { lease: sent, streak }
    }

    /// Whether this process may take jobs of a pool now.
    pub(crate) fn is_open(&self, pool: Pool) -> bool {
        self.load(pool).is_some_and(|load| load.open.load(Ordering::Acquire))
    }

    /// Lets a lease go, once it is settled or lost; tells the job's kind.
    pub(crate) fn release(&self, id: JobId, token: LeaseToken) -> Option<Kind> {
        self.leases().remove(&(id, token)).map(|l| l.kind)
    }

    /// Whether a lease is held.
    pub(crate) fn holds(&self, id: JobId, token: LeaseToken) -> bool {
        self.leases().contains_key(&(id, token))
    }

    /// Why an attempt was told to stop, if it was.
    pub(crate) fn stop_reason(&self, id: JobId, token: LeaseToken) -> Option<StopReason> {
        self.leases().get(&(id, token)).and_then(|l| l.reason.get().copied())
    }

    /// Tells one handler to stop.
    pub(crate) fn stop(&self, id: JobId, token: LeaseToken, reason: StopReason) {
        if let Some(lease) = self.leases().get(&(id, token)) {
            lease.stop(reason);
        }
    }

    /// Tells one handler to stop, for its lease is not ours any more; tells whether that is news. A lease
    /// that goes because its attempt is being acknowledged is not lost.
    pub(crate) fn lose(&self, id: JobId, token: LeaseToken) -> bool {
        let leases = self.leases();
        let lost = leases.get(&(id, token)).filter(|l| !l.settling.is_set() && l.reason.get().is_none());
        lost.is_some_and(|lease| {
            lease.stop(StopReason::LeaseLost);
            true
        })
    }

    /// Tells every handler to stop.
    pub(crate) fn stop_all(&self, reason: StopReason) {
        self.leases().values().for_each(|l| l.stop(reason));
    }

    /// Every lease, to be renewed.
    pub(crate) fn all(&self) -> Vec<(JobId, LeaseToken)> {
        self.leases().keys().copied().collect()
    }

    /// Notes a renewal that was sent at `sent_at`.
    pub(crate) fn renewed(&self, id: JobId, token: LeaseToken, sent_at: Instant) {
        if let Some(entry) = self.leases().get_mut(&(id, token)) {
            entry.until = sent_at + lease();
        }
    }

    /// Whether one of these leases is ours beyond doubt, by this machine's steady clock.
    pub(crate) fn lasts(&self, mut any: impl Iterator<Item = (JobId, LeaseToken)>, now: Instant) -> bool {
        let leases = self.leases();
        any.any(|key| leases.get(&key).is_some_and(|lease| lease.until > now))
    }

    /// Stops handlers whose lease is about to end without a renewal. Uses this machine's steady clock,
    /// which needs no agreement with the database's: both count the same 30 seconds.
    pub(crate) fn stop_expiring(&self, now: Instant) -> usize {
        let leases = self.leases();
        let expiring = leases
            .values()
            .filter(|l| l.until < now + STOP_BEFORE && l.reason.get().is_none() && !l.settling.is_set());
        expiring.map(|l| l.stop(StopReason::LeaseLost)).count()
    }

    /// How many jobs to claim for a pool now: free slots and a little ahead.
    pub(crate) fn wanted(&self, pool: Pool) -> Wanted {
        let Some(load) = self.load(pool) else { return Wanted::None };
        if !self.is_open(pool) || self.refused.load(Ordering::Acquire) {
            return Wanted::None;
        }
        load.wanted(load.in_hand.load(Ordering::Relaxed) - self.not_kept(load))
    }

    /// Lets this process take no more jobs of any pool: it ends.
    pub(crate) fn close_all(&self) {
        self.pools.iter().for_each(|load| load.open.store(false, Ordering::Release));
    }

    /// Notes that nobody needs the payload of an attempt any more.
    pub(crate) fn unload(&self, attempt: &Attempt) {
        let bytes = bytes_of(attempt);
        let full = self.payload_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if room(full) == 0 && room(full.saturating_sub(bytes)) > 0 {
            self.freed.notify_one();
        }
    }

    /// How many jobs may be claimed now, of all pools together, for which there is room in memory whatever
    /// their payloads are.
    pub(crate) fn room(&self) -> i32 {
        room(self.payload_bytes.load(Ordering::Relaxed))
    }

    /// Lets this process claim for a pool, or no more. What it has claimed is not touched.
    pub(crate) fn open(&self, pool: Pool, open: bool) {
        if let Some(load) = self.load(pool) {
            load.open.store(open, Ordering::Release);
            self.freed.notify_one();
        }
    }

    /// Sets how far to fetch ahead from what finished during `elapsed`, and shows how busy the slots are.
    pub(crate) fn pace(&self, elapsed: Duration) {
        let mut shown: BTreeMap<&str, (Pool, usize, usize)> = BTreeMap::new();
        for load in &self.pools {
            load.pace(elapsed);
            let used = usize::try_from(load.in_hand.load(Ordering::Relaxed)).unwrap_or(0);
            let slots = load.slots as usize;
            // Hosts share the names of their classes.
            let (_, all_used, all_slots) = shown.entry(load.pool.as_str()).or_insert((load.pool, 0, 0));
            *all_used += used.min(slots);
            *all_slots += slots;
        }
        for (pool, used, slots) in shown.into_values() {
            jobs::metrics::worker_slots(pool, used, slots);
        }
    }

    fn load(&self, pool: Pool) -> Option<&Load> {
        self.pools.iter().find(|l| l.pool == pool)
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<(JobId, LeaseToken), Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn stop(&self, reason: StopReason) {
        // The first reason stands.
        self.reason.get_or_init(|| reason);
        self.cancel.cancel();
    }
}

/// How many of the largest payloads fit beside this many bytes.
fn room(bytes: usize) -> i32 {
    i32::try_from(MAX_PAYLOADS_BYTES.saturating_sub(bytes) / MAX_PAYLOAD_BYTES).unwrap_or(i32::MAX)
}

fn bytes_of(attempt: &Attempt) -> usize {
    attempt.payload.get().len()
}

fn lease() -> Duration {
    Duration::from_millis(LEASE_MS.unsigned_abs().into())
}

#[cfg(test)]
#[path = "held_tests.rs"]
pub(crate) mod tests;
