//! Crash points: a real process that ends between any two statements of the queue, at each point once, and what became
//! of the jobs after another has gone on.

use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jobs::crash::Point;
use jobs::db::PgConnection;
use jobs::payload::noop::Noop;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::{NewJob, enqueue};
use rules::id::WorkerId;
use rules::queue::{Kind, MAX_CRASHES, Pool};
use rustix::process::Signal;
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use tests::{Database, Millrace, Own, Postgres};
use uuid::Uuid;

use crate::ledger;
use crate::release::instead;

/// How long a process may take to come to its point, and the rest to do what is left.
const WITHIN: Duration = Duration::from_secs(60);

/// How many plain jobs are offered at once: so many are copied.
const COPIED: i64 = 150;
/// How many with keys.
const KEYED: i64 = 10;

const HEADER: &str = "| the process ends at | accepted | done | dead | cancelled | lost | done twice |
| --- | --- | --- | --- | --- | --- | --- |";

/// What became of the jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
struct Fate {
    live: i64,
    done: i64,
    dead: i64,
    cancelled: i64,
    /// Effects beyond a job's first.
    again: i64,
}

const FATE: &str = "select (select count(*) from job) as live,
    (select count(*) from job_history where outcome = 0) as done,
    (select count(*) from job_dead) as dead,
    (select count(*) from job_history where outcome = 4) as cancelled,
    (select count(*) - count(distinct number) from ledger.effect) as again";

/// A program of the build that has crash points, which `.ci/crashing` makes.
fn executable(name: &str) -> PathBuf {
    let beside = tests::process::binary();
    let target = beside.parent().and_then(|profile| profile.parent()).expect("in a target folder");
    target.join("crashing/debug").join(name)
}

/// Plays every point, and prints the table; returns what was not as promised.
pub(crate) async fn play_all() -> Vec<String> {
    if !executable("millrace").is_file() || !executable("offer").is_file() {
        return vec!["crash points: no build that has them is here; `make faults` makes one".to_owned()];
    }
    let own = Postgres::own().await;
    let (mut lines, mut faulty) = (Vec::new(), Vec::new());
    for point in Point::ALL.iter().copied() {
        match AssertUnwindSafe(play(&own, point)).catch_unwind().await {
            Ok((accepted, fate)) => {
                let lost = accepted - fate.live - fate.done - fate.dead - fate.cancelled;
                let Fate { done, dead, cancelled, again, .. } = fate;
                lines.push(format!(
                    "| {} | {accepted} | {done} | {dead} | {cancelled} | {lost} | {again} |",
                    point.name()
                ));
                println!("{}", lines.last().unwrap());
            }
            Err(_) => faulty.push(format!("{}: broke off, see above", point.name())),
        }
    }
    println!("\n{HEADER}\n{}", lines.join("\n"));
    faulty
}

/// How many jobs were accepted at a point, and what became of them.
async fn play(own: &Own, point: Point) -> (i64, Fate) {
    let stage = Stage::open(own).await;
    match point.name().split(':').next() {
        Some("enqueue") => stage.enqueue(point).await,
        Some("redrive") => stage.redrive(point).await,
        _ => stage.work(point).await,
    }
}

struct Stage {
    database: Database,
    keeper_url: String,
}

impl Stage {
    async fn open(own: &Own) -> Self {
        let database = Database::on(&own.postgres).await;
        let options: PgConnectOptions = database.url().parse().unwrap();
        let keeper_url = own.cluster.keeper_url(options.get_database().unwrap());
        ledger::install(&mut PgConnection::connect(&keeper_url).await.unwrap()).await;
        Self { database, keeper_url }
    }

    /// Starts a program of the build with crash points, to end at one of them or at none.
    fn start(&self, name: &str, arguments: &[&str], by: &str, point: Option<Point>) -> Millrace {
        let mut command = tests::process::command(arguments);
        command.env("DATABASE_URL", ledger::known_as(self.database.url(), by));
        command.env("LOG", "info").env("LOG_FORMAT", "json");
        if let Some(point) = point {
            command.env("MILLRACE_CRASH_AT", point.name());
        }
        let mut command: Command = instead(&command, executable(name));
        Millrace::spawn(&mut command)
    }

    /// Lets a program come to a point, which is its end.
    async fn crash(&self, name: &str, arguments: &[&str], point: Point) {
        let mut process = self.start(name, arguments, "crashed", Some(point));
        let ended = process.ended(WITHIN).await;
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{point:?}: {}", process.log());
    }

    async fn fate(&self, conn: &mut PgConnection) -> Fate {
        sqlx::query_as(FATE).fetch_one(conn).await.unwrap()
    }

