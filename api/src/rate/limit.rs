//! How many requests in which time, as a setting says it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use jobs::config::Reader;

/// The most requests that a limit may grant at once: above that it limits nothing.
const MAX_REQUESTS: u32 = 10_000_000;

/// The longest time over which a limit counts, in seconds.
const MAX_WINDOW_S: u64 = 3600;

/// What is granted unless told otherwise, in requests a minute: ten thousand a second, which is more than one
/// process answers. Whoever knows their clients sets less.
const DEFAULT_REQUESTS: NonZeroU32 = match NonZeroU32::new(600_000) {
    Some(requests) => requests,
    None => NonZeroU32::MIN,
};

/// How many requests may be made in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// Any number.
    Off,
    /// So many at once, and so many more over each such time.
    Of {
        /// How many.
        requests: NonZeroU32,
        /// In which time all of them are there again.
        window: Duration,
    },
}

/// A text that is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRateLimit;

impl fmt::Display for BadRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is neither `off` nor requests and seconds such as `600/60`, at most {MAX_REQUESTS} in at most {MAX_WINDOW_S}"
        )
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::Of { requests: DEFAULT_REQUESTS, window: Duration::from_secs(60) }
    }
}

impl FromStr for RateLimit {
    type Err = BadRateLimit;

    fn from_str(text: &str) -> Result<Self, BadRateLimit> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (requests, seconds) = text.split_once('/').ok_or(BadRateLimit)?;
        let requests: NonZeroU32 = requests.trim().parse().map_err(|_| BadRateLimit)?;
        let seconds: u64 = seconds.trim().parse().map_err(|_| BadRateLimit)?;
        if requests.get() > MAX_REQUESTS || !(1..=MAX_WINDOW_S).contains(&seconds) {
            return Err(BadRateLimit);
        }
        Ok(Self::Of { requests, window: Duration::from_secs(seconds) })
    }
}

/// The limits by whom they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Of one network address, whoever asks from there; of IPv6 a /64 is one.
    pub address: RateLimit,
    /// Of one user, from wherever they ask.
    pub user: RateLimit,
    /// Of one API key.
    pub key: RateLimit,
}

impl RateLimits {
    /// Reads `RATE_LIMIT_ADDRESS`, `RATE_LIMIT_USER` and `RATE_LIMIT_KEY`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            address: reader.parsed("RATE_LIMIT_ADDRESS", RateLimit::default()),
            user: reader.parsed("RATE_LIMIT_USER", RateLimit::default()),
            key: reader.parsed("RATE_LIMIT_KEY", RateLimit::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_and_what_limits_nothing_is_refused() {
        let of = |requests, seconds| RateLimit::Of {
            requests: NonZeroU32::new(requests).unwrap(),
            window: Duration::from_secs(seconds),
        };
        assert_eq!("600/60".parse(), Ok(of(600, 60)));
        assert_eq!(" 1 / 3600 ".parse(), Ok(of(1, 3600)));
        assert_eq!("off".parse(), Ok(RateLimit::Off));
        for bad in ["", "0/60", "1/0", "1/3601", "10000001/1", "600", "600/60/1", "-1/60", "many/60"] {
            assert_eq!(bad.parse::<RateLimit>(), Err(BadRateLimit), "{bad}");
        }
    }
}
