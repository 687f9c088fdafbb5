//! Holds every value of a request against the type that the schema asks, before anything is executed, and
//! says of the first that does not fit what it is, what is asked and what to send.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet, Type,
};
use async_graphql::{Name, Value, Variables};
use rules::redact::is_secret;

use super::shape::{Input, Inputs, Shape};
use crate::error::Fault;

/// The longest value or name that a message repeats, in characters.
const TOLD_CHARS: usize = 40;

/// The most names that a message lists.
const TOLD_NAMES: usize = 12;

/// Refuses a document of which a value does not fit: an argument, or a variable that is given. What is no
/// field or argument at all is left to the executor, which knows it.
///
/// # Errors
/// [`Fault::Validation`] naming the value, the reason and the remedy.
pub(crate) fn check(
    document: &ExecutableDocument,
    variables: &Variables,
    operation: Option<&str>,
    shape: &Shape,
    open: bool,
) -> Result<(), Fault> {
    let mut fitter =
        Fitter { variables, document, shape, open, seen: HashSet::new(), declared: HashMap::new() };
    for (name, definition) in document.operations.iter() {
        if operation.is_some() && operation != name.map(Name::as_str) {
            continue;
        }
        fitter.operation(&definition.node).map_err(Fault::Validation)?;
    }
    Ok(())
}

struct Fitter<'a> {
    variables: &'a Variables,
    document: &'a ExecutableDocument,
    shape: &'a Shape,
    /// Whether the schema's names may be told.
    open: bool,
    /// Fragments that were looked at, for the operation at hand.
    seen: HashSet<&'a Name>,
    /// The variables of the operation at hand: their types, and whether they have a default.
    declared: HashMap<&'a str, (&'a Type, bool)>,
}

