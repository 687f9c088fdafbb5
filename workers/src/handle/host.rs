//! Handles `host.reconcile`: lists every machine of a host and compares it with what is recorded.
//!
//! A listing that fails changes nothing. What the driver in this process has lost is defined again, off: it keeps
//! nothing, and loses all machines with each process. What a host has too much is removed when it is off. Everything
//! else that differs is shown, and corrected by whoever wants it so: a machine that a real host does not know any more
//! may run elsewhere, or its disk may be gone.

use std::collections::HashMap;
use std::time::Instant;

use jobs::machine::listing::store::{self, Recorded};
use jobs::machine::{Request, request};
use jobs::payload::machine::HostReconcile;
use jobs::queue::{Attempt, finish};
use jobs::{Code, Error, Result};
use rules::machine::{Action, Errand, Seen, Wanted};
use rules::queue::Outcome;
use uuid::Uuid;

use super::{Handled, leftover};
use crate::context::Context;
use crate::host::{Hold, sight};
use crate::hypervisor::{Listed, Observed};

/// The most machines whose sights are written in one statement.
const BATCH: usize = 1_000;

/// The most lost machines that one listing asks to define again; the next takes the rest.
const LOST_BATCH: usize = 200;

/// Why a machine is defined again.
const RESTARTED: &str = "host restarted";

/// Who asks for a machine to be defined again.
const BY: &str = "host";

/// Compares a host with what is recorded.
pub(crate) async fn reconcile(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let began = Instant::now();
    let payload: HostReconcile = attempt.payload()?;
    let Some(hold) = context.hosts.of(attempt.pool).filter(|hold| hold.id == payload.host_id) else {
        return Err(Error::internal(format!(
            "`{}` jobs are claimed for a host that is not served",
            attempt.kind
        )));
    };
    let Some(permit) = hold.permit() else { return Ok(Handled::Outcome(Outcome::Released)) };
    // Recorded first, looked second: what acts in between counts the generation up, and is passed over.
    let mut conn = context.db.acquire().await?;
    let recorded = store::recorded(&mut conn, hold.id).await?;
    drop(conn);
    let listed = match tokio::time::timeout(Errand::Read.awaited_for(), hold.hypervisor().list()).await {
        Ok(Ok(listed)) => listed,
        Ok(Err(error)) => return Ok(gave_up(hold, &error.to_string())),
        Err(_) => return Ok(gave_up(hold, "it took too long")),
    };
    let seen: HashMap<Uuid, &Listed> = listed.iter().map(|l| (l.machine.0, l)).collect();
    let sights: Vec<_> = recorded
        .iter()
        .filter(|known| known.is_to_be_seen())
        .map(|known| sight(known, seen.get(&known.machine.0).map_or(&Observed::ABSENT, |l| &l.observed)))
        .collect();
    leftover::remove_foreign(context, hold, &recorded, &listed, began).await?;
    leftover::sweep_disks(context, hold, &recorded, began).await?;
    let keeps_nothing = hold.config.uri.lives_in_process();
    let lost: Vec<&Recorded> =
        recorded.iter().filter(|known| keeps_nothing && is_lost(known, &seen)).take(LOST_BATCH).collect();
    let asked = define_again(context, &lost).await?;
    // Each batch in a transaction of its own: until its commit the lease's row is locked, and its renewal waits.
    for batch in sights.chunks(BATCH) {
        let mut tx = jobs::db::begin(&context.db).await?;
        if store::seen(&mut tx, hold.id, &permit.claim, batch).await?.is_none() {
            tx.rollback().await?;
            return Ok(Handled::Outcome(Outcome::Released));
        }
        tx.commit().await?;
        context.wake.stir();
    }
    let mut tx = jobs::db::begin(&context.db).await?;
    jobs::host::store::listed(&mut tx, hold.id).await?;
    let woken = finish(&mut tx, attempt, began.elapsed()).await?;
    tx.commit().await?;
    context.wake.pools(&woken);
    if asked > 0 {
        tracing::warn!(host = %hold.config.name, machines = asked, "machines that their host has lost are defined again");
    }
    Ok(Handled::Settled)
}

fn gave_up(hold: &Hold, error: &str) -> Handled {
    tracing::warn!(host = %hold.config.name, error, "a host's machines could not be listed; what is recorded stands");
    Handled::Outcome(Outcome::Done)
}

/// Whether a machine was there and is not any more, with nothing under way that would tell why. One of which
/// nobody knows what it is was there too, unless the last that was done to it was to make it.
fn is_lost(known: &Recorded, seen: &HashMap<Uuid, &Listed>) -> bool {
    !known.busy
        && known.wanted != Wanted::Destroyed
        && known.seen != Seen::Absent
        && !known.unmade
        && !seen.contains_key(&known.machine.0)
}

/// Asks for lost machines to be defined again. Each in a transaction of its own: one that was destroyed
/// meanwhile keeps no other from it.
async fn define_again(context: &Context, lost: &[&Recorded]) -> Result<usize> {
    let mut asked = 0;
    for known in lost {
        let mut tx = jobs::db::begin(&context.db).await?;
        let wish = Request {
            tenant: known.tenant,
            machine: known.machine,
            action: Action::Define,
            by: BY,
            reason: Some(RESTARTED),
            trace_parent: None,
        };
        match request(&mut tx, &wish).await {
            Ok(requested) => {
                tx.commit().await?;
                requested.tell(&context.wake);
                asked += 1;
            }
            Err(error) if matches!(error.code, Code::NotFound | Code::Conflict) => tx.rollback().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(asked)
}
