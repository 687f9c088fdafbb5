//! Much data: what would outlast a limit goes in parts, and a page ends before it is too large.

use jobs::listener::notice::{NoticeState, store as notices};
use jobs::retention::{forget_removals, remove_left_behind};
use rules::id::{ListenerId, NoticeId, RunId, TenantId};
use serde_json::{Value, json};
use tests::{Database, Door};
use uuid::Uuid;

/// Notices, and as many buffered events, that a listener has.
const HEARD: i64 = 2_500;

/// A tenant with a listener that heard `count` notices, each an event of about `bytes`.
async fn heard(database: &Database, count: i64, bytes: i32) -> (TenantId, ListenerId) {
    let (tenant, listener) = (Uuid::now_v7(), Uuid::now_v7());
    let mut conn = database.desk().await;
    let statement = format!(
        "insert into tenant (id, slug, title) values ('{tenant}', 'much', 'Much');
        insert into listener (id, tenant_id, path, title, secret, pipeline)
            values ('{listener}', '{tenant}', 'orders', 'Orders', '', '{{\"actions\": []}}');
        insert into notice (id, tenant_id, listener_id, delivery_id, headers, event, state)
            select gen_random_uuid(), '{tenant}', '{listener}', 'm' || n, '{{}}', to_jsonb(repeat('x', {bytes})), 'DISPATCHED'
            from generate_series(1, {count}) n;
        insert into notice_action (notice_id, replay, action_id, kind, state)
            select id, 0, gen_random_uuid(), 'save_to_buffer', 'DONE' from notice;
        insert into buffer_event (tenant_id, listener_id, buffer, notice_id, event)
            select tenant_id, listener_id, 'default', id, event from notice;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *conn).await.unwrap();
    (TenantId(tenant), ListenerId(listener))
}

