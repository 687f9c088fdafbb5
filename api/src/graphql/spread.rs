//! Bounds what the uses of an operation's variables come to together.
//!
//! A variable is sent once and may be written a thousand times, each of which becomes a value of its own while
//! the document is checked and executed: a body of a megabyte would become gigabytes.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Value, Variables};

use crate::error::Fault;

/// Refuses a document whose uses of variables come to more than this many bytes together, each as it would be
/// written in the place of the variable.
///
/// # Errors
/// [`Fault::TooComplex`] naming the variable that is used most.
pub(crate) fn check(document: &ExecutableDocument, variables: &Variables, most: usize) -> Result<(), Fault> {
    let mut uses = HashMap::new();
    let mut defaults: HashMap<&Name, usize> = HashMap::new();
    for (_, operation) in document.operations.iter() {
        count_set(&operation.node.selection_set.node, &mut uses);
        for definition in &operation.node.variable_definitions {
            let bytes = definition.node.default_value.as_ref().map_or(0, |default| bytes_of(&default.node));
            let largest = defaults.entry(&definition.node.name.node).or_default();
            *largest = bytes.max(*largest);
        }
    }
    for fragment in document.fragments.values() {
        count_set(&fragment.node.selection_set.node, &mut uses);
    }
    let mut all = 0usize;
    let mut largest = (0, None);
    for (name, count) in &uses {
        let default = defaults.get(name).copied().unwrap_or(0);
        let bytes = variables.get(name).map_or(0, bytes_of).max(default).saturating_mul(*count);
        all = all.saturating_add(bytes);
        if bytes > largest.0 {
            largest = (bytes, Some(name));
        }
    }
    match largest.1 {
        Some(name) if all > most => Err(Fault::TooComplex(format!(
            "the variables come to {all} bytes in all the places where they are used, `${name}` to most of them; \
             {most} are allowed: use large ones less often, or send several requests"
        ))),
        _ => Ok(()),
    }
}

fn count_set(set: &SelectionSet, uses: &mut HashMap<Name, usize>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                count_field(&field.node, uses);
                count_set(&field.node.selection_set.node, uses);
            }
            Selection::InlineFragment(fragment) => count_set(&fragment.node.selection_set.node, uses),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn count_field(field: &Field, uses: &mut HashMap<Name, usize>) {
    let of_directives = field.directives.iter().flat_map(|directive| &directive.node.arguments);
    for (_, value) in field.arguments.iter().chain(of_directives) {
        // Puts nothing in the place of each variable, and learns its name.
        let counted = value.node.clone().into_const_with(|name| {
            *uses.entry(name).or_default() += 1;
            Ok::<_, std::convert::Infallible>(Value::Null)
        });
        match counted {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }
}

/// What a value takes at least when it is written, with what parts it from the next.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Number(_) | Value::Boolean(_) => 2,
        Value::Enum(name) => name.len() + 1,
        Value::String(text) => text.len() + 3,
        Value::Binary(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(bytes_of).sum::<usize>() + 2,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + 4 + bytes_of(value)).sum::<usize>() + 2
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    fn checked(query: &str, value: serde_json::Value) -> Result<(), Fault> {
        check(&parse_query(query).unwrap(), &Variables::from_json(json!({ "v": value })), 100_000)
    }

    #[test]
    fn what_is_used_often_must_be_small() {
        let many = format!("query($v: JSON) {{ a(first: [{}]) }}", "$v ".repeat(2_000));
        assert!(checked(&many, json!(1)).is_ok());
        let told = checked(&many, json!(vec![0; 1_000])).unwrap_err();
        assert!(matches!(&told, Fault::TooComplex(text) if text.contains("`$v`")), "{told:?}");
    }

    #[test]
    fn a_use_is_found_wherever_it_stands() {
        let large = json!("x".repeat(60_000));
        for query in [
            "query($v: JSON) { a(x: $v) { b(x: {c: [$v]}) } }",
            "query($v: JSON) { a(x: $v) ...F } fragment F on Query { b(x: $v) }",
            "query($v: JSON) { a(x: $v) ... on Query { b @include(if: $v) } }",
            &format!("query($v: JSON, $w: JSON = \"{}\") {{ a(x: [$w $w]) }}", "x".repeat(60_000)),
        ] {
            assert!(checked(query, large.clone()).is_err(), "{query}");
        }
        assert!(checked("query($v: JSON) { a(x: $v) b(x: 1) }", large).is_ok());
    }
}
