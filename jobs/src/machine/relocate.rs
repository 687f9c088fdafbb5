//! Puts a machine on another host, with the jobs that wait for it.

use rules::id::{HostId, MachineId, TenantId};
use rules::machine::{Action, HostState, OperationState, Reach, Seen, Whereabouts};
use sqlx::PgConnection;

use super::request::{Request, Requested, request};
use super::{listing, snapshot, store};
use crate::host::store as hosts;
use crate::queue::Wake;
use crate::{Error, Result};

/// A wish that a machine be on another host.
#[derive(Debug, Clone, Copy)]
pub struct Relocation<'a> {
    /// Whose machine it is.
    pub tenant: TenantId,
    /// The machine.
    pub machine: MachineId,
    /// The name of the host that shall carry it.
    pub host: &'a str,
    /// Whether whoever wishes it vouches that its present host has no power.
    pub vouched: bool,
    /// Who wishes it.
    pub by: &'a str,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
}

/// What came of a [`Relocation`].
#[derive(Debug)]
#[must_use = "call `tell` after the commit, so that no worker waits for its poll"]
pub struct Relocated {
    woken: Vec<i32>,
    asked: Option<Requested>,
}

impl Relocated {
    /// Wakes whoever has something to do now. Call it after the commit.
    pub fn tell(&self, wake: &Wake) {
        wake.pools(&self.woken);
        if let Some(asked) = &self.asked {
            asked.tell(wake);
        }
    }
}

/// Puts a machine on another host, and with it, in the same commit, the jobs that wait for it. Where none
/// waits, the new host is told of the machine, off. Its disks are not copied, and the snapshots that a lost
/// host kept are forgotten; those that wait to be taken are taken where the machine is then. On an error roll back.
///
/// # Errors
/// NotFound when the tenant has no such machine or there is no such host; Conflict while the machine may run
/// where it is, has snapshots there, or an operation is being performed on it, and when the other host is
/// drained or too small.
pub async fn relocate(conn: &mut PgConnection, wish: &Relocation<'_>) -> Result<Relocated> {
    let Relocation { tenant, machine, by, trace_parent, .. } = *wish;
    listing::store::may_come(conn, machine).await?;
    let (_, pending) = store::hold(conn, tenant, machine).await?;
    let known = store::get(conn, Some(tenant), machine).await?;
    if known.host == wish.host {
        return Ok(Relocated { woken: Vec::new(), asked: None });
    }
    let target = hosts::by_name(conn, wish.host).await?;
    if target.state() == HostState::Draining {
        return Err(Error::conflict(format!(
            "host `{}` is being drained; resume it or choose another",
            target.name
        )));
    }
    if let Some(reason) = target.refuses(&known.spec()?) {
        return Err(Error::conflict(format!("the machine does not fit on host `{}`: {reason}", target.name)));
    }
    let from = hosts::by_name(conn, &known.host).await?;
    let snapshots = snapshot::store::count(conn, machine).await?;
    let there = Whereabouts {
        seen: Seen::from_name(&known.seen).unwrap_or(Seen::Unknown),
        touched: known.seen_at.is_some(),
        begun: pending.iter().any(|operation| operation.state == OperationState::Running),
        snapshots: snapshots > 0,
        host_answers: from.held && Reach::from_name(&from.reach) == Some(Reach::Online),
        vouched: wish.vouched,
    };
    there.may_move().map_err(|stays| {
        Error::conflict(format!("machine `{}` stays on host `{}`: {stays}", known.name, from.name))
    })?;
    if wish.vouched {
        // They went with the host that somebody vouches has gone. Those that wait to be taken are none of its.
        snapshot::store::forget_taken(conn, machine).await?;
    }
    let woken = store::relocate(conn, tenant, machine, HostId(target.id)).await?;
    if !pending.is_empty() {
        return Ok(Relocated { woken, asked: None });
    }
    // Nothing that waits would tell the new host of it.
    let reason = format!("moved from host `{}`", from.name);
    let action = Action::Define;
    let asked = Request { tenant, machine, action, by, reason: Some(&reason), trace_parent };
    Ok(Relocated { woken, asked: Some(request(conn, &asked).await?) })
}
