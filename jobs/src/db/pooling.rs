//! Finds out whether something between us and Postgres shares server connections among clients.
//!
//! Behind such a pooler two transactions of one client may run on different servers. What a session keeps,
//! such as settings, prepared statements and LISTEN, is then lost between them without an error. The probe
//! makes that happen: a second client occupies the server connection that the first has just used.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use uuid::Uuid;

use crate::Result;

/// How often the probe tries to be moved to another server connection. The common pooler moves a client
/// at the first try; one that takes its connections in turn may need more.
const TRIES: usize = 4;

/// What lies between us and Postgres, as far as a client can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// A connection is a session: nothing, or a pooler in session mode.
    Session,
    /// Transactions of one connection run on several servers.
    Transaction {
        /// Whether statements that were prepared on one server are known on the others.
        prepared: bool,
    },
    /// Each statement may run on another server: there are no transactions at all.
    Statement,
}

/// Probes with two connections of its own.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn pooling(options: &PgConnectOptions) -> Result<Pooling> {
    let mut one = options.connect().await?;
    let mut other = options.connect().await?;
    let found = probe(&mut one, &mut other).await;
    // What the connections had open ends with them.
    for conn in [one, other] {
        if let Err(error) = conn.close().await {
            tracing::debug!(%error, "a probing connection did not end in order");
        }
    }
    Ok(found?)
}

async fn probe(one: &mut PgConnection, other: &mut PgConnection) -> sqlx::Result<Pooling> {
    // Nobody else's statement says this, so that what another client left on a server under the same name
    // is not taken for ours.
    let mark = Uuid::new_v4().to_string();
    let first = server(one).await?;
    // Prepared by name, as every statement of ours is. A fresh session has no names that could be taken.
    if !knows(one, &mark).await? {
        return Ok(Pooling::Transaction { prepared: false });
    }
    for _ in 0..TRIES {
        if let Err(error) = other.execute(sqlx::raw_sql("begin; select pg_backend_pid()")).await {
            return if is_refusal(&error) { Ok(Pooling::Statement) } else { Err(error) };
        }
        let moved = server(one).await? != first;
        let known = if moved { Some(knows(one, &mark).await?) } else { None };
        other.execute(sqlx::raw_sql("rollback")).await?;
        if let Some(prepared) = known {
            return Ok(Pooling::Transaction { prepared });
        }
    }
    Ok(Pooling::Session)
}

/// Which server process runs a statement now. Asked without preparing, which is what is in doubt.
async fn server(conn: &mut PgConnection) -> sqlx::Result<i32> {
    conn.fetch_one(sqlx::raw_sql("select pg_backend_pid()")).await?.try_get(0)
}

/// Whether the statement with this mark can be prepared here, or still is.
async fn knows(conn: &mut PgConnection, mark: &str) -> sqlx::Result<bool> {
    let statement = AssertSqlSafe(format!("select '{mark}'"));
    match sqlx::query_scalar::<_, String>(statement).persistent(true).fetch_one(conn).await {
        Ok(answer) => Ok(answer == mark),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the other side answered, with an error.
fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}
