//! Takes a sweep's letters batch by batch.

use std::time::Duration;

use rules::id::{SweepId, TenantId};
use rules::queue::letter::Letters;
use rules::queue::sweep::{Pace, SweepAction, Turn, turn, window};
use rules::queue::{Kind, Policy};
use sqlx::PgConnection;

use super::end;
use super::store::{self, SweepView};
use crate::queue::Attempt;
use crate::queue::postgres::ack::Stale;
use crate::queue::postgres::control::discard_all;
use crate::queue::postgres::letters::find_up;
use crate::{Error, Result};

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Went {
    /// How many letters it took.
    pub taken: usize,
    /// How long nothing more is taken, where the rate says so.
    pub wait: Option<Duration>,
    /// The pools to wake after the commit.
    pub woken: Vec<i32>,
    /// Whether the sweep is over.
    pub over: bool,
}

/// Takes the next batch of a sweep, whose row it holds meanwhile. How far it has come is part of the same transaction, so
/// that whoever takes over goes on from there; and so is the end, with its entry in the audit.
///
/// # Errors
/// Conflict ([`Stale`]) when the attempt's lease was lost: the caller must roll back. NotFound when the sweep is gone,
/// Interrupted where it stood in another's way, Unavailable when nobody answers.
pub async fn go_on(conn: &mut PgConnection, attempt: &Attempt, id: SweepId) -> Result<Went> {
    // The lease before the sweep, as whoever ends the job comes to them.
    if !store::leased(conn, attempt.id, attempt.token).await? {
        return Err(Stale(attempt.id).into());
    }
    let (mut sweep, pace) = store::hold(conn, attempt.tenant, id).await?;
    if !sweep.state()?.is_open() {
        return Ok(Went { over: true, ..Went::default() });
    }
    let rate = u16::try_from(sweep.rate).unwrap_or(1);
    let (most, before) = match turn(rate, pace) {
        Turn::Take { most, before } => (most, before),
        Turn::Wait(wait) => return Ok(Went { wait: Some(wait), ..Went::default() }),
    };
    let tenant = sweep.tenant_id.map(TenantId);
    let (looks_at, limit) = (window(most), i32::from(most));
    let found = find_up(conn, tenant, &sweep.letters, sweep.reached, looks_at, limit).await?;
    let held = store::hold_letters(conn, tenant, until(&sweep.letters)?, &found.ids).await?;
    let woken = match sweep.action()? {
        SweepAction::Redrive => redrive(conn, &mut sweep, &held).await?,
        SweepAction::Discard => {
            let ids: Vec<i64> = held.iter().map(|(id, _)| *id).collect();
            let gone = discard_all(conn, &ids).await?;
            sweep.done = sweep.done.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX));
            Vec::new()
        }
    };
    if let Some(reached) = found.reached {
        sweep.reached = reached;
    }
    let taken = u16::try_from(held.len()).unwrap_or(u16::MAX);
    let in_second = before.unwrap_or_default().saturating_add(taken);
    store::went(conn, &sweep, before.is_none(), in_second).await?;
    let over = found.reached.is_none();
    if over {
        end::done(conn, &sweep).await?;
    }
    let since = if before.is_some() { pace.since } else { Some(Duration::ZERO) };
    let wait = match turn(rate, Pace { since, taken: in_second }) {
        Turn::Wait(wait) if !over => Some(wait),
        Turn::Wait(_) | Turn::Take { .. } => None,
    };
    Ok(Went { taken: held.len(), wait, woken, over })
}

/// Before when a letter has died that it takes: one that was redriven and died again is none of those that matched.
fn until(letters: &Letters) -> Result<chrono::DateTime<chrono::Utc>> {
    letters.until.ok_or_else(|| Error::internal("a sweep of dead letters has no end in time"))
}

/// Redrives these, and counts those that cannot be.
async fn redrive(conn: &mut PgConnection, sweep: &mut SweepView, held: &[(i64, String)]) -> Result<Vec<i32>> {
    let (mut ids, mut attempts) = (Vec::new(), Vec::new());
    for (id, kind) in held {
        let kind = kind.parse::<Kind>().ok();
        if let Some(instead) = kind.and_then(Kind::instead_of_redriving) {
            refuse(sweep, *id, instead);
            continue;
        }
        // A kind of another version gets one, since nobody here knows it.
        let own = kind.map_or(1, |kind| Policy::of(kind).max_attempts);
        ids.push(*id);
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
