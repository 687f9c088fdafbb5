//! An API and a host in memory, and the nodes of workflows that order something of its machines.

use std::sync::Arc;
use std::time::Duration;

use rules::queue::Pool;
use serde_json::{Value, json};
use tests::{Client, Database, Door, Hands, wait};
use workers::hypervisor::Simulated;
use workers::{HostConfig, WorkerConfig};

use crate::api_identity::tenant;

pub(super) const SAVE: &str =
    "mutation($t: ID, $d: JSON!) { createWorkflow(tenant: $t, title: \"w\", definition: $d) { id } }";
pub(super) const EXECUTE: &str = "mutation($t: ID!, $w: ID!, $i: JSON!) { executeWorkflow(tenant: $t, workflow: $w, input: $i) { run { id } } }";
pub(super) const RUN: &str = "query($t: ID!, $id: ID!) { run(tenant: $t, id: $id) { status output error } }";
pub(super) const NEW_KEY: &str = "mutation($t: ID!, $r: TenantRole!) { createApiKey(tenant: $t, title: \"K\", role: $r) { secret apiKey { id } } }";

/// An API, and a host in memory that may be served.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) door: Door,
    pub(super) admin: Client,
    pub(super) acme: Value,
    pub(super) host: Simulated,
}

pub(super) fn order(id: &str, config: Value) -> Value {
    let kind = if config.get("checkName").is_some() { "healthCheck" } else { "machineOperation" };
    json!({ "id": id, "type": kind, "config": config })
}

pub(super) fn create(id: &str) -> Value {
    let config = json!({ "operation": "createMachine", "name": "{{ctx.input.name}}", "os": "UBUNTU",
        "vcpus": 1, "memoryMib": 64, "diskGib": 1, "host": "a", "outputVariable": id });
    order(id, config)
}

pub(super) fn act(id: &str, operation: &str) -> Value {
    order(id, json!({ "operation": operation, "machineId": "{{ctx.input.machine}}", "outputVariable": id }))
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

/// Nodes behind a start node, one after the other, and further edges as `from handle to`.
pub(super) fn chain(nodes: Vec<Value>, more: &[(&str, &str, &str)]) -> Value {
    let mut all = vec![json!({ "id": "start", "type": "start" })];
    all.extend(nodes);
    let on_the_way = |node: &Value| !more.iter().any(|(_, _, to)| node["id"] == *to);
    let line: Vec<&Value> = all.iter().filter(|node| on_the_way(node)).collect();
    let mut edges: Vec<Value> =
        line.windows(2).map(|pair| json!({"source": pair[0]["id"], "target": pair[1]["id"]})).collect();
    edges.extend(
        more.iter().map(|(from, handle, to)| json!({"source": from, "sourceHandle": handle, "target": to})),
    );
    json!({ "nodes": all, "edges": edges })
}

impl Stage {
    pub(super) async fn new() -> Self {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let admin = door.admin().await;
        let acme = tenant(&admin, "acme").await;
        let host = Simulated::new("a", 64, 64 * 1024, Duration::from_millis(200));
        Self { database, door, admin, acme, host }
    }

    /// A worker of the host, and of one step at a time.
    pub(super) async fn hands(&self) -> Hands {
        let config = WorkerConfig {
            hosts: vec![HostConfig {
                name: "a".parse().unwrap(),
                uri: "test:///default".parse().unwrap(),
                vm_slots: 4,
                health_slots: 2,
                hypervisor: Arc::new(self.host.clone()),
            }],
            ..WorkerConfig::of_pools(vec![Pool::Dag], 1, Duration::from_secs(5))
        };
        let hands = Hands::with(self.database.pool().await, config);
        wait::until("the host is online", async || {
            let told = self.admin.ok("{ hosts { name state cpus } }", json!({})).await;
            told["hosts"][0]["state"] == "ONLINE" && told["hosts"][0]["cpus"] == 64
        })
        .await;
        hands
    }

    /// Lets the host's operations wait, or go on.
    pub(super) async fn pause(&self, pause: bool) {
        let statement = "update job_queue set paused_at = case when $1 then now() end where name = 'vm@a'";
        sqlx::query(statement).bind(pause).execute(&self.database.pool().await).await.unwrap();
    }

    pub(super) async fn save(&self, definition: Value) -> Value {
        let saved = self.admin.ok(SAVE, json!({"t": self.acme, "d": definition})).await;
        saved["createWorkflow"]["id"].clone()
    }

    pub(super) async fn start(&self, workflow: &Value, input: Value) -> Value {
        let begun = self.admin.ok(EXECUTE, json!({"t": self.acme, "w": workflow, "i": input})).await;
        begun["executeWorkflow"]["run"]["id"].clone()
    }

    pub(super) async fn look(&self, run: &Value) -> Value {
        self.admin.ok(RUN, json!({"t": self.acme, "id": run})).await["run"].clone()
    }

    pub(super) async fn ended(&self, run: &Value) -> Value {
        wait::until(&format!("run {run} ends"), async || {
            !matches!(self.look(run).await["status"].as_str().unwrap(), "PENDING" | "RUNNING")
        })
        .await;
        self.look(run).await
    }

    pub(super) async fn count(&self, from: &'static str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(query).fetch_one(&self.database.pool().await).await.unwrap()
    }

    pub(super) async fn waits(&self, how_many: i64) {
        let live = "run_waiter w join run r on r.id = w.run_id where r.finished_at is null";
        wait::until("the nodes wait", async || self.count(live).await == how_many).await;
    }

    /// A machine that is on.
    pub(super) async fn machine(&self, name: &str) -> Value {
        let workflow =
            self.save(chain(vec![create("made"), end("e", &[("id", "{{ctx.made.machineId}}")])], &[])).await;
        let run = self.start(&workflow, json!({ "name": name })).await;
        let ended = self.ended(&run).await;
        assert_eq!(ended["status"], "COMPLETED", "{ended}");
        ended["output"]["id"].clone()
    }
}
