//! Decides which ticks of a schedule are fired now, and what becomes of those that were missed.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CATCH_UP_MAX, COUNTED_MAX, GRACE_S, Timing};

/// What is done about ticks that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// Nothing: the schedule goes on with the next.
    Skip,
    /// The last of them is fired, for all.
    Once,
    /// The last of them are fired, each, so many at most.
    All(u32),
}

impl CatchUp {
    /// By its name, with the most that are made up for.
    pub fn from_name(name: &str, most: u32) -> Option<Self> {
        match name {
            "SKIP" => Some(Self::Skip),
            "ONCE" => Some(Self::Once),
            "ALL" => Some(Self::All(most.clamp(1, CATCH_UP_MAX))),
            _ => None,
        }
    }

    /// The name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "SKIP",
            Self::Once => "ONCE",
            Self::All(_) => "ALL",
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Skip => 0,
            Self::Once => 1,
            Self::All(most) => most as usize,
        }
    }
}

/// What is to be done for a schedule now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The ticks that are fired, in order.
    pub fire: Vec<DateTime<Utc>>,
    /// Those that were missed and are not made up for.
    pub passed: Option<Passed>,
    /// When the schedule's next turn is; none when it has no more ticks.
    pub next: Option<DateTime<Utc>>,
}

/// Ticks that were missed and are not made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The first of them.
    pub first: DateTime<Utc>,
    /// The last of them.
    pub last: DateTime<Utc>,
    /// How many, or [`COUNTED_MAX`] where there are more.
    pub count: u32,
    /// Whether there are more.
    pub more: bool,
}

/// What is to be done for a schedule whose next tick is `due`, at most `room` firings. Ticks are fired in order, and
/// none twice: `next` is behind all that are.
pub fn turn(timing: &Timing, due: DateTime<Utc>, now: DateTime<Utc>, catch_up: CatchUp, room: usize) -> Turn {
    if due > now || room == 0 {
        return Turn { fire: Vec::new(), passed: None, next: Some(due) };
    }
    let edge = now - TimeDelta::seconds(GRACE_S);
    let mut fire = made_up(timing, due, edge, catch_up);
    let from = fire.first().copied().unwrap_or(edge).max(due);
    let passed = passed(timing, due, from);
    let mut next = timing.next_from(edge.max(due));
    while let Some(tick) = next.filter(|tick| *tick <= now && fire.len() <= room) {
        fire.push(tick);
        next = timing.next_after(tick);
    }
    if fire.len() > room {
        next = fire.get(room).copied();
        fire.truncate(room);
    }
    Turn { fire, passed, next }
}

/// The missed ticks that are fired all the same, in order.
fn made_up(
    timing: &Timing,
    due: DateTime<Utc>,
    edge: DateTime<Utc>,
    catch_up: CatchUp,
) -> Vec<DateTime<Utc>> {
    let mut kept = Vec::new();
    let mut before = edge;
    while kept.len() < catch_up.most()
        && let Some(tick) = timing.last_before(before, due)
    {
        kept.push(tick);
        before = tick;
    }
    kept.reverse();
    kept
}

/// The ticks from `due` to before `end`.
fn passed(timing: &Timing, due: DateTime<Utc>, end: DateTime<Utc>) -> Option<Passed> {
    let first = timing.next_from(due).filter(|tick| *tick < end)?;
    let (mut count, mut tick) = (1, first);
    while let Some(next) = timing.next_after(tick).filter(|next| *next < end) {
        if count == COUNTED_MAX {
            let last = timing.last_before(end, due).unwrap_or(tick);
            return Some(Passed { first, last, count, more: true });
        }
        (count, tick) = (count + 1, next);
    }
    Some(Passed { first, last: tick, count, more: false })
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
