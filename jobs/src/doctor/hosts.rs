//! Examines the hosts: on which of them nothing is done, and why.

use rules::queue::{Class, HostDown, Standing, Trouble};

use super::finding::{Check, Finding};
use crate::host::Host;

/// The most hosts that one finding names.
const NAMED: usize = 5;

/// What there is to tell of the hosts: one finding for each kind of trouble, or that there is none.
pub(super) fn hosts(all: &[Host]) -> Vec<Finding> {
    let of = |trouble| all.iter().filter(move |host| trouble_of(host) == Some(trouble)).collect::<Vec<_>>();
    let found: Vec<Finding> =
        [Trouble::Stranger, Trouble::Unreachable, Trouble::Degraded, Trouble::NotHeld, Trouble::Draining]
            .into_iter()
            .map(|trouble| (trouble, of(trouble)))
            .filter(|(_, hosts)| !hosts.is_empty())
            .filter_map(|(trouble, hosts)| told(trouble, &hosts))
            .collect();
    match (found.is_empty(), all.len()) {
        (false, _) => found,
        (true, 0) => vec![Finding::good(Check::Hosts, "there are none")],
        (true, count) => vec![Finding::good(Check::Hosts, format!("{count} known, and none is missed"))],
    }
}

/// What is the matter with a host. That somebody drains one is none, and that no worker serves it then is meant so.
fn trouble_of(host: &Host) -> Option<Trouble> {
    let standing = Standing {
        host: host.name.clone(),
        class: Class::Health,
        draining_at: host.draining_at,
        held: host.held,
        left_at: None,
        stranger: host.stranger.is_some(),
        reach: rules::machine::Reach::from_name(&host.reach).unwrap_or(rules::machine::Reach::Unreachable),
        reach_since: None,
    };
    let trouble = HostDown::of(&standing)?.trouble;
    (trouble != Trouble::NotHeld || host.draining_at.is_none()).then_some(trouble)
}

fn told(trouble: Trouble, hosts: &[&Host]) -> Option<Finding> {
    let check = Check::Hosts;
    let names = names(hosts);
    let why = hosts.first().and_then(|host| host.reason()).unwrap_or_default();
    Some(match trouble {
        Trouble::Stranger => Finding::bad(
            check,
            format!("nothing is done on {names}, where another hypervisor answers: {why}"),
            "start its worker with the address of its own hypervisor; `millrace host show NAME` tells who answers, \
             and `millrace host accept NAME --identity ID` takes that one for its own",
        ),
        Trouble::Unreachable => Finding::bad(
            check,
            format!("the worker of {names} cannot reach the hypervisor: {why}"),
            "look at libvirt's daemon there, at the address and at the rights of the worker's user; what waits is \
             kept, and goes on by itself",
        ),
        Trouble::Degraded => Finding::warning(
            check,
            format!("the hypervisor of {names} does not answer in time: {why}"),
            "look at libvirt's daemon there; what waits is kept, and goes on by itself",
        ),
        Trouble::NotHeld => Finding::warning(
            check,
            format!("no worker serves {names}; what is asked of its machines waits"),
            "start `millrace worker --pools vm --host NAME --libvirt-uri URI`, or `millrace host remove NAME` where \
             it is gone for ever",
        ),
        Trouble::Draining => return None,
    })
}

/// The names of the first of them, and how many more there are.
fn names(hosts: &[&Host]) -> String {
    let named: Vec<String> = hosts.iter().take(NAMED).map(|host| format!("`{}`", host.name)).collect();
    let rest = match hosts.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if hosts.len() == 1 { "host" } else { "hosts" };
    format!("{word} {}{rest}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn host(name: &str) -> Host {
        Host {
            id: uuid::Uuid::nil(),
            no: 1,
            name: name.to_owned(),
            uri: "test:///default".to_owned(),
            hypervisor: None,
            cpus: None,
            memory_mib: None,
            vm_slots: 1,
            health_slots: 1,
            reach: "ONLINE".to_owned(),
            reach_reason: None,
            identity: None,
            stranger: None,
            draining_at: None,
            draining_by: None,
            held: true,
            epoch: 1,
            reported_at: None,
            listed_at: None,
            machines: 0,
            promised_mib: 0,
        }
    }

    #[test]
    fn each_kind_of_trouble_is_one_finding_with_its_hosts() {
        assert_eq!(hosts(&[])[0].verdict, Verdict::Good);
        let well = host("well");
        let away = |name: &str| Host { held: false, ..host(name) };
        let meant = Host { draining_at: Some(chrono::Utc::now()), ..away("meant") };
        assert_eq!(hosts(&[well.clone(), meant.clone()])[0].verdict, Verdict::Good);
        let lost =
            Host { reach: "UNREACHABLE".into(), reach_reason: Some("no route".into()), ..host("lost") };
        let mistaken = Host { stranger: Some(String::new()), ..lost.clone() };
        let many: Vec<Host> = (0..7).map(|n| away(&format!("n{n}"))).collect();
        let all = [&[well, meant, lost, Host { name: "mistaken".into(), ..mistaken }][..], &many].concat();
        let found = hosts(&all);
        let told: Vec<_> = found.iter().map(|f| (f.verdict, f.remedy.is_some())).collect();
        assert_eq!(told, [(Verdict::Bad, true), (Verdict::Bad, true), (Verdict::Warning, true)]);
        assert!(found[0].says.contains("host `mistaken`"), "{found:?}");
        assert!(found[1].says.contains("host `lost`") && found[1].says.contains("no route"), "{found:?}");
        assert!(found[2].says.contains("`n4` and 2 more") && !found[2].says.contains("`n5`"), "{found:?}");
    }
}
