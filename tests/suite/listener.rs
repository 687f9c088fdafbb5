//! From a signed delivery to what its listener's pipeline does with it, through the real door.

use futures::future::join_all;
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

const SLUG: &str = "acme";

/// A tenant with a door before it.
pub(crate) struct House {
    pub(crate) database: Database,
    pub(crate) db: PgPool,
    door: Door,
    tenant: TenantId,
}

/// A listener, and what signs for it.
pub(crate) struct Ear {
    listener: Listener,
    secret: Secret,
    address: String,
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

    async fn change(&self, ear: &Ear, actions: Value) -> Listener {
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
        workflows::create(&mut conn, id, self.tenant, "Double", &definition, "test").await.unwrap();
        id
    }

    async fn send(&self, ear: &Ear, id: &str, event: &Value) -> Answer {
        self.send_raw(ear, id, event.to_string().as_bytes()).await
    }

    async fn send_raw(&self, ear: &Ear, id: &str, body: &[u8]) -> Answer {
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

    async fn notice(&self, id: NoticeId) -> notices::Notice {
        notices::get(&mut self.db.acquire().await.unwrap(), self.tenant, id).await.unwrap()
    }

    async fn becomes(&self, id: NoticeId, wanted: &str) -> notices::Notice {
        wait::until(&format!("notice becomes {wanted}"), || async { self.notice(id).await.state == wanted })
            .await;
        self.notice(id).await
    }

    async fn actions(&self, id: NoticeId) -> Vec<notices::ActionRecord> {
        notices::actions(&mut self.db.acquire().await.unwrap(), self.tenant, id).await.unwrap()
    }

    async fn acted(&self, id: NoticeId, count: usize, wanted: &str) -> Vec<notices::ActionRecord> {
        wait::until(&format!("{count} actions become {wanted}"), || async {
            self.actions(id).await.iter().filter(|a| a.state == wanted).count() == count
        })
        .await;
        self.actions(id).await
    }

    async fn buffered(&self, ear: &Ear, name: &str) -> Vec<Value> {
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
    async fn dead(&self) -> (JobId, i16, String) {
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

    async fn redrive(&self, hands: &Hands, job: JobId) {
        let woken = control::redrive(&mut self.db.acquire().await.unwrap(), job, 3).await.unwrap();
        hands.wake.pools(&woken);
    }

    async fn hands(&self) -> Hands {
        Hands::start(&self.database, &[Pool::Events, Pool::Dag]).await
    }
}

async fn tenant(db: &PgPool, slug: &str) -> TenantId {
    let mut conn = db.acquire().await.unwrap();
    let made =
        tenants::insert(&mut conn, &slug.parse().unwrap(), &"A tenant".parse().unwrap()).await.unwrap();
    TenantId(made.id)
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_delivery_becomes_a_run_and_a_buffered_event() {
    let house = House::new().await;
    let workflow = house.workflow().await;
    let ear = house
        .listen(
            "orders",
            json!([
                { "type": "transform", "code": "#{ n: event.amount + 1 }" },
                { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "n": "{{event.n}}" } },
                { "type": "save_to_buffer", "bufferName": "seen" },
            ]),
        )
        .await;
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "amount": 20 })).await;
    let actions = house.acted(notice, 2, "DONE").await;
    let run = actions.iter().find_map(|a| a.run_id).unwrap();
    let output = wait::value("the run ends", || async {
        let row: (Option<Value>,) = sqlx::query_as("select output from run where id = $1")
            .bind(run)
            .fetch_one(&house.db)
            .await
            .unwrap();
        row.0
    })
    .await;
    assert_eq!(output, json!({ "twice": 42 }));
    assert_eq!(house.buffered(&ear, "seen").await, [json!({ "n": 21 })]);
    let kept = house.notice(notice).await;
    assert_eq!((kept.state.as_str(), &kept.event), ("DISPATCHED", &json!({ "amount": 20 })));
    assert_eq!(kept.headers["webhook-id"], "msg_1");

