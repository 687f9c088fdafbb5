//! Asks something of a machine: wanted state, generation, operation and job, in the caller's transaction.

use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::{Action, Admission, admit};
use rules::queue::Priority;
use sqlx::PgConnection;
use uuid::Uuid;

use super::operation::{self, NewOperation};
use super::{order_key, store};
use crate::awaited;
use crate::payload::machine::MachineOperate;
use crate::queue::postgres::control::{self, Cancel};
use crate::queue::wake::Hint;
use crate::queue::{Enqueued, NewJob, Wake};
use crate::{Error, Result};

/// Something that somebody asks of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whose machine it is.
    pub tenant: TenantId,
    /// The machine.
    pub machine: MachineId,
    /// What shall be done.
    pub action: Action,
    /// Who asks.
    pub by: &'a str,
    /// Why, where nobody asked: a correction says what it corrects.
    pub reason: Option<&'a str>,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
}

/// What came of a [`Request`].
#[derive(Debug)]
#[must_use = "call `tell` after the commit, so that no worker waits for its poll"]
pub struct Requested {
    /// The operation. One that was superseded at once says by which.
    pub operation: OperationId,
    enqueued: Vec<Enqueued>,
    woken: Vec<i32>,
    stopping: bool,
}

impl Requested {
    /// Wakes whoever has something to do now. Call it after the commit.
    pub fn tell(&self, wake: &Wake) {
        wake.send(&self.enqueued);
        wake.pools(&self.woken);
        if self.stopping {
            wake.hint(Hint::Cancelled);
        }
    }
}

/// Asks something of a machine. Destroying overtakes what was asked before; the same thing twice in a row
/// is one, and the second operation says so.
///
/// # Errors
/// NotFound when the tenant has no such machine; Conflict when it is being destroyed, or must run for this.
pub async fn request(conn: &mut PgConnection, asked: &Request<'_>) -> Result<Requested> {
    let (held, pending) = store::hold(conn, asked.tenant, asked.machine).await?;
    let id = OperationId(Uuid::now_v7());
    let row = NewOperation {
        id,
        tenant: asked.tenant,
        machine: asked.machine,
        action: asked.action,
        by: asked.by,
        reason: asked.reason,
    };
    let instead_of = match admit(asked.action.name(), held.wanted, &pending, held.host_draining) {
        Admission::Refuse(refused) => return Err(Error::conflict(refused.to_string())),
        Admission::Join(other) => {
            operation::store::insert_superseded(conn, &row, held.generation, other).await?;
            return Ok(Requested { operation: id, enqueued: vec![], woken: vec![], stopping: false });
        }
        Admission::Queue { instead_of } => instead_of,
    };
    let mut woken = Vec::new();
    let mut stopping = false;
    let mut overtaken = Vec::new();
    for before in &instead_of {
        let superseded = operation::store::supersede(conn, *before, id).await?;
        operation::store::lose_sight(conn, *before).await?;
        overtaken.push(*before);
        let Some(job) = superseded else { continue };
        match control::withdraw(conn, job).await? {
            Cancel::Cancelled(pools) => woken.extend(pools),
            Cancel::Cancelling => stopping = true,
            Cancel::Ended => {}
        }
    }
    let wanted = asked.action.wants().unwrap_or(held.wanted);
    let urgent = !instead_of.is_empty();
    let mut job = NewJob::on_host(&MachineOperate { operation_id: id }, held.host_no)?;
    if asked.action.name().passes_drain() {
        job = job.queue(held.host_no.off_queue());
    }
    let job = job
        .tenant(asked.tenant)
        .ordered(order_key(asked.machine))
        .priority(if urgent { Priority::High } else { Priority::Medium })
        .trace(asked.trace_parent.map(ToOwned::to_owned));
    let mut enqueued = vec![store::ask(conn, &row, wanted, &job).await?];
    // Now that what took their place is there to be named.
    for before in overtaken {
        enqueued.extend(awaited::operation_ended(conn, before).await?);
    }
    Ok(Requested { operation: id, enqueued, woken, stopping })
}
