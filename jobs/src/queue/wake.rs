//! Tells workers, here and elsewhere, that there may be something to do.

use std::collections::BTreeMap;

use rules::queue::Pool;
use sqlx::PgPool;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::db::notify::{AT_ONCE, Heard, Notifier, SOON, listen, tell};
use crate::metrics;
use crate::queue::Enqueued;

/// The channel on which processes wake each other.
const CHANNEL: &str = "millrace_wake";

/// The channel on which processes say that there are new events.
pub(crate) const NEWS: &str = "millrace_event";

/// What is said there. Which events there are is read from their log.
const STIRRED: &str = "news";

/// How many hints may wait for a slow loop before it is told to look everywhere instead.
const HINTS: usize = 128;

/// What a worker is told. Hints only: each may be lost, and all are followed by a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A pool has something ready.
    Ready(i32),
    /// Something ready may lie behind the marks: a queue was resumed.
    Resumed,
    /// Somebody cancelled a running job: renew now and learn which.
    Cancelled,
    /// Anything may have happened while nobody listened.
    Anything,
}

/// Wakes workers. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Wake {
    here: broadcast::Sender<Hint>,
    elsewhere: Notifier,
    news: Notifier,
}

impl Wake {
    /// Wakes this process at once and others through Postgres, until `ended`: that is when nothing of the
    /// process works any more, not when it is told to stop.
    pub fn start(db: &PgPool, ended: &CancellationToken) -> Self {
        Self {
            here: broadcast::Sender::new(HINTS),
            elsewhere: Notifier::start(db.clone(), CHANNEL, AT_ONCE, ended.clone()),
            news: Notifier::start(db.clone(), NEWS, SOON, ended.clone()),
        }
    }

    /// Tells the others what has not been told yet: for the end of a process.
    pub async fn flush(&self) {
        self.elsewhere.flush().await;
        self.news.flush().await;
    }

    /// Says to the API that there may be new events to tell. Call it after a commit that changed a run, a machine,
    /// a listener or a department; what is forgotten is told a second later.
    pub fn stir(&self) {
        self.news.send(STIRRED.to_owned());
    }

    /// Tells of new jobs. Call it after the commit: before it nobody could see them.
    pub fn send(&self, enqueued: &[Enqueued]) {
        let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
        for job in enqueued.iter().filter(|j| !j.existing) {
            *counts.entry(job.pool).or_default() += 1;
        }
        for (id, count) in counts {
            if let Some(pool) = Pool::from_id(id) {
                metrics::jobs_enqueued(pool, count);
            }
            self.hint(Hint::Ready(id));
        }
    }

    /// Tells that these pools got something ready.
    pub fn pools(&self, pool_ids: &[i32]) {
        for id in pool_ids {
            self.hint(Hint::Ready(*id));
        }
    }

    /// Gives a hint to this process and the others.
    pub fn hint(&self, hint: Hint) {
        self.here(hint);
        if let Some(word) = word(hint) {
            self.elsewhere.send(word);
        }
    }

    /// Gives one hint to all processes and waits until it is said: for a command that ends right after.
    pub async fn tell(db: &PgPool, hint: Hint) {
        if let Some(word) = word(hint) {
            tell(db, CHANNEL, &word).await;
        }
    }

    /// The hints of this process, and with [`Wake::listen`] those of the others.
    pub fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.here.subscribe()
    }

    /// Hears other processes until the shutdown. Only those that execute jobs need it.
    pub async fn listen(self, db: PgPool, shutdown: CancellationToken) {
        listen(db, CHANNEL, shutdown, |heard| {
            let hint = match heard {
                Heard::Anything => Hint::Anything,
                Heard::Word(word) => match word.as_str() {
                    "resumed" => Hint::Resumed,
                    "cancelled" => Hint::Cancelled,
                    // A word of a later version is a hint too.
                    other => other.parse().map_or(Hint::Anything, Hint::Ready),
                },
            };
            self.here(hint);
        })
        .await;
    }

    fn here(&self, hint: Hint) {
        // Without a subscriber there is nobody here to wake, which is no fault.
        if self.here.send(hint).is_err() {
            tracing::trace!(?hint, "nobody here to wake");
        }
    }
}

/// What a hint is called on the channel. That anything may have happened is never said, only concluded.
fn word(hint: Hint) -> Option<String> {
    match hint {
        Hint::Ready(pool) => Some(pool.to_string()),
        Hint::Resumed => Some("resumed".into()),
        Hint::Cancelled => Some("cancelled".into()),
        Hint::Anything => None,
    }
}
