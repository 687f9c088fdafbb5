//! Takes a sweep's letters batch by batch, and ends it.

use chrono::Utc;
use rules::audit::{Entry, INSTALLATION, Outcome, arguments};
use rules::id::{SweepId, TenantId};
use rules::queue::sweep::{SweepAction, SweepState, batch};
use rules::queue::{Kind, Policy};
use serde_json::json;
use sqlx::PgConnection;

use super::store::{self, SweepView};
use crate::audit::store::take_in;
use crate::payload::letter::LetterSweep;
use crate::queue::postgres::ack::Stale;
use crate::queue::postgres::control::discard_all;
use crate::queue::postgres::letters::{self, Walk};
use crate::queue::{Attempt, DeadJob};
use crate::{Error, Result};

/// What the audit calls the end of a sweep.
const ENDED: &str = "deadLetterSweep.ended";

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Went {
    /// How many letters it took.
    pub taken: usize,
    /// How many the sweep takes in a second.
    pub rate: u16,
    /// The pools to wake after the commit.
    pub woken: Vec<i32>,
    /// Whether the sweep is over.
    pub over: bool,
}

/// Takes the next batch of a sweep. How far it has come is part of the same transaction, so that whoever takes over goes
/// on from there; and so is the end, with its entry in the audit.
///
/// # Errors
/// Conflict ([`Stale`]) when the attempt's lease was lost: the caller must roll back. NotFound when the sweep is gone,
/// Unavailable when nobody answers.
pub async fn go_on(conn: &mut PgConnection, attempt: &Attempt, id: SweepId) -> Result<Went> {
    let mut sweep = store::hold(conn, attempt.tenant, id).await?;
    let rate = u16::try_from(sweep.rate).unwrap_or(1);
    if !sweep.state()?.is_open() {
        return Ok(Went { over: true, ..Went::default() });
    }
    if !store::leased(conn, attempt.id, attempt.token).await? {
        return Err(Stale(attempt.id).into());
    }
    let tenant = sweep.tenant_id.map(TenantId);
    let walk = Walk::After(sweep.reached);
    let found = letters::find(conn, tenant, &sweep.letters, walk, i32::from(batch(rate))).await?;
    let woken = match sweep.action()? {
        SweepAction::Redrive => redrive(conn, &mut sweep, &found.ids).await?,
        SweepAction::Discard => {
            let gone = discard_all(conn, &found.ids).await?;
            sweep.done = sweep.done.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX));
            Vec::new()
        }
    };
    if let Some(reached) = found.reached.or(found.ids.last().copied()) {
        sweep.reached = reached;
    }
    store::went(conn, &sweep).await?;
    let over = found.reached.is_none();
    if over {
        end(conn, &sweep, SweepState::Done).await?;
    }
    Ok(Went { taken: found.ids.len(), rate, woken, over })
}

/// Redrives these, and counts those that cannot be. One that is no dead letter any more is neither.
async fn redrive(conn: &mut PgConnection, sweep: &mut SweepView, found: &[i64]) -> Result<Vec<i32>> {
    let (mut ids, mut attempts) = (Vec::new(), Vec::new());
    for (id, kind) in store::kinds(conn, found).await? {
        let kind = kind.parse::<Kind>().ok();
        if let Some(instead) = kind.and_then(Kind::instead_of_redriving) {
            refuse(sweep, id, instead);
            continue;
        }
        // A kind of another version gets one, since nobody here knows it.
        let own = kind.map_or(1, |kind| Policy::of(kind).max_attempts);
        ids.push(id);
        attempts.push(sweep.attempts.unwrap_or_else(|| i16::try_from(own).unwrap_or(i16::MAX)));
    }
    let mut woken = Vec::new();
    for one in store::redrive(conn, &ids, &attempts).await? {
        match one.became.as_str() {
            "redriven" => {
                sweep.done = sweep.done.saturating_add(1);
                woken.extend(one.woken);
            }
            "unique_taken" => refuse(sweep, one.id, "another job holds its uniqueness key"),
            _ => {}
        }
    }
    woken.sort_unstable();
    woken.dedup();
    Ok(woken)
}

fn refuse(sweep: &mut SweepView, id: i64, why: &str) {
    sweep.refused = sweep.refused.saturating_add(1);
    sweep.refusal.get_or_insert_with(|| format!("job {id} cannot be redriven: {why}"));
}

/// Ends a sweep on somebody's wish; what it has taken stays taken.
///
/// # Errors
/// NotFound when there is none, or it belongs to another tenant; Conflict when it has ended.
pub async fn cancel(conn: &mut PgConnection, tenant: Option<TenantId>, id: SweepId) -> Result<SweepView> {
    let sweep = store::hold(conn, tenant, id).await?;
    if !sweep.state()?.is_open() {
        let told = format!("the sweep of dead letters {id} has ended; it is {}", sweep.state);
        return Err(Error::conflict(told));
    }
    end(conn, &sweep, SweepState::Cancelled).await?;
    store::get(conn, tenant, id).await
}

/// Ends it, and tells the audit what it came to.
async fn end(conn: &mut PgConnection, sweep: &SweepView, state: SweepState) -> Result<()> {
    store::stop(conn, SweepId(sweep.id), state, None).await?;
    let told = json!({
        "sweep": sweep.id, "action": sweep.action, "letters": sweep.letters, "state": state.as_str(),
        "matched": sweep.matched, "done": sweep.done, "refused": sweep.refused,
    });
    let entry = Entry {
        tenant: sweep.tenant_id.map_or(INSTALLATION, TenantId),
        at: Utc::now(),
        actor: sweep.asked_by.clone(),
        operation: ENDED.to_owned(),
        arguments: told.as_object().map_or_else(|| "{}".to_owned(), arguments),
        outcome: Outcome::Accepted,
        code: None,
        took_ms: 0,
        address: None,
        request_id: None,
    };
    take_in(conn, &[entry]).await
}

/// Says with a sweep that its job died, so that it does not go on until that is redriven.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn job_died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<()> {
    if kind == Kind::LetterSweep
        && let Ok(job) = serde_json::from_value::<LetterSweep>(dead.payload.clone())
    {
        store::stop(conn, job.sweep_id, SweepState::Failed, Some(&dead.error)).await?;
    }
    Ok(())
}
