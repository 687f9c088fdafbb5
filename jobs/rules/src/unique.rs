//! Canonical JSON, and the idempotency key made of it.
//!
//! Two values that mean the same have one text: keys sorted, no white space, numbers by value, so that
//! `1`, `1.0` and `1e0` agree. The key is a digest of that text, hence short whatever the value.

use std::fmt::Write;

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

/// The length of an idempotency key, in characters.
pub const KEY_CHARS: usize = 64;

/// The idempotency key of a value within a scope: 64 hexadecimal characters.
/// The scope keeps equal values of different kinds or tenants apart.
pub fn key(scope: &str, value: &Value) -> String {
    let mut text = String::new();
    write_text(&mut text, scope);
    text.push(':');
    write_value(&mut text, value);
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The one text of a value.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            // Sorted here, for the map keeps the order of insertion once any crate asks serde_json to.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(out, name);
                out.push(':');
                write_value(out, member);
            }
            out.push('}');
        }
    }
}

/// A whole number is written in full, however it was given; any other in the shortest form that reads
/// back as the same value.
fn write_number(out: &mut String, number: &Number) {
    /// Above the range of the integers that JSON gives us no float can equal one, and the digits
    /// would only grow.
    const WHOLE_BELOW: f64 = 36_893_488_147_419_103_232.0; // 2^65
    let written = match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < WHOLE_BELOW => {
            write!(out, "{}", float as i128)
        }
        Some(float) if number.is_f64() => write!(out, "{float:e}"),
        _ => write!(out, "{number}"),
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

/// A JSON string with only what must be escaped escaped.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let written = write!(out, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok(), "writing to a string does not fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// The same value as text, with its members turned round and white space wherever it may stand.
    fn spread(value: &Value) -> String {
        match value {
            Value::Array(items) => {
                format!("[ {} ]", items.iter().map(spread).collect::<Vec<_>>().join(" ,\n"))
            }
            Value::Object(members) => {
                let members = members
                    .iter()
                    .rev()
                    .map(|(k, v)| format!("{} :\t{}", Value::from(k.as_str()), spread(v)));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            leaf => leaf.to_string(),
        }
    }

    /// Equality as this file means it, said without its code.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(x), Value::Number(y)) => match (x.is_f64(), y.is_f64()) {
                (false, false) => x == y,
                (true, true) => x.as_f64() == y.as_f64(),
                (true, false) => same(b, a),
                (false, true) => {
                    let (whole, float) = (x.as_i128(), y.as_f64());
                    float.is_some_and(|f| f.fract() == 0.0 && f.abs() < 1e30 && Some(f as i128) == whole)
                }
            },
            (Value::Array(x), Value::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
            }
            (Value::Object(x), Value::Object(y)) => {
                x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
            }
            _ => a == b,
        }
    }

    #[test]
    fn the_text_is_as_promised() {
        let given: Value =
            serde_json::from_str(r#" {"b": [1.0, -0.0, 1e3, 0.1, 1e300], "a" : {"é\n\"": null, "": true}} "#)
                .unwrap();
        assert_eq!(
            canonical(&given),
            "{\"a\":{\"\":true,\"é\\u000a\\\"\":null},\"b\":[1,0,1000,1e-1,1e300]}"
        );
        assert_eq!(
            canonical(&json!([u64::MAX, i64::MIN, 18446744073709551616.0])),
            "[18446744073709551615,-9223372036854775808,18446744073709551616]"
        );
    }

    #[test]
    fn a_key_is_short_and_scoped() {
        let k = key("workflow.execute", &json!({"a": 1}));
        assert_eq!(k.len(), KEY_CHARS);
        assert_eq!(k, key("workflow.execute", &json!({"a": 1.0})));
        assert_ne!(k, key("workflow.cancel", &json!({"a": 1})));
        assert_ne!(key("a", &json!("b")), key("a\":\"b", &json!("")));
    }

    #[test]
    fn values_that_look_alike_differ() {
        let alike = [
            json!(null),
            json!("null"),
            json!(0),
            json!("0"),
            json!(false),
            json!([]),
            json!({}),
            json!([[]]),
            json!([{}]),
            json!({"a": null}),
            json!({"a": {}}),
            json!(["a", "b"]),
            json!(["a,b"]),
            json!(["a\",\"b"]),
            json!({"a": "b"}),
            json!({"a:b": ""}),
            json!(9007199254740993u64),
            json!(9007199254740992.0),
            json!(0.1),
            json!(0.1 + f64::EPSILON),
        ];
        for (i, a) in alike.iter().enumerate() {
            for b in &alike[i + 1..] {
                assert_ne!(key("", a), key("", b), "{a} {b}");
            }
        }
    }

    proptest! {
        #[test]
        fn order_and_white_space_do_not_matter(value in value()) {
            let read: Value = serde_json::from_str(&spread(&value)).unwrap();
            prop_assert_eq!(key("s", &value), key("s", &read));
        }

        #[test]
        fn the_text_reads_back_as_the_same_value(value in value()) {
            let read: Value = serde_json::from_str(&canonical(&value)).unwrap();
            prop_assert!(same(&value, &read), "{} became {}", value, read);
            prop_assert_eq!(canonical(&read), canonical(&value));
        }

        #[test]
        fn keys_agree_exactly_when_values_do(a in value(), b in value()) {
            prop_assert_eq!(key("s", &a) == key("s", &b), same(&a, &b));
        }
    }
}
