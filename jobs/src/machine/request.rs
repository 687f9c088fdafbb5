//! Asks something of a machine: wanted state, generation, operation and job, in the caller's transaction.

use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::{Action, Admission, admit};
use rules::queue::{HostNo, Priority};
use sqlx::PgConnection;
use uuid::Uuid;

use super::alone::{Asked, request as request_alone};
use super::operation::{self, NewOperation, Operation};
use super::store::{Held, Machine};
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
    /// It and its machine as they are now, where they need not be read anew for that.
    pub answer: Option<Box<(Operation, Machine)>>,
    pub(super) stirred: Stirred,
}

impl Requested {
    /// Wakes whoever has something to do now. Call it after the commit.
    pub fn tell(&self, wake: &Wake) {
        self.stirred.tell(wake);
    }
}

/// What has something to do now.
#[derive(Debug, Default)]
pub(super) struct Stirred {
    pub(super) enqueued: Vec<Enqueued>,
    pub(super) woken: Vec<i32>,
    pub(super) stopping: bool,
}

impl Stirred {
    /// Wakes it.
    pub(super) fn tell(&self, wake: &Wake) {
        wake.send(&self.enqueued);
        wake.pools(&self.woken);
        if self.stopping {
            wake.hint(Hint::Cancelled);
        }
    }

    /// Takes in what else has.
    pub(super) fn join(&mut self, other: Self) {
        self.enqueued.extend(other.enqueued);
        self.woken.extend(other.woken);
        self.stopping |= other.stopping;
    }
}

/// Asks something of a machine. Destroying overtakes what was asked before; the same thing twice in a row
/// is one, and the second operation says so.
///
/// # Errors
/// NotFound when the tenant has no such machine; Conflict when it is being destroyed, or must run for this.
pub async fn request(conn: &mut PgConnection, asked: &Request<'_>) -> Result<Requested> {
    let id = OperationId(Uuid::now_v7());
    let row = NewOperation {
        id,
        tenant: asked.tenant,
        machine: asked.machine,
        action: asked.action,
        by: asked.by,
        reason: asked.reason,
    };
    let (held, pending) = match request_alone(conn, &row, asked.trace_parent).await? {
        Asked::Entered { job, answer } => {
            let stirred = Stirred { enqueued: vec![job], ..Stirred::default() };
            return Ok(Requested { operation: id, answer: Some(answer), stirred });
        }
        Asked::Undecided(held, pending) => (held, pending),
    };
    let instead_of = match admit(asked.action.name(), held.wanted, &pending, held.host_draining) {
        Admission::Refuse(refused) => return Err(Error::conflict(refused.to_string())),
        Admission::Join(other) => {
            operation::store::insert_superseded(conn, &row, held.generation, other).await?;
            return Ok(Requested { operation: id, answer: None, stirred: Stirred::default() });
        }
        Admission::Queue { instead_of } => instead_of,
    };
    let stirred = enter(conn, &row, &held, &instead_of, asked.trace_parent).await?;
    Ok(Requested { operation: id, answer: None, stirred })
}

/// Enters an operation on a machine that is held, in the place of these.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn enter(
    conn: &mut PgConnection,
    row: &NewOperation<'_>,
    held: &Held,
    instead_of: &[OperationId],
    trace_parent: Option<&str>,
) -> Result<Stirred> {
    let mut stirred = Stirred::default();
    for before in instead_of {
        let superseded = operation::store::supersede(conn, *before, row.id).await?;
        operation::store::lose_sight(conn, *before).await?;
        let Some(job) = superseded else { continue };
        match control::withdraw(conn, job).await? {
            Cancel::Cancelled(pools) => stirred.woken.extend(pools),
            Cancel::Cancelling => stirred.stopping = true,
            Cancel::Ended => {}
        }
    }
    let urgency = if instead_of.is_empty() { Priority::Medium } else { Priority::High };
    let job = job(row, held.host_no, urgency, trace_parent)?;
    stirred.enqueued.push(store::ask(conn, row, held.shall_be(row.action), &job).await?);
    // Now that what took their place is there to be named.
    for before in instead_of {
        stirred.enqueued.extend(awaited::operation_ended(conn, *before).await?);
    }
    Ok(stirred)
}

/// The job of an operation.
///
/// # Errors
/// Internal when it cannot be written.
pub(super) fn job(
    row: &NewOperation<'_>,
    host: HostNo,
    urgency: Priority,
    trace_parent: Option<&str>,
) -> Result<NewJob> {
    let mut job = NewJob::on_host(&MachineOperate { operation_id: row.id }, host)?;
    if row.action.name().passes_drain() {
        job = job.queue(host.off_queue());
    }
    Ok(job
        .tenant(row.tenant)
        .ordered(order_key(row.machine))
        .priority(urgency)
        .trace(trace_parent.map(ToOwned::to_owned)))
}
