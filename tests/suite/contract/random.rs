//! Ten thousand random acts per host, with crashes, against a model that is nothing but a table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::Seen;
use uuid::Uuid;
use workers::hypervisor::{Boot, Class, Crash, Definition, Fault, Hypervisor, Mark, Outcome, Simulated};

use super::hosts::{all, simulated};
use super::table::{STATES, TABLE, perform};

/// How many acts each host is asked for.
const ACTS: usize = 10_000;
/// How many of them are asked for at once, each of machines of its own.
const HANDS: usize = 4;
/// How many machines each hand has.
const MACHINES: usize = 6;
/// How often an act is tried before it must have come through.
const TRIES: usize = 5;

/// Numbers that are the same at every run: the generator of Steele, Lea and Flood.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    fn id(&mut self) -> Uuid {
        let half = |dice: &mut Self| u64::try_from(dice.throw(usize::MAX)).unwrap();
        uuid::Builder::from_random_bytes(Uuid::from_u64_pair(half(self), half(self)).into_bytes()).into_uuid()
    }
}

/// What the model knows of one machine.
#[derive(Default)]
struct Model {
    state: Option<Seen>,
    snapshots: BTreeMap<SnapshotId, Seen>,
    generation: i64,
}

#[derive(Default)]
struct Count {
    acts: usize,
    refused: usize,
    crashed: usize,
    repeated: usize,
    lost: usize,
    /// None on a host of which nobody counts what takes effect.
    twice: Option<usize>,
    astray: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.acts += other.acts;
        self.refused += other.refused;
        self.crashed += other.crashed;
        self.repeated += other.repeated;
        self.lost += other.lost;
        self.twice = self.twice.zip(other.twice).map(|(a, b)| a + b).or(self.twice).or(other.twice);
        self.astray += other.astray;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acts, refused, crashed, repeated, lost, twice, astray } = self;
        let twice = twice.map_or_else(|| "-".to_owned(), |twice| twice.to_string());
        write!(f, "{acts:>7} {refused:>8} {crashed:>8} {repeated:>9} {lost:>5} {twice:>6} {astray:>7}")
    }
}

/// Asks until it comes through; a fault that is not final is a worker that died and another that comes.
async fn insist<T, F: Future<Output = Outcome<T>>>(
    count: &mut Count,
    ask: impl Fn() -> F,
) -> Result<T, Fault> {
    for _ in 0..TRIES {
        match ask().await {
            Ok(done) => return Ok(done),
            Err(error) if error.class() == Class::Final => return Err(error.fault),
            Err(_) => count.crashed += 1,
        }
    }
    panic!("nothing came through in {TRIES} tries");
}

struct Hand {
    driver: Arc<dyn Hypervisor>,
    /// The same host once more, if it counts what takes effect.
    counted: Option<Simulated>,
    /// Whether that is made to fail.
    crashes: bool,
    dice: Dice,
    count: Count,
    models: BTreeMap<MachineId, Model>,
}

impl Hand {
    async fn run(mut self, acts: usize) -> Count {
        for _ in 0..acts {
            let which = self.dice.throw(MACHINES);
            let id = *self.models.keys().nth(which).unwrap();
            self.maybe_crash();
            self.step(id).await;
            self.count.acts += 1;
        }
        for (id, model) in &self.models {
            // A failure that was ordered for a hand that had nothing more to do hits this one.
            let seen = insist(&mut self.count, || self.driver.look(*id)).await.unwrap();
            self.count.lost += usize::from(seen.state != model.state.unwrap_or(Seen::Absent));
        }
        self.count
    }

    fn maybe_crash(&mut self) {
        let Some(host) = self.counted.as_ref().filter(|_| self.crashes) else { return };
        match self.dice.throw(20) {
            0 => host.crash_next(Crash::Before),
            1 => host.crash_next(Crash::After),
            2 if self.count.acts.is_multiple_of(10) => host.crash_next(Crash::HangAfter),
            _ => {}
        }
    }

    async fn step(&mut self, id: MachineId) {
        let before = self.models[&id].state.unwrap_or(Seen::Absent);
        let generation = self.models[&id].generation + 1;
        let mark = Mark { operation: OperationId(self.dice.id()), generation };
        match self.dice.throw(4 + TABLE.len()) {
            0 | 1 => self.define(id, before, mark).await,
            2 => self.snapshot(id, before, mark).await,
            3 => self.revert(id, before, mark).await,
            act => self.act(id, before, mark, act % TABLE.len()).await,
        }
    }

    async fn define(&mut self, id: MachineId, before: Seen, mark: Mark) {
        let definition = Definition {
            machine: id,
            name: format!("of generation {}", mark.generation),
            cpus: 1,
            memory_mib: 32,
            boot: Boot::Disk,
            disks: Vec::new(),
            links: Vec::new(),
        };
        let driver = Arc::clone(&self.driver);
        let seen = insist(&mut self.count, || driver.define(&definition, mark)).await.unwrap();
        let expected = if before == Seen::Absent { Seen::Off } else { before };
        self.settle(id, expected, seen.state, mark);
    }

