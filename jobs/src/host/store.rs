//! Keeps hosts.

use chrono::{DateTime, Utc};
use rules::id::HostId;
use rules::machine::{Capacity, HostFacts, HostState, HostUri, Known, Name, Reach, Spec};
use rules::queue::HostNo;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::lease::Claim;
use crate::{Error, Listing, Result};

/// A host as people see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Its id.
    pub id: Uuid,
    /// Its number, from which those of its pools are made.
    pub no: i32,
    /// Its name.
    pub name: String,
    /// The address of its hypervisor.
    pub uri: String,
    /// What kind of hypervisor it is; none before one answered.
    pub hypervisor: Option<String>,
    /// Processors; none before its hypervisor answered.
    pub cpus: Option<i32>,
    /// Memory in MiB; none before its hypervisor answered.
    pub memory_mib: Option<i64>,
    /// How many operations run on it at once.
    pub vm_slots: i32,
    /// How many checks run on it at once.
    pub health_slots: i32,
    /// The name of the [`Reach`] that its holder reported last.
    pub reach: String,
    /// Why it is not online.
    pub reach_reason: Option<String>,
    /// By what its hypervisor says who it is; none before one said so.
    pub identity: Option<String>,
    /// By what the hypervisor says who it is that answers instead of its own; empty when it says nothing, none while
    /// nobody else answers.
    pub stranger: Option<String>,
    /// Since when it is drained.
    pub draining_at: Option<DateTime<Utc>>,
    /// Who drains it.
    pub draining_by: Option<String>,
    /// Whether a worker holds it now.
    pub held: bool,
    /// Which holding of it that is or was.
    pub epoch: i64,
    /// When its holder last reported.
    pub reported_at: Option<DateTime<Utc>>,
    /// When all of its machines were last compared with what is recorded.
    pub listed_at: Option<DateTime<Utc>>,
    /// Machines recorded on it.
    pub machines: i64,
    /// Memory in MiB of those machines.
    pub promised_mib: i64,
}

/// A host that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Its id.
    pub id: HostId,
    /// Its number.
    pub no: HostNo,
}

impl Host {
    /// The state that people are told.
    pub fn state(&self) -> HostState {
        HostState::of(&HostFacts {
            draining: self.draining_at.is_some(),
            held: self.held,
            reach: Reach::from_name(&self.reach).unwrap_or(Reach::Unreachable),
        })
    }

    /// Why it is not online, as far as anybody knows.
    pub fn reason(&self) -> Option<&str> {
        if self.held { self.reach_reason.as_deref() } else { Some("no worker holds it") }
    }

    /// Why a machine can never run here, or why nobody knows whether it can.
    pub fn refuses(&self, spec: &Spec) -> Option<String> {
        let (Some(cpus), Some(memory_mib)) = (self.cpus, self.memory_mib) else {
            return Some(
                "nobody knows what the host has, for no worker has reached its hypervisor yet; start its worker first, \
                 and see `millrace host list`"
                    .to_owned(),
            );
        };
        let cpus = u32::try_from(cpus).unwrap_or(0);
        let memory_mib = u64::try_from(memory_mib).unwrap_or(0);
        Capacity { cpus, memory_mib }.refuses(spec)
    }
}

/// Makes a host with its pools and queues, or finds the one of that name; one that was removed is back by it.
///
/// # Errors
/// Exhausted when there are no numbers left; Unavailable when nobody answers.
pub async fn register(
    conn: &mut PgConnection,
    name: &Name,
    uri: &HostUri,
    vm_slots: u32,
    health_slots: u32,
) -> Result<Registered> {
    let row = sqlx::query!(
        r#"select id as "id!", no as "no!" from host_register_v2($1, $2, $3, $4, $5)"#,
        Uuid::now_v7(),
        name.as_str(),
        uri.as_str(),
        i32::try_from(vm_slots).unwrap_or(i32::MAX),
        i32::try_from(health_slots).unwrap_or(i32::MAX),
    )
    .fetch_one(conn)
    .await?;
    let no = HostNo::new(row.no).ok_or_else(|| Error::exhausted("there are no numbers left for hosts"))?;
    Ok(Registered { id: HostId(row.id), no })
}

/// What the worker that took a host says of it.
#[derive(Debug, Clone)]
pub struct Taken<'a> {
    /// The address by which it reaches the hypervisor.
    pub uri: &'a HostUri,
    /// How many operations it runs at once.
    pub vm_slots: u32,
    /// How many checks it runs at once.
    pub health_slots: u32,
    /// The kind of hypervisor, once it answered.
    pub hypervisor: Option<&'a str>,
    /// What the host has, once its hypervisor answered.
    pub capacity: Option<Capacity>,
    /// By what another hypervisor says who it is that answers instead; empty when it says nothing.
    pub stranger: Option<&'a str>,
    /// How the hypervisor answers.
    pub reach: Reach,
    /// Why it is not online.
    pub reason: Option<&'a str>,
}

