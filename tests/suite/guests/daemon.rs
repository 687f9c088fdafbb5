//! A daemon that is killed, stopped, continued and started again, with libvirt's test driver behind it.

use std::time::Instant;

use rules::machine::{DEGRADED_WITHIN, Reach, Seen};
use tests::hypervisor_host::HypervisorHost;
use tokio::sync::broadcast::Receiver;
use workers::hypervisor::{Class, HostEvent, Hypervisor};

use super::stage::{LIMIT, can, machine, mark, open, stands};

/// Waits for an event, over others.
async fn hears(events: &mut Receiver<HostEvent>, wanted: &HostEvent) {
    let heard = tokio::time::timeout(LIMIT, async {
        loop {
            match events.recv().await.unwrap() {
                HostEvent::Lost(_) if matches!(wanted, HostEvent::Lost(_)) => return,
                event if event == *wanted => return,
                _ => {}
            }
        }
    });
    assert!(heard.await.is_ok(), "never heard {wanted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_is_missed_and_listened_to_again() {
    if !can("a daemon that dies") {
        return;
    }
    let host = HypervisorHost::boot("dies");
    let driver = open(&host.test_driver(), host.folder());
    let mut events = driver.events();
    stands(&driver, Reach::Online).await;
    let definition = machine(Vec::new());
    let id = definition.machine;
    driver.define(&definition, mark(1)).await.unwrap();
    driver.start(id, mark(2)).await.unwrap();
    hears(&mut events, &HostEvent::Changed(id)).await;

    host.kill_daemon();
    hears(&mut events, &HostEvent::Lost(String::new())).await;
    stands(&driver, Reach::Unreachable).await;
    let error = driver.look(id).await.unwrap_err();
    assert_eq!(error.class(), Class::HostLost, "{error}");
    let error = driver.start(id, mark(3)).await.unwrap_err();
    assert_eq!(error.class(), Class::HostLost, "{error}");

    host.start_daemon();
    hears(&mut events, &HostEvent::Connected).await;
    stands(&driver, Reach::Online).await;
    // The test driver has lost its machines with its process: they are defined again.
    assert_eq!(driver.look(id).await.unwrap().state, Seen::Absent);
    driver.define(&definition, mark(4)).await.unwrap();
    driver.start(id, mark(5)).await.unwrap();
    hears(&mut events, &HostEvent::Changed(id)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_hangs_degrades_its_host_and_no_other() {
    if !can("a daemon that hangs") {
        return;
    }
    let (hung, well) = (HypervisorHost::boot("hung"), HypervisorHost::boot("well"));
    let (driver, other) = (open(&hung.qemu(), hung.folder()), open(&well.qemu(), well.folder()));
    stands(&driver, Reach::Online).await;
    stands(&other, Reach::Online).await;
    let (definition, theirs) = (machine(Vec::new()), machine(Vec::new()));
    driver.define(&definition, mark(1)).await.unwrap();
    other.define(&theirs, mark(1)).await.unwrap();

    hung.stop_daemon();
    let began = Instant::now();
    // More calls than there are slots, all of which hang; and what is asked of the other host ends before this one's daemon
    // goes on.
    let calls = (0..20).map(|_| driver.look(definition.machine));
    let calls = futures::future::join_all(calls);
    let beside = async {
        for generation in 2..5 {
            other.start(theirs.machine, mark(generation)).await.unwrap();
            other.force_off(theirs.machine, mark(generation)).await.unwrap();
        }
        assert_eq!(other.standing().borrow().reach, Reach::Online);
    };
    let degrading = async {
        stands(&driver, Reach::Degraded).await;
        began.elapsed()
    };
    let (answers, (), degraded_after) = tokio::join!(calls, beside, degrading);
    for answer in answers {
        let error = answer.unwrap_err();
        assert_ne!(error.class(), Class::Final, "{error}");
    }
    assert!(degraded_after <= DEGRADED_WITHIN, "it took {degraded_after:?}");
    println!("hung: degraded after {degraded_after:?}");
    let error = driver.look(definition.machine).await.unwrap_err();
    assert_eq!(error.class(), Class::HostLost, "{error}");

    hung.continue_daemon();
    stands(&driver, Reach::Online).await;
    assert_eq!(driver.look(definition.machine).await.unwrap().state, Seen::Off);
    driver.start(definition.machine, mark(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_hangs_while_its_connections_live_degrades_its_host() {
    if !can("a daemon that hangs while its connections live") {
        return;
    }
    let host = HypervisorHost::boot_narrow("narrow");
    let driver = open(&host.qemu(), host.folder());
    stands(&driver, Reach::Online).await;
    let definition = machine(Vec::new());
    driver.define(&definition, mark(1)).await.unwrap();
    host.hold_up(true);
    let began = Instant::now();
    // It takes the daemon's only hand; keepalives are answered beside it.
    let start = driver.start(definition.machine, mark(2));
    let degrading = async {
        stands(&driver, Reach::Degraded).await;
        let after = began.elapsed();
        assert!(after <= DEGRADED_WITHIN, "it took {after:?}");
        println!("hung, with connections that live: degraded after {after:?}");
        let error = driver.look(definition.machine).await.unwrap_err();
        assert_eq!(error.class(), Class::HostLost, "{error}");
        host.hold_up(false);
        stands(&driver, Reach::Online).await;
    };
    let (started, ()) = tokio::join!(start, degrading);
    assert_eq!(started.unwrap().state, Seen::Running);
    assert_eq!(driver.look(definition.machine).await.unwrap().state, Seen::Running);
    driver.force_off(definition.machine, mark(3)).await.unwrap();
}
