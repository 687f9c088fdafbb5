//! Runs of workflows over a real queue: branches, joins, retries, waits, cancellation, and what dies on
//! the way.

use std::time::Duration;

use jobs::dag::drive::{self, Arrival};
use jobs::dag::start::{self, Start, Started, cancel, execute};
use jobs::dag::store::{self, RunView};
use jobs::dag::Graphs;
use jobs::db::PgConnection;
use jobs::payload::run::RunNode;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::postgres::control;
use jobs::queue::{Attempt, finish};
use rules::dag::{Change, Entry, Run, rebuild, wire};
use rules::id::{JobId, RunId, TenantId, WorkerId, WorkflowId};
use rules::queue::{Kind, Pool};
use serde_json::{Value, json};
use tests::{Database, Hands, Millrace, wait};
use uuid::Uuid;

/// A tenant with one workflow, on a database of its own.
struct Stage {
    database: Database,
    tenant: TenantId,
    workflow: WorkflowId,
    definition: Value,
    graphs: Graphs,
}

impl Stage {
    async fn of(definition: Value) -> Self {
        let database = Database::new().await;
        let (tenant, workflow) = (TenantId(Uuid::now_v7()), WorkflowId(Uuid::now_v7()));
        let mut conn = database.connect().await;
        sqlx::query("insert into tenant (id, slug, title) values ($1, 'stage', 'Stage')")
            .bind(tenant.0)
            .execute(&mut conn)
            .await
            .unwrap();
        rebuild(&definition).unwrap_or_else(|faults| panic!("{faults:#?}"));
        jobs::workflow::store::create(&mut conn, workflow, tenant, "stage", &definition, "tester").await.unwrap();
        Self { database, tenant, workflow, definition, graphs: Graphs::default() }
    }

    async fn hands(&self) -> Hands {
        Hands::start(&self.database, &[Pool::Dag]).await
    }

    async fn try_start(&self, input: &Value, key: Option<&str>) -> jobs::Result<Started> {
        let mut conn = self.database.connect().await;
        let start = Start {
            tenant: self.tenant,
            workflow: self.workflow,
            input,
            idempotency_key: key,
            started_by: "tester",
            trace_parent: None,
        };
        execute(&mut conn, &self.graphs, &start).await
    }

    async fn start(&self, input: Value) -> RunId {
        self.try_start(&input, None).await.unwrap().run
    }

    async fn view(&self, run: RunId) -> RunView {
        store::get(&mut self.database.connect().await, run, self.tenant).await.unwrap()
    }

    /// Waits for the run's end, and holds its log against it.
    async fn ended(&self, run: RunId) -> RunView {
        let pool = self.database.pool().await;
        wait::until_within(Duration::from_secs(60), &format!("run {run} ends"), async || {
            let mut conn = pool.acquire().await.unwrap();
            store::get(&mut conn, run, self.tenant).await.unwrap().finished_at.is_some()
        })
        .await;
        let view = self.view(run).await;
        let entries = self.log(run).await;
        let graph = rebuild(&self.definition).unwrap();
        let replayed = Run::replay(&graph, &entries).unwrap();
        assert_eq!(replayed.status().as_str(), view.status);
        let state: Value =
            sqlx::query_scalar("select state from run where id = $1").bind(run.0).fetch_one(&pool).await.unwrap();
        assert_eq!(wire::read_run(&state, &graph).unwrap(), replayed, "the kept state is not the fold of the log");
        view
    }

    async fn log(&self, run: RunId) -> Vec<Entry> {
        let mut conn = self.database.connect().await;
        let mut entries = Vec::new();
        loop {
            let after = i32::try_from(entries.len()).unwrap();
            let lines = store::log(&mut conn, run, after, store::MAX_PAGE).await.unwrap();
            if lines.is_empty() {
                return entries;
            }
            for line in lines {
                assert_eq!(line.seq as usize, entries.len() + 1, "the log has a gap");
                entries.push(wire::read_entry(&line.entry).unwrap());
            }
        }
    }

