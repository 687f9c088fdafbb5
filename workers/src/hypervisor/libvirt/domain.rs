//! Looks at machines and acts on them: look, decide, act, look again. Runs where it may block.

use rules::id::MachineId;
use rules::machine::Seen;
use virt::connect::Connect;
use virt::domain::{
    Domain, DomainCrashedReason, DomainPausedReason, DomainRunningReason, DomainShutoffReason, DomainState,
    DomainStateReason,
};
use virt::enumutil::Enum;
use virt::error::{Error, ErrorNumber};
use virt_sys as sys;

use super::domain_read::mark_in;
use super::domain_xml::{MARK_NAMESPACE, MARK_PREFIX, Platform, domain_xml, mark_xml};
use super::error::{is, mapped};
use crate::hypervisor::act::{Act, Decision, is_stale};
use crate::hypervisor::definition::Definition;
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::error::{Class, Fault, HypervisorError};
use crate::hypervisor::seen::{Listed, Mark, Observed, Reason, is_active};

/// The machine's domain; none if the host does not know it.
pub(super) fn find(connect: &Connect, act: &'static str, machine: MachineId) -> Outcome<Option<Domain>> {
    match connect.lookup_domain_by_uuid(machine.0) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if is(&error, ErrorNumber::NoDomain) => Ok(None),
        Err(error) => Err(mapped(act, &error).of(machine)),
    }
}

/// The machine's domain, which must be there.
pub(super) fn known(connect: &Connect, act: &'static str, machine: MachineId) -> Outcome<Domain> {
    find(connect, act, machine)?.ok_or_else(|| HypervisorError::new(Fault::NoMachine, act).of(machine))
}

/// What is seen of the machine.
pub(super) fn look(connect: &Connect, machine: MachineId) -> Outcome<Observed> {
    match find(connect, "look", machine)? {
        Some(domain) => observe(&domain).map_err(|error| mapped("look", &error).of(machine)),
        None => Ok(Observed::ABSENT),
    }
}

