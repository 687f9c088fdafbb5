//! A live connection: who holds it, what it hears of, and why it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rules::access::Principal;
use rules::id::{SessionId, TenantId, UserId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::seats::Seat;
use crate::auth::Caller;

/// Why a connection is ended from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// Whoever holds it does not take in what is told.
    Slow,
    /// This process stops, or could not read what there was to tell.
    Restarting,
    /// The credentials have ended, or are refused now.
    Expired,
    /// What its holder may do has changed.
    AccessChanged,
}

impl Parting {
    /// The code that a WebSocket is closed with. Clients of graphql-transport-ws connect again after each of them.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Slow => 1013,
            Self::Restarting => 1012,
            Self::Expired | Self::AccessChanged => 4403,
        }
    }

    /// The reason, with the remedy; at most 123 bytes, as WebSockets have it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Slow => "too slow: what is told was not taken in; connect again with the last cursor",
            Self::Restarting => "this process stops or cannot read on; connect again with the last cursor",
            Self::Expired => "the credentials have ended; connect again with new ones and the last cursor",
            Self::AccessChanged => "what you may do has changed; connect again with the last cursor",
        }
    }

    /// The word in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Restarting => "restarting",
            Self::Expired => "expired",
            Self::AccessChanged => "access_changed",
        }
    }
}

/// What somebody may do has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The account of a user, or only one session of it.
    User(UserId, Option<SessionId>),
    /// An API key.
    Key(Uuid),
    /// All who are in a tenant.
    Tenant(TenantId),
}

/// A live connection.
pub(crate) struct Line {
    pub(crate) caller: Caller,
    ended: CancellationToken,
    why: OnceLock<Parting>,
    tenants: Mutex<BTreeSet<Uuid>>,
    /// Its number at this process.
    no: u64,
    _seat: Seat,
}

/// Keeps the connection of an answer that has no end from being taken for an idle one, and can cut it.
#[derive(Clone)]
pub(crate) struct Lasting {
    /// Counts the request as under way.
    pub(crate) _under_way: Arc<dyn Send + Sync>,
    /// Cuts the connection at once, whatever is on its way; none where others share it.
    pub(crate) cut: Option<CancellationToken>,
}

impl Line {
    pub(super) fn new(no: u64, caller: Caller, stop: &CancellationToken, seat: Seat) -> Self {
        Self {
            caller,
            ended: stop.child_token(),
            why: OnceLock::new(),
            tenants: Mutex::default(),
            no,
            _seat: seat,
        }
    }

    /// Its number at this process.
    pub(super) fn no(&self) -> u64 {
        self.no
    }

    /// Notes that it will hear of a tenant: before it is decided whether it may, so that no change is missed.
    pub(crate) fn enters(&self, tenant: TenantId) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.0);
    }

    /// Its end, to wait for without keeping it.
    pub(super) fn end_of(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Ends it. The first reason is the one that is told.
    pub(crate) fn end(&self, why: Parting) {
        if !self.ended.is_cancelled() && self.why.set(why).is_ok() {
            jobs::metrics::live_parted(why.as_str());
            tracing::debug!(why = why.as_str(), actor = %self.caller.actor(), "a live connection is ended");
        }
        self.ended.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Parting {
        self.ended.cancelled().await;
        self.why.get().copied().unwrap_or(Parting::Restarting)
    }

    /// Whether a change is one of what its holder may do.
    pub(super) fn is_concerned(&self, change: Change) -> bool {
        match (change, self.caller.principal.as_ref()) {
            (Change::User(of, session), Some(Principal::User { id, .. })) => {
                of == *id && (session.is_none() || session == self.caller.session)
            }
            (Change::Key(of), Some(Principal::Key { id, .. })) => of == id.0,
            (Change::Tenant(of), Some(_)) => {
                self.tenants.lock().unwrap_or_else(PoisonError::into_inner).contains(&of.0)
            }
            (Change::User(..) | Change::Key(_), Some(_)) | (_, None) => false,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Whoever watches it goes with it.
        self.ended.cancel();
    }
}
