//! The chains: whoever touches an entry is found out, and what is old goes without breaking what is left.

use jobs::audit::{Verdict, verify};
use jobs::db::PgPool;
use rules::audit::{Entry, Fault, Head, INSTALLATION, Outcome};
use rules::id::TenantId;
use sqlx::AssertSqlSafe;
use tests::{Database, wait};
use uuid::Uuid;

use super::stage::chained;

const ACME: TenantId = TenantId(Uuid::from_u128(7));

fn entry(tenant: TenantId, n: usize) -> Entry {
    Entry {
        tenant,
        at: chrono::Utc::now(),
        actor: "user:1".into(),
        operation: "createWorkflow".into(),
        arguments: format!("{{\"n\": {n}, \"text\": \"é\\u0000\"}}"),
        outcome: Outcome::ALL[n % 3],
        code: (n % 2 == 1).then(|| "CONFLICT".to_owned()),
        took_ms: 3,
        address: Some("192.0.2.1".into()),
        request_id: None,
    }
}

async fn run(db: &PgPool, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(db)
        .await
        .unwrap_or_else(|e| panic!("{statements}: {e}"));
}

async fn verdict(db: &PgPool, kept: Option<Head>) -> Verdict {
    verify(db, ACME, kept).await.unwrap()
}

/// A database with chains of ten entries, which its owner can lay hands on.
async fn with_chains() -> (Database, PgPool) {
    let database = Database::new().await;
    let db = database.pool().await;
    let mut conn = db.acquire().await.unwrap();
    for tenant in [ACME, INSTALLATION] {
        let entries: Vec<Entry> = (0..10).map(|n| entry(tenant, n)).collect();
        jobs::audit::store::take_in(&mut conn, &entries).await.unwrap();
    }
    drop(conn);
    chained(&database).await;
    (database, db)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_touches_an_entry_is_named_at_it() {
    let (_database, db) = with_chains().await;
    let whole = verdict(&db, None).await;
    assert_eq!((whole.entries, whole.broken), (10, None));
    run(&db, "create table kept as select * from audit_entry; create table kept_chain as select * from audit_chain").await;
    let mine = format!("tenant_id = '{ACME}'");
    let tampered: [(&str, String, i64, Fault); 12] = [
        ("an update", format!("update audit_entry set actor = 'user:2' where {mine} and seq = 4"), 4, Fault::Altered),
        ("a time", format!("update audit_entry set at = at - interval '1 s' where {mine} and seq = 5"), 5, Fault::Altered),
        ("an argument", format!("update audit_entry set arguments = '{{}}' where {mine} and seq = 1"), 1, Fault::Altered),
        // The same JSON in other words is not what was written either.
        ("a space", format!("update audit_entry set arguments = (arguments::text || ' ')::json where {mine} and seq = 6"), 6, Fault::Altered),
        ("an outcome", format!("update audit_entry set outcome = 'HUSHED UP' where {mine} and seq = 2"), 2, Fault::Altered),
        ("a hash", format!("update audit_entry set hash = '\\x00' where {mine} and seq = 3"), 3, Fault::Altered),
        ("a deletion", format!("delete from audit_entry where {mine} and seq = 7"), 7, Fault::Missing),
        ("the first", format!("delete from audit_entry where {mine} and seq = 1"), 1, Fault::Missing),
        ("an exchange", format!(
                "update audit_entry set seq = 0 where {mine} and seq = 7;
                update audit_entry set seq = 7 where {mine} and seq = 8;
                update audit_entry set seq = 8 where {mine} and seq = 0"
            ), 7, Fault::Altered),
        ("the end", format!("delete from audit_entry where {mine} and seq > 8"), 9, Fault::CutOff),
        ("all", format!("delete from audit_entry where {mine}"), 1, Fault::CutOff),
        (
            "one more",
            format!(
                "insert into audit_entry select tenant_id, 11, kept_at, at, actor, operation, arguments, outcome, code, took_ms,
                address, request_id, hash from kept where {mine} and seq = 10"
            ),
            11,
            Fault::Beyond,
        ),
    ];
    let free = "alter table audit_entry disable trigger user;
        do $$ declare p regclass; begin
            for p in select inhrelid from pg_inherits where inhparent = 'audit_entry'::regclass loop
                execute format('alter table %s disable trigger user', p);
            end loop; end $$;";
    run(&db, free).await;
    for (what, statement, seq, fault) in tampered {
        run(&db, &statement).await;
        let found = verdict(&db, None).await.broken.unwrap_or_else(|| panic!("{what} was not found"));
        assert_eq!((found.seq, found.fault), (seq, fault), "{what}");
        assert_eq!(verify(&db, INSTALLATION, None).await.unwrap().broken, None, "{what} is the other's");
        run(&db, "delete from audit_entry; insert into audit_entry select * from kept").await;
    }
    // Cut off with the recorded end, nothing shows it but an end that was kept elsewhere.
    let cut = format!(
        "delete from audit_entry where {mine} and seq > 8;
        update audit_chain c set seq = 8, hash = e.hash from audit_entry e
        where c.tenant_id = e.tenant_id and e.{mine} and e.seq = 8"
    );
    run(&db, &cut).await;
    assert_eq!(verdict(&db, None).await.broken, None);
    let found = verdict(&db, Some(whole.head)).await.broken.unwrap();
    assert_eq!((found.seq, found.fault), (9, Fault::CutOff));
    run(&db, "delete from audit_entry; insert into audit_entry select * from kept;
        update audit_chain c set seq = k.seq, hash = k.hash from kept_chain k where k.tenant_id = c.tenant_id").await;
    assert_eq!(verdict(&db, Some(whole.head)).await.broken, None);
    let other = Head { hash: [1; 32], ..whole.head };
    assert_eq!(verdict(&db, Some(other)).await.broken.map(|b| b.fault), Some(Fault::Rewritten));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_what_stands_in_a_chain() {
    let (database, db) = with_chains().await;
    let (api, worker) =
        (database.behind_wall().await, database.pool_as(jobs::db::wall::DbRole::Worker).await);
    let month: String =
        sqlx::query_scalar("select inhrelid::regclass::text from pg_inherits where inhparent = 'audit_entry'::regclass order by 1 limit 1")
            .fetch_one(&db)
            .await
            .unwrap();
    let (update, delete) = ("update audit_entry set actor = 'x'", "delete from audit_entry");
    let copy = "insert into audit_entry select * from audit_entry limit 1";
    let of_chain = "update audit_chain set seq = 1";
    let (empty, months) = (format!("truncate {month}"), "select audit_months_drop_v1(1)");
    for (who, pool, statements) in [
        (
            "the API",
            &api,
            vec![
                update,
                delete,
                copy,
                of_chain,
                "delete from audit_intake",
                "update audit_intake set actor = 'x'",
                months,
                &empty,
            ],
        ),
        ("a worker", &worker, vec![update, delete, "delete from audit_chain", &empty]),
        ("the owner", &db, vec![update, delete, &empty]),
    ] {
        for statement in statements {
            let mut tx = jobs::db::begin(pool).await.unwrap();
            jobs::db::wall::enter(&mut tx, ACME).await.unwrap();
            let refused =
                sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *tx).await.unwrap_err();
            let code = refused.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{who}: {statement}: {refused}");
        }
    }
}

/// An end at the anchor is compared with it, and one before it is not said to hold.
async fn compared_with_its_anchor(db: &PgPool, anchor: Head) {
    let found = async |kept| verdict(db, Some(kept)).await.broken.map(|b| (b.seq, b.fault));
    assert_eq!(found(anchor).await, None);
    assert_eq!(found(Head { hash: [1; 32], ..anchor }).await, Some((4, Fault::Rewritten)));
    assert_eq!(found(Head { seq: 3, ..anchor }).await, Some((3, Fault::BeforeKept)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_month_goes_and_the_rest_still_verifies() {
    let (database, db) = with_chains().await;
    // Four of ten entries are of a month long ago, as if they had been written then.
    run(
        &db,
        "create table audit_entry_200001 (like audit_entry including defaults including constraints);
        alter table audit_entry attach partition audit_entry_200001 for values from ('2000-01-01') to ('2000-02-01');",
    )
    .await;
    let mut conn = db.acquire().await.unwrap();
    let head = [0; 32];
    let mut before = head;
    let links = jobs::audit::look::links(&mut conn, ACME, 0, 10).await.unwrap();
    run(
        &db,
        "alter table audit_entry disable trigger user; do $$ declare p regclass; begin
        for p in select inhrelid from pg_inherits where inhparent = 'audit_entry'::regclass loop
            execute format('alter table %s disable trigger user', p); end loop; end $$;",
    )
    .await;
    run(&db, &format!("delete from audit_entry where tenant_id = '{ACME}'")).await;
    let old: chrono::DateTime<chrono::Utc> = "2000-01-15T00:00:00Z".parse().unwrap();
    let mut rewritten = Vec::new();
    for (seq, link) in links {
        let mut link = link.unwrap();
        link.kept_at = if seq <= 4 { old } else { link.kept_at };
        link.hash = rules::audit::next_hash(&before, ACME, seq, link.kept_at, &link.entry);
        before = link.hash;
        rewritten.push(link);
    }
    let end = rewritten.last().unwrap().clone();
    jobs::audit::store::append(&mut conn, ACME, &rewritten).await.unwrap();
    let end = Head { seq: end.seq, hash: end.hash };
    jobs::audit::store::set_head(&mut conn, ACME, end, chrono::Utc::now()).await.unwrap();
    assert_eq!(verdict(&db, Some(end)).await.broken, None);

    // The scheduler drops it with its first round, and keeps the others.
    let config = scheduler::SchedulerConfig { audit_keep_months: 1, ..Default::default() };
    let stop = tokio_util::sync::CancellationToken::new();
    let pool = database.pool_as(jobs::db::wall::DbRole::Worker).await;
    let running = tokio::spawn(scheduler::run(pool, config, stop.clone()));
    wait::until("the old month is gone", async || {
        let there = "select to_regclass('audit_entry_200001') is not null";
        !sqlx::query_scalar::<_, bool>(there).fetch_one(&db).await.unwrap()
    })
    .await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let left = verdict(&db, Some(end)).await;
    assert_eq!((left.entries, left.broken, left.head), (6, None, end));
    compared_with_its_anchor(&db, Head { seq: 4, hash: rewritten[3].hash }).await;
    // A new first one is not taken for the old one.
    run(&db, &format!("delete from audit_entry where tenant_id = '{ACME}' and seq = 5")).await;
    assert_eq!(verdict(&db, None).await.broken.map(|b| (b.seq, b.fault)), Some((5, Fault::Missing)));
    // And the chain goes on.
    run(&db, &format!("update audit_chain set anchor_seq = 5 where tenant_id = '{ACME}'")).await;
    jobs::audit::store::take_in(&mut conn, &[entry(ACME, 10)]).await.unwrap();
    drop(conn);
    chained(&database).await;
    let last: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "select max(seq) from audit_entry where tenant_id = '{ACME}'"
    )))
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(last, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn flushes_at_once_make_one_chain_without_gaps() {
    let database = Database::new().await;
    let db = database.pool().await;
    let mut conn = db.acquire().await.unwrap();
    let other = TenantId(Uuid::from_u128(8));
    for n in 0..600 {
        let tenant = [ACME, other][n % 2];
        jobs::audit::store::take_in(&mut conn, &[entry(tenant, n)]).await.unwrap();
    }
    drop(conn);
    let flushing = (0..8).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut tx = jobs::db::begin(&db).await.unwrap();
            let flushed = jobs::audit::flush(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            flushed.entries
        })
    });
    let mut all = 0;
    for flushed in flushing.collect::<Vec<_>>() {
        all += flushed.await.unwrap();
    }
    assert_eq!(all, 600);
    for tenant in [ACME, other] {
        let found = verify(&db, tenant, None).await.unwrap();
        assert_eq!((found.entries, found.broken), (300, None));
    }
}
