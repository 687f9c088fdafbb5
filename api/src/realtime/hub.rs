//! Hands each event to those who listen to what it is about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobs::db::PgPool;
use jobs::event::{Event, store};
use jobs::{Code, Error};
use rules::event::{Snapshot, Topic, TopicKind};
use rules::id::TenantId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{MutexGuard, mpsc};
use uuid::Uuid;

use super::line::{Line, Parting};

/// Events that wait for one subscription. Whose next does not fit is too slow.
const WAITING: usize = 256;

/// How long somebody who begins to listen may wait for the feed's place in the log.
const PLACE_LIMIT: Duration = Duration::from_secs(10);

/// An event on its way to all who hear of it, made once.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) event: Event,
    /// Whoever has heard up to here.
    pub(crate) cursor: String,
}

/// Who listens, and how far the feed has read.
#[derive(Default)]
pub(super) struct Hub {
    /// All that is visible in it was handed out; held while more is. None before the first look.
    place: tokio::sync::Mutex<Option<Snapshot>>,
    ears: Arc<Mutex<Ears>>,
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
}

/// Where one hears; listening ends when it is dropped.
pub(super) struct Ear {
    news: mpsc::Receiver<Arc<News>>,
    topic: Topic,
    no: u64,
    ears: Arc<Mutex<Ears>>,
}

impl Hub {
    /// Listens to a topic, and tells from where on: what is visible in the snapshot is not heard, and all else is.
    ///
    /// # Errors
    /// Unavailable when the feed cannot read.
    pub(super) async fn listen(
        &self,
        db: &PgPool,
        tenant: TenantId,
        topic: Topic,
        line: &Arc<Line>,
    ) -> Result<(Ear, Snapshot), Error> {
        let held = tokio::time::timeout(PLACE_LIMIT, self.place.lock()).await;
        let mut place = held
            .map_err(|_| Error::new(Code::Unavailable, "the log of events cannot be read now; try again"))?;
        let from = match &*place {
            Some(from) => from.clone(),
            None => place.insert(store::now(&mut *db.acquire().await?).await?).clone(),
        };
        let (to, news) = mpsc::channel(WAITING);
        let mut ears = self.ears();
        let no = ears.next;
        ears.next += 1;
        let listening = Listening { no, tenant, kind: topic.kind, line: Arc::clone(line), to };
        ears.of.entry(topic.id).or_default().push(listening);
        drop(ears);
        Ok((Ear { news, topic, no, ears: Arc::clone(&self.ears) }, from))
    }

    /// Holds the place, so that nobody begins to listen in the middle of what is handed out.
    pub(super) async fn place(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.place.lock().await
    }

    /// Hands an event out. Waits for nobody: whoever is behind by too much is let go.
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
                    one.line.end(Parting::Slow);
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
    /// The next event; none when its owner was too slow.
    pub(super) async fn next(&mut self) -> Option<Arc<News>> {
        self.news.recv().await
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner).forget(self.topic, self.no);
    }
}
