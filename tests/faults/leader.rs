//! Faults of the leading scheduler: it dies, and it is cut off from Postgres while it goes on running.

use std::time::Duration;

use tests::{Millrace, Mode, Proxy};
use uuid::Uuid;

use crate::stage::Stage;

/// How long another may take to lead: the lease of 15 seconds, the 5 after which Postgres ends a transaction of the
/// leader that was about to commit, and the next look at it.
const LEADS_WITHIN: Duration = Duration::from_secs(30);

/// How long one that is back may take to see that another leads.
const YIELDS_WITHIN: Duration = Duration::from_secs(30);

/// A leader whose line leads through a proxy, and one who stands by.
struct Schedulers {
    leader: Millrace,
    leads: Uuid,
    line: Proxy,
    other: Millrace,
}

impl Schedulers {
    async fn start(stage: &Stage<'_>) -> Self {
        let line = Proxy::start(stage.database.url()).await;
        let mut leader = Millrace::start(&["scheduler"], &[("DATABASE_URL", line.url())]);
        leader.printed("leading the schedulers").await;
        let leads = leads_after(stage, None).await;
        let mut other = Millrace::start(&["scheduler"], &[("DATABASE_URL", stage.database.url())]);
        other.printed("scheduler started").await;
        Self { leader, leads, line, other }
    }

    /// Waits until the other leads and stops it.
    async fn pass_to_other(mut self, stage: &Stage<'_>) {
        let now = leads_after(stage, Some(self.leads)).await;
        assert!(self.other.log().contains(&now.to_string()), "{}", self.other.log());
        assert!(self.other.stop(YIELDS_WITHIN).await.success(), "{}", self.other.log());
    }
}

/// Who leads, once somebody else does than before.
async fn leads_after(stage: &Stage<'_>, before: Option<Uuid>) -> Uuid {
    tests::wait::value_within(LEADS_WITHIN, "somebody leads", || async {
        let holder: Option<Uuid> =
            sqlx::query_scalar("select holder from lease where name = 'scheduler' and lease_until > now()")
                .fetch_optional(&stage.db)
                .await
                .unwrap();
        holder.filter(|holder| Some(*holder) != before)
    })
    .await
}

/// Kills the leader.
pub(crate) async fn kill(stage: &mut Stage<'_>) {
    let mut schedulers = Schedulers::start(stage).await;
    schedulers.leader.kill();
    stage.recovers().await;
    schedulers.pass_to_other(stage).await;
}

/// Lets nothing through between the leader and Postgres until another leads, and then all that was said.
pub(crate) async fn partition(stage: &mut Stage<'_>) {
    let mut schedulers = Schedulers::start(stage).await;
    schedulers.line.set(Mode::Frozen);
    let now = leads_after(stage, Some(schedulers.leads)).await;
    // It must not wait for the network to know that it leads no more.
    schedulers.leader.printed("the scheduler's lease is lost").await;
    schedulers.line.set(Mode::Open);
    stage.recovers().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(leads_after(stage, None).await, now, "the lease was taken back from the one that leads");
    assert!(schedulers.leader.stop(YIELDS_WITHIN).await.success(), "{}", schedulers.leader.log());
    schedulers.pass_to_other(stage).await;
}
