//! One QEMU guest, from its disk to its end, with the daemon killed in between.

use rules::id::SnapshotId;
use rules::machine::{Reach, Seen};
use tests::hypervisor_host::HypervisorHost;
use uuid::Uuid;
use workers::hypervisor::{DiskFormat, DiskOrder, Fault, Hypervisor, Reason};

use super::stage::{can, machine, mark, open, seen, stands};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_lives_through_its_daemon_and_leaves_nothing() {
    if !can("a real guest") {
        return;
    }
    let host = HypervisorHost::boot("alone");
    let driver = open(&host.qemu(), host.folder());
    stands(&driver, Reach::Online).await;
    let mut definition = machine(Vec::new());
    let id = definition.machine;
    let order = DiskOrder { machine: id, slot: 0, size_mib: 64, format: DiskFormat::Qcow2 };
    let disk = driver.create_disk(order).await.unwrap();
    assert_eq!(driver.create_disk(order).await.unwrap(), disk);
    definition.disks = vec![disk.clone()];
    driver.define(&definition, mark(1)).await.unwrap();
    driver.start(id, mark(2)).await.unwrap();

    host.kill_daemon();
    stands(&driver, Reach::Unreachable).await;
    assert!(driver.force_off(id, mark(3)).await.is_err());
    host.start_daemon();
    stands(&driver, Reach::Online).await;
    let order = mark(3);
    let observed = driver.start(id, order).await.unwrap();
    assert_eq!(
        (observed.state, observed.mark),
        (Seen::Running, Some(order)),
        "started twice is started once"
    );

    let figures = driver.figures(id).await.unwrap();
    assert_eq!((figures.cpus, figures.memory_kib), (1, 32 * 1_024));
    assert!(figures.cpu_time_ns > 0 && figures.resident_kib.is_some_and(|kib| kib > 0), "{figures:?}");
    let used: Vec<_> = figures.disks.iter().map(|disk| (disk.target.as_str(), disk.capacity_bytes)).collect();
    assert_eq!(used, [("vda", 64 << 20)]);

    let snapshot = SnapshotId(Uuid::new_v4());
    let taken = driver.take_snapshot(id, snapshot, mark(4)).await.unwrap();
    assert_eq!((taken.id, taken.state, taken.is_current), (Some(snapshot), Seen::Running, true));
    for (state, generation) in [(Seen::Paused, 5), (Seen::Paused, 6)] {
        assert_eq!(driver.suspend(id, mark(generation)).await.unwrap().state, state);
    }
    let error = driver.shut_down(id, mark(7)).await.unwrap_err();
    assert_eq!(error.fault, Fault::WrongState(Seen::Paused), "{error}");
    assert_eq!(driver.reset(id, mark(8)).await.unwrap().state, Seen::Paused);
    assert_eq!(driver.resume(id, mark(9)).await.unwrap().state, Seen::Running);
    // It boots nothing and hears no request; what is asked twice is still only asked.
    for generation in [10, 11] {
        let asked = driver.shut_down(id, mark(generation)).await.unwrap();
        assert_eq!(asked.state, Seen::Running);
    }
    assert_eq!(driver.force_off(id, mark(12)).await.unwrap().reason, Reason::ForcedOff);
    let back = mark(13);
    let observed = driver.revert(id, snapshot, back).await.unwrap();
    assert_eq!((observed.state, observed.mark), (Seen::Running, Some(back)));

    host.kill_guest(id.0);
    seen(&driver, id, Seen::Crashed).await;
    assert_eq!(driver.start(id, mark(14)).await.unwrap().state, Seen::Running);
    let error = driver.undefine(id, mark(15)).await.unwrap_err();
    assert_eq!(error.fault, Fault::WrongState(Seen::Running), "{error}");
    for _ in 0..2 {
        driver.force_off(id, mark(15)).await.unwrap();
        assert_eq!(driver.undefine(id, mark(15)).await.unwrap().state, Seen::Absent);
        driver.delete_disks(id).await.unwrap();
    }
    assert!(!std::path::Path::new(&disk.path).exists(), "its disk is left: {}", disk.path);
    assert_eq!(driver.list().await.unwrap(), []);
}
