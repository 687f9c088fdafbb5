//! Reads a request's body up to a limit.

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};
use http_body_util::BodyExt;

use crate::error::problem;

/// How much of a body that is too large is read and thrown away before it is refused, in bytes: a client
/// that still sends when the connection closes often sees a broken pipe in place of our answer.
const DISCARD_BYTES: usize = 16 * 1024 * 1024;

/// The body, if it is no larger than `limit` bytes.
///
/// # Errors
/// The answer to send: 413 when it is larger, 400 when it breaks off.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, Response<Body>> {
    let mut kept: Vec<u8> = Vec::new();
    let mut seen: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| problem(StatusCode::BAD_REQUEST, "the body broke off before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > DISCARD_BYTES.max(limit) {
            break;
        }
        if seen > limit {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if seen > limit {
        let detail = format!("the body is larger than {limit} bytes; send less");
        return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(kept.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_itself_fits_and_one_more_does_not() {
        let read_of = |size: usize| read(Body::from(vec![7; size]), 10);
        assert_eq!(read_of(10).await.unwrap().len(), 10);
        assert_eq!(read_of(11).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(read_of(DISCARD_BYTES + 1).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
