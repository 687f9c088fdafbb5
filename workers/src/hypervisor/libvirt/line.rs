//! The connections to a host and the calls that go over them: each on a thread where it may block, a bounded
//! number at once, each with a deadline.
//!
//! A remote connection carries one call at a time: when threads share one, libvirt's client can lose a wake-up,
//! and before its release 10.4.0 it can write into a stack that is gone (CVE-2024-4418, see libvirt's release
//! notes). Debian 12 has 9.0.0.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rules::machine::HostUri;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use virt::connect::Connect;

use super::error::mapped;
use super::event_loop;
use super::figures;
use super::turns::Turn;
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::error::{Fault, HypervisorError};

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// How often a remote host is asked whether it is there, in seconds.
const KEEPALIVE_SECONDS: i32 = 1;
/// After how many unanswered questions the connection is given up.
const KEEPALIVE_COUNT: u32 = 3;

/// A connection, and by what whoever is at its other end says who it is. That was asked when it was made, and holds for
/// as long as it lives; the next one to the same address may lead elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Contact {
    pub(super) connect: Connect,
    pub(super) identity: Option<String>,
}

/// Connections that are opened when they are needed and opened anew when they died.
#[derive(Debug)]
pub(super) struct Line {
    uri: HostUri,
    /// Connections that nobody uses now. A driver in this process has its machines in its connection: there
    /// it is one, kept here for as long as the line, and used by all.
    spare: Arc<Mutex<Vec<Contact>>>,
    /// One attempt to connect at a time: a host that hangs would collect threads otherwise.
    opening: Arc<Semaphore>,
    /// One per call that may block at once.
    slots: Arc<Semaphore>,
}

impl Line {
    /// A line to this host over which so many calls go at once.
    pub(super) fn new(uri: HostUri, slots: usize) -> Self {
        Self {
            uri,
            spare: Arc::default(),
            opening: Arc::new(Semaphore::new(1)),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }

    /// Runs a blocking call over a connection that was alive when it began. Given up at the deadline, the
    /// call keeps its connection and its slot until libvirt lets it go.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        act: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Contact) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        self.call_in_turn(None, act, deadline, work).await
    }

    /// The same, after all earlier calls of this turn have ended, be it that nobody waits for them any more.
    pub(super) async fn call_in_turn<T: Send + 'static>(
        &self,
        turn: Option<Turn>,
        act: &'static str,
        deadline: Duration,
        work: impl FnOnce(&Contact) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let busy = |why: &str| Err(HypervisorError::new(Fault::Busy, act).because(why));
        let until = Instant::now() + deadline;
        let turn = match turn.map(|turn| timeout_at(until, turn.lock_owned())) {
            None => None,
            Some(turn) => match turn.await {
                Ok(turn) => Some(turn),
                Err(_) => return busy("an earlier call on the machine has not ended"),
            },
        };
        let Ok(slot) = timeout_at(until, Arc::clone(&self.slots).acquire_owned()).await else {
            return busy("all calls to the host wait for an answer");
        };
        let Ok(contact) = timeout_at(until, self.take(act, CONNECT)).await else {
            // Nothing was asked yet.
            let why = format!("`{}` cannot be connected to within {deadline:?}", self.uri);
            return Err(HypervisorError::new(Fault::Unreachable, act).because(why));
        };
        let contact = contact?;
        let (spare, in_process) = (Arc::clone(&self.spare), self.uri.lives_in_process());
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&contact).map_err(|error| judged(&contact, error));
            // Over one that led to another hypervisor nobody is to be asked again.
            let is_astray = done.as_ref().is_err_and(|error| error.fault == Fault::Unrecognised);
            if !in_process && !is_astray && is_alive(&contact) {
                lock(&spare).push(contact);
            }
            drop((slot, turn));
            done
        });
        match timeout_at(until, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(panicked)) => Err(HypervisorError::new(Fault::Other, act).because(panicked.to_string())),
            Err(_) => Err(HypervisorError::new(Fault::Deadline(deadline), act)),
        }
    }

    /// A connection that nobody else uses, unless it is to a driver in this process. Of a new one it is asked who is at
    /// its other end, who may take so long to say it.
    pub(super) async fn take(&self, act: &'static str, says_within: Duration) -> Outcome<Contact> {
        if let Some(contact) = self.spare() {
            return Ok(contact);
        }
        let lost = |why: String| HypervisorError::new(Fault::Unreachable, act).because(why);
        let silent = || lost(format!("`{}` does not answer within {CONNECT:?}", self.uri));
        let until = Instant::now() + CONNECT;
        let Ok(Ok(turn)) = timeout_at(until, Arc::clone(&self.opening).acquire_owned()).await else {
            return Err(silent());
        };
        if let Some(contact) = self.spare() {
            return Ok(contact);
        }
        event_loop::start().map_err(lost)?;
        let (uri, spare) = (self.uri.clone(), Arc::clone(&self.spare));
        let opened = tokio::task::spawn_blocking(move || {
            let opened = open(&uri);
            if let Ok(connect) = &opened
                && uri.lives_in_process()
            {
                // The driver in this process says nothing of who it is.
                lock(&spare).push(Contact { connect: connect.clone(), identity: None });
            }
            drop(turn);
            opened
        });
        let Ok(opened) = timeout_at(until, opened).await else { return Err(silent()) };
        let connect = opened
            .map_err(|panicked| lost(panicked.to_string()))?
            .map_err(|error| HypervisorError { fault: Fault::Unreachable, ..mapped(act, &error) })?;
        if self.uri.lives_in_process() {
            return Ok(Contact { connect, identity: None });
        }
        let asked = tokio::task::spawn_blocking(move || {
            let asked = figures::identity(&connect);
            let identity =
                asked.map_err(|error| HypervisorError { fault: Fault::Unreachable, act, ..error })?;
            Ok::<_, HypervisorError>(Contact { connect, identity })
        });
        match tokio::time::timeout(says_within, asked).await {
            Ok(told) => told.map_err(|panicked| lost(panicked.to_string()))?,
            Err(_) => Err(lost(format!("`{}` does not say within {says_within:?} who it is", self.uri))),
        }
    }

    /// Closes the connections that nobody uses now: the next calls make new ones. That to a driver in this process stays.
    pub(super) fn forget(&self) {
        if !self.uri.lives_in_process() {
            close(std::mem::take(&mut *lock(&self.spare)));
        }
    }

    fn spare(&self) -> Option<Contact> {
        let mut spare = lock(&self.spare);
        if self.uri.lives_in_process() {
            return spare.first().cloned();
        }
        std::iter::from_fn(|| spare.pop()).find(is_alive)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        close(std::mem::take(&mut *lock(&self.spare)));
    }
}

