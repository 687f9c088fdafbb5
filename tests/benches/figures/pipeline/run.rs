//! The two ways in which is measured: as much as goes, and at a fixed rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jobs::db::PgPool;
use rules::id::{MachineId, OperationId};
use sqlx::Row;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use super::caller::Caller;
use super::clocked::Act;
use super::measure::Size;
use super::phases::{self, Documents};
use super::stage::Stage;
use crate::machines::until;

/// How long who asks all the time waits when enough is under way.
const ENOUGH_WAIT: Duration = Duration::from_millis(2);

/// How often the leases of the hosts are looked at: often enough that no renewal is missed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Over how long the worst stretch is told, as its row says.
const STRETCH_S: i64 = 10;

/// Everything that was asked for has ended.
const ALL_ENDED: &str = "select not exists (select from machine_operation where ended_at is null)";

/// How who asks all the time asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// By documents of so many mutations, each of one machine.
    Fields(usize),
    /// By one mutation of so many machines.
    Listed(usize),
}

impl Way {
    fn title(self) -> String {
        match self {
            Self::Fields(count) => format!("documents of {count} mutations"),
            Self::Listed(count) => format!("mutations of up to {count} machines"),
        }
    }

    const fn machines(self) -> usize {
        match self {
            Self::Fields(count) | Self::Listed(count) => count,
        }
    }
}

/// What was measured in one way: each figure with what it is.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: String,
    pub(super) figures: Vec<(&'static str, String)>,
}

/// As many operations as go, by callers that ask as fast as they are answered.
pub(super) async fn throughput(stage: &Stage, size: &Size, way: Way) -> Column {
    let asked = Arc::new(AtomicUsize::new(0));
    let most_ahead = size.ahead * size.machines;
    // What is so already needs no call of libvirt. A caller leaves all of its machines alike.
    let at_first = stage.are_on().await;
    let leases = Leases::watch(stage.db.clone());
    let (since, began) = (now(&stage.db).await, Instant::now());
    let mut callers = JoinSet::new();
    for caller in 0..size.callers {
        let mine: Vec<MachineId> =
            stage.machines.iter().skip(caller).step_by(size.callers).copied().collect();
        let (headers, tenant) = (stage.admin.headers().to_vec(), stage.tenant.0.to_string());
        let (asked, ledger, size, to) =
            (Arc::clone(&asked), stage.ledger.clone(), size.clone(), stage.door.address);
        let mut on = at_first.get(caller) == Some(&false);
        callers.spawn(async move {
            let mut caller = Caller::connect(to, &headers, &tenant).await;
            while began.elapsed() < size.span {
                for some in mine.chunks(way.machines()) {
                    while asked.load(Ordering::Relaxed) > ledger.count() + most_ahead {
                        tokio::time::sleep(ENOUGH_WAIT).await;
                    }
                    caller.switch_by(way, some, on).await;
                    asked.fetch_add(some.len(), Ordering::Relaxed);
                }
                on = !on;
            }
            (mine, !on)
        });
    }
    let mut shall_be: HashMap<MachineId, bool> = HashMap::new();
    while let Some(done) = callers.join_next().await {
        let (mine, on) = done.unwrap();
        shall_be.extend(mine.into_iter().map(|machine| (machine, on)));
    }
    let span = began.elapsed();
    let within = ended_between(&stage.db, since, span).await;
    until(&stage.db, ALL_ENDED).await;
    let leases = leases.told().await;
    let worst = worst_stretch(&stage.db, since, span).await;
    let acts = stage.ledger.acts();
    let wrong_at_last = stage
        .are_on()
        .await
        .into_iter()
        .zip(&stage.machines)
        .filter(|(on, machine)| shall_be.get(machine) != Some(on))
        .count();
    let asked = asked.load(Ordering::Relaxed);
    let a_second = |count: f64| format!("{:.0}", count / span.as_secs_f64());
    let renewals = format!("{}, {:.1} s of 20 s", leases.count, leases.longest_s);
    let figures = vec![
        ("asked for over HTTP, a second", a_second(asked as f64)),
        ("done in that time, a second", a_second(within as f64)),
        ("the same in the worst 10 s on end", worst),
        ("calls of libvirt for them all", acts.len().to_string()),
        ("not done, or not by one call", not_once(&stage.db, since, &acts).await.to_string()),
        (
            "out of order, by libvirt's calls and by the log",
            disorder(&stage.db, since, &acts).await.to_string(),
        ),
        ("machines that libvirt shows otherwise than asked for last", wrong_at_last.to_string()),
        ("renewals of the hosts' leases, and the longest between two of one", renewals),
        ("hosts that changed their holder", leases.lost.to_string()),
    ];
    stage.ledger.clear();
    Column { title: way.title(), figures }
}

