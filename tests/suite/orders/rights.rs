//! With whose rights a workflow orders something, and what it may not order at all.

use serde_json::json;

use super::stage::*;
use crate::api_identity::join;

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
    assert!(ended["error"].as_str().unwrap().contains("who saved the workflow, is disabled"), "{ended}");
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