async fn count(database: &Database, what: &str) -> i64 {
    let statement = format!("select count(*) from {what}");
    let mut conn = database.desk().await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut *conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_in_hand_keeps_nothing_else_from_going() {
    let database = Database::new().await;
    let (tenant, first) = heard(&database, 3, 10).await;
    let second = Uuid::now_v7();
    let mut conn = database.connect().await;
    let statement = format!(
        "insert into listener (id, tenant_id, path, title, secret, pipeline) values ('{second}', '{t}', 'other', 'O', '', '{{}}');
        insert into notice (id, tenant_id, listener_id, delivery_id, headers, event) values (gen_random_uuid(), '{t}', '{second}', 'x', '{{}}', '1')",
        t = tenant.0
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    for listener in [first, ListenerId(second)] {
        jobs::listener::delete(&mut conn, tenant, listener).await.unwrap();
    }
    // All that the listener which went first has left is in somebody's hand.
    let mut other = database.connect().await;
    let mut held = sqlx::Connection::begin(&mut other).await.unwrap();
    for table in ["notice", "buffer_event"] {
        let lock = format!("select id from {table} where listener_id = '{}' for update", first.0);
        sqlx::query(sqlx::AssertSqlSafe(lock)).fetch_all(&mut *held).await.unwrap();
    }
    assert_eq!(remove_left_behind(&mut conn, 10).await.unwrap(), 1, "that of the other went");
    assert_eq!(remove_left_behind(&mut conn, 10).await.unwrap(), 0);
    held.rollback().await.unwrap();
    assert_eq!(remove_left_behind(&mut conn, 10).await.unwrap(), 6);
    assert_eq!((count(&database, "notice").await, count(&database, "buffer_event").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_at_once_and_what_it_heard_in_batches() {
    const BATCH: i64 = 1_000;
    let database = Database::new().await;
    let (tenant, listener) = heard(&database, HEARD, 10).await;
    let other = {
        let id = Uuid::now_v7();
        let mut conn = database.connect().await;
        let statement = format!(
            "insert into listener (id, tenant_id, path, title, secret, pipeline) values ('{id}', '{}', 'other', 'O', '', '{{}}');
            insert into notice (id, tenant_id, listener_id, delivery_id, headers, event) values (gen_random_uuid(), '{}', '{id}', 'x', '{{}}', '1')",
            tenant.0, tenant.0
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
        id
    };
    let mut conn = database.connect().await;
    jobs::listener::delete(&mut conn, tenant, listener).await.unwrap();
    assert_eq!(count(&database, "notice").await, HEARD + 1, "none of them went with it");
    assert_eq!(count(&database, "listener_removal").await, 1);

    // Whoever removes is stopped in the middle of it, and another goes on.
    let mut tx = sqlx::Connection::begin(&mut conn).await.unwrap();
    assert_eq!(remove_left_behind(&mut tx, BATCH).await.unwrap(), 2 * BATCH.unsigned_abs());
    tx.rollback().await.unwrap();
    let mut calls = 0;
    loop {
        let gone = remove_left_behind(&mut conn, BATCH).await.unwrap();
        assert!(gone <= 2 * BATCH.unsigned_abs(), "{gone} at once");
        if gone == 0 {
            break;
        }
        calls += 1;
    }
    assert_eq!(calls, 3);
    let left = format!("notice where listener_id = '{other}'");
    assert_eq!((count(&database, "notice").await, count(&database, &left).await), (1, 1));
    assert_eq!((count(&database, "notice_action").await, count(&database, "buffer_event").await), (0, 0));

    assert_eq!(forget_removals(&mut conn).await.unwrap(), 0, "a job may still add to what it left");
    let past = "update listener_removal set removed_at = now() - interval '1 hour'";
    sqlx::query(past).execute(&mut conn).await.unwrap();
    assert_eq!(forget_removals(&mut conn).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_that_does_not_exist_is_told_with_those_that_do() {
    let database = Database::new().await;
    let (tenant, listener) = heard(&database, 3, 10).await;
    let admin = Door::open(&database).await.admin().await;
    let query = "query($t: ID!, $l: ID!, $b: String) { bufferEvents(tenant: $t, listener: $l, buffer: $b) { nodes { id } } }";
    let of = |buffer: Value| json!({"t": tenant.0, "l": listener.0, "b": buffer});
    assert_eq!(admin.ok(query, of(Value::Null)).await["bufferEvents"]["nodes"].as_array().unwrap().len(), 3);
    let (code, told) = admin.refusal(query, of(json!("defualt"))).await;
    assert_eq!(code, "BAD_USER_INPUT");
    assert!(told.contains("no buffer `defualt`; `default` is the nearest name that there is"), "{told}");
    // One that the pipeline fills is there before its first event.
    let fills = r#"update listener set pipeline = '{"actions": [{"type": "save_to_buffer", "bufferName": "orders"}]}'"#;
    sqlx::raw_sql(fills).execute(&mut *database.desk().await).await.unwrap();
    assert_eq!(admin.ok(query, of(json!("orders"))).await["bufferEvents"]["nodes"], json!([]));
    sqlx::raw_sql("delete from buffer_event").execute(&mut *database.desk().await).await.unwrap();
    let (_, told) = admin.refusal(query, of(Value::Null)).await;
    assert!(told.contains("no buffer `default`; there is `orders`"), "{told}");
    // Where there is none at all, nobody meant another.
    sqlx::raw_sql(r#"update listener set pipeline = '{"actions": []}'"#)
        .execute(&mut *database.desk().await)
        .await
        .unwrap();
    assert_eq!(admin.ok(query, of(Value::Null)).await["bufferEvents"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_rows_ends_early_and_leaves_none_out() {
    let database = Database::new().await;
    let (tenant, listener) = heard(&database, 45, 200_000).await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let lists = [
        ("notices(tenant: $t, first: 100, after: $a)", "id event", 45),
        ("bufferEvents(tenant: $t, listener: $l, first: 100, after: $a)", "id event", 45),
    ];
    for (list, fields, all) in lists {
        let used = if list.contains("$l") {
            "query($t: ID!, $l: ID!, $a: String)"
        } else {
            "query($t: ID!, $a: String)"
        };
        let query =
            format!("{used} {{ p: {list} {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}");
        let (mut seen, mut after, mut pages) = (std::collections::BTreeSet::new(), Value::Null, 0);
        loop {
            let mut variables = json!({"t": tenant.0, "a": after});
            if list.contains("$l") {
                variables["l"] = json!(listener.0);
            }
            let answer = admin.ask(&query, variables).await;
            assert!(
                answer.text.len() < jobs::db::PAGE_BYTES + 100_000,
                "{list}: {} bytes",
                answer.text.len()
            );
            let page = answer.json()["data"]["p"].clone();
            for node in page["nodes"].as_array().unwrap() {
                assert_eq!(node["event"].as_str().map(str::len), Some(200_000), "values are whole");
                assert!(seen.insert(node["id"].to_string()), "{list}: a row came twice");
            }
            pages += 1;
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        assert_eq!((seen.len(), pages), (all, 3), "{list}");
    }
    door.close().await;
}

#[tokio::test]
async fn each_pass_keeps_what_it_made_of_the_event() {
    let database = Database::new().await;
    let (tenant, _) = heard(&database, 1, 10).await;
    let mut conn = database.connect().await;
    let id: Uuid = sqlx::query_scalar("select id from notice").fetch_one(&mut conn).await.unwrap();
    let id = NoticeId(id);
    let made = |pass: i32| json!({"pass": pass});
    let settled = NoticeState::Dispatched;
    notices::settle(&mut conn, id, 0, settled, Some(&made(0))).await.unwrap();
    // Two more passes; the transform of the second ends after the third was asked for.
    for _ in 0..2 {
        jobs::listener::replay(&mut conn, tenant, id, None).await.unwrap();
    }
    notices::settle(&mut conn, id, 1, settled, Some(&made(1))).await.unwrap();
    assert_eq!(notices::get(&mut conn, tenant, id).await.unwrap().state, "RECEIVED");
    notices::settle(&mut conn, id, 2, settled, None).await.unwrap();
    let latest = notices::get(&mut conn, tenant, id).await.unwrap();
    assert_eq!((latest.replay, latest.transformed, latest.state.as_str()), (2, None, "DISPATCHED"));
    for pass in [0, 1] {
        assert_eq!(
            notices::event_of_pass(&mut conn, id, pass).await.unwrap(),
            Some(made(pass)),
            "pass {pass}"
        );
    }
    assert_eq!(
        notices::event_of_pass(&mut conn, id, 2).await.unwrap(),
        None,
        "it stands in the notice itself"
    );
}

#[tokio::test]
async fn the_logs_of_a_page_of_runs_share_the_bytes_of_one_page() {
    let database = Database::new().await;
    let (tenant, _) = heard(&database, 0, 0).await;
    let mut conn = database.connect().await;
    let (tenant, workflow) = (tenant.0, Uuid::now_v7());
    let statement = format!(
        "insert into workflow (id, tenant_id, title, created_by) values ('{workflow}', '{tenant}', 'W', 'x');
        insert into workflow_version (workflow_id, version, definition, created_by) values ('{workflow}', 1, '{{}}', 'x');
        insert into run (id, tenant_id, workflow_id, workflow_version, input, started_by)
            select gen_random_uuid(), '{tenant}', '{workflow}', 1, '{{}}', 'x' from generate_series(1, 8);
        insert into run_log (run_id, seq, entry, output)
            select r.id, n, '{{}}', to_jsonb(repeat('x', 200000)) from run r, generate_series(1, 10) n"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from run").fetch_all(&mut conn).await.unwrap();
    let runs: Vec<RunId> = ids.into_iter().map(RunId).collect();
    let pages = jobs::dag::log::pages(&mut conn, &runs, 0, 100).await.unwrap();
    let lines: usize = pages.values().map(|slice| slice.len()).sum();
    assert!(lines * 200_000 <= jobs::db::PAGE_BYTES, "{lines} lines");
    assert!(pages.len() == 8 && pages.values().all(|slice| slice.cut && !slice.is_empty()));
    // Alone it has the page for itself; what was cut follows.
    let alone = jobs::dag::log::page(&mut conn, runs[0], 0, 100).await.unwrap();
    assert_eq!((alone.len(), alone.cut), (10, false));
    let last = pages[&runs[0]].last().unwrap().seq;
    let rest = jobs::dag::log::page(&mut conn, runs[0], last, 100).await.unwrap();
    assert_eq!(rest.len() + pages[&runs[0]].len(), 10);
}

#[tokio::test]
async fn a_list_of_listeners_with_large_pipelines_ends_early_too() {
    let database = Database::new().await;
    let (tenant, _) = heard(&database, 0, 0).await;
    let mut conn = database.connect().await;
    let large = jobs::db::PAGE_BYTES / 3;
    let statement = format!(
        "insert into listener (id, tenant_id, path, title, secret, pipeline)
            select gen_random_uuid(), '{}', 'p' || n, 'L', '', jsonb_build_object('actions', '[]'::jsonb, 'note', repeat('x', {large}))
            from generate_series(1, 5) n",
        tenant.0
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    let (mut seen, mut before) = (0, None);
    loop {
        let page = jobs::listener::page(&mut conn, tenant, before, 100).await.unwrap();
        assert!(page.len() <= 3, "{} in one page", page.len());
        seen += page.len();
        before = page.last().map(|listener| ListenerId(listener.id));
        if !page.cut {
            break;
        }
    }
    assert_eq!(seen, 6);
}
