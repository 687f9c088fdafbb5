//! Gives each request an id and a place in a trace, in its log lines and in what it causes.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use jobs::trace::{TraceContext, carry};
use tracing::Instrument;
use uuid::Uuid;

/// The header that carries it, in both directions.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a client, in bytes.
const MAX_BYTES: usize = 64;

/// The id of a request, put into it for those who keep it.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// Takes over the client's id where it is harmless, or draws one.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = request.headers().get(&HEADER).filter(|id| harmless(id)).cloned().unwrap_or_else(drawn);
    let text = id.to_str().unwrap_or_default();
    request.extensions_mut().insert(RequestId(text.to_owned()));
    let trace = trace_of(&request);
    request.extensions_mut().insert(trace);
    let path = request.uri().path();
    let span =
        tracing::info_span!("request", request.id = text, trace.id = trace.trace_id(), http.path = path);
    // What the request leads to, the delivery of a webhook too, goes on in the trace that its sender began.
    let mut response = carry(Some(trace.to_string()), next.run(request)).instrument(span).await;
    response.headers_mut().insert(HEADER, id);
    response
}

/// A step of the client's trace, or the first of a new one.
fn trace_of(request: &Request) -> TraceContext {
    let mut all = request.headers().get_all("traceparent").iter();
    // Of two, nobody can say which was meant.
    let given = all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok());
    match given.and_then(TraceContext::parse) {
        Some(trace) => trace.child(rand::random()),
        None => TraceContext::begin(),
    }
}

/// What cannot forge a log line or fill one.
fn harmless(id: &HeaderValue) -> bool {
    let known = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(known)
}

fn drawn() -> HeaderValue {
    // A UUID is all ASCII, so the fallback is never taken.
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_or_endless_id_is_not_taken_over() {
        let of = |text: &str| harmless(&HeaderValue::from_bytes(text.as_bytes()).unwrap());
        assert!(of("req-1.a_B"));
        assert!(!of(""));
        assert!(!of("a b"));
        assert!(!of(&"a".repeat(MAX_BYTES + 1)));
        assert!(harmless(&drawn()));
    }
}
