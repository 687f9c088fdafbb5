//! Measures an operation before it is executed, and refuses what asks for too much.
//!
//! Fragments are measured once and remembered, so a document in which fragments spread fragments cannot
//! make the measuring itself long.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Value, Variables};

use crate::config::Limits;
use crate::error::Fault;

/// What a page counts for when its size is not given.
pub(crate) const DEFAULT_PAGE: u64 = 20;

/// What a field counts for that asks the database again, once for every row that it stands on.
const LOOK_UP_COST: u64 = 10;

/// What a field counts for that reads the errors of very many dead letters.
const SEARCH_COST: u64 = 1_000;

/// The arguments of `deadLetters` that may leave few of very many.
const FILTERS: [&str; 5] = ["search", "kind", "queue", "since", "until"];

/// What `nextRuns` and `previewSchedule` count for when it is not said how many: as many times as they tell.
pub(crate) const DEFAULT_RUNS: u64 = 5;

/// Lists of the schema within lists of the schema that introspection may open; what tools send needs three.
const INTROSPECTION_LISTS: usize = 3;

/// How deep introspection may go; what tools send needs fifteen.
const INTROSPECTION_DEPTH: usize = 20;

/// What a selection comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Measure {
    depth: usize,
    cost: u64,
    aliases: u64,
    /// Fields at its top.
    top: u64,
    /// Lists of the schema within each other.
    schema_lists: usize,
    /// Whether it reads the schema.
    introspects: bool,
}

impl Measure {
    fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.cost = self.cost.saturating_add(other.cost);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.top = self.top.saturating_add(other.top);
        self.schema_lists = self.schema_lists.max(other.schema_lists);
        self.introspects |= other.introspects;
    }
}

struct Ruler<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &'a Variables,
    defaults: HashMap<Name, Value>,
    /// Fragments already measured, by name and the page they stand in; none while being measured.
    known: HashMap<(Name, u64), Option<Measure>>,
    /// A fragment that spreads itself.
    circle: Option<Name>,
}

/// Refuses an operation that is too deep, too dear, or has too many aliases or root fields. Every
/// operation of the document must pass, executed or not.
///
/// # Errors
/// [`Fault::TooDeep`] or [`Fault::TooComplex`] with the limit; [`Fault::Validation`] for a fragment that
/// spreads itself.
pub(crate) fn check(
    document: &ExecutableDocument,
    variables: &Variables,
    limits: &Limits,
) -> Result<(), Fault> {
    for (_, operation) in document.operations.iter() {
        let mut ruler = Ruler {
            fragments: &document.fragments,
            variables,
            defaults: defaults(&operation.node),
            known: HashMap::new(),
            circle: None,
        };
        let measure = ruler.set(&operation.node.selection_set.node, DEFAULT_PAGE);
        if let Some(name) = ruler.circle {
            return Err(Fault::Validation(format!(
                "the fragment `{name}` spreads itself, directly or through others; take that spread out"
            )));
        }
        let depth = if measure.introspects { INTROSPECTION_DEPTH } else { limits.query_depth };
        if measure.depth > depth {
            return Err(Fault::TooDeep(format!("the selection is nested deeper than {depth}; ask in parts")));
        }
        refuse_above("fields in all", measure.cost, limits.query_cost)?;
        refuse_above("aliases", measure.aliases, limits.query_aliases)?;
        refuse_above("fields at its root", measure.top, limits.query_roots)?;
        if measure.schema_lists > INTROSPECTION_LISTS {
            return Err(Fault::TooDeep(format!(
                "introspection opens more than {INTROSPECTION_LISTS} lists within each other"
            )));
        }
    }
    Ok(())
}

/// Refuses an operation whose variables lack one that must be there: that is a fault of the request, not
/// of the field that would miss it.
///
/// # Errors
/// [`Fault::Validation`] naming the variable.
pub(crate) fn check_variables(
    document: &ExecutableDocument,
    variables: &Variables,
    name: Option<&str>,
) -> Result<(), Fault> {
    let chosen = document.operations.iter().filter(|(n, _)| name.is_none() || n.map(Name::as_str) == name);
    for definition in chosen.flat_map(|(_, operation)| &operation.node.variable_definitions) {
        let definition = &definition.node;
        let given = variables.get(&definition.name.node);
        let absent = match given {
            None => definition.default_value.is_none(),
            Some(value) => *value == Value::Null,
        };
        if absent && !definition.var_type.node.nullable {
            return Err(Fault::Validation(format!(
                "the variable `${}` is of type `{}` and must be given",
                definition.name.node, definition.var_type.node
            )));
        }
    }
    Ok(())
}