    async fn count(&self, what: &str) -> i64 {
        let statement = format!("select count(*) from {what}");
        let mut conn = self.database.connect().await;
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut conn).await.unwrap()
    }

    /// Takes the jobs of the pool that are ready, as a worker would.
    async fn take(&self, conn: &mut PgConnection) -> Vec<Attempt> {
        let want = Want { pool: Pool::Dag, limit: 100, marks: [0; 4] };
        let claimed = claim(conn, WorkerId(Uuid::new_v4()), &Kind::ALL, &[want]).await.unwrap();
        claimed.into_iter().map(|c| c.attempt).collect()
    }

    /// Begins a run by hand, and takes the first job of a node.
    async fn begun(&self) -> (RunId, Attempt) {
        let run = self.start(json!({})).await;
        let mut conn = self.database.connect().await;
        let advance = self.take(&mut conn).await.remove(0);
        finish(&mut conn, &advance, Duration::ZERO).await.unwrap();
        let moved = drive::advance(&mut conn, &self.graphs, run).await.unwrap().unwrap();
        assert_eq!(moved.enqueued.len(), 1);
        let node = self.take(&mut conn).await.remove(0);
        (run, node)
    }
}

fn script(id: &str, code: &str) -> Value {
    json!({"id": id, "type": "script", "config": {"code": code, "outputVariable": id}})
}

fn with(mut node: Value, more: Value) -> Value {
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node
}

fn end(id: &str, outputs: &[(&str, &str)]) -> Value {
    let outputs: Vec<Value> =
        outputs.iter().map(|(name, from)| json!({"name": name, "sourceVariable": from})).collect();
    json!({"id": id, "type": "end", "config": {"outputParameters": outputs}})
}

/// Nodes behind a start node `s`; edges as `from to` or `from handle to`.
fn flow(nodes: Vec<Value>, edges: &[&str]) -> Value {
    let nodes: Vec<Value> = std::iter::once(json!({"id": "s", "type": "start"})).chain(nodes).collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|edge| match edge.split(' ').collect::<Vec<_>>().as_slice() {
            [from, to] => json!({"source": from, "target": to}),
            [from, handle, to] => json!({"source": from, "sourceHandle": handle, "target": to}),
            _ => panic!("{edge}"),
        })
        .collect();
    json!({"nodes": nodes, "edges": edges})
}

fn chain(length: usize) -> Value {
    let nodes = (1..=length).map(|i| script(&format!("n{i}"), "1")).chain([end("e", &[("last", "{{ctx.n1}}")])]);
    let mut edges = vec!["s n1".to_owned()];
    edges.extend((1..length).map(|i| format!("n{i} n{}", i + 1)));
    edges.push(format!("n{length} e"));
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    flow(nodes.collect(), &edges)
}

