//! What listeners and runs ask of the database touches as few pages among a hundred thousand rows as among
//! none, whatever plan the session has come to by then.
//!
//! Not the text of the statements is measured but the functions themselves: a transaction knows how many
//! pages it has touched.

use jobs::dag::drive::{self, Arrival};
use jobs::dag::start::{Start, execute};
use jobs::dag::{Graphs, inbox, log, store};
use jobs::db::PgConnection;
use jobs::listener::notice::store as notices;
use jobs::listener::notice::{ActionState, NoticeState};
use jobs::listener::{self, Delivery};
use rules::dag::{Change, wire};
use rules::id::{ActionId, ListenerId, NoticeId, RunId, TenantId, WorkflowId};
use serde_json::{Value, json};
use tests::Database;
use uuid::Uuid;

/// Pages that a step may touch, with the jobs that it enqueues.
const STEP_PAGES: i64 = 200;

/// Pages that a page of a list may touch.
const LIST_PAGES: i64 = 600;

/// Pages that a list may touch while the statistics still say that the tables are empty: a list of what
/// is rare may then walk all of its tenant's rows. Autovacuum ends that within a minute, and nothing that is
/// asked for every delivery or step may depend on it.
const STALE_LIST_PAGES: i64 = 10_000;

/// Rows on a page of a list.
const PAGE: i64 = 101;

/// How often each is measured: a session plans anew for the first five times.
const TIMES: i64 = 8;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const BUSY: Uuid = Uuid::from_u128(2);
const QUIET: Uuid = Uuid::from_u128(3);

/// A session that measures.
struct Gauge {
    conn: PgConnection,
    what: &'static str,
    /// Pages that a list may touch.
    list: i64,
    faults: Vec<String>,
}

async fn touched(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select sum(pg_stat_get_xact_blocks_fetched(oid))::bigint from pg_class
        where relkind in ('r', 'i', 't') and relnamespace in ('public'::regnamespace, 'pg_toast'::regnamespace)",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

impl Gauge {
    /// Does it, and tells what it gave.
    async fn once<T>(
        &mut self,
        name: &str,
        most: i64,
        act: impl AsyncFnOnce(&mut PgConnection) -> jobs::Result<T>,
    ) -> T {
        run(&mut self.conn, "begin").await;
        let before = touched(&mut self.conn).await;
        let given = act(&mut self.conn).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let pages = touched(&mut self.conn).await - before;
        run(&mut self.conn, "commit").await;
        println!("{}: {name}: {pages}", self.what);
        if pages > most || pages == 0 {
            self.faults.push(format!("{}: {name} touches {pages} pages", self.what));
        }
        given
    }
}

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap();
}

/// A tenant with a busy and a quiet workflow and listener, the quiet ones with a few old rows.
async fn furnish(conn: &mut PgConnection) {
    run(
        conn,
        &format!(
            "insert into tenant (id, slug, title) values ('{}', 'acme', 'Acme');
            insert into listener (id, tenant_id, path, title, secret, pipeline)
            select id, '{}', path, 'L', '', '{{}}' from (values ('{BUSY}'::uuid, 'busy'), ('{QUIET}', 'quiet')) l(id, path)",
            TENANT.0, TENANT.0
        ),
    )
    .await;
    let definition = json!({
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "n", "type": "script", "config": {"code": "1", "outputVariable": "n"}},
            {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "n", "sourceVariable": "{{ctx.n}}"}]}}
        ],
        "edges": [{"source": "s", "target": "n"}, {"source": "n", "target": "e"}]
    });
    let definition = tests::definition(&definition);
    for id in [BUSY, QUIET] {
        jobs::workflow::store::create(conn, WorkflowId(id), TENANT, "W", &definition, "user:1")
            .await
            .unwrap();
    }
    fill(conn, QUIET, 10).await;
}

