//! Connects to Postgres, with a limit on everything.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use super::reason::{self, refused};
use super::trust;
use super::wall::{self, DbRole};
use crate::config::DatabaseConfig;
use crate::{Code, Error, Result};

/// How long any one call to the database may take before its caller gives up and tries again: who waits on a line
/// that died without a word is back at work ten seconds later.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(9);

/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long Postgres lets one statement run, in its own words. Below [`CALL_TIMEOUT`], so that a statement
/// has ended by the time its caller gives up; that one is for a server that hangs. Migrations have no such
/// limit.
const STATEMENT_TIMEOUT: &str = "8s";

/// How long a transaction may stand idle: a process that hangs must not hold rows for ever.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "30s";

/// The options of every connection: the URL's, and our limits.
///
/// # Errors
/// Invalid when the URL cannot be read.
pub fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions> {
    Ok(parse(config)?.options([
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
        // Compiling a query costs more than any of ours runs.
        ("jit", "off"),
        // What a default of the role or of the database must not change: the queue's statements wait for each
        // other's rows and then see them, which stricter isolation refuses; and what was acknowledged is on disk.
        ("default_transaction_isolation", "read committed"),
        ("synchronous_commit", "on"),
    ]))
}

/// The options without any setting at the start of the session, ours or sqlx's own: for looking at a
/// server behind a pooler that refuses them.
///
/// # Errors
/// Invalid when the URL cannot be read.
pub fn plain_options(config: &DatabaseConfig) -> Result<PgConnectOptions> {
    Ok(parse(config)?.extra_float_digits(None))
}

fn parse(config: &DatabaseConfig) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(config.url.expose_secret())
        .map_err(|e| Error::invalid(format!("`DATABASE_URL` is no Postgres URL: {e}")))?;
    Ok(options.application_name("millrace"))
}

/// A pool of connections, at least one of which was made.
///
/// # Errors
/// Invalid for a bad URL, Unavailable when nobody answers.
pub async fn connect(config: &DatabaseConfig) -> Result<PgPool> {
    let options = connect_options(config)?;
    match limited(config).connect_with(options.clone()).await {
        Ok(pool) => Ok(pool),
        Err(error) => Err(reason::unreached(error, &options).await),
    }
}

/// A pool whose connections work as the role from their first moment on; none where the login cannot take it
/// on, or a pooler in between drops what is asked for.
///
/// # Errors
/// Invalid for a bad URL, Unavailable when nobody answers.
pub async fn connect_as(config: &DatabaseConfig, db: &PgPool, role: DbRole) -> Result<Option<PgPool>> {
    if !wall::stands(&mut *db.acquire().await?, role).await? {
        return Ok(None);
    }
    let options = connect_options(config)?.options([("role", role.name())]);
    let pool = match role {
        DbRole::Api => leaving_tenants(limited(config)),
        DbRole::Worker => limited(config),
    };
    let pool = match pool.connect_with(options).await.map_err(refused) {
        Ok(pool) => pool,
        Err(error) if error.code == Code::Denied => {
            tracing::debug!(%error, role = role.name(), "the login cannot take on the role");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if wall::works_as(&mut *pool.acquire().await?, role).await? {
        return Ok(Some(pool));
    }
    pool.close().await;
    Ok(None)
}

/// Whoever entered a tenant outside a transaction leaves it before the next takes the connection; one that
/// cannot leave it is closed. This is done beside the request, not within it.
fn leaving_tenants(options: PgPoolOptions) -> PgPoolOptions {
    options.after_release(|conn, meta| {
        Box::pin(async move {
            trust::after_use(conn, meta).await?;
            trust::within(CALL_TIMEOUT, conn.execute(wall::RESET)).await?;
            Ok(true)
        })
    })
}

fn limited(config: &DatabaseConfig) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // Told of each acquisition, from which the waits are measured; no log shows it.
        .acquire_time_level(log::LevelFilter::Trace)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| Box::pin(trust::before_use(conn, meta)))
        .after_release(|conn, meta| Box::pin(trust::after_use(conn, meta)))
}
