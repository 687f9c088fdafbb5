//! A page of a hundred asks of the database as often as a page of one, whatever is looked up for its rows.

use jobs::config::DatabaseConfig;
use jobs::db::wall::DbRole;
use serde_json::{Value, json};
use tests::{Client, Database, Door, Proxy};

use crate::api_identity::tenant;

/// Runs that one document begins.
const AT_ONCE: usize = 20;

/// How often each page is read: connections are new at first, and the feed looks for events beside it now and then.
const TURNS: usize = 8;

/// A hundred runs, with a job each.
async fn runs(admin: &Client, acme: &Value) {
    let definition = json!({
        "nodes": [{"id": "s", "type": "start"}, {"id": "e", "type": "end"}],
        "edges": [{"id": "1", "source": "s", "target": "e"}]
    });
    let create =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    let workflow =
        admin.ok(create, json!({"t": acme, "d": definition})).await["createWorkflow"]["id"].clone();
    let fields: String = (0..AT_ONCE)
        .map(|n| format!("r{n}: executeWorkflow(tenant: $t, workflow: $w) {{ run {{ id }} }} "))
        .collect();
    let execute = format!("mutation($t: ID!, $w: ID!) {{ {fields} }}");
    for _ in 0..100 / AT_ONCE {
        admin.ok(&execute, json!({"t": acme, "w": workflow})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_hundred_costs_as_many_statements_as_a_page_of_one() {
    let database = Database::new().await;
    let proxy = Proxy::start(database.url()).await;
    let config = DatabaseConfig { url: proxy.url().to_owned().into(), connections: 4 };
    let pool = jobs::db::connect_as(&config, &database.pool().await, DbRole::Api).await.unwrap().unwrap();
    let door = Door::through(&database, pool, |_| {}).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    runs(&admin, &acme).await;
    let machines = "with h as (insert into host (id, name, uri, vm_slots, health_slots) values (gen_random_uuid(), 'h', 'test:///default', 1, 1) returning id)
        insert into machine (id, tenant_id, host_id, name, spec, wanted, created_by)
        select gen_random_uuid(), $1::text::uuid, h.id, 'm' || n, '{\"name\":\"m\",\"vcpus\":1,\"memory_mib\":64,\"disk_gib\":0,\"os\":\"UBUNTU\"}', 'OFF', 'x'
        from h, generate_series(1, 100) n";
    let mut conn = database.connect().await;
    sqlx::query(machines).bind(acme.as_str().unwrap()).execute(&mut conn).await.unwrap();
    for (list, fields) in [
        ("jobs", "id payload attempts { error } why { code message }"),
        ("runs", "id status output log(first: 2) { nodes { event } } waits { code }"),
        ("machines", "id name host departmentId seen"),
    ] {
        let query = format!(
            "query($t: ID!, $n: Int!) {{ {list}(tenant: $t, first: $n) {{ nodes {{ {fields} }} }} }}"
        );
        let mut least = [u64::MAX; 2];
        for (least, rows) in least.iter_mut().zip([1, 100]) {
            for _ in 0..TURNS {
                let before = proxy.asked();
                let told = admin.ok(&query, json!({"t": acme, "n": rows})).await;
                *least = (*least).min(proxy.asked() - before);
                assert_eq!(told[list]["nodes"].as_array().unwrap().len(), rows, "{list}");
            }
        }
        println!("{list}: {least:?} statements for a page of one and of a hundred");
        assert!(least[0] > 0, "{list}: statements are counted");
        assert_eq!(least[0], least[1], "{list}");
    }
    door.close().await;
}
