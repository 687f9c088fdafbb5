//! A tenant with one workflow on a database of its own, and what tests of runs ask of it.

use std::time::Duration;

use jobs::dag::start::{Start, Started, execute};
use jobs::dag::store::{self, RunView};
use jobs::dag::{Graphs, drive, log};
use jobs::db::PgConnection;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::{Attempt, finish};
use rules::dag::{Entry, Run, rebuild, wire};
use rules::id::{RunId, TenantId, WorkerId, WorkflowId};
use rules::queue::{Kind, Pool};
use serde_json::{Value, json};
use tests::{Database, Hands, wait};
use uuid::Uuid;

/// A tenant with one workflow, on a database of its own.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) tenant: TenantId,
    pub(super) workflow: WorkflowId,
    pub(super) definition: Value,
    pub(super) graphs: Graphs,
}

impl Stage {
    pub(super) async fn of(definition: Value) -> Self {
        let database = Database::new().await;
        let (tenant, workflow) = (TenantId(Uuid::now_v7()), WorkflowId(Uuid::now_v7()));
        let mut conn = database.desk().await;
        sqlx::query("insert into tenant (id, slug, title) values ($1, 'stage', 'Stage')")
            .bind(tenant.0)
            .execute(&mut *conn)
            .await
            .unwrap();
        let checked = tests::definition(&definition);
        jobs::workflow::store::create(&mut conn, workflow, tenant, "stage", &checked, "tester")
            .await
            .unwrap();
        Self { database, tenant, workflow, definition, graphs: Graphs::default() }
    }

    pub(super) async fn hands(&self) -> Hands {
        Hands::start(&self.database, &[Pool::Dag]).await
    }

    pub(super) async fn try_start(&self, input: &Value, key: Option<&str>) -> jobs::Result<Started> {
        let mut conn = self.database.desk().await;
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

    pub(super) async fn start(&self, input: Value) -> RunId {
        self.try_start(&input, None).await.unwrap().run
    }

    pub(super) async fn view(&self, run: RunId) -> RunView {
        store::get(&mut *self.database.desk().await, run, self.tenant).await.unwrap()
    }

    /// Waits for the run's end, and holds its log against it.
    pub(super) async fn ended(&self, run: RunId) -> RunView {
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
        let state: Value = sqlx::query_scalar("select state from run where id = $1")
            .bind(run.0)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(
            wire::read_run(&state, &graph).unwrap(),
            replayed,
            "the kept state is not the fold of the log"
        );
        view
    }

    pub(super) async fn log(&self, run: RunId) -> Vec<Entry> {
        let mut conn = self.database.desk().await;
        let mut entries = Vec::new();
        loop {
            let after = i32::try_from(entries.len()).unwrap();
            let lines = log::page(&mut conn, run, after, jobs::db::MAX_PAGE).await.unwrap();
            if lines.is_empty() {
                return entries;
            }
            for line in lines {
                assert_eq!(line.seq as usize, entries.len() + 1, "the log has a gap");
                entries.push(wire::read_entry(&line.entry).unwrap());
            }
        }
    }

    pub(super) async fn count(&self, what: &str) -> i64 {
        let statement = format!("select count(*) from {what}");
        let mut conn = self.database.desk().await;
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut *conn).await.unwrap()
    }

    /// Takes the jobs of the pool that are ready, as a worker would.
    pub(super) async fn take(&self, conn: &mut PgConnection) -> Vec<Attempt> {
        let want = Want { pool: Pool::Dag, limit: 100, marks: [0; 4] };
        let claimed = claim(conn, WorkerId(Uuid::new_v4()), &Kind::ALL, &[want]).await.unwrap();
        claimed.into_iter().map(|c| c.attempt).collect()
    }

    /// Begins a run by hand, and takes the first job of a node.
    pub(super) async fn begun(&self) -> (RunId, Attempt) {
        let run = self.start(json!({})).await;
        let mut conn = self.database.desk().await;
        let advance = self.take(&mut conn).await.remove(0);
        finish(&mut conn, &advance, Duration::ZERO).await.unwrap();
        let moved = drive::advance(&mut conn, &self.graphs, run).await.unwrap().unwrap();
        assert_eq!(moved.enqueued.len(), 1);
        let node = self.take(&mut conn).await.remove(0);
        (run, node)
    }
}

pub(super) fn script(id: &str, code: &str) -> Value {
    json!({"id": id, "type": "script", "config": {"code": code, "outputVariable": id}})
}

pub(super) fn with(mut node: Value, more: Value) -> Value {
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node
}

pub(super) fn end(id: &str, outputs: &[(&str, &str)]) -> Value {
    let outputs: Vec<Value> =
        outputs.iter().map(|(name, from)| json!({"name": name, "sourceVariable": from})).collect();
    json!({"id": id, "type": "end", "config": {"outputParameters": outputs}})
}

/// Nodes behind a start node `s`; edges as `from to` or `from handle to`.
pub(super) fn flow(nodes: Vec<Value>, edges: &[&str]) -> Value {
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

pub(super) fn chain(length: usize) -> Value {
    let nodes =
        (1..=length).map(|i| script(&format!("n{i}"), "1")).chain([end("e", &[("last", "{{ctx.n1}}")])]);
    let mut edges = vec!["s n1".to_owned()];
    edges.extend((1..length).map(|i| format!("n{i} n{}", i + 1)));
    edges.push(format!("n{length} e"));
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    flow(nodes.collect(), &edges)
}

pub(super) fn succeeded(entries: &[Entry], id: &str) -> usize {
    entries.iter().filter(|e| matches!(e, Entry::NodeSucceeded { node, .. } if node == id)).count()
}
