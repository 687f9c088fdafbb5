//! What was asked of machines in a storm, and whether what became of it is right: a model that is a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::{Action, Seen};
use sqlx::{PgConnection, Row};
use uuid::Uuid;
use workers::hypervisor::{Hypervisor, Simulated, is_active};

/// What became of the operations of one storm.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) operations: usize,
    pub(super) faults: usize,
    /// Accepted, and gone or without an end.
    pub(super) lost: usize,
    /// Acts that took effect twice for one operation.
    pub(super) twice: usize,
    /// Acts or beginnings out of the order in which they were asked for.
    pub(super) disorder: usize,
    /// Ends, or states of machines, that are not what the model says.
    pub(super) astray: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, faults, lost, twice, disorder, astray } = self;
        write!(f, "{faults:>6} {operations:>10} {lost:>5} {twice:>9} {disorder:>12} {astray:>7}")
    }
}

/// One operation as it is recorded.
pub(crate) struct Ended {
    pub(crate) id: OperationId,
    pub(crate) action: Action,
    pub(crate) generation: i64,
    pub(crate) state: String,
    pub(crate) error: Option<String>,
    times: (Option<chrono::DateTime<chrono::Utc>>, Option<chrono::DateTime<chrono::Utc>>),
}

/// The model of one machine: what it is, and to what its snapshots put it back.
#[derive(Default)]
struct Model {
    seen: Option<Seen>,
    snapshots: BTreeMap<SnapshotId, Seen>,
}

impl Model {
    /// Does what an operation should; false when it cannot be done.
    fn apply(&mut self, action: Action) -> bool {
        let seen = self.seen.unwrap_or(Seen::Absent);
        let is_on = matches!(seen, Seen::Running | Seen::Paused);
        let (after, done) = match action {
            Action::Create | Action::Start | Action::Restart => (Seen::Running, true),
            Action::Stop | Action::ForceOff => (Seen::Off, true),
            Action::Define => (if seen == Seen::Absent { Seen::Off } else { seen }, true),
            Action::Suspend => (if is_on { Seen::Paused } else { Seen::Off }, is_on),
            Action::Resume | Action::Reset => (if is_on { Seen::Running } else { Seen::Off }, is_on),
            Action::Destroy => {
                self.snapshots.clear();
                (Seen::Absent, true)
            }
            Action::SnapshotRevert(_) | Action::SnapshotDelete(_) if seen == Seen::Absent => (seen, false),
            Action::SnapshotCreate(id) => {
                let taken = if seen == Seen::Absent { Seen::Off } else { seen };
                self.snapshots.insert(id, taken);
                (taken, true)
            }
            Action::SnapshotRevert(id) => {
                self.snapshots.get(&id).map_or((seen, false), |taken| (*taken, true))
            }
            Action::SnapshotDelete(id) => {
                self.snapshots.remove(&id);
                (seen, true)
            }
        };
        self.seen = Some(after);
        done
    }
}

