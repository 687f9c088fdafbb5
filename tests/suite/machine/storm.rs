//! Ten thousand random operations on two hosts over a real queue, while workers are killed between their
//! steps, answers are lost and machines change hosts, against a model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jobs::machine::snapshot::{self, Ask};
use jobs::machine::{NewMachine, Relocation, Request, create, relocate, request};
use jobs::queue::Wake;
use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::{Action, Name};
use sqlx::PgPool;
use tests::wait;
use tokio_util::sync::CancellationToken;
use workers::hypervisor::{Crash, Simulated};

use super::ledger::{Verdict, judge};
use super::mortal::{Mortal, expire, hurry};
use super::stage::{Stage, spec};

/// How many operations each kind of fault sees.
const OPERATIONS: usize = 2_000;
/// How many ask at once, each of machines of its own.
const HANDS: usize = 4;
/// How many machines each has.
const MACHINES: usize = 10;
/// How many operations may wait before nobody asks for more.
const BACKLOG: i64 = 400;
/// How long a call hangs whose worker is killed meanwhile: longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// How many acts a worker comes to before it is killed.
const ACTS_BETWEEN: usize = 15;
/// How long all operations may take to end, on a machine that is busy with more than this.
const LIMIT: Duration = Duration::from_secs(240);

/// What goes wrong while they are performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    KilledBefore,
    KilledAfter,
    LostBefore,
    LostAfter,
}

impl Fault {
    const ALL: [Self; 5] =
        [Self::None, Self::KilledBefore, Self::KilledAfter, Self::LostBefore, Self::LostAfter];

    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::KilledBefore => "worker killed before a call",
            Self::KilledAfter => "worker killed after a call",
            Self::LostBefore => "connection lost before a call",
            Self::LostAfter => "connection lost after a call",
        }
    }

    const fn crash(self) -> Option<Crash> {
        match self {
            Self::None => None,
            Self::KilledBefore => Some(Crash::HangBefore),
            Self::KilledAfter => Some(Crash::HangAfter),
            Self::LostBefore => Some(Crash::Before),
            Self::LostAfter => Some(Crash::After),
        }
    }

    const fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }
}

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
}

/// Whoever asks for operations on machines of its own.
struct Hand {
    db: PgPool,
    wake: Wake,
    tenant: TenantId,
    dice: Dice,
    label: String,
    made: usize,
    machines: Vec<MachineId>,
    asked: BTreeMap<MachineId, Vec<OperationId>>,
}

impl Hand {
    async fn run(mut self, operations: usize) -> BTreeMap<MachineId, Vec<OperationId>> {
        let mut accepted = 0;
        while accepted < operations {
            if self.machines.len() < MACHINES {
                self.create().await;
                accepted += 1;
                continue;
            }
            let machine = self.machines[self.dice.throw(MACHINES)];
            if let Some(operation) = self.ask(machine).await {
                self.asked.get_mut(&machine).unwrap().push(operation);
                accepted += 1;
            }
            if accepted % 20 == 0 {
                self.hold_back().await;
            }
        }
        self.asked
    }

