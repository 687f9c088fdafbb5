//! From a signed delivery to what its listener's pipeline does with it.

use jobs::listener;
use jobs::payload::listener::ListenerAction;
use jobs::queue::postgres::control;
use jobs::queue::{NewJob, enqueue};
use jobs::workflow::store as workflows;
use rules::id::{ActionId, JobId, ListenerId};
use rules::listener::NOTICE_BYTES_MAX;
use rules::queue::Pool;
use serde_json::{Value, json};
use tests::{Hands, wait};
use uuid::Uuid;

use super::house::{Ear, House, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_delivery_becomes_a_run_and_a_buffered_event() {
    let house = House::new().await;
    let workflow = house.workflow().await;
    let ear = house
        .listen(
            "orders",
            json!([
                { "type": "transform", "code": "#{ n: event.amount + 1 }" },
                { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "n": "{{event.n}}" } },
                { "type": "save_to_buffer", "bufferName": "seen" },
            ]),
        )
        .await;
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "amount": 20 })).await;
    let actions = house.acted(notice, 2, "DONE").await;
    let run = actions.iter().find_map(|a| a.run_id).unwrap();
    let output = wait::value("the run ends", || async {
        let row: (Option<Value>,) = sqlx::query_as("select output from run where id = $1")
            .bind(run)
            .fetch_one(&house.db)
            .await
            .unwrap();
        row.0
    })
    .await;
    assert_eq!(output, json!({ "twice": 42 }));
    assert_eq!(house.buffered(&ear, "seen").await, [json!({ "n": 21 })]);
    let kept = house.notice(notice).await;
    assert_eq!((kept.state.as_str(), &kept.event), ("DISPATCHED", &json!({ "amount": 20 })));
    assert_eq!(kept.headers["webhook-id"], "msg_1");

    // Again, and the tenant by its id: known, and nothing changed.
    let before = (house.count("notice").await, house.count("run").await, house.count("notice_action").await);
    let again = house.send(&ear, "msg_1", &json!({ "amount": 20 })).await;
    assert_eq!(again.status, 202);
    assert_eq!(again.json(), json!({ "noticeId": notice, "duplicate": true }));
    let by_id = Ear { address: format!("/hooks/{}/orders", house.tenant), ..ear };
    assert_eq!(house.send(&by_id, "msg_1", &json!({ "amount": 99 })).await.json()["duplicate"], true);
    assert_eq!(
        before,
        (house.count("notice").await, house.count("run").await, house.count("notice_action").await)
    );
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_transform_is_dead_after_three_attempts_and_done_after_a_fix() {
    let house = House::new().await;
    let ear = house
        .listen(
            "orders",
            json!([{ "type": "transform", "code": "event.nothing.at.all" }, { "type": "save_to_buffer" }]),
        )
        .await;
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "a": 1 })).await;
    let (job, attempts, error) = house.dead().await;
    assert_eq!(attempts, 3);
    // A slip of the pen is an error, and drops nothing.
    let told = "the transform failed: script failed: `event` has no `nothing`. Mend the name";
    assert!(error.contains(told) && error.contains("line 1"), "{error}");
    let dead = house.becomes(notice, "DEAD").await;
    assert_eq!(dead.error, Some(error));

    house
        .change(&ear, json!([{ "type": "transform", "code": "event.a" }, { "type": "save_to_buffer" }]))
        .await;
    house.redrive(&hands, job).await;
    let mended = house.becomes(notice, "DISPATCHED").await;
    assert_eq!((mended.transformed, mended.error), (Some(json!(1)), None));
    house.acted(notice, 1, "DONE").await;
    assert_eq!(house.buffered(&ear, "default").await, [json!(1)]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_fails_on_its_own() {
    let house = House::new().await;
    let workflow = house.workflow().await;
    let ear = house
        .listen(
            "orders",
            json!([
                { "type": "trigger_workflow", "workflowId": workflow, "inputValues": { "n": "{{event.n}}" } },
                { "type": "save_to_buffer" },
                { "type": "save_to_buffer", "bufferName": "off", "enabled": false },
            ]),
        )
        .await;
    workflows::set_disabled(&mut house.db.acquire().await.unwrap(), workflow, house.tenant, true)
        .await
        .unwrap();
    let hands = house.hands().await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "n": 4 })).await;
    let (job, attempts, error) = house.dead().await;
    assert_eq!(attempts, 3);
    assert!(error.contains("disabled"), "{error}");
    let states = house.acted(notice, 1, "DEAD").await;
    assert_eq!(states.iter().filter(|a| a.state == "DONE").count(), 1, "{states:?}");
    assert_eq!(states.len(), 2, "what is switched off has no job");

    workflows::set_disabled(&mut house.db.acquire().await.unwrap(), workflow, house.tenant, false)
        .await
        .unwrap();
    house.redrive(&hands, job).await;
    let states = house.acted(notice, 2, "DONE").await;
    assert!(states.iter().all(|a| a.error.is_none()), "{states:?}");
    assert_eq!((house.count("run").await, house.count("buffer_event").await), (1, 1));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_drops_an_event_and_a_replay_goes_through_again() {
    let house = House::new().await;
    let ear = house
        .listen("orders", json!([{ "type": "transform", "code": "if event.keep { event } else { () }" }, { "type": "save_to_buffer" }]))
        .await;
    let hands = house.hands().await;
    let dropped = house.accepted(&ear, "msg_1", &json!({ "keep": false })).await;
    let kept = house.accepted(&ear, "msg_2", &json!({ "keep": true })).await;
    house.becomes(dropped, "DROPPED").await;
    house.acted(kept, 1, "DONE").await;
    assert!(house.actions(dropped).await.is_empty());

    house.change(&ear, json!([{ "type": "save_to_buffer" }])).await;
    for (notice, time) in [(dropped, 1), (kept, 1), (kept, 2)] {
        let mut tx = house.db.begin().await.unwrap();
        let (told, enqueued) = listener::replay(&mut tx, house.tenant, notice, None).await.unwrap();
        tx.commit().await.unwrap();
        hands.wake.send(&enqueued);
        assert_eq!(told, time);
    }
    house.acted(dropped, 1, "DONE").await;
    house.acted(kept, 3, "DONE").await;
    assert_eq!(house.count("buffer_event").await, 4);
    let stranger = tenant(&house.db, "globex").await;
    let mut conn = house.db.acquire().await.unwrap();
    assert!(listener::replay(&mut conn, stranger, kept, None).await.is_err(), "it is another tenant's");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_keeps_the_newest() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([{ "type": "save_to_buffer", "maxEvents": 3 }])).await;
    let hands = house.hands().await;
    for n in 0..6 {
        let notice = house.accepted(&ear, &format!("msg_{n}"), &json!(n)).await;
        house.acted(notice, 1, "DONE").await;
    }
    assert_eq!(house.buffered(&ear, "default").await, [json!(5), json!(4), json!(3)]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pipeline_is_told_with_every_fault() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([])).await;
    let mut conn = house.db.acquire().await.unwrap();
    let id = ListenerId(ear.listener.id);
    let nobody = Uuid::now_v7();
    let wrong = json!({ "actions": [
        { "type": "transform", "code": "let x = " },
        { "type": "trigger_workflow", "workflowId": nobody },
    ] });
    let refused =
        listener::update_pipeline(&mut conn, &house.door.sandbox, house.tenant, id, 1, &wrong).await;
    let Err(listener::SaveError::Faults(faults)) = refused else { panic!("{refused:?}") };
    let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["actions[0].code", "actions[1].workflowId"], "{faults:?}");
    // What is wrong with the form of one step hides nothing of the others.
    let wrong = json!({ "actions": [
        { "type": "transform", "code": "let x = " },
        { "type": "save_to_buffer", "maxEvents": 0 },
        { "type": "trigger_workflow", "workflowId": nobody, "unheard": 1 },
    ] });
    let refused =
        listener::update_pipeline(&mut conn, &house.door.sandbox, house.tenant, id, 1, &wrong).await;
    let Err(listener::SaveError::Faults(faults)) = refused else { panic!("{refused:?}") };
    let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
    let all = ["actions[1].maxEvents", "actions[2].unheard", "actions[0].code", "actions[2].workflowId"];
    assert_eq!(fields, all, "{faults:?}");
    let right = json!({ "actions": [] });
    let update = async |conn: &mut jobs::db::PgConnection, version| {
        listener::update_pipeline(conn, &house.door.sandbox, house.tenant, id, version, &right).await
    };
    assert_eq!(update(&mut conn, 1).await.unwrap().version, 2);
    assert!(update(&mut conn, 1).await.is_err(), "it was changed meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_event_starts_a_run_under_the_default_template() {
    let house = House::new().await;
    let workflow = house.echo().await;
    let ear = house.listen("orders", json!([{ "type": "trigger_workflow", "workflowId": workflow }])).await;
    let hands = house.hands().await;
    let text = |bytes: usize| Value::String("x".repeat(bytes - 2));
    assert_eq!(house.send(&ear, "more", &text(NOTICE_BYTES_MAX + 1)).await.status, 413);
    let notice = house.accepted(&ear, "m", &text(NOTICE_BYTES_MAX)).await;
    let actions = house.acted(notice, 1, "DONE").await;
    let run = actions[0].run_id.unwrap();
    let ended = wait::value("the run ends", || async {
        let row: (Option<String>,) =
            sqlx::query_as("select status from run where id = $1 and finished_at is not null")
                .bind(run)
                .fetch_optional(&house.db)
                .await
                .unwrap()
                .unwrap_or((None,));
        row.0
    })
    .await;
    assert_eq!(ended, "COMPLETED");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_listener_left_ends_with_the_reason_and_not_among_the_dead() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([{ "type": "save_to_buffer" }])).await;
    let first = house.accepted(&ear, "msg_1", &json!({ "n": 1 })).await;
    // The first notice has come to its actions, the second to nothing yet.
    let mut conn = house.database.connect().await;
    let waits = async |kind: &str| {
        let statement = "select count(*) from job where kind = $1";
        sqlx::query_scalar::<_, i64>(statement).bind(kind).fetch_one(&house.db).await.unwrap()
    };
    let hands = house.hands().await;
    house.acted(first, 1, "DONE").await;
    hands.stop().await;
    let action = house.actions(first).await[0].action_id;
    let again = ListenerAction { notice_id: first, action_id: ActionId(action), replay: 0 };
    let job = NewJob::of(&again).unwrap().tenant(house.tenant);
    enqueue(&mut conn, &[job]).await.unwrap();
    let second = house.accepted(&ear, "msg_2", &json!({ "n": 2 })).await;
    assert_eq!((waits("listener.event").await, waits("listener.action").await), (1, 1));

    listener::delete(&mut conn, house.tenant, ListenerId(ear.listener.id)).await.unwrap();
    let hands = house.hands().await;
    let dropped = house.becomes(second, "DROPPED").await;
    assert_eq!(dropped.error.as_deref(), Some("its listener was deleted"));
    let skipped = house.acted(first, 1, "SKIPPED").await;
    assert_eq!(skipped[0].error.as_deref(), Some("its listener was deleted"));
    wait::until("no job is left", || async { house.count("job").await == 0 }).await;
    assert_eq!(house.count("job_dead").await, 0);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_of_a_listener_is_cancelled_with_what_waits_for_it() {
    let house = House::new().await;
    let ear = house.listen("orders", json!([{ "type": "save_to_buffer" }])).await;
    let notice = house.accepted(&ear, "msg_1", &json!({ "n": 1 })).await;
    let mut conn = house.database.connect().await;
    let id: i64 = sqlx::query_scalar("select id from job").fetch_one(&mut conn).await.unwrap();
    let cancelled = listener::cancel_job(&mut conn, JobId(id)).await.unwrap();
    assert!(matches!(cancelled, control::Cancel::Cancelled(_)), "{cancelled:?}");
    let kept = house.notice(notice).await;
    assert_eq!((kept.state.as_str(), kept.error.as_deref()), ("DROPPED", Some("its job was cancelled")));
    // It can be sent through again, and its action is cancelled the same way.
    let mut tx = house.db.begin().await.unwrap();
    listener::replay(&mut tx, house.tenant, notice, None).await.unwrap();
    tx.commit().await.unwrap();
    let hands = Hands::start(&house.database, &[Pool::Events]).await;
    house.acted(notice, 1, "DONE").await;
    hands.stop().await;
    let action = house.actions(notice).await[0].action_id;
    let again = ListenerAction { notice_id: notice, action_id: ActionId(action), replay: 1 };
    let job = enqueue(&mut conn, &[NewJob::of(&again).unwrap().tenant(house.tenant)]).await.unwrap()[0].id;
    listener::cancel_job(&mut conn, job).await.unwrap();
    let skipped = house.acted(notice, 1, "SKIPPED").await;
    assert_eq!(skipped[0].error.as_deref(), Some("its job was cancelled"));
    // One that runs may be through with its work before it hears of it: refused, and nothing is changed.
    let job = enqueue(&mut conn, &[NewJob::of(&again).unwrap().tenant(house.tenant)]).await.unwrap()[0].id;
    let claim = "with r as (delete from job_ready where job_id = $1 returning *)
        insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
        select job_id, gen_random_uuid(), gen_random_uuid(), now() + interval '1 minute', pool_id, queue_id, priority, 1, 0,
            kind from r";
    sqlx::query(claim).bind(job.0).execute(&mut conn).await.unwrap();
    let mut tx = house.db.begin().await.unwrap();
    let refused = listener::cancel_job(&mut tx, job).await.unwrap_err();
    drop(tx);
    assert_eq!(refused.code, jobs::Code::Conflict);
    assert!(refused.to_string().contains("let it end"), "{refused}");
}
