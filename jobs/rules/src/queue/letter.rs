//! Dead letters by what ended them: which errors are one and the same, and which letters are asked for.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use regex::Regex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The most characters of a shape.
pub const SHAPE_CHARS_MAX: usize = 300;

/// The most characters of an error that are read for its shape.
const READ_CHARS_MAX: usize = 2_000;

/// The digits of a fingerprint.
pub const FINGERPRINT_DIGITS: usize = 16;

/// The most characters of a text that is searched for.
pub const SEARCH_CHARS_MAX: usize = 200;

/// The most characters of the name of a kind or a queue that is asked for.
pub const NAME_CHARS_MAX: usize = 100;

/// What is replaced, one after the other. `error_shape_v1` in the database has the same, by whose rules a match is the
/// longest one: so none of these may have two ways to match from one place.
const REPLACED: [(&str, &str); 8] = [
    // What is quoted; an apostrophe within a word opens nothing.
    ("`[^`]*`", "?"),
    ("\"[^\"]*\"", "?"),
    ("([^0-9A-Za-z])'[^']*'", "${1}?"),
    // Addresses of things and of people.
    ("[A-Za-z0-9+.-]+://[^ \n\r\t]*", "?"),
    ("[^ \n\r\t@]+@[^ \n\r\t]+", "?"),
    // Every word with a digit: numbers, ids, digests, names that are counted up; and what these make together, such as
    // times, addresses of hosts and lists.
    ("[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*", "#"),
    ("#(?:[.:,+/ ]*#)+", "#"),
    ("[ \n\r\t]+", " "),
];

static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    REPLACED.into_iter().filter_map(|(what, by)| Some((Regex::new(what).ok()?, by))).collect()
});

/// What an error says without what differs from one time to the next: what is quoted, addresses, and every word with a
/// digit in it.
pub fn shape(error: &str) -> String {
    // The blank is what a quote at the very beginning stands behind.
    let read: String = [' '].into_iter().chain(error.chars().take(READ_CHARS_MAX)).collect();
    let shaped = RULES.iter().fold(read, |text, (what, by)| what.replace_all(&text, *by).into_owned());
    shaped.trim_matches(' ').chars().take(SHAPE_CHARS_MAX).collect()
}

/// By what dead letters are grouped: the same for jobs of one kind whose errors have one [`shape`].
pub fn fingerprint(kind: &str, error: &str) -> String {
    let digest = Sha256::digest(format!("{kind}\n{}", shape(error)));
    hex::encode(digest).chars().take(FINGERPRINT_DIGITS).collect()
}

/// Which dead letters are asked for; what is left out restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// Those of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Those that stood in the queue of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Those with this [`fingerprint`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Those whose error has this text in it, in whatever case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Those that died at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Those that died before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// What no dead letter could be asked for by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLetters {
    /// No fingerprint.
    #[error("`fingerprint` is 16 digits from 0 to f, as the groups of dead letters have them")]
    Fingerprint,
    /// A kind's name that is too short or too long.
    #[error("`kind` has between 1 and {NAME_CHARS_MAX} characters, none of them NUL")]
    Kind,
    /// A queue's name that is too short or too long.
    #[error("`queue` has between 1 and {NAME_CHARS_MAX} characters, none of them NUL")]
    Queue,
    /// A text that is too short or too long, or that no error can hold.
    #[error("`search` has between 1 and {SEARCH_CHARS_MAX} characters, none of them NUL")]
    Search,
    /// A time that ends before it begins.
    #[error("`since` is not before `until`, so that nothing lies between them")]
    Times,
}

