//! Refuses WebSockets that a page of another site asks for.

use axum::http::{HeaderMap, header};

use crate::cors::Origins;

/// Whether a handshake comes from a page of the site that it goes to or of one that is named, or from no page at all. A browser asks nobody
/// before it opens a WebSocket to another site, and says where it does so.
pub(super) fn may_open(headers: &HeaderMap, named: &Origins) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    if named.names(origin) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    of.is_some() && of.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_refused() {
        let of = |origin: Option<&str>| {
            let mut headers =
                HeaderMap::from_iter([(header::HOST, "millrace.example:4000".parse().unwrap())]);
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            may_open(&headers, &"https://app.example".parse().unwrap())
        };
        assert!(of(None) && of(Some("https://Millrace.example:4000")) && of(Some("https://app.example")));
        for other in
            ["https://evil.example", "https://millrace.example", "null", "millrace.example:4000", "https://"]
        {
            assert!(!of(Some(other)), "{other}");
        }
    }
}
