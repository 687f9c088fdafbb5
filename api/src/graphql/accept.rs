//! Chooses among the media types of GraphQL over HTTP.

use axum::http::{HeaderMap, HeaderValue, header};

/// What an answer is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/graphql-response+json`: the status tells whether the request could be executed.
    GraphqlResponse,
    /// `application/json`: a well-formed request is answered with 200, whatever became of it.
    Json,
    /// `text/event-stream`: each answer as it comes, after the protocol of graphql-sse.
    EventStream,
}

/// The header value of answers that come as they are made.
pub(crate) const STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

impl Media {
    /// The header value of an answer that is whole. One that never began to stream is told as JSON.
    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json | Self::EventStream => "application/json; charset=utf-8",
        })
    }
}

/// The type that the client likes best; none when it takes neither. Without a wish it is `application/json`,
/// which every client reads.
pub(crate) fn negotiate(headers: &HeaderMap) -> Option<Media> {
    let mut best: Option<(Media, f32)> = None;
    let mut wished = false;
    for value in headers.get_all(header::ACCEPT) {
        for wish in value.to_str().unwrap_or_default().split(',') {
            wished = true;
            let Some((media, quality)) = read(wish) else { continue };
            if quality > 0.0 && best.is_none_or(|(_, q)| quality > q) {
                best = Some((media, quality));
            }
        }
    }
    if wished { best.map(|(media, _)| media) } else { Some(Media::Json) }
}

fn read(wish: &str) -> Option<(Media, f32)> {
    let mut parts = wish.split(';').map(str::trim);
    let media = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/graphql-response+json" => Media::GraphqlResponse,
        "text/event-stream" => Media::EventStream,
        "application/json" | "application/*" | "*/*" => Media::Json,
        _ => return None,
    };
    let quality = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok())?;
    Some((media, quality))
}

/// Whether a request's body is `application/json`, in the only encoding that JSON has. An allow-list: the
/// types that a browser sends to other sites without asking them first are thereby all refused.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(|p| p.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    media == "application/json" && parts.all(|p| p == "charset=utf-8" || p == "charset=\"utf-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_best_liked_type_is_chosen() {
        let negotiated = |accept: &str| negotiate(&of(header::ACCEPT, accept));
        assert_eq!(negotiate(&HeaderMap::new()), Some(Media::Json));
        assert_eq!(negotiated("*/*"), Some(Media::Json));
        assert_eq!(negotiated("application/json"), Some(Media::Json));
        assert_eq!(
            negotiated("application/graphql-response+json; charset=utf-8"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            negotiated("application/graphql-response+json, application/json;q=0.9"),
            Some(Media::GraphqlResponse)
        );
        assert_eq!(
            negotiated("application/graphql-response+json;q=0.5, application/json"),
            Some(Media::Json)
        );
        assert_eq!(negotiated("text/event-stream"), Some(Media::EventStream));
        assert_eq!(negotiated("text/html"), None);
        assert_eq!(negotiated("application/json;q=0"), None);
    }

    #[test]
    fn only_json_is_json() {
        let json = |value: &str| is_json(&of(header::CONTENT_TYPE, value));
        assert!(json("application/json"));
        assert!(json("Application/JSON; charset=UTF-8"));
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "message/rfc822",
            "application/graphql",
            "",
        ] {
            assert!(!json(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
