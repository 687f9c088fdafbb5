//! Looks things up for all rows of a page at once: what a page of a hundred asks of the database is what a page of
//! one does.
//!
//! A loader lives as long as its request and knows who asks, so that nothing passes from one to another.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, Loader};
use chrono::{DateTime, Utc};
use jobs::awaited::{self, NodeWaits};
use jobs::dag::log::{self, Line};
use jobs::db::{Postgres, Slice, wall};
use jobs::firing::{self, Firing};
use jobs::listener::notice::{ActionRecord, store as notices};
use jobs::queue::postgres::look::{self, FailedAttempt};
use jobs::queue::postgres::why::whys;
use rules::access::{Overall, Principal, overall};
use rules::id::{FiringId, JobId, NoticeId, RunId, ScheduleId, TenantId};
use rules::queue::Why;
use sqlx::pool::PoolConnection;
use uuid::Uuid;

use super::gather::soon;
use crate::error::Fault;
use crate::state::App;

/// The failed attempts of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttemptsOf(pub(super) Option<TenantId>, pub(super) JobId);

/// Why a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WhyOf(pub(super) Option<TenantId>, pub(super) JobId);

/// A page of a run's log: the lines after this one, at most so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LogOf(pub(super) TenantId, pub(super) RunId, pub(super) i32, pub(super) i64);

/// What the nodes of a run wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WaitsOf(pub(super) TenantId, pub(super) RunId);

/// What became of the actions of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ActionsOf(pub(super) TenantId, pub(super) NoticeId);

/// A page of what came of a schedule's firings: those before this one, at most so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HistoryOf(
    pub(super) TenantId,
    pub(super) ScheduleId,
    pub(super) Option<FiringId>,
    pub(super) i64,
);

/// The database's clock: one time for all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClockNow;

/// What looks up for one request.
pub(super) struct LookUp {
    app: App,
    /// Whether whoever asks may see the jobs of all tenants, and so may have been shown them.
    operates: bool,
}

/// Looks up for whoever asks.
pub(super) fn loader(app: &App, principal: Option<&Principal>) -> DataLoader<LookUp> {
    let operates = principal.is_some_and(|principal| overall(principal, Overall::Operate).is_ok());
    DataLoader::new(LookUp { app: app.clone(), operates }, soon)
}

/// Looks up what belongs to a row, together with that of the rows beside it.
///
/// # Errors
/// That of the look-up.
pub(super) async fn look_up<K>(
    ctx: &Context<'_>,
    key: K,
) -> Result<Option<<LookUp as Loader<K>>::Value>, Fault>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    LookUp: Loader<K, Error = Arc<jobs::Error>>,
{
    Ok(ctx.data_unchecked::<DataLoader<LookUp>>().load_one(key).await?)
}

/// Those of each tenant together: one turn on a connection sees one tenant.
fn by_tenant<K: Copy, T>(keys: &[K], split: impl Fn(K) -> (TenantId, T)) -> HashMap<TenantId, Vec<T>> {
    let mut all: HashMap<TenantId, Vec<T>> = HashMap::new();
    for key in keys {
        let (tenant, rest) = split(*key);
        all.entry(tenant).or_default().push(rest);
    }
    all
}

impl LookUp {
    async fn within(&self, tenant: TenantId) -> jobs::Result<PoolConnection<Postgres>> {
        let mut conn = self.app.db.acquire().await?;
        wall::enter(&mut conn, tenant).await?;
        Ok(conn)
    }

    /// Jobs that are looked up in one turn: an operator's all at once, of others tenant by tenant.
    fn turns(
        &self,
        jobs: impl Iterator<Item = (Option<TenantId>, JobId)>,
    ) -> Vec<(Option<TenantId>, Vec<i64>)> {
        if self.operates {
            return vec![(None, jobs.map(|(_, id)| id.0).collect())];
        }
        // Those of no tenant are shown to operators alone.
        let of_tenants: Vec<(TenantId, i64)> = jobs.filter_map(|(of, id)| Some((of?, id.0))).collect();
        by_tenant(&of_tenants, |job| job).into_iter().map(|(tenant, ids)| (Some(tenant), ids)).collect()
    }

    /// A connection that sees the jobs of one turn.
    async fn seeing(&self, tenant: Option<TenantId>) -> jobs::Result<PoolConnection<Postgres>> {
        if let Some(tenant) = tenant {
            return self.within(tenant).await;
        }
        let mut conn = self.app.db.acquire().await?;
        wall::enter_all(&mut conn).await?;
        Ok(conn)
    }
}

