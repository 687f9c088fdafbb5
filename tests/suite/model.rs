//! The queue against its model: random lives of many jobs, and after every step what must always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jobs::db::PgConnection;
use jobs::queue::postgres::{control, promote};
use jobs::queue::{Attempt, NewJob, Taker, enqueue, settle, settle_and_take};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rules::id::{JobId, WorkerId};
use rules::queue::{Change, Kind, MAX_CRASHES, Outcome, Pool, State};
use tests::Database;

use crate::queue::{ack, noop, rescue_all, take};

/// Makes the queue as new.
pub(crate) const EMPTY: &str = "truncate job, job_ready, job_scheduled, job_blocked, job_key, job_lease, job_unique, job_attempt, job_dead, job_history";

/// One thing that somebody does.
#[derive(Debug, Clone)]
enum Step {
    Enqueue { key: Option<u8>, delayed: bool },
    Claim(u8),
    Settle { which: usize, how: How },
    Expire(usize),
    Rescue,
    FallDue(usize),
    Promote,
    Cancel(usize),
    Redrive(usize),
    Hasten(usize),
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    /// Done by a worker that keeps its slot for the next of the key.
    DoneForTheNext,
    Retry,
    Dead,
    Snooze,
    Cancelled,
    Released,
}

/// What the model knows of a job.
#[derive(Debug, Clone)]
struct Known {
    state: State,
    key: Option<u8>,
    holds: bool,
    attempt: u16,
    max_attempts: u16,
    crashes: i32,
    due: bool,
}

/// The model: every job, and the line behind each key.
#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<JobId, Known>,
    lines: BTreeMap<u8, Vec<JobId>>,
}

impl Model {
    fn change(&mut self, id: JobId, change: Change) {
        let known = self.jobs.get_mut(&id).unwrap();
        known.state = known.state.after(change).unwrap_or_else(|illegal| panic!("job {id}: {illegal}"));
    }

    /// Enters the job in its key's line; whether another stands before it.
    fn stand_in_line(&mut self, id: JobId) -> bool {
        let Some(key) = self.jobs[&id].key else { return false };
        let line = self.lines.entry(key).or_default();
        line.push(id);
        let head = line[0] == id;
        self.jobs.get_mut(&id).unwrap().holds = head;
        !head
    }

    /// Takes an ended job out of its line, and lets the next go.
    fn leave_line(&mut self, id: JobId) {
        let Some(key) = self.jobs[&id].key else { return };
        let Some(line) = self.lines.get_mut(&key) else { return };
        let was_head = line.first() == Some(&id);
        line.retain(|j| *j != id);
        self.jobs.get_mut(&id).unwrap().holds = false;
        let next = line.first().copied().filter(|_| was_head);
        if let Some(next) = next {
            self.change(next, Change::PassKey);
            self.jobs.get_mut(&next).unwrap().holds = true;
        }
    }

    /// The job that stands next in the line of which this one is the head.
    fn behind(&self, id: JobId) -> Option<JobId> {
        let line = self.lines.get(&self.jobs[&id].key?)?;
        (line.first() == Some(&id)).then(|| line.get(1).copied())?
    }

    fn pick(&self, which: usize, state: State) -> Option<JobId> {
        let fitting: Vec<JobId> =
            self.jobs.iter().filter(|(_, k)| k.state == state).map(|(id, _)| *id).collect();
        (!fitting.is_empty()).then(|| fitting[which % fitting.len()])
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![
        4 => Just(How::Done),
        4 => Just(How::DoneForTheNext),
        2 => Just(How::Retry),
        1 => Just(How::Dead),
        1 => Just(How::Snooze),
        1 => Just(How::Cancelled),
        1 => Just(How::Released),
    ];
    let step = prop_oneof![
        6 => (prop::option::of(0u8..3), prop::bool::weighted(0.2)).prop_map(|(key, delayed)| Step::Enqueue { key, delayed }),
        5 => (1u8..4).prop_map(Step::Claim),
        6 => (any::<usize>(), how).prop_map(|(which, how)| Step::Settle { which, how }),
        2 => any::<usize>().prop_map(Step::Expire),
        2 => Just(Step::Rescue),
        2 => any::<usize>().prop_map(Step::FallDue),
        2 => Just(Step::Promote),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Redrive),
        1 => any::<usize>().prop_map(Step::Hasten),
    ];
    prop::collection::vec(step, 20..80)
}

/// A run of steps against the real queue and the model side by side.
struct Side {
    conn: PgConnection,
    model: Model,
    held: BTreeMap<JobId, Attempt>,
    expired: BTreeSet<JobId>,
}

