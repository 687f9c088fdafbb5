//! The last part of a webhook's address.

use std::fmt;
use std::str::FromStr;

/// The longest path, in characters.
pub const PATH_CHARS_MAX: usize = 64;

/// Where a listener listens, below its tenant: one segment that needs no escaping.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(String);

/// The text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path has 1 to {PATH_CHARS_MAX} lowercase letters, digits, hyphens and underscores, and begins and ends with a letter or digit"
)]
pub struct BadPath;

impl Path {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Path {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = [text.bytes().next(), text.bytes().next_back()];
        let fits = (1..=PATH_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| plain(b) || b == b'-' || b == b'_')
            && ends.into_iter().all(|end| end.is_some_and(plain));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadPath) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_plain_segment() {
        for good in ["a", "7", "new-order_2", &"a".repeat(PATH_CHARS_MAX)] {
            assert_eq!(good.parse::<Path>().map(|p| p.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a_", "A", "a/b", "a b", "..", "ä", "a%2f", &"a".repeat(PATH_CHARS_MAX + 1)] {
            assert_eq!(bad.parse::<Path>(), Err(BadPath), "{bad:?}");
        }
    }
}
