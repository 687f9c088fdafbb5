//! What each step does to the tables, as the functions of the migrations do it.

use super::flaw::Flaw;
use super::law::Law;
use super::scope::{End, Scope};
use super::state::{GONE, Hold, Lease, Open, State, Wait};
use super::step::Answer;

/// How many attempts a redrive gives.
pub(crate) const MORE_ATTEMPTS: u8 = 2;

/// The most tokens that are counted, where they are.
pub(super) const MOST_DRAWN: u8 = 3;

impl State {
    /// `job_enqueue_v1`.
    pub(super) fn enqueue(&mut self, scope: &Scope, flaw: Option<Flaw>, job: u8) -> bool {
        let sort = scope.sorts[usize::from(job)];
        if self.job(job).put_in || (sort.keyed && !sort.delayed && self.is_key_locked(flaw)) {
            return false;
        }
        let new = self.job_mut(job);
        (new.row, new.put_in, new.max_attempts) = (true, true, scope.max_attempts);
        if sort.delayed {
            new.waits = Wait::Later;
        } else if sort.keyed {
            self.admit(job);
        } else {
            new.ready = true;
        }
        true
    }

    /// `job_cancel_v1`.
    pub(super) fn cancel(&mut self, scope: &Scope, flaw: Option<Flaw>, job: u8) -> bool {
        if self.is_settling(job) || !self.job(job).row {
            return false;
        }
        self.job_mut(job).asked = true;
        let row = self.job_mut(job);
        if let Some(lease) = &mut row.lease {
            lease.cancel = true;
            if flaw == Some(Flaw::CancelEndsRunning) {
                self.end(scope, flaw, job, End::Cancelled, None);
            }
            return true;
        }
        (row.ready, row.waits, row.holds_key) = (false, Wait::No, false);
        if std::mem::take(&mut row.blocked) {
            self.behind.remove(job);
        }
        self.end(scope, flaw, job, End::Cancelled, None);
        true
    }

    /// `job_redrive_v2`. Whoever redrives a job wants it done, whatever was wanted before.
    pub(super) fn redrive(&mut self, scope: &Scope, flaw: Option<Flaw>, job: u8) -> bool {
        let keyed = scope.is_keyed(job);
        let locked = keyed && self.is_key_locked(flaw);
        let dead = self.job_mut(job);
        if !dead.dead || dead.redriven || locked {
            return false;
        }
        (dead.dead, dead.row, dead.redriven, dead.asked) = (false, true, true, false);
        (dead.crashes, dead.died_under) = (0, 0);
        dead.max_attempts = dead.attempt + MORE_ATTEMPTS;
        if keyed && flaw == Some(Flaw::RedriveIgnoresKey) {
            dead.ready = true;
            self.turns.push(job);
        } else if keyed {
            self.admit(job);
        } else {
            dead.ready = true;
        }
        true
    }

    pub(super) fn fall_due(&mut self, job: u8) -> bool {
        let waits = self.job(job).waits == Wait::Later;
        if waits {
            self.job_mut(job).waits = Wait::Due;
        }
        waits
    }

    pub(super) fn run_out(&mut self, job: u8) -> bool {
        self.job_mut(job).lease.as_mut().is_some_and(|lease| !std::mem::replace(&mut lease.ran_out, true))
    }

    /// `job_promote_v2`: all that is due, those that need their key in the order of their ids, and not while somebody
    /// holds it.
    pub(super) fn promote(&mut self, scope: &Scope, flaw: Option<Flaw>) -> bool {
        let locked = self.is_key_locked(flaw);
        for job in scope.jobs() {
            let due = self.job_mut(job);
            if due.waits != Wait::Due {
                continue;
            }
            if !scope.is_keyed(job) || due.holds_key {
                (due.waits, due.holds_key, due.ready) = (Wait::No, false, true);
            } else if flaw == Some(Flaw::PromotionIgnoresKey) {
                (due.waits, due.ready) = (Wait::No, true);
                self.turns.push(job);
            } else if !locked {
                due.waits = Wait::No;
                self.admit(job);
            }
        }
        true
    }

