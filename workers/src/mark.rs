//! Where the next claim may start: a position that trails behind what was claimed. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jobs::queue::postgres::claim::Marks;
use rules::queue::Priority;

/// How far the mark trails behind the claims. An entry is found at once when its transaction commits
/// within this time of drawing its position; a later one waits for the next sweep.
const TRAIL: Duration = Duration::from_secs(1);

/// How often the trail is noted.
const NOTE_EVERY: Duration = Duration::from_millis(100);

/// A sweep starts at the beginning and may walk over dead entries. It may take at most this share of the
/// time: one fiftieth.
const SWEEP_SHARE: u32 = 50;

/// Bounds of the time between two sweeps.
const SWEEP_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The marks of one pool.
#[derive(Debug)]
pub(crate) struct Trail {
    claimed: Marks,
    notes: VecDeque<(Instant, Marks)>,
    behind: Marks,
    next_sweep: Option<Instant>,
}

/// Where a claim starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// The positions.
    pub(crate) marks: Marks,
    /// Whether this claim looks at everything.
    pub(crate) sweep: bool,
}

impl Trail {
    pub(crate) fn new() -> Self {
        Self { claimed: [0; 4], notes: VecDeque::new(), behind: [0; 4], next_sweep: None }
    }

    /// Where to start now.
    pub(crate) fn start(&mut self, now: Instant) -> Start {
        while let Some((noted, marks)) = self.notes.front() {
            if now.duration_since(*noted) < TRAIL {
                break;
            }
            self.behind = *marks;
            self.notes.pop_front();
        }
        let sweep = self.next_sweep.is_none_or(|at| now >= at);
        Start { marks: if sweep { [0; 4] } else { self.behind }, sweep }
    }

    /// Notes an entry that was claimed.
    pub(crate) fn claimed(&mut self, priority: Priority, pos: i64) {
        if let Some(highest) = self.claimed.get_mut(priority as usize) {
            *highest = pos.max(*highest);
        }
    }

    /// Notes that a claim from `start` ended, having taken `took`.
    pub(crate) fn ended(&mut self, start: Start, now: Instant, took: Duration) {
        if start.sweep {
            let wait = (took * SWEEP_SHARE).clamp(SWEEP_EVERY.0, SWEEP_EVERY.1);
            self.next_sweep = Some(now + wait);
        }
        if self.notes.back().is_none_or(|(noted, _)| now.duration_since(*noted) >= NOTE_EVERY) {
            self.notes.push_back((now, self.claimed));
        }
    }

    /// Makes the next claim a sweep: something old may have become claimable.
    pub(crate) fn look_everywhere(&mut self) {
        self.next_sweep = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_trails_by_a_second_and_sweeps_come_between() {
        let mut trail = Trail::new();
        let begin = Instant::now();
        let first = trail.start(begin);
        assert_eq!(first, Start { marks: [0; 4], sweep: true });
        trail.claimed(Priority::Medium, 70);
        trail.ended(first, begin, Duration::from_millis(100));
        // A sweep of 100 ms buys five seconds without one.
        let soon = begin + Duration::from_millis(900);
        assert_eq!(trail.start(soon), Start { marks: [0; 4], sweep: false });
        let later = begin + Duration::from_secs(2);
        assert_eq!(trail.start(later), Start { marks: [0, 0, 70, 0], sweep: false });
        assert!(trail.start(begin + Duration::from_secs(5)).sweep);
        trail.ended(Start { marks: [0; 4], sweep: true }, later, Duration::ZERO);
        assert!(!trail.start(later).sweep);
        trail.look_everywhere();
        assert!(trail.start(later).sweep);
    }
}
