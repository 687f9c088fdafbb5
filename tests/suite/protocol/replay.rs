//! The same steps on a real Postgres: random ways through what is explored, compared after each step, so that the
//! explored queue is the one that there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobs::db::PgConnection;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::postgres::lease::{Renewed, others, renew};
use jobs::queue::postgres::{control, promote, rescue};
use jobs::queue::{Ack, Settled, Taker, enqueue, settle, settle_and_take};
use rules::id::{JobId, LeaseToken, WorkerId};
use rules::queue::{Kind, MAX_CRASHES, Outcome, Pool};
use sqlx::{Connection, PgPool, Postgres, Transaction};
use tests::Database;
use uuid::Uuid;

use super::flaw::Flaw;
use super::rows::Rows;
use super::scope::{DELAYED, End, KEYED, PLAIN, Scope};
use super::state::{Hold, State, WORKERS};
use super::step::{Answer, Step, steps};
use super::tables::MORE_ATTEMPTS;
use crate::model::EMPTY;
use crate::queue::noop;

/// How many ways of each scope are gone, and how far.
const WAYS: u64 = 12;
const LENGTH: usize = 50;

const LONG: Duration = Duration::from_secs(3_600);

const ALL: Scope = Scope {
    name: "all that can happen",
    sorts: &[PLAIN, KEYED, DELAYED],
    ends: &[End::Done, End::Retry, End::Fatal, End::Snooze, End::Cancelled, End::Released],
    cancels: true,
    redrives: true,
    undoes: true,
    // As the kind has them, and the house.
    max_attempts: 3,
    poison: MAX_CRASHES as u8,
};

/// A line that is busier, and nobody cancels.
const LINE: Scope =
    Scope { sorts: &[KEYED, KEYED, DELAYED], ends: &[End::Done, End::Retry], cancels: false, ..ALL };

/// The real queue, and what its workers have in hand.
struct Real {
    db: PgPool,
    conn: PgConnection,
    ids: BTreeMap<u8, JobId>,
    workers: [WorkerId; WORKERS],
    /// The tokens of each worker and job: the one that has the lease, if any of them does, is the last.
    held: BTreeMap<(u8, u8), Vec<LeaseToken>>,
    open: Option<(Transaction<'static, Postgres>, u8, LeaseToken, Settled)>,
}

impl Real {
    async fn new(database: &Database) -> Self {
        let db = database.pool().await;
        let mut conn = database.connect().await;
        sqlx::raw_sql(EMPTY).execute(&mut conn).await.unwrap();
        let workers = std::array::from_fn(|_| WorkerId(Uuid::new_v4()));
        Self { db, conn, ids: BTreeMap::new(), workers, held: BTreeMap::new(), open: None }
    }

    /// Takes a step; the one that it turned out to be, for which job is claimed is the queue's to say.
    async fn take(&mut self, state: &State, step: Step, scope: &Scope) -> Step {
        match step {
            Step::Enqueue(job) => self.enqueue(job, scope).await,
            Step::Cancel(job) => drop(control::cancel(&mut self.conn, self.ids[&job]).await.unwrap()),
            Step::Redrive(job) => {
                control::redrive(&mut self.conn, self.ids[&job], MORE_ATTEMPTS.into()).await.unwrap();
            }
            Step::FallDue(job) => {
                self.run(
                    "update job_scheduled set run_at = now() - interval '1 minute' where job_id = $1",
                    job,
                )
                .await;
            }
            Step::RunOut(job) => {
                self.run(
                    "update job_lease set lease_until = now() - interval '1 minute' where job_id = $1",
                    job,
                )
                .await;
            }
            Step::Promote => drop(promote::promote(&mut self.conn, None).await.unwrap()),
            Step::Rescue => drop(rescue::rescue(&mut self.conn).await.unwrap().unwrap()),
            Step::RescueEnding => {
                let doomed = rescue::doomed(&mut self.conn).await.unwrap();
                rescue::rescue_ending(&mut self.conn, &doomed).await.unwrap();
            }
            Step::Claim { worker, answer, .. } => {
                let job = self.claim(worker, answer).await;
                return Step::Claim { worker, job, answer };
            }
            Step::Renew { worker, job, hand } => {
                let hold = state.hold(worker, job, hand).unwrap();
                let lease = (self.ids[&job], self.token(worker, job, hold));
                let told = renew(&mut self.conn, &[lease]).await.unwrap()[0];
                assert_eq!(told != Renewed::Lost, hold.rightful, "{told:?}");
                if told == Renewed::Lost {
                    self.drop_hold(state, worker, job, hold);
                }
            }
            Step::Ack { worker, job, hand, end, heard } => {
                let hold = state.hold(worker, job, hand).unwrap();
                let ack = self.ack(job, self.token(worker, job, hold), outcome(end));
                let settled = settle(&mut self.conn, &[ack]).await.unwrap();
                assert_eq!(settled.stale.is_empty(), hold.rightful);
                if heard {
                    self.drop_hold(state, worker, job, hold);
                }
            }
            Step::Begin { worker, job, hand, keeps } => {
                self.begin(state, worker, job, hand, keeps).await;
            }
            Step::Commit { heard } => self.commit(state, heard).await,
            Step::Abort => self.open.take().unwrap().0.rollback().await.unwrap(),
            Step::HandBack(worker) => self.hand_back(worker).await,
            Step::Die(worker) => {
                self.workers[usize::from(worker)] = WorkerId(Uuid::new_v4());
                self.held.retain(|(w, _), _| *w != worker);
            }
        }
        step
    }

