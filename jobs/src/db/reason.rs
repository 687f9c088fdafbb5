//! Says in words for an operator why Postgres refused, without its source's line numbers.

use std::error::Error as StdError;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::{Code, Error};

/// How long a single connection may take that is made to learn why a pool got none.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Why a first connection was not made: which database that is, without its password, what stands in the way, and
/// the remedy. A pool that gives up says only that it did, so the way is tried once more.
pub(super) async fn unreached(error: sqlx::Error, options: &PgConnectOptions) -> Error {
    let error = match error {
        sqlx::Error::PoolTimedOut => {
            match tokio::time::timeout(LOOK_AGAIN, PgConnection::connect_with(options)).await {
                Ok(Err(reason)) => reason,
                Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
            }
        }
        told => told,
    };
    let known = refused(error);
    if known.code != Code::Unavailable {
        return known;
    }
    let reason = match innermost(&known) {
        Some(reason) if !reason.starts_with("pool timed out") => reason,
        Some(_) | None => "nothing answers there in time".to_owned(),
    };
    let place = place(options);
    Error::new(
        Code::Unavailable,
        format!(
            "the database {place} cannot be reached: {reason}; start the Postgres there (`make up` starts the private \
             one), or mend `DATABASE_URL`"
        ),
    )
}

fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("`{database}` at the socket in `{}`", socket.display()),
        None => format!("`{database}` at `{}:{}`", options.get_host(), options.get_port()),
    }
}

/// Why a first connection was refused: what an operator can mend is named with its remedy.
pub(super) fn refused(error: sqlx::Error) -> Error {
    let sqlx::Error::Database(answer) = &error else { return error.into() };
    let message = match answer.code().as_deref() {
        Some("3D000") => {
            "the database that `DATABASE_URL` names does not exist; create it (`createdb`), or name another"
        }
        Some("28P01") => {
            "Postgres refuses the password in `DATABASE_URL`; mend it, or set it anew with `alter role`"
        }
        Some("28000") => {
            "Postgres does not let in the role that `DATABASE_URL` names; create it, allow it to log in, \
             or allow it from here in `pg_hba.conf`"
        }
        Some("42501") => {
            "the role that `DATABASE_URL` names may not connect to the database; `grant connect on database` lets it"
        }
        Some(_) | None => return error.into(),
    };
    Error::new(Code::Denied, message).because(error)
}

/// The innermost cause of an error in its own words; none where nothing caused it.
pub fn innermost(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = error.source()?;
    loop {
        // Its own `Display` adds a line of Postgres' source, which means nothing to whoever reads it here.
        if let Some(sqlx::Error::Database(answer)) = cause.downcast_ref::<sqlx::Error>() {
            return Some(answer.message().to_owned());
        }
        match cause.source() {
            Some(next) => cause = next,
            None => return Some(cause.to_string()),
        }
    }
}
