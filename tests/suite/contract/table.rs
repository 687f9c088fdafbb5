//! Every act from every state, on every host, against a table written down by hand.

use workers::hypervisor::{Fault, Hypervisor, MachineId, Mark, Outcome, Power, Seen};

use super::hosts::{all, machine_in, mark};

const STATES: [Power; 4] = [Power::Absent, Power::Off, Power::Running, Power::Paused];

/// What is expected: the state afterwards, or the fault.
type Cell = Result<Power, Fault>;

const GONE: Cell = Err(Fault::NoMachine);
const fn wrong(power: Power) -> Cell {
    Err(Fault::WrongState(power))
}
const OFF: Cell = Ok(Power::Off);
const RUNNING: Cell = Ok(Power::Running);
const PAUSED: Cell = Ok(Power::Paused);
const ABSENT: Cell = Ok(Power::Absent);

/// Rows: acts. Columns: absent, off, running, paused.
const TABLE: [(&str, [Cell; 4]); 8] = [
    ("start", [GONE, RUNNING, RUNNING, wrong(Power::Paused)]),
    ("shut down", [GONE, OFF, OFF, wrong(Power::Paused)]),
    ("force off", [ABSENT, OFF, OFF, OFF]),
    ("suspend", [GONE, wrong(Power::Off), PAUSED, PAUSED]),
    ("resume", [GONE, wrong(Power::Off), RUNNING, RUNNING]),
    ("reboot", [GONE, wrong(Power::Off), RUNNING, wrong(Power::Paused)]),
    ("reset", [GONE, wrong(Power::Off), RUNNING, wrong(Power::Paused)]),
    ("undefine", [ABSENT, ABSENT, wrong(Power::Running), wrong(Power::Paused)]),
];

async fn perform(host: &dyn Hypervisor, act: &str, id: MachineId, mark: Mark) -> Outcome<Seen> {
    match act {
        "start" => host.start(id, mark).await,
        "shut down" => host.shut_down(id, mark).await,
        "force off" => host.force_off(id, mark).await,
        "suspend" => host.suspend(id, mark).await,
        "resume" => host.resume(id, mark).await,
        "reboot" => host.reboot(id, mark).await,
        "reset" => host.reset(id, mark).await,
        "undefine" => host.undefine(id, mark).await,
        other => panic!("no act {other}"),
    }
}

#[tokio::test]
async fn every_act_from_every_state() {
    for host in all() {
        for (act, row) in TABLE {
            for (state, expected) in STATES.into_iter().zip(row) {
                let place = format!("{}: {act} when {}", host.name, state.as_str());
                let id = machine_in(&*host.driver, state).await;
                let order = mark(2);
                let came = perform(&*host.driver, act, id, order).await;
                let seen = host.driver.look(id).await.unwrap();
                match (expected, came) {
                    (Ok(power), Ok(answer)) => {
                        assert_eq!(answer.power, power, "{place}");
                        assert_eq!(seen.power, power, "{place}");
                        if power != Power::Absent {
                            assert_eq!(
                                seen.mark,
                                Some(order),
                                "{place}: the operation is not on the machine"
                            );
                        }
                    }
                    (Err(fault), Err(error)) => {
                        assert_eq!(error.fault, fault, "{place}: {error}");
                        assert_eq!(seen.power, state, "{place}: refused, and changed all the same");
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
            let id = machine_in(&*host.driver, Power::Running).await;
            let latest = mark(9);
            host.driver.suspend(id, latest).await.unwrap();
            let error = perform(&*host.driver, act, id, mark(8)).await.unwrap_err();
            assert_eq!(error.fault, Fault::Stale, "{}: {act}: {error}", host.name);
            let seen = host.driver.look(id).await.unwrap();
            assert_eq!((seen.power, seen.mark), (Power::Paused, Some(latest)), "{}: {act}", host.name);
        }
    }
}
