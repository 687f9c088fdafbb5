//! The log of events: written with the change, read without a gap however late a transaction commits.

use jobs::db::{PgConnection, wall};
use jobs::event::{Event, Kept, MAX_EVENTS, store};
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use jobs::retention::remove_events;
use rules::event::{Cursor, Snapshot, Topic, TopicKind};
use rules::id::TenantId;
use rules::queue::Pool;
use sqlx::Connection;
use tests::{Database, Hands, Postgres, fault, wait};
use uuid::Uuid;

/// A tenant, by hand.
async fn tenant(conn: &mut PgConnection, slug: &str) -> TenantId {
    let id = Uuid::now_v7();
    let statement = "insert into tenant (id, slug, title) values ($1, $2, 'T')";
    sqlx::query(statement).bind(id).bind(slug).execute(conn).await.unwrap();
    TenantId(id)
}

/// A department, of which its event tells.
async fn department(conn: &mut PgConnection, tenant: TenantId, name: &str) -> Uuid {
    let id = Uuid::now_v7();
    let statement = "insert into department (id, tenant_id, name) values ($1, $2, $3)";
    sqlx::query(statement).bind(id).bind(tenant.0).bind(name).execute(conn).await.unwrap();
    id
}

async fn rename(conn: &mut PgConnection, id: Uuid, name: &str) {
    let statement = "update department set name = $2 where id = $1";
    sqlx::query(statement).bind(id).bind(name).execute(conn).await.unwrap();
}

/// The names that the events tell.
fn names<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|e| e.value().unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

/// What is new since the place, and moves it on.
async fn news(conn: &mut PgConnection, place: &mut Snapshot) -> Vec<Event> {
    let page = store::feed(conn, place, 0, None).await.unwrap();
    *place = page.upto;
    page.events
}

#[tokio::test]
async fn an_event_stands_if_and_only_if_its_change_does() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    let mut place = store::now(&mut conn).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    department(&mut tx, acme, "never").await;
    tx.rollback().await.unwrap();
    assert_eq!(news(&mut conn, &mut place).await, []);
    department(&mut conn, acme, "now").await;
    let told = news(&mut conn, &mut place).await;
    assert_eq!(names(&told), ["now"]);
    assert_eq!((told[0].tenant, told[0].name.as_str()), (acme, "departments:create"));
    assert_eq!(news(&mut conn, &mut place).await, []);
}