    async fn enqueue(&mut self, job: u8, scope: &Scope) {
        let sort = scope.sorts[usize::from(job)];
        let mut new = noop("way");
        if sort.keyed {
            new = new.ordered("line");
        }
        if sort.delayed {
            new = new.after(LONG);
        }
        let id = enqueue(&mut self.conn, &[new]).await.unwrap()[0].id;
        self.ids.insert(job, id);
    }

    async fn claim(&mut self, worker: u8, answer: Answer) -> u8 {
        let want = Want { pool: Pool::Maintenance, limit: 1, marks: [0; 4] };
        let mut tx = self.conn.begin().await.unwrap();
        let id = self.workers[usize::from(worker)];
        let claimed = claim(&mut tx, id, &[Kind::Noop], &[want]).await.unwrap().remove(0).attempt;
        if answer == Answer::Undone { tx.rollback().await } else { tx.commit().await }.unwrap();
        let job = self.job(claimed.id);
        if answer != Answer::Lost {
            self.held.entry((worker, job)).or_default().push(claimed.token);
        }
        job
    }

    async fn begin(&mut self, state: &State, worker: u8, job: u8, hand: u8, keeps: bool) {
        let hold = state.hold(worker, job, hand).unwrap();
        let token = self.token(worker, job, hold);
        let mut ack = self.ack(job, token, Outcome::Done);
        ack.keeps = keeps.then_some(Pool::Maintenance);
        let taker = Taker { worker: self.workers[usize::from(worker)], kinds: &[Kind::Noop] };
        let mut tx = self.db.begin().await.unwrap();
        let settled = settle_and_take(&mut tx, &[ack], taker).await.unwrap();
        assert_eq!(settled.stale.is_empty(), hold.rightful);
        if hold.rightful {
            self.open = Some((tx, job, token, settled));
        } else {
            tx.rollback().await.unwrap();
            self.drop_hold(state, worker, job, hold);
        }
    }

    async fn commit(&mut self, state: &State, heard: bool) {
        let (tx, job, token, settled) = self.open.take().unwrap();
        tx.commit().await.unwrap();
        if !heard {
            return;
        }
        let worker = state.open.unwrap().worker.unwrap();
        self.held.entry((worker, job)).or_default().retain(|t| *t != token);
        for handed in settled.handed {
            let next = self.job(handed.attempt.id);
            self.held.entry((worker, next)).or_default().push(handed.attempt.token);
        }
    }

    async fn hand_back(&mut self, worker: u8) {
        let held = self.held.iter().filter(|((w, _), tokens)| *w == worker && !tokens.is_empty());
        let known: Vec<i64> = held.map(|((_, job), _)| self.ids[job].0).collect();
        let id = self.workers[usize::from(worker)];
        let found = others(&mut self.conn, id, &known, Duration::ZERO, 10).await.unwrap();
        for (id, token) in found {
            let ack = self.ack(self.job(id), token, Outcome::Released);
            assert!(settle(&mut self.conn, &[ack]).await.unwrap().stale.is_empty());
        }
    }

    fn ack(&self, job: u8, token: LeaseToken, outcome: Outcome) -> Ack {
        Ack { id: self.ids[&job], token, outcome, delay: LONG, ran: Duration::ZERO, keeps: None }
    }

    fn job(&self, id: JobId) -> u8 {
        *self.ids.iter().find(|(_, known)| **known == id).unwrap().0
    }

    /// One that has lost its lease stands before one that has it.
    fn token(&self, worker: u8, job: u8, hold: Hold) -> LeaseToken {
        let tokens = &self.held[&(worker, job)];
        *if hold.rightful { tokens.last() } else { tokens.first() }.unwrap()
    }

    /// A worker that has the lease, too, keeps that one.
    fn drop_hold(&mut self, state: &State, worker: u8, job: u8, hold: Hold) {
        let leased = (0..2).filter_map(|hand| state.hold(worker, job, hand)).any(|hold| hold.rightful);
        let tokens = self.held.get_mut(&(worker, job)).unwrap();
        if hold.rightful {
            tokens.pop();
        } else {
            // All that have lost it are one to the search.
            tokens.drain(..tokens.len() - usize::from(leased));
        }
    }

