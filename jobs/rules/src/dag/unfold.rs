//! How large a JSON Schema is once its references are followed: what bounds the time of a validation.
//!
//! A schema of twenty lines can refer to itself twice at each of forty levels, and a validator then looks
//! at 2^40 schemas. So references must not lead round in circles, and what they unfold to is counted.

use std::collections::HashMap;

use serde_json::Value;

/// The most values that a schema may unfold to.
pub(super) const MAX_UNFOLDED: u64 = 20_000;

/// How deep a schema may unfold: it is gone through by recursion, here and by the validator.
const MAX_DEPTH: u32 = 100;

/// Keywords that lead elsewhere in ways that are not followed here.
const NOT_FOLLOWED: [&str; 5] =
    ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor"];

/// Checks that a schema unfolds to a bounded one.
///
/// # Errors
/// Why it does not.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut unfolding = Unfolding { root: schema, known: HashMap::new() };
    let whole = unfolding.extent(schema, 0)?;
    if whole.size > MAX_UNFOLDED {
        return Err(format!(
            "is too large: its references unfold to more than {MAX_UNFOLDED} values; use fewer, or nest them less"
        ));
    }
    Ok(())
}

/// What a value comes to, its references followed.
#[derive(Clone, Copy)]
struct Extent {
    size: u64,
    depth: u32,
}

struct Unfolding<'s> {
    root: &'s Value,
    /// What each reference unfolds to; none while it is being followed.
    known: HashMap<&'s str, Option<Extent>>,
}

impl<'s> Unfolding<'s> {
    /// Measures a value and all inside it, which stands at `depth`. Wherever a schema can stand, and
    /// wherever only data can, a member `$ref` is taken for a reference: that errs on the safe side.
    fn extent(&mut self, value: &'s Value, depth: u32) -> Result<Extent, String> {
        let mut whole = Extent { size: 1, depth: 1 };
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let inside = match member.as_str() {
                        Some(reference) if name == "$ref" => self.follow(reference, depth + 1)?,
                        Some(_) if name == "$id" && !std::ptr::eq(value, self.root) => {
                            return Err("holds an `$id` below its root; only the root may have one".into());
                        }
                        Some(_) if NOT_FOLLOWED.contains(&name.as_str()) => {
                            return Err(format!(
                                "uses `{name}`; use `$ref` with a pointer such as `#/$defs/name`"
                            ));
                        }
                        Some(_) | None => self.extent(member, depth + 1)?,
                    };
                    whole.take(inside);
                }
            }
            Value::Array(items) => {
                for item in items {
                    let inside = self.extent(item, depth + 1)?;
                    whole.take(inside);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if depth + whole.depth > MAX_DEPTH { Err(too_deep()) } else { Ok(whole) }
    }

    fn follow(&mut self, reference: &'s str, depth: u32) -> Result<Extent, String> {
        match self.known.get(reference) {
            Some(Some(extent)) => return Ok(*extent),
            Some(None) => {
                return Err(format!("refers to itself through `{reference}`; a schema has no loops"));
            }
            None => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let root = self.root;
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).ok_or_else(|| {
            format!("refers to `{reference}`, which is not there; write a pointer into it such as `#/$defs/name`")
        })?;
        self.known.insert(reference, None);
        let extent = self.extent(target, depth)?;
        self.known.insert(reference, Some(extent));
        Ok(extent)
    }
}

impl Extent {
    fn take(&mut self, inside: Self) {
        self.size = self.size.saturating_add(inside.size);
        self.depth = self.depth.max(inside.depth + 1);
    }
}

fn too_deep() -> String {
    format!("is nested deeper than {MAX_DEPTH} levels, its references followed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_bounded_is_let_through() {
        let shared = json!({
            "$id": "https://example.com/order", "type": "object",
            "properties": {"from": {"$ref": "#/$defs/place"}, "to": {"$ref": "#/$defs/place"}, "$id": {"type": "string"}},
            "$defs": {"place": {"properties": {"at": {"$ref": "#/$defs/a~1b"}}}, "a/b": true}
        });
        assert_eq!(check(&shared), Ok(()));
        assert_eq!(check(&json!(true)), Ok(()));
    }

    #[test]
    fn what_is_not_bounded_is_refused() {
        let mut defs = serde_json::Map::new();
        for level in 0..20 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"allOf": [next.clone(), next]}));
        }
        defs.insert("d20".into(), json!({}));
        let doubling = json!({"$ref": "#/$defs/d0", "$defs": defs});
        // Forwards and backwards: whichever end is met first.
        let line = |towards: i32| {
            let link = |level: i32| json!({"$ref": format!("#/$defs/d{:04}", level + towards)});
            let links = (1..2_000).map(|level| (format!("d{level:04}"), link(level)));
            let ends = ["d0000", "d2000"].map(|end| (end.to_owned(), json!({})));
            json!({"$defs": links.chain(ends).collect::<serde_json::Map<_, _>>()})
        };
        let node = json!({"properties": {"left": {"$ref": "#/$defs/n"}, "right": {"$ref": "#/$defs/n"}}});
        for (schema, why) in [
            (doubling, "is too large"),
            (line(1), "is nested deeper"),
            (line(-1), "is nested deeper"),
            (json!({"$ref": "#"}), "refers to itself through `#`"),
            (json!({"$ref": "#/$defs/n", "$defs": {"n": node}}), "refers to itself through `#/$defs/n`"),
            (json!({"properties": {"a": {"$ref": "#/properties"}}}), "refers to itself"),
            (json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here"}}}), "uses `$anchor`"),
            (json!({"$ref": "#here"}), "which is not there"),
            (json!({"$ref": "https://example.com/a"}), "which is not there"),
            (json!({"$dynamicRef": "#"}), "uses `$dynamicRef`"),
            (json!({"$defs": {"a": {"$id": "b", "$ref": "#/c"}}}), "holds an `$id`"),
        ] {
            let told = check(&schema).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
