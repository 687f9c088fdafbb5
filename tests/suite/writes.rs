//! The API is killed while clients write: what it answered holds, and what it did not answer is asked again
//! and done once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rules::signature::{self, Secret};
use serde_json::{Value, json};
use tests::door::{JWT_SECRET, keyring_text};
use tests::http::{self, Answer};
use tests::{Client, Database, Door, Millrace, wait};
use tokio::sync::watch;

use crate::api_identity::tenant;

/// Clients of each kind.
const CLIENTS: usize = 4;

/// How often the API is killed.
const KILLS: usize = 6;

/// Answers after which a fault is over: more than were under way when it came.
const SOME: u64 = 4 * CLIENTS as u64;

/// How long writes may take to come back after the end of a fault.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The part of the rate before the fault that is called back: the machine is busy with the rest of this suite, which
/// takes a share that changes.
const BACK: f64 = 0.5;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_millis(500);

/// Over how long the rate before the fault is taken.
const BEFORE: Duration = Duration::from_secs(2);

/// Further kills where the rate was late: once may be the machine's doing, twice is ours.
const SPARE_KILLS: usize = 1;

/// How long the first answers may take, on a machine that is busy with the rest of this suite.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// How long what was accepted may take to be done.
const DONE_WITHIN: Duration = Duration::from_secs(150);

/// How long a client waits for an answer before it asks again.
const PATIENCE: Duration = Duration::from_secs(10);

const EXECUTE: &str = "mutation($t: ID!, $w: ID!, $i: JSON, $k: String) {
    executeWorkflow(tenant: $t, workflow: $w, input: $i, idempotencyKey: $k) { existing run { id } } }";

/// What clients share.
struct Writers {
    /// Where the API listens; nowhere between two of its lives.
    at: watch::Receiver<Option<SocketAddr>>,
    stop: AtomicBool,
    /// Answers that promise something.
    answered: AtomicU64,
    /// Requests that were sent and never answered.
    unanswered: AtomicU64,
    /// Answers to a repetition that say that the first request had come through.
    known: AtomicU64,
    /// The run that was promised under each idempotency key.
    runs: Mutex<BTreeMap<String, String>>,
    /// The notice that was promised for each delivery.
    notices: Mutex<BTreeMap<String, String>>,
    bearer: String,
    tenant: Value,
    workflow: Value,
    secret: Secret,
}

impl Writers {
    /// Asks until there is an answer, wherever the API listens by then.
    async fn insist(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut at = self.at.clone();
        loop {
            let to = at.wait_for(Option::is_some).await.unwrap().expect("somewhere");
            let asked = tokio::time::timeout(PATIENCE, http::try_send(to, "POST", path, headers, body));
            match asked.await {
                // Full for a moment, or on its way down: it says that it did nothing.
                Ok(Ok(answer)) if matches!(answer.status, 429 | 503) => {}
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) | Err(_) => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts runs, each under a key of its own.
    async fn execute(self: Arc<Self>, client: usize) {
        let headers = [("content-type", "application/json"), ("authorization", self.bearer.as_str())];
        for n in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("key-{client}-{n}");
            let variables = json!({"t": self.tenant, "w": self.workflow, "k": key, "i": {"n": key}});
            let body = json!({"query": EXECUTE, "variables": variables}).to_string();
            let answer = self.insist("/graphql", &headers, body.as_bytes()).await;
            let told = answer.json()["data"]["executeWorkflow"].clone();
            let run = told["run"]["id"].as_str().unwrap_or_else(|| panic!("{key}: {answer:?}")).to_owned();
            self.promised(&self.runs, key, run, told["existing"] == true);
        }
    }

    /// Posts deliveries, each with an id of its own.
    async fn post(self: Arc<Self>, client: usize) {
        for n in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("msg-{client}-{n}");
            let body = json!({ "n": id }).to_string();
            let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let signed = signature::sign(&self.secret, &id, at, body.as_bytes()).unwrap();
            let at = at.to_string();
            let headers = [
                ("content-type", "application/json"),
                ("webhook-id", id.as_str()),
                ("webhook-timestamp", at.as_str()),
                ("webhook-signature", signed.as_str()),
            ];
            let answer = self.insist("/hooks/acme/orders", &headers, body.as_bytes()).await;
            assert_eq!(answer.status, 202, "{id}: {answer:?}");
            let told = answer.json();
            let notice = told["noticeId"].as_str().unwrap().to_owned();
            self.promised(&self.notices, id, notice, told["duplicate"] == true);
        }
    }

