//! Turns JSON into what a script sees, and what it returns back into JSON.
//!
//! | JSON | script |
//! |---|---|
//! | null | `()` |
//! | number | an integer if it is one within 64 signed bits, else a float |
//! | array, object | array, object map |
//!
//! Back: a character becomes a text of one, a float that JSON cannot write (not finite) null.
//! A function or range has no JSON form and is refused.

use rhai::{Array, Dynamic, Map};
use serde_json::Value;

use crate::error::{ScriptError, Subject};
use crate::guard::{self, Trip};
use crate::limits::Limits;

/// Why a value could not be handed over.
#[derive(Debug)]
pub(crate) enum Refusal {
    Stopped(Trip),
    TooLarge,
    TooDeep,
    NoJsonForm(&'static str),
    /// A text holds U+0000: JSON can write it, and the database cannot keep it.
    Nul,
}

impl From<Trip> for Refusal {
    fn from(trip: Trip) -> Self {
        Self::Stopped(trip)
    }
}

/// Refuses variables that are too large or too deep, before anything is made of them.
pub(crate) fn measure(vars: &[(&str, Value)], limits: &Limits) -> Result<(), ScriptError> {
    let mut left = limits.input_bytes;
    for (_, value) in vars {
        weigh(value, limits.depth, &mut left).map_err(|too_deep| {
            if too_deep {
                ScriptError::TooLarge { subject: Subject::InputDepth, limit: limits.depth }
            } else {
                ScriptError::TooLarge { subject: Subject::Input, limit: limits.input_bytes }
            }
        })?;
    }
    Ok(())
}

/// Takes the length of the value's JSON text from `left`; the error says whether it was the depth.
fn weigh(value: &Value, depth: usize, left: &mut usize) -> Result<(), bool> {
    let mut spend = |bytes: usize| {
        *left = left.checked_sub(bytes).ok_or(false)?;
        Ok(())
    };
    match value {
        Value::Null | Value::Bool(true) => spend(4),
        Value::Bool(false) => spend(5),
        Value::Number(number) => spend(number.to_string().len()),
        Value::String(text) => spend(written(text)),
        Value::Array(items) => {
            spend(frame(items.len()))?;
            let depth = depth.checked_sub(1).ok_or(true)?;
            items.iter().try_for_each(|item| weigh(item, depth, left))
        }
        Value::Object(fields) => {
            spend(frame(fields.len()))?;
            let depth = depth.checked_sub(1).ok_or(true)?;
            fields.iter().try_for_each(|(key, item)| {
                *left = left.checked_sub(written(key) + 1).ok_or(false)?;
                weigh(item, depth, left)
            })
        }
    }
}

/// Length of a text in JSON: its quotes, and its escapes, which make six bytes of one at most.
fn written(text: &str) -> usize {
    let inside: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0..=0x1f => 6,
            _ => 1,
        })
        .sum();
    inside + 2
}

/// Length of the brackets and commas around `parts` parts.
const fn frame(parts: usize) -> usize {
    2 + parts.saturating_sub(1)
}

/// What a script sees of a JSON value, whose depth [`measure`] has bounded.
pub(crate) fn to_dynamic(value: &Value) -> Result<Dynamic, Trip> {
    guard::tick()?;
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(it) => (*it).into(),
        Value::Number(number) => number_to_dynamic(number),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            guard::room(items.len() * size_of::<Dynamic>())?;
            let items: Result<Array, Trip> = items.iter().map(to_dynamic).collect();
            Dynamic::from_array(items?)
        }
        Value::Object(fields) => {
            let fields: Result<Map, Trip> =
                fields.iter().map(|(key, item)| Ok((key.as_str().into(), to_dynamic(item)?))).collect();
            Dynamic::from_map(fields?)
        }
    })
}

fn number_to_dynamic(number: &serde_json::Number) -> Dynamic {
    match number.as_i64() {
        Some(integer) => integer.into(),
        // A number beyond 64 signed bits keeps its size and loses its last digits.
        None => number.as_f64().map_or(Dynamic::UNIT, Into::into),
    }
}

