//! Brings the schema up to what this executable knows, and refuses one that is newer.

use sqlx::PgPool;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use crate::{Code, Error, Result};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Where sqlx keeps what it applied.
const TABLE: &str = "_sqlx_migrations";

/// How the database's schema compares with this executable's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// The same.
    Current,
    /// Older: this many migrations are missing.
    Behind(usize),
    /// Newer: it has this migration, which the executable does not know.
    Ahead(i64),
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
    if let Some(unknown) = applied.iter().find(|v| !MIGRATOR.version_exists(**v)) {
        return Ok(SchemaState::Ahead(*unknown));
    }
    let missing = MIGRATOR.iter().filter(|m| !applied.contains(&m.version)).count();
    Ok(if missing == 0 { SchemaState::Current } else { SchemaState::Behind(missing) })
}

/// An empty database has no table of migrations yet.
fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.code().as_deref() == Some("42P01"))
}

/// Applies what is missing. When nothing is, it takes no lock at all, so that starting a process never
/// disturbs those that run.
///
/// # Errors
/// Conflict when the database is newer than the executable; Unavailable when nobody answers.
pub async fn migrate(db: &PgPool) -> Result<()> {
    match schema_state(db).await? {
        SchemaState::Current => return Ok(()),
        SchemaState::Ahead(version) => {
            return Err(Error::conflict(format!(
                "the database has migration `{version}`, which this version of millrace does not know; \
                 run the newer executable, or restore the database to the state before it"
            )));
        }
        SchemaState::Behind(_) => {}
    }
    MIGRATOR.run(db).await.map_err(|error| match error {
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
    })
}