impl Loader<AttemptsOf> for LookUp {
    type Value = Vec<FailedAttempt>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[AttemptsOf]) -> Result<HashMap<AttemptsOf, Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (tenant, ids) in self.turns(keys.iter().map(|AttemptsOf(tenant, id)| (*tenant, *id))) {
            found.extend(look::attempts_of(&mut *self.seeing(tenant).await?, &ids).await?);
        }
        Ok(keys.iter().filter_map(|key| Some((*key, found.remove(&key.1)?))).collect())
    }
}

impl Loader<WhyOf> for LookUp {
    type Value = Why;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[WhyOf]) -> Result<HashMap<WhyOf, Self::Value>, Self::Error> {
        let mut found = HashMap::new();
        for (tenant, ids) in self.turns(keys.iter().map(|WhyOf(tenant, id)| (*tenant, *id))) {
            found.extend(whys(&mut *self.seeing(tenant).await?, &ids).await?);
        }
        Ok(keys.iter().filter_map(|key| Some((*key, found.remove(&key.1)?))).collect())
    }
}

impl Loader<LogOf> for LookUp {
    type Value = Slice<Line>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[LogOf]) -> Result<HashMap<LogOf, Self::Value>, Self::Error> {
        // Rows of one list ask for the same page of their logs.
        let mut pages: HashMap<(TenantId, i32, i64), Vec<RunId>> = HashMap::new();
        for LogOf(tenant, run, after, limit) in keys {
            pages.entry((*tenant, *after, *limit)).or_default().push(*run);
        }
        let mut found = HashMap::new();
        for ((tenant, after, limit), runs) in pages {
            let lines = log::pages(&mut *self.within(tenant).await?, &runs, after, limit).await?;
            found.extend(lines.into_iter().map(|(run, slice)| (LogOf(tenant, run, after, limit), slice)));
        }
        Ok(found)
    }
}

impl Loader<HistoryOf> for LookUp {
    type Value = Slice<Firing>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[HistoryOf]) -> Result<HashMap<HistoryOf, Self::Value>, Self::Error> {
        // Rows of one list ask for the same page of their histories.
        let mut pages: HashMap<(TenantId, Option<FiringId>, i64), Vec<Uuid>> = HashMap::new();
        for HistoryOf(tenant, schedule, before, limit) in keys {
            pages.entry((*tenant, *before, *limit)).or_default().push(schedule.0);
        }
        let mut found = HashMap::new();
        for ((tenant, before, limit), schedules) in pages {
            let mut conn = self.within(tenant).await?;
            let all = firing::by_schedules(&mut conn, tenant, &schedules, before, limit).await?;
            found.extend(all.into_iter().map(|(of, slice)| (HistoryOf(tenant, of, before, limit), slice)));
        }
        Ok(found)
    }
}

impl Loader<ClockNow> for LookUp {
    type Value = DateTime<Utc>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[ClockNow]) -> Result<HashMap<ClockNow, Self::Value>, Self::Error> {
        let mut conn = self.app.db.acquire().await.map_err(jobs::Error::from)?;
        let now = jobs::schedule::now(&mut conn).await?;
        Ok(keys.iter().map(|key| (*key, now)).collect())
    }
}

impl Loader<WaitsOf> for LookUp {
    type Value = Vec<NodeWaits>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[WaitsOf]) -> Result<HashMap<WaitsOf, Self::Value>, Self::Error> {
        let mut found: HashMap<WaitsOf, Self::Value> = HashMap::new();
        for (tenant, runs) in by_tenant(keys, |WaitsOf(tenant, run)| (tenant, run)) {
            for waits in awaited::waits(&mut *self.within(tenant).await?, &runs).await? {
                found.entry(WaitsOf(tenant, waits.run)).or_default().push(waits);
            }
        }
        Ok(found)
    }
}

impl Loader<ActionsOf> for LookUp {
    type Value = Vec<ActionRecord>;
    type Error = Arc<jobs::Error>;

    async fn load(&self, keys: &[ActionsOf]) -> Result<HashMap<ActionsOf, Self::Value>, Self::Error> {
        let mut found: HashMap<ActionsOf, Self::Value> = HashMap::new();
        for (tenant, ids) in by_tenant(keys, |ActionsOf(tenant, notice)| (tenant, notice.0)) {
            let rows = notices::actions(&mut *self.within(tenant).await?, tenant, &ids).await?;
            for row in rows {
                found.entry(ActionsOf(tenant, NoticeId(row.notice_id))).or_default().push(row);
            }
        }
        Ok(found)
    }
}
