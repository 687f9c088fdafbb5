//! Reads JSON in which a key may stand once in an object. Most readers take the last of two, some the first:
//! who sends both and who reads would not mean the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The longest key that a message repeats, in characters.
const TOLD_CHARS: usize = 40;

/// Reads JSON.
///
/// # Errors
/// Why it is none, or the key that stands twice, with line and column.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Once(value)| value)
}

/// Whether JSON was refused because it nests deeper than the reader goes, which is no fault of its form.
pub(crate) fn nests_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}

/// A value whose objects hold each key once.
struct Once(Value);

struct Reader;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                let key: String = key.chars().take(TOLD_CHARS).collect();
                return Err(A::Error::custom(format!("the key `{key}` stands twice in one object")));
            }
            let Once(value) = members.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_and_what_nests_too_deep_are_told() {
        for (text, key) in [
            (r#"{"query":"a","query":"b"}"#, "query"),
            (r#"{"a":[{"b":1,"c":2,"b":3}]}"#, "b"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
        ] {
            let told = read(text.as_bytes()).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("the key `{key}` stands twice")) && told.contains("column"),
                "{told}"
            );
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(nests_too_deep(&read(deep.as_bytes()).unwrap_err()));
        assert!(!nests_too_deep(&read(b"{\"a").unwrap_err()));
        let other =
            r#"{"a":{"a":[{"a":1},{"a":2}]},"b":null,"c":-1.5e3,"d":18446744073709551615,"e":"ü","f":true}"#;
        assert_eq!(read(other.as_bytes()).unwrap(), serde_json::from_str::<Value>(other).unwrap());
    }
}