/// The JSON of what a script returned. `left` is what remains of the size, in bytes of text.
pub(crate) fn to_json(value: &Dynamic, depth: usize, left: &mut usize) -> Result<Value, Refusal> {
    guard::tick()?;
    if let Some(scalar) = scalar(value) {
        match &scalar {
            Value::String(text) => take_text(left, text)?,
            other => take(left, other.to_string().len())?,
        }
        return Ok(scalar);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        // Before it is copied: one text may be shared by any number of places.
        take_text(left, &text)?;
        guard::room(text.len())?;
        return Ok(Value::String(text.as_str().to_owned()));
    }
    if let Ok(items) = value.as_array_ref() {
        take(left, frame(items.len()))?;
        let depth = depth.checked_sub(1).ok_or(Refusal::TooDeep)?;
        guard::room(items.len() * size_of::<Value>())?;
        let items: Result<Vec<Value>, Refusal> =
            items.iter().map(|item| to_json(item, depth, left)).collect();
        return Ok(Value::Array(items?));
    }
    if let Ok(fields) = value.as_map_ref() {
        take(left, frame(fields.len()))?;
        let depth = depth.checked_sub(1).ok_or(Refusal::TooDeep)?;
        let mut object = serde_json::Map::new();
        for (key, item) in fields.iter() {
            take_text(left, key)?;
            take(left, 1)?;
            object.insert(key.as_str().to_owned(), to_json(item, depth, left)?);
        }
        return Ok(Value::Object(object));
    }
    Err(Refusal::NoJsonForm(value.type_name()))
}

/// The JSON of a value of small, fixed size.
fn scalar(value: &Dynamic) -> Option<Value> {
    if value.is_unit() {
        return Some(Value::Null);
    }
    if let Ok(integer) = value.as_int() {
        return Some(integer.into());
    }
    if let Ok(float) = value.as_float() {
        return Some(serde_json::Number::from_f64(float).map_or(Value::Null, Value::Number));
    }
    if let Ok(it) = value.as_bool() {
        return Some(it.into());
    }
    value.as_char().ok().map(|character| Value::String(character.into()))
}

/// Takes the length of a text, or of a name, if the text can be kept.
fn take_text(left: &mut usize, text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(Refusal::Nul);
    }
    take(left, written(text))
}

fn take(left: &mut usize, bytes: usize) -> Result<(), Refusal> {
    *left = left.checked_sub(bytes).ok_or(Refusal::TooLarge)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // A float without a fraction must stay a float, so zero and large ones belong here.
            any::<f64>().prop_filter("JSON has finite numbers only", |f| f.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(|text| Value::from(text.replace('\0', ""))),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[^\\x00]{0,8}", inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(value in any_json()) {
            let seen = to_dynamic(&value).expect("no guard is armed");
            let mut left = usize::MAX;
            let back = to_json(&seen, 32, &mut left).expect("it has a JSON form");
            prop_assert_eq!(back, value);
        }

        #[test]
        fn both_ways_measure_what_is_written(value in any_json()) {
            let exact = value.to_string().len();
            let seen = to_dynamic(&value).expect("no guard is armed");
            let (mut enough, mut short) = (exact, exact - 1);
            prop_assert!(to_json(&seen, 32, &mut enough).is_ok());
            prop_assert_eq!(enough, 0);
            prop_assert!(matches!(to_json(&seen, 32, &mut short), Err(Refusal::TooLarge)));
            let limits = |input_bytes| Limits { input_bytes, ..Limits::default() };
            let vars = [("ctx", value)];
            prop_assert_eq!(measure(&vars, &limits(exact)), Ok(()));
            prop_assert!(measure(&vars, &limits(exact - 1)).is_err());
        }
    }

    #[test]
    fn numbers_beyond_64_signed_bits_become_floats() {
        let seen = to_dynamic(&json!(u64::MAX)).expect("no guard is armed");
        assert!(seen.is_float());
    }

    #[test]
    fn depth_and_size_are_bounded_both_ways() {
        let limits = Limits { depth: 2, input_bytes: 20, ..Limits::default() };
        assert_eq!(measure(&[("ctx", json!([[1]]))], &limits), Ok(()));
        assert_eq!(
            measure(&[("ctx", json!([[[1]]]))], &limits),
            Err(ScriptError::TooLarge { subject: Subject::InputDepth, limit: 2 })
        );
        assert_eq!(
            measure(&[("a", json!("0123456789")), ("b", json!("0123456789"))], &limits),
            Err(ScriptError::TooLarge { subject: Subject::Input, limit: 20 })
        );
        let deep = to_dynamic(&json!([[[1]]])).expect("no guard is armed");
        for nul in [json!("a\0"), json!({ "\0": 1 })] {
            let nul = to_dynamic(&nul).expect("no guard is armed");
            assert!(matches!(to_json(&nul, 2, &mut 100), Err(Refusal::Nul)));
        }
        assert!(matches!(to_json(&deep, 2, &mut 100), Err(Refusal::TooDeep)));
        assert!(matches!(to_json(&deep, 3, &mut 5), Err(Refusal::TooLarge)));
    }
}
