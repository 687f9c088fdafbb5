//! Takes, lists, goes back to and deletes snapshots. Runs where it may block.

use chrono::DateTime;
use quick_xml::Writer;
use quick_xml::events::BytesText;
use rules::id::{MachineId, SnapshotId};
use rules::machine::Seen;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::domain::{known, leave_mark, observe};
use super::domain_read::snapshot_in;
use super::error::{is, mapped};
use crate::hypervisor::act::{Act, Decision, is_stale};
use crate::hypervisor::definition::{snapshot_name, snapshot_of};
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::error::{Fault, HypervisorError};
use crate::hypervisor::seen::{Mark, Observed, Snapshot};

/// The snapshots of a machine.
pub(super) fn list(connect: &Connect, machine: MachineId) -> Outcome<Vec<Snapshot>> {
    let failed = |error: Error| mapped("list snapshots", &error).of(machine);
    let domain = known(connect, "list snapshots", machine)?;
    let mut found = Vec::new();
    for snapshot in domain.list_all_snapshots(0).map_err(failed)? {
        match describe(&snapshot) {
            Ok(snapshot) => found.push(snapshot),
            // It went while the list was read.
            Err(error) if is(&error, ErrorNumber::NoDomainSnapshot) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort_by(|a, b| a.host_name.cmp(&b.host_name));
    Ok(found)
}

/// Takes the snapshot, or finds it.
pub(super) fn take(
    connect: &Connect,
    machine: MachineId,
    snapshot: SnapshotId,
    mark: Mark,
) -> Outcome<Snapshot> {
    let act = "take snapshot";
    let failed = |error: Error| mapped(act, &error).of(machine);
    let (domain, seen) = open(connect, act, machine, mark)?;
    let name = snapshot_name(snapshot);
    let there = match find(&domain, &name).map_err(failed)? {
        Some(there) => there,
        None => {
            let xml = snapshot_xml(&name)
                .map_err(|e| HypervisorError::new(Fault::Other, act).of(machine).because(e.to_string()))?;
            match domain.create_snapshot_xml(&xml, 0) {
                Ok(taken) => taken,
                // What counts is whether it is there now.
                Err(error) => find(&domain, &name).map_err(failed)?.ok_or_else(|| failed(error))?,
            }
        }
    };
    let described = describe(&there).map_err(failed)?;
    let seen = Observed { mark: None, ..observe(&domain).unwrap_or(seen) };
    leave_mark(&domain, act, machine, seen, mark)?;
    Ok(described)
}

/// Brings the machine back to the snapshot.
pub(super) fn revert(
    connect: &Connect,
    machine: MachineId,
    snapshot: SnapshotId,
    mark: Mark,
) -> Outcome<Observed> {
    let act = "revert";
    let failed = |error: Error| mapped(act, &error).of(machine);
    let domain = known(connect, act, machine)?;
    let before = observe(&domain).map_err(failed)?;
    if Act::Revert.decide(machine, &before, mark)? == Decision::Reached {
        return Ok(before);
    }
    let there = find(&domain, &snapshot_name(snapshot)).map_err(failed)?.ok_or_else(|| {
        HypervisorError::new(Fault::NoThing, act).of(machine).because(format!("snapshot `{snapshot}`"))
    })?;
    match there.revert(0) {
        Ok(()) => {}
        // The machine has been defined differently since: its program must be started anew, which is what
        // going back means anyway.
        Err(error) if is(&error, ErrorNumber::SnapshotRevertRisky) => {
            there.revert(sys::VIR_DOMAIN_SNAPSHOT_REVERT_FORCE).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    // The mark that it carries now is the one of the day on which the snapshot was taken.
    let after = observe(&domain).map_err(failed)?;
    leave_mark(&domain, act, machine, after, mark)
}

/// Deletes the snapshot, if it is there.
pub(super) fn delete(connect: &Connect, machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Outcome<()> {
    let act = "delete snapshot";
    let failed = |error: Error| mapped(act, &error).of(machine);
    let (domain, seen) = open(connect, act, machine, mark)?;
    if let Some(there) = find(&domain, &snapshot_name(snapshot)).map_err(failed)?
        && let Err(error) = there.delete(0)
        && find(&domain, &snapshot_name(snapshot)).map_err(failed)?.is_some()
    {
        return Err(failed(error));
    }
    leave_mark(&domain, act, machine, seen, mark).map(drop)
}

/// The machine's domain, if no later order has been carried out on it.
fn open(connect: &Connect, act: &'static str, machine: MachineId, mark: Mark) -> Outcome<(Domain, Observed)> {
    let domain = known(connect, act, machine)?;
    let seen = observe(&domain).map_err(|error| mapped(act, &error).of(machine))?;
    if seen.state == Seen::Absent {
        return Err(HypervisorError::new(Fault::NoMachine, act).of(machine));
    }
    if is_stale(&seen, mark) {
        return Err(HypervisorError::new(Fault::Stale, act).of(machine));
    }
    Ok((domain, seen))
}

fn find(domain: &Domain, name: &str) -> Result<Option<DomainSnapshot>, Error> {
    match Domain::lookup_snapshot_by_name(domain, name, 0) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) if is(&error, ErrorNumber::NoDomainSnapshot) => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(snapshot: &DomainSnapshot) -> Result<Snapshot, Error> {
    let host_name = snapshot.name()?;
    let text = snapshot_in(&snapshot.xml_desc(0)?);
    Ok(Snapshot {
        id: snapshot_of(&host_name),
        host_name,
        taken_at: DateTime::from_timestamp(text.taken_at, 0).unwrap_or_default(),
        state: text.state,
        parent: text.parent,
        is_current: snapshot.is_current(0)?,
    })
}

fn snapshot_xml(name: &str) -> std::io::Result<String> {
    let mut writer = Writer::new(Vec::new());
    writer.create_element("domainsnapshot").write_inner_content(|w| {
        w.create_element("name").write_text_content(BytesText::new(name)).map(drop)
    })?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}
