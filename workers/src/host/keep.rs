//! Takes a host, renews the hold, reports how its hypervisor answers, and opens its pools while it does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{Patience, about, bounded};
use jobs::host::lease_name;
use jobs::host::store::{self, Taken};
use jobs::lease;
use jobs::payload::machine::HostReconcile;
use jobs::queue::{NewJob, enqueue};
use jobs::trace::TraceContext;
use rules::machine::Reach;
use rules::queue::{Class, Priority};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hold::{Hold, LEASE};
use super::meet::{Met, meet};
use super::watch::Looker;
use crate::context::Context;
use crate::held::Held;
use crate::hypervisor::{HostEvent, Standing, Trust};

/// How often a hold is renewed, and how often one that stands by tries to take the host.
const RENEW_EVERY: Duration = Duration::from_secs(4);

/// When a host is asked again that did not say what it has.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How often all machines of a host are compared with what is recorded, a quarter more or less.
const LIST_EVERY: Duration = Duration::from_secs(30);

/// How often a hold that is about to end is looked for.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

/// Keeps one host until the shutdown.
struct Keeper {
    context: Arc<Context>,
    held: Arc<Held>,
    hold: Arc<Hold>,
    /// Drawn anew at each start.
    holder: Uuid,
    looker: Looker,
    list_at: Instant,
    /// How the host answered when that was last said in the log, whether it was another hypervisor that did, and
    /// whether it was said that another worker has it.
    told: Option<(Reach, bool)>,
    told_of_another: bool,
}

/// Takes and keeps a host until `stopped`, which fires once nothing of it is under way any more. From the
/// shutdown on its pools stay closed.
pub(crate) async fn keep(
    context: Arc<Context>,
    held: Arc<Held>,
    hold: Arc<Hold>,
    shutdown: CancellationToken,
    stopped: CancellationToken,
) {
    let mut standing = hold.hypervisor().standing();
    let mut events = hold.hypervisor().events();
    let looker = Looker::start(Arc::clone(&context), Arc::clone(&hold), stopped.clone());
    let holder = Uuid::new_v4();
    let mut keeper = Keeper {
        context,
        held,
        hold,
        holder,
        looker,
        list_at: Instant::now(),
        told: None,
        told_of_another: false,
    };
    let mut patience = Patience::default();
    let mut next = Instant::now();
    while !stopped.is_cancelled() {
        if shutdown.is_cancelled() {
            keeper.open(false);
        }
        if Instant::now() >= next {
            let now_standing = standing.borrow_and_update().clone();
            next = match bounded(CALL_TIMEOUT, keeper.tend(&now_standing, shutdown.is_cancelled())).await {
                Ok(met) => {
                    patience.reset();
                    keeper.tell(&met);
                    let was_silent =
                        met.standing.reach == Reach::Degraded && now_standing.reach == Reach::Online;
                    Instant::now() + about(if was_silent { ASK_AGAIN } else { RENEW_EVERY })
                }
                Err(error) => {
                    tracing::warn!(%error, host = %keeper.hold.config.name, "the hold on a host could not be kept up; trying again");
                    Instant::now() + patience.next_wait()
                }
            };
        }
        tokio::select! {
            () = stopped.cancelled() => {}
            () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
            () = tokio::time::sleep(next.saturating_duration_since(Instant::now())) => {}
            changed = standing.changed() => match changed {
                Ok(()) => next = Instant::now(),
                // Nobody tells any more how it stands; what it said last is kept.
                Err(_) => tokio::time::sleep(next.saturating_duration_since(Instant::now())).await,
            },
            event = events.recv() => match event {
                Ok(HostEvent::Changed(machine)) => keeper.looker.look(machine.0),
                Ok(HostEvent::Connected) | Err(RecvError::Lagged(_)) => {
                    keeper.list_at = Instant::now();
                    next = Instant::now();
                }
                Ok(HostEvent::Lost(_)) => next = Instant::now(),
                Err(RecvError::Closed) => tokio::time::sleep(next.saturating_duration_since(Instant::now())).await,
            },
        }
    }
    keeper.leave().await;
}

/// Closes the pools of holds that are about to end unrenewed, and stops what is under way. A task of its
/// own: it must not wait for the calls that fail to renew them.
pub(crate) async fn expire(context: Arc<Context>, held: Arc<Held>, stopped: CancellationToken) {
    while !stopped.is_cancelled() {
        for hold in context.hosts.all().filter(|hold| hold.expire(Instant::now())) {
            tracing::error!(host = %hold.config.name, "the hold on a host ran out unrenewed; nothing more is begun on it");
            for class in Class::ALL {
                held.open(hold.no.pool(class), false);
            }
        }
        tokio::select! {
            () = stopped.cancelled() => {}
            () = tokio::time::sleep(EXPIRE_EVERY) => {}
        }
    }
}

