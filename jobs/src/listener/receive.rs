//! Takes a delivery in: the notice and its job, or the notice that is there already.

use rules::id::{NoticeId, TenantId};
use rules::seal::Keyring;
use rules::signature::Secret;
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::notice::store;
use super::save::place;
use super::store::Hook;
use crate::payload::listener::ListenerEvent;
use crate::queue::{Enqueued, NewJob, enqueue};
use crate::{Code, Error, Result};

/// A delivery whose signature holds.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// What its sender calls it.
    pub id: &'a str,
    /// Those of its headers that are kept.
    pub headers: &'a Value,
    /// The event.
    pub event: &'a Value,
    /// The trace that it belongs to.
    pub trace_parent: Option<String>,
}

/// What became of a delivery.
#[derive(Debug, Clone)]
#[must_use = "wake the workers after the commit"]
pub struct Received {
    /// Its notice.
    pub notice: NoticeId,
    /// Whether it was there already, and nothing was written.
    pub duplicate: bool,
    /// The job that takes it through the pipeline; none for a duplicate.
    pub enqueued: Vec<Enqueued>,
}

impl Hook {
    /// The secrets that deliveries may be signed with: the present one, and the one before while it is
    /// accepted.
    ///
    /// # Errors
    /// Internal when one does not open: a key is missing from the ring, or the row was tampered with.
    pub fn open(&self, keyring: &Keyring) -> Result<Vec<Secret>> {
        [Some(&self.secret), self.old_secret.as_ref()]
            .into_iter()
            .flatten()
            .map(|s| self.unseal(keyring, s))
            .collect()
    }

    fn unseal(&self, keyring: &Keyring, sealed: &[u8]) -> Result<Secret> {
        let opened = keyring.open(&place(self.tenant, self.listener), sealed).map_err(Error::internal)?;
        let text = std::str::from_utf8(opened.expose_secret()).map_err(Error::internal)?;
        Secret::decode(text).map_err(Error::internal)
    }
}

/// Stores a delivery as a notice, with the job that works on it, unless it is there already. Takes the
/// caller's connection: the sender is answered after the commit, so that what it was told is true.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn receive(conn: &mut PgConnection, hook: &Hook, delivery: &Delivery<'_>) -> Result<Received> {
    let id = NoticeId(Uuid::now_v7());
    let stored =
        store::insert(conn, id, hook.tenant, hook.listener, delivery.id, delivery.headers, delivery.event)
            .await?;
    if stored.is_none() {
        // Another delivery of it committed. A statement of its own, to see what.
        let known = store::by_delivery(conn, hook.listener, delivery.id).await?;
        let notice = known.ok_or_else(|| {
            Error::new(Code::Unavailable, "the delivery's notice was pruned a moment ago; send it again")
        })?;
        return Ok(Received { notice, duplicate: true, enqueued: Vec::new() });
    }
    let enqueued = enqueue_event(conn, hook.tenant, id, 0, delivery.trace_parent.clone()).await?;
    Ok(Received { notice: id, duplicate: false, enqueued })
}

/// Puts the job of a notice in the queue.
pub(super) async fn enqueue_event(
    conn: &mut PgConnection,
    tenant: TenantId,
    notice: NoticeId,
    replay: i32,
    trace_parent: Option<String>,
) -> Result<Vec<Enqueued>> {
    let job = NewJob::of(&ListenerEvent { notice_id: notice, replay })?.tenant(tenant).trace(trace_parent);
    enqueue(conn, &[job]).await
}
