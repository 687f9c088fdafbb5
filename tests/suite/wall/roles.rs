//! Processes need to own nothing; where the roles cannot be had it is said loudly, or refused.

use std::str::FromStr;

use jobs::config::DatabaseConfig;
use jobs::db::wall::{DbRole, stands};
use jobs::doctor::{Check, Verdict, examine};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tests::postgres::{Own, Postgres};
use tests::{Database, Millrace, door, process, wait};

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap();
}

async fn keeper(own: &Own) -> PgConnection {
    own.postgres.keeper().connect().await.unwrap()
}

async fn both_stand(database: &Database) -> bool {
    let mut conn = database.desk().await;
    stands(&mut conn, DbRole::Api).await.unwrap() && stands(&mut conn, DbRole::Worker).await.unwrap()
}

fn variables<'a>(url: &'a str, keyring: &'a str, wall: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("DATABASE_URL", url),
        ("KEYRING", keyring),
        ("JWT_SECRET", door::JWT_SECRET),
        ("PORT", "0"),
        ("MILLRACE_HOME", "/tmp/millrace-of-nobody"),
        ("TENANT_WALL", wall),
    ]
}

#[tokio::test]
async fn a_login_that_owns_nothing_is_enough_for_every_process() {
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    run(&mut keeper(&own).await, "create role runner login; grant millrace_api, millrace_worker to runner")
        .await;
    let name = PgConnectOptions::from_str(database.url()).unwrap().get_database().unwrap().to_owned();
    let url = own.cluster.place().url("runner", &name);
    let mut owner = database.connect().await;
    // What only an owner can make again, and what only a worker can do.
    let days = "select inhrelid::regclass::text from pg_inherits where inhparent = 'job_history'::regclass order by 1 desc";
    let last: String = sqlx::query_scalar(days).fetch_one(&mut owner).await.unwrap();
    run(&mut owner, &format!("drop table {last}")).await;
    let job = crate::queue::noop("n");
    jobs::queue::enqueue(&mut owner, &[job]).await.unwrap();

    let keyring = door::keyring_text();
    let variables = variables(&url, &keyring, "required");
    let mut api = Millrace::start(&["api"], &variables);
    api.printed("listening").await;
    let worker = Millrace::start(&["worker", "--pools", "maintenance,audit,events,dag"], &variables);
    let scheduler = Millrace::start(&["scheduler"], &variables);
    wait::until("the job is done and the day is there again", async || {
        let done: i64 = sqlx::query_scalar("select count(*) from job_history where kind = 'queue.noop'")
            .fetch_one(&mut *database.desk().await)
            .await
            .unwrap();
        let newest: String = sqlx::query_scalar(days).fetch_one(&mut database.connect().await).await.unwrap();
        done == 1 && newest == last
    })
    .await;
    let listed = process::run(&["job", "list", "--json"], &variables);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    for process in [&api, &worker, &scheduler] {
        assert!(!process.log().contains("ERROR"), "{}", process.log());
    }
}

#[tokio::test]
async fn without_the_roles_it_is_said_loudly_or_refused_and_the_remedy_is_one() {
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    assert!(both_stand(&database).await);
    run(&mut keeper(&own).await, "revoke millrace_api, millrace_worker from millrace").await;
    assert!(!both_stand(&database).await);

    let keyring = door::keyring_text();
    let refused = process::run(&["api"], &variables(database.url(), &keyring, "required"));
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("`millrace_api`") && told.contains("grant millrace_api to"), "{told}");
    let misspelt = process::run(&["api"], &variables(database.url(), &keyring, "yes"));
    assert_eq!(misspelt.status.code(), Some(2));

    let variables = variables(database.url(), &keyring, "auto");
    let mut api = Millrace::start(&["api"], &variables);
    api.printed("cannot work as the role").await;
    let mut worker = Millrace::start(&["worker", "--pools", "dag"], &variables);
    worker.printed("cannot work as the role `millrace_worker`").await;
    for process in [&api, &worker] {
        let log = process.log();
        assert!(log.contains("ERROR") && log.contains("as a superuser `create role"), "{log}");
    }

    let config = DatabaseConfig { url: database.url().to_owned().into(), connections: 2 };
    let found = async || {
        let seen = examine(&config, None).await;
        seen.into_iter().find(|f| f.check == Check::Roles).unwrap()
    };
    let warned = found().await;
    assert_eq!(warned.verdict, Verdict::Warning);
    assert!(warned.remedy.unwrap().contains("millrace migrate"));
    run(&mut keeper(&own).await, "grant millrace_api, millrace_worker to millrace").await;
    assert_eq!(found().await.verdict, Verdict::Good);
}

#[tokio::test]
async fn migrations_make_the_roles_where_they_may_and_do_without_where_not() {
    let own = Postgres::own().await;
    run(&mut keeper(&own).await, "drop role millrace_api; drop role millrace_worker").await;
    let without = Database::on(&own.postgres).await;
    assert!(!both_stand(&without).await);
    assert!(
        jobs::db::connect_as(
            &DatabaseConfig { url: without.url().to_owned().into(), connections: 2 },
            &without.pool().await,
            DbRole::Api
        )
        .await
        .unwrap()
        .is_none()
    );

    run(&mut keeper(&own).await, "alter role millrace createrole").await;
    let with = Database::on(&own.postgres).await;
    assert!(both_stand(&with).await);
    // The server has the roles now, and the first database is furnished with the next start of migrations.
    assert!(!both_stand(&without).await);
    jobs::db::migrate(&without.pool().await).await.unwrap();
    assert!(both_stand(&without).await);
}
