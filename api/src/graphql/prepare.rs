//! Refuses a GraphQL request that does not keep within its limits, before any of it is executed.

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
};
use async_graphql::{Name, Request};

use super::loader::loader;
use super::params::Params;
use super::shape::SHAPE;
use super::{fit, limit, scan, spread};
use crate::audit::{self, Ledger};
use crate::auth::{Caller, admit, listed};
use crate::error::Fault;
use crate::state::App;

/// What the uses of variables may come to together, in largest bodies: one that is used twice is no attack.
const USES_OF_BODY: usize = 2;

/// The label of an operation with several root fields, or with none that the schema has.
const OTHER: &str = "other";

/// A request that may be executed.
pub(crate) struct Prepared {
    pub(super) params: Params,
    pub(super) document: ExecutableDocument,
}

/// Reads the document, and refuses what does not keep within its limits before any of it is executed.
///
/// # Errors
/// The fault of the document.
pub(crate) fn prepare(app: &App, params: Params) -> Result<Prepared, Fault> {
    let limits = &app.config.limits;
    scan::check_tokens(&params.query, limits.query_tokens)?;
    scan::check_nesting(&params.query)?;
    let document = parse_query(&params.query).map_err(|e| Fault::Parse(parse_message(&e)))?;
    limit::check(&document, &params.variables, limits)?;
    spread::check(&document, &params.variables, limits.body_bytes.saturating_mul(USES_OF_BODY))?;
    limit::check_variables(&document, &params.variables, params.operation_name.as_deref())?;
    let open = app.config.introspection;
    fit::check(&document, &params.variables, params.operation_name.as_deref(), &SHAPE, open)?;
    Ok(Prepared { params, document })
}

impl Prepared {
    /// What it does.
    pub(crate) fn operation(&self) -> OperationType {
        let chosen = chosen(&self.document, self.params.operation_name.as_deref());
        chosen.map_or_else(|| operation_of(&self.document), |operation| operation.ty)
    }

    /// What it does, as far as a label may tell.
    pub(crate) fn label(&self) -> &'static str {
        match self.operation() {
            OperationType::Query => "query",
            OperationType::Mutation => "mutation",
            OperationType::Subscription => "subscription",
        }
    }

    /// The root field of what is executed, as far as a label may tell: one that the schema has, and [`OTHER`] where
    /// there are several or none such.
    pub(crate) fn field(&self) -> &'static str {
        let chosen = chosen(&self.document, self.params.operation_name.as_deref());
        let field = match chosen.map(|operation| operation.selection_set.node.items.as_slice()) {
            Some([only]) => match &only.node {
                Selection::Field(field) => listed(&field.node.name.node),
                Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
            },
            Some(_) | None => None,
        };
        field.unwrap_or(OTHER)
    }

    /// For the executor.
    pub(crate) fn into_request(self, app: &App, caller: Caller) -> Request {
        let ledger = self.ledger();
        let Self { params, document } = self;
        let request = Request::new(params.query).variables(params.variables);
        let loader = loader(app, caller.principal.as_ref());
        let mut request = request.data(caller).data(app.clone()).data(ledger).data(loader);
        request.operation_name = params.operation_name;
        request.set_parsed_query(document);
        request
    }

    /// Refuses a subscription of more or less than one field, and one that is in no list or that a key does not hold:
    /// no stream is made of it. The executor's gate stands behind.
    ///
    /// # Errors
    /// [`Fault::Validation`] and [`Fault::Denied`].
    pub(crate) fn admit_subscription(&self, app: &App, caller: &Caller) -> Result<(), Fault> {
        let chosen = chosen(&self.document, self.params.operation_name.as_deref());
        let Some(subscription) = chosen.filter(|o| o.ty == OperationType::Subscription) else {
            return Ok(());
        };
        let field = only_field(subscription)?;
        let admitted = admit(field.name.node.as_str(), caller.principal.as_ref()).map_err(Fault::from);
        admitted.inspect_err(|fault| audit::denied(app, &self.ledger(), caller, field, fault))
    }

    fn ledger(&self) -> Ledger {
        let name = self.params.operation_name.as_deref();
        Ledger::new(limit::with_defaults(&self.document, &self.params.variables, name))
    }
}

/// The operation that is to be executed, where it is clear which.
fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let mut fitting =
        document.operations.iter().filter(|(n, _)| name.is_none() || n.map(Name::as_str) == name);
    let first = fitting.next();
    first.filter(|_| fitting.next().is_none()).map(|(_, operation)| &operation.node)
}

/// What the document does, where it is not clear which operation is meant.
fn operation_of(document: &ExecutableDocument) -> OperationType {
    let mutates = document.operations.iter().any(|(_, o)| o.node.ty == OperationType::Mutation);
    if mutates { OperationType::Mutation } else { OperationType::Query }
}

/// The field of a subscription, which has one.
fn only_field(operation: &OperationDefinition) -> Result<&Field, Fault> {
    let told = match operation.selection_set.node.items.as_slice() {
        [item] => match &item.node {
            Selection::Field(field) if !field.node.name.node.starts_with("__") => return Ok(&field.node),
            Selection::Field(_) | Selection::FragmentSpread(_) | Selection::InlineFragment(_) => {
                "a subscription names its field itself, and no fragment or `__typename` in its place"
            }
        },
        _ => "a subscription has one field; send one for each",
    };
    Err(Fault::Validation(told.into()))
}

fn parse_message(error: &async_graphql::parser::Error) -> String {
    let place = error.positions().next().map(|p| format!(" at {}:{}", p.line, p.column)).unwrap_or_default();
    // The parser draws a picture of several lines; the place is told in words.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches([' ', '=', '-', '>']).to_owned();
    format!("the document is no GraphQL{place}: {reason}")
}

#[cfg(test)]
mod tests {
    use async_graphql::Variables;

    use super::*;

    #[test]
    fn a_label_is_a_field_of_the_schema_or_other() {
        let of = |query: &str, name: Option<&str>| {
            let document = parse_query(query).unwrap();
            let operation_name = name.map(str::to_owned);
            let params = Params { query: query.to_owned(), operation_name, variables: Variables::default() };
            Prepared { params, document }.field()
        };
        assert_eq!(of("{ runs(first: 1) { nodes { id } } }", None), "runs");
        assert_eq!(of("mutation M { mine: cancelJob(id: 1) }", None), "cancelJob");
        assert_eq!(of("query A { me { id } } query B { jobs { nodes { id } } }", Some("B")), "jobs");
        for unnamed in [
            "{ me { id } runs { nodes { id } } }",
            "{ nonsense_that_somebody_made_up }",
            "{ __schema { queryType { name } } }",
            "query { ...F } fragment F on Query { me { id } }",
            "query A { me { id } } query B { me { id } }",
        ] {
            assert_eq!(of(unnamed, None), OTHER, "{unnamed}");
        }
    }
}