    /// `job_rescue_living_v2`.
    pub(super) fn rescue(&mut self, scope: &Scope, flaw: Option<Flaw>, law: &mut Option<Law>) -> bool {
        for job in scope.jobs() {
            let row = *self.job(job);
            let Some(lease) = row.lease.filter(|_| !self.is_settling(job)) else { continue };
            let over = lease.ran_out || flaw == Some(Flaw::RescueTooSoon);
            let living = !lease.cancel || flaw == Some(Flaw::RescueForgetsCancel);
            let healthy = row.crashes + 1 < scope.poison;
            let spared = flaw == Some(Flaw::RescueIgnoresKeyed) && scope.is_keyed(job);
            if !over || !living || !healthy || spared {
                continue;
            }
            if !lease.ran_out {
                *law = Some(Law::OwnTime);
            }
            let counted = u8::from(flaw != Some(Flaw::CrashUncounted));
            let back = self.job_mut(job);
            back.attempt -= 1;
            back.crashes += counted;
            back.died_under += 1;
            back.ready = true;
            self.end_lease(flaw, job);
        }
        true
    }

    /// `job_rescue_ending_v1`.
    pub(super) fn rescue_ending(&mut self, scope: &Scope, flaw: Option<Flaw>) -> bool {
        for job in scope.jobs() {
            let row = *self.job(job);
            let Some(lease) = row.lease.filter(|l| l.ran_out && !self.is_settling(job)) else { continue };
            let end = match lease.cancel {
                true => End::Cancelled,
                false if row.crashes + 1 >= scope.poison => End::Fatal,
                false => continue,
            };
            self.job_mut(job).crashes += 1;
            self.job_mut(job).died_under += 1;
            self.end_lease(flaw, job);
            self.end(scope, flaw, job, end, None);
        }
        true
    }

    /// `job_claim_v3`.
    pub(super) fn claim(&mut self, flaw: Option<Flaw>, worker: u8, job: u8, answer: Answer) -> bool {
        if !self.job(job).ready {
            return false;
        }
        let Some(token) = self.draw(flaw, job, answer) else { return false };
        if answer == Answer::Undone {
            // Drawn at random, nobody will draw it again.
            let token = if flaw.is_some_and(Flaw::keeps_tokens) { token } else { GONE };
            return self.take(worker, job, Hold { token, rightful: false });
        }
        self.job_mut(job).ready = false;
        self.lease(worker, job, token, answer == Answer::Heard)
    }

    /// `job_renew_v1`. Who is told that the lease is lost stops.
    pub(super) fn renew(
        &mut self,
        flaw: Option<Flaw>,
        worker: u8,
        job: u8,
        hand: u8,
        law: &mut Option<Law>,
    ) -> bool {
        let Some(hold) = self.hold(worker, job, hand) else { return false };
        let settling = self.is_settling(job);
        let any = flaw == Some(Flaw::RenewalUnchecked);
        match &mut self.job_mut(job).lease {
            Some(lease) if any || lease.token == hold.token => {
                if !settling {
                    lease.ran_out = false;
                    *law = (!hold.rightful).then_some(Law::Fence);
                }
            }
            _ => self.drop_hold(worker, job, hold),
        }
        true
    }

    /// `job_ack_v2`, and `job_done_v2` of a job without a key.
    pub(super) fn ack(
        &mut self,
        scope: &Scope,
        flaw: Option<Flaw>,
        (worker, job, hand): (u8, u8, u8),
        end: End,
        heard: bool,
        law: &mut Option<Law>,
    ) -> bool {
        let Some(hold) = self.hold(worker, job, hand).filter(|_| !self.is_settling(job)) else {
            return false;
        };
        if self.is_taken(flaw, job, hold) {
            *law = (!hold.rightful).then_some(Law::Fence);
            let cancel = self.job(job).lease.is_some_and(|lease| lease.cancel);
            if heard {
                self.drop_hold(worker, job, hold);
            }
            self.end_lease(flaw, job);
            self.settle(scope, flaw, job, end, cancel);
            return true;
        }
        if heard {
            self.drop_hold(worker, job, hold);
        }
        heard
    }

