//! One hypervisor is one host's: of two names that reach it one has it, whatever they do at the same time.

use jobs::Code;
use jobs::host::store;
use rules::id::HostId;
use sqlx::Connection;
use tests::{Database, wait};
use uuid::Uuid;

use super::stage::{Stage, simulated};

/// An address of a driver that keeps what it is told.
const ELSEWHERE: &str = "qemu:///system";

/// What brings the rule into a database.
const MIGRATION: &str = include_str!("../../../migrations/0038_host_once.sql");

/// What takes it away again.
const BEFORE: &str = "drop index host_identity; drop function host_bind_v1(uuid, text, boolean)";

async fn register(stage: &Stage, name: &str) -> HostId {
    let (name, uri) = (name.parse().unwrap(), ELSEWHERE.parse().unwrap());
    store::register(&mut *stage.conn().await, &name, &uri, 1, 1).await.unwrap().id
}

async fn take(stage: &Stage, host: HostId) -> jobs::lease::Claim {
    let (name, lease) = (jobs::host::lease_name(host), std::time::Duration::from_secs(60));
    jobs::lease::acquire(&mut *stage.conn().await, &name, Uuid::new_v4(), lease).await.unwrap().unwrap()
}

/// By what the hypervisors of these hosts say who they are.
async fn identities(database: &Database) -> Vec<(String, Option<String>)> {
    let asked = sqlx::query_as("select name, identity from host order by name");
    asked.fetch_all(&mut *database.desk().await).await.unwrap()
}

fn bound(name: &str, identity: Option<&str>) -> (String, Option<String>) {
    (name.to_owned(), identity.map(Into::into))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_meet_one_hypervisor_at_once_one_has_it() {
    let stage = Stage::new().await;
    let (a, b) = (register(&stage, "a").await, register(&stage, "b").await);
    let (held_a, held_b) = (take(&stage, a).await, take(&stage, b).await);
    let mut first = stage.conn().await;
    let mut first = first.begin().await.unwrap();
    store::bind_first(&mut first, a, &held_a, "x").await.unwrap();
    // Not committed: whoever looks finds nothing.
    let mut second = stage.conn().await;
    let known = store::known(&mut second, b, Some("x")).await.unwrap();
    assert_eq!((known.identity, known.other), (None, None));
    let binding = tokio::spawn(async move {
        store::bind_first(&mut second, b, &held_b, "x").await.unwrap();
        store::known(&mut second, b, Some("x")).await.unwrap()
    });
    let db = stage.database.pool().await;
    wait::until("the second waits for the first", async || {
        let waits = "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and query like '%host_bind_v1%' and datname = current_database()";
        sqlx::query_scalar(waits).fetch_one(&db).await.unwrap()
    })
    .await;
    first.commit().await.unwrap();
    let known = binding.await.unwrap();
    assert_eq!((known.identity, known.other.as_deref()), (None, Some("a")));
    assert_eq!(identities(&stage.database).await, [bound("a", Some("x")), bound("b", None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_meet_one_hypervisor_at_once_are_not_both_let_in() {
    let stage = Stage::new().await;
    for round in 0..5 {
        let own = simulated("a").identified(&format!("own-{round}"));
        let names = [format!("a{round}"), format!("b{round}")];
        let hands = [
            stage.serve_at(&names[0], ELSEWHERE, &own).await,
            stage.serve_at(&names[1], ELSEWHERE, &own).await,
        ];
        let told = wait::value("both have met it", async || {
            let mut told = Vec::new();
            for name in &names {
                told.push(store::by_name(&mut *stage.conn().await, name).await.ok()?);
            }
            let met = told.iter().all(|host| host.stranger.is_some() || host.state().as_str() == "ONLINE");
            met.then_some(told)
        })
        .await;
        let one = |host: &&jobs::host::Host| host.stranger.is_none();
        let (own, other): (Vec<_>, Vec<_>) = told.iter().partition(one);
        assert_eq!((own.len(), other.len()), (1, 1), "{told:?}");
        let reason = other[0].reason().unwrap_or_default();
        let named = format!("host `{}`", own[0].name);
        assert!(reason.contains(&named) && reason.contains(&format!("`{}`", other[0].name)), "{reason}");
        let who = other[0].stranger.as_deref().unwrap();
        let refused = store::accept(&mut *stage.conn().await, &other[0].name, who).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict, "{refused}");
        let said = refused.to_string();
        assert!(said.contains(&named) && said.contains(&format!("`{}`", other[0].name)), "{said}");
        for hands in hands {
            hands.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_one_already_are_told_apart_by_the_migration() {
    let stage = Stage::new().await;
    let mut conn = stage.conn().await;
    sqlx::raw_sql(BEFORE).execute(&mut *conn).await.unwrap();
    for name in ["a", "b", "c", "gone"] {
        register(&stage, name).await;
    }
    let shared = "update host set identity = case when name = 'c' then 'y' else 'x' end;
        update host set removed_at = now(), removed_by = 'tester' where name = 'gone';
        update host set identity = 'x' where name = 'gone'";
    sqlx::raw_sql(shared).execute(&mut *conn).await.unwrap();
    // More live under the second name.
    sqlx::query(
        "insert into machine (id, tenant_id, host_id, name, spec, wanted, seen, seen_at, created_by)
        select gen_random_uuid(), $1, h.id, 'm', '{\"name\":\"m\",\"vcpus\":1,\"memory_mib\":64,\"disk_gib\":0,\"os\":\"UBUNTU\"}', 'OFF', 'OFF', now(), 'tester'
        from host h where h.name = 'b'",
    )
    .bind(stage.tenant.0)
    .execute(&mut *conn)
    .await
    .unwrap();

    let mut tx = conn.begin().await.unwrap();
    sqlx::raw_sql(MIGRATION).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let left = [bound("a", None), bound("b", Some("x")), bound("c", Some("y")), bound("gone", Some("x"))];
    assert_eq!(identities(&stage.database).await, left);

    // What an executable of before writes when it meets the hypervisor in the same moment as another.
    let before = "update host set identity = coalesce(identity, 'y') where name = 'a'";
    let refused = sqlx::query(before).execute(&mut *conn).await.unwrap_err();
    assert!(refused.to_string().contains("host_identity"), "{refused}");
    assert_eq!(identities(&stage.database).await, left);
}
