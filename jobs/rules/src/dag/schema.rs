//! A run's input against the JSON Schema of its start node.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::limits::{MAX_INPUT_FAULTS, MAX_INPUT_PLACE_BYTES, MAX_SCHEMA_BYTES, cut};
use super::unfold;

/// A compiled JSON Schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
}

/// One fault of an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`input{at}` {message}")]
pub struct InputFault {
    /// Where in the input, as a JSON pointer, cut at [`MAX_INPUT_PLACE_BYTES`]; empty for the whole.
    pub at: String,
    /// What is wrong there.
    pub message: String,
}

impl Schema {
    /// Compiles a schema of draft 2020-12. References stay inside it and lead nowhere twice over: nothing
    /// is fetched, and a validation's time is bounded. Patterns run in linear time.
    ///
    /// # Errors
    /// Why it is no schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let bytes = schema.to_string().len();
        if bytes > MAX_SCHEMA_BYTES {
            return Err(format!("has {bytes} bytes; at most {MAX_SCHEMA_BYTES} fit"));
        }
        if !(schema.is_object() || schema.is_boolean()) {
            return Err("must be an object".into());
        }
        unfold::check(schema)?;
        let validator = jsonschema::options()
            // Fixed, for the references of other drafts are not the ones that were followed.
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
            .build(schema)
            .map_err(|e| format!("is no JSON Schema: at `{}`: {e}", e.instance_path()))?;
        Ok(Self { validator })
    }

    /// Every fault of an input, up to the number that is told.
    ///
    /// # Errors
    /// The faults.
    pub fn check(&self, input: &Value) -> Result<(), Vec<InputFault>> {
        let faults: Vec<InputFault> = self
            .validator
            .iter_errors(input)
            .take(MAX_INPUT_FAULTS)
            // Masked: the value itself may be a secret, and may be long.
            .map(|e| InputFault {
                at: cut(e.instance_path().to_string(), MAX_INPUT_PLACE_BYTES),
                message: e.masked_with("the value").to_string(),
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn inputs_are_checked_whole() {
        let schema = Schema::compile(&json!({
            "type": "object", "required": ["id", "kind"],
            "properties": {"id": {"type": "integer"}, "kind": {"$ref": "#/$defs/kind"}},
            "$defs": {"kind": {"type": "string", "pattern": "^[a-z]+$"}}
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({"id": 1, "kind": "a"})), Ok(()));
        let faults = schema.check(&json!({"id": "secret", "kind": "A"})).unwrap_err();
        assert_eq!(faults.iter().map(|f| f.at.as_str()).collect::<Vec<_>>(), ["/id", "/kind"]);
        assert!(faults.iter().all(|f| !f.to_string().contains("secret")), "{faults:?}");
        assert_eq!(schema.check(&json!([])).unwrap_err().len(), 1);
    }

    #[test]
    fn a_place_under_long_names_is_cut() {
        let schema = Schema::compile(&json!({"additionalProperties": {"type": "integer"}})).unwrap();
        let faults = schema.check(&json!({"ä".repeat(100_000): "x"})).unwrap_err();
        assert!(faults[0].at.len() <= MAX_INPUT_PLACE_BYTES + '…'.len_utf8(), "{}", faults[0].at.len());
        assert!(faults[0].at.starts_with("/ä") && faults[0].at.ends_with('…'));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let long = "x".repeat(MAX_SCHEMA_BYTES);
        for schema in [
            json!("object"),
            json!({"type": "nonsense"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/nothing"}),
            json!({"pattern": "("}),
            json!({"pattern": "(?=look)ahead"}),
            json!({"title": long}),
        ] {
            let refused = Schema::compile(&schema).map(|_| ());
            assert!(refused.is_err(), "{}", schema.to_string().chars().take(80).collect::<String>());
        }
    }
}
