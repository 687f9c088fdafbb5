//! Asks the same of many machines in the caller's transaction, of each for itself.

use std::collections::{HashMap, HashSet};

use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::{Action, Admission, admit};
use rules::queue::Priority;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::machine::operation::{self, NewOperation, Operation};
use crate::machine::request::{Stirred, enter, job};
use crate::machine::store::{Held, absent};
use crate::queue::Wake;
use crate::{Error, Result};

/// The most machines of which one call asks something.
pub const MAX_MACHINES: usize = 100;

/// The same that somebody asks of many machines.
#[derive(Debug, Clone, Copy)]
pub struct RequestEach<'a> {
    /// Whose machines they are.
    pub tenant: TenantId,
    /// The machines.
    pub machines: &'a [MachineId],
    /// What shall be done to each; nothing that concerns a snapshot, which is one machine's.
    pub action: Action,
    /// Who asks.
    pub by: &'a str,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
}

/// What came of a [`RequestEach`].
#[derive(Debug)]
#[must_use = "call `tell` after the commit, so that no worker waits for its poll"]
pub struct RequestedEach {
    /// Of each machine, in the order in which they were named: the operation, or why there is none.
    pub outcomes: Vec<Result<Operation>>,
    stirred: Stirred,
}

impl RequestedEach {
    /// Wakes whoever has something to do now. Call it after the commit.
    pub fn tell(&self, wake: &Wake) {
        self.stirred.tell(wake);
    }
}

/// Asks the same of machines, each as [`request`](crate::machine::request) would: one that is not there, or of which it
/// cannot be asked, says so, and holds up none of the others.
///
/// # Errors
/// Invalid for no machines, for more than [`MAX_MACHINES`], and for one that is named twice; then nothing is asked of any.
pub async fn request_each(conn: &mut PgConnection, asked: &RequestEach<'_>) -> Result<RequestedEach> {
    refuse_odd(asked)?;
    let mut all =
        Asking { asked: *asked, plain: Vec::new(), told: HashMap::new(), stirred: Stirred::default() };
    let mut joining = Vec::new();
    for (machine, held, pending) in store::hold(conn, asked.tenant, asked.machines).await? {
        let row = all.row(machine);
        match admit(asked.action.name(), held.wanted, &pending, held.host_draining) {
            Admission::Refuse(refused) => {
                all.told.insert(machine, Err(Error::conflict(refused.to_string())));
            }
            Admission::Join(other) => joining.push((row, held.generation, other)),
            Admission::Queue { instead_of } if instead_of.is_empty() => all.plain.push((row, held)),
            Admission::Queue { instead_of } => {
                // Those before it first: what takes many order keys takes them in ascending order.
                all.enter_plain(conn).await?;
                let stirred = enter(conn, &row, &held, &instead_of, asked.trace_parent).await?;
                all.stirred.join(stirred);
                let entered = operation::store::get(conn, Some(asked.tenant), row.id).await?;
                all.told.insert(machine, Ok(entered));
            }
        }
    }
    all.enter_plain(conn).await?;
    all.join(conn, &joining).await?;
    let Asking { mut told, stirred, .. } = all;
    let outcome = |id: &MachineId| told.remove(id).unwrap_or_else(|| Err(absent(*id)));
    Ok(RequestedEach { outcomes: asked.machines.iter().map(outcome).collect(), stirred })
}

fn refuse_odd(asked: &RequestEach<'_>) -> Result<()> {
    let count = asked.machines.len();
    if !(1..=MAX_MACHINES).contains(&count) {
        return Err(Error::invalid(format!(
            "{count} machines are named; between 1 and {MAX_MACHINES} may be at once"
        )));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = asked.machines.iter().find(|machine| !seen.insert(**machine)) {
        return Err(Error::invalid(format!("machine `{twice}` is named twice; name each once")));
    }
    if asked.action.snapshot().is_some() {
        return Err(Error::internal("a snapshot is asked of one machine"));
    }
    Ok(())
}

/// Machines that are asked, one after the other.
struct Asking<'a> {
    asked: RequestEach<'a>,
    /// What stands in nobody's place, and is entered together.
    plain: Vec<(NewOperation<'a>, Held)>,
    told: HashMap<MachineId, Result<Operation>>,
    stirred: Stirred,
}

impl<'a> Asking<'a> {
    fn row(&self, machine: MachineId) -> NewOperation<'a> {
        let RequestEach { tenant, action, by, .. } = self.asked;
        NewOperation { id: OperationId(Uuid::now_v7()), tenant, machine, action, by, reason: None }
    }

    async fn enter_plain(&mut self, conn: &mut PgConnection) -> Result<()> {
        let plain = std::mem::take(&mut self.plain);
        if plain.is_empty() {
            return Ok(());
        }
        let of = |(row, held): &(NewOperation<'_>, Held)| {
            job(row, held.host_no, Priority::Medium, self.asked.trace_parent)
        };
        let jobs = plain.iter().map(of).collect::<Result<Vec<_>>>()?;
        for ((row, _), entered) in plain.iter().zip(store::ask(conn, &plain, &jobs).await?) {
            let operation = row.entered(entered.generation, entered.job.id, entered.at);
            self.stirred.enqueued.push(entered.job);
            self.told.insert(row.machine, Ok(operation));
        }
        Ok(())
    }

    async fn join(
        &mut self,
        conn: &mut PgConnection,
        joining: &[(NewOperation<'_>, i64, OperationId)],
    ) -> Result<()> {
        if joining.is_empty() {
            return Ok(());
        }
        let at = store::join(conn, joining).await?;
        for (row, generation, other) in joining {
            self.told.insert(row.machine, Ok(row.joined(*generation, *other, at)));
        }
        Ok(())
    }
}
