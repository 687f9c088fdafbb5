//! Takes secrets out of what is kept for people to read: JSON, headers, query strings.
//!
//! A secret is known by the name it stands under, so whatever stands there goes, of any shape and at any
//! depth. Names are compared without case and punctuation, and a name that merely contains a telling word
//! counts: to hide a figure called `tokens_used` costs less than to show one token.

use serde_json::{Map, Value};

/// What stands in a secret's place.
pub const FILTERED: &str = "[FILTERED]";

/// The longest text that is kept, in characters; the last of them is an ellipsis if any was cut.
pub const TEXT_CHARS_MAX: usize = 2_000;

/// How deep a value is looked into. What lies deeper is filtered whole: unseen is not safe.
pub const DEPTH_MAX: usize = 64;

/// A name that holds one of these is a secret's, once stripped of case and punctuation.
const TELLING: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "credential",
    "cookie",
    "signature",
    "bearer",
];

/// A name that is one of these as a whole is a secret's. As part of a name they say nothing.
const WHOLE: [&str; 8] = ["auth", "xauth", "pass", "pin", "otp", "jwt", "session", "sessionid"];

/// The member names by which lists of pairs name and hold things, as in `{"name": …, "value": …}`.
const PAIR_NAMES: [&str; 4] = ["name", "key", "header", "field"];
const PAIR_VALUES: [&str; 3] = ["value", "values", "content"];

/// Whether what stands under this name is a secret.
pub fn is_secret(name: &str) -> bool {
    let bare: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    WHOLE.contains(&bare.as_str()) || TELLING.iter().any(|word| bare.contains(word))
}

/// The value without its secrets. Shape is kept: the same members and the same number of items, save
/// under a secret's name and beyond [`DEPTH_MAX`].
pub fn json(value: &Value) -> Value {
    json_at(value, 0)
}

/// The header's value as it may be shown.
pub fn header(name: &str, value: &str) -> String {
    if is_secret(name) { FILTERED.into() } else { text(value) }
}

/// The query string without its secrets. Names are kept as written; nothing is decoded but to be compared.
pub fn query(query: &str) -> String {
    cut(&pairs(query))
}

/// A text as it may be shown: secrets in the query or the user part of an address filtered, credentials of
/// an authorization scheme filtered, and cut to [`TEXT_CHARS_MAX`].
pub fn text(text: &str) -> String {
    for scheme in ["bearer ", "basic "] {
        if let Some(head) = text.get(..scheme.len()).filter(|head| head.eq_ignore_ascii_case(scheme)) {
            return format!("{head}{FILTERED}");
        }
    }
    if text.contains("://") { cut(&address(text)) } else { cut(text) }
}

fn json_at(value: &Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(given) => Value::String(text(given)),
        Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => Value::String(FILTERED.into()),
        Value::Array(items) => Value::Array(items.iter().map(|item| json_at(item, depth + 1)).collect()),
        Value::Object(members) => Value::Object(object_at(members, depth)),
    }
}

fn object_at(members: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let names_secret =
        PAIR_NAMES.iter().any(|name| members.get(*name).and_then(Value::as_str).is_some_and(is_secret));
    let hidden = |name: &str| is_secret(name) || (names_secret && PAIR_VALUES.contains(&name));
    members
        .iter()
        .map(|(name, member)| {
            let shown =
                if hidden(name) { Value::String(FILTERED.into()) } else { json_at(member, depth + 1) };
            (name.clone(), shown)
        })
        .collect()
}

/// Filters the user part and the query of an address, wherever in the text it begins.
fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#', ' ']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{FILTERED}@{host}"),
        None => authority.to_owned(),
    };
    let rest = match rest.split_once('?') {
        Some((path, query)) => format!("{path}?{}", pairs(query)),
        None => rest.to_owned(),
    };
    // More addresses may follow in a text of prose.
    let rest = if rest.contains("://") { address(&rest) } else { rest };
    format!("{scheme}://{authority}{rest}")
}

fn pairs(query: &str) -> String {
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(&decoded(name)) => format!("{name}={FILTERED}"),
        _ => pair.to_owned(),
    });
    shown.collect::<Vec<_>>().join("&")
}