#[tokio::test]
async fn what_commits_late_is_told_late_and_once_and_never_skipped() {
    let database = Database::new().await;
    let (mut reader, mut early, mut late) =
        (database.connect().await, database.connect().await, database.connect().await);
    let acme = tenant(&mut reader, "acme").await;
    let mut place = store::now(&mut reader).await.unwrap();
    // The one that draws the first number commits last.
    let mut slow = late.begin().await.unwrap();
    let id = department(&mut slow, acme, "a").await;
    department(&mut early, acme, "b").await;
    let first = news(&mut reader, &mut place).await;
    assert_eq!(names(&first), ["b"]);
    department(&mut early, acme, "c").await;
    slow.commit().await.unwrap();
    let then = news(&mut reader, &mut place).await;
    assert!(then[0].seq < first[0].seq, "the number was drawn before");
    assert_eq!(names(&then), ["a", "c"]);

    // A transaction that was begun first, and is the second to change a thing: its event comes second.
    let mut old = late.begin().await.unwrap();
    department(&mut old, acme, "x").await;
    rename(&mut early, id, "a1").await;
    rename(&mut old, id, "a2").await;
    old.commit().await.unwrap();
    assert_eq!(names(&news(&mut reader, &mut place).await), ["x", "a1", "a2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_hides_no_event_from_a_place_that_was_taken_before() {
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    let mut keeper = sqlx::PgConnection::connect_with(own.postgres.keeper()).await.unwrap();
    // Nobody but who waits for it brings to the disk what was written.
    for statement in ["alter system set wal_writer_delay = '10s'", "select pg_reload_conf()"] {
        sqlx::query(statement).execute(&mut keeper).await.unwrap();
    }
    let read = async || -> bool {
        let mut fresh = database.connect().await;
        sqlx::query_scalar("select current_setting('wal_writer_delay') = '10s'")
            .fetch_one(&mut fresh)
            .await
            .unwrap()
    };
    wait::until("the setting is read", read).await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    for by_feed in [true, false] {
        let mut place = store::lasting(&mut conn).await.unwrap();
        // Wake-ups: each draws a number, and a crash forgets that it did.
        for _ in 0..20 {
            let wakes =
                "select pg_notify('x', '') from (select set_config('synchronous_commit', 'off', true)) s";
            sqlx::query(wakes).execute(&mut conn).await.unwrap();
        }
        if by_feed {
            assert_eq!(news(&mut conn, &mut place).await, []);
        } else {
            place = store::lasting(&mut conn).await.unwrap();
        }
        fault::kill_postgres(&own);
        own.restart().await;
        conn = database.connect().await;
        let cursor = Cursor::whole(place.clone());
        assert_eq!(store::kept(&mut conn, &cursor).await.unwrap(), Kept::All);
        let name = format!("by feed: {by_feed}");
        department(&mut conn, acme, &name).await;
        assert_eq!(names(&news(&mut conn, &mut place).await), [name]);
    }
}

#[tokio::test]
async fn whoever_stopped_anywhere_hears_the_rest_and_nothing_twice() {
    let database = Database::new().await;
    let (mut reader, mut writer, mut late) =
        (database.connect().await, database.connect().await, database.connect().await);
    let acme = tenant(&mut reader, "acme").await;
    let id = department(&mut writer, acme, "0").await;
    let topic = Topic { kind: TopicKind::Department, id };
    let start = Cursor::whole(store::now(&mut reader).await.unwrap());
    let mut upto = start.base.clone();
    // As several processes saw it: each look at another moment, some with a transaction under way beside it.
    let mut seen: Vec<(String, Cursor)> = Vec::new();
    for round in 0..6 {
        let mut beside = late.begin().await.unwrap();
        department(&mut beside, acme, &format!("beside {round}")).await;
        for step in 0..3 {
            rename(&mut writer, id, &format!("{round}.{step}")).await;
        }
        let before = upto.clone();
        let page = store::feed(&mut reader, &before, 0, None).await.unwrap();
        upto = page.upto.clone();
        for event in page.events.iter().filter(|e| e.topic == topic) {
            let cursor = Cursor { base: before.clone(), upto: page.upto.clone(), seq: event.seq };
            seen.push((names([event]).remove(0), cursor));
        }
        beside.commit().await.unwrap();
    }
    assert_eq!(seen.len(), 18);
    let all: Vec<String> = seen.iter().map(|(name, _)| name.clone()).collect();
    let api = database.behind_wall().await;
    for after in 0..=seen.len() {
        let from = after.checked_sub(1).map_or(&start, |last| &seen[last].1);
        // The cursor is read as a client gives it.
        let from: Cursor = from.to_string().parse().unwrap();
        let mut tx = wall::begin_within(&api, acme).await.unwrap();
        assert_eq!(store::kept(&mut tx, &from).await.unwrap(), Kept::All);
        let rest = store::replay(&mut tx, acme, topic, &from, &upto).await.unwrap();
        assert_eq!(names(rest.events.iter().map(|(event, _)| event)), all[after..], "after {after}");
        // And the cursors of what was made up for are as good.
        if let Some((_, cursor)) = rest.events.first() {
            let again = store::replay(&mut tx, acme, topic, cursor, &upto).await.unwrap();
            assert_eq!(
                names(again.events.iter().map(|(event, _)| event)),
                all[after + 1..],
                "again after {after}"
            );
        }
    }
    // Under the API's role another tenant's events are not there, whatever is asked.
    let mut tx = wall::begin_within(&api, TenantId(Uuid::now_v7())).await.unwrap();
    assert!(store::replay(&mut tx, acme, topic, &start, &upto).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn more_than_a_page_is_read_in_pages_of_one_moment() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    let place = store::now(&mut conn).await.unwrap();
    let many = "insert into department (id, tenant_id, name) select gen_random_uuid(), $1, n::text from generate_series(1, 1200) n";
    sqlx::query(many).bind(acme.0).execute(&mut conn).await.unwrap();
    let (mut seq, mut upto, mut told) = (0, None, 0);
    loop {
        let page = store::feed(&mut conn, &place, seq, upto.as_ref()).await.unwrap();
        department(&mut conn, acme, &format!("later {told}")).await;
        told += page.events.len();
        let Some(last) = page.events.last() else { break };
        assert!(last.seq > seq && page.events.len() <= usize::try_from(MAX_EVENTS).unwrap());
        seq = last.seq;
        upto = Some(page.upto);
    }
    assert_eq!(told, 1200, "what came later belongs to a later moment");
}

#[tokio::test]
async fn what_was_missed_is_read_in_pages_that_are_not_large_and_too_much_of_it_is_not() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    let id = Uuid::now_v7();
    let topic = Topic { kind: TopicKind::Run, id };
    let start = Cursor::whole(store::now(&mut conn).await.unwrap());
    let many = "insert into event (tenant_id, topic, topic_id, name, data)
        select $1, 'RUN', $2, 'n', jsonb_build_object('name', n::text, 'text', repeat('x', $4)) from generate_series(1, $3) n";
    for (count, large) in [(30, 100_000), (9_970, 0)] {
        sqlx::query(many).bind(acme.0).bind(id).bind(count).bind(large).execute(&mut conn).await.unwrap();
    }
    let upto = store::now(&mut conn).await.unwrap();
    let (mut from, mut pages) = (start.clone(), Vec::new());
    loop {
        let page = store::replay(&mut conn, acme, topic, &from, &upto).await.unwrap();
        let bytes: usize = page.events.iter().map(|(event, _)| event.data.len()).sum();
        assert!(bytes < 1024 * 1024 + 200_000, "{bytes}");
        pages.push(page.events.len());
        let Some((_, last)) = page.events.last().filter(|_| page.more) else { break };
        from = last.clone();
    }
    assert_eq!(pages.iter().sum::<usize>(), 10_000, "{pages:?}");
    assert!(pages[0] == 11 && pages[1] == 11 && pages[2] > 100, "{pages:?}");
    assert!(!store::is_too_much(&mut conn, acme, topic, &start, &upto).await.unwrap());
    sqlx::query(many).bind(acme.0).bind(id).bind(1).bind(0).execute(&mut conn).await.unwrap();
    let upto = store::now(&mut conn).await.unwrap();
    assert!(store::is_too_much(&mut conn, acme, topic, &start, &upto).await.unwrap());
}

#[tokio::test]
async fn events_that_are_old_go_and_who_needs_them_is_told_so() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    let before = Cursor::whole(store::now(&mut conn).await.unwrap());
    department(&mut conn, acme, "old").await;
    sqlx::query("update event set at = now() - interval '3 hours'").execute(&mut conn).await.unwrap();
    // Tests beside this one have transactions of their own under way on the server: a place is behind the event
    // for certain when all that were begun by then are over.
    let passed = "select pg_snapshot_xmin(pg_current_snapshot()) > (select xid from event)";
    let began = std::time::Instant::now();
    while !sqlx::query_scalar::<_, bool>(passed).fetch_one(&mut conn).await.unwrap() {
        assert!(began.elapsed() < wait::LIMIT, "a transaction beside this test does not end");
        tokio::task::yield_now().await;
    }
    let after = Cursor::whole(store::now(&mut conn).await.unwrap());
    department(&mut conn, acme, "new").await;
    assert_eq!(remove_events(&mut conn, 4).await.unwrap(), 0);
    assert_eq!(remove_events(&mut conn, 2).await.unwrap(), 1);
    assert_eq!(store::kept(&mut conn, &before).await.unwrap(), Kept::Gone);
    assert_eq!(store::kept(&mut conn, &after).await.unwrap(), Kept::All);
    let strange: Cursor = "10:9000000000000:".parse().unwrap();
    assert_eq!(store::kept(&mut conn, &strange).await.unwrap(), Kept::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_no_runs_and_no_machines_costs_no_event() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let acme = tenant(&mut conn, "acme").await;
    let jobs: Vec<NewJob> = (0..20).map(|_| NewJob::of(&Noop::default()).unwrap().tenant(acme)).collect();
    let enqueued = enqueue(&mut conn, &jobs).await.unwrap();
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    hands.wake.send(&enqueued);
    let pool = database.pool().await;
    wait::until("all have run", || async {
        let done: i64 =
            sqlx::query_scalar("select count(*) from job_history").fetch_one(&pool).await.unwrap();
        done == 20
    })
    .await;
    hands.stop().await;
    let events: i64 = sqlx::query_scalar("select count(*) from event").fetch_one(&mut conn).await.unwrap();
    assert_eq!(events, 0);
}
