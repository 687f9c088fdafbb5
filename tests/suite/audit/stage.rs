//! What the tests of the audit stand on.

use jobs::db::PgPool;
use rules::id::TenantId;
use rules::queue::{Outcome, Pool};
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{Client, Database, Door, Hands, wait};

/// An entry of the audit, as stored.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Stored {
    pub(super) tenant_id: uuid::Uuid,
    pub(super) actor: String,
    pub(super) operation: String,
    pub(super) arguments: Value,
    pub(super) outcome: String,
    pub(super) code: Option<String>,
    pub(super) took_ms: i32,
    pub(super) address: Option<String>,
    pub(super) request_id: Option<String>,
}

/// Every entry in the chains, in the order of their numbers.
pub(super) async fn stored(db: &PgPool) -> Vec<Stored> {
    sqlx::query_as(
        "select tenant_id, actor, operation, arguments, outcome, code, took_ms, address, request_id from audit_entry
        order by tenant_id, seq",
    )
    .fetch_all(db)
    .await
    .unwrap()
}

/// Chains all that was noted, and all that waits in jobs.
pub(super) async fn chained(database: &Database) {
    let hands = Hands::start(database, &[Pool::Audit]).await;
    let pool = database.pool().await;
    let put = async || {
        let job = jobs::queue::NewJob::of(&jobs::payload::audit::AuditFlush::default()).unwrap();
        let mut conn = pool.acquire().await.unwrap();
        hands.wake.send(&jobs::queue::enqueue(&mut conn, &[job]).await.unwrap());
    };
    put().await;
    wait::until("all is chained", async || {
        let left = "select (select count(*) from audit_intake) + (select count(*) from job where kind = 'audit.flush')";
        let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
        left == 0
    })
    .await;
    hands.stop().await;
}

/// The id of a job of a tenant that was given up.
pub(super) async fn dead_letter(db: &PgPool, tenant: &Value) -> String {
    let owner = TenantId(tenant.as_str().unwrap().parse().unwrap());
    let mut conn = db.acquire().await.unwrap();
    let id = crate::queue::put(&mut conn, crate::queue::noop("dead").tenant(owner)).await;
    let taken = crate::queue::take(&mut conn, 1).await;
    let ack = crate::queue::ack(&taken[0], Outcome::Dead { error: "no luck".into() });
    jobs::queue::settle(&mut conn, &[ack]).await.unwrap();
    id.to_string()
}

/// Asks as a client does, under an id of the request.
pub(super) async fn ask_as(door: &Door, client: &Client, id: &str, query: &str, variables: Value) -> Answer {
    let body = json!({"query": query, "variables": variables}).to_string();
    let mut headers = vec![("content-type", "application/json"), ("x-request-id", id)];
    headers.extend(client.headers().iter().map(|(name, value)| (*name, value.as_str())));
    tests::http::send(door.address, "POST", "/graphql", &headers, body.as_bytes()).await
}