impl Side {
    async fn go(&mut self, step: &Step) {
        match step {
            Step::Enqueue { key, delayed } => self.enqueue(*key, *delayed).await,
            Step::Claim(limit) => self.claim(*limit).await,
            Step::Settle { which, how } => self.settle(*which, *how).await,
            Step::Expire(which) => {
                if let Some(id) = self.model.pick(*which, State::Leased) {
                    self.run(
                        "update job_lease set lease_until = now() - interval '1 minute' where job_id = $1",
                        id,
                    )
                    .await;
                    self.expired.insert(id);
                }
            }
            Step::Rescue => self.rescue().await,
            Step::FallDue(which) => {
                if let Some(id) = self.model.pick(*which, State::Scheduled) {
                    self.run(
                        "update job_scheduled set run_at = now() - interval '1 minute' where job_id = $1",
                        id,
                    )
                    .await;
                    self.model.jobs.get_mut(&id).unwrap().due = true;
                }
            }
            Step::Promote => self.promote().await,
            Step::Cancel(which) => {
                let waiting = [State::Ready, State::Scheduled, State::Blocked];
                if let Some(id) = self.model.pick(*which, waiting[which % 3]) {
                    control::cancel(&mut self.conn, id).await.unwrap();
                    self.end(id, Change::Cancel);
                }
            }
            Step::Redrive(which) => {
                if let Some(id) = self.model.pick(*which, State::Dead) {
                    control::redrive(&mut self.conn, id, 2).await.unwrap();
                    let key_busy = self.model.stand_in_line(id);
                    self.model.change(id, Change::Redrive { key_busy });
                    let known = self.model.jobs.get_mut(&id).unwrap();
                    known.max_attempts = known.attempt + 2;
                    known.crashes = 0;
                }
            }
            Step::Hasten(which) => {
                if let Some(id) = self.model.pick(*which, State::Scheduled) {
                    let reason: i16 =
                        sqlx::query_scalar("select reason from job_scheduled where job_id = $1")
                            .bind(id.0)
                            .fetch_one(&mut self.conn)
                            .await
                            .unwrap();
                    let hastened = control::hasten(&mut self.conn, id).await;
                    // A delay that was asked for is nobody's to cut short, and the refusal changes nothing.
                    assert_eq!(hastened.is_ok(), reason != 0, "{hastened:?}");
                    if hastened.is_ok() {
                        self.fall_due(id, |key_busy| Change::Hasten { key_busy });
                    }
                }
            }
        }
    }

    async fn enqueue(&mut self, key: Option<u8>, delayed: bool) {
        let mut job: NewJob = noop("model");
        if let Some(key) = key {
            job = job.ordered(format!("key:{key}"));
        }
        if delayed {
            job = job.after(Duration::from_secs(3600));
        }
        let id = enqueue(&mut self.conn, &[job]).await.unwrap()[0].id;
        let known = Known {
            state: State::Scheduled,
            key,
            holds: false,
            attempt: 0,
            max_attempts: 3,
            crashes: 0,
            due: false,
        };
        self.model.jobs.insert(id, known);
        if !delayed {
            let key_busy = self.model.stand_in_line(id);
            self.model.change(id, Change::FallDue { key_busy });
        }
    }

    async fn claim(&mut self, limit: u8) {
        let ready = self.model.jobs.values().filter(|k| k.state == State::Ready).count();
        let taken = take(&mut self.conn, i32::from(limit)).await;
        assert_eq!(taken.len(), ready.min(usize::from(limit)));
        taken.into_iter().for_each(|attempt| self.begin(attempt));
    }

    fn begin(&mut self, attempt: Attempt) {
        self.model.change(attempt.id, Change::Claim);
        let known = self.model.jobs.get_mut(&attempt.id).unwrap();
        known.attempt += 1;
        assert_eq!((attempt.attempt, attempt.keyed), (known.attempt, known.key.is_some()));
        self.held.insert(attempt.id, attempt);
    }

