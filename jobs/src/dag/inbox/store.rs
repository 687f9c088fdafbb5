//! Keeps the letters of runs: left by whoever could not get hold of the run, taken by whoever holds it.

use rules::id::RunId;
use serde_json::Value;
use sqlx::PgConnection;

use crate::Result;

/// For how long a letter that cannot be read is put aside, in seconds.
const ASIDE_S: i32 = 60;

/// Something that a run has still to take in.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its place in the inbox.
    pub id: i64,
    /// The change in its stored form.
    pub change: Value,
    /// The output that comes with it.
    pub output: Option<Value>,
}

/// Puts something into a run's inbox.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn post(conn: &mut PgConnection, id: RunId, change: &Value, output: Option<&Value>) -> Result<()> {
    sqlx::query!("insert into run_inbox (run_id, change, output) values ($1, $2, $3)", id.0, change, output)
        .execute(conn)
        .await?;
    Ok(())
}

/// Empties a run's inbox, oldest first, but for what is put aside. Only whoever holds the run may.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn take(conn: &mut PgConnection, id: RunId, limit: i64) -> Result<Vec<Letter>> {
    let mut rows = sqlx::query_as!(
        Letter,
        "delete from run_inbox where id = any(array(select id from run_inbox where run_id = $1
            and (aside_until is null or aside_until <= now()) order by id limit $2))
        returning id, change, output",
        id.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.sort_by_key(|l| l.id);
    Ok(rows)
}

/// Puts a letter that was taken back under its number, to be taken again in a minute: by then somebody may
/// hold the run who can read it. Only whoever holds the run may.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn put_aside(conn: &mut PgConnection, id: RunId, letter: &Letter) -> Result<()> {
    sqlx::query!(
        "insert into run_inbox (id, run_id, change, output, aside_until)
        values ($1, $2, $3, $4, now() + $5::integer * interval '1 second')",
        letter.id,
        id.0,
        letter.change,
        letter.output,
        ASIDE_S
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether something lies in a run's inbox that is not put aside.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn has_mail(conn: &mut PgConnection, id: RunId) -> Result<bool> {
    let row = sqlx::query!(
        r#"select exists (select from run_inbox
            where run_id = $1 and (aside_until is null or aside_until <= now())) as "has!""#,
        id.0
    )
    .fetch_one(conn)
    .await?;
    Ok(row.has)
}