/// The variables as the executor reads them: where one was not given, the default of the operation that is chosen.
pub(crate) fn with_defaults(
    document: &ExecutableDocument,
    variables: &Variables,
    name: Option<&str>,
) -> Variables {
    let mut filled = variables.clone();
    let chosen = document.operations.iter().filter(|(n, _)| name.is_none() || n.map(Name::as_str) == name);
    for (of, default) in chosen.flat_map(|(_, operation)| defaults(&operation.node)) {
        filled.entry(of).or_insert(default);
    }
    filled
}

fn refuse_above(what: &str, found: u64, most: u64) -> Result<(), Fault> {
    if found <= most {
        return Ok(());
    }
    Err(Fault::TooComplex(format!(
        "the operation has {found} {what}; at most {most} are allowed; ask in parts"
    )))
}

fn defaults(operation: &OperationDefinition) -> HashMap<Name, Value> {
    let with_default = operation.variable_definitions.iter().filter_map(|definition| {
        let value = definition.node.default_value.as_ref()?;
        Some((definition.node.name.node.clone(), value.node.clone()))
    });
    with_default.collect()
}

impl Ruler<'_> {
    fn set(&mut self, set: &SelectionSet, page: u64) -> Measure {
        let mut sum = Measure::default();
        for selection in &set.items {
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node, page),
                Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node, page),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, page),
            };
            sum.add(part);
        }
        sum
    }

    fn field(&mut self, field: &Field, page: u64) -> Measure {
        let own_page = self.size_of(field, "first").unwrap_or(DEFAULT_PAGE);
        let inner = self.set(&field.selection_set.node, own_page);
        // `edges` and `nodes` are the lists of a connection, whose field has the size.
        let name = field.name.node.as_str();
        let times = match name {
            "edges" | "nodes" => page,
            "powerMachines" => self.count_of(field, "ids"),
            _ => 1,
        };
        let own = match name {
            // Each machine is looked for and asked.
            "powerMachines" => times,
            // Up to a hundred thousand errors are read, or all that there are.
            "deadLetterGroups"
            | "deadLetterCount"
            | "redriveMatchingDeadLetters"
            | "discardMatchingDeadLetters" => SEARCH_COST,
            // So may they be where few of those that are walked over fit.
            "deadLetters" if FILTERS.iter().any(|name| field.get_argument(name).is_some()) => SEARCH_COST,
            "actions" | "attempts" | "history" | "log" | "why" => LOOK_UP_COST,
            // Each time is sought.
            "nextRuns" | "previewSchedule" => 1 + self.size_of(field, "count").unwrap_or(DEFAULT_RUNS),
            _ => 1,
        };
        let is_list = matches!(name, "fields" | "inputFields" | "interfaces" | "possibleTypes");
        Measure {
            depth: inner.depth + 1,
            cost: inner.cost.saturating_mul(times).saturating_add(own),
            aliases: inner.aliases.saturating_add(u64::from(field.alias.is_some())),
            top: 1,
            schema_lists: inner.schema_lists + usize::from(is_list),
            introspects: inner.introspects || matches!(name, "__schema" | "__type"),
        }
    }

    fn fragment(&mut self, name: &Name, page: u64) -> Measure {
        let key = (name.clone(), page);
        if let Some(known) = self.known.get(&key) {
            // One that is being measured spreads itself.
            if known.is_none() {
                self.circle = Some(name.clone());
            }
            return known.unwrap_or_default();
        }
        let Some(fragment) = self.fragments.get(name) else { return Measure::default() };
        self.known.insert(key.clone(), None);
        let measure = self.set(&fragment.node.selection_set.node, page);
        self.known.insert(key, Some(measure));
        measure
    }

    /// How much a field asks for in this argument. What is no size is refused later, by the field.
    fn size_of(&self, field: &Field, argument: &str) -> Option<u64> {
        match self.value_of(field, argument)? {
            Value::Number(size) => size.as_u64(),
            _ => None,
        }
    }

    /// How many this argument lists. What is no list is one.
    fn count_of(&self, field: &Field, argument: &str) -> u64 {
        match self.value_of(field, argument) {
            Some(Value::List(listed)) => u64::try_from(listed.len()).unwrap_or(u64::MAX),
            _ => 1,
        }
    }

    fn value_of(&self, field: &Field, argument: &str) -> Option<Value> {
        let value = field.get_argument(argument)?.node.clone();
        let of_variable = |name: Name| {
            let value = self.variables.get(&name).or_else(|| self.defaults.get(&name));
            Ok::<_, std::convert::Infallible>(value.cloned().unwrap_or_default())
        };
        match value.into_const_with(of_variable) {
            Ok(value) => Some(value),
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn judge(query: &str, variables: serde_json::Value) -> Result<(), Fault> {
        check(&parse_query(query).unwrap(), &Variables::from_json(variables), &Limits::default())
    }

    fn told(query: &str) -> String {
        judge(query, serde_json::json!({})).unwrap_err().to_string()
    }

    #[test]
    fn an_ordinary_page_passes() {
        judge(
            "{ runs(first: 100) { edges { node { id state } } pageInfo { endCursor } } }",
            serde_json::json!({}),
        )
        .unwrap();
    }

    #[test]
    fn few_may_search_dead_letters_at_once() {
        for field in [
            "deadLetterGroups { looked }",
            "deadLetters(search: \"x\") { edges { node { id } } }",
            "deadLetterCount(letters: {}) { count }",
            "redriveMatchingDeadLetters(letters: {}) { id }",
            "discardMatchingDeadLetters(letters: {}) { id }",
        ] {
            let many = |n: usize| (0..n).map(|i| format!(" f{i}: {field}")).collect::<String>();
            judge(&format!("{{{}}}", many(4)), serde_json::json!({})).unwrap();
            assert!(told(&format!("{{{}}}", many(5))).contains("5000"), "{field}");
        }
    }

    #[test]
    fn pages_in_pages_are_multiplied_wherever_their_size_stands() {
        let query =
            "query($n: Int, $m: Int = 100) { a(first: $n) { nodes { b(first: $m) { nodes { id } } } } }";
        assert!(judge(query, serde_json::json!({"n": 100})).is_err());
        assert!(judge(query, serde_json::json!({"n": 2, "m": 3})).is_ok());
        assert!(told("{ a(first: 99999999999) { nodes { id } } }").contains("fields in all"));
    }

    #[test]
    fn a_look_up_for_every_row_is_dear() {
        let of = |fields: &str| {
            judge(&format!("{{ jobs(first: 100) {{ nodes {{ {fields} }} }} }}"), serde_json::json!({}))
        };
        assert!(of("id kind state queue why { code } attempts { error }").is_ok());
        let again = "log { nodes { seq } } attempts { error } why { code } actions { state }";
        assert!(of(again).is_err());
    }

    #[test]
    fn each_time_that_is_sought_counts() {
        let of = |fields: &str| {
            let query = format!("query($n: Int) {{ schedules(first: 100) {{ nodes {{ {fields} }} }} }}");
            judge(&query, serde_json::json!({"n": 49}))
        };
        assert!(of("id nextRuns history(first: 20) { nodes { status } }").is_ok());
        assert!(of("nextRuns(count: 48)").is_ok() && of("nextRuns(count: $n)").is_err());
        let previews =
            |n: usize| (0..n).map(|i| format!("p{i}: previewSchedule(count: 100) ")).collect::<String>();
        assert!(judge(&format!("{{ {} }}", previews(20)), serde_json::json!({})).is_ok());
        assert!(of(&previews(1)).is_err());
    }

    #[test]
    fn each_machine_that_is_asked_counts() {
        let of = |fields: &str, listed: usize| {
            let query = format!(
                "mutation($ids: [ID!]!) {{ powerMachines(ids: $ids, operation: RESET) {{ {fields} }} }}"
            );
            judge(&query, serde_json::json!({"ids": vec!["x"; listed]}))
        };
        assert!(of("id code operation { id }", 100).is_ok());
        let much = "operation { id } ".repeat(25);
        assert!(of(&much, 90).is_ok() && of(&much, 100).is_err());
        assert!(judge("{ powerMachines(ids: \"x\") { id } }", serde_json::json!({})).is_ok());
    }

    #[test]
    fn aliases_of_anything_count() {
        let aliases: String = (0..31).map(|i| format!("a{i}: __typename ")).collect();
        assert!(told(&format!("{{ me {{ {aliases} }} }}")).contains("aliases"));
    }

    #[test]
    fn roots_and_depth_have_an_end() {
        let roots: String = "me { id } ".repeat(21);
        assert!(told(&format!("{{ {roots} }}")).contains("root"));
        let deep = |n: usize| format!("{}{}", "{ a ".repeat(n), "}".repeat(n));
        assert!(judge(&deep(12), serde_json::json!({})).is_ok());
        assert!(matches!(judge(&deep(13), serde_json::json!({})), Err(Fault::TooDeep(_))));
    }

    #[test]
    fn fragments_that_double_are_counted_and_quickly() {
        let mut query = String::from("{ ...f0 } ");
        for i in 0..60 {
            query += &format!("fragment f{i} on Query {{ ...f{} ...f{} }} ", i + 1, i + 1);
        }
        query += "fragment f60 on Query { a: __typename }";
        assert!(told(&query).contains("fields in all"));
        assert!(told("{ ...f } fragment f on Query { ...f }").contains("the fragment `f` spreads itself"));
    }

    #[test]
    fn introspection_may_not_walk_in_circles() {
        let circle = "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }";
        assert!(matches!(judge(circle, serde_json::json!({})), Err(Fault::TooDeep(_))));
        let usual = "{ __schema { types { fields { args { type { ofType { ofType { ofType { ofType { ofType { ofType { ofType { name } } } } } } } } } } } } }";
        judge(usual, serde_json::json!({})).unwrap();
    }
}
