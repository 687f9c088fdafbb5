//! The statement by which something is asked of one machine and answered.

use rules::id::JobId;
use rules::machine::{Pending, simply};
use rules::queue::{HostNo, Priority};
use sqlx::PgConnection;

use crate::machine::operation::{NewOperation, Operation};
use crate::machine::request::job;
use crate::machine::store::{Held, HeldRow, Machine, absent};
use crate::queue::Enqueued;
use crate::{Error, Result};

/// What came of asking.
#[derive(Debug)]
pub(in crate::machine) enum Asked {
    /// It is entered.
    Entered {
        /// Its job.
        job: Enqueued,
        /// The operation and its machine, as they are now.
        answer: Box<(Operation, Machine)>,
    },
    /// The machine is held, and nothing is entered: it has to be decided, from what it shall be and what waits for it.
    Undecided(Held, Vec<Pending>),
}

/// Holds a tenant's machine until the transaction ends, and enters an operation on it with its job, where
/// [`simply`] leaves nothing to decide.
///
/// # Errors
/// NotFound when the tenant has no such machine, or it is destroyed; Invalid for a job that cannot be kept; Unavailable
/// when nobody answers.
pub(in crate::machine) async fn request(
    conn: &mut PgConnection,
    new: &NewOperation<'_>,
    trace_parent: Option<&str>,
) -> Result<Asked> {
    let action = new.action.name();
    let simply = simply(action);
    let states: Vec<&str> = simply.wanted.iter().map(|wanted| wanted.as_str()).collect();
    let behind: Vec<&str> = simply.behind.iter().map(|before| before.as_str()).collect();
    // Which host it is turns out there, and with it the queue.
    let draft = job(new, HostNo::FIRST, Priority::Medium, trace_parent)?;
    let keyed = draft.keyed()?;
    let r = sqlx::query!(
        "select no, draining, wanted, generation, ids, actions, states, job_id, asked_at, department_id, host_id, host, name, spec, seen, seen_reason,
            seen_at, created_by, created_at
        from machine_request_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        new.id.0,
        new.tenant.0,
        new.machine.0,
        action.as_str(),
        new.action.snapshot().map(|s| s.0),
        new.action.wants().map(|wanted| wanted.as_str()),
        &states as &[&str],
        &behind as &[&str],
        new.by,
        new.reason,
        action.passes_drain(),
        keyed.kind,
        keyed.priority,
        keyed.max_attempts,
        keyed.order_key,
        keyed.trace_parent,
        keyed.payload
    )
    .fetch_one(conn)
    .await?;
    let no = r.no.ok_or_else(|| absent(new.machine))?;
    let odd = || Error::internal(format!("machine {} does not read back", new.machine));
    let Some(id) = r.job_id.map(JobId) else {
        let (draining, wanted, generation) = (r.draining, r.wanted, r.generation);
        let row =
            HeldRow { no, draining, wanted, generation, ids: r.ids, actions: r.actions, states: r.states };
        let (held, pending) = Held::read(row)?;
        return Ok(Asked::Undecided(held, pending));
    };
    let host = HostNo::new(no).ok_or_else(|| Error::internal("a host's number is out of range"))?;
    let job = job(new, host, Priority::Medium, trace_parent)?.keyed()?.enqueued(id);
    let generation = r.generation.ok_or_else(odd)?;
    let machine = Machine {
        id: new.machine.0,
        tenant_id: new.tenant.0,
        department_id: r.department_id,
        host_id: r.host_id.ok_or_else(odd)?,
        host: r.host.ok_or_else(odd)?,
        name: r.name.ok_or_else(odd)?,
        spec: r.spec.ok_or_else(odd)?,
        wanted: r.wanted.ok_or_else(odd)?,
        seen: r.seen.ok_or_else(odd)?,
        seen_reason: r.seen_reason,
        seen_at: r.seen_at,
        drift: None,
        generation,
        created_by: r.created_by.ok_or_else(odd)?,
        created_at: r.created_at.ok_or_else(odd)?,
        destroyed_at: None,
    };
    let operation = new.entered(generation, id, r.asked_at.ok_or_else(odd)?);
    Ok(Asked::Entered { job, answer: Box::new((operation, machine)) })
}
