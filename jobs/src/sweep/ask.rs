//! Begins a sweep: what it takes is settled here, and counted.

use rules::id::{SweepId, TenantId};
use rules::queue::letter::Letters;
use rules::queue::sweep::{OPEN_MAX, RATE_MAX, SweepAction, SweepState};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::store::{self, SweepView};
use crate::payload::letter::LetterSweep;
use crate::queue::postgres::letters::{self, Bound, Counted};
use crate::queue::{Enqueued, NewJob, enqueue};
use crate::{Error, Result};

/// The most attempts that a redriven letter gets.
const ATTEMPTS_MAX: u16 = 100;

/// What somebody wants done to dead letters.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Whose letters; none for those of all tenants.
    pub tenant: Option<TenantId>,
    /// What is done to each.
    pub action: SweepAction,
    /// Which letters.
    pub letters: Letters,
    /// How many attempts each gets; none for as many as its kind has.
    pub attempts: Option<u16>,
    /// How many in a second, at most.
    pub rate: u16,
    /// Who wants it.
    pub by: &'a str,
    /// The W3C `traceparent` of the wish.
    pub trace_parent: Option<&'a str>,
}

/// Begins a sweep of the letters that match now: one that dies later is not taken, be it that it was redriven before.
///
/// # Errors
/// Invalid for letters that cannot be asked for and numbers out of range; Exhausted where as many are open as may be;
/// Unavailable when nobody answers.
pub async fn ask(conn: &mut PgConnection, wish: Wish<'_>) -> Result<(SweepView, Vec<Enqueued>)> {
    if !(1..=RATE_MAX).contains(&wish.rate) {
        return Err(Error::invalid(format!("`rate` is {}; it must lie between 1 and {RATE_MAX}", wish.rate)));
    }
    if let Some(attempts) = wish.attempts.filter(|attempts| !(1..=ATTEMPTS_MAX).contains(attempts)) {
        return Err(Error::invalid(format!(
            "`attempts` is {attempts}; it must lie between 1 and {ATTEMPTS_MAX}"
        )));
    }
    wish.letters.check().map_err(|bad| Error::invalid(bad.to_string()))?;
    has_room(conn, wish.tenant).await?;
    let mut letters = wish.letters;
    let now = store::now(conn).await?;
    letters.until = Some(letters.until.map_or(now, |until| until.min(now)));
    // Of what is still to come nothing is there.
    let matched = if letters.check().is_ok() {
        letters::count(conn, wish.tenant, &letters, Bound::USUAL).await?
    } else {
        Counted { count: 0, complete: true }
    };
    // Only now: whoever counts at length keeps no other waiting.
    store::begin_alone(conn, wish.tenant).await?;
    has_room(conn, wish.tenant).await?;
    let id = Uuid::now_v7();
    let mut job =
        NewJob::of(&LetterSweep { sweep_id: SweepId(id) })?.trace(wish.trace_parent.map(str::to_owned));
    if let Some(tenant) = wish.tenant {
        job = job.tenant(tenant);
    }
    let enqueued = enqueue(conn, &[job]).await?;
    let job = enqueued.first().ok_or_else(|| Error::internal("a sweep's job was enqueued and has no id"))?.id;
    let sweep = SweepView {
        id,
        tenant_id: wish.tenant.map(|t| t.0),
        action: wish.action.as_str().to_owned(),
        letters: Json(letters),
        attempts: wish.attempts.and_then(|attempts| i16::try_from(attempts).ok()),
        rate: i16::try_from(wish.rate).unwrap_or(i16::MAX),
        state: SweepState::Running.as_str().to_owned(),
        job_id: job.0,
        matched: matched.count,
        matched_complete: matched.complete,
        reached: 0,
        done: 0,
        refused: 0,
        refusal: None,
        error: None,
        asked_by: wish.by.to_owned(),
        asked_at: now,
        ended_by: None,
        ended_at: None,
    };
    store::insert(conn, &sweep).await?;
    Ok((sweep, enqueued))
}

/// Refuses one more where as many are open as may be.
async fn has_room(conn: &mut PgConnection, tenant: Option<TenantId>) -> Result<()> {
    if store::open(conn, tenant).await? < OPEN_MAX {
        return Ok(());
    }
    let whose = if tenant.is_some() { "the tenant" } else { "the installation" };
    Err(Error::exhausted(format!(
        "{whose} has {OPEN_MAX} open sweeps of dead letters, which is the most; wait until one has ended, or stop one"
    )))
}
