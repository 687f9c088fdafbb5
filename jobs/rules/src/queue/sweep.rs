//! A sweep of dead letters, decided purely: what is done to all that match, how fast, and what has become of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The letters that a sweep may take in a second.
pub const RATE_MAX: u16 = 1_000;

/// The letters that it takes in a second where nobody says otherwise.
pub const RATE: u16 = 100;

/// The letters that it takes in one transaction.
pub const BATCH_MAX: u16 = 100;

/// The sweeps that one tenant may have open at a time, and the installation as many for those of all tenants.
pub const OPEN_MAX: i64 = 5;

/// What rates are counted in.
const SECOND: Duration = Duration::from_secs(1);

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepAction {
    /// It gets new attempts.
    Redrive,
    /// It is decided against.
    Discard,
}

/// What has become of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepState {
    /// It goes on, or waits for a worker.
    Running,
    /// It is through.
    Done,
    /// Somebody has stopped it.
    Cancelled,
    /// Its job died; it goes on when that is redriven.
    Failed,
}

/// A name of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing that this version knows of sweeps")]
pub struct UnknownWord(pub String);

impl SweepAction {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "REDRIVE",
            Self::Discard => "DISCARD",
        }
    }
}

impl SweepState {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether it may still go on, and so be cancelled.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Failed)
    }
}

impl FromStr for SweepAction {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = [Self::Redrive, Self::Discard].into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl FromStr for SweepState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

impl fmt::Display for SweepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a sweep has taken of late: by this its rate is kept, whoever goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// How long ago the second began in which it takes; none before the first, and where the clock went back.
    pub since: Option<Duration>,
    /// How many it took in that second.
    pub taken: u16,
}

/// What a sweep may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Take so many letters at most.
    Take {
        /// How many.
        most: u16,
        /// How many it took before in this second; none where a second begins with it.
        before: Option<u16>,
    },
    /// Nothing for so long.
    Wait(Duration),
}

/// What a sweep of this rate may do now.
pub fn turn(rate: u16, pace: Pace) -> Turn {
    let rate = rate.max(1);
    match pace.since.filter(|since| *since < SECOND) {
        None => Turn::Take { most: rate.min(BATCH_MAX), before: None },
        Some(_) if pace.taken < rate => {
            Turn::Take { most: (rate - pace.taken).min(BATCH_MAX), before: Some(pace.taken) }
        }
        Some(since) => Turn::Wait(SECOND.saturating_sub(since)),
    }
}

/// The fewest dead letters that a batch looks at: a slow sweep of few among very many would take a commit for each step.
const WINDOW_MIN: i32 = 500;

/// How many dead letters a batch of at most so many looks at: few fit where the filter is narrow, and a batch stays short.
pub fn window(most: u16) -> i32 {
    i32::from(most).saturating_mul(10).max(WINDOW_MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_lead_back() {
        for action in [SweepAction::Redrive, SweepAction::Discard] {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        for state in [SweepState::Running, SweepState::Done, SweepState::Cancelled, SweepState::Failed] {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("x".parse::<SweepState>(), Err(UnknownWord("x".into())));
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_rate(rate in 1u16..=RATE_MAX, took in prop::collection::vec(1u64..700, 1..60)) {
            let (mut now, mut began, mut pace) = (0u64, 0u64, Pace::default());
            let mut seconds: Vec<u16> = Vec::new();
            for ms in took {
                pace.since = (!seconds.is_empty()).then(|| Duration::from_millis(now - began));
                match turn(rate, pace) {
                    Turn::Take { most, before } => {
                        prop_assert!((1..=BATCH_MAX).contains(&most));
                        if before.is_none() {
                            began = now;
                            seconds.push(0);
                        }
                        pace.taken = before.unwrap_or_default() + most;
                        if let Some(last) = seconds.last_mut() {
                            *last += most;
                        }
                        now += ms;
                    }
                    Turn::Wait(wait) => {
                        prop_assert!(wait <= SECOND && wait > Duration::ZERO);
                        now += u64::try_from(wait.as_millis()).unwrap();
                    }
                }
            }
            prop_assert!(seconds.iter().all(|taken| *taken <= rate), "{seconds:?}");
            prop_assert!(seconds.len() as u64 <= now / 1_000 + 1, "{seconds:?} in {now} ms");
        }
    }

    #[test]
    fn a_clock_that_went_back_holds_nothing_up() {
        let turn = turn(7, Pace { since: None, taken: 7 });
        assert_eq!(turn, Turn::Take { most: 7, before: None });
        assert_eq!((window(7), window(70)), (500, 700));
    }
}
