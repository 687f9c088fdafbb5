//! Dead letters by what ended them: grouped, filtered and searched, over GraphQL and by the command, without walking them all.

use jobs::db::PgConnection;
use jobs::db::wall::{DbRole, enter_all};
use jobs::queue::postgres::letters::{self, Bound, GROUPED_MAX};
use rules::id::TenantId;
use rules::queue::letter::{Letters, fingerprint};
use serde_json::{Value, json};
use tests::{Client, Database, Door, process};
use uuid::Uuid;

use super::stage::letters;
use crate::api_identity::tenant;
use crate::plans::run;

const GROUPS: &str = "query($t: ID, $k: String, $q: String, $s: DateTime, $u: DateTime, $n: Int) {
    deadLetterGroups(tenant: $t, kind: $k, queue: $q, since: $s, until: $u, first: $n) {
        looked complete groups { fingerprint kind shape count firstAt lastAt sample sampleError } } }";
const LIST: &str = "query($t: ID, $k: String, $q: String, $f: String, $x: String, $s: DateTime, $u: DateTime, $n: Int, $a: String) {
    deadLetters(tenant: $t, kind: $k, queue: $q, fingerprint: $f, search: $x, since: $s, until: $u, first: $n, after: $a) {
        nodes { id fingerprint } pageInfo { hasNextPage endCursor } } }";

async fn ids(client: &Client, given: Value) -> Vec<String> {
    let told = client.ok(LIST, given).await;
    let nodes = told["deadLetters"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_one_error_are_one_group_and_are_found_by_it() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let mut conn = database.connect().await;
    letters(&mut conn, Some(&acme), 1_000, 3, "host `hN` did not answer within N s").await;
    letters(&mut conn, Some(&acme), 2_000, 1, "Just bad Luck").await;
    letters(&mut conn, Some(&other), 3_000, 5, "host `hN` did not answer within N s").await;

    let told = admin.ok(GROUPS, json!({"t": acme})).await["deadLetterGroups"].clone();
    assert_eq!((&told["looked"], &told["complete"]), (&json!(4), &json!(true)), "{told}");
    let group = &told["groups"][0];
    let wanted = fingerprint("queue.noop", "host `x` did not answer within 9 s");
    assert_eq!(
        (&group["fingerprint"], &group["count"], &group["sample"], &group["shape"]),
        (&json!(wanted), &json!(3), &json!("1002"), &json!("host ? did not answer within # s")),
        "{told}"
    );
    assert!(group["firstAt"].as_str() < group["lastAt"].as_str(), "{group}");
    assert_eq!(told["groups"].as_array().unwrap().len(), 2);
    // Who operates the installation sees all tenants' in one.
    let all = admin.ok(GROUPS, json!({"n": 1})).await["deadLetterGroups"].clone();
    assert_eq!((&all["groups"][0]["count"], &all["looked"]), (&json!(8), &json!(9)), "{all}");
    assert_eq!(all["groups"].as_array().unwrap().len(), 1);

    let of = |more: Value| {
        let mut given = json!({"t": acme});
        given.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        given
    };
    assert_eq!(ids(&admin, of(json!({"f": wanted}))).await, ["1002", "1001", "1000"]);
    assert_eq!(ids(&admin, json!({"f": wanted})).await.len(), 8);
    assert_eq!(ids(&admin, of(json!({"x": "BAD LUCK"}))).await, ["2000"]);
    assert_eq!(ids(&admin, of(json!({"x": "%"}))).await, Vec::<String>::new(), "a text, and no pattern");
    assert_eq!(ids(&admin, of(json!({"q": "maintenance"}))).await.len(), 4);
    assert_eq!(ids(&admin, of(json!({"q": "nowhere"}))).await, Vec::<String>::new());
    assert_eq!(ids(&admin, of(json!({"f": wanted, "s": group["lastAt"]}))).await, ["1002"]);
    assert_eq!(ids(&admin, of(json!({"f": wanted, "u": group["lastAt"]}))).await, ["1001", "1000"]);
    let until = admin.ok(GROUPS, of(json!({"u": group["lastAt"]}))).await["deadLetterGroups"].clone();
    assert_eq!(until["groups"][0]["count"], 2, "{until}");
    // Each says of which group it is, and pages go on where they ended.
    let first = admin.ok(LIST, of(json!({"f": wanted, "n": 2}))).await["deadLetters"].clone();
    assert_eq!(
        (&first["nodes"][0]["fingerprint"], &first["pageInfo"]["hasNextPage"]),
        (&json!(wanted), &json!(true))
    );
    let rest = ids(&admin, of(json!({"f": wanted, "n": 2, "a": first["pageInfo"]["endCursor"]}))).await;
    assert_eq!(rest, ["1000"]);

    for (wrong, told) in [
        (json!({"f": "abc"}), "`fingerprint` is 16 digits"),
        (json!({"x": ""}), "`search` has between 1 and"),
        (json!({"s": group["lastAt"], "u": group["firstAt"]}), "`since` is not before `until`"),
        (json!({"k": "queue.nop"}), "`queue.noop` is the nearest"),
    ] {
        let (code, said) = admin.refusal(LIST, of(wrong)).await;
        assert_eq!((code.as_str(), said.contains(told)), ("BAD_USER_INPUT", true), "{said}");
    }
    assert_eq!(admin.refusal(GROUPS, of(json!({"n": 101}))).await.0, "BAD_USER_INPUT");
    assert_eq!(admin.refusal(GROUPS, of(json!({"k": "queue.nop"}))).await.0, "BAD_USER_INPUT");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_groups_and_what_is_in_one() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000, 3, "host `hN` did not answer").await;
    letters(&mut conn, None, 2_000, 1, "no luck").await;
    let millrace = |arguments: &[&str]| {
        let run =
            process::run(arguments, &[("DATABASE_URL", database.url()), ("MILLRACE_HOME", "/nonexistent")]);
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&millrace(arguments)).unwrap();
    let told = json(&["dlq", "groups", "--json"]);
    let group = told["groups"][0]["fingerprint"].as_str().unwrap();
    assert_eq!((&told["groups"][0]["count"], &told["complete"]), (&json!(3), &json!(true)), "{told}");
    let people = millrace(&["dlq", "groups", "--kind", "queue.noop", "--limit", "1"]);
    assert!(people.contains(group) && people.contains("host ? did not answer"), "{people}");
    let of_group = json(&["dlq", "list", "--fingerprint", group, "--limit", "2", "--json"]);
    assert_eq!((&of_group[0]["id"], of_group.as_array().unwrap().len()), (&json!(1_002), 2), "{of_group}");
    let found = json(&["dlq", "list", "--search", "LUCK", "--since", "2020-01-01T00:00:00Z", "--json"]);
    assert_eq!((&found[0]["id"], found.as_array().unwrap().len()), (&json!(2_000), 1), "{found}");
    assert_eq!(json(&["dlq", "show", "1001", "--json"])["fingerprint"], group);
}

