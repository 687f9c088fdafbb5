//! The doctor: says what is wrong with an installation, and what to do about it.

use jobs::config::DatabaseConfig;
use jobs::doctor::{Check, Finding, Verdict, examine};
use jobs::lease::{SCHEDULER, acquire};
use jobs::seal;
use rules::seal::Keyring;
use tests::Database;
use tests::pooler::Pooler;

fn keyring() -> Keyring {
    Keyring::parse(&tests::door::keyring_text()).unwrap()
}

async fn findings(url: &str) -> Vec<Finding> {
    examine(&DatabaseConfig { url: url.to_owned().into(), connections: 4 }, Some(&keyring())).await
}

fn of(findings: &[Finding], check: Check) -> &Finding {
    findings.iter().find(|f| f.check == check).unwrap_or_else(|| panic!("{check:?} is not in {findings:?}"))
}

#[tokio::test]
async fn a_healthy_installation_is_told_so() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    acquire(&mut conn, SCHEDULER, uuid::Uuid::new_v4(), std::time::Duration::from_secs(600))
        .await
        .unwrap()
        .unwrap();
    assert!(seal::keep(&mut conn, &keyring()).await.unwrap());
    let seen = findings(database.url()).await;
    assert_eq!(seen.len(), 11, "{seen:?}");
    assert!(seen.iter().all(|f| f.verdict == Verdict::Good && f.remedy.is_none()), "{seen:?}");
}

#[tokio::test]
async fn nobody_there_is_one_finding_with_its_cause() {
    let seen = findings("postgres://nobody@127.0.0.1:1/nowhere").await;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].check, seen[0].verdict), (Check::Database, Verdict::Bad));
    assert!(seen[0].says.contains("refused"), "{seen:?}");
    assert_eq!(findings("no url at all").await[0].verdict, Verdict::Bad);
}

#[tokio::test]
async fn an_empty_database_and_one_of_a_newer_version_are_told_apart() {
    let empty = Database::empty().await;
    let seen = findings(empty.url()).await;
    assert!(of(&seen, Check::Schema).says.contains("missing"), "{seen:?}");
    assert_eq!(of(&seen, Check::Schema).remedy.as_deref(), Some("run `millrace migrate`"));
    assert!(
        seen.iter().all(|f| f.check != Check::History),
        "what a schema must hold is not looked for without one"
    );

    let newer = Database::new().await;
    sqlx::query("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'later', true, '', 0)")
        .execute(&mut newer.connect().await)
        .await
        .unwrap();
    let seen = findings(newer.url()).await;
    assert!(of(&seen, Check::Schema).says.contains("`9999`"), "{seen:?}");
    assert_eq!(
        of(&seen, Check::Schema).verdict,
        Verdict::Good,
        "an expansion suits the executable before it"
    );
    sqlx::query("create or replace function schema_floor() returns bigint language sql immutable as $$ select 9999::bigint $$")
        .execute(&mut newer.connect().await)
        .await
        .unwrap();
    let seen = findings(newer.url()).await;
    assert!(of(&seen, Check::Schema).says.contains("`9999`"), "{seen:?}");
    assert_eq!(of(&seen, Check::Schema).verdict, Verdict::Bad);
}

#[tokio::test]
async fn a_missing_scheduler_and_missing_days_are_warnings() {
    let database = Database::new().await;
    let db = database.pool().await;
    let days: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'job_history'::regclass",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    for day in days {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table {day}"))).execute(&db).await.unwrap();
    }
    let seen = findings(database.url()).await;
    assert_eq!(of(&seen, Check::Scheduler).verdict, Verdict::Warning);
    assert_eq!(of(&seen, Check::History).verdict, Verdict::Warning);
    assert!(of(&seen, Check::History).says.contains("0 days"), "{seen:?}");
}

#[tokio::test]
async fn a_host_that_is_kept_out_of_service_is_named_with_the_remedy() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (name, uri) = ("metal-1".parse().unwrap(), "qemu:///system".parse().unwrap());
    let known = jobs::host::store::register(&mut conn, &name, &uri, 1, 1).await.unwrap();
    let seen = findings(database.url()).await;
    let found = of(&seen, Check::Hosts);
    assert_eq!(found.verdict, Verdict::Warning, "{found:?}");
    assert!(found.says.contains("no worker serves host `metal-1`"), "{found:?}");

    let (lease, held) = (jobs::host::lease_name(known.id), std::time::Duration::from_secs(600));
    acquire(&mut conn, &lease, uuid::Uuid::new_v4(), held).await.unwrap().unwrap();
    let stranger = "update host set identity = 'own', stranger = 'other', reach = 'UNREACHABLE', reach_reason = 'another'";
    for (report, says) in [
        ("update host set reach = 'UNREACHABLE', reach_reason = 'no route to it'", "no route to it"),
        (stranger, "another hypervisor answers"),
    ] {
        sqlx::query(report).execute(&mut conn).await.unwrap();
        let seen = findings(database.url()).await;
        let found = of(&seen, Check::Hosts);
        assert_eq!(found.verdict, Verdict::Bad, "{found:?}");
        assert!(found.says.contains("host `metal-1`") && found.says.contains(says), "{found:?}");
        assert!(found.remedy.is_some(), "{found:?}");
    }
}

#[tokio::test]
async fn a_pooler_that_breaks_prepared_statements_is_named_and_nothing_beyond_it_is_guessed() {
    let database = Database::new().await;
    let pooler = Pooler::start(&database, false).await;
    // More than once: what earlier clients left on the servers must not deceive it.
    for _ in 0..3 {
        let seen = findings(pooler.url()).await;
        let found = of(&seen, Check::Pooler);
        assert_eq!(found.verdict, Verdict::Bad);
        assert!(found.says.contains("transaction mode that breaks prepared statements"), "{found:?}");
        assert_eq!(seen.len(), 2, "{seen:?}");
    }
}

#[tokio::test]
async fn a_pooler_that_refuses_our_settings_is_named_and_looked_behind() {
    let database = Database::new().await;
    let pooler = Pooler::start(&database, true).await;
    let seen = findings(pooler.url()).await;
    let pooler: Vec<&Finding> = seen.iter().filter(|f| f.check == Check::Pooler).collect();
    assert_eq!(pooler.len(), 2, "{seen:?}");
    assert!(pooler[0].says.contains("unsupported startup parameter"), "{seen:?}");
    assert!(pooler[0].remedy.as_ref().unwrap().contains("`ignore_startup_parameters`"));
    assert!(pooler[1].says.contains("prepared statements"), "{seen:?}");
}
