//! The health of machines over the API: judged by whoever asks, and its queue as it stands.

use rules::id::MachineId;
use serde_json::{Value, json};
use tests::wait;

use crate::api_machine::Stage;

const CHECK: &str = "mutation($t: ID!, $id: ID!) { setHealthCheck(tenant: $t, machineId: $id, checkName: DISK_SPACE, enabled: true) { name }
    runHealthCheck(tenant: $t, vmId: $id, checkName: DISK_SPACE) { jobId } }";
const QUEUE: &str = "query($t: ID!, $id: ID!, $s: HealthCheckJobStatus) { vmHealthCheckQueue(tenant: $t, machineId: $id, status: $s) { name status } }";
const SPACE: &str = "query($t: ID!, $id: ID!, $w: Int!, $c: Int!) { checkVMDiskSpace(tenant: $t, vmId: $id, warningThreshold: $w, criticalThreshold: $c) {
    verdict detail checkedAt disks { target allocatedMib capacityMib } } }";

#[tokio::test(flavor = "multi_thread")]
async fn disks_are_judged_by_whoever_asks_as_they_were_read_last() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let id = stage.create("web").await;
    let space = async |warning: Value, critical: Value| {
        let given = json!({"t": stage.acme, "id": id, "w": warning, "c": critical});
        stage.admin.ok(SPACE, given).await["checkVMDiskSpace"].clone()
    };
    let queue = async |status: Value| {
        let told = stage.admin.ok(QUEUE, json!({"t": stage.acme, "id": id, "s": status})).await;
        told["vmHealthCheckQueue"].clone()
    };
    let none = space(json!(85), json!(95)).await;
    assert_eq!(
        none,
        json!({"verdict": "UNKNOWN", "detail": "it was not checked yet", "checkedAt": null, "disks": []})
    );

    stage.host.fill_disks(MachineId(id.as_str().unwrap().parse().unwrap()), 88);
    stage.admin.ok(CHECK, json!({"t": stage.acme, "id": id})).await;
    wait::until("the disks are read", async || !space(json!(85), json!(95)).await["checkedAt"].is_null())
        .await;
    for (warning, critical, verdict) in [(85, 95, "WARNING"), (90, 95, "HEALTHY"), (50, 80, "CRITICAL")] {
        let told = space(json!(warning), json!(critical)).await;
        assert_eq!(told["verdict"], verdict, "{told}");
        assert!(told["detail"].as_str().unwrap().contains("`vda` is written to 88.0 %"), "{told}");
        let disk = &told["disks"][0];
        assert_eq!((&disk["target"], &disk["capacityMib"]), (&json!("vda"), &json!(1_024)), "{told}");
    }
    for (warning, critical) in [(95, 85), (0, 50), (50, 101), (-1, 300)] {
        let given = json!({"t": stage.acme, "id": id, "w": warning, "c": critical});
        let (code, told) = stage.admin.refusal(SPACE, given).await;
        assert_eq!((code.as_str(), told.contains("`warningThreshold`")), ("BAD_USER_INPUT", true), "{told}");
    }
    // Both names tell the same.
    let latest = "query($t: ID!, $id: ID!) { a: latestVMHealthSnapshot(tenant: $t, machineId: $id) { name verdict checkedAt }
        b: getLatestVMHealth(tenant: $t, machineId: $id) { name verdict checkedAt } }";
    let told = stage.admin.ok(latest, json!({"t": stage.acme, "id": id})).await;
    assert_eq!((&told["a"], &told["a"][0]["verdict"]), (&told["b"], &json!("WARNING")), "{told}");

    assert_eq!(queue(Value::Null).await, json!([]));
    stage.host.cut();
    wait::until("the host is cut off", async || {
        let told = stage.admin.ok("{ hosts { state } }", json!({})).await;
        told["hosts"][0]["state"] == "UNREACHABLE"
    })
    .await;
    stage.admin.ok(CHECK, json!({"t": stage.acme, "id": id})).await;
    let waits = json!([{"name": "DISK_SPACE", "status": "PENDING"}]);
    assert_eq!((queue(json!("PENDING")).await, queue(Value::Null).await), (waits.clone(), waits));
    assert_eq!(queue(json!("RUNNING")).await, json!([]));
    assert_eq!(queue(json!("RETRY_SCHEDULED")).await, json!([]));
    hands.stop().await;
    stage.door.close().await;
}
