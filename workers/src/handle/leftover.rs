//! Removes from a host what is left there of machines that are not its own any more, and says why in the audit.

use std::time::{Duration, Instant};

use chrono::Utc;
use jobs::Result;
use jobs::audit::store::take_in;
use jobs::db::PgConnection;
use jobs::machine::listing::store::{self, Foreign, Recorded};
use rules::audit::Entry;
use rules::id::OperationId;
use rules::machine::{Errand, LISTING_ENDS, Seen};
use serde_json::json;
use uuid::Uuid;

use crate::context::Context;
use crate::host::Hold;
use crate::hypervisor::{Fault, Listed, Mark};

/// How long the removal of a machine's definition may take: a transaction stands open for it.
const REMOVAL: Duration = Duration::from_secs(20);

/// What is removed.
const DEFINITION: &str = "its definition";
const DISKS: &str = "its disks";

/// What the audit calls a removal that nobody asked for.
const OPERATION: &str = "host.reconcile";

/// Removes machines of ours that are recorded elsewhere or destroyed, as long as they are off. One that runs in two
/// places is said loudly, and nobody's to end but a person's.
pub(super) async fn remove_foreign(
    context: &Context,
    hold: &Hold,
    recorded: &[Recorded],
    listed: &[Listed],
    began: Instant,
) -> Result<()> {
    for foreign in unrecorded(context, hold, recorded, listed.iter().map(|l| l.machine.0)).await? {
        let machine = foreign.machine;
        let Some(seen) = listed.iter().find(|l| l.machine == machine).map(|l| l.observed) else { continue };
        if !matches!(seen.state, Seen::Off | Seen::Crashed) {
            tracing::error!(machine.id = %machine, host = %hold.config.name, "a machine runs on a host that is not its own; switch it off there");
            continue;
        }
        if is_over(hold, began) {
            return Ok(());
        }
        // The call may wait for its turn or for a connection: until it is over nobody brings the machine here.
        let mut tx = jobs::db::begin(&context.db).await?;
        if !store::stays_away(&mut tx, machine).await?
            || store::foreign(&mut tx, hold.id, &[machine.0]).await?.is_empty()
        {
            continue;
        }
        // Only what was listed is removed: an operation that has acted on it here since has left a later mark.
        let generation = seen.mark.map_or(0, |mark| mark.generation);
        let mark = Mark { operation: OperationId(Uuid::new_v4()), generation };
        // Written before it is done: what cannot be told is not removed.
        audit(&mut tx, hold, &foreign, DEFINITION).await?;
        let removal = hold.hypervisor().undefine(machine, mark);
        match tokio::time::timeout(REMOVAL, removal).await {
            Ok(Ok(_)) => {
                say(hold, &foreign, DEFINITION);
                tx.commit().await?;
            }
            Ok(Err(error)) if !matches!(error.fault, Fault::Deadline(_)) => {
                tracing::warn!(%error, "a machine could not be removed from a host that is not its own");
                tx.rollback().await?;
            }
            // It may still be done: better said once too often.
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(machine.id = %machine, "the removal of a machine took too long");
                tx.commit().await?;
            }
        }
    }
    Ok(())
}

/// Deletes the disks of machines that are destroyed: one that was under way while its machine was destroyed came to
/// be after all else was gone. Those of machines that are elsewhere may be on storage that both hosts have.
pub(super) async fn sweep_disks(
    context: &Context,
    hold: &Hold,
    recorded: &[Recorded],
    began: Instant,
) -> Result<()> {
    let owners = match tokio::time::timeout(Errand::Read.awaited_for(), hold.hypervisor().disk_owners()).await
    {
        Ok(Ok(owners)) => owners,
        Ok(Err(error)) => {
            tracing::debug!(%error, host = %hold.config.name, "a host's disks could not be listed");
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    let unrecorded = unrecorded(context, hold, recorded, owners.iter().map(|machine| machine.0)).await?;
    for foreign in unrecorded.iter().filter(|foreign| foreign.destroyed) {
        if is_over(hold, began) {
            return Ok(());
        }
        let deletion = hold.hypervisor().delete_disks(foreign.machine);
        match tokio::time::timeout(Errand::Act.awaited_for(), deletion).await {
            Ok(Ok(())) => {
                say(hold, foreign, DISKS);
                let mut conn = context.db.acquire().await?;
                audit(&mut conn, hold, foreign, DISKS).await?;
            }
            Ok(Err(error)) => tracing::warn!(%error, "disks of a destroyed machine could not be deleted"),
            Err(_) => {
                tracing::warn!(machine.id = %foreign.machine, "the deletion of a destroyed machine's disks took too long");
            }
        }
    }
    Ok(())
}

/// Those of these machines that are ours and not recorded on this host.
async fn unrecorded(
    context: &Context,
    hold: &Hold,
    recorded: &[Recorded],
    machines: impl Iterator<Item = Uuid>,
) -> Result<Vec<Foreign>> {
    let unknown: Vec<Uuid> =
        machines.filter(|id| recorded.binary_search_by_key(id, |known| known.machine.0).is_err()).collect();
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let mut conn = context.db.acquire().await?;
    store::foreign(&mut conn, hold.id, &unknown).await
}

fn is_over(hold: &Hold, began: Instant) -> bool {
    hold.permit().is_none() || began.elapsed() > LISTING_ENDS
}

/// Why what a machine left is removed.
const fn reason(foreign: &Foreign) -> &'static str {
    if foreign.destroyed { "it is destroyed" } else { "it is recorded on another host" }
}

/// Says in the log what was removed, and why.
fn say(hold: &Hold, foreign: &Foreign, removed: &str) {
    let (machine, host, reason) = (foreign.machine, &hold.config.name, reason(foreign));
    tracing::info!(machine.id = %machine, %host, removed, reason, "removed what a machine left on a host");
}

/// Says in the audit of the machine's tenant what is removed, and why.
async fn audit(conn: &mut PgConnection, hold: &Hold, foreign: &Foreign, removed: &str) -> Result<()> {
    let (machine, host, reason) = (foreign.machine, &hold.config.name, reason(foreign));
    let given = json!({ "machine": machine.0, "host": host, "removed": removed, "reason": reason });
    let entry = Entry::done(foreign.tenant, Utc::now(), format!("host:{host}"), OPERATION, &given);
    take_in(conn, &[entry]).await
}
