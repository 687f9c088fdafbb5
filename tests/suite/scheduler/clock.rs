//! A scheduler inside the test's process, and who leads.

use std::time::Duration;

use ::scheduler::SchedulerConfig;
use jobs::db::PgPool;
use jobs::db::wall::DbRole;
use jobs::lease::{Holding, SCHEDULER, holding};
use sqlx::AssertSqlSafe;
use tests::{Database, wait};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A scheduler inside the test's process, on connections of its own.
pub(crate) struct Clock {
    pub(crate) db: PgPool,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<jobs::Result<()>>,
}

impl Clock {
    pub(crate) async fn start(database: &Database, config: SchedulerConfig) -> Self {
        let db = database.pool_as(DbRole::Worker).await;
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(::scheduler::run(db.clone(), config, shutdown.clone()));
        Self { db, shutdown, running }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

pub(crate) fn quick() -> SchedulerConfig {
    SchedulerConfig { lease: Duration::from_millis(1500), ..SchedulerConfig::default() }
}

pub(crate) async fn leader(db: &PgPool) -> Option<Holding> {
    holding(&mut db.acquire().await.unwrap(), SCHEDULER).await.unwrap().filter(|h| h.live)
}

pub(crate) async fn first_leader(db: &PgPool) -> Holding {
    wait::value("somebody leads", || leader(db)).await
}

pub(crate) async fn next_leader(db: &PgPool, before: &Holding) -> Holding {
    wait::value("another leads", || async { leader(db).await.filter(|h| h.epoch > before.epoch) }).await
}

pub(crate) async fn lease_until(db: &PgPool) -> chrono::DateTime<chrono::Utc> {
    sqlx::query_scalar("select lease_until from lease where name = $1")
        .bind(SCHEDULER)
        .fetch_one(db)
        .await
        .unwrap()
}

pub(crate) async fn renewed_after(
    db: &PgPool,
    before: chrono::DateTime<chrono::Utc>,
) -> chrono::DateTime<chrono::Utc> {
    wait::value("the leader renews", || async { Some(lease_until(db).await).filter(|at| *at > before) }).await
}

pub(crate) async fn run(db: &PgPool, statement: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statement.into())).execute(db).await.unwrap();
}

pub(crate) async fn count(db: &PgPool, from: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {from}"))).fetch_one(db).await.unwrap()
}
