//! Dead letters in the database, without anybody having worked on them.

use jobs::db::PgConnection;
use serde_json::Value;
use uuid::Uuid;

/// Puts as many letters of a tenant as there are numbers, each with the error in which `N` is its number. Their ids go up
/// from `from`.
pub(crate) async fn letters(
    conn: &mut PgConnection,
    tenant: Option<&Value>,
    from: i64,
    many: i64,
    error: &str,
) {
    let tenant: Option<Uuid> = tenant.map(|t| t.as_str().unwrap().parse().unwrap());
    // As a worker of a version before would write them, which knows of no groups.
    sqlx::query(
        "insert into job_dead (job_id, died_at, created_at, pool_id, queue_id, priority, attempt, crashes, max_attempts, reason, kind, tenant_id, error, payload, attempts)
        select $2 + n, now() - interval '1 hour' + n * interval '1 millisecond', now() - interval '2 hours', 4, 4, 2, 1, 0, 3, 'failed',
            'queue.noop', $1, replace($4, 'N', n::text), '{}', '[]'
        from generate_series(0, $3 - 1) n",
    )
    .bind(tenant)
    .bind(from)
    .bind(many)
    .bind(error)
    .execute(conn)
    .await
    .unwrap();
}

pub(crate) async fn number(conn: &mut PgConnection, statement: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned())).fetch_one(conn).await.unwrap()
}
