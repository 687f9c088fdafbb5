//! An e-mail address, checked for what storing and comparing it needs.

use std::fmt;
use std::str::FromStr;

/// The longest address, in characters: what a mail path can hold (RFC 5321).
pub const MAX_EMAIL_CHARS: usize = 254;

/// An address in lower case, so that two that differ in case alone are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEmail {
    /// Too long.
    #[error("the e-mail address is longer than {MAX_EMAIL_CHARS} characters")]
    TooLong,
    /// Not `name@place`.
    #[error("the e-mail address must read `name@place`, without blanks")]
    Form,
}

impl Email {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = BadEmail;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.chars().count() > MAX_EMAIL_CHARS {
            return Err(BadEmail::TooLong);
        }
        let (name, place) = text.rsplit_once('@').ok_or(BadEmail::Form)?;
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty() || place.is_empty() || text.contains(odd) {
            return Err(BadEmail::Form);
        }
        Ok(Self(text.to_lowercase()))
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_surrounding_blanks_do_not_count() {
        assert_eq!(" Ada@Example.ORG ".parse::<Email>().unwrap().as_str(), "ada@example.org");
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for text in ["", "ada", "@example.org", "ada@", "a da@example.org", "ada@exam\nple.org"] {
            assert_eq!(text.parse::<Email>(), Err(BadEmail::Form), "{text:?}");
        }
        let long = format!("{}@example.org", "a".repeat(MAX_EMAIL_CHARS));
        assert_eq!(long.parse::<Email>(), Err(BadEmail::TooLong));
    }
}
