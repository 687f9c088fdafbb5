//! Brings the schema up to what this executable knows, and refuses one that has become too new for it.

use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

use super::wall::{self, DbRole};
use crate::{Code, Error, Result};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Where sqlx keeps what it applied.
const TABLE: &str = "_sqlx_migrations";

/// How long a migration waits for a lock, in Postgres' own words: for another process that migrates, and for
/// whoever uses what it changes. Who waits for a table keeps all who come later waiting, so not for long.
const LOCK_TIMEOUT: &str = "5s";

/// How often a migration is tried that waited for a lock in vain: with the waits and the pauses for six minutes.
const LOCK_TRIES: u32 = 60;

/// The pause before it is tried again, in which those go on who had to wait behind it.
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// How often a migration is tried that is given up for work under way. The two lock the same tables in other orders,
/// and seldom meet twice.
const DEADLOCK_TRIES: u32 = 5;

/// How the database's schema compares with this executable's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// The same.
    Current,
    /// Older: this many migrations are missing.
    Behind(usize),
    /// Newer, and made so that this executable may work on it: it has this migration more.
    Expanded(i64),
    /// Newer: it has this migration, which the executable does not know and may need to.
    Ahead(i64),
}

impl SchemaState {
    /// Whether this executable may work on it.
    pub fn suits(self) -> bool {
        matches!(self, Self::Current | Self::Expanded(_))
    }
}

/// Compares the schema without changing or locking anything.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn schema_state(db: &PgPool) -> Result<SchemaState> {
    let mut conn = db.acquire().await?;
    let applied: Vec<i64> = match conn.list_applied_migrations(TABLE).await {
        Ok(applied) => applied.into_iter().map(|m| m.version).collect(),
        Err(MigrateError::Execute(e)) if is_missing_table(&e) => Vec::new(),
        Err(MigrateError::Execute(e)) => return Err(e.into()),
        Err(e) => return Err(Error::internal(e)),
    };
    let missing = MIGRATOR.iter().filter(|m| !applied.contains(&m.version)).count();
    match applied.iter().find(|v| !MIGRATOR.version_exists(**v)) {
        // All that we know is there, the floor's own migration with it.
        Some(unknown) if missing == 0 => {
            let suits = MIGRATOR.version_exists(floor(&mut conn).await?);
            Ok(if suits { SchemaState::Expanded(*unknown) } else { SchemaState::Ahead(*unknown) })
        }
        Some(unknown) => Ok(SchemaState::Ahead(*unknown)),
        None if missing == 0 => Ok(SchemaState::Current),
        None => Ok(SchemaState::Behind(missing)),
    }
}