    /// Lets another worker do what is left, as soon as the leases of the one that ended have run out.
    async fn finish(&self) -> Fate {
        let mut worker = self.start("millrace", &["worker", "--pools", "maintenance"], "survivor", None);
        let mut keeper = PgConnection::connect(&self.keeper_url).await.unwrap();
        let began = Instant::now();
        loop {
            sqlx::query(
                "update job_lease l set lease_until = now() - interval '1 second' from ledger.issued i
                where i.token = l.token and i.by = 'crashed' and l.lease_until > now()",
            )
            .execute(&mut keeper)
            .await
            .unwrap();
            let fate = self.fate(&mut keeper).await;
            if fate.live == 0 {
                let ended = worker.stop(WITHIN).await;
                assert!(ended.success(), "{}", worker.log());
                break;
            }
            assert!(began.elapsed() < WITHIN, "{fate:?}: {}", worker.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.fate(&mut keeper).await
    }

    /// Whoever offers jobs ends on the way: all of them are there or none, and offered again they are there once.
    async fn enqueue(&self, point: Point) -> (i64, Fate) {
        let committed = point == Point::EnqueueCommitted;
        let only_copied =
            matches!(point, Point::EnqueueReserved | Point::EnqueueCopied | Point::EnqueuePlaced);
        let only_asked = matches!(point, Point::EnqueueAsking | Point::EnqueueWritten);
        let mut conn = self.database.connect().await;
        let mut accepted = 0;
        for (sort, count, plays) in [("plain", COPIED, !only_asked), ("keyed", KEYED, !only_copied)] {
            if !plays {
                continue;
            }
            let arguments = [sort, &count.to_string()];
            self.crash("offer", &arguments, point).await;
            let live = self.fate(&mut conn).await.live;
            assert_eq!(live, accepted + if committed { count } else { 0 }, "all or none of them: {point:?}");
            // Without a key a repeated offer is a second one, so it is made only where the first came to nothing.
            if !committed || sort == "keyed" {
                let mut again = self.start("offer", &arguments, "offer", None);
                assert!(again.ended(WITHIN).await.success(), "{}", again.log());
            }
            accepted += count;
        }
        let fate = self.finish().await;
        // Plain and keyed ones have the same numbers: their effects are told apart by the jobs.
        let again: i64 = sqlx::query_scalar("select count(*) - count(distinct job_id) from ledger.effect")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        let fate = Fate { again, ..fate };
        assert_eq!(fate, Fate { done: accepted, ..Fate::default() }, "{point:?}");
        (accepted, fate)
    }

    /// A worker ends on the way, with every sort of work before it.
    async fn work(&self, point: Point) -> (i64, Fate) {
        let mut conn = self.database.connect().await;
        let mut numbers = 1_i64..;
        let mut some = |count: usize, make: &dyn Fn(i64, Noop) -> NewJob| -> Vec<NewJob> {
            let these = numbers.by_ref().take(count);
            these.map(|n| make(n, Noop { note: n.to_string(), ..Noop::default() })).collect()
        };
        let of = |payload: &Noop| NewJob::of(payload).unwrap();
        // Of workers that died before: two to run again, one to be cancelled, one that is poison.
        let orphans = some(4, &|_, noop| of(&noop));
        let orphans = enqueue(&mut conn, &orphans).await.unwrap();
        let want = Want { pool: Pool::Maintenance, limit: 4, marks: [0; 4] };
        let nobody = WorkerId(Uuid::new_v4());
        assert_eq!(claim(&mut conn, nobody, &[Kind::Noop], &[want]).await.unwrap().len(), orphans.len());
        sqlx::query(
            "update job_lease set lease_until = now() - interval '1 second', cancel_requested = job_id = $1,
                crashes = case job_id when $2 then $3 else 0 end",
        )
        .bind(orphans[0].id.0)
        .bind(orphans[1].id.0)
        .bind(i16::try_from(MAX_CRASHES - 1).unwrap())
        .execute(&mut conn)
        .await
        .unwrap();
        let failing = |noop: Noop| Noop { fail: Some("no luck".into()), retry_after_ms: Some(100), ..noop };
        let mut offered = some(10, &|_, noop| of(&noop));
        offered.extend(some(4, &|_, noop| of(&Noop { settles: true, ..noop })));
        offered.extend(some(6, &|n, noop| of(&noop).ordered(format!("line-{}", n % 2))));
        offered.extend(some(3, &|_, noop| of(&failing(noop)).max_attempts(2)));
        offered.extend(some(3, &|n, noop| {
            of(&noop).after(Duration::from_millis(500)).ordered(format!("line-{}", n % 2))
        }));
        offered.extend(some(3, &|_, noop| of(&noop).after(Duration::from_millis(1_500))));
        let accepted = i64::try_from(orphans.len() + offered.len()).unwrap();
        assert_eq!(enqueue(&mut conn, &offered).await.unwrap().len(), offered.len());
        self.crash("millrace", &["worker", "--pools", "maintenance"], point).await;
        let fate = self.finish().await;
        assert_eq!(
            fate,
            Fate { done: accepted - 5, dead: 4, cancelled: 1, ..Fate::default() },
            "{point:?} of {accepted}"
        );
        (accepted, fate)
    }

    /// Whoever redrives a dead job ends on the way: it is dead or live then, and ends once more.
    async fn redrive(&self, point: Point) -> (i64, Fate) {
        let mut conn = self.database.connect().await;
        let noop = Noop { note: "1".into(), fail: Some("no luck".into()), ..Noop::default() };
        let job = NewJob::of(&noop).unwrap().max_attempts(1);
        let id = enqueue(&mut conn, &[job]).await.unwrap()[0].id;
        let dead = Fate { dead: 1, ..Fate::default() };
        assert_eq!(self.finish().await, dead);
        let id = id.0.to_string();
        let arguments = ["dlq", "redrive", &id, "--attempts", "1"];
        self.crash("millrace", &arguments, point).await;
        if point == Point::RedriveCommitted {
            assert_eq!(self.fate(&mut conn).await, Fate { live: 1, ..Fate::default() }, "{point:?}");
        } else {
            assert_eq!(self.fate(&mut conn).await, dead, "{point:?}");
            let mut again = self.start("millrace", &arguments, "again", None);
            assert!(again.ended(WITHIN).await.success(), "{}", again.log());
            assert_eq!(self.fate(&mut conn).await, Fate { live: 1, ..Fate::default() }, "{point:?}");
        }
        let fate = self.finish().await;
        assert_eq!(fate, dead, "{point:?}");
        let tried: i32 = sqlx::query_scalar("select jsonb_array_length(attempts) from job_dead")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(tried, 2, "each of its attempts is in its history");
        (1, fate)
    }
}
