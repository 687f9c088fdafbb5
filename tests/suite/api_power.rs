//! One operation asked of many machines over the API: an outcome for each, and nothing twice.

use serde_json::{Value, json};
use tests::http::{self, Answer};

use crate::api_identity::{join, tenant};
use crate::api_machine::Stage;

const POWER: &str = "mutation($t: ID!, $ids: [ID!]!, $o: PowerOperation!) { powerMachines(tenant: $t, ids: $ids, operation: $o) {
    id code message operation { id machineId action state requestedBy jobId } } }";

fn column(told: &Value, name: &str) -> Vec<Value> {
    told.as_array().unwrap().iter().map(|one| one[name].clone()).collect()
}

/// Asks under an idempotency key.
async fn under(stage: &Stage, key: &str, variables: &Value) -> Answer {
    let body = json!({"query": POWER, "variables": variables}).to_string();
    let mut headers = vec![("content-type", "application/json"), ("idempotency-key", key)];
    headers.extend(stage.admin.headers().iter().map(|(name, value)| (*name, value.as_str())));
    http::send(stage.door.address, "POST", "/graphql", &headers, body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_machine_is_told_what_came_of_it() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let (one, other, ending) =
        (stage.create("one").await, stage.create("other").await, stage.create("ending").await);
    let eves = tenant(&stage.admin, "eves").await;
    let eve = stage.door.user("eve@example.org", "USER").await;
    join(&stage.admin, &eves, "eve@example.org", "ADMIN").await;
    let input = json!({"name": "hers", "os": "UBUNTU", "vcpus": 1, "memoryMib": 64, "diskGib": 0});
    let make = "mutation($t: ID!, $i: CreateMachineInput!) { createMachine(tenant: $t, input: $i) { machine { id } } }";
    let hers = eve.ok(make, json!({"t": eves, "i": input})).await["createMachine"]["machine"]["id"].clone();
    stage.host.cut();
    let end = "mutation($t: ID!, $id: ID!) { destroyMachine(tenant: $t, id: $id) { operation { id } } }";
    stage.admin.ok(end, json!({"t": stage.acme, "id": ending})).await;

    let nobody = json!("0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b");
    let ids = json!([other, nobody, ending, "x", one, hers]);
    let asked = json!({"t": stage.acme, "ids": ids, "o": "FORCE_POWER_OFF"});
    let told = stage.admin.ok(POWER, asked).await["powerMachines"].clone();
    assert_eq!(json!(column(&told, "id")), ids);
    let codes = json!([null, "NOT_FOUND", "CONFLICT", "BAD_USER_INPUT", null, "NOT_FOUND"]);
    assert_eq!(json!(column(&told, "code")), codes, "{told}");
    let words = |place: usize, id: &Value| {
        told[place]["message"].as_str().unwrap().replace(id.as_str().unwrap(), "<id>")
    };
    assert_eq!(words(1, &nobody), words(5, &hers));
    assert!(words(2, &ending).contains("being destroyed"), "{told}");
    for (place, id) in [(0, &other), (4, &one)] {
        let operation = &told[place]["operation"];
        let what = (&operation["machineId"], &operation["action"], &operation["state"]);
        assert_eq!(what, (id, &json!("FORCE_OFF"), &json!("WAITING")), "{told}");
        assert!(operation["requestedBy"].as_str().unwrap().starts_with("user:"), "{told}");
    }
    assert!([1, 2, 3, 5].iter().all(|place| told[*place]["operation"].is_null()), "{told}");

    stage.host.mend();
    for place in [0, 4] {
        assert_eq!(stage.ended(&told[place]["operation"]["id"]).await["state"], "SUCCEEDED");
    }
    let look = "query($t: ID!, $id: ID!) { machine(tenant: $t, id: $id) { wanted seen } }";
    for (t, id, client, seen) in [
        (&stage.acme, &one, &stage.admin, "OFF"),
        (&stage.acme, &other, &stage.admin, "OFF"),
        (&eves, &hers, &eve, "RUNNING"),
    ] {
        let now = client.ok(look, json!({"t": t, "id": id})).await["machine"].clone();
        assert_eq!(now["wanted"], seen, "{now}");
    }
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_called_as_its_own_mutation_is() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let id = stage.create("web").await;
    for (operation, action, wanted) in [
        ("SUSPEND", "SUSPEND", "SUSPENDED"),
        ("RESUME", "RESUME", "RUNNING"),
        ("RESTART", "RESTART", "RUNNING"),
        ("RESET", "RESET", "RUNNING"),
        ("POWER_OFF", "STOP", "OFF"),
        ("POWER_ON", "START", "RUNNING"),
        ("FORCE_POWER_OFF", "FORCE_OFF", "OFF"),
    ] {
        let asked = json!({"t": stage.acme, "ids": [id], "o": operation});
        let told = stage.admin.ok(POWER, asked).await["powerMachines"][0]["operation"].clone();
        assert_eq!(told["action"], action, "{told}");
        assert_eq!(stage.ended(&told["id"]).await["state"], "SUCCEEDED", "{operation}");
        let look = "query($t: ID!, $id: ID!) { machine(tenant: $t, id: $id) { wanted drift } }";
        let now = stage.admin.ok(look, json!({"t": stage.acme, "id": id})).await["machine"].clone();
        assert_eq!(now, json!({"wanted": wanted, "drift": null}), "{operation}");
    }
    let asked = json!({"t": stage.acme, "ids": [id], "o": "RESET"});
    let told = stage.admin.ok(POWER, asked).await["powerMachines"][0].clone();
    assert_eq!(told["code"], "CONFLICT");
    assert!(told["message"].as_str().unwrap().contains("needs a running machine"), "{told}");
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_is_asked_of_no_machine_again() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let ids = [stage.create("a").await, stage.create("b").await];
    let asked = json!({"t": stage.acme, "ids": ids, "o": "RESTART"});
    let first = under(&stage, "k", &asked).await;
    assert_eq!(first.status, 200, "{first:?}");
    for one in column(&first.json()["data"]["powerMachines"], "operation") {
        assert_eq!(stage.ended(&one["id"]).await["state"], "SUCCEEDED");
    }
    let again = under(&stage, "k", &asked).await;
    assert_eq!((again.header("idempotency-replayed"), &again.text), (Some("true"), &first.text));
    let list =
        "query($t: ID!, $id: ID!) { machineOperations(tenant: $t, machineId: $id) { nodes { action } } }";
    for id in &ids {
        let told = stage.admin.ok(list, json!({"t": stage.acme, "id": id})).await;
        let actions = column(&told["machineOperations"]["nodes"], "action");
        assert_eq!(json!(actions), json!(["RESTART", "CREATE"]));
    }
    // One that did nothing gives its key back.
    let nobody = json!({"t": stage.acme, "ids": ["0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b"], "o": "RESTART"});
    for _ in 0..2 {
        let answer = under(&stage, "l", &nobody).await;
        assert_eq!(answer.json()["data"]["powerMachines"][0]["code"], "NOT_FOUND", "{answer:?}");
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    hands.stop().await;
    stage.door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_none_and_one_twice_are_refused_as_a_whole() {
    let stage = Stage::new().await;
    let hands = stage.serve().await;
    let id = stage.create("web").await;
    let many: Vec<String> = (0..101).map(|n| format!("0190a2b4-7c1d-7e3f-8a5b-{n:012}")).collect();
    for (ids, told) in [
        (json!([]), "between 1 and 100"),
        (json!(many), "between 1 and 100"),
        (json!([id, many[0], id.as_str().unwrap().to_uppercase()]), "named twice"),
    ] {
        let asked = json!({"t": stage.acme, "ids": ids, "o": "POWER_OFF"});
        let (code, message) = stage.admin.refusal(POWER, asked).await;
        assert_eq!((code.as_str(), message.contains(told)), ("BAD_USER_INPUT", true), "{message}");
    }
    let look = "query($t: ID!, $id: ID!) { machine(tenant: $t, id: $id) { wanted } }";
    let now = stage.admin.ok(look, json!({"t": stage.acme, "id": id})).await;
    assert_eq!(now["machine"]["wanted"], "RUNNING");
    // As many as there may be are measured and answered.
    let asked = json!({"t": stage.acme, "ids": &many[1..], "o": "POWER_OFF"});
    assert_eq!(stage.admin.ok(POWER, asked).await["powerMachines"].as_array().unwrap().len(), 100);
    // Who may not ask it of one is told so once.
    let mallory = stage.door.user("mallory@example.org", "USER").await;
    let asked = json!({"t": stage.acme, "ids": [id, "x"], "o": "POWER_OFF"});
    assert_eq!(mallory.refusal(POWER, asked).await.0, "NOT_FOUND");
    hands.stop().await;
    stage.door.close().await;
}
