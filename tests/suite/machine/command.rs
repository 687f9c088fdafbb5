//! Machines switched from the command line, by the door that mutations take.

use rules::id::MachineId;
use serde_json::Value;
use tests::process;

use super::stage::{Stage, simulated};

/// Runs a command on a machine, and gives its exit code, what it printed and what it complained of.
fn millrace(stage: &Stage, machine: MachineId, arguments: &[&str]) -> (Option<i32>, String, String) {
    let id = machine.to_string();
    let arguments: Vec<&str> =
        ["machine", arguments[0], &id].into_iter().chain(arguments[1..].iter().copied()).collect();
    let variables =
        [("DATABASE_URL", stage.database.url()), ("MILLRACE_HOME", "/nonexistent"), ("USER", "ada")];
    let run = process::run(&arguments, &variables);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code(), text(run.stdout), text(run.stderr))
}

/// The same with `--wait --json`: the operation as it ended.
fn done(stage: &Stage, machine: MachineId, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--wait", "--json"]].concat();
    let (code, out, err) = millrace(stage, machine, &arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_switched_from_the_command_line_and_the_audit_says_by_whom() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let cases: [(&[&str], &str, &str); 8] = [
        (&["suspend"], "SUSPEND", "PAUSED"),
        (&["resume"], "RESUME", "RUNNING"),
        (&["reset"], "RESET", "RUNNING"),
        (&["restart"], "RESTART", "RUNNING"),
        (&["stop"], "STOP", "OFF"),
        (&["start"], "START", "RUNNING"),
        (&["force-stop"], "FORCE_OFF", "OFF"),
        (&["destroy", "--yes"], "DESTROY", "ABSENT"),
    ];
    let (code, _, told) = millrace(&stage, machine, &["destroy"]);
    assert_eq!((code, told.contains("say `--yes`")), (Some(2), true), "{told}");
    for (arguments, action, seen) in cases {
        let ended = done(&stage, machine, arguments);
        let told = [&ended["action"], &ended["state"], &ended["requested_by"]];
        assert_eq!(told, [action, "SUCCEEDED", "operator:ada"], "{ended}");
        assert_eq!(stage.machine(machine).await.seen, seen, "{arguments:?}");
    }
    let noted: Vec<(String, String)> = sqlx::query_as(
        "select operation, actor from audit_intake where tenant_id = $1 and operation like 'cli.machine.%' order by at",
    )
    .bind(stage.tenant.0)
    .fetch_all(&mut *stage.conn().await)
    .await
    .unwrap();
    let names: Vec<String> =
        cases.iter().map(|(_, action, _)| format!("cli.machine.{}", action.to_lowercase())).collect();
    assert_eq!(noted, names.into_iter().map(|name| (name, "operator:ada".to_owned())).collect::<Vec<_>>());
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_and_what_is_not_waited_for_is_left_to_the_host() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    done(&stage, machine, &["force-stop"]);
    let (code, _, told) = millrace(&stage, machine, &["suspend", "--wait"]);
    assert_eq!((code, told.is_empty()), (Some(1), false), "{told}");
    hands.stop().await;
    let (code, said, _) = millrace(&stage, machine, &["start"]);
    assert_eq!((code, said.contains("start is waiting")), (Some(0), true), "{said}");
    let nobody: MachineId = "0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b".parse().map(MachineId).unwrap();
    let (code, _, told) = millrace(&stage, nobody, &["start"]);
    assert_eq!(code, Some(1), "{told}");
}
