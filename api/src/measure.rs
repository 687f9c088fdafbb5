//! Times each request, by the route that matched and never by the path as it came.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

/// The routes that there are; a label must not grow with what strangers ask for.
const ROUTES: [&str; 5] = ["/graphql", "/hooks/{tenant}/{path}", "/livez", "/readyz", "/metrics"];

/// Records how long the answer took.
pub(crate) async fn time(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = label(request.method());
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = ROUTES.into_iter().find(|r| Some(*r) == matched).unwrap_or("other");
    let response = next.run(request).await;
    jobs::metrics::http_request(method, route, response.status().as_u16(), begun.elapsed());
    response
}

fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    }
}
