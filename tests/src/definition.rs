//! Definitions that may be saved, found right as the API does.

use rules::dag::{Compilers, Definition, validate};
use script::{Limits, Sandbox};
use serde_json::Value;

/// The definition of a draft without fault.
///
/// # Panics
/// When it has faults; the message holds all.
pub fn definition(draft: &Value) -> Definition {
    let sandbox = Sandbox::new(Limits::default());
    let script = |code: &str| sandbox.check(code).map_err(|e| e.to_string());
    let expression = |code: &str| sandbox.check_expression(code).map_err(|e| e.to_string());
    validate(draft.clone(), &Compilers { script: &script, expression: &expression })
        .unwrap_or_else(|faults| panic!("{faults:#?}"))
}
