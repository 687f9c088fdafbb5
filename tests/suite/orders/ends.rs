//! A run hears of the end of what it ordered, and what it ordered ends though the run is gone.

use jobs::dag::patrol::Beat;
use serde_json::{Value, json};

use super::stage::*;

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
    // Each run says for what it waits, and why that has not come.
    for (run, check) in runs.iter().zip([Value::Null, json!("STATE")]) {
        let query = "query($t: ID!, $id: ID!) { run(tenant: $t, id: $id) { waits { node machineId checkName code why } } }";
        let told = stage.admin.ok(query, json!({"t": stage.acme, "id": run})).await["run"]["waits"].clone();
        assert_eq!((&told[0]["node"], &told[0]["machineId"]), (&json!("x"), &machine), "{told}");
        assert_eq!((&told[0]["checkName"], &told[0]["code"]), (&check, &json!("QUEUE_PAUSED")), "{told}");
    }
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
