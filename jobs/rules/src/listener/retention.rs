//! How long a buffer keeps its events.

use std::fmt;
use std::str::FromStr;

/// The most events that a buffer keeps.
pub const BUFFER_EVENTS_MAX: u32 = 100_000;
/// The longest that a buffer keeps an event, in hours: a year and a day.
pub const BUFFER_HOURS_MAX: u32 = 366 * 24;
/// The longest name of a buffer, in characters.
pub const BUFFER_NAME_CHARS_MAX: usize = 64;
/// How many events a buffer keeps unless told otherwise.
const BUFFER_EVENTS_DEFAULT: u32 = 1_000;

/// A buffer of a listener, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BufferName(String);

impl BufferName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BufferName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for BufferName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=BUFFER_NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "a buffer's name has 1 to {BUFFER_NAME_CHARS_MAX} letters, digits, hyphens and underscores"
            ))
        }
    }
}

impl fmt::Display for BufferName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a buffer keeps. Whatever is given holds: with both, an event leaves when either says so.
/// Never nothing: a buffer that only grows is no buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// The newest so many.
    Count {
        /// 1 to [`BUFFER_EVENTS_MAX`].
        max_events: u32,
    },
    /// Those of the last so many hours, and of them the newest [`BUFFER_EVENTS_MAX`].
    Time {
        /// 1 to [`BUFFER_HOURS_MAX`].
        max_age_hours: u32,
    },
    /// Both.
    Both {
        /// As above.
        max_events: u32,
        /// As above.
        max_age_hours: u32,
    },
}

impl Default for Retention {
    fn default() -> Self {
        Self::Count { max_events: BUFFER_EVENTS_DEFAULT }
    }
}

impl Retention {
    /// How many events stay at most.
    pub const fn max_events(self) -> u32 {
        match self {
            Self::Count { max_events } | Self::Both { max_events, .. } => max_events,
            Self::Time { .. } => BUFFER_EVENTS_MAX,
        }
    }

    /// For how many hours an event stays at most.
    pub const fn max_age_hours(self) -> u32 {
        match self {
            Self::Count { .. } => BUFFER_HOURS_MAX,
            Self::Time { max_age_hours } | Self::Both { max_age_hours, .. } => max_age_hours,
        }
    }

    /// The word for it in a pipeline.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count { .. } => "count",
            Self::Time { .. } => "time",
            Self::Both { .. } => "both",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_retention_bounds_both() {
        let all = [
            (Retention::default(), 1_000, BUFFER_HOURS_MAX),
            (Retention::Time { max_age_hours: 2 }, BUFFER_EVENTS_MAX, 2),
            (Retention::Both { max_events: 7, max_age_hours: 2 }, 7, 2),
        ];
        for (retention, events, hours) in all {
            assert_eq!((retention.max_events(), retention.max_age_hours()), (events, hours));
        }
    }

    #[test]
    fn a_buffers_name_is_plain() {
        assert_eq!(BufferName::default().as_str(), "default");
        for bad in ["", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<BufferName>().is_err(), "{bad:?}");
        }
    }
}
