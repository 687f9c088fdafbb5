//! All dead letters that match, redriven or discarded in the background by whoever may: counted before, stopped, and told
//! in the audit; and one with another payload.

use rules::queue::Pool;
use serde_json::{Value, json};
use tests::{Client, Database, Door, Hands, process, wait};
use uuid::Uuid;

use super::stage::{letters, number};
use crate::api_identity::tenant;
use crate::plans::run;

const SWEEP: &str =
    "{ id job state action matched matchedComplete done refused refusal rate error askedBy endedBy endedAt }";
const COUNT: &str =
    "query($t: ID, $l: DeadLetterFilter!) { deadLetterCount(tenant: $t, letters: $l) { count complete } }";

/// A mutation that begins a sweep.
fn begins(name: &str) -> String {
    format!(
        "mutation($t: ID, $l: DeadLetterFilter!, $r: Int) {{ {name}(tenant: $t, letters: $l, rate: $r) {SWEEP} }}"
    )
}

fn stops() -> String {
    format!("mutation($t: ID, $id: ID!) {{ cancelDeadLetterSweep(tenant: $t, id: $id) {SWEEP} }}")
}

async fn sweep_of(client: &Client, tenant: &Value, id: &Value) -> Value {
    let one = format!("query($t: ID, $id: ID!) {{ deadLetterSweep(tenant: $t, id: $id) {SWEEP} }}");
    client.ok(&one, json!({"t": tenant, "id": id})).await["deadLetterSweep"].clone()
}

