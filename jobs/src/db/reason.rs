//! Says in words for an operator why Postgres refused, without its source's line numbers.

use std::error::Error as StdError;

use crate::{Code, Error};

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
