//! Makes a machine: chooses its host, enters it, and asks for its creation.

use rules::id::{DepartmentId, HostId, MachineId, TenantId};
use rules::machine::{Action, HostState, Spec};
use sqlx::PgConnection;
use uuid::Uuid;

use super::request::{Request, Requested, request};
use super::store;
use crate::department::store as departments;
use crate::host::Host;
use crate::host::store as hosts;
use crate::{Code, Error, Listing, Result};

/// A machine that somebody wants.
#[derive(Debug, Clone)]
pub struct NewMachine<'a> {
    /// Whose it shall be.
    pub tenant: TenantId,
    /// The department that it shall belong to.
    pub department: Option<DepartmentId>,
    /// The name of the host that shall carry it; without one, that with the most memory to give.
    pub host: Option<&'a str>,
    /// What it is made of.
    pub spec: &'a Spec,
    /// Who wants it.
    pub by: &'a str,
    /// The W3C `traceparent` of what caused it.
    pub trace_parent: Option<&'a str>,
}

/// A thing that is named for a machine and is not there.
#[derive(Debug)]
pub enum Missing {
    /// The tenant has no such department.
    Department(Error),
    /// There is no such host.
    Host(Error),
}

/// Makes a machine.
///
/// # Errors
/// NotFound for an unknown host or department; Conflict when the name is taken, the host is drained or
/// too small, or no host will have the machine.
pub async fn create(conn: &mut PgConnection, new: &NewMachine<'_>) -> Result<(MachineId, Requested)> {
    let host = place(conn, new).await?;
    // Drawn here, so that it sorts by age.
    let id = MachineId(Uuid::now_v7());
    store::insert(conn, id, new.tenant, new.department, HostId(host.id), new.spec, new.by).await?;
    let asked = Request {
        tenant: new.tenant,
        machine: id,
        action: Action::Create,
        by: new.by,
        reason: None,
        trace_parent: new.trace_parent,
    };
    Ok((id, request(conn, &asked).await?))
}

/// What of a department and a host that somebody names for a machine is not there, each as [`create`] would say it:
/// together with what else is wrong it can be told at once.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn missing(
    conn: &mut PgConnection,
    tenant: TenantId,
    department: Option<DepartmentId>,
    host: Option<&str>,
) -> Result<Vec<Missing>> {
    let mut missing = Vec::new();
    if let Some(department) = department {
        missing.extend(absence(departments::get(conn, tenant, department).await)?.map(Missing::Department));
    }
    if let Some(host) = host {
        missing.extend(absence(hosts::by_name(conn, host).await)?.map(Missing::Host));
    }
    Ok(missing)
}

/// The error of a look that found nothing; none when it found something.
fn absence<T>(found: Result<T>) -> Result<Option<Error>> {
    match found {
        Ok(_) => Ok(None),
        Err(error) if error.code == Code::NotFound => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

async fn place(conn: &mut PgConnection, new: &NewMachine<'_>) -> Result<Host> {
    if let Some(name) = new.host {
        let host = hosts::by_name(conn, name).await?;
        if host.state() == HostState::Draining {
            return Err(Error::conflict(format!(
                "host `{name}` is being drained; resume it or choose another"
            )));
        }
        if let Some(reason) = host.refuses(new.spec) {
            return Err(Error::conflict(format!("the machine does not fit on host `{name}`: {reason}")));
        }
        return Ok(host);
    }
    let all = hosts::all(conn).await?;
    if all.is_empty() {
        return Err(Error::conflict(
            "there is no host that could carry a machine; whoever operates the installation starts a worker of the \
             pool `vm` for one",
        ));
    }
    let mut fitting: Vec<Host> =
        all.into_iter().filter(|h| h.state() == HostState::Online && h.refuses(new.spec).is_none()).collect();
    fitting.sort_by_key(|h| h.memory_mib.unwrap_or(0) - h.promised_mib);
    fitting.pop().ok_or_else(|| {
        Error::conflict("no host is online, takes new machines and is large enough for this one")
            .listed_in(Listing::Hosts)
    })
}
