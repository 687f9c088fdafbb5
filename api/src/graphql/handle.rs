//! Takes a GraphQL request over HTTP and answers it, strictly after the specification of that.
//!
//! POST of `application/json` alone. What a browser may send to another site without asking it first (a
//! form, plain text, a GET) is refused by that before it is looked at.

use std::time::Instant;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType, Selection};
use async_graphql::{Request, ServerError};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header, request};
use serde_json::{Map, Value, json};

use super::accept::{Media, is_json, negotiate};
use super::idempotency::{Begun, Held, Mark};
use super::loader::loader;
use super::params::Params;
use super::shape::SHAPE;
use super::{fit, idempotency, limit, spread};
use crate::audit::{Ledger, refused_credentials};
use crate::auth::{Caller, caller, listed, origin};
use crate::body;
use crate::error::{Fault, dress, problem};
use crate::state::App;

/// What the uses of variables may come to together, in largest bodies: one that is used twice is no attack.
const USES_OF_BODY: usize = 2;

/// The label of an operation with several root fields, or with none that the schema has.
const OTHER: &str = "other";

/// A request that may be executed.
struct Prepared {
    params: Params,
    document: ExecutableDocument,
}

/// Answers a request to `/graphql`.
pub(crate) async fn handle(State(app): State<App>, request: axum::extract::Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let told = "the body must be JSON and say so: `Content-Type: application/json`";
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, told);
    }
    let Some(media) = negotiate(&head.headers) else {
        let told = "answers are `application/graphql-response+json` or `application/json`; accept one";
        return problem(StatusCode::NOT_ACCEPTABLE, told);
    };
    let bytes = match body::read(body, app.config.limits.body_bytes).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal,
    };
    let (params, caller) = match admit(&app, &head, &bytes).await {
        Ok(admitted) => admitted,
        Err(fault) => return refuse(media, fault.status(), fault),
    };
    match prepare(&app, params) {
        Ok(prepared) => answer(&app, media, &head.headers, prepared, caller).await,
        // The request was well formed; it is its document that is refused.
        Err(fault) => refuse(media, refused_document(media), fault),
    }
}

/// What is asked, and who asks.
async fn admit(app: &App, head: &request::Parts, bytes: &[u8]) -> Result<(Params, Caller), Fault> {
    let params = Params::read(bytes, &app.config.documents)?;
    let caller = caller(app, head).await.inspect_err(|fault| {
        if let Fault::BadCredentials(_) = fault {
            refused_credentials(app, &origin(app, head));
        }
    })?;
    Ok((params, caller))
}

/// Reads the document, and refuses what does not keep within its limits before any of it is executed.
fn prepare(app: &App, params: Params) -> Result<Prepared, Fault> {
    let limits = &app.config.limits;
    limit::check_tokens(&params.query, limits.query_tokens)?;
    limit::check_nesting(&params.query)?;
    let document = parse_query(&params.query).map_err(|e| Fault::Parse(parse_message(&e)))?;
    limit::check(&document, &params.variables, limits)?;
    spread::check(&document, &params.variables, limits.body_bytes.saturating_mul(USES_OF_BODY))?;
    limit::check_variables(&document, &params.variables, params.operation_name.as_deref())?;
    let open = app.config.introspection;
    fit::check(&document, &params.variables, params.operation_name.as_deref(), &SHAPE, open)?;
    Ok(Prepared { params, document })
}

/// Answers a request: by executing it, or as before where it was done under its idempotency key.
async fn answer(
    app: &App,
    media: Media,
    headers: &HeaderMap,
    Prepared { params, document }: Prepared,
    caller: Caller,
) -> Response<Body> {
    let asked = (params.query.as_str(), &document, &params.variables, params.operation_name.as_deref());
    let held = match idempotency::begin(app, headers, &caller, asked).await {
        Ok(Begun::Keyless) => None,
        Ok(Begun::Held(held)) => Some(held),
        Ok(Begun::Answered(text)) => {
            let mut response = send(media, StatusCode::OK, text);
            response.headers_mut().insert(idempotency::REPLAYED, idempotency::replayed());
            return response;
        }
        Err(fault) => return refuse(media, fault.status(), fault),
    };
    let mark = held.as_ref().map(Held::mark);
    let (status, text) = told(media, execute(app, Prepared { params, document }, caller, mark).await);
    if let Some(held) = held {
        held.end(&text).await;
    }
    send(media, status, text)
}

