//! Has a machine checked now, whatever its schedule says.

use rules::health::Check;
use rules::id::{JobId, MachineId, TenantId};
use rules::machine::Wanted;
use rules::queue::Priority;
use sqlx::PgConnection;

use super::job::job;
use super::store;
use crate::queue::{Enqueued, enqueue};
use crate::{Error, Result};

/// A check that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The check.
    pub check: Check,
    /// The job that makes it: a new one, or the one that was to make it anyhow.
    pub job: JobId,
}

/// Has these checks made of a machine. Whoever asks holds the machine's health until the commit: what a check
/// finds from then on is told to whoever waits for it by then.
///
/// # Errors
/// NotFound when the tenant has no such machine; Conflict when it is being destroyed.
pub async fn ask(
    conn: &mut PgConnection,
    tenant: TenantId,
    machine: MachineId,
    checks: &[Check],
    trace_parent: Option<&str>,
) -> Result<(Vec<Asked>, Vec<Enqueued>)> {
    // Only a machine of the tenant's is held.
    store::place(conn, tenant, machine).await?;
    store::hold(conn, tenant, machine).await?;
    // Now that it is: it may have been moved or destroyed while others held it.
    let place = store::place(conn, tenant, machine).await?;
    if place.wanted == Wanted::Destroyed {
        return Err(Error::conflict("the machine is being destroyed; nothing of it is checked any more"));
    }
    // Before the jobs, as the schedule does: whoever came to the keys of the jobs first would wait for the other.
    store::hold_checks(conn, machine).await?;
    let jobs = checks
        .iter()
        .map(|check| {
            let job = job(tenant, machine, *check, place.host_no, Priority::Medium)?;
            Ok(job.trace(trace_parent.map(ToOwned::to_owned)))
        })
        .collect::<Result<Vec<_>>>()?;
    let enqueued = enqueue(conn, &jobs).await?;
    let asked: Vec<Asked> =
        checks.iter().zip(&enqueued).map(|(check, job)| Asked { check: *check, job: job.id }).collect();
    store::note_jobs(conn, machine, &asked).await?;
    Ok((asked, enqueued))
}
