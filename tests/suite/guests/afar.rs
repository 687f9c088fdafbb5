//! A host on the other side of a network: whom it knows is served over TLS, over ssh and in clear, and nobody else.

use rules::machine::{Reach, Seen};
use tests::authority::{self, Authority, Purpose};
use tests::hypervisor_host::{Afar, HypervisorHost};
use tests::ssh::{self, Login};
use workers::hypervisor::Hypervisor;

use super::stage::{can, machine, mark, open, seen, stands};

/// By which the host is called, and what stands in its certificate.
const NAME: &str = "localhost";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_spoken_to_over_tls_by_whom_it_knows() {
    if !can_with("a host over TLS", authority::missing()) {
        return;
    }
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut host =
        HypervisorHost::boot_afar("afar", Afar::Tls, |folder| ours.issue(Purpose::Server, NAME, folder));
    let (known, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ours.issue(Purpose::Client, "worker", known.path());
    // One that trusts our authority, and is of another.
    theirs.issue(Purpose::Client, "worker", stranger.path());
    std::fs::copy(known.path().join("cacert.pem"), stranger.path().join("cacert.pem")).unwrap();
    let of = |folder: &tempfile::TempDir| format!("pkipath={}", folder.path().display());

    // Neither a client of another authority nor a host by a name that is not its own.
    refused(&host, &host.qemu_afar(NAME, &of(&stranger))).await;
    refused(&host, &host.qemu_afar("127.0.0.1", &of(&known))).await;
    let address = host.qemu_afar(NAME, &of(&known));
    served(&mut host, &address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_spoken_to_over_ssh_by_whom_it_knows() {
    if !can_with("a host over ssh", ssh::missing()) {
        return;
    }
    let (known, stranger, misled) = (Login::new(), Login::new(), Login::new());
    let elsewhere = tempfile::tempdir().unwrap();
    misled.know(&ssh::make_host_key(elsewhere.path()));
    let mut host = HypervisorHost::boot_afar("afar", Afar::Ssh, |folder| {
        let key = ssh::make_host_key(folder);
        known.know(&key);
        stranger.know(&key);
        ssh::let_in(&[&known, &misled], folder);
    });
    let of = |login: &Login| format!("command={}", login.command().display());

    // Neither a key that was not let in nor a server that is not the one we know. Nobody is asked for a password.
    refused(&host, &host.qemu_afar(NAME, &of(&stranger))).await;
    refused(&host, &host.qemu_afar(NAME, &of(&misled))).await;
    let address = host.qemu_afar(NAME, &of(&known));
    served(&mut host, &address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_spoken_to_in_clear() {
    if !can_with("a host over TCP", None) {
        return;
    }
    let mut host = HypervisorHost::boot_afar("afar", Afar::Tcp, |_| {});
    let address = host.qemu_afar("127.0.0.1", "");
    served(&mut host, &address).await;
}

fn can_with(test: &str, missing: Option<String>) -> bool {
    if !can(test) {
        return false;
    }
    missing.is_none_or(|why| {
        tests::tell(&format!("NOT TESTED: {test}: {why}"));
        false
    })
}

/// Does at this address what a worker does, and again after the host lost its power.
async fn served(host: &mut HypervisorHost, address: &str) {
    let driver = open(address, host.folder());
    stands(&driver, Reach::Online).await;
    assert_eq!(driver.report().await.unwrap().host_name, "afar");
    let definition = machine(Vec::new());
    let id = definition.machine;
    driver.define(&definition, mark(1)).await.unwrap();
    assert_eq!(driver.start(id, mark(2)).await.unwrap().state, Seen::Running);

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

async fn refused(host: &HypervisorHost, address: &str) {
    let driver = open(address, host.folder());
    assert!(driver.look(machine(Vec::new()).machine).await.is_err(), "{address}");
    stands(&driver, Reach::Unreachable).await;
}
