//! Keeps a connection to the host for nothing but listening, tells what it hears, and knows how the host
//! stands.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rules::id::MachineId;
use rules::machine::{Errand, PROBE_EVERY, PROBE_WITHIN, Reach};
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::line::{Contact, Line};
use super::listen::{Closed, Ears, listen};
use crate::hypervisor::driver::{HostEvent, Outcome, Standing, Trust};
use crate::hypervisor::error::{Fault, HypervisorError};

/// How long to wait before the next attempt to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// To whom the watch tells what it hears.
#[derive(Debug, Clone)]
pub(super) struct Voices {
    pub(super) standing: watch::Sender<Standing>,
    pub(super) events: broadcast::Sender<HostEvent>,
    /// By what the host said who it is, when it was connected to last.
    pub(super) identity: watch::Sender<Option<String>>,
    /// A call found another hypervisor at the end of its connection: whoever listens looks whom it hears.
    pub(super) astray: Arc<Notify>,
}

impl Voices {
    fn stands(&self, reach: Reach, why: String) {
        let next = Standing { reach, why };
        self.standing.send_if_modified(|now| {
            if *now == next {
                return false;
            }
            *now = next;
            true
        });
    }

    /// A host that was online did not answer. It is doubted until it does.
    pub(super) fn doubts(&self, why: String) {
        self.standing.send_if_modified(|now| {
            let is_new = now.reach == Reach::Online;
            if is_new {
                *now = Standing { reach: Reach::Degraded, why };
            }
            is_new
        });
    }

    /// It answers. What happened while it did not may not have been told.
    fn believes(&self) {
        let again = self.standing.send_if_modified(|now| {
            let again = now.reach == Reach::Degraded;
            if again {
                *now = Standing { reach: Reach::Online, why: String::new() };
            }
            again
        });
        if again {
            self.tell(HostEvent::Connected);
        }
    }

    fn tell(&self, event: HostEvent) {
        // Nobody listening is no fault.
        drop(self.events.send(event));
    }
}

/// Watches until it is dropped.
pub(super) async fn run(line: Arc<Line>, in_process: bool, voices: Voices) {
    loop {
        // What was found before is seen by connecting anew.
        if voices.astray.notified().now_or_never().is_some() {
            tracing::debug!("another hypervisor was found at the end of a connection");
        }
        match attend(&line, in_process, &voices).await {
            Ok((ears, mut closed)) => {
                voices.stands(Reach::Online, String::new());
                voices.tell(HostEvent::Connected);
                let reason = tokio::select! {
                    reason = closed.recv() => reason.unwrap_or(Closed::HungUp),
                    () = probe(&line, &voices) => Closed::Astray,
                    () = voices.astray.notified() => Closed::Astray,
                };
                let (reach, why) = match reason {
                    Closed::HungUp => (Reach::Unreachable, "libvirt closed the connection"),
                    Closed::Silent => (Reach::Degraded, "libvirt does not answer"),
                    Closed::Astray => (Reach::Unreachable, "new connections lead to another hypervisor"),
                };
                line.forget();
                voices.stands(reach, why.to_owned());
                voices.tell(HostEvent::Lost(why.to_owned()));
                drop(ears);
            }
            Err(error) => {
                // A daemon that takes the call and says nothing is there, and hangs.
                let is_silent = error.origin.is_none();
                let reach = if is_silent { Reach::Degraded } else { Reach::Unreachable };
                voices.stands(reach, error.to_string());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Asks the host again and again whether it answers, until another hypervisor does: a daemon can hang whose connections
/// live, and the driver in this process has none that could die.
async fn probe(line: &Line, voices: &Voices) {
    let act = "probe";
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let heard = Trust::Own(voices.identity.borrow().clone());
        let ask = line.call(act, PROBE_WITHIN, move |contact| {
            heard.admit(act, contact.identity.as_deref())?;
            contact.connect.node_info().map(drop).map_err(|error| super::error::mapped(act, &error))
        });
        match ask.await.map_err(|error| (error.fault, error)) {
            Err((Fault::Unrecognised, _)) => return,
            Err((Fault::Deadline(_) | Fault::Unreachable, error)) => voices.doubts(error.to_string()),
            // The one before has not come back yet, or in this process all are under way.
            Err((Fault::Busy, _)) => {}
            // An error is an answer.
            Ok(()) | Err(_) => voices.believes(),
        }
    }
}

type Attended = (Ears, mpsc::UnboundedReceiver<Closed>);

async fn attend(line: &Line, in_process: bool, voices: &Voices) -> Outcome<Attended> {
    let act = "listen";
    let Contact { connect, identity } = line.take(act, Errand::Read.answered_within()).await?;
    // At most one message ever goes through: a connection closes once.
    let (closing, closed) = mpsc::unbounded_channel();
    let teller = voices.clone();
    let registering = tokio::task::spawn_blocking(move || {
        let on_machine = Box::new(move |id| teller.tell(HostEvent::Changed(MachineId(id))));
        // The driver in this process never closes, and so offers nothing to hear it by. The sender is kept
        // by the ears all the same: without it the watch would think that the connection was gone.
        let on_close = Box::new(move |reason| {
            // Nobody waits for it any more: then nobody needs it.
            closing.send(reason).ok();
        });
        if in_process {
            let on_machine = Box::new(move |id| {
                // Holds the sender for as long as these ears are there.
                let _kept = &on_close;
                on_machine(id);
            });
            listen(&connect, on_machine, None)
        } else {
            listen(&connect, on_machine, Some(on_close))
        }
    });
    let failed = |error: String| HypervisorError::new(Fault::Unreachable, act).because(error);
    match tokio::time::timeout(super::line::CONNECT, registering).await {
        Ok(Ok(Ok(ears))) => {
            // Before anybody takes it for the host that it is to be.
            voices.identity.send_replace(identity);
            Ok((ears, closed))
        }
        Ok(Ok(Err(error))) => Err(super::error::mapped(act, &error)),
        Ok(Err(panicked)) => Err(failed(panicked.to_string())),
        Err(_) => Err(failed("libvirt does not answer".to_owned())),
    }
}