impl<'a> Fitter<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> Result<(), String> {
        let root = match operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        self.seen.clear();
        self.declared.clear();
        for definition in &operation.variable_definitions {
            let (name, ty) = (&definition.node.name.node, &definition.node.var_type.node);
            let what = format!("the variable `${name}`");
            if let Some(value) = self.variables.get(name) {
                self.fits(&what, value, ty)?;
            }
            if let Some(default) = &definition.node.default_value {
                self.fits(&format!("the default of {what}"), &default.node, ty)?;
            }
            self.declared.insert(name.as_str(), (ty, definition.node.default_value.is_some()));
        }
        self.set(&operation.selection_set.node, root)
    }

    fn set(&mut self, set: &'a SelectionSet, on: &str) -> Result<(), String> {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => self.field(&field.node, on)?,
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map_or(on, |c| c.node.on.node.as_str());
                    self.set(&fragment.node.selection_set.node, on)?;
                }
                Selection::FragmentSpread(spread) => {
                    let found = self.document.fragments.get_key_value(&spread.node.fragment_name.node);
                    if let Some((name, fragment)) = found
                        && self.seen.insert(name)
                    {
                        let on = &fragment.node.type_condition.node.on.node;
                        self.set(&fragment.node.selection_set.node, on)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'a Field, on: &str) -> Result<(), String> {
        let name = &field.name.node;
        let Some(taker) = self.shape.fields.get(on).and_then(|fields| fields.get(name)) else {
            return Ok(());
        };
        for asked in &taker.arguments {
            let given = field.arguments.iter().find(|(given, _)| given.node == asked.name);
            match given {
                Some((_, value)) => {
                    let what = format!("the argument `{}` of `{name}`", asked.name);
                    // Written down, only a variable begins so: texts stand in quotes.
                    if let Some(variable) = value.node.to_string().strip_prefix('$') {
                        self.stands(&what, variable, asked)?;
                    }
                    // A variable that is not given stands for its default, which was looked at, or for nothing.
                    let given = |name: Name| self.variables.get(&name).cloned().ok_or(());
                    if let Ok(value) = value.node.clone().into_const_with(given) {
                        self.fits(&what, &value, &asked.ty)?;
                    }
                }
                None if !asked.ty.nullable && !asked.has_default => {
                    return Err(format!(
                        "`{name}` needs the argument `{}` of type `{}`; give it",
                        asked.name, asked.ty
                    ));
                }
                None => {}
            }
        }
        self.set(&field.selection_set.node, &taker.gives)
    }

    /// Whether a variable may stand for an argument, whatever it holds.
    fn stands(&self, what: &str, variable: &str, asked: &Input) -> Result<(), String> {
        // One that is not declared is the executor's to tell.
        let Some((declared, has_default)) = self.declared.get(variable) else { return Ok(()) };
        let given = Type { base: declared.base.clone(), nullable: declared.nullable && !has_default };
        let wanted = Type { base: asked.ty.base.clone(), nullable: asked.ty.nullable || asked.has_default };
        if goes(&given, &wanted) {
            return Ok(());
        }
        Err(format!(
            "{what} is `${variable}`, declared as `{declared}`, and `{0}` is asked: declare it as `{0}`",
            asked.ty
        ))
    }

    /// Whether a value fits a type.
    fn fits(&self, what: &str, value: &Value, ty: &Type) -> Result<(), String> {
        let misfit =
            |remedy: &str| Err(format!("{what} is {}, and `{ty}` is asked: {remedy}", told(what, value)));
        match (&ty.base, value) {
            (_, Value::Null) if ty.nullable => Ok(()),
            (_, Value::Null) => misfit("give a value"),
            (BaseType::List(inner), Value::List(items)) => {
                let each = |(at, item)| self.fits(&format!("{what}[{at}]"), item, inner);
                items.iter().enumerate().try_for_each(each)
            }
            // GraphQL takes a single value for a list of one.
            (BaseType::List(inner), single) => self.fits(what, single, inner),
            (BaseType::Named(name), value) => match name.as_str() {
                "Int" if !matches!(value, Value::Number(n) if n.is_i64() || n.is_u64()) => {
                    misfit("send a whole number, without quotes")
                }
                "Float" if !matches!(value, Value::Number(_)) => misfit("send a number, without quotes"),
                "String" if !matches!(value, Value::String(_)) => misfit("send a text, in quotes"),
                "Boolean" if !matches!(value, Value::Boolean(_)) => {
                    misfit("send true or false, without quotes")
                }
                "ID" if !matches!(value, Value::String(_) | Value::Number(_)) => {
                    misfit("send the id as a text, in quotes")
                }
                _ => self.named(what, value, name, ty),
            },
        }
    }

    /// As [`Self::fits`], for the types that the schema defines. Scalars of its own are read by their field.
    fn named(&self, what: &str, value: &Value, name: &Name, ty: &Type) -> Result<(), String> {
        if let Some(values) = self.shape.enums.get(name) {
            let word = match value {
                Value::Enum(word) => Some(word.as_str()),
                Value::String(word) => Some(word.as_str()),
                _ => None,
            };
            if word.is_some_and(|word| values.iter().any(|v| v == word)) {
                return Ok(());
            }
            let remedy = self.one_of(values.iter());
            return Err(format!("{what} is {}, and `{ty}` is asked: {remedy}", told(what, value)));
        }
        let Some(fields) = self.shape.inputs.get(name) else { return Ok(()) };
        let Value::Object(members) = value else {
            return Err(format!("{what} is {}, and `{ty}` is asked: send an object", told(what, value)));
        };
        self.members(what, members.iter(), fields, name)
    }

    fn members<'v>(
        &self,
        what: &str,
        members: impl Iterator<Item = (&'v Name, &'v Value)>,
        fields: &Inputs,
        of: &Name,
    ) -> Result<(), String> {
        let mut absent: Vec<_> = fields.iter().filter(|f| !f.ty.nullable && !f.has_default).collect();
        for (member, value) in members {
            absent.retain(|field| field.name != *member);
            let Some(field) = fields.iter().find(|field| field.name == *member) else {
                let remedy = self.one_of(fields.iter().map(|field| &field.name));
                return Err(format!(
                    "{what} has a field `{}`, which `{of}` does not know: {remedy}",
                    cut(member)
                ));
            };
            self.fits(&format!("{what}, field `{member}`,"), value, &field.ty)?;
        }
        match absent.first() {
            None => Ok(()),
            Some(field) => {
                Err(format!("{what} lacks the field `{}` of type `{}`; give it", field.name, field.ty))
            }
        }
    }

    fn one_of<'n>(&self, names: impl Iterator<Item = &'n Name>) -> String {
        if !self.open {
            return "send one that the schema has".into();
        }
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        let told = names.iter().take(TOLD_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(TOLD_NAMES);
        if more == 0 { format!("send one of {told}") } else { format!("send one of {told} and {more} more") }
    }
}