/// Closing speaks to the host, and this may be a thread that must not wait.
fn close(contacts: Vec<Contact>) {
    if contacts.is_empty() {
        return;
    }
    let closing = std::thread::Builder::new().name("libvirt-close".to_owned()).spawn(move || drop(contacts));
    if let Err(error) = closing {
        tracing::warn!(%error, "connections to a host were not closed in a thread of their own");
    }
}

fn lock(spare: &Mutex<Vec<Contact>>) -> MutexGuard<'_, Vec<Contact>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the connection is still open, as far as this side knows; asks nobody.
fn is_alive(contact: &Contact) -> bool {
    contact.connect.is_alive().unwrap_or(false)
}

/// An error over a connection that died is the connection's, whatever it says.
fn judged(contact: &Contact, error: HypervisorError) -> HypervisorError {
    if error.fault == Fault::Unrecognised || is_alive(contact) {
        error
    } else {
        HypervisorError { fault: Fault::Unreachable, ..error }
    }
}

fn open(uri: &HostUri) -> Result<Connect, virt::error::Error> {
    let connect = Connect::open(Some(&uri.unattended()))?;
    if !uri.lives_in_process() {
        connect.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)?;
    }
    Ok(connect)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Longer than any of this takes.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_keeps_its_turn_until_it_ends() {
        let line = Line::new("test:///default".parse().unwrap(), 8);
        let turn = Turn::default();
        let (begins, begun) = mpsc::channel();
        let (goes_on, may_go_on) = mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&ended);
        let first = line.call_in_turn(Some(Arc::clone(&turn)), "first", LONG, move |_| {
            begins.send(()).unwrap();
            may_go_on.recv().unwrap();
            noted.lock().unwrap().push("first");
            Ok(())
        });
        let mut first = Box::pin(first);
        while begun.try_recv().is_err() {
            assert!(futures::poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
        // As when its operation is cancelled.
        drop(first);
        let late =
            line.call_in_turn(Some(Arc::clone(&turn)), "second", Duration::from_millis(50), |_| Ok(())).await;
        assert_eq!(late.unwrap_err().fault, Fault::Busy);
        goes_on.send(()).unwrap();
        let noted = Arc::clone(&ended);
        let third = line.call_in_turn(Some(turn), "third", LONG, move |_| {
            noted.lock().unwrap().push("third");
            Ok(())
        });
        third.await.unwrap();
        assert_eq!(*ended.lock().unwrap(), ["first", "third"]);
    }
}
