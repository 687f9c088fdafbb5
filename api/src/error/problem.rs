//! Answers outside GraphQL: problem details of RFC 9457.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::code::ErrorCode;
use super::fault::Fault;
use super::record::record;

/// What is told to whoever met a fault of ours.
const INTERNAL: &str = "internal error; the server's log has the cause";

/// A refusal of which nothing but the status is known, recorded.
pub(crate) fn problem(status: StatusCode, detail: impl fmt::Display) -> Response<Body> {
    recorded(ErrorCode::of_status(status), status, &detail, "")
}

/// A fault, recorded.
pub(crate) fn fault_problem(fault: &Fault) -> Response<Body> {
    let mut response = recorded(fault.code(), fault.status(), fault, &fault.cause());
    if let Some(after_s) = fault.retry_after_s() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after_s));
    }
    response
}

/// The answer to a request that panicked, recorded with what the panic said.
pub(crate) fn panic_problem(cause: &str) -> Response<Body> {
    recorded(ErrorCode::Internal, StatusCode::INTERNAL_SERVER_ERROR, &INTERNAL, cause)
}

/// What was found out by whoever asked for that, and so is no error.
pub(crate) fn finding(status: StatusCode, detail: impl fmt::Display) -> Response<Body> {
    send(status, &details(status, &detail))
}

fn recorded(code: ErrorCode, status: StatusCode, detail: &dyn fmt::Display, cause: &str) -> Response<Body> {
    let id = record(code, detail, cause);
    let mut body = details(status, detail);
    body["code"] = code.as_str().into();
    body["errorId"] = id.to_string().into();
    send(status, &body)
}

fn details(status: StatusCode, detail: &dyn fmt::Display) -> Value {
    json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail.to_string(),
    })
}

fn send(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