/// Whether every value of one type is one of the other.
fn goes(given: &Type, wanted: &Type) -> bool {
    let base = match (&given.base, &wanted.base) {
        (BaseType::Named(given), BaseType::Named(wanted)) => given == wanted,
        (BaseType::List(given), BaseType::List(wanted)) => goes(given, wanted),
        (BaseType::Named(_), BaseType::List(_)) | (BaseType::List(_), BaseType::Named(_)) => false,
    };
    base && (wanted.nullable || !given.nullable)
}

/// A value as a message repeats it: never one that stands under a secret's name, and of lists and objects
/// only that they are.
fn told(what: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".into(),
        Value::List(_) => return "a list".into(),
        Value::Object(_) => return "an object".into(),
        Value::Binary(_) => return "no such value".into(),
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Boolean(_) => "true or false",
        Value::Enum(_) => "a bare word",
    };
    if what.split('`').any(is_secret) {
        return kind.into();
    }
    format!("`{}`, {kind}", cut(&value.to_string()))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= TOLD_CHARS {
        return text.to_owned();
    }
    text.chars().take(TOLD_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::super::shape::SHAPE;
    use super::*;

    fn judge(query: &str, variables: serde_json::Value, open: bool) -> Result<(), String> {
        let document = parse_query(query).unwrap();
        check(&document, &Variables::from_json(variables), None, &SHAPE, open)
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_fits_passes() {
        for (query, variables) in [
            ("{ tenants(first: 3) { nodes { id } } nothing(of: 1) { x } }", json!({})),
            (
                "query($n: Int = 3, $a: String) { tenants(first: $n, after: $a) { nodes { id } } }",
                json!({"n": null}),
            ),
            (
                "mutation($d: JSON!) { validateWorkflow(definition: $d) { valid } }",
                json!({"d": [1, {"a": "b"}]}),
            ),
            ("{ ...f } fragment f on Query { ...f tenants { nodes { id } } }", json!({})),
        ] {
            assert_eq!(judge(query, variables, true), Ok(()), "{query}");
        }
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let told = judge("mutation { login(email: \"a@b\", password: 7331) { token } }", json!({}), true);
        let told = told.unwrap_err();
        assert!(told.contains("`password` of `login` is a number") && !told.contains("7331"), "{told}");
        let told = judge("query($password: String) { me { user { id } } }", json!({"password": 7331}), true);
        assert!(!told.unwrap_err().contains("7331"));
    }

    #[test]
    fn what_is_told_is_bounded_and_names_are_told_where_the_schema_is() {
        let long = json!({"n": "x".repeat(10_000)});
        let query = "query($n: Int) { tenants(first: $n) { nodes { id } } }";
        assert!(judge(query, long, true).unwrap_err().chars().count() < 200);
        let (name, values) = SHAPE.enums.iter().next().unwrap();
        let query = format!("query($v: {name}) {{ me {{ user {{ id }} }} }}");
        let open = judge(&query, json!({"v": "NOPE"}), true).unwrap_err();
        assert!(open.contains("`\"NOPE\"`") && open.contains(values[0].as_str()), "{open}");
        assert!(!judge(&query, json!({"v": "NOPE"}), false).unwrap_err().contains(values[0].as_str()));
    }
}
