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

/// The letters of the next batch: no more than a second's worth, so that a sweep that is cancelled has ended soon.
pub fn batch(rate: u16) -> u16 {
    rate.clamp(1, BATCH_MAX)
}

/// How long to wait after a batch, of which so many letters were taken in this time.
pub fn pause(rate: u16, taken: usize, took: Duration) -> Duration {
    let taken = u32::try_from(taken).unwrap_or(u32::MAX);
    (Duration::from_secs(1) * taken / u32::from(rate.max(1))).saturating_sub(took)
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
        fn no_second_has_more_than_the_rate(rate in 1u16..=RATE_MAX, took in 0u64..2_000) {
            let (taken, took) = (batch(rate), Duration::from_millis(took));
            let spent = took + pause(rate, usize::from(taken), took);
            prop_assert!(f64::from(taken) / spent.as_secs_f64() <= f64::from(rate) * 1.001, "{spent:?}");
            prop_assert!(pause(rate, usize::from(taken), took) <= Duration::from_secs(1));
            prop_assert_eq!(pause(rate, 0, took), Duration::ZERO);
        }
    }
}
