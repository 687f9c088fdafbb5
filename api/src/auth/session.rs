//! Begins sessions, goes on with them, and ends the whole family when an old token comes again.

use chrono::{DateTime, Utc};
use jobs::access::session::store;
use rules::id::{SessionId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::one_time::{OneTime, Purpose, hash_of};
use super::token::{Issued, Session};
use crate::error::Fault;
use crate::state::App;

/// Sessions past their end that each login clears away.
const SWEEP: i64 = 10;

/// What a login or a refresh gives.
pub(crate) struct Granted {
    /// Whose session it is.
    pub(crate) user: UserId,
    /// The access token.
    pub(crate) access: Issued,
    /// The refresh token, good for one use.
    pub(crate) refresh: String,
    /// When the session ends by itself.
    pub(crate) ends_at: DateTime<Utc>,
}

/// Begins a session of a user who has proven who they are.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn begin(
    app: &App,
    conn: &mut PgConnection,
    user: UserId,
    epoch: i32,
) -> Result<Granted, Fault> {
    store::sweep(conn, SWEEP).await?;
    let id = SessionId(Uuid::now_v7());
    let ends_at = store::begin(conn, id, user, epoch, app.config.session_ttl.as_secs_f64()).await?;
    grant(app, conn, Session { id, user, epoch }, ends_at).await
}

/// What became of a refresh.
pub(crate) enum Refreshed {
    /// The session goes on.
    Granted(Granted),
    /// The token was used before, and the session is ended: commit that, and refuse with [`bad_refresh`].
    Ended,
}

/// What is told to whoever shows a refresh token that is no good.
pub(crate) fn bad_refresh() -> Fault {
    Fault::BadCredentials("the refresh token is not valid; log in again".into())
}

/// Goes on with a session: its refresh token is used up, and another given.
///
/// # Errors
/// [`Fault::BadCredentials`] for a token that is no good. One that was used before ends the session, with
/// every token of it: it was copied, and nobody can say by whom.
pub(crate) async fn refresh(app: &App, conn: &mut PgConnection, token: &str) -> Result<Refreshed, Fault> {
    let hash = hash_of(Purpose::Refresh, token).ok_or_else(bad_refresh)?;
    let shown = store::present(conn, &hash).await?.ok_or_else(bad_refresh)?;
    if shown.used {
        store::end(conn, shown.session, "REUSE").await?;
        tracing::warn!(session.id = %shown.session, user.id = %shown.user, "a refresh token was used twice; its session is ended");
        jobs::metrics::auth_failure("refresh_reuse");
        return Ok(Refreshed::Ended);
    }
    if !shown.live {
        return Err(bad_refresh());
    }
    store::mark_used(conn, &hash).await?;
    let session = Session { id: shown.session, user: shown.user, epoch: shown.epoch };
    Ok(Refreshed::Granted(grant(app, conn, session, shown.expires_at).await?))
}

async fn grant(
    app: &App,
    conn: &mut PgConnection,
    session: Session,
    ends_at: DateTime<Utc>,
) -> Result<Granted, Fault> {
    let next = OneTime::draw(Purpose::Refresh);
    store::add_token(conn, session.id, &next.hash).await?;
    let access = app.tokens.issue(session)?;
    Ok(Granted { user: session.user, access, refresh: next.text, ends_at })
}
