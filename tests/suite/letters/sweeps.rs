//! All dead letters that match, redriven or discarded in the background: counted before, no faster than asked for, gone on
//! with by whoever takes over, stopped, and told in the audit.

use jobs::db::PgConnection;
use jobs::queue::Attempt;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::sweep::{self, SweepView, Wish, go_on};
use jobs::{Code, Result};
use rules::id::{SweepId, WorkerId};
use rules::queue::letter::Letters;
use rules::queue::sweep::SweepAction;
use rules::queue::{Kind, Pool};
use serde_json::{Value, json};
use tests::{Database, Door, Hands, process, wait};
use uuid::Uuid;

use super::stage::letters;
use crate::api_identity::tenant;
use crate::plans::run;
use crate::queue::{expire_leases, rescue_all};

const SWEEP: &str = "{ id state action matched done refused refusal rate askedBy endedAt }";

async fn number(conn: &mut PgConnection, statement: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned())).fetch_one(conn).await.unwrap()
}

/// Begins a sweep that redrives.
fn begin_query() -> String {
    format!(
        "mutation($t: ID!, $l: DeadLetterFilter!, $r: Int, $a: Int) {{
            redriveMatchingDeadLetters(tenant: $t, letters: $l, rate: $r, attempts: $a) {SWEEP} }}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_begins_no_sweep() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let mut conn = database.connect().await;
    let wanted = json!({"search": "No Luck"});
    for (wrong, told) in [
        (json!({"t": acme, "l": wanted, "r": 0}), "`rate` is 0"),
        (json!({"t": acme, "l": wanted, "a": 101}), "`attempts` is 101"),
        (json!({"t": acme, "l": {"fingerprint": "x"}}), "`fingerprint` is 16 digits"),
        (json!({"t": acme, "l": {"kind": "queue.nop"}}), "`queue.noop` is the nearest"),
    ] {
        let (code, said) = admin.refusal(&begin_query(), wrong).await;
        assert_eq!((code.as_str(), said.contains(told)), ("BAD_USER_INPUT", true), "{said}");
    }
    assert_eq!(number(&mut conn, "select count(*) from letter_sweep").await, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_match_are_redriven_in_the_background_and_no_others() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let mut conn = database.connect().await;
    letters(&mut conn, Some(&acme), 1_000_000, 250, "no luck with N").await;
    letters(&mut conn, Some(&acme), 2_000_000, 3, "another error").await;
    letters(&mut conn, Some(&other), 3_000_000, 3, "no luck with N").await;
    // What its death has ended is not redriven, and counted.
    run(&mut conn, "update job_dead set kind = 'machine.operate' where job_id = 1000007").await;
    let wanted = json!({"search": "No Luck"});
    let given = json!({"t": acme, "l": wanted});
    let count = "query($t: ID!, $l: DeadLetterFilter!) { deadLetterCount(tenant: $t, letters: $l) }";
    assert_eq!(admin.ok(count, given.clone()).await["deadLetterCount"], 250);
    let mut with_rate = given.clone();
    with_rate["r"] = json!(1_000);
    let begun = admin.ok(&begin_query(), with_rate).await["redriveMatchingDeadLetters"].clone();
    assert_eq!(
        (&begun["state"], &begun["matched"], &begun["done"]),
        (&json!("RUNNING"), &json!(250), &json!(0))
    );
    // It dies once it is asked for, and so is none of those that matched.
    letters(&mut conn, Some(&acme), 4_000_000, 1, "no luck with N").await;
    run(&mut conn, "update job_dead set died_at = now() where job_id = 4000000").await;

    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let one = format!("query($t: ID!, $id: ID!) {{ deadLetterSweep(tenant: $t, id: $id) {SWEEP} }}");
    let asked = json!({"t": acme, "id": begun["id"]});
    wait::until("the sweep is through", async || {
        admin.ok(&one, asked.clone()).await["deadLetterSweep"]["state"] == "DONE"
    })
    .await;
    let told = admin.ok(&one, asked).await["deadLetterSweep"].clone();
    assert_eq!((&told["done"], &told["refused"]), (&json!(249), &json!(1)), "{told}");
    assert!(told["refusal"].as_str().unwrap().contains("job 1000007 cannot be redriven"), "{told}");
    wait::until("what was redriven is done", async || {
        number(
            &mut *database.desk().await,
            "select count(*) from job_history where kind = 'queue.noop' and outcome = 0",
        )
        .await
            == 249
    })
    .await;
    let left: Vec<i64> =
        sqlx::query_scalar("select job_id from job_dead order by 1").fetch_all(&mut conn).await.unwrap();
    assert_eq!(
        left,
        [1_000_007, 2_000_000, 2_000_001, 2_000_002, 3_000_000, 3_000_001, 3_000_002, 4_000_000]
    );
    let list = format!("query($t: ID!) {{ deadLetterSweeps(tenant: $t) {{ nodes {SWEEP} }} }}");
    assert_eq!(admin.ok(&list, json!({"t": acme})).await["deadLetterSweeps"]["nodes"], json!([told]));
    assert_eq!(admin.ok(&list, json!({"t": other})).await["deadLetterSweeps"]["nodes"], json!([]));
    // Who wanted what, and what it came to.
    let noted: Vec<(String, Value)> = sqlx::query_as(
        "select operation, arguments::jsonb from audit_intake where actor = $1 and operation ilike '%letter%' order by pos",
    )
    .bind(told["askedBy"].as_str().unwrap())
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let operations: Vec<&str> = noted.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["redriveMatchingDeadLetters", "deadLetterSweep.ended"]);
    assert_eq!(noted[0].1["letters"], wanted);
    assert_eq!((&noted[1].1["done"], &noted[1].1["letters"]["search"]), (&json!(249), &json!("No Luck")));
    hands.stop().await;
    door.close().await;
}