    async fn run(&mut self, statement: &'static str, job: u8) {
        let done = sqlx::query(statement).bind(self.ids[&job].0).execute(&mut self.conn).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }

    /// Every row is where the search has it.
    async fn compare(&mut self, state: &State, way: &[Step]) {
        for (job, id) in &self.ids {
            let rows = Rows::real(&mut self.conn, *id).await;
            assert_eq!(rows, Rows::explored(state, *job), "job {job} after {way:#?}");
            let worker: Option<Uuid> =
                sqlx::query_scalar("select worker_id from job_lease where job_id = $1")
                    .bind(id.0)
                    .fetch_optional(&mut self.conn)
                    .await
                    .unwrap();
            let worker = worker.and_then(|worker| (0..).zip(self.workers).find(|(_, w)| w.0 == worker));
            let explored = state.job(*job).lease.and_then(|lease| lease.worker);
            assert_eq!(worker.map(|(place, _): (u8, _)| place), explored, "job {job} after {way:#?}");
        }
        let head: Option<i64> =
            sqlx::query_scalar("select head_id from job_key").fetch_optional(&mut self.conn).await.unwrap();
        let behind: Vec<i64> = sqlx::query_scalar("select job_id from job_blocked order by seq")
            .fetch_all(&mut self.conn)
            .await
            .unwrap();
        let explored = state.behind.iter().map(|job| self.ids[&job].0).collect::<Vec<_>>();
        assert_eq!((head, behind), (state.head.map(|job| self.ids[&job].0), explored), "after {way:#?}");
    }
}

fn outcome(end: End) -> Outcome {
    match end {
        End::Done => Outcome::Done,
        End::Retry => Outcome::Retry { error: "no luck".into(), after: None },
        End::Fatal => Outcome::Dead { error: "never".into() },
        End::Snooze => Outcome::Snooze { after: LONG },
        End::Cancelled => Outcome::Cancelled,
        End::Released => Outcome::Released,
    }
}

/// Whether one connection can take it while another has a transaction open: it would wait for that one's end.
fn would_wait(state: &State, step: Step) -> bool {
    match step {
        Step::RunOut(job) => state.is_settling(job),
        // The next in line is locked with the key.
        Step::Cancel(job) => state.open.is_some() && state.job(job).blocked,
        _ => false,
    }
}

/// The next number of a fixed row of numbers that look random.
fn next(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    usize::try_from(*seed >> 33).unwrap()
}

/// Goes one way; how long it was.
async fn go(database: Arc<Database>, scope: &'static Scope, number: u64, flaw: Option<Flaw>) -> usize {
    let mut real = Real::new(&database).await;
    let mut state = State::default();
    let mut way = Vec::new();
    let mut seed = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while way.len() < LENGTH {
        let mut open = steps(&state, scope);
        open.retain(|step| !would_wait(&state, *step) && state.after(*step, scope, flaw).is_some());
        if open.is_empty() {
            break;
        }
        let step = real.take(&state, open[next(&mut seed) % open.len()], scope).await;
        way.push(step);
        let after = state.after(step, scope, flaw);
        state = after.unwrap_or_else(|| panic!("not explored: {way:#?}")).0;
        real.compare(&state, &way).await;
    }
    if let Some((tx, ..)) = real.open.take() {
        tx.rollback().await.unwrap();
    }
    way.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_goes_the_ways_that_were_explored() {
    let database = Arc::new(Database::new().await);
    let mut taken = 0;
    for number in 0..WAYS {
        for scope in [&ALL, &LINE] {
            taken += go(database.clone(), scope, number, None).await;
        }
    }
    println!("{taken} steps of {} ways were as explored", 2 * WAYS);
    // Were a way cut short by what it met first, nothing would be proven.
    assert!(taken > 500, "{taken}");
}

/// Flaws that a short way is sure to meet.
const SEEN: [(Flaw, &Scope); 4] = [
    (Flaw::KeyKept, &LINE),
    (Flaw::RescueTooSoon, &ALL),
    (Flaw::CrashUncounted, &ALL),
    (Flaw::CancelEndsRunning, &ALL),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_a_flaw_is_told_from_the_real_one() {
    let database = Arc::new(Database::new().await);
    for (flaw, scope) in SEEN {
        let mut told = None;
        for number in 0..WAYS {
            if tokio::spawn(go(database.clone(), scope, number, Some(flaw))).await.is_err() {
                told = Some(number);
                break;
            }
        }
        println!("{flaw:?}: told by way {told:?}");
        assert!(told.is_some(), "{flaw:?} looks like the real queue");
    }
}
