//! A host on the other side of TLS: certificates on both sides, or nothing.

use rules::machine::{Reach, Seen};
use tests::authority::{self, Authority, Purpose};
use tests::hypervisor_host::HypervisorHost;
use workers::hypervisor::Hypervisor;

use super::stage::{can, machine, mark, open, seen, stands};

/// By which the host is called, and what stands in its certificate.
const NAME: &str = "localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_spoken_to_over_tls_by_whom_it_knows() {
    if !can("a host over TLS") {
        return;
    }
    if let Some(why) = authority::missing() {
        tests::tell(&format!("NOT TESTED: a host over TLS: {why}"));
        return;
    }
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut host = HypervisorHost::boot_with_tls("afar", |folder| ours.issue(Purpose::Server, NAME, folder));
    let (known, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ours.issue(Purpose::Client, "worker", known.path());
    // One that trusts our authority, and is of another.
    theirs.issue(Purpose::Client, "worker", stranger.path());
    std::fs::copy(known.path().join("cacert.pem"), stranger.path().join("cacert.pem")).unwrap();

    let driver = open(&host.qemu_tls(NAME, known.path()), host.folder());
    stands(&driver, Reach::Online).await;
    assert_eq!(driver.report().await.unwrap().host_name, "afar");
    let definition = machine(Vec::new());
    let id = definition.machine;
    driver.define(&definition, mark(1)).await.unwrap();
    assert_eq!(driver.start(id, mark(2)).await.unwrap().state, Seen::Running);

    // Neither a client of another authority nor a host by a name that is not its own.
    for (name, certificates) in [(NAME, stranger.path()), ("127.0.0.1", known.path())] {
        let refused = open(&host.qemu_tls(name, certificates), host.folder());
        assert!(refused.look(id).await.is_err(), "{name}");
        stands(&refused, Reach::Unreachable).await;
    }

    // It is missed like any other, and listened to again.
    host.power_off();
    stands(&driver, Reach::Unreachable).await;
    host.power_on();
    stands(&driver, Reach::Online).await;
    seen(&driver, id, Seen::Off).await;
    driver.start(id, mark(3)).await.unwrap();
    driver.force_off(id, mark(4)).await.unwrap();
    driver.undefine(id, mark(5)).await.unwrap();
}
