//! Regular expressions of conditions: bounded, so that no match takes long.
//!
//! A match is linear in its text, and how steeply is the pattern's doing: the bytes that it needs when it is
//! compiled bound that. So the text is bounded by the pattern: short for a large one, long for a small one.

use regex::{Error, Regex, RegexBuilder};

use super::limits::{MAX_MATCH_WORK, MAX_PATTERN_BYTES, MAX_PATTERN_TEXT_BYTES};

/// The first size that a pattern is tried at, in bytes; it is doubled until the pattern fits.
const FIRST_BYTES: usize = 4 << 10;

/// Tells early that a text is no pattern.
///
/// # Errors
/// Why it is none.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    compile(pattern).map(drop)
}

/// Whether a text has a match of a pattern.
///
/// # Errors
/// Why the pattern is none, or that the text is too long for it.
pub(super) fn is_match(pattern: &str, text: &str) -> Result<bool, String> {
    let (regex, bytes) = compile(pattern)?;
    let most = MAX_MATCH_WORK / bytes;
    if text.len() > most {
        return Err(format!(
            "is matched against at most {most} bytes, as large as it is, and the text has {}; shorten either",
            text.len()
        ));
    }
    Ok(regex.is_match(text))
}

/// The pattern, and a bound of its compiled size in bytes, at most twice what it needs.
fn compile(pattern: &str) -> Result<(Regex, usize), String> {
    if pattern.len() > MAX_PATTERN_TEXT_BYTES {
        return Err(format!("has {} bytes; a pattern has at most {MAX_PATTERN_TEXT_BYTES}", pattern.len()));
    }
    let mut bytes = FIRST_BYTES;
    loop {
        match RegexBuilder::new(pattern).size_limit(bytes).dfa_size_limit(MAX_PATTERN_BYTES).build() {
            Ok(regex) => return Ok((regex, bytes)),
            Err(Error::CompiledTooBig(_)) if bytes < MAX_PATTERN_BYTES => bytes *= 2,
            Err(Error::CompiledTooBig(limit)) => {
                return Err(format!("needs more than {limit} bytes when compiled; make it smaller"));
            }
            // The last line of the drawing says what is wrong.
            Err(other) => {
                let told = other.to_string();
                let reason = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
                return Err(format!("is no regular expression: {reason}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Patterns that make every engine work hard for every byte.
    const HOSTILE: [&str; 8] = [
        "[01]*1[01]{12}$",
        "[01]*1[01]{500}$",
        "(?:a?){30}a{30}",
        "(x+x+)+y",
        "(.*){20}z",
        "(?s)(.*?a){100}z",
        r"(\w{1,5}\s?){3}z",
        "(?:a{1000}){1000}",
    ];

    #[test]
    fn no_match_of_a_hostile_pattern_takes_long() {
        let coins: String =
            (0..1 << 20_u32).map(|n: u32| if n.wrapping_mul(n) >> 7 & 1 == 0 { '0' } else { '1' }).collect();
        for pattern in HOSTILE {
            for text in [coins.as_str(), &"a".repeat(1 << 20), &"xx ".repeat(1 << 18)] {
                let whole = is_match(pattern, text);
                assert!(whole.is_err(), "{pattern} was matched against a megabyte");
                let Ok((_, bytes)) = compile(pattern) else { continue };
                let began = Instant::now();
                is_match(pattern, &text[..(MAX_MATCH_WORK / bytes).min(text.len())]).unwrap();
                println!(
                    "{pattern:<24} {:>8.2} ms at its limit of {bytes} B",
                    began.elapsed().as_secs_f64() * 1e3
                );
            }
        }
    }

    #[test]
    fn ordinary_patterns_match_long_texts() {
        let long = "a".repeat(MAX_MATCH_WORK / FIRST_BYTES - 1) + "1";
        assert_eq!(is_match("^[a-z]+[0-9]$", &long), Ok(true));
        assert_eq!(is_match("^[a-z]+[0-9]$", "A1"), Ok(false));
        assert!(is_match("^[a-z]+[0-9]$", &(long + "1")).unwrap_err().contains("at most"));
    }

    #[test]
    fn bad_patterns_say_why() {
        assert_eq!(check("("), Err("is no regular expression: unclosed group".into()));
        assert!(check("(?:a{1000}){1000}").unwrap_err().contains("compiled"));
        assert!(check(&"a".repeat(MAX_PATTERN_TEXT_BYTES + 1)).unwrap_err().contains("at most"));
    }
}
