//! Tests of `build`: drafts that are right, and every fault that can be told.

use serde_json::{Value, json};
use uuid::Uuid;

use super::build::{Compilers, build};
use super::fault::Fault;
use super::limits::{MAX_DEFINITION_BYTES, MAX_NODES};

fn faults(draft: Value) -> Vec<String> {
    let script = |code: &str| if code.contains("let let") { Err("line 1, column 5".into()) } else { Ok(()) };
    match build(&draft, &Compilers { script: &script, expression: &script }) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|f: &Fault| format!("{} {f}", f.reason.as_str())).collect(),
    }
}

pub(super) fn check(draft: Value, expected: &[&str]) {
    let told = faults(draft);
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for part in expected {
        assert!(told.iter().any(|fault| fault.contains(part)), "`{part}` is not among {told:#?}");
    }
}

/// start → script a → end, with one field changed.
fn chain(pointer: &str, value: Value) -> Value {
    let mut draft = json!({
        "nodes": [
            {"id": "s", "type": "start", "config": {"inputSchema": {"type": "object"}}},
            {"id": "a", "type": "script", "config": {"code": "ctx.input", "outputVariable": "r"}},
            {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "out", "sourceVariable": "{{ctx.r.x}}"}]}}
        ],
        "edges": [{"id": "1", "source": "s", "target": "a"}, {"id": "2", "source": "a", "target": "e"}]
    });
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match draft.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(last.into(), value)),
        Value::Array(list) => list.push(value),
        _ => panic!("{pointer}"),
    }
    draft
}

#[test]
fn a_workflow_with_every_kind_of_node_is_built() {
    let draft = json!({
        "nodes": [
            {"id": "s", "type": "start", "title": "Begin", "position": {"x": 1, "y": 2}},
            {"id": "c", "type": "condition", "config": {"branches": [
                {"id": "big", "label": "Big", "conditionLogic": "OR", "conditions": [
                    {"id": "1", "leftValue": "{{ctx.input.n}}", "operator": "greater_than", "rightValue": 10},
                    {"operator": "expression", "expression": "ctx.input.n > 3"},
                    {"operator": "is_empty", "leftValue": "{{ctx.input}}"}]}]}},
            {"id": "a", "type": "script", "config": {"code": "1"}, "timeoutSeconds": 5, "retryLimit": 2,
             "retryDelaySeconds": 0, "errorHandling": "retry_then_continue"},
            {"id": "d", "type": "delay", "config": {"delayType": "dynamic", "delayVariable": "{{ctx.input.ms}}"}},
            {"id": "e", "type": "end", "joinMode": "any", "config": {"status": "error", "outputParameters": [
                {"name": "x", "sourceVariable": {"both": ["{{ctx.scriptResult}}", "{{ctx.input}}"]}}]}}
        ],
        "edges": [
            {"source": "s", "target": "c"},
            {"source": "c", "target": "a", "sourceHandle": "big"},
            {"source": "c", "target": "d", "sourceHandle": "default", "targetHandle": "in", "label": "else"},
            {"source": "a", "target": "e"}, {"source": "a", "target": "e", "sourceHandle": "error"},
            {"source": "d", "target": "e", "sourceHandle": "output"}
        ]
    });
    check(draft, &[]);
    check(chain("/nodes/1/timeoutSeconds", json!(300)), &[]);
}

type Cases = Vec<(&'static str, Value, Vec<&'static str>)>;

