//! Decides what becomes of a request under a key: it is executed, answered as before, or refused.

use rand::random;
use rules::id::TenantId;
use rules::seal::{Keyring, Place};
use secrecy::ExposeSecret;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Row};
use crate::{Error, Result};

/// How long a key is taken to be under way at most, in seconds. The API gives each request up after half of that, and
/// one that was killed gives none back: then its key is free again so late.
pub const HELD_S: i32 = 60;

/// How long a key is kept, in seconds: a day.
pub const KEPT_S: i32 = 24 * 3600;

/// The largest answer that is kept, in bytes. Mutations answer with one thing, or a hundred small ones.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The most keys of one who asks in one tenant that are kept: above that the oldest are forgotten before their time.
pub const KEYS_OF_ONE_MAX: i64 = 100_000;

/// The most bytes of answers that are kept for one who asks in one tenant; the oldest go first, as they are sealed.
pub const ANSWERS_OF_ONE_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// A request under a key.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The tenant that it names; nil where it names none.
    pub tenant: TenantId,
    /// Who asks, as in [`rules::audit::Entry::actor`].
    pub principal: &'a str,
    /// The key: 1 to 255 characters.
    pub key: &'a str,
    /// A hash of what is asked.
    pub fingerprint: &'a [u8],
}

/// What became of a request under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is to be executed, under this id, which is given to [`super::done`].
    Begun(Uuid),
    /// It was executed; this was answered.
    Answered(String),
    /// It is under way, for so many more seconds at most.
    Busy(i64),
    /// Something else was asked under the key.
    Other,
    /// It was done, and its answer was not kept: its API died, or the answer was too large.
    Lost,
}

/// Begins a request under its key, for [`HELD_S`]. The transaction has entered the request's tenant.
///
/// # Errors
/// Invalid for a key of another length; Internal when the answer does not open; Unavailable when nobody answers.
pub async fn begin(conn: &mut PgConnection, keyring: &Keyring, asked: &Asked<'_>) -> Result<Found> {
    let id = Uuid::now_v7();
    if store::take(conn, id, asked).await? {
        return Ok(Found::Begun(id));
    }
    match store::look(conn, asked).await? {
        Some(row) => judge(row, |id, sealed| open(keyring, asked.tenant, id, sealed)),
        // Given back a moment ago.
        None => Ok(Found::Busy(1)),
    }
}

fn judge(row: Row, open: impl Fn(Uuid, &[u8]) -> Result<String>) -> Result<Found> {
    match row {
        Row { same: false, .. } => Ok(Found::Other),
        Row { id, answer: Some(sealed), .. } => open(id, &sealed).map(Found::Answered),
        Row { held_s, .. } if held_s > 0.0 => Ok(Found::Busy(held_s.ceil() as i64)),
        Row { done: true, .. } => Ok(Found::Lost),
        // Its time ended between two statements.
        Row { done: false, .. } => Ok(Found::Busy(1)),
    }
}

/// Keeps what was answered to a request that did something, unless it is larger than [`ANSWER_BYTES_MAX`]. The
/// connection has entered the request's tenant.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn keep(
    conn: &mut PgConnection,
    keyring: &Keyring,
    tenant: TenantId,
    id: Uuid,
    answer: &str,
) -> Result<()> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Ok(());
    }
    let sealed = keyring.seal(&place(tenant, id), random(), answer.as_bytes());
    store::answer(conn, tenant, id, &sealed).await
}

/// Gives the key of a request back that did nothing: what is sent again is executed. Of one that did something the
/// key stays. The connection has entered the request's tenant.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn release(conn: &mut PgConnection, tenant: TenantId, id: Uuid) -> Result<()> {
    store::forget(conn, tenant, id).await
}

const fn place(tenant: TenantId, id: Uuid) -> Place<'static> {
    Place { tenant: Some(tenant), table: "idempotency_key", column: "answer", row: id }
}

fn open(keyring: &Keyring, tenant: TenantId, id: Uuid, sealed: &[u8]) -> Result<String> {
    let opened = keyring.open(&place(tenant, id), sealed).map_err(Error::internal)?;
    String::from_utf8(opened.expose_secret().to_vec()).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(same: bool, done: bool, held_s: f64, answer: Option<Vec<u8>>) -> Found {
        let row = Row { id: Uuid::nil(), same, done, held_s, answer };
        judge(row, |_, _| Ok("as before".into())).unwrap()
    }

    #[test]
    fn only_what_was_asked_before_is_answered_as_before() {
        assert_eq!(judged(true, true, -1.0, Some(vec![1])), Found::Answered("as before".into()));
        // Answered before its time was over.
        assert_eq!(judged(true, true, 59.0, Some(vec![1])), Found::Answered("as before".into()));
        for (done, answer) in [(false, None), (true, None), (true, Some(vec![1]))] {
            assert_eq!(judged(false, done, 1.0, answer), Found::Other);
        }
        assert_eq!(judged(true, false, 59.2, None), Found::Busy(60));
        assert_eq!(judged(true, true, 0.2, None), Found::Busy(1));
        assert_eq!(judged(true, true, 0.0, None), Found::Lost);
        assert_eq!(judged(true, false, -0.1, None), Found::Busy(1));
    }
}