/// Writes what a host's holder reports. False when the lease is another's, a later holder has reported, or the host
/// was removed.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn report(conn: &mut PgConnection, host: HostId, claim: &Claim, taken: &Taken<'_>) -> Result<bool> {
    let done = sqlx::query!(
        "update host set uri = $4, vm_slots = $5, health_slots = $6, hypervisor = coalesce($7, hypervisor),
            cpus = coalesce($8, cpus), memory_mib = coalesce($9, memory_mib), reach = $10, reach_reason = $11,
            stranger = $12,
            reach_since = case when reach = $10 then coalesce(reach_since, now()) else now() end,
            epoch = $3, reported_at = now()
        where id = $1 and removed_at is null and epoch <= $3 and exists (
            select from lease l where l.name = 'host:' || $1::text and l.holder = $2 and l.epoch = $3 and l.lease_until > clock_timestamp())",
        host.0,
        claim.holder,
        claim.epoch,
        taken.uri.as_str(),
        i32::try_from(taken.vm_slots).unwrap_or(i32::MAX),
        i32::try_from(taken.health_slots).unwrap_or(i32::MAX),
        taken.hypervisor,
        taken.capacity.map(|c| i32::try_from(c.cpus).unwrap_or(i32::MAX)),
        taken.capacity.map(|c| i64::try_from(c.memory_mib).unwrap_or(i64::MAX)),
        taken.reach.as_str(),
        taken.reason,
        taken.stranger,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What is recorded of who a host's hypervisor is, and which other host is recorded with the identity that answers.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn known(conn: &mut PgConnection, host: HostId, answers: Option<&str>) -> Result<Known> {
    let row = sqlx::query_as!(
        Known,
        r#"select h.identity, (select o.name from host o where o.identity = $2 and o.id <> h.id and o.removed_at is null limit 1) as other
        from host h where h.id = $1"#,
        host.0,
        answers
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.unwrap_or_default())
}

/// Binds a host that is bound to no hypervisor yet to the one that answers, on behalf of its holder. Whether it was is
/// told by [`known`] afterwards: another host may have been faster, or the lease be another's.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn bind_first(conn: &mut PgConnection, host: HostId, claim: &Claim, answers: &str) -> Result<()> {
    sqlx::query_scalar!(
        "select host_bind_v1($1, $4, false) from lease l
        where l.name = 'host:' || $1::uuid::text and l.holder = $2 and l.epoch = $3 and l.lease_until > clock_timestamp()",
        host.0,
        claim.holder,
        claim.epoch,
        answers
    )
    .fetch_optional(conn)
    .await?;
    Ok(())
}

/// Takes the hypervisor that answers instead of a host's own for its own from now on, if it is the one that says by
/// `identity` who it is; empty for one that says nothing.
///
/// # Errors
/// NotFound when there is no such host; Conflict when no worker holds it and so nobody knows who answers now, when no other
/// hypervisor answers, or another than that, or when it is another host's own.
pub async fn accept(conn: &mut PgConnection, name: &str, identity: &str) -> Result<()> {
    let host = by_name(conn, name).await?;
    if !host.held {
        return Err(Error::conflict(format!(
            "no worker holds host `{name}`, so nobody knows who answers there now; start its worker with the new address \
             first, and look at `millrace host show {name}`"
        )));
    }
    let Some(stranger) = host.stranger else {
        return Err(Error::conflict(format!(
            "no other hypervisor answers for host `{name}` than its own; start its worker with the new address first, \
             and look at `millrace host show {name}`"
        )));
    };
    let called = rules::machine::called;
    if stranger != identity {
        return Err(Error::conflict(format!(
            "{} answers for host `{name}`, and not {}; look at `millrace host show {name}`, and accept the one that \
             answers if it is the right one",
            called(Some(&stranger)),
            called(Some(identity))
        )));
    }
    match bind_anew(conn, host.id, identity).await? {
        None => Ok(()),
        Some(other) => Err(Error::conflict(format!(
            "the hypervisor that answers for host `{name}` ({}) is the one of host `{other}`, and one \
             hypervisor is one host's; {}",
            called(Some(&stranger)),
            rules::machine::free_it(&other)
        ))),
    }
}

