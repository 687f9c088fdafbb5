//! A tenant with a workflow behind an API, and what tests of schedules ask of them.

use chrono::{DateTime, Utc};
use jobs::db::PgPool;
use jobs::schedule::{Fired, fire_due};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::{Client, Database, Door, Hands};

use crate::api_identity::tenant;
use rules::queue::Pool;

/// A tenant with a workflow behind an API.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) db: PgPool,
    pub(super) door: Door,
    pub(super) admin: Client,
    pub(super) tenant: Value,
    pub(super) workflow: Value,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::of(crate::api_tenancy::graph()).await
    }

    pub(super) async fn of(definition: Value) -> Self {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let admin = door.admin().await;
        let tenant = tenant(&admin, "acme").await;
        let workflow = workflow(&admin, &tenant, definition).await;
        let db = database.pool().await;
        Self { database, db, door, admin, tenant, workflow }
    }

    pub(super) async fn hands(&self) -> Hands {
        Hands::start(&self.database, &[Pool::Dag, Pool::Events]).await
    }

    /// What the input of a schedule is, with more or something else in it.
    pub(super) fn input(&self, more: Value) -> Value {
        let mut input = json!({"title": "S", "workflow": self.workflow});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    }

    /// Makes a schedule, and answers its id.
    pub(super) async fn schedule(&self, more: Value) -> Value {
        self.schedule_by(&self.admin, more).await
    }

    pub(super) async fn schedule_by(&self, client: &Client, more: Value) -> Value {
        let create = "mutation($t: ID!, $i: ScheduleInput!) { createSchedule(tenant: $t, input: $i) { id } }";
        let made = client.ok(create, json!({"t": self.tenant, "i": self.input(more)})).await;
        made["createSchedule"]["id"].clone()
    }

    /// One schedule with the latest of its history.
    pub(super) async fn look(&self, id: &Value) -> Value {
        let query = "query($t: ID!, $id: ID!) { schedule(tenant: $t, id: $id) { id title isDisabled nextRunAt version savedBy nextRuns
            history(first: 50) { nodes { status triggerType scheduledAt attempt runId askedBy startTime endTime durationMs result missed missedUntil } } } }";
        self.admin.ok(query, json!({"t": self.tenant, "id": id})).await["schedule"].clone()
    }

    pub(super) async fn history(&self, id: &Value) -> Vec<Value> {
        self.look(id).await["history"]["nodes"].as_array().unwrap().clone()
    }

    /// As if the schedule had been due so many seconds ago, and nobody had looked since.
    pub(super) async fn due_since(&self, id: &Value, seconds: i64) -> DateTime<Utc> {
        let statement = "update schedule set next_at = date_trunc('second', now()) - $2 * interval '1 second', at = case when
            interval_s is not null then date_trunc('second', now()) - $2 * interval '1 second' else at end where id = $1::uuid
            returning next_at";
        sqlx::query_scalar(statement)
            .bind(id.as_str().unwrap().parse::<uuid::Uuid>().unwrap())
            .bind(seconds as f64)
            .fetch_one(&self.db)
            .await
            .unwrap()
    }

    /// One batch, as the scheduler's duty does it.
    pub(super) async fn fire(&self) -> Fired {
        fire(&self.db).await
    }

    pub(super) async fn count(&self, from: &str) -> i64 {
        count(&self.db, from).await
    }

    pub(super) async fn close(self) {
        self.door.close().await;
    }
}

pub(super) async fn workflow(admin: &Client, tenant: &Value, definition: Value) -> Value {
    let create =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    admin.ok(create, json!({"t": tenant, "d": definition})).await["createWorkflow"]["id"].clone()
}

pub(super) async fn fire(db: &PgPool) -> Fired {
    let mut tx = jobs::db::begin(db).await.unwrap();
    let fired = fire_due(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    fired
}

pub(super) async fn count(db: &PgPool, from: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {from}"))).fetch_one(db).await.unwrap()
}

/// What is wrong with an answer: its code, and the fields of its faults with what is said of each.
pub(super) fn faults(answer: &Value) -> (String, Vec<(String, String)>) {
    let extensions = &answer["errors"][0]["extensions"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let faults = extensions["faults"].as_array().cloned().unwrap_or_default();
    let faults = faults.iter().map(|f| (text(&f["field"]), text(&f["message"]))).collect();
    (text(&extensions["code"]), faults)
}
