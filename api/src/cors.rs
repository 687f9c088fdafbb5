//! Which pages of other sites may read what the API answers: a closed list, empty unless told otherwise.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// For how long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Headers that a page may send. No cookies are read here, so that none are ever allowed.
const SENT: [HeaderName; 8] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-request-id"),
];

/// Headers of an answer that a page may read.
const READ: [HeaderName; 5] = [
    HeaderName::from_static("idempotency-replayed"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
];

/// The origins whose pages may ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(Vec<HeaderValue>);

/// A text that is no list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadOrigin(String);

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no origin; name each as its pages send it, such as `https://app.example.org`, without a path and not as a pattern",
            self.0
        )
    }
}

impl Origins {
    /// Whether this is one of them.
    pub(crate) fn names(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }
}

impl FromStr for Origins {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        text.split(',').map(|origin| read(origin.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// An origin as browsers write it: scheme, host and, where it is not the usual one, port.
fn read(text: &str) -> Result<HeaderValue, BadOrigin> {
    let bad = || BadOrigin(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| bad())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(bad()) };
    let usual = matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    let host = authority.host();
    let named = !host.is_empty() && !host.contains('*') && host == host.to_ascii_lowercase();
    // Nothing but a host and a port: no user, and no port that is none.
    let place = authority.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let written = format!("{scheme}://{place}");
    if !matches!(scheme, "http" | "https") || usual || !named || written != text {
        return Err(bad());
    }
    HeaderValue::from_str(text).map_err(|_| bad())
}

/// Answers browsers that ask whether a page of another origin may; none where no origin is named.
pub(crate) fn layer(origins: &Origins) -> Option<CorsLayer> {
    if origins.0.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.0.iter().cloned()))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(SENT)
        .expose_headers(READ)
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_named_one_by_one() {
        let read = |text: &str| text.parse::<Origins>();
        assert_eq!(read("https://app.example.org, http://localhost:5173").unwrap().0.len(), 2);
        assert_eq!(read("http://[::1]:3000").unwrap().0, ["http://[::1]:3000"]);
        for bad in [
            "",
            "*",
            "null",
            "https://*.example.org",
            "https://app.example.org/",
            "https://app.example.org/path",
            "https://app.example.org:443",
            "https://App.example.org",
            "https://user@app.example.org:x",
            "app.example.org",
            "ftp://app.example.org",
            "https://a.example.org,",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
