//! What can happen: every step that somebody can take in a state, and the state after it.

use super::flaw::Flaw;
use super::law::Law;
use super::scope::{End, Scope};
use super::state::{State, WORKERS};

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The worker has what it was given.
    Heard,
    /// It was committed, and the worker never learned of it.
    Lost,
    /// The worker has it, and a crash of the server has undone it: claims do not wait for the disk. No commit that does
    /// can come in between, or the claim would be on the disk with it.
    Undone,
}

/// One thing that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Enqueue(u8),
    Cancel(u8),
    Redrive(u8),
    /// The time of a waiting job comes.
    FallDue(u8),
    /// The time of a lease is over.
    RunOut(u8),
    Promote,
    Rescue,
    RescueEnding,
    Claim {
        worker: u8,
        job: u8,
        answer: Answer,
    },
    Renew {
        worker: u8,
        job: u8,
        hand: u8,
    },
    /// An acknowledgement in one piece. Unheard, its worker has the attempt in hand as before, and will try again.
    Ack {
        worker: u8,
        job: u8,
        hand: u8,
        end: End,
        heard: bool,
    },
    /// The acknowledgement of a keyed job as done takes its locks.
    Begin {
        worker: u8,
        job: u8,
        hand: u8,
        keeps: bool,
    },
    Commit {
        heard: bool,
    },
    Abort,
    /// A worker hands back what was leased to it without its knowledge.
    HandBack(u8),
    /// A worker dies, and another takes its place.
    Die(u8),
}

impl Step {
    /// Whether it is sure to happen, sooner or later, wherever workers live and time passes. What somebody may or may
    /// not wish, and what must go wrong for it, is not.
    pub(crate) fn is_sure(self) -> bool {
        match self {
            Self::FallDue(_) | Self::RunOut(_) | Self::Promote | Self::Rescue | Self::RescueEnding => true,
            Self::Claim { answer, .. } => answer == Answer::Heard,
            Self::Ack { end, heard, .. } => heard && end == End::Done,
            // A transaction ends in one way or the other.
            Self::Begin { .. } | Self::Commit { .. } | Self::Abort => true,
            Self::Renew { .. } | Self::HandBack(_) => true,
            Self::Enqueue(_) | Self::Cancel(_) | Self::Redrive(_) | Self::Die(_) => false,
        }
    }
}

/// All steps that could make sense; [`State::after`] says which of them can be taken.
pub(crate) fn steps(state: &State, scope: &Scope) -> Vec<Step> {
    let mut all = vec![Step::Promote, Step::Rescue, Step::RescueEnding];
    let workers = 0..u8::try_from(WORKERS).unwrap();
    for job in scope.jobs() {
        all.extend([Step::Enqueue(job), Step::FallDue(job), Step::RunOut(job)]);
        if scope.cancels {
            all.push(Step::Cancel(job));
        }
        if scope.redrives {
            all.push(Step::Redrive(job));
        }
        for worker in workers.clone() {
            for answer in [Answer::Heard, Answer::Lost, Answer::Undone] {
                if scope.undoes || answer != Answer::Undone {
                    all.push(Step::Claim { worker, job, answer });
                }
            }
            for hand in (0..2).filter(|hand| state.hold(worker, job, *hand).is_some()) {
                all.push(Step::Renew { worker, job, hand });
                all.extend(acks(scope, worker, job, hand));
            }
        }
    }
    if state.open.is_some() {
        all.extend([Step::Commit { heard: true }, Step::Commit { heard: false }, Step::Abort]);
    }
    for worker in workers {
        all.extend([Step::HandBack(worker), Step::Die(worker)]);
    }
    all
}

fn acks(scope: &Scope, worker: u8, job: u8, hand: u8) -> Vec<Step> {
    let mut acks = Vec::new();
    for end in scope.ends.iter().copied() {
        if end == End::Done && scope.is_keyed(job) {
            acks.extend([true, false].map(|keeps| Step::Begin { worker, job, hand, keeps }));
        } else {
            acks.extend([true, false].map(|heard| Step::Ack { worker, job, hand, end, heard }));
        }
    }
    acks
}

/// The state after a step, and the law that the step itself broke.
pub(crate) type After = (State, Option<Law>);

impl State {
    /// None when the step cannot be taken, or changes nothing.
    pub(crate) fn after(&self, step: Step, scope: &Scope, flaw: Option<Flaw>) -> Option<After> {
        let mut next = *self;
        let mut law = None;
        let taken = match step {
            Step::Enqueue(job) => next.enqueue(scope, flaw, job),
            Step::Cancel(job) => next.cancel(scope, flaw, job),
            Step::Redrive(job) => next.redrive(scope, flaw, job),
            Step::FallDue(job) => next.fall_due(job),
            Step::RunOut(job) => next.run_out(job),
            Step::Promote => next.promote(scope, flaw),
            Step::Rescue => next.rescue(scope, flaw, &mut law),
            Step::RescueEnding => next.rescue_ending(scope, flaw),
            Step::Claim { worker, job, answer } => next.claim(flaw, worker, job, answer),
            Step::Renew { worker, job, hand } => next.renew(flaw, worker, job, hand, &mut law),
            Step::Ack { worker, job, hand, end, heard } => {
                next.ack(scope, flaw, (worker, job, hand), end, heard, &mut law)
            }
            Step::Begin { worker, job, hand, keeps } => {
                next.begin(flaw, (worker, job, hand), keeps, &mut law)
            }
            Step::Commit { heard } => next.commit(scope, flaw, heard),
            Step::Abort => next.open.take().is_some(),
            Step::HandBack(worker) => next.hand_back(scope, flaw, worker),
            Step::Die(worker) => next.die(worker),
        };
        (taken && (next != *self || law.is_some())).then_some((next, law))
    }
}
