//! Hands each event to those who listen to what it is about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jobs::db::PgPool;
use jobs::event::{Event, shows_all, store};
use jobs::{Code, Error};
use rules::event::{Cursor, Snapshot, Topic, TopicKind};
use rules::id::TenantId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{MutexGuard, Notify, mpsc};
use uuid::Uuid;

use super::line::{Line, Parting};

/// Events that wait for one subscription. Whose next does not fit looks back for it once these are taken in.
const WAITING: usize = 256;

/// How long somebody who begins to listen may wait for the feed's place in the log.
const PLACE_LIMIT: Duration = Duration::from_secs(10);

/// An event on its way to all who hear of it, made once.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) event: Event,
    /// Whoever has heard up to here.
    pub(crate) cursor: Cursor,
}

/// Who listens, and how far the feed has read.
#[derive(Default)]
pub(super) struct Hub {
    /// All that is visible in it was handed out; held while more is. None before the first look.
    place: tokio::sync::Mutex<Option<Snapshot>>,
    /// Told when the place has moved.
    moved: Notify,
    /// Told when there is a reason to look at the log.
    news: Notify,
    ears: Arc<Mutex<Ears>>,
    /// How long taking in what waits may last when more comes, before whoever hears it is too slow.
    take_in: Duration,
}

#[derive(Default)]
struct Ears {
    of: HashMap<Uuid, Vec<Listening>>,
    next: u64,
}

/// One who listens.
struct Listening {
    no: u64,
    tenant: TenantId,
    kind: TopicKind,
    line: Arc<Line>,
    to: mpsc::Sender<Arc<News>>,
    /// Gone when all that waited was taken in, or nobody hears any more.
    waits: Weak<()>,
    take_in: Duration,
}

/// Where one hears; listening ends when it is dropped.
pub(super) struct Ear {
    news: mpsc::Receiver<Arc<News>>,
    topic: Topic,
    no: u64,
    ears: Arc<Mutex<Ears>>,
    waits: Option<Arc<()>>,
}

impl Hub {
    /// With so long a time to take in what waits.
    pub(super) fn new(take_in: Duration) -> Self {
        Self { take_in, ..Self::default() }
    }

    /// Listens to a topic, and tells from where on: what is visible in the snapshot is not heard, and all else is. It
    /// shows all that `shown` does, so that nobody hears again what another process has told them.
    ///
    /// # Errors
    /// Unavailable when the feed cannot read.
    pub(super) async fn listen(
        &self,
        db: &PgPool,
        tenant: TenantId,
        topic: Topic,
        line: &Arc<Line>,
        shown: Option<&Snapshot>,
    ) -> Result<(Ear, Snapshot), Error> {
        let held = tokio::time::timeout(PLACE_LIMIT, self.place_behind(shown)).await;
        let mut place = held
            .map_err(|_| Error::new(Code::Unavailable, "the log of events cannot be read now; try again"))?;
        let from = match &*place {
            Some(from) => from.clone(),
            None => place.insert(store::lasting(&mut *db.acquire().await?).await?).clone(),
        };
        let (to, news) = mpsc::channel(WAITING);
        let waits = Arc::new(());
        let mut ears = self.ears();
        let no = ears.next;
        ears.next += 1;
        let (line, weak) = (Arc::clone(line), Arc::downgrade(&waits));
        let listening =
            Listening { no, tenant, kind: topic.kind, line, to, waits: weak, take_in: self.take_in };
        ears.of.entry(topic.id).or_default().push(listening);
        drop(ears);
        Ok((Ear { news, topic, no, ears: Arc::clone(&self.ears), waits: Some(waits) }, from))
    }

    /// Holds the place once it shows all that another snapshot does.
    async fn place_behind(&self, shown: Option<&Snapshot>) -> MutexGuard<'_, Option<Snapshot>> {
        loop {
            let moved = self.moved.notified();
            let place = self.place.lock().await;
            let is_before = |at: &Snapshot| shown.is_some_and(|shown| !shows_all(at, shown));
            if !place.as_ref().is_some_and(is_before) {
                return place;
            }
            drop(place);
            self.stir();
            moved.await;
        }
    }

    /// There may be something new in the log.
    pub(super) fn stir(&self) {
        self.news.notify_one();
    }

    /// Waits until there may be.
    pub(super) async fn stirred(&self) {
        self.news.notified().await;
    }

    /// The place has moved.
    pub(super) fn moved(&self) {
        self.moved.notify_waiters();
    }

    /// Holds the place, so that nobody begins to listen in the middle of what is handed out.
    pub(super) async fn place(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.place.lock().await
    }

    /// Hands an event out. Waits for nobody: whoever is behind by too much looks back for it.
    pub(super) fn hand_out(&self, news: &Arc<News>) {
        let mut ears = self.ears();
        let event = &news.event;
        ears.tell(event.topic, news);
        if let Some(id) = event.department {
            ears.tell(Topic { kind: TopicKind::Department, id }, news);
        }
    }

    fn ears(&self) -> std::sync::MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Ends its connection when it does not take in what waits for it within the time for it.
    fn wait_for_it(&self) {
        let (waits, line, limit) = (Weak::clone(&self.waits), Arc::downgrade(&self.line), self.take_in);
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            if let (Some(_), Some(line)) = (waits.upgrade(), line.upgrade()) {
                line.end(Parting::Slow);
            }
        });
    }
}

impl Ears {
    fn tell(&mut self, topic: Topic, news: &Arc<News>) {
        let Some(listening) = self.of.get_mut(&topic.id) else { return };
        listening.retain(|one| {
            // The row of an event says whose it is, and that is looked at here once more.
            if one.kind != topic.kind || one.tenant != news.event.tenant {
                return true;
            }
            match one.to.try_send(Arc::clone(news)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    one.wait_for_it();
                    false
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
    }

    fn forget(&mut self, topic: Topic, no: u64) {
        if let Some(listening) = self.of.get_mut(&topic.id) {
            listening.retain(|one| one.no != no);
            if listening.is_empty() {
                self.of.remove(&topic.id);
            }
        }
    }
}

impl Ear {
    /// The next event; none when more came than waits for one.
    pub(super) async fn next(&mut self) -> Option<Arc<News>> {
        let news = self.news.recv().await;
        if news.is_none() {
            self.waits = None;
        }
        news
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner).forget(self.topic, self.no);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_heard_more_elsewhere_waits_until_the_place_is_behind_it() {
        let hub = Hub::default();
        let (before, after): (Snapshot, Snapshot) = ("10:10:".parse().unwrap(), "10:12:10".parse().unwrap());
        *hub.place().await = Some(before.clone());
        assert_eq!(*hub.place_behind(None).await, Some(before.clone()));
        assert_eq!(*hub.place_behind(Some(&before)).await, Some(before));
        let looks = async {
            hub.stirred().await;
            *hub.place().await = Some(after.clone());
            hub.moved();
        };
        let (place, ()) = tokio::join!(async { hub.place_behind(Some(&after)).await.clone() }, looks);
        assert_eq!(place, Some(after));
    }
}
