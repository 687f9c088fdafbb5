//! A job that is to be enqueued, and what became of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rules::id::{JobId, TenantId};
use rules::queue::{Home, HostNo, Job, Kind, Policy, Priority, Queue};

use crate::trace::carried;
use crate::{Error, Result};

/// The largest payload, in bytes of JSON. What is larger belongs in a table of its own.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// The longest order or uniqueness key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// Seconds of a day.
const DAY_S: u64 = 24 * 3600;

/// The farthest a job may be put off, and the longest that a uniqueness key may outlive its job.
pub const MAX_DELAY: Duration = Duration::from_secs(366 * DAY_S);

/// A job that is to be enqueued: a payload and what deviates from its kind's policy.
#[derive(Debug, Clone)]
pub struct NewJob {
    pub(super) kind: Kind,
    pub(super) queue: Queue,
    pub(super) payload: String,
    pub(super) tenant: Option<TenantId>,
    pub(super) priority: Priority,
    pub(super) due: Due,
    pub(super) max_attempts: u16,
    pub(super) order_key: Option<String>,
    pub(super) unique: Option<(String, Option<Duration>)>,
    pub(super) trace_parent: Option<String>,
}

/// When a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    After(Duration),
    At(DateTime<Utc>),
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "pass it to `Wake::send` after the commit, so that no worker waits for its poll"]
pub struct Enqueued {
    /// The job: a new one, or the one already there under the same uniqueness key.
    pub id: JobId,
    /// Whether it was there already, and nothing was written.
    pub existing: bool,
    /// The row in `job_pool` of the pool that will execute it.
    pub pool: i32,
}

/// What is stored of a job that is due now under an order key, its tenant apart.
#[derive(Debug)]
pub(crate) struct KeyedJob<'a> {
    pub(crate) queue: i32,
    pub(crate) pool: i32,
    pub(crate) kind: &'a str,
    pub(crate) priority: i16,
    pub(crate) max_attempts: i16,
    pub(crate) order_key: String,
    pub(crate) trace_parent: Option<&'a str>,
    pub(crate) payload: &'a str,
}

impl KeyedJob<'_> {
    /// What became of it, entered under this id.
    pub(crate) fn enqueued(&self, id: JobId) -> Enqueued {
        Enqueued { id, existing: false, pool: self.pool }
    }
}

impl NewJob {
    /// A job of the payload's kind, due now, with its kind's policy.
    ///
    /// # Errors
    /// Invalid when the payload is larger than [`MAX_PAYLOAD_BYTES`]; Internal for a kind that belongs to
    /// a host, see [`NewJob::on_host`].
    pub fn of<J: Job>(payload: &J) -> Result<Self> {
        let queue = J::KIND
            .queue()
            .ok_or_else(|| Error::internal(format!("a `{}` job was enqueued without its host", J::KIND)))?;
        Self::into_queue(payload, queue)
    }

    /// A job for the worker that holds this host, among its kind's class; else as [`NewJob::of`]. One of a
    /// kind that belongs to no host enters its own queue.
    ///
    /// # Errors
    /// As [`NewJob::of`].
    pub fn on_host<J: Job>(payload: &J, host: HostNo) -> Result<Self> {
        let pool = match J::KIND.home() {
            Home::Pool(pool) => pool,
            Home::Host(class) => host.pool(class),
        };
        Self::into_queue(payload, pool.queue())
    }

