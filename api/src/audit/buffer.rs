//! Gathers what was told and is in no transaction, and hands it on as jobs: at fifty entries, every five seconds,
//! and at the end.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use jobs::db::{CALL_TIMEOUT, PgPool, wall};
use jobs::payload::audit::AuditFlush;
use jobs::queue::postgres::enqueue::enqueue;
use jobs::queue::{NewJob, Wake};
use jobs::{Code, Error, Result};
use rules::audit::{Entry, INSTALLATION, NOBODY, Outcome};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// At how many entries the buffer is flushed; the most that one job carries.
const FLUSH_ENTRIES: usize = 50;

/// After how long it is flushed with fewer.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The most bytes of entries that one job carries, as they stand in its payload, which has a bound, too. One entry
/// alone may be larger.
const JOB_ENTRIES_BYTES: usize = 128 * 1024;

/// The most entries that wait while the database is away. What comes above is counted and not kept: the memory of
/// this process is not a stranger's to fill.
const CAPACITY: usize = 2_000;

/// The most refusals of nobodies that are told apart between two flushes. Alike are those of one operation, from one
/// address, with the same arguments: they are one entry that says how many there were, for who shows no credentials
/// must not be able to fill the audit.
const CROWD: usize = 200;

/// How long a job of a batch is known by its id, so that a batch whose commit was not answered is not put in twice.
const BATCH_KNOWN: Duration = Duration::from_secs(3600);

/// How long the last flush may take.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// Entries that wait to be handed on.
#[derive(Default)]
pub(crate) struct Buffer {
    waiting: Mutex<VecDeque<Entry>>,
    crowd: Mutex<HashMap<Alike, (Entry, u64)>>,
    /// Entries that were noted in transactions since the last flush: somebody must chain them.
    noted: AtomicUsize,
    /// Entries that found no room since the last flush.
    dropped: AtomicU64,
    enough: Notify,
}

/// What refusals of nobodies have in common that are one entry.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alike {
    operation: String,
    code: Option<String>,
    address: Option<String>,
    arguments: String,
}

/// What one job carries. Its id stays the same however often it is tried.
struct Batch {
    id: Uuid,
    entries: Vec<Entry>,
}

impl Batch {
    fn of(entries: Vec<Entry>) -> Self {
        Self { id: Uuid::now_v7(), entries }
    }
}

