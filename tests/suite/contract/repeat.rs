//! Calls that are repeated, as by a worker that comes after one that died.

use rules::id::SnapshotId;
use rules::machine::Seen;
use uuid::Uuid;
use workers::hypervisor::{Class, Crash, DiskFormat, DiskOrder, Fault, Hypervisor};

use super::hosts::{all, machine, machine_in, mark, simulated};

#[tokio::test]
async fn a_definition_given_twice_is_one_machine() {
    for host in all() {
        let mut definition = machine();
        let order = mark(1);
        let first = host.driver.define(&definition, order).await.unwrap();
        let again = host.driver.define(&definition, order).await.unwrap();
        assert_eq!((first.state, again.state, again.mark), (Seen::Off, Seen::Off, Some(order)));
        definition.memory_mib = 128;
        host.driver.define(&definition, mark(2)).await.unwrap();
        let known = host.driver.list().await.unwrap();
        assert_eq!(
            known.iter().filter(|line| line.machine == definition.machine).count(),
            1,
            "{}",
            host.name
        );
        assert_eq!(host.driver.figures(definition.machine).await.unwrap().memory_kib, 128 * 1_024);
    }
}

#[tokio::test]
async fn figures_are_those_of_the_machine_and_of_nothing_where_it_is_off() {
    for host in all() {
        let id = machine_in(&*host.driver, Seen::Running).await;
        let first = host.driver.figures(id).await.unwrap();
        let again = host.driver.figures(id).await.unwrap();
        assert_eq!((first.state, first.cpus), (Seen::Running, again.cpus), "{}", host.name);
        assert!(again.cpu_time_ns >= first.cpu_time_ns, "{}: {first:?}, then {again:?}", host.name);
        if let Some((used, total)) = first.guest_kib {
            assert!(used <= total && total <= first.memory_kib, "{}: {first:?}", host.name);
        }
        for disk in &first.disks {
            assert!(disk.capacity_bytes > 0 && !disk.target.is_empty(), "{}: {disk:?}", host.name);
        }
        host.driver.force_off(id, mark(2)).await.unwrap();
        let off = host.driver.figures(id).await.unwrap();
        assert_eq!((off.state, off.memory_kib), (Seen::Off, first.memory_kib), "{}", host.name);
        let gone = rules::id::MachineId(Uuid::new_v4());
        assert_eq!(host.driver.figures(gone).await.unwrap_err().fault, Fault::NoMachine, "{}", host.name);
    }
}

#[tokio::test]
async fn a_snapshot_is_taken_once_and_gone_back_to_once() {
    for host in all() {
        let id = machine_in(&*host.driver, Seen::Running).await;
        let snapshot = SnapshotId(Uuid::new_v4());
        let order = mark(2);
        let first = host.driver.take_snapshot(id, snapshot, order).await.unwrap();
        let again = host.driver.take_snapshot(id, snapshot, order).await.unwrap();
        assert_eq!(first, again, "{}", host.name);
        assert_eq!((first.state, first.id, first.is_current), (Seen::Running, Some(snapshot), true));
        let second = SnapshotId(Uuid::new_v4());
        let child = host.driver.take_snapshot(id, second, mark(3)).await.unwrap();
        assert_eq!(child.parent, Some(first.host_name), "{}", host.name);

        host.driver.force_off(id, mark(4)).await.unwrap();
        let back = mark(5);
        let seen = host.driver.revert(id, snapshot, back).await.unwrap();
        assert_eq!((seen.state, seen.mark), (Seen::Running, Some(back)), "{}", host.name);
        host.driver.suspend(id, back).await.unwrap();
        let seen = host.driver.revert(id, snapshot, back).await.unwrap();
        assert_eq!(seen.state, Seen::Paused, "{}: reverted twice, which loses what came between", host.name);

        let missing = SnapshotId(Uuid::new_v4());
        assert_eq!(host.driver.revert(id, missing, mark(6)).await.unwrap_err().fault, Fault::NoThing);
        host.driver.delete_snapshot(id, snapshot, mark(7)).await.unwrap();
        host.driver.delete_snapshot(id, snapshot, mark(7)).await.unwrap();
        let left = host.driver.snapshots(id).await.unwrap();
        assert_eq!(left.iter().map(|s| s.id).collect::<Vec<_>>(), [Some(second)], "{}", host.name);
    }
}

#[tokio::test]
async fn what_is_destroyed_leaves_nothing() {
    for host in all() {
        let definition = machine();
        let id = definition.machine;
        let order = DiskOrder { machine: id, slot: 0, size_mib: 16, format: DiskFormat::Qcow2 };
        let disk = host.driver.create_disk(order).await.unwrap();
        assert_eq!(
            host.driver.create_disk(order).await.unwrap(),
            disk,
            "{}: one order, two disks",
            host.name
        );
        host.driver.define(&definition, mark(1)).await.unwrap();
        host.driver.start(id, mark(1)).await.unwrap();
        host.driver.take_snapshot(id, SnapshotId(Uuid::new_v4()), mark(2)).await.unwrap();
        assert!(host.driver.delete_disks(id).await.is_err(), "{}: the disk of a running machine", host.name);
        for _ in 0..2 {
            host.driver.force_off(id, mark(3)).await.unwrap();
            host.driver.undefine(id, mark(3)).await.unwrap();
            host.driver.delete_disks(id).await.unwrap();
        }
        assert_eq!(host.driver.look(id).await.unwrap().state, Seen::Absent, "{}", host.name);
    }
}

#[tokio::test]
async fn what_no_host_has_is_refused_before_anything_is_done() {
    for host in all() {
        let mut faults = Vec::new();
        let mut huge = machine();
        let has = host.driver.report().await.unwrap().capacity.memory_mib;
        huge.memory_mib = u32::try_from(has + 1).unwrap();
        faults.push(huge);
        let mut nameless = machine();
        nameless.name = String::new();
        faults.push(nameless);
        let mut long = machine();
        long.name = "x".repeat(10_240);
        faults.push(long);
        let mut control = machine();
        control.name = "a\u{0}b".to_owned();
        faults.push(control);
        for definition in faults {
            let error = host.driver.define(&definition, mark(1)).await.unwrap_err();
            assert_eq!(
                (error.fault, error.class()),
                (Fault::Refused, Class::Final),
                "{}: {error}",
                host.name
            );
            assert_eq!(host.driver.look(definition.machine).await.unwrap().state, Seen::Absent);
        }
    }
}

#[tokio::test]
async fn a_crash_at_either_side_of_an_act_is_made_good_by_repeating_it() {
    let host = simulated();
    for crash in [Crash::Before, Crash::After, Crash::HangBefore, Crash::HangAfter] {
        let definition = machine();
        let (id, order) = (definition.machine, mark(1));
        let acts_before = host.acts().len();
        host.crash_next(crash);
        let error = host.define(&definition, order).await.unwrap_err();
        assert!(matches!(error.class(), Class::HostLost | Class::Retryable), "{crash:?}: {error}");
        host.define(&definition, order).await.unwrap();
        host.crash_next(crash);
        host.start(id, order).await.unwrap_err();
        assert_eq!(host.start(id, order).await.unwrap().state, Seen::Running);
        let reset = mark(2);
        host.crash_next(crash);
        host.reset(id, reset).await.unwrap_err();
        host.reset(id, reset).await.unwrap();
        let acts: Vec<&str> = host.acts()[acts_before..].iter().map(|(_, act)| *act).collect();
        assert_eq!(acts, ["define", "start", "reset"], "{crash:?}: each took effect once");
    }
}