#[test]
fn faults_of_fields_are_told_with_their_place() {
    let cases: Cases = vec![
        (
            "/nodes/0/type",
            json!("begin"),
            vec!["node `s`, `type`: `begin` is none of `start`", "no start node"],
        ),
        (
            "/nodes/1/id",
            json!("a b"),
            vec![
                "MALFORMED node `a b`, `id`",
                "edge `1`, `target`",
                "edge `2`, `source`",
                "UNREACHABLE",
                "UNREACHABLE",
                "`ctx.r` leads to nothing",
            ],
        ),
        (
            "/nodes/1/config",
            json!({"code": "let let"}),
            vec!["SCRIPT node `a`, `config.code`: line 1, column 5", "TEMPLATE node `e`"],
        ),
        (
            "/nodes/1/config",
            json!([]),
            vec!["MALFORMED node `a`, `config`: must be an object", "`ctx.r` leads to nothing"],
        ),
        (
            "/nodes/1/config/code",
            json!(null),
            vec!["MISSING node `a`, `config.code`", "`ctx.r` leads to nothing"],
        ),
        ("/nodes/1/config/code", json!(3), vec!["must be a text", "`ctx.r` leads to nothing"]),
        ("/nodes/1/config/cod", json!("x"), vec!["UNKNOWN node `a`, `config.cod`: is no field here"]),
        (
            "/nodes/1/config/outputVariable",
            json!("input"),
            vec!["`config.outputVariable`: must be a name", "`ctx.r` leads"],
        ),
        (
            "/nodes/1/timeoutSeconds",
            json!(301),
            vec!["`timeoutSeconds`: must be a whole number from 1 to 300"],
        ),
        ("/nodes/1/retryLimit", json!(-1), vec!["must be a whole number from 0 to 10"]),
        ("/nodes/1/errorHandling", json!("ignore"), vec!["`ignore` is none of `fail_workflow`"]),
        ("/nodes/1/joinMode", json!("some"), vec!["`some` is none of `all`, `any`"]),
        ("/nodes/0/config/inputSchema", json!({"type": 3}), vec!["SCHEMA node `s`, `config.inputSchema`"]),
        ("/nodes/2/config/status", json!("ok"), vec!["`ok` is none of `success`, `error`"]),
        (
            "/nodes/2/config/outputParameters",
            json!([{"name": "a", "sourceVariable": "{{ctx.q}}"}, {"name": "a", "sourceVariable": "{{oops"}, {"name": "a", "sourceVariable": 1}]),
            vec![
                "`config.outputParameters[0].sourceVariable`: `ctx.q` leads to nothing: what comes before `e` writes `ctx.input`, `ctx.r`",
                "[1].sourceVariable`: `{{` has no",
                "[1].name`: `a` is another",
                "[2].name`: `a` is another",
            ],
        ),
    ];
    for (pointer, value, expected) in cases {
        check(chain(pointer, value), &expected);
    }
}

#[test]
fn faults_of_edges_are_told_with_their_place() {
    let cases: Cases = vec![
        (
            "/edges/1/target",
            json!("nowhere"),
            vec![
                "DANGLING_EDGE edge `2`, `target`: there is no node `nowhere`",
                "UNREACHABLE node `e`",
                "TEMPLATE",
            ],
        ),
        ("/edges/1/sourceHandle", json!("done"), vec!["`done` is no handle of `a`; there are `success`"]),
        ("/edges/1/sourceHandle", json!("error"), vec!["never left by `error`; set its errorHandling"]),
        ("/edges/1/id", json!("1"), vec!["DUPLICATE edge `1`, `id`"]),
        ("/edges/-", json!({"source": "a", "target": "e"}), vec!["DUPLICATE edge `#2`: another edge joins"]),
        (
            "/edges/-",
            json!({"source": "a", "target": "a"}),
            vec!["CYCLE node `a`: leads back to itself through `a`"],
        ),
        (
            "/edges/-",
            json!({"source": "e", "target": "a"}),
            vec!["edge `#2`, `sourceHandle`: an end node leads nowhere"],
        ),
        (
            "/edges/-",
            json!({"source": "a", "target": "s"}),
            vec![
                "CYCLE node `s`: leads back to itself through `s`, `a`",
                "START node `s`: an edge leads into",
            ],
        ),
        ("/edges/-", json!(7), vec!["edge `#2`: must be an object"]),
    ];
    for (pointer, value, expected) in cases {
        check(chain(pointer, value), &expected);
    }
}

#[test]
fn faults_of_the_whole_are_told_with_their_place() {
    let cases: Cases = vec![
        (
            "/nodes/-",
            json!({"id": "s2", "type": "start"}),
            vec!["START node `s2`, `type`: is another start node"],
        ),
        ("/nodes/-", json!({"id": "a", "type": "end"}), vec!["DUPLICATE node `a`, `id`"]),
        ("/nodes/-", json!({"id": "x", "type": "end"}), vec!["UNREACHABLE node `x`"]),
        ("/nodes/-", json!({"type": "end"}), vec!["MISSING node `#3`, `id`", "UNREACHABLE node `#3`"]),
        ("/nodes/-", json!("x"), vec!["node `#3`: must be an object", "UNREACHABLE node `#3`"]),
        ("/version", json!(1), vec!["UNKNOWN workflow, `version`: is no field here"]),
        (
            "/nodes",
            json!({}),
            vec![
                "workflow, `nodes`: must be a list",
                "no start node",
                "DANGLING",
                "DANGLING",
                "DANGLING",
                "DANGLING",
            ],
        ),
    ];
    for (pointer, value, expected) in cases {
        check(chain(pointer, value), &expected);
    }
}