/// Writes by what a host's hypervisor says who it is; empty is written as nothing, so that the next that answers is
/// taken for its own. Returns the other host whose own it is, where it is; nothing is written then.
async fn bind_anew(conn: &mut PgConnection, host: Uuid, identity: &str) -> Result<Option<String>> {
    Ok(sqlx::query_scalar!("select host_bind_v1($1, $2, true)", host, identity).fetch_one(conn).await?)
}

/// Every host, by name.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn all(conn: &mut PgConnection) -> Result<Vec<Host>> {
    let rows = sqlx::query_as!(
        Host,
        r#"select h.id, h.no, h.name, h.uri, h.hypervisor, h.cpus, h.memory_mib, h.vm_slots, h.health_slots, h.reach, h.reach_reason,
            h.identity, h.stranger, h.draining_at, h.draining_by, coalesce(l.lease_until > now(), false) as "held!", coalesce(l.epoch, 0) as "epoch!", h.reported_at, h.listed_at,
            load.machines as "machines!", load.promised_mib as "promised_mib!"
        from host h left join lease l on l.name = 'host:' || h.id::text cross join host_load_v1(h.id) load
        where h.removed_at is null order by h.name"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The host of that name.
///
/// # Errors
/// NotFound when there is none.
pub async fn by_name(conn: &mut PgConnection, name: &str) -> Result<Host> {
    let found = all(conn).await?.into_iter().find(|h| h.name == name);
    found.ok_or_else(|| absent(name))
}

fn absent(name: &str) -> Error {
    Error::not_found(format!("there is no host `{name}`")).listed_in(Listing::Hosts)
}

/// Lets nothing more be started on a host, or lets it go on: the queue of its operations is paused or resumed with
/// it, that of what passes a drain is not. Draining again changes nothing. After a resume give [`Hint::Resumed`](crate::queue::wake::Hint) after the commit.
///
/// # Errors
/// NotFound when there is no such host.
pub async fn drain(conn: &mut PgConnection, name: &str, draining: bool, by: &str) -> Result<()> {
    let no = sqlx::query_scalar!(
        "update host set draining_at = case when $2 then coalesce(draining_at, now()) end,
            draining_by = case when $2 then coalesce(draining_by, $3) end
        where name = $1 and removed_at is null returning no",
        name,
        draining,
        by
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| absent(name))?;
    pause_operations(conn, no, draining, by).await
}

/// Pauses or resumes the queue of a host's operations. Its checks and listings go on: they begin nothing.
async fn pause_operations(conn: &mut PgConnection, no: i32, pause: bool, by: &str) -> Result<()> {
    let queue = HostNo::new(no).map(|no| no.pool(rules::queue::Class::Vm).id());
    sqlx::query!(
        "update job_queue set paused_at = case when $2 then coalesce(paused_at, now()) end,
            paused_by = case when $2 then coalesce(paused_by, $3) end
        where id = $1",
        queue,
        pause,
        by
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many machines are named of a host that cannot be removed for them.
const NAMED: i32 = 20;

/// Removes a host that carries no machine and that no worker serves. Its row stays for what names it, and a worker
/// that registers one of its name brings it back.
///
/// # Errors
/// NotFound when there is no such host; Conflict while machines live there, which are named, a worker serves it, or
/// operations wait or are under way in its queues.
pub async fn remove(conn: &mut PgConnection, name: &str, by: &str) -> Result<()> {
    let row = sqlx::query!(
        r#"select became as "became!", machines, counted from host_remove_v1($1, $2, $3)"#,
        name,
        by,
        NAMED
    )
    .fetch_one(conn)
    .await?;
    let counted = row.counted.unwrap_or(0);
    match row.became.as_str() {
        "removed" => Ok(()),
        "inhabited" => {
            let named = row.machines.unwrap_or_default();
            let more = counted - named.len() as i64;
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Error::conflict(format!(
                "host `{name}` carries {counted} machine(s): {}{rest}; move or destroy them first",
                named.join(", ")
            )))
        }
        "held" => Err(Error::conflict(format!(
            "a worker serves host `{name}`; stop it first, and every other that stands by"
        ))),
        "busy" => Err(Error::conflict(format!(
            "{counted} job(s) wait or run in the queues of host `{name}`; wait for their end, or cancel them: \
             `millrace job list` names them"
        ))),
        _ => Err(absent(name)),
    }
}

/// Notes that every machine of a host was compared with what is recorded.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn listed(conn: &mut PgConnection, host: HostId) -> Result<()> {
    sqlx::query!("update host set listed_at = now() where id = $1", host.0).execute(conn).await?;
    Ok(())
}