/// What was noted of sweeps: whose audit it stands in, who did it, and what.
async fn noted(database: &Database) -> Vec<(Uuid, String, String, Value)> {
    sqlx::query_as(
        "select tenant_id, actor, operation, arguments::jsonb from audit_intake where operation ilike '%letter%' order by at, pos",
    )
    .fetch_all(&mut *database.desk().await)
    .await
    .unwrap()
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
    // What its death has ended is not redriven, and counted; the job of another sweep is not even that.
    run(&mut conn, "update job_dead set kind = 'machine.operate' where job_id = 1000007").await;
    letters(&mut conn, Some(&acme), 2_000_005, 1, "no luck with N").await;
    run(&mut conn, "update job_dead set kind = 'letter.sweep' where job_id = 2000005").await;
    let wanted = json!({"search": "No Luck"});
    let given = json!({"t": acme, "l": wanted, "r": 1_000});
    let counted = admin.ok(COUNT, given.clone()).await["deadLetterCount"].clone();
    assert_eq!(counted, json!({"count": 250, "complete": true}));
    let begun =
        admin.ok(&begins("redriveMatchingDeadLetters"), given).await["redriveMatchingDeadLetters"].clone();
    assert_eq!(
        (&begun["state"], &begun["matched"], &begun["matchedComplete"], &begun["done"]),
        (&json!("RUNNING"), &json!(250), &json!(true), &json!(0))
    );
    // It dies once it is asked for, and so is none of those that matched.
    letters(&mut conn, Some(&acme), 4_000_000, 1, "no luck with N").await;
    run(&mut conn, "update job_dead set died_at = now() where job_id = 4000000").await;

    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    wait::until("the sweep is through", async || {
        sweep_of(&admin, &acme, &begun["id"]).await["state"] == "DONE"
    })
    .await;
    let told = sweep_of(&admin, &acme, &begun["id"]).await;
    assert_eq!((&told["done"], &told["refused"]), (&json!(249), &json!(1)), "{told}");
    assert!(told["refusal"].as_str().unwrap().contains("job 1000007 cannot be redriven"), "{told}");
    wait::until("what was redriven is done", async || {
        let done = "select count(*) from job_history where kind = 'queue.noop' and outcome = 0";
        number(&mut *database.desk().await, done).await == 249
    })
    .await;
    hands.stop().await;
    let left: Vec<i64> =
        sqlx::query_scalar("select job_id from job_dead order by 1").fetch_all(&mut conn).await.unwrap();
    let others = [2_000_000, 2_000_001, 2_000_002, 2_000_005, 3_000_000, 3_000_001, 3_000_002, 4_000_000];
    assert_eq!(left, [&[1_000_007][..], &others].concat());
    let list = format!("query($t: ID!) {{ deadLetterSweeps(tenant: $t) {{ nodes {SWEEP} }} }}");
    assert_eq!(admin.ok(&list, json!({"t": acme})).await["deadLetterSweeps"]["nodes"], json!([told]));
    assert_eq!(admin.ok(&list, json!({"t": other})).await["deadLetterSweeps"]["nodes"], json!([]));
    // Who wanted what, and what it came to.
    let noted = noted(&database).await;
    let operations: Vec<&str> = noted.iter().map(|(_, _, operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["redriveMatchingDeadLetters", "deadLetterSweep.ended"]);
    assert!(noted.iter().all(|(_, actor, _, _)| told["askedBy"] == json!(actor)), "{noted:?}");
    assert!(noted.iter().all(|(whose, ..)| acme == json!(whose)), "{noted:?}");
    assert_eq!(noted[0].3["letters"], wanted);
    assert_eq!((&noted[1].3["done"], &noted[1].3["letters"]["search"]), (&json!(249), &json!("No Luck")));
    door.close().await;
}

async fn refuses_what_cannot_be_asked_for(client: &Client, tenant: &Value) {
    let redrive = begins("redriveMatchingDeadLetters");
    let long = "x".repeat(201);
    for (wrong, told) in [
        (json!({"l": {}, "r": 0}), "`rate` is 0"),
        (json!({"l": {}, "r": 1_001}), "`rate` is 1001"),
        (json!({"l": {"fingerprint": "x"}}), "`fingerprint` is 16 digits"),
        (json!({"l": {"kind": long}}), "`kind` has between 1 and 100 characters"),
        (json!({"l": {"queue": long}}), "`queue` has between 1 and 100 characters"),
        (json!({"l": {"search": long}}), "`search` has between 1 and 200 characters"),
        (json!({"l": {"kind": "queue.nop"}}), "`queue.noop` is the nearest"),
    ] {
        let mut given = wrong.clone();
        given["t"] = tenant.clone();
        let (code, said) = client.refusal(&redrive, given).await;
        assert_eq!((code.as_str(), said.contains(told)), ("BAD_USER_INPUT", true), "{said}");
    }
}

/// All that is open is done in each tenant, with so many letters. One that its rate holds back gives its slot up meanwhile.
async fn what_nobody_stops_is_done(database: &Database, letters: i64) {
    run(&mut *database.desk().await, "update letter_sweep set rate = 2").await;
    let hands = Hands::start(database, &[Pool::Maintenance]).await;
    wait::until("one waits for its next second", async || {
        let held_back = "select count(*) from letter_sweep join job_scheduled using (job_id) where state = 'RUNNING' and done > 0";
        number(&mut *database.desk().await, held_back).await > 0
    })
    .await;
    wait::until("all are through", async || {
        let open = "select count(*) from letter_sweep where ended_at is null";
        number(&mut *database.desk().await, open).await == 0
    })
    .await;
    hands.stop().await;
    let done: Vec<i64> =
        sqlx::query_scalar("select done from letter_sweep where state = 'DONE' order by done desc")
            .fetch_all(&mut *database.desk().await)
            .await
            .unwrap();
    assert_eq!(done.iter().sum::<i64>(), letters, "none twice: {done:?}");
    let discarded = "select count(*) from job_history where outcome = 4 and kind = 'queue.noop'";
    assert_eq!(number(&mut *database.desk().await, discarded).await, letters);
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeps_are_refused_limited_stopped_and_kept_apart_over_the_api() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let mut conn = database.connect().await;
    letters(&mut conn, Some(&acme), 1_000_000, 7, "no luck with N").await;
    letters(&mut conn, Some(&other), 2_000_000, 2, "no luck with N").await;
    refuses_what_cannot_be_asked_for(&admin, &acme).await;
    assert_eq!(number(&mut conn, "select count(*) from letter_sweep").await, 0);

    // Five at a time, of one tenant.
    let discard = begins("discardMatchingDeadLetters");
    let mut begun = Vec::new();
    for _ in 0..5 {
        let told =
            admin.ok(&discard, json!({"t": acme, "l": {}})).await["discardMatchingDeadLetters"].clone();
        assert_eq!(told["matched"], 7, "{told}");
        begun.push(told["id"].clone());
    }
    let (code, said) = admin.refusal(&discard, json!({"t": acme, "l": {}})).await;
    assert!(
        said.contains("has 5 open sweeps of dead letters") && said.contains("stop one"),
        "{code}: {said}"
    );
    let foreign =
        admin.ok(&discard, json!({"t": other, "l": {}})).await["discardMatchingDeadLetters"].clone();

    // Another tenant's is not seen; one's own is stopped, once, and so by an operator who names no tenant.
    let stop = stops();
    let refused = admin.refusal(&stop, json!({"t": acme, "id": foreign["id"]})).await;
    assert_eq!(refused.0, "NOT_FOUND", "{}", refused.1);
    let member = door.user("ada@example.org", "USER").await;
    let join =
        "mutation($t: ID!) { addMember(tenant: $t, email: \"ada@example.org\", role: MEMBER) { userId } }";
    admin.ok(join, json!({"t": acme})).await;
    let ended = member.ok(&stop, json!({"t": acme, "id": begun[0]})).await["cancelDeadLetterSweep"].clone();
    assert_eq!((&ended["state"], &ended["done"]), (&json!("CANCELLED"), &json!(0)), "{ended}");
    assert!(ended["endedBy"] != ended["askedBy"] && ended["endedAt"].is_string(), "{ended}");
    let (code, said) = member.refusal(&stop, json!({"t": acme, "id": begun[0]})).await;
    assert_eq!((code.as_str(), said.contains("has ended; it is CANCELLED")), ("CONFLICT", true), "{said}");
    let ended = admin.ok(&stop, json!({"id": begun[1]})).await["cancelDeadLetterSweep"].clone();
    assert_eq!(ended["endedBy"], ended["askedBy"]);
    let noted = noted(&database).await;
    let stops: Vec<_> = noted.iter().filter(|(_, _, operation, _)| !operation.contains("Matching")).collect();
    assert_eq!(stops.len(), 4, "{noted:?}");
    assert!(stops.iter().all(|(whose, ..)| acme == json!(whose)), "also what an operator did: {stops:?}");
    let operations: Vec<&str> = stops.iter().map(|(_, _, operation, _)| operation.as_str()).collect();
    assert_eq!(operations[..2], ["deadLetterSweep.ended", "cancelDeadLetterSweep"]);
    assert_eq!((&stops[0].1, &stops[0].3["state"]), (&stops[1].1, &json!("CANCELLED")), "who stopped it");
    assert!(stops[0].1 != stops[2].1);

    what_nobody_stops_is_done(&database, 9).await;
    assert_eq!(sweep_of(&admin, &other, &foreign["id"]).await["done"], 2);
    door.close().await;
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
    assert_eq!(json(&with(&["--dry-run", "--json"])), json!({"matched": 5, "complete": true}));
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
async fn a_letter_is_redriven_with_another_payload_where_that_says_nothing_of_rights() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let mut conn = database.connect().await;
    letters(&mut conn, Some(&acme), 1_000_000, 3, "no luck").await;
    run(&mut conn, "update job_dead set kind = 'listener.action' where job_id = 1000001").await;
    run(&mut conn, "update job_dead set kind = 'of.later' where job_id = 1000002").await;
    let edit = "mutation($t: ID!, $id: ID!, $p: JSON!) { redriveEditedDeadLetter(tenant: $t, id: $id, payload: $p) { id state payload } }";
    for (owner, id, payload, code, told) in [
        (&other, "1000000", json!({}), "NOT_FOUND", "there is no job 1000000"),
        (&acme, "1000000", json!({"sleep_ms": "long"}), "BAD_USER_INPUT", "as that of a `queue.noop`"),
        (&acme, "1000000", json!({"note": "x".repeat(300_000)}), "BAD_USER_INPUT", "fit in a job"),
        (
            &acme,
            "1000001",
            json!({}),
            "CONFLICT",
            "job 1000001 is a `listener.action`, whose payload is not edited",
        ),
        (&acme, "1000001", json!({}), "CONFLICT", "with the listener's rights; redrive it as it is"),
        (&acme, "1000002", json!({}), "CONFLICT", "this version does not know it"),
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
    let kept: String = sqlx::query_scalar("select string_agg(arguments::text, ' ') from audit_intake where operation = 'redriveEditedDeadLetter'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(kept.contains("mended") && !kept.contains("hunter2"), "{kept}");
    door.close().await;
}