impl Keeper {
    /// Says how the host's hypervisor answers, once for each change, and from the start: a worker that was given
    /// a wrong address must not look like one that has nothing to do.
    fn tell(&mut self, met: &Met) {
        let (host, why) = (&self.hold.config.name, met.standing.why.as_str());
        if met.standing == Standing::opening() {
            tracing::debug!(%host, "connecting to a host");
            return;
        }
        let told = (met.standing.reach, met.stranger.is_some());
        if self.told.replace(told) == Some(told) {
            return;
        }
        match met.standing.reach {
            _ if met.stranger.is_some() => {
                tracing::error!(%host, why, "another hypervisor answers under a host's name; nothing is done there");
            }
            Reach::Online => tracing::info!(%host, "a host answers"),
            Reach::Degraded => {
                tracing::warn!(%host, why, "a host does not answer in time; nothing is begun on it until it does");
            }
            Reach::Unreachable => {
                tracing::warn!(%host, why, "a host cannot be reached; its operations wait");
            }
        }
    }

    /// Takes or renews the hold, finds out who answers, reports, and opens or closes the pools accordingly. Returns
    /// how the host was found.
    async fn tend(&mut self, standing: &Standing, ending: bool) -> jobs::Result<Met> {
        let mut conn = self.context.db.acquire().await?;
        let sent = Instant::now();
        let claim = match self.hold.claim() {
            Some(claim) if lease::renew(&mut conn, &claim, LEASE).await? => claim,
            Some(_) => {
                tracing::error!(host = %self.hold.config.name, "the hold on a host is lost; another worker has it");
                self.open(false);
                self.hold.let_go();
                return Ok(Met::nobody(standing.clone()));
            }
            None if ending => return Ok(Met::nobody(standing.clone())),
            None => {
                let name = lease_name(self.hold.id);
                let Some(claim) = lease::acquire(&mut conn, &name, self.holder, LEASE).await? else {
                    if !std::mem::replace(&mut self.told_of_another, true) {
                        tracing::info!(host = %self.hold.config.name, "another worker has the host; standing by");
                    }
                    return Ok(Met::nobody(standing.clone()));
                };
                self.told_of_another = false;
                // It may have been removed since this process made it known.
                let config = &self.hold.config;
                store::register(&mut conn, &config.name, &config.uri, config.vm_slots, config.health_slots)
                    .await?;
                tracing::info!(host = %self.hold.config.name, epoch = claim.epoch, "took a host");
                self.list_at = Instant::now();
                claim
            }
        };
        self.hold.held(claim.clone(), sent);
        drop(conn);
        let met = self.meet(standing).await?;
        let reported = self.report(&met).await?;
        let serves = reported && met.standing.reach == Reach::Online && !ending;
        self.open(serves);
        if Instant::now() >= self.list_at && serves {
            self.enqueue_listing().await?;
            self.list_at = Instant::now() + about(LIST_EVERY);
        }
        Ok(met)
    }

    /// Finds out who answers. Until that is the host's own hypervisor nothing is done there.
    async fn meet(&self, standing: &Standing) -> jobs::Result<Met> {
        if standing.reach != Reach::Online {
            self.hold.recognise(Trust::Nobody);
        }
        let met = meet(&self.context.db, &self.hold, standing).await?;
        self.hold.recognise(met.trust());
        Ok(met)
    }

    /// Says what the host has and how it answers. False when a later holder has said so.
    async fn report(&self, met: &Met) -> jobs::Result<bool> {
        let Some(claim) = self.hold.claim() else { return Ok(false) };
        let Met { standing, report: told, stranger } = met;
        let reason = (standing.reach != Reach::Online).then_some(standing.why.as_str());
        let config = &self.hold.config;
        let taken = Taken {
            uri: &config.uri,
            vm_slots: config.vm_slots,
            health_slots: config.health_slots,
            hypervisor: told.as_ref().map(|c| c.hypervisor.as_str()),
            capacity: told.as_ref().map(|c| c.capacity),
            stranger: stranger.as_deref(),
            reach: standing.reach,
            reason,
        };
        let mut conn = self.context.db.acquire().await?;
        store::report(&mut conn, self.hold.id, &claim, &taken).await
    }

    async fn enqueue_listing(&self) -> jobs::Result<()> {
        let job = NewJob::on_host(&HostReconcile { host_id: self.hold.id }, self.hold.no)?
            .unique(self.hold.id.to_string(), None)
            .priority(Priority::High)
            // Nobody asked for it: what it leads to has its beginning here.
            .trace(Some(TraceContext::begin().to_string()));
        let mut conn = self.context.db.acquire().await?;
        let enqueued = enqueue(&mut conn, &[job]).await?;
        self.context.wake.send(&enqueued);
        Ok(())
    }

    fn open(&self, open: bool) {
        let pools: BTreeSet<_> = Class::ALL.into_iter().map(|class| self.hold.no.pool(class)).collect();
        for pool in pools {
            self.held.open(pool, open);
        }
    }

    /// Gives the host back, so that whoever stands by need not wait.
    async fn leave(&self) {
        self.open(false);
        let Some(claim) = self.hold.claim() else { return };
        self.hold.let_go();
        let left = bounded(CALL_TIMEOUT, async {
            let mut conn = self.context.db.acquire().await?;
            lease::release(&mut conn, &claim).await
        });
        if let Err(error) = left.await {
            tracing::debug!(%error, host = %self.hold.config.name, "a host stays taken until its lease runs out");
        }
    }
}
