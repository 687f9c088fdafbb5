//! Operations on machines behind the API's door, on hosts in memory: how many a second, in what order, and how soon the
//! host is called; what a claim costs beside many hosts; what a worker of many machines holds in memory.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::db::PgPool;
use jobs::machine::{NewMachine, Request, create, request};
use jobs::queue::Wake;
use jobs::queue::postgres::claim::{Claimed, Want, claim};
use rules::id::{MachineId, OperationId, TenantId, WorkerId};
use rules::machine::{Action, Draft, Os};
use rules::queue::{Class, HostNo, Kind, Priority};
use sqlx::Row;
use sqlx::postgres::PgPoolOptions;
use tests::{Database, Hands, Millrace};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::hypervisor::Simulated;
use workers::{HostConfig, WorkerConfig};

use crate::cost;

/// Machines, and the hosts that carry them.
const MACHINES: usize = 1_000;
const HOSTS: usize = 100;

/// Power operations per machine.
const EACH: usize = 20;

/// How many ask at once.
const HANDS: usize = 8;

/// Operations whose way is timed one by one, and how many a second.
const TIMED: usize = 1_000;
const TIMED_RATE: u32 = 100;

/// Hosts with waiting operations when a claim is measured beside many.
const MANY_HOSTS: usize = 1_000;
const WAITING_EACH: usize = 10;
const CLAIMS: usize = 200;

/// Machines of one worker whose memory is told.
const CROWD: usize = 10_000;

/// How long a worker may take to list them all.
const LISTED_WITHIN: Duration = Duration::from_secs(120);

/// Connections of the worker and of those who ask: as many as a process has by default.
const CONNECTIONS: u32 = 16;

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    println!("## Machines\n");
    clear(database).await;
    // Not asked whether they live before each use, as those of a process are not.
    let options = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
    let db = options.connect(database.url()).await.unwrap();
    let tenant = TenantId(Uuid::now_v7());
    sqlx::query("insert into tenant (id, slug, title) values ($1, 'machines', 'Machines')")
        .bind(tenant.0)
        .execute(&db)
        .await
        .unwrap();
    power(database, &db, tenant).await;
    claims(database, &db).await;
    clear(database).await;
    memory(database, &db, tenant).await;
    clear(database).await;
    sqlx::query("delete from tenant where id = $1").bind(tenant.0).execute(&db).await.unwrap();
    db.close().await;
    println!();
}

pub(crate) async fn clear(database: &Database) {
    crate::enqueue::clear(database).await;
    let mut conn = database.connect().await;
    sqlx::raw_sql("truncate machine, machine_operation, machine_snapshot, host cascade; delete from lease where name like 'host:%'")
        .execute(&mut conn)
        .await
        .unwrap();
}

pub(crate) fn host_name(number: usize) -> String {
    format!("h{number}")
}

/// Power operations on many machines of many hosts, by one worker.
async fn power(database: &Database, db: &PgPool, tenant: TenantId) {
    let hosts: Vec<Simulated> =
        (0..HOSTS).map(|n| Simulated::new(&host_name(n), 256, 1 << 20, Duration::from_millis(200))).collect();
    let config = || WorkerConfig {
        hosts: hosts.iter().enumerate().map(|(n, host)| serving(n, host)).collect(),
        ..WorkerConfig::of_pools(vec![], 4, Duration::from_secs(5))
    };
    let hands = Hands::with(db.clone(), config());
    until(db, &format!("select count(*) = {HOSTS} from host where cpus is not null")).await;
    let wake = Wake::start(db, &CancellationToken::new());
    let machines = made(db, &wake, tenant).await;
    until(db, "select not exists (select from machine_operation where ended_at is null)").await;
    timed(db, &wake, tenant, &machines, &hosts).await;
    hands.stop().await;

    let began = Instant::now();
    ask_all(db, tenant, &machines).await;
    let asked = began.elapsed();
    sqlx::raw_sql("checkpoint").execute(db).await.ok();
    let before = cost::read(database).await;
    let (began, since) = (Instant::now(), now(db).await);
    let hands = Hands::with(db.clone(), config());
    until(db, "select not exists (select from machine_operation where ended_at is null)").await;
    let taken = began.elapsed();
    let total = MACHINES * EACH;
    let after = cost::read(database).await;
    hands.stop().await;
    let disorder = disorder(db, &hosts).await;
    let failed: i64 = sqlx::query_scalar("select count(*) from machine_operation where state <> 'SUCCEEDED'")
        .fetch_one(db)
        .await
        .unwrap();
    // From the first that began: before it the worker takes its hosts.
    let span: f64 = sqlx::query_scalar(
        "select extract(epoch from max(ended_at) - min(started_at))::float8 from machine_operation where started_at >= $1",
    )
    .bind(since)
    .fetch_one(db)
    .await
    .unwrap();
    println!("{total} power operations on {MACHINES} machines of {HOSTS} simulated hosts, one worker.\n");
    println!("| what | figure |\n| --- | --- |");
    println!("| asked for, a second, by {HANDS} at once | {:.0} |", total as f64 / asked.as_secs_f64());
    println!("| done, a second, from the first to the last | {:.0} |", total as f64 / span);
    println!("| the same, with the worker's start | {:.0} |", total as f64 / taken.as_secs_f64());
    println!("| out of order, by the hosts' own record and by the log | {disorder} |");
    println!("| not done | {failed} |");
    println!(
        "| buffers, WAL bytes and commits of one | {} |",
        after.per_job(before, total).replace(" | ", ", ")
    );
    println!();
}

