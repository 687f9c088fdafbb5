//! One trace from the request to the last job that it led to: in the log lines and in the jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use jobs::dag::{Graphs, start};
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use jobs::trace::carry;
use rules::signature;
use serde_json::{Value, json};
use tests::{Database, Door, Millrace, http};

use crate::api_identity::tenant;
use crate::listener::House;
use crate::writes::{api, furnish};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn parent(step: u8) -> String {
    format!("00-{TRACE_ID}-00f067aa0ba902{step:02x}-01")
}

/// A log line, with the fields of the spans around it.
struct Line(Value);

impl Line {
    fn of(log: &str) -> Vec<Self> {
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).map(Line).collect()
    }

    fn field(&self, name: &str) -> Option<String> {
        let spans = self.0["spans"].as_array().into_iter().flatten();
        let found = std::iter::once(&self.0).chain(spans).find_map(|place| place.get(name))?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }

    fn says(&self, message: &str) -> bool {
        self.0["message"] == message
    }

    fn traced(&self) -> bool {
        self.field("trace.id").as_deref() == Some(TRACE_ID)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_can_be_followed_by_its_trace_from_the_door_to_the_end_of_its_run() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let (_, secret) = furnish(&admin, &acme).await;
    door.close().await;
    let (mut api, address) = api(&database).await;
    let variables = [("DATABASE_URL", database.url()), ("LOG_FORMAT", "json"), ("LOG", "info,workers=debug")];
    let mut worker = Millrace::start(&["worker", "--pools", "events,dag"], &variables);

    let body = json!({ "n": 7 }).to_string();
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signed = signature::sign(&secret, "msg_1", at, body.as_bytes()).unwrap();
    let (at, sent) = (at.to_string(), parent(1));
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", at.as_str()),
        ("webhook-signature", signed.as_str()),
        ("traceparent", sent.as_str()),
    ];
    let answer = http::send(address, "POST", "/hooks/acme/orders", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let notice = answer.json()["noticeId"].as_str().unwrap().to_owned();
    worker.printed("\"the run ended\"").await;
    for role in [&mut api, &mut worker] {
        assert!(role.stop(Duration::from_secs(30)).await.success(), "{}", role.log());
    }

    let taken = Line::of(&api.log()).into_iter().find(|line| line.says("delivery taken")).unwrap();
    assert!(taken.traced(), "{}", taken.0);
    assert_eq!(taken.field("notice.id"), Some(notice.clone()));
    let tenant_id = acme.as_str().map(str::to_owned);
    let lines: Vec<Line> = Line::of(&worker.log()).into_iter().filter(Line::traced).collect();
    let of_kind = |kind: &str| {
        let ended: Vec<&Line> = lines
            .iter()
            .filter(|line| line.says("attempt ended") && line.field("job.kind").as_deref() == Some(kind))
            .collect();
        assert!(!ended.is_empty(), "no line of `{kind}` has the trace:\n{}", worker.log());
        for line in &ended {
            assert!(line.field("job.id").is_some(), "{}", line.0);
            assert_eq!(line.field("tenant.id"), tenant_id, "{}", line.0);
        }
        ended
    };
    let heard = of_kind("listener.event");
    assert_eq!(heard[0].field("job.id"), taken.field("job.id"), "the door tells which job it made");
    let acted = of_kind("listener.action");
    for line in heard.iter().chain(&acted) {
        assert_eq!(line.field("notice.id"), Some(notice.clone()), "{}", line.0);
    }
    let run = acted.iter().find_map(|line| line.field("run.id")).expect("one action has started a run");
    let of_run = [of_kind("run.advance"), of_kind("run.node")].concat();
    for line in &of_run {
        assert_eq!(line.field("run.id").as_ref(), Some(&run), "{}", line.0);
    }
    let nodes: BTreeSet<String> = of_run.iter().filter_map(|line| line.field("node.id")).collect();
    assert_eq!(nodes, ["a", "e"].map(str::to_owned).into());
    let ended = lines.iter().find(|line| line.says("the run ended")).expect("its end is told in the trace");
    assert_eq!((ended.field("run.id"), ended.field("run.status")), (Some(run), Some("COMPLETED".into())));
    assert!(ended.field("job.id").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_a_run_is_of_its_trace_whoever_tells_it() {
    let house = House::new().await;
    let workflow = house.workflow().await;
    let graphs = Graphs::default();
    let mut conn = house.db.acquire().await.unwrap();
    let (mine, others) = (parent(1), parent(2));
    let input = json!({ "n": 1 });
    let wanted = start::Start {
        tenant: house.tenant,
        workflow,
        input: &input,
        idempotency_key: None,
        started_by: "tester",
        trace_parent: Some(&mine),
    };
    let started = start::execute(&mut conn, &graphs, &wanted).await.unwrap();
    let canceller = start::cancel(&mut conn, started.run, house.tenant, "somebody");
    let told = carry(Some(others), canceller).await.unwrap();
    sqlx::query("update run_inbox set created_at = now() - interval '1 minute'")
        .execute(&mut *conn)
        .await
        .unwrap();
    let swept = start::sweep(&mut conn).await.unwrap();
    assert_eq!((told.len(), swept.len()), (1, 1));
    let traces: Vec<(Option<String>,)> =
        sqlx::query_as("select trace_parent from job where kind = 'run.advance'")
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    assert_eq!(traces, vec![(Some(mine),); 3]);

    // A run that is gone is told nothing: nobody would ever take the letter.
    sqlx::query("delete from run_inbox").execute(&mut *conn).await.unwrap();
    sqlx::query("delete from run where id = $1").bind(started.run.0).execute(&mut *conn).await.unwrap();
    let dead = jobs::queue::DeadJob {
        id: rules::id::JobId(1),
        kind: "run.node".into(),
        tenant: Some(house.tenant),
        payload: json!({ "run_id": started.run, "node_id": "a", "attempt": 1 }),
        error: "e".into(),
        trace_parent: None,
        died_at: chrono::DateTime::UNIX_EPOCH,
    };
    let told = start::job_died(&mut conn, rules::queue::Kind::RunNode, &dead).await.unwrap();
    assert_eq!((told.len(), house.count("run_inbox").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_of_the_trace_in_which_it_is_enqueued() {
    let database = Database::new().await;
    let db = database.pool().await;
    let mut conn = db.acquire().await.unwrap();
    let under_way = parent(1);
    let given = parent(2);
    let put = async {
        let noop = || NewJob::of(&Noop::default()).unwrap();
        let jobs = [noop(), noop().trace(None), noop().trace(Some(given.clone()))];
        enqueue(&mut conn, &jobs).await.unwrap()
    };
    let _ids = carry(Some(under_way.clone()), put).await;
    let traces: Vec<(Option<String>,)> =
        sqlx::query_as("select trace_parent from job order by id").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(traces, [(Some(under_way.clone()),), (Some(under_way),), (Some(given),)]);
    assert_eq!(jobs::trace::carried(), None, "nothing is carried further");
}
