//! What the demo builds: its workflows and its listeners' pipelines.

use serde_json::{Value, json};

/// The steps of [`chain`] that run a script.
pub(super) const CHAIN_STEPS: usize = 6;

/// A step that runs a script. A script has 100 ms of a processor, of which what the machine beneath takes away
/// is counted as its own; so it is tried again.
fn script(id: &str, code: &str, variable: &str) -> Value {
    json!({
        "id": id, "type": "script", "config": { "code": code, "outputVariable": variable },
        "errorHandling": "retry_then_fail", "retryLimit": 10, "retryDelaySeconds": 0,
    })
}

/// An order is priced: one of two ways by its amount, and beside it the points; both meet in the bill.
pub(super) fn order() -> Value {
    let script = |id: &str, code: &str, variable: &str| json!({ "id": id, "type": "script", "config": { "code": code, "outputVariable": variable } });
    json!({
        "nodes": [
            { "id": "start", "type": "start", "config": { "inputSchema": {
                "type": "object", "required": ["order", "amount"],
                "properties": { "order": { "type": "string" }, "amount": { "type": "integer" } } } } },
            { "id": "size", "type": "condition", "config": { "branches": [ { "id": "big", "conditions": [
                { "leftValue": "{{ctx.input.amount}}", "operator": "greater_than", "rightValue": 100 } ] } ] } },
            script("discount", "ctx.input.amount / 10", "discount"),
            script("full", "0", "discount"),
            script("points", "ctx.input.amount * 2", "points"),
            script("bill", "#{ total: ctx.input.amount - ctx.discount, points: ctx.points }", "bill"),
            { "id": "end", "type": "end", "config": { "outputParameters": [
                { "name": "order", "sourceVariable": "{{ctx.input.order}}" },
                { "name": "total", "sourceVariable": "{{ctx.bill.total}}" },
                { "name": "points", "sourceVariable": "{{ctx.bill.points}}" } ] } },
        ],
        "edges": [
            { "source": "start", "target": "size" },
            { "source": "start", "target": "points" },
            { "source": "size", "sourceHandle": "big", "target": "discount" },
            { "source": "size", "sourceHandle": "default", "target": "full" },
            { "source": "discount", "target": "bill" },
            { "source": "full", "target": "bill" },
            { "source": "points", "target": "bill" },
            { "source": "bill", "target": "end" },
        ],
    })
}

/// A chain of steps, each of which computes for a while and adds one to the last.
pub(super) fn chain() -> Value {
    let mut nodes = vec![json!({ "id": "start", "type": "start" })];
    let mut edges = Vec::new();
    let mut last = "start".to_owned();
    for step in 1..=CHAIN_STEPS {
        let id = format!("step{step}");
        let before = if step == 1 { "0".to_owned() } else { format!("ctx.n{}", step - 1) };
        // Long enough to be caught at it, far within the sandbox's time.
        let code = format!("let x = 0; for i in 0..2000 {{ x += i; }} {before} + 1");
        nodes.push(script(&id, &code, &format!("n{step}")));
        edges.push(json!({ "source": last, "target": id }));
        last = id;
    }
    nodes.push(json!({ "id": "end", "type": "end", "config": { "outputParameters": [
        { "name": "steps", "sourceVariable": format!("{{{{ctx.n{CHAIN_STEPS}}}}}") } ] } }));
    edges.push(json!({ "source": last, "target": "end" }));
    json!({ "nodes": nodes, "edges": edges })
}

/// Makes an order of a shop's event, starts the workflow with it and keeps it.
pub(super) fn orders(workflow: &str) -> Value {
    json!({ "actions": [
        { "type": "transform", "code": "#{ order: event.data.id, amount: event.data.cents / 100 }" },
        { "type": "trigger_workflow", "workflowId": workflow,
          "inputValues": { "order": "{{event.order}}", "amount": "{{event.amount}}" } },
        { "type": "save_to_buffer", "bufferName": "orders" },
    ] })
}

/// A machine for a person: it is made on this host, checked, and kept as it is in a snapshot.
pub(super) fn desktop(host: &str) -> Value {
    let made = "{{ctx.made.machineId}}";
    json!({
        "nodes": [
            { "id": "start", "type": "start", "config": { "inputSchema": {
                "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } } },
            { "id": "make", "type": "machineOperation", "config": {
                "operation": "createMachine", "name": "desktop-{{ctx.input.name}}", "os": "UBUNTU", "vcpus": 1,
                "memoryMib": 64, "diskGib": 1, "host": host, "outputVariable": "made" } },
            { "id": "health", "type": "healthCheck", "config": {
                "machineId": made, "checkName": "STATE", "outputVariable": "health" } },
            { "id": "keep", "type": "machineOperation", "config": {
                "operation": "createSnapshot", "machineId": made, "snapshotName": "clean",
                "description": "As {{ctx.input.name}} got it" } },
            { "id": "end", "type": "end", "config": { "outputParameters": [
                { "name": "machine", "sourceVariable": made },
                { "name": "host", "sourceVariable": "{{ctx.made.host}}" },
                { "name": "verdict", "sourceVariable": "{{ctx.health.verdict}}" } ] } },
        ],
        "edges": [
            { "source": "start", "target": "make" },
            { "source": "make", "target": "health" },
            { "source": "health", "target": "keep" },
            { "source": "keep", "target": "end" },
        ],
    })
}

/// Gives each person that is told of a machine.
pub(super) fn desktops(workflow: &str) -> Value {
    json!({ "actions": [
        { "type": "transform", "code": "#{ name: event.person.name }" },
        { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "name": "{{event.name}}" } },
    ] })
}

/// A transform that fails whatever it is given, until it is [`mended`].
pub(super) fn broken() -> Value {
    json!({ "actions": [
        { "type": "transform", "code": "throw \"the rate table is missing\"" },
        { "type": "save_to_buffer", "bufferName": "rates" },
    ] })
}

/// [`broken`], mended.
pub(super) fn mended() -> Value {
    json!({ "actions": [
        { "type": "transform", "code": "#{ rate: event.rate }" },
        { "type": "save_to_buffer", "bufferName": "rates" },
    ] })
}
