//! Handles `machine.operate`: observes, decides, acts and observes again until the operation has ended.
//!
//! Only the worker that holds the machine's host performs it. What a call answers is never trusted: what is
//! seen after it tells what came of it.

use std::time::{Duration, Instant};

use jobs::awaited;
use jobs::db::patience::bounded;
use jobs::db::{CALL_TIMEOUT, PgConnection};
use jobs::machine::report::{self, store};
use jobs::machine::report::{Beginning, Begun, Ending, Sight, Task};
use jobs::payload::machine::MachineOperate;
use jobs::queue::{Attempt, DeadJob, Enqueued};
use jobs::{Error, Result, metrics};
use rules::machine::{Action, Call, Facts, KEEPS_SLOT, PATIENCE, Seen, Stage, Step, plan};
use rules::queue::{Kind, Outcome};
use tracing::Span;
use tracing::field::display;

use super::Handled;
use super::call::{self, Disks, Failed, Looked};
use crate::context::Context;
use crate::host::{Hold, drift};

/// The first wait for a guest; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// When an operation that waits for its guest comes back.
const COMES_BACK: Duration = Duration::from_secs(1);

/// When an operation comes back whose host cannot be spoken to.
const HOST_LOST_WAIT: Duration = Duration::from_secs(2);

/// The most steps of one attempt. What takes more has somebody working against it, and is tried again.
const MAX_STEPS: usize = 64;

/// Performs an operation.
pub(crate) async fn operate(context: &Context, attempt: &Attempt) -> Result<Handled> {
    let payload: MachineOperate = attempt.payload()?;
    let Some(hold) = context.hosts.of(attempt.pool) else {
        return Err(Error::internal(format!(
            "`{}` jobs are claimed for a host that is not served",
            attempt.kind
        )));
    };
    // Not held for long enough: whoever holds the host claims it again.
    let Some(permit) = hold.permit() else { return Ok(Handled::Outcome(Outcome::Released)) };
    let beginning = Beginning { operation: payload.operation_id, host: hold.id, claim: permit.claim.clone() };
    let task = match hold.record.begin(beginning).await? {
        Begun::Task(task) => *task,
        Begun::Ended => return Ok(Handled::Outcome(Outcome::Done)),
        Begun::Lost | Begun::Busy => return Ok(Handled::Outcome(Outcome::Released)),
        Begun::Elsewhere => {
            return Err(Error::conflict("its machine is on another host, and its job is not"));
        }
        Begun::Stale => {
            let mut tx = jobs::db::begin(&context.db).await?;
            report::fail(&mut tx, payload.operation_id, "a later operation has acted on the machine").await?;
            let told = awaited::operation_ended(&mut tx, payload.operation_id).await?;
            tx.commit().await?;
            context.wake.send(&told);
            return Ok(Handled::Outcome(Outcome::Done));
        }
    };
    Span::current().record("machine.id", display(task.machine));
    tracing::debug!(action = %task.action, "operating");
    let is_last = attempt.attempt >= attempt.max_attempts;
    let began = Instant::now();
    let mut work = Work { context, hold, task, began, waited: Duration::ZERO, is_last };
    let over = permit.over.clone();
    tokio::select! {
        biased;
        // Another worker may take the host from now on.
        () = over.cancelled() => Ok(Handled::Outcome(Outcome::Released)),
        handled = work.run() => handled,
    }
}

/// Tells the operation whose job died.
pub(crate) async fn died(conn: &mut PgConnection, kind: Kind, dead: &DeadJob) -> Result<Vec<Enqueued>> {
    if kind == Kind::MachineOperate
        && let Ok(payload) = serde_json::from_value::<MachineOperate>(dead.payload.clone())
    {
        report::fail(conn, payload.operation_id, &dead.error).await?;
        return awaited::operation_ended(conn, payload.operation_id).await;
    }
    Ok(Vec::new())
}

/// An operation that is being performed.
struct Work<'a> {
    context: &'a Context,
    hold: &'a Hold,
    task: Task,
    /// When this attempt began.
    began: Instant,
    /// How long this attempt has waited for the guest.
    waited: Duration,
    /// Whether it is tried no more after this attempt.
    is_last: bool,
}

