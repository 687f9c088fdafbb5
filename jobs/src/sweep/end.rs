//! Ends a sweep, or says why it does not go on; the audit is told what it came to.

use chrono::Utc;
use rules::audit::{Entry, INSTALLATION, arguments};
use rules::id::{SweepId, TenantId};
use rules::queue::Kind;
use rules::queue::sweep::SweepState;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::store::{self, SweepView};
use crate::audit::store::take_in;
use crate::audit::{Note, note};
use crate::db::wall;
use crate::payload::letter::LetterSweep;
use crate::queue::DeadJob;
use crate::{Error, Result};

/// What the audit calls the end of a sweep.
const ENDED: &str = "deadLetterSweep.ended";

/// Ends a sweep on somebody's wish; what it has taken stays taken. The transaction stays within the sweep's tenant, if it
/// has one, so that whatever else is noted in it stands in that tenant's audit, too.
///
/// # Errors
/// NotFound when there is none, or it belongs to another tenant; Conflict when it has ended.
pub async fn cancel(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    id: SweepId,
    by: &str,
) -> Result<SweepView> {
    let (sweep, _) = store::hold(conn, tenant, id).await?;
    if !sweep.state()?.is_open() {
        let told = format!("the sweep of dead letters `{id}` has ended; it is {}", sweep.state);
        return Err(Error::conflict(told));
    }
    if let Some(own) = sweep.tenant_id {
        wall::enter(conn, TenantId(own)).await?;
    }
    store::stop(conn, id, SweepState::Cancelled, None, Some(by)).await?;
    let told = came_to(&sweep, SweepState::Cancelled);
    let told = told.as_object().map_or_else(|| "{}".to_owned(), arguments);
    let entry =
        Note { actor: by, operation: ENDED, arguments: &told, took_ms: 0, address: None, request_id: None };
    note(conn, &entry).await?;
    store::get(conn, tenant, id).await
}

/// Ends one that is through. Its worker sees all tenants, and so says itself in whose audit that stands.
pub(super) async fn done(conn: &mut PgConnection, sweep: &SweepView) -> Result<()> {
    store::stop(conn, SweepId(sweep.id), SweepState::Done, None, None).await?;
    let tenant = sweep.tenant_id.map_or(INSTALLATION, TenantId);
    let given = came_to(sweep, SweepState::Done);
    let entry = Entry::done(tenant, Utc::now(), sweep.asked_by.clone(), ENDED, &given);
    take_in(conn, &[entry]).await
}

fn came_to(sweep: &SweepView, state: SweepState) -> Value {
    json!({
        "sweep": sweep.id, "action": sweep.action, "letters": sweep.letters, "state": state.as_str(),
        "matched": sweep.matched, "done": sweep.done, "refused": sweep.refused,
    })
}

/// Says with a sweep that its job died, so that it does not go on until that is redriven.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn job_died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<()> {
    if kind == Kind::LetterSweep
        && let Ok(job) = serde_json::from_value::<LetterSweep>(dead.payload.clone())
    {
        let told = format!("its job {} died: {}; redrive that job and it goes on", dead.id, dead.error);
        store::stop(conn, job.sweep_id, SweepState::Failed, Some(&told), None).await?;
    }
    Ok(())
}

/// Says with sweeps whose job is gone without a word that they do not go on; tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn fail_abandoned(conn: &mut PgConnection) -> Result<usize> {
    let failed = store::fail_abandoned(conn).await?;
    for id in &failed {
        tracing::warn!(sweep.id = %id, "a sweep of dead letters has no job any more; it is shown as failed");
    }
    Ok(failed.len())
}