impl Buffer {
    /// Takes an entry in, or counts it where there is no room.
    pub(crate) fn push(&self, entry: Entry) {
        if entry.actor == NOBODY && entry.outcome == Outcome::Refused {
            return self.join_crowd(entry);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= CAPACITY {
            drop(waiting);
            return self.drop_one();
        }
        waiting.push_back(entry);
        if waiting.len() >= FLUSH_ENTRIES {
            self.enough.notify_one();
        }
    }

    fn join_crowd(&self, entry: Entry) {
        let alike = Alike {
            operation: entry.operation.clone(),
            code: entry.code.clone(),
            address: entry.address.clone(),
            arguments: entry.arguments.clone(),
        };
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, times)) = crowd.get_mut(&alike) {
            *times += 1;
        } else if crowd.len() < CROWD {
            crowd.insert(alike, (entry, 1));
        } else {
            drop(crowd);
            self.drop_one();
        }
    }

    /// Lets the crowd in among the others, each entry with how many it stands for.
    fn admit_crowd(&self) {
        let crowd = std::mem::take(&mut *self.crowd.lock().unwrap_or_else(PoisonError::into_inner));
        let mut told: Vec<Entry> = crowd.into_values().map(|(entry, times)| repeated(entry, times)).collect();
        told.sort_by_key(|entry| entry.at);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CAPACITY.saturating_sub(waiting.len());
        (room..told.len()).for_each(|_| self.drop_one());
        waiting.extend(told.into_iter().take(room));
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        jobs::metrics::audit_dropped();
    }

    /// Says that an entry was noted in a transaction that has committed.
    pub(crate) fn noted(&self) {
        if self.noted.fetch_add(1, Ordering::Relaxed) + 1 >= FLUSH_ENTRIES {
            self.enough.notify_one();
        }
    }

    /// Flushes until the stop, and once more then.
    pub(crate) async fn run(&self, db: &PgPool, wake: &Wake, stop: CancellationToken) {
        let mut unsent = VecDeque::new();
        let mut next = Instant::now() + FLUSH_EVERY;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = timeout_at(next, self.enough.notified()) => {}
            }
            if Instant::now() >= next || stop.is_cancelled() {
                self.admit_crowd();
                next = Instant::now() + FLUSH_EVERY;
            }
            self.flush(db, wake, &mut unsent).await;
        }
        self.admit_crowd();
        if timeout(LAST_FLUSH, self.flush(db, wake, &mut unsent)).await.is_err() {
            tracing::debug!("the last flush of the audit took too long");
        }
        let lost = self.len() + unsent.iter().map(|batch| batch.entries.len()).sum::<usize>();
        if lost > 0 {
            tracing::error!(
                entries = lost,
                "audit entries were lost: the database could not be reached at the end"
            );
        }
    }

    fn len(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Hands on all that waits. What cannot be handed on now is tried again as it is; a batch is unsent until its
    /// commit was answered, so whoever gives the flush up midway loses none.
    async fn flush(&self, db: &PgPool, wake: &Wake, unsent: &mut VecDeque<Batch>) {
        loop {
            if unsent.is_empty() {
                unsent.extend(self.batch());
            }
            let Some(batch) = unsent.front() else { return };
            let entries = batch.entries.len();
            let sent = timeout(CALL_TIMEOUT, send(db, wake, batch)).await;
            match sent.map_err(Error::internal).and_then(|sent| sent) {
                Ok(()) => drop(unsent.pop_front()),
                // It is refused for what it holds, and will be again.
                Err(error) if error.code == Code::Invalid => {
                    tracing::error!(%error, entries, "a part of the audit does not fit in a job; it is parted");
                    self.part(unsent);
                }
                Err(error) => {
                    tracing::warn!(%error, entries, "the audit could not be flushed; it is tried again");
                    return;
                }
            }
        }
    }

    /// Makes two of the first batch. An entry that does not fit alone is dropped, and counted.
    fn part(&self, unsent: &mut VecDeque<Batch>) {
        let Some(mut entries) = unsent.pop_front().map(|batch| batch.entries) else { return };
        if entries.len() < 2 {
            return self.drop_one();
        }
        let rest = entries.split_off(entries.len() / 2);
        unsent.push_front(Batch::of(rest));
        unsent.push_front(Batch::of(entries));
    }

    /// The next batch; one without entries where something was noted only.
    fn batch(&self) -> Option<Batch> {
        let noted = self.noted.swap(0, Ordering::Relaxed);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let mut entries = Vec::new();
        if dropped > 0 {
            entries.push(dropped_entry(dropped));
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0_usize;
        while entries.len() < FLUSH_ENTRIES {
            bytes = bytes.saturating_add(waiting.front().map_or(0, carried_bytes));
            if bytes > JOB_ENTRIES_BYTES && !entries.is_empty() {
                break;
            }
            let Some(entry) = waiting.pop_front() else { break };
            entries.push(entry);
        }
        (noted > 0 || !entries.is_empty()).then(|| Batch::of(entries))
    }
}

/// How long an entry is where it is carried: there its arguments are a text, whose quotes and backslashes are two
/// bytes each.
fn carried_bytes(entry: &Entry) -> usize {
    serde_json::to_string(entry).map_or(usize::MAX, |text| text.len())
}

/// An entry that stands for several.
fn repeated(entry: Entry, times: u64) -> Entry {
    if times == 1 {
        return entry;
    }
    let mut given: Map<String, Value> = serde_json::from_str(&entry.arguments).unwrap_or_default();
    given.insert("times".into(), times.into());
    Entry { arguments: Value::Object(given).to_string(), ..entry }
}

/// What tells of entries that found no room.
fn dropped_entry(dropped: u64) -> Entry {
    Entry {
        tenant: INSTALLATION,
        at: Utc::now(),
        actor: NOBODY.into(),
        operation: "audit.dropped".into(),
        arguments: json!({ "entries": dropped }).to_string(),
        outcome: Outcome::Failed,
        code: None,
        took_ms: 0,
        address: None,
        request_id: None,
    }
}

async fn send(db: &PgPool, wake: &Wake, batch: &Batch) -> Result<()> {
    let job = NewJob::of(&AuditFlush { entries: batch.entries.clone() })?;
    let job = job.unique(batch.id.to_string(), Some(BATCH_KNOWN));
    let mut tx = jobs::db::begin(db).await?;
    // The job is no tenant's, for its entries are of any.
    wall::enter_all(&mut tx).await?;
    let enqueued = enqueue(&mut tx, &[job]).await?;
    tx.commit().await?;
    wake.send(&enqueued);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry { arguments: "x".repeat(bytes), ..dropped_entry(1) }
    }

    #[test]
    fn a_batch_is_bounded_in_entries_and_bytes() {
        let buffer = Buffer::default();
        (0..FLUSH_ENTRIES + 1).for_each(|_| buffer.push(entry(1)));
        assert_eq!(buffer.batch().unwrap().entries.len(), FLUSH_ENTRIES);
        assert_eq!(buffer.batch().unwrap().entries.len(), 1);
        assert!(buffer.batch().is_none());
        (0..3).for_each(|_| buffer.push(entry(JOB_ENTRIES_BYTES / 3)));
        assert_eq!(buffer.batch().unwrap().entries.len(), 2);
        buffer.noted();
        assert_eq!(buffer.batch().unwrap().entries.len(), 1);
        buffer.noted();
        assert!(buffer.batch().unwrap().entries.is_empty(), "something noted must be chained");
    }

    fn fits(batch: &Batch) -> bool {
        NewJob::of(&AuditFlush { entries: batch.entries.clone() }).is_ok()
    }

    #[test]
    fn entries_made_of_quotes_fit_in_their_jobs() {
        let buffer = Buffer::default();
        let quotes = |_| Entry { arguments: json!({ "email": "\"".repeat(2_000) }).to_string(), ..entry(0) };
        (0..FLUSH_ENTRIES).map(quotes).for_each(|entry| buffer.push(entry));
        let batches: Vec<Batch> = std::iter::from_fn(|| buffer.batch()).collect();
        assert!(batches.iter().all(fits));
        assert_eq!(batches.iter().map(|batch| batch.entries.len()).sum::<usize>(), FLUSH_ENTRIES);
    }

    #[test]
    fn a_batch_that_does_not_fit_is_parted_until_it_does() {
        let buffer = Buffer::default();
        let sizes = [100 * 1024, 300 * 1024, 100 * 1024, 100 * 1024, 100 * 1024];
        let mut unsent = VecDeque::from([Batch::of(sizes.map(entry).into())]);
        let mut sent = 0;
        while let Some(batch) = unsent.front() {
            if fits(batch) {
                sent += unsent.pop_front().unwrap().entries.len();
            } else {
                buffer.part(&mut unsent);
            }
        }
        assert_eq!((sent, buffer.dropped.load(Ordering::Relaxed)), (4, 1));
    }

    #[tokio::test]
    async fn a_flush_that_is_given_up_keeps_its_batch() {
        let buffer = Buffer::default();
        buffer.push(entry(1));
        // Nobody answers there, and the first look is all that the flush is given.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://nobody@{}/none", silent.local_addr().unwrap());
        let db = PgPool::connect_lazy(&url).unwrap();
        let wake = Wake::start(&db, &CancellationToken::new());
        let mut unsent = VecDeque::new();
        let flushed = timeout(Duration::ZERO, buffer.flush(&db, &wake, &mut unsent)).await;
        assert!(flushed.is_err());
        assert_eq!(unsent.iter().map(|batch| batch.entries.len()).sum::<usize>(), 1);
    }

    #[test]
    fn a_crowd_of_nobodies_is_a_few_entries() {
        let buffer = Buffer::default();
        let refused = |address: usize| Entry {
            outcome: Outcome::Refused,
            address: Some(address.to_string()),
            ..dropped_entry(1)
        };
        (0..CROWD * 3).for_each(|n| buffer.push(refused(n % CROWD)));
        buffer.push(refused(CROWD));
        assert_eq!(buffer.len(), 0);
        buffer.admit_crowd();
        assert_eq!(buffer.len(), CROWD);
        let batch = buffer.batch().unwrap().entries;
        assert_eq!(batch[0].operation, "audit.dropped");
        let given: Value = serde_json::from_str(&batch[1].arguments).unwrap();
        assert_eq!(given["times"], 3);
    }

    #[test]
    fn what_finds_no_room_is_told_by_its_number() {
        let buffer = Buffer::default();
        (0..CAPACITY + 7).for_each(|_| buffer.push(entry(1)));
        let first = buffer.batch().unwrap().entries.remove(0);
        assert_eq!(
            (first.operation.as_str(), first.arguments.as_str()),
            ("audit.dropped", "{\"entries\":7}")
        );
    }
}
