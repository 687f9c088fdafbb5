//! Enters firings for the ticks that are due, puts their jobs into the queue, and says when each schedule is due next.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use rules::id::{FiringId, ScheduleId, TenantId};
use rules::schedule::{Turn, turn};
use sqlx::PgConnection;
use uuid::{NoContext, Timestamp, Uuid};

use super::store::{self, Schedule};
use crate::Result;
use crate::firing::store::{NewFiring, enter, given};
use crate::payload::schedule::ScheduleFire;
use crate::queue::{Enqueued, NewJob, enqueue};

/// The most schedules that one transaction looks at.
pub const SCHEDULES_BATCH: i64 = 100;

/// The most firings that one transaction enters, however many ticks are due.
pub const FIRINGS_BATCH: usize = 500;

/// When a schedule is looked at again whose timing this version cannot read.
const UNREADABLE_AGAIN: TimeDelta = TimeDelta::minutes(1);

/// What was fired.
#[derive(Debug, Default)]
#[must_use = "count it after the commit"]
pub struct Fired {
    /// How many schedules were due.
    pub due: usize,
    /// How many of them came to their turn; the rest are due still.
    pub turned: usize,
    /// Their jobs.
    pub enqueued: Vec<Enqueued>,
    /// How long after its tick each was fired, in seconds.
    pub late_s: Vec<f64>,
    /// How many ticks were missed and are not made up for.
    pub missed: u64,
}

/// Fires what is due by the database's clock, the most overdue first, within [`SCHEDULES_BATCH`] and
/// [`FIRINGS_BATCH`]. Where more are due than these, each tenant has the same share of them. Firings, jobs and what is due next stand or fall together with the caller's transaction.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn fire_due(conn: &mut PgConnection) -> Result<Fired> {
    let due = store::due(conn, SCHEDULES_BATCH).await?;
    if due.is_empty() {
        return Ok(Fired::default());
    }
    let now = store::now(conn).await?;
    let mut fired = Fired { due: due.len(), ..Fired::default() };
    let (mut firings, mut next) = (Vec::new(), Vec::new());
    for schedule in &due {
        if firings.len() >= FIRINGS_BATCH {
            break;
        }
        let decided = decide(schedule, now, FIRINGS_BATCH - firings.len());
        fired.late_s.extend(decided.fire.iter().map(|tick| seconds(now - *tick)));
        fired.missed += decided.passed.map_or(0, |passed| u64::from(passed.count));
        next.push((ScheduleId(schedule.id), decided.next));
        firings.extend(of(schedule, &decided));
    }
    fired.turned = next.len();
    let entered: HashSet<FiringId> = enter(conn, &firings).await?.into_iter().collect();
    firings.retain(|firing| firing.missed.is_none() && entered.contains(&firing.id));
    let jobs = firings
        .iter()
        .map(|firing| Ok(NewJob::of(&ScheduleFire { firing_id: firing.id })?.tenant(firing.tenant)))
        .collect::<Result<Vec<_>>>()?;
    fired.enqueued = enqueue(conn, &jobs).await?;
    let known: Vec<_> =
        firings.iter().map(|firing| firing.id).zip(fired.enqueued.iter().map(|e| e.id)).collect();
    given(conn, &known).await?;
    store::advance(conn, &next).await?;
    Ok(fired)
}

/// What is to be done for a schedule. One that cannot be read keeps nobody else waiting.
fn decide(schedule: &Schedule, now: DateTime<Utc>, room: usize) -> Turn {
    let due = schedule.next_at.unwrap_or(now);
    let read = || {
        let timing = schedule.when()?.timing().map_err(|fault| crate::Error::internal(fault.message))?;
        Ok::<_, crate::Error>((timing, schedule.catches_up()?))
    };
    match read() {
        Ok((timing, catch_up)) => turn(&timing, due, now, catch_up, room),
        Err(error) => {
            tracing::error!(schedule.id = %schedule.id, cause = ?error, "a schedule cannot be read; it will be looked at again");
            Turn { fire: Vec::new(), passed: None, next: Some(now + UNREADABLE_AGAIN) }
        }
    }
}

fn of<'a>(schedule: &'a Schedule, decided: &'a Turn) -> impl Iterator<Item = NewFiring> + 'a {
    let new = |tick, missed| NewFiring {
        id: id_at(tick),
        tenant: TenantId(schedule.tenant_id),
        schedule: ScheduleId(schedule.id),
        tick,
        missed,
    };
    let passed = decided.passed.map(move |passed| new(passed.first, Some((passed.count, passed.last))));
    passed.into_iter().chain(decided.fire.iter().map(move |tick| new(*tick, None)))
}

/// An id that stands in the history by its tick, whatever the clock of this process says.
fn id_at(tick: DateTime<Utc>) -> FiringId {
    let second = u64::try_from(tick.timestamp()).unwrap_or_default();
    FiringId(Uuid::new_v7(Timestamp::from_unix(NoContext, second, 0)))
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.to_std().unwrap_or_default().as_secs_f64()
}
