//! The same asked of many machines at once: of each as if it were asked alone, in whatever order they are named.

use std::time::Duration;

use jobs::db::PgConnection;
use jobs::machine::bulk::{MAX_MACHINES, RequestEach, request_each};
use jobs::machine::{Operation, Request, Requested, operation, request};
use jobs::queue::Wake;
use jobs::{Code, Result};
use rules::id::{MachineId, OperationId};
use rules::machine::Action;
use tests::wait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::stage::{Stage, simulated};

/// All that is asked of many.
const ACTIONS: [Action; 7] = [
    Action::Start,
    Action::Stop,
    Action::ForceOff,
    Action::Restart,
    Action::Reset,
    Action::Suspend,
    Action::Resume,
];

/// What was asked before, and waits.
const BEFORE: [&[Action]; 8] = [
    &[],
    &[Action::Start],
    &[Action::Stop],
    &[Action::ForceOff],
    &[Action::Suspend],
    &[Action::Restart, Action::Stop],
    &[Action::Stop, Action::Start],
    &[Action::Destroy],
];

/// Asks the same of all, in one transaction.
async fn ask_each(
    stage: &Stage,
    wake: &Wake,
    machines: &[MachineId],
    action: Action,
) -> Result<Vec<Result<Operation>>> {
    let wish = RequestEach { tenant: stage.tenant, machines, action, by: "tester", trace_parent: None };
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    let mut each = request_each(&mut tx, &wish).await?;
    tx.commit().await.unwrap();
    each.tell(wake);
    Ok(std::mem::take(&mut each.outcomes))
}

/// Asks something of one.
async fn ask_alone(stage: &Stage, wake: &Wake, machine: MachineId, action: Action) -> Result<Requested> {
    let (tenant, by) = (stage.tenant, "tester");
    let wish = Request { tenant, machine, action, by, reason: None, trace_parent: None };
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    let asked = request(&mut tx, &wish).await?;
    tx.commit().await.unwrap();
    asked.tell(wake);
    Ok(asked)
}

/// Machines that run on a host that nobody serves.
async fn machines(stage: &Stage, count: usize) -> Vec<MachineId> {
    let mut conn = stage.conn().await;
    let (name, uri) = ("a".parse().unwrap(), "test:///default".parse().unwrap());
    jobs::host::store::register(&mut conn, &name, &uri, 1, 1).await.unwrap();
    let mut made = Vec::new();
    for number in 0..count {
        let id = MachineId(Uuid::now_v7());
        sqlx::query(
            "insert into machine (id, tenant_id, host_id, name, spec, wanted, seen, created_by)
            select $1, $2, h.id, $3, '{}', 'RUNNING', 'RUNNING', 'tester' from host h where h.name = 'a'",
        )
        .bind(id.0)
        .bind(stage.tenant.0)
        .bind(format!("m{number}"))
        .execute(&mut *conn)
        .await
        .unwrap();
        made.push(id);
    }
    made
}

