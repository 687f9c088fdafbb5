//! A tenant with a door before it, and what tests of listeners ask of it.

use jobs::db::PgPool;
use jobs::listener::notice::store as notices;
use jobs::listener::{self, Listener, NewListener, buffer};
use jobs::queue::postgres::control;
use jobs::tenant::store as tenants;
use jobs::workflow::store as workflows;
use rules::id::{JobId, ListenerId, NoticeId, TenantId, WorkflowId};
use rules::queue::Pool;
use rules::signature::{self, Secret};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{Database, Door, Hands, wait};
use uuid::Uuid;

pub(super) const SLUG: &str = "acme";

/// A tenant with a door before it.
pub(crate) struct House {
    pub(crate) database: Database,
    pub(crate) db: PgPool,
    pub(super) door: Door,
    pub(crate) tenant: TenantId,
}

/// A listener, and what signs for it.
pub(crate) struct Ear {
    pub(super) listener: Listener,
    pub(super) secret: Secret,
    pub(super) address: String,
}

impl House {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let db = database.pool().await;
        let tenant = tenant(&db, SLUG).await;
        Self { database, db, door, tenant }
    }

    pub(crate) async fn listen(&self, path: &str, actions: Value) -> Ear {
        let mut conn = self.db.acquire().await.unwrap();
        let (path, title) = (path.parse().unwrap(), "Orders".parse().unwrap());
        let pipeline = json!({ "actions": actions });
        let new = NewListener { path: &path, title: &title, pipeline: &pipeline };
        let (listener, secret) =
            listener::create(&mut conn, &self.door.keyring, &self.door.sandbox, self.tenant, &new)
                .await
                .unwrap();
        let secret = Secret::decode(secret.expose_secret()).unwrap();
        Ear { listener, secret, address: format!("/hooks/{SLUG}/{path}") }
    }

    pub(super) async fn change(&self, ear: &Ear, actions: Value) -> Listener {
        let mut conn = self.db.acquire().await.unwrap();
        let (id, version) = (ListenerId(ear.listener.id), ear.listener.version);
        let pipeline = json!({ "actions": actions });
        listener::update_pipeline(&mut conn, &self.door.sandbox, self.tenant, id, version, &pipeline)
            .await
            .unwrap()
    }

    pub(crate) async fn workflow(&self) -> WorkflowId {
        let id = WorkflowId(Uuid::now_v7());
        let definition = json!({
            "nodes": [
                {"id": "s", "type": "start"},
                {"id": "a", "type": "script", "config": {"code": "ctx.input.n * 2", "outputVariable": "r"}},
                {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "twice", "sourceVariable": "{{ctx.r}}"}]}}
            ],
            "edges": [{"source": "s", "target": "a"}, {"source": "a", "target": "e"}]
        });
        let mut conn = self.db.acquire().await.unwrap();
        let definition = tests::definition(&definition);
        workflows::create(&mut conn, id, self.tenant, "Double", &definition, "test").await.unwrap();
        id
    }

    /// A workflow that takes any input and does nothing with it.
    pub(super) async fn echo(&self) -> WorkflowId {
        let id = WorkflowId(Uuid::now_v7());
        let nodes = json!([{"id": "s", "type": "start"}, {"id": "e", "type": "end"}]);
        let definition =
            tests::definition(&json!({ "nodes": nodes, "edges": [{"source": "s", "target": "e"}] }));
        let mut conn = self.db.acquire().await.unwrap();
        workflows::create(&mut conn, id, self.tenant, "Echo", &definition, "test").await.unwrap();
        id
    }

    pub(super) async fn send(&self, ear: &Ear, id: &str, event: &Value) -> Answer {
        self.send_raw(ear, id, event.to_string().as_bytes()).await
    }

    pub(super) async fn send_raw(&self, ear: &Ear, id: &str, body: &[u8]) -> Answer {
        let at = now_s();
        let signed = signature::sign(&ear.secret, id, at, body).unwrap();
        let at = at.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signed.as_str()),
        ];
        self.door.post(&ear.address, &headers, body).await
    }

    pub(crate) async fn accepted(&self, ear: &Ear, id: &str, event: &Value) -> NoticeId {
        let answer = self.send(ear, id, event).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        NoticeId(answer.json()["noticeId"].as_str().unwrap().parse().unwrap())
    }

    pub(super) async fn notice(&self, id: NoticeId) -> notices::Notice {
        notices::get(&mut self.db.acquire().await.unwrap(), self.tenant, id).await.unwrap()
    }

    pub(super) async fn becomes(&self, id: NoticeId, wanted: &str) -> notices::Notice {
        wait::until(&format!("notice becomes {wanted}"), || async { self.notice(id).await.state == wanted })
            .await;
        self.notice(id).await
    }

    pub(super) async fn actions(&self, id: NoticeId) -> Vec<notices::ActionRecord> {
        notices::actions(&mut self.db.acquire().await.unwrap(), self.tenant, &[id.0]).await.unwrap()
    }

    pub(super) async fn acted(&self, id: NoticeId, count: usize, wanted: &str) -> Vec<notices::ActionRecord> {
        wait::until(&format!("{count} actions become {wanted}"), || async {
            self.actions(id).await.iter().filter(|a| a.state == wanted).count() == count
        })
        .await;
        self.actions(id).await
    }

    pub(super) async fn buffered(&self, ear: &Ear, name: &str) -> Vec<Value> {
        let mut conn = self.db.acquire().await.unwrap();
        let listener = ListenerId(ear.listener.id);
        let page =
            buffer::store::page(&mut conn, self.tenant, listener, &name.parse().unwrap(), None, 100).await;
        page.unwrap().into_iter().map(|e| e.event).collect()
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let statement = format!("select count(*) from {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&self.db).await.unwrap()
    }

    /// The only dead letter.
    pub(super) async fn dead(&self) -> (JobId, i16, String) {
        wait::value("a job dies", || async {
            let row: Option<(i64, i16, String)> =
                sqlx::query_as("select job_id, attempt, error from job_dead")
                    .fetch_optional(&self.db)
                    .await
                    .unwrap();
            row.map(|(id, attempt, error)| (JobId(id), attempt, error))
        })
        .await
    }

    pub(super) async fn redrive(&self, hands: &Hands, job: JobId) {
        let woken = control::redrive(&mut self.db.acquire().await.unwrap(), job, 3).await.unwrap();
        hands.wake.pools(&woken);
    }

    pub(super) async fn hands(&self) -> Hands {
        Hands::start(&self.database, &[Pool::Events, Pool::Dag]).await
    }
}

pub(super) async fn tenant(db: &PgPool, slug: &str) -> TenantId {
    let mut conn = db.acquire().await.unwrap();
    let made = tenants::insert(
        &mut conn,
        rules::id::TenantId(uuid::Uuid::now_v7()),
        &slug.parse().unwrap(),
        &"A tenant".parse().unwrap(),
    )
    .await
    .unwrap();
    TenantId(made.id)
}

pub(super) fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
