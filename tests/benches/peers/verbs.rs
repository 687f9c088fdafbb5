//! What every driver in Rust does the same way: the loops that call the peer, and the clock.
//!
//! Times are microseconds of the machine's monotonic clock, which all processes share.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Jobs of one call for many.
const BATCH: u64 = 1_000;

/// What a measured verb came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) jobs: u64,
    pub(crate) seconds: f64,
    /// The time was up before all was done.
    pub(crate) cut: bool,
}

/// A job system on Postgres, driven through what it offers its users.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    /// One of many who put jobs in at once.
    type Client: Send;
    /// The most connections that its worker is given.
    const CONNECTIONS: u32;

    /// Connects, with so many connections at most.
    fn open(url: &str, connections: u32) -> impl Future<Output = Self> + Send;
    /// Makes its schema.
    fn setup(&self) -> impl Future<Output = ()>;
    /// A client of its own.
    fn client(&self) -> impl Future<Output = Self::Client> + Send;
    /// Puts one job in, and tells the number by which its handler will know it.
    fn one(client: &mut Self::Client, number: u64) -> impl Future<Output = u64> + Send;
    /// Puts many in by one call.
    fn many(&self, numbers: Range<u64>) -> impl Future<Output = ()> + Send;
    /// Starts a worker and waits until so many jobs are done and committed, or the time is up.
    fn drain(&self, jobs: u64, limit: Duration) -> impl Future<Output = Tally> + Send;
    /// Starts a worker, says when it is ready, and waits until so many handlers began, or the time is up.
    fn idle(&self, jobs: u64, limit: Duration, ready: fn()) -> impl Future<Output = Vec<(u64, u64)>> + Send;
}

/// The monotonic clock, in microseconds.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000
}

/// Puts jobs in one by one from so many clients.
pub(crate) async fn one_by_one<P: Peer>(url: &str, jobs: u64, clients: u64, limit: Duration) -> Tally {
    let peer = P::open(url, u32::try_from(clients).unwrap()).await;
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(peer.client().await);
    }
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let tasks: Vec<_> = all
        .into_iter()
        .map(|mut client| {
            let (next, done) = (Arc::clone(&next), Arc::clone(&done));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs || began.elapsed() >= limit {
                        break;
                    }
                    P::one(&mut client, number).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    Tally { jobs: done, seconds: began.elapsed().as_secs_f64(), cut: false }
}

/// Puts jobs in by calls for many.
pub(crate) async fn many<P: Peer>(url: &str, jobs: u64) -> Tally {
    let peer = P::open(url, 2).await;
    let began = Instant::now();
    let mut from = 0;
    while from < jobs {
        let to = jobs.min(from + BATCH);
        peer.many(from..to).await;
        from = to;
    }
    Tally { jobs, seconds: began.elapsed().as_secs_f64(), cut: false }
}

/// Puts jobs in with a pause after each: their numbers, when the call began and when it returned.
pub(crate) async fn pace<P: Peer>(url: &str, jobs: u64, gap: Duration) -> Vec<(u64, u64, u64)> {
    let peer = P::open(url, 2).await;
    let mut client = peer.client().await;
    let mut calls = Vec::new();
    for number in 0..jobs {
        let from = now_us();
        let job = P::one(&mut client, number).await;
        calls.push((job, from, now_us()));
        tokio::time::sleep(gap).await;
    }
    calls
}