/// Begins a sweep of all letters, so many in a second at most.
async fn begin(conn: &mut PgConnection, action: SweepAction, rate: u16) -> SweepView {
    let letters = Letters::default();
    let wish =
        Wish { tenant: None, action, letters, attempts: Some(2), rate, by: "user:1", trace_parent: None };
    sweep::ask(conn, wish).await.unwrap().0
}

async fn take(conn: &mut PgConnection) -> Attempt {
    let want = Want { pool: Pool::Maintenance, limit: 1, marks: [0; 4] };
    let claimed = claim(conn, WorkerId(Uuid::new_v4()), &[Kind::LetterSweep], &[want]).await.unwrap();
    claimed.into_iter().next().expect("the sweep's job is ready").attempt
}

/// One batch, committed or not.
async fn batch(
    conn: &mut PgConnection,
    attempt: &Attempt,
    sweep: &SweepView,
    commits: bool,
) -> Result<sweep::Went> {
    run(conn, "begin").await;
    let went = go_on(conn, attempt, SweepId(sweep.id)).await;
    run(conn, if commits && went.is_ok() { "commit" } else { "rollback" }).await;
    went
}

#[tokio::test]
async fn a_sweep_goes_on_where_a_dead_worker_left_it_and_takes_no_letter_twice() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 250, "no luck with N").await;
    let begun = begin(&mut conn, SweepAction::Redrive, 1_000).await;
    let first = take(&mut conn).await;
    let went = batch(&mut conn, &first, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.over), (100, false));
    assert_eq!(went.woken, [Pool::Maintenance.id()]);
    // Its worker dies within the next batch, and comes back to life when the lease has run out.
    assert_eq!(batch(&mut conn, &first, &begun, false).await.unwrap().taken, 100);
    let ready = "select count(*) from job_ready where kind = 'queue.noop'";
    assert_eq!(number(&mut conn, ready).await, 100);
    expire_leases(&mut conn).await;
    assert_eq!(batch(&mut conn, &first, &begun, true).await.unwrap_err().code, Code::Conflict);
    rescue_all(&mut conn).await;
    // One that was taken dies anew meanwhile.
    run(&mut conn, "delete from job_ready where job_id = 1000003; delete from job where id = 1000003").await;
    letters(&mut conn, None, 1_000_003, 1, "no luck with N").await;
    run(&mut conn, "update job_dead set died_at = now() where job_id = 1000003").await;
    let second = take(&mut conn).await;
    assert_eq!(
        batch(&mut conn, &first, &begun, true).await.unwrap_err().code,
        Code::Conflict,
        "a stranger by now"
    );
    assert_eq!(batch(&mut conn, &second, &begun, true).await.unwrap().taken, 100);
    let last = batch(&mut conn, &second, &begun, true).await.unwrap();
    assert_eq!((last.taken, last.over), (50, true));
    assert!(batch(&mut conn, &second, &begun, true).await.unwrap().over, "its end is told again");
    assert_eq!(number(&mut conn, ready).await, 249);
    assert_eq!(number(&mut conn, "select count(*) from job_dead").await, 1);
    assert_eq!(
        number(&mut conn, "select min(max_attempts)::bigint from job where kind = 'queue.noop'").await,
        3
    );
    let ended = sweep::get(&mut conn, None, SweepId(begun.id)).await.unwrap();
    assert_eq!((ended.state.as_str(), ended.done, ended.matched), ("DONE", 250, 250));
    assert_eq!(number(&mut conn, "select count(*) from audit_intake").await, 1);
}

