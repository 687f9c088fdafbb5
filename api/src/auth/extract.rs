//! From a request to who sent it.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, header, request};
use jobs::trace::TraceContext;
use rules::access::{Permissions, Principal};
use rules::apikey;

use super::store;
use crate::error::Fault;
use crate::server::Peer;
use crate::state::App;

/// The header of an API key.
const API_KEY: &str = "x-api-key";

/// Who sent a request, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose credentials were shown and verified; none when none were shown.
    pub(crate) principal: Option<Principal>,
    /// The network address that the client has, as far as our own proxies vouch for it.
    pub(crate) address: IpAddr,
    /// The W3C `traceparent` that what the request causes is to carry.
    pub(crate) trace_parent: Option<String>,
}

/// Verifies the credentials of a request, if it shows any.
///
/// # Errors
/// [`Fault::BadCredentials`] when it shows some that are no good: a client that means to be somebody must
/// not be served as nobody.
pub(crate) async fn caller(app: &App, head: &request::Parts) -> Result<Caller, Fault> {
    let headers = &head.headers;
    let peer = head.extensions.get::<Peer>().copied();
    let address = client_address(headers, peer, app.config.trusted_proxies);
    let trace_parent = head.extensions.get::<TraceContext>().map(ToString::to_string);
    let principal = verified(app, headers).await.inspect_err(|fault| {
        if let Fault::BadCredentials(_) = fault {
            jobs::metrics::auth_failure("credentials");
        }
    })?;
    Ok(Caller { principal, address, trace_parent })
}

async fn verified(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, Fault> {
    Ok(match (one(headers, header::AUTHORIZATION.as_str())?, one(headers, API_KEY)?) {
        (None, None) => None,
        (Some(bearer), None) => Some(by_token(app, bearer).await?),
        (None, Some(key)) => Some(by_key(app, key).await?),
        (Some(_), Some(_)) => {
            return Err(bad("both `Authorization` and `X-API-Key` were sent; send one"));
        }
    })
}

async fn by_token(app: &App, authorization: &str) -> Result<Principal, Fault> {
    let token = match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(bad("`Authorization` must read `Bearer <token>`")),
    };
    let session = app.tokens.verify(token)?;
    let mut conn = app.db.acquire().await?;
    let standing = store::standing(&mut conn, session.user).await?;
    match standing {
        Some(s) if s.disabled_at.is_none() && s.epoch == session.epoch => {
            Ok(Principal::User { id: session.user, role: s.role })
        }
        Some(_) | None => Err(bad("the session has ended; log in again")),
    }
}

async fn by_key(app: &App, text: &str) -> Result<Principal, Fault> {
    let presented = apikey::parse(text).map_err(|fault| Fault::BadCredentials(fault.to_string()))?;
    let mut conn = app.db.acquire().await?;
    let stored = store::key(&mut conn, &presented.public_id).await?;
    match stored {
        Some(key) if presented.matches(&key.secret_hash) && key.live => {
            if key.note_use {
                store::note_use(&mut conn, key.id).await?;
            }
            let wildcard = app.config.wildcard;
            let may = Permissions::held(key.role, key.grants.as_deref(), key.scopes.as_deref(), wildcard);
            Ok(Principal::Key { id: key.id, tenant: key.tenant, role: key.role, may })
        }
        Some(_) | None => Err(bad("the API key is unknown, revoked or past its end")),
    }
}

fn bad(text: &str) -> Fault {
    Fault::BadCredentials(text.to_owned())
}

/// The one value of a header; several would leave open which of them was meant.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(bad(&format!("`{name}` was sent more than once")));
    }
    first.map(|v| v.to_str().map_err(|_| bad(&format!("`{name}` is not plain text")))).transpose()
}

/// The address that the outermost of our proxies saw. What stands further left in `X-Forwarded-For` was
/// written by the client.
fn client_address(headers: &HeaderMap, peer: Option<Peer>, proxies: u8) -> IpAddr {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |p| p.0.ip());
    if proxies == 0 {
        return peer;
    }
    let seen: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let place = seen.len().checked_sub(usize::from(proxies));
    place.and_then(|i| seen.get(i)).and_then(|text| text.parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_our_proxies_are_believed() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 192.0.2.1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let peer = Some(Peer("10.0.0.1:999".parse().unwrap()));
        let seen = |proxies| client_address(&headers, peer, proxies).to_string();
        assert_eq!(seen(0), "10.0.0.1");
        assert_eq!(seen(1), "10.0.0.2");
        assert_eq!(seen(2), "192.0.2.1");
        assert_eq!(seen(9), "10.0.0.1");
    }

    #[test]
    fn credentials_sent_twice_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(API_KEY, HeaderValue::from_static("a"));
        assert_eq!(one(&headers, API_KEY).unwrap(), Some("a"));
        headers.append(API_KEY, HeaderValue::from_static("b"));
        assert!(one(&headers, API_KEY).is_err());
    }
}