    async fn create(&mut self) {
        self.made += 1;
        let spec = spec(&format!("m-{}-{}", self.label, self.made));
        let host = ["a", "b"][self.dice.throw(2)];
        let new = NewMachine {
            tenant: self.tenant,
            department: None,
            host: Some(host),
            spec: &spec,
            by: "storm",
            trace_parent: None,
        };
        let mut tx = jobs::db::begin(&self.db).await.unwrap();
        let (machine, asked) = create(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        asked.tell(&self.wake);
        self.machines.push(machine);
        self.asked.insert(machine, vec![asked.operation]);
    }

    /// Asks something; none when it is refused.
    async fn ask(&mut self, machine: MachineId) -> Option<OperationId> {
        let (tenant, by, trace_parent) = (self.tenant, "storm", None);
        let mut tx = jobs::db::begin(&self.db).await.unwrap();
        let name: Name = format!("s{}", self.dice.throw(3)).parse().unwrap();
        let action = match self.dice.throw(40) {
            0..8 => Action::Start,
            8..15 => Action::Stop,
            15..19 => Action::ForceOff,
            19..24 => Action::Suspend,
            24..29 => Action::Resume,
            29..31 => Action::Restart,
            31..33 => Action::Reset,
            33 => {
                self.machines.retain(|known| *known != machine);
                Action::Destroy
            }
            34 | 35 => {
                let made = snapshot::create(&mut tx, tenant, machine, &name, "", by, None).await;
                let asked = made.ok()?.1;
                tx.commit().await.unwrap();
                asked.tell(&self.wake);
                return Some(asked.operation);
            }
            36 | 37 => {
                let what = [Ask::Revert, Ask::Delete][self.dice.throw(2)];
                let asked = snapshot::ask(&mut tx, tenant, machine, &name, what, by, None).await.ok()?;
                tx.commit().await.unwrap();
                asked.tell(&self.wake);
                return Some(asked.operation);
            }
            _ => {
                let host = ["a", "b"][self.dice.throw(2)];
                let wish = Relocation { tenant, machine, host, vouched: false, by, trace_parent };
                let relocated = relocate(&mut tx, &wish).await.ok()?;
                tx.commit().await.unwrap();
                relocated.tell(&self.wake);
                return None;
            }
        };
        let wish = Request { tenant, machine, action, by, reason: None, trace_parent };
        let asked = request(&mut tx, &wish).await.ok()?;
        tx.commit().await.unwrap();
        asked.tell(&self.wake);
        Some(asked.operation)
    }

    async fn hold_back(&self) {
        let db = &self.db;
        wait::until_within(LIMIT, "fewer operations wait", async || unended(db).await < BACKLOG).await;
    }
}

async fn unended(db: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from machine_operation where ended_at is null")
        .fetch_one(db)
        .await
        .unwrap()
}

fn serve(url: &str, name: &str, host: &Simulated) -> Mortal {
    let host = host.clone();
    Mortal::start(url, name, move || Arc::new(host))
}

/// Breaks things until all is done, and tells how often.
async fn break_things(
    db: &PgPool,
    url: &str,
    fault: Fault,
    hosts: &[(&'static str, Simulated)],
    workers: &mut [Mortal],
    asking: &AtomicBool,
) -> usize {
    let (mut faults, mut turn) = (0, 0);
    let began = Instant::now();
    let Some(crash) = fault.crash() else {
        wait::until_within(LIMIT, "all operations end", async || {
            hurry(db).await;
            !asking.load(Ordering::Acquire) && unended(db).await == 0
        })
        .await;
        return faults;
    };
    while asking.load(Ordering::Acquire) || unended(db).await > 0 {
        assert!(began.elapsed() < LIMIT, "{}: {} operations never end", fault.as_str(), unended(db).await);
        hurry(db).await;
        let (name, host) = &hosts[turn % hosts.len()];
        let acts = host.acts().len();
        let busy = async || {
            let still = asking.load(Ordering::Acquire) || unended(db).await > 0;
            !still || host.acts().len() >= acts + ACTS_BETWEEN
        };
        turn += 1;
        host.crash_next(crash);
        wait::until_within(LIMIT, "the fault happens", async || host.crashes_due() == 0).await;
        faults += 1;
        if fault.kills() {
            workers[(turn - 1) % hosts.len()].kill();
            expire(db, name).await;
            workers[(turn - 1) % hosts.len()] = serve(url, name, host);
            wait::until_within(LIMIT, "the worker has done something", || {
                let busy = busy();
                async {
                    hurry(db).await;
                    busy.await
                }
            })
            .await;
        }
    }
    faults
}

async fn storm(
    stage: &Stage,
    fault: Fault,
    hosts: &[(&'static str, Simulated)],
    workers: &mut [Mortal],
) -> Verdict {
    let db = stage.database.pool().await;
    let wake = Wake::start(&db, &CancellationToken::new());
    let asking = AtomicBool::new(true);
    let mut hands = tokio::task::JoinSet::new();
    for number in 0..HANDS {
        let label = format!("{}-{number}", fault as usize);
        let seed = u64::try_from(fault as usize * HANDS + number).unwrap();
        let hand = Hand {
            db: db.clone(),
            wake: wake.clone(),
            tenant: stage.tenant,
            dice: Dice(seed),
            label,
            made: 0,
            machines: Vec::new(),
            asked: BTreeMap::new(),
        };
        hands.spawn(hand.run(OPERATIONS / HANDS));
    }
    let gather = async {
        let mut asked = BTreeMap::new();
        while let Some(done) = hands.join_next().await {
            asked.append(&mut done.unwrap());
        }
        asking.store(false, Ordering::Release);
        asked
    };
    let breaking = break_things(&db, stage.database.url(), fault, hosts, workers, &asking);
    let (asked, faults) = tokio::join!(gather, breaking);
    let mut conn = stage.conn().await;
    Verdict { faults, ..judge(&mut conn, hosts, &asked).await }
}

pub(crate) async fn ten_thousand_operations_and_none_is_lost_run_twice_or_out_of_order() {
    let stage = Stage::new().await;
    let hosts = ["a", "b"].map(|name| (name, Simulated::new(name, 64, 1 << 20, FOR_EVER)));
    let url = stage.database.url().to_owned();
    let mut workers: Vec<Mortal> = hosts.iter().map(|(name, host)| serve(&url, name, host)).collect();
    let db = stage.database.pool().await;
    wait::until("both hosts are known", async || {
        let known: i64 = sqlx::query_scalar("select count(*) from host where cpus is not null")
            .fetch_one(&db)
            .await
            .unwrap();
        known == 2
    })
    .await;
    let began = Instant::now();
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        rows.push((fault, storm(&stage, fault, &hosts, &mut workers).await));
    }
    let mut table =
        "on hosts in this process        faults operations  lost run twice out of order  astray".to_owned();
    for (fault, verdict) in &rows {
        table += &format!("\n{:<30} {verdict}", fault.as_str());
    }
    tests::tell(&format!("{table}\nin {:.0?}", began.elapsed()));
    for (fault, verdict) in &rows {
        let Verdict { operations, faults, lost, twice, disorder, astray } = verdict;
        assert_eq!((lost, twice, disorder, astray), (&0, &0, &0, &0), "{}", fault.as_str());
        assert!(*operations >= OPERATIONS, "{}: {operations} operations", fault.as_str());
        assert!(*fault == Fault::None || *faults > 5, "{}: {faults} faults", fault.as_str());
    }
}