/// Adds runs and notices, with what belongs to each.
async fn fill(conn: &mut PgConnection, of: Uuid, rows: i64) {
    let tenant = TENANT.0;
    run(
        conn,
        &format!(
            "create temp sequence if not exists place;
            create function pg_temp.next_id() returns uuid language sql as
                $$ select lpad(to_hex(1000 + nextval('pg_temp.place')), 32, '0')::uuid $$;
            insert into run (id, tenant_id, workflow_id, workflow_version, status, input, started_by, idempotency_key, started_at, finished_at)
            select pg_temp.next_id(), '{tenant}', '{of}', 1, 'COMPLETED', '{{}}', 'user:1', 'k' || n, now(), now() from generate_series(1, {rows}) n;
            insert into run_log (run_id, seq, node_id, entry, output_variable, output, job_id)
            select id, 1, 'n', '{{}}', 'n', '1', 1 from run where workflow_id = '{of}' and idempotency_key like 'k%';
            insert into run_inbox (run_id, change) select id, '{{}}' from run where workflow_id = '{of}';
            insert into notice (id, tenant_id, listener_id, delivery_id, headers, event, state)
            select pg_temp.next_id(), '{tenant}', '{of}', 'msg ' || n, '{{}}', '{{}}', 'DISPATCHED' from generate_series(1, {rows}) n;
            insert into notice_action (notice_id, replay, action_id, kind, state)
            select id, 0, gen_random_uuid(), 'save_to_buffer', 'DONE' from notice where listener_id = '{of}';
            drop function pg_temp.next_id()"
        ),
    )
    .await;
}

async fn listeners(gauge: &mut Gauge, time: i64) {
    let address = gauge
        .once("look an address up", STEP_PAGES, async |c| listener::address(c, "acme", "busy").await)
        .await;
    let hook = address.hook.unwrap();
    let name = format!("{} {time}", gauge.what);
    let none = Value::Null;
    let delivery = Delivery { id: &name, headers: &none, event: &none, trace_parent: None };
    let new = gauge.once("receive", STEP_PAGES, async |c| listener::receive(c, &hook, &delivery).await).await;
    let known =
        gauge.once("receive again", STEP_PAGES, async |c| listener::receive(c, &hook, &delivery).await).await;
    assert_eq!((new.notice, new.duplicate, known.duplicate), (known.notice, false, true));
    let (id, action) = (new.notice, ActionId(Uuid::new_v4()));
    gauge.once("load a notice", STEP_PAGES, async |c| notices::get(c, TENANT, id).await).await;
    gauge
        .once("settle a notice", STEP_PAGES, async |c| {
            notices::settle(c, id, 0, NoticeState::Dispatched, None).await?;
            notices::queue_actions(c, id, 0, &[action.0], &["save_to_buffer"]).await
        })
        .await;
    gauge
        .once("settle an action", STEP_PAGES, async |c| {
            notices::settle_action(c, id, 0, action, ActionState::Done, None, None).await
        })
        .await;
    gauge
        .once("list a notice's actions", STEP_PAGES, async |c| notices::actions(c, TENANT, &[id.0]).await)
        .await;
    for (name, of) in [("all", None), ("the busy", Some(BUSY)), ("the quiet", Some(QUIET))] {
        let mut before = None;
        for page in 1..=2 {
            let rows = gauge
                .once(&format!("page {page} of notices of {name}"), gauge.list, async |c| {
                    notices::page(c, TENANT, of.map(ListenerId), before, PAGE).await
                })
                .await;
            assert!(!rows.is_empty() || page == 2);
            before = rows.last().map(|n| NoticeId(n.id)).or(before);
        }
    }
}

