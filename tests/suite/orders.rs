//! Workflows that order something of machines: what they wait for, with whose rights, and how often it is done.

use std::sync::Arc;
use std::time::Duration;

use jobs::dag::patrol::Beat;
use rules::queue::Pool;
use serde_json::{Value, json};
use tests::{Client, Database, Door, Hands, Millrace, wait};
use workers::hypervisor::Simulated;
use workers::{HostConfig, WorkerConfig};

use crate::api_identity::{join, tenant};

const SAVE: &str =
    "mutation($t: ID, $d: JSON!) { createWorkflow(tenant: $t, title: \"w\", definition: $d) { id } }";
const EXECUTE: &str = "mutation($t: ID!, $w: ID!, $i: JSON!) { executeWorkflow(tenant: $t, workflow: $w, input: $i) { run { id } } }";
const RUN: &str = "query($t: ID!, $id: ID!) { run(tenant: $t, id: $id) { status output error } }";
const NEW_KEY: &str = "mutation($t: ID!, $r: TenantRole!) { createApiKey(tenant: $t, title: \"K\", role: $r) { secret apiKey { id } } }";

/// An API, and a host in memory that may be served.
struct Stage {
    database: Database,
    door: Door,
    admin: Client,
    acme: Value,
    host: Simulated,
}

fn order(id: &str, config: Value) -> Value {
    let kind = if config.get("checkName").is_some() { "healthCheck" } else { "machineOperation" };
    json!({ "id": id, "type": kind, "config": config })
}

fn create(id: &str) -> Value {
    let config = json!({ "operation": "createMachine", "name": "{{ctx.input.name}}", "os": "UBUNTU",
        "vcpus": 1, "memoryMib": 64, "diskGib": 1, "host": "a", "outputVariable": id });
    order(id, config)
}

