//! A worker that can be killed between two of its steps, and what comes of its leases then.

use std::sync::Arc;

use jobs::queue::Wake;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use workers::Context;
use workers::hypervisor::Hypervisor;

use super::stage::serving;

/// A worker with threads of its own, which end at their next wait when it is killed. It tells nobody.
pub(crate) struct Mortal(Option<Runtime>);

impl Mortal {
    /// A worker on this database of the host that is opened on its own threads.
    pub(crate) fn start(
        url: &str,
        name: &str,
        open: impl FnOnce() -> Arc<dyn Hypervisor> + Send + 'static,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (url, name) = (url.to_owned(), name.to_owned());
        runtime.spawn(async move {
            let db = PgPool::connect(&url).await.unwrap();
            let wake = Wake::start(&db, &CancellationToken::new());
            workers::run(serving(&name, open()), Context::new(db, wake), CancellationToken::new()).await
        });
        Self(Some(runtime))
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn run(db: &PgPool, statement: &str) {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(db).await.unwrap();
}

/// Lets what waits for a time begin now: nothing here is shown by waiting.
pub(crate) async fn hurry(db: &PgPool) {
    run(db, "update job_scheduled set run_at = now() where run_at > now()").await;
    run(db, "select job_promote_v2('-infinity', 500)").await;
}

/// What the leases of a dead worker of this host come to in time: they run out. That five workers die under one
/// job, which would be taken for poison, is not what is tried here.
pub(crate) async fn expire(db: &PgPool, host: &str) {
    let past = "lease_until = now() - interval '1 s'";
    for statement in [
        format!(
            "update lease set {past} where name = (select 'host:' || id from host where name = '{host}')"
        ),
        format!(
            "update job_lease set {past}, crashes = 0 where pool_id in (select id from job_pool where name like '%@{host}')"
        ),
        "select job_rescue_living_v2(1000, 5)".to_owned(),
    ] {
        run(db, &statement).await;
    }
}
