//! What the policies hold when a statement forgets its tenant.

use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tests::{Database, Door};
use uuid::Uuid;

use crate::api_identity::tenant;
use crate::api_tenancy::belongings;
use crate::queue::{noop, put, state};

async fn count(conn: &mut PgConnection, table: &str) -> i64 {
    let statement = format!("select count(*) from {table}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(conn).await.unwrap()
}

async fn installations(conn: &mut PgConnection, table: &str) -> i64 {
    if !["audit_intake", "event", "job"].contains(&table) {
        return 0;
    }
    let nil = "'00000000-0000-0000-0000-000000000000'";
    let counted = format!("select count(*) from {table} where coalesce(tenant_id, {nil}) = {nil}");
    sqlx::query_scalar(AssertSqlSafe(counted)).fetch_one(conn).await.unwrap()
}

/// The tables behind the wall.
async fn walled(database: &Database) -> Vec<String> {
    sqlx::query_scalar("select tablename::text from pg_policies where policyname = 'tenant_wall' order by 1")
        .fetch_all(&mut *database.desk().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_forgets_its_tenant_finds_what_was_entered_and_no_more() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    door.user("ada@example.org", "USER").await;
    belongings(&database, &admin, &acme).await;
    let (acme, other): (Uuid, Uuid) =
        (acme.as_str().unwrap().parse().unwrap(), other.as_str().unwrap().parse().unwrap());
    let mut owner = database.connect().await;
    let pool = database.behind_wall().await;
    let mut full = 0;
    for table in walled(&database).await {
        let all = count(&mut owner, &table).await;
        full += usize::from(all > 0);
        let mut tx = jobs::db::begin(&pool).await.unwrap();
        assert_eq!(count(&mut tx, &table).await, 0, "`{table}` before anything is entered");
        jobs::db::wall::enter(&mut tx, rules::id::TenantId(other)).await.unwrap();
        let others = count(&mut tx, &table).await;
        jobs::db::wall::enter(&mut tx, rules::id::TenantId(acme)).await.unwrap();
        let acmes = count(&mut tx, &table).await;
        jobs::db::wall::enter_all(&mut tx).await.unwrap();
        assert_eq!(count(&mut tx, &table).await, all, "`{table}` of all");
        // What was noted of logins and the like is the installation's, and so are the job that carries it and what
        // happened to accounts.
        let nobodys = installations(&mut owner, &table).await;
        assert_eq!(acmes + others + nobodys, all, "`{table}` of one and the other");
        // The other has its own row, the membership of who made it, and the note of that.
        assert_eq!(
            others,
            i64::from(["tenant", "membership", "audit_intake"].contains(&table.as_str())),
            "`{table}` of the other"
        );
        tx.rollback().await.unwrap();
    }
    assert!(full >= 14, "only {full} tables behind the wall have rows here");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_into_anothers_room_and_no_wall_is_taken_down() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let made = admin
        .ok(
            "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }",
            json!({"t": other, "d": crate::api_tenancy::graph()}),
        )
        .await;
    let workflow = made["createWorkflow"]["id"].as_str().unwrap().to_owned();
    let pool = database.behind_wall().await;
    let (acme, other) = (acme.as_str().unwrap(), other.as_str().unwrap());
    let within = || jobs::db::wall::begin_within(&pool, acme.parse().unwrap());

    let mut tx = within().await.unwrap();
    let strange = format!("update workflow set title = 'taken' where id = '{workflow}'");
    assert_eq!(tx.execute(AssertSqlSafe(strange)).await.unwrap().rows_affected(), 0);
    let strange = format!("delete from workflow_version where workflow_id = '{workflow}'");
    assert_eq!(tx.execute(AssertSqlSafe(strange)).await.unwrap().rows_affected(), 0);
    tx.rollback().await.unwrap();

    let id = Uuid::now_v7();
    let mut forbidden = vec![
        format!(
            "insert into tenant_role (id, tenant_id, title, grants, created_by) values ('{id}', '{other}', 't', '{{}}', 'x')"
        ),
        format!(
            "insert into workflow_version (workflow_id, version, definition, created_by) values ('{workflow}', 2, '{{}}', 'x')"
        ),
        format!("insert into tenant (id, slug, title) values ('{id}', 'third', 'T')"),
        format!("update membership set tenant_id = '{other}'"),
        "alter table workflow disable row level security".to_owned(),
        "drop policy tenant_wall on workflow".to_owned(),
        "create policy mine on workflow using (true)".to_owned(),
        "alter function tenant_entered_v1() stable".to_owned(),
        "select wall_furnish_v1()".to_owned(),
        "update _sqlx_migrations set success = true".to_owned(),
        "select job_history_drop_v1(1)".to_owned(),
        "select audit_confine_v1()".to_owned(),
        "select event_confine_v1()".to_owned(),
        format!(
            "insert into event (tenant_id, topic, topic_id, name, data) values ('{acme}', 'RUN', '{id}', 'made up', '{{}}')"
        ),
        "create temp table own (id uuid, tenant_id uuid, workflow_id uuid, status text, error jsonb);
        create trigger made_up after insert on own for each row execute function event_of_run_v1()"
            .to_owned(),
        "update event set name = 'changed'".to_owned(),
        "delete from event".to_owned(),
        "truncate event".to_owned(),
        "update event_floor set xid = '0'".to_owned(),
    ];
    let days: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'job_history'::regclass",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .unwrap();
    assert!(!days.is_empty());
    forbidden.extend(days.iter().map(|day| format!("select count(*) from {day}")));
    for statement in forbidden {
        let mut tx = within().await.unwrap();
        let refused = tx.execute(AssertSqlSafe(statement.clone())).await.unwrap_err();
        let code = refused.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_back_has_left_its_tenant_however_it_went() {
    let database = Database::new().await;
    let pool = database.behind_wall().await;
    for round in 0..40_u64 {
        let mut all = Vec::new();
        for _ in 0..4 {
            let mut conn = pool.acquire().await.unwrap();
            let now: Option<String> =
                sqlx::query_scalar("select nullif(current_setting('millrace.tenant', true), '')")
                    .fetch_one(&mut *conn)
                    .await
                    .unwrap();
            assert_eq!(now, None);
            assert_eq!(count(&mut conn, "tenant").await, 0);
            all.push(conn);
        }
        // Entered to the end, and given up at any moment on the way, within a transaction and without one.
        for conn in &mut all {
            let soon = std::time::Duration::from_micros(round * 20);
            drop(tokio::time::timeout(soon, jobs::db::wall::enter_all(conn)).await);
        }
        drop(all);
        let begun = async {
            let mut tx = jobs::db::begin(&pool).await?;
            jobs::db::wall::enter_all(&mut tx).await?;
            sqlx::query("select pg_sleep(0.01)").execute(&mut *tx).await?;
            Ok::<(), jobs::Error>(())
        };
        drop(tokio::time::timeout(std::time::Duration::from_micros(round * 50), begun).await);
    }
}

#[tokio::test]
async fn a_job_of_another_tenant_is_not_cancelled_out_of_its_place() {
    let database = Database::new().await;
    let mut owner = database.connect().await;
    let (acme, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (id, slug) in [(acme, "acme"), (other, "other")] {
        sqlx::query("insert into tenant (id, slug, title) values ($1, $2, $2)")
            .bind(id)
            .bind(slug)
            .execute(&mut owner)
            .await
            .unwrap();
    }
    let theirs = put(&mut owner, noop("theirs").tenant(rules::id::TenantId(other))).await;
    let pool = database.behind_wall().await;
    let mut tx = jobs::db::wall::begin_within(&pool, rules::id::TenantId(acme)).await.unwrap();
    let refused = jobs::queue::postgres::control::cancel(&mut tx, theirs).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::NotFound);
    tx.commit().await.unwrap();
    assert_eq!(state(&mut owner, theirs).await, "READY");
}
