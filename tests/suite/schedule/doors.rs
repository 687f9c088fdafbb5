//! The doors to schedules: previews, clones, the operator's commands.

use serde_json::{Value, json};
use tests::process;

use super::stage::{Stage, faults};

const PREVIEW: &str = "query($c: String, $z: String, $s: Int, $at: DateTime, $n: Int) {
    previewSchedule(cron: $c, timeZone: $z, intervalSeconds: $s, at: $at, count: $n) }";

#[tokio::test(flavor = "multi_thread")]
async fn the_next_runs_are_told_before_a_schedule_is_saved() {
    let stage = Stage::new().await;
    let told = stage.admin.ok(PREVIEW, json!({"c": "30 2 29 2 *", "z": "Europe/Berlin", "n": 2})).await;
    let days: Vec<&str> =
        told["previewSchedule"].as_array().unwrap().iter().map(|at| &at.as_str().unwrap()[4..16]).collect();
    assert_eq!(days, ["-02-29T01:30", "-02-29T01:30"]);
    let told = stage.admin.ok(PREVIEW, json!({"at": "2060-01-01T00:00:00Z"})).await;
    assert_eq!(told["previewSchedule"].as_array().unwrap().len(), 1);
    let told = stage.admin.ok(PREVIEW, json!({"s": 60, "n": 100})).await;
    assert_eq!(told["previewSchedule"].as_array().unwrap().len(), 100);
    let (code, wrong) = faults(&stage.admin.ask(PREVIEW, json!({"c": "0 25 * * *"})).await.json());
    assert!(
        code == "BAD_USER_INPUT" && wrong[0].0 == "cron" && wrong[0].1.contains("hour `25`"),
        "{wrong:?}"
    );
    let (_, told) = stage.admin.refusal(PREVIEW, json!({"s": 60, "n": 101})).await;
    assert!(told.contains("`count` is 101"), "{told}");
    assert_eq!(stage.count("schedule").await, 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schedule_of_a_list_has_its_own_history_and_next_runs() {
    let stage = Stage::new().await;
    let run = "mutation($t: ID!, $id: ID!) { runSchedule(tenant: $t, id: $id) { id } }";
    for (n, seconds) in [60, 3_600, 86_400].into_iter().enumerate() {
        let id = stage.schedule(json!({"intervalSeconds": seconds})).await;
        for _ in 0..n {
            stage.admin.ok(run, json!({"t": stage.tenant, "id": id})).await;
        }
    }
    let list = "query($t: ID!, $a: String) { schedules(tenant: $t, first: 100) { nodes { id intervalSeconds nextRunAt nextRuns(count: 2)
        history(first: 1, after: $a) { nodes { id } pageInfo { hasNextPage endCursor } } } } }";
    let told = stage.admin.ok(list, json!({"t": stage.tenant})).await["schedules"]["nodes"].clone();
    for (schedule, firings) in told.as_array().unwrap().iter().zip([2, 1, 0]) {
        let history = &schedule["history"];
        assert_eq!(history["nodes"].as_array().unwrap().len(), firings.min(1), "{schedule}");
        assert_eq!(history["pageInfo"]["hasNextPage"], firings > 1, "{schedule}");
        let all = stage.history(&schedule["id"]).await;
        assert_eq!(all.len(), firings, "{schedule}");
        assert_eq!(schedule["nextRuns"][0], schedule["nextRunAt"], "{schedule}");
        assert_eq!(schedule["nextRuns"].as_array().unwrap().len(), 2, "{schedule}");
    }
    let after = told[0]["history"]["pageInfo"]["endCursor"].clone();
    let rest =
        stage.admin.ok(list, json!({"t": stage.tenant, "a": after})).await["schedules"]["nodes"].clone();
    let next = &rest[0]["history"];
    assert_eq!(
        (next["nodes"].as_array().unwrap().len(), &next["pageInfo"]["hasNextPage"]),
        (1, &json!(false))
    );
    assert_ne!(next["nodes"][0]["id"], told[0]["history"]["nodes"][0]["id"]);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_disabled_and_a_deleted_one_fires_no_more() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"cron": "@hourly", "workflowConfig": {"a": 1}, "retryAttempts": 3})).await;
    let clone = "mutation($t: ID!, $id: ID!) { cloneSchedule(tenant: $t, id: $id, title: \"Copy\") {
        id title cron timeZone isDisabled nextRunAt workflowConfig retryAttempts version } }";
    let made = stage.admin.ok(clone, json!({"t": stage.tenant, "id": id})).await["cloneSchedule"].clone();
    assert_eq!(
        (
            &made["title"],
            &made["cron"],
            &made["timeZone"],
            &made["isDisabled"],
            &made["retryAttempts"],
            &made["workflowConfig"]
        ),
        (&json!("Copy"), &json!("@hourly"), &json!("UTC"), &json!(true), &json!(3), &json!({"a": 1})),
        "{made}"
    );
    assert_ne!(made["id"], id);
    stage.due_since(&id, 1).await;
    let delete = "mutation($t: ID!, $id: ID!) { deleteSchedule(tenant: $t, id: $id) }";
    stage.admin.ok(delete, json!({"t": stage.tenant, "id": id})).await;
    assert_eq!(stage.fire().await.due, 0);
    assert_eq!(stage.admin.refusal(delete, json!({"t": stage.tenant, "id": id})).await.0, "NOT_FOUND");
    let audit = stage.count("audit_intake where operation like '%Schedule'").await
        + stage.count("audit_entry where operation like '%Schedule'").await;
    assert!(audit >= 3, "each change is in the audit: {audit}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_list_show_preview_pause_resume_and_run() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"cron": "0 7 * * MON-FRI", "timeZone": "Europe/Berlin"})).await;
    let millrace = |arguments: &[&str]| {
        let run = process::run(
            arguments,
            &[("DATABASE_URL", stage.database.url()), ("MILLRACE_HOME", "/nonexistent")],
        );
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    let json = |arguments: &[&str]| -> Value {
        let arguments: Vec<&str> = ["schedule"].iter().chain(arguments).chain(&["--json"]).copied().collect();
        let (code, out, err) = millrace(&arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        serde_json::from_str(&out).unwrap()
    };
    let of = id.as_str().unwrap();
    assert_eq!(json(&["list"])[0]["id"], id);
    assert_eq!(json(&["list", "--tenant", stage.tenant.as_str().unwrap()])[0]["cron"], "0 7 * * MON-FRI");
    assert_eq!(json(&["pause", of])["disabled"], true);
    assert!(stage.look(&id).await["nextRunAt"].is_null());
    assert!(json(&["resume", of])["next_at"].is_string());
    assert!(json(&["run", of])["firing"].is_string());
    let shown = json(&["show", of]);
    assert_eq!(
        (&shown["firings"][0]["trigger_type"], &shown["firings"][0]["state"]),
        (&json!("MANUAL"), &json!("QUEUED"))
    );
    assert!(shown["firings"][0]["asked_by"].as_str().unwrap().starts_with("operator:"), "{shown}");
    assert_eq!(json(&["preview", of, "--count", "3"]).as_array().unwrap().len(), 3);
    assert_eq!(json(&["preview", "--interval", "60"]).as_array().unwrap().len(), 5);
    let (code, people, _) = millrace(&["schedule", "show", of]);
    assert!(code == Some(0) && people.contains("0 7 * * MON-FRI (Europe/Berlin)"), "{people}");
    let (code, _, told) = millrace(&["schedule", "preview", "--cron", "0 0 30 2 *"]);
    assert!(code == Some(2) && told.contains("`--cron`") && told.contains("never comes true"), "{told}");
    let (code, _, told) =
        millrace(&["schedule", "preview", "--cron", "@daily", "--time-zone", "Europe/Pari"]);
    assert!(code == Some(2) && told.contains("`Europe/Paris`"), "{told}");
    assert_eq!(millrace(&["schedule", "preview"]).0, Some(2));
    let noted = stage.count("audit_intake where operation like 'cli.schedule.%'").await;
    assert_eq!(noted, 3, "pause, resume and run");
    stage.close().await;
}
