//! All live connections of a process, and what they share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jobs::{Code, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hub::Hub;
use super::line::{Change, Line, Parting};
use super::seats::{Of, Seats, holder};
use super::socketio::{Library, library};
use crate::auth::Caller;
use crate::config::Limits;

/// All live connections of a process, and what they share.
pub(crate) struct Live {
    pub(super) hub: Hub,
    pub(super) seats: Seats,
    /// What serves connections that left hyper's hands.
    pub(super) tasks: TaskTracker,
    /// What speaks Socket.IO.
    pub(super) library: Library,
    sockets: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
    next: AtomicU64,
    lines: Mutex<HashMap<u64, Weak<Line>>>,
}

impl Live {
    /// Room for so many WebSockets and streams.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            hub: Hub::new(limits.live_take_in),
            seats: Seats::default(),
            tasks: TaskTracker::new(),
            library: library(limits),
            sockets: Arc::new(Semaphore::new(limits.live_connections)),
            streams: Arc::new(Semaphore::new(limits.live_streams)),
            stop: CancellationToken::new(),
            next: AtomicU64::new(0),
            lines: Mutex::default(),
        }
    }

    /// Room for one more WebSocket; none when there is not, or the process stops.
    pub(super) fn socket_room(&self) -> Option<OwnedSemaphorePermit> {
        if self.stop.is_cancelled() {
            return None;
        }
        Arc::clone(&self.sockets).try_acquire_owned().ok()
    }

    /// Room for one more stream.
    ///
    /// # Errors
    /// Unavailable when there is not.
    pub(super) fn stream_room(&self) -> Result<OwnedSemaphorePermit, Error> {
        let told = "there is no room for another stream of events; try again, or use a WebSocket";
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Error::new(Code::Unavailable, told))
    }

    /// A connection of somebody who was let in.
    ///
    /// # Errors
    /// Exhausted when they have as many as they may; Unavailable when the process stops.
    pub(super) fn open(&self, caller: Caller, limits: &Limits) -> Result<Arc<Line>, Error> {
        if self.stop.is_cancelled() {
            return Err(Error::new(Code::Unavailable, "this process stops; connect again"));
        }
        let seat = self
            .seats
            .take(Of::Connections(holder(caller.principal.as_ref())), limits.live_connections_each)?;
        let no = self.next.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(Line::new(no, caller, &self.stop, seat));
        let mut lines = self.lines();
        // Those that are gone leave with the next that comes; so many at most are remembered in vain.
        if lines.len() >= 2 * lines.values().filter(|line| line.strong_count() > 0).count().max(64) {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        lines.insert(no, Arc::downgrade(&line));
        Ok(line)
    }

    /// Ends the connections of all whom a change concerns: they connect again and are looked at anew.
    pub(super) fn changed(&self, change: Change) {
        let lines: Vec<_> = self.lines().values().filter_map(Weak::upgrade).collect();
        for line in lines.iter().filter(|line| line.is_concerned(change)) {
            line.end(Parting::AccessChanged);
        }
    }

    /// Ends all connections that there are.
    pub(super) fn part_all(&self, why: Parting) {
        let lines: Vec<_> = self.lines().values().filter_map(Weak::upgrade).collect();
        lines.iter().for_each(|line| line.end(why));
    }

    /// Tells all to connect again, elsewhere.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until it is told to all.
    pub(super) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until those that left hyper's hands have ended.
    pub(crate) async fn stopped(&self) {
        self.tasks.wait().await;
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
