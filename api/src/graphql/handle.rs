//! Takes a GraphQL request over HTTP and answers it, strictly after the specification of that.
//!
//! POST of `application/json` alone. What a browser may send to another site without asking it first (a
//! form, plain text, a GET) is refused by that before it is looked at.

use std::time::Instant;

use async_graphql::ServerError;
use async_graphql::parser::types::OperationType;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header, request};
use serde_json::{Map, Value, json};

use super::accept::{Media, STREAM, is_json, negotiate};
use super::gather::gathered;
use super::idempotency::{self, Begun, Held, Mark};
use super::params::Params;
use super::prepare::{Prepared, prepare};
use crate::audit::refused_credentials;
use crate::auth::{Caller, caller, origin};
use crate::body;
use crate::error::{Fault, dress, problem};
use crate::realtime::{self, STREAM_COMPLETE, stream_next};
use crate::state::App;

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
    let prepared = prepare(&app, params).and_then(|prepared| {
        fits(media, prepared.operation())?;
        Ok(prepared)
    });
    match prepared {
        Ok(prepared) if prepared.operation() == OperationType::Subscription => {
            let answered = realtime::answer(&app, &head, prepared, caller);
            answered.unwrap_or_else(|fault| refuse(media, fault.status(), fault))
        }
        Ok(prepared) => answer(&app, media, &head.headers, prepared, caller).await,
        // The request was well formed; it is its document that is refused.
        Err(fault) => refuse(media, refused_document(media), fault),
    }
}

/// Refuses an operation whose answers the client does not take in the form that they have.
fn fits(media: Media, operation: OperationType) -> Result<(), Fault> {
    let told = match (media, operation) {
        (Media::GraphqlResponse | Media::Json, OperationType::Subscription) => {
            "a subscription has no single answer; accept `text/event-stream`, or send it over a WebSocket with \
             `graphql-transport-ws`"
        }
        (Media::EventStream, OperationType::Mutation) => {
            "a mutation is not answered as a stream; accept `application/json`"
        }
        (Media::GraphqlResponse | Media::Json, OperationType::Query | OperationType::Mutation)
        | (Media::EventStream, OperationType::Query | OperationType::Subscription) => return Ok(()),
    };
    Err(Fault::Validation(told.into()))
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

/// Answers a request: by executing it, or as before where it was done under its idempotency key.
async fn answer(
    app: &App,
    media: Media,
    headers: &HeaderMap,
    prepared: Prepared,
    caller: Caller,
) -> Response<Body> {
    let Prepared { params, document } = &prepared;
    let asked = (params.query.as_str(), document, &params.variables, params.operation_name.as_deref());
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
    let (status, text) = told(media, execute(app, prepared, caller, mark).await);
    if let Some(held) = held {
        held.end(&text).await;
    }
    send(media, status, text)
}

async fn execute(
    app: &App,
    prepared: Prepared,
    caller: Caller,
    mark: Option<Mark>,
) -> async_graphql::Response {
    let (label, field) = (prepared.label(), prepared.field());
    let mut request = prepared.into_request(app, caller);
    if let Some(mark) = mark {
        request = request.data(mark);
    }
    let begun = Instant::now();
    let response = gathered(app.schema.execute(request)).await;
    jobs::metrics::graphql_operation(label, field, response.errors.is_empty(), begun.elapsed());
    response
}

/// The status and the body of an answer of the executor.
fn told(media: Media, response: async_graphql::Response) -> (StatusCode, String) {
    let (body, refused) = body_of(response);
    let status = if refused { refused_document(media) } else { StatusCode::OK };
    (status, body.to_string())
}

/// The body of an answer of the executor, and whether the request was refused as a whole. Errors without a path say
/// that: nothing was executed, and there is no data to speak of.
pub(crate) fn body_of(response: async_graphql::Response) -> (Value, bool) {
    let errors: Vec<ServerError> = response.errors.into_iter().map(dress).collect();
    let refused = !errors.is_empty() && errors.iter().all(|e| e.path.is_empty());
    let mut body = Map::new();
    if !refused {
        body.insert("data".into(), serde_json::to_value(&response.data).unwrap_or_default());
    }
    if !errors.is_empty() {
        body.insert("errors".into(), json!(errors));
    }
    (Value::Object(body), refused)
}

/// The status of a refused document, on which the two media types differ.
const fn refused_document(media: Media) -> StatusCode {
    match media {
        Media::GraphqlResponse | Media::EventStream => StatusCode::BAD_REQUEST,
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
    // What was not executed is told by its status, and never began to stream.
    let streams = media == Media::EventStream && status == StatusCode::OK;
    let (body, content_type) = if streams {
        (format!("{}{}", stream_next(&body), STREAM_COMPLETE), STREAM)
    } else {
        (body, media.content_type())
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
