//! The statements of the keyring's proof.

use sqlx::PgConnection;

use crate::Result;

/// The sealed value; none before the first start.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn get(conn: &mut PgConnection) -> Result<Option<Vec<u8>>> {
    Ok(sqlx::query_scalar!("select sealed from keyring_proof").fetch_optional(conn).await?)
}

/// Keeps the first sealed value. False when there is one: another process was first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn insert(conn: &mut PgConnection, sealed: &[u8]) -> Result<bool> {
    let inserted =
        sqlx::query!("insert into keyring_proof (sealed) values ($1) on conflict do nothing", sealed)
            .execute(conn)
            .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Puts a value that is sealed anew in the place of the one that was opened, if that one still stands.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn replace(conn: &mut PgConnection, opened: &[u8], sealed: &[u8]) -> Result<()> {
    sqlx::query!("update keyring_proof set sealed = $2, sealed_at = now() where sealed = $1", opened, sealed)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether anything is sealed that a lost keyring would lose: the proof, or a listener's secret from
/// before there was one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn is_anything_sealed(conn: &mut PgConnection) -> Result<bool> {
    let sealed = sqlx::query_scalar!(
        r#"select (exists (select from keyring_proof) or exists (select from listener)) as "sealed!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(sealed)
}
