//! History is made ahead of time, and nothing outlived is kept.

use jobs::queue::postgres::partition::{Dropped, days_ahead, drop_oldest, ensure_days};
use tests::{Database, wait};

use super::clock::*;

#[tokio::test]
async fn history_is_made_ahead_and_dropped_when_old() {
    let database = Database::new().await;
    let db = database.pool().await;
    let later: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'job_history'::regclass
        and c.relname > 'job_history_' || to_char(now() at time zone 'utc', 'YYYYMMDD')",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    for name in &later {
        run(&db, format!("drop table {name}")).await;
    }
    for (name, from, to) in [
        ("job_history_20200101", "2020-01-01", "2020-01-02"),
        ("job_history_20200102", "2020-01-02", "2020-01-03"),
    ] {
        run(&db, format!("create table {name} partition of job_history for values from ('{from} 00:00+00') to ('{to} 00:00+00')")).await;
    }
    run(&db, "insert into job_history (job_id, finished_at, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload)
        values (1, '2020-01-01 12:00+00', now(), 1, 1, 1, 1, 0, 0, 'queue.noop', '{}'), (2, now(), now(), 1, 1, 1, 1, 0, 0, 'queue.noop', '{}')").await;

    let clock = Clock::start(&database, quick()).await;
    wait::until("there is a day for each of the next seven and no old one", || async {
        days_ahead(&mut db.acquire().await.unwrap()).await.unwrap() >= 7
            && count(&db, "pg_class where relname in ('job_history_20200101', 'job_history_20200102')").await
                == 0
    })
    .await;
    assert_eq!(count(&db, "job_history").await, 1, "what is young is kept");
    assert_eq!(
        count(&db, "pg_partitioned_table where partrelid = 'job_history'::regclass and partdefid <> 0").await,
        0
    );
    clock.stop().await;
}