fn serving(number: usize, host: &Simulated) -> HostConfig {
    HostConfig {
        name: host_name(number).parse().unwrap(),
        uri: "test:///default".parse().unwrap(),
        vm_slots: 8,
        health_slots: 4,
        hypervisor: Arc::new(host.clone()),
    }
}

async fn now(db: &PgPool) -> chrono::DateTime<chrono::Utc> {
    sqlx::query_scalar("select now()").fetch_one(db).await.unwrap()
}

pub(crate) async fn until(db: &PgPool, condition: &str) {
    while !sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(condition.to_owned()))
        .fetch_one(db)
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn made(db: &PgPool, wake: &Wake, tenant: TenantId) -> Vec<MachineId> {
    let mut machines = Vec::new();
    for number in 0..MACHINES {
        let name = format!("m{number}");
        let spec =
            Draft { name: &name, vcpus: 1, memory_mib: 64, disk_gib: 0, os: Os::Ubuntu }.check().unwrap();
        let host = host_name(number % HOSTS);
        let new = NewMachine {
            tenant,
            department: None,
            host: Some(&host),
            spec: &spec,
            by: "bench",
            trace_parent: None,
        };
        let mut tx = jobs::db::begin(db).await.unwrap();
        let (machine, asked) = create(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        asked.tell(wake);
        machines.push(machine);
    }
    machines
}

async fn ask(db: &PgPool, tenant: TenantId, machine: MachineId, action: Action) -> jobs::machine::Requested {
    let wish = Request { tenant, machine, action, by: "bench", reason: None, trace_parent: None };
    let mut tx = jobs::db::begin(db).await.unwrap();
    let asked = request(&mut tx, &wish).await.unwrap();
    tx.commit().await.unwrap();
    asked
}

/// Off and on again in turn, each machine by one hand.
async fn ask_all(db: &PgPool, tenant: TenantId, machines: &[MachineId]) {
    let mut hands = tokio::task::JoinSet::new();
    for hand in 0..HANDS {
        let db = db.clone();
        let mine: Vec<MachineId> = machines.iter().skip(hand).step_by(HANDS).copied().collect();
        hands.spawn(async move {
            for round in 0..EACH {
                let action = if round % 2 == 0 { Action::ForceOff } else { Action::Start };
                for machine in &mine {
                    drop(ask(&db, tenant, *machine, action).await);
                }
            }
        });
    }
    while let Some(done) = hands.join_next().await {
        done.unwrap();
    }
}

/// From the beginning of the transaction that asks to the call that reaches the host.
async fn timed(db: &PgPool, wake: &Wake, tenant: TenantId, machines: &[MachineId], hosts: &[Simulated]) {
    let mut began: HashMap<OperationId, Instant> = HashMap::new();
    let mut due = tokio::time::interval(Duration::from_secs(1) / TIMED_RATE);
    for number in 0..TIMED {
        due.tick().await;
        let action =
            if (number / machines.len()).is_multiple_of(2) { Action::ForceOff } else { Action::Start };
        let at = Instant::now();
        let asked = ask(db, tenant, machines[number % machines.len()], action).await;
        asked.tell(wake);
        began.insert(asked.operation, at);
    }
    until(db, "select not exists (select from machine_operation where ended_at is null)").await;
    let mut took: Vec<f64> = Vec::new();
    for host in hosts {
        for (operation, at) in host.act_times() {
            took.extend(began.get(&operation).map(|began| (at - *began).as_secs_f64() * 1_000.0));
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "From a mutation's transaction to the host's call, {TIMED_RATE} a second, an idle worker in the same process:"
    );
    println!(
        "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, most {:.2} ms.\n",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

/// How many acts came after those of a later operation, and how many operations began before the one before
/// them had ended.
async fn disorder(db: &PgPool, hosts: &[Simulated]) -> i64 {
    let rows = sqlx::query("select id, generation from machine_operation").fetch_all(db).await.unwrap();
    let generations: HashMap<Uuid, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut disorder = 0;
    for host in hosts {
        let mut last: HashMap<MachineId, i64> = HashMap::new();
        for (machine, _, operation) in host.acts_by_operation() {
            let generation = generations[&operation.0];
            let before = last.insert(machine, generation).unwrap_or(0);
            disorder += i64::from(generation < before);
        }
    }
    let overlapping: i64 = sqlx::query_scalar(
        "select count(*) from (select started_at, lag(ended_at) over (partition by machine_id order by generation) as before from machine_operation) o
        where started_at < before",
    )
    .fetch_one(db)
    .await
    .unwrap();
    disorder + overlapping
}

/// What a claim for one host costs, alone and beside many. Every claim is committed, and goes on behind the last
/// as a worker's does: rolled back, each would leave the next more dead entries to step over.
async fn claims(database: &Database, db: &PgPool) {
    println!("A claim of {WAITING_EACH} operations for one host:\n");
    println!("| hosts with waiting operations | p50 ms | p99 ms | buffers |\n| --- | --- | --- | --- |");
    for count in [1, MANY_HOSTS] {
        clear(database).await;
        // The last host has enough for all claims.
        let statement = "with h as (select r.no, n from generate_series(1, $1::integer) n, host_register_v1(gen_random_uuid(), 'q' || n, 'test:///default', 8, 4) r),
            j as (insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 1000000 + 2 * no, 1000000 + 2 * no, 2, 3, 'machine.operate', '{}' from h, generate_series(1, case when n = $1 then $3 else $2 end) returning id, pool_id)
            insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind) select id, pool_id, pool_id, 2, 0, 0, 'machine.operate' from j";
        sqlx::query(statement)
            .bind(i32::try_from(count).unwrap())
            .bind(i32::try_from(WAITING_EACH).unwrap())
            .bind(i32::try_from(WAITING_EACH * CLAIMS).unwrap())
            .execute(db)
            .await
            .unwrap();
        sqlx::raw_sql("vacuum analyze").execute(db).await.unwrap();
        let no: i32 = sqlx::query_scalar("select no from host where name = $1")
            .bind(format!("q{count}"))
            .fetch_one(db)
            .await
            .unwrap();
        let pool = HostNo::new(no).unwrap().pool(Class::Vm);
        let mut want =
            Want { pool, limit: i32::try_from(WAITING_EACH).unwrap(), marks: [0; Priority::ALL.len()] };
        let mut conn = db.acquire().await.unwrap();
        let before = cost::read(database).await;
        let mut took = Vec::new();
        for _ in 0..CLAIMS {
            let began = Instant::now();
            let claimed =
                claim(&mut conn, WorkerId(Uuid::new_v4()), &[Kind::MachineOperate], &[want]).await.unwrap();
            took.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(claimed.len(), WAITING_EACH);
            for Claimed { attempt, pos } in claimed {
                let mark = &mut want.marks[attempt.priority as usize];
                *mark = (*mark).max(pos);
            }
        }
        // Closed, it tells what it did; idle, only later.
        conn.close().await.unwrap();
        let spent = cost::read(database).await.per_job(before, CLAIMS);
        took.sort_by(f64::total_cmp);
        let buffers = spent.split(" | ").next().unwrap_or_default().to_owned();
        println!("| {count} | {:.2} | {:.2} | {buffers} |", took[CLAIMS / 2], took[CLAIMS * 99 / 100]);
    }
    println!();
}

/// What a worker process holds that has listed many machines of its host.
async fn memory(database: &Database, db: &PgPool, tenant: TenantId) {
    let folder = tempfile::tempdir().unwrap();
    println!(
        "| a worker of one host of libvirt's test driver | resident MiB | of it not shared |\n| --- | --- | --- |"
    );
    for count in [0, CROWD] {
        let file = folder.path().join(format!("{count}.xml"));
        let name = format!("crowd-{count}");
        let host = Uuid::now_v7();
        sqlx::query("select host_register_v1($1, $2, 'test:///default', 8, 4)")
            .bind(host)
            .bind(&name)
            .execute(db)
            .await
            .unwrap();
        sqlx::query(
            "insert into machine (id, tenant_id, host_id, name, spec, wanted, seen, seen_at, created_by)
            select gen_random_uuid(), $1, $2, 'c' || n, '{\"name\":\"c\",\"vcpus\":1,\"memory_mib\":64,\"disk_gib\":0,\"os\":\"UBUNTU\"}', 'OFF', 'OFF', now(), 'bench'
            from generate_series(1, $3::integer) n",
        )
        .bind(tenant.0)
        .bind(host)
        .bind(i32::try_from(count).unwrap())
        .execute(db)
        .await
        .unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar("select id from machine where host_id = $1")
            .bind(host)
            .fetch_all(db)
            .await
            .unwrap();
        let mut node = "<node><cpu><active>8</active><memory>8388608</memory></cpu>".to_owned();
        for id in &ids {
            write!(node, "<domain type='test'><name>mill-{id}</name><uuid>{id}</uuid><memory>65536</memory><os><type>hvm</type></os></domain>").unwrap();
        }
        std::fs::write(&file, node + "</node>").unwrap();
        let uri = format!("test://{}", file.display());
        let home = folder.path().join("home");
        let variables = [("DATABASE_URL", database.url()), ("MILLRACE_HOME", home.to_str().unwrap())];
        let arguments = ["worker", "--pools", "vm", "--host", &name, "--libvirt-uri", &uri];
        let mut process = Millrace::start(&arguments, &variables);
        let began = Instant::now();
        let listed = format!("select listed_at is not null from host where id = '{host}'");
        while !sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(listed.clone())).fetch_one(db).await.unwrap()
        {
            assert!(began.elapsed() < LISTED_WITHIN && process.is_running(), "{}", process.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("| with {count} machines, listed | {} |", crate::memory::held(&process));
        process.stop(Duration::from_secs(30)).await;
    }
}
