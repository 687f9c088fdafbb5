//! The operator's commands on a database with work in it, as processes.

use jobs::payload::audit::AuditFlush;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use rules::queue::Pool;
use serde_json::Value;
use tests::{Database, Hands, Millrace, process, wait};

/// Runs a command on the database and gives its exit code and what it printed.
fn millrace(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    let run = process::run(arguments, &[("DATABASE_URL", database.url()), ("MILLRACE_HOME", "/nonexistent")]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code(), text(run.stdout), text(run.stderr))
}

/// The same with `--json`, which must be one document.
fn json(database: &Database, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let (code, out, err) = millrace(database, &arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
}

async fn put(database: &Database, payload: Noop) -> i64 {
    let job = NewJob::of(&payload).unwrap().max_attempts(1);
    let mut conn = database.desk().await;
    enqueue(&mut conn, &[job]).await.unwrap()[0].id.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_seen_explained_and_cancelled() {
    let database = Database::new().await;
    let id = put(&database, Noop::default()).await;
    // The house's own upkeep, which comes by itself, hides nothing that somebody asked for.
    let upkeep = NewJob::of(&AuditFlush::default()).unwrap();
    let upkeep = enqueue(&mut database.connect().await, &[upkeep]).await.unwrap()[0].id.0;
    let list = json(&database, &["job", "list", "--state", "ready"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["id"]), (1, &id.into()), "{list}");
    assert_eq!(json(&database, &["job", "list", "--all"])[0]["id"], upkeep);
    assert_eq!(json(&database, &["job", "list", "--kind", "audit.flush"])[0]["id"], upkeep);
    let (_, people, _) = millrace(&database, &["job", "list"]);
    let closing = people.lines().last().unwrap();
    assert!(closing.contains("audit.flush, host.reconcile") && closing.contains("`--all`"), "{people}");
    let shown = json(&database, &["job", "show", &id.to_string()]);
    assert_eq!((&shown["state"], &shown["why_code"]), (&"READY".into(), &"NO_WORKER".into()), "{shown}");
    let (code, people, _) = millrace(&database, &["job", "show", &id.to_string()]);
    assert_eq!(code, Some(0));
    assert!(people.contains("no worker serves its pool"), "{people}");

    let (code, _, told) = millrace(&database, &["job", "retry", &id.to_string()]);
    assert_eq!(code, Some(1));
    assert!(told.contains(&format!("job {id} is ready; only one that waits for its next attempt")), "{told}");
    json(&database, &["job", "cancel", &id.to_string()]);
    assert_eq!(json(&database, &["job", "show", &id.to_string()])["state"], "CANCELLED");
    let (code, _, told) = millrace(&database, &["job", "show", "999999"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("there is no job 999999"), "{told}");
    let (code, _, told) = millrace(&database, &["job", "list", "--state", "lost"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("there are ready, scheduled"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_waits_until_it_is_resumed() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    assert_eq!(json(&database, &["queue", "pause", "maintenance"])["paused"], true);
    let id = put(&database, Noop::default()).await;
    let shown = json(&database, &["job", "show", &id.to_string()]);
    assert_eq!(shown["why_code"], "QUEUE_PAUSED", "{shown}");
    let queues = json(&database, &["queue", "list"]);
    let queue = queues.as_array().unwrap().iter().find(|q| q["name"] == "maintenance").unwrap();
    assert!(queue["paused_at"].is_string() && queue["ready"] == 1, "{queue}");
    assert_eq!(json(&database, &["queue", "resume", "maintenance"])["paused"], false);
    wait::until("it is done", || async {
        json(&database, &["job", "show", &id.to_string()])["state"] == "DONE"
    })
    .await;
    let (code, _, told) = millrace(&database, &["queue", "pause", "nowhere"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("there is no queue `nowhere`"), "{told}");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_shows_its_errors_and_is_redriven() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let id = put(&database, Noop { fail: Some("no luck".into()), ..Noop::default() }).await;
    let id = id.to_string();
    wait::until("it is dead", || async { json(&database, &["dlq", "list"])[0]["error"] == "no luck" }).await;
    let shown = json(&database, &["dlq", "show", &id]);
    assert_eq!(shown["attempts"][0]["error"], "no luck", "{shown}");
    hands.stop().await;

    let (code, _, told) = millrace(&database, &["dlq", "redrive", "999999"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("there is no job 999999"), "{told}");
    // What is gone holds up none of the others, and each is told of.
    let (code, out, told) =
        millrace(&database, &["dlq", "redrive", "999999", &id, "--attempts", "2", "--json"]);
    assert_eq!(code, Some(1), "{told}");
    let each: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&each[0]["became"], &each[1]["became"]), (&"refused".into(), &"redriven".into()), "{each}");
    assert!(each[0]["error"].as_str().unwrap().contains("there is no job 999999"), "{each}");
    assert!(told.contains("1 of 2 refused: 999999"), "{told}");
    assert_eq!(json(&database, &["job", "show", &id])["state"], "READY");
    let (code, _, told) = millrace(&database, &["dlq", "show", &id]);
    assert_eq!(code, Some(1));
    assert!(told.contains("is no dead letter, it is ready"), "{told}");

    // The decision against it.
    let (code, _, told) = millrace(&database, &["dlq", "discard", &id]);
    assert_eq!(code, Some(1), "{told}");
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    wait::until("it is dead again", || async { json(&database, &["job", "show", &id])["state"] == "DEAD" })
        .await;
    hands.stop().await;
    assert_eq!(json(&database, &["dlq", "discard", &id])[0]["became"], "discarded");
    assert_eq!(json(&database, &["dlq", "list"]), serde_json::json!([]));
    let shown = json(&database, &["job", "show", &id]);
    assert_eq!(shown["state"], "CANCELLED", "{shown}");
    assert!(shown["attempts"].as_array().unwrap().len() >= 2, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_what_it_serves_and_of_the_last_attempt_that_it_was_the_last() {
    let database = Database::new().await;
    let failing = Noop { fail: Some("no luck".into()), ..Noop::default() };
    let job = NewJob::of(&failing).unwrap().max_attempts(2);
    enqueue(&mut database.connect().await, &[job]).await.unwrap();
    let variables = [("DATABASE_URL", database.url()), ("LOG_FORMAT", "json"), ("LOG", "info,workers=debug")];
    let mut worker = Millrace::start(&["worker", "--pools", "maintenance,dag"], &variables);
    worker.printed("the last attempt failed; the job is a dead letter").await;
    let log = worker.log();
    assert_eq!(log.matches("attempt failed; it will be tried again").count(), 1, "{log}");
    assert!(log.contains(r#""pools":"maintenance,dag","hosts":"""#), "{log}");
    // What is said of our own rooms makes the libraries no louder.
    assert!(!log.contains("dag started") && !log.contains(r#""target":"apalis"#), "{log}");
    assert!(worker.stop(wait::LIMIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_told_instead_of_an_empty_list() {
    let database = Database::new().await;
    let nobody = "0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b";
    for (arguments, told) in [
        (&["job", "list", "--kind", "run.nod"][..], "`run.node` is the nearest name"),
        (&["dlq", "list", "--kind", "everything"], "there are `run.node`, "),
        (&["job", "list", "--tenant", nobody], "there is no tenant `0190a2b4"),
        (&["dlq", "list", "--tenant", nobody], "`millrace job show` tells whose a job is"),
        (&["machine", "list", "--tenant", nobody], "there is no tenant `0190a2b4"),
        (&["machine", "list", "--host", "nowhere"], "there is no host `nowhere`"),
        // What is no id at all.
        (&["job", "show", "abc"], "a job's id is a whole number from 1, such as 4711; `millrace job list`"),
        (&["dlq", "redrive", "abc"], "`millrace dlq list` show ids"),
        (
            &["machine", "show", "abc"],
            "looks like 0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b; `millrace machine list`",
        ),
        (&["job", "list", "--tenant", "acme"], "the API's `tenants` lists ids"),
    ] {
        let (code, out, err) = millrace(&database, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    // What exists and has nothing is an empty list.
    let tenant = uuid::Uuid::now_v7().to_string();
    let statement = format!("insert into tenant (id, slug, title) values ('{tenant}', 'acme', 'Acme')");
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database.connect().await).await.unwrap();
    for arguments in [&["job", "list", "--kind", "run.node"][..], &["machine", "list", "--tenant", &tenant]] {
        assert_eq!(json(&database, arguments), serde_json::json!([]), "{arguments:?}");
    }
    let (code, _, told) = millrace(&database, &["queue", "pause", "dag"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("`dag` is a pool, and `workflow` is the queue of it"), "{told}");
    assert!(told.contains("`millrace queue list` shows those there are"), "{told}");
    let (_, _, told) = millrace(&database, &["queue", "pause", "lisener"]);
    assert!(told.contains("`listener` is the nearest name that there is"), "{told}");
    let (code, _, told) = millrace(&database, &["host", "drain", "nowhere"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("`millrace host list` shows those there are"), "{told}");
}

#[test]
fn a_database_that_cannot_be_reached_is_named_with_the_reason_and_without_its_password() {
    for (url, place, reason) in [
        ("postgres://ann:hunter2@127.0.0.1:1/mill", "`mill` at `127.0.0.1:1`", "Connection refused"),
        (
            "postgres:///mill?host=/nonexistent&user=ann",
            "`mill` at the socket in `/nonexistent`",
            "No such file",
        ),
    ] {
        let run = process::run(&["job", "list"], &[("DATABASE_URL", url), ("MILLRACE_HOME", "/nonexistent")]);
        let err = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(1), "{err}");
        for told in [place, reason, "mend `DATABASE_URL`"] {
            assert!(err.contains(told), "{told}: {err}");
        }
        assert!(!err.contains("hunter2") && !err.contains("pool timed out"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_one_document_for_programs_too() {
    let database = Database::new().await;
    for (arguments, exit, code) in [
        (&["job", "show", "999999", "--json"][..], 1, "NOT_FOUND"),
        (&["queue", "pause", "nowhere", "--json"], 1, "NOT_FOUND"),
        (&["admin", "reset-password", "--json"], 1, "NOT_FOUND"),
        (&["webhook", "sign", "--secret", "no", "--json"], 2, "BAD_USER_INPUT"),
        (&["job", "list", "--state", "lost", "--json"], 2, "BAD_ARGUMENTS"),
        (&["job", "list", "--kind", "lost", "--json"], 2, "BAD_USER_INPUT"),
    ] {
        let (ended, out, err) = millrace(&database, arguments);
        assert_eq!((ended, out.as_str()), (Some(exit), ""), "{arguments:?}: {err}");
        let told: Value = serde_json::from_str(&err).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {err}"));
        assert_eq!(told["error"]["code"], code, "{told}");
        assert!(told["error"]["message"].as_str().is_some_and(|m| m.len() > 10), "{told}");
    }
    assert_eq!(json(&database, &["migrate"])["applied"], 0);
}

#[test]
fn a_host_whose_address_nobody_serves_is_refused_with_those_that_work() {
    for (uri, told) in [
        ("vbox:///session", "there are test and qemu, each also with +unix, +tls, +tcp and +ssh"),
        ("http://host/system", "`http` is no scheme of a hypervisor"),
        ("qemu", "it is no address of a hypervisor; write one such as"),
        ("qemu+tls://me:word@host/system", "an address holds no password; use a certificate"),
    ] {
        let arguments = ["worker", "--pools", "vm", "--host", "a", "--libvirt-uri", uri];
        let run = process::run(&arguments, &[("MILLRACE_HOME", "/nonexistent")]);
        let err = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{uri}: {err}");
        assert!(err.contains(told), "{uri}: {err}");
    }
}