/// Dead letters among which those that are asked for are few.
const CROWD: i64 = 100_000;

/// Pages that a list of a few may touch.
const LIST_PAGES: i64 = 300;

/// Pages that a hundred thousand are grouped from: each once, of an index and of the table.
const GROUP_PAGES: i64 = 4_000;

const BUSY: TenantId = TenantId(Uuid::from_u128(1));
const QUIET: TenantId = TenantId(Uuid::from_u128(2));

async fn touched(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select sum(pg_stat_get_xact_blocks_fetched(oid))::bigint from pg_class
        where relkind in ('r', 'i') and relnamespace = 'public'::regnamespace",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

/// Does it as the API does, and tells the pages that it touched.
pub(super) async fn pages<T>(
    conn: &mut PgConnection,
    act: impl AsyncFnOnce(&mut PgConnection) -> jobs::Result<T>,
) -> (T, i64) {
    run(conn, "begin").await;
    enter_all(conn).await.unwrap();
    let before = touched(conn).await;
    let given = act(conn).await.unwrap();
    let pages = touched(conn).await - before;
    run(conn, "rollback").await;
    (given, pages)
}

#[tokio::test]
async fn a_few_letters_are_found_among_a_hundred_thousand_without_walking_these() {
    let database = Database::new().await;
    let mut desk = database.connect().await;
    let of = |tenant: TenantId| json!(tenant.0.to_string());
    run(&mut desk, "alter table job_dead set (autovacuum_enabled = false); analyze job_dead").await;
    letters(&mut desk, Some(&of(QUIET)), 1, 4, "rare with N").await;
    letters(&mut desk, Some(&of(BUSY)), 10, 3, "rare with N").await;
    letters(&mut desk, Some(&of(BUSY)), 1_000, CROWD, "no luck with N").await;
    let rare = Letters { fingerprint: Some(fingerprint("queue.noop", "rare with 1")), ..Letters::default() };
    // Statistics that say the table is empty first, and then those of what is in it.
    for what in ["stale", "fresh"] {
        let mut conn = database.pool_as(DbRole::Api).await.acquire().await.unwrap().detach();
        for _ in 0..2 {
            for (tenant, letters, wanted) in [
                (Some(QUIET), &Letters::default(), 4),
                (Some(QUIET), &rare, 4),
                (Some(BUSY), &rare, 3),
                (None, &rare, 7),
            ] {
                let (found, pages) = pages(&mut conn, async |c| {
                    letters::page(c, tenant, letters, None, 50, Bound::USUAL).await
                })
                .await;
                assert_eq!(found.letters.len(), wanted, "{tenant:?}");
                println!("{what}: {wanted} of {tenant:?}: {pages} pages");
                assert!(pages < LIST_PAGES, "{what}: {tenant:?}: {pages} pages");
            }
        }
        run(&mut desk, "vacuum analyze job_dead").await;
    }
    let mut conn = database.pool_as(DbRole::Api).await.acquire().await.unwrap().detach();
    for (tenant, looked) in
        [(Some(QUIET), 4), (Some(BUSY), i64::from(GROUPED_MAX)), (None, i64::from(GROUPED_MAX))]
    {
        let (told, pages) =
            pages(&mut conn, async |c| letters::groups(c, tenant, &Letters::default(), 20).await).await;
        println!("groups of {tenant:?}: {pages} pages");
        assert_eq!((told.looked, told.complete), (looked, tenant == Some(QUIET)), "{tenant:?}");
        assert!(pages < GROUP_PAGES, "{tenant:?}: {pages} pages");
    }
    // A text is sought in all of them, some at a time.
    let text = Letters { search: Some("RARE WITH".into()), ..Letters::default() };
    let (found, pages) =
        pages(&mut conn, async |c| letters::page(c, Some(BUSY), &text, None, 50, Bound::USUAL).await).await;
    assert_eq!(found.letters.len(), 3);
    println!("a text: {pages} pages");
}