#[test]
fn a_bad_word_hides_no_fault_beside_it() {
    let condition = json!({"operator": "like", "leftValue": "{{oops", "rightValue": "{{ctx.q}}{{", "expression": "let let", "n": 1});
    let branch = json!({"id": "b", "conditions": [condition]});
    let prefix = "config.branches[0].conditions[0]";
    check(
        beside_an_end(json!({"type": "condition", "id": "a", "config": {"branches": [branch]}})),
        &[
            &format!("`{prefix}.operator`: `like` is none of"),
            &format!("TEMPLATE node `a`, `{prefix}.leftValue`"),
            &format!("TEMPLATE node `a`, `{prefix}.rightValue`"),
            &format!("SCRIPT node `a`, `{prefix}.expression`"),
            &format!("`{prefix}.n`: is no field here"),
        ],
    );
    let config =
        json!({"delayType": "short", "delaySeconds": 60, "delayMs": 1000, "untilTime": "{{oops", "delay": 1});
    check(
        beside_an_end(json!({"type": "delay", "id": "a", "config": config})),
        &[
            "`config.delayType`: `short` is none of",
            "`config.delaySeconds`: must be a whole number from 0 to 59",
            "`config.delayMs`: must be a whole number from 0 to 999",
            "TEMPLATE node `a`, `config.untilTime`",
            "`config.delay`: is no field here",
        ],
    );
}

#[test]
fn conditions_and_delays_tell_their_faults() {
    let branch = |condition: Value| json!({"type": "condition", "id": "a", "config": {"branches": [{"id": "b", "conditions": [condition]}]}});
    let left = json!("{{ctx.input.n}}");
    let cases = [
        (
            branch(json!({"operator": "like", "leftValue": left})),
            "conditions[0].operator`: `like` is none of",
        ),
        (
            branch(json!({"operator": "equals", "leftValue": left})),
            "conditions[0].rightValue`: must be there",
        ),
        (branch(json!({"operator": "is_empty"})), "conditions[0].leftValue`: must be there"),
        (
            branch(json!({"operator": "matches_regex", "leftValue": left, "rightValue": "("})),
            "is no regular expression: unclosed group",
        ),
        (
            branch(json!({"operator": "expression", "expression": "let let"})),
            "SCRIPT node `a`, `config.branches[0].conditions[0].expression`",
        ),
        (json!({"type": "condition", "id": "a", "config": {"branches": []}}), "`config.branches`: must list"),
        (
            json!({"type": "condition", "id": "a", "config": {"branches": [{"id": "default", "conditions": [{"operator": "is_empty", "leftValue": 1}]}]}}),
            "`default` is a handle already",
        ),
        (json!({"type": "delay", "id": "a", "config": {}}), "`config.delayType`: must be there"),
        (
            json!({"type": "delay", "id": "a", "config": {"delayType": "fixed", "delayMinutes": 1441}}),
            "from 0 to 1440",
        ),
        (
            json!({"type": "delay", "id": "a", "config": {"delayType": "until"}}),
            "`config.untilTime`: must be there",
        ),
        (
            json!({"type": "delay", "id": "a", "config": {"delayType": "fixed", "untilTime": "x"}}),
            "`config.untilTime`: is no field here",
        ),
    ];
    for (node, expected) in cases {
        check(beside_an_end(node), &[expected]);
    }
}

/// A node `a` and an end, both behind the start.
pub(super) fn beside_an_end(node: Value) -> Value {
    json!({
        "nodes": [{"id": "s", "type": "start"}, node, {"id": "e", "type": "end"}],
        "edges": [{"source": "s", "target": "a"}, {"source": "s", "target": "e"}]
    })
}