#[tokio::test]
async fn making_days_goes_on_beside_writers_and_dropping_does_not_wait_for_them() {
    let database = Database::new().await;
    let db = database.pool().await;
    run(&db, "create table job_history_20200101 partition of job_history for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00')").await;
    let mut writer = db.begin().await.unwrap();
    sqlx::query("insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload)
        values (1, now(), 1, 1, 1, 1, 0, 0, 'queue.noop', '{}')").execute(&mut *writer).await.unwrap();

    let mut conn = db.acquire().await.unwrap();
    assert!(ensure_days(&mut conn, 30).await.unwrap() > 0);
    assert_eq!(drop_oldest(&mut conn, 14).await.unwrap(), Dropped::Busy);
    writer.commit().await.unwrap();
    assert_eq!(drop_oldest(&mut conn, 14).await.unwrap(), Dropped::Partition("job_history_20200101".into()));
    assert_eq!(drop_oldest(&mut conn, 14).await.unwrap(), Dropped::Nothing);
}

#[tokio::test]
async fn what_is_outlived_goes_and_the_rest_stays() {
    let database = Database::new().await;
    let db = database.pool().await;
    run(&db, "insert into job (id, pool_id, queue_id, priority, max_attempts, kind, payload) values (1, 1, 1, 1, 1, 'queue.noop', '{}');
        insert into job_unique (key, job_id, keep_until) values ('expired', 9, now() - interval '1 s'),
            ('expired, job live', 1, now() - interval '1 s'), ('kept', 9, now() + interval '1 h'), ('as long as its job', 1, null);
        insert into job_unique select 'many ' || n, 9, now() - interval '1 s' from generate_series(1, 12000) n;
        insert into job_worker (id, name, pid, version, pools, kinds, slots, seen_at)
        values (gen_random_uuid(), 'gone', 1, '0', '{1}', '{}', 1, now() - interval '1 h'), (gen_random_uuid(), 'here', 1, '0', '{1}', '{}', 1, now());
        insert into login_throttle values ('over', 3, now() - interval '1 s', null), ('locked', 3, now() - interval '1 s', now() + interval '1 h'),
            ('counting', 3, now() + interval '1 h', null);
        insert into idempotency_key (id, tenant_id, principal, key, fingerprint, created_at, held_until)
        select gen_random_uuid(), gen_random_uuid(), 'user:x', 'k', '', now() - age, now()
        from (values (interval '25 h'), (interval '23 h')) a(age), generate_series(1, 6000);
        insert into health_result (tenant_id, machine_id, name, verdict, detail, figures, at, took_ms)
        select gen_random_uuid(), gen_random_uuid(), 'STATE', 'HEALTHY', '', '{}', now() - age, 1
        from (values (interval '8 days'), (interval '6 days')) a(age), generate_series(1, 6000)").await;

    let clock = Clock::start(&database, quick()).await;
    wait::until("all that is outlived is gone", || async {
        count(&db, "job_unique where keep_until <= now() and job_id = 9").await == 0
            && count(&db, "job_worker where name = 'gone'").await == 0
            && count(&db, "login_throttle where key = 'over'").await == 0
            && count(&db, "idempotency_key where created_at < now() - interval '1 day'").await == 0
            && count(&db, "health_result where at < now() - interval '7 days'").await == 0
    })
    .await;
    assert_eq!(count(&db, "job_unique").await, 3);
    assert_eq!(count(&db, "job_worker").await, 1);
    assert_eq!(count(&db, "login_throttle").await, 2);
    assert_eq!(count(&db, "idempotency_key").await, 6000);
    assert_eq!(count(&db, "health_result").await, 6000);
    clock.stop().await;
}

#[tokio::test]
async fn ended_runs_and_notices_go_when_they_are_old_and_only_then() {
    let database = Database::new().await;
    let db = database.pool().await;
    run(
        &db,
        "insert into tenant (id, slug, title) values ('00000000-0000-7000-8000-000000000001', 'acme', 'Acme');
        insert into workflow (id, tenant_id, title, created_by) values ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001', 'w', 'user:1');
        insert into workflow_version (workflow_id, version, definition, created_by) values ('00000000-0000-7000-8000-000000000002', 1, '{}', 'user:1');
        insert into run (id, tenant_id, workflow_id, workflow_version, status, input, output, started_by, created_at, finished_at)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 1, status, '{}', to_jsonb(name), 'user:1',
            now() - interval '99 days', ended from (values ('old', 'COMPLETED', now() - interval '31 days'), ('young', 'FAILED', now() - interval '29 days'),
            ('running', 'RUNNING', null)) r(name, status, ended), generate_series(1, case name when 'old' then 250 else 1 end);
        insert into run_log (run_id, seq, entry) select id, 1, '{}' from run;
        insert into run_inbox (run_id, change) select id, '{}' from run",
    )
    .await;
    run(
        &db,
        "insert into listener (id, tenant_id, path, title, secret, pipeline)
        values ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', 'in', 'In', '', '{}');
        insert into notice (id, tenant_id, listener_id, delivery_id, received_at, headers, event, state)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', name, heard, '{}', '{}', state
        from (values ('old', now() - interval '31 days', 'DISPATCHED'), ('old, dropped', now() - interval '31 days', 'DROPPED'),
            ('old, dead', now() - interval '31 days', 'DEAD'), ('old, an action dead', now() - interval '31 days', 'DISPATCHED'),
            ('old, unread', now() - interval '31 days', 'RECEIVED'), ('young', now() - interval '29 days', 'DISPATCHED')) n(name, heard, state);
        insert into notice_action (notice_id, replay, action_id, kind, state, settled_at)
        select id, 0, gen_random_uuid(), 'save_to_buffer', case delivery_id when 'old, an action dead' then 'DEAD' else 'DONE' end, now() from notice",
    )
    .await;

    let clock = Clock::start(&database, quick()).await;
    wait::until("what is old is gone", || async {
        count(&db, "run where output = '\"old\"'").await == 0
            && count(&db, "notice where delivery_id in ('old', 'old, dropped')").await == 0
    })
    .await;
    clock.stop().await;
    for table in ["run", "run_log", "run_inbox"] {
        assert_eq!(count(&db, table).await, 2, "{table}");
    }
    assert_eq!(count(&db, "notice").await, 4);
    assert_eq!(count(&db, "notice_action").await, 4);
}

#[tokio::test]
async fn operations_on_machines_go_when_they_are_old_and_ended_and_then_the_machines_that_are_destroyed() {
    let database = Database::new().await;
    let db = database.pool().await;
    run(
        &db,
        "insert into tenant (id, slug, title) values ('00000000-0000-7000-8000-000000000001', 'acme', 'Acme');
        insert into host (id, name, uri, vm_slots, health_slots) values ('00000000-0000-7000-8000-000000000002', 'a', 'test:///default', 1, 1);
        insert into machine (id, tenant_id, host_id, name, spec, wanted, created_by)
        values ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 'web', '{}', 'OFF', 'user:1');
        insert into machine_operation (id, tenant_id, machine_id, action, state, generation, requested_by, created_at, ended_at)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', action, state, n, 'user:1',
            now() - interval '99 days', ended
        from (values ('START', 'SUCCEEDED', now() - interval '91 days'), ('STOP', 'FAILED', now() - interval '89 days'), ('RESET', 'WAITING', null)) o(action, state, ended),
            generate_series(1, case action when 'START' then 2500 else 1 end) n;
        insert into machine (id, tenant_id, host_id, name, spec, wanted, created_by, destroyed_at)
        select gen_random_uuid(), tenant_id, host_id, destroyed.name, '{}', 'DESTROYED', 'user:1', at
        from machine, (values ('old', now() - interval '91 days'), ('asked', now() - interval '91 days'), ('young', now() - interval '89 days')) destroyed(name, at);
        insert into machine_operation (id, tenant_id, machine_id, action, state, generation, requested_by, ended_at)
        select gen_random_uuid(), m.tenant_id, m.id, 'DESTROY', 'SUCCEEDED', 1, 'user:1', now() - case m.name when 'old' then interval '91 days' else interval '89 days' end
        from machine m where m.destroyed_at is not null",
    )
    .await;
    let clock = Clock::start(&database, quick()).await;
    wait::until("what is old is gone", || async {
        count(&db, "machine_operation where action = 'START'").await == 0
            && count(&db, "machine where name = 'old'").await == 0
    })
    .await;
    clock.stop().await;
    assert_eq!(count(&db, "machine_operation").await, 4);
    assert_eq!(count(&db, "machine").await, 3);
}

#[tokio::test]
async fn dead_letters_go_when_they_are_old_and_then_the_notices_that_they_needed() {
    let database = Database::new().await;
    let db = database.pool().await;
    jobs::metrics::install().unwrap();
    run(
        &db,
        "insert into job_dead (job_id, died_at, created_at, pool_id, queue_id, priority, attempt, crashes, max_attempts, reason, kind, error, payload, attempts)
        select n, now() - case when n <= 2500 then interval '91 days' else interval '89 days' end, now() - interval '99 days', 4, 4, 2, 3, 0, 3, 'exhausted',
            'queue.noop', 'no luck', '{}', '[]' from generate_series(1, 2503) n;
        insert into tenant (id, slug, title) values ('00000000-0000-7000-8000-000000000001', 'acme', 'Acme');
        insert into listener (id, tenant_id, path, title, secret, pipeline)
        values ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000001', 'in', 'In', '', '{}');
        insert into notice (id, tenant_id, listener_id, delivery_id, received_at, headers, event, state, settled_at)
        select gen_random_uuid(), '00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', name, now() - interval '95 days', '{}', '{}', state, settled
        from (values ('dead long ago', 'DEAD', now() - interval '91 days'), ('dead lately', 'DEAD', now() - interval '89 days'),
            ('an action dead long ago', 'DISPATCHED', now() - interval '95 days'), ('an action dead lately', 'DISPATCHED', now() - interval '95 days'),
            ('an action queued', 'DISPATCHED', now() - interval '95 days')) n(name, state, settled);
        insert into notice_action (notice_id, replay, action_id, kind, state, settled_at)
        select id, 0, gen_random_uuid(), 'save_to_buffer', case delivery_id when 'an action queued' then 'QUEUED' else 'DEAD' end,
            now() - case delivery_id when 'an action dead lately' then interval '89 days' else interval '91 days' end
        from notice where state = 'DISPATCHED';
        insert into run_inbox (run_id, change, created_at) select gen_random_uuid(), '{}', now() - age from (values (interval '1 h'), (interval '1 s')) a(age)",
    )
    .await;
    let clock = Clock::start(&database, quick()).await;
    wait::until("what is old is gone", || async {
        count(&db, "job_dead where died_at < now() - interval '90 days'").await == 0
            && count(&db, "notice where delivery_id like '%long ago'").await == 0
            && count(&db, "run_inbox").await == 1
    })
    .await;
    clock.stop().await;
    assert_eq!(count(&db, "job_dead").await, 3);
    assert_eq!(count(&db, "notice").await, 3);
    assert_eq!(count(&db, "run_inbox where created_at > now() - interval '1 min'").await, 1);
    let told = jobs::metrics::render();
    let pruned = told.lines().find_map(|l| l.strip_prefix("millrace_pruned_total{what=\"dead_letters\"} "));
    assert!(pruned.unwrap().parse::<f64>().unwrap() >= 2500.0, "{pruned:?}");
}
