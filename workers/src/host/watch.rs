//! Looks at machines of which the host says that something happened, and records what is seen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::bounded;
use jobs::machine::listing::store::{self, Recorded};
use jobs::machine::report::Sight;
use rules::machine::{Errand, Seen, Wanted};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hold::Hold;
use crate::context::Context;
use crate::hypervisor::{Observed, Reason};

/// How many machines may wait to be looked at; beyond it the next listing tells.
const WAITING: usize = 1_024;

/// How long events gather before their machines are looked at: one act makes several.
const GATHER: Duration = Duration::from_millis(50);

/// Where machines are named that are to be looked at.
pub(crate) struct Looker(mpsc::Sender<Uuid>);

impl Looker {
    /// Looks at what is named, until `stopped`.
    pub(crate) fn start(context: Arc<Context>, hold: Arc<Hold>, stopped: CancellationToken) -> Self {
        let (sender, mut named) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(WAITING);
            while !stopped.is_cancelled() {
                tokio::select! {
                    () = stopped.cancelled() => return,
                    () = tokio::time::sleep(GATHER) => {}
                }
                let some = tokio::select! {
                    () = stopped.cancelled() => return,
                    some = named.recv_many(&mut batch, WAITING) => some,
                };
                if some == 0 {
                    return;
                }
                let machines: BTreeSet<Uuid> = batch.drain(..).collect();
                let machines: Vec<Uuid> = machines.into_iter().collect();
                if let Err(error) = look_again(&context, &hold, &machines).await {
                    tracing::debug!(%error, host = %hold.config.name, "machines could not be looked at; the next listing will");
                }
            }
        });
        Self(sender)
    }

    /// Names a machine. One too many is left to the next listing.
    pub(crate) fn look(&self, machine: Uuid) {
        if self.0.try_send(machine).is_err() {
            tracing::debug!(machine.id = %machine, "too many machines wait to be looked at; the next listing will");
        }
    }
}

/// Looks at these machines and records what is seen, but not of those on which an operation acts.
async fn look_again(context: &Context, hold: &Hold, machines: &[Uuid]) -> jobs::Result<()> {
    let Some(permit) = hold.permit() else { return Ok(()) };
    let recorded = try_join_all(machines.iter().map(|machine| hold.record.of(*machine))).await?;
    let mut sights = Vec::new();
    for known in recorded.iter().flatten().filter(|known| known.host == hold.id && known.is_to_be_seen()) {
        let look = hold.hypervisor().look(known.machine);
        if let Ok(Ok(seen)) = tokio::time::timeout(Errand::Look.awaited_for(), look).await {
            // An operation that has ended has recorded what its own act made of the machine.
            let sight = sight(known, &seen);
            if !known.is_known(sight.seen, sight.drift.as_deref()) {
                sights.push(sight);
            }
        }
    }
    if sights.is_empty() {
        return Ok(());
    }
    bounded(CALL_TIMEOUT, async {
        let mut tx = jobs::db::begin(&context.db).await?;
        if store::seen(&mut tx, hold.id, &permit.claim, &sights).await?.is_some() {
            tx.commit().await?;
        }
        Ok(())
    })
    .await
}

/// What is to be recorded of a machine that was seen so.
pub(crate) fn sight(known: &Recorded, seen: &Observed) -> Sight {
    Sight {
        machine: known.machine,
        applied: known.applied,
        seen: seen.state,
        reason: reason(seen),
        drift: drift(known.wanted, seen.state),
    }
}

/// How what is seen differs from what is wanted, in words; none when it does not.
pub(crate) fn drift(wanted: Wanted, seen: Seen) -> Option<String> {
    (!wanted.is_met_by(seen)).then(|| format!("shall be {wanted} and is {seen}"))
}

/// Why it is in that state, as far as its host tells.
pub(crate) fn reason(seen: &Observed) -> Option<String> {
    (seen.reason != Reason::Unknown).then(|| seen.reason.as_str().to_owned())
}