fn succeeded(entries: &[Entry], id: &str) -> usize {
    entries.iter().filter(|e| matches!(e, Entry::NodeSucceeded { node, .. } if node == id)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_by_its_branch_and_joins() {
    let condition = json!({"id": "c", "type": "condition", "config": {"branches": [
        {"id": "big", "label": "Big", "conditions": [
            {"leftValue": "{{ctx.input.n}}", "operator": "greater_than", "rightValue": 10},
            {"operator": "expression", "expression": "ctx.input.n % 2 == 0"}]}]}});
    let stage = Stage::of(flow(
        vec![
            condition,
            script("big", "ctx.input.n * 2"),
            script("small", "0 - ctx.input.n"),
            script("beside", "#{ list: [1, 2, ctx.input.n] }"),
            script("join", "(ctx.big ?? ctx.small) + ctx.beside.list.len()"),
            end("e", &[("sum", "{{ctx.join}}"), ("text", "n={{ctx.input.n}}, last={{ctx.beside.list[2]}}")]),
        ],
        &["s c", "s beside", "c big big", "c default small", "big join", "small join", "beside join", "join e"],
    ))
    .await;
    let hands = stage.hands().await;
    for (n, sum, not_taken) in [(12, 27, "small"), (13, -10, "big"), (4, -1, "big")] {
        let run = stage.start(json!({"n": n})).await;
        let view = stage.ended(run).await;
        assert_eq!(view.status, "COMPLETED", "{:?}", view.error);
        assert_eq!(view.output, Some(json!({"sum": sum, "text": format!("n={n}, last={n}")})));
        let log = stage.log(run).await;
        assert!(log.contains(&Entry::NodeSkipped { node: not_taken.into() }));
        assert_eq!(succeeded(&log, "join"), 1);
    }
    hands.stop().await;
    assert_eq!(stage.count("job").await, 0);
    assert_eq!(stage.count("run_inbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_branches_join_once() {
    const BRANCHES: usize = 100;
    let names: Vec<String> = (0..BRANCHES).map(|i| format!("b{i}")).collect();
    let mut nodes: Vec<Value> = names.iter().map(|n| script(n, "1")).collect();
    nodes.push(script("join", "let sum = 0; for i in 0..100 { sum += ctx[`b${i}`]; } sum"));
    nodes.push(end("e", &[("sum", "{{ctx.join}}")]));
    let edges: Vec<String> = names
        .iter()
        .flat_map(|n| [format!("s {n}"), format!("{n} join")])
        .chain(["join e".to_owned()])
        .collect();
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    let stage = Stage::of(flow(nodes, &edges)).await;
    // Two processes' worth of hands, so that completions meet at the run's row.
    let (one, two) = (stage.hands().await, stage.hands().await);
    for _ in 0..3 {
        let run = stage.start(json!({})).await;
        let view = stage.ended(run).await;
        assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"sum": BRANCHES}))));
        let log = stage.log(run).await;
        assert!(names.iter().all(|n| succeeded(&log, n) == 1));
        assert_eq!(succeeded(&log, "join"), 1);
    }
    one.stop().await;
    two.stop().await;
    assert_eq!(stage.count("job_attempt").await + stage.count("job_dead").await, 0, "an attempt failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_node_is_tried_again_and_then_handled_or_fatal() {
    let retry = |policy: &str| json!({"errorHandling": policy, "retryLimit": 2, "retryDelaySeconds": 0});
    let stage = Stage::of(flow(
        vec![
            with(script("a", "throw \"no luck\""), retry("retry_then_continue")),
            script("rescue", "\"rescued\""),
            with(script("b", "if ctx.input.fatal { throw \"the end\" } 1"), retry("retry_then_fail")),
            end("e", &[("by", "{{ctx.rescue}}")]),
        ],
        &["s a", "a b", "a error rescue", "rescue e", "s b"],
    ))
    .await;
    let hands = stage.hands().await;
    let run = stage.start(json!({"fatal": false})).await;
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"by": "rescued"}))));
    let log = stage.log(run).await;
    let tried = log.iter().filter(|e| matches!(e, Entry::NodeRetried { node, .. } if node == "a")).count();
    assert_eq!(tried, 2);
    let failed = |e: &Entry| matches!(e, Entry::NodeFailed { node, attempt: 3, error, handle: Some(handle) } if node == "a" && handle == "error" && error.contains("no luck"));
    assert!(log.iter().any(failed), "{log:#?}");

    let run = stage.start(json!({"fatal": true})).await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    assert!(view.error.unwrap().starts_with("node `b` failed: script failed: the end"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_holds_no_slot_and_any_begins_at_the_first() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let stage = Stage::of(flow(
        vec![delay, script("quick", "1"), with(script("first", "2"), json!({"joinMode": "any"})), end("e", &[("x", "{{ctx.first}}")])],
        &["s d", "s quick", "d first", "quick first", "first e"],
    ))
    .await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("only the delay is left", async || {
        stage.count("job_scheduled").await == 1 && stage.count("job").await == 1 && stage.count("job_lease").await == 0
    })
    .await;
    let log = stage.log(run).await;
    assert_eq!(succeeded(&log, "first"), 1);
    assert!(log.iter().any(|e| matches!(e, Entry::NodeSuspended { node, .. } if node == "d")));
    assert_eq!(stage.view(run).await.status, "RUNNING");
    // An hour passes.
    let mut conn = stage.database.connect().await;
    let wake: i64 = sqlx::query_scalar("select job_id from job_scheduled").fetch_one(&mut conn).await.unwrap();
    let woken = control::hasten(&mut conn, JobId(wake)).await.unwrap();
    hands.wake.pools(&woken);
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"x": 2}))));
    assert_eq!(succeeded(&stage.log(run).await, "first"), 1);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_behind() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let retry = json!({"errorHandling": "retry_then_fail", "retryLimit": 3, "retryDelaySeconds": 3600});
    let stage = Stage::of(flow(vec![delay, with(script("a", "throw 1"), retry)], &["s d", "s a"])).await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("both wait", async || stage.count("job_scheduled").await == 2).await;
    let mut conn = stage.database.connect().await;
    let other = TenantId(Uuid::now_v7());
    let refused = cancel(&mut conn, run, other, "stranger").await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::NotFound);
    hands.wake.send(&cancel(&mut conn, run, stage.tenant, "tester").await.unwrap());
    let view = stage.ended(run).await;
    assert_eq!(view.status, "CANCELLED");
    assert_eq!(stage.log(run).await.last(), Some(&Entry::RunFinished { end: rules::dag::RunEnd::Cancelled, error: None }));
    wait::until("no job is left", async || stage.count("job").await == 0).await;
    let again = cancel(&mut conn, run, stage.tenant, "tester").await.unwrap_err();
    assert_eq!(again.code, jobs::Code::Conflict);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_starts_one_run() {
    let stage = Stage::of(chain(1)).await;
    let input = json!({"n": 1});
    let starts = (0..20).map(|_| stage.try_start(&input, Some("order-1")));
    let started: Vec<Started> = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    assert!(started.iter().all(|s| s.run == started[0].run));
    assert_eq!(started.iter().filter(|s| !s.existing).count(), 1);
    assert_eq!((stage.count("run").await, stage.count("job").await), (1, 1));
    let other = stage.try_start(&json!({"n": 2}), Some("order-1")).await.unwrap_err();
    assert_eq!(other.code, jobs::Code::Conflict);
    assert!(!stage.try_start(&json!({"n": 2}), Some("order-2")).await.unwrap().existing);
    for bad in ["", &"x".repeat(256)] {
        assert_eq!(stage.try_start(&input, Some(bad)).await.unwrap_err().code, jobs::Code::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_held_to_the_schema_and_their_bound() {
    let mut definition = chain(1);
    definition["nodes"][0]["config"] = json!({"inputSchema": {"type": "object", "required": ["n"]}});
    let stage = Stage::of(definition).await;
    let refused = stage.try_start(&json!({}), None).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::Invalid);
    assert!(refused.to_string().contains("\"n\" is a required property"), "{refused}");
    let large = json!({"n": "x".repeat(rules::dag::limits::MAX_INPUT_BYTES)});
    assert_eq!(stage.try_start(&large, None).await.unwrap_err().code, jobs::Code::Invalid);
    assert_eq!(stage.count("run").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_the_version_that_it_began_with() {
    let stage = Stage::of(chain(2)).await;
    let run = stage.start(json!({})).await;
    let mut conn = stage.database.connect().await;
    let changed = flow(vec![end("e", &[])], &["s e"]);
    jobs::workflow::store::save(&mut conn, stage.workflow, stage.tenant, "changed", &changed, "tester").await.unwrap();
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!((view.workflow_version, view.output), (1, Some(json!({"last": 1}))));
    assert_eq!(stage.view(stage.start(json!({})).await).await.workflow_version, 2);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_nobody_looks_after_is_found() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    // Somebody holds the run; a completion comes meanwhile, and whoever holds it dies before looking.
    let pool = stage.database.pool().await;
    let mut holder = pool.begin().await.unwrap();
    assert!(store::lock(&mut holder, run).await.unwrap().is_some());
    let mut tx = pool.begin().await.unwrap();
    finish(&mut tx, &node, Duration::ZERO).await.unwrap();
    let change = Change::Succeeded { node: "n1".into(), attempt: 1, handle: Some("success".into()) };
    let arrival = Arrival { change, output: Some(json!("by letter")) };
    let moved = drive::deliver(&mut tx, &stage.graphs, run, arrival).await.unwrap();
    assert!(moved.enqueued.is_empty());
    tx.commit().await.unwrap();
    holder.rollback().await.unwrap();
    assert_eq!((stage.count("run_inbox").await, stage.count("job").await), (1, 0));
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"last": "by letter"}))));
    hands.stop().await;
    assert_eq!(stage.count("run_inbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_began_is_found() {
    let stage = Stage::of(chain(1)).await;
    let run = stage.start(json!({})).await;
    let mut conn = stage.database.connect().await;
    let advance = stage.take(&mut conn).await.remove(0);
    finish(&mut conn, &advance, Duration::ZERO).await.unwrap();
    sqlx::query("update run set created_at = now() - interval '2 minutes'").execute(&mut conn).await.unwrap();
    let hands = stage.hands().await;
    assert_eq!(stage.ended(run).await.status, "COMPLETED");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_job_is_poison_fails_its_run() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    sqlx::query("update job_lease set crashes = 4, lease_until = now() - interval '1 second' where job_id = $1")
        .bind(node.id.0)
        .execute(&mut conn)
        .await
        .unwrap();
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    assert!(view.error.as_ref().unwrap().starts_with("node `n1` failed: its job died"), "{:?}", view.error);
    hands.stop().await;
    assert_eq!(stage.count("job_dead where reason = 'poison'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_job_is_cancelled_fails_its_run() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let stage = Stage::of(flow(vec![delay], &["s d"])).await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("it waits", async || stage.count("job_scheduled").await == 1).await;
    let mut conn = stage.database.connect().await;
    let wake: i64 = sqlx::query_scalar("select job_id from job_scheduled").fetch_one(&mut conn).await.unwrap();
    control::cancel(&mut conn, JobId(wake)).await.unwrap();
    let view = stage.ended(run).await;
    assert_eq!(view.error.as_deref(), Some("node `d` failed: its wake-up was cancelled"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_words_change_nothing() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    finish(&mut conn, &node, Duration::ZERO).await.unwrap();
    let word = |node: &str, attempt| Arrival {
        change: Change::Succeeded { node: node.into(), attempt, handle: Some("success".into()) },
        output: Some(json!(attempt)),
    };
    let mut next = 0;
    for (node, attempt) in [("n1", 1), ("n1", 1), ("n1", 9), ("n2", 7), ("nowhere", 1)] {
        next += drive::deliver(&mut conn, &stage.graphs, run, word(node, attempt)).await.unwrap().enqueued.len();
    }
    assert_eq!(next, 1);
    let payload: RunNode = stage.take(&mut conn).await[0].payload().unwrap();
    assert_eq!((payload.node_id.as_str(), payload.attempt), ("n2", 1));
    assert_eq!(succeeded(&stage.log(run).await, "n1"), 1);
}

#[tokio::test]
async fn the_log_of_a_run_only_grows() {
    let stage = Stage::of(chain(1)).await;
    let (run, _) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    for forbidden in ["update run_log set at = now()", "delete from run_log", "delete from run"] {
        assert!(sqlx::query(forbidden).execute(&mut conn).await.is_err(), "{forbidden}");
    }
    assert!(stage.log(run).await.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_outlive_workers_that_are_killed() {
    const RUNS: usize = 12;
    let stage = Stage::of(chain(20)).await;
    let worker = || Millrace::start(&["worker", "--pools", "dag"], &[("DATABASE_URL", stage.database.url())]);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(stage.start(json!({})).await);
    }
    // Killed in the midst of steps, again and again, each time after some of the way.
    for part in 1..=3 {
        let mut killed = worker();
        let some = 4 + part * RUNS as i64 * 10;
        wait::until("some of the way is gone", async || stage.count("run_log").await >= some).await;
        killed.kill();
    }
    // What the dead held comes back without waiting for its leases, as half a minute later.
    let mut conn = stage.database.connect().await;
    sqlx::query("update job_lease set lease_until = now()").execute(&mut conn).await.unwrap();
    let mut last = worker();
    for run in &runs {
        let view = stage.ended(*run).await;
        assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"last": 1}))));
        let log = stage.log(*run).await;
        assert!((1..=20).all(|i| succeeded(&log, &format!("n{i}")) == 1), "a step's effect came twice");
    }
    last.kill();
    assert_eq!(stage.count("run_inbox").await, 0);
    let swept = start::sweep(&mut conn).await.unwrap();
    assert!(swept.is_empty());
}
