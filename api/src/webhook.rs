//! Lets signed deliveries in: verified, bounded, stored with their job before the sender is answered.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Response, StatusCode, header};
use jobs::db::wall;
use jobs::listener::{Address, Delivery, Hook, Received, address, receive};
use jobs::trace::TraceContext;
use rules::id::TenantId;
use rules::listener::{BadNotice, NOTICE_BYTES_MAX, check, check_size, headers};
use rules::signature::{self, Headers, ID_HEADER, Refused, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER};
use serde_json::error::Category;
use serde_json::{Value, json};
use tracing::field::display;

use crate::auth::origin;
use crate::error::{Fault, fault_problem, problem};
use crate::state::App;
use crate::{audit, body, keys};

/// What deliveries to an address where nobody listens are verified against. Nobody knows it, so they are
/// refused in the words and the time of a delivery to a listener whose secret the sender does not have: who
/// has none cannot tell which tenants and paths there are.
static NOBODYS: LazyLock<Secret> = LazyLock::new(|| Secret::of(&rand::random()));

/// The word for what failed for a reason of ours.
const FAILED: &str = "failed";

/// Why a delivery is not taken: the answer, and the word under which it is counted.
struct Refusal {
    outcome: &'static str,
    response: Box<Response<Body>>,
    /// Whose listener it is, once the signature has shown that the sender is its.
    tenant: Option<TenantId>,
}

impl Refusal {
    fn new(outcome: &'static str, response: Response<Body>) -> Self {
        Self { outcome, response: Box::new(response), tenant: None }
    }

    fn of(self, hook: &Hook) -> Self {
        Self { tenant: Some(hook.tenant), ..self }
    }
}

/// Answers a delivery at `/hooks/{tenant}/{path}`: 202 once it is stored, or was before.
pub(crate) async fn handle(
    State(app): State<App>,
    place: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response<Body> {
    // Nobody listens at an address that is no text, and that is answered like any other.
    let text = |place: &(String, String)| !place.0.contains('\0') && !place.1.contains('\0');
    let (tenant, path) = place.ok().map(|Path(place)| place).filter(text).unwrap_or_default();
    let (head, body) = request.into_parts();
    let (outcome, response) = match take(&app, &tenant, &path, &head, body).await {
        Ok(received) if received.duplicate => ("duplicate", accepted(&received)),
        Ok(received) => ("accepted", accepted(&received)),
        Err(refusal) => {
            tell(&app, &head, (&tenant, &path), &refusal);
            (refusal.outcome, *refusal.response)
        }
    };
    jobs::metrics::webhook_received(outcome);
    response
}

/// Tells the audit of a delivery that was not taken. One that failed for a reason of ours comes again.
fn tell(app: &App, head: &Parts, (tenant, path): (&str, &str), refusal: &Refusal) {
    if refusal.outcome == FAILED {
        return;
    }
    let given = [("tenant", tenant), ("path", path)];
    let given = given.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let told = audit::Refusal {
        tenant: refusal.tenant,
        operation: "webhook.receive",
        given: &given,
        code: &refusal.outcome.to_ascii_uppercase(),
    };
    audit::refused(app, &origin(app, head), &told);
}

async fn take(app: &App, tenant: &str, path: &str, head: &Parts, body: Body) -> Result<Received, Refusal> {
    let bytes = body::read(body, NOTICE_BYTES_MAX).await.map_err(|response| {
        let too_large = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
        Refusal::new(if too_large { "too_large" } else { "broken_off" }, response)
    })?;
    let mut conn = app.db.acquire().await.map_err(|e| broken(e.into()))?;
    let address = address(&mut conn, tenant, path).await.map_err(broken)?;
    drop(conn);
    let (hook, id) = verified(app, address, &head.headers, &bytes)?;
    if !hook.active {
        let told = "the listener is switched off; switch it on, then send again";
        return Err(Refusal::new("inactive", problem(StatusCode::CONFLICT, told)).of(&hook));
    }
    let event = event(&head.headers, &bytes).map_err(|refusal| refusal.of(&hook))?;
    let kept = headers(head.headers.iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?))));
    let delivery = Delivery { id, headers: &kept, event: &event, trace_parent: trace(&head.extensions) };
    let received = store(app, &hook, &delivery).await.map_err(broken)?;
    app.wake().send(&received.enqueued);
    let job = received.enqueued.first().map(|job| display(job.id));
    tracing::debug!(tenant.id = %hook.tenant, notice.id = %received.notice, job.id = job, duplicate = received.duplicate, "delivery taken");
    Ok(received)
}

