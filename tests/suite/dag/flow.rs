//! Where a run goes: branches, joins, retries, waits, versions, cancellation.

use jobs::dag::start::{Started, cancel};
use jobs::queue::postgres::control;
use rules::dag::Entry;
use rules::id::{JobId, TenantId};
use rules::queue::Why;
use serde_json::{Value, json};
use tests::wait;
use uuid::Uuid;

use super::stage::{Stage, chain, end, flow, script, succeeded, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_by_its_branch_and_joins() {
    let condition = json!({"id": "c", "type": "condition", "config": {"branches": [
        {"id": "big", "label": "Big", "conditions": [
            {"leftValue": "{{ctx.input.n}}", "operator": "greater_than", "rightValue": 10},
            {"operator": "expression", "expression": "ctx.input.n % 2 == 0"}]}]}});
    let stage = Stage::of(flow(
        vec![
            condition,
            script("big", "ctx.input.n * 2"),
            script("small", "0 - ctx.input.n"),
            script("beside", "#{ list: [1, 2, ctx.input.n] }"),
            script("join", "(ctx.get(\"big\") ?? ctx.get(\"small\")) + ctx.beside.list.len()"),
            end("e", &[("sum", "{{ctx.join}}"), ("text", "n={{ctx.input.n}}, last={{ctx.beside.list[2]}}")]),
        ],
        &[
            "s c",
            "s beside",
            "c big big",
            "c default small",
            "big join",
            "small join",
            "beside join",
            "join e",
        ],
    ))
    .await;
    let hands = stage.hands().await;
    for (n, sum, not_taken) in [(12, 27, "small"), (13, -10, "big"), (4, -1, "big")] {
        let run = stage.start(json!({"n": n})).await;
        let view = stage.ended(run).await;
        assert_eq!(view.status, "COMPLETED", "{:?}", view.error);
        assert_eq!(view.output, Some(json!({"sum": sum, "text": format!("n={n}, last={n}")})));
        let log = stage.log(run).await;
        assert!(log.contains(&Entry::NodeSkipped { node: not_taken.into() }));
        assert_eq!(succeeded(&log, "join"), 1);
    }
    hands.stop().await;
    assert_eq!(stage.count("job").await, 0);
    assert_eq!(stage.count("run_inbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_branches_join_once() {
    const BRANCHES: usize = 100;
    let names: Vec<String> = (0..BRANCHES).map(|i| format!("b{i}")).collect();
    let mut nodes: Vec<Value> = names.iter().map(|n| script(n, "1")).collect();
    nodes.push(script("join", "let sum = 0; for i in 0..100 { sum += ctx[`b${i}`]; } sum"));
    nodes.push(end("e", &[("sum", "{{ctx.join}}")]));
    let edges: Vec<String> = names
        .iter()
        .flat_map(|n| [format!("s {n}"), format!("{n} join")])
        .chain(["join e".to_owned()])
        .collect();
    let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
    let stage = Stage::of(flow(nodes, &edges)).await;
    // Two processes' worth of hands, so that completions meet at the run's row.
    let (one, two) = (stage.hands().await, stage.hands().await);
    for _ in 0..3 {
        let run = stage.start(json!({})).await;
        let view = stage.ended(run).await;
        assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"sum": BRANCHES}))));
        let log = stage.log(run).await;
        assert!(names.iter().all(|n| succeeded(&log, n) == 1));
        assert_eq!(succeeded(&log, "join"), 1);
    }
    one.stop().await;
    two.stop().await;
    assert_eq!(stage.count("job_attempt").await + stage.count("job_dead").await, 0, "an attempt failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_node_is_tried_again_and_then_handled_or_fatal() {
    let retry = |policy: &str| json!({"errorHandling": policy, "retryLimit": 2, "retryDelaySeconds": 0});
    let stage = Stage::of(flow(
        vec![
            with(script("a", "throw \"no luck\""), retry("retry_then_continue")),
            script("rescue", "\"rescued\""),
            with(script("b", "if ctx.input.fatal { throw \"the end\" } 1"), retry("retry_then_fail")),
            end("e", &[("by", "{{ctx.rescue}}")]),
        ],
        &["s a", "a b", "a error rescue", "rescue e", "s b"],
    ))
    .await;
    let hands = stage.hands().await;
    let run = stage.start(json!({"fatal": false})).await;
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"by": "rescued"}))));
    let log = stage.log(run).await;
    let tried = log.iter().filter(|e| matches!(e, Entry::NodeRetried { node, .. } if node == "a")).count();
    assert_eq!(tried, 2);
    let failed = |e: &Entry| matches!(e, Entry::NodeFailed { node, attempt: 3, error, handle: Some(handle) } if node == "a" && handle == "error" && error.contains("no luck"));
    assert!(log.iter().any(failed), "{log:#?}");

    let run = stage.start(json!({"fatal": true})).await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    assert!(view.error.unwrap().starts_with("node `b` failed: script failed: the end"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_holds_no_slot_and_any_begins_at_the_first() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let stage = Stage::of(flow(
        vec![
            delay,
            script("quick", "1"),
            with(script("first", "2"), json!({"joinMode": "any"})),
            end("e", &[("x", "{{ctx.first}}")]),
        ],
        &["s d", "s quick", "d first", "quick first", "first e"],
    ))
    .await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("only the delay is left", async || {
        let log = stage.log(run).await;
        succeeded(&log, "e") == 1 && log.iter().any(|e| matches!(e, Entry::NodeSuspended { .. }))
    })
    .await;
    wait::until("nothing but a wake-up is kept", async || {
        stage.count("job").await == 1 && stage.count("job_scheduled").await == 1
    })
    .await;
    assert_eq!(stage.count("job_lease").await, 0);
    let log = stage.log(run).await;
    assert_eq!(succeeded(&log, "first"), 1);
    assert!(log.iter().any(|e| matches!(e, Entry::NodeSuspended { node, .. } if node == "d")));
    assert_eq!(stage.view(run).await.status, "RUNNING");
    let mut conn = stage.database.connect().await;
    let wake: i64 =
        sqlx::query_scalar("select job_id from job_scheduled").fetch_one(&mut conn).await.unwrap();
    // It is the delay that was asked for, and nobody's to cut short.
    let refused = control::hasten(&mut conn, JobId(wake)).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::Conflict);
    let told = refused.to_string();
    assert!(told.contains("is a `run.wake`") && told.contains("or cancel its run instead"), "{told}");
    assert_eq!(stage.view(run).await.status, "RUNNING");
    // An hour passes.
    sqlx::query("update job_scheduled set run_at = now()").execute(&mut conn).await.unwrap();
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"x": 2}))));
    assert_eq!(succeeded(&stage.log(run).await, "first"), 1);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_nothing_behind() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let retry = json!({"errorHandling": "retry_then_fail", "retryLimit": 3, "retryDelaySeconds": 3600});
    let nodes = vec![delay, with(script("a", "throw 1"), retry), end("e", &[])];
    let stage = Stage::of(flow(nodes, &["s d", "s a", "d e"])).await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("both wait", async || stage.count("job_scheduled").await == 2).await;
    let mut conn = stage.database.connect().await;
    // The delay was asked for, the node's next attempt was not.
    let ids: Vec<i64> = sqlx::query_scalar("select id from job").fetch_all(&mut conn).await.unwrap();
    let whys = jobs::queue::postgres::why::whys(&mut conn, &ids).await.unwrap();
    assert_eq!(whys.iter().filter(|(_, why)| matches!(why, Why::Retrying(_))).count(), 1, "{whys:?}");
    assert_eq!(whys.iter().filter(|(_, why)| matches!(why, Why::NotDue(_))).count(), 1, "{whys:?}");
    let other = TenantId(Uuid::now_v7());
    let refused = cancel(&mut conn, run, other, "stranger").await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::NotFound);
    hands.wake.send(&cancel(&mut conn, run, stage.tenant, "tester").await.unwrap());
    let view = stage.ended(run).await;
    assert_eq!(view.status, "CANCELLED");
    assert_eq!(
        stage.log(run).await.last(),
        Some(&Entry::RunFinished { end: rules::dag::RunEnd::Cancelled, error: None })
    );
    wait::until("no job is left", async || stage.count("job").await == 0).await;
    let again = cancel(&mut conn, run, stage.tenant, "tester").await.unwrap_err();
    assert_eq!(again.code, jobs::Code::Conflict);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_starts_one_run() {
    let stage = Stage::of(chain(1)).await;
    let input = json!({"n": 1});
    let starts = (0..20).map(|_| stage.try_start(&input, Some("order-1")));
    let started: Vec<Started> =
        futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    assert!(started.iter().all(|s| s.run == started[0].run));
    assert_eq!(started.iter().filter(|s| !s.existing).count(), 1);
    assert_eq!((stage.count("run").await, stage.count("job").await), (1, 1));
    let other = stage.try_start(&json!({"n": 2}), Some("order-1")).await.unwrap_err();
    assert_eq!(other.code, jobs::Code::Conflict);
    assert!(!stage.try_start(&json!({"n": 2}), Some("order-2")).await.unwrap().existing);
    for bad in ["", &"x".repeat(256)] {
        assert_eq!(stage.try_start(&input, Some(bad)).await.unwrap_err().code, jobs::Code::Invalid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_held_to_the_schema_and_their_bound() {
    let mut definition = chain(1);
    definition["nodes"][0]["config"] = json!({"inputSchema": {"type": "object", "required": ["n"]}});
    let stage = Stage::of(definition).await;
    let refused = stage.try_start(&json!({}), None).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::Invalid);
    assert!(refused.to_string().contains("\"n\" is a required property"), "{refused}");
    let large = json!({"n": "x".repeat(rules::dag::limits::MAX_INPUT_BYTES)});
    assert_eq!(stage.try_start(&large, None).await.unwrap_err().code, jobs::Code::Invalid);
    assert_eq!(stage.count("run").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_the_version_that_it_began_with() {
    let stage = Stage::of(chain(2)).await;
    let run = stage.start(json!({})).await;
    let mut conn = stage.database.connect().await;
    let changed = tests::definition(&flow(vec![end("e", &[])], &["s e"]));
    jobs::workflow::store::save(&mut conn, stage.workflow, stage.tenant, 1, "changed", &changed, "tester")
        .await
        .unwrap();
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!((view.workflow_version, view.output), (1, Some(json!({"last": 1}))));
    assert_eq!(stage.view(stage.start(json!({})).await).await.workflow_version, 2);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_fails_its_node_alone() {
    let ends: Vec<(String, &str)> = (0..10).map(|i| (format!("o{i}"), "{{ctx.input.big}}")).collect();
    let ends: Vec<(&str, &str)> = ends.iter().map(|(name, from)| (name.as_str(), *from)).collect();
    let stage = Stage::of(flow(vec![end("e", &ends)], &["s e"])).await;
    let hands = stage.hands().await;
    let run = stage.start(json!({"big": "x".repeat(200_000)})).await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    let error = view.error.unwrap();
    assert!(error.starts_with("node `e` failed: the output has more than 262144 bytes"), "{error}");
    assert_eq!(stage.ended(stage.start(json!({"big": 1})).await).await.status, "COMPLETED");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_measured_as_they_are_kept() {
    let many = script("many", "let l = []; for i in 0..ctx.input.n { l.push(1e308); } l");
    let stage = Stage::of(flow(vec![many, end("e", &[])], &["s many", "many e"])).await;
    let hands = stage.hands().await;
    assert_eq!(stage.ended(stage.start(json!({"n": 800})).await).await.status, "COMPLETED");
    let view = stage.ended(stage.start(json!({"n": 900})).await).await;
    let told = "node `many` failed: the output has 279001 bytes once its numbers are written out; at most 262144 are kept";
    assert_eq!((view.status.as_str(), view.error.as_deref()), ("FAILED", Some(told)));
    hands.stop().await;
    let refused = stage.try_start(&json!({"n": 1, "list": vec![1e308; 1_000]}), None).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::Invalid);
    assert!(refused.to_string().contains("once its numbers are written out"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_leads_to_nothing_fails_its_node_once_and_says_where() {
    let compare = |left: &str, operator: &str| json!({"id": "yes", "conditions": [{"leftValue": left, "operator": operator, "rightValue": 1}]});
    let asks =
        |id: &str, branch: Value| json!({"id": id, "type": "condition", "config": {"branches": [branch]}});
    let stage = Stage::of(flow(
        vec![
            asks("there", json!({"id": "yes", "conditions": [{"leftValue": "{{ctx.input.total}}", "operator": "is_not_empty"}]})),
            with(
                asks("one", compare("{{ctx.input.total}}", "equals")),
                json!({"errorHandling": "retry_then_continue", "retryLimit": 5, "retryDelaySeconds": 0}),
            ),
            script("made", "#{ total: 7 }"),
            end("e", &[("sum", "{{ctx.made.total}}"), ("note", "{{ctx.input.note ?? 'none'}}")]),
            end("f", &[("sum", "{{ctx.made.totel}}")]),
        ],
        &["s there", "there default one", "one error made", "one default e", "made e", "there yes f", "made f"],
    ))
    .await;
    let hands = stage.hands().await;
    let run = stage.start(json!({"totl": 1})).await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    let told = "node `f` failed: the output parameter `sum`: `{{ctx.made.totel}}` leads to nothing: `ctx.made` has \
                no `totel`; `total` is the nearest name that it has. Mend the path, or say what stands there \
                instead, as in `{{ctx.made.totel ?? null}}`";
    assert_eq!(view.error.as_deref(), Some(told));
    let log = stage.log(run).await;
    let failed = |e: &Entry| matches!(e, Entry::NodeFailed { node, attempt: 1, error, .. } if node == "one" && error.contains("`totl` is the nearest"));
    assert!(log.iter().any(failed), "no attempt after the first could find more: {log:#?}");
    hands.stop().await;
}
