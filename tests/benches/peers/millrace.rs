//! Millrace as one of the peers: through its public enqueue and its worker, all settings their defaults.

use std::ops::Range;
use std::time::{Duration, Instant};

use jobs::config::{DATABASE_CONNECTIONS, DatabaseConfig};
use jobs::db::PgPool;
use jobs::db::wall::DbRole;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, Wake, enqueue, enqueue_all};
use rules::queue::Pool;
use sqlx::Connection;
use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;
use tests::Hands;
use tokio_util::sync::CancellationToken;
use workers::WorkerConfig;

use super::starts;
use super::verbs::{Peer, Tally};

/// How often it is looked whether the last job has ended: a hundred statements or two of a drain.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Set, one job by one goes in between a begin and a commit of the caller's.
const IN_TRANSACTION: &str = "IN_TRANSACTION";

/// Set, jobs are put in by the role of workers, and else by the login, which owns the tables.
const AS_WORKER: &str = "AS_WORKER";

/// How long handlers may go on when a drain has ended; none does.
const GRACE: Duration = Duration::from_secs(5);

/// Millrace's side.
pub(crate) struct Millrace {
    db: PgPool,
    config: DatabaseConfig,
    wake: Wake,
}

/// A connection of its own, and the wake-ups that all clients of the process share.
pub(crate) struct Client {
    conn: PoolConnection<Postgres>,
    wake: Wake,
    in_transaction: bool,
}

fn job(number: u64) -> NewJob {
    NewJob::of(&Noop { note: number.to_string(), ..Noop::default() }).unwrap()
}

impl Peer for Millrace {
    type Client = Client;
    // For a look at the tables; the worker's own are as many as by default.
    const CONNECTIONS: u32 = 2;

    async fn open(url: &str, connections: u32) -> Self {
        let config = DatabaseConfig { url: url.to_owned().into(), connections: connections + 1 };
        let login = jobs::db::connect(&config).await.unwrap();
        let db = if std::env::var_os(AS_WORKER).is_some() { worker(&config, &login).await } else { login };
        let wake = Wake::start(&db, &CancellationToken::new());
        Self { db, config, wake }
    }

    async fn setup(&self) {
        jobs::db::migrate(&self.db).await.unwrap();
    }

    async fn client(&self) -> Client {
        let in_transaction = std::env::var_os(IN_TRANSACTION).is_some();
        Client { conn: self.db.acquire().await.unwrap(), wake: self.wake.clone(), in_transaction }
    }

    async fn one(client: &mut Client, number: u64) -> u64 {
        let job = [job(number)];
        let enqueued = if client.in_transaction {
            let mut tx = client.conn.begin().await.unwrap();
            let enqueued = enqueue(&mut tx, &job).await.unwrap();
            tx.commit().await.unwrap();
            enqueued
        } else {
            enqueue(&mut client.conn, &job).await.unwrap()
        };
        client.wake.send(&enqueued);
        u64::try_from(enqueued[0].id.0).unwrap()
    }

    async fn many(&self, numbers: Range<u64>) {
        let enqueued = enqueue_all(&self.db, numbers.map(job).collect()).await.unwrap();
        self.wake.send(&enqueued);
    }

    async fn drain(&self, jobs: u64, limit: Duration) -> Tally {
        let last: Option<i64> =
            sqlx::query_scalar("select max(job_id) from job_ready").fetch_one(&self.db).await.unwrap();
        let began = Instant::now();
        let hands = self.hands().await;
        let mut cut = false;
        // By the last one's id, which is two pages to read, and only then by whether any is left.
        while !cut && (self.is_live(last).await || self.is_any_left().await) {
            tokio::time::sleep(LOOK_EVERY).await;
            cut = began.elapsed() > limit;
        }
        let seconds = began.elapsed().as_secs_f64();
        let left = if cut { self.left().await } else { 0 };
        hands.stop().await;
        Tally { jobs: jobs - left, seconds, cut }
    }

    async fn idle(&self, jobs: u64, limit: Duration, ready: fn()) -> Vec<(u64, u64)> {
        let hands = self.hands().await;
        let began = Instant::now();
        // It has said to the database that it is there before it claims for the first time.
        while !self.is_worker_there().await {
            assert!(began.elapsed() < limit, "the worker does not start");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        ready();
        while starts::count() < jobs && began.elapsed() < limit {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        hands.stop().await;
        starts::take()
    }
}

impl Millrace {
    /// A worker of all pools, as the executable starts it.
    async fn hands(&self) -> Hands {
        let config = DatabaseConfig { connections: DATABASE_CONNECTIONS, ..self.config.clone() };
        let db = worker(&config, &self.db).await;
        let pools = Pool::FIXED.to_vec();
        Hands::with(db, WorkerConfig::of_pools(pools, workers::config::SLOTS, GRACE))
    }

    async fn is_live(&self, job: Option<i64>) -> bool {
        let statement = "select exists (select from job where id = $1)";
        sqlx::query_scalar(statement).bind(job).fetch_one(&self.db).await.unwrap()
    }

    async fn is_any_left(&self) -> bool {
        let statement = "select exists (select from job_ready) or exists (select from job_lease)";
        sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap()
    }

    async fn left(&self) -> u64 {
        let statement = "select (select count(*) from job_ready) + (select count(*) from job_lease)";
        let left: i64 = sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap();
        u64::try_from(left).unwrap()
    }

    async fn is_worker_there(&self) -> bool {
        sqlx::query_scalar("select exists (select from job_worker)").fetch_one(&self.db).await.unwrap()
    }
}

/// Connections that work as the role of workers.
async fn worker(config: &DatabaseConfig, login: &PgPool) -> PgPool {
    let pool = jobs::db::connect_as(config, login, DbRole::Worker).await.unwrap();
    pool.expect("the role can be taken on")
}
