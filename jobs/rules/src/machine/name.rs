//! What a machine, a host or a snapshot may be called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in characters: what a label of a host name can hold.
pub const MAX_NAME_CHARS: usize = 63;

/// The name of a machine, a host or a snapshot. It stands in command lines, addresses and file names, so
/// it holds nothing that any of them would read as its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {MAX_NAME_CHARS} of the letters a to z and A to Z, digits, `-`, `_` and `.`, and begins \
     and ends with a letter or a digit"
)]
pub struct BadName;

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let length = (1..=MAX_NAME_CHARS).contains(&text.len());
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let firm = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if length && text.bytes().all(known) && firm(text.bytes().next()) && firm(text.bytes().last()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_another_reader_takes_for_its_own() {
        for good in ["a", "7", "Web-1.example_2", &"a".repeat(MAX_NAME_CHARS)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = "a".repeat(10_000);
        let one_too_many = "a".repeat(MAX_NAME_CHARS + 1);
        for bad in [
            "",
            " ",
            "a b",
            "a'b",
            "a\"b",
            "a/b",
            "../a",
            ".a",
            "a.",
            "-a",
            "a\nb",
            "a\0b",
            "a<b",
            "a&b",
            "ä",
            "a;b",
            &one_too_many,
            &long,
        ] {
            assert_eq!(bad.parse::<Name>(), Err(BadName), "{bad:?}");
            assert!(serde_json::from_value::<Name>(bad.into()).is_err(), "{bad:?}");
        }
    }
}
