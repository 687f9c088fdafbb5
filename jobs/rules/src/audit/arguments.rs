//! What of an operation's arguments is kept: no secrets, no long texts, and never much in all.

use serde_json::{Map, Value};

use crate::redact;

/// The most bytes of JSON that an entry keeps of its operation's arguments.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;

/// The arguments as an entry keeps them: without secrets, texts cut, and where all together are still more than
/// [`ARGUMENTS_BYTES_MAX`], the largest ones replaced by how large they were, until the rest fits.
pub fn arguments(given: &Map<String, Value>) -> String {
    let shown = redact::json(&Value::Object(given.clone()));
    let Value::Object(mut shown) = shown else { return "{}".into() };
    let text = Value::Object(shown.clone()).to_string();
    if text.len() <= ARGUMENTS_BYTES_MAX {
        return text;
    }
    let mut sizes: Vec<(usize, String)> =
        shown.iter().map(|(name, value)| (value.to_string().len(), name.clone())).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut total = text.len();
    for (size, name) in sizes {
        let told = format!("[{size} BYTES]");
        total = total.saturating_sub(size).saturating_add(told.len() + 2);
        shown.insert(name, Value::String(told));
        if total <= ARGUMENTS_BYTES_MAX {
            break;
        }
    }
    let text = Value::Object(shown).to_string();
    // Names alone can be too many; an operation has a dozen, so only a mistake of ours comes here.
    if text.len() <= ARGUMENTS_BYTES_MAX {
        text
    } else {
        format!("{{\"arguments\":\"[{} BYTES]\"}}", text.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn kept(given: Value) -> Value {
        let Value::Object(given) = given else { panic!("arguments are an object") };
        serde_json::from_str(&arguments(&given)).unwrap()
    }

    #[test]
    fn secrets_go_and_what_is_large_is_told_by_its_size() {
        let given =
            json!({"tenant": "t", "password": "hunter2", "input": {"list": vec!["x".repeat(1000); 50]}});
        let shown = kept(given);
        assert_eq!(shown["tenant"], "t");
        assert_eq!(shown["password"], "[FILTERED]");
        assert_eq!(shown["input"], "[50160 BYTES]");
        let many: Map<String, Value> = (0..10_000).map(|n| (format!("name{n}"), json!(1))).collect();
        assert!(arguments(&many).len() < 100);
    }

    proptest! {
        #[test]
        fn never_more_than_the_bound(sizes in proptest::collection::vec(0usize..30_000, 0..12)) {
            let given: Map<String, Value> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| (format!("a{n}"), json!(vec!["é\"\n"; *size / 8])))
                .collect();
            let text = arguments(&given);
            prop_assert!(text.len() <= ARGUMENTS_BYTES_MAX);
            let back: Map<String, Value> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back.len(), given.len());
        }
    }
}
