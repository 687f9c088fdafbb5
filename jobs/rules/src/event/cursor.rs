//! Reads and writes how far a listener has heard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest cursor that is read, in bytes: two snapshots with some hundred transactions under way in each.
pub const MAX_CURSOR_BYTES: usize = 4096;

/// Parts the parts of a cursor.
const BETWEEN: char = '~';

/// Which transactions were over at a moment, in Postgres' words: `xmin:xmax:` and those between that were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(Arc<str>);

/// Why a text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor of an event; take one that an event carried, or leave it out to hear from now on")]
pub struct BadCursor;

/// How far somebody has heard: all that is visible in `base`, and of what `upto` shows beyond it, all up to `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// All of this was heard.
    pub base: Snapshot,
    /// Of this the part up to `seq`.
    pub upto: Snapshot,
    /// The number of the last event that was heard.
    pub seq: i64,
}

impl Snapshot {
    /// As Postgres writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Snapshot {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(between), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadCursor);
        };
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        if xmin == 0 || xmin > xmax {
            return Err(BadCursor);
        }
        // Ascending, each once, and within the bounds, or Postgres would refuse it.
        let mut least = xmin;
        for xid in between.split(',').filter(|_| !between.is_empty()) {
            let xid = number(xid)?;
            if xid < least || xid >= xmax {
                return Err(BadCursor);
            }
            least = xid + 1;
        }
        Ok(Self(text.into()))
    }
}

/// A number that Postgres takes for a transaction's.
fn number(text: &str) -> Result<u64, BadCursor> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|n| *n <= i64::MAX as u64);
    number.filter(|_| plain).ok_or(BadCursor)
}

impl Cursor {
    /// All that is visible in a snapshot, and nothing else.
    pub fn whole(snapshot: Snapshot) -> Self {
        Self { base: snapshot.clone(), upto: snapshot, seq: 0 }
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        if text.len() > MAX_CURSOR_BYTES {
            return Err(BadCursor);
        }
        let mut parts = text.split(BETWEEN);
        let base: Snapshot = parts.next().ok_or(BadCursor)?.parse()?;
        match (parts.next(), parts.next(), parts.next()) {
            (None, None, None) => Ok(Self::whole(base)),
            (Some(upto), Some(seq), None) => {
                let seq = number(seq)?;
                Ok(Self { base, upto: upto.parse()?, seq: i64::try_from(seq).map_err(|_| BadCursor)? })
            }
            _ => Err(BadCursor),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.base == self.upto {
            return f.write_str(self.base.as_str());
        }
        write!(f, "{}{BETWEEN}{}{BETWEEN}{}", self.base.as_str(), self.upto.as_str(), self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        for text in ["10:10:", "10:20:10,14,19", "10:20:10~12:30:14~7"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        let told = "10:10:".parse::<Cursor>().unwrap();
        assert_eq!(told, Cursor::whole(told.base.clone()));
    }

    #[test]
    fn what_postgres_would_refuse_is_no_cursor() {
        for text in [
            "",
            "10",
            "10:9:",
            "0:9:",
            "10:20:9",
            "10:20:20",
            "10:20:14,14",
            "10:20:15,14",
            "10:20:,",
            "10:20:a",
            "+1:20:",
            "10:20: 14",
            "10:20:~",
            "10:20:~10:20:",
            "10:20:~10:20:~-1",
            "10:20:~10:20:~1~",
            "10:99999999999999999999:",
            "10:18446744073709551615:",
            "'; drop table event; --",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
        let long = format!("1:9999:{}", (1..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        assert_eq!(long.parse::<Cursor>(), Err(BadCursor));
    }
}