    async fn settle(&mut self, which: usize, how: How) {
        let Some(id) = self.model.pick(which, State::Leased) else { return };
        let outcome = match how {
            How::Done | How::DoneForTheNext => Outcome::Done,
            How::Retry => Outcome::Retry { error: "no luck".into(), after: None },
            How::Dead => Outcome::Dead { error: "never".into() },
            How::Snooze => Outcome::Snooze { after: Duration::from_secs(3600) },
            How::Cancelled => Outcome::Cancelled,
            How::Released => Outcome::Released,
        };
        let mut taken = ack(&self.held[&id], outcome);
        taken.delay = Duration::from_secs(3600);
        taken.keeps = matches!(how, How::DoneForTheNext).then_some(Pool::Maintenance);
        let taker = Taker { worker: WorkerId(uuid::Uuid::nil()), kinds: &[Kind::Noop] };
        let settled = settle_and_take(&mut self.conn, &[taken.clone()], taker).await.unwrap();
        assert!(settled.stale.is_empty());
        assert!(taken.keeps.is_some() || settled.handed.is_empty());
        // A second time it is stale, whatever it says.
        assert_eq!(settle(&mut self.conn, &[taken]).await.unwrap().stale, [id]);
        self.expired.remove(&id);
        let known = self.model.jobs.get_mut(&id).unwrap();
        let again = known.attempt < known.max_attempts;
        known.due = false;
        match how {
            How::Done => self.end(id, Change::Finish),
            How::DoneForTheNext => {
                let next = self.model.behind(id);
                self.end(id, Change::Finish);
                assert_eq!(
                    settled.handed.iter().map(|h| h.attempt.id).collect::<Vec<_>>(),
                    Vec::from_iter(next)
                );
                settled.handed.into_iter().for_each(|handed| self.begin(handed.attempt));
            }
            How::Retry if again => self.model.change(id, Change::Fail { again }),
            How::Retry => self.end(id, Change::Fail { again }),
            How::Dead => self.end(id, Change::Die),
            How::Cancelled => self.end(id, Change::Cancel),
            How::Snooze => {
                known.attempt -= 1;
                self.model.change(id, Change::Snooze);
            }
            How::Released => {
                known.attempt -= 1;
                self.model.change(id, Change::Release);
            }
        }
    }

    async fn rescue(&mut self) {
        let rescued = rescue_all(&mut self.conn).await;
        assert_eq!(usize::try_from(rescued.count).unwrap(), self.expired.len());
        for id in std::mem::take(&mut self.expired) {
            let known = self.model.jobs.get_mut(&id).unwrap();
            known.crashes += 1;
            let poison = known.crashes >= MAX_CRASHES;
            if poison {
                self.end(id, Change::Expire { poison });
            } else {
                known.attempt -= 1;
                self.model.change(id, Change::Expire { poison });
            }
        }
    }

    async fn promote(&mut self) {
        promote::promote(&mut self.conn, None).await.unwrap();
        // Those of one key enter its line in the order of their ids.
        let due: Vec<JobId> = self
            .model
            .jobs
            .iter()
            .filter(|(_, k)| k.state == State::Scheduled && k.due)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.fall_due(id, |key_busy| Change::FallDue { key_busy });
        }
    }

    fn fall_due(&mut self, id: JobId, change: impl Fn(bool) -> Change) {
        self.model.jobs.get_mut(&id).unwrap().due = false;
        let key_busy = !self.model.jobs[&id].holds && self.model.stand_in_line(id);
        self.model.change(id, change(key_busy));
    }

    fn end(&mut self, id: JobId, change: Change) {
        self.model.change(id, change);
        self.model.leave_line(id);
    }

    async fn run(&mut self, statement: &'static str, id: JobId) {
        sqlx::query(statement).bind(id.0).execute(&mut self.conn).await.unwrap();
    }

    /// Every job is where the model says, and in no second place.
    async fn compare(&mut self) {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "select job_id, 'READY' from job_ready union all select job_id, 'SCHEDULED' from job_scheduled
            union all select job_id, 'BLOCKED' from job_blocked union all select job_id, 'LEASED' from job_lease
            union all select job_id, 'DEAD' from job_dead
            union all select job_id, case outcome when 0 then 'DONE' else 'CANCELLED' end from job_history
            order by 1",
        )
        .fetch_all(&mut self.conn)
        .await
        .unwrap();
        let real: Vec<(i64, &str)> = rows.iter().map(|(id, state)| (*id, state.as_str())).collect();
        let model: Vec<(i64, &str)> =
            self.model.jobs.iter().map(|(id, k)| (id.0, k.state.as_str())).collect();
        assert_eq!(real, model);
        let live: i64 =
            sqlx::query_scalar("select count(*) from job").fetch_one(&mut self.conn).await.unwrap();
        let known = self.model.jobs.values().filter(|k| k.state.is_live()).count();
        assert_eq!(usize::try_from(live).unwrap(), known);
        let heads: Vec<(String, i64)> = sqlx::query_as("select key, head_id from job_key order by key")
            .fetch_all(&mut self.conn)
            .await
            .unwrap();
        let lines = self.model.lines.iter().filter_map(|(k, l)| Some((format!(":key:{k}"), l.first()?.0)));
        assert_eq!(heads, lines.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_lives_go_as_the_model_says() {
    let database = Database::new().await;
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let config =
            Config { cases: 40, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
        TestRunner::new(config)
            .run(&steps(), |steps| {
                let mut side = handle.block_on(async {
                    let mut conn = database.connect().await;
                    sqlx::raw_sql(EMPTY).execute(&mut conn).await.unwrap();
                    Side { conn, model: Model::default(), held: BTreeMap::new(), expired: BTreeSet::new() }
                });
                for step in &steps {
                    handle.block_on(async {
                        side.go(step).await;
                        side.compare().await;
                    });
                }
                Ok(())
            })
            .unwrap();
    })
    .await
    .unwrap();
}
