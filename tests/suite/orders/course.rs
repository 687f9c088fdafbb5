//! What is ordered is done once, waited for without a slot, and goes its own way where it fails.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Hands, Millrace, wait};
use workers::{HostConfig, WorkerConfig};

use super::stage::*;
use crate::api_identity::tenant;

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