/// The listener and the delivery's id, once its signature holds.
fn verified<'a>(
    app: &App,
    address: Address,
    all: &'a HeaderMap,
    bytes: &[u8],
) -> Result<(Hook, &'a str), Refusal> {
    let given = Headers {
        id: one(all, ID_HEADER),
        timestamp: one(all, TIMESTAMP_HEADER),
        signature: one(all, SIGNATURE_HEADER),
    };
    let secrets = match &address.hook {
        Some(hook) => hook.open(app.keyring()).map_err(broken)?,
        None => vec![NOBODYS.clone()],
    };
    let verdict = signature::verify(&secrets, &given, bytes, address.now_s);
    let unauthorized = |refused| problem(StatusCode::UNAUTHORIZED, refused);
    match (address.hook, verdict) {
        (Some(hook), Ok(id)) => Ok((hook, id)),
        (Some(_), Err(refused)) => Err(Refusal::new("unsigned", unauthorized(refused))),
        (None, verdict) => {
            let refused = verdict.err().unwrap_or(Refused::BadSignature);
            // Counted as the other, too: strangers may read the counts.
            Err(Refusal::new("unsigned", unauthorized(refused)))
        }
    }
}

/// The header, if it is sent once: of two, nobody can say which was meant.
fn one<'a>(all: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = all.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// The event, if it is JSON that can be kept.
fn event(all: &HeaderMap, bytes: &[u8]) -> Result<Value, Refusal> {
    if !all.get(header::CONTENT_TYPE).is_some_and(is_json) {
        let told = "the body must be JSON and say so: `Content-Type: application/json`";
        return Err(Refusal::new("malformed", problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, told)));
    }
    let bad = |told: String| Refusal::new("malformed", problem(StatusCode::BAD_REQUEST, told));
    let event = keys::read(bytes).map_err(|e| match e.classify() {
        _ if keys::nests_too_deep(&e) => bad(BadNotice::TooDeep.to_string()),
        Category::Data => {
            bad(format!("the body is refused: {e}; send the key once, for readers differ in which they take"))
        }
        Category::Io | Category::Syntax | Category::Eof => {
            bad(format!("the body is no JSON: {e}; send JSON"))
        }
    })?;
    check(&event).map_err(|refused| bad(refused.to_string()))?;
    check_size(&event)
        .map_err(|large| Refusal::new("too_large", problem(StatusCode::PAYLOAD_TOO_LARGE, large)))?;
    Ok(event)
}

fn is_json(content_type: &HeaderValue) -> bool {
    let media = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The trace of the request, which is the sender's if it sent one.
fn trace(extensions: &Extensions) -> Option<String> {
    extensions.get::<TraceContext>().map(ToString::to_string)
}

async fn store(app: &App, hook: &Hook, delivery: &Delivery<'_>) -> jobs::Result<Received> {
    let mut tx = wall::begin_within(&app.db, hook.tenant).await?;
    let received = receive(&mut tx, hook, delivery).await?;
    tx.commit().await?;
    Ok(received)
}

fn broken(error: jobs::Error) -> Refusal {
    Refusal::new(FAILED, fault_problem(&Fault::from(error)))
}

fn accepted(received: &Received) -> Response<Body> {
    let mut told = json!({ "noticeId": received.notice });
    if received.duplicate {
        told["duplicate"] = true.into();
    }
    let mut response = Response::new(Body::from(told.to_string()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_name() {
        for (name, known) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/cloudevents+json", true),
            ("text/plain", false),
            ("text/x+json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(name)), known, "{name}");
        }
    }

    #[test]
    fn a_header_sent_twice_is_none() {
        let mut all = HeaderMap::new();
        all.append("webhook-id", HeaderValue::from_static("a"));
        assert_eq!(one(&all, ID_HEADER), Some("a"));
        all.append("webhook-id", HeaderValue::from_static("b"));
        assert_eq!(one(&all, ID_HEADER), None);
    }
}