async fn execute(
    app: &App,
    Prepared { params, document }: Prepared,
    caller: Caller,
    mark: Option<Mark>,
) -> async_graphql::Response {
    let operation = operation_of(&document);
    let name = params.operation_name.as_deref();
    let field = field_of(&document, name);
    let ledger = Ledger::new(limit::with_defaults(&document, &params.variables, name));
    let request = Request::new(params.query).variables(params.variables);
    let loader = loader(app, caller.principal.as_ref());
    let mut request = request.data(caller).data(app.clone()).data(ledger).data(loader);
    if let Some(mark) = mark {
        request = request.data(mark);
    }
    request.operation_name = params.operation_name;
    request.set_parsed_query(document);
    let begun = Instant::now();
    let response = app.schema.execute(request).await;
    jobs::metrics::graphql_operation(operation, field, response.errors.is_empty(), begun.elapsed());
    response
}

/// What the document does, as far as a label may tell.
fn operation_of(document: &ExecutableDocument) -> &'static str {
    let mutates = document.operations.iter().any(|(_, o)| o.node.ty == OperationType::Mutation);
    if mutates { "mutation" } else { "query" }
}

/// The root field of the operation that is executed, as far as a label may tell: one that the schema has, and
/// [`OTHER`] where there are several or none such.
fn field_of(document: &ExecutableDocument, name: Option<&str>) -> &'static str {
    let operation = match &document.operations {
        DocumentOperations::Single(only) => Some(only),
        // One that has a name is counted among several, too.
        DocumentOperations::Multiple(all) => match name {
            Some(name) => all.get(name),
            None => all.values().next().filter(|_| all.len() == 1),
        },
    };
    let field = match operation.map(|o| o.node.selection_set.node.items.as_slice()) {
        Some([only]) => match &only.node {
            Selection::Field(field) => listed(&field.node.name.node),
            Selection::FragmentSpread(_) | Selection::InlineFragment(_) => None,
        },
        Some(_) | None => None,
    };
    field.unwrap_or(OTHER)
}

fn parse_message(error: &async_graphql::parser::Error) -> String {
    let place = error.positions().next().map(|p| format!(" at {}:{}", p.line, p.column)).unwrap_or_default();
    // The parser draws a picture of several lines; the place is told in words.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches([' ', '=', '-', '>']).to_owned();
    format!("the document is no GraphQL{place}: {reason}")
}

/// The status and the body of an answer of the executor. Errors without a path come of the request as a whole: nothing
/// was executed, and there is no data to speak of.
fn told(media: Media, response: async_graphql::Response) -> (StatusCode, String) {
    let errors: Vec<ServerError> = response.errors.into_iter().map(dress).collect();
    let refused = !errors.is_empty() && errors.iter().all(|e| e.path.is_empty());
    let mut body = Map::new();
    if !refused {
        body.insert("data".into(), serde_json::to_value(&response.data).unwrap_or_default());
    }
    if !errors.is_empty() {
        body.insert("errors".into(), json!(errors));
    }
    let status = if refused { refused_document(media) } else { StatusCode::OK };
    (status, Value::Object(body).to_string())
}

/// The status of a refused document, on which the two media types differ.
const fn refused_document(media: Media) -> StatusCode {
    match media {
        Media::GraphqlResponse => StatusCode::BAD_REQUEST,
        Media::Json => StatusCode::OK,
    }
}

/// The answer to a request of which nothing is read but its head.
pub(crate) fn refuse_whole(headers: &HeaderMap, fault: Fault) -> Response<Body> {
    refuse(negotiate(headers).unwrap_or(Media::Json), fault.status(), fault)
}

/// The answer to a request that never reached the executor.
fn refuse(media: Media, status: StatusCode, fault: Fault) -> Response<Body> {
    let retry_after = fault.retry_after_s();
    let error = fault.into_server_error();
    let mut response = send(media, status, json!({"errors": [error]}).to_string());
    if let Some(after_s) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, after_s.into());
    }
    response
}

fn send(media: Media, status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, media.content_type());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_field_of_the_schema_or_other() {
        let of = |query: &str, name: Option<&str>| field_of(&parse_query(query).unwrap(), name);
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
