//! Gets a small text from an address that the operator configured.

use std::time::Duration;

use axum::http::{Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// How long the whole may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The longest that an answer is believed to be good: so long would a withdrawn key still be taken.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// What was got.
pub(crate) struct Fetched {
    /// The text.
    pub(crate) text: String,
    /// For how long it says that it is good.
    pub(crate) max_age: Option<Duration>,
}

/// Gets the text at an address. Redirections are not followed.
///
/// # Errors
/// What went wrong, for the log.
pub(crate) async fn text(url: &str) -> Result<Fetched, String> {
    match tokio::time::timeout(TIMEOUT, get(url)).await {
        Ok(got) => got,
        Err(_) => Err(format!("`{url}` did not answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn get(url: &str) -> Result<Fetched, String> {
    let uri: Uri = url.parse().map_err(|e| format!("`{url}`: {e}"))?;
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let answer = client.get(uri).await.map_err(|e| format!("`{url}`: {e}"))?;
    if !answer.status().is_success() {
        return Err(format!("`{url}` answered {}", answer.status()));
    }
    let max_age = answer.headers().get(header::CACHE_CONTROL).and_then(|v| max_age(v.to_str().ok()?));
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let bytes = body.map_err(|e| format!("`{url}`: {e}"))?.to_bytes();
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("`{url}` gave no text"))?;
    Ok(Fetched { text, max_age })
}

fn max_age(control: &str) -> Option<Duration> {
    let seconds = control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    Some(Duration::from_secs(seconds.parse().ok()?).min(MAX_AGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_read_and_bounded() {
        let seconds = |control| max_age(control).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=19845, must-revalidate, no-transform"), Some(19845));
        assert_eq!(seconds("max-age=99999999"), Some(86_400));
        assert_eq!(seconds("no-store"), None);
        assert_eq!(seconds("max-age=soon"), None);
    }
}
