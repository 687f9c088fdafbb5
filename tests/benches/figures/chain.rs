//! How long a run of forty scripts in a row takes, and how many steps a second many runs make.

use std::time::{Duration, Instant};

use jobs::dag::Graphs;
use jobs::dag::start::{Start, execute};
use rules::id::{TenantId, WorkflowId};
use rules::queue::Pool;
use serde_json::{Value, json};
use tests::{Database, Hands};
use uuid::Uuid;
use workers::WorkerConfig;

/// Scripts in a row.
const STEPS: usize = 40;

/// Runs one after the other, of which the median is told.
const ALONE: usize = 15;

/// Runs at once.
const CROWD: usize = 100;

fn definition() -> Value {
    let script = |i: usize| {
        json!({"id": format!("s{i}"), "type": "script",
            "config": {"code": "let n = ctx.get(\"n\") ?? 0; n + 1", "outputVariable": "n"}})
    };
    let mut nodes = vec![json!({"id": "start", "type": "start", "config": {}})];
    nodes.extend((0..STEPS).map(script));
    nodes.push(json!({"id": "end", "type": "end", "config": {"status": "success",
        "outputParameters": [{"name": "n", "sourceVariable": "{{ctx.n}}"}]}}));
    let ids: Vec<String> = nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect();
    let edges: Vec<Value> = ids.windows(2).map(|w| json!({"source": w[0], "target": w[1]})).collect();
    json!({"nodes": nodes, "edges": edges})
}

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    let mut conn = database.connect().await;
    let (tenant, workflow) = (TenantId(Uuid::now_v7()), WorkflowId(Uuid::now_v7()));
    sqlx::query("insert into tenant (id, slug, title) values ($1, 'bench', 'Bench')")
        .bind(tenant.0)
        .execute(&mut conn)
        .await
        .unwrap();
    let checked = tests::definition(&definition());
    jobs::workflow::store::create(&mut conn, workflow, tenant, "chain", &checked, "bench").await.unwrap();
    let config = WorkerConfig::of_pools(vec![Pool::Dag], 32, Duration::from_secs(5));
    let hands = Hands::with(database.pool().await, config);
    let graphs = Graphs::default();
    let start = Start {
        tenant,
        workflow,
        input: &json!({}),
        idempotency_key: None,
        started_by: "bench",
        trace_parent: None,
    };
    let mut alone = Vec::new();
    for _ in 0..ALONE {
        let began = Instant::now();
        let started = execute(&mut conn, &graphs, &start).await.unwrap();
        hands.wake.send(&started.enqueued);
        finished(&mut conn).await;
        alone.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    alone.sort_by(f64::total_cmp);
    let began = Instant::now();
    for _ in 0..CROWD {
        let started = execute(&mut conn, &graphs, &start).await.unwrap();
        hands.wake.send(&started.enqueued);
    }
    finished(&mut conn).await;
    let crowd = (CROWD * STEPS) as f64 / began.elapsed().as_secs_f64();
    let wrong: i64 = sqlx::query_scalar("select count(*) from run where output <> $1")
        .bind(json!({"n": STEPS}))
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(wrong, 0);
    println!("## A chain of {STEPS} script nodes\n");
    println!("| what | figure |\n| --- | --- |");
    println!(
        "| one run alone, median of {ALONE} (least to most) | {:.0} ms ({:.0} to {:.0}), {:.2} ms a step |",
        alone[ALONE / 2],
        alone[0],
        alone[ALONE - 1],
        alone[ALONE / 2] / STEPS as f64
    );
    println!("| {CROWD} runs at once | {crowd:.0} steps a second |\n");
    hands.stop().await;
}

/// Waits until no run is under way.
async fn finished(conn: &mut sqlx::PgConnection) {
    loop {
        let left: bool = sqlx::query_scalar("select exists (select from run where finished_at is null)")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        if !left {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
