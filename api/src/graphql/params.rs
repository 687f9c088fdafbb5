//! Reads what the body of a GraphQL request holds.

use async_graphql::Variables;
use serde_json::Value;
use serde_json::error::Category;

use super::documents::Documents;
use crate::error::Fault;
use crate::keys;

/// What the body of a request holds.
pub(crate) struct Params {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
}

impl Params {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Fault::Validation`] naming what is wrong with it; [`Fault::NotPersisted`] for a document that is not taken.
    pub(crate) fn read(bytes: &[u8], documents: &Documents) -> Result<Self, Fault> {
        Self::of(read_json(bytes)?, documents)
    }

    /// What a body that was read holds.
    ///
    /// # Errors
    /// As [`Params::read`].
    pub(crate) fn of(body: Value, documents: &Documents) -> Result<Self, Fault> {
        let Value::Object(mut body) = body else {
            return Err(bad("the body must be one JSON object; several operations at once are not taken"));
        };
        let text = match body.remove("query") {
            None => None,
            Some(Value::String(query)) => Some(query),
            Some(_) => return Err(bad("`query` must be a string")),
        };
        let id = match body.remove("documentId") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(bad("`documentId` must be a string")),
        };
        let operation_name = match body.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(bad("`operationName` must be a string")),
        };
        let variables = match body.remove("variables") {
            None | Some(Value::Null) => Variables::default(),
            Some(variables @ Value::Object(_)) => Variables::from_json(variables),
            Some(_) => return Err(bad("`variables` must be an object")),
        };
        match body.remove("extensions") {
            None | Some(Value::Null | Value::Object(_)) => {}
            Some(_) => return Err(bad("`extensions` must be an object")),
        }
        let query = documents.find(text, id)?;
        Ok(Self { query, operation_name, variables })
    }
}

/// Reads JSON in which each key stands once.
///
/// # Errors
/// [`Fault::Validation`] with the reason, [`Fault::TooDeep`] for what nests deeper than is read.
pub(crate) fn read_json(bytes: &[u8]) -> Result<Value, Fault> {
    keys::read(bytes).map_err(|e| match e.classify() {
        _ if keys::nests_too_deep(&e) => {
            Fault::TooDeep("the body nests more than 127 levels deep; send it flatter".into())
        }
        Category::Data => bad(&format!("the body is refused: {e}; send the key once")),
        Category::Io | Category::Syntax | Category::Eof => {
            bad(&format!("the body is no JSON: {e}; send JSON"))
        }
    })
}

fn bad(told: &str) -> Fault {
    Fault::Validation(told.to_owned())
}