/// Judges all that was asked of these machines, once all of it has ended.
pub(super) async fn judge(
    conn: &mut PgConnection,
    hosts: &[(&str, Simulated)],
    asked: &BTreeMap<MachineId, Vec<OperationId>>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut acts: Vec<BTreeMap<MachineId, Vec<(&'static str, OperationId)>>> = Vec::new();
    for (_, host) in hosts {
        let mut of_host: BTreeMap<MachineId, Vec<_>> = BTreeMap::new();
        for (machine, act, operation) in host.acts_by_operation() {
            of_host.entry(machine).or_default().push((act, operation));
        }
        acts.push(of_host);
    }
    for (machine, accepted) in asked {
        let recorded = recorded(conn, *machine).await;
        verdict.operations += accepted.len();
        let ended: BTreeSet<OperationId> = recorded.iter().map(|operation| operation.id).collect();
        verdict.lost += accepted.iter().filter(|id| !ended.contains(id)).count();
        verdict.disorder += overlapping(&recorded);
        let mut model = Model::default();
        for operation in recorded.iter().filter(|operation| operation.state != "SUPERSEDED") {
            let succeeds = model.apply(operation.action);
            if succeeds != (operation.state == "SUCCEEDED") {
                let (action, id, error) = (operation.action, operation.id, &operation.error);
                eprintln!("astray: {action} {id} of {machine} is {}: {error:?}", operation.state);
                tell_all(*machine, &recorded, hosts);
                verdict.astray += 1;
            }
        }
        for of_host in &acts {
            let of_machine = of_host.get(machine).map(Vec::as_slice).unwrap_or_default();
            let (twice, disorder) = repeated(of_machine, &recorded);
            verdict.twice += twice;
            verdict.disorder += disorder;
        }
        // What leaves no state behind is known by having happened once for each that says so.
        let pressed = |id| {
            let of_machine = acts.iter().filter_map(|of_host| of_host.get(machine)).flatten();
            of_machine.filter(|act| **act == ("reset", id)).count()
        };
        let resets = recorded.iter().filter(|o| o.action == Action::Reset && o.state == "SUCCEEDED");
        verdict.astray += resets.filter(|reset| pressed(reset.id) != 1).count();
        verdict.astray += stray(conn, hosts, *machine, &model).await;
    }
    verdict
}

/// Tells all that is known of a machine, for whoever is to find out why it is not what it should be.
fn tell_all(machine: MachineId, recorded: &[Ended], hosts: &[(&str, Simulated)]) {
    for Ended { id, action, generation, state, error, times: (began, ended) } in recorded {
        eprintln!("  {generation} {action} {id} {state} {error:?} from {began:?} to {ended:?}");
    }
    for (name, host) in hosts {
        for (_, act, operation) in host.acts_by_operation().iter().filter(|(of, ..)| *of == machine) {
            eprintln!("  on {name}: {act} for {operation}");
        }
    }
}

/// How many of a machine's operations began before the one that was asked for before them had ended.
pub(crate) fn overlapping(recorded: &[Ended]) -> usize {
    let done: Vec<_> = recorded.iter().filter(|operation| operation.state != "SUPERSEDED").collect();
    done.windows(2).filter(|pair| pair[1].times.0 < pair[0].times.1).count()
}

/// How many acts took effect twice for one operation, and how many after those of a later one.
pub(crate) fn repeated(acts: &[(&'static str, OperationId)], recorded: &[Ended]) -> (usize, usize) {
    let generations: BTreeMap<OperationId, i64> =
        recorded.iter().map(|operation| (operation.id, operation.generation)).collect();
    let (mut seen, mut twice, mut disorder, mut last) = (BTreeSet::new(), 0, 0, 0);
    for (act, operation) in acts {
        twice += usize::from(!seen.insert((*act, *operation)));
        // A removal of what is recorded elsewhere is no operation's.
        if let Some(generation) = generations.get(operation) {
            disorder += usize::from(*generation < last);
            last = last.max(*generation);
        }
    }
    (twice, disorder)
}

/// How much the hosts and the records differ from what the model says of a machine.
async fn stray(
    conn: &mut PgConnection,
    hosts: &[(&str, Simulated)],
    machine: MachineId,
    model: &Model,
) -> usize {
    let Model { seen: model, snapshots } = model;
    let model = model.unwrap_or(Seen::Absent);
    let row =
        sqlx::query("select h.name, m.seen from machine m join host h on h.id = m.host_id where m.id = $1")
            .bind(machine.0)
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    let (place, recorded): (String, String) = (row.get(0), row.get(1));
    let mut stray = usize::from(recorded != model.as_str());
    for (name, host) in hosts {
        let seen = host.look(machine).await.unwrap().state;
        let right = if *name == place { seen == model } else { !is_active(seen) };
        stray += usize::from(!right);
        if !right {
            eprintln!("astray: {machine} is {seen} on {name}, recorded {recorded} on {place}, model {model}");
        }
        if *name == place && seen != Seen::Absent {
            let kept = host.snapshots(machine).await.unwrap();
            let kept: BTreeSet<SnapshotId> = kept.into_iter().filter_map(|snapshot| snapshot.id).collect();
            let right = kept.iter().eq(snapshots.keys());
            stray += usize::from(!right);
            if !right {
                eprintln!("astray: {name} keeps snapshots {kept:?} of {machine}, model {snapshots:?}");
            }
        }
    }
    let ready: Vec<Uuid> = sqlx::query_scalar(
        "select id from machine_snapshot where machine_id = $1 and state <> 'FAILED' order by id",
    )
    .bind(machine.0)
    .fetch_all(conn)
    .await
    .unwrap();
    let right = ready.iter().eq(snapshots.keys().map(|id| &id.0));
    if !right {
        eprintln!("astray: snapshots {ready:?} of {machine} are recorded, model {snapshots:?}");
    }
    stray + usize::from(!right)
}

/// The operations of a machine that have ended, in the order in which they were asked for.
pub(crate) async fn recorded(conn: &mut PgConnection, machine: MachineId) -> Vec<Ended> {
    let rows = sqlx::query(
        "select id, action, snapshot_id, generation, state, error, started_at, ended_at from machine_operation
        where machine_id = $1 and ended_at is not null order by generation, id",
    )
    .bind(machine.0)
    .fetch_all(conn)
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| Ended {
            id: OperationId(row.get("id")),
            action: Action::read(
                row.get("action"),
                row.get::<Option<Uuid>, _>("snapshot_id").map(SnapshotId),
            )
            .unwrap(),
            generation: row.get("generation"),
            state: row.get("state"),
            error: row.get("error"),
            times: (row.get("started_at"), row.get("ended_at")),
        })
        .collect()
}
