//! Every act from every state, on every host, against a table written down by hand.

use rules::id::MachineId;
use rules::machine::Seen;
use workers::hypervisor::{Fault, Hypervisor, Mark, Observed, Outcome};

use super::hosts::{all, machine_in, mark};

pub(super) const STATES: [Seen; 4] = [Seen::Absent, Seen::Off, Seen::Running, Seen::Paused];

/// What is expected: the state afterwards, or the fault.
pub(super) type Cell = Result<Seen, Fault>;

const GONE: Cell = Err(Fault::NoMachine);
const fn wrong(state: Seen) -> Cell {
    Err(Fault::WrongState(state))
}
const OFF: Cell = Ok(Seen::Off);
const RUNNING: Cell = Ok(Seen::Running);
const PAUSED: Cell = Ok(Seen::Paused);
const ABSENT: Cell = Ok(Seen::Absent);

/// Rows: acts. Columns: absent, off, running, paused.
pub(super) const TABLE: [(&str, [Cell; 4]); 9] = [
    ("start", [GONE, RUNNING, RUNNING, wrong(Seen::Paused)]),
    ("shut down", [GONE, OFF, OFF, wrong(Seen::Paused)]),
    ("force off", [ABSENT, OFF, OFF, OFF]),
    ("suspend", [GONE, wrong(Seen::Off), PAUSED, PAUSED]),
    ("resume", [GONE, wrong(Seen::Off), RUNNING, RUNNING]),
    ("reboot", [GONE, wrong(Seen::Off), RUNNING, wrong(Seen::Paused)]),
    ("reset", [GONE, wrong(Seen::Off), RUNNING, PAUSED]),
    ("undefine", [ABSENT, ABSENT, wrong(Seen::Running), wrong(Seen::Paused)]),
    ("leave mark", [GONE, OFF, RUNNING, PAUSED]),
];

pub(super) async fn perform(
    host: &dyn Hypervisor,
    act: &str,
    id: MachineId,
    mark: Mark,
) -> Outcome<Observed> {
    match act {
        "start" => host.start(id, mark).await,
        "shut down" => host.shut_down(id, mark).await,
        "force off" => host.force_off(id, mark).await,
        "suspend" => host.suspend(id, mark).await,
        "resume" => host.resume(id, mark).await,
        "reboot" => host.reboot(id, mark).await,
        "reset" => host.reset(id, mark).await,
        "undefine" => host.undefine(id, mark).await,
        "leave mark" => host.leave_mark(id, mark).await,
        other => panic!("no act {other}"),
    }
}

#[tokio::test]
async fn every_act_from_every_state() {
    for host in all() {
        for (act, row) in TABLE {
            for (state, expected) in STATES.into_iter().zip(row) {
                let place = format!("{}: {act} when {}", host.name, state);
                let id = machine_in(&*host.driver, state).await;
                let order = mark(2);
                let came = perform(&*host.driver, act, id, order).await;
                let seen = host.driver.look(id).await.unwrap();
                match (expected, came) {
                    (Ok(state), Ok(answer)) => {
                        assert_eq!(answer.state, state, "{place}");
                        assert_eq!(seen.state, state, "{place}");
                        if state != Seen::Absent {
                            assert_eq!(
                                seen.mark,
                                Some(order),
                                "{place}: the operation is not on the machine"
                            );
                        }
                    }
                    (Err(fault), Err(error)) => {
                        assert_eq!(error.fault, fault, "{place}: {error}");
                        assert_eq!(seen.state, state, "{place}: refused, and changed all the same");
                    }
                    (expected, came) => panic!("{place}: expected {expected:?}, came {came:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stale_order_changes_nothing() {
    for host in all() {
        for (act, _) in TABLE {
            let id = machine_in(&*host.driver, Seen::Running).await;
            let latest = mark(9);
            host.driver.suspend(id, latest).await.unwrap();
            let error = perform(&*host.driver, act, id, mark(8)).await.unwrap_err();
            assert_eq!(error.fault, Fault::Stale, "{}: {act}: {error}", host.name);
            let seen = host.driver.look(id).await.unwrap();
            assert_eq!((seen.state, seen.mark), (Seen::Paused, Some(latest)), "{}: {act}", host.name);
        }
    }
}