async fn runs(gauge: &mut Gauge, graphs: &Graphs, time: i64) {
    let (key, input) = (format!("{} {time}", gauge.what), json!({}));
    let start = Start {
        tenant: TENANT,
        workflow: WorkflowId(BUSY),
        input: &input,
        idempotency_key: Some(&key),
        started_by: "user:1",
        trace_parent: None,
    };
    let started = gauge.once("start", STEP_PAGES, async |c| execute(c, graphs, &start).await).await;
    let again = gauge.once("start again", STEP_PAGES, async |c| execute(c, graphs, &start).await).await;
    assert_eq!((started.run, started.existing, again.existing), (again.run, false, true));
    let id = started.run;
    let began = gauge.once("begin", STEP_PAGES, async |c| drive::advance(c, graphs, id).await).await;
    assert_eq!(began.unwrap().enqueued.len(), 1);
    let word =
        |node: &str| Change::Succeeded { node: node.into(), attempt: 1, handle: Some("success".into()) };
    gauge
        .once("look at a run", STEP_PAGES, async |c| {
            store::glimpse(c, id).await?;
            log::outputs(c, id, 1_000).await
        })
        .await;
    let arrival = Arrival { change: word("n"), output: Some(json!(1)) };
    let stepped =
        gauge.once("step", STEP_PAGES, async |c| drive::deliver(c, graphs, id, arrival).await).await;
    assert_eq!(stepped.enqueued.len(), 1);
    gauge
        .once("leave a letter", STEP_PAGES, async |c| {
            let change = Change::Succeeded { node: "e".into(), attempt: 1, handle: None };
            inbox::post(c, id, &wire::write_change(&change), Some(&json!({"n": 1}))).await?;
            inbox::has_mail(c, id).await
        })
        .await;
    let ended =
        gauge.once("drain the inbox", STEP_PAGES, async |c| drive::advance(c, graphs, id).await).await;
    assert!(ended.unwrap().ended.is_some());
    gauge.once("read the log", STEP_PAGES, async |c| log::page(c, id, 0, PAGE).await).await;
    gauge.once("find jobs", STEP_PAGES, async |c| log::jobs_of(c, id, &["n", "e"]).await).await;
    for (name, of) in [("all", None), ("the busy", Some(BUSY)), ("the quiet", Some(QUIET))] {
        let mut before = None;
        for page in 1..=2 {
            let rows = gauge
                .once(&format!("page {page} of runs of {name}"), gauge.list, async |c| {
                    store::page(c, TENANT, of.map(WorkflowId), None, before, PAGE).await
                })
                .await;
            before = rows.last().map(|r| RunId(r.id)).or(before);
        }
    }
}

async fn measure(gauge: &mut Gauge, graphs: &Graphs) {
    for time in 0..TIMES {
        listeners(gauge, time).await;
        runs(gauge, graphs, time).await;
    }
}

#[tokio::test]
async fn listeners_and_runs_do_not_grow_with_the_tables() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let graphs = Graphs::default();
    furnish(&mut conn).await;
    // Plans made on empty tables, with statistics that say so, must serve the full ones too.
    run(&mut conn, "analyze").await;
    let mut gauge =
        Gauge { conn: database.connect().await, what: "empty", list: LIST_PAGES, faults: Vec::new() };
    measure(&mut gauge, &graphs).await;
    // What is told of each row as it comes is measured where it is made, and not here a hundred thousand times.
    let tables = ["run", "run_log", "run_inbox", "notice", "notice_action"];
    for table in tables {
        run(&mut conn, &format!("alter table {table} set (autovacuum_enabled = off), disable trigger user"))
            .await;
    }
    fill(&mut conn, BUSY, 100_000).await;
    for table in tables {
        run(&mut conn, &format!("alter table {table} enable trigger user")).await;
    }
    (gauge.what, gauge.list) = ("100,000 of each, statistics of empty tables", STALE_LIST_PAGES);
    measure(&mut gauge, &graphs).await;
    run(&mut conn, "analyze").await;
    (gauge.what, gauge.list) = ("100,000 of each, fresh statistics", LIST_PAGES);
    measure(&mut gauge, &graphs).await;
    gauge.conn = database.connect().await;
    gauge.what = "100,000 of each, a fresh session";
    measure(&mut gauge, &graphs).await;
    assert!(gauge.faults.is_empty(), "{:#?}", gauge.faults);
}
