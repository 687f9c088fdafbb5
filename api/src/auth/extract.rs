//! From a request to who sent it.

use std::net::IpAddr;

use axum::http::{HeaderMap, header, request};
use jobs::access::session::store as sessions;
use jobs::trace::TraceContext;
use rules::access::{Email, Permissions, Principal};
use rules::apikey;
use rules::audit::NOBODY;
use rules::id::{SessionId, UserId};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use subtle::ConstantTimeEq;

use super::external::Subject;
use super::store;
use crate::error::Fault;
use crate::request_id::RequestId;
use crate::server::Peer;
use crate::state::App;

/// The header of an API key.
const API_KEY: &str = "x-api-key";

/// Who sent a request, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Whose credentials were shown and verified; none when none were shown.
    pub(crate) principal: Option<Principal>,
    /// The session of their token, if it is one of ours.
    pub(crate) session: Option<SessionId>,
    /// Where the request came from.
    pub(crate) origin: Origin,
    /// The W3C `traceparent` that what the request causes is to carry.
    pub(crate) trace_parent: Option<String>,
}

/// Where a request came from, and the id under which it is known.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The network address that the client has, as far as our own proxies vouch for it.
    pub(crate) address: IpAddr,
    /// The id that the answer carries.
    pub(crate) request_id: Option<String>,
}

impl Caller {
    /// Who it is, in the words of the audit.
    pub(crate) fn actor(&self) -> String {
        self.principal.as_ref().map_or_else(|| NOBODY.to_owned(), Principal::to_string)
    }
}

/// Where a request came from.
pub(crate) fn origin(app: &App, head: &request::Parts) -> Origin {
    let peer = head.extensions.get::<Peer>().copied();
    let address = app.config.trusted_proxies.client(&head.headers, peer);
    Origin { address, request_id: head.extensions.get::<RequestId>().map(|id| id.0.clone()) }
}

/// Verifies the credentials of a request, if it shows any.
///
/// # Errors
/// [`Fault::BadCredentials`] when it shows some that are no good: a client that means to be somebody must
/// not be served as nobody. [`Fault::RateLimited`] when whoever it is asks too often.
pub(crate) async fn caller(app: &App, head: &request::Parts) -> Result<Caller, Fault> {
    let headers = &head.headers;
    let trace_parent = head.extensions.get::<TraceContext>().map(ToString::to_string);
    let shown = verified(app, headers).await.inspect_err(|fault| {
        if let Fault::BadCredentials(_) = fault {
            jobs::metrics::auth_failure("credentials");
        }
    })?;
    let (principal, session) = shown.unzip();
    if let Some(principal) = &principal {
        app.rates.charge(principal, &head.extensions)?;
    }
    Ok(Caller { principal, session: session.flatten(), origin: origin(app, head), trace_parent })
}

/// Who the credentials of a connection that lasts are of now. It asks for nothing, so nothing is counted.
///
/// # Errors
/// [`Fault::BadCredentials`] when they are no good any more.
pub(crate) async fn still(app: &App, headers: &HeaderMap) -> Result<Option<Principal>, Fault> {
    Ok(verified(app, headers).await?.map(|(principal, _)| principal))
}

/// Who shows credentials, and the session that these are of.
type Shown = (Principal, Option<SessionId>);

async fn verified(app: &App, headers: &HeaderMap) -> Result<Option<Shown>, Fault> {
    let key = match (one(headers, header::AUTHORIZATION.as_str())?, one(headers, API_KEY)?) {
        (None, None) => return Ok(None),
        (Some(authorization), None) => match authorization.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                return by_token(app, token.trim()).await.map(Some);
            }
            // The form that older clients send.
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("api_key") => key.trim(),
            _ => return Err(bad("`Authorization` must read `Bearer <token>` or `api_key <key>`")),
        },
        (None, Some(key)) => key,
        (Some(_), Some(_)) => {
            return Err(bad("both `Authorization` and `X-API-Key` were sent; send one"));
        }
    };
    by_key(app, key).await.map(|principal| Some((principal, None)))
}

async fn by_token(app: &App, token: &str) -> Result<Shown, Fault> {
    if app.external.is_some() && !app.tokens.claims_to_be_ours(token) {
        let subject = external_subject(app, token).await?;
        let mut conn = app.db.acquire().await?;
        let user = external_user(&mut conn, subject).await?;
        let standing = store::standing(&mut conn, user, None).await?;
        return match standing {
            Some(s) if s.disabled_at.is_none() => Ok((Principal::User { id: user, role: s.role }, None)),
            Some(_) | None => Err(unknown_subject()),
        };
    }
    let session = app.tokens.verify(token)?;
    let mut conn = app.db.acquire().await?;
    let standing = store::standing(&mut conn, session.user, Some(session.id)).await?;
    match standing {
        Some(s) if s.disabled_at.is_none() && s.epoch == session.epoch && s.open => {
            Ok((Principal::User { id: session.user, role: s.role }, Some(session.id)))
        }
        Some(_) | None => Err(bad("the session has ended; log in again")),
    }
}

/// Who a token of the other issuer speaks of. It may ask the issuer for certificates: hold no connection.
///
/// # Errors
/// [`Fault::BadCredentials`] for a token that is no good, and where no other issuer is trusted.
pub(crate) async fn external_subject(app: &App, token: &str) -> Result<Subject, Fault> {
    let external = app.external.as_ref().ok_or_else(|| bad("no logins of another issuer are taken here"))?;
    external.verify(token).await
}

/// Which user a subject of the other issuer is. One that comes for the first time is the user with the
/// address that the issuer has verified, from then on.
///
/// # Errors
/// [`Fault::BadCredentials`] for a subject that is nobody here.
pub(crate) async fn external_user(conn: &mut PgConnection, subject: Subject) -> Result<UserId, Fault> {
    let known = sessions::identity(conn, &subject.issuer, &subject.subject).await?;
    if let Some(user) = known {
        return Ok(user);
    }
    let email: Email = subject.email.and_then(|e| e.parse().ok()).ok_or_else(unknown_subject)?;
    let linked = sessions::link(conn, &subject.issuer, &subject.subject, &email).await?;
    linked.ok_or_else(unknown_subject)
}

/// What is told to whoever the other issuer knows and we do not, or no more.
pub(crate) fn unknown_subject() -> Fault {
    bad("there is no account here for this login; ask for an invitation")
}

/// Whether a secret that was shown is the one that is expected, in constant time for secrets of one length.
pub(crate) fn same(shown: &SecretString, expected: &str) -> bool {
    shown.expose_secret().as_bytes().ct_eq(expected.as_bytes()).into()
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn credentials_sent_twice_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(API_KEY, HeaderValue::from_static("a"));
        assert_eq!(one(&headers, API_KEY).unwrap(), Some("a"));
        headers.append(API_KEY, HeaderValue::from_static("b"));
        assert!(one(&headers, API_KEY).is_err());
    }
}
