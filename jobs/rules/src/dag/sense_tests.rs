//! Tests of `sense`: what can never come true is told of a draft, and performed where it was saved before.

use serde_json::{Value, json};

use super::build::rebuild;
use super::build_tests::{beside_an_end, check};

#[test]
fn what_can_never_come_true_is_told_by_its_field_and_performed_where_it_was_saved() {
    let delay = |config: Value| json!({"type": "delay", "id": "a", "config": config});
    let order = |config: Value| json!({"type": "machineOperation", "id": "a", "config": config});
    let machine = "0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b";
    let cases = [
        (delay(json!({"delayType": "fixed"})), "MISSING node `a`, `config`: waits for no time at all"),
        (delay(json!({"delayType": "fixed", "delayMs": 0})), "`config`: waits for no time at all"),
        (
            delay(json!({"delayType": "dynamic", "delayVariable": "soon"})),
            "MALFORMED node `a`, `config.delayVariable`: the delay is `soon`",
        ),
        (
            delay(json!({"delayType": "until", "untilTime": "tomorrow"})),
            "`config.untilTime`: the time to wait for is `tomorrow`",
        ),
        (
            order(json!({"operation": "powerOn", "machineId": "abc"})),
            "MALFORMED node `a`, `config.machineId`: `abc` is no id; it must be the id of a machine",
        ),
        (
            order(json!({"operation": "powerOn", "machineId": ["{{ctx.input.id}}"]})),
            "`config.machineId`: must be a text",
        ),
        (
            order(json!({"operation": "createMachine", "name": "a/b", "os": "UBUNTU"})),
            "`config.name`: `a/b` does not fit: a name has",
        ),
        (
            order(json!({"operation": "createMachine", "name": "a", "os": "UBUNTU", "departmentId": 7})),
            "`config.departmentId`: `7` is no id",
        ),
        (
            order(json!({"operation": "createMachine", "name": "a", "os": "UBUNTU", "host": ""})),
            "`config.host`: ``",
        ),
        (
            order(json!({"operation": "createSnapshot", "machineId": machine, "snapshotName": "/"})),
            "`config.snapshotName`: `/`",
        ),
        (
            json!({"type": "healthCheck", "id": "a", "config": {"machineId": true, "checkName": "STATE"}}),
            "`config.machineId`: must be a text",
        ),
    ];
    for (node, expected) in cases {
        check(beside_an_end(node.clone()), &[expected]);
        assert!(rebuild(&beside_an_end(node)).is_ok(), "{expected}");
    }
    for well in [
        order(json!({"operation": "powerOn", "machineId": machine})),
        order(json!({"operation": "powerOn", "machineId": "{{ctx.input.id}}"})),
        order(json!({"operation": "createMachine", "name": "web-{{ctx.input.n}}", "os": "UBUNTU"})),
        delay(json!({"delayType": "dynamic", "delayVariable": "1500"})),
        delay(json!({"delayType": "until", "untilTime": "2030-01-31T08:00:00Z"})),
    ] {
        check(beside_an_end(well), &[]);
    }
}

#[test]
fn a_workflow_without_an_end_or_without_edges_is_told_so_and_performed_where_it_was_saved() {
    let start = || json!({"id": "s", "type": "start"});
    let none = "MISSING workflow, `nodes`: there is no end node";
    check(json!({"nodes": [start()]}), &[none]);
    check(json!({}), &[none, "START workflow, `nodes`: there is no start node"]);
    assert!(rebuild(&json!({"nodes": [start()]})).is_ok());
    let apart = json!({"nodes": [start(), {"id": "e", "type": "end"}]});
    check(apart, &["MISSING workflow, `edges`: must be there", "UNREACHABLE node `e`"]);
    // What could not be read may have been the end.
    let slip =
        json!({"nodes": [start(), {"id": "e", "type": "ent"}], "edges": [{"source": "s", "target": "e"}]});
    check(slip, &["`ent` is none of"]);
}