    async fn snapshot(&mut self, id: MachineId, before: Seen, mark: Mark) {
        let snapshot = SnapshotId(self.dice.id());
        let driver = Arc::clone(&self.driver);
        let taken = insist(&mut self.count, || driver.take_snapshot(id, snapshot, mark)).await;
        match taken {
            Ok(taken) => {
                self.settle(id, before, taken.state, mark);
                self.models.get_mut(&id).unwrap().snapshots.insert(snapshot, before);
            }
            Err(fault) => self.refuse(before == Seen::Absent && fault == Fault::NoMachine),
        }
        let listed = insist(&mut self.count, || driver.snapshots(id)).await.unwrap_or_default();
        let model = &self.models[&id];
        let known = listed.iter().filter(|one| one.id.is_some_and(|id| model.snapshots.contains_key(&id)));
        self.count.astray += listed.len() - known.count();
        self.count.lost += model.snapshots.len().saturating_sub(listed.len());
    }

    async fn revert(&mut self, id: MachineId, before: Seen, mark: Mark) {
        let Some((snapshot, state)) = self.models[&id].snapshots.iter().next().map(|(i, s)| (*i, *s)) else {
            return;
        };
        let driver = Arc::clone(&self.driver);
        match insist(&mut self.count, || driver.revert(id, snapshot, mark)).await {
            Ok(seen) => {
                self.settle(id, state, seen.state, mark);
                insist(&mut self.count, || driver.delete_snapshot(id, snapshot, mark)).await.unwrap();
                self.models.get_mut(&id).unwrap().snapshots.remove(&snapshot);
            }
            Err(fault) => self.refuse(before == Seen::Absent && fault == Fault::NoMachine),
        }
    }

    async fn act(&mut self, id: MachineId, before: Seen, mark: Mark, act: usize) {
        let (name, row) = TABLE[act];
        let column = STATES.iter().position(|state| *state == before).unwrap();
        let driver = Arc::clone(&self.driver);
        let acts_before = self.counted.as_ref().map(|host| host.acts_of(id));
        let mut came = insist(&mut self.count, || perform(&*driver, name, id, mark)).await;
        // Another worker that does not know that it was done.
        if self.dice.throw(4) == 0 {
            self.count.repeated += 1;
            came = insist(&mut self.count, || perform(&*driver, name, id, mark)).await;
        }
        if let (Some(host), Some(acts)) = (&self.counted, acts_before) {
            *self.count.twice.get_or_insert(0) += (host.acts_of(id) - acts).saturating_sub(1);
        }
        match (row[column], came) {
            (Ok(state), Ok(seen)) => {
                self.settle(id, state, seen.state, mark);
                if state == Seen::Absent {
                    self.models.get_mut(&id).unwrap().snapshots.clear();
                }
            }
            (Err(expected), Err(fault)) => self.refuse(expected == fault),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => self.count.astray += 1,
        }
    }

    fn settle(&mut self, id: MachineId, expected: Seen, seen: Seen, mark: Mark) {
        self.count.astray += usize::from(seen != expected);
        let model = self.models.get_mut(&id).unwrap();
        model.state = Some(expected);
        model.generation = mark.generation;
    }

    fn refuse(&mut self, as_expected: bool) {
        self.count.refused += 1;
        self.count.astray += usize::from(!as_expected);
    }
}

async fn storm(name: &str, driver: Arc<dyn Hypervisor>, counted: Option<Simulated>, crashes: bool) -> Count {
    let mut total = Count::default();
    let mut hands = tokio::task::JoinSet::new();
    for number in 0..HANDS {
        let mut dice = Dice(u64::try_from(number).unwrap() + 1);
        dice.0 ^= name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let models = (0..MACHINES).map(|_| (MachineId(dice.id()), Model::default())).collect();
        let (driver, counted, count) = (Arc::clone(&driver), counted.clone(), Count::default());
        hands.spawn(Hand { driver, counted, crashes, dice, count, models }.run(ACTS / HANDS));
    }
    while let Some(count) = hands.join_next().await {
        total.add(&count.unwrap());
    }
    total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_random_acts_and_none_is_lost_done_twice_or_astray() {
    let mut rows = Vec::new();
    for host in all() {
        if host.name != "simulated" {
            rows.push((host.name, storm(host.name, host.driver, None, false).await));
        }
    }
    let breaking = Simulated::new("simulated", 8, 8_192, Duration::from_millis(1));
    for (name, seed, host, crashes) in
        [("simulated, crashing", "simulated", breaking, true), ("simulated", "calm", simulated(), false)]
    {
        let count = storm(seed, Arc::new(host.clone()), Some(host), crashes).await;
        assert_eq!((count.crashed > 0, count.twice), (crashes, Some(0)), "{name}");
        rows.push((name, count));
    }
    let mut table =
        "host                    acts  refused  crashed  repeated  lost  twice  astray".to_owned();
    for (name, count) in &rows {
        table += &format!("\n{name:<20} {count}");
    }
    tests::tell(&table);
    for (name, count) in rows {
        assert_eq!((count.lost, count.astray), (0, 0), "{name}");
        assert!(count.acts >= ACTS - HANDS && count.refused > 0 && count.repeated > 0, "{name}");
    }
}