impl Work<'_> {
    async fn run(&mut self) -> Result<Handled> {
        let mut wait = FIRST_WAIT;
        let mut asked_at = Instant::now();
        // Left once an attempt: a host that keeps no marks is not asked for ever.
        let mut marked = false;
        let mut seen_after = None;
        for _ in 0..MAX_STEPS {
            let looked = match seen_after.take() {
                Some(looked) => looked,
                None => match call::look(self.hold, &self.task).await {
                    Ok(looked) => looked,
                    Err(failed) => return self.failed(failed).await,
                },
            };
            let facts = Facts {
                seen: looked.seen,
                snapshot_there: looked.snapshot_there,
                marked: marked || looked.marked,
                stage: self.task.stage,
                asked_for: if self.task.stage >= Stage::Asked {
                    self.task.asked_for + asked_at.elapsed()
                } else {
                    Duration::ZERO
                },
                patience: PATIENCE,
            };
            match plan(self.task.action, &facts) {
                Step::Call(step) => match self.act(step).await? {
                    Acted::On(seen) => {
                        seen_after = seen;
                        if step == Call::AskToStop {
                            asked_at = Instant::now();
                        }
                        marked |= step == Call::Mark;
                        wait = FIRST_WAIT;
                    }
                    Acted::Handled(handled) => return Ok(handled),
                    Acted::Failed(failed) => return self.failed(failed).await,
                },
                Step::Note(stage) => {
                    if !self.note(stage).await? {
                        return Ok(Handled::Outcome(Outcome::Released));
                    }
                }
                Step::Wait if self.waited >= KEEPS_SLOT => {
                    return Ok(Handled::Outcome(Outcome::Snooze { after: COMES_BACK }));
                }
                Step::Wait => {
                    tokio::time::sleep(wait).await;
                    self.waited += wait;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Step::Done => return self.done(&looked).await,
                Step::Refuse(refusal) => {
                    return self.settle(Some(refusal.to_string()), &looked).await;
                }
            }
        }
        Ok(Handled::Outcome(Outcome::Retry { error: "its machine does not keep still".into(), after: None }))
    }

    /// Whether what was made of the machine may be taken back: it is being created, and its guest never ran. Before it is
    /// started for the first time [`Stage::Acted`] is noted, so that also who comes after a crash knows better: a disk on
    /// which a guest has run is nobody's to delete but its owner's.
    fn may_be_undone(&self) -> bool {
        self.task.action == Action::Create && self.task.stage < Stage::Acted
    }

    /// Makes one call and notes it.
    async fn act(&mut self, step: Call) -> Result<Acted> {
        // Looked at before every call: a hold may have ended while the last one took its time.
        if self.hold.permit().is_none() {
            return Ok(Acted::Handled(Handled::Outcome(Outcome::Released)));
        }
        // Else nobody asks for them.
        let disks = if step == Call::Define { self.disks().await? } else { Disks::Find };
        let is_first_start = step == Call::Start && self.may_be_undone();
        if is_first_start && !self.note(Stage::Acted).await? {
            return Ok(Acted::Handled(Handled::Outcome(Outcome::Released)));
        }
        let seen = match call::make(self.hold, &self.task, step, disks).await {
            Ok(seen) => seen,
            // No guest was there.
            Err(Failed::Later(_) | Failed::Final(_))
                if is_first_start && !self.note(Stage::Begun).await? =>
            {
                return Ok(Acted::Handled(Handled::Outcome(Outcome::Released)));
            }
            // What is seen next tells what to do.
            Err(Failed::Changed(error)) => {
                tracing::debug!(error, "the machine was not as it was seen");
                self.waited += FIRST_WAIT;
                tokio::time::sleep(FIRST_WAIT).await;
                return Ok(Acted::On(None));
            }
            Err(failed) => return Ok(Acted::Failed(failed)),
        };
        match step.stage() {
            Some(stage) if !self.note(stage).await? => {
                Ok(Acted::Handled(Handled::Outcome(Outcome::Released)))
            }
            Some(_) | None => Ok(Acted::On(seen)),
        }
    }

    /// Whether the machine's disks are to be made, or were made before. The driver in this process keeps none.
    async fn disks(&self) -> Result<Disks> {
        if self.hold.config.uri.lives_in_process() {
            return Ok(Disks::Make);
        }
        let mut conn = self.context.db.acquire().await?;
        let was_made = store::was_made(&mut conn, self.task.machine).await?;
        Ok(if was_made { Disks::Find } else { Disks::Make })
    }

    /// Notes how far the operation has come; false when it may not go on.
    async fn note(&mut self, stage: Stage) -> Result<bool> {
        let Some(permit) = self.hold.permit() else { return Ok(false) };
        self.task.stage = stage;
        bounded(CALL_TIMEOUT, async {
            let mut tx = jobs::db::begin(&self.context.db).await?;
            let may = store::note(&mut tx, self.task.id, self.hold.id, &permit.claim, stage).await?;
            if may {
                tx.commit().await?;
            }
            Ok(may)
        })
        .await
    }

    async fn done(&mut self, looked: &Looked) -> Result<Handled> {
        if self.task.action == Action::Destroy
            && let Err(failed) = call::clean_up(self.hold, &self.task).await
        {
            return self.failed(failed).await;
        }
        self.settle(None, looked).await
    }

    async fn failed(&mut self, failed: Failed) -> Result<Handled> {
        match failed {
            Failed::HostLost(error) => {
                tracing::debug!(error, "the host cannot be spoken to; the operation waits for it");
                Ok(Handled::Outcome(Outcome::Snooze { after: HOST_LOST_WAIT }))
            }
            Failed::Later(error) | Failed::Unsure(error) | Failed::Changed(error)
                if self.is_last && self.task.action == Action::Create =>
            {
                self.give_up(error).await
            }
            Failed::Later(error) | Failed::Unsure(error) | Failed::Changed(error) => {
                Ok(Handled::Outcome(Outcome::Retry { error, after: None }))
            }
            Failed::Final(error) => self.give_up(error).await,
        }
    }

    /// Ends the operation as failed for good. Of a machine that was to be made nothing is left, unless its guest may have
    /// run.
    async fn give_up(&self, mut error: String) -> Result<Handled> {
        if self.task.action == Action::Create && !self.may_be_undone() {
            error = format!(
                "{error}; its guest may have run, so nothing of it was removed: start it again, or destroy it with its \
                 disks"
            );
        } else if self.task.action == Action::Create && self.disks().await? == Disks::Make {
            match call::undo(self.hold, &self.task).await {
                Ok(()) => {}
                Err(Failed::HostLost(_)) => {
                    return Ok(Handled::Outcome(Outcome::Snooze { after: HOST_LOST_WAIT }));
                }
                Err(Failed::Later(left) | Failed::Unsure(left) | Failed::Changed(left)) if !self.is_last => {
                    return Ok(Handled::Outcome(Outcome::Retry { error: left, after: None }));
                }
                Err(
                    Failed::Later(left) | Failed::Unsure(left) | Failed::Changed(left) | Failed::Final(left),
                ) => {
                    error = format!("{error}; what was made of it was not removed: {left}");
                }
            }
        }
        let unknown = Looked { seen: Seen::Unknown, reason: None, snapshot_there: false, marked: false };
        let looked = call::look(self.hold, &self.task).await.unwrap_or(unknown);
        self.settle(Some(error), &looked).await
    }

    /// Ends the operation: its result, what was seen and the word to those who wait are one transaction. Its job
    /// is acknowledged after it, which hands the machine's next operation to this worker; where that is lost, the
    /// job comes back and finds its operation ended.
    async fn settle(&self, error: Option<String>, looked: &Looked) -> Result<Handled> {
        let Some(permit) = self.hold.permit() else { return Ok(Handled::Outcome(Outcome::Released)) };
        let defined_again = self.task.action == Action::Define && error.is_none();
        let sight = Sight {
            machine: self.task.machine,
            applied: self.task.generation,
            seen: looked.seen,
            reason: if defined_again { self.task.reason.clone() } else { looked.reason.clone() },
            drift: drift(self.task.wanted, looked.seen),
        };
        let (operation, host, done) = (self.task.id, self.hold.id, error.is_none());
        let ended =
            self.hold.record.end(Ending { operation, host, claim: permit.claim, error, sight }).await?;
        if ended {
            metrics::machine_operated(self.task.action.name(), done, self.began.elapsed());
        }
        // Else it is superseded, and about to be told so, or the host is another's.
        Ok(Handled::Outcome(if ended { Outcome::Done } else { Outcome::Released }))
    }
}

/// What came of a call.
enum Acted {
    /// Go on, with what was seen after the call if anybody looked.
    On(Option<Looked>),
    /// The attempt is over.
    Handled(Handled),
    /// It failed.
    Failed(Failed),
}