    /// The first statements of `job_done_v2` for a keyed job: the lease's row and the key's are locked from here on.
    pub(super) fn begin(
        &mut self,
        flaw: Option<Flaw>,
        (worker, job, hand): (u8, u8, u8),
        keeps: bool,
        law: &mut Option<Law>,
    ) -> bool {
        let Some(hold) = self.hold(worker, job, hand).filter(|_| self.open.is_none()) else { return false };
        if !self.is_taken(flaw, job, hold) {
            self.drop_hold(worker, job, hold);
            return true;
        }
        *law = (!hold.rightful).then_some(Law::Fence);
        let seen = self.behind.first().filter(|_| flaw == Some(Flaw::LookBeforeLock));
        self.open = Some(Open { worker: Some(worker), job, keeps, seen });
        true
    }

    /// The last statement of `job_done_v2`, which decides who is next, and the commit.
    pub(super) fn commit(&mut self, scope: &Scope, flaw: Option<Flaw>, heard: bool) -> bool {
        let Some(open) = self.open.filter(|open| !heard || open.worker.is_some()) else { return false };
        let job = open.job;
        let mine = open.worker.filter(|_| heard).and_then(|worker| {
            let token = self.job(job).lease?.token;
            let hands = self.holds[usize::from(worker)][usize::from(job)];
            Some((worker, hands.into_iter().flatten().find(|hold| hold.token == token)?))
        });
        // In hand no more before it has lost its lease, by which alone it is known.
        if let Some((worker, hold)) = mine {
            self.drop_hold(worker, job, hold);
        }
        self.end_lease(flaw, job);
        let heir = open.keeps.then_some((open.worker, heard));
        self.end(scope, flaw, job, End::Done, heir);
        self.open = None;
        true
    }

    /// What `workers/src/astray.rs` does: of jobs that it knows nothing of.
    pub(super) fn hand_back(&mut self, scope: &Scope, flaw: Option<Flaw>, worker: u8) -> bool {
        for job in scope.jobs() {
            let known = self.holds[usize::from(worker)][usize::from(job)].iter().any(Option::is_some);
            let Some(lease) = self.job(job).lease.filter(|lease| lease.worker == Some(worker)) else {
                continue;
            };
            if !known && !self.is_settling(job) {
                self.end_lease(flaw, job);
                self.settle(scope, flaw, job, End::Released, lease.cancel);
            }
        }
        true
    }

    pub(super) fn die(&mut self, worker: u8) -> bool {
        self.holds[usize::from(worker)] = Default::default();
        let leases = self.jobs.iter_mut().filter_map(|job| job.lease.as_mut());
        leases.for_each(|lease| lease.worker = lease.worker.filter(|w| *w != worker));
        if let Some(open) = &mut self.open {
            open.worker = open.worker.filter(|w| *w != worker);
        }
        true
    }

    /// Whether an acknowledgement is accepted.
    fn is_taken(&self, flaw: Option<Flaw>, job: u8, hold: Hold) -> bool {
        let row = self.job(job);
        match flaw {
            Some(Flaw::LeaseUnchecked) => row.row,
            Some(Flaw::TokenUnchecked) => row.lease.is_some(),
            _ => row.lease.is_some_and(|lease| lease.token == hold.token),
        }
    }

    /// Whether somebody's transaction holds the order key.
    fn is_key_locked(&self, flaw: Option<Flaw>) -> bool {
        self.open.is_some() && flaw != Some(Flaw::LookBeforeLock)
    }

    /// The token of a new attempt: none where no more are counted.
    pub(super) fn draw(&mut self, flaw: Option<Flaw>, job: u8, answer: Answer) -> Option<u8> {
        if flaw != Some(Flaw::TokenCounted) {
            return Some(0);
        }
        let row = self.job_mut(job);
        let token = row.drawn;
        // What is undone with the claim is its count, too.
        row.drawn += u8::from(answer != Answer::Undone);
        (token < MOST_DRAWN).then_some(token)
    }

    pub(super) fn lease(&mut self, worker: u8, job: u8, token: u8, heard: bool) -> bool {
        let row = self.job_mut(job);
        row.attempt += 1;
        row.lease = Some(Lease { token, worker: Some(worker), ran_out: false, cancel: false });
        !heard || self.take(worker, job, Hold { token, rightful: true })
    }
}
