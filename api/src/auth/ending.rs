//! Tells when a token that was verified ends, for connections that outlast a request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// When the bearer token among the headers ends; none for other credentials. It must have been verified: here it is
/// only read.
pub(crate) fn token_end(headers: &HeaderMap) -> Option<SystemTime> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(claims.get("exp")?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_stands_in_the_token() {
        let of =
            |value: &str| token_end(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]));
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":60}"#);
        assert_eq!(of(&format!("Bearer x.{claims}.y")), Some(UNIX_EPOCH + Duration::from_secs(60)));
        for other in ["Bearer x", "api_key abc", "Bearer x.%.y", "Bearer"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
