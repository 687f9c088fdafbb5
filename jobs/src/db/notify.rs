//! Postgres' NOTIFY as a hint: sent after the commit and coalesced, received through reconnects.
//!
//! A commit that notifies takes a lock that the whole server shares, so notifying inside the
//! transactions that enqueue would queue them up behind each other (measured: 17,600 commits a second
//! fell to 5,300). Here one task per process sends what gathered, in a transaction of its own. A lost
//! hint costs the poll interval, never a job.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::db::CALL_TIMEOUT;
use crate::db::patience::{about, bounded};

/// The time between two sends of one process over a long while where somebody waits for them to work: 400 a second.
pub const AT_ONCE: Duration = Duration::from_micros(2_500);

/// The same where people are told what happened: 50 a second. Each makes every process of the API read the log.
pub const SOON: Duration = Duration::from_millis(20);

/// By how much sends may run ahead of their interval: so many go out at once after a rest.
const SEND_AHEAD: Duration = Duration::from_millis(100);

/// How long to wait before listening again after the connection failed.
const RELISTEN_AFTER: Duration = Duration::from_millis(500);

/// How long a listener may hear nothing before it asks whether its connection lives: one whose other end is gone
/// without a word would hear nothing for ever, and every job would wait for the poll.
const ASK_AFTER: Duration = Duration::from_secs(10);

/// The most words that gather between two sends; beyond it the poll is as good.
const MAX_PENDING: usize = 256;

/// Sends words on one channel, gathered and each once.
#[derive(Clone)]
pub struct Notifier {
    db: PgPool,
    channel: &'static str,
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending {
    words: Mutex<BTreeSet<String>>,
    any: Notify,
}

impl Notifier {
    /// A notifier whose words go out on `channel` until `ended`, one send in `every` over a long while. What is said
    /// later waits for [`Notifier::flush`].
    pub fn start(db: PgPool, channel: &'static str, every: Duration, ended: CancellationToken) -> Self {
        let pending: Arc<Pending> = Arc::default();
        tokio::spawn(send_all(db.clone(), channel, every, Arc::clone(&pending), ended));
        Self { db, channel, pending }
    }

    /// Sends what has gathered, now: for the end of a process.
    pub async fn flush(&self) {
        self.pending.flush(&self.db, self.channel).await;
    }

    /// Asks for a word to be sent soon. Never waits, never fails.
    pub fn send(&self, word: String) {
        let mut words = self.pending.words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < MAX_PENDING {
            words.insert(word);
        }
        drop(words);
        self.pending.any.notify_one();
    }
}

impl Pending {
    async fn flush(&self, db: &PgPool, channel: &'static str) {
        let words = {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *words)
        };
        if !words.is_empty() {
            let text = words.into_iter().collect::<Vec<_>>().join(",");
            tell(db, channel, &text).await;
        }
    }
}

async fn send_all(
    db: PgPool,
    channel: &'static str,
    every: Duration,
    pending: Arc<Pending>,
    ended: CancellationToken,
) {
    // When the sends so far would be over, one per interval.
    let mut over = Instant::now();
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = pending.any.notified() => {}
        }
        pending.flush(&db, channel).await;
        let now = Instant::now();
        over = over.max(now) + every;
        let ahead = over.duration_since(now);
        if ahead > SEND_AHEAD {
            // What comes meanwhile gathers.
            tokio::time::sleep(ahead - SEND_AHEAD).await;
        }
    }
}

/// Sends words now. A failure is only noted: the poll will do.
pub(crate) async fn tell(db: &PgPool, channel: &'static str, text: &str) {
    match tokio::time::timeout(CALL_TIMEOUT, notify(db, channel, text)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, channel, "a wake-up was not sent; the poll will do"),
        Err(_) => tracing::debug!(channel, "a wake-up took too long; the poll will do"),
    }
}

async fn notify(db: &PgPool, channel: &str, text: &str) -> Result<()> {
    // A word that a crash loses is a hint lost; there is nothing to wait for the disk for.
    sqlx::query!(
        "select pg_notify($1, $2) from (select set_config('synchronous_commit', 'off', true)) s",
        channel,
        text
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a listener heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// One word of a notification.
    Word(String),
    /// The connection is new: anything may have been said before. Take all words as said.
    Anything,
}

/// Listens on `channel` until the shutdown, through every loss of the connection, and hands each word
/// to `hear`. Uses a connection of its own, made with the pool's options and none of the pool's.
pub async fn listen(
    db: PgPool,
    channel: &'static str,
    shutdown: CancellationToken,
    hear: impl Fn(Heard) + Send,
) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = listen_once(&db, channel, &hear) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, channel, "listening failed; trying again, the poll goes on");
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RELISTEN_AFTER) => {}
        }
    }
}

async fn listen_once(db: &PgPool, channel: &str, hear: &(impl Fn(Heard) + Send)) -> Result<()> {
    // sqlx gives a listener's connection back by a statement without a limit, so it has a pool to itself.
    let alone = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CALL_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(PgConnectOptions::clone(&db.connect_options()));
    let mut listener = bounded(CALL_TIMEOUT, async {
        let mut listener = PgListener::connect_with(&alone).await?;
        listener.listen(channel).await?;
        Ok(listener)
    })
    .await?;
    // A connection that broke is told of, and a fresh one is made by the caller.
    listener.eager_reconnect(false);
    // Only now, listening again, may the reader catch up: in the other order a word between the two is lost.
    hear(Heard::Anything);
    loop {
        match tokio::time::timeout(about(ASK_AFTER), listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                for word in notification.payload().split(',').filter(|w| !w.is_empty()) {
                    hear(Heard::Word(word.to_owned()));
                }
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => bounded(CALL_TIMEOUT, ask(&mut listener)).await?,
        }
    }
}

/// Has an answer from the server, on a listener's own connection. What was said before it is kept.
async fn ask(listener: &mut PgListener) -> Result<()> {
    listener.execute("select 1").await?;
    Ok(())
}
