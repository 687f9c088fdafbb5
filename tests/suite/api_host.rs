//! Hosts over the API: another hypervisor is accepted as one's own by its name alone.

use serde_json::json;
use tests::wait;

use crate::api_machine::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn another_hypervisor_is_accepted_by_its_name_while_a_worker_knows_of_it() {
    let stage = Stage::new().await;
    drop(stage.host.clone().identified("own"));
    let hands = stage.serve().await;
    let told = async |field: &str| {
        let told = stage.admin.ok("{ hosts { state identity stranger } }", json!({})).await;
        told["hosts"][0][field].clone()
    };
    assert_eq!(told("identity").await, "own");
    drop(stage.host.clone().identified("other"));
    stage.host.mend();
    wait::until("another is noticed", async || told("stranger").await == "other").await;

    let accept = "mutation($i: String!) { acceptHost(name: \"a\", identity: $i) { identity stranger } }";
    let (code, why) = stage.admin.refusal(accept, json!({"i": "a third"})).await;
    assert_eq!((code.as_str(), why.contains("`other` answers")), ("CONFLICT", true), "{why}");
    assert_eq!(told("identity").await, "own");
    let accepted = stage.admin.ok(accept, json!({"i": "other"})).await;
    assert_eq!(accepted["acceptHost"], json!({"identity": "other", "stranger": null}));
    wait::until("it is served", async || told("state").await == "ONLINE").await;

    hands.stop().await;
    let (code, why) = stage.admin.refusal(accept, json!({"i": "other"})).await;
    assert_eq!((code.as_str(), why.contains("no worker holds host `a`")), ("CONFLICT", true), "{why}");
    stage.door.close().await;
}