    fn into_queue<J: Job>(payload: &J, queue: Queue) -> Result<Self> {
        let payload = serde_json::to_string(payload).map_err(Error::internal)?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::invalid(format!(
                "the payload of `{}` has {} bytes; at most {MAX_PAYLOAD_BYTES} fit in a job",
                J::KIND,
                payload.len()
            )));
        }
        Ok(Self {
            kind: J::KIND,
            queue,
            payload,
            tenant: None,
            priority: Priority::default(),
            due: Due::Now,
            max_attempts: Policy::of(J::KIND).max_attempts,
            order_key: None,
            unique: None,
            trace_parent: carried(),
        })
    }

    /// The tenant whose work it is; without one it is the installation's.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Another queue than the kind's own.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// Not before this long from now, by the database's clock. Capped at [`MAX_DELAY`].
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.due = Due::After(delay.min(MAX_DELAY));
        self
    }

    /// Not before this time, by the database's clock; one that has passed is now. At most [`MAX_DELAY`] from
    /// now, or the job is refused.
    #[must_use]
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.due = Due::At(time);
        self
    }

    /// Another priority than the ordinary.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// At most one live job under this key, per tenant and kind: a second enqueue returns the first.
    /// With `keep`, the key outlives its job until that long after the enqueue, at most [`MAX_DELAY`].
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>, keep: Option<Duration>) -> Self {
        self.unique = Some((key.into(), keep));
        self
    }

    /// Jobs of a tenant under one key run one at a time, in the order of their commits, whatever their kind.
    #[must_use]
    pub fn ordered(mut self, key: impl Into<String>) -> Self {
        self.order_key = Some(key.into());
        self
    }

    /// Another number of attempts than the kind's policy; at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u16) -> Self {
        self.max_attempts = attempts.clamp(1, i16::MAX.unsigned_abs());
        self
    }

    /// The W3C `traceparent` of what caused it, where that is not what is under way (see
    /// [`carry`](crate::trace::carry)); none leaves it at that.
    #[must_use]
    pub fn trace(mut self, trace_parent: Option<String>) -> Self {
        self.trace_parent = trace_parent.or(self.trace_parent);
        self
    }

    /// The uniqueness key as stored: scoped, so that tenants and kinds never meet.
    pub(super) fn stored_unique_key(&self) -> Option<String> {
        let (key, _) = self.unique.as_ref()?;
        let tenant = self.tenant.map(|t| t.to_string()).unwrap_or_default();
        Some(format!("{tenant}:{}:{key}", self.kind))
    }

    /// The order key as stored: tenants never meet, kinds do, for it is what they act on that is ordered.
    pub(super) fn stored_order_key(&self) -> Option<String> {
        let tenant = self.tenant.map(|t| t.to_string()).unwrap_or_default();
        self.order_key.as_ref().map(|key| format!("{tenant}:{key}"))
    }

    /// Whether it has no keys and waits for no time, so that nothing can be in its way.
    pub(super) fn is_plain(&self) -> bool {
        self.order_key.is_none() && self.unique.is_none() && self.due == Due::Now
    }

    /// The columns of a job that is due now under an order key, for a statement that enters it together with what it
    /// acts on. It has no other key, which such a statement does not look at.
    ///
    /// # Errors
    /// Invalid for a key beyond its bound; Internal for a job without an order key, or of another sort.
    pub(crate) fn keyed(&self) -> Result<KeyedJob<'_>> {
        self.check(Utc::now())?;
        let order_key = self.stored_order_key().filter(|_| self.unique.is_none() && self.due == Due::Now);
        Ok(KeyedJob {
            queue: self.queue.id,
            pool: self.queue.pool_id,
            kind: self.kind.as_str(),
            priority: self.priority as i16,
            max_attempts: i16::try_from(self.max_attempts).unwrap_or(i16::MAX),
            order_key: order_key
                .ok_or_else(|| Error::internal("a job with an order key alone was wanted"))?,
            trace_parent: self.trace_parent.as_deref(),
            payload: &self.payload,
        })
    }

    /// Refuses what cannot be kept. `now` need be true to the day only: it bounds a year.
    pub(super) fn check(&self, now: DateTime<Utc>) -> Result<()> {
        let far = match self.due {
            Due::Now | Due::After(_) => false,
            Due::At(time) => (time - now).to_std().is_ok_and(|wait| wait > MAX_DELAY),
        };
        if far {
            return Err(Error::invalid(format!(
                "the due time of a `{}` job is more than {} days away; name an earlier one",
                self.kind,
                MAX_DELAY.as_secs() / DAY_S
            )));
        }
        if self.unique.as_ref().and_then(|(_, keep)| *keep).is_some_and(|keep| keep > MAX_DELAY) {
            return Err(Error::invalid(format!(
                "the uniqueness key of a `{}` job is to be kept for more than {} days; keep it for fewer",
                self.kind,
                MAX_DELAY.as_secs() / DAY_S
            )));
        }
        let keys = [self.order_key.as_deref(), self.unique.as_ref().map(|(k, _)| k.as_str())];
        for key in keys.into_iter().flatten() {
            if key.is_empty() || key.len() > MAX_KEY_BYTES {
                return Err(Error::invalid(format!(
                    "a key of a `{}` job has {} bytes; it must have between 1 and {MAX_KEY_BYTES}",
                    self.kind,
                    key.len()
                )));
            }
        }
        Ok(())
    }
}
