//! No table is forgotten: each is behind the wall, or named here with the reason why not.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};
use tests::Database;

/// Tables that hold nothing of a tenant's, or nothing of it but ids, kinds, keys and times.
const OPEN: [(&str, &str); 20] = [
    ("_sqlx_migrations", "what was migrated; the roles may read it and no more"),
    (
        "app_user",
        "users belong to the installation; membership, which is behind the wall, says where they belong",
    ),
    ("event_floor", "up to which transaction events were removed: one number"),
    ("health_slot", "which checks are being made, of the whole installation: ids and times"),
    ("host", "hosts are the installation's; machines of all tenants stand on them"),
    ("job_blocked", "where jobs are: ids, kinds, order keys, times; the queue's functions move them"),
    ("job_key", "which job heads an order key"),
    ("job_lease", "where jobs are"),
    ("job_pool", "names of the installation"),
    ("job_queue", "names of the installation"),
    ("job_ready", "where jobs are"),
    ("job_scheduled", "where jobs are"),
    ("job_unique", "which job holds a uniqueness key"),
    ("job_worker", "worker processes"),
    ("keyring_proof", "a known value of the installation"),
    ("lease", "who leads, who holds which host"),
    ("login_throttle", "failures by address, counted before anybody is known"),
    ("refresh_token", "a user's, found by its hash before anybody is known"),
    ("session", "a user's, as above"),
    ("user_identity", "a user's, as above"),
];

/// What is wrong with the tables of a schema, each with its remedy.
async fn faults(conn: &mut PgConnection) -> Vec<String> {
    let tables: Vec<(String, bool, bool)> = sqlx::query_as(
        "select t::text, c.relrowsecurity and exists (select from pg_policy p where p.polrelid = t and p.polname = 'tenant_wall'),
            exists (select from pg_attribute a where a.attrelid = t and a.attname = 'tenant_id' and not a.attisdropped)
        from pg_class c, cast(c.oid as regclass) t
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition",
    )
    .fetch_all(conn)
    .await
    .unwrap();
    let mut faults = Vec::new();
    for (name, behind, of_tenant) in &tables {
        let open = OPEN.iter().any(|(open, _)| open == name);
        if *of_tenant && !behind {
            faults.push(format!(
                "`{name}` has a `tenant_id` and is not behind the wall: `select tenant_wall_v1('{name}')` in its migration"
            ));
        } else if !behind && !open {
            faults.push(format!(
                "`{name}` is not behind the wall: if its rows belong to rows of a tenant's, `select tenant_wall_v1('{name}', \
                 '<column>', '<table that it leads to>')` in its migration; if nothing in it is a tenant's, name it in OPEN \
                 of tests/suite/wall/catalogue.rs with the reason"
            ));
        } else if *behind && open {
            faults.push(format!("`{name}` is behind the wall and named in OPEN; take it out there"));
        }
    }
    let there: BTreeSet<&str> = tables.iter().map(|(name, _, _)| name.as_str()).collect();
    let gone = OPEN.iter().filter(|(name, _)| !there.contains(name));
    faults.extend(gone.map(|(name, _)| format!("`{name}` in OPEN is no table any more; take it out there")));
    faults
}

async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap();
}

#[tokio::test]
async fn every_table_is_behind_the_wall_or_has_a_reason_not_to_be() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let found = faults(&mut conn).await;
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    assert!(OPEN.iter().all(|(_, reason)| !reason.is_empty()));

    // A table that somebody forgets is seen, with what to do.
    run(&mut conn, "create table forgotten (id uuid, tenant_id uuid)").await;
    run(&mut conn, "create table beneath (id uuid, run_id uuid references run (id))").await;
    let found = faults(&mut conn).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|f| f.contains("`select tenant_wall_v1('forgotten')`")), "{found:?}");
    assert!(found.iter().any(|f| f.contains("tenant_wall_v1('beneath', '<column>'")), "{found:?}");
}

#[tokio::test]
async fn a_table_of_a_later_migration_is_furnished_with_the_next_start_of_migrations() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(&mut conn, "create table later (id uuid, tenant_id uuid)").await;
    let db = database.pool().await;
    for role in jobs::db::wall::DbRole::ALL {
        assert!(!jobs::db::wall::stands(&mut conn, role).await.unwrap(), "the roles know nothing of it yet");
    }
    jobs::db::migrate(&db).await.unwrap();
    for role in jobs::db::wall::DbRole::ALL {
        assert!(jobs::db::wall::stands(&mut conn, role).await.unwrap());
    }
    run(&mut conn, "insert into later values (gen_random_uuid(), gen_random_uuid())").await;
    let seen = |pool: jobs::db::PgPool| async move {
        sqlx::query_scalar::<_, i64>("select count(*) from later").fetch_one(&pool).await.unwrap()
    };
    assert_eq!(seen(database.behind_wall().await).await, 0);
    assert_eq!(seen(database.pool_as(jobs::db::wall::DbRole::Worker).await).await, 1);
}

#[tokio::test]
async fn policies_are_of_the_one_form_and_every_function_with_its_owners_rights_fixes_its_path() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let strange: Vec<String> = sqlx::query_scalar(
        "select tablename || ': ' || policyname || ' ' || coalesce(qual, '') || ' ' || coalesce(with_check, '') from pg_policies
        where schemaname = current_schema() and not (
            permissive = 'PERMISSIVE' and cmd = 'ALL' and with_check is null and (
                policyname = 'tenant_wall' and roles = '{public}' and (qual like '%tenant_entered_v1%' or qual like '(EXISTS ( SELECT%FROM % wall_owner%')
                or policyname = 'worker_door' and roles = '{millrace_worker}' and qual = 'true'))",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(strange.is_empty(), "{strange:#?}");
    let loose: Vec<String> = sqlx::query_scalar(
        "select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.prosecdef and (
            not exists (select from unnest(p.proconfig) c where c like 'search\\_path=%, pg\\_temp')
            or has_function_privilege('public', p.oid, 'execute'))",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(
        loose.is_empty(),
        "`alter function ... security definer set search_path = <schema>, pg_temp` and `revoke all ... from public`: {loose:#?}"
    );
}

/// Who looks across all tenants: for each, somebody who operates the installation has been made sure of.
const ACROSS: [(&str, usize); 6] = [
    // What was gathered for the audits of any tenants: it is put into a job, and nothing is looked at.
    ("api/src/audit/buffer.rs", 1),
    // The list of tenants, to a super administrator.
    ("api/src/graphql/tenant.rs", 1),
    // Queues, which are the installation's.
    ("api/src/graphql/queue.rs", 3),
    // Jobs and dead letters, to an operator who names no tenant.
    ("api/src/graphql/scope.rs", 1),
    // How the checks of the whole installation are getting on, to whoever operates it.
    ("api/src/graphql/health.rs", 1),
    // The parts of jobs of all tenants, to an operator, who may list them.
    ("api/src/graphql/loader.rs", 1),
];

#[test]
fn whoever_looks_across_all_tenants_is_named() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    let (mut folders, mut found) = (vec![root.join("api/src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let count = std::fs::read_to_string(&path).unwrap().matches("enter_all(").count();
            if count > 0 {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, count));
            }
        }
    }
    found.sort();
    let mut named = ACROSS.map(|(name, count)| (name.to_owned(), count)).to_vec();
    named.sort();
    assert_eq!(
        found, named,
        "`wall::enter_all` sees every tenant: enter the one that it is about, or name the place in ACROSS"
    );
}