    fn promised(&self, book: &Mutex<BTreeMap<String, String>>, key: String, id: String, known: bool) {
        book.lock().unwrap().insert(key, id);
        self.known.fetch_add(u64::from(known), Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// An API process, and where it listens.
pub(crate) async fn api(database: &Database) -> (Millrace, SocketAddr) {
    let keyring = keyring_text();
    let variables = [
        ("DATABASE_URL", database.url()),
        ("JWT_SECRET", JWT_SECRET),
        ("KEYRING", keyring.as_str()),
        ("PORT", "0"),
        ("LOG_FORMAT", "json"),
        ("LOG", "info,api=debug"),
    ];
    let mut api = Millrace::start(&["api"], &variables);
    api.printed("\"listening\"").await;
    let log = api.log();
    let line = log.lines().find(|line| line.contains("\"listening\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    (api, line["address"].as_str().unwrap().parse().unwrap())
}

/// Waits until some more was answered than is now.
async fn writes_go_on(writers: &Writers) {
    let before = writers.answered.load(Ordering::Relaxed);
    wait::until_within(BEGINS_WITHIN, "writes go on", || async {
        writers.answered.load(Ordering::Relaxed) >= before + SOME
    })
    .await;
}

/// How many answers a second there are over the time that follows.
async fn rate(writers: &Writers, over: Duration) -> f64 {
    let (before, began) = (writers.answered.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(over).await;
    (writers.answered.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
}

/// Whether the rate comes back within [`BACK_WITHIN`] from now, which is the end of a fault.
async fn comes_back(writers: &Writers, before: f64, what: &str) -> bool {
    let began = Instant::now();
    let mut best: f64 = 0.0;
    while began.elapsed() < BACK_WITHIN {
        let now = rate(writers, WINDOW).await;
        best = best.max(now);
        if now >= BACK * before {
            println!(
                "{what}: {now:.0} answers a second after {} ms, {before:.0} before",
                began.elapsed().as_millis()
            );
            return true;
        }
    }
    println!(
        "{what}: AT MOST {best:.0} ANSWERS A SECOND WITHIN {} S, {before:.0} BEFORE",
        BACK_WITHIN.as_secs()
    );
    false
}

/// A workflow and a listener whose pipeline starts it and keeps the event.
pub(crate) async fn furnish(admin: &Client, tenant: &Value) -> (Value, Secret) {
    let definition = json!({
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "a", "type": "script", "config": {"code": "ctx.input.n", "outputVariable": "r"}},
            {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "n", "sourceVariable": "{{ctx.r}}"}]}}
        ],
        "edges": [{"source": "s", "target": "a"}, {"source": "a", "target": "e"}]
    });
    let create =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    let made = admin.ok(create, json!({"t": tenant, "d": definition})).await;
    let workflow = made["createWorkflow"]["id"].clone();
    let pipeline = json!({ "actions": [
        { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "n": "{{event.n}}" } },
        { "type": "save_to_buffer", "maxEvents": 100_000 },
    ] });
    let listen = "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"orders\", title: \"Orders\", pipeline: $p) { secret } }";
    let made = admin.ok(listen, json!({"t": tenant, "p": pipeline})).await;
    let secret = Secret::decode(made["createListener"]["secret"].as_str().unwrap()).unwrap();
    (workflow, secret)
}

/// Kills one API after the other, and looks each time whether the rate comes back. Gives the last one.
async fn kill_in_turn(
    database: &Database,
    writers: &Writers,
    tell: &watch::Sender<Option<SocketAddr>>,
    mut victim: Millrace,
    before: f64,
) -> Millrace {
    let (mut kills, mut late) = (KILLS, 0);
    let mut kill = 0;
    while kill < kills {
        kill += 1;
        victim.kill();
        tell.send_replace(None);
        let (next, address) = api(database).await;
        victim = next;
        tell.send_replace(Some(address));
        if !comes_back(writers, before, &format!("after kill {kill}")).await {
            late += 1;
            assert!(late <= SPARE_KILLS, "the rate did not come back within {} s", BACK_WITHIN.as_secs());
            kills += 1;
            writes_go_on(writers).await;
        }
    }
    victim
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_api_accepted_is_done_once_and_asking_again_changes_nothing() {
    let database = Database::new().await;
    let db = database.pool().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let tenant = tenant(&admin, "acme").await;
    let (workflow, secret) = furnish(&admin, &tenant).await;
    let bearer = admin.headers()[0].1.clone();
    door.close().await;

    let (tell, at) = watch::channel(None);
    let writers = Arc::new(Writers {
        at,
        stop: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
        known: AtomicU64::new(0),
        runs: Mutex::default(),
        notices: Mutex::default(),
        bearer,
        tenant,
        workflow,
        secret,
    });
    let mut worker =
        Millrace::start(&["worker", "--pools", "events,dag"], &[("DATABASE_URL", database.url())]);
    let (victim, address) = api(&database).await;
    tell.send_replace(Some(address));
    let clients: Vec<_> = (0..CLIENTS)
        .flat_map(|n| {
            let (one, other) = (Arc::clone(&writers), Arc::clone(&writers));
            [tokio::spawn(one.execute(n)), tokio::spawn(other.post(n))]
        })
        .collect();
    writes_go_on(&writers).await;
    let before = rate(&writers, BEFORE).await;
    let mut victim = kill_in_turn(&database, &writers, &tell, victim, before).await;
    writers.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let unanswered = writers.unanswered.load(Ordering::Relaxed);
    assert!(unanswered > 0, "no request was under way when the API was killed");

    let runs = std::mem::take(&mut *writers.runs.lock().unwrap());
    let notices = std::mem::take(&mut *writers.notices.lock().unwrap());
    the_books_hold(&db, &runs, &notices).await;
    println!(
        "runs {}, notices {}, unanswered {unanswered}, of them accepted {}",
        runs.len(),
        notices.len(),
        writers.known.load(Ordering::Relaxed)
    );
    for role in [&mut victim, &mut worker] {
        assert!(role.stop(wait::LIMIT).await.success(), "{}", role.log());
    }
}

/// accepted = finished + dead + live at every look; in the end all is finished, under the id that was
/// promised, each once and with one effect.
async fn the_books_hold(
    db: &jobs::db::PgPool,
    runs: &BTreeMap<String, String>,
    notices: &BTreeMap<String, String>,
) {
    let (by_key, heard) = (runs.len() as i64, notices.len() as i64);
    let all = by_key + heard;
    wait::until_within(DONE_WITHIN, "all is done", || async {
        let books = "select count(*) filter (where finished_at is not null and status = 'COMPLETED'),
            count(*) filter (where finished_at is not null and status <> 'COMPLETED'), count(*) filter (where finished_at is null),
            (select count(*) from notice where state = 'RECEIVED'), (select count(*) from notice_action where state = 'QUEUED' and kind = 'trigger_workflow'),
            (select count(*) from job_dead), (select count(*) from job where kind <> 'audit.flush')
            from run";
        let (finished, failed, live, unread, queued, dead, jobs): (i64, i64, i64, i64, i64, i64, i64) =
            sqlx::query_as(books).fetch_one(db).await.unwrap();
        assert_eq!((failed, dead), (0, 0));
        // A notice that was not yet taken through its pipeline has no run yet.
        assert_eq!(finished + live + unread + queued, all, "something accepted is neither finished nor live");
        finished == all && jobs == 0
    })
    .await;
    let count = async |what: &str| -> i64 {
        let statement = format!("select count(*) from {what}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(db).await.unwrap()
    };
    let books = [
        ("run", all),
        ("run where started_by like 'listener:%'", heard),
        ("(select distinct workflow_id, idempotency_key from run) x", all),
        ("(select distinct output from run) x", all),
        ("notice where state = 'DISPATCHED'", heard),
        ("notice_action where state = 'DONE'", 2 * heard),
        ("notice_action", 2 * heard),
        ("buffer_event", heard),
        ("(select distinct event from buffer_event) x", heard),
        ("(select distinct job_id from job_history) x", count("job_history").await),
        ("job_dead", 0),
    ];
    for (what, expected) in books {
        assert_eq!(count(what).await, expected, "{what}");
    }
    let kept: Vec<(String, String, Value)> = sqlx::query_as(
        "select idempotency_key, id::text, output from run where started_by not like 'listener:%'",
    )
    .fetch_all(db)
    .await
    .unwrap();
    for (key, id, output) in kept {
        assert_eq!((runs.get(&key), &output), (Some(&id), &json!({ "n": key })), "the run under `{key}`");
    }
    let kept: Vec<(String, String)> =
        sqlx::query_as("select delivery_id, id::text from notice").fetch_all(db).await.unwrap();
    for (delivery, id) in kept {
        assert_eq!(notices.get(&delivery), Some(&id), "the notice of `{delivery}`");
    }
}
