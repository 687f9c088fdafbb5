//! One attempt of one job, as its handler sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use rules::id::{JobId, LeaseToken, TenantId};
use rules::queue::{Kind, Policy, Pool, Priority};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::trace::TraceContext;
use crate::{Error, Result};

/// The right to one attempt of one job, and all that is known of it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The job.
    pub id: JobId,
    /// Fences every write of this attempt; random, so it serves outside systems as an idempotency key.
    pub token: LeaseToken,
    /// What it is.
    pub kind: Kind,
    /// Whose pool claimed it.
    pub pool: Pool,
    /// Whether it has an order key, whose next job may begin when this one ends.
    pub keyed: bool,
    /// Whose work it is.
    pub tenant: Option<TenantId>,
    /// Its priority.
    pub priority: Priority,
    /// The payload as stored.
    pub payload: Box<RawValue>,
    /// Which attempt this is; 1 is the first.
    pub attempt: u16,
    /// How many workers died under it before.
    pub crashes: u16,
    /// How many attempts it has.
    pub max_attempts: u16,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<String>,
    /// When it became ready, by the database's clock.
    pub ready_at: DateTime<Utc>,
    /// When it was claimed, by the database's clock.
    pub claimed_at: DateTime<Utc>,
    /// Fires when the handler must stop: see [`StopReason`].
    pub cancel: CancellationToken,
    /// Whether it is being acknowledged.
    pub settling: Settling,
}

/// Whether an attempt is being acknowledged: from then on its lease may end without being lost. Shared by
/// the attempt's copies.
#[derive(Debug, Clone, Default)]
pub struct Settling(Arc<AtomicBool>);

impl Settling {
    /// It is, from now on.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a handler was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody cancelled the job.
    Cancelled,
    /// The lease is no longer ours, or could not be renewed in time: another worker may hold it.
    LeaseLost,
    /// The process ends and its grace is over.
    Shutdown,
}

impl Attempt {
    /// The payload in its kind's form.
    ///
    /// # Errors
    /// Invalid when the stored JSON does not fit, which no retry can mend.
    pub fn payload<P: DeserializeOwned>(&self) -> Result<P> {
        serde_json::from_str(self.payload.get()).map_err(|e| {
            Error::invalid(format!("the payload of `{}` job {} cannot be read: {e}", self.kind, self.id))
        })
    }

    /// The id of the trace that caused it, as logs name it.
    pub fn trace_id(&self) -> Option<String> {
        self.trace_parent.as_deref().and_then(TraceContext::parse).map(|trace| trace.trace_id())
    }

    /// Whether an error now would be the last.
    pub fn is_last(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// The policy of its kind.
    pub fn policy(&self) -> Policy {
        Policy::of(self.kind)
    }
}
