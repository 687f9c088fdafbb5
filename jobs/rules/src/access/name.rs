//! The names that people give to things: a slug for addresses, a title for reading.

use std::fmt;
use std::str::FromStr;

/// The longest slug, in characters: what a label of a host name can hold.
pub const MAX_SLUG_CHARS: usize = 63;

/// The longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 255;

/// A name that may stand in an address: lowercase letters, digits, and hyphens between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slug(String);

/// A line of text for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Title(String);

/// Why a text is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not the form of a slug.
    #[error(
        "a slug has 1 to {MAX_SLUG_CHARS} lowercase letters, digits and hyphens, and neither begins nor ends with a hyphen"
    )]
    Slug,
    /// Not the form of a title.
    #[error("a title has 1 to {MAX_TITLE_CHARS} characters on one line")]
    Title,
}

impl Slug {
    /// The slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Title {
    /// The title.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let length = (1..=MAX_SLUG_CHARS).contains(&text.len());
        if !length || !text.bytes().all(known) || text.starts_with('-') || text.ends_with('-') {
            return Err(BadName::Slug);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Title {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if !(1..=MAX_TITLE_CHARS).contains(&text.chars().count()) || text.contains(char::is_control) {
            return Err(BadName::Title);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_what_an_address_can_hold() {
        for good in ["a", "7", "acme", "acme-7", &"a".repeat(MAX_SLUG_CHARS)] {
            assert_eq!(good.parse::<Slug>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "Acme", "a b", "a/b", "ä", &"a".repeat(MAX_SLUG_CHARS + 1)] {
            assert_eq!(bad.parse::<Slug>(), Err(BadName::Slug), "{bad:?}");
        }
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(" Überweisung ".parse::<Title>().unwrap().as_str(), "Überweisung");
        for bad in ["", "  ", "a\nb", "a\0b", &"a".repeat(MAX_TITLE_CHARS + 1)] {
            assert_eq!(bad.parse::<Title>(), Err(BadName::Title), "{bad:?}");
        }
    }
}
