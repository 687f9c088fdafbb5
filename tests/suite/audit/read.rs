//! How the audit is read: by administrators through the API, by operators on the command line.

use jobs::audit::look::{Filter, entries};
use jobs::db::PgConnection;
use rules::id::TenantId;
use serde_json::{Value, json};
use tests::{Database, Door, process};

use super::stage::{ask_as, chained};
use crate::api_identity::{join, tenant};

const PAGE: &str = "query($t: ID, $f: AuditFilter, $n: Int, $a: String) { auditLogs(tenant: $t, filter: $f, first: $n, after: $a) {
    nodes { id operation outcome code actor arguments requestId address hash durationMs } pageInfo { hasNextPage endCursor } } }";

fn operations(page: &Value) -> Vec<String> {
    let nodes = page["auditLogs"]["nodes"].as_array().unwrap();
    nodes.iter().map(|n| n["operation"].as_str().unwrap().to_owned()).collect()
}

/// Pages that a look for one actor's newest entries may touch, however long the tenant's audit is: a way down each
/// month's index, and the entries.
const ACTOR_PAGES: i64 = 60;

#[tokio::test]
async fn one_actors_entries_are_found_without_a_walk_through_all_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    sqlx::raw_sql(
        "insert into audit_entry (tenant_id, seq, kept_at, at, actor, operation, arguments, outcome, took_ms, hash)
        select '018f0000-0000-7000-8000-000000000000', n, now(), now(), case when n in (7, 19000) then 'user:rare' else 'user:usual' end,
            'login', '{}', 'ACCEPTED', 1, decode(repeat('00', 32), 'hex')
        from generate_series(1, 20000) n;
        analyze audit_entry",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let touched = "select sum(pg_stat_get_xact_blocks_fetched(relid))::bigint from (
        select i.inhrelid as relid from pg_inherits i where i.inhparent in ('audit_entry'::regclass, 'audit_entry_actor'::regclass, 'audit_entry_pkey'::regclass)) x";
    let touched =
        async |conn: &mut PgConnection| sqlx::query_scalar::<_, i64>(touched).fetch_one(conn).await.unwrap();
    let tenant = TenantId("018f0000-0000-7000-8000-000000000000".parse().unwrap());
    for round in 0..8 {
        let mut tx = sqlx::Connection::begin(&mut conn).await.unwrap();
        let before = touched(&mut tx).await;
        let filter = Filter { actor: Some("user:rare"), ..Filter::default() };
        let found = entries(&mut tx, tenant, &filter, None, 20).await.unwrap();
        let pages = touched(&mut tx).await - before;
        assert_eq!(found.iter().map(|link| link.seq).collect::<Vec<_>>(), [19000, 7]);
        // Prepared statements are planned anew a few times and then once for all.
        assert!(pages <= ACTOR_PAGES, "round {round}: {pages} pages");
        tx.rollback().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_read_their_own_tenants_audit_by_pages_and_filters() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let ada = door.user("ada@example.org", "USER").await;
    let eve = door.user("eve@example.org", "USER").await;
    join(&admin, &acme, "ada@example.org", "ADMIN").await;
    join(&admin, &acme, "eve@example.org", "MEMBER").await;
    let make = "mutation($t: ID!, $n: String!) { createDepartment(tenant: $t, name: $n) { id } }";
    for n in 0..5 {
        ask_as(&door, &ada, &format!("r{n}"), make, json!({"t": acme, "n": format!("d{n}")})).await;
    }
    ask_as(&door, &ada, "again", make, json!({"t": acme, "n": "d0"})).await;
    ask_as(&door, &admin, "other", make, json!({"t": other, "n": "d0"})).await;
    door.close().await;
    chained(&database).await;
    let door = Door::open(&database).await;
    let (ada, eve, admin) = (ada.to(&door), eve.to(&door), admin.to(&door));

    let all = ada.ok(PAGE, json!({"t": acme})).await;
    // Newest first: the refused one was buffered, and came after the others.
    assert_eq!(operations(&all)[0], "createDepartment");
    assert_eq!(all["auditLogs"]["nodes"][0]["code"], "CONFLICT");
    assert_eq!(operations(&all).last().unwrap(), "createTenant");
    let mut walked = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = ada.ok(PAGE, json!({"t": acme, "n": 3, "a": after})).await;
        walked.extend(operations(&page));
        after = page["auditLogs"]["pageInfo"]["endCursor"].clone();
        if page["auditLogs"]["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert_eq!(walked, operations(&all));
    let count = async |filter: Value| {
        operations(&ada.ok(PAGE, json!({"t": acme, "f": filter, "n": 100})).await).len()
    };
    assert_eq!(count(json!({"operation": "createDepartment"})).await, 6);
    assert_eq!(count(json!({"operation": "createDepartment", "outcome": "REFUSED"})).await, 1);
    assert_eq!(count(json!({"requestId": "r3"})).await, 1);
    assert_eq!(count(json!({"actor": "nobody"})).await, 0);
    assert_eq!(count(json!({"since": "2100-01-01T00:00:00Z"})).await, 0);
    assert_eq!(count(json!({"until": "2100-01-01T00:00:00Z"})).await, walked.len());

    assert_eq!(eve.refusal(PAGE, json!({"t": acme})).await.0, "FORBIDDEN");
    assert_eq!(ada.refusal(PAGE, json!({"t": other})).await.0, "NOT_FOUND");
    assert_eq!(ada.refusal(PAGE, json!({})).await.0, "BAD_USER_INPUT");
    let installation = admin.ok(PAGE, json!({"n": 100})).await;
    assert!(operations(&installation).contains(&"login".to_owned()), "{installation}");
    assert!(!operations(&installation).contains(&"createDepartment".to_owned()), "{installation}");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_list_export_and_verify_and_are_told_of_themselves() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    door.close().await;
    let variables = [("DATABASE_URL", database.url()), ("USER", "ann")];
    let said = process::run(&["queue", "pause", "maintenance"], &variables);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    chained(&database).await;

    let out = |arguments: &[&str]| {
        let said = process::run(arguments, &variables);
        (said.status.code(), String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap())
    };
    let (code, listed, _) = out(&["audit", "list", "--actor", "operator:ann", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, &listed[0]["operation"]), (Some(0), &json!("cli.queue.pause")));
    assert_eq!(listed[0]["arguments"], json!({"name": "maintenance"}));
    let acme = acme.as_str().unwrap();
    let (_, table, _) = out(&["audit", "list", "--tenant", acme, "--outcome", "accepted"]);
    assert!(table.contains("createTenant"), "{table}");
    let (_, lines, _) = out(&["audit", "export"]);
    let numbers: Vec<i64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
    let (_, some, _) = out(&["audit", "export", "--operation", "login"]);
    assert_eq!(some.lines().count(), 1, "{some}");

    let (code, told, _) = out(&["audit", "verify", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, told.as_array().unwrap().len()), (Some(0), 2), "{told}");
    assert!(told.as_array().unwrap().iter().all(|chain| chain["holds"] == true), "{told}");
    let end = told[1]["end"].as_str().unwrap();
    assert_eq!(out(&["audit", "verify", "--tenant", acme, "--head", end]).0, Some(0));
    let db = database.pool().await;
    let tamper = format!(
        "do $$ declare p regclass; begin for p in select inhrelid from pg_inherits where inhparent = 'audit_entry'::regclass loop
            execute format('alter table %s disable trigger user', p); end loop; end $$;
        update audit_entry set actor = 'nobody' where tenant_id = '{acme}' and seq = 1"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(tamper)).execute(&db).await.unwrap();
    let (code, table, told) = out(&["audit", "verify"]);
    assert_eq!(code, Some(1));
    assert!(table.contains("entry 1 is not as it was written") && told.contains(acme), "{table}{told}");
    assert_eq!(out(&["audit", "verify", "--tenant", "00000000-0000-0000-0000-000000000000"]).0, Some(0));
    assert_eq!(out(&["audit", "verify", "--tenant", acme, "--head", "x"]).0, Some(2));
}
