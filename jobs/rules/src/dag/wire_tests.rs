//! Tests of the stored forms: what is written today reads the same for ever.

use chrono::DateTime;
use serde_json::{Value, json};

use super::build::rebuild;
use super::change::{Change, Entry, RunEnd};
use super::run::Run;
use super::wire::{Unreadable, read_change, read_entry, read_run, write_change, write_entry, write_run};

/// Every entry with its stored form. A form is only ever added to; a line here never changes.
fn entries() -> Vec<(Entry, Value)> {
    let until = DateTime::parse_from_rfc3339("2026-01-31T08:00:00.5Z").unwrap().to_utc();
    let node = || "a".to_owned();
    vec![
        (Entry::RunStarted, json!({"v": 1, "type": "run.started"})),
        (
            Entry::NodeDispatched { node: node(), attempt: 1 },
            json!({"v": 1, "type": "node.dispatched", "node": "a", "attempt": 1}),
        ),
        (
            Entry::NodeSucceeded { node: node(), attempt: 2, handle: Some("success".into()) },
            json!({"v": 1, "type": "node.succeeded", "node": "a", "attempt": 2, "handle": "success"}),
        ),
        (
            Entry::NodeRetried { node: node(), attempt: 1, error: "e".into() },
            json!({"v": 1, "type": "node.retried", "node": "a", "attempt": 1, "error": "e"}),
        ),
        (
            Entry::NodeFailed { node: node(), attempt: 1, error: "e".into(), handle: None },
            json!({"v": 1, "type": "node.failed", "node": "a", "attempt": 1, "error": "e", "handle": null}),
        ),
        (
            Entry::NodeSuspended { node: node(), attempt: 1, until },
            json!({"v": 1, "type": "node.suspended", "node": "a", "attempt": 1, "until": "2026-01-31T08:00:00.500Z"}),
        ),
        (Entry::NodeSkipped { node: node() }, json!({"v": 1, "type": "node.skipped", "node": "a"})),
        (Entry::NodeCancelled { node: node() }, json!({"v": 1, "type": "node.cancelled", "node": "a"})),
        (
            Entry::CancelRequested { by: "user:1".into() },
            json!({"v": 1, "type": "run.cancel_requested", "by": "user:1"}),
        ),
        (
            Entry::RunFinished { end: RunEnd::Failed, error: Some("e".into()) },
            json!({"v": 1, "type": "run.finished", "end": "failed", "error": "e"}),
        ),
    ]
}

#[test]
fn entries_keep_their_stored_form() {
    for (entry, stored) in entries() {
        assert_eq!(write_entry(&entry), stored);
        assert_eq!(read_entry(&stored).unwrap(), entry);
    }
}

#[test]
fn changes_keep_their_stored_form() {
    let node = || "a".to_owned();
    let changes = [
        (Change::Started, json!({"v": 1, "type": "started"})),
        (
            Change::Succeeded { node: node(), attempt: 1, handle: None },
            json!({"v": 1, "type": "succeeded", "node": "a", "attempt": 1, "handle": null}),
        ),
        (
            Change::Failed { node: node(), attempt: 1, error: "e".into(), again: true },
            json!({"v": 1, "type": "failed", "node": "a", "attempt": 1, "error": "e", "again": true}),
        ),
        (
            Change::Suspended { node: node(), attempt: 1, until: DateTime::UNIX_EPOCH },
            json!({"v": 1, "type": "suspended", "node": "a", "attempt": 1, "until": "1970-01-01T00:00:00Z"}),
        ),
        (
            Change::TimerFired { node: node(), attempt: 1 },
            json!({"v": 1, "type": "timer_fired", "node": "a", "attempt": 1}),
        ),
        (Change::CancelRequested { by: "x".into() }, json!({"v": 1, "type": "cancel_requested", "by": "x"})),
    ];
    for (change, stored) in changes {
        assert_eq!(write_change(&change), stored);
        assert_eq!(read_change(&stored).unwrap(), change);
    }
}

#[test]
fn runs_keep_their_stored_form_and_fit_their_graph() {
    let script = |id: &str| json!({"id": id, "type": "script", "config": {"code": "1"}});
    let draft = |count: usize| {
        let ids = ["b", "c", "d", "e", "f", "g"];
        let nodes: Vec<Value> = std::iter::once(json!({"id": "s", "type": "start"}))
            .chain(ids.iter().take(count).map(|id| script(id)))
            .collect();
        let edges: Vec<Value> =
            ids.iter().take(count).map(|id| json!({"source": "s", "target": id})).collect();
        rebuild(&json!({"nodes": nodes, "edges": edges})).unwrap()
    };
    let graph = draft(6);
    let dispatched = |node: &str| Entry::NodeDispatched { node: node.into(), attempt: 1 };
    let log = [
        Entry::RunStarted,
        Entry::NodeSucceeded { node: "s".into(), attempt: 1, handle: Some("output".into()) },
        dispatched("b"),
        Entry::NodeSuspended { node: "c".into(), attempt: 1, until: DateTime::UNIX_EPOCH },
        Entry::NodeFailed { node: "d".into(), attempt: 1, error: "e".into(), handle: None },
        Entry::NodeSkipped { node: "e".into() },
        Entry::NodeCancelled { node: "f".into() },
    ];
    let run = Run::replay(&graph, &log).unwrap();
    let stored = json!({"v": 1, "status": "RUNNING", "nodes": [
        {"s": "output"}, {"d": 1}, {"t": [1, "1970-01-01T00:00:00Z"]}, {"f": null}, "x", "c", "w"]});
    assert_eq!(write_run(&run), stored);
    assert_eq!(read_run(&stored, &graph).unwrap(), run);
    assert!(matches!(read_run(&stored, &draft(5)), Err(Unreadable::Misfit(_))));
}

#[test]
fn what_a_later_version_wrote_is_refused() {
    let later = json!({"v": 2, "type": "run.started"});
    assert!(matches!(read_entry(&later), Err(Unreadable::Later(2))));
    assert!(matches!(read_entry(&json!({"v": 1, "type": "run.paused"})), Err(Unreadable::Form(_))));
    assert!(matches!(read_entry(&json!(null)), Err(Unreadable::Form(_))));
}