/// All machines of the host.
pub(super) fn list(connect: &Connect) -> Outcome<Vec<Listed>> {
    let failed = |error: Error| mapped("list", &error);
    let mut listed = Vec::new();
    for domain in connect.list_all_domains(0).map_err(failed)? {
        let line = || -> Result<Listed, Error> {
            let machine = MachineId(domain.uuid()?);
            Ok(Listed { machine, host_name: domain.name()?, observed: observe(&domain)? })
        };
        match line() {
            Ok(line) => listed.push(line),
            // It went while the list was read.
            Err(error) if is(&error, ErrorNumber::NoDomain) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(listed)
}

/// What is seen of this domain; absent if it went meanwhile.
pub(super) fn observe(domain: &Domain) -> Result<Observed, Error> {
    let (state, reason) = match domain.state()? {
        // The wrapper does not look whether the call failed, and then reads a state of -1.
        (Enum::Unknown(raw), _) if raw == sys::virDomainState::MAX => {
            let error = Error::last_error();
            if is(&error, ErrorNumber::NoDomain) {
                return Ok(Observed::ABSENT);
            }
            return Err(error);
        }
        (Enum::Unknown(_), _) => (Seen::Unknown, Reason::Unknown),
        (Enum::Known(state), reason) => state_of(state, reason),
    };
    match domain.metadata(ELEMENT, Some(MARK_NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT) {
        Ok(xml) => Ok(Observed { state, reason, mark: mark_in(&xml) }),
        Err(error) if is(&error, ErrorNumber::NoDomainMetadata) => Ok(Observed { state, reason, mark: None }),
        Err(error) if is(&error, ErrorNumber::NoDomain) => Ok(Observed::ABSENT),
        Err(error) => Err(error),
    }
}

const ELEMENT: i32 = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;

fn state_of(state: DomainState, reason: Enum<DomainStateReason, i32>) -> (Seen, Reason) {
    let why = reason_of(reason);
    let seen = match state {
        DomainState::NoState => Seen::Unknown,
        DomainState::Running => Seen::Running,
        DomainState::Blocked => Seen::Blocked,
        DomainState::Paused => Seen::Paused,
        DomainState::Shutdown => Seen::ShuttingDown,
        DomainState::Shutoff if matches!(why, Reason::Crashed | Reason::Failed) => Seen::Crashed,
        DomainState::Shutoff => Seen::Off,
        // Kept after its guest panicked, which no definition of ours asks for; an act clears it away first.
        DomainState::Crashed => Seen::Crashed,
        DomainState::PMSuspended => Seen::Sleeping,
    };
    (seen, why)
}

fn reason_of(reason: Enum<DomainStateReason, i32>) -> Reason {
    let Enum::Known(reason) = reason else { return Reason::Unknown };
    match reason {
        DomainStateReason::Running(Enum::Known(reason)) => match reason {
            DomainRunningReason::Booted => Reason::Booted,
            DomainRunningReason::Migrated | DomainRunningReason::PostCopy => Reason::MigratedIn,
            DomainRunningReason::FromSnapshot => Reason::Reverted,
            DomainRunningReason::Unpaused | DomainRunningReason::Wakeup => Reason::Resumed,
            _ => Reason::Unknown,
        },
        DomainStateReason::Paused(Enum::Known(reason)) => match reason {
            DomainPausedReason::User => Reason::Suspended,
            DomainPausedReason::IOError => Reason::DiskError,
            DomainPausedReason::FromSnapshot => Reason::Reverted,
            DomainPausedReason::Crashed => Reason::Crashed,
            _ => Reason::Unknown,
        },
        DomainStateReason::Shutoff(Enum::Known(reason)) => match reason {
            DomainShutoffReason::Shutdown => Reason::ShutDown,
            DomainShutoffReason::Destroyed => Reason::ForcedOff,
            DomainShutoffReason::Crashed => Reason::Crashed,
            DomainShutoffReason::Migrated => Reason::MigratedOut,
            DomainShutoffReason::Failed => Reason::Failed,
            DomainShutoffReason::FromSnapshot => Reason::Reverted,
            DomainShutoffReason::Daemon => Reason::Restarted,
            _ => Reason::Unknown,
        },
        DomainStateReason::Crashed(Enum::Known(DomainCrashedReason::Panicked)) => Reason::Crashed,
        DomainStateReason::PMSuspended(_) => Reason::Asleep,
        _ => Reason::Unknown,
    }
}

/// Makes the machine known, or replaces its definition.
pub(super) fn define(
    connect: &Connect,
    definition: &Definition,
    platform: Platform,
    mark: Mark,
) -> Outcome<Observed> {
    let (act, machine) = ("define", definition.machine);
    let failed = |error: Error| mapped(act, &error).of(machine);
    definition.check()?;
    definition.fits(connect.node_info().map_err(failed)?.memory / 1_024)?;
    let before = look(connect, machine)?;
    if before.state != Seen::Absent && is_stale(&before, mark) {
        return Err(HypervisorError::new(Fault::Stale, act).of(machine));
    }
    let xml = domain_xml(definition, platform, mark)
        .map_err(|error| HypervisorError::new(Fault::Refused, act).of(machine).because(error.to_string()))?;
    // With our own id inside, defining again replaces.
    let domain = connect.define_domain_xml(&xml).map_err(|error| {
        let holder = connect.lookup_domain_by_name(&Definition::host_name(machine));
        let is_taken = holder.is_ok_and(|holder| holder.uuid().is_ok_and(|id| id != machine.0));
        let error = failed(error);
        if is_taken { HypervisorError { fault: Fault::Taken, ..error } } else { error }
    })?;
    let seen = observe(&domain).map_err(failed)?;
    leave_mark(&domain, act, machine, seen, mark)
}

/// Acts on the machine as a whole, and judges by what is seen afterwards.
pub(super) fn perform(
    connect: &Connect,
    act: Act,
    machine: MachineId,
    mark: Mark,
    platform: Platform,
) -> Outcome<Observed> {
    let failed = |error: Error| mapped(act.as_str(), &error).of(machine);
    let domain = find(connect, act.as_str(), machine)?;
    let before = match &domain {
        Some(domain) => observe(domain).map_err(failed)?,
        None => Observed::ABSENT,
    };
    let decision = act.decide(machine, &before, mark)?;
    let Some(domain) = domain else { return Ok(before) };
    let mut after = before;
    if decision == Decision::Do {
        let called = call(&domain, act, before, platform);
        after = observe(&domain).map_err(failed)?;
        // An error says nothing against a state that is reached: hosts disagree on calls that are repeated.
        if let Err(error) = called
            && (act.judge(machine, after).is_err() || after == before)
        {
            return Err(failed(error));
        }
        after = act.judge(machine, after)?;
    }
    let marked = leave_mark(&domain, act.as_str(), machine, after, mark);
    if decision == Decision::Do { marked.map_err(after_all) } else { marked }
}

/// That the mark could not be left says nothing of the act before it, which was done: whoever asked has to look again.
fn after_all(error: HypervisorError) -> HypervisorError {
    if error.class() == Class::HostLost { error } else { HypervisorError { fault: Fault::Other, ..error } }
}

fn call(domain: &Domain, act: Act, before: Observed, platform: Platform) -> Result<(), Error> {
    // What is left of a guest that panicked holds its memory until it is cleared away.
    if before.state == Seen::Crashed && domain.is_active()? {
        domain.destroy()?;
    }
    match act {
        Act::Start => domain.create(),
        Act::ShutDown => domain.shutdown(),
        Act::ForceOff => domain.destroy(),
        Act::Suspend => domain.suspend(),
        Act::Resume if before.state == Seen::Sleeping => domain.pm_wakeup(0),
        Act::Resume => domain.resume(),
        Act::Reboot => domain.reboot(sys::VIR_DOMAIN_REBOOT_DEFAULT),
        Act::Reset => domain.reset(),
        Act::Undefine => domain.undefine_flags(match platform {
            Platform::Test => UNDEFINE,
            Platform::Qemu | Platform::Kvm => {
                UNDEFINE | sys::VIR_DOMAIN_UNDEFINE_NVRAM | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            }
        }),
        // Done where the snapshot is known, and by the mark that follows.
        Act::Revert | Act::Mark => Ok(()),
    }
}

/// Everything that libvirt itself keeps of a machine. Without it, one with snapshots would be refused.
const UNDEFINE: sys::virDomainUndefineFlagsValues =
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;

/// Writes the mark on the machine, if it is there and does not carry it yet.
pub(super) fn leave_mark(
    domain: &Domain,
    act: &'static str,
    machine: MachineId,
    seen: Observed,
    mark: Mark,
) -> Outcome<Observed> {
    if seen.state == Seen::Absent || seen.mark == Some(mark) {
        return Ok(seen);
    }
    let failed = |error: &Error| mapped(act, error).of(machine);
    // A call that took its time must not write over what a later one has left since.
    let now = observe(domain).map_err(|error| failed(&error))?;
    if now.state == Seen::Absent {
        return Ok(now);
    }
    if is_stale(&now, mark) {
        return Err(HypervisorError::new(Fault::Stale, act).of(machine));
    }
    let xml = mark_xml(mark)
        .map_err(|error| HypervisorError::new(Fault::Other, act).of(machine).because(error.to_string()))?;
    let write =
        |flags| domain.set_metadata(ELEMENT, Some(&xml), Some(MARK_PREFIX), Some(MARK_NAMESPACE), flags);
    let kept = sys::VIR_DOMAIN_AFFECT_CONFIG;
    let both = kept | sys::VIR_DOMAIN_AFFECT_LIVE;
    let written = if is_active(seen.state) { write(both) } else { write(kept) };
    match written {
        Ok(()) => {}
        Err(error) if is(&error, ErrorNumber::NoDomain) => return Ok(Observed::ABSENT),
        // It went off, or on, between the look and the mark.
        Err(_) => {
            write(if domain.is_active().unwrap_or(false) { both } else { kept }).map_err(|e| failed(&e))?
        }
    }
    Ok(Observed { mark: Some(mark), ..seen })
}

#[cfg(test)]
mod tests {
    use rules::id::OperationId;
    use uuid::Uuid;

    use super::*;
    use crate::hypervisor::definition::Boot;

    #[test]
    fn an_older_mark_is_not_written_over_a_newer_one() {
        super::super::event_loop::start().unwrap();
        let connect = Connect::open(Some("test:///default")).unwrap();
        let machine = MachineId(Uuid::new_v4());
        let mark = |generation| Mark { operation: OperationId(Uuid::new_v4()), generation };
        let definition = Definition {
            machine,
            name: "marked".to_owned(),
            cpus: 1,
            memory_mib: 64,
            boot: Boot::Disk,
            disks: Vec::new(),
            links: Vec::new(),
        };
        let seen = define(&connect, &definition, Platform::Test, mark(1)).unwrap();
        let newer = mark(5);
        perform(&connect, Act::Start, machine, newer, Platform::Test).unwrap();
        // What a call of generation 2 saw before that.
        let domain = find(&connect, "look", machine).unwrap().unwrap();
        let error = leave_mark(&domain, "suspend", machine, seen, mark(2)).unwrap_err();
        assert_eq!(error.fault, Fault::Stale);
        assert_eq!(look(&connect, machine).unwrap().mark, Some(newer));
    }
}