fn act(id: &str, operation: &str) -> Value {
    order(id, json!({ "operation": operation, "machineId": "{{ctx.input.machine}}", "outputVariable": id }))
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

/// Nodes behind a start node, one after the other, and further edges as `from handle to`.
fn chain(nodes: Vec<Value>, more: &[(&str, &str, &str)]) -> Value {
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
    async fn new() -> Self {
        let database = Database::new().await;
        let door = Door::open(&database).await;
        let admin = door.admin().await;
        let acme = tenant(&admin, "acme").await;
        let host = Simulated::new("a", 64, 64 * 1024, Duration::from_millis(200));
        Self { database, door, admin, acme, host }
    }

    /// A worker of the host, and of one step at a time.
    async fn hands(&self) -> Hands {
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
    async fn pause(&self, pause: bool) {
        let statement = "update job_queue set paused_at = case when $1 then now() end where name = 'vm@a'";
        sqlx::query(statement).bind(pause).execute(&self.database.pool().await).await.unwrap();
    }

    async fn save(&self, definition: Value) -> Value {
        let saved = self.admin.ok(SAVE, json!({"t": self.acme, "d": definition})).await;
        saved["createWorkflow"]["id"].clone()
    }

    async fn start(&self, workflow: &Value, input: Value) -> Value {
        let begun = self.admin.ok(EXECUTE, json!({"t": self.acme, "w": workflow, "i": input})).await;
        begun["executeWorkflow"]["run"]["id"].clone()
    }

    async fn look(&self, run: &Value) -> Value {
        self.admin.ok(RUN, json!({"t": self.acme, "id": run})).await["run"].clone()
    }

    async fn ended(&self, run: &Value) -> Value {
        wait::until(&format!("run {run} ends"), async || {
            !matches!(self.look(run).await["status"].as_str().unwrap(), "PENDING" | "RUNNING")
        })
        .await;
        self.look(run).await
    }

    async fn count(&self, from: &'static str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(query).fetch_one(&self.database.pool().await).await.unwrap()
    }

    async fn waits(&self, how_many: i64) {
        let live = "run_waiter w join run r on r.id = w.run_id where r.finished_at is null";
        wait::until("the nodes wait", async || self.count(live).await == how_many).await;
    }

    /// A machine that is on.
    async fn machine(&self, name: &str) -> Value {
        let workflow =
            self.save(chain(vec![create("made"), end("e", &[("id", "{{ctx.made.machineId}}")])], &[])).await;
        let run = self.start(&workflow, json!({ "name": name })).await;
        let ended = self.ended(&run).await;
        assert_eq!(ended["status"], "COMPLETED", "{ended}");
        ended["output"]["id"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_makes_a_machine_checks_it_and_keeps_a_snapshot() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let made = "{{ctx.made.machineId}}";
    let check = json!({ "checkName": "STATE", "machineId": made, "outputVariable": "health" });
    let snapshot = json!({ "operation": "createSnapshot", "machineId": made, "snapshotName": "{{ctx.input.name}}-clean" });
    let outputs = [
        ("verdict", "{{ctx.health.verdict}}"),
        ("seen", "{{ctx.made.seen}}"),
        ("did", "{{ctx.operationResult.action}}"),
    ];
    let nodes = vec![create("made"), order("checked", check), order("kept", snapshot), end("e", &outputs)];
    let workflow = stage.save(chain(nodes, &[])).await;
    let run = stage.start(&workflow, json!({ "name": "web" })).await;
    let ended = stage.ended(&run).await;
    let wanted = json!({ "verdict": "HEALTHY", "seen": "RUNNING", "did": "SNAPSHOT_CREATE" });
    assert_eq!((&ended["status"], &ended["output"]), (&json!("COMPLETED"), &wanted), "{ended}");
    let acts: Vec<_> = stage.host.acts().into_iter().map(|(_, act)| act).collect();
    assert_eq!(acts, ["define", "start", "take snapshot"]);
    assert_eq!(stage.count("run_waiter").await, 0);
    let asked = format!("machine_operation where requested_by = 'run:{}'", run.as_str().unwrap());
    let query = sqlx::AssertSqlSafe(format!("select count(*) from {asked}"));
    let by: i64 = sqlx::query_scalar(query).fetch_one(&stage.database.pool().await).await.unwrap();
    assert_eq!(by, 2);
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_wait_without_a_slot_and_a_run_that_is_cancelled_leaves_what_it_asked() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let machine = stage.machine("web").await;
    stage.pause(true).await;
    let workflow = stage
        .save(chain(vec![act("held", "suspend"), end("e", &[("seen", "{{ctx.held.seen}}")])], &[]))
        .await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(stage.start(&workflow, json!({ "machine": machine })).await);
    }
    // The same asked for three times is one, and all three wait for it.
    stage.waits(3).await;
    let quick = stage.save(chain(vec![end("e", &[])], &[])).await;
    let other = stage.start(&quick, json!({})).await;
    assert_eq!(stage.ended(&other).await["status"], "COMPLETED", "the only slot is free");
    let cancel = "mutation($t: ID!, $id: ID!) { cancelRun(tenant: $t, id: $id) { status } }";
    stage.admin.ok(cancel, json!({"t": stage.acme, "id": runs[0]})).await;
    assert_eq!(stage.ended(&runs[0]).await["status"], "CANCELLED");
    stage.pause(false).await;
    for run in &runs[1..] {
        let ended = stage.ended(run).await;
        assert_eq!(
            (&ended["status"], &ended["output"]["seen"]),
            (&json!("COMPLETED"), &json!("PAUSED")),
            "{ended}"
        );
    }
    assert_eq!(stage.host.acts().into_iter().filter(|(_, act)| *act == "suspend").count(), 1);
    assert_eq!(stage.count("run_waiter").await, 0);
    // Nothing that waits for a time is left of waits that are over.
    wait::until("no wake-up is left", async || stage.count("job where kind = 'run.wake'").await == 0).await;
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_goes_its_own_way() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let machine = stage.machine("web").await;
    let go_on = json!({ "errorHandling": "continue" });
    let two_ways = |node: Value| {
        let id = node["id"].as_str().unwrap().to_owned();
        let nodes = vec![
            with(node, go_on.clone()),
            end("well", &[("way", "well")]),
            end("badly", &[("way", "badly")]),
        ];
        chain(nodes, &[(id.as_str(), "error", "badly")])
    };
    // No such machine; one of another tenant; a name that is taken; a machine that is off cannot be reset.
    let other = tenant(&stage.admin, "other").await;
    let theirs = stage.admin.ok(SAVE, json!({"t": other, "d": two_ways(act("x", "powerOff"))})).await;
    let theirs = theirs["createWorkflow"]["id"].clone();
    let begun = stage.admin.ok(EXECUTE, json!({"t": other, "w": theirs, "i": { "machine": machine }})).await;
    let run = begun["executeWorkflow"]["run"]["id"].clone();
    wait::until("the other tenant's run ends", async || {
        let told = stage.admin.ok(RUN, json!({"t": other, "id": run})).await;
        told["run"]["output"]["way"] == "badly"
    })
    .await;
    let nowhere = json!({ "machine": "00000000-0000-7000-8000-000000000000" });
    for (node, input) in [
        (act("x", "powerOff"), nowhere),
        (act("x", "powerOff"), json!({ "machine": "web" })),
        (act("x", "powerOff"), json!({})),
        (create("x"), json!({ "name": "web" })),
        (create("x"), json!({ "name": "a/b" })),
    ] {
        let workflow = stage.save(two_ways(node.clone())).await;
        let run = stage.start(&workflow, input.clone()).await;
        let ended = stage.ended(&run).await;
        assert_eq!(ended["output"]["way"], "badly", "{node} of {input}: {ended}");
    }
    // Nothing was done, and the time of what takes too long is over; what was ordered goes on.
    stage.pause(true).await;
    let late = with(act("x", "suspend"), json!({ "timeoutSeconds": 1 }));
    let workflow = stage.save(two_ways(late)).await;
    let run = stage.start(&workflow, json!({ "machine": machine })).await;
    assert_eq!(stage.ended(&run).await["output"]["way"], "badly");
    // Whoever waits for what is overtaken is told so.
    let overtaken =
        stage.start(&stage.save(two_ways(act("x", "resume"))).await, json!({ "machine": machine })).await;
    stage.waits(1).await;
    let destroy = "mutation($t: ID!, $id: ID!) { destroyMachine(tenant: $t, id: $id) { operation { id } } }";
    stage.admin.ok(destroy, json!({"t": stage.acme, "id": machine})).await;
    assert_eq!(stage.ended(&overtaken).await["output"]["way"], "badly");
    let refused =
        stage.start(&stage.save(two_ways(act("x", "powerOn"))).await, json!({ "machine": machine })).await;
    assert_eq!(stage.ended(&refused).await["output"]["way"], "badly");
    let check = order("x", json!({ "checkName": "STATE", "machineId": "{{ctx.input.machine}}" }));
    let refused = stage.start(&stage.save(two_ways(check)).await, json!({ "machine": machine })).await;
    assert_eq!(stage.ended(&refused).await["output"]["way"], "badly");
    assert_eq!(stage.count("run_waiter").await, 0);
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_hear_of_ends_that_nobody_told_them() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let machine = stage.machine("web").await;
    let db = stage.database.pool().await;
    stage.pause(true).await;
    let pause = "update job_queue set paused_at = now() where name = 'health@a'";
    sqlx::query(pause).execute(&db).await.unwrap();
    let go_on = json!({ "errorHandling": "continue" });
    let mut runs = Vec::new();
    let check = json!({ "checkName": "STATE", "machineId": "{{ctx.input.machine}}" });
    for node in [act("x", "suspend"), order("x", check)] {
        let nodes = vec![
            with(node, go_on.clone()),
            end("well", &[("way", "well")]),
            end("badly", &[("way", "badly")]),
        ];
        let workflow = stage.save(chain(nodes, &[("x", "error", "badly")])).await;
        runs.push(stage.start(&workflow, json!({ "machine": machine })).await);
    }
    stage.waits(2).await;
    // While their ends are to come, nobody is told anything.
    let mut conn = db.acquire().await.unwrap();
    let (_, told) = jobs::dag::patrol::patrol(&mut conn, Beat::default()).await.unwrap();
    assert!(told.is_empty(), "{told:?}");
    // As a worker of an older version ends them, or one that saw no waiter yet.
    for statement in [
        "update machine_operation set state = 'FAILED', error = 'no luck', ended_at = now() where ended_at is null",
        "delete from job_unique where job_id in (select id from job where kind = 'health.check')",
    ] {
        sqlx::query(statement).execute(&db).await.unwrap();
    }
    for run in &runs {
        let ended = stage.ended(run).await;
        assert_eq!(ended["output"]["way"], "badly", "{ended}");
    }
    assert_eq!(stage.count("run_waiter").await, 0);
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_destroyed_though_the_run_that_waited_for_it_is_gone() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let machine = stage.machine("web").await;
    let db = stage.database.pool().await;
    stage.pause(true).await;
    let workflow = stage.save(chain(vec![act("x", "suspend"), end("e", &[])], &[])).await;
    let run = stage.start(&workflow, json!({ "machine": machine })).await;
    stage.waits(1).await;
    let kept = "create table kept as select * from run_waiter";
    sqlx::query(kept).execute(&db).await.unwrap();
    let cancel = "mutation($t: ID!, $id: ID!) { cancelRun(tenant: $t, id: $id) { status } }";
    stage.admin.ok(cancel, json!({"t": stage.acme, "id": run})).await;
    assert_eq!(stage.ended(&run).await["status"], "CANCELLED");
    hands.stop().await;
    let forget = "update run set finished_at = now() - interval '9 days' where status = 'CANCELLED'";
    sqlx::query(forget).execute(&db).await.unwrap();
    // Both when the patrol came by before, and when it did not.
    let back = "insert into run_waiter select * from kept on conflict do nothing";
    sqlx::query(back).execute(&db).await.unwrap();
    let mut tx = jobs::db::begin(&db).await.unwrap();
    jobs::retention::allow_removal(&mut tx).await.unwrap();
    assert_eq!(jobs::retention::remove_runs(&mut tx, 8).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(stage.count("run_waiter").await, 0, "the waiters go with the run");
    // One that a worker of an older version left behind is in nobody's way.
    sqlx::query(back).execute(&db).await.unwrap();
    assert_eq!(stage.count("run_waiter").await, 1);
    let destroy = "mutation($t: ID!, $id: ID!) { destroyMachine(tenant: $t, id: $id) { operation { id } } }";
    stage.admin.ok(destroy, json!({"t": stage.acme, "id": machine})).await;
    assert_eq!((stage.count("run_waiter").await, stage.count("run_inbox").await), (0, 0));
    // Nor does the patrol leave any where nobody destroys.
    sqlx::query(back).execute(&db).await.unwrap();
    let mut conn = db.acquire().await.unwrap();
    let (_, told) = jobs::dag::patrol::patrol(&mut conn, Beat::default()).await.unwrap();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!((stage.count("run_waiter").await, stage.count("run_inbox").await), (0, 0));
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_acts_with_the_rights_of_who_saved_it() {
    let stage = Stage::new().await;
    let hands = stage.hands().await;
    let machine = stage.machine("web").await;
    // Whoever may not destroy machines may not save a workflow that does.
    let eve = stage.door.user("eve@example.org", "USER").await;
    join(&stage.admin, &stage.acme, "eve@example.org", "MEMBER").await;
    let destroys = chain(vec![act("x", "destroyMachine"), end("e", &[])], &[]);
    let (code, told) = eve.refusal(SAVE, json!({"t": stage.acme, "d": destroys})).await;
    assert_eq!((code.as_str(), told.contains("tenant:machine:delete")), ("FORBIDDEN", true), "{told}");
    let stops = chain(vec![act("x", "powerOff"), end("e", &[])], &[]);
    eve.ok(SAVE, json!({"t": stage.acme, "d": stops})).await;
    // A key that is shut out later leaves a workflow that may nothing more.
    let made = stage.admin.ok(NEW_KEY, json!({"t": stage.acme, "r": "MEMBER"})).await["createApiKey"].clone();
    let key = stage.admin.with_key(made["secret"].as_str().unwrap());
    let workflow = key.ok(SAVE, json!({"t": stage.acme, "d": stops})).await["createWorkflow"]["id"].clone();
    let disable =
        "mutation($t: ID!, $id: ID!) { setApiKeyEnabled(tenant: $t, id: $id, enabled: false) { id } }";
    stage.admin.ok(disable, json!({"t": stage.acme, "id": made["apiKey"]["id"]})).await;
    let run = stage.start(&workflow, json!({ "machine": machine })).await;
    let ended = stage.ended(&run).await;
    assert_eq!(ended["status"], "FAILED", "{ended}");
    assert!(ended["error"].as_str().unwrap().contains("gone or shut out"), "{ended}");
    assert_eq!(stage.host.acts().into_iter().filter(|(_, act)| *act == "shut down").count(), 0);
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_order_cannot_be_saved() {
    let stage = Stage::new().await;
    for (config, field) in [
        (json!({ "operation": "explode", "machineId": "x" }), "config.operation"),
        (json!({ "operation": "powerOn" }), "config.machineId"),
        (json!({ "operation": "powerOn", "machineId": "{{ctx.input" }), "config.machineId"),
        (json!({ "operation": "powerOn", "machineId": "x", "force": true }), "config.force"),
        (json!({ "operation": "createSnapshot", "machineId": "x" }), "config.snapshotName"),
        (json!({ "operation": "createMachine", "name": "x", "os": "AMIGA" }), "config.os"),
        (json!({ "operation": "createMachine", "name": "x", "os": "UBUNTU", "vcpus": 0 }), "config.vcpus"),
        (json!({ "checkName": "WINDOWS_UPDATES", "machineId": "x" }), "config.checkName"),
        (json!({ "checkName": "STATE" }), "config.machineId"),
    ] {
        let definition = chain(vec![order("x", config.clone()), end("e", &[])], &[]);
        let answer = stage.admin.ask(SAVE, json!({"t": stage.acme, "d": definition})).await.json();
        let faults = &answer["errors"][0]["extensions"]["faults"];
        assert!(
            faults.as_array().is_some_and(|all| all.iter().any(|f| f["field"] == field)),
            "{config}: {answer}"
        );
    }
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_given_once_though_workers_are_killed() {
    const RUNS: i64 = 20;
    let stage = Stage::new().await;
    // The host is served here; the steps by processes that are killed.
    let hands = stage.hands().await;
    hands.stop().await;
    let serving = WorkerConfig {
        hosts: vec![HostConfig {
            name: "a".parse().unwrap(),
            uri: "test:///default".parse().unwrap(),
            vm_slots: 4,
            health_slots: 2,
            hypervisor: Arc::new(stage.host.clone()),
        }],
        ..WorkerConfig::of_pools(vec![], 1, Duration::from_secs(5))
    };
    let hands = Hands::with(stage.database.pool().await, serving);
    let check =
        json!({ "checkName": "STATE", "machineId": "{{ctx.made.machineId}}", "outputVariable": "health" });
    let stop = json!({ "operation": "powerOff", "machineId": "{{ctx.made.machineId}}" });
    let nodes = vec![
        create("made"),
        order("health", check),
        order("off", stop),
        end("e", &[("v", "{{ctx.health.verdict}}")]),
    ];
    let workflow = stage.save(chain(nodes, &[])).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(stage.start(&workflow, json!({ "name": format!("m{number}") })).await);
    }
    let url = stage.database.url().to_owned();
    let worker = || Millrace::start(&["worker", "--pools", "dag"], &[("DATABASE_URL", url.as_str())]);
    let db = stage.database.pool().await;
    for part in 1..=3 {
        let mut killed = worker();
        let some = part * RUNS / 2;
        wait::until("some of the way is gone", async || stage.count("machine_operation").await >= some).await;
        killed.kill();
        sqlx::query("update job_lease set lease_until = now()").execute(&db).await.unwrap();
    }
    let mut last = worker();
    for run in &runs {
        let ended = stage.ended(run).await;
        assert_eq!(
            (&ended["status"], &ended["output"]["v"]),
            (&json!("COMPLETED"), &json!("HEALTHY")),
            "{ended}"
        );
    }
    last.kill();
    assert_eq!(stage.count("machine").await, RUNS);
    assert_eq!(stage.count("machine_operation").await, 2 * RUNS);
    assert_eq!(stage.count("run_waiter").await, 0);
    for act in ["define", "start", "shut down"] {
        let times = stage.host.acts().into_iter().filter(|(_, done)| *done == act).count();
        assert_eq!(times as i64, RUNS, "{act}");
    }
    hands.stop().await;
    stage.door.close().await;
}