/// How soon libvirt is called, at a rate that does not wait for answers.
pub(super) async fn latency(stage: &Stage, size: &Size, rate: u32) {
    let due: Arc<Mutex<Documents>> = Arc::default();
    let (count, every) = (rate as usize * size.span.as_secs() as usize, Duration::from_secs(1) / rate);
    // Each document changes something: what is so already needs no call of libvirt.
    let at_first = Arc::new(stage.are_on().await);
    let began = Instant::now() + LOOK_EVERY;
    let beats = beat(began, every, count);
    let mut callers = JoinSet::new();
    // Enough of them that one is free when a document is due.
    for _ in 0..size.callers * 4 {
        let (headers, tenant) = (stage.admin.headers().to_vec(), stage.tenant.0.to_string());
        let (beats, due, machines) = (Arc::clone(&beats), Arc::clone(&due), stage.machines.clone());
        let (to, at_first) = (stage.door.address, Arc::clone(&at_first));
        callers.spawn(async move {
            let mut caller = Caller::connect(to, &headers, &tenant).await;
            loop {
                let Some((number, at)) = beats.lock().await.recv().await else { return };
                let (round, which) = (number / machines.len(), number % machines.len());
                let on = at_first[which] != round.is_multiple_of(2);
                let operations = caller.switch(&[machines[which]], on).await;
                let answered = Instant::now();
                due.lock().await.extend(operations.into_iter().map(|operation| (operation, (at, answered))));
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    until(&stage.db, ALL_ENDED).await;
    let due = due.lock().await;
    let acts = stage.ledger.acts();
    let took = |at: fn(&Act) -> Instant| {
        let known = acts
            .iter()
            .filter_map(|act| Some((at(act) - due.get(&act.operation)?.0).as_secs_f64() * 1_000.0));
        let mut took: Vec<f64> = known.collect();
        took.sort_by(f64::total_cmp);
        took
    };
    let (called, returned) = (took(|act| act.called), took(|act| act.returned));
    let at = |took: &[f64], part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "| {rate} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        called.len(),
        at(&called, 0.5),
        at(&called, 0.95),
        at(&called, 0.99),
        at(&called, 1.0),
        at(&returned, 0.5),
        at(&returned, 0.99)
    );
    phases::print(&stage.db, &due, &acts).await;
    stage.ledger.clear();
}

/// Tells the number of each document when it is due, and that moment. By a thread of its own: the runtime's clock goes by
/// whole milliseconds, which would be counted as Millrace's.
fn beat(began: Instant, every: Duration, count: usize) -> Arc<Mutex<UnboundedReceiver<(usize, Instant)>>> {
    let (to, beats) = unbounded_channel();
    std::thread::spawn(move || {
        for number in 0..count {
            let at = began + every * u32::try_from(number).unwrap();
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.send((number, at)).is_err() {
                return;
            }
        }
    });
    Arc::new(Mutex::new(beats))
}

type Moment = chrono::DateTime<chrono::Utc>;

async fn now(db: &PgPool) -> Moment {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await.unwrap()
}

async fn ended_between(db: &PgPool, since: Moment, span: Duration) -> i64 {
    sqlx::query_scalar(
        "select count(*) from machine_operation
        where state = 'SUCCEEDED' and ended_at >= $1 and ended_at < $1 + $2 * interval '1 second'",
    )
    .bind(since)
    .bind(span.as_secs_f64())
    .fetch_one(db)
    .await
    .unwrap()
}

/// How many were done a second in the worst stretch of whole seconds.
async fn worst_stretch(db: &PgPool, since: Moment, span: Duration) -> String {
    let worst: Option<f64> = sqlx::query_scalar(
        "with s as (
            select n, count(o.id) as done from generate_series(0, $2::bigint - 1) n
            left join machine_operation o on o.state = 'SUCCEEDED' and o.ended_at >= $1 and floor(extract(epoch from o.ended_at - $1)) = n
            group by n),
        w as (select sum(done) over (order by n rows between $3::bigint - 1 preceding and current row) as done, n from s)
        select min(done)::float8 / $3 from w where n >= $3 - 1",
    )
    .bind(since)
    .bind(i64::try_from(span.as_secs()).unwrap())
    .bind(STRETCH_S)
    .fetch_one(db)
    .await
    .unwrap();
    worst.map_or_else(|| "too short to tell".to_owned(), |worst| format!("{worst:.0}"))
}

/// Operations that did not succeed, and those for which libvirt was not called exactly once.
async fn not_once(db: &PgPool, since: Moment, acts: &[Act]) -> usize {
    let rows = sqlx::query("select id, state from machine_operation where created_at >= $1");
    let rows = rows.bind(since).fetch_all(db).await.unwrap();
    let mut calls: HashMap<OperationId, usize> = HashMap::new();
    for act in acts.iter().filter(|act| act.done) {
        *calls.entry(act.operation).or_default() += 1;
    }
    rows.iter()
        .filter(|row| {
            let (id, state): (uuid::Uuid, String) = (row.get(0), row.get(1));
            state != "SUCCEEDED" || calls.get(&OperationId(id)) != Some(&1)
        })
        .count()
}

/// Calls of libvirt that came after one of a later operation of the same machine, and operations that began before the
/// one before them had ended.
async fn disorder(db: &PgPool, since: Moment, acts: &[Act]) -> i64 {
    let mut last: HashMap<MachineId, (i64, Instant)> = HashMap::new();
    let mut disorder = 0;
    for act in acts {
        if let Some((generation, returned)) = last.insert(act.machine, (act.generation, act.returned)) {
            disorder += i64::from(generation >= act.generation || act.called < returned);
        }
    }
    let overlapping: i64 = sqlx::query_scalar(
        "select count(*) from (
            select started_at, lag(ended_at) over (partition by machine_id order by generation) as before
            from machine_operation where created_at >= $1) o
        where started_at < before",
    )
    .bind(since)
    .fetch_one(db)
    .await
    .unwrap();
    disorder + overlapping
}

/// What was seen of the hosts' leases.
struct Kept {
    count: usize,
    longest_s: f64,
    lost: usize,
}

/// Looks at the hosts' leases until it is asked what it saw.
struct Leases {
    stop: tokio_util::sync::CancellationToken,
    looking: tokio::task::JoinHandle<Kept>,
}

impl Leases {
    fn watch(db: PgPool) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        Self { looking: tokio::spawn(look(db, stop.clone())), stop }
    }

    async fn told(self) -> Kept {
        self.stop.cancel();
        self.looking.await.unwrap()
    }
}

async fn look(db: PgPool, stop: tokio_util::sync::CancellationToken) -> Kept {
    let mut conn = db.acquire().await.unwrap();
    let mut known: HashMap<String, (i64, f64)> = HashMap::new();
    let mut kept = Kept { count: 0, longest_s: 0.0, lost: 0 };
    while !stop.is_cancelled() {
        let rows = sqlx::query(
            "select name, epoch, extract(epoch from lease_until)::float8 from lease where name like 'host:%'",
        );
        for row in rows.fetch_all(&mut *conn).await.unwrap() {
            let (epoch, until): (i64, f64) = (row.get(1), row.get(2));
            // Each renewal sets the end to as long after itself.
            if let Some((before, was)) = known.insert(row.get(0), (epoch, until)) {
                kept.lost += usize::from(before != epoch);
                kept.count += usize::from(was < until);
                kept.longest_s = kept.longest_s.max(until - was);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    kept
}