#[tokio::test]
async fn a_sweep_is_stopped_and_leaves_what_it_has_not_taken() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 25, "no luck with N").await;
    let begun = begin(&mut conn, SweepAction::Discard, 10).await;
    let attempt = take(&mut conn).await;
    let went = batch(&mut conn, &attempt, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.rate), (10, 10), "no more than a second's");
    let id = SweepId(begun.id);
    let stopped = sweep::cancel(&mut conn, None, id).await.unwrap();
    assert_eq!((stopped.state.as_str(), stopped.done, stopped.ended_at.is_some()), ("CANCELLED", 10, true));
    let went = batch(&mut conn, &attempt, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.over), (0, true));
    assert_eq!(number(&mut conn, "select count(*) from job_dead").await, 15);
    assert_eq!(number(&mut conn, "select count(*) from job_history where outcome = 4").await, 10);
    assert_eq!(sweep::cancel(&mut conn, None, id).await.unwrap_err().code, Code::Conflict);
    // One whose job dies says so, and goes on when that is redriven.
    let begun = begin(&mut conn, SweepAction::Discard, 1_000).await;
    let attempt = take(&mut conn).await;
    let dead = jobs::queue::DeadJob {
        id: attempt.id,
        kind: Kind::LetterSweep.to_string(),
        tenant: None,
        payload: serde_json::from_str(attempt.payload.get()).unwrap(),
        error: "no luck".into(),
        trace_parent: None,
        died_at: chrono::Utc::now(),
    };
    sweep::job_died(&mut conn, Kind::LetterSweep, &dead).await.unwrap();
    let failed = sweep::get(&mut conn, None, SweepId(begun.id)).await.unwrap();
    assert_eq!((failed.state.as_str(), failed.error.as_deref()), ("FAILED", Some("no luck")));
    assert_eq!(batch(&mut conn, &attempt, &begun, true).await.unwrap().taken, 15);
    let done = sweep::get(&mut conn, None, SweepId(begun.id)).await.unwrap();
    assert_eq!((done.state.as_str(), done.done, done.error), ("DONE", 15, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_counts_begins_shows_and_stops() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 5, "no luck with N").await;
    letters(&mut conn, None, 2_000_000, 1, "another error").await;
    let millrace = |arguments: &[&str]| {
        let run =
            process::run(arguments, &[("DATABASE_URL", database.url()), ("MILLRACE_HOME", "/nonexistent")]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    let json = |arguments: &[&str]| {
        let (code, out, err) = millrace(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let matching = ["dlq", "redrive", "--all-matching", "--search", "no luck"];
    let with = |more: &[&'static str]| matching.iter().chain(more).copied().collect::<Vec<&str>>();
    assert_eq!(json(&with(&["--dry-run", "--json"]))["matched"], 5);
    assert_eq!(number(&mut conn, "select count(*) from letter_sweep").await, 0);
    let begun = json(&with(&["--rate", "7", "--json"]));
    assert_eq!(
        (&begun["matched"], &begun["rate"], &begun["state"]),
        (&json!(5), &json!(7), &json!("RUNNING"))
    );
    let id = begun["id"].as_str().unwrap();
    assert_eq!(json(&["dlq", "sweeps", "--json"])[0]["id"], begun["id"]);
    assert_eq!(json(&["dlq", "sweep", id, "--json"])["done"], 0);
    assert_eq!(json(&["dlq", "stop", id, "--json"])["state"], "CANCELLED");
    let (code, _, told) = millrace(&["dlq", "stop", id]);
    assert_eq!((code, told.contains("has ended; it is CANCELLED")), (Some(1), true), "{told}");
    for wrong in [
        &["dlq", "redrive"][..],
        &["dlq", "redrive", "1", "--all-matching"],
        &["dlq", "redrive", "1", "--search", "x"],
        &["dlq", "discard", "1", "--rate", "3"],
        &["dlq", "redrive", "1", "--dry-run"],
    ] {
        let (code, out, told) = millrace(wrong);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{wrong:?}: {told}");
    }
    let (_, people, _) = millrace(&["dlq", "sweeps"]);
    assert!(people.contains("cancelled") && people.contains("0 of 5"), "{people}");
    let noted: Vec<String> = sqlx::query_scalar("select operation from audit_intake order by pos")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(noted, ["cli.dlq.redrive-matching", "deadLetterSweep.ended", "cli.dlq.stop"]);
    assert_eq!(number(&mut conn, "select count(*) from job_dead").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_redriven_with_another_payload_that_its_kind_can_read_and_is_about_the_same() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let mut conn = database.connect().await;
    letters(&mut conn, Some(&acme), 1_000_000, 3, "no luck").await;
    let notice = json!({"notice_id": Uuid::from_u128(1), "replay": 0});
    sqlx::query("update job_dead set kind = 'listener.event', payload = $1 where job_id = 1000001")
        .bind(&notice)
        .execute(&mut conn)
        .await
        .unwrap();
    run(&mut conn, "update job_dead set kind = 'health.check' where job_id = 1000002").await;
    let edit = "mutation($t: ID!, $id: ID!, $p: JSON!) { redriveEditedDeadLetter(tenant: $t, id: $id, payload: $p) { id state payload } }";
    for (owner, id, payload, code, told) in [
        (&other, "1000000", json!({}), "NOT_FOUND", "there is no job 1000000"),
        (&acme, "1000000", json!({"sleep_ms": "long"}), "BAD_USER_INPUT", "as that of a `queue.noop`"),
        (&acme, "1000000", json!({"note": "x".repeat(300_000)}), "BAD_USER_INPUT", "fit in a job"),
        (
            &acme,
            "1000001",
            json!({"notice_id": Uuid::from_u128(2)}),
            "BAD_USER_INPUT",
            "about something else",
        ),
        (&acme, "1000002", json!({}), "CONFLICT", "a `health.check` is not edited"),
    ] {
        let refused = admin.refusal(edit, json!({"t": owner, "id": id, "p": payload})).await;
        assert_eq!((refused.0.as_str(), refused.1.contains(told)), (code, true), "{}", refused.1);
    }
    assert_eq!(
        number(&mut conn, "select count(*) from job_dead").await,
        3,
        "what is refused changes nothing"
    );
    let given =
        json!({"t": acme, "id": "1000000", "p": {"note": "mended", "unknown": 1, "secret": "hunter2"}});
    let job = admin.ok(edit, given).await["redriveEditedDeadLetter"].clone();
    assert_eq!(
        (&job["state"], &job["payload"]),
        (&json!("READY"), &json!({"note": "mended", "sleep_ms": 0, "settles": false}))
    );
    let given = json!({"t": acme, "id": "1000001", "p": {"notice_id": Uuid::from_u128(1), "replay": 1}});
    assert_eq!(admin.ok(edit, given).await["redriveEditedDeadLetter"]["payload"]["replay"], 1);
    let kept: String = sqlx::query_scalar("select string_agg(arguments::text, ' ') from audit_intake where operation = 'redriveEditedDeadLetter'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(kept.contains("mended") && !kept.contains("hunter2"), "{kept}");
    door.close().await;
}