impl Letters {
    /// Whether it can be asked for.
    ///
    /// # Errors
    /// With the part that is wrong.
    pub fn check(&self) -> Result<(), BadLetters> {
        let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if self
            .fingerprint
            .as_ref()
            .is_some_and(|f| f.len() != FINGERPRINT_DIGITS || !f.bytes().all(hexadecimal))
        {
            return Err(BadLetters::Fingerprint);
        }
        for (text, most, bad) in [
            (&self.kind, NAME_CHARS_MAX, BadLetters::Kind),
            (&self.queue, NAME_CHARS_MAX, BadLetters::Queue),
            (&self.search, SEARCH_CHARS_MAX, BadLetters::Search),
        ] {
            let fits = |text: &String| (1..=most).contains(&text.chars().count()) && !text.contains('\0');
            if text.as_ref().is_some_and(|text| !fits(text)) {
                return Err(bad);
            }
        }
        if self.since.zip(self.until).is_some_and(|(since, until)| since >= until) {
            return Err(BadLetters::Times);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_rule_is_read() {
        assert_eq!(RULES.len(), REPLACED.len());
    }

    #[test]
    fn what_differs_from_one_time_to_the_next_is_left_out() {
        for (error, wanted) in [
            ("no luck", "no luck"),
            ("  no \n\t luck ", "no luck"),
            ("host `h1` didn't answer within 2.5 s", "host ? didn't answer within # s"),
            ("'a' isn't 'b', nor \"c\"", "? isn't ?, nor ?"),
            ("run 0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b is gone", "run # is gone"),
            ("at 2026-01-31T10:00:00.123+02:00: late", "at #: late"),
            ("10.0.0.1:5432 and [2001:db8::1]:80 refused", "# and [#]:# refused"),
            ("GET https://me@example.org/a?b=c gave 503", "GET ? gave #"),
            ("told ada@example.org", "told ?"),
            ("digest deadbeef42 of [1, 2, 3]", "digest # of [#]"),
            ("vm-web-03: qemu:///system is away", "#: ? is away"),
            ("", ""),
        ] {
            assert_eq!(shape(error), wanted, "{error}");
        }
    }

    #[test]
    fn a_group_is_of_one_kind_and_one_shape() {
        let of = |n: u32| fingerprint("queue.noop", &format!("no luck with `{n}` after {n} s"));
        assert_eq!(of(1), of(20));
        assert_eq!(of(1).len(), FINGERPRINT_DIGITS);
        assert_ne!(of(1), fingerprint("run.node", "no luck with `1` after 1 s"));
        assert_ne!(of(1), fingerprint("queue.noop", "luck with `1` after 1 s"));
    }

    #[test]
    fn what_cannot_be_asked_for_is_named() {
        let now = DateTime::UNIX_EPOCH;
        let with = |change: fn(&mut Letters)| {
            let mut letters =
                Letters { since: Some(now), until: Some(now + TimeDelta::hours(1)), ..Letters::default() };
            change(&mut letters);
            letters.check()
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(|l| l.fingerprint = Some("0123456789abcdef".into())), Ok(()));
        for bad in ["", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0"] {
            let letters = Letters { fingerprint: Some(bad.into()), ..Letters::default() };
            assert_eq!(letters.check(), Err(BadLetters::Fingerprint), "{bad}");
        }
        assert_eq!(with(|l| l.search = Some("é".repeat(SEARCH_CHARS_MAX))), Ok(()));
        assert_eq!(with(|l| l.search = Some(String::new())), Err(BadLetters::Search));
        assert_eq!(with(|l| l.search = Some("a\0".into())), Err(BadLetters::Search));
        assert_eq!(with(|l| l.search = Some("x".repeat(SEARCH_CHARS_MAX + 1))), Err(BadLetters::Search));
        assert_eq!(with(|l| l.kind = Some("x".repeat(NAME_CHARS_MAX))), Ok(()));
        assert_eq!(with(|l| l.kind = Some("x".repeat(NAME_CHARS_MAX + 1))), Err(BadLetters::Kind));
        assert_eq!(with(|l| l.queue = Some("x".repeat(NAME_CHARS_MAX + 1))), Err(BadLetters::Queue));
        assert_eq!(with(|l| l.queue = Some(String::new())), Err(BadLetters::Queue));
        assert_eq!(with(|l| l.until = l.since), Err(BadLetters::Times));
    }

    proptest! {
        #[test]
        fn a_shape_is_short_has_no_digit_and_is_a_shape_again(error in "\\PC{0,400}") {
            let shaped = shape(&error);
            prop_assert!(shaped.chars().count() <= SHAPE_CHARS_MAX);
            prop_assert!(!shaped.bytes().any(|b| b.is_ascii_digit()), "{}", shaped);
            prop_assert_eq!(fingerprint("k", &error), fingerprint("k", &error));
        }

        #[test]
        fn ids_and_numbers_do_not_make_a_group_of_their_own(a in any::<u128>(), b in any::<u64>(), name in "[a-z]{1,20}") {
            let told = |id: u128, n: u64, name: &str| {
                let id = uuid::Uuid::from_u128(id);
                format!("machine {id} on host `{name}` ({n:x} of 0x{n:x}, {id:?}) failed after {n} ms at 2026-01-01T00:00:0{}Z", n % 10)
            };
            // What has letters for all of its hexadecimal digits is a word.
            let numeral = |text: String| text.bytes().any(|c| c.is_ascii_digit());
            prop_assume!(numeral(format!("{b:x}")) && numeral(format!("{a:032x}")));
            prop_assert_eq!(shape(&told(a, b, &name)), shape(&told(1, 1, "h")));
        }
    }
}
