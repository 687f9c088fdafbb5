//! What a listener may hear: the bounds of an event, and what is kept of its headers.

use serde_json::{Map, Value};

use crate::dag::limits::MAX_INPUT_BYTES;
use crate::kept;

/// The largest event, in bytes as it is sent, and as it is kept: numbers such as `1e15` are written out.
pub const NOTICE_BYTES_MAX: usize = 256 * 1024;
/// Arrays and objects inside each other in an event, at most: what a script may be given.
pub const NOTICE_DEPTH_MAX: usize = 32;
/// Headers that are kept with a notice, in lower case. Others may hold credentials of the sender.
pub const HEADERS_KEPT: [&str; 4] = ["content-type", "user-agent", "webhook-id", "webhook-timestamp"];
/// How much of a header is kept, in characters.
pub const HEADER_CHARS_MAX: usize = 256;

/// A run takes an event of the largest size, with what the default template puts around it.
const _: () = assert!(NOTICE_BYTES_MAX + 1024 <= MAX_INPUT_BYTES);

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNotice {
    /// Arrays and objects lie too deep inside each other.
    #[error("the event is nested more than {NOTICE_DEPTH_MAX} levels deep; send it flatter")]
    TooDeep,
    /// A text in it holds the character zero, which the database cannot keep.
    #[error("a text in the event holds the character U+0000, which cannot be stored; send it without")]
    Nul,
}

/// An event that is larger as it is kept than as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event has {0} bytes once its numbers are written out, and at most {NOTICE_BYTES_MAX} are kept; send less"
)]
pub struct TooLarge(pub usize);

/// Whether an event is no larger, as it is kept, than what a run can be started with.
///
/// # Errors
/// [`TooLarge`] with its bytes.
pub fn check_size(event: &Value) -> Result<(), TooLarge> {
    let bytes = kept::bytes(event);
    if bytes > NOTICE_BYTES_MAX { Err(TooLarge(bytes)) } else { Ok(()) }
}

/// Whether an event, or what a transform made of it, can be kept and handed on.
///
/// # Errors
/// The first reason why not.
pub fn check(event: &Value) -> Result<(), BadNotice> {
    look(event, NOTICE_DEPTH_MAX)
}

fn look(value: &Value, depth: usize) -> Result<(), BadNotice> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => clean(text),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(BadNotice::TooDeep)?;
            items.iter().try_for_each(|item| look(item, depth))
        }
        Value::Object(fields) => {
            let depth = depth.checked_sub(1).ok_or(BadNotice::TooDeep)?;
            fields.iter().try_for_each(|(name, field)| {
                clean(name)?;
                look(field, depth)
            })
        }
    }
}

fn clean(text: &str) -> Result<(), BadNotice> {
    if text.contains('\0') { Err(BadNotice::Nul) } else { Ok(()) }
}

/// What is kept of a delivery's headers, as a JSON object.
pub fn headers<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut kept = Map::new();
    for (name, value) in all {
        if HEADERS_KEPT.contains(&name) && !value.contains('\0') {
            kept.insert(name.to_owned(), value.chars().take(HEADER_CHARS_MAX).collect::<String>().into());
        }
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(
            json!(1),
            |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
        )
    }

    #[test]
    fn depth_and_characters_are_bounded() {
        assert_eq!(check(&nested(NOTICE_DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(NOTICE_DEPTH_MAX + 1)), Err(BadNotice::TooDeep));
        assert_eq!(check(&json!({"a": ["b", 1, null, true]})), Ok(()));
        assert_eq!(check(&json!({"a": ["b\0"]})), Err(BadNotice::Nul));
        assert_eq!(check(&json!({"a\0": 1})), Err(BadNotice::Nul));
    }

    #[test]
    fn an_event_is_measured_as_it_is_kept() {
        let many = |count: usize| json!(vec![1e308; count]);
        assert_eq!(check_size(&many(800)), Ok(()));
        let TooLarge(bytes) = check_size(&many(900)).unwrap_err();
        assert!(bytes > 900 * 309 && many(900).to_string().len() < 10_000);
    }

    #[test]
    fn only_harmless_headers_are_kept() {
        let long = "x".repeat(1000);
        let all =
            [("authorization", "Bearer secret"), ("webhook-id", "msg_1"), ("user-agent", long.as_str())];
        let kept = headers(all.into_iter());
        assert_eq!(kept["webhook-id"], "msg_1");
        assert_eq!(kept["user-agent"].as_str().map(str::len), Some(HEADER_CHARS_MAX));
        assert!(kept.get("authorization").is_none());
    }
}
