//! Counts each request by its address before anything is read of it, and tells where its sender stands.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Response;
use axum::middleware::Next;

use super::standing::Standings;
use crate::auth::origin;
use crate::error::fault_problem;
use crate::graphql;
use crate::state::App;

/// Routes that supervisors and Prometheus ask, and that are bounded otherwise.
const WATCHED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Passes a request on, or refuses it in the form that its route answers in.
pub(crate) async fn hold(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let route = head.extensions.get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    if route.is_some_and(|route| WATCHED.contains(&route)) {
        return next.run(Request::from_parts(head, body)).await;
    }
    let told = Standings::default();
    head.extensions.insert(told.clone());
    let mut response = match app.rates.charge_address(origin(&app, &head).address, &told) {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(fault) if route == Some("/graphql") => graphql::refuse_whole(&head.headers, fault),
        Err(fault) => fault_problem(&fault),
    };
    told.tell(response.headers_mut());
    response
}