/// The migration that an executable must know to work on the schema.
async fn floor(conn: &mut PgConnection) -> Result<i64> {
    let row = sqlx::query!(r#"select schema_floor() as "floor!""#).fetch_one(conn).await?;
    Ok(row.floor)
}

/// An empty database has no table of migrations yet.
fn is_missing_table(error: &sqlx::Error) -> bool {
    says(error, "42P01")
}

/// Applies what is missing. When nothing is, it takes no lock at all, so that starting a process never
/// disturbs those that run.
///
/// # Errors
/// Conflict when the database is newer than the executable; Unavailable when nobody answers, when a lock was waited
/// for in vain, or when work under way came in between again and again.
pub async fn migrate(db: &PgPool) -> Result<()> {
    match schema_state(db).await? {
        // What was expanded was furnished by whoever did it.
        SchemaState::Expanded(_) => return Ok(()),
        SchemaState::Current => {
            return furnish_where_missing(db).await;
        }
        SchemaState::Ahead(version) => {
            return Err(Error::conflict(format!(
                "the database has migration `{version}`, which this version of millrace does not know; \
                 run the newer executable, or restore the database to the state before it"
            )));
        }
        SchemaState::Behind(_) => {}
    }
    let mut tries = 1;
    while let Err(error) = apply(db).await {
        let (most, pause) = match code_of(&error) {
            Some(DEADLOCK) => (DEADLOCK_TRIES, Duration::ZERO),
            Some(WAITED_IN_VAIN) => (LOCK_TRIES, LOCK_PAUSE),
            Some(_) | None => (0, Duration::ZERO),
        };
        if tries >= most {
            return Err(told(error));
        }
        tracing::warn!(
            tries,
            cause = %error,
            "a migration had to wait too long for somebody's work, or they waited for each other; it was rolled back and is tried again"
        );
        tokio::time::sleep(pause).await;
        tries += 1;
    }
    // What is new belongs to its owner alone until the roles are let at it.
    wall::furnish(db).await
}

/// Applies what is missing, each migration in a transaction of its own: those before one that fails stay.
async fn apply(db: &PgPool) -> Result<(), MigrateError> {
    let mut conn = PgConnection::connect_with(&migration_options(db)).await?;
    let done = MIGRATOR.run(&mut conn).await;
    if let Err(error) = conn.close().await {
        tracing::debug!(%error, "the connection of the migrations was not closed in order");
    }
    done
}

fn told(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) if says(&e, WAITED_IN_VAIN) => Error::new(
            Code::Unavailable,
            format!(
                "the schema could not be brought up, though a lock was waited for {LOCK_TRIES} times for \
                 {LOCK_TIMEOUT}: another process migrates, or a long transaction holds a table; nothing was changed by \
                 the migration that waited; try again"
            ),
        )
        .because(e),
        MigrateError::ExecuteMigration(e, version) if says(&e, DEADLOCK) => Error::new(
            Code::Unavailable,
            format!(
                "migration `{version}` and work under way waited for each other {DEADLOCK_TRIES} times; it was rolled \
                 back; try again when there is less to do, or stop the workers for it"
            ),
        )
        .because(e),
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) if says(&e, MAY_NOT) => Error::denied(
            "the role of `DATABASE_URL` may not change this database's schema; give it the database \
             (`alter database … owner to …`), or migrate as its owner; nothing was changed by the migration that \
             was refused",
        )
        .because(e),
        MigrateError::VersionMismatch(version) => Error::conflict(format!(
            "migration `{version}` was applied in another form than this executable holds; \
             it must come from another build; use that one, or a fresh database"
        )),
        MigrateError::Execute(e) => Error::from(e),
        MigrateError::ExecuteMigration(e, version) => Error::new(
            Code::Internal,
            format!("migration `{version}` failed and was rolled back; the server's log has the cause"),
        )
        .because(e),
        other => Error::internal(other),
    }
}

/// Furnishes the roles of an installation whose schema is current: they may have been made since by a
/// superuser, where the login of the migrations may not. A login that owns nothing leaves it to the one that does.
async fn furnish_where_missing(db: &PgPool) -> Result<()> {
    let mut conn = db.acquire().await?;
    let mut missing = false;
    for role in DbRole::ALL {
        missing |= !wall::stands(&mut conn, role).await?;
    }
    if missing && wall::owns(&mut conn).await? {
        drop(conn);
        wall::furnish(db).await?;
    }
    Ok(())
}

/// How migrations connect: as everybody else does, but with all the time that a large table takes. What
/// bounds a request would make an index on it impossible for ever.
pub fn migration_options(db: &PgPool) -> PgConnectOptions {
    // A later setting of the same name wins.
    let options = PgConnectOptions::clone(&db.connect_options());
    options.options([("statement_timeout", "0"), ("lock_timeout", LOCK_TIMEOUT)])
}

/// Postgres' code for a lock that was not got in time.
const WAITED_IN_VAIN: &str = "55P03";

/// Postgres' code for the one that it gave up of those who waited for each other.
const DEADLOCK: &str = "40P01";
/// What Postgres says to a role that lacks a right.
const MAY_NOT: &str = "42501";

/// Which of the two a migration was given up for, if it was.
fn code_of(error: &MigrateError) -> Option<&'static str> {
    let (MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) = error else { return None };
    [DEADLOCK, WAITED_IN_VAIN].into_iter().find(|code| says(e, code))
}

fn says(error: &sqlx::Error, code: &str) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.code().as_deref() == Some(code))
}
