//! The hold on a host: under which epoch, and until when calls may be begun.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jobs::host::Registered;
use jobs::lease::Claim;
use rules::id::HostId;
use rules::queue::HostNo;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use crate::config::HostConfig;
use crate::hypervisor::{HostReport, Hypervisor, Trust};

/// How long a host's lease lasts without renewal. A dead worker's host waits this long for the next.
pub(crate) const LEASE: Duration = Duration::from_secs(20);

/// How long before its lease can end a holder begins no further call, and lets go of those under way: time
/// for them to end before another may act.
const STOP_BEFORE: Duration = Duration::from_secs(6);

/// A host that this process serves, held or standing by.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The host.
    pub(crate) id: HostId,
    /// Its number.
    pub(crate) no: HostNo,
    /// How it is served.
    pub(crate) config: HostConfig,
    /// Where operations begin and end.
    pub(crate) record: Arc<Record>,
    tenure: Mutex<Option<Tenure>>,
    /// Who was found to be the host's own hypervisor since it answers.
    trust: Mutex<Trust>,
}

#[derive(Debug, Clone)]
struct Tenure {
    claim: Claim,
    until: Instant,
    /// Fires when what is under way must be let go.
    over: CancellationToken,
}

/// The right to act on a host now.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    /// Under which every write is fenced.
    pub(crate) claim: Claim,
    /// Fires when what is under way must be let go.
    pub(crate) over: CancellationToken,
}

impl Hold {
    /// A host that is not held.
    pub(crate) fn new(known: Registered, config: HostConfig, record: Arc<Record>) -> Self {
        // Until somebody has found out who answers.
        config.hypervisor.trust(Trust::Nobody);
        Self {
            id: known.id,
            no: known.no,
            config,
            record,
            tenure: Mutex::default(),
            trust: Mutex::new(Trust::Nobody),
        }
    }

    /// What speaks to the host.
    pub(crate) fn hypervisor(&self) -> &Arc<dyn Hypervisor> {
        &self.config.hypervisor
    }

    /// Says who is the host's own hypervisor. What speaks to the host asks nothing of any other.
    pub(crate) fn recognise(&self, whom: Trust) {
        self.config.hypervisor.trust(whom.clone());
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = whom;
    }

    /// Whether this was told by the host's own hypervisor.
    pub(crate) fn is_told_by_own(&self, report: &HostReport) -> bool {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) == Trust::Own(report.identity.clone())
    }

    /// The right to act now; none when the host is not held for long enough to begin anything, or nobody knows yet
    /// that it is its own hypervisor that answers.
    pub(crate) fn permit(&self) -> Option<Permit> {
        if !matches!(*self.trust.lock().unwrap_or_else(PoisonError::into_inner), Trust::Own(_)) {
            return None;
        }
        let tenure = self.tenure();
        let held = tenure.as_ref().filter(|t| Instant::now() + STOP_BEFORE < t.until)?;
        Some(Permit { claim: held.claim.clone(), over: held.over.clone() })
    }

    /// The lease that was taken, whether or not it still allows anything.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.tenure().as_ref().map(|t| t.claim.clone())
    }

    /// Notes that the lease was taken or renewed by a statement sent at `sent_at`.
    pub(crate) fn held(&self, claim: Claim, sent_at: Instant) {
        let mut tenure = self.tenure();
        let until = sent_at + LEASE;
        // One that was let go of because its end was near, and was renewed all the same, begins anew: what stopped
        // by it stays stopped.
        match tenure.as_mut().filter(|t| t.claim == claim && !t.over.is_cancelled()) {
            Some(held) => held.until = until,
            None => *tenure = Some(Tenure { claim, until, over: CancellationToken::new() }),
        }
    }

    /// Lets the host go: nothing more may be begun, and what is under way is let go.
    pub(crate) fn let_go(&self) {
        if let Some(tenure) = self.tenure().take() {
            tenure.over.cancel();
        }
    }

    /// Lets go of what is under way when the lease is about to end unrenewed. True when it was.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        let tenure = self.tenure();
        let ending = tenure.as_ref().filter(|t| now + STOP_BEFORE >= t.until && !t.over.is_cancelled());
        if let Some(tenure) = ending {
            tenure.over.cancel();
        }
        ending.is_some()
    }

    fn tenure(&self) -> MutexGuard<'_, Option<Tenure>> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jobs::db::PgPool;
    use jobs::queue::Wake;
    use rules::id::HostId;
    use uuid::Uuid;

    use super::*;
    use crate::hypervisor::Simulated;

    fn hold() -> Hold {
        let db = PgPool::connect_lazy("postgres://localhost/nowhere").unwrap();
        let wake = Wake::start(&db, &CancellationToken::new());
        let config = HostConfig {
            name: "a".parse().unwrap(),
            uri: "test:///default".parse().unwrap(),
            vm_slots: 1,
            health_slots: 1,
            hypervisor: Arc::new(Simulated::new("a", 1, 1, Duration::from_secs(1))),
        };
        let known = Registered { id: HostId(Uuid::nil()), no: HostNo::new(1).unwrap() };
        Hold::new(known, config, Arc::new(Record::start(&db, &wake)))
    }

    #[tokio::test]
    async fn a_hold_that_was_renewed_late_allows_calls_again_and_stops_those_before() {
        let hold = hold();
        let claim = Claim { name: "host:a".into(), holder: Uuid::nil(), epoch: 1 };
        let taken = Instant::now();
        hold.held(claim.clone(), taken);
        assert!(hold.permit().is_none(), "nobody knows who answers");
        hold.recognise(Trust::Own(None));
        let before = hold.permit().unwrap();
        assert!(hold.expire(taken + LEASE - STOP_BEFORE));
        assert!(before.over.is_cancelled());
        hold.held(claim, Instant::now());
        assert!(before.over.is_cancelled());
        assert!(!hold.permit().unwrap().over.is_cancelled());
    }
}