/// All that stands of a machine: what it shall be, its operations with their jobs, and what was told of it.
async fn standing(conn: &mut PgConnection, machine: MachineId) -> String {
    let query = "select jsonb_build_object(
        'machine', (select jsonb_build_array(wanted, generation, drift, seen) from machine where id = $1),
        'operations', (select jsonb_agg(jsonb_build_array(o.action, o.state, o.generation, o.requested_by, o.reason, o.ended_at is null,
                (select s.action from machine_operation s where s.id = o.superseded_by),
                (select jsonb_build_array(j.queue_id, j.pool_id, j.priority, j.max_attempts, j.kind, j.tenant_id, j.trace_parent,
                    j.order_key = j.tenant_id || ':machine:' || o.machine_id, j.payload ->> 'operation_id' = o.id::text) from job j where j.id = o.job_id),
                (select jsonb_build_array(r.pool_id, r.queue_id, r.priority, r.attempt, r.kind) from job_ready r where r.job_id = o.job_id),
                (select jsonb_build_array(b.pool_id, b.queue_id, b.priority, b.attempt, b.kind) from job_blocked b where b.job_id = o.job_id),
                (select k.head_id = o.job_id from job_key k where k.key = $2 || ':machine:' || o.machine_id))
            order by o.id) from machine_operation o where o.machine_id = $1),
        'events', (select jsonb_agg(jsonb_build_array(name, data - 'id' - 'operationId' - 'name') order by seq) from event where topic_id = $1))::text";
    let tenant = "select tenant_id::text from machine where id = $1";
    let tenant: String = sqlx::query_scalar(tenant).bind(machine.0).fetch_one(&mut *conn).await.unwrap();
    sqlx::query_scalar(query).bind(machine.0).bind(tenant).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_it_is_asked_as_if_of_it_alone() {
    let stage = Stage::new().await;
    let wake = Wake::start(&stage.database.pool().await, &CancellationToken::new());
    let all = machines(&stage, ACTIONS.len() * BEFORE.len() * 4).await;
    let mut conn = stage.conn().await;
    let (mut left, mut answered) = (all.iter().copied(), 0);
    for draining in [false, true] {
        if draining {
            sqlx::query("update host set draining_at = now()").execute(&mut *conn).await.unwrap();
        }
        for action in ACTIONS {
            let pairs: Vec<(MachineId, MachineId)> =
                BEFORE.iter().map(|_| (left.next().unwrap(), left.next().unwrap())).collect();
            for (before, (one, other)) in BEFORE.iter().zip(&pairs) {
                for wish in *before {
                    stage.ask(*one, *wish).await;
                    stage.ask(*other, *wish).await;
                }
            }
            let mut alone = Vec::new();
            for (machine, _) in &pairs {
                alone.push(ask_alone(&stage, &wake, *machine, action).await);
            }
            // Named in another order than they are held in.
            let named: Vec<MachineId> = pairs.iter().rev().map(|(_, machine)| *machine).collect();
            let together = ask_each(&stage, &wake, &named, action).await.unwrap();
            for ((before, (one, other)), (alone, told)) in
                BEFORE.iter().zip(&pairs).zip(alone.iter().zip(together.iter().rev()))
            {
                let what = format!("{action} after {before:?}, draining: {draining}");
                assert_eq!(standing(&mut conn, *one).await, standing(&mut conn, *other).await, "{what}");
                match (alone, told) {
                    (Err(alone), Err(told)) => assert_eq!(alone.to_string(), told.to_string(), "{what}"),
                    (Ok(asked), Ok(told)) => {
                        let kept = operation::store::with_machine(&mut conn, stage.tenant, asked.operation);
                        let kept = kept.await.unwrap();
                        if let Some(answer) = &asked.answer {
                            assert_eq!(**answer, kept, "{what}");
                            answered += 1;
                        }
                        assert_eq!(told.machine_id, other.0, "{what}");
                        let id = OperationId(told.id);
                        let kept = operation::store::get(&mut conn, Some(stage.tenant), id).await.unwrap();
                        assert_eq!(*told, kept, "{what}");
                    }
                    _ => panic!("{what}: {alone:?}, {told:?}"),
                }
            }
        }
    }
    // Of the 56 on the host that is not drained: all but those that are refused, join one or overtake one.
    assert_eq!(answered, 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_and_one_named_twice_are_refused_and_nothing_is_asked() {
    let stage = Stage::new().await;
    let wake = Wake::start(&stage.database.pool().await, &CancellationToken::new());
    let all = machines(&stage, 2).await;
    let many: Vec<MachineId> = (0..=MAX_MACHINES).map(|_| MachineId(Uuid::now_v7())).collect();
    for (named, told) in
        [(&[][..], "0 machines"), (&many[..], "101 machines"), (&[all[0], all[1], all[0]][..], "named twice")]
    {
        let refused = ask_each(&stage, &wake, named, Action::Stop).await.unwrap_err();
        assert_eq!((refused.code, refused.to_string().contains(told)), (Code::Invalid, true), "{refused}");
    }
    let asked = ask_each(&stage, &wake, &many[1..], Action::Stop).await.unwrap();
    assert!(asked.iter().all(|one| one.as_ref().is_err_and(|e| e.code == Code::NotFound)), "{asked:?}");
    let count = "select count(*) from machine_operation";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *stage.conn().await).await.unwrap();
    assert_eq!(count, 0);
}

/// How many ask at once, and how often each.
const HANDS: usize = 4;
const ROUNDS: usize = 12;
const MACHINES: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn who_name_the_same_machines_in_other_orders_wait_for_each_other_and_lose_nothing() {
    let stage = std::sync::Arc::new(Stage::new().await);
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let mut all = Vec::new();
    for number in 0..MACHINES {
        let (machine, made) = stage.create(&format!("m{number}"), "a").await;
        stage.ended(made).await;
        all.push(machine);
    }
    let mut asking = tokio::task::JoinSet::new();
    for hand in 0..HANDS {
        let (stage, mut mine) = (std::sync::Arc::clone(&stage), all.clone());
        let wake = hands.wake.clone();
        asking.spawn(async move {
            for round in 0..ROUNDS {
                mine.rotate_left(hand * 5 + 1);
                if round % 2 == 1 {
                    mine.reverse();
                }
                let action = [Action::Stop, Action::ForceOff, Action::Start][(round + hand) % 3];
                for one in ask_each(&stage, &wake, &mine, action).await.unwrap() {
                    one.unwrap();
                }
            }
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    let db = stage.database.pool().await;
    wait::until_within(Duration::from_secs(120), "all have ended", async || {
        let left = "select count(*) from machine_operation where ended_at is null";
        sqlx::query_scalar::<_, i64>(left).fetch_one(&db).await.unwrap() == 0
    })
    .await;
    let wrong = "select count(*) filter (where state not in ('SUCCEEDED', 'SUPERSEDED')) as failed, count(*) filter (where started_at < before) as early,
            count(*) as all
        from (select state, started_at, max(ended_at) filter (where state = 'SUCCEEDED')
            over (partition by machine_id order by generation, id rows between unbounded preceding and 1 preceding) as before from machine_operation) o";
    let counted: (i64, i64, i64) = sqlx::query_as(wrong).fetch_one(&db).await.unwrap();
    assert_eq!(counted, (0, 0, i64::try_from((HANDS * ROUNDS + 1) * MACHINES).unwrap()));
    hands.stop().await;
}
