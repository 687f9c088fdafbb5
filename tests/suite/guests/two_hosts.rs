//! Two hosts that see one disk: it is never written by two guests, and a host that lost its power comes back. And two
//! that change places behind one address.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rules::machine::{Reach, Seen};
use tests::hypervisor_host::HypervisorHost;
use tests::wait;
use workers::hypervisor::{Class, DiskFormat, DiskOrder, Fault, Hypervisor, Trust};

use super::stage::{can, machine, mark, open, seen, stands};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_disk_is_refused_twice_and_a_host_comes_back() {
    if !can("two hosts with one disk") {
        return;
    }
    let (mut first, second) = (HypervisorHost::boot("first"), HypervisorHost::boot("second"));
    let (a, b) = (open(&first.qemu(), first.folder()), open(&second.qemu(), second.folder()));
    stands(&a, Reach::Online).await;
    stands(&b, Reach::Online).await;
    assert_eq!(a.report().await.unwrap().host_name, "first");
    assert_eq!(b.report().await.unwrap().host_name, "second");
    let identities = [a.report().await.unwrap().identity, b.report().await.unwrap().identity];
    assert!(identities[0].is_some() && identities[0] != identities[1], "{identities:?}");

    let mut definition = machine(Vec::new());
    let id = definition.machine;
    let order = DiskOrder { machine: id, slot: 0, size_mib: 64, format: DiskFormat::Qcow2 };
    definition.disks = vec![a.create_disk(order).await.unwrap()];
    assert_eq!(a.find_disk(order).await.unwrap(), definition.disks[0]);
    let error = b.find_disk(order).await.unwrap_err();
    assert_eq!((error.fault, error.class()), (Fault::NoDisk, Class::Final), "{error}");
    assert_eq!(a.disk_owners().await.unwrap(), [id]);
    a.define(&definition, mark(1)).await.unwrap();
    b.define(&definition, mark(1)).await.unwrap();
    a.start(id, mark(2)).await.unwrap();
    for generation in [2, 3] {
        let error = b.start(id, mark(generation)).await.unwrap_err();
        assert_eq!((error.fault, error.class()), (Fault::Locked, Class::Retryable), "{error}");
        assert!(error.origin.is_some(), "libvirt's code is lost: {error}");
    }
    assert_eq!(a.look(id).await.unwrap().state, Seen::Running);

    first.power_off();
    stands(&a, Reach::Unreachable).await;
    let error = a.start(id, mark(4)).await.unwrap_err();
    assert_eq!(error.class(), Class::HostLost, "{error}");
    // Fenced by its power, its machine may start elsewhere.
    assert_eq!(b.start(id, mark(5)).await.unwrap().state, Seen::Running);

    first.power_on();
    stands(&a, Reach::Online).await;
    assert_eq!(a.report().await.unwrap().identity, identities[0], "it is the same host");
    seen(&a, id, Seen::Off).await;
    let error = a.start(id, mark(6)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Locked, "{error}");
    // What came back and is no longer its own, it forgets.
    a.undefine(id, mark(7)).await.unwrap();
    assert_eq!(b.look(id).await.unwrap().state, Seen::Running);
    b.force_off(id, mark(8)).await.unwrap();
    // What libvirt remembers of a disk does not stand for one.
    std::fs::remove_file(&definition.disks[0].path).unwrap();
    assert_eq!(a.find_disk(order).await.unwrap_err().fault, Fault::NoDisk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_to_another_daemon_leads_to_nobody() {
    if !can("an address that leads to another daemon") {
        return;
    }
    let (own, other) = (HypervisorHost::boot("own"), HypervisorHost::boot("other"));
    let socket = |host: &HypervisorHost| host.qemu().split_once("socket=").unwrap().1.to_owned();
    let address = own.folder().join("address");
    let leads_to = |host: &HypervisorHost| {
        let fresh = address.with_extension("fresh");
        std::os::unix::fs::symlink(socket(host), &fresh).unwrap();
        std::fs::rename(&fresh, &address).unwrap();
    };
    leads_to(&own);
    let driver = open(&format!("qemu+unix:///system?socket={}", address.display()), own.folder());
    stands(&driver, Reach::Online).await;
    let identity = driver.report().await.unwrap().identity;
    assert!(identity.is_some());
    driver.trust(Trust::Own(identity.clone()));
    let definition = machine(Vec::new());
    let id = definition.machine;
    driver.define(&definition, mark(1)).await.unwrap();

    // Its daemon dies, and by the next connection the other is reached, before anybody could look who it is.
    leads_to(&other);
    own.kill_daemon();
    let refused = AtomicBool::new(false);
    let told = wait::value("who answers is known, and was refused", || async {
        let error = driver.define(&definition, mark(2)).await.unwrap_err();
        assert_eq!(error.class(), Class::HostLost, "{error}");
        refused.fetch_or(error.fault == Fault::Unrecognised, Ordering::Relaxed);
        driver.report().await.ok().filter(|_| refused.load(Ordering::Relaxed))
    })
    .await
    .identity;
    assert!(told.is_some() && told != identity, "{told:?}");
    let theirs = open(&other.qemu(), other.folder());
    stands(&theirs, Reach::Online).await;
    assert_eq!(theirs.list().await.unwrap(), [], "what is the own one's was done to the other");

    own.start_daemon();
    leads_to(&own);
    drop(other);
    seen(&driver, id, Seen::Off).await;
    wait::until("its own daemon is listened to", async || {
        driver.report().await.is_ok_and(|report| report.identity == identity)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_never_made_a_disk_finds_those_in_the_folder_it_shares() {
    if !can("two hosts with one folder") {
        return;
    }
    let (first, second) = (HypervisorHost::boot("first"), HypervisorHost::boot("second"));
    let elsewhere = second.folder().join("elsewhere");
    let a = open(&first.qemu(), first.folder());
    let b = open(&second.qemu(), first.folder());
    let c = open(&second.qemu(), &elsewhere);
    for host in [&a, &b, &c] {
        stands(host, Reach::Online).await;
    }
    let [kept, gone] = [machine(Vec::new()).machine, machine(Vec::new()).machine].map(|machine| DiskOrder {
        machine,
        slot: 0,
        size_mib: 64,
        format: DiskFormat::Qcow2,
    });
    let made = a.create_disk(kept).await.unwrap();
    let swept = a.create_disk(gone).await.unwrap();

    // No folder is made for looking into it, and no pool of one that is not there stays in the way.
    assert_eq!(c.find_disk(kept).await.unwrap_err().fault, Fault::NoDisk);
    c.delete_disks(kept.machine).await.unwrap();
    assert!(!elsewhere.exists());
    b.delete_disks(gone.machine).await.unwrap();
    assert!(!Path::new(&swept.path).exists());
    assert_eq!(b.find_disk(kept).await.unwrap(), made);
}