    // Again, and the tenant by its id: known, and nothing changed.
    let before = (house.count("notice").await, house.count("run").await, house.count("notice_action").await);
    let again = house.send(&ear, "msg_1", &json!({ "amount": 20 })).await;
    assert_eq!(again.status, 202);
    assert_eq!(again.json(), json!({ "noticeId": notice, "duplicate": true }));
    let by_id = Ear { address: format!("/hooks/{}/orders", house.tenant), ..ear };
    assert_eq!(house.send(&by_id, "msg_1", &json!({ "amount": 99 })).await.json()["duplicate"], true);
    assert_eq!(
        before,
        (house.count("notice").await, house.count("run").await, house.count("notice_action").await)
    );
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_sent_at_the_same_time_are_one() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let event = json!({ "a": 1 });
    let answers = join_all((0..20).map(|_| house.send(&ear, "msg_1", &event))).await;
    assert!(answers.iter().all(|a| a.status == 202), "{answers:?}");
    let fresh = answers.iter().filter(|a| a.json().get("duplicate").is_none()).count();
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|a| a.json()["noticeId"].to_string()).collect();
    assert_eq!((fresh, ids.len()), (1, 1), "{answers:?}");
    assert_eq!((house.count("notice").await, house.count("job").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_rightly_is_refused_and_not_stored() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let other = house.listen("other", json!([])).await;
    let body = br#"{"a":1}"#;
    let now = now_s();
    let post = async |id: &str, at: u64, signature: &str| {
        let at = at.to_string();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", id),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature),
        ];
        house.door.post(&ear.address, &headers, body).await
    };
    let sign = |ear: &Ear, at: u64| signature::sign(&ear.secret, "msg_1", at, body).unwrap();
    let cases = [
        ("another listener's secret", post("msg_1", now, &sign(&other, now)).await),
        ("another id", post("msg_2", now, &sign(&ear, now)).await),
        ("another time", post("msg_1", now + 1, &sign(&ear, now)).await),
        ("stale", post("msg_1", now - 400, &sign(&ear, now - 400)).await),
        ("from the future", post("msg_1", now + 400, &sign(&ear, now + 400)).await),
        ("no signature", house.door.post(&ear.address, &[("content-type", "application/json")], body).await),
    ];
    for (what, answer) in &cases {
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_eq!(answer.json()["status"], 401, "{what}");
    }
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
    // The same words, signed rightly, are taken: an old key beside the new one does no harm.
    let both = format!("{} {}", sign(&other, now), sign(&ear, now));
    assert_eq!(post("msg_1", now, &both).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_deliveries_have_their_answers_and_change_nothing() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    tenant(&house.db, "globex").await;
    let strange = |address: &str| Ear {
        address: address.into(),
        listener: ear.listener.clone(),
        secret: ear.secret.clone(),
    };
    let event = json!({ "a": 1 });
    let unknown = house.send(&strange("/hooks/acme/nothing"), "m", &event).await;
    let foreign = house.send(&strange("/hooks/globex/orders"), "m", &event).await;
    let nowhere = house.send(&strange("/hooks/nobody/orders"), "m", &event).await;
    let no_text = house.send(&strange("/hooks/%ff/orders"), "m", &event).await;
    let mut forger = strange(&ear.address);
    forger.secret = Secret::of(&[7; 64]);
    let forged = house.send(&forger, "m", &event).await;
    assert_eq!(forged.status, 401);
    for answer in [&unknown, &foreign, &nowhere, &no_text] {
        assert_eq!((answer.status, answer.json()), (401, forged.json()), "nobody learns who listens where");
    }
    let large = format!("\"{}\"", "x".repeat(300 * 1024));
    assert_eq!(house.send_raw(&ear, "m", large.as_bytes()).await.status, 413);
    let huge = format!("\"{}\"", "x".repeat(10 << 20));
    assert_eq!(house.send_raw(&ear, "m", huge.as_bytes()).await.status, 413);
    for bad in [&b""[..], b"{", b"not json", b"{\"a\":1e999}", b"\"a\\u0000b\"", b"\xff"] {
        assert_eq!(house.send_raw(&ear, "m", bad).await.status, 400, "{bad:?}");
    }
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(house.send_raw(&ear, "m", deep.as_bytes()).await.status, 400);
    let signed = signature::sign(&ear.secret, "m", now_s(), b"1").unwrap();
    let at = now_s().to_string();
    let plain =
        [("webhook-id", "m"), ("webhook-timestamp", at.as_str()), ("webhook-signature", signed.as_str())];
    assert_eq!(house.door.post(&ear.address, &plain, b"1").await.status, 415);
    let mut conn = house.db.acquire().await.unwrap();
    let id = ListenerId(ear.listener.id);
    assert!(!listener::set_active(&mut conn, house.tenant, id, false).await.unwrap().active);
    assert_eq!(house.send(&ear, "m", &event).await.status, 409);
    assert_eq!((house.count("notice").await, house.count("job").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_transform_is_dead_after_three_attempts_and_done_after_a_fix() {
    let house = House::new().await;
    let ear = house
        .listen(
            "orders",
            json!([{ "type": "transform", "code": "event.nothing.at.all" }, { "type": "save_to_buffer" }]),
        )
        .await;
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "a": 1 })).await;
    let (job, attempts, error) = house.dead().await;
    assert_eq!(attempts, 3);
    assert!(error.contains("the transform failed") && error.contains("line 1"), "{error}");
    let dead = house.becomes(notice, "DEAD").await;
    assert_eq!(dead.error, Some(error));

    house
        .change(&ear, json!([{ "type": "transform", "code": "event.a" }, { "type": "save_to_buffer" }]))
        .await;
    house.redrive(&hands, job).await;
    let mended = house.becomes(notice, "DISPATCHED").await;
    assert_eq!((mended.transformed, mended.error), (Some(json!(1)), None));
    house.acted(notice, 1, "DONE").await;
    assert_eq!(house.buffered(&ear, "default").await, [json!(1)]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_fails_on_its_own() {
    let house = House::new().await;
    let workflow = house.workflow().await;
    let ear = house
        .listen(
            "orders",
            json!([
                { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "n": "{{event.n}}" } },
                { "type": "save_to_buffer" },
                { "type": "save_to_buffer", "bufferName": "off", "enabled": false },
            ]),
        )
        .await;
    workflows::set_disabled(&mut house.db.acquire().await.unwrap(), workflow, house.tenant, true)
        .await
        .unwrap();
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "n": 4 })).await;
    let (job, attempts, error) = house.dead().await;
    assert_eq!(attempts, 3);
    assert!(error.contains("disabled"), "{error}");
    let states = house.acted(notice, 1, "DEAD").await;
    assert_eq!(states.iter().filter(|a| a.state == "DONE").count(), 1, "{states:?}");
    assert_eq!(states.len(), 2, "what is switched off has no job");

    workflows::set_disabled(&mut house.db.acquire().await.unwrap(), workflow, house.tenant, false)
        .await
        .unwrap();
    house.redrive(&hands, job).await;
    let states = house.acted(notice, 2, "DONE").await;
    assert!(states.iter().all(|a| a.error.is_none()), "{states:?}");
    assert_eq!((house.count("run").await, house.count("buffer_event").await), (1, 1));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_drops_an_event_and_a_replay_goes_through_again() {
    let house = House::new().await;
    let ear = house
        .listen("orders", json!([{ "type": "transform", "code": "if event.keep { event } else { () }" }, { "type": "save_to_buffer" }]))
        .await;
    let hands = house.hands().await;
    let dropped = house.accepted(&ear, "msg_1", &json!({ "keep": false })).await;
    let kept = house.accepted(&ear, "msg_2", &json!({ "keep": true })).await;
    house.becomes(dropped, "DROPPED").await;
    house.acted(kept, 1, "DONE").await;
    assert!(house.actions(dropped).await.is_empty());

    house.change(&ear, json!([{ "type": "save_to_buffer" }])).await;
    for (notice, time) in [(dropped, 1), (kept, 1), (kept, 2)] {
        let mut tx = house.db.begin().await.unwrap();
        let (told, enqueued) = listener::replay(&mut tx, house.tenant, notice, None).await.unwrap();
        tx.commit().await.unwrap();
        hands.wake.send(&enqueued);
        assert_eq!(told, time);
    }
    house.acted(dropped, 1, "DONE").await;
    house.acted(kept, 3, "DONE").await;
    assert_eq!(house.count("buffer_event").await, 4);
    let stranger = tenant(&house.db, "globex").await;
    let mut conn = house.db.acquire().await.unwrap();
    assert!(listener::replay(&mut conn, stranger, kept, None).await.is_err(), "it is another tenant's");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_keeps_the_newest() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([{ "type": "save_to_buffer", "maxEvents": 3 }])).await;
    let hands = house.hands().await;
    for n in 0..6 {
        let notice = house.accepted(&ear, &format!("msg_{n}"), &json!(n)).await;
        house.acted(notice, 1, "DONE").await;
    }
    assert_eq!(house.buffered(&ear, "default").await, [json!(5), json!(4), json!(3)]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_moved_to_another_row_opens_nothing() {
    let house = House::new().await;
    let (mine, theirs) = (house.listen("mine", json!([])).await, house.listen("theirs", json!([])).await);
    sqlx::query("update listener set secret = (select secret from listener where id = $1) where id = $2")
        .bind(mine.listener.id)
        .bind(theirs.listener.id)
        .execute(&house.db)
        .await
        .unwrap();
    let forged = Ear { address: theirs.address, ..mine };
    assert_eq!(house.send(&forged, "m", &json!(1)).await.status, 500);
    assert_eq!(house.count("notice").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pipeline_is_told_with_every_fault() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let mut conn = house.db.acquire().await.unwrap();
    let id = ListenerId(ear.listener.id);
    let nobody = Uuid::now_v7();
    let wrong = json!({ "actions": [
        { "type": "transform", "code": "let x = " },
        { "type": "trigger_workflow", "workflowId": nobody },
    ] });
    let refused =
        listener::update_pipeline(&mut conn, &house.door.sandbox, house.tenant, id, 1, &wrong).await;
    let Err(listener::SaveError::Faults(faults)) = refused else { panic!("{refused:?}") };
    let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["actions[0].code", "actions[1].workflowId"], "{faults:?}");
    let right = json!({ "actions": [] });
    let update = async |conn: &mut jobs::db::PgConnection, version| {
        listener::update_pipeline(conn, &house.door.sandbox, house.tenant, id, version, &right).await
    };
    assert_eq!(update(&mut conn, 1).await.unwrap().version, 2);
    assert!(update(&mut conn, 1).await.is_err(), "it was changed meanwhile");
    assert_eq!(notices::prune(&mut conn, 1, 100).await.unwrap(), 0);
}