/// The name with its percent escapes undone, so that `%70assword` is seen for what it is.
fn decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| name.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn cut(text: &str) -> String {
    if text.chars().nth(TEXT_CHARS_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Stands for a secret in the properties: it must never be seen again.
    const CANARY: &str = "c4n4ry";

    #[test]
    fn names_are_known_in_any_dress() {
        for name in [
            "password",
            "PASSWORD",
            "user_password",
            "passwordConfirm",
            "x-api-key",
            "X-Api-Key",
            "apiKey",
            "api.key",
            "client_secret",
            "refreshToken",
            "access_token",
            "Authorization",
            "Proxy-Authorization",
            "Set-Cookie",
            "aws_secret_access_key",
            "auth",
            "PIN",
            "webhook-signature",
            "jwt",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "",
            "name",
            "author",
            "key",
            "order_key",
            "spinning",
            "passenger_id",
            "compass",
            "session_count",
            "id",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn json_is_filtered_at_any_depth() {
        let given = json!({"user": {"name": "ann", "password": {"old": "a", "new": ["b"]}}, "list": [{"token": 7}, {"n": 1}], "secret": null,
            "headers": [{"name": "Authorization", "value": "x"}, {"name": "Accept", "value": "y"}],
            "url": "https://ann:pw@example.org/a?token=1&page=2", "sent": "Bearer abc"});
        let shown = json!({"user": {"name": "ann", "password": "[FILTERED]"}, "list": [{"token": "[FILTERED]"}, {"n": 1}], "secret": "[FILTERED]",
            "headers": [{"name": "Authorization", "value": "[FILTERED]"}, {"name": "Accept", "value": "y"}],
            "url": "https://[FILTERED]@example.org/a?token=[FILTERED]&page=2", "sent": "Bearer [FILTERED]"});
        assert_eq!(json(&given), shown);
    }

    #[test]
    fn what_lies_too_deep_is_filtered() {
        let mut deep = json!({"plain": CANARY});
        for _ in 0..DEPTH_MAX {
            deep = json!([deep]);
        }
        let shown = json(&deep).to_string();
        assert!(!shown.contains(CANARY) && shown.contains(FILTERED));
    }

    #[test]
    fn headers_and_queries_are_filtered() {
        assert_eq!(header("Cookie", "a=b"), FILTERED);
        assert_eq!(header("Accept", "text/html"), "text/html");
        assert_eq!(header("x-forwarded-auth", "basic YTpi"), "basic [FILTERED]");
        assert_eq!(
            query("page=2&api_key=x&%70assword=y&flag&token"),
            "page=2&api_key=[FILTERED]&%70assword=[FILTERED]&flag&token"
        );
        assert_eq!(
            text("see http://a@b and http://c:d@e?x=1"),
            "see http://[FILTERED]@b and http://[FILTERED]@e?x=1"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(TEXT_CHARS_MAX + 1);
        let shown = text(&long);
        assert_eq!(shown.chars().count(), TEXT_CHARS_MAX);
        assert!(shown.ends_with('…'));
        assert_eq!(text(&long[..2 * TEXT_CHARS_MAX]), long[..2 * TEXT_CHARS_MAX]);
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{1,6}",
            prop::sample::select(vec!["password", "Api-Key", "client_secret", "x-auth", "Authorization"])
                .prop_map(String::from)
        ]
    }

    /// JSON in which each leaf under a secret's name, and only such, is the canary.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            "[ -~é]{0,12}".prop_map(Value::from)
        ];
        let any = leaf.prop_recursive(5, 48, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name(), inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        });
        any.prop_map(|mut v| {
            plant(&mut v, false);
            v
        })
    }

    fn plant(value: &mut Value, secret: bool) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| plant(item, secret)),
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, member)| plant(member, secret || is_secret(name)))
            }
            leaf if secret => *leaf = CANARY.into(),
            _ => {}
        }
    }

    fn same_shape(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (_, Value::String(shown)) if shown == FILTERED => true,
            (Value::Array(x), Value::Array(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_shape(x, y))
            }
            (Value::Object(x), Value::Object(y)) => {
                x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same_shape(v, w)))
            }
            (Value::String(_), Value::String(_)) => true,
            _ => a == b,
        }
    }

    proptest! {
        #[test]
        fn nothing_under_a_secret_name_survives(value in value()) {
            prop_assert!(!json(&value).to_string().contains(CANARY));
        }

        #[test]
        fn twice_is_once_and_shape_is_kept(value in value()) {
            let once = json(&value);
            prop_assert!(same_shape(&value, &once), "{} became {}", value, once);
            prop_assert_eq!(json(&once), once);
        }

        #[test]
        fn texts_are_stable_and_short(given in "[ -~é]{0,60}", times in 1usize..60) {
            let given = given.repeat(times);
            for shown in [text(&given), query(&given), header("accept", &given)] {
                prop_assert!(shown.chars().count() <= TEXT_CHARS_MAX);
            }
            prop_assert_eq!(text(&text(&given)), text(&given));
            prop_assert_eq!(query(&query(&given)), query(&given));
        }
    }
}