#[test]
fn what_cannot_be_read_hides_no_fault_beside_it_and_moves_none_behind_it() {
    let test = |operator: &str, left: &str| json!({"operator": operator, "leftValue": left, "rightValue": 1});
    let branches = json!([
        7,
        {"id": "not an id", "conditions": [test("equls", "{{ctx.lost.x}}"), 7, test("equals", "{{ctx.gone}}")]},
        {"id": "good", "conditions": [test("equals", "{{ctx.away}}")]}
    ]);
    let parameters = json!([{"name": "", "sourceVariable": "{{ctx.none}}"}, 7, {"name": "x", "sourceVariable": "{{ctx.no}}"}]);
    let draft = json!({
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "c", "type": "condition", "config": {"branches": branches}},
            {"id": "e", "type": "end", "config": {"outputParameters": parameters}}
        ],
        "edges": [{"source": "s", "target": "c"}, {"source": "c", "target": "e", "sourceHandle": "good"}, {"source": "c", "target": "e", "sourceHandle": "bad"}]
    });
    check(
        draft,
        &[
            "`config.branches[0]`: must be an object",
            "`config.branches[1].id`",
            "`config.branches[1].conditions[0].operator`",
            "`config.branches[1].conditions[0].leftValue`: `ctx.lost",
            "`config.branches[1].conditions[1]`: must be an object",
            "`config.branches[1].conditions[2].leftValue`: `ctx.gone",
            "`config.branches[2].conditions[0].leftValue`: `ctx.away",
            "there are `good`, `default`",
            "`config.outputParameters[0].name`",
            "`config.outputParameters[0].sourceVariable`: `ctx.none",
            "`config.outputParameters[1]`: must be an object",
            "`config.outputParameters[2].sourceVariable`: `ctx.no",
        ],
    );
}

#[test]
fn several_circles_are_told_apart_and_all_at_once() {
    let node = |id: &str| json!({"id": id, "type": "script", "config": {"code": "1"}});
    let edge = |a: &str, b: &str| json!({"source": a, "target": b});
    let draft = json!({
        "nodes": [{"id": "s", "type": "start"}, {"id": "e", "type": "end"}, node("a"), node("b"), node("c"), node("d"), node("lost")],
        "edges": [edge("s", "e"), edge("s", "a"), edge("a", "b"), edge("b", "a"), edge("b", "c"), edge("c", "d"), edge("d", "c"), edge("c", "gone")]
    });
    check(
        draft,
        &["through `a`, `b`", "through `c`, `d`", "UNREACHABLE node `lost`", "there is no node `gone`"],
    );
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let nodes: Vec<Value> = (0..=MAX_NODES).map(|i| json!({"id": format!("n{i}"), "type": "end"})).collect();
    check(
        json!({"nodes": nodes}),
        &["TOO_LARGE workflow, `nodes`: has 501 entries; at most 500 fit", "no start node"],
    );
    let ids: Vec<String> = (0..21).map(|i| format!("n{i}")).collect();
    let ends = ids.iter().map(|id| json!({"id": id, "type": "end"}));
    let nodes: Vec<Value> = std::iter::once(json!({"id": "s", "type": "start"})).chain(ends).collect();
    let edges: Vec<Value> = ids.iter().map(|id| json!({"source": "s", "target": id})).collect();
    check(
        json!({"nodes": nodes, "edges": edges}),
        &["TOO_LARGE workflow, `nodes`: has 21 end nodes; at most 20 fit"],
    );
    let long = "x".repeat(MAX_DEFINITION_BYTES);
    check(chain("/nodes/1/title", json!(long)), &["TOO_LARGE workflow: has"]);
    check(json!([]), &["workflow: must be an object"]);
    check(json!(null), &["workflow: must be an object"]);
}

#[test]
fn the_guide_shows_a_workflow_that_is_built_and_a_pipeline_that_is_read() {
    let guide = include_str!("../../../../docs/WORKFLOWS.md");
    let shown: Vec<&str> =
        guide.split("```json").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    let [workflow, pipeline] = shown[..] else { panic!("{} examples", shown.len()) };
    check(serde_json::from_str(workflow).unwrap(), &[]);
    let pipeline = pipeline.replace('…', &Uuid::nil().to_string());
    let pipeline: Value = serde_json::from_str(&pipeline).unwrap();
    let mut last = 0;
    let fresh = || {
        last += 1;
        Uuid::from_u128(last)
    };
    assert_eq!(crate::listener::Pipeline::parse(&pipeline, None, fresh).unwrap().actions.len(), 2);
    for (operator, _) in super::condition::Operator::ALL {
        assert!(guide.contains(&format!("`{operator}`")), "the guide does not name `{operator}`");
    }
}
