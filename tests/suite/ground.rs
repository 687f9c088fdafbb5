//! The ground that everything stands on: the private cluster and the harness itself.

use jobs::db::private::{Account, Cluster, Options, Place, UpLock};
use tests::{Database, Postgres, fault};

#[tokio::test]
async fn each_test_has_a_database_of_its_own_and_leaves_none() {
    let one = Database::new().await;
    let other = Database::new().await;
    let (a, b) = (one.pool().await, other.pool().await);
    sqlx::query("create table mark (x int)").execute(&a).await.unwrap();
    let seen: Option<String> =
        sqlx::query_scalar("select to_regclass('mark')::text").fetch_one(&b).await.unwrap();
    assert_eq!(seen, None);

    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&a).await.unwrap();
    drop(one);
    let left: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
        .bind(name)
        .fetch_one(&b)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_role_that_works_is_no_superuser() {
    let database = Database::new().await;
    let mut connection = database.connect().await;
    let superuser: bool = sqlx::query_scalar("select rolsuper from pg_roles where rolname = current_user")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(!superuser || std::env::var(tests::postgres::URL_VARIABLE).is_ok());
}

#[tokio::test]
async fn a_killed_server_starts_again_with_all_that_was_committed() {
    let own = Postgres::own().await;
    let database = Database::on(&own.postgres).await;
    let mut connection = database.connect().await;
    sqlx::query("create table mark as select 7 as x").execute(&mut connection).await.unwrap();

    fault::kill_postgres(&own);
    assert!(own.cluster.pid().is_none());
    own.restart().await;

    let mut connection = database.connect().await;
    let x: i32 = sqlx::query_scalar("select x from mark").fetch_one(&mut connection).await.unwrap();
    assert_eq!(x, 7);
}

#[tokio::test]
async fn a_running_cluster_is_adopted_and_data_of_another_version_refused() {
    let own = Postgres::own().await;
    let place = own.cluster.place().clone();
    let account = Account::current().unwrap();
    let before = own.cluster.pid();
    let again = Cluster::open(&place, &account, &Options::durable()).await.unwrap();
    assert!(again.adopted());
    assert_eq!(again.pid(), before);

    own.cluster.stop().await.unwrap();
    assert!(Cluster::running(&place, &account).unwrap().is_none());
    std::fs::write(place.data().join("PG_VERSION"), "11\n").unwrap();
    let refusal = Cluster::open(&place, &account, &Options::durable()).await.unwrap_err().to_string();
    for part in ["made by Postgres 11", "install `postgresql-11`", "`make reset`"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    // Where nobody can tell whose data that is nothing is made beside it.
    for lost in ["", "?\n"] {
        std::fs::write(place.data().join("PG_VERSION"), lost).unwrap();
        let refusal = Cluster::open(&place, &account, &Options::durable()).await.unwrap_err().to_string();
        assert!(refusal.contains("`PG_VERSION`") && refusal.contains("move the folder away"), "{refusal}");
        assert!(!place.home().join("pg.new").exists());
    }
}

#[test]
fn a_second_up_on_the_same_data_is_told_the_pid_and_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let place = Place::at(home.path()).unwrap();
    assert_eq!(UpLock::holder(&place).unwrap(), None);
    let held = UpLock::take(&place).unwrap();
    let refusal = UpLock::take(&place).unwrap_err().to_string();
    assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
    assert!(refusal.contains("`make down`"), "{refusal}");
    assert_eq!(UpLock::holder(&place).unwrap(), Some(std::process::id()));
    drop(held);
    UpLock::take(&place).unwrap();
}

#[tokio::test]
async fn a_migration_has_the_time_that_a_large_table_takes() {
    let database = Database::new().await;
    let limits = async |conn: &mut jobs::db::PgConnection| -> (String, String) {
        sqlx::query_as("select current_setting('statement_timeout'), current_setting('lock_timeout')")
            .fetch_one(conn)
            .await
            .unwrap()
    };
    let config = jobs::config::DatabaseConfig { url: database.url().to_owned().into(), connections: 1 };
    let pool = jobs::db::connect(&config).await.unwrap();
    let mut plain = pool.acquire().await.unwrap();
    assert_eq!(limits(&mut plain).await, ("8s".into(), "0".into()));
    let options = jobs::db::migration_options(&pool);
    let mut conn = <jobs::db::PgConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    assert_eq!(limits(&mut conn).await, ("0".into(), "5s".into()));
}

#[tokio::test]
async fn a_migration_that_waited_for_a_lock_in_vain_is_tried_again() {
    let database = Database::empty().await;
    let db = database.pool().await;
    let mut worker = database.connect().await;
    // Whoever works in the schema with a table of that name: the migration waits for them, and is given up once.
    crate::plans::run(&mut worker, "begin; create table job (held integer)").await;
    let waits = "select l.pid from pg_locks l where not l.granted and l.pid <> pg_backend_pid()
        and exists (select from pg_stat_activity a where a.pid = l.pid and a.datname = current_database())";
    let meeting = async {
        let waiting = || async { sqlx::query_scalar::<_, i32>(waits).fetch_optional(&db).await.unwrap() };
        let first = tests::wait::value("the migration waits", waiting).await;
        tests::wait::value("it is tried a second time", || async {
            waiting().await.filter(|pid| *pid != first)
        })
        .await;
        crate::plans::run(&mut worker, "rollback").await;
    };
    let (migrated, ()) = tokio::join!(jobs::db::migrate(&db), meeting);
    migrated.unwrap();
    assert_eq!(jobs::db::schema_state(&db).await.unwrap(), jobs::db::SchemaState::Current);
}
